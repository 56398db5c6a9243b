//! The expensive checks of the state machine, behind a trait: signatures and equality proofs.
//!
//! A peer that replays its own store at start has verified them once, and its own signature over the head says that these
//! are the same bytes; it need not verify them again. Nobody else leaves them out.

use super::{hash, signed::SignedTransaction};
use ed25519_dalek::VerifyingKey;
use rand::{SeedableRng as _, rngs::StdRng};
use reencrypt::{EphemeralKey, EphemeralKeyError, Point, WrappedKey, WrappedKeyError};

/// Who verifies what a transaction carries.
pub(super) trait Verifier {
    /// Whether `key` signed the transaction.
    fn signature(&self, transaction: &SignedTransaction, key: &VerifyingKey) -> bool;
    /// Whether `key` signed this statement.
    fn statement(&self, statement: &[u8], signature: &[u8; 64], key: &VerifyingKey) -> bool;
    /// Whether the wrapped key's proof holds.
    fn wrapped_key(
        &self,
        transaction: &SignedTransaction,
        wrapped: &WrappedKey,
    ) -> Result<(), WrappedKeyError>;
    /// Whether the ephemeral key's proof holds, for this key and wrapped key.
    fn ephemeral_key(
        &self,
        transaction: &SignedTransaction,
        ephemeral: &EphemeralKey,
        public_key: &Point,
        write_id: &[u8; 32],
    ) -> Result<(), EphemeralKeyError>;
}

/// Verifies everything.
pub(super) struct Full;

/// Verifies nothing of what is verified once and for all: for a peer's own store, under its own signature.
pub(super) struct OwnStore;

/// The generator of the weights by which both equations of a proof are verified at once.
///
/// The weights must not be known before the proof is fixed (protocol section 2), and all peers should draw the same. Both
/// is had from a hash over the whole transaction, proof and signature included. A false proof passes with probability
/// 2⁻¹²⁸ a trial, and a true one passes whatever the weights, so peers would agree even if their generators differed.
fn weights(transaction: &SignedTransaction) -> StdRng {
    StdRng::from_seed(hash::tagged(
        hash::WEIGHTS,
        serde_bytes::Bytes::new(transaction.as_bytes()),
    ))
}

impl Verifier for Full {
    fn signature(&self, transaction: &SignedTransaction, key: &VerifyingKey) -> bool {
        transaction.is_signed_by(key)
    }

    fn statement(&self, statement: &[u8], signature: &[u8; 64], key: &VerifyingKey) -> bool {
        key.verify_strict(statement, &ed25519_dalek::Signature::from_bytes(signature))
            .is_ok()
    }

    fn wrapped_key(
        &self,
        transaction: &SignedTransaction,
        wrapped: &WrappedKey,
    ) -> Result<(), WrappedKeyError> {
        wrapped.verify(&mut weights(transaction)).map(|_| ())
    }

    fn ephemeral_key(
        &self,
        transaction: &SignedTransaction,
        ephemeral: &EphemeralKey,
        public_key: &Point,
        write_id: &[u8; 32],
    ) -> Result<(), EphemeralKeyError> {
        ephemeral
            .verify(public_key, write_id, &mut weights(transaction))
            .map(|_| ())
    }
}

impl Verifier for OwnStore {
    fn signature(&self, _: &SignedTransaction, _: &VerifyingKey) -> bool {
        true
    }

    fn statement(&self, _: &[u8], _: &[u8; 64], _: &VerifyingKey) -> bool {
        true
    }

    fn wrapped_key(&self, _: &SignedTransaction, _: &WrappedKey) -> Result<(), WrappedKeyError> {
        Ok(())
    }

    fn ephemeral_key(
        &self,
        _: &SignedTransaction,
        _: &EphemeralKey,
        _: &Point,
        _: &[u8; 32],
    ) -> Result<(), EphemeralKeyError> {
        Ok(())
    }
}
