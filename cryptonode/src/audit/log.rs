//! The running log: one writer thread, group commit, checkpoints.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use certs::checkpoint::Checkpoint;
use tokio::sync::oneshot;

use super::head::CheckpointKey;
use super::journal::{Durable, Journal, lock};
use super::segment::{self, Location, disk};
use super::{AuditError, AuditRecord, OperatorRecord};
use crate::disk::{Disk, SystemDisk};

/// A log that has rested this long gets its checkpoint.
const REST: Duration = Duration::from_millis(200);
/// Under load a checkpoint is signed this often.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// Most records in one batch: a bound on memory and on the time to the first answer.
const MAX_BATCH: usize = 4096;

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
    files: Arc<dyn Disk>,
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
        let journal = Journal::open(Arc::new(SystemDisk), folder, key, known)?;
        let files = Arc::clone(&journal.files);
        let durable = Arc::clone(&journal.durable);
        let (origin, torn) = (journal.key.origin().to_owned(), journal.torn);
        let batches = Arc::new(AtomicU64::new(0));
        let failed = Arc::new(AtomicU64::new(0));
        let (jobs, queue) = mpsc::channel();
        let writer = Writer {
            journal,
            signed_at: Instant::now(),
            batches: Arc::clone(&batches),
            failed: Arc::clone(&failed),
        };
        let handle = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(|error| disk("start the writer of", folder, &error))?;
        Ok(Self {
            jobs,
            files,
            durable,
            batches,
            failed,
            origin,
            torn,
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
            .map(|(path, location)| segment::read_at(&*self.files, path, *location))
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

struct Writer {
    journal: Journal,
    signed_at: Instant,
    batches: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

type Waiting = (Vec<u8>, oneshot::Sender<Result<u64, AuditError>>);

impl Writer {
    fn run(mut self, queue: &Receiver<Job>) {
        let mut open = true;
        while open {
            let first = if self.journal.unsigned() {
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
            } else if !open
                || (self.journal.unsigned() && self.signed_at.elapsed() >= CHECKPOINT_EVERY)
            {
                self.sign_quietly();
            }
        }
        if let Err(failure) = self.journal.finish() {
            // The next start cuts the zeros off; no record is in them.
            tracing::warn!(code = failure.code(), "{failure}");
        }
    }

    fn commit(&mut self, appends: Vec<Waiting>) {
        if appends.is_empty() {
            return;
        }
        let records = appends.iter().map(|(record, _)| record.as_slice());
        match self.journal.append(records) {
            Ok(first) => {
                self.batches.fetch_add(1, Ordering::Relaxed);
                for (index, (_, answer)) in (first..).zip(appends) {
                    let _ = answer.send(Ok(index));
                }
            }
            Err(failure) => {
                tracing::error!(code = failure.code(), "{failure}");
                self.failed
                    .fetch_add(appends.len() as u64, Ordering::Relaxed);
                for (_, answer) in appends {
                    let _ = answer.send(Err(failure.clone()));
                }
            }
        }
    }

    fn sign_quietly(&mut self) {
        // The failure is kept and logged by `sign`; nobody waits for this checkpoint.
        let _ = self.sign();
    }

    fn sign(&mut self) -> Result<String, AuditError> {
        let before = self.journal.signed_size;
        let note = self.journal.sign()?;
        if self.journal.signed_size != before {
            self.signed_at = Instant::now();
        }
        Ok(note)
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
