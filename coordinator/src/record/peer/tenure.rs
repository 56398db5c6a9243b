//! Since when the record has a peer's keys.
//!
//! An organisation that changes its keys has another peer from then on, and that one does not know what its predecessor approved. It leaves alone what that one can have
//! approved: every read of a block before the one that brought the keys. Of the blocks after that the predecessor approves nothing, for by then its keys are not those on
//! the record.

use super::PeerKeys;
use crate::record::state::State;

/// Since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tenure {
    on_record: bool,
    /// Number and time of the block that brought the keys, or of the genesis.
    since: (u64, u64),
}

/// Whether head key and approval CA are those that the record has; `None` if it does not know the organisation.
pub(super) fn on_record(keys: &PeerKeys, state: &State) -> Option<bool> {
    let organisation = state.organisation(&keys.organisation)?;
    let issuer = keys.issuer.certificate_der();
    Some(
        organisation.head_key == keys.head_key.verifying_key().to_bytes()
            && organisation
                .issuers
                .iter()
                .any(|known| known.as_slice() == issuer),
    )
}

impl Tenure {
    /// As it is at the genesis, whose time this is.
    pub(super) fn at_genesis(keys: &PeerKeys, state: &State, time_ms: u64) -> Self {
        Self {
            on_record: on_record(keys, state) == Some(true),
            since: (0, time_ms),
        }
    }

    /// Looks at the state after a block of this number and time.
    pub(super) fn follow(&mut self, keys: &PeerKeys, state: &State, block: (u64, u64)) {
        let before = self.on_record;
        self.on_record = on_record(keys, state) == Some(true);
        if self.on_record && !before {
            self.since = block;
        }
    }

    /// The time of the block that brought the keys, if the block of this number came before it.
    pub(super) fn after(&self, height: u64) -> Option<u64> {
        (height < self.since.0).then_some(self.since.1)
    }
}
