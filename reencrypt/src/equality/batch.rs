//! Many equality proofs verified as one multi-scalar multiplication.

use std::collections::HashMap;
use std::fmt;

use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use rand_core::CryptoRng;

use super::{EqualityProof, Equations, Statement};
use crate::group::{Point, VartimeSum};

/// Equality proofs of whatever purposes, to be verified together.
///
/// Every proof stands for two equations `f·B − W − e·P = 0`. Each *equation* gets an independent random weight of 128
/// bits, drawn when all proofs are fixed, and the weighted sum of all of them is computed at once: if one equation is
/// false, the sum is the identity with a probability of 2⁻¹²⁸. With one weight for both equations of a proof, errors
/// that cancel between the two would pass: `Ū = s·(G + Ḡ) − U` for anybody's `U`.
///
/// The first equation's weight is 1, which changes nothing of that. The group has prime order, so an equation that is false by an
/// error `E ≠ 0` adds `weight·E ≠ 0`. If the first alone is false, the sum is its error, and never the identity. If another is
/// false, then whatever the first and all others add up to, at most one of its 2¹²⁸ weights cancels that.
///
/// A batch that fails is split in halves until the false proofs stand alone, each named by the number that
/// [`Batch::push`] returned.
#[derive(Default)]
pub struct Batch {
    proofs: Vec<Equations>,
}

impl Batch {
    /// An empty batch, which verifies.
    #[must_use]
    pub fn new() -> Self {
        Batch::default()
    }

    /// Adds a proof and returns its number: 0 for the first, 1 for the second.
    pub fn push(&mut self, statement: &Statement<'_>, proof: &EqualityProof) -> usize {
        self.proofs.push(Equations::new(statement, proof));
        self.proofs.len() - 1
    }

    /// How many proofs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.proofs.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.proofs.is_empty()
    }

    /// Verifies all proofs, in variable time: everything here is public.
    ///
    /// # Errors
    /// [`Culprits`]: the proofs that do not hold, and only those.
    pub fn verify_vartime<R>(&self, rng: &mut R) -> Result<(), Culprits>
    where
        R: CryptoRng + ?Sized,
    {
        let mut culprits = Vec::new();
        find_false(&self.proofs, 0, rng, &mut culprits);
        if culprits.is_empty() {
            Ok(())
        } else {
            Err(Culprits(culprits))
        }
    }
}

/// Splits what fails. For k false proofs among n: at most about 2·k·log2(n) sums, and never more than 2·n.
fn find_false<R>(proofs: &[Equations], offset: usize, rng: &mut R, culprits: &mut Vec<usize>)
where
    R: CryptoRng + ?Sized,
{
    if holds_vartime(proofs, rng) {
        return;
    }
    if proofs.len() == 1 {
        culprits.push(offset);
        return;
    }
    let (left, right) = proofs.split_at(proofs.len() / 2);
    find_false(left, offset, rng, culprits);
    find_false(right, offset + left.len(), rng, culprits);
}

/// Whether `Σ weight·(W + e·P − f·B)` over all equations is the identity.
fn holds_vartime<R>(proofs: &[Equations], rng: &mut R) -> bool
where
    R: CryptoRng + ?Sized,
{
    let mut sum = VartimeSum::with_capacity(6 * proofs.len());
    // Bases other than the generators, each with the sum of its multiples: the shares of one request have one base.
    let mut bases: HashMap<Point, Scalar> = HashMap::new();
    let mut weights = weights(2 * proofs.len(), rng);
    for proof in proofs {
        for (side, weight) in proof.sides.iter().zip(&mut weights) {
            sum.add(weight, side.commitment);
            sum.add(weight * proof.challenge, side.point);
            let multiple = -(weight * proof.response);
            if !sum.add_to_generators(multiple, &side.base) {
                *bases.entry(side.base).or_default() += multiple;
            }
        }
    }
    for (base, multiple) in bases {
        sum.add(multiple, *base.as_ristretto());
    }
    sum.compute_vartime().is_identity()
}

/// 1, and then 128 random bits for each further equation: all in one draw, which is mostly a call of the system.
fn weights<R: CryptoRng + ?Sized>(
    equations: usize,
    rng: &mut R,
) -> impl Iterator<Item = Scalar> + use<R> {
    let mut bytes = vec![0; 16 * equations.saturating_sub(1)];
    rng.fill_bytes(&mut bytes);
    (0..equations).map(move |equation| {
        let weight = equation
            .checked_sub(1)
            .and_then(|place| bytes.get(16 * place..)?.first_chunk::<16>());
        weight.map_or(Scalar::ONE, |bytes| {
            Scalar::from(u128::from_le_bytes(*bytes))
        })
    })
}

/// The proofs of a batch that do not hold, by their numbers, in ascending order. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Culprits(Vec<usize>);

impl Culprits {
    /// The numbers, ascending.
    #[must_use]
    pub fn indices(&self) -> &[usize] {
        &self.0
    }

    /// Whether proof `number` does not hold.
    #[must_use]
    pub fn contains(&self, number: usize) -> bool {
        self.0.binary_search(&number).is_ok()
    }
}

impl fmt::Display for Culprits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "equality proofs {:?} of the batch do not hold", self.0)
    }
}

impl std::error::Error for Culprits {}
