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
use ed25519_dalek::VerifyingKey;

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
            Self::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Self::EcdsaP256(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}
