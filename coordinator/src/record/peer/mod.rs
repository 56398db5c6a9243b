//! An organisation's peer: its own keys, its own store, its own state, its own decisions.
//!
//! A peer believes nobody. It executes every block itself, makes it durable, and signs the head that came out of it. It
//! approves a read only by what its own state says at that moment. It does no networking and has no clock: an engine drives it,
//! and time is an argument.
//!
//! # At start
//!
//! The state is not stored; it is rebuilt from the blocks. Each block must follow from the one before (number, parent's hash, time),
//! each transaction must be accepted again, and the roots that come out must be those of the header. The peer's own signature over the last
//! head says that these are the bytes that it once verified, so that signatures and proofs within need no second verification. A
//! store that does not hold together is refused and left as it is; a peer without a store gets the blocks from the
//! others, and verifies every signature and proof in them.
//!
//! A peer in an order that comes from elsewhere may be behind when it starts. It approves nothing until the order has come to the time of its start
//! ([`Peer::catch_up_to`]): what it knows by then is at least what was final when it started. From then on it approves only while it hears from the order. One that was set
//! back to an earlier state of its store, or lost it, approves no read twice ([`lease`]), nor does one approve what its predecessor may have ([`tenure`]).
//!
//! # What goes wrong
//!
//! After a failed write the disk may hold the block or not: the peer stops ([`PeerError::Stopped`] from then on), and what it has is
//! found out at the next start.

mod approvals;
mod approve;
mod backup;
mod chain;
mod fresher;
mod lease;
mod mirror;
mod ordered;
mod replica;
mod store;
mod tenure;

pub use approvals::{WriteApprovalsError, WrittenApprovals, write_approvals};
pub use approve::ApprovalRefusal;
pub use backup::{Copied, copy_store, examine_store, mark_taken_back};
pub(super) use chain::Follower;
pub use fresher::FresherLists;
pub use mirror::{Mirror, MirrorError};
pub use ordered::{Orderer, Orderers};
pub use replica::Replica;
pub use store::StoreError;
pub(super) use store::StoredTransaction;

use super::{
    apply::apply_verified_by,
    block::{Block, BlockContext, Header},
    event::Event,
    genesis::{Genesis, OrganisationsError, usable_key},
    head::{Head, HeadError, SignedHead},
    identifier::Identifier,
    rejection::Rejection,
    root::Hash,
    signed::{LedgerId, SignedTransaction},
    verifier::{Full, OwnStore},
};
use certs::checkpoint::NoteKey;
use certs::merkle::Tree;
use chain::{conclude, empty_head, fits_a_block, replay, tip};
use ed25519_dalek::SigningKey;
use lease::Lease;
use replica::Live;
use std::{collections::BTreeSet, path::Path, sync::Arc};
use store::Store;
use tenure::Tenure;

/// What an organisation's peer signs with.
pub struct PeerKeys {
    /// The organisation.
    pub organisation: Identifier,
    /// Signs heads.
    pub head_key: SigningKey,
    /// Issues approvals.
    pub issuer: certs::Issuer,
}

impl std::fmt::Debug for PeerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PeerKeys({}, redacted)", self.organisation)
    }
}

/// How a peer approves.
#[derive(Debug, Clone, Copy)]
pub struct ApprovalTerms {
    /// How long an approval is valid, seconds; at most what the nodes' policy allows.
    pub lifetime_s: u32,
    /// How far from its block's time, by the peer's own clock, a read may be approved, milliseconds.
    pub window_ms: u64,
}

impl ApprovalTerms {
    /// The longest lifetime, seconds: an hour. What nodes accept is in their policy, and mostly shorter.
    pub const MAX_LIFETIME_S: u32 = 3_600;
    /// The longest window, milliseconds: an hour.
    pub const MAX_WINDOW_MS: u64 = 3_600_000;

    fn check(self) -> Result<(), PeerOpenError> {
        let Self {
            lifetime_s,
            window_ms,
        } = self;
        if (1..=Self::MAX_LIFETIME_S).contains(&lifetime_s) && window_ms <= Self::MAX_WINDOW_MS {
            return Ok(());
        }
        Err(PeerOpenError::Terms {
            lifetime_s,
            window_ms,
        })
    }
}

