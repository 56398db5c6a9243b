//! A request for a re-encryption: a wrapped key and the ephemeral key made for it, both verified (section 5).

use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::traits::IsIdentity as _;
use rand_core::CryptoRng;

use crate::ephemeral_key::{EphemeralKey, VerifiedEphemeralKey};
use crate::equality::{Batch, Statement};
use crate::error::{EphemeralKeyError, ProofError, RequestError, WrappedKeyError};
use crate::group::Point;
use crate::tags;
use crate::wrapped_key::{VerifiedWrappedKey, WrappedKey};

/// Verifies both proofs of a request together, the ephemeral key's against the `write_id` computed from the wrapped key.
///
/// # Errors
/// [`RequestError::WrappedKey`] or [`RequestError::EphemeralKey`] names the one that does not hold; the wrapped key if
/// neither does.
pub fn verify_request<R>(
    wrapped: &WrappedKey,
    ephemeral: &EphemeralKey,
    rng: &mut R,
) -> Result<(VerifiedWrappedKey, VerifiedEphemeralKey), RequestError>
where
    R: CryptoRng + ?Sized,
{
    let (public_key, write_id) = (wrapped.public_key(), wrapped.write_id());
    let mut batch = Batch::new();
    let first = wrapped.push_proof(&mut batch);
    ephemeral.push_proof(&public_key, &write_id, &mut batch);
    batch.verify_vartime(rng).map_err(|culprits| {
        if culprits.contains(first) {
            RequestError::WrappedKey(WrappedKeyError::Proof(ProofError::False))
        } else {
            RequestError::EphemeralKey(EphemeralKeyError::Proof(ProofError::False))
        }
    })?;
    Ok((
        wrapped.assume_verified(),
        ephemeral.assume_verified(&public_key, &write_id),
    ))
}

/// `U + X`.
fn sum(wrapped: &VerifiedWrappedKey, ephemeral: &VerifiedEphemeralKey) -> RistrettoPoint {
    wrapped.u().as_ristretto() + ephemeral.point().as_ristretto()
}

/// What a share of this request is computed from and proven about.
pub(crate) struct Exchange {
    public_key: Point,
    write_id: [u8; 32],
    x: Point,
    /// `B = U + X`.
    base: Point,
}

impl Exchange {
    pub(crate) fn new(
        wrapped: &VerifiedWrappedKey,
        ephemeral: &VerifiedEphemeralKey,
    ) -> Result<Self, RequestError> {
        if !ephemeral.is_for(wrapped) {
            return Err(RequestError::OtherWrite);
        }
        let base = Point::from_ristretto(sum(wrapped, ephemeral));
        Ok(Exchange {
            public_key: wrapped.public_key(),
            write_id: wrapped.write_id(),
            x: ephemeral.point(),
            base: base.ok_or(RequestError::IdentityBase)?,
        })
    }

    /// That [`Exchange::new`] would make one, without the price of an encoding.
    pub(crate) fn check(
        wrapped: &VerifiedWrappedKey,
        ephemeral: &VerifiedEphemeralKey,
    ) -> Result<(), RequestError> {
        if !ephemeral.is_for(wrapped) {
            return Err(RequestError::OtherWrite);
        }
        if sum(wrapped, ephemeral).is_identity() {
            return Err(RequestError::IdentityBase);
        }
        Ok(())
    }

    /// That the wrapped key belongs to the cluster key `public_key`.
    pub(crate) fn check_key(&self, public_key: &Point) -> Result<(), RequestError> {
        if self.public_key == *public_key {
            Ok(())
        } else {
            Err(RequestError::OtherKey)
        }
    }

    pub(crate) fn base(&self) -> &Point {
        &self.base
    }

    /// Hands out the statement that `D = x_i·B` for the `x_i` of `Y_i = x_i·G`.
    pub(crate) fn with_share_statement<T>(
        &self,
        epoch: u64,
        index: u16,
        public_share: Point,
        d: Point,
        use_statement: impl FnOnce(&Statement<'_>) -> T,
    ) -> T {
        let (epoch, index) = (epoch.to_le_bytes(), index.to_le_bytes());
        let context: [&[u8]; 5] = [
            self.public_key.as_bytes(),
            &epoch,
            &index,
            &self.write_id,
            self.x.as_bytes(),
        ];
        use_statement(&Statement {
            purpose: tags::PURPOSE_SHARE,
            context: &context,
            bases: (Point::generator(), self.base),
            points: (public_share, d),
        })
    }
}
