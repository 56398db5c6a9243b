//! The log's one writer thread: group commit, checkpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::AuditError;
use super::journal::Journal;

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
    pub(super) journal: Journal,
    pub(super) signed_at: Instant,
    pub(super) batches: Arc<AtomicU64>,
    pub(super) failed: Arc<AtomicU64>,
}

type Waiting = (Vec<u8>, oneshot::Sender<Result<u64, AuditError>>);

impl Writer {
    pub(super) fn run(mut self, queue: &Receiver<Job>) {
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

    pub(super) fn commit(&mut self, appends: Vec<Waiting>) {
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

    pub(super) fn sign(&mut self) -> Result<String, AuditError> {
        let before = self.journal.signed_size;
        let note = self.journal.sign()?;
        if self.journal.signed_size != before {
            self.signed_at = Instant::now();
        }
        Ok(note)
    }
}
