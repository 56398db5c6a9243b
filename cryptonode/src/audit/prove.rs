//! Proofs from a node's audit folder, for those who have the node's key and not its log.

use std::path::Path;

use certs::checkpoint::{Checkpoint, SignedCheckpoint};
use certs::log_proof::{ConsistencyFile, InclusionFile};
use certs::merkle::{RangeError, Tree, leaf_hash};

use super::verify::Verified;
use super::{AuditEntry, AuditError, verify_folder};

/// Which record is to be proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// By its number, from 0.
    Index(u64),
    /// By an approval that counted for it.
    Approval(String),
    /// By the wrapped key whose share it is of.
    WriteId([u8; 32]),
}

/// Why there is no proof.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProveError {
    /// The log is not in order.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// There is no such record.
    #[error("the log has no such record: `cryptonode audit show` has those that there are")]
    NoRecord,
    /// More than one.
    #[error("{} records fit: choose one by --index, of {}", .indices.len(), listed(.indices))]
    Several {
        /// Their numbers.
        indices: Vec<u64>,
    },
    /// No checkpoint covers it.
    #[error(
        "record {index} is under no signed checkpoint yet, the last one is over {signed} records: try again in a moment"
    )]
    NotSigned {
        /// The record's number.
        index: u64,
        /// Records under the newest checkpoint.
        signed: u64,
    },
    /// The earlier head is not this log's past.
    #[error(
        "this log does not continue the checkpoint of {old} records that was given: it was rewritten or set back, and the two checkpoints are the evidence"
    )]
    NotContinued {
        /// Records under the earlier head.
        old: u64,
    },
    /// The tree does not have what a kept checkpoint says.
    #[error("the proof cannot be made: {0}")]
    Range(#[from] RangeError),
}

/// The first ten.
fn listed(indices: &[u64]) -> String {
    let mut text: Vec<String> = indices.iter().take(10).map(u64::to_string).collect();
    if indices.len() > text.len() {
        text.push("…".to_owned());
    }
    text.join(", ")
}

impl ProveError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Audit(error) => error.code(),
            Self::NoRecord => "no-record",
            Self::Several { .. } => "several-records",
            Self::NotSigned { .. } => "not-signed-yet",
            Self::NotContinued { .. } => "audit-not-continued",
            Self::Range(_) => "audit-range",
        }
    }
}

impl Wanted {
    fn is(&self, index: u64, entry: &AuditEntry) -> bool {
        match (self, entry) {
            (Self::Index(wanted), _) => *wanted == index,
            (Self::Approval(id), AuditEntry::Share(record)) => record
                .approvals
                .iter()
                .any(|approval| approval.approval_id == *id),
            (Self::WriteId(id), AuditEntry::Share(record)) => record.write_id == *id,
            (_, AuditEntry::Operator(_)) => false,
        }
    }
}

/// The newest kept checkpoint over at least `size` records: a cosigned one before one that is not.
fn head_over(verified: &Verified, size: u64) -> Option<SignedCheckpoint> {
    let kept = verified.cosigned_note.iter().chain(&verified.note);
    kept.filter_map(|note| SignedCheckpoint::parse(note).ok())
        .find(|checkpoint| checkpoint.claimed().size >= size)
}

/// Proves that a record is in the log of the node `name`, whose whole folder is verified on the way.
///
/// # Errors
/// [`ProveError`]
pub fn prove_record(
    folder: &Path,
    name: &str,
    identity: &[u8; 32],
    wanted: &Wanted,
) -> Result<(InclusionFile, AuditEntry), ProveError> {
    let mut tree = Tree::new();
    let (mut indices, mut found) = (Vec::new(), None);
    let verified = verify_folder(folder, name, identity, |index, entry, bytes| {
        tree.push(leaf_hash(bytes));
        if wanted.is(index, entry) {
            indices.push(index);
            found.get_or_insert_with(|| (entry.clone(), bytes.to_vec()));
        }
        Ok(())
    })?;
    let (index, (entry, leaf)) = match (indices.as_slice(), found) {
        ([index], Some(found)) => (*index, found),
        (_, None) => return Err(ProveError::NoRecord),
        (_, Some(_)) => return Err(ProveError::Several { indices }),
    };
    let checkpoint = head_over(&verified, index + 1).ok_or(ProveError::NotSigned {
        index,
        signed: verified.signed.unwrap_or(0),
    })?;
    let file = InclusionFile {
        extra: Some(leaf),
        index,
        proof: tree.inclusion_proof(index, checkpoint.claimed().size)?,
        checkpoint,
    };
    Ok((file, entry))
}

/// Proves that the log of the node `name` continues an earlier head of it, which the caller has verified.
///
/// # Errors
/// [`ProveError::NotContinued`] if it does not.
pub fn prove_consistency(
    folder: &Path,
    name: &str,
    identity: &[u8; 32],
    old: &Checkpoint,
) -> Result<ConsistencyFile, ProveError> {
    let mut tree = Tree::new();
    let verified = verify_folder(folder, name, identity, |_, _, bytes| {
        tree.push(leaf_hash(bytes));
        Ok(())
    })?;
    let not_continued = ProveError::NotContinued { old: old.size };
    if old.origin != verified.origin || tree.root_at(old.size) != Ok(old.root) {
        return Err(not_continued);
    }
    let checkpoint = head_over(&verified, old.size).ok_or(not_continued)?;
    Ok(ConsistencyFile {
        old: old.size,
        proof: tree.consistency_proof(old.size, checkpoint.claimed().size)?,
        checkpoint,
    })
}
