//! Where bodies lie that are too large for the record: an object store, by default a folder of this machine.
//!
//! A body's pointer is 16 random bytes; its object is `SHA-256(tenant)/pointer`, so a pointer leads to nothing outside of
//! its own tenant. Steps of an upload, each durable before the next:
//!
//! 1. A *note* in `uploads/` says that a body of this pointer is on its way.
//! 2. The body streams into the store in parts; it appears under its name when it is complete.
//! 3. The note gets the encrypted pointer, as it will stand on the record.
//! 4. The transaction commits; the body goes into the list of those that the record knows, and the note is removed.
//!
//! So every body without a committed transaction has its note. After a crash, [`BodyStore::remove_orphans`] asks the
//! record about each note: if the version holds this very encrypted pointer, only the note goes, else the body goes too.

mod index;
mod upload;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cryptonode::randomness;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde::{Deserialize, Serialize};
use std::ops::Range;

use crate::config::BodiesConfig;
use crate::envelope::hash_items;
use crate::folder::{self, FolderError};
use crate::record::{Identifier, VersionName};
pub use index::{IndexError, Indexed};
pub use upload::{BodyWriter, UncommittedBody};

use index::BodyIndex;

/// Bytes of the parts in which a body is written. Object stores want at least 5 MiB and at most 10,000 parts.
const PART_SIZE: usize = 8 * 1024 * 1024;
const MAX_NOTE: u64 = 64 * 1024;
const PATH_TAG: &str = "coordinator/v1/body-path";

/// A reason for which a body cannot be stored or fetched.
#[derive(Debug, thiserror::Error)]
pub enum BodyStoreError {
    /// There is no such body in the store.
    #[error("the stored body is missing from the body store: restore it from a backup")]
    Missing,
    /// The store failed.
    #[error("the body store failed: {0}")]
    Store(#[source] object_store::Error),
    /// The disk is nearly full.
    #[error(
        "the disk of the body store is nearly full: less than the {reserve} bytes of `limits.free_bytes` would be left; make room there"
    )]
    Full {
        /// Bytes that stay free.
        reserve: u64,
    },
    /// A note about an upload cannot be read or written.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A note about an upload is damaged.
    #[error("{} is damaged: move it elsewhere and start again; the body that it speaks of stays where it is", .0.display())]
    Note(PathBuf),
    /// The list of bodies failed.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl BodyStoreError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            _ if self.is_full() => "body-store-full",
            Self::Missing => "body-missing",
            Self::Store(_) => "body-store",
            Self::Full { .. } => "body-store-full",
            Self::Folder(e) => e.code(),
            Self::Note(_) => "body-note",
            Self::Index(_) => "body-index",
        }
    }
}

impl BodyStoreError {
    /// Whether there is no room: less than the reserve was left, or the disk had been filled up by somebody else.
    pub fn is_full(&self) -> bool {
        if matches!(self, Self::Full { .. }) {
            return true;
        }
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            let kind = error
                .downcast_ref::<std::io::Error>()
                .map(std::io::Error::kind);
            if matches!(
                kind,
                Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
            ) {
                return true;
            }
            cause = match error.downcast_ref::<Self>() {
                // A transparent error passes over what it holds.
                Some(Self::Folder(folder)) => Some(folder),
                _ => error.source(),
            };
        }
        false
    }
}

impl From<object_store::Error> for BodyStoreError {
    fn from(e: object_store::Error) -> Self {
        match e {
            object_store::Error::NotFound { .. } => Self::Missing,
            other => Self::Store(other),
        }
    }
}

/// Names a body within its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pointer(#[serde(with = "hex")] [u8; 16]);

impl Pointer {
    /// Takes a pointer that was decrypted; `None` unless it has 16 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn object(&self, tenant: &Identifier) -> ObjectPath {
        let tenant = hex::encode(hash_items(PATH_TAG, &[tenant.as_str().as_bytes()]));
        ObjectPath::from_iter([tenant, hex::encode(self.0)])
    }
}

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
    /// The encrypted pointer of the transaction; empty while the body is on its way.
    #[serde(with = "hex")]
    pub sealed_pointer: Vec<u8>,
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

/// Bodies of documents.
#[derive(Clone)]
pub struct BodyStore {
    store: Arc<dyn ObjectStore>,
    /// Which body belongs to which version.
    index: Option<Arc<BodyIndex>>,
    /// The folder that `store` writes into, if it is one of this machine.
    local: Option<PathBuf>,
    uploads: PathBuf,
    /// Bytes of the local disk that no body may take.
    reserve: u64,
}

