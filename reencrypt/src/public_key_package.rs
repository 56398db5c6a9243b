//! The public side of a cluster key: `Y`, its epoch, the threshold and every member's public share.
//!
//! A package is checked when it is made: `Y` and all `Y_i` lie on one polynomial of degree t − 1, so that any t honest
//! members open what is encrypted under `Y`, and all of them open the same. The test is that of SCRAPE (Cascudo and
//! David, ACNS 2017): the values `p(0), …, p(n)` belong to a polynomial of degree below t if and only if
//!
//! ```text
//! Σ_{i=0..n} u_i·q(i)·p(i) = 0      with u_i = (−1)^i·C(n, i)
//! ```
//!
//! for every polynomial q of degree n − t. It is made in the exponent with `q(z) = Σ_k (ρz)^k` for one ρ hashed from the
//! whole package: a package that is no sharing passes with a probability below n/ℓ for each ρ.
//!
//! Whoever knows the commitments `A_0 … A_t−1` to the polynomial checks public shares against them instead, all at once: for random
//! weights r_j of 128 bits,
//!
//! ```text
//! Σ_j r_j·Y_j = Σ_k (Σ_j r_j·j^k)·A_k
//! ```
//!
//! which holds for a false public share with a probability of 2⁻¹²⁸.

use std::fmt;
use std::sync::Arc;

use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use rand_core::CryptoRng;

use crate::error::PublicKeyPackageError;
use crate::group::{Point, VartimeSum};
use crate::hash::Hasher;
use crate::polynomial::power_sums;
use crate::tags;

/// A cluster key as the public knows it, checked. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKeyPackage(Arc<Checked>);

#[derive(PartialEq, Eq)]
struct Checked {
    public_key: Point,
    epoch: u64,
    threshold: u16,
    members: u16,
    public_shares: Vec<Point>,
}

impl PublicKeyPackage {
    /// Checks and takes the public shares `Y_1 … Y_n`, in the order of their indices.
    ///
    /// # Errors
    /// [`PublicKeyPackageError`], unless 1 ≤ t ≤ n ≤ 65,535 and the public shares are a sharing of `public_key` with this
    /// threshold.
    pub fn new(
        public_key: Point,
        epoch: u64,
        threshold: u16,
        public_shares: Vec<Point>,
    ) -> Result<Self, PublicKeyPackageError> {
        let package = Checked::counted(public_key, epoch, threshold, public_shares)?;
        if !package.is_sharing_vartime() {
            return Err(PublicKeyPackageError::NotASharing { threshold });
        }
        Ok(PublicKeyPackage(Arc::new(package)))
    }

    /// Checks the public shares `Y_1 … Y_n` against commitments `A_0 … A_t−1` to the polynomial, in O(n + t) group operations.
    /// `Y` is `A_0`, and t their number.
    ///
    /// # Errors
    /// [`PublicKeyPackageError`], unless 1 ≤ t ≤ n ≤ 65,535 and each public share is the polynomial's value at its index.
    pub fn of_commitments_vartime<R: CryptoRng>(
        commitments: &[Point],
        epoch: u64,
        public_shares: Vec<Point>,
        rng: &mut R,
    ) -> Result<Self, PublicKeyPackageError> {
        let (Some(public_key), Ok(threshold)) =
            (commitments.first(), u16::try_from(commitments.len()))
        else {
            return Err(PublicKeyPackageError::Threshold {
                threshold: u16::try_from(commitments.len()).unwrap_or(u16::MAX),
                members: u16::try_from(public_shares.len()).unwrap_or(u16::MAX),
            });
        };
        let package = Checked::counted(*public_key, epoch, threshold, public_shares)?;
        if !are_values_vartime(commitments, &package.public_shares, rng) {
            return Err(PublicKeyPackageError::NotASharing { threshold });
        }
        Ok(PublicKeyPackage(Arc::new(package)))
    }

    /// `Y`.
    #[must_use]
    pub fn public_key(&self) -> Point {
        self.0.public_key
    }

