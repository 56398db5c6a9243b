//! A peer in an order that comes from elsewhere: batches of candidates, each with a number and a time.
//!
//! The number of the batch is written with the block that it made. A batch of which nothing was accepted leaves no trace; after a restart it comes again, finds the
//! same state, and again nothing is accepted.

use super::{CandidateOutcome, Peer, PeerError, Proposal, StoreError};
use crate::record::signed::SignedTransaction;

impl Peer {
    /// The batch that the last block was made of; 0 before the first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn ordered(&self) -> Result<u64, StoreError> {
        self.store.ordered()
    }

    /// Executes the next batch of a final order: what is accepted is durable and final when it returns.
    ///
    /// # Errors
    /// [`PeerError`]; the peer has stopped then.
    pub fn execute_batch(
        &mut self,
        batch: u64,
        time_ms: u64,
        candidates: Vec<SignedTransaction>,
    ) -> Result<Vec<CandidateOutcome>, PeerError> {
        let (height, parent, _) = self.tip();
        let proposal = Proposal {
            height: height + 1,
            parent,
            time_ms,
            candidates,
        };
        self.batch = Some(batch);
        let execution = self.execute(&proposal);
        self.stopped |= execution.is_err();
        let execution = execution?;
        if let Some(header) = execution.block {
            self.finalise(header.height, &header.hash());
        }
        Ok(execution.outcomes)
    }

    /// Has it approve nothing until the order has come to this time: that of its start.
    pub fn catch_up_to(&mut self, time_ms: u64) {
        self.catch_up_ms = Some(time_ms);
    }

    /// The order has come to a batch of this time, and everything in it is executed.
    pub fn has_come_to(&mut self, time_ms: u64) {
        self.catch_up_ms = self.catch_up_ms.filter(|wanted| time_ms < *wanted);
    }

    /// Whether it has failed and does nothing more.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.stopped
    }

    /// Takes what it has for final: for a peer in whose order nothing else comes out.
    pub fn finalise_own(&mut self) {
        let (height, hash, _) = self.tip();
        self.finalise(height, &hash);
    }
}
