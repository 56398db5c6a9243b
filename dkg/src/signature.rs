//! Identity signatures: Ed25519 (RFC 8032) over `H(tag, items…)`, with a tag of its own for each kind of message.
//!
//! # One by one, or many at once
//!
//! [`verify`] is strict: it refuses keys and commitments of small order and non-canonical encodings, so that everybody
//! comes to the same verdict. It decides whatever the leader takes from a member, and certificates for third parties.
//!
//! [`Batch`] verifies many signatures for half the cost. It lets pass what [`verify`] refuses in one case only: the author itself has
//! signed with a commitment that has a component of small order, and it takes one try in eight. The random weights are a hash of
//! all that is verified, so everybody who verifies the same batch comes to the same verdict. It therefore serves members, where an honest
//! leader has verified each signature already, and where an odd signature is as good a promise of its author as a plain one.
//!
//! ```text
//! k_i = SHA-512(R_i ‖ A_i ‖ M_i) mod ℓ                                       −(Σ w_i·s_i)·B + Σ w_i·R_i + Σ w_i·k_i·A_i = 0
//! seed = H("cryptonode/v1/dkg-batch", SHA-512(R_1 ‖ A_1 ‖ M_1), s_1, …)
//! w_0 ‖ w_1 ‖ w_2 ‖ w_3 = H("cryptonode/v1/dkg-batch", seed, LE32(0)), and so on, each of 128 bits, little-endian
//! ```
//!
//! (ed25519-dalek has the same equation, with weights from a sponge that takes a tenth of the time.)

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use reencrypt::Hasher;
use sha2::{Digest, Sha512};

use crate::tags;

/// Signs `H(tag, items…)`.
pub(crate) fn sign(identity: &SigningKey, tag: &str, items: &[&[u8]]) -> [u8; 64] {
    identity.sign(&reencrypt::hash(tag, items)).to_bytes()
}

/// Whether `signature` over `H(tag, items…)` is by `identity`.
pub(crate) fn verify(
    identity: &VerifyingKey,
    tag: &str,
    items: &[&[u8]],
    signature: &[u8; 64],
) -> bool {
    let message = reencrypt::hash(tag, items);
    identity
        .verify_strict(&message, &Signature::from_bytes(signature))
        .is_ok()
}

/// Decodes an identity: a canonical point that is not of small order.
pub(crate) fn identity_key(bytes: &[u8; 32]) -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(bytes)
        .ok()
        .filter(|key| !key.is_weak())
}

/// Signatures to be verified together.
#[derive(Default)]
pub(crate) struct Batch(Vec<Claim>);

struct Claim {
    identity: VerifyingKey,
    message: [u8; 64],
    signature: [u8; 64],
}

impl Batch {
    /// Adds the claim that `signature` over `H(tag, items…)` is by `identity`.
    pub(crate) fn push(
        &mut self,
        identity: &VerifyingKey,
        tag: &str,
        items: &[&[u8]],
        signature: &[u8; 64],
    ) {
        self.0.push(Claim {
            identity: *identity,
            message: reencrypt::hash(tag, items),
            signature: *signature,
        });
    }

    /// The places of the false ones, in the order in which they were pushed.
    pub(crate) fn verify(&self) -> Result<(), Vec<usize>> {
        if self.holds_vartime() {
            return Ok(());
        }
        let culprits: Vec<usize> = self
            .0
            .iter()
            .enumerate()
            .filter(|(_, claim)| {
                let signature = Signature::from_bytes(&claim.signature);
                let verdict = claim.identity.verify_strict(&claim.message, &signature);
                verdict.is_err()
            })
            .map(|(place, _)| place)
            .collect();
        if culprits.is_empty() {
            Ok(())
        } else {
            Err(culprits)
        }
    }

