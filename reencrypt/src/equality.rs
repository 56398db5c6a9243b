//! The equality proof (section 2): that `P1 = s·B1` and `P2 = s·B2` for one and the same `s`, which stays secret.
//!
//! Chaum and Pedersen's proof, made non-interactive by Fiat and Shamir's transform:
//!
//! ```text
//! prove:  w random;  W1 = w·B1;  W2 = w·B2
//!         e = Hs("cryptonode/v1/dleq", purpose, ctx…, B1, B2, P1, P2, W1, W2);  f = w + e·s
//! proof:  W1(32) ‖ W2(32) ‖ f(32)
//! verify: f·B1 = W1 + e·P1  and  f·B2 = W2 + e·P2
//! ```
//!
//! What goes wrong without the details:
//!
//! - *A challenge over the commitments alone* lets a proof be moved to another statement, so the whole statement, its
//!   purpose and its context are hashed.
//! - *A nonce `w` used for two challenges* gives `s` away. It is derived from the secret, the statement and fresh
//!   randomness together, so that neither a stuck generator nor a rolled-back one repeats it for different statements.
//! - *One weight for both equations of a proof in a batch* lets `P2 = s·(B1 + B2) − P1` pass for anybody's `P1`. See
//!   [`Batch`].

mod batch;

use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

pub use self::batch::{Batch, Culprits};
use crate::error::ProofError;
use crate::group::{self, Point, VartimeSum, decode_scalar};
use crate::hash::Hasher;
use crate::secret::SecretScalar;
use crate::tags;

/// What is proven: `points.0 = s·bases.0` and `points.1 = s·bases.1`, for a purpose, in a context.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// What the proof is for, so that a proof for one thing is none for another.
    pub purpose: &'a str,
    /// What the proof is bound to: separate items of the hash.
    pub context: &'a [&'a [u8]],
    /// `B1` and `B2`.
    pub bases: (Point, Point),
    /// `P1` and `P2`.
    pub points: (Point, Point),
}

impl Statement<'_> {
    /// The hash of all but the commitments, to be continued.
    fn hasher(&self, hasher: Hasher) -> Hasher {
        hasher
            .item(self.purpose.as_bytes())
            .items(self.context)
            .item(self.bases.0.as_bytes())
            .item(self.bases.1.as_bytes())
            .item(self.points.0.as_bytes())
            .item(self.points.1.as_bytes())
    }

    fn challenge(&self, commitments: (&[u8; 32], &[u8; 32])) -> Scalar {
        self.hasher(Hasher::new(tags::EQUALITY))
            .item(commitments.0)
            .item(commitments.1)
            .finalize_scalar()
    }

    /// A fresh nonce `w` for this statement.
    pub(crate) fn nonce<R>(&self, secret: &SecretScalar, rng: &mut R) -> SecretScalar
    where
        R: CryptoRng + ?Sized,
    {
        let mut fresh = Zeroizing::new([0; 64]);
        loop {
            rng.fill_bytes(&mut *fresh);
            let hasher = Hasher::new(tags::EQUALITY_NONCE)
                .item(&*fresh)
                .item(&*secret.to_bytes());
            if let Ok(nonce) = SecretScalar::from_scalar(self.hasher(hasher).finalize_scalar()) {
                return nonce;
            }
        }
    }
}

/// An equality proof, decoded: `W1 ‖ W2 ‖ f`, 96 bytes. Whether it holds, [`EqualityProof::verify_vartime`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EqualityProof {
    commitments: (Point, Point),
    response: Scalar,
}

impl EqualityProof {
    /// The length of an encoded proof.
    pub const LENGTH: usize = 96;

    /// Decodes a proof.
    ///
    /// # Errors
    /// [`ProofError`], if a commitment is the identity or not canonical, or the response is not reduced.
    pub fn from_bytes(bytes: &[u8; 96]) -> Result<Self, ProofError> {
        let (first, second, response) = split(bytes);
        Ok(EqualityProof {
            // The cheapest check first.
            response: decode_scalar(response).map_err(ProofError::Response)?,
            commitments: (
                Point::from_bytes(first).map_err(ProofError::FirstCommitment)?,
                Point::from_bytes(second).map_err(ProofError::SecondCommitment)?,
            ),
        })
    }

    /// Checks of an encoded proof what costs next to nothing: that the response is reduced.
    pub(crate) fn check_response(bytes: &[u8; 96]) -> Result<(), ProofError> {
        let (_, _, response) = split(bytes);
        decode_scalar(response)
            .map(drop)
            .map_err(ProofError::Response)
    }

