//! What happened: a line of JSON for each operation and each fault, and the sums of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As its user wished.
    Done,
    /// Refused, as it had to be.
    Refused(String),
    /// It failed by this code, and may be tried again.
    Failed(String),
}

/// The codes by which an operation may fail: all of them say that it may be tried again, now or when what the code names is
/// over. Anything else is a defect.
const RETRYABLE: &[&str] = &[
    // The platform is away, or went away in the middle.
    "platform-unreachable",
    "platform-answer",
    "document-broken-off",
    "not-prepared",
    "upload-broken-off",
    "transfer-idle",
    "no-answer-in-time",
    // It is busy, its disk is full, its record has stopped.
    "busy",
    "body-store-full",
    "record-busy",
    "record-catching-up",
    "record-halted",
    "record-closing",
    // Too few organisations' peers, or crypto nodes, are there.
    "approvals-unavailable",
    "too-few-answers",
    "deadline",
    // Of nodes that are asked directly.
    "node-unreachable",
    "node-silent",
    "node-timeout",
    "connection-lost",
    "connection-closed",
];

/// Whether a client may try again after this.
pub(crate) fn is_retryable(code: &str) -> bool {
    RETRYABLE.contains(&code)
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Violation {
    /// When, in milliseconds since the start.
    pub(crate) at_ms: u64,
    /// Which promise.
    pub(crate) promise: &'static str,
    /// What was seen.
    pub(crate) seen: String,
}

/// Sums of one kind of operation.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sums {
    /// All that ended.
    pub(crate) count: u64,
    /// Those that ended as wished, and refusals that had to be.
    pub(crate) as_due: u64,
    /// Failures by code.
    pub(crate) failed: BTreeMap<String, u64>,
    /// The same two while the platform was in no trouble.
    pub(crate) served: (u64, u64),
    /// Milliseconds of those that ended as due, for percentiles.
    #[serde(skip)]
    pub(crate) millis: Vec<u64>,
}

#[derive(Default)]
struct Inner {
    out: Option<BufWriter<File>>,
    sums: BTreeMap<&'static str, Sums>,
    violations: Vec<Violation>,
    /// The faults that last.
    now: Vec<&'static str>,
    /// Whether service may stop at present.
    excused: bool,
}

/// The history of a run.
pub(crate) struct History {
    start: Instant,
    inner: Mutex<Inner>,
}

impl History {
    /// Begins a history that is written to a file.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub(crate) fn begin(file: &Path) -> std::io::Result<Self> {
        let inner = Inner {
            out: Some(BufWriter::new(File::create(file)?)),
            ..Inner::default()
        };
        Ok(Self {
            start: Instant::now(),
            inner: Mutex::new(inner),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the start.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// These faults last from now on; with `excused`, service may stop meanwhile.
    pub(crate) fn faults(&self, faults: &[&'static str], excused: bool) {
        let mut inner = self.lock();
        inner.now = faults.to_vec();
        inner.excused = excused;
    }

    /// Service may stop until the faults are over.
    pub(crate) fn excuse(&self) {
        self.lock().excused = true;
    }

    /// Writes an event down.
    pub(crate) fn note(&self, what: &str, more: Value) {
        let line = json!({ "at_ms": self.now_ms(), "event": what, "more": more });
        self.lock().write(&line);
    }

    /// An operation has ended.
    pub(crate) fn ended(
        &self,
        operation: &'static str,
        subject: &str,
        begun: Instant,
        outcome: &Outcome,
    ) {
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (word, code) = match outcome {
            Outcome::Done => ("done", None),
            Outcome::Refused(code) => ("refused", Some(code)),
            Outcome::Failed(code) => ("failed", Some(code)),
        };
        let mut inner = self.lock();
        let line = json!({
            "at_ms": self.now_ms(), "ms": took, "operation": operation, "subject": subject, "outcome": word,
            "code": code, "during": inner.now,
        });
        inner.write(&line);
        let excused = inner.excused;
        let sums = inner.sums.entry(operation).or_default();
        sums.count += 1;
        sums.served.1 += u64::from(!excused);
        match outcome {
            Outcome::Failed(code) => {
                *sums.failed.entry(code.clone()).or_default() += 1;
                if !is_retryable(code) {
                    drop(inner);
                    let seen = format!("{operation} of {subject} failed by {code}");
                    self.violated("errors are of kinds that may be tried again", seen);
                }
            }
            Outcome::Done | Outcome::Refused(_) => {
                sums.as_due += 1;
                sums.served.0 += u64::from(!excused);
                sums.millis.push(took);
            }
        }
    }

    /// A promise was broken.
    pub(crate) fn violated(&self, promise: &'static str, seen: String) {
        let violation = Violation {
            at_ms: self.now_ms(),
            promise,
            seen,
        };
        anstream::eprintln!("VIOLATED: {promise}: {}", violation.seen);
        let mut inner = self.lock();
        inner.write(&json!({ "at_ms": violation.at_ms, "event": "violated", "more": violation }));
        inner.violations.push(violation);
    }

    /// The promises that were broken.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    /// The sums by kind of operation.
    pub(crate) fn sums(&self) -> BTreeMap<&'static str, Sums> {
        self.lock().sums.clone()
    }

    /// Operations that have ended so far.
    pub(crate) fn count(&self) -> u64 {
        self.lock().sums.values().map(|sums| sums.count).sum()
    }

    /// Writes out what is not yet in the file.
    pub(crate) fn flush(&self) {
        if let Some(out) = &mut self.lock().out {
            let _ = out.flush();
        }
    }

    /// Since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Inner {
    /// The checks do not depend on the file: a full disk costs the history, not the run.
    fn write(&mut self, line: &Value) {
        if let Some(out) = &mut self.out
            && writeln!(out, "{line}").is_err()
        {
            self.out = None;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn an_error_that_nobody_may_retry_is_a_violation() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("history.jsonl");
        let history = History::begin(&file).unwrap();
        let begun = Instant::now();
        history.ended("read", "a/1", begun, &Outcome::Failed("busy".to_owned()));
        assert_eq!(history.violations(), []);
        history.ended(
            "read",
            "a/1",
            begun,
            &Outcome::Failed("internal".to_owned()),
        );
        history.ended("read", "a/1", begun, &Outcome::Done);
        assert_eq!(history.violations().len(), 1);
        let sums = history.sums();
        assert_eq!((sums["read"].count, sums["read"].as_due), (3, 1));
        history.flush();
        assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 4);
    }
}