    /// The equation of the module's head.
    fn holds_vartime(&self) -> bool {
        let count = self.0.len();
        let (mut responses, mut challenges) =
            (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut seed = Hasher::new(tags::BATCH);
        for claim in &self.0 {
            let Some((commitment, response)) = claim.halves() else {
                return false;
            };
            let Ok(scalar) = reencrypt::decode_scalar(response) else {
                return false;
            };
            let challenge: [u8; 64] = Sha512::new()
                .chain_update(commitment)
                .chain_update(claim.identity.as_bytes())
                .chain_update(claim.message)
                .finalize()
                .into();
            seed = seed.item(&challenge).item(response);
            responses.push(scalar);
            challenges.push(Scalar::from_bytes_mod_order_wide(&challenge));
        }
        let weights = weights(&seed.finalize(), count);
        let response: Scalar = responses.iter().zip(&weights).map(|(s, w)| s * w).sum();
        let weighted = challenges.iter().zip(&weights).map(|(c, w)| c * w);
        let commitments = self.0.iter().map(|claim| {
            let (commitment, _) = claim.halves()?;
            CompressedEdwardsY(*commitment).decompress()
        });
        let identities = self.0.iter().map(|claim| Some(claim.identity.to_edwards()));
        EdwardsPoint::optional_multiscalar_mul(
            std::iter::once(-response)
                .chain(weights.iter().copied())
                .chain(weighted),
            std::iter::once(Some(ED25519_BASEPOINT_POINT))
                .chain(commitments)
                .chain(identities),
        )
        .is_some_and(|sum| sum.is_identity())
    }
}

impl Claim {
    /// R and s.
    fn halves(&self) -> Option<(&[u8; 32], &[u8; 32])> {
        let (commitment, response) = self.signature.split_first_chunk::<32>()?;
        Some((commitment, response.first_chunk::<32>()?))
    }
}

/// Weights of 128 bits, four of each hash.
fn weights(seed: &[u8; 64], count: usize) -> Vec<Scalar> {
    (0u32..)
        .take(count.div_ceil(4))
        .flat_map(|number| {
            let bytes = reencrypt::hash(tags::BATCH, &[seed, &number.to_le_bytes()]);
            let (quarters, _) = bytes.as_chunks::<16>();
            quarters
                .iter()
                .map(|quarter| Scalar::from(u128::from_le_bytes(*quarter)))
                .collect::<Vec<_>>()
        })
        .take(count)
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        missing_docs
    )]
    use curve25519_dalek::constants::EIGHT_TORSION;

    use super::*;

    /// A signature whose commitment has a component of small order: R = r·B + T.
    pub(crate) fn sign_oddly(identity: &SigningKey, tag: &str, items: &[&[u8]]) -> [u8; 64] {
        let nonce = Scalar::random(&mut rand::rng());
        let commitment = (EdwardsPoint::mul_base(&nonce) + EIGHT_TORSION[1]).compress();
        let challenge = Sha512::new()
            .chain_update(commitment.as_bytes())
            .chain_update(identity.verifying_key().as_bytes())
            .chain_update(reencrypt::hash(tag, items));
        let challenge = Scalar::from_bytes_mod_order_wide(&challenge.finalize().into());
        let response = nonce + challenge * identity.to_scalar();
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(commitment.as_bytes());
        signature[32..].copy_from_slice(response.as_bytes());
        signature
    }

    /// Three honest signatures and one more.
    fn batch(odd: &SigningKey, signature: &[u8; 64]) -> Batch {
        let mut batch = Batch::default();
        for number in 1..4u8 {
            let key = SigningKey::from_bytes(&[number; 32]);
            let plain = sign(&key, "test", &[b"all", &[number]]);
            batch.push(&key.verifying_key(), "test", &[b"all", &[number]], &plain);
        }
        batch.push(&odd.verifying_key(), "test", &[b"it"], signature);
        batch
    }

    #[test]
    fn an_odd_signature_passes_a_batch_now_and_then_and_never_alone() {
        let key = SigningKey::from_bytes(&[9; 32]);
        let mut passed = 0;
        for _ in 0..200 {
            let odd = sign_oddly(&key, "test", &[b"it"]);
            assert!(!verify(&key.verifying_key(), "test", &[b"it"], &odd));
            let verdict = batch(&key, &odd).verify();
            // Everybody has the same verdict, whenever it is asked.
            assert_eq!(batch(&key, &odd).verify(), verdict);
            match verdict {
                Ok(()) => passed += 1,
                Err(places) => assert_eq!(places, [3]),
            }
        }
        assert!((1..100).contains(&passed), "{passed} of 200");
    }

    #[test]
    fn a_batch_names_what_is_false() {
        let key = SigningKey::from_bytes(&[9; 32]);
        let good = sign(&key, "test", &[b"it"]);
        assert_eq!(batch(&key, &good).verify(), Ok(()));
        let other = sign(&key, "test", &[b"that"]);
        let another = sign(&SigningKey::from_bytes(&[8; 32]), "test", &[b"it"]);
        for false_one in [other, another, [0; 64], [255; 64]] {
            assert_eq!(batch(&key, &false_one).verify(), Err(vec![3]));
        }
    }
}
