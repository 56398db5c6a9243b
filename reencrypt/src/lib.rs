//! Threshold re-encryption on ristretto255: wrapped keys, ephemeral keys, shares, combination.
//!
//! # What it is for
//!
//! A writer encrypts a data key under the public key `Y` of a cluster ([`wrap`]). The secret of `Y` is nowhere: each of
//! n nodes holds a share of it ([`KeyShare`]). A reader makes an ephemeral key for one read ([`EphemeralSecret`]); each
//! node that approves answers with a share of a *re-encryption* of the data key to that ephemeral key
//! ([`KeyShare::reencrypt`]); from any t answers the reader opens it ([`Opening`]), and nobody else can, not even who
//! sees all the answers. The cluster never sees the data key.
//!
//! The scheme is TDH2 (Shoup and Gennaro, *Securing Threshold Cryptosystems against Chosen Ciphertext Attack*, J.
//! Cryptology 2002), turned into threshold re-encryption as in Calypso (Kokoris-Kogias et al., VLDB 2021).
//!
//! # What it assumes
//!
//! Decisional Diffie–Hellman in ristretto255, SHA-512 as a random oracle, fewer than t corrupt nodes, and a caller who
//! finds out whether a read is approved before it asks for a share. Where the shares come from is not this crate's
//! business, nor are networks, clocks and disks: everything here is a function of its arguments, randomness included.
//!
//! # How the types keep order
//!
//! What comes from others is parsed into an unverified type ([`WrappedKey`], [`EphemeralKey`], [`Share`]); verification,
//! and nothing else, turns it into a verified one ([`VerifiedWrappedKey`], [`VerifiedEphemeralKey`], [`VerifiedShare`]),
//! and only those are computed with. Errors are enums with one variant per reason.
//!
//! # A whole read
//!
//! ```
//! use reencrypt::{
//!     EphemeralKey, EphemeralSecret, KeyShare, Opening, Progress, PublicKeyPackage, SecretScalar, WrappedKey,
//!     verify_request, wrap,
//! };
//!
//! let rng = &mut rand::rng();
//! // A cluster of one: x is the whole secret. A real one comes from a key generation among n nodes.
//! let x = SecretScalar::random(rng);
//! let y = x.public();
//! let package = PublicKeyPackage::new(y, 0, 1, vec![y])?;
//! let node = KeyShare::new(1, 0, y, x)?;
//! node.check(&package)?;
//!
//! // The writer.
//! let wrapped = wrap(&y, b"what this key opens", &[7; 32], rng)?;
//! let wrapped_bytes = wrapped.as_bytes();
//!
//! // The reader, who found the wrapped key somewhere.
//! let found = WrappedKey::parse(wrapped_bytes)?.verify(rng)?;
//! let secret = EphemeralSecret::new(&found, rng);
//! let request_bytes = *secret.public().as_bytes();
//!
//! // The node, once it knows that the read is approved.
//! let wrapped = WrappedKey::parse(wrapped_bytes)?;
//! let ephemeral = EphemeralKey::parse(&request_bytes)?;
//! let (wrapped, ephemeral) = verify_request(&wrapped, &ephemeral, rng)?;
//! let answer = node.reencrypt(&wrapped, &ephemeral, rng)?.to_bytes();
//!
//! // The reader again.
//! let mut opening = Opening::new(found, secret, package)?;
//! match opening.add(1, &answer) {
//!     Progress::Opened(data_key) => assert_eq!(data_key.expose(), &[7; 32]),
//!     other => panic!("{other:?}"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod body;
mod ephemeral_key;
pub mod equality;
mod error;
mod group;
mod hash;
mod key_certificate;
pub mod lagrange;
mod opening;
pub mod polynomial;
mod public_key_package;
mod request;
mod schnorr;
mod secret;
mod share;
mod tags;
mod wrapped_key;

#[cfg(test)]
mod vectors;

pub use curve25519_dalek::scalar::Scalar;

pub use crate::ephemeral_key::{EphemeralKey, EphemeralSecret, VerifiedEphemeralKey};
pub use crate::error::{
    EphemeralKeyError, InterpolationError, KeyShareError, PointError, ProofError,
    PublicKeyPackageError, RequestError, ScalarError, ShareError, WrapError, WrappedKeyError,
};
pub use crate::group::{Point, decode_scalar};
pub use crate::hash::{Hasher, hash, hash_to_scalar};
pub use crate::key_certificate::{
    CertifiedMember, KeyCertificate, KeyCertificateError, KeyStatement, MAX_KEY_CERTIFICATE,
    ResultName,
};
pub use crate::opening::{Culprit, Opening, Progress};
pub use crate::public_key_package::PublicKeyPackage;
pub use crate::request::verify_request;
pub use crate::schnorr::verify_signature_vartime;
pub use crate::secret::{SecretBytes, SecretScalar};
pub use crate::share::{
    KeyShare, PendingShare, Share, UnprovenShare, VerifiedShare, verify_shares,
};
pub use crate::wrapped_key::{
    MAX_LABEL, MAX_SECRET, MAX_WRAPPED_KEY, MIN_SECRET, NamedWrappedKey, VerifiedWrappedKey,
    WrappedKey, wrap,
};
