//! A row's proof as a file, for whoever has the organisations' public keys and not the record.
//!
//! The form is C2SP's tlog-proof: the signed transaction, its number, the hashes up to the root, and the head that the organisations signed.
//!
//! 1. The head's origin names the ledger; enough of the given keys signed it: a quorum of them.
//! 2. The hashes lead from the transaction's bytes to the head's root.
//! 3. The transaction is for this ledger, in its one encoding.
//!
//! What that proves: a quorum of the organisations put this transaction onto this record at this place, so that its author's signature and permission
//! held there and then. *When* is in no leaf: the transaction says until when it had to be accepted, and it was at most an hour before that. The
//! block's exact time is proven by an export.

use crate::record::{
    canonical::DecodeError,
    genesis::quorum,
    head::{Head, HeadError, SignedHead},
    signed::{MAX_TRANSACTION, MAX_TRANSACTION_LIFETIME_MS, SignedTransaction},
};
use certs::checkpoint::NoteKey;
use certs::log_proof::{InclusionLines, LogProofError, max_file};
use certs::merkle::{ProofError, leaf_hash, verify_inclusion};

/// Bytes of the longest file of a proof.
pub const MAX_PROOF_FILE: usize = max_file(MAX_TRANSACTION);

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofFileError {
    /// Not a file of that form.
    #[error(transparent)]
    File(#[from] LogProofError),
    /// No head, or not signed by enough.
    #[error("the head is not signed as it must be: {0}")]
    Head(#[from] HeadError),
    /// No keys to hold it against.
    #[error("there are no keys to verify it with: give the organisations' verifier keys")]
    NoKeys,
    /// The record does not have that transaction there.
    #[error(transparent)]
    Inclusion(#[from] ProofError),
    /// The record's state does not have that row.
    #[error("the state under the head does not have that row")]
    State,
    /// The leaf is no transaction.
    #[error("what is proven is no transaction: {0}")]
    Transaction(#[from] DecodeError),
    /// The transaction is for another ledger than the head.
    #[error("the head is of {origin}, the transaction for the ledger {ledger}")]
    OtherLedger {
        /// The head's origin.
        origin: String,
        /// The transaction's ledger, hexadecimal.
        ledger: String,
    },
}

impl ProofFileError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::File(error) => error.code(),
            Self::Head(_) => "proof-head",
            Self::NoKeys => "proof-no-keys",
            Self::Inclusion(error) => error.code(),
            Self::State => "proof-state",
            Self::Transaction(_) => "proof-transaction",
            Self::OtherLedger { .. } => "proof-other-ledger",
        }
    }
}

/// A head that enough of the given keys signed: made by [`ProvenHead::verify`] and in no other way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenHead {
    head: Head,
    signed_by: Vec<String>,
    not_signed_by: Vec<String>,
}

impl ProvenHead {
    /// Verifies a head's note: a quorum of `keys` must have signed it. Give the keys of all organisations; who gives fewer trusts those.
    ///
    /// # Errors
    /// [`ProofFileError::Head`], [`ProofFileError::NoKeys`]
    pub fn verify(note: &str, keys: &[NoteKey]) -> Result<Self, ProofFileError> {
        if keys.is_empty() {
            return Err(ProofFileError::NoKeys);
        }
        let signed = SignedHead::parse(note)?;
        let head = signed.verify(keys, quorum(keys.len()))?;
        let signers = signed.signers(keys)?;
        let (yes, no): (Vec<_>, Vec<_>) = keys.iter().partition(|key| signers.contains(key));
        let names =
            |keys: Vec<&NoteKey>| keys.into_iter().map(|key| key.name().to_owned()).collect();
        Ok(Self {
            head,
            signed_by: names(yes),
            not_signed_by: names(no),
        })
    }

    /// What was signed.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Who of the given keys signed it.
    #[must_use]
    pub fn signed_by(&self) -> &[String] {
        &self.signed_by
    }

    /// Who of the given keys did not.
    #[must_use]
    pub fn not_signed_by(&self) -> &[String] {
        &self.not_signed_by
    }

    /// The transaction whose proof this is, if it is on the record that the head is of.
    ///
    /// # Errors
    /// [`ProofFileError`]
    pub fn row(&self, proof: &InclusionLines) -> Result<ProvenRow, ProofFileError> {
        let leaf = proof.extra.as_deref().ok_or(LogProofError::NoRecord)?;
        let checkpoint = &self.head.checkpoint;
        verify_inclusion(
            &leaf_hash(leaf),
            proof.index,
            checkpoint.size,
            &proof.proof,
            &checkpoint.root,
        )?;
        let transaction = SignedTransaction::from_bytes(leaf)?;
        let ledger = hex::encode(transaction.content().ledger);
        let origin = &checkpoint.origin;
        if origin.rsplit_once('/').map(|(_, id)| id) != Some(ledger.as_str()) {
            let origin = origin.clone();
            return Err(ProofFileError::OtherLedger { origin, ledger });
        }
        Ok(ProvenRow {
            position: proof.index,
            transaction,
        })
    }
}

/// A transaction that is on the record: made by [`ProvenHead::row`] and in no other way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenRow {
    position: u64,
    transaction: SignedTransaction,
}

impl ProvenRow {
    /// Its position on the record, from 0.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The transaction.
    #[must_use]
    pub fn transaction(&self) -> &SignedTransaction {
        &self.transaction
    }

    /// Between which times it came onto the record, milliseconds since the Unix epoch: as much as the transaction itself proves.
    #[must_use]
    pub fn accepted_between_ms(&self) -> (u64, u64) {
        let before = self.transaction.content().expires_ms;
        (before.saturating_sub(MAX_TRANSACTION_LIFETIME_MS), before)
    }
}

/// Verifies a proof with the organisations' public keys alone.
///
/// # Errors
/// [`ProofFileError`] for the first thing that does not hold.
pub fn verify_proof(
    text: &str,
    keys: &[NoteKey],
) -> Result<(ProvenHead, ProvenRow), ProofFileError> {
    let (lines, note) = InclusionLines::parse(text, MAX_TRANSACTION)?;
    let head = ProvenHead::verify(note, keys)?;
    let row = head.row(&lines)?;
    // One form only: nobody keeps two files of one proof for two proofs.
    if lines.with_note(note) != text {
        let reason = "it is not written as a proof is written";
        return Err(LogProofError::Malformed { reason }.into());
    }
    Ok((head, row))
}
