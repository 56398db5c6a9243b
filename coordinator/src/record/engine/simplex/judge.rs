//! What a peer says about bytes that somebody wants to have ordered.

use crate::record::{
    peer::Replica,
    signed::{LedgerId, SignedTransaction},
};
use ordering::{Clock, Judge};
use std::sync::Arc;

pub(super) struct RecordJudge {
    pub(super) ledger: LedgerId,
    pub(super) replica: Arc<Replica>,
    pub(super) clock: Clock,
}

/// The transaction in an item. What it says is the same for everybody, whatever the state.
pub(super) fn transaction(ledger: &LedgerId, item: &[u8]) -> Option<SignedTransaction> {
    SignedTransaction::from_bytes(item)
        .ok()
        .filter(|it| it.content().ledger == *ledger)
}

impl Judge for RecordJudge {
    fn well_formed(&self, item: &[u8]) -> bool {
        transaction(&self.ledger, item).is_some()
    }

    /// Signed by somebody whom this peer's record knows, neither expired nor on the record. A peer that is behind may say no
    /// to what is right; it is told again, and the peer where it was submitted does not ask.
    fn admissible(&self, item: &[u8]) -> bool {
        let Some(transaction) = transaction(&self.ledger, item) else {
            return false;
        };
        let time_ms = (self.clock)();
        self.replica
            .with_state(|state| {
                crate::record::apply::may_be_submitted(state, time_ms, &transaction)
            })
            .is_ok()
    }
}
