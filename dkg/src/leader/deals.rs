//! The deals of an attempt as the leader holds them: verified, summed up, and cut out for each member.

use reencrypt::Point;
use serde_bytes::ByteBuf;

use crate::acknowledge::{Complaints, deal_set};
use crate::attempt::Attempt;
use crate::confirm::AttemptResult;
use crate::deal::{Deal, OpenHeader};
use crate::fault::Fault;
use crate::merkle::Tree;
use crate::proposal::Proposal;
use crate::sums::{encode_sums, sum_commitments_vartime};
use crate::wire_v1::Message;

/// A deal that the leader has verified, ready to be relayed.
pub(super) struct VerifiedDeal {
    pub(super) deal: Deal,
    open: OpenHeader,
    tree: Tree,
}

/// All deals of an attempt.
pub(super) struct DealSet {
    pub(super) attempt: Attempt,
    pub(super) deals: Vec<VerifiedDeal>,
    pub(super) set: [u8; 64],
    /// S_0 … S_t−1.
    sums: Vec<Point>,
}

impl VerifiedDeal {
    /// Checks the deal of the dealer in a seat of the attempt.
    pub(super) fn new(attempt: &Attempt, seat: u16, deal: &Deal) -> Result<Self, Fault> {
        let dealer = attempt.dealer_in(seat).ok_or(Fault::WrongAnswer {
            member: seat,
            message: "dealt",
        })?;
        let open = deal
            .verify_vartime(attempt, dealer.index)
            .map_err(|reason| Fault::BadDeal {
                dealer: seat,
                reason,
            })?;
        Ok(Self {
            tree: deal.tree(),
            deal: deal.clone(),
            open,
        })
    }
}

impl DealSet {
    /// One deal of each dealer, in any order.
    pub(super) fn new(attempt: Attempt, mut deals: Vec<VerifiedDeal>) -> Result<Self, Fault> {
        deals.sort_by_key(|deal| deal.open.index);
        let set = deal_set(&attempt.params, deals.iter().map(|deal| &deal.open.digest));
        let commitments = deals.iter().map(|deal| deal.open.commitments.as_slice());
        let sums = sum_commitments_vartime(commitments, &attempt.weights)?;
        Ok(Self {
            attempt,
            deals,
            set,
            sums,
        })
    }

    /// Moves the deals out, into the next round.
    pub(super) fn take(&mut self) -> Self {
        Self {
            attempt: self.attempt.clone(),
            deals: std::mem::take(&mut self.deals),
            set: self.set,
            sums: std::mem::take(&mut self.sums),
        }
    }

    /// The result that everybody computes.
    pub(super) fn result(&self) -> Result<AttemptResult, Fault> {
        AttemptResult::new(&self.attempt, self.set, self.sums.clone())
    }

    /// The deal of the dealer in this seat of the attempt.
    pub(super) fn deal(&self, seat: u16) -> Option<&Deal> {
        let index = self.attempt.dealer_in(seat)?.index;
        self.deals
            .iter()
            .find(|verified| verified.open.index == index)
            .map(|verified| &verified.deal)
    }

    /// What member `index` gets: excerpts and the sums, or the whole deals.
    pub(super) fn question(&self, ceremony: [u8; 16], index: u16, whole: bool) -> Option<Message> {
        let attempt = self.attempt.number;
        let deals = self.deals.iter();
        Some(if whole {
            Message::WholeDeals {
                ceremony,
                attempt,
                deals: deals
                    .map(|verified| verified.deal.relay_with(&verified.tree, index))
                    .collect::<Option<_>>()?,
            }
        } else {
            Message::Deals {
                ceremony,
                attempt,
                sums: ByteBuf::from(encode_sums(&self.sums)),
                deals: deals
                    .map(|verified| verified.deal.excerpt_with(&verified.tree, index))
                    .collect::<Option<_>>()?,
            }
        })
    }

    /// The verdicts on a member's complaints.
    pub(super) fn judge(&self, proposal: &Proposal, complaints: &Complaints) -> Vec<Fault> {
        let deals: Vec<_> = self
            .deals
            .iter()
            .map(|deal| (&deal.deal.header, &deal.open))
            .collect();
        complaints.judge_vartime(proposal, &self.attempt, &self.set, &deals)
    }
}