impl Default for ApprovalTerms {
    fn default() -> Self {
        Self {
            lifetime_s: 120,
            window_ms: 600_000,
        }
    }
}

/// Why a peer cannot execute a block.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PeerError {
    /// Its store failed.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    /// Not the block after its last one.
    #[error("the peer is at block {height}, so block {proposed} does not follow")]
    NotNext {
        /// Its last block.
        height: u64,
        /// The block proposed.
        proposed: u64,
    },
    /// Follows from another block than its last one.
    #[error("block {proposed} follows from another block than this peer's")]
    OtherParent {
        /// The block proposed.
        proposed: u64,
    },
    /// Earlier than its parent.
    #[error("block {proposed} is earlier than the one before")]
    Earlier {
        /// The block proposed.
        proposed: u64,
    },
    /// More than fits into a block.
    #[error("block {proposed} is larger than a block may be")]
    TooLarge {
        /// The block proposed.
        proposed: u64,
    },
    /// Another peer's block that this one cannot confirm.
    #[error("block {height} of another peer does not hold: {reason}")]
    Refused {
        /// The block.
        height: u64,
        /// What does not hold.
        reason: String,
    },
    /// The head cannot be signed.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// It failed before, and is to be started again.
    #[error("the peer has stopped after a failure; start it again")]
    Stopped,
}

impl From<StoreError> for PeerError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// Why a peer cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum PeerOpenError {
    /// The genesis founds nothing.
    #[error("the genesis cannot be used: {0}")]
    Genesis(#[from] OrganisationsError),
    /// Its store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its name cannot stand in a signed note.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// Approvals without a lifetime, or for longer than any should be valid.
    #[error(
        "approvals are valid for 1 to {} seconds and given for reads of the last {} seconds at most, not {lifetime_s} seconds and {window_ms} ms",
        ApprovalTerms::MAX_LIFETIME_S,
        ApprovalTerms::MAX_WINDOW_MS / 1000
    )]
    Terms {
        /// The lifetime given.
        lifetime_s: u32,
        /// The window given.
        window_ms: u64,
    },
}

/// What an engine proposes.
#[derive(Debug)]
pub struct Proposal {
    /// Number of the block.
    pub height: u64,
    /// Hash of the block before.
    pub parent: Hash,
    /// The block's time, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The candidates, in order.
    pub candidates: Vec<SignedTransaction>,
}

/// What became of one candidate: its position on the record and what it did, or why it was refused.
pub type CandidateOutcome = Result<(u64, Vec<Event>), Rejection>;

/// What a peer made of a proposal.
#[derive(Debug)]
pub struct Execution {
    /// The block that is now durable; none if no candidate was accepted.
    pub block: Option<Header>,
    /// For each candidate.
    pub outcomes: Vec<CandidateOutcome>,
}

/// One organisation's peer.
#[derive(Debug)]
pub struct Peer {
    keys: PeerKeys,
    terms: ApprovalTerms,
    ledger: LedgerId,
    genesis_ms: u64,
    origin: String,
    store: Store,
    replica: Arc<Replica>,
    signed_head: String,
    final_height: u64,
    stopped: bool,
    /// What it may have approved and forgotten.
    lease: Lease,
    /// Since when the record has its keys.
    tenure: Tenure,
    /// How far the order must have come before it approves anything, milliseconds since the Unix epoch.
    catch_up_ms: Option<u64>,
    /// How far the order has come, in one that comes from elsewhere.
    heard_ms: Option<u64>,
    /// What it knows of revoked certificates besides the record.
    fresher: Option<Arc<FresherLists>>,
    /// The batch that is being executed, in an order that comes from elsewhere.
    batch: Option<u64>,
}

