//! A peer in an order that comes from elsewhere: batches of candidates, each with a number and a time.
//!
//! The number of the batch is written with the block that it made. A batch of which nothing was accepted leaves no trace; after a restart it comes again, finds the
//! same state, and again nothing is accepted.
//!
//! Who orders from an epoch on is written before the last batch of the epoch before counts as executed, and only if it is not who ordered before. The state says so at
//! that moment and has no memory of it; whoever fetches old batches again needs it to verify them.

use super::{CandidateOutcome, Peer, PeerError, PeerKeys, Proposal, StoreError};
use crate::record::{
    canonical, engine::simplex::standing::Departure, genesis::Genesis, identifier::Identifier,
    signed::SignedTransaction,
};
use certs::note::NoteError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const MAX_MEMBERS_BYTES: usize = 64 * 1024;

/// One of those who order: an organisation, under the key by which its peer signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orderer {
    /// The organisation.
    pub organisation: Identifier,
    /// Its peer's key.
    #[serde(with = "serde_bytes")]
    pub key: [u8; 32],
}

/// Those who order, by the first epoch.
pub type Orderers = BTreeMap<u64, Vec<Orderer>>;

fn orderer(organisation: &crate::record::Organisation) -> Orderer {
    Orderer {
        organisation: organisation.name.clone(),
        key: organisation.head_key,
    }
}

impl Peer {
    /// The batch that the last block was made of; 0 before the first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn ordered(&self) -> Result<u64, StoreError> {
        self.store.ordered()
    }

    /// Who would order if an epoch began now: the organisations on the record.
    #[must_use]
    pub fn orderers_now(&self) -> Vec<Orderer> {
        self.replica
            .with_state(|state| state.organisations().map(orderer).collect())
    }

    /// Who orders, as far as it is known.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn orderers(&self, genesis: &Genesis) -> Result<Orderers, StoreError> {
        let founders = genesis.organisations.iter().map(orderer).collect();
        let mut orderers = Orderers::from([(0, founders)]);
        for (epoch, bytes) in self.store.members()? {
            let members = canonical::from_bytes(&bytes, MAX_MEMBERS_BYTES)
                .map_err(|error| self.store.damaged(0, format!("epoch {epoch}: {error}")))?;
            orderers.insert(epoch, members);
        }
        Ok(orderers)
    }

    /// Who orders from an epoch on is who is on the record now. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn begin_epoch(&mut self, orderers: &mut Orderers, epoch: u64) -> Result<(), StoreError> {
        let now = self.orderers_now();
        let before = orderers.range(..epoch).next_back();
        if before.is_some_and(|(_, before)| *before == now) && !orderers.contains_key(&epoch) {
            return Ok(());
        }
        self.store.note_members(epoch, &canonical::to_bytes(&now))?;
        orderers.insert(epoch, now);
        Ok(())
    }

    /// What it says of a key that has no place in the order any more: signed, for whoever holds the key.
    ///
    /// # Errors
    /// [`NoteError`] for a name that cannot stand in a note.
    pub fn sign_departure(&self, departure: &Departure) -> Result<String, NoteError> {
        let PeerKeys {
            organisation,
            head_key,
            ..
        } = &self.keys;
        departure.sign(&self.ledger, organisation, head_key)
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

    /// The order has come to a batch of this time, and everything in it is executed. From the first one on the peer approves only as long as it hears of more.
    pub fn has_come_to(&mut self, time_ms: u64) {
        self.heard_ms = self.heard_ms.max(Some(time_ms));
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
