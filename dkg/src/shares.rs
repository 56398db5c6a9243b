//! A member's check of everybody's whole deals: signatures, digests, proofs of knowledge, and its own share of each. It costs O(n·t)
//! group operations, and is made only when the check of the sums has failed (see [`crate::sums`]).
//!
//! All proofs and all shares are verified together, as one multi-scalar multiplication: with fresh random 128-bit
//! weights α_i, γ_i for dealer i,
//!
//! ```text
//! Σ_i (α_i·z_i + γ_i·s_ij)·G  =  Σ_i α_i·(K_i + c_i·A_i0 + c_i²·N_i) + γ_i·Σ_k j^k·A_ik
//! ```
//!
//! which holds for false parts with a probability of 2⁻¹²⁸ only. When it does not hold, each deal is looked at on its
//! own: a false proof voids a deal for everybody to see; a false share is complained of. Because each share has a weight
//! of its own, errors of two dealers that would cancel in the plain sum do not cancel here.

use curve25519_dalek::traits::VartimeMultiscalarMul;
use curve25519_dalek::{RistrettoPoint, Scalar};
use rand_core::CryptoRng;
use reencrypt::{Point, SecretScalar, decode_scalar};
use zeroize::{Zeroize, Zeroizing};

use crate::acknowledge::{Complaint, deal_set};
use crate::attempt::Attempt;
use crate::deal::{self, DealHeader, OpenHeader, Pad, Relayed, RelayedDeal};
use crate::fault::{DealFault, Fault};
use crate::knowledge::Proof;
use crate::known::known;
use crate::pairs::Pairs;
use crate::signature::Batch;
use crate::sums::{sum_commitments_vartime, sum_shares};
use crate::tags;

/// Deals whose signatures, counts and points are in order. Shares and proofs are not yet checked.
pub(crate) struct Opened {
    pub(crate) header: OpenHeader,
    pub(crate) proof: Proof,
    /// s_ij, or `None` if the ciphertext is no scalar.
    pub(crate) share: Option<Zeroizing<Scalar>>,
}

/// What a member knows once every deal is right.
pub(crate) struct GoodDeals {
    pub(crate) set: [u8; 64],
    /// S_0 … S_t−1, the weighted sums of all dealers' commitments.
    pub(crate) sums: Vec<Point>,
    /// x_j, the weighted sum of all shares.
    pub(crate) share: SecretScalar,
}

/// The outcome of the check when every dealer's signature is true.
pub(crate) enum Verdict {
    /// All right: acknowledge.
    Good(GoodDeals),
    /// These dealers gave wrong shares.
    Complain {
        /// The hash of the set of deals.
        set: [u8; 64],
        /// The evidence.
        complaints: Vec<Complaint>,
    },
}

/// What a member brings to the check.
pub(crate) struct Checker<'a> {
    pub(crate) attempt: &'a Attempt,
    /// The member's index j.
    pub(crate) index: u16,
    /// n_j.
    pub(crate) secret: &'a SecretScalar,
    pub(crate) pairs: &'a Pairs,
    /// The member's own deal, if it is a dealer.
    pub(crate) own: Option<&'a DealHeader>,
}

