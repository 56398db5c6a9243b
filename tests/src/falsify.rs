//! What a faulty node makes of a share: one place for the faulty process and for the simulation.

use cryptonode::keyring::ActiveKey;
use rand::{CryptoRng, RngExt};
use reencrypt::{KeyShare, SecretScalar, VerifiedEphemeralKey, VerifiedWrappedKey};

use crate::misbehaviour::Misbehaviour;

/// Where the epoch stands in a share's bytes, little-endian, 8 of them.
const EPOCH: usize = 2;

/// What an honest node would answer with, and what it takes to answer otherwise.
pub struct Truth<'a> {
    /// The key, with this node's share.
    pub key: &'a ActiveKey,
    /// What is asked for.
    pub wrapped: &'a VerifiedWrappedKey,
    /// For whom.
    pub ephemeral: &'a VerifiedEphemeralKey,
    /// The true share's bytes.
    pub share: Vec<u8>,
    /// What was answered to an earlier question.
    pub earlier: Option<&'a [u8]>,
}

impl Misbehaviour {
    /// The share that is sent in place of the true one.
    #[must_use]
    pub fn falsify<R: CryptoRng>(self, truth: Truth<'_>, rng: &mut R) -> Vec<u8> {
        let mut share = truth.share;
        match self {
            Self::Equivocation if rng.random_bool(0.5) => share,
            Self::WrongShare | Self::Equivocation => {
                let own = &truth.key.share;
                let other = SecretScalar::random(rng);
                KeyShare::new(own.index(), own.epoch(), own.public_key(), other)
                    .ok()
                    .and_then(|other| other.reencrypt(truth.wrapped, truth.ephemeral, rng).ok())
                    .map_or(share, |wrong| wrong.to_bytes().to_vec())
            }
            Self::WrongProof => {
                // The lowest bit of the proof's response, its last 32 bytes: still a canonical scalar, and another one.
                if let Some((_, response)) = share.split_last_chunk_mut::<32>() {
                    response[0] ^= 1;
                }
                share
            }
            Self::OtherEpoch => {
                if let Some(byte) = share.get_mut(EPOCH) {
                    *byte = byte.wrapping_add(1);
                }
                share
            }
            Self::Replay => truth.earlier.map_or(share, <[u8]>::to_vec),
            _ => share,
        }
    }
}
