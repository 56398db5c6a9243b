//! Who deals in an attempt, and with which weight.
//!
//! In a create everybody deals a random polynomial, all weights are 1, and Y is the sum. In a reshare the t_old old members
//! of the attempt with the lowest indices in the base deal their shares of it, weighted by the Lagrange coefficients
//!
//! ```text
//! λ_i = Π_{k≠i} k / (k − i)  over the dealers' indices in the base:      x = Σ λ_i·x_i,     x_j = Σ λ_i·s_ij,     S_k = Σ λ_i·A_ik
//! ```
//!
//! Both follow from who takes part, before anything is dealt: no dealer can wait for the others' deals to decide whether it counts.

use curve25519_dalek::Scalar;
use reencrypt::{Point, lagrange};

use crate::proposal::Proposal;

/// A member that deals.
#[derive(Debug, Clone)]
pub(crate) struct Dealer {
    /// i: the index in the deal's header. In a reshare the one in the base.
    pub(crate) index: u16,
    /// Its seat in the attempt.
    pub(crate) seat: u16,
    /// With what its deal enters the sums.
    pub(crate) weight: Scalar,
    /// In a reshare Y_i of the base, which the deal's constant term must be.
    pub(crate) constant: Option<Point>,
}

/// The dealers of an attempt in the order of their indices. `None` if too few old members take part, which a roster rules out.
pub(crate) fn dealers(roster: &Proposal) -> Option<Vec<Dealer>> {
    let Some(base) = roster.base() else {
        let seats = (1u16..).zip(roster.members()).map(|(seat, _)| seat);
        return Some(
            seats
                .map(|seat| Dealer {
                    index: seat,
                    seat,
                    weight: Scalar::ONE,
                    constant: None,
                })
                .collect(),
        );
    };
    let old = roster.old_seats().get(..usize::from(base.threshold()))?;
    let indices: Vec<u16> = old.iter().map(|old| old.index).collect();
    let weights = lagrange::coefficients_at_zero(&indices).ok()?;
    old.iter()
        .zip(weights)
        .map(|(old, weight)| {
            Some(Dealer {
                index: old.index,
                seat: old.seat,
                weight,
                constant: Some(base.certificate().package().public_share(old.index)?),
            })
        })
        .collect()
}