    /// 0 after the key generation, one more after each reshare.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// t: how many shares open.
    #[must_use]
    pub fn threshold(&self) -> u16 {
        self.0.threshold
    }

    /// n: how many members there are.
    #[must_use]
    pub fn members(&self) -> u16 {
        self.0.members
    }

    /// `Y_i`; `None` if i is 0 or beyond n.
    #[must_use]
    pub fn public_share(&self, index: u16) -> Option<Point> {
        let place = usize::from(index).checked_sub(1)?;
        self.0.public_shares.get(place).copied()
    }

    /// `Y_1 … Y_n`.
    #[must_use]
    pub fn public_shares(&self) -> &[Point] {
        &self.0.public_shares
    }
}

impl fmt::Debug for PublicKeyPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKeyPackage")
            .field("public_key", &self.0.public_key)
            .field("epoch", &self.0.epoch)
            .field("threshold", &self.0.threshold)
            .field("members", &self.0.members)
            .finish_non_exhaustive()
    }
}

impl Checked {
    /// With the counts checked, and nothing else yet.
    fn counted(
        public_key: Point,
        epoch: u64,
        threshold: u16,
        public_shares: Vec<Point>,
    ) -> Result<Self, PublicKeyPackageError> {
        let got = public_shares.len();
        let members =
            u16::try_from(got).map_err(|_| PublicKeyPackageError::TooManyMembers { got })?;
        if threshold == 0 || threshold > members {
            return Err(PublicKeyPackageError::Threshold { threshold, members });
        }
        Ok(Checked {
            public_key,
            epoch,
            threshold,
            members,
            public_shares,
        })
    }

    /// The values of the polynomial at 0, 1, …, n.
    fn values(&self) -> impl Iterator<Item = &Point> {
        std::iter::once(&self.public_key).chain(&self.public_shares)
    }

    fn is_sharing_vartime(&self) -> bool {
        let rho = self
            .values()
            .fold(Hasher::new(tags::PUBLIC_SHARES_CHECK), |hasher, value| {
                hasher.item(value.as_bytes())
            })
            .item(&self.threshold.to_le_bytes())
            .finalize_scalar();
        let weights = dual_weights(self.members);
        let values_of_q = geometric_sums(&rho, self.members, self.members - self.threshold + 1);

        let mut sum = VartimeSum::with_capacity(self.public_shares.len() + 1);
        for ((value, weight), q) in self.values().zip(weights).zip(values_of_q) {
            sum.add(weight * q, *value.as_ristretto());
        }
        sum.compute_vartime().is_identity()
    }
}

/// Whether the points are p(1)·G, p(2)·G, … by the commitments to p: the second equation of the module's head.
fn are_values_vartime<R: CryptoRng>(commitments: &[Point], points: &[Point], rng: &mut R) -> bool {
    let mut sum = VartimeSum::with_capacity(commitments.len() + points.len());
    let mut weights = Vec::with_capacity(points.len());
    for point in points {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        let weight = Scalar::from(u128::from_le_bytes(bytes));
        sum.add(weight, *point.as_ristretto());
        weights.push(weight);
    }
    let sums = power_sums(&weights, commitments.len());
    for (commitment, weight) in commitments.iter().zip(sums) {
        sum.add(-weight, *commitment.as_ristretto());
    }
    sum.compute_vartime().is_identity()
}

/// `u_i = (−1)^i·C(n, i)` for i = 0 … n.
fn dual_weights(n: u16) -> Vec<Scalar> {
    // u_i = u_{i−1}·(−(n − i + 1) / i), with the inverses of 1 … n computed together.
    let mut inverses: Vec<Scalar> = (1..=n).map(Scalar::from).collect();
    Scalar::invert_batch_alloc(&mut inverses);
    let mut weight = Scalar::ONE;
    let mut weights = Vec::with_capacity(usize::from(n) + 1);
    weights.push(weight);
    for (i, inverse) in (1..=n).zip(inverses) {
        weight *= -(Scalar::from(n - i + 1) * inverse);
        weights.push(weight);
    }
    weights
}

