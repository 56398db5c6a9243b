//! What a peer has approved, written out of its store for auditors: [`crate::record::audit::verify_approvals`] reads it.
//!
//! The store is only read, in one transaction, so that it can be done while the peer runs. It needs the peer's head key, for the organisation stands by it that
//! these are all.

use super::{StoreError, store::Store};
use crate::record::{
    audit::{ApprovalLine, ApprovalsClosing, ApprovalsOpening, HexBytes, Statement},
    genesis::Genesis,
    identifier::Identifier,
};
use certs::{
    checkpoint::CheckpointError,
    merkle::{Tree, leaf_hash},
    note::{NoteError, SignedNote},
};
use ed25519_dalek::SigningKey;
use serde::Serialize;
use std::{
    io::BufWriter,
    path::{Path, PathBuf},
};

/// Why approvals cannot be written out.
#[derive(Debug, thiserror::Error)]
pub enum WriteApprovalsError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file.
    #[error("the approvals cannot be written to {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The name of the organisation cannot stand in a note.
    #[error("the approvals cannot be signed: {0}")]
    Sign(#[from] CheckpointError),
}

impl WriteApprovalsError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::File { .. } => "approvals-write",
            Self::Sign(_) => "approvals-sign",
        }
    }
}

impl From<NoteError> for WriteApprovalsError {
    fn from(error: NoteError) -> Self {
        Self::Sign(error.into())
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrittenApprovals {
    /// Whose.
    pub organisation: Identifier,
    /// The file.
    pub file: PathBuf,
    /// How many approvals.
    pub approvals: u64,
    /// The peer's last block.
    pub block: u64,
}

/// Writes all approvals that the store of a peer has, which may be running, to a file, signed by the peer's head key. The file has its name only when it is complete
/// and on the disk.
///
/// # Errors
/// [`WriteApprovalsError`]
pub fn write_approvals(
    store: &Path,
    genesis: &Genesis,
    organisation: &Identifier,
    head_key: &SigningKey,
    time_ms: u64,
    path: &Path,
) -> Result<WrittenApprovals, WriteApprovalsError> {
    let failed = |error: std::io::Error| WriteApprovalsError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let ledger = genesis.id();
    let reader = Store::open_reader(store)?;
    reader.check_owner(&ledger, organisation)?;
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
    let mut file = BufWriter::new(file.map_err(failed)?);

    write_line(
        &mut file,
        &ApprovalsOpening::new(ledger, organisation.clone()),
    )
    .map_err(failed)?;
    let mut tree = Tree::new();
    let mut written = Ok(());
    let block = reader.approvals_in_order(|certificate| {
        tree.push(leaf_hash(&certificate));
        let approval = HexBytes(certificate);
        written = write_line(&mut file, &ApprovalLine { approval });
        written.is_ok()
    })?;
    written.map_err(failed)?;
    let statement = Statement {
        ledger,
        organisation: organisation.clone(),
        number: tree.size(),
        root: tree.root(),
        block,
        time_ms,
    };
    let note = SignedNote::sign(&statement.to_text()?, organisation.as_str(), head_key)?;
    let signed = note.to_string();
    write_line(&mut file, &ApprovalsClosing { signed }).map_err(failed)?;
    let file = file.into_inner().map_err(|it| failed(it.into_error()))?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|it| failed(it.error))?;
    Ok(WrittenApprovals {
        organisation: organisation.clone(),
        file: path.to_owned(),
        approvals: statement.number,
        block,
    })
}

fn write_line(file: &mut impl std::io::Write, value: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *file, value)?;
    file.write_all(b"\n")
}
