//! The ephemeral key (section 4): what one read of one wrapped key is re-encrypted to.
//!
//! ```text
//! x_c random;  X = x_c·G;  X̄ = x_c·Ḡ
//! proof = equality proof, purpose "ephemeral-key", ctx (Y, write_id), bases (G, Ḡ), points (X, X̄)
//! encoding: X ‖ X̄ ‖ proof(96)
//! ```
//!
//! A node multiplies `U + X` by its share. If `X` could be any point, `X = U' − U` would open another document's key
//! `U'` under an approval for `U`: the proof shows that whoever asks knows `x_c`, and the shadow `X̄` makes the argument
//! go through without rewinding. The context binds it to one wrapped key of one cluster.

use std::fmt;
use std::ops::Deref;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::equality::{Batch, EqualityProof, Statement};
use crate::error::{EphemeralKeyError, ProofError};
use crate::group::{self, Point};
use crate::secret::SecretScalar;
use crate::tags;
use crate::wrapped_key::VerifiedWrappedKey;

/// An ephemeral key that was parsed and whose proof nobody has verified yet: 160 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EphemeralKey {
    bytes: [u8; Self::LENGTH],
    x: Point,
    shadow_x: Point,
    proof: EqualityProof,
}

impl EphemeralKey {
    /// The length of an encoded ephemeral key.
    pub const LENGTH: usize = 2 * Point::LENGTH + EqualityProof::LENGTH;

    /// Parses an ephemeral key.
    ///
    /// # Errors
    /// [`EphemeralKeyError`], if these are not the bytes of one. The proof is decoded, and not verified.
    pub fn parse(bytes: &[u8]) -> Result<Self, EphemeralKeyError> {
        let wrong_length = EphemeralKeyError::Length { got: bytes.len() };
        let encoding: &[u8; Self::LENGTH] = bytes.try_into().map_err(|_| wrong_length)?;
        let (x, rest) = encoding.split_first_chunk().ok_or(wrong_length)?;
        let (shadow_x, rest) = rest.split_first_chunk().ok_or(wrong_length)?;
        let proof = rest.first_chunk().ok_or(wrong_length)?;
        Ok(EphemeralKey {
            bytes: *encoding,
            x: Point::from_bytes(x).map_err(EphemeralKeyError::X)?,
            shadow_x: Point::from_bytes(shadow_x).map_err(EphemeralKeyError::ShadowX)?,
            proof: EqualityProof::from_bytes(proof).map_err(EphemeralKeyError::Proof)?,
        })
    }

    /// The encoding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.bytes
    }

    /// `X`.
    #[must_use]
    pub fn point(&self) -> Point {
        self.x
    }

    /// Verifies that it was made, by somebody who knows its secret, for the wrapped key `write_id` under `public_key`.
    ///
    /// # Errors
    /// [`EphemeralKeyError::Proof`] with [`ProofError::False`] if it was not.
    pub fn verify<R>(
        &self,
        public_key: &Point,
        write_id: &[u8; 32],
        rng: &mut R,
    ) -> Result<VerifiedEphemeralKey, EphemeralKeyError>
    where
        R: CryptoRng + ?Sized,
    {
        let mut batch = Batch::new();
        self.push_proof(public_key, write_id, &mut batch);
        batch
            .verify_vartime(rng)
            .map_err(|_| EphemeralKeyError::Proof(ProofError::False))?;
        Ok(self.assume_verified(public_key, write_id))
    }

    /// Adds the proof to a batch.
    pub(crate) fn push_proof(
        &self,
        public_key: &Point,
        write_id: &[u8; 32],
        batch: &mut Batch,
    ) -> usize {
        let context: [&[u8]; 2] = [public_key.as_bytes(), write_id];
        batch.push(&statement(&context, self.x, self.shadow_x), &self.proof)
    }

    /// The type that says so, after a batch that contained [`EphemeralKey::push_proof`] has verified.
    pub(crate) fn assume_verified(
        &self,
        public_key: &Point,
        write_id: &[u8; 32],
    ) -> VerifiedEphemeralKey {
        VerifiedEphemeralKey {
            key: *self,
            public_key: *public_key,
            write_id: *write_id,
        }
    }
}

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EphemeralKey").field(&self.x).finish()
    }
}

/// An ephemeral key whose proof holds for one wrapped key, which it remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedEphemeralKey {
    key: EphemeralKey,
    public_key: Point,
    write_id: [u8; 32],
}

impl VerifiedEphemeralKey {
    /// Whether it was made for `wrapped`.
    pub(crate) fn is_for(&self, wrapped: &VerifiedWrappedKey) -> bool {
        self.write_id == wrapped.write_id() && self.public_key == wrapped.public_key()
    }
}

impl Deref for VerifiedEphemeralKey {
    type Target = EphemeralKey;

