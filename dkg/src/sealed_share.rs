//! A member's share, sealed to the recovery key of its own phrase.
//!
//! ```text
//! v random;  V = v·G;  info = params ‖ LE16(j) ‖ identity ‖ R_j ‖ set ‖ V
//! key = HKDF-SHA-512(salt = "cryptonode/v1/dkg-sealed-share", ikm = v·R_j, info), 32 bytes
//! sealed = V(32) ‖ ChaCha20-Poly1305(key, nonce = 0^12, aad = info, plaintext = x_j)(48)
//! ```
//!
//! The key is used once, so the fixed nonce is safe. Everybody keeps everybody's sealed shares in the certificate: a
//! node that lost its disk gets its own back from any member, with its phrase, and from nobody without.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use reencrypt::{Point, SecretScalar};
use sha2::Sha512;
use zeroize::Zeroizing;

use crate::proposal::MemberIdentity;
use crate::tags;

/// Bytes of a sealed share.
pub const SEALED_SHARE: usize = 80;

/// What a sealed share is bound to.
pub(crate) struct Binding<'a> {
    pub(crate) params: &'a [u8; 64],
    /// j.
    pub(crate) index: u16,
    pub(crate) member: &'a MemberIdentity,
    /// The hash of the set of deals.
    pub(crate) set: &'a [u8; 64],
}

impl Binding<'_> {
    fn info(&self, ephemeral: &Point) -> Vec<u8> {
        let index = self.index.to_le_bytes();
        let parts: [&[u8]; 6] = [
            self.params,
            &index,
            &self.member.identity,
            &self.member.recovery_public,
            self.set,
            ephemeral.as_bytes(),
        ];
        parts.concat()
    }

    fn cipher(shared: &[u8; 32], info: &[u8]) -> ChaCha20Poly1305 {
        let mut key = Zeroizing::new([0; 32]);
        let hkdf = Hkdf::<Sha512>::new(Some(tags::SEALED_SHARE.as_bytes()), shared);
        #[allow(
            clippy::expect_used,
            reason = "HKDF-SHA-512 gives up to 16,320 bytes, and 32 are asked for"
        )]
        hkdf.expand(info, key.as_mut_slice()).expect("32 bytes");
        ChaCha20Poly1305::new(&Key::from(*key))
    }

    /// Seals x_j to R_j. `None` if R_j is no point, which a checked proposal rules out.
    pub(crate) fn seal<R: CryptoRng>(
        &self,
        share: &SecretScalar,
        rng: &mut R,
    ) -> Option<[u8; SEALED_SHARE]> {
        let recovery_public = Point::from_bytes(&self.member.recovery_public).ok()?;
        let secret = SecretScalar::random(rng);
        let ephemeral = secret.public();
        let info = self.info(&ephemeral);
        let plaintext = share.to_bytes();
        let ciphertext = Self::cipher(&secret.diffie_hellman(&recovery_public), &info)
            .encrypt(
                &Nonce::default(),
                Payload {
                    msg: plaintext.as_slice(),
                    aad: &info,
                },
            )
            .ok()?;
        let mut sealed = [0; SEALED_SHARE];
        let (first, second) = sealed.split_at_mut(32);
        first.copy_from_slice(ephemeral.as_bytes());
        if second.len() != ciphertext.len() {
            return None;
        }
        second.copy_from_slice(&ciphertext);
        Some(sealed)
    }

    /// Opens a sealed share with ρ_j. `None` if it was not sealed to this key, or to another result.
    pub(crate) fn open(
        &self,
        recovery: &SecretScalar,
        sealed: &[u8; SEALED_SHARE],
    ) -> Option<SecretScalar> {
        let (ephemeral, ciphertext) = sealed.split_first_chunk::<32>()?;
        let ephemeral = Point::from_bytes(ephemeral).ok()?;
        let info = self.info(&ephemeral);
        let plaintext = Zeroizing::new(
            Self::cipher(&recovery.diffie_hellman(&ephemeral), &info)
                .decrypt(
                    &Nonce::default(),
                    Payload {
                        msg: ciphertext,
                        aad: &info,
                    },
                )
                .ok()?,
        );
        SecretScalar::from_canonical_bytes(plaintext.first_chunk::<32>()?).ok()
    }
}
