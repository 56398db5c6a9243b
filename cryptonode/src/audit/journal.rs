//! The log on the disk: what is appended is durable when the call returns, and the head is signed when somebody wants it.
//!
//! No thread, no clock, no queue: [`super::AuditLog`] has those, and drives this.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use certs::checkpoint::Checkpoint;
use certs::merkle::{self, Tree};

use super::AuditError;
use super::Said;
use super::head::{
    CHECKPOINT_FILE, COSIGNED_FILE, CheckpointKey, hold_against, read_kept, write_note,
};
use super::segment::{self, Location, Tail, disk};
use crate::disk::Disk;

/// What is durable, for readers.
pub(super) struct Durable {
    pub(super) tree: Tree,
    pub(super) locations: Vec<Location>,
    pub(super) segments: Vec<PathBuf>,
    pub(super) note: Option<String>,
    /// How many records the last signed checkpoint covers.
    pub(super) signed_size: Option<u64>,
    pub(super) cosigned: Option<String>,
    pub(super) failure: Option<AuditError>,
}

pub(super) fn lock(durable: &Mutex<Durable>) -> MutexGuard<'_, Durable> {
    durable.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An audit log that is open for writing.
pub struct Journal {
    pub(super) files: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) signer: Arc<Signer>,
    pub(super) tail: Box<dyn Tail>,
    /// Bytes in the last segment.
    pub(super) length: u64,
    pub(super) durable: Arc<Mutex<Durable>>,
    pub(super) torn: u64,
    pub(super) said: Said,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("origin", &self.signer.origin())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the log in `folder` (made if it is missing), verifies every record against the last signed checkpoint and
    /// against `known`, a head that the caller remembers from elsewhere, and cuts off what a crash tore.
    ///
    /// # Errors
    /// As [`super::AuditLog::open`].
    pub fn open(
        files: Arc<dyn Disk>,
        folder: &Path,
        key: CheckpointKey,
        known: Option<&Checkpoint>,
    ) -> Result<Self, AuditError> {
        files
            .make_folder(folder)
            .map_err(|error| disk("create", folder, &error))?;
        let mut tree = Tree::new();
        let mut locations = Vec::new();
        let mut said = Said::default();
        let scanned = segment::scan(&*files, folder, |_, location, record| {
            tree.push(merkle::leaf_hash(record));
            locations.push(location);
            said.note(record);
            Ok(())
        })?;
        let (note, signed) = read_kept(&*files, folder, CHECKPOINT_FILE, &key.public)?;
        let (cosigned, cosigned_head) = read_kept(&*files, folder, COSIGNED_FILE, &key.public)?;
        for head in signed.iter().chain(&cosigned_head).chain(known) {
            hold_against(folder, &tree, head)?;
        }
        let tail = segment::open_tail(&*files, folder, &scanned)?;
        let mut segments = scanned.segments;
        let tail = match tail {
            Some(tail) => tail,
            None => {
                let (path, tail) = segment::create(&*files, folder, 0)?;
                segments.push(path);
                tail
            }
        };
        let durable = Arc::new(Mutex::new(Durable {
            tree,
            locations,
            segments,
            note,
            signed_size: signed.map(|head| head.size),
            cosigned,
            failure: None,
        }));
        let signer = Signer {
            files: Arc::clone(&files),
            folder: folder.to_owned(),
            key,
            durable: Arc::clone(&durable),
            turn: Mutex::new(()),
        };
        Ok(Self {
            files,
            folder: folder.to_owned(),
            signer: Arc::new(signer),
            tail: Box::new(tail),
            length: scanned.last_length.max(segment::HEADER as u64),
            durable,
            torn: scanned.torn,
            said,
        })
    }

    /// What the records said of the node's own state when the log was opened.
    #[must_use]
    pub fn said(&self) -> &Said {
        &self.said
    }

    /// Number of durable records.
    #[must_use]
    pub fn size(&self) -> u64 {
        lock(&self.durable).tree.size()
    }

    /// The head over all durable records, not signed.
    #[must_use]
    pub fn head(&self) -> Checkpoint {
        let durable = lock(&self.durable);
        Checkpoint {
            origin: self.signer.origin().to_owned(),
            size: durable.tree.size(),
            root: durable.tree.root(),
        }
    }

    /// Makes records durable as one batch, and gives the index of the first of them. After a failure nothing is written any
    /// more until the log is opened again.
    ///
    /// # Errors
    /// [`AuditError`]: whoever waits must then give no share.
    pub fn append<'a>(
        &mut self,
        records: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> Result<u64, AuditError> {
        let (first, failure) = {
            let durable = lock(&self.durable);
            (durable.tree.size(), durable.failure.clone())
        };
        // After a failed fdatasync the kernel may have dropped the pages: a later success would prove nothing.
        if let Some(failure) = failure {
            return Err(failure);
        }
        self.write(first, records).inspect_err(|failure| {
            lock(&self.durable)
                .failure
                .get_or_insert_with(|| failure.clone());
        })?;
        Ok(first)
    }

    fn write<'a>(
        &mut self,
        first: u64,
        records: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> Result<(), AuditError> {
        if self.length >= segment::SEGMENT_BYTES {
            self.finish_segment()?;
            let (path, tail) = segment::create(&*self.files, &self.folder, first)?;
            self.tail = Box::new(tail);
            self.length = segment::HEADER as u64;
            lock(&self.durable).segments.push(path);
        }
        let bytes = records
            .clone()
            .map(|record| record.len() + segment::FRAME_HEAD);
        let mut frames = Vec::with_capacity(bytes.sum());
        for (index, record) in (first..).zip(records.clone()) {
            segment::put_frame(&mut frames, index, first, record);
        }
        let path = || self.folder.join("*.log");
        self.tail
            .append(&frames)
            .map_err(|error| disk("write", &path(), &error))?;
        self.tail
            .sync()
            .map_err(|error| disk("sync", &path(), &error))?;
        let mut durable = lock(&self.durable);
        let segment = u32::try_from(durable.segments.len().saturating_sub(1)).unwrap_or(u32::MAX);
        for record in records {
            let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
            let offset = self.length + segment::FRAME_HEAD as u64;
            durable.locations.push(Location {
                segment,
                offset,
                length,
            });
            durable.tree.push(merkle::leaf_hash(record));
            self.length = offset + u64::from(length);
        }
        Ok(())
    }

    /// The number of records, if there are some that no checkpoint covers.
    pub(super) fn unsigned(&self) -> Option<u64> {
        let durable = lock(&self.durable);
        let size = durable.tree.size();
        (durable.failure.is_none() && durable.signed_size != Some(size)).then_some(size)
    }

    /// Makes room for later records, if it is scarce: for the time when nobody waits for a record. Without it the next append
    /// that finds no room does it first.
    pub fn lay_out(&mut self) {
        if lock(&self.durable).failure.is_some() {
            return;
        }
        if let Err(error) = self.tail.lay_out() {
            let failure = disk("write", &self.folder.join("*.log"), &error);
            tracing::error!(code = failure.code(), "{failure}");
            lock(&self.durable).failure.get_or_insert(failure);
        }
    }

    /// Signs the head and makes the note durable; the same note again if nothing was added since.
    ///
    /// # Errors
    /// [`AuditError`] if it could not be written.
    pub fn sign(&mut self) -> Result<String, AuditError> {
        self.signer.sign()
    }

    /// Ends the last segment with its last record, unless the log has failed.
    ///
    /// # Errors
    /// [`AuditError::Disk`]: the next start cuts the zeros off then; no record is in them.
    pub fn finish(&mut self) -> Result<(), AuditError> {
        if lock(&self.durable).failure.is_some() {
            return Ok(());
        }
        self.finish_segment()
    }

    fn finish_segment(&mut self) -> Result<(), AuditError> {
        self.tail
            .finish()
            .map_err(|error| disk("truncate", &self.folder.join("*.log"), &error))
    }
}

