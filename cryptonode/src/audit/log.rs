//! The running log, as everybody but its writer sees it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use certs::checkpoint::Checkpoint;
use certs::merkle::{Hash, RangeError};
use tokio::sync::oneshot;

use super::head::{COSIGNED_FILE, CheckpointKey, hold_against, write_note};
use super::journal::{Durable, Journal, lock};
use super::segment::{self, Location, disk};
use super::writer::{Job, Writer};
use super::{AuditError, AuditRecord, OperatorRecord, Said};
use crate::disk::{Disk, SystemDisk};

/// Most jobs that wait for the writer. What comes above is shed at once: a disk that hangs must not gather memory.
const MAX_QUEUE: usize = 4096;

/// A record that is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its number in the log.
    pub index: u64,
    /// When it was durable: whoever has something else to do meanwhile hears of it later.
    pub durable: Instant,
}

impl Committed {
    /// The record with this number is durable now.
    #[must_use]
    pub fn now(index: u64) -> Self {
        Self {
            index,
            durable: Instant::now(),
        }
    }
}

/// The audit log of a running node. [`AuditLog::append`] is the only way into it.
pub struct AuditLog {
    jobs: SyncSender<Job>,
    files: Arc<dyn Disk>,
    durable: Arc<Mutex<Durable>>,
    batches: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    folder: PathBuf,
    origin: String,
    torn: u64,
    said: Said,
    /// How many records there were with the last word that was appended since the start.
    worded: AtomicU64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditLog")
            .field("origin", &self.origin)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

impl AuditLog {
    /// Opens the log in `folder` (made if it is missing), verifies every record against the last signed checkpoint and
    /// against `known`, a head that the caller remembers from elsewhere, and cuts off what a crash tore.
    ///
    /// # Errors
    /// [`AuditError::Corrupt`], [`AuditError::RolledBack`] or [`AuditError::BadCheckpoint`] when the log is not what
    /// this node signed: nothing on the disk is changed then. [`AuditError::Disk`] if it cannot be read or written.
    pub fn open(
        folder: &Path,
        key: CheckpointKey,
        known: Option<&Checkpoint>,
    ) -> Result<Self, AuditError> {
        Self::open_on(Arc::new(SystemDisk), folder, key, known)
    }

    fn open_on(
        files: Arc<dyn Disk>,
        folder: &Path,
        key: CheckpointKey,
        known: Option<&Checkpoint>,
    ) -> Result<Self, AuditError> {
        let journal = Journal::open(files, folder, key, known)?;
        let files = Arc::clone(&journal.files);
        let durable = Arc::clone(&journal.durable);
        let (origin, torn) = (journal.signer.origin().to_owned(), journal.torn);
        let said = journal.said().clone();
        let batches = Arc::new(AtomicU64::new(0));
        let failed = Arc::new(AtomicU64::new(0));
        let (jobs, queue) = mpsc::sync_channel(MAX_QUEUE);
        let handle = Writer::new(journal, Arc::clone(&batches), Arc::clone(&failed))
            .and_then(|writer| {
                std::thread::Builder::new()
                    .name("audit".to_owned())
                    .spawn(move || writer.run(&queue))
            })
            .map_err(|error| disk("start the writer of", folder, &error))?;
        Ok(Self {
            jobs,
            files,
            durable,
            batches,
            failed,
            folder: folder.to_owned(),
            origin,
            torn,
            said,
            worded: AtomicU64::new(0),
            writer: Mutex::new(Some(handle)),
        })
    }

    /// Appends a record: the writer has it when this returns. Resolves only when it is durable; all appends that wait share one
    /// `fdatasync`.
    ///
    /// # Errors
    /// [`AuditError`] if it could not be made durable: whoever waits must then give no share.
    pub fn append(
        &self,
        record: AuditRecord,
    ) -> impl Future<Output = Result<Committed, AuditError>> + Send + use<> {
        let answered = record
            .to_bytes()
            .map_err(AuditError::from)
            .and_then(|record| self.enqueue_append(record));
        async move { answered?.await.map_err(|_| AuditError::Closed)? }
    }

    /// Appends a word of the operator, likewise.
    ///
    /// # Errors
    /// [`AuditError`] if it could not be made durable.
    pub async fn append_operator(&self, record: OperatorRecord) -> Result<u64, AuditError> {
        let answered = self.enqueue_append(record.to_bytes()?)?;
        self.has_word(answered.await)
    }

    /// Appends a word, and blocks until it is durable: not for an async thread.
    ///
    /// # Errors
    /// [`AuditError`] if it could not be made durable.
    pub fn append_word(&self, record: &OperatorRecord) -> Result<u64, AuditError> {
        let answered = self.enqueue_append(record.to_bytes()?)?;
        self.has_word(answered.blocking_recv())
    }

    fn has_word(
        &self,
        answered: Result<Result<Committed, AuditError>, oneshot::error::RecvError>,
    ) -> Result<u64, AuditError> {
        let index = answered.map_err(|_| AuditError::Closed)??.index;
        self.worded
            .fetch_max(index.saturating_add(1), Ordering::SeqCst);
        Ok(index)
    }

    /// How many records a head must have to cover every word that was appended since the start.
    #[must_use]
    pub fn worded(&self) -> u64 {
        self.worded.load(Ordering::SeqCst)
    }