/// `Σ_{k<terms} (ρ·i)^k` for i = 0 … n.
fn geometric_sums(rho: &Scalar, n: u16, terms: u16) -> Vec<Scalar> {
    // (x^terms − 1) / (x − 1) for x = ρ·i; where x is 1, the sum is the number of terms.
    let ratios: Vec<Scalar> = (0..=n).map(|i| rho * Scalar::from(i)).collect();
    let mut divisors: Vec<Scalar> = ratios
        .iter()
        .map(|x| {
            let divisor = x - Scalar::ONE;
            // Not used below, and must not be 0 here.
            if divisor == Scalar::ZERO {
                Scalar::ONE
            } else {
                divisor
            }
        })
        .collect();
    Scalar::invert_batch_alloc(&mut divisors);
    ratios
        .iter()
        .zip(divisors)
        .map(|(x, inverse)| {
            if *x == Scalar::ONE {
                Scalar::from(terms)
            } else {
                (power(x, terms) - Scalar::ONE) * inverse
            }
        })
        .collect()
}

fn power(base: &Scalar, exponent: u16) -> Scalar {
    let mut result = Scalar::ONE;
    for bit in (0..u16::BITS - exponent.leading_zeros()).rev() {
        result = result * result;
        if exponent >> bit & 1 == 1 {
            result *= base;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::secret::SecretScalar;

    #[test]
    fn public_shares_are_held_against_the_commitments() {
        let rng = &mut rand::rng();
        for (t, n) in [(1u16, 1u16), (2, 3), (5, 9), (120, 121)] {
            let polynomial: Vec<SecretScalar> = (0..t).map(|_| SecretScalar::random(rng)).collect();
            let commitments = SecretScalar::public_of_each(&polynomial);
            let shares: Vec<Point> = (1..=n)
                .map(|x| {
                    let value = polynomial.iter().rev().fold(Scalar::ZERO, |value, a| {
                        value * Scalar::from(x) + a.expose()
                    });
                    SecretScalar::from_scalar(value).unwrap().public()
                })
                .collect();
            let mut package = |commitments: &[Point], shares: &[Point]| {
                PublicKeyPackage::of_commitments_vartime(commitments, 3, shares.to_vec(), rng)
            };
            let made = package(&commitments, &shares).unwrap();
            let checked = PublicKeyPackage::new(commitments[0], 3, t, shares.clone()).unwrap();
            assert_eq!(made, checked);
            let not = Err(PublicKeyPackageError::NotASharing { threshold: t });
            let mut wrong = shares.clone();
            wrong[usize::from(n) - 1] = Point::generator();
            assert_eq!(package(&commitments, &wrong), not);
            if n > 2 {
                wrong = shares.clone();
                wrong.swap(0, 1);
                assert_eq!(package(&commitments, &wrong), not);
                // Another polynomial through the same Y.
                let mut other = commitments.clone();
                other[1] = Point::generator();
                assert_eq!(package(&other, &shares), not);
            }
            assert!(package(&[], &shares).is_err());
            assert!(package(&commitments, &shares[..usize::from(t) - 1]).is_err());
        }
    }

    #[test]
    fn sums_and_weights_agree_with_their_definitions() {
        let rho = Scalar::from(9u8);
        for terms in [1u16, 2, 7, 16] {
            let expected: Vec<Scalar> = (0..=5u16)
                .map(|i| {
                    let x = rho * Scalar::from(i);
                    (0..terms).map(|k| power(&x, k)).sum()
                })
                .collect();
            assert_eq!(geometric_sums(&rho, 5, terms), expected);
        }
        // x = 1 at i = 3.
        let third = Scalar::from(3u8).invert();
        assert_eq!(
            geometric_sums(&third, 3, 5).last(),
            Some(&Scalar::from(5u8))
        );
        let binomials = [1i32, -4, 6, -4, 1].map(|c| {
            let magnitude = Scalar::from(c.unsigned_abs());
            if c < 0 { -magnitude } else { magnitude }
        });
        assert_eq!(dual_weights(4), binomials);
    }
}
