//! The log's signed head: the key that signs it, the file that it is kept in, and what it is held against.

use std::path::Path;

use certs::checkpoint::{self, Checkpoint, NoteKey, SignedCheckpoint};
use certs::merkle::Tree;
use ed25519_dalek::SigningKey;

use super::segment::{disk, read_small};
use super::{AuditError, note_key};
use crate::disk::Disk;

/// The file with the last signed checkpoint, beside the segments.
pub(super) const CHECKPOINT_FILE: &str = "checkpoint";
/// The file with the newest checkpoint that witnesses have cosigned.
pub(super) const COSIGNED_FILE: &str = "cosigned";
/// Longest checkpoint note that is read back, in bytes.
const MAX_NOTE: u64 = certs::note::MAX_NOTE as u64;

/// The name and key that sign this node's checkpoints.
pub struct CheckpointKey {
    pub(super) public: NoteKey,
    signing: SigningKey,
}

impl CheckpointKey {
    /// The key of the node `name`: its identity, under the origin `cryptonode/<name>/<head of the identity in hex>`, so
    /// that two nodes of one name have different logs.
    ///
    /// # Errors
    /// [`AuditError::Origin`] if the name cannot stand in a signed note.
    pub fn of_node(name: &str, identity: &SigningKey) -> Result<Self, AuditError> {
        let public = node_key(name, &identity.verifying_key().to_bytes())?;
        Ok(Self {
            public,
            signing: identity.clone(),
        })
    }

    /// The signed note over `head`.
    pub(super) fn sign(&self, head: &Checkpoint) -> Result<String, AuditError> {
        checkpoint::sign(head, self.origin(), &self.signing).map_err(|error| AuditError::Origin {
            name: self.origin().to_owned(),
            reason: error.to_string(),
        })
    }

    /// The origin line of the checkpoints, which is also the key's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.public.name()
    }
}

/// [`note_key`], for a node whose name was configured.
pub(super) fn node_key(name: &str, identity: &[u8; 32]) -> Result<NoteKey, AuditError> {
    note_key(name, identity).map_err(|error| AuditError::Origin {
        name: name.to_owned(),
        reason: error.to_string(),
    })
}

/// Reads a kept checkpoint, if there is one, and verifies it.
pub(super) fn read_kept(
    files: &dyn Disk,
    folder: &Path,
    file: &str,
    key: &NoteKey,
) -> Result<(Option<String>, Option<Checkpoint>), AuditError> {
    let path = folder.join(file);
    let Some(note) = read_small(files, &path, MAX_NOTE)? else {
        return Ok((None, None));
    };
    let head = read_note(&path, &note, key)?;
    Ok((Some(note), Some(head)))
}

/// Verifies the checkpoint that stands at `path`.
pub(super) fn read_note(path: &Path, note: &str, key: &NoteKey) -> Result<Checkpoint, AuditError> {
    let bad = |reason: String| AuditError::BadCheckpoint {
        path: path.to_owned(),
        reason,
    };
    let signed = SignedCheckpoint::parse(note).map_err(|error| bad(error.to_string()))?;
    let checkpoint = signed
        .verify(std::slice::from_ref(key), 1)
        .map_err(|error| bad(error.to_string()))?;
    if checkpoint.origin != key.name() {
        return Err(bad(format!("it is of the log {}", checkpoint.origin)));
    }
    Ok(checkpoint)
}

/// Checks that the log continues the signed head.
pub(super) fn hold_against(
    folder: &Path,
    tree: &Tree,
    head: &Checkpoint,
) -> Result<(), AuditError> {
    let rolled_back = |reason: &str| AuditError::RolledBack {
        path: folder.to_owned(),
        signed: head.size,
        found: tree.size(),
        reason: reason.to_owned(),
    };
    if tree.size() < head.size {
        return Err(rolled_back("records are missing"));
    }
    match tree.root_at(head.size) {
        Ok(root) if root == head.root => Ok(()),
        _ => Err(rolled_back("the records are not the ones that were signed")),
    }
}

/// Puts a note in place of the last one, durably.
pub(super) fn write_note(
    files: &dyn Disk,
    folder: &Path,
    file: &str,
    note: &str,
) -> Result<(), AuditError> {
    let path = folder.join(file);
    files
        .replace(&path, note.as_bytes())
        .map_err(|error| disk("write", &path, &error))
}
