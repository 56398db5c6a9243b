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
use crate::sums::{encode_sums, equal_weights, sum_commitments_vartime};
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
    pub(super) fn new(
        proposal: &Proposal,
        attempt: &Attempt,
        from: u16,
        deal: &Deal,
    ) -> Result<Self, Fault> {
        let open = deal
            .verify_vartime(proposal, attempt, from)
            .map_err(|reason| Fault::BadDeal {
                dealer: from,
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
    pub(super) fn new(attempt: Attempt, deals: Vec<VerifiedDeal>) -> Result<Self, Fault> {
        let set = deal_set(&attempt.params, deals.iter().map(|deal| &deal.open.digest));
        let commitments = deals.iter().map(|deal| deal.open.commitments.as_slice());
        let sums = sum_commitments_vartime(commitments, &equal_weights(deals.len()))?;
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
    pub(super) fn result(&self) -> AttemptResult {
        AttemptResult {
            params: self.attempt.params,
            epoch: 0,
            set: self.set,
            qualified: self.deals.iter().map(|deal| deal.open.index).collect(),
            sums: self.sums.clone(),
        }
    }

    /// The deal of the dealer of this index.
    pub(super) fn deal(&self, dealer: u16) -> Option<&Deal> {
        usize::from(dealer)
            .checked_sub(1)
            .and_then(|place| self.deals.get(place))
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
