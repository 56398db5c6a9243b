//! Whether the store is as new as the audit log beside it.
//!
//! The store is one sealed file, and an older copy of it is in order by itself. A node that served with one would have forgotten what its
//! operator suspended, which epoch a key has reached, and what it promised in ceremonies. So at every start the store is held against
//! the log, which cannot be set back unseen (it is signed, and others cosign it):
//!
//! - **what the log says**: each key has reached the epoch of its newest share, and what the operator's last word suspended is suspended;
//! - **how often the two were opened and closed together, or a ceremony was confirmed**: the store counts in a sealed record, and `audit/opened` has
//!   the number too. The store's is written first, so that a crash between the two leaves it ahead and never behind. Of a confirmation both are
//!   written before anybody hears of it, so that no store from before it is ever asked to confirm again.
//!
//! What is not seen: a copy that was taken since the last start, put back after a crash, with nothing confirmed, suspended or reshared in between; and
//! a folder of which all is older. That, the other members see (`witness`), if the log has grown since: by a share, a word of the operator, or the
//! confirmation of a reshare, and before the node says anything in a ceremony.

use std::path::{Path, PathBuf};

use crate::audit::{AuditLog, Said};
use crate::disk::{Disk, SystemDisk};
use crate::keyring::Keyring;
use crate::node_files::AUDIT_FOLDER;
use crate::store::{Change, RecordsError, Store, StoreError, audit_head_change, opened_change};
use crate::suspension::{self, SuspensionKind};

/// The file beside the log's segments.
const OPENED_FILE: &str = "opened";

/// Why the store is not held to be the one that belongs to the log.
#[derive(Debug, thiserror::Error)]
pub enum SetBackError {
    /// It is older.
    #[error(
        "the store in {folder} is older than the audit log beside it: {reason}; nothing was changed: put the newer folder back, or at least its store.redb and erasable/; if they are lost, make the node anew from its phrase with `cryptonode restore`"
    )]
    Older {
        /// The node's folder.
        folder: PathBuf,
        /// What the log knows and the store does not.
        reason: String,
    },
    /// The file beside the log cannot be read or written.
    #[error("cannot {what} {path}: {reason}; restore audit/ from a copy")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The store cannot be read or written.
    #[error(transparent)]
    Records(#[from] RecordsError),
}

impl From<StoreError> for SetBackError {
    fn from(error: StoreError) -> Self {
        Self::Records(error.into())
    }
}

/// Holds the store against the log.
///
/// # Errors
/// [`SetBackError::Older`], with nothing changed.
pub(crate) fn check(
    folder: &Path,
    store: &Store,
    keyring: &Keyring,
    said: &Said,
) -> Result<(), SetBackError> {
    let older = |reason: String| SetBackError::Older {
        folder: folder.to_owned(),
        reason,
    };
    for (key, epoch) in &said.epochs {
        let name = hex::encode(key);
        let known = keyring.entry(key).and_then(|entry| entry.newest_known());
        match known {
            Some(known) if known.epoch >= *epoch => {}
            Some(known) => {
                return Err(older(format!(
                    "a share of the key {name} was given in epoch {epoch}, and the store knows epoch {} of it",
                    known.epoch
                )));
            }
            None => {
                return Err(older(format!(
                    "a share of the key {name} was given, and the store does not have that key"
                )));
            }
        }
    }
    let suspended = suspension::read(store)?;
    for (kind, what, subjects) in [
        (SuspensionKind::Key, "key", &said.suspended_keys),
        (
            SuspensionKind::Document,
            "document",
            &said.suspended_documents,
        ),
    ] {
        for subject in subjects.iter().map(hex::encode) {
            let known =
                |view: &&suspension::SuspensionView| view.kind == kind && view.subject == subject;
            if !suspended.iter().any(|view| known(&view)) {
                return Err(older(format!(
                    "the operator suspended the {what} {subject}, and the store does not know of it"
                )));
            }
        }
    }
    let (beside, known) = (read_opened(folder)?, store.opened()?);
    if beside > known {
        return Err(older(format!(
            "they were opened and closed, or a ceremony was confirmed, {beside} times together, and the store knows of {known}"
        )));
    }
    Ok(())
}

/// Has both remember that they were opened or closed together once more, and the store the log's head. Blocks on the disk.
///
/// # Errors
/// [`SetBackError`] if one of them cannot be written.
pub(crate) fn mark(folder: &Path, store: &Store, audit: &AuditLog) -> Result<(), SetBackError> {
    count_up(folder, store, Some(audit_head_change(&audit.head())))
}

/// Has both remember that a ceremony was confirmed, before anybody hears of it. Blocks on the disk; one at a time.
///
/// # Errors
/// [`SetBackError`] if one of them cannot be written.
pub(crate) fn mark_confirmation(folder: &Path, store: &Store) -> Result<(), SetBackError> {
    count_up(folder, store, None)
}

fn count_up(folder: &Path, store: &Store, head: Option<Change>) -> Result<(), SetBackError> {
    let opened = store.opened()?.saturating_add(1);
    let changes: Vec<Change> = head.into_iter().chain([opened_change(opened)]).collect();
    store.commit(&changes)?;
    let path = opened_file(folder);
    SystemDisk
        .replace(&path, format!("{opened}\n").as_bytes())
        .map_err(|error| SetBackError::File {
            what: "write",
            path,
            reason: error.to_string(),
        })
}

fn opened_file(folder: &Path) -> PathBuf {
    folder.join(AUDIT_FOLDER).join(OPENED_FILE)
}

/// 0 if there is none: of a new log, or one of a version that wrote none.
fn read_opened(folder: &Path) -> Result<u64, SetBackError> {
    let path = opened_file(folder);
    let unreadable = |path: &Path, reason: String| SetBackError::File {
        what: "read",
        path: path.to_owned(),
        reason,
    };
    let length = match SystemDisk.length(&path) {
        Ok(length) => length,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(unreadable(&path, error.to_string())),
    };
    if length > 32 {
        return Err(unreadable(&path, "it is too long".to_owned()));
    }
    let bytes = SystemDisk
        .read(&path)
        .map_err(|error| unreadable(&path, error.to_string()))?;
    let number = std::str::from_utf8(&bytes).map(|text| text.trim().parse());
    match number {
        Ok(Ok(number)) => Ok(number),
        _ => Err(unreadable(&path, "it is not a number".to_owned())),
    }
}
