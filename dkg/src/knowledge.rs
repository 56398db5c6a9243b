//! The proof that a dealer knows two secrets: the constant term a of its deal, A = a·G, and n of its encryption key, N = n·G.
//!
//! ```text
//! prove:  k random;  K = k·G;  c = Hs("cryptonode/v1/dkg-proof", params, LE16(i), digest_i, A, N, K);  z = k + c·a + c²·n      proof: K(32) ‖ z(32)
//! verify: z·G = K + c·A + c²·N
//! ```
//!
//! It is Schnorr's proof for several statements under one commitment (Gennaro, Leigh, Sundaram, Yerazunis: *Batching Schnorr
//! Identification Scheme*, ASIACRYPT 2004): from answers to three challenges under one K both secrets follow, because the equations
//! z = k + c·a + c²·n of three different c are independent.
//!
//! That it knows a keeps a dealer from choosing a contribution that cancels another's. That it knows n keeps it from dealing under an N made
//! from another member's, so that complaints about its deal would open what is dealt between that other member and whoever complains. The
//! challenge hashes the dealer's index and the digest, so a copied proof proves nothing.

use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT;
use curve25519_dalek::traits::VartimeMultiscalarMul;
use curve25519_dalek::{RistrettoPoint, Scalar};
use rand_core::CryptoRng;
use reencrypt::{Point, SecretScalar, decode_scalar, hash_to_scalar};
use zeroize::{Zeroize, Zeroizing};

use crate::tags;

/// What a proof is about, and what it is bound to.
#[derive(Clone, Copy)]
pub(crate) struct Statement<'a> {
    pub(crate) params: &'a [u8; 64],
    pub(crate) dealer: u16,
    pub(crate) digest: &'a [u8; 64],
    /// A_0.
    pub(crate) constant: &'a Point,
    /// N_i.
    pub(crate) key: &'a Point,
}

/// A proof that has been decoded, with its challenge: true if z·G = K + c·A + c²·N.
pub(crate) struct Proof {
    pub(crate) commitment: Point,
    pub(crate) challenge: Scalar,
    pub(crate) response: Scalar,
}

impl Statement<'_> {
    fn challenge(&self, commitment: &[u8; 32]) -> Scalar {
        hash_to_scalar(
            tags::PROOF,
            &[
                self.params,
                &self.dealer.to_le_bytes(),
                self.digest,
                self.constant.as_bytes(),
                self.key.as_bytes(),
                commitment,
            ],
        )
    }

    /// Proves knowledge of a and n; the nonce comes from the secrets, the statement and fresh randomness together.
    pub(crate) fn prove<R: CryptoRng>(
        &self,
        constant: &SecretScalar,
        key: &SecretScalar,
        rng: &mut R,
    ) -> [u8; 64] {
        let mut fresh = Zeroizing::new([0; 64]);
        rng.fill_bytes(fresh.as_mut_slice());
        let mut nonce = hash_to_scalar(
            tags::PROOF_NONCE,
            &[
                constant.to_bytes().as_slice(),
                key.to_bytes().as_slice(),
                fresh.as_slice(),
                self.params,
                &self.dealer.to_le_bytes(),
                self.digest,
                self.constant.as_bytes(),
                self.key.as_bytes(),
            ],
        );
        let commitment = RistrettoPoint::mul_base(&nonce).compress().to_bytes();
        let c = self.challenge(&commitment);
        let response = nonce + c * (constant.expose() + c * key.expose());
        nonce.zeroize();
        let mut proof = [0; 64];
        let (first, second) = proof.split_at_mut(32);
        first.copy_from_slice(&commitment);
        second.copy_from_slice(response.as_bytes());
        proof
    }

    /// Decodes a proof; `None` if it is no proof at all.
    pub(crate) fn decode(&self, proof: &[u8; 64]) -> Option<Proof> {
        let (commitment, response) = proof.split_first_chunk::<32>()?;
        let response = decode_scalar(response.first_chunk::<32>()?).ok()?;
        let challenge = self.challenge(commitment);
        Some(Proof {
            commitment: Point::from_bytes(commitment).ok()?,
            challenge,
            response,
        })
    }
}

impl Proof {
    /// Whether z·G = K + c·A + c²·N.
    pub(crate) fn verify_vartime(&self, constant: &Point, key: &Point) -> bool {
        let c = self.challenge;
        RistrettoPoint::vartime_multiscalar_mul(
            [self.response, -c, -(c * c)],
            [
                RISTRETTO_BASEPOINT_POINT,
                *constant.as_ristretto(),
                *key.as_ristretto(),
            ],
        ) == *self.commitment.as_ristretto()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        missing_docs
    )]
    use super::*;

    #[test]
    fn a_proof_serves_its_own_statement_only() {
        let rng = &mut rand::rng();
        let secrets: [SecretScalar; 3] = std::array::from_fn(|_| SecretScalar::random(rng));
        let [a, n, other] = secrets.each_ref().map(SecretScalar::public);
        let statement = Statement {
            params: &[1; 64],
            dealer: 2,
            digest: &[3; 64],
            constant: &a,
            key: &n,
        };
        let proof = statement.prove(&secrets[0], &secrets[1], rng);
        let holds = |statement: Statement<'_>, proof: &[u8; 64]| {
            let decoded = statement.decode(proof);
            decoded.is_some_and(|decoded| decoded.verify_vartime(statement.constant, statement.key))
        };
        assert!(holds(statement, &proof));
        let others = [
            Statement {
                params: &[4; 64],
                ..statement
            },
            Statement {
                dealer: 3,
                ..statement
            },
            Statement {
                digest: &[4; 64],
                ..statement
            },
            Statement {
                constant: &other,
                ..statement
            },
            Statement {
                key: &other,
                ..statement
            },
            Statement {
                constant: &n,
                key: &a,
                ..statement
            },
        ];
        for other in others {
            assert!(!holds(other, &proof));
        }
        assert!(!holds(statement, &[255; 64]));
        // Who knows only one of the two secrets, or their sum.
        for (first, second) in [(0, 2), (2, 1), (1, 0), (2, 2)] {
            let proof = statement.prove(&secrets[first], &secrets[second], rng);
            assert!(!holds(statement, &proof));
        }
    }
}