    fn deref(&self) -> &EphemeralKey {
        &self.key
    }
}

/// The secret `x_c` of one read, with its public half. It is wiped when dropped; whoever waits for approvals longer than a process
/// lives keeps its [bytes](EphemeralSecret::to_bytes), for one opening.
pub struct EphemeralSecret {
    secret: SecretScalar,
    public: VerifiedEphemeralKey,
}

impl EphemeralSecret {
    /// A fresh one for a read of `wrapped`.
    #[must_use]
    pub fn new<R>(wrapped: &VerifiedWrappedKey, rng: &mut R) -> Self
    where
        R: CryptoRng + ?Sized,
    {
        Self::for_write(&wrapped.public_key(), &wrapped.write_id(), rng)
    }

    /// A fresh one for whoever knows of the wrapped key only its names.
    #[must_use]
    pub fn for_write<R>(public_key: &Point, write_id: &[u8; 32], rng: &mut R) -> Self
    where
        R: CryptoRng + ?Sized,
    {
        let secret = SecretScalar::random(rng);
        let nonce = |statement: &Statement<'_>, secret: &SecretScalar| statement.nonce(secret, rng);
        Self::with_nonce(public_key, write_id, secret, nonce)
    }

    /// The key itself. Secret and nonce must be unpredictable and never used again.
    pub(crate) fn with_nonce(
        public_key: &Point,
        write_id: &[u8; 32],
        secret: SecretScalar,
        nonce: impl FnOnce(&Statement<'_>, &SecretScalar) -> SecretScalar,
    ) -> Self {
        let generators = (Point::generator(), Point::shadow_generator());
        let (x, shadow_x) = group::multiply_pair(&secret, (&generators.0, &generators.1));
        let context: [&[u8]; 2] = [public_key.as_bytes(), write_id];
        let statement = statement(&context, x, shadow_x);
        let nonce = nonce(&statement, &secret);
        let proof = EqualityProof::prove_with_nonce(&statement, &secret, &nonce);

        let mut bytes = [0; EphemeralKey::LENGTH];
        let (first, rest) = bytes.split_at_mut(Point::LENGTH);
        let (second, rest) = rest.split_at_mut(Point::LENGTH);
        first.copy_from_slice(x.as_bytes());
        second.copy_from_slice(shadow_x.as_bytes());
        rest.copy_from_slice(&proof.to_bytes());
        let key = EphemeralKey {
            bytes,
            x,
            shadow_x,
            proof,
        };
        EphemeralSecret {
            secret,
            public: key.assume_verified(public_key, write_id),
        }
    }

    /// The public half, to be sent to the nodes.
    #[must_use]
    pub fn public(&self) -> &VerifiedEphemeralKey {
        &self.public
    }

    /// The length of [`EphemeralSecret::to_bytes`].
    pub const LENGTH: usize = 32 + EphemeralKey::LENGTH;

    /// `x_c`, 32 bytes little-endian, and the public half as the nodes get it.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::LENGTH]> {
        let mut bytes = Zeroizing::new([0; Self::LENGTH]);
        let (secret, public) = bytes.split_at_mut(32);
        secret.copy_from_slice(&*self.secret.to_bytes());
        public.copy_from_slice(self.public.as_bytes());
        bytes
    }

    /// Reads [`EphemeralSecret::to_bytes`] again, for the read of `wrapped` that it was made for.
    ///
    /// # Errors
    /// [`EphemeralKeyError`], if it was made for another wrapped key, or its halves do not belong together.
    pub fn from_bytes<R>(
        bytes: &[u8],
        wrapped: &VerifiedWrappedKey,
        rng: &mut R,
    ) -> Result<Self, EphemeralKeyError>
    where
        R: CryptoRng + ?Sized,
    {
        let other = EphemeralKeyError::Proof(ProofError::False);
        let (secret, public) = bytes
            .split_first_chunk::<32>()
            .ok_or(EphemeralKeyError::Length { got: bytes.len() })?;
        let public = EphemeralKey::parse(public)?;
        let public = public.verify(&wrapped.public_key(), &wrapped.write_id(), rng)?;
        let secret = SecretScalar::from_canonical_bytes(secret).map_err(|_| other)?;
        if secret.public() != public.point() {
            return Err(other);
        }
        Ok(EphemeralSecret { secret, public })
    }

    pub(crate) fn secret(&self) -> &SecretScalar {
        &self.secret
    }
}

impl fmt::Debug for EphemeralSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EphemeralSecret")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

fn statement<'a>(context: &'a [&'a [u8]], x: Point, shadow_x: Point) -> Statement<'a> {
    Statement {
        purpose: tags::PURPOSE_EPHEMERAL_KEY,
        context,
        bases: (Point::generator(), Point::shadow_generator()),
        points: (x, shadow_x),
    }
}
