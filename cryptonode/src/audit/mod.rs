//! The audit log (protocol section 9): what this node promised to remember of every share that it gave.
//!
//! **Rule.** A share leaves the node only after the record of it is durable. So the log is written before the answer,
//! and a log that cannot be written stops the answers, not the other way round.
//!
//! **Records** ([`AuditRecord`]) are canonical CBOR, framed with a length and a checksum in append-only segment files.
//! Their bytes are the leaves of one Merkle tree (RFC 9162), whose head the node signs as a C2SP tlog-checkpoint: an
//! outsider holds the records against the ledger's approvals, and a node that rewrites its history against its own
//! signature.
//!
//! **Group commit.** One thread writes. It takes every append that waits, writes them as one batch, calls `fdatasync`
//! once, and answers all of them: under load the price of durability is shared, and a lone request waits for nobody.
//!
//! **Checkpoints** are signed when somebody asks for one, when the log has rested for a moment, at a stop, and at most
//! once a second under load, by a thread of its own: appends go on while a checkpoint is on its way to the disk. A signature and
//! a second file per batch would double the price of each answer, and buy only this: that the records of the last second are
//! covered by a signature too. They are durable without it. A checkpoint is itself durable before anyone outside sees it, and
//! covers only what was durable before it was signed.
//!
//! **After a crash.** A batch is written only after the one before it is durable, and each frame names its batch. So
//! damage in the last batch, with no later batch behind it, is a write that the crash tore: nobody was answered, and it is cut off at
//! start. Damage anywhere else, or in front of the last checkpoint, is not the work of a crash: the node refuses to
//! start, and touches nothing.

//!
//! Records, origins and the reader of exported logs come with the feature `client` too: an auditor has no node.

mod entry;
mod exported;
mod origin;
mod record;
mod trust;

#[cfg(feature = "node")]
mod follow;
#[cfg(feature = "node")]
mod head;
#[cfg(feature = "node")]
mod journal;
#[cfg(feature = "node")]
mod log;
#[cfg(feature = "node")]
mod prove;
#[cfg(feature = "node")]
mod said;
#[cfg(feature = "node")]
mod segment;
#[cfg(feature = "node")]
mod verify;
#[cfg(feature = "node")]
mod writer;

pub use entry::{AuditEntry, MAX_REASON, OperatorRecord};
pub use exported::{CheckedExport, ExportedLog, ExportedLogError, check_exported, read_exported};
pub use origin::{is_origin_of, note_key, origin_of, witness_key};
pub use record::{AuditApproval, AuditRecord, MAX_RECORD, RecordError, as_json};
pub use trust::{Cosigner, TrustError, Trusted, TrustedHead};

#[cfg(feature = "node")]
pub use follow::Follower;
#[cfg(feature = "node")]
pub use head::CheckpointKey;
#[cfg(feature = "node")]
pub use journal::Journal;
#[cfg(feature = "node")]
pub use log::{AuditLog, Committed};
#[cfg(feature = "node")]
pub use prove::{ProveError, Wanted, prove_consistency, prove_record};
#[cfg(feature = "node")]
pub use said::Said;
#[cfg(feature = "node")]
pub use verify::{Verified, export, verify_folder, verify_folder_on};

use std::path::PathBuf;

/// Why the audit log cannot be opened, read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    /// The disk refused an operation. After a failed write the log stays closed until the node is started again: what
    /// the disk then holds is known only by reading it anew.
    #[error(
        "the audit log cannot be written: {what} {path}: {reason}; no share is given until the disk is in order and the node is started again"
    )]
    Disk {
        /// What was tried, such as `write`.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A record is damaged that had been acknowledged.
    #[error(
        "the audit log is damaged: record {index} in {path} at byte {offset} ({reason}); nothing was changed: restore audit/ from a copy, or move it away as evidence and tell the other members"
    )]
    Corrupt {
        /// The segment file.
        path: PathBuf,
        /// Number of the first record that cannot be read.
        index: u64,
        /// Where its frame begins, in bytes.
        offset: u64,
        /// What does not hold.
        reason: String,
    },
    /// The log is shorter than, or other than, what the node has signed.
    #[error(
        "the audit log in {path} was set back: the node has signed a head of {signed} records, and the log has {found} ({reason}); restore the newer audit/ and start again"
    )]
    RolledBack {
        /// The audit folder.
        path: PathBuf,
        /// Records under the last signed checkpoint.
        signed: u64,
        /// Records that the log has.
        found: u64,
        /// What does not hold.
        reason: String,
    },
    /// The file with the last checkpoint cannot be used.
    #[error(
        "the checkpoint {path} does not verify with this node's identity: {reason}; restore audit/ from a copy, nothing was changed"
    )]
    BadCheckpoint {
        /// The checkpoint file.
        path: PathBuf,
        /// What does not hold.
        reason: String,
    },
    /// The record has no canonical encoding within the bounds.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The node's name or identity cannot stand in a signed checkpoint.
    #[error(
        "no checkpoint can be signed under the name {name:?}: {reason}; correct `name` in config.toml"
    )]
    Origin {
        /// The name.
        name: String,
        /// What does not hold.
        reason: String,
    },
    /// More records wait to be written than the log takes on.
    #[error(
        "more waits to be written to the audit log than it takes on at a time: the disk is slow or stands still; try again"
    )]
    Busy,
    /// The log has been closed because the node stops.
    #[error("the audit log is closed: the node is stopping")]
    Closed,
}

impl AuditError {
    /// A stable code for peers, metrics and scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Disk { .. } => "audit-disk",
            Self::Corrupt { .. } => "audit-corrupt",
            Self::RolledBack { .. } => "audit-rolled-back",
            Self::BadCheckpoint { .. } => "audit-checkpoint",
            Self::Record(_) => "audit-record",
            Self::Origin { .. } => "audit-origin",
            Self::Busy => "busy",
            Self::Closed => "audit-closed",
        }
    }
}
