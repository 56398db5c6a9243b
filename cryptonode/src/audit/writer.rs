//! The log's two threads: one appends, in groups, and one signs checkpoints of what is appended.
//!
//! A checkpoint is a file of its own, with three waits for the disk. The appends do not stand behind them: the second thread signs the
//! head of what is durable, whatever is appended meanwhile.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::AuditError;
use super::journal::{Journal, Signer};
use super::log::Committed;

/// A log that has rested this long gets its checkpoint.
const REST: Duration = Duration::from_millis(200);
/// Under load a checkpoint is signed this often.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// Most records in one batch: a bound on memory and on the time to the first answer.
const MAX_BATCH: usize = 4096;
/// Most of those who wait for a checkpoint. Who comes after them is told to come again.
const MAX_ASKERS: usize = 4096;

pub(super) enum Job {
    Append {
        record: Vec<u8>,
        answer: oneshot::Sender<Result<Committed, AuditError>>,
    },
    Checkpoint {
        answer: oneshot::Sender<Result<String, AuditError>>,
    },
    Close,
}

pub(super) struct Writer {
    journal: Journal,
    signing: Signing,
    batches: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

type Waiting = (Vec<u8>, oneshot::Sender<Result<Committed, AuditError>>);

impl Writer {
    /// # Errors
    /// The system's, if it gives no thread.
    pub(super) fn new(
        journal: Journal,
        batches: Arc<AtomicU64>,
        failed: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        Ok(Self {
            signing: Signing::start(Arc::clone(&journal.signer))?,
            journal,
            batches,
            failed,
        })
    }

    pub(super) fn run(mut self, queue: &Receiver<Job>) {
        let mut open = true;
        while open {
            let first = if self.unsigned().is_some() {
                match queue.recv_timeout(REST) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => {
                        self.ask(None);
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
            for asker in askers {
                self.ask(Some(asker));
            }
            let due = !open || self.signing.asked_at.elapsed() >= CHECKPOINT_EVERY;
            if due && self.unsigned().is_some() {
                self.ask(None);
            }
            if open {
                self.journal.lay_out();
            }
        }
        self.signing.finish();
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
                let durable = Instant::now();
                self.batches.fetch_add(1, Ordering::Relaxed);
                for (index, (_, answer)) in (first..).zip(appends) {
                    let _ = answer.send(Ok(Committed { index, durable }));
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

    /// The number of records, if there are some that no checkpoint covers and none was asked for that will.
    fn unsigned(&self) -> Option<u64> {
        let size = self.journal.unsigned();
        size.filter(|size| self.signing.asked_size != Some(*size))
    }

    fn ask(&mut self, asker: Asker) {
        self.signing.ask(self.journal.size(), asker);
    }

    #[cfg(test)]
    pub(super) fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }
}

/// Who waits for a checkpoint, if anybody does.
type Asker = Option<oneshot::Sender<Result<String, AuditError>>>;

/// The thread that signs.
struct Signing {
    asks: SyncSender<Asker>,
    thread: JoinHandle<()>,
    /// The number of records when a checkpoint was last asked for: it will cover them.
    asked_size: Option<u64>,
    asked_at: Instant,
}

impl Signing {
    fn start(signer: Arc<Signer>) -> io::Result<Self> {
        let (asks, asked) = mpsc::sync_channel(MAX_ASKERS);
        let thread = std::thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || sign_as_asked(&signer, &asked))?;
        Ok(Self {
            asks,
            thread,
            asked_size: None,
            asked_at: Instant::now(),
        })
    }

    fn ask(&mut self, size: u64, asker: Asker) {
        let refused = match self.asks.try_send(asker) {
            Ok(()) => None,
            // Those before it have the checkpoint signed.
            Err(TrySendError::Full(asker)) => asker.map(|asker| (asker, AuditError::Busy)),
            Err(TrySendError::Disconnected(asker)) => {
                asker.map(|asker| (asker, AuditError::Closed))
            }
        };
        if let Some((asker, why)) = refused {
            let _ = asker.send(Err(why));
        }
        self.asked_size = Some(size);
        self.asked_at = Instant::now();
    }

    /// Waits until everybody who has asked is answered.
    fn finish(self) {
        drop(self.asks);
        let _ = self.thread.join();
    }
}

fn sign_as_asked(signer: &Signer, asked: &Receiver<Asker>) {
    while let Ok(first) = asked.recv() {
        // One signature serves all who have asked by now: what is durable now was so, or is more than was, when they did.
        let askers: Vec<_> = std::iter::once(first)
            .chain(asked.try_iter())
            .flatten()
            .collect();
        // A failure is kept and logged where it happens.
        let note = signer.sign();
        for asker in askers {
            let _ = asker.send(note.clone());
        }
    }
}