/// Signs the head of what is durable. It touches no segment, so that records can be appended meanwhile.
pub(super) struct Signer {
    files: Arc<dyn Disk>,
    folder: PathBuf,
    key: CheckpointKey,
    durable: Arc<Mutex<Durable>>,
    /// One at a time: an older checkpoint must not replace a newer one.
    turn: Mutex<()>,
}

impl Signer {
    pub(super) fn origin(&self) -> &str {
        self.key.origin()
    }

    /// As [`Journal::sign`].
    pub(super) fn sign(&self) -> Result<String, AuditError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (head, note, signed_size) = {
            let durable = lock(&self.durable);
            if let Some(failure) = &durable.failure {
                return Err(failure.clone());
            }
            let head = Checkpoint {
                origin: self.key.origin().to_owned(),
                size: durable.tree.size(),
                root: durable.tree.root(),
            };
            (head, durable.note.clone(), durable.signed_size)
        };
        if let (Some(size), Some(note)) = (signed_size, note)
            && size == head.size
        {
            return Ok(note);
        }
        let note = self.key.sign(&head)?;
        if let Err(failure) = write_note(&*self.files, &self.folder, CHECKPOINT_FILE, &note) {
            tracing::error!(code = failure.code(), "{failure}");
            lock(&self.durable)
                .failure
                .get_or_insert_with(|| failure.clone());
            return Err(failure);
        }
        let mut durable = lock(&self.durable);
        durable.signed_size = Some(head.size);
        durable.note = Some(note.clone());
        Ok(note)
    }
}
