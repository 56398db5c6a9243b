//! The body of a wrapped key (section 3): HKDF-SHA-512 from the shared point `S`, a commitment to the key, and
//! ChaCha20-Poly1305.
//!
//! ```text
//! okm  = HKDF-SHA-512(salt = "cryptonode/v1/wrap", ikm = S, info = Y ‖ U), 64 bytes
//! body = okm[32..64] ‖ ChaCha20-Poly1305(key = okm[0..32], nonce = 0^12, aad = label, plaintext = secret)
//! ```
//!
//! The key is used once, so a fixed nonce will do. The first 32 bytes commit to the key: whoever combined shares wrongly
//! sees it before the cipher is touched, and no ciphertext opens under two keys.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Tag};
use curve25519_dalek::ristretto::RistrettoPoint;
use hkdf::Hkdf;
use sha2::Sha512;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::group::Point;
use crate::secret::SecretBytes;
use crate::tags;

pub(crate) const COMMITMENT_LENGTH: usize = 32;
pub(crate) const TAG_LENGTH: usize = 16;

/// Used once per key.
const NONCE: [u8; 12] = [0; 12];

/// Why a body does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// The key is not the one that the body commits to: `S` is wrong, or the body is.
    Commitment,
    /// The key is right, and what it opens was never sealed with it: the writer's doing.
    Cipher,
}

/// The keys that follow from `S`.
struct Keys {
    commitment: Zeroizing<[u8; 32]>,
    cipher: ChaCha20Poly1305,
}

impl Keys {
    /// `shared` is `S`, which nobody but writer and reader can compute.
    fn derive(shared: &RistrettoPoint, public_key: &Point, u: &Point) -> Self {
        let ikm = Zeroizing::new(shared.compress().to_bytes());
        let mut okm = Zeroizing::new([0; 64]);
        #[expect(clippy::expect_used, reason = "RFC 5869 allows 255 times 64 bytes")]
        Hkdf::<Sha512>::new(Some(tags::WRAP.as_bytes()), &*ikm)
            .expand_multi_info(&[public_key.as_bytes(), u.as_bytes()], &mut *okm)
            .expect("64 bytes are allowed");
        let (key, commitment) = okm.split_at(32);
        let mut kept = Zeroizing::new([0; 32]);
        kept.copy_from_slice(commitment);
        #[expect(
            clippy::expect_used,
            reason = "half of 64 bytes is the length of a key"
        )]
        let cipher = ChaCha20Poly1305::new_from_slice(key).expect("32 bytes are a key");
        Keys {
            commitment: kept,
            cipher,
        }
    }
}

/// The body that opens to `secret` with `shared`.
pub(crate) fn seal(
    shared: &RistrettoPoint,
    public_key: &Point,
    u: &Point,
    label: &[u8],
    secret: &[u8],
) -> Vec<u8> {
    let keys = Keys::derive(shared, public_key, u);
    let mut body = Vec::with_capacity(COMMITMENT_LENGTH + secret.len() + TAG_LENGTH);
    body.extend_from_slice(&*keys.commitment);
    body.extend_from_slice(secret);
    let (_, text) = body.split_at_mut(COMMITMENT_LENGTH);
    #[expect(
        clippy::expect_used,
        reason = "the cipher takes 256 GiB, callers pass 1 KiB"
    )]
    let tag = keys
        .cipher
        .encrypt_inout_detached(&NONCE.into(), label, text.into())
        .expect("short texts are encrypted");
    body.extend_from_slice(&tag);
    body
}

/// Opens what [`seal`] made. The commitment is compared in constant time, before the cipher.
#[inline(never)] // The check of constant time passes over its verdicts by its name.
pub(crate) fn open(
    shared: &RistrettoPoint,
    public_key: &Point,
    u: &Point,
    label: &[u8],
    body: &[u8],
) -> Result<SecretBytes, OpenError> {
    let keys = Keys::derive(shared, public_key, u);
    let (commitment, sealed) = body
        .split_first_chunk::<COMMITMENT_LENGTH>()
        .ok_or(OpenError::Commitment)?;
    if !bool::from(commitment.ct_eq(&*keys.commitment)) {
        return Err(OpenError::Commitment);
    }
    let (text, tag) = sealed
        .split_last_chunk::<TAG_LENGTH>()
        .ok_or(OpenError::Cipher)?;
    let mut secret = SecretBytes::new(text.to_vec());
    keys.cipher
        .decrypt_inout_detached(
            &NONCE.into(),
            label,
            secret.expose_mut().into(),
            &Tag::from(*tag),
        )
        .map_err(|_| OpenError::Cipher)?;
    Ok(secret)
}
