//! What puts transactions in order, behind one trait; and the handle by which the platform uses a record, whatever
//! orders it.
//!
//! An engine takes signed transactions from anywhere, brings them into one order, has every organisation's peer execute
//! them, and answers when the block is final. It decides nothing else: what a transaction does is the state machine's matter
//! ([`super::apply`]), and whether a read is approved is each peer's own ([`super::peer`]).

pub(super) mod simplex;
pub(super) mod solo;

use super::{
    audit::{AuditAnswer, AuditRow, InclusionProof, Query, Standing},
    block::Receipt,
    genesis::Genesis,
    head::{self, SignedHead},
    identifier::{DocumentName, Identifier},
    peer::{ApprovalRefusal, Replica, StoreError},
    rejection::Rejection,
    root::Hash,
    signed::{LedgerId, MAX_TRANSACTION, SignedTransaction, TransactionId},
    state::State,
};
use certs::checkpoint::NoteKey;
use futures_util::future::BoxFuture;
use std::{path::Path, sync::Arc};

/// Why a transaction did not come onto the record.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecordError {
    /// The state machine refused it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The organisations' peers, which are elsewhere, refused it: enough of them for one of them to be honest.
    #[error("{message}")]
    Refused {
        /// The reason's stable code.
        code: String,
        /// The reason.
        message: String,
    },
    /// Not enough peers agree or work: nothing can become final. Whether the transaction will be found on the record after a
    /// restart is open; its id tells.
    #[error(
        "the record has stopped: {reason}; look at the peers, put them in order and start again"
    )]
    Halted {
        /// What happened.
        reason: String,
    },
    /// More wait than the engine takes.
    #[error("too many transactions wait already; try again in a moment")]
    Busy,
    /// What is here is older than what was answered before: it was lost, and is being fetched.
    #[error(
        "this copy of the record does not have all yet that the organisations' peers have; try again in a moment"
    )]
    CatchingUp,
    /// The record is being closed.
    #[error("the record is closing; try again when it runs")]
    Closing,
    /// A peer's store could not be read.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    /// There is no such transaction.
    #[error("transaction {} is not on the record", hex::encode(.0))]
    UnknownTransaction(TransactionId),
    /// The record has fewer transactions than that.
    #[error("the record has {size} transactions, not {asked}")]
    BeyondSize {
        /// Transactions on the record.
        size: u64,
        /// What was asked for.
        asked: u64,
    },
    /// The export could not be written.
    #[error("the export cannot be written: {0}")]
    Export(String),
}

impl RecordError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Rejected(rejection) => rejection.code(),
            Self::Refused { code, .. } => code,
            Self::Halted { .. } => "record-halted",
            Self::Busy => "record-busy",
            Self::CatchingUp => "record-catching-up",
            Self::Closing => "record-closing",
            Self::Store(error) => error.code(),
            Self::UnknownTransaction(_) => "unknown-transaction",
            Self::BeyondSize { .. } => "beyond-size",
            Self::Export(_) => "export",
        }
    }
}

/// What one organisation's peer answered to the wish for an approval.
#[derive(Debug, Clone)]
pub struct ApprovalOutcome {
    /// The organisation.
    pub organisation: Identifier,
    /// Its approval certificate, DER, or why there is none.
    pub result: Result<Vec<u8>, ApprovalRefusal>,
}

/// How an organisation's peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// The organisation.
    pub organisation: Identifier,
    /// The last block that it has made durable.
    pub height: u64,
    /// Why it takes no part any more; it does, if absent.
    pub fault: Option<String>,
}

/// A transaction that is on the record, and the proof of it.
#[derive(Debug, Clone)]
pub struct ProvenTransaction {
    /// The head that it is proven under, signed by a quorum of the organisations: a C2SP signed note.
    pub signed_head: String,
    /// Its place under that head.
    pub proof: InclusionProof,
    /// The transaction, with author and signature.
    pub transaction: SignedTransaction,
}

