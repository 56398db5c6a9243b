//! The running log: one writer thread, group commit, checkpoints.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use certs::checkpoint::Checkpoint;
use certs::merkle::{self, Tree};
use tokio::sync::oneshot;

use super::head::{CHECKPOINT_FILE, CheckpointKey, MAX_NOTE, hold_against, read_note, write_note};
use super::segment::{self, Location, Tail, disk};
use super::{AuditError, AuditRecord, OperatorRecord};

/// A log that has rested this long gets its checkpoint.
const REST: Duration = Duration::from_millis(200);
/// Under load a checkpoint is signed this often.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// Most records in one batch: a bound on memory and on the time to the first answer.
const MAX_BATCH: usize = 4096;

/// What the writer has made durable, for readers.
struct Durable {
    tree: Tree,
    locations: Vec<Location>,
    segments: Vec<PathBuf>,
    note: Option<String>,
    failure: Option<AuditError>,
}

enum Job {
    Append {
        record: Vec<u8>,
        answer: oneshot::Sender<Result<u64, AuditError>>,
    },
    Checkpoint {
        answer: oneshot::Sender<Result<String, AuditError>>,
    },
    Close,
}

/// The audit log of a running node. [`AuditLog::append`] is the only way into it.
pub struct AuditLog {
    jobs: Sender<Job>,
    durable: Arc<Mutex<Durable>>,
    batches: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    origin: String,
    torn: u64,
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
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| disk("create", folder, &error))?;
        let mut tree = Tree::new();
        let mut locations = Vec::new();
        let scanned = segment::scan(folder, |_, location, record| {
            tree.push(merkle::leaf_hash(record));
            locations.push(location);
            Ok(())
        })?;
        let note = segment::read_small(&folder.join(CHECKPOINT_FILE), MAX_NOTE)?;
        let signed = match &note {
            Some(note) => Some(read_note(folder, note, &key.public)?),
            None => None,
        };
        for head in signed.iter().chain(known) {
            hold_against(folder, &tree, head)?;
        }
        let file = segment::open_tail(folder, &scanned)?;
        let mut segments = scanned.segments;
        let file = match file {
            Some(file) => file,
            None => {
                let (path, file) = segment::create(folder, 0)?;
                segments.push(path);
                file
            }
        };
        let signed_size = signed.map(|head| head.size);
        let length = scanned.last_length.max(segment::HEADER as u64);
        let origin = key.origin().to_owned();
        let durable = Arc::new(Mutex::new(Durable {
            tree,
            locations,
            segments,
            note,
            failure: None,
        }));
        let batches = Arc::new(AtomicU64::new(0));
        let failed = Arc::new(AtomicU64::new(0));
        let (jobs, queue) = mpsc::channel();
        let writer = Writer {
            folder: folder.to_owned(),
            key,
            tail: Box::new(file),
            length,
            signed_size,
            signed_at: Instant::now(),
            durable: Arc::clone(&durable),
            batches: Arc::clone(&batches),
            failed: Arc::clone(&failed),
        };
        let handle = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(|error| disk("start the writer of", folder, &error))?;
        Ok(Self {
            jobs,
            durable,
            batches,
            failed,
            origin,
            torn: scanned.torn,
            writer: Mutex::new(Some(handle)),
        })
    }

    /// Appends a record. Resolves with its index only when it is durable; all appends that wait share one `fdatasync`.
    ///
    /// # Errors
    /// [`AuditError`] if it could not be made durable: whoever waits must then give no share.
    pub async fn append(&self, record: AuditRecord) -> Result<u64, AuditError> {
        self.append_bytes(record.to_bytes()?).await
    }

    /// Appends a word of the operator, likewise.
    ///
    /// # Errors
    /// [`AuditError`] if it could not be made durable.
    pub async fn append_operator(&self, record: OperatorRecord) -> Result<u64, AuditError> {
        self.append_bytes(record.to_bytes()?).await
    }

    async fn append_bytes(&self, record: Vec<u8>) -> Result<u64, AuditError> {
        let (answer, answered) = oneshot::channel();
        self.jobs
            .send(Job::Append { record, answer })
            .map_err(|_| AuditError::Closed)?;
        answered.await.map_err(|_| AuditError::Closed)?
    }

    /// The signed checkpoint over all acknowledged records: a C2SP signed note. It is durable before it is returned.
    ///
    /// # Errors
    /// [`AuditError`] if it could not be written.
    pub async fn checkpoint(&self) -> Result<String, AuditError> {
        let (answer, answered) = oneshot::channel();
        self.jobs
            .send(Job::Checkpoint { answer })
            .map_err(|_| AuditError::Closed)?;
        answered.await.map_err(|_| AuditError::Closed)?
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
            .map(|(path, location)| segment::read_at(path, *location))
            .collect()
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

fn lock(durable: &Mutex<Durable>) -> MutexGuard<'_, Durable> {
    durable.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Writer {
    folder: PathBuf,
    key: CheckpointKey,
    tail: Box<dyn Tail>,
    /// Bytes in the last segment.
    length: u64,
    signed_size: Option<u64>,
    signed_at: Instant,
    durable: Arc<Mutex<Durable>>,
    batches: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

type Waiting = (Vec<u8>, oneshot::Sender<Result<u64, AuditError>>);

impl Writer {
    fn run(mut self, queue: &Receiver<Job>) {
        let mut open = true;
        while open {
            let first = if self.unsigned() {
                match queue.recv_timeout(REST) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => {
                        self.sign_quietly();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => Job::Close,
                }
            } else {
                queue.recv().unwrap_or(Job::Close)
            };
            let mut appends = Vec::new();
            let mut askers = Vec::new();
            let mut job = Some(first);
            while let Some(current) = job {
                match current {
                    Job::Append { record, answer } => appends.push((record, answer)),
                    Job::Checkpoint { answer } => askers.push(answer),
                    Job::Close => open = false,
                }
                job = if appends.len() < MAX_BATCH {
                    queue.try_recv().ok()
                } else {
                    None
                };
            }
            self.commit(appends);
            if !askers.is_empty() {
                let note = self.sign();
                for asker in askers {
                    let _ = asker.send(note.clone());
                }
            } else if !open || (self.unsigned() && self.signed_at.elapsed() >= CHECKPOINT_EVERY) {
                self.sign_quietly();
            }
        }
        if lock(&self.durable).failure.is_none()
            && let Err(failure) = self.finish_segment()
        {
            // The next start cuts the zeros off; no record is in them.
            tracing::warn!(code = failure.code(), "{failure}");
        }
    }

    fn finish_segment(&mut self) -> Result<(), AuditError> {
        self.tail
            .finish()
            .map_err(|error| disk("truncate", &self.folder.join("*.log"), &error))
    }

    fn commit(&mut self, appends: Vec<Waiting>) {
        if appends.is_empty() {
            return;
        }
        match self.write(&appends) {
            Ok(first) => {
                for (index, (_, answer)) in (first..).zip(appends) {
                    let _ = answer.send(Ok(index));
                }
            }
            Err(failure) => {
                tracing::error!(code = failure.code(), "{failure}");
                self.failed
                    .fetch_add(appends.len() as u64, Ordering::Relaxed);
                lock(&self.durable)
                    .failure
                    .get_or_insert_with(|| failure.clone());
                for (_, answer) in appends {
                    let _ = answer.send(Err(failure.clone()));
                }
            }
        }
    }

    /// Makes one batch durable and gives the index of its first record.
    fn write(&mut self, appends: &[Waiting]) -> Result<u64, AuditError> {
        let (first, failure) = {
            let durable = lock(&self.durable);
            (durable.tree.size(), durable.failure.clone())
        };
        // After a failed fdatasync the kernel may have dropped the pages: a later success would prove nothing.
        if let Some(failure) = failure {
            return Err(failure);
        }
        if self.length >= segment::SEGMENT_BYTES {
            self.finish_segment()?;
            let (path, file) = segment::create(&self.folder, first)?;
            self.tail = Box::new(file);
            self.length = segment::HEADER as u64;
            lock(&self.durable).segments.push(path);
        }
        let mut frames = Vec::with_capacity(
            appends
                .iter()
                .map(|(record, _)| record.len() + segment::FRAME_HEAD)
                .sum(),
        );
        for (index, (record, _)) in (first..).zip(appends) {
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
        for (record, _) in appends {
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
        drop(durable);
        self.batches.fetch_add(1, Ordering::Relaxed);
        Ok(first)
    }

    fn unsigned(&self) -> bool {
        let durable = lock(&self.durable);
        durable.failure.is_none() && self.signed_size != Some(durable.tree.size())
    }

    fn sign_quietly(&mut self) {
        // The failure is kept and logged by `sign`; nobody waits for this checkpoint.
        let _ = self.sign();
    }

    /// Signs the head and makes the note durable; the same note again if nothing was added since.
    fn sign(&mut self) -> Result<String, AuditError> {
        let (head, note) = {
            let durable = lock(&self.durable);
            if let Some(failure) = &durable.failure {
                return Err(failure.clone());
            }
            let head = Checkpoint {
                origin: self.key.origin().to_owned(),
                size: durable.tree.size(),
                root: durable.tree.root(),
            };
            (head, durable.note.clone())
        };
        if let (Some(size), Some(note)) = (self.signed_size, note)
            && size == head.size
        {
            return Ok(note);
        }
        let note = self.key.sign(&head)?;
        if let Err(failure) = write_note(&self.folder, &note) {
            tracing::error!(code = failure.code(), "{failure}");
            lock(&self.durable)
                .failure
                .get_or_insert_with(|| failure.clone());
            return Err(failure);
        }
        self.signed_size = Some(head.size);
        self.signed_at = Instant::now();
        lock(&self.durable).note = Some(note.clone());
        Ok(note)
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
