//! The keys of companies' certificates, and what they sign with.

use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_ASN1, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
    VerificationAlgorithm,
};
use der::Tag;

use crate::certificate::{Fields, read_bit_string};
use crate::signature::{Algorithm, IssuerPublicKey, KeyDefect};

/// A key in a company's certificate.
#[derive(Clone, Debug)]
pub(super) enum ChainKey {
    Issuer(IssuerPublicKey),
    EcdsaP384(ParsedPublicKey),
    /// RSAPublicKey, DER.
    Rsa(Vec<u8>),
}

/// SubjectPublicKeyInfo of an uncompressed P-384 key, up to the 97 bytes of the point.
const P384_SPKI: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];
/// AlgorithmIdentifier of an RSA key (RFC 3279 section 2.3.1).
const RSA_KEY: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// AlgorithmIdentifier of ecdsa-with-SHA384 (RFC 5758 section 3.2).
const ECDSA_SHA384: &[u8] = &[
    0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03,
];
/// AlgorithmIdentifiers of sha256, sha384 and sha512WithRSAEncryption (RFC 4055 section 5) have this form, with their last arc in the place of the zero.
const RSA_SIGNATURE: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x00, 0x05, 0x00,
];

impl ChainKey {
    pub(super) fn from_spki(spki: &[u8]) -> Result<Self, KeyDefect> {
        if let Some(point) = spki.strip_prefix(P384_SPKI) {
            if point.len() != 97 || point.first() != Some(&4) {
                return Err(KeyDefect::Unsupported);
            }
            let key = ParsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, point);
            return key.map(Self::EcdsaP384).map_err(|_| KeyDefect::Invalid);
        }
        if let Some(key) = rsa_key(spki) {
            // Only whether it is one, of a size that is taken.
            ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
                .map_err(|_| KeyDefect::Invalid)?;
            return Ok(Self::Rsa(key.to_vec()));
        }
        IssuerPublicKey::from_spki(spki).map(Self::Issuer)
    }

    /// Whether the signature is this key's, under the algorithm that stands beside it. Variable time: everything here is public.
    pub(super) fn verifies_vartime(
        &self,
        algorithm: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        match self {
            Self::Issuer(key) => {
                Algorithm::from_identifier(algorithm) == Some(key.algorithm())
                    && key.verifies_vartime(message, signature)
            }
            Self::EcdsaP384(key) => {
                algorithm == ECDSA_SHA384 && key.verify_sig(message, signature).is_ok()
            }
            Self::Rsa(key) => rsa_algorithm(algorithm).is_some_and(|scheme| {
                UnparsedPublicKey::new(scheme, key)
                    .verify(message, signature)
                    .is_ok()
            }),
        }
    }

    /// Whether the signature is this key's over a statement: RSA with SHA-256, the others as their algorithm is.
    pub(super) fn states(&self, statement: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Issuer(key) => key.verifies_vartime(statement, signature),
            Self::EcdsaP384(key) => key.verify_sig(statement, signature).is_ok(),
            Self::Rsa(key) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
                .verify(statement, signature)
                .is_ok(),
        }
    }
}

fn rsa_key(spki: &[u8]) -> Option<&[u8]> {
    const PART: &str = "subjectPublicKeyInfo";
    let mut outer = Fields::new(spki, PART).ok()?;
    let contents = outer.expect(Tag::Sequence, PART).ok()?.contents;
    let mut fields = Fields::new(contents, PART).ok()?;
    if fields.expect(Tag::Sequence, PART).ok()?.whole != RSA_KEY {
        return None;
    }
    read_bit_string(&fields.expect(Tag::BitString, PART).ok()?, PART).ok()
}

fn rsa_algorithm(identifier: &[u8]) -> Option<&'static dyn VerificationAlgorithm> {
    let with = |arc: u8| {
        let mut form = RSA_SIGNATURE;
        form[12] = arc;
        form == identifier
    };
    if with(11) {
        Some(&RSA_PKCS1_2048_8192_SHA256)
    } else if with(12) {
        Some(&RSA_PKCS1_2048_8192_SHA384)
    } else if with(13) {
        Some(&RSA_PKCS1_2048_8192_SHA512)
    } else {
        None
    }
}
