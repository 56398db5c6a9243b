//! The summed path of step 2: one check of the sum of all deals, in O(n + t) group operations.
//!
//! The leader sends the sums S_k = Σ_i w_i·A_ik of all dealers' commitments, and of each deal only what its dealer signed and this
//! member's ciphertext. The weights w_i are 1 when a key is made; when it is shared anew they are the dealers' Lagrange
//! coefficients. The member checks every proof of knowledge and its share of the sum:
//!
//! ```text
//! S_0 = Σ_i w_i·A_i0        x_j·G = Σ_k j^k·S_k   with   x_j = Σ_i w_i·s_ij
//! ```
//!
//! with the proofs in one multi-scalar multiplication, each equation under a fresh random weight of 128 bits.
//!
//! # What the sums may be
//!
//! Nobody signs them before the confirmation, and a false leader can send others than the true ones. Those that pass at a member are
//! what that member confirms. A result needs the confirmations of all members, so its sums pass at every one: then S_0 is fixed by what the dealers
//! signed and proved, every honest member's share lies on the polynomial that the sums commit to, and the result is as good as that of the
//! true sums. (Indeed S_1 … S_t−1 follow from S_0 and t − 1 honest shares.)
//!
//! Wrong shares of two dealers that cancel in a member's sum leave that member with a right share of the sum. Wherever they do not
//! cancel, in another member's sum or under other weights, the check fails there.
//!
//! # The deals' signatures
//!
//! In a create every dealer acknowledges the set of deals and confirms it, and a member activates only when it has verified all confirmations. So an
//! honest dealer's confirmation shows that its deal in the set is its own, and the signatures of the deals need not be verified as well while all
//! is right. They are what *blames* somebody: as soon as a check fails they are verified first. Whoever has shown a member made-up deals has
//! gained an acknowledgement, or a confirmation, of a set that no other honest member confirms. The member drops the first when it is shown the true deals
//! (`member/checks.rs`); after the second the attempt must be repeated, as after false sums. In a reshare a dealer that leaves acknowledges nothing, and its signature is verified at once.
//!
//! # When a check fails
//!
//! False proofs are the dealer's doing, for everybody to see. For anything else the sum does not say who is to blame, so the member asks
//! for the whole deals, and looks at each of them alone (see [`crate::shares`]).

use curve25519_dalek::traits::{Identity, VartimeMultiscalarMul};
use curve25519_dalek::{RistrettoPoint, Scalar};
use rand_core::CryptoRng;
use reencrypt::{Point, SecretScalar};
use zeroize::Zeroizing;

use crate::acknowledge::deal_set;
use crate::deal::{DealExcerpt, Relayed};
use crate::fault::Fault;
use crate::known::known;
use crate::shares::{Checker, GoodDeals, Opened, powers, weight};

/// The outcome of the check when every dealer's signature and proofs are true.
pub(crate) enum SummedVerdict {
    /// All right: acknowledge.
    Good(GoodDeals),
    /// The sums or a share are wrong: the whole deals will tell.
    WholeDealsWanted,
}

/// The weights of the dealers when a key is made: 1 each.
#[cfg(test)]
pub(crate) fn equal_weights(dealers: usize) -> Vec<Scalar> {
    vec![Scalar::ONE; dealers]
}

/// S_k = Σ_i w_i·A_ik for each k, of public values. [`Fault::UnusableResult`] if one of them is the identity.
pub(crate) fn sum_commitments_vartime<'a>(
    deals: impl Iterator<Item = &'a [Point]>,
    weights: &[Scalar],
) -> Result<Vec<Point>, Fault> {
    let deals: Vec<&[Point]> = deals.collect();
    let threshold = deals.first().map_or(0, |deal| deal.len());
    if deals.len() != weights.len() || deals.iter().any(|deal| deal.len() != threshold) {
        return Err(Fault::UnusableResult);
    }
    let plain = weights.iter().all(|weight| *weight == Scalar::ONE);
    (0..threshold)
        .map(|k| {
            let column = deals
                .iter()
                .filter_map(|deal| deal.get(k))
                .map(Point::as_ristretto);
            let sum = if plain {
                column.fold(RistrettoPoint::identity(), |sum, point| sum + point)
            } else {
                RistrettoPoint::vartime_multiscalar_mul(weights, column.collect::<Vec<_>>())
            };
            Point::from_ristretto(sum).ok_or(Fault::UnusableResult)
        })
        .collect()
}