    /// The 96 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 96] {
        let mut bytes = [0; 96];
        let (first, rest) = bytes.split_at_mut(32);
        let (second, response) = rest.split_at_mut(32);
        first.copy_from_slice(self.commitments.0.as_bytes());
        second.copy_from_slice(self.commitments.1.as_bytes());
        response.copy_from_slice(self.response.as_bytes());
        bytes
    }

    /// Proves `statement`, of which `secret` is the common logarithm, in constant time with respect to it.
    ///
    /// If it is not, the proof will not verify.
    #[must_use]
    pub fn prove<R>(statement: &Statement<'_>, secret: &SecretScalar, rng: &mut R) -> Self
    where
        R: CryptoRng + ?Sized,
    {
        Self::prove_with_nonce(statement, secret, &statement.nonce(secret, rng))
    }

    /// The proof itself. `nonce` must be secret, unpredictable, and never used for another statement.
    pub(crate) fn prove_with_nonce(
        statement: &Statement<'_>,
        secret: &SecretScalar,
        nonce: &SecretScalar,
    ) -> Self {
        let (base1, base2) = &statement.bases;
        let commitments = group::multiply_pair(nonce, (base1, base2));
        let challenge = statement.challenge((commitments.0.as_bytes(), commitments.1.as_bytes()));
        EqualityProof {
            commitments,
            response: nonce.expose() + challenge * secret.expose(),
        }
    }

    /// Verifies the proof alone, each equation by itself, in variable time: everything here is public.
    ///
    /// # Errors
    /// [`ProofError::False`] if it does not hold.
    pub fn verify_vartime(&self, statement: &Statement<'_>) -> Result<(), ProofError> {
        let commitments = (self.commitments.0.as_bytes(), self.commitments.1.as_bytes());
        if holds_vartime(statement, commitments, &self.response) {
            Ok(())
        } else {
            Err(ProofError::False)
        }
    }

    /// Decodes and verifies a proof alone. A proof that holds has canonical commitments, so they are decoded only to say
    /// what is wrong with one that does not.
    ///
    /// # Errors
    /// Those of [`EqualityProof::from_bytes`] and [`EqualityProof::verify_vartime`].
    pub(crate) fn verify_encoded_vartime(
        bytes: &[u8; 96],
        statement: &Statement<'_>,
    ) -> Result<(), ProofError> {
        let (first, second, response) = split(bytes);
        let response = decode_scalar(response).map_err(ProofError::Response)?;
        if holds_vartime(statement, (first, second), &response) {
            return Ok(());
        }
        Self::from_bytes(bytes).and(Err(ProofError::False))
    }
}

/// Computes the commitments that would make the proof true, `f·B − e·P`, and compares encodings.
fn holds_vartime(
    statement: &Statement<'_>,
    commitments: (&[u8; 32], &[u8; 32]),
    response: &Scalar,
) -> bool {
    let challenge = statement.challenge(commitments);
    let (half_response, half_challenge) = (response.div_by_2(), -challenge.div_by_2());
    let Statement { bases, points, .. } = statement;
    let halves = [(&bases.0, &points.0), (&bases.1, &points.1)].map(|(base, point)| {
        let mut sum = VartimeSum::with_capacity(2);
        sum.add(half_challenge, *point.as_ristretto());
        if !sum.add_to_generators(half_response, base) {
            sum.add(half_response, *base.as_ristretto());
        }
        sum.compute_vartime()
    });
    // No proof has the identity for a commitment.
    if halves.iter().any(RistrettoPoint::is_identity) {
        return false;
    }
    let [first, second] = group::double_and_encode(halves);
    (first.as_bytes(), second.as_bytes()) == commitments
}

fn split(bytes: &[u8; 96]) -> (&[u8; 32], &[u8; 32], &[u8; 32]) {
    #[expect(clippy::expect_used, reason = "96 bytes are three times 32")]
    let (first, rest) = bytes.split_first_chunk().expect("96 ≥ 32");
    #[expect(clippy::expect_used, reason = "96 bytes are three times 32")]
    let (second, rest) = rest.split_first_chunk().expect("64 ≥ 32");
    #[expect(clippy::expect_used, reason = "96 bytes are three times 32")]
    let response = rest.first_chunk().expect("32 ≥ 32");
    (first, second, response)
}

/// One side of a proof: that `f·B − W − e·P` is the identity.
struct Equation {
    base: Point,
    point: RistrettoPoint,
    commitment: RistrettoPoint,
}

/// The two equations of a proof, its challenge computed, for a batch.
struct Equations {
    challenge: Scalar,
    response: Scalar,
    sides: [Equation; 2],
}

impl Equations {
    fn new(statement: &Statement<'_>, proof: &EqualityProof) -> Self {
        let side = |base: Point, point: &Point, commitment: &Point| Equation {
            base,
            point: *point.as_ristretto(),
            commitment: *commitment.as_ristretto(),
        };
        let Statement { bases, points, .. } = statement;
        let (first, second) = &proof.commitments;
        Equations {
            challenge: statement.challenge((first.as_bytes(), second.as_bytes())),
            response: proof.response,
            sides: [
                side(bases.0, &points.0, first),
                side(bases.1, &points.1, second),
            ],
        }
    }
}
