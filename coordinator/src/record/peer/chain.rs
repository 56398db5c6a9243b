//! Following the chain: how the next block is concluded, and how one that exists is held against what comes out.

use super::replica::Live;
use crate::record::{
    apply::{apply_verified_by, finish_block},
    block::{Block, BlockContext, Header, MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS},
    event::Event,
    genesis::{Genesis, OrganisationsError},
    head::Head,
    root::Hash,
    signed::{LedgerId, SignedTransaction},
    state::State,
    verifier::{Full, Verifier},
};
use certs::merkle::{Tree, leaf_hash};

/// Number, hash and time of the last block; of the genesis, given by its id and time, if there is none.
pub(super) fn tip(header: Option<&Header>, genesis: (LedgerId, u64)) -> (u64, Hash, u64) {
    header.map_or((0, genesis.0, genesis.1), |header| {
        (header.height, header.hash(), header.time_ms)
    })
}

/// The head before the first block.
pub(super) fn empty_head(origin: &str, state_root: Hash) -> Head {
    let (size, root) = (0, certs::merkle::empty_root());
    let checkpoint = certs::checkpoint::Checkpoint {
        origin: origin.to_owned(),
        size,
        root,
    };
    Head {
        checkpoint,
        state_root,
    }
}

/// Whether so much may be in one block.
pub(super) fn fits_a_block(transactions: &[SignedTransaction]) -> bool {
    let bytes: usize = transactions.iter().map(|it| it.as_bytes().len()).sum();
    transactions.len() <= MAX_BLOCK_TRANSACTIONS && bytes <= MAX_BLOCK_BYTES
}

/// Ends a block whose transactions were applied: forgets what expired, and computes the header.
pub(super) fn conclude(
    live: &mut Live,
    context: &BlockContext,
    parent: Hash,
    accepted: &[SignedTransaction],
) -> Header {
    finish_block(&mut live.state, context, parent);
    for transaction in accepted {
        live.tree.push(leaf_hash(transaction.as_bytes()));
    }
    let header = Header {
        height: context.height,
        parent,
        time_ms: context.time_ms,
        size: live.tree.size(),
        transactions_root: live.tree.root(),
        state_root: live.state.root(),
    };
    live.header = Some(header);
    header
}

/// Applies a block that exists; says what its transactions did, or what does not hold. `genesis` is the ledger's id and time.
pub(super) fn replay(
    live: &mut Live,
    genesis: (LedgerId, u64),
    block: &Block,
    verifier: &dyn Verifier,
) -> Result<Vec<Vec<Event>>, String> {
    let header = block.header;
    let (last, parent, last_ms) = tip(live.header.as_ref(), genesis);
    if (header.height, header.parent) != (last + 1, parent) || header.time_ms < last_ms {
        return Err("it does not follow from the block before".to_owned());
    }
    if block.transactions.is_empty() || !fits_a_block(&block.transactions) {
        return Err("it is empty, or larger than a block may be".to_owned());
    }
    let context = BlockContext {
        height: header.height,
        time_ms: header.time_ms,
    };
    let mut events = Vec::with_capacity(block.transactions.len());
    for transaction in &block.transactions {
        let done = apply_verified_by(&mut live.state, &context, transaction, verifier);
        events.push(done.map_err(|rejection| {
            format!(
                "transaction {} is not acceptable: {rejection}",
                hex::encode(transaction.id())
            )
        })?);
    }
    let made = conclude(live, &context, parent, &block.transactions);
    if made.transactions_root != header.transactions_root || made.size != header.size {
        return Err("its transactions are not those of its header".to_owned());
    }
    if made.state_root != header.state_root {
        return Err("the state after it is not that of its header".to_owned());
    }
    Ok(events)
}

/// A record that is followed block by block without being a peer: for auditors. Everything is verified.
#[derive(Debug)]
pub(in crate::record) struct Follower {
    live: Live,
    genesis: (LedgerId, u64),
}

impl Follower {
    pub(in crate::record) fn new(genesis: &Genesis) -> Result<Self, OrganisationsError> {
        let live = Live {
            state: genesis.state()?,
            tree: Tree::new(),
            header: None,
        };
        Ok(Self {
            live,
            genesis: (genesis.id(), genesis.time_ms),
        })
    }

    pub(in crate::record) fn follow(&mut self, block: &Block) -> Result<(), String> {
        replay(&mut self.live, self.genesis, block, &Full).map(drop)
    }

    pub(in crate::record) fn state(&self) -> &State {
        &self.live.state
    }

    pub(in crate::record) fn tree(&self) -> &Tree {
        &self.live.tree
    }

    /// The head that must have been signed.
    pub(in crate::record) fn head(&mut self, origin: &str) -> Head {
        match &self.live.header {
            Some(header) => Head::new(origin, header),
            None => empty_head(origin, self.live.state.root()),
        }
    }

    pub(in crate::record) fn into_state(self) -> State {
        self.live.state
    }
}
