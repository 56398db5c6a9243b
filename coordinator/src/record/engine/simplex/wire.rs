//! What a peer's process says over HTTP, as JSON: version 1. Bytes are lower-case hexadecimal.

use crate::record::{
    block::{Block, Header},
    identifier::Identifier,
    signed::SignedTransaction,
    transaction::OrganisationChange,
};
use serde::{Deserialize, Serialize};

/// Blocks in one answer at most.
pub const MAX_BLOCKS: usize = 64;

/// Bytes in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HexBytes(#[serde(with = "hex")] pub Vec<u8>);

/// What became of a submitted transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Submitted {
    /// It is on the record.
    Recorded {
        /// In which block.
        height: u64,
        /// At which position.
        position: u64,
    },
    /// It was ordered, and refused.
    Refused {
        /// The reason's stable code.
        code: String,
        /// The reason.
        message: String,
    },
}

/// A block as this peer has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockView {
    /// The header.
    pub header: HexBytes,
    /// The head after it, signed by this peer.
    pub signed_head: String,
    /// The transactions, if they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transactions: Option<Vec<HexBytes>>,
}

/// The blocks from one on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlocksView {
    /// In order, without gaps; none if there was no such block within the time asked for.
    pub blocks: Vec<BlockView>,
}

/// How a peer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatusView {
    /// Whose it is.
    pub organisation: Identifier,
    /// Software version.
    pub software: String,
    /// The ledger's id.
    pub ledger: String,
    /// Its last block.
    pub height: u64,
    /// Transactions on its record.
    pub transactions: u64,
    /// Root over its state after the last block, hexadecimal; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_root: Option<String>,
    /// The last batch of the order that it executed.
    pub ordered: u64,
    /// The epoch of the order that it is in.
    pub epoch: u64,
    /// Whether it votes in that epoch. One that does not, follows.
    pub votes: bool,
    /// Whether it does not because it lost its votes: it will when those that it may have given are over.
    #[serde(default)]
    pub votes_lost: bool,
    /// The organisations on the record; they order from the next epoch on.
    pub organisations: Vec<Identifier>,
    /// Changes of the organisations that a quorum has not endorsed yet.
    pub changes: Vec<ChangeView>,
    /// Why it takes no part any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Members of whose faults it has proof.
    pub accused: Vec<AccusedView>,
}

/// A change of the organisations that is not decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeView {
    /// `admit`, `remove` or `rekey`.
    pub change: String,
    /// Of whom.
    pub organisation: Identifier,
    /// Who has endorsed it.
    pub endorsed_by: Vec<Identifier>,
}

impl ChangeView {
    /// The view of a change.
    #[must_use]
    pub fn new<'a>(
        change: &OrganisationChange,
        endorsed_by: impl Iterator<Item = &'a Identifier>,
    ) -> Self {
        let (word, organisation) = match change {
            OrganisationChange::Admit(it) => ("admit", &it.name),
            OrganisationChange::Remove(name) => ("remove", name),
            OrganisationChange::Rekey(it) => ("rekey", &it.name),
        };
        Self {
            change: word.to_owned(),
            organisation: organisation.clone(),
            endorsed_by: endorsed_by.cloned().collect(),
        }
    }
}

/// Which place the asker's key has in the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum StandingView {
    /// It orders, or will from the next epoch on.
    Member,
    /// It never did.
    Unknown,
    /// It did, and does no more.
    Departed {
        /// The first epoch without it.
        epoch: u64,
        /// The same, signed by the peer that says so.
        note: String,
    },
}

/// An organisation on the record, and the key of its peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// The organisation.
    pub organisation: Identifier,
    /// The key.
    #[serde(with = "hex")]
    pub key: [u8; 32],
}

/// A member of whose fault there is proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccusedView {
    /// The organisation.
    pub organisation: Identifier,
    /// What its peer did.
    pub fault: String,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorView {
    /// A stable code.
    pub code: String,
    /// A sentence.
    pub message: String,
}

impl BlockView {
    /// The view of a block.
    #[must_use]
    pub fn new(block: &Block, signed_head: String, transactions: bool) -> Self {
        let bytes = |it: &SignedTransaction| HexBytes(it.as_bytes().to_vec());
        Self {
            header: HexBytes(block.header.to_bytes()),
            signed_head,
            transactions: transactions.then(|| block.transactions.iter().map(bytes).collect()),
        }
    }

    /// The header, if it is one.
    #[must_use]
    pub fn header(&self) -> Option<Header> {
        Header::from_bytes(&self.header.0).ok()
    }

    /// The block, if it is one and came with its transactions. Decoded, not judged.
    #[must_use]
    pub fn block(&self) -> Option<Block> {
        let transactions = self.transactions.as_ref()?.iter();
        let decode = |it: &HexBytes| SignedTransaction::from_bytes(&it.0).ok();
        Some(Block {
            header: self.header()?,
            transactions: transactions.map(decode).collect::<Option<_>>()?,
        })
    }
}