/// x_j = Σ_i w_i·s_ij, in constant time.
pub(crate) fn sum_shares<'a>(
    shares: impl Iterator<Item = &'a Scalar>,
    weights: &[Scalar],
) -> Zeroizing<Scalar> {
    let mut total = Zeroizing::new(Scalar::ZERO);
    for (share, weight) in shares.zip(weights) {
        *total += weight * share;
    }
    total
}

/// Points one after the other: S_0 ‖ … ‖ S_t−1.
pub(crate) fn encode_sums(sums: &[Point]) -> Vec<u8> {
    sums.iter().flat_map(|sum| *sum.as_bytes()).collect()
}

/// Exactly t points, none of them the identity.
pub(crate) fn decode_sums(sums: &[u8], threshold: u16) -> Option<Vec<Point>> {
    let (chunks, remainder) = sums.as_chunks::<32>();
    if chunks.len() != usize::from(threshold) || !remainder.is_empty() {
        return None;
    }
    chunks
        .iter()
        .map(|bytes| Point::from_bytes(bytes).ok())
        .collect()
}

impl Checker<'_> {
    /// Checks an excerpt of each deal, in index order, and the sums of all. An error changes nothing: the leader may send the right
    /// ones.
    pub(crate) fn check_sums<R: CryptoRng>(
        &self,
        excerpts: &[DealExcerpt],
        sums: &[u8],
        rng: &mut R,
    ) -> Result<SummedVerdict, Fault> {
        let relayed: Vec<Relayed<'_>> = excerpts.iter().map(DealExcerpt::relayed).collect();
        let digests = self.check_relayed(&relayed)?;
        let vouched_for = self.attempt.dealers_acknowledge();
        if !vouched_for {
            self.check_signatures(&relayed, &digests)?;
        }
        let outcome = self.add_up(&relayed, &digests, sums, rng);
        // Before anything is said of anybody it must be certain whose the deals are.
        if vouched_for && !matches!(outcome, Ok(SummedVerdict::Good(_))) {
            self.check_signatures(&relayed, &digests)?;
        }
        outcome
    }

    fn add_up<R: CryptoRng>(
        &self,
        relayed: &[Relayed<'_>],
        digests: &[[u8; 64]],
        sums: &[u8],
        rng: &mut R,
    ) -> Result<SummedVerdict, Fault> {
        let set = deal_set(&self.attempt.params, digests.iter());
        let opened = relayed
            .iter()
            .zip(digests)
            .map(|(relayed, digest)| {
                self.open(relayed, relayed.header.open_excerpt(self.attempt, *digest))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let sums = decode_sums(sums, self.attempt.roster.threshold());
        let share = opened
            .iter()
            .all(|deal| deal.share.is_some())
            .then(|| self.sum(&opened));
        if let (Some(sums), Some(share)) = (sums, share)
            && self.sums_hold_vartime(&opened, &sums, &share, rng)
        {
            let share = SecretScalar::from_scalar(*share).map_err(|_| Fault::UnusableResult)?;
            return Ok(SummedVerdict::Good(GoodDeals { set, sums, share }));
        }
        self.blame_proofs_vartime(&opened)?;
        Ok(SummedVerdict::WholeDealsWanted)
    }

    /// The equations of the module's head and the proof of every deal. The secret share only enters the left side, in constant
    /// time.
    fn sums_hold_vartime<R: CryptoRng>(
        &self,
        opened: &[Opened],
        sums: &[Point],
        share: &Scalar,
        rng: &mut R,
    ) -> bool {
        let size = 3 * opened.len() + sums.len();
        let (mut scalars, mut points) = (
            Vec::with_capacity(size),
            Vec::<&RistrettoPoint>::with_capacity(size),
        );
        let (of_share, of_constant) = (weight(rng), weight(rng));
        let mut left = Zeroizing::new(of_share * share);
        for (deal, dealer) in opened.iter().zip(&self.attempt.weights) {
            let alpha = weight(rng);
            *left += alpha * deal.proof.response;
            let Some(commitment) = deal.header.commitments.first() else {
                return false;
            };
            let proved = alpha * deal.proof.challenge;
            scalars.extend([
                alpha,
                proved * deal.proof.challenge,
                proved + of_constant * dealer,
            ]);
            points.extend([
                deal.proof.commitment.as_ristretto(),
                deal.header.key.as_ristretto(),
                commitment.as_ristretto(),
            ]);
        }
        // S_0 stands in both equations: one coefficient for it.
        let mut extra = -of_constant;
        for (power, sum) in powers(self.index, sums.len()).into_iter().zip(sums) {
            scalars.push(of_share * power + extra);
            points.push(sum.as_ristretto());
            extra = Scalar::ZERO;
        }
        known(
            RistrettoPoint::mul_base(&left)
                == RistrettoPoint::vartime_multiscalar_mul(scalars, points),
        )
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
    use reencrypt::polynomial::evaluate;

    use super::*;
    use crate::shares::share_fits;

    /// Dealers with old indices 1, 3 and 4 share the constant terms of one polynomial anew, as in a reshare.
    #[test]
    fn weighted_shares_fit_weighted_sums_and_errors_that_cancel_unweighted_do_not() {
        let rng = &mut rand::rng();
        let old: Vec<SecretScalar> = (0..3).map(|_| SecretScalar::random(rng)).collect();
        let dealers = [1u16, 3, 4];
        let weights: Vec<Scalar> = dealers
            .iter()
            .map(|i| {
                let others = dealers.iter().filter(|other| *other != i);
                others
                    .map(|m| Scalar::from(*m) * (Scalar::from(*m) - Scalar::from(*i)).invert())
                    .product()
            })
            .collect();
        let polynomials: Vec<Vec<SecretScalar>> = dealers
            .iter()
            .map(|i| {
                let constant = SecretScalar::from_scalar(evaluate(&old, *i)).unwrap();
                std::iter::once(constant)
                    .chain((0..3).map(|_| SecretScalar::random(rng)))
                    .collect()
            })
            .collect();
        let commitments: Vec<Vec<Point>> = polynomials
            .iter()
            .map(|polynomial| polynomial.iter().map(SecretScalar::public).collect())
            .collect();
        let sums = |weights: &[Scalar]| {
            sum_commitments_vartime(commitments.iter().map(Vec::as_slice), weights).unwrap()
        };
        let plain = equal_weights(3);
        assert_eq!(sums(&weights)[0], old[0].public());
        assert_ne!(sums(&plain)[0], old[0].public());
        for j in 1..=6 {
            let shares = |errors: [i8; 3]| -> Vec<Scalar> {
                polynomials
                    .iter()
                    .zip(errors)
                    .map(|(polynomial, error)| {
                        let error = Scalar::from(error.unsigned_abs())
                            * if error < 0 { -Scalar::ONE } else { Scalar::ONE };
                        evaluate(polynomial, j) + error
                    })
                    .collect()
            };
            let fits = |weights: &[Scalar], errors| {
                let share = sum_shares(shares(errors).iter(), weights);
                share_fits(&share, &sums(weights), j)
            };
            assert!(fits(&weights, [0, 0, 0]) && fits(&plain, [0, 0, 0]));
            assert!(fits(&plain, [1, -1, 0]) && !fits(&weights, [1, -1, 0]));
            assert!(!fits(&plain, [1, 0, 0]) && !fits(&weights, [0, 0, 1]));
        }
    }

    #[test]
    fn sums_of_lists_that_do_not_match_or_cancel_are_no_result() {
        let rng = &mut rand::rng();
        let points: Vec<Point> = (0..3).map(|_| SecretScalar::random(rng).public()).collect();
        let sum = |deals: &[&[Point]], weights: &[Scalar]| {
            sum_commitments_vartime(deals.iter().copied(), weights)
        };
        assert_eq!(sum(&[&points], &equal_weights(1)).unwrap(), points);
        let bad: [(&[&[Point]], Vec<Scalar>); 3] = [
            (&[&points, &points[..2]], equal_weights(2)),
            (&[&points, &points], equal_weights(1)),
            (&[&points, &points], vec![Scalar::ONE, -Scalar::ONE]),
        ];
        for (deals, weights) in bad {
            assert_eq!(sum(deals, &weights).unwrap_err(), Fault::UnusableResult);
        }
        assert_eq!(decode_sums(&encode_sums(&points), 3).unwrap(), points);
        assert!(decode_sums(&encode_sums(&points), 2).is_none());
        assert!(decode_sums(&encode_sums(&points)[1..], 3).is_none());
        assert!(decode_sums(&[0; 96], 3).is_none());
    }
}
