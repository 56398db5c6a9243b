//! A copy of a peer's store, made while the peer runs; and taking one back.
//!
//! The copy is one state of the store, between two blocks: SQLite makes it in one read transaction, and the peer goes on writing meanwhile. What is in it
//! is public but for the approvals, which are of no use to anybody any more when they have expired.

use super::{StoreError, lease::MARGIN_MS, store::Store};
use crate::record::{
    block::Header,
    genesis::Genesis,
    head::{Head, SignedHead},
    identifier::Identifier,
};
use std::{fs::File, path::Path};

/// What a copy has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Its last block.
    pub height: u64,
    /// Transactions.
    pub transactions: u64,
    /// Time of its last block, milliseconds since the Unix epoch; of the genesis, if there is none.
    pub time_ms: u64,
}

/// Copies the store of a peer that may be running into a new file, and looks whether the copy holds together.
///
/// # Errors
/// [`StoreError`], also if `to` exists.
pub fn copy_store(
    store: &Path,
    to: &Path,
    genesis: &Genesis,
    organisation: &Identifier,
) -> Result<Copied, StoreError> {
    let failed = |error: std::io::Error| StoreError::Database {
        path: to.to_owned(),
        reason: error.to_string(),
    };
    Store::open_reader(store)?.copy_into(to)?;
    let copied = examine_store(to, genesis, organisation)?;
    File::open(to)
        .and_then(|it| it.sync_all())
        .map_err(failed)?;
    Ok(copied)
}

/// Looks whether a copy is whole, is this organisation's of this ledger, and ends in a block whose head it has. Whether every block holds is found out when a peer
/// is opened with it.
///
/// # Errors
/// [`StoreError`]
pub fn examine_store(
    store: &Path,
    genesis: &Genesis,
    organisation: &Identifier,
) -> Result<Copied, StoreError> {
    let reader = Store::open_reader(store)?;
    reader.check_whole()?;
    reader.check_owner(&genesis.id(), organisation)?;
    let height = reader.height()?;
    let last: Option<Header> = match height {
        0 => None,
        height => {
            let stored = reader
                .block(height)?
                .ok_or_else(|| reader.damaged(height, "the block is missing"))?;
            let head = Head::new(&genesis.origin(), &stored.block.header);
            let signed = SignedHead::parse(&stored.signed_head);
            if signed.map(|it| it.claimed().clone()) != Ok(head) {
                return Err(reader.damaged(height, "the signed head is not that of the block"));
            }
            Some(stored.block.header)
        }
    };
    let transactions = last.map_or(0, |header| header.size);
    if reader.transaction_count()? != transactions {
        return Err(reader.damaged(
            height,
            "there are more or fewer transactions than its last block says",
        ));
    }
    Ok(Copied {
        height,
        transactions,
        time_ms: last.map_or(genesis.time_ms, |header| header.time_ms),
    })
}

/// Notes in a copy that it was taken back at this time, so that its peer issues nothing for reads that it may have approved since the copy was made. Returns until
/// which time of a read that is.
///
/// # Errors
/// [`StoreError`]
pub fn mark_taken_back(
    store: &Path,
    genesis: &Genesis,
    organisation: &Identifier,
    now_ms: u64,
) -> Result<u64, StoreError> {
    let store = Store::open(store, &genesis.id(), organisation)?;
    let at_ms = store.note("set-back")?.unwrap_or(0).max(now_ms);
    store.put_notes(&[("set-back", at_ms)])?;
    store.close()?;
    Ok(at_ms.saturating_add(MARGIN_MS))
}