/// Brings transactions into one order and has them executed.
pub trait Engine: Send + Sync + 'static {
    /// Resolves when the transaction is final, or refused.
    fn submit(
        &self,
        transaction: SignedTransaction,
    ) -> BoxFuture<'static, Result<Receipt, RecordError>>;

    /// Asks every organisation's peer for its approval of a recorded read.
    fn approvals(&self, read: TransactionId) -> BoxFuture<'static, Vec<ApprovalOutcome>>;

    /// The head, signed by every peer that can be reached: a C2SP signed note.
    fn checkpoint(&self) -> BoxFuture<'static, Result<String, RecordError>>;

    /// The head after a block, as the peers signed it when they had executed it: as many notes as there are copies here.
    ///
    /// # Errors
    /// [`StoreError`]
    fn heads_at(&self, height: u64) -> Result<Vec<String>, StoreError> {
        let block = self.replica().signed_block(height)?;
        Ok(block.into_iter().map(|(_, note)| note).collect())
    }

    /// What a peer that takes part knows, for queries.
    fn replica(&self) -> Arc<Replica>;

    /// How the peers are.
    fn peers(&self) -> Vec<PeerStatus>;

    /// Why nothing becomes final any more until this process is started again. An engine that goes on by itself when the others
    /// are back never says so.
    fn halted(&self) -> Option<String> {
        None
    }

    /// Whether what is known here may be older than what was answered before: then nothing is answered from it.
    fn is_catching_up(&self) -> bool {
        false
    }

    /// Whether transactions come onto the record through this process alone: then what is not there when it starts never comes.
    fn orders_alone(&self) -> bool {
        false
    }

    /// Finishes what was submitted, takes nothing more, and closes the stores.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// A record in use. Cheap to clone.
#[derive(Clone)]
pub struct RecordHandle {
    engine: Arc<dyn Engine>,
    genesis: Arc<Genesis>,
    ledger: LedgerId,
}

impl std::fmt::Debug for RecordHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordHandle({})", hex::encode(self.ledger))
    }
}

