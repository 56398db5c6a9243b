//! Schnorr proofs of knowledge of the logarithm of a point, each bound to what it is made for.
//!
//! ```text
//! prove:  k random;  K = k·G;  c = Hs(tag, items…, P, K);  z = k + c·p      proof: K(32) ‖ z(32)
//! verify: z·G = K + c·P
//! ```
//!
//! | tag | P | items |
//! |---|---|---|
//! | `dkg-proof-constant` | A_i0, a deal's constant term | params, LE16(i), digest_i |
//! | `dkg-proof-encryption` | N_j, a member's encryption key | hash of the proposal, LE16(j) |
//!
//! The first keeps a dealer from choosing a contribution that cancels another's; the second keeps a member from taking an N made
//! from another's, so that complaints of its deals would open what was dealt to that other one. The challenge hashes whose proof
//! it is, so a copied one proves nothing.

use curve25519_dalek::traits::VartimeMultiscalarMul;
use curve25519_dalek::{RistrettoPoint, Scalar};
use rand_core::CryptoRng;
use reencrypt::{Hasher, Point, SecretScalar, decode_scalar, hash, hash_to_scalar};
use zeroize::{Zeroize, Zeroizing};

use crate::tags;

/// What a proof is bound to beside its point.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) tag: &'static str,
    pub(crate) items: &'a [&'a [u8]],
}

/// A proof that has been decoded, with its challenge: true if z·G = K + c·P.
pub(crate) struct Proof {
    pub(crate) commitment: Point,
    pub(crate) challenge: Scalar,
    pub(crate) response: Scalar,
}

impl Context<'_> {
    fn challenge(&self, point: &Point, commitment: &[u8; 32]) -> Scalar {
        let last: [&[u8]; 2] = [point.as_bytes(), commitment];
        hash_to_scalar(self.tag, &[self.items, &last].concat())
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
        let bytes = secret.to_bytes();
        let first: [&[u8]; 3] = [self.tag.as_bytes(), bytes.as_slice(), fresh.as_slice()];
        let last: [&[u8]; 1] = [point.as_bytes()];
        let mut nonce = hash_to_scalar(tags::PROOF_NONCE, &[&first, self.items, &last].concat());
        let commitment = RistrettoPoint::mul_base(&nonce).compress().to_bytes();
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
        RistrettoPoint::vartime_double_scalar_mul_basepoint(
            &-self.challenge,
            point.as_ristretto(),
            &self.response,
        ) == *self.commitment.as_ristretto()
    }

    fn to_bytes(&self) -> [[u8; 32]; 2] {
        [*self.commitment.as_bytes(), self.response.to_bytes()]
    }
}

/// Whether all proofs about their points are true, as one multi-scalar multiplication:
///
/// ```text
/// (Σ r_j·z_j)·G = Σ r_j·K_j + r_j·c_j·P_j
/// ```
///
/// The weights r_j of 128 bits are hashed from all that is verified, so that everybody comes to the same verdict.
pub(crate) fn all_hold_vartime(claims: &[(Proof, Point)]) -> bool {
    let mut hasher = Hasher::new(tags::PROOF_WEIGHTS);
    for (proof, point) in claims {
        let [commitment, response] = proof.to_bytes();
        hasher = hasher
            .item(point.as_bytes())
            .item(proof.challenge.as_bytes())
            .item(&commitment)
            .item(&response);
    }
    let seed = hasher.finalize();
    let (mut scalars, mut points) = (Vec::new(), Vec::<&RistrettoPoint>::new());
    let mut left = Scalar::ZERO;
    for (number, (proof, point)) in (0u32..).zip(claims) {
        let bytes = hash(tags::PROOF_WEIGHTS, &[&seed, &number.to_le_bytes()]);
        let weight = bytes
            .first_chunk()
            .map_or(Scalar::ONE, |half| Scalar::from(u128::from_le_bytes(*half)));
        left += weight * proof.response;
        scalars.extend([weight, weight * proof.challenge]);
        points.extend([proof.commitment.as_ristretto(), point.as_ristretto()]);
    }
    RistrettoPoint::mul_base(&left) == RistrettoPoint::vartime_multiscalar_mul(scalars, points)
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

    fn claims(count: u16) -> Vec<(Proof, Point)> {
        let rng = &mut rand::rng();
        (0..count)
            .map(|index| {
                let secret = SecretScalar::random(rng);
                let point = secret.public();
                let index = index.to_le_bytes();
                let context = Context {
                    tag: tags::PROOF_ENCRYPTION,
                    items: &[b"proposal", &index],
                };
                let proof = context.prove(&secret, &point, rng);
                (context.decode(&point, &proof).unwrap(), point)
            })
            .collect()
    }

    #[test]
    fn a_batch_holds_if_and_only_if_each_proof_does() {
        for count in [0, 1, 2, 9] {
            let mut claims = claims(count);
            assert!(all_hold_vartime(&claims));
            for place in 0..claims.len() {
                claims[place].0.response += Scalar::ONE;
                assert!(!claims[place].0.verify_vartime(&claims[place].1));
                assert!(!all_hold_vartime(&claims));
                claims[place].0.response -= Scalar::ONE;
                assert!(claims[place].0.verify_vartime(&claims[place].1));
            }
        }
    }

    /// Two errors that cancel when all weights are one.
    #[test]
    fn errors_of_two_do_not_cancel() {
        let mut claims = claims(2);
        claims[0].0.response += Scalar::ONE;
        claims[1].0.response -= Scalar::ONE;
        assert!(!all_hold_vartime(&claims));
    }

    #[test]
    fn a_proof_serves_its_own_context_and_point_only() {
        let rng = &mut rand::rng();
        let secret = SecretScalar::random(rng);
        let point = secret.public();
        let context = Context {
            tag: tags::PROOF_ENCRYPTION,
            items: &[b"one", b"two"],
        };
        let proof = context.prove(&secret, &point, rng);
        let holds = |tag, items: &[&[u8]], point: &Point| {
            let proof = Context { tag, items }.decode(point, &proof);
            proof.is_some_and(|proof| proof.verify_vartime(point))
        };
        assert!(holds(context.tag, context.items, &point));
        assert!(!holds(tags::PROOF_CONSTANT, context.items, &point));
        assert!(!holds(context.tag, &[b"one", b"three"], &point));
        assert!(!holds(context.tag, &[b"onetwo"], &point));
        let other = SecretScalar::random(rng).public();
        assert!(!holds(context.tag, context.items, &other));
        assert!(context.decode(&point, &[255; 64]).is_none());
    }
}
