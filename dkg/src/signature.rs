//! Identity signatures: Ed25519 (RFC 8032) over `H(tag, items…)`, with a tag of its own for each kind of message.
//!
//! # One by one, or many at once
//!
//! [`verify`] is strict: it refuses keys and commitments of small order and non-canonical encodings, so that everybody
//! comes to the same verdict. It decides whatever the leader takes from a member, and certificates.
//!
//! [`Batch`] verifies many signatures for half the cost. A signature whose commitment has a component of small order passes it
//! with a chance of one in eight and never passes [`verify`]. It therefore serves only where an honest leader has verified each
//! signature already, and where letting such a one pass can do no more than end the attempt later.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// Signs `H(tag, items…)`.
pub(crate) fn sign(identity: &SigningKey, tag: &str, items: &[&[u8]]) -> [u8; 64] {
    identity.sign(&reencrypt::hash(tag, items)).to_bytes()
}

/// Whether `signature` over `H(tag, items…)` is by `identity`.
pub(crate) fn verify(
    identity: &VerifyingKey,
    tag: &str,
    items: &[&[u8]],
    signature: &[u8; 64],
) -> bool {
    let message = reencrypt::hash(tag, items);
    identity
        .verify_strict(&message, &Signature::from_bytes(signature))
        .is_ok()
}

/// Decodes an identity: a canonical point that is not of small order.
pub(crate) fn identity_key(bytes: &[u8; 32]) -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(bytes)
        .ok()
        .filter(|key| !key.is_weak())
}

/// Signatures to be verified together.
#[derive(Default)]
pub(crate) struct Batch {
    messages: Vec<[u8; 64]>,
    signatures: Vec<Signature>,
    identities: Vec<VerifyingKey>,
}

impl Batch {
    /// Adds the claim that `signature` over `H(tag, items…)` is by `identity`.
    pub(crate) fn push(
        &mut self,
        identity: &VerifyingKey,
        tag: &str,
        items: &[&[u8]],
        signature: &[u8; 64],
    ) {
        self.messages.push(reencrypt::hash(tag, items));
        self.signatures.push(Signature::from_bytes(signature));
        self.identities.push(*identity);
    }

    /// The places of the false ones, in the order in which they were pushed.
    pub(crate) fn verify(&self) -> Result<(), Vec<usize>> {
        let messages: Vec<&[u8]> = self.messages.iter().map(<[u8; 64]>::as_slice).collect();
        if ed25519_dalek::verify_batch(&messages, &self.signatures, &self.identities).is_ok() {
            return Ok(());
        }
        let claims = self
            .identities
            .iter()
            .zip(&self.messages)
            .zip(&self.signatures);
        let culprits: Vec<usize> = claims
            .enumerate()
            .filter(|(_, ((identity, message), signature))| {
                identity.verify_strict(*message, signature).is_err()
            })
            .map(|(place, _)| place)
            .collect();
        if culprits.is_empty() {
            Ok(())
        } else {
            Err(culprits)
        }
    }
}
