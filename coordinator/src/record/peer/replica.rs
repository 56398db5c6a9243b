//! What a peer knows, for those who ask: its state and its tree in memory, the transactions in its store.

use super::store::{Store, StoreError, StoredTransaction};
use crate::record::{
    audit::{AuditAnswer, AuditRow, DocumentProof, InclusionProof, Query},
    block::{Block, Header, Receipt},
    engine::RecordError,
    head::{Head, SignedHead},
    identifier::DocumentName,
    root::Hash,
    signed::{SignedTransaction, TransactionId},
    state::State,
};
use certs::merkle::Tree;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A peer's copy of the record. The peer changes it; everybody else looks.
#[derive(Debug)]
pub struct Replica {
    live: RwLock<Live>,
    reader: Mutex<Store>,
}

/// What the peer keeps in memory.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) state: State,
    /// Over all transactions: 64 bytes each.
    pub(super) tree: Tree,
    /// The last block's header, none before the first.
    pub(super) header: Option<Header>,
}

impl Replica {
    pub(super) fn new(live: Live, reader: Store) -> Self {
        Self {
            live: RwLock::new(live),
            reader: Mutex::new(reader),
        }
    }

    /// For the peer alone. A panic while it was held leaves the peer stopped, not the lock.
    pub(super) fn live_mut(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Store> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state. Short looks only: blocks wait meanwhile.
    pub fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.live().state)
    }

    /// The last block's header, none before the first.
    #[must_use]
    pub fn header(&self) -> Option<Header> {
        self.live().header
    }

    /// A block.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn block(&self, height: u64) -> Result<Option<Block>, StoreError> {
        Ok(self.reader().block(height)?.map(|stored| stored.block))
    }

    /// A block, and the head after it as this store has it signed.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn signed_block(&self, height: u64) -> Result<Option<(Block, String)>, StoreError> {
        let stored = self.reader().block(height)?;
        Ok(stored.map(|stored| (stored.block, stored.signed_head)))
    }

    /// The block of a transaction.
    pub(in crate::record) fn height_of(
        &self,
        id: &TransactionId,
    ) -> Result<Option<u64>, Arc<StoreError>> {
        let stored = self.reader().transaction(id)?;
        Ok(stored.map(|stored| stored.height))
    }

    /// Where and when a transaction came onto the record.
    pub(in crate::record) fn receipt(
        &self,
        id: &TransactionId,
    ) -> Result<Option<Receipt>, Arc<StoreError>> {
        let stored = self.reader().transaction(id)?;
        Ok(stored.map(|stored| Receipt {
            height: stored.height,
            time_ms: stored.time_ms,
            position: stored.position,
            transaction_id: *id,
            events: Vec::new(),
        }))
    }

    /// A transaction by its id, with its position.
    pub(in crate::record) fn transaction(
        &self,
        id: &TransactionId,
    ) -> Result<Option<(u64, SignedTransaction)>, Arc<StoreError>> {
        Ok(self
            .reader()
            .transaction(id)?
            .map(|stored| (stored.position, stored.transaction)))
    }

    /// Proof that a transaction is in the tree of `size` (of all, if absent).
    pub(in crate::record) fn prove_inclusion(
        &self,
        id: &TransactionId,
        size: Option<u64>,
    ) -> Result<InclusionProof, RecordError> {
        let stored = self.reader().transaction(id).map_err(Arc::new)?;
        let stored = stored.ok_or(RecordError::UnknownTransaction(*id))?;
        self.proof(stored.position, size)
    }

    fn proof(&self, position: u64, size: Option<u64>) -> Result<InclusionProof, RecordError> {
        let live = self.live();
        let asked = size.unwrap_or_else(|| live.tree.size());
        let path = live.tree.inclusion_proof(position, asked);
        let path = path.map_err(|_| RecordError::BeyondSize {
            size: live.tree.size(),
            asked,
        })?;
        Ok(InclusionProof {
            position,
            size: asked,
            path,
        })
    }

    /// How a document stands under this head, if it is that of the last block.
    pub(in crate::record) fn prove_document(
        &self,
        head: &Head,
        name: &DocumentName,
    ) -> Option<DocumentProof> {
        let live = self.live();
        let last = live.header.as_ref()?;
        let same = last.size == head.checkpoint.size && last.state_root == head.state_root;
        same.then(|| live.state.prove_document(name)).flatten()
    }

    /// Proof that the tree of `new` begins with that of `old`.
    pub(in crate::record) fn prove_consistency(
        &self,
        old: u64,
        new: u64,
    ) -> Result<Vec<Hash>, RecordError> {
        let live = self.live();
        let asked = old.max(new);
        live.tree
            .consistency_proof(old, new)
            .map_err(|_| RecordError::BeyondSize {
                size: live.tree.size(),
                asked,
            })
    }

    /// What the record says, each row with its proof in one tree: that of `size` transactions, of all if absent.
    pub(in crate::record) fn query(
        &self,
        query: &Query,
        size: Option<u64>,
    ) -> Result<AuditAnswer, RecordError> {
        let known = self.live().tree.size();
        let size = size.unwrap_or(known);
        if size > known {
            return Err(RecordError::BeyondSize {
                size: known,
                asked: size,
            });
        }
        // What came onto the record since has no place in that tree, and is in the next answer.
        let found = query
            .run(
                size,
                |time| self.reader().positions(time),
                |subject, positions, limit| self.reader().select(subject, positions, limit),
            )
            .map_err(Arc::new)?;
        let row = |row: StoredTransaction| {
            let withdrawn = self.reader().withdrawn_by(&row.transaction);
            Ok(AuditRow {
                withdrawn: withdrawn.map_err(Arc::new)?,
                height: row.height,
                time_ms: row.time_ms,
                transaction: row.transaction,
                proof: self.proof(row.position, Some(size))?,
            })
        };
        let rows: Result<Vec<AuditRow>, RecordError> = found.rows.into_iter().map(row).collect();
        Ok(AuditAnswer {
            signed_head: None,
            size,
            rows: rows?,
            next: found.next,
        })
    }

    /// What the record says, proven under this head, or in the tree of `size`, whose head the asker has.
    ///
    /// # Errors
    /// [`RecordError::BeyondSize`] if this copy does not have as much; [`RecordError::Store`]
    pub fn audit(
        &self,
        query: &Query,
        size: Option<u64>,
        signed_head: String,
    ) -> Result<AuditAnswer, RecordError> {
        if size.is_some() {
            return self.query(query, size);
        }
        let head = SignedHead::parse(&signed_head).map_err(|error| RecordError::Halted {
            reason: error.to_string(),
        })?;
        let answer = self.query(query, Some(head.claimed().checkpoint.size))?;
        Ok(AuditAnswer {
            signed_head: Some(signed_head),
            ..answer
        })
    }
}

impl From<StoreError> for RecordError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}
