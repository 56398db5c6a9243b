//! What the server did since it started, in numbers: for the operator's status and for metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::measures::Measures;
use super::phases::Phases;

/// Numbers that only grow, and three that follow what is open now. Written by the server, read by anyone.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) connections_open: AtomicU64,
    pub(super) handshakes_open: AtomicU64,
    pub(super) requests_open: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) connections_refused: AtomicU64,
    pub(super) handshakes_failed: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) shares: AtomicU64,
    pub(super) other_answers: AtomicU64,
    /// Streams that the client took back or lost before an answer.
    pub(super) abandoned: AtomicU64,
    /// By code. Codes are constants of the program, so that the map is bounded.
    refused: Mutex<BTreeMap<&'static str, u64>>,
    pub(crate) measures: Measures,
    /// How long the phases of the requests for shares took that were not refused.
    pub phases: Phases,
}

/// [`Counters`] at one moment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Snapshot {
    /// Connections open now.
    pub connections_open: u64,
    /// Handshakes going on now.
    pub handshakes_open: u64,
    /// Requests going on now.
    pub requests_open: u64,
    /// Connections whose handshake completed.
    pub connections: u64,
    /// Connections refused by a limit.
    pub connections_refused: u64,
    /// Handshakes that failed or took too long.
    pub handshakes_failed: u64,
    /// Newcomers that were asked to prove their address.
    pub retries: u64,
    /// Shares given.
    pub shares: u64,
    /// Answers of other kinds given, without refusals.
    pub other_answers: u64,
    /// Requests that the client took back, or whose connection was lost.
    pub abandoned: u64,
    /// Refusals by code.
    pub refused: BTreeMap<&'static str, u64>,
}

impl Counters {
    /// All numbers as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            connections_open: read(&self.connections_open),
            handshakes_open: read(&self.handshakes_open),
            requests_open: read(&self.requests_open),
            connections: read(&self.connections),
            connections_refused: read(&self.connections_refused),
            handshakes_failed: read(&self.handshakes_failed),
            retries: read(&self.retries),
            shares: read(&self.shares),
            other_answers: read(&self.other_answers),
            abandoned: read(&self.abandoned),
            refused: self
                .refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    pub(super) fn refuse(&self, code: &'static str) {
        *self
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(code)
            .or_default() += 1;
    }
}

/// One more now.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One more until it is dropped.
pub(super) struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    pub(super) fn new(counter: &'a AtomicU64) -> Self {
        count(counter);
        Self(counter)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