impl BodyStore {
    /// The store that the settings name: a bucket, or the folder `bodies`. Its notes are in the folder `uploads`.
    ///
    /// # Errors
    ///
    /// [`BodyStoreError::Store`] if the settings make no store. Whether a bucket answers is seen when it is used.
    pub fn open(
        settings: &BodiesConfig,
        bodies: &Path,
        uploads: &Path,
    ) -> Result<Self, BodyStoreError> {
        let Some(bucket) = &settings.bucket else {
            return Self::local(bodies, uploads);
        };
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        if let Some(region) = &settings.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &settings.endpoint {
            // The settings allow plain HTTP on loopback alone.
            builder = builder
                .with_endpoint(endpoint)
                .with_allow_http(endpoint.starts_with("http://"));
        }
        let bucket = builder.build()?;
        let store: Arc<dyn ObjectStore> = match &settings.prefix {
            Some(prefix) => Arc::new(PrefixStore::new(bucket, prefix.as_str())),
            None => Arc::new(bucket),
        };
        Self::new(store, None, uploads)
    }

    /// A store in the folder `bodies`, with its notes in the folder `uploads`.
    pub fn local(bodies: &Path, uploads: &Path) -> Result<Self, BodyStoreError> {
        folder::create_private_dir(bodies)?;
        let store = LocalFileSystem::new_with_prefix(bodies)?.with_fsync(true);
        Self::new(Arc::new(store), Some(bodies.to_owned()), uploads)
    }

