//! Blocks: what the engine orders, and what a peer makes of it.
//!
//! The engine proposes a time and a list of candidates. Each peer applies them in order, drops those that the state machine
//! refuses, and makes the block of the rest; since `apply` is deterministic, honest peers make the same block, and a peer
//! that makes another is faulty. If nothing is accepted there is no block.
//!
//! The header names the parent by hash, so that one header pins the whole history; the transactions by the root of the Merkle
//! tree over *all* transactions of the record so far (RFC 9162), the same that the signed heads carry; and the state after the block.

use super::{
    canonical::{self, DecodeError},
    hash,
    root::Hash,
    signed::{SignedTransaction, TransactionId},
};
use serde::{Deserialize, Serialize};

/// Transactions in one block.
pub const MAX_BLOCK_TRANSACTIONS: usize = 1024;
/// Bytes of the transactions in one block.
pub const MAX_BLOCK_BYTES: usize = 4 * 1024 * 1024;
const MAX_HEADER: usize = 256;

/// Where and when a transaction is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockContext {
    /// The block's number, from 1.
    pub height: u64,
    /// The block's time, milliseconds since the Unix epoch: the only clock that the state machine knows.
    pub time_ms: u64,
}

/// A block's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The block's number, from 1.
    pub height: u64,
    /// Hash of the header before; the ledger's id for the first block.
    #[serde(with = "serde_bytes")]
    pub parent: Hash,
    /// Milliseconds since the Unix epoch, never before the parent's.
    pub time_ms: u64,
    /// How many transactions the record has, this block's included.
    pub size: u64,
    /// Merkle root over all of them.
    #[serde(with = "serde_bytes")]
    pub transactions_root: Hash,
    /// Hash over the state after this block.
    #[serde(with = "serde_bytes")]
    pub state_root: Hash,
}

impl Header {
    /// The hash by which the next header names this one.
    #[must_use]
    pub fn hash(&self) -> Hash {
        hash::tagged(hash::BLOCK, self)
    }

    /// The canonical encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self)
    }

    /// Decodes the canonical encoding.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        canonical::from_bytes(bytes, MAX_HEADER)
    }
}

/// A block: its header and the transactions that were accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// The transactions, in order; the last one's position in the record is `header.size − 1`.
    pub transactions: Vec<SignedTransaction>,
}

impl Block {
    /// Position in the record of the block's first transaction.
    #[must_use]
    pub fn first_position(&self) -> u64 {
        self.header
            .size
            .saturating_sub(self.transactions.len() as u64)
    }
}

/// What became of a submitted transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The block that it is in.
    pub height: u64,
    /// Time of that block, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Its position in the record, from 0: its index in the Merkle tree.
    pub position: u64,
    /// Its id.
    #[serde(with = "hex")]
    pub transaction_id: TransactionId,
    /// What it did.
    pub events: Vec<super::Event>,
}
