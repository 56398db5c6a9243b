//! The log's one writer thread: group commit, checkpoints.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use certs::checkpoint::Checkpoint;
use certs::merkle;
use tokio::sync::oneshot;

use super::AuditError;
use super::head::{CHECKPOINT_FILE, CheckpointKey, write_note};
use super::log::{Durable, lock};
use super::segment::{self, Location, Tail, disk};

/// A log that has rested this long gets its checkpoint.
const REST: Duration = Duration::from_millis(200);
/// Under load a checkpoint is signed this often.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// Most records in one batch: a bound on memory and on the time to the first answer.
const MAX_BATCH: usize = 4096;

pub(super) enum Job {
    Append {
        record: Vec<u8>,
        answer: oneshot::Sender<Result<u64, AuditError>>,
    },
    Checkpoint {
        answer: oneshot::Sender<Result<String, AuditError>>,
    },
    Close,
}

pub(super) struct Writer {
    pub(super) folder: PathBuf,
    pub(super) key: CheckpointKey,
    pub(super) tail: Box<dyn Tail>,
    /// Bytes in the last segment.
    pub(super) length: u64,
    pub(super) signed_size: Option<u64>,
    pub(super) signed_at: Instant,
    pub(super) durable: Arc<Mutex<Durable>>,
    pub(super) batches: Arc<AtomicU64>,
    pub(super) failed: Arc<AtomicU64>,
}

type Waiting = (Vec<u8>, oneshot::Sender<Result<u64, AuditError>>);

impl Writer {
    pub(super) fn run(mut self, queue: &Receiver<Job>) {
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

    pub(super) fn commit(&mut self, appends: Vec<Waiting>) {
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
    pub(super) fn sign(&mut self) -> Result<String, AuditError> {
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
        if let Err(failure) = write_note(&self.folder, CHECKPOINT_FILE, &note) {
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