impl Peer {
    /// Opens the peer's store and rebuilds its state from it.
    ///
    /// # Errors
    /// [`PeerOpenError`], above all for a store that does not hold together.
    pub fn open(
        path: &Path,
        genesis: &Genesis,
        keys: PeerKeys,
        terms: ApprovalTerms,
    ) -> Result<Self, PeerOpenError> {
        terms.check()?;
        let ledger = genesis.id();
        let origin = genesis.origin();
        let mut live = Live {
            state: genesis.state()?,
            tree: Tree::new(),
            header: None,
        };
        let state_root = live.state.root();
        let store = Store::open(path, &ledger, &keys.organisation)?;

        let mut signed_head =
            empty_head(&origin, state_root).sign(keys.organisation.as_str(), &keys.head_key)?;
        let height = store.height()?;
        let mut tenure = Tenure::at_genesis(&keys, &live.state, genesis.time_ms);
        let mut own_keys = BTreeSet::from([keys.head_key.verifying_key().to_bytes()]);
        for number in 1..=height {
            let stored = store
                .block(number)?
                .ok_or_else(|| store.damaged(number, "the block is missing"))?;
            let expected = (ledger, genesis.time_ms);
            // The key that the record has before the block signed the head after it.
            let on_record = live.state.organisation(&keys.organisation);
            own_keys.extend(on_record.map(|organisation| organisation.head_key));
            replay(&mut live, expected, &stored.block, &OwnStore)
                .map_err(|reason| store.damaged(number, reason))?;
            tenure.follow(&keys, &live.state, (number, stored.block.header.time_ms));
            signed_head = stored.signed_head;
        }
        if store.transaction_count()? != live.tree.size() {
            let reason = "there are transactions that belong to no block";
            return Err(store.damaged(height, reason).into());
        }
        if let Some(header) = &live.header {
            let head = Head::new(&origin, header);
            check_own_head(&signed_head, &head, &keys.organisation, &own_keys)
                .map_err(|reason| store.damaged(height, reason))?;
        }
        let replica = Arc::new(Replica::new(live, Store::open_reader(store.path())?));
        let lease = Lease::open(&store)?;
        let (genesis_ms, stopped) = (genesis.time_ms, false);
        Ok(Self {
            keys,
            terms,
            ledger,
            genesis_ms,
            origin,
            store,
            replica,
            signed_head,
            final_height: 0,
            stopped,
            lease,
            tenure,
            catch_up_ms: None,
            heard_ms: None,
            fresher: None,
            batch: None,
        })
    }