impl Checker<'_> {
    /// Checks one whole deal of each dealer, in index order. An error changes nothing: the leader may send the right ones.
    pub(crate) fn check_whole<R: CryptoRng>(
        &self,
        deals: &[RelayedDeal],
        rng: &mut R,
    ) -> Result<Verdict, Fault> {
        let relayed: Vec<Relayed<'_>> = deals.iter().map(RelayedDeal::relayed).collect();
        let digests = self.check_relayed(&relayed)?;
        self.check_signatures(&relayed, &digests)?;
        for deal in deals {
            if deal::commitments_hash(&deal.commitments) != deal.header.commitments_hash {
                return Err(Fault::RelayAltered {
                    author: self.attempt.seat_of_dealer(deal.header.index),
                    what: "commitments",
                });
            }
        }
        let set = deal_set(&self.attempt.params, digests.iter());
        let opened = deals
            .iter()
            .zip(digests)
            .map(|(deal, digest)| {
                let header = deal.header.open(self.attempt, digest, &deal.commitments);
                self.open(&deal.relayed(), header)
            })
            .collect::<Result<Vec<_>, _>>()?;
        if !self.all_hold_vartime(&opened, rng) {
            let complaints = self.blame_vartime(deals, &opened, rng)?;
            if !complaints.is_empty() {
                return Ok(Verdict::Complain { set, complaints });
            }
        }
        let commitments = opened.iter().map(|deal| deal.header.commitments.as_slice());
        let sums = sum_commitments_vartime(commitments, &self.attempt.weights)?;
        let share =
            SecretScalar::from_scalar(*self.sum(&opened)).map_err(|_| Fault::UnusableResult)?;
        Ok(Verdict::Good(GoodDeals { set, sums, share }))
    }

    /// Step 7 but for the signatures: one deal of each dealer in order, this member's own as it made it, and the ciphertexts those of the
    /// digests. Whatever is wrong here is the leader's doing. Returns the digests.
    pub(crate) fn check_relayed(&self, deals: &[Relayed<'_>]) -> Result<Vec<[u8; 64]>, Fault> {
        let dealers = &self.attempt.dealers;
        let expected = dealers.len();
        let in_order = dealers
            .iter()
            .zip(deals)
            .all(|(dealer, relayed)| relayed.header.index == dealer.index);
        if deals.len() != expected || !in_order {
            return Err(Fault::DealCount {
                expected,
                got: deals.len(),
            });
        }
        let mut digests = Vec::with_capacity(expected);
        for (relayed, dealer) in deals.iter().zip(dealers) {
            let header = relayed.header;
            if dealer.seat == self.index && self.own.is_some_and(|own| own != header) {
                return Err(Fault::OwnMessageAltered { what: "deal" });
            }
            if !relayed.has_true_ciphertext(self.index, self.attempt.members()) {
                return Err(Fault::RelayAltered {
                    author: dealer.seat,
                    what: "ciphertext",
                });
            }
            digests.push(header.digest(&self.attempt.params));
        }
        Ok(digests)
    }

    /// The rest of step 7: each dealer has signed its digest. If not, that is the leader's doing too.
    pub(crate) fn check_signatures(
        &self,
        deals: &[Relayed<'_>],
        digests: &[[u8; 64]],
    ) -> Result<(), Fault> {
        let dealers = &self.attempt.dealers;
        let mut signatures = Batch::default();
        for ((relayed, digest), dealer) in deals.iter().zip(digests).zip(dealers) {
            let header = relayed.header;
            let identity = self.attempt.roster.identity(dealer.seat);
            let identity = identity.ok_or(Fault::RelayAltered {
                author: dealer.seat,
                what: "deal",
            })?;
            let index = header.index.to_le_bytes();
            let items = header.signed_items(&self.attempt.params, &index, digest);
            signatures.push(identity, tags::DEAL_SIGNATURE, &items, &header.signature);
        }
        signatures.verify().map_err(|places| Fault::RelayAltered {
            author: places
                .first()
                .and_then(|place| dealers.get(*place))
                .map(|dealer| dealer.seat)
                .unwrap_or_default(),
            what: "deal",
        })
    }

    /// Step 8: decodes a deal's proof and decrypts this member's share of it.
    pub(crate) fn open(
        &self,
        relayed: &Relayed<'_>,
        header: Result<OpenHeader, DealFault>,
    ) -> Result<Opened, Fault> {
        let dealer = relayed.header.index;
        let bad = |reason| Fault::BadDeal {
            dealer: self.attempt.seat_of_dealer(dealer),
            reason,
        };
        let header = header.map_err(bad)?;
        let proof = relayed
            .header
            .open_proof(&self.attempt.params, &header)
            .map_err(bad)?;
        let pad = Pad::of(self.attempt, relayed.header, self.index)
            .ok_or_else(|| bad(DealFault::Index(dealer)))?;
        let place = usize::from(self.attempt.seat_of_dealer(dealer)).saturating_sub(1);
        let shared = self.pairs.with(self.secret, place, pad.dealer_key);
        let mut pad = pad.with(&shared);
        let share = decode_scalar(relayed.ciphertext)
            .ok()
            .map(|ciphertext| Zeroizing::new(ciphertext - pad));
        pad.zeroize();
        Ok(Opened {
            header,
            proof,
            share,
        })
    }

    /// The equation of the module's head. The secret shares only enter the left side, in constant time.
    fn all_hold_vartime<R: CryptoRng>(&self, opened: &[Opened], rng: &mut R) -> bool {
        let powers = powers(self.index, usize::from(self.attempt.roster.threshold()));
        let size = opened.len() * (powers.len() + 2);
        let (mut scalars, mut points) = (
            Vec::with_capacity(size),
            Vec::<&RistrettoPoint>::with_capacity(size),
        );
        let mut left = Zeroizing::new(Scalar::ZERO);
        for deal in opened {
            let Some(share) = &deal.share else {
                return false;
            };
            let (alpha, gamma) = (weight(rng), weight(rng));
            *left += alpha * deal.proof.response + gamma * **share;
            // The constant term stands in its proof and in the share: one coefficient for both.
            let mut extra = alpha * deal.proof.challenge;
            scalars.extend([alpha, extra * deal.proof.challenge]);
            points.extend([
                deal.proof.commitment.as_ristretto(),
                deal.header.key.as_ristretto(),
            ]);
            for (power, commitment) in powers.iter().zip(&deal.header.commitments) {
                scalars.push(gamma * power + extra);
                points.push(commitment.as_ristretto());
                extra = Scalar::ZERO;
            }
        }
        known(
            RistrettoPoint::mul_base(&left)
                == RistrettoPoint::vartime_multiscalar_mul(scalars, points),
        )
    }

    /// Looks at each deal on its own. A void deal is an error that names its dealer; wrong shares are complained of.
    fn blame_vartime<R: CryptoRng>(
        &self,
        deals: &[RelayedDeal],
        opened: &[Opened],
        rng: &mut R,
    ) -> Result<Vec<Complaint>, Fault> {
        self.blame_proofs_vartime(opened)?;
        let mut complaints = Vec::new();
        for (relayed, deal) in deals.iter().zip(opened) {
            let fits = deal
                .share
                .as_ref()
                .is_some_and(|share| share_fits(share, &deal.header.commitments, self.index));
            if !fits {
                complaints.extend(Complaint::new(
                    self.attempt,
                    self.index,
                    self.secret,
                    &deal.header,
                    relayed,
                    rng,
                ));
            }
        }
        Ok(complaints)
    }

    /// Looks at the proof of each deal on its own. A false one voids its deal.
    pub(crate) fn blame_proofs_vartime(&self, opened: &[Opened]) -> Result<(), Fault> {
        for deal in opened {
            deal.header
                .verify_vartime(&deal.proof)
                .map_err(|reason| Fault::BadDeal {
                    dealer: self.attempt.seat_of_dealer(deal.header.index),
                    reason,
                })?;
        }
        Ok(())
    }

    /// x_j, of shares that are all there.
    pub(crate) fn sum(&self, opened: &[Opened]) -> Zeroizing<Scalar> {
        let shares = opened.iter().filter_map(|deal| deal.share.as_deref());
        sum_shares(shares, &self.attempt.weights)
    }
}

/// x^0 … x^(count−1).
pub(crate) fn powers(x: u16, count: usize) -> Vec<Scalar> {
    let x = Scalar::from(x);
    std::iter::successors(Some(Scalar::ONE), |power| Some(power * x))
        .take(count)
        .collect()
}

/// f(x)·G from the commitments to f, of public values, by Horner's rule: x is small, so that each step is a multiplication by a small number.
pub(crate) fn evaluate_vartime(commitments: &[Point], x: u16) -> RistrettoPoint {
    commitments
        .iter()
        .rev()
        .fold(RistrettoPoint::default(), |value, commitment| {
            times(value, x) + commitment.as_ristretto()
        })
}

/// f(1)·G … f(n)·G from the commitments to f, of public values. `None` if one of them is the identity.
pub(crate) fn evaluate_all_vartime(commitments: &[Point], members: u16) -> Option<Vec<Point>> {
    (1..=members)
        .map(|x| Point::from_ristretto(evaluate_vartime(commitments, x)))
        .collect()
}

/// k·P for a small public k, by doubling and adding.
fn times(point: RistrettoPoint, k: u16) -> RistrettoPoint {
    if k == 0 {
        return RistrettoPoint::default();
    }
    let bits = u16::BITS - k.leading_zeros();
    (0..bits.saturating_sub(1)).rev().fold(point, |value, bit| {
        let doubled = value + value;
        if k >> bit & 1 == 1 {
            doubled + point
        } else {
            doubled
        }
    })
}

/// Whether a secret share is f(x), by the commitments to f. Constant time in the share.
pub(crate) fn share_fits(share: &Scalar, commitments: &[Point], x: u16) -> bool {
    known(RistrettoPoint::mul_base(share) == evaluate_vartime(commitments, x))
}

/// A random weight of 128 bits.
pub(crate) fn weight<R: CryptoRng>(rng: &mut R) -> Scalar {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    Scalar::from(u128::from_le_bytes(bytes))
}
