//! The two signature algorithms of the profile, their keys, and nothing else.
//!
//! Keys and algorithms are recognised by their whole DER encoding, not by parts of it, so each key has exactly one form
//! here: that is what makes "no public key stands in two organisations" a comparison of bytes. For P-256 the form is the
//! uncompressed point (RFC 5480 section 2.2); for Ed25519 the canonical encoding of a point that is not of small order.
//!
//! Ed25519 signatures are verified strictly (canonical s, no points of small order). ECDSA signatures of anybody can be
//! turned into a second valid form by negating s. Nothing here may take certificate bytes for an identity therefore, and
//! nothing does: organisations are counted, and they count once.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};

/// AlgorithmIdentifier of Ed25519 (RFC 8410 section 3): no parameters.
const ED25519_IDENTIFIER: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
/// AlgorithmIdentifier of ecdsa-with-SHA256 (RFC 5758 section 3.2): no parameters.
const ECDSA_SHA256_IDENTIFIER: &[u8] = &[
    0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
];

/// SubjectPublicKeyInfo of an Ed25519 key, up to the 32 bytes of the key.
const ED25519_SPKI: &[u8] = &[
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// SubjectPublicKeyInfo of an uncompressed P-256 key, up to the 65 bytes of the point (which begin with 04).
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The encodings of the eight points of small order, each the only canonical one of its point: y, little-endian, and the sign of x
/// in the highest bit. By their orders 1, 2, 4, 4, 8, 8, 8, 8.
const SMALL_ORDER: [[u8; 32]; 8] = {
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    minus_one[31] = 0x7f;
    let zero = [0; 32];
    // The y of one pair of points of order 8; that of the other pair is its negative.
    let eighth = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ];
    let minus_eighth = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ];
    [
        one,
        minus_one,
        zero,
        with_sign(zero),
        eighth,
        with_sign(eighth),
        minus_eighth,
        with_sign(minus_eighth),
    ]
};

const fn with_sign(mut encoding: [u8; 32]) -> [u8; 32] {
    encoding[31] |= 0x80;
    encoding
}

/// [`VerifyingKey::verify_strict`], for a key that is not of small order, without the decoding of R: a square root, a tenth of the
/// verification.
///
/// Both refuse s ≥ ℓ, and accept only if the 32 bytes of R are those that the point s·B − k·A is encoded to. The strict one also
/// refuses an R that is no encoding of a point, or of one of small order, and a key of small order. The last is refused where the
/// key is decoded ([`IssuerPublicKey::from_spki`]). For the first two there is nothing to decode: what a point is encoded to is
/// the one canonical encoding of that point, so an R that is equal to it is an encoding, is canonical, and is that of a point of small
/// order exactly if it is one of [`SMALL_ORDER`]; and an R that is not equal to it, both refuse.
fn verifies_strictly(key: &VerifyingKey, message: &[u8], signature: &Signature) -> bool {
    !SMALL_ORDER.contains(signature.r_bytes()) && key.verify(message, signature).is_ok()
}

/// A signature algorithm of the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032, RFC 8410)
    Ed25519,
    /// ECDSA on P-256 with SHA-256 (RFC 5480, RFC 5758)
    EcdsaP256,
}

impl Algorithm {
    /// The algorithm whose complete AlgorithmIdentifier this is.
    pub(crate) fn from_identifier(der: &[u8]) -> Option<Self> {
        match der {
            ED25519_IDENTIFIER => Some(Self::Ed25519),
            ECDSA_SHA256_IDENTIFIER => Some(Self::EcdsaP256),
            _ => None,
        }
    }
}

/// Why a public key cannot be an issuer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyDefect {
    /// Neither Ed25519 nor an uncompressed P-256 point.
    #[error("its key is neither Ed25519 nor an uncompressed P-256 point")]
    Unsupported,
    /// The bytes are no point of the curve, or not its canonical encoding.
    #[error("its key is no valid point of the curve")]
    Invalid,
    /// An Ed25519 point of small order: anybody can sign for it.
    #[error("its key is weak: anybody can make signatures for it")]
    Weak,
}

/// An issuer's key, decoded once, when the policy is made.
#[derive(Clone, Debug)]
pub(crate) enum IssuerPublicKey {
    Ed25519(VerifyingKey),
    EcdsaP256(ParsedPublicKey),
}

