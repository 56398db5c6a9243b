//! FROST(ristretto255, SHA-512), RFC 9591 section 6.2, for `frost-core`.
//!
//! | function | RFC 9591 |
//! |---|---|
//! | H1, H2, H3 | SHA-512(context ‖ `rho`, `chal`, `nonce` ‖ m), 64 bytes, little-endian, mod ℓ |
//! | H4, H5 | SHA-512(context ‖ `msg`, `com` ‖ m), 64 bytes |
//!
//! with the context `FROST-RISTRETTO255-SHA512-v1`. No hash of this cluster begins like that: those of protocol.md 1 begin with
//! the eight bytes of a short length, of which the last seven are 0.

use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::{RistrettoPoint, Scalar};
use frost_core::{Ciphersuite, Field, FieldError, Group, GroupError};
use rand_core_06::{CryptoRng, RngCore};
use sha2::{Digest, Sha512};

/// The ciphersuite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ristretto255Sha512;

/// Integers modulo ℓ.
#[derive(Clone, Copy)]
pub struct ScalarField;

/// ristretto255.
#[derive(Clone, Copy, PartialEq)]
pub struct RistrettoGroup;

const CONTEXT: &str = "FROST-RISTRETTO255-SHA512-v1";

fn hash(what: &str, message: &[u8]) -> [u8; 64] {
    Sha512::new()
        .chain_update(CONTEXT)
        .chain_update(what)
        .chain_update(message)
        .finalize()
        .into()
}

fn hash_to_scalar(what: &str, message: &[u8]) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&hash(what, message))
}

impl Field for ScalarField {
    type Scalar = Scalar;
    type Serialization = [u8; 32];

    fn zero() -> Scalar {
        Scalar::ZERO
    }

    fn one() -> Scalar {
        Scalar::ONE
    }

    fn invert(scalar: &Scalar) -> Result<Scalar, FieldError> {
        if *scalar == Scalar::ZERO {
            return Err(FieldError::InvalidZeroScalar);
        }
        Ok(scalar.invert())
    }

    fn random<R: RngCore + CryptoRng>(rng: &mut R) -> Scalar {
        let mut wide = zeroize::Zeroizing::new([0; 64]);
        rng.fill_bytes(wide.as_mut_slice());
        Scalar::from_bytes_mod_order_wide(&wide)
    }

    fn serialize(scalar: &Scalar) -> [u8; 32] {
        scalar.to_bytes()
    }

    fn little_endian_serialize(scalar: &Scalar) -> [u8; 32] {
        scalar.to_bytes()
    }

    fn deserialize(bytes: &[u8; 32]) -> Result<Scalar, FieldError> {
        reencrypt::decode_scalar(bytes).map_err(|_| FieldError::MalformedScalar)
    }
}

impl Group for RistrettoGroup {
    type Field = ScalarField;
    type Element = RistrettoPoint;
    type Serialization = [u8; 32];

    fn cofactor() -> Scalar {
        Scalar::ONE
    }

    fn identity() -> RistrettoPoint {
        RistrettoPoint::default()
    }

    fn generator() -> RistrettoPoint {
        curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT
    }

    fn serialize(element: &RistrettoPoint) -> Result<[u8; 32], GroupError> {
        if *element == Self::identity() {
            return Err(GroupError::InvalidIdentityElement);
        }
        Ok(element.compress().to_bytes())
    }

    fn deserialize(bytes: &[u8; 32]) -> Result<RistrettoPoint, GroupError> {
        let element = CompressedRistretto(*bytes)
            .decompress()
            .ok_or(GroupError::MalformedElement)?;
        if element == Self::identity() {
            return Err(GroupError::InvalidIdentityElement);
        }
        Ok(element)
    }
}

impl Ciphersuite for Ristretto255Sha512 {
    const ID: &'static str = CONTEXT;

    type Group = RistrettoGroup;
    type HashOutput = [u8; 64];
    type SignatureSerialization = [u8; 64];

    fn H1(m: &[u8]) -> Scalar {
        hash_to_scalar("rho", m)
    }

    fn H2(m: &[u8]) -> Scalar {
        hash_to_scalar("chal", m)
    }

    fn H3(m: &[u8]) -> Scalar {
        hash_to_scalar("nonce", m)
    }

    fn H4(m: &[u8]) -> [u8; 64] {
        hash("msg", m)
    }

    fn H5(m: &[u8]) -> [u8; 64] {
        hash("com", m)
    }

    /// For the key generation of `frost-core`, which is only measured beside this project's: no key here is made by it.
    fn HDKG(m: &[u8]) -> Option<Scalar> {
        Some(hash_to_scalar("dkg", m))
    }
}