    /// A store anywhere, with its notes in the folder `uploads` of this machine.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        local: Option<PathBuf>,
        uploads: &Path,
    ) -> Result<Self, BodyStoreError> {
        folder::create_private_dir(uploads)?;
        Ok(Self {
            store,
            index: None,
            local,
            uploads: uploads.to_owned(),
            reserve: 0,
        })
    }

    /// Keeps a list of which body belongs to which version, so that bodies of erased versions can be found.
    ///
    /// # Errors
    ///
    /// [`BodyStoreError::Index`]
    pub fn with_index(mut self, path: &Path) -> Result<Self, BodyStoreError> {
        self.index = Some(Arc::new(BodyIndex::open(path)?));
        Ok(self)
    }

    /// Keeps so many bytes of a local disk free of bodies. The record's peers write to the same disk, and stop for good when
    /// it is full.
    #[must_use]
    pub fn with_reserve(mut self, bytes: u64) -> Self {
        self.reserve = bytes;
        self
    }

    /// Refuses bytes that would eat into the reserve.
    fn room_for(&self, bytes: usize) -> Result<(), BodyStoreError> {
        let (Some(local), reserve) = (&self.local, self.reserve) else {
            return Ok(());
        };
        let disk = rustix::fs::statvfs(local).map_err(|e| FolderError::Io {
            action: "ask for the room left in",
            path: local.clone(),
            source: e.into(),
        })?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < reserve.saturating_add(bytes as u64) {
            return Err(BodyStoreError::Full { reserve });
        }
        Ok(())
    }

    /// Starts an upload.
    pub async fn create(&self, name: &VersionName) -> Result<BodyWriter, BodyStoreError> {
        let pointer: [u8; 16] = randomness::public();
        let note = Note {
            tenant: name.tenant.clone(),
            dataset: name.dataset.clone(),
            document: name.document.clone(),
            version: name.version,
            pointer: Pointer(pointer),
            sealed_pointer: Vec::new(),
        };
        self.write_note(&note).await?;
        let upload = self
            .store
            .put_multipart(&note.pointer.object(&note.tenant))
            .await?;
        Ok(BodyWriter::new(self.clone(), note, upload))
    }

    /// Takes a body whose transaction has committed into the list, and removes its note.
    pub async fn committed(&self, note: &Note) {
        let entry = note.clone();
        if let Err(e) = self.in_index(move |index| index.put(&entry)).await {
            tracing::warn!(error = %e, "a note about a committed upload stays until the next start");
            return;
        }
        self.forget(note).await;
    }

    /// Removes the body of a version that is erased on the record. Doing it again changes nothing.
    ///
    /// # Errors
    ///
    /// [`BodyStoreError`] if it may still be there.
    pub async fn erase(&self, body: Indexed) -> Result<(), BodyStoreError> {
        let object = body.pointer.object(&body.name.tenant);
        match self.store.delete(&object).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => return Err(e.into()),
        }
        self.in_index(move |index| index.remove(&body.name)).await?;
        Ok(())
    }

    /// At most `limit` bodies of the list behind `after`, by name.
    ///
    /// # Errors
    ///
    /// [`BodyStoreError::Index`]
    pub async fn indexed(
        &self,
        after: Option<VersionName>,
        limit: u32,
    ) -> Result<Vec<Indexed>, BodyStoreError> {
        let found = self.in_index(move |index| index.after(after.as_ref(), limit));
        Ok(found.await?.unwrap_or_default())
    }

    /// Where the body of a version lies, if the list has it.
    ///
    /// # Errors
    ///
    /// [`BodyStoreError::Index`]
    pub async fn pointer_of(&self, name: VersionName) -> Result<Option<Pointer>, BodyStoreError> {
        let found = self.in_index(move |index| index.pointer_of(&name)).await?;
        Ok(found.flatten())
    }

    /// Works on the list, if there is one, away from the threads that serve.
    async fn in_index<T: Send + 'static>(
        &self,
        work: impl FnOnce(&BodyIndex) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<Option<T>, BodyStoreError> {
        let Some(index) = self.index.clone() else {
            return Ok(None);
        };
        let done = tokio::task::spawn_blocking(move || work(&index)).await;
        let done =
            done.map_err(|e| BodyStoreError::Store(object_store::Error::JoinError { source: e }))?;
        Ok(Some(done?))
    }

    async fn forget(&self, note: &Note) {
        if let Err(e) = tokio::fs::remove_file(self.note_path(&note.pointer)).await {
            tracing::warn!(error = %e, "a note about a committed upload stays until the next start");
        }
    }

    /// Removes a body and its note.
    pub async fn discard(&self, note: &Note) {
        let object = note.pointer.object(&note.tenant);
        match self.store.delete(&object).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => {
                tracing::warn!(error = %e, "a body that was not committed stays until the next start");
                return;
            }
        }
        if let Some(local) = &self.local {
            remove_staged(local, object.as_ref()).await;
        }
        self.forget(note).await;
    }

    /// Bytes of a stored body.
    pub async fn size(
        &self,
        tenant: &Identifier,
        pointer: &Pointer,
    ) -> Result<u64, BodyStoreError> {
        Ok(self.store.head(&pointer.object(tenant)).await?.size)
    }

    /// Some bytes of a stored body.
    pub async fn read(
        &self,
        tenant: &Identifier,
        pointer: &Pointer,
        range: Range<u64>,
    ) -> Result<Bytes, BodyStoreError> {
        Ok(self.store.get_range(&pointer.object(tenant), range).await?)
    }

    /// Goes through the notes that an earlier process left and removes the bodies for which `is_committed` says no.
    /// Returns how many bodies were removed. Must run before uploads start.
    pub async fn remove_orphans(
        &self,
        mut is_committed: impl AsyncFnMut(&Note) -> bool,
    ) -> Result<usize, BodyStoreError> {
        let mut removed = 0;
        for note in self.notes()? {
            if !note.sealed_pointer.is_empty() && is_committed(&note).await {
                self.committed(&note).await;
            } else {
                self.discard(&note).await;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn notes(&self) -> Result<Vec<Note>, BodyStoreError> {
        let unreadable = |source| FolderError::Io {
            action: "read",
            path: self.uploads.clone(),
            source,
        };
        let mut notes = Vec::new();
        for entry in std::fs::read_dir(&self.uploads).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = entry.path();
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".tmp") {
                // A note that was being written when the process died.
                let _ = std::fs::remove_file(&path);
            } else if path.extension().is_some_and(|e| e == "note") {
                let text = folder::read_limited(&path, MAX_NOTE)?;
                notes.push(serde_json::from_slice(&text).map_err(|_| BodyStoreError::Note(path))?);
            }
        }
        Ok(notes)
    }

    fn note_path(&self, pointer: &Pointer) -> PathBuf {
        self.uploads
            .join(format!("{}.note", hex::encode(pointer.0)))
    }

    async fn write_note(&self, note: &Note) -> Result<(), BodyStoreError> {
        let path = self.note_path(&note.pointer);
        let text = serde_json::to_vec(note).map_err(|_| BodyStoreError::Note(path.clone()))?;
        let written =
            tokio::task::spawn_blocking(move || folder::write_private(&path, &text)).await;
        Ok(written
            .map_err(|e| BodyStoreError::Store(object_store::Error::JoinError { source: e }))??)
    }
}

/// Removes what an interrupted upload left beside the object in a local folder: files `NAME#…`.
async fn remove_staged(local: &Path, object: &str) {
    let (folder, name) = object.rsplit_once('/').unwrap_or(("", object));
    let prefix = format!("{name}#");
    let Ok(mut entries) = tokio::fs::read_dir(local.join(folder)).await else {
        return;
    };
    while let Ok(Some(entry)) = entries.next_entry().await {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = tokio::fs::remove_file(entry.path()).await;
        }
    }
}

#[cfg(test)]
mod tests;
