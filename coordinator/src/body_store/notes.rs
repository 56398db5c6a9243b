//! Notes about uploads: each body whose transaction is not known to have committed has one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{BodyStore, BodyStoreError, Pointer};
use crate::folder::{self, FolderError};
use crate::record::{Identifier, VersionName};

const MAX_NOTE: u64 = 64 * 1024;

/// What is known of a body whose transaction is not known to have committed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// The tenant's identifier.
    pub tenant: Identifier,
    /// The dataset's identifier.
    pub dataset: Identifier,
    /// The document's identifier.
    pub document: Identifier,
    /// The version that the upload is for.
    pub version: u64,
    /// Where the body lies.
    pub pointer: Pointer,
    /// The name of the upload at the bucket's service, while it is under way: without it nobody sees the parts that are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
    /// The encrypted pointer of the transaction; empty while the body is on its way.
    #[serde(with = "hex")]
    pub sealed_pointer: Vec<u8>,
    /// When the transaction expires, milliseconds since the Unix epoch; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

impl Note {
    /// The version that the upload is for.
    pub fn name(&self) -> VersionName {
        VersionName {
            tenant: self.tenant.clone(),
            dataset: self.dataset.clone(),
            document: self.document.clone(),
            version: self.version,
        }
    }
}

/// What became of the transaction of a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is on the record: the body stays.
    Committed,
    /// It may be on the record yet, or come there: the body stays, and so does its note.
    Open,
    /// It is not on the record, and never comes there: the body goes.
    Never,
}

impl BodyStore {
    /// The notes that an earlier process left. Must be read before uploads start.
    ///
    /// # Errors
    ///
    /// [`BodyStoreError`]
    pub fn earlier_notes(&self) -> Result<Vec<Note>, BodyStoreError> {
        // What was being written when that process died.
        for entry in std::fs::read_dir(&self.uploads).map_err(|e| self.unreadable(e))? {
            let entry = entry.map_err(|e| self.unreadable(e))?;
            if entry.file_name().as_encoded_bytes().starts_with(b".tmp") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        self.notes()
    }

    /// Does with each body what the fate of its transaction says. Returns how many were removed, and the notes that are still open.
    pub async fn settle(
        &self,
        notes: Vec<Note>,
        fate: impl Fn(&Note) -> Fate,
    ) -> (usize, Vec<Note>) {
        let (mut removed, mut open) = (0, Vec::new());
        for note in notes {
            match fate(&note) {
                Fate::Committed => self.committed(&note).await,
                Fate::Open => open.push(note),
                Fate::Never if self.discard(&note).await => removed += 1,
                Fate::Never => open.push(note),
            }
        }
        (removed, open)
    }

    pub(super) fn notes(&self) -> Result<Vec<Note>, BodyStoreError> {
        let mut notes = Vec::new();
        for entry in std::fs::read_dir(&self.uploads).map_err(|e| self.unreadable(e))? {
            let path = entry.map_err(|e| self.unreadable(e))?.path();
            if path.extension().is_some_and(|e| e == "note") {
                let text = folder::read_limited(&path, MAX_NOTE)?;
                notes.push(serde_json::from_slice(&text).map_err(|_| BodyStoreError::Note(path))?);
            }
        }
        Ok(notes)
    }

    fn unreadable(&self, source: std::io::Error) -> FolderError {
        FolderError::Io {
            action: "read",
            path: self.uploads.clone(),
            source,
        }
    }

    fn note_path(&self, pointer: &Pointer) -> PathBuf {
        self.uploads
            .join(format!("{}.note", hex::encode(pointer.0)))
    }

    pub(super) async fn write_note(&self, note: &Note) -> Result<(), BodyStoreError> {
        let path = self.note_path(&note.pointer);
        let text = serde_json::to_vec(note).map_err(|_| BodyStoreError::Note(path.clone()))?;
        let written =
            tokio::task::spawn_blocking(move || folder::write_private(&path, &text)).await;
        Ok(written
            .map_err(|e| BodyStoreError::Store(object_store::Error::JoinError { source: e }))??)
    }

    pub(super) async fn forget(&self, note: &Note) {
        match tokio::fs::remove_file(self.note_path(&note.pointer)).await {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => {
                tracing::warn!(error = %e, "a note about a committed upload stays until the next start");
            }
        }
    }
}