impl IssuerPublicKey {
    /// Decodes a SubjectPublicKeyInfo.
    pub(crate) fn from_spki(spki: &[u8]) -> Result<Self, KeyDefect> {
        if let Some(key) = spki.strip_prefix(ED25519_SPKI) {
            let bytes: &[u8; 32] = key.try_into().map_err(|_| KeyDefect::Invalid)?;
            let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyDefect::Invalid)?;
            if key.is_weak() {
                return Err(KeyDefect::Weak);
            }
            // Decoding takes y modulo p; a second encoding of one key would pass for a second key.
            if key.to_edwards().compress().as_bytes() != bytes {
                return Err(KeyDefect::Invalid);
            }
            return Ok(Self::Ed25519(key));
        }
        match spki.strip_prefix(P256_SPKI) {
            Some(point) if point.len() == 65 && point.first() == Some(&4) => {
                let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
                    .map_err(|_| KeyDefect::Invalid)?;
                Ok(Self::EcdsaP256(key))
            }
            _ => Err(KeyDefect::Unsupported),
        }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::Ed25519,
            Self::EcdsaP256(_) => Algorithm::EcdsaP256,
        }
    }

    /// Whether `signature` is this key's over `message`. Variable time: everything here is public.
    pub(crate) fn verifies_vartime(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => Signature::from_slice(signature)
                .is_ok_and(|signature| verifies_strictly(key, message, &signature)),
            Self::EcdsaP256(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

    use std::collections::HashSet;

    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use curve25519_dalek::edwards::CompressedEdwardsY;
    use curve25519_dalek::{EdwardsPoint, Scalar};
    use sha2::{Digest, Sha512};

    use super::*;

    /// Every string of 32 bytes that decodes to a point of small order, by whatever decoder: y or y + p where that fits, with both
    /// signs, also where x is 0.
    fn all_encodings_of_small_order() -> HashSet<[u8; 32]> {
        let mut all: HashSet<[u8; 32]> = SMALL_ORDER.into_iter().collect();
        all.extend(SMALL_ORDER.map(with_sign));
        // p and p + 1, for y = 0 and y = 1.
        for low in [0xed, 0xee] {
            let mut encoding = [0xff; 32];
            (encoding[0], encoding[31]) = (low, 0x7f);
            all.extend([encoding, with_sign(encoding)]);
        }
        all
    }

    #[test]
    fn the_points_of_small_order_are_these_eight() {
        let points: HashSet<_> = EIGHT_TORSION.map(|point| point.compress().0).into();
        assert_eq!(points, HashSet::from(SMALL_ORDER));
        assert_eq!(points.len(), 8);
        let all = all_encodings_of_small_order();
        assert_eq!(all.len(), 14, "eight, and six that are not canonical");
        for encoding in all {
            if let Some(point) = CompressedEdwardsY(encoding).decompress() {
                assert!(point.is_small_order());
                assert!(points.contains(&point.compress().0));
            }
        }
    }

    fn challenge(r: &[u8; 32], key: &VerifyingKey, message: &[u8]) -> Scalar {
        let hash = Sha512::new()
            .chain_update(r)
            .chain_update(key.as_bytes())
            .chain_update(message);
        Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
    }

    /// s + ℓ: the same scalar, in an encoding that is refused.
    fn with_order(s: Scalar) -> [u8; 32] {
        let (mut sum, last) = (s.to_bytes(), (Scalar::ZERO - Scalar::ONE).to_bytes());
        let mut carry = 1;
        for (byte, last) in sum.iter_mut().zip(last) {
            let next = u16::from(*byte) + u16::from(last) + carry;
            (*byte, carry) = (next as u8, next >> 8);
        }
        sum
    }

    fn encoded(point: EdwardsPoint) -> [u8; 32] {
        point.compress().0
    }

    /// What a key whose secret is known, with and without a part of small order, can sign with an R of whatever bytes: `s` such
    /// that the equation holds up to small order.
    #[test]
    fn what_is_accepted_is_what_the_strict_verification_accepts() {
        let secret = Scalar::from(0x5eed_u64).invert();
        let nonce = Scalar::from(0x0dd_u64).invert();
        let (mut accepted, mut held_but_weak, mut seen) = (0, 0, 0);
        for torsion in EIGHT_TORSION {
            let key = ED25519_BASEPOINT_POINT * secret + torsion;
            let key = VerifyingKey::from_bytes(&encoded(key)).unwrap();
            assert!(!key.is_weak());
            // R of small order, in every encoding, and R of all cosets of the nonce's point.
            let weak = all_encodings_of_small_order();
            let weak = weak.into_iter().map(|r| (r, Scalar::ZERO));
            let point = ED25519_BASEPOINT_POINT * nonce;
            let whole = EIGHT_TORSION.map(|part| (encoded(point + part), nonce));
            // No point, y above p that is not of small order, and a point that is another's.
            let others = [[2; 32], [0xf0; 32], [0xff; 32], encoded(point + point)];
            let others = others.map(|r| (r, nonce));
            for (r, nonce) in weak.chain(whole).chain(others) {
                for number in 0..32_u8 {
                    let message = [number, 7];
                    let s = nonce + challenge(&r, &key, &message) * secret;
                    for s in [s.to_bytes(), with_order(s), [0xff; 32], [0; 32]] {
                        let signature = Signature::from_components(r, s);
                        let strict = key.verify_strict(&message, &signature).is_ok();
                        let here = verifies_strictly(&key, &message, &signature);
                        assert_eq!(here, strict, "R {r:02x?}, s {s:02x?}");
                        let held = key.verify(&message, &signature).is_ok();
                        accepted += u32::from(here);
                        held_but_weak += u32::from(held && !strict);
                        seen += 1;
                    }
                }
            }
        }
        // Both sides of the comparison occur: what holds and is refused for R alone, too.
        assert!(
            accepted > 100 && held_but_weak > 100,
            "{accepted} {held_but_weak} {seen}"
        );
    }

    #[test]
    fn keys_of_small_order_are_no_issuers() {
        for encoding in all_encodings_of_small_order() {
            let spki = [ED25519_SPKI, &encoding].concat();
            assert!(matches!(
                IssuerPublicKey::from_spki(&spki),
                Err(KeyDefect::Weak | KeyDefect::Invalid)
            ));
        }
    }
}
