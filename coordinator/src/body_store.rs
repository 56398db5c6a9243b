//! Where bodies lie that are too large for the record: an object store, by default a folder of this machine.
//!
//! A body's pointer is 16 random bytes; its object is `SHA-256(tenant)/pointer`, so a pointer leads to nothing outside of
//! its own tenant. Steps of an upload, each durable before the next:
//!
//! 1. A *note* in `uploads/` says that a body of this pointer is on its way, and to a bucket as which upload: its parts are no object, and no
//!    list of objects shows them.
//! 2. The body streams into the store in parts; it appears under its name when it is complete.
//! 3. The note gets the encrypted pointer, as it will stand on the record, and the transaction's expiry.
//! 4. The transaction commits; the body goes into the list of those that the record knows, and the note is removed.
//!
//! So every body without a committed transaction has its note, and a crash leaves nothing else. After one, each note is held against the
//! record ([`BodyStore::settle`]): if the version holds this very encrypted pointer, only the note goes; if the transaction can never come onto
//! the record any more, the body goes too. Until one of the two is sure both stay: a copy of the record may lag behind it.

mod bucket;
mod index;
mod notes;
mod orphans;
mod upload;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cryptonode::randomness;
use object_store::local::LocalFileSystem;
use object_store::multipart::MultipartStore;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use serde::{Deserialize, Serialize};
use std::ops::Range;

use crate::config::BodiesConfig;
use crate::envelope::hash_items;
use crate::folder::{self, FolderError};
use crate::record::{Identifier, VersionName};
pub use bucket::{Bucket, NoBucket, Service};
pub use index::{IndexError, Indexed};
pub use notes::{Fate, Note};
pub use orphans::{Orphan, Orphans};
pub use upload::{BodyWriter, UncommittedBody};

use index::BodyIndex;
use upload::{BucketUpload, Upload};

/// Bytes of the parts in which a body is written. Object stores want at least 5 MiB and at most 10,000 parts.
const PART_SIZE: usize = 8 * 1024 * 1024;
const PATH_TAG: &str = "coordinator/v1/body-path";

/// A reason for which a body cannot be stored or fetched.
#[derive(Debug, thiserror::Error)]
pub enum BodyStoreError {
    /// There is no such body in the store.
    #[error("the stored body is missing from the body store: restore it from a backup")]
    Missing,
    /// The store failed.
    #[error(
        "the body store failed: {0}; try again later, and have the operator look at it if that goes on"
    )]
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
    /// Whether the store did not do what it was asked, for a reason that may pass: it cannot be reached, or answers with errors of its own.
    pub fn may_pass(&self) -> bool {
        !self.is_full() && matches!(self, Self::Store(object_store::Error::Generic { .. }))
    }

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

    /// A pointer of these bytes, drawn at random.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
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

/// Bodies of documents.
#[derive(Clone)]
pub struct BodyStore {
    store: Arc<dyn ObjectStore>,
    /// Uploads to it by their names, if it is a bucket.
    bucket: Option<Arc<dyn MultipartStore>>,
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
        match Bucket::of(settings) {
            Some(bucket) => {
                let opened = bucket.open(settings)?;
                let bucket = Some(opened.uploads);
                let store = Self::new(opened.store, None, uploads)?;
                Ok(Self { bucket, ..store })
            }
            None => Self::local(bodies, uploads),
        }
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
            bucket: None,
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
        let mut note = Note {
            tenant: name.tenant.clone(),
            dataset: name.dataset.clone(),
            document: name.document.clone(),
            version: name.version,
            pointer: Pointer(pointer),
            upload: None,
            sealed_pointer: Vec::new(),
            expires_ms: None,
        };
        self.write_note(&note).await?;
        let object = note.pointer.object(&note.tenant);
        let Some(bucket) = &self.bucket else {
            let upload = Upload::Folder(self.store.put_multipart(&object).await?);
            return Ok(BodyWriter::new(self.clone(), note, upload));
        };
        let upload = BucketUpload {
            id: bucket.create_multipart(&object).await?,
            store: bucket.clone(),
            object,
            parts: Vec::new(),
        };
        note.upload = Some(upload.id.clone());
        // There is nothing of it yet.
        self.write_note(&note).await?;
        Ok(BodyWriter::new(self.clone(), note, Upload::Bucket(upload)))
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

    /// Removes a body and its note. Whether they are gone.
    pub async fn discard(&self, note: &Note) -> bool {
        let object = note.pointer.object(&note.tenant);
        if let (Some(bucket), Some(upload)) = (&self.bucket, &note.upload) {
            match bucket.abort_multipart(&object, upload).await {
                // Or it was completed.
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(e) => {
                    tracing::warn!(error = %e, "the parts of an upload that was not completed stay until the next start");
                    return false;
                }
            }
        }
        match self.store.delete(&object).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => {
                tracing::warn!(error = %e, "a body that was not committed stays until the next start");
                return false;
            }
        }
        if let Some(local) = &self.local {
            remove_staged(local, object.as_ref()).await;
        }
        self.forget(note).await;
        true
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

    /// Stores a piece of an upload under a pointer of its own, durably. Whoever does so sees to it that it goes again.
    ///
    /// # Errors
    ///
    /// [`BodyStoreError`]; then it may be there or not.
    pub async fn put_piece(
        &self,
        tenant: &Identifier,
        pointer: &Pointer,
        bytes: Vec<u8>,
    ) -> Result<(), BodyStoreError> {
        self.room_for(bytes.len())?;
        let payload = PutPayload::from(bytes);
        self.store.put(&pointer.object(tenant), payload).await?;
        Ok(())
    }

    /// Removes a piece; doing it again changes nothing.
    ///
    /// # Errors
    ///
    /// [`BodyStoreError`] if it may still be there.
    pub async fn remove_piece(
        &self,
        tenant: &Identifier,
        pointer: &Pointer,
    ) -> Result<(), BodyStoreError> {
        let object = pointer.object(tenant);
        match self.store.delete(&object).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => return Err(e.into()),
        }
        if let Some(local) = &self.local {
            remove_staged(local, object.as_ref()).await;
        }
        Ok(())
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