impl RecordHandle {
    /// Uses an engine that runs.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, genesis: Genesis) -> Self {
        Self {
            engine,
            ledger: genesis.id(),
            genesis: Arc::new(genesis),
        }
    }

    /// The ledger's id, for which transactions are signed.
    #[must_use]
    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// The ledger's beginning.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Puts a transaction onto the record: resolves when it is final and durable, or refused.
    ///
    /// # Errors
    /// [`RecordError::Rejected`] with the reason, or why nothing can become final at present.
    pub async fn submit(&self, transaction: SignedTransaction) -> Result<Receipt, RecordError> {
        // One that was not decoded but made here can have any length, and none longer may reach a proposal.
        let found = transaction.as_bytes().len();
        if found > MAX_TRANSACTION {
            let (what, limit) = ("the transaction", MAX_TRANSACTION);
            return Err(Rejection::TooLarge { what, found, limit }.into());
        }
        self.engine.submit(transaction).await
    }

    /// Asks every organisation's peer for its approval of a read that is on the record. Each decides from its own state,
    /// now; each issues one certificate for a read, and gives the same again when asked again.
    pub async fn approvals(&self, read: TransactionId) -> Vec<ApprovalOutcome> {
        self.engine.approvals(read).await
    }

    /// Looks at the state of one peer. Short looks only: blocks wait meanwhile. It has executed every block for which a
    /// receipt was given, and perhaps one that is not final yet.
    pub fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.engine.replica().with_state(look)
    }

    /// The head signed by every peer that can be reached: a C2SP tlog-checkpoint with the state root as extension line.
    ///
    /// # Errors
    /// [`RecordError`] if the peers have stopped.
    pub async fn checkpoint(&self) -> Result<String, RecordError> {
        self.engine.checkpoint().await
    }

    /// Whether transactions come onto the record through this process alone: then what is not there when it starts never comes. Otherwise
    /// what has not expired by the time of the record's last block may still come, and what has expired is here if it came at all.
    #[must_use]
    pub fn orders_alone(&self) -> bool {
        self.engine.orders_alone()
    }

    /// What became of a transaction that is on the record; without its events.
    ///
    /// # Errors
    /// [`RecordError::Store`]
    pub fn receipt(&self, id: &TransactionId) -> Result<Option<Receipt>, RecordError> {
        Ok(self.engine.replica().receipt(id)?)
    }

    /// A transaction that is on the record, with its position.
    ///
    /// # Errors
    /// [`RecordError::Store`]
    pub fn transaction(
        &self,
        id: &TransactionId,
    ) -> Result<Option<(u64, SignedTransaction)>, RecordError> {
        Ok(self.engine.replica().transaction(id)?)
    }

    /// Proof that a transaction is on the record, in the tree of `size` transactions (of all, if absent).
    ///
    /// # Errors
    /// [`RecordError::UnknownTransaction`], [`RecordError::BeyondSize`], [`RecordError::Store`]
    pub fn prove_inclusion(
        &self,
        id: &TransactionId,
        size: Option<u64>,
    ) -> Result<InclusionProof, RecordError> {
        self.engine.replica().prove_inclusion(id, size)
    }

    /// A transaction with the proof that it is on the record, under a head that a quorum of the organisations signed.
    ///
    /// # Errors
    /// [`RecordError::UnknownTransaction`]; [`RecordError::Busy`] if there is no such head at the moment, or the transaction is not final
    /// yet; [`RecordError::Store`]
    pub async fn prove(&self, id: TransactionId) -> Result<ProvenTransaction, RecordError> {
        let signed_head = self.quorum_head().await?;
        let halted = |reason: String| RecordError::Halted { reason };
        let head = SignedHead::parse(&signed_head).map_err(|error| halted(error.to_string()))?;
        let size = head.claimed().checkpoint.size;
        let replica = self.engine.replica();
        let work = tokio::task::spawn_blocking(move || {
            let known = replica.transaction(&id)?;
            let (position, transaction) = known.ok_or(RecordError::UnknownTransaction(id))?;
            if position >= size {
                return Err(RecordError::Busy);
            }
            let proof = replica.prove_inclusion(&id, Some(size))?;
            Ok(ProvenTransaction {
                signed_head,
                proof,
                transaction,
            })
        });
        work.await.map_err(|error| halted(error.to_string()))?
    }

    /// How a document stands after a transaction that is final, both proven under one head. None if there was no such head: blocks followed
    /// each other too fast.
    ///
    /// # Errors
    /// [`RecordError::UnknownTransaction`], [`RecordError::Busy`], [`RecordError::Store`]
    pub async fn standing(
        &self,
        after: TransactionId,
        document: &DocumentName,
    ) -> Result<Option<Standing>, RecordError> {
        const ATTEMPTS: usize = 20;
        for _ in 0..ATTEMPTS {
            let signed_head = self.quorum_head().await?;
            let head = SignedHead::parse(&signed_head).map_err(|error| RecordError::Halted {
                reason: error.to_string(),
            })?;
            let (head, replica) = (head.claimed(), self.engine.replica());
            let Some(document) = replica.prove_document(head, document) else {
                tokio::task::yield_now().await;
                continue;
            };
            let size = Some(head.checkpoint.size);
            match replica.prove_inclusion(&after, size) {
                Ok(inclusion) => {
                    return Ok(Some(Standing {
                        signed_head,
                        transaction: after,
                        inclusion,
                        document,
                    }));
                }
                // A head from before.
                Err(RecordError::BeyondSize { .. }) => tokio::task::yield_now().await,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Proof that the record of `new` transactions begins with that of `old` (RFC 9162 section 2.1.4).
    ///
    /// # Errors
    /// [`RecordError::BeyondSize`]
    pub fn prove_consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, RecordError> {
        self.engine.replica().prove_consistency(old, new)
    }

    /// What the record says about a document, user, dataset, tenant, link or time: each row with its proof.
    ///
    /// # Errors
    /// [`RecordError::Store`]
    pub fn query(&self, query: &Query) -> Result<Vec<AuditRow>, RecordError> {
        Ok(self.engine.replica().query(query, None)?.rows)
    }

    /// The same, with the head that a quorum of the organisations signed and under which all rows are proven. With `size`, the proofs are
    /// in the tree of that size instead, whose head the asker has: for the further parts of an answer.
    ///
    /// # Errors
    /// [`RecordError::Busy`] if there is no such head at the moment, [`RecordError::BeyondSize`], [`RecordError::Store`]
    pub async fn audit(&self, query: Query, size: Option<u64>) -> Result<AuditAnswer, RecordError> {
        let note = match size {
            Some(_) => String::new(),
            None => self.quorum_head().await?,
        };
        let replica = self.engine.replica();
        tokio::task::spawn_blocking(move || replica.audit(&query, size, note))
            .await
            .map_err(|error| RecordError::Halted {
                reason: error.to_string(),
            })?
    }

    /// A head that a quorum signed, of what this copy has. While blocks follow each other fast the peers may be asked between two of them.
    ///
    /// # Errors
    /// [`RecordError::Busy`] if there is none at the moment, and what [`RecordHandle::checkpoint`] says.
    pub async fn quorum_head(&self) -> Result<String, RecordError> {
        const ATTEMPTS: usize = 20;
        let replica = self.engine.replica();
        for _ in 0..ATTEMPTS {
            let note = self.engine.checkpoint().await?;
            let (keys, quorum) =
                replica.with_state(|state| (state.head_keys().collect::<Vec<_>>(), state.quorum()));
            let known = replica.header().map_or(0, |header| header.size);
            let head = SignedHead::parse(&note).and_then(|signed| signed.verify(&keys, quorum));
            if head.is_ok_and(|head| head.checkpoint.size <= known) {
                return Ok(note);
            }
            tokio::task::yield_now().await;
        }
        Err(RecordError::Busy)
    }

    /// Writes the whole record with its signed head to a file, for [`super::audit::verify_export`].
    ///
    /// # Errors
    /// [`RecordError::Export`], [`RecordError::Store`]
    pub async fn export(&self, path: &Path) -> Result<(), RecordError> {
        let checkpoint = self.engine.checkpoint().await?;
        let (engine, genesis, path) = (self.engine.clone(), self.genesis.clone(), path.to_owned());
        tokio::task::spawn_blocking(move || {
            let heads_at = |height| engine.heads_at(height);
            super::audit::export(&engine.replica(), &genesis, &checkpoint, heads_at, &path)
        })
        .await
        .map_err(|error| RecordError::Export(error.to_string()))?
    }

    /// How the peers are.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.engine.peers()
    }

    /// Why nothing becomes final any more until this process is started again.
    #[must_use]
    pub fn halted(&self) -> Option<String> {
        self.engine.halted()
    }

    /// Whether what is known here may be older than what was answered before.
    #[must_use]
    pub fn is_catching_up(&self) -> bool {
        self.engine.is_catching_up()
    }

    /// Finishes what was submitted, takes nothing more, and closes the stores.
    pub async fn close(&self) {
        self.engine.close().await;
    }
}

/// One note with the signatures of all that say the same as most. What none of `keys` signed does not count.
fn most_signed(notes: &[String], keys: &[NoteKey]) -> Option<String> {
    let claim = |note: &String| SignedHead::parse(note).ok()?.verify(keys, 1).ok();
    let claims: Vec<_> = notes.iter().map(claim).collect();
    let most = claims.iter().flatten().max_by_key(|claim| {
        claims
            .iter()
            .flatten()
            .filter(|other| other == claim)
            .count()
    })?;
    let same = notes
        .iter()
        .zip(&claims)
        .filter(|(_, claim)| claim.as_ref() == Some(most));
    head::merge(same.map(|(note, _)| note.as_str()), keys).ok()
}
