//! Schnorr proofs that a dealer knows the logarithm of a point of its deal, bound to that deal.
//!
//! ```text
//! prove:  k random;  K = k·G;  c = Hs(tag, params, LE16(i), digest_i, P, K);  z = k + c·p      proof: K(32) ‖ z(32)
//! verify: z·G = K + c·P
//! ```
//!
//! One proof is for the constant term, so that nobody can choose a contribution that cancels another's; one is for e,
//! so that nobody can deal under an E made from another dealer's and have complaints open that dealer's shares.
//! Each has a tag of its own. The challenge hashes the dealer's index and the digest, so a copied proof proves nothing.

use curve25519_dalek::Scalar;
use rand_core::CryptoRng;
use reencrypt::{Point, SecretScalar, decode_scalar, hash_to_scalar};
use zeroize::{Zeroize, Zeroizing};

use crate::tags;

/// What a proof is bound to beside its point.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) tag: &'static str,
    pub(crate) params: &'a [u8; 64],
    pub(crate) dealer: u16,
    pub(crate) digest: &'a [u8; 64],
}

/// A proof that has been decoded, with its challenge: true if z·G = K + c·P.
pub(crate) struct Proof {
    pub(crate) commitment: Point,
    pub(crate) challenge: Scalar,
    pub(crate) response: Scalar,
}

impl Context<'_> {
    fn challenge(&self, point: &Point, commitment: &[u8; 32]) -> Scalar {
        let index = self.dealer.to_le_bytes();
        hash_to_scalar(
            self.tag,
            &[
                self.params,
                &index,
                self.digest,
                point.as_bytes(),
                commitment,
            ],
        )
    }

    /// Proves knowledge of `secret`; the nonce comes from the secret, the statement and fresh randomness together.
    pub(crate) fn prove<R: CryptoRng>(
        &self,
        secret: &SecretScalar,
        point: &Point,
        rng: &mut R,
    ) -> [u8; 64] {
        let mut fresh = Zeroizing::new([0; 64]);
        rng.fill_bytes(fresh.as_mut_slice());
        let index = self.dealer.to_le_bytes();
        let mut nonce = hash_to_scalar(
            tags::PROOF_NONCE,
            &[
                self.tag.as_bytes(),
                secret.to_bytes().as_slice(),
                fresh.as_slice(),
                self.params,
                &index,
                self.digest,
                point.as_bytes(),
            ],
        );
        let commitment = curve25519_dalek::RistrettoPoint::mul_base(&nonce)
            .compress()
            .to_bytes();
        let response = nonce + self.challenge(point, &commitment) * secret.expose();
        nonce.zeroize();
        let mut proof = [0; 64];
        let (first, second) = proof.split_at_mut(32);
        first.copy_from_slice(&commitment);
        second.copy_from_slice(response.as_bytes());
        proof
    }

    /// Decodes a proof about `point`; `None` if it is no proof at all.
    pub(crate) fn decode(&self, point: &Point, proof: &[u8; 64]) -> Option<Proof> {
        let (commitment, response) = proof.split_first_chunk::<32>()?;
        let response = decode_scalar(response.first_chunk::<32>()?).ok()?;
        let challenge = self.challenge(point, commitment);
        Some(Proof {
            commitment: Point::from_bytes(commitment).ok()?,
            challenge,
            response,
        })
    }
}

impl Proof {
    /// Whether z·G = K + c·P.
    pub(crate) fn verify_vartime(&self, point: &Point) -> bool {
        curve25519_dalek::RistrettoPoint::vartime_double_scalar_mul_basepoint(
            &-self.challenge,
            point.as_ristretto(),
            &self.response,
        ) == *self.commitment.as_ristretto()
    }
}
