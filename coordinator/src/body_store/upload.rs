//! Uploads: a body streams into the store in parts, and is removed again unless somebody takes it over.

use std::sync::Arc;

use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as ObjectPath;
use object_store::{MultipartUpload, PutPayload};
use tokio::task::JoinHandle;

use super::{BodyStore, BodyStoreError, Note, PART_SIZE, Pointer};

/// A part on its way; a bucket's service names it when it is there.
type PartUpload = JoinHandle<object_store::Result<Option<PartId>>>;

/// An upload, as the store has it.
pub(super) enum Upload {
    /// To a folder: what there is of it is seen beside the object.
    Folder(Box<dyn MultipartUpload>),
    /// To a bucket.
    Bucket(BucketUpload),
}

/// An upload to a bucket. Its parts are seen by nobody who does not know the service's name for it, which is therefore in the note.
pub(super) struct BucketUpload {
    pub(super) store: Arc<dyn MultipartStore>,
    pub(super) object: ObjectPath,
    pub(super) id: String,
    /// Those that have arrived.
    pub(super) parts: Vec<PartId>,
}

impl Upload {
    fn put_part(&mut self, part: PutPayload) -> PartUpload {
        match self {
            Self::Folder(upload) => {
                let sent = upload.put_part(part);
                tokio::spawn(async move { sent.await.map(|()| None) })
            }
            Self::Bucket(it) => {
                let (store, object, id) = (it.store.clone(), it.object.clone(), it.id.clone());
                // The one before has arrived.
                let place = it.parts.len();
                tokio::spawn(async move {
                    let sent = store.put_part(&object, &id, place, part);
                    sent.await.map(Some)
                })
            }
        }
    }

    fn arrived(&mut self, part: Option<PartId>) {
        if let (Self::Bucket(upload), Some(part)) = (self, part) {
            upload.parts.push(part);
        }
    }

    async fn complete(self) -> object_store::Result<()> {
        match self {
            Self::Folder(mut upload) => upload.complete().await.map(drop),
            Self::Bucket(it) => {
                let completed = it.store.complete_multipart(&it.object, &it.id, it.parts);
                completed.await.map(drop)
            }
        }
    }

    /// Gives it up as far as that can be done from here; the rest is seen by the note.
    async fn abort(self) {
        // A bucket's is ended with its note.
        if let Self::Folder(mut upload) = self {
            let _ = upload.abort().await;
        }
    }
}

/// An upload under way. Holds one part in memory and one on its way; dropped unfinished, it removes what it wrote.
pub struct BodyWriter {
    store: BodyStore,
    /// Present until the upload is finished.
    pub(super) note: Option<Note>,
    pub(super) upload: Option<Upload>,
    buffer: Vec<u8>,
    in_flight: Option<PartUpload>,
}

impl BodyWriter {
    pub(super) fn new(store: BodyStore, note: Note, upload: Upload) -> Self {
        Self {
            store,
            note: Some(note),
            upload: Some(upload),
            buffer: Vec::with_capacity(PART_SIZE),
            in_flight: None,
        }
    }

    /// Writes some more.
    pub async fn push(&mut self, mut bytes: &[u8]) -> Result<(), BodyStoreError> {
        while self.buffer.len() + bytes.len() >= PART_SIZE {
            let (filling, rest) = bytes.split_at(PART_SIZE - self.buffer.len());
            self.buffer.extend_from_slice(filling);
            bytes = rest;
            self.send_part(PART_SIZE).await?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Completes the body: when this returns it is durable under its name.
    pub async fn finish(mut self) -> Result<UncommittedBody, BodyStoreError> {
        if !self.buffer.is_empty() {
            self.send_part(0).await?;
        }
        self.settle().await?;
        if let Some(upload) = self.upload.take() {
            upload.complete().await?;
        }
        let mut note = self.note.take().ok_or(BodyStoreError::Missing)?;
        note.upload = None;
        let pointer = note.pointer;
        Ok(UncommittedBody {
            store: self.store.clone(),
            pointer,
            note: Some(note),
        })
    }

    async fn send_part(&mut self, next_capacity: usize) -> Result<(), BodyStoreError> {
        self.settle().await?;
        self.store.room_for(self.buffer.len())?;
        let part = std::mem::replace(&mut self.buffer, Vec::with_capacity(next_capacity));
        if let Some(upload) = &mut self.upload {
            self.in_flight = Some(upload.put_part(PutPayload::from(part)));
        }
        Ok(())
    }

    pub(super) async fn settle(&mut self) -> Result<(), BodyStoreError> {
        if let Some(part) = self.in_flight.take() {
            let part = part.await.map_err(|e| {
                BodyStoreError::Store(object_store::Error::JoinError { source: e })
            })??;
            if let Some(upload) = &mut self.upload {
                upload.arrived(part);
            }
        }
        Ok(())
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        let (Some(note), Ok(runtime)) = (self.note.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let (store, upload, in_flight) = (
            self.store.clone(),
            self.upload.take(),
            self.in_flight.take(),
        );
        runtime.spawn(async move {
            if let Some(part) = in_flight {
                let _ = part.await;
            }
            if let Some(upload) = upload {
                upload.abort().await;
            }
            store.discard(&note).await;
        });
    }
}

/// A complete body that no transaction names yet; dropped, it is removed.
pub struct UncommittedBody {
    store: BodyStore,
    pointer: Pointer,
    note: Option<Note>,
}

impl UncommittedBody {
    /// Where it lies.
    pub fn pointer(&self) -> Pointer {
        self.pointer
    }

    /// Adds to its note the encrypted pointer, and when the transaction with it expires; from then on a restart can tell whether it was
    /// committed, and whether it still may be.
    pub async fn seal(
        &mut self,
        sealed_pointer: &[u8],
        expires_ms: u64,
    ) -> Result<(), BodyStoreError> {
        match &mut self.note {
            Some(note) => {
                note.sealed_pointer = sealed_pointer.to_vec();
                note.expires_ms = Some(expires_ms);
                self.store.write_note(note).await
            }
            None => Ok(()),
        }
    }

    /// Its note: whoever takes it sees to it that the body is committed or removed.
    pub fn into_note(mut self) -> Option<Note> {
        self.note.take()
    }
}

impl Drop for UncommittedBody {
    fn drop(&mut self) {
        if let (Some(note), Ok(runtime)) = (self.note.take(), tokio::runtime::Handle::try_current())
        {
            let store = self.store.clone();
            runtime.spawn(async move { store.discard(&note).await });
        }
    }
}
