//! Verification of a signature under the cluster's key Y: what FROST(ristretto255, SHA-512) makes, RFC 9591 sections 6.2 and 6.3.
//!
//! ```text
//! signature = R(32) ‖ z(32)
//! c = SHA-512("FROST-RISTRETTO255-SHA512-v1" ‖ "chal" ‖ R ‖ Y ‖ message), little-endian, mod ℓ
//! z·G = R + c·Y
//! ```
//!
//! Signing is the members' (crate `dkg`); verifying needs nothing but Y, and so clients have it here.

use curve25519_dalek::{RistrettoPoint, Scalar};
use sha2::{Digest, Sha512};

use crate::group::{Point, decode_scalar};

/// The context of RFC 9591's ciphersuite and the name of its challenge. No hash of this crate begins like that: those begin
/// with eight bytes of a short length, of which the last seven are 0.
const CHALLENGE: &str = "FROST-RISTRETTO255-SHA512-v1chal";

/// Whether `signature` (R ‖ z, each in its one encoding, R not the identity) over `message` is by the holders of
/// `public_key`. All inputs are public.
#[must_use]
pub fn verify_signature_vartime(public_key: &Point, message: &[u8], signature: &[u8; 64]) -> bool {
    let (Some(r), Some(z)) = (signature.first_chunk::<32>(), signature.last_chunk::<32>()) else {
        return false;
    };
    let (Ok(commitment), Ok(z)) = (Point::from_bytes(r), decode_scalar(z)) else {
        return false;
    };
    let challenge = Scalar::from_bytes_mod_order_wide(
        &Sha512::new()
            .chain_update(CHALLENGE)
            .chain_update(r)
            .chain_update(public_key.as_bytes())
            .chain_update(message)
            .finalize()
            .into(),
    );
    let expected = RistrettoPoint::vartime_double_scalar_mul_basepoint(
        &-challenge,
        public_key.as_ristretto(),
        &z,
    );
    expected == *commitment.as_ristretto()
}