    fn enqueue_append(
        &self,
        record: Vec<u8>,
    ) -> Result<oneshot::Receiver<Result<Committed, AuditError>>, AuditError> {
        let (answer, answered) = oneshot::channel();
        self.enqueue(Job::Append { record, answer })?;
        Ok(answered)
    }

    /// The signed checkpoint over all acknowledged records: a C2SP signed note. It is durable before it is returned.
    ///
    /// # Errors
    /// [`AuditError`] if it could not be written.
    pub async fn checkpoint(&self) -> Result<String, AuditError> {
        let (answer, answered) = oneshot::channel();
        self.enqueue(Job::Checkpoint { answer })?;
        answered.await.map_err(|_| AuditError::Closed)?
    }

    fn enqueue(&self, job: Job) -> Result<(), AuditError> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => AuditError::Busy,
            TrySendError::Disconnected(_) => AuditError::Closed,
        })
    }

    /// The canonical bytes of at most `limit` acknowledged records from number `from` on, and at most
    /// `max_bytes` of them in all, though always one if there is one. Reads files: not for an async thread.
    ///
    /// # Errors
    /// [`AuditError::Disk`] if a segment cannot be read.
    pub fn read(
        &self,
        from: u64,
        limit: u32,
        max_bytes: usize,
    ) -> Result<Vec<Vec<u8>>, AuditError> {
        let wanted: Vec<(PathBuf, Location)> = {
            let durable = lock(&self.durable);
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            let mut bytes = 0usize;
            durable
                .locations
                .iter()
                .skip(from)
                .take(limit as usize)
                .enumerate()
                .take_while(|(position, location)| {
                    bytes = bytes.saturating_add(location.length as usize);
                    *position == 0 || bytes <= max_bytes
                })
                .filter_map(|(_, location)| {
                    durable
                        .segments
                        .get(location.segment as usize)
                        .map(|path| (path.clone(), *location))
                })
                .collect()
        };
        wanted
            .iter()
            .map(|(path, location)| segment::read_at(&*self.files, path, *location))
            .collect()
    }

    /// What the records said of the node's own state when the log was opened.
    #[must_use]
    pub fn said(&self) -> &Said {
        &self.said
    }

    /// Number of acknowledged records.
    #[must_use]
    pub fn size(&self) -> u64 {
        lock(&self.durable).tree.size()
    }

    /// The head over all acknowledged records, not signed.
    #[must_use]
    pub fn head(&self) -> Checkpoint {
        let durable = lock(&self.durable);
        Checkpoint {
            origin: self.origin.clone(),
            size: durable.tree.size(),
            root: durable.tree.root(),
        }
    }

    /// The origin line of this log's checkpoints.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The last signed checkpoint, which may be behind the log by a moment.
    #[must_use]
    pub fn last_checkpoint(&self) -> Option<String> {
        lock(&self.durable).note.clone()
    }

    /// The newest checkpoint that was published with witnesses' cosignatures.
    #[must_use]
    pub fn cosigned(&self) -> Option<String> {
        lock(&self.durable).cosigned.clone()
    }

    /// Keeps a checkpoint of this log with cosignatures, durably, and then shows it. Blocks on the disk.
    ///
    /// # Errors
    /// [`AuditError::Disk`]: then the one before is shown. The log itself goes on.
    pub fn keep_cosigned(&self, note: &str) -> Result<(), AuditError> {
        write_note(&*self.files, &self.folder, COSIGNED_FILE, note)?;
        lock(&self.durable).cosigned = Some(note.to_owned());
        Ok(())
    }

    /// The root over the first `size` acknowledged records; `None` if there are fewer.
    #[must_use]
    pub fn root_at(&self, size: u64) -> Option<Hash> {
        lock(&self.durable).tree.root_at(size).ok()
    }

    /// The proof that the first `new` records begin with the first `old`.
    ///
    /// # Errors
    /// [`RangeError`] for sizes that the log does not have.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, RangeError> {
        lock(&self.durable).tree.consistency_proof(old, new)
    }

    /// Takes notice of a head that this node has signed and that this log does not continue: from now on nothing is written. A
    /// head that it does continue changes nothing.
    ///
    /// # Errors
    /// [`AuditError::RolledBack`]
    pub fn hold_against(&self, signed: &Checkpoint) -> Result<(), AuditError> {
        let mut durable = lock(&self.durable);
        hold_against(&self.folder, &durable.tree, signed).inspect_err(|failure| {
            durable.failure.get_or_insert_with(|| failure.clone());
        })
    }

    /// Bytes that a crash had torn and that were cut off when the log was opened.
    #[must_use]
    pub fn torn_bytes(&self) -> u64 {
        self.torn
    }

    /// How many batches were written since the log was opened.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// How many records could not be written since the log was opened.
    #[must_use]
    pub fn failed_writes(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Why the log cannot be written, if it cannot: then no share is given.
    ///
    /// # Errors
    /// The failure that closed the log.
    pub fn health(&self) -> Result<(), AuditError> {
        lock(&self.durable).failure.clone().map_or(Ok(()), Err)
    }

    /// Answers what waits, signs a last checkpoint, and ends the writer. Appends after this fail.
    pub fn close(&self) {
        let _ = self.jobs.send(Job::Close);
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
