//! Secrets in memory: wiped when dropped, redacted when printed, never copied silently.
//!
//! dalek's `Scalar` is `Copy` and is not wiped, so every secret scalar of this project lives in a [`SecretScalar`] and
//! is lent out by [`SecretScalar::expose`] for the length of one computation. What the compiler spills to the stack
//! meanwhile cannot be wiped from safe code: a process that holds secrets should also disable core dumps and lock or
//! encrypt its swap.

use std::fmt;

use curve25519_dalek::scalar::Scalar;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::error::ScalarError;
use crate::group::{self, Point, decode_scalar};

/// A secret scalar: never zero, wiped when dropped. It has no `Clone`; whoever needs a second one says so by its bytes.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretScalar(Scalar);

impl SecretScalar {
    /// A uniformly random one, from 64 bytes of `rng`.
    #[must_use]
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut wide = Zeroizing::new([0; 64]);
        loop {
            rng.fill_bytes(&mut *wide);
            if let Ok(secret) = Self::from_scalar(Scalar::from_bytes_mod_order_wide(&wide)) {
                return secret;
            }
        }
    }

    /// Decodes one from its 32 bytes, little-endian.
    ///
    /// # Errors
    /// [`ScalarError::NotReduced`] if it is ℓ or more, [`ScalarError::Zero`] if it is zero.
    pub fn from_canonical_bytes(bytes: &[u8; 32]) -> Result<Self, ScalarError> {
        decode_scalar(bytes).and_then(Self::from_scalar)
    }

    /// Takes a scalar that was computed. The caller wipes the copy that it keeps.
    ///
    /// # Errors
    /// [`ScalarError::Zero`] if it is zero, of which no multiple would be a [`Point`].
    pub fn from_scalar(scalar: Scalar) -> Result<Self, ScalarError> {
        if bool::from(scalar.ct_eq(&Scalar::ZERO)) {
            return Err(ScalarError::Zero);
        }
        Ok(SecretScalar(scalar))
    }

    /// The 32 bytes, little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The scalar itself, for one computation. It is `Copy`: do not keep it.
    #[must_use]
    pub fn expose(&self) -> &Scalar {
        &self.0
    }

    /// `s·G`, in constant time.
    #[must_use]
    pub fn public(&self) -> Point {
        group::multiply_point(self, &Point::generator())
    }

    /// [`SecretScalar::public`] of each, in constant time. Cheaper than one by one, because they are encoded together.
    #[must_use]
    pub fn public_of_each(secrets: &[SecretScalar]) -> Vec<Point> {
        group::multiply_generator(secrets)
    }

    /// The encoding of `s·P`, in constant time: what two parties who know each other's public point share.
    #[must_use]
    pub fn diffie_hellman(&self, point: &Point) -> Zeroizing<[u8; 32]> {
        let product = Zeroizing::new(group::multiply(&self.0, point));
        Zeroizing::new(product.compress().to_bytes())
    }

    /// [`SecretScalar::diffie_hellman`] with each of `points`, in their order, in constant time. Cheaper than one by one, because they are
    /// encoded together.
    ///
    /// dalek's encoding leaves coordinates of the products behind in heap memory that it frees. A program whose memory must not hold
    /// them needs an allocator that wipes what is freed, as this project's programs have.
    #[must_use]
    pub fn diffie_hellman_with_each<'a>(
        &self,
        points: impl ExactSizeIterator<Item = &'a Point>,
    ) -> Zeroizing<Vec<[u8; 32]>> {
        group::encoded_multiples(self, points)
    }
}

impl ConstantTimeEq for SecretScalar {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for SecretScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretScalar(redacted)")
    }
}

/// Secret bytes, such as an opened data key: wiped when dropped, compared in constant time.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        SecretBytes(Zeroizing::new(bytes))
    }

    /// The bytes, for one use.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// How many there are: not a secret.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they are equal to `other`, in a time that depends on the lengths only.
    #[must_use]
    pub fn ct_eq(&self, other: &[u8]) -> bool {
        self.0.as_slice().ct_eq(other).into()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes, redacted)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = SecretScalar::from_scalar(Scalar::from(0x5ec2_e7e5_u32)).unwrap();
        assert_eq!(format!("{secret:?}"), "SecretScalar(redacted)");
        let bytes = SecretBytes::new(vec![0xab; 16]);
        assert_eq!(format!("{bytes:?}"), "SecretBytes(16 bytes, redacted)");
    }

    #[test]
    fn zero_and_unreduced_scalars_are_refused() {
        assert_eq!(
            SecretScalar::from_canonical_bytes(&[0; 32]).unwrap_err(),
            ScalarError::Zero
        );
        assert_eq!(
            SecretScalar::from_canonical_bytes(&[0xff; 32]).unwrap_err(),
            ScalarError::NotReduced
        );
    }

    #[test]
    fn both_sides_of_diffie_hellman_agree() {
        let (a, b) = (
            SecretScalar::random(&mut rand::rng()),
            SecretScalar::random(&mut rand::rng()),
        );
        assert_eq!(a.diffie_hellman(&b.public()), b.diffie_hellman(&a.public()));
    }
}