    /// Says when it starts, milliseconds since the Unix epoch, before it gets any block: one whose store is empty may have lost what it approved before.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn starts(&mut self, now_ms: u64) -> Result<(), StoreError> {
        match self.tip().0 {
            0 => self.lease.begin_empty(&self.store, now_ms),
            _ => Ok(()),
        }
    }

    /// Holds these lists against what it approves, besides those on the record.
    pub fn consult(&mut self, lists: Arc<FresherLists>) {
        self.fresher = Some(lists);
    }

    /// The organisation.
    #[must_use]
    pub fn organisation(&self) -> &Identifier {
        &self.keys.organisation
    }

    /// Closes the store; the keys are what opens it again.
    #[must_use]
    pub fn into_keys(self) -> PeerKeys {
        self.keys
    }

    /// Its copy of the record, for queries.
    #[must_use]
    pub fn replica(&self) -> Arc<Replica> {
        self.replica.clone()
    }

    /// The head that it signed last: a C2SP signed note.
    #[must_use]
    pub fn signed_head(&self) -> &str {
        &self.signed_head
    }

    /// Number, hash and time of its last block; of the genesis, if there is none.
    #[must_use]
    pub fn tip(&self) -> (u64, Hash, u64) {
        tip(
            self.replica.live().header.as_ref(),
            (self.ledger, self.genesis_ms),
        )
    }

    /// Hash of one of its blocks; of the genesis for 0.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn block_hash(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        if height == 0 {
            return Ok(Some(self.ledger));
        }
        Ok(self
            .store
            .block(height)?
            .map(|stored| stored.block.header.hash()))
    }

    /// Whether head key and approval CA are those that the record has for the organisation; `None` if the record does not
    /// know the organisation.
    #[must_use]
    pub fn keys_on_record(&self) -> Option<bool> {
        tenure::on_record(&self.keys, &self.replica.live().state)
    }

    /// Executes a proposal. The block is durable when it returns.
    ///
    /// # Errors
    /// [`PeerError`]; after a failure of the store the peer has stopped.
    pub fn execute(&mut self, proposal: &Proposal) -> Result<Execution, PeerError> {
        self.follows(proposal.height, &proposal.parent, proposal.time_ms)?;
        if !fits_a_block(&proposal.candidates) {
            return Err(PeerError::TooLarge {
                proposed: proposal.height,
            });
        }
        let context = BlockContext {
            height: proposal.height,
            time_ms: proposal.time_ms,
        };
        let mut outcomes = Vec::with_capacity(proposal.candidates.len());
        let mut accepted = Vec::new();
        let replica = self.replica.clone();
        let mut live = replica.live_mut();
        let first = live.tree.size();
        for candidate in &proposal.candidates {
            let outcome = apply_verified_by(&mut live.state, &context, candidate, &Full);
            outcomes.push(outcome.map(|events| {
                accepted.push(candidate.clone());
                (first + accepted.len() as u64 - 1, events)
            }));
        }
        if accepted.is_empty() {
            return Ok(Execution {
                block: None,
                outcomes,
            });
        }
        let header = conclude(&mut live, &context, proposal.parent, &accepted);
        drop(live);
        self.commit(&Block {
            header,
            transactions: accepted,
        })?;
        Ok(Execution {
            block: Some(header),
            outcomes,
        })
    }

    /// Takes over a block that another peer made, if everything in it holds. It is durable when it returns.
    ///
    /// # Errors
    /// [`PeerError`]; a peer that has refused a block has stopped, for its state may hold half of it.
    pub fn adopt(&mut self, block: &Block) -> Result<(), PeerError> {
        let header = &block.header;
        self.follows(header.height, &header.parent, header.time_ms)?;
        let expected = (self.ledger, self.genesis_ms);
        let replayed = replay(&mut self.replica.live_mut(), expected, block, &Full);
        if let Err(reason) = replayed {
            self.stopped = true;
            return Err(PeerError::Refused {
                height: header.height,
                reason,
            });
        }
        self.commit(block)
    }

    /// Learns that this block is final, and with it all before. A peer that has another block there, or none, has stopped: a
    /// permission may be gone that its state still has, so it must not approve anything from it.
    pub fn finalise(&mut self, height: u64, hash: &Hash) {
        let (last, own, _) = self.tip();
        let has_it = if height == last {
            own == *hash
        } else {
            height < last
                && self
                    .block_hash(height)
                    .is_ok_and(|known| known == Some(*hash))
        };
        if has_it {
            self.final_height = self.final_height.max(height);
        } else {
            self.stopped = true;
        }
    }

    fn follows(&self, height: u64, parent: &Hash, time_ms: u64) -> Result<(), PeerError> {
        let (last, hash, last_ms) = self.tip();
        if self.stopped {
            return Err(PeerError::Stopped);
        }
        if height != last + 1 {
            return Err(PeerError::NotNext {
                height: last,
                proposed: height,
            });
        }
        if *parent != hash {
            return Err(PeerError::OtherParent { proposed: height });
        }
        if time_ms < last_ms {
            return Err(PeerError::Earlier { proposed: height });
        }
        Ok(())
    }

    /// Signs the head after a block that was executed, and makes both durable.
    fn commit(&mut self, block: &Block) -> Result<(), PeerError> {
        let head = Head::new(&self.origin, &block.header);
        let committed = head
            .sign(self.keys.organisation.as_str(), &self.keys.head_key)
            .map_err(PeerError::from)
            .and_then(|signed| {
                Ok(self
                    .store
                    .append(block, &signed, self.batch)
                    .map(|()| signed)?)
            });
        // What the state holds is not in the store: only a new start brings them together again.
        self.stopped = committed.is_err();
        self.signed_head = committed?;
        let block = (block.header.height, block.header.time_ms);
        let live = self.replica.live();
        self.tenure.follow(&self.keys, &live.state, block);
        Ok(())
    }
}

/// Whether the note is this peer's signature over this head, by one of the keys that it had.
fn check_own_head(
    note: &str,
    head: &Head,
    organisation: &Identifier,
    own_keys: &BTreeSet<[u8; 32]>,
) -> Result<(), String> {
    let keys: Vec<NoteKey> = own_keys
        .iter()
        .filter_map(|key| NoteKey::new(organisation.as_str(), usable_key(key)?).ok())
        .collect();
    let signed = SignedHead::parse(note).map_err(|error| error.to_string())?;
    let found = signed
        .verify(&keys, 1)
        .map_err(|error| format!("its head was not signed by this peer ({error})"))?;
    if found != *head {
        return Err("the signed head is not that of the block".to_owned());
    }
    Ok(())
}
