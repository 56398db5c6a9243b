//! A copy of the record without keys: it follows, and neither orders, signs nor approves. The platform has one when the peers are elsewhere.
//!
//! It believes no single peer. A block is taken over when its head is signed by a quorum of the organisations that are on the record before it, and when
//! executing it, every signature and proof included, leads to the very header.

use super::{
    chain::{empty_head, replay, tip},
    replica::{Live, Replica},
    store::{Store, StoreError},
};
use crate::record::{
    block::{Block, Header},
    event::Event,
    genesis::{Genesis, OrganisationsError},
    head::{Head, HeadError, SignedHead},
    identifier::{Identifier, IdentifierError},
    root::Hash,
    signed::LedgerId,
    verifier::{Full, OwnStore},
};
use certs::{checkpoint::NoteKey, merkle::Tree};
use std::{path::Path, sync::Arc};

/// In whose name the store is.
const NAME: &str = "mirror";

/// Why a mirror cannot be opened, or cannot follow.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The genesis founds nothing.
    #[error("the genesis cannot be used: {0}")]
    Genesis(#[from] OrganisationsError),
    /// Its store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A head is not one, or not signed by enough.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// A block that enough have signed, and that does not hold all the same.
    #[error(
        "block {height} is signed by a quorum and does not hold: {reason}; keep everything as evidence, and ask the organisations"
    )]
    Refused {
        /// The block.
        height: u64,
        /// What does not hold.
        reason: String,
    },
    /// The name of the store.
    #[error(transparent)]
    Name(#[from] IdentifierError),
}

/// A copy of the record.
#[derive(Debug)]
pub struct Mirror {
    store: Store,
    replica: Arc<Replica>,
    origin: String,
    genesis: (LedgerId, u64),
    signed_head: Option<String>,
    stopped: bool,
}

impl Mirror {
    /// Opens the store and rebuilds the state from it.
    ///
    /// # Errors
    /// [`MirrorError`]
    pub fn open(path: &Path, genesis: &Genesis) -> Result<Self, MirrorError> {
        let beginning = (genesis.id(), genesis.time_ms);
        let origin = genesis.origin();
        let store = Store::open(path, &beginning.0, &NAME.parse::<Identifier>()?)?;
        let mut live = Live {
            state: genesis.state()?,
            tree: Tree::new(),
            header: None,
        };
        let mut signed_head = None;
        let height = store.height()?;
        let mut signers = (Vec::new(), 0);
        for number in 1..=height {
            let stored = store
                .block(number)?
                .ok_or_else(|| store.damaged(number, "the block is missing"))?;
            if number == height {
                signers = (live.state.head_keys().collect(), live.state.quorum());
            }
            replay(&mut live, beginning, &stored.block, &OwnStore)
                .map_err(|reason| store.damaged(number, reason))?;
            signed_head = Some(stored.signed_head);
        }
        if let (Some(header), Some(note)) = (&live.header, &signed_head) {
            check(note, &Head::new(&origin, header), &signers.0, signers.1)
                .map_err(|error| store.damaged(height, error.to_string()))?;
        }
        let replica = Arc::new(Replica::new(live, Store::open_reader(store.path())?));
        Ok(Self {
            store,
            replica,
            origin,
            genesis: beginning,
            signed_head,
            stopped: false,
        })
    }

    /// What it knows, for queries.
    #[must_use]
    pub fn replica(&self) -> Arc<Replica> {
        self.replica.clone()
    }

    /// Number, hash and time of its last block.
    #[must_use]
    pub fn tip(&self) -> (u64, Hash, u64) {
        tip(self.replica.live().header.as_ref(), self.genesis)
    }

    /// The head of its last block, signed by a quorum; none before the first.
    #[must_use]
    pub fn signed_head(&self) -> Option<&str> {
        self.signed_head.as_deref()
    }

    /// The head that a header makes here.
    #[must_use]
    pub fn head_of(&self, header: &Header) -> Head {
        Head::new(&self.origin, header)
    }

    /// The head before the first block.
    #[must_use]
    pub fn first_head(&self) -> Head {
        let root = self.replica.live_mut().state.root();
        empty_head(&self.origin, root)
    }

    /// Takes over the next block, with a note that a quorum signed. It is durable when it returns.
    ///
    /// # Errors
    /// [`MirrorError`]; after anything but [`MirrorError::Head`] it takes no further block.
    pub fn follow(&mut self, block: &Block, note: &str) -> Result<Vec<Vec<Event>>, MirrorError> {
        let refused = |reason: &str| MirrorError::Refused {
            height: block.header.height,
            reason: reason.to_owned(),
        };
        if self.stopped {
            return Err(refused("the mirror has stopped after a failure"));
        }
        let (keys, quorum) = self
            .replica
            .with_state(|state| (state.head_keys().collect::<Vec<_>>(), state.quorum()));
        check(note, &self.head_of(&block.header), &keys, quorum)?;
        self.stopped = true;
        let events = replay(&mut self.replica.live_mut(), self.genesis, block, &Full)
            .map_err(|reason| refused(&reason))?;
        self.store.append(block, note, None)?;
        self.signed_head = Some(note.to_owned());
        self.stopped = false;
        Ok(events)
    }
}

fn check(note: &str, head: &Head, keys: &[NoteKey], quorum: usize) -> Result<(), HeadError> {
    let found = SignedHead::parse(note)?.verify(keys, quorum)?;
    if found == *head {
        Ok(())
    } else {
        Err(HeadError::Different)
    }
}
