//! How long the phases of a request take, as histograms: for metrics, and for whoever measures a cluster.
//!
//! A request costs a node ten times a counter without a lock and as often the clock, about half a microsecond in all. Buckets
//! are a 32nd of their power of two wide, so that a value is known to within 3.2 %, in constant memory and from nanoseconds to
//! hours.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A part of the work on a request for a share. They follow one another, but for [`Phase::AuditCommit`], which goes on beside others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// From the opening of the stream to the request's last byte: mostly the client's and the network's.
    Receive,
    /// The message decoded, and held to be in its one encoding.
    Decode,
    /// The wait for a turn at arithmetic.
    Turn,
    /// The approvals verified: certificates, signatures, what they are bound to.
    Approvals,
    /// Eight points decoded, the request's two proofs verified, and `U + X`.
    Proofs,
    /// `D_i` computed.
    Share,
    /// Its proof computed.
    Proof,
    /// What is left, once the share is there, of the wait until its record is durable. The audit log has had the record since the
    /// end of [`Phase::Proofs`].
    Audit,
    /// The whole commit: from the record's being handed to the audit log until it was durable. It begins with [`Phase::Share`]; what of it outlasts
    /// [`Phase::Proof`] is [`Phase::Audit`], beside the time that it takes to hear of it.
    AuditCommit,
    /// From the request's last byte until the share is handed to the connection: all that follow one another, but the first.
    Whole,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::Receive,
        Self::Decode,
        Self::Turn,
        Self::Approvals,
        Self::Proofs,
        Self::Share,
        Self::Proof,
        Self::Audit,
        Self::AuditCommit,
        Self::Whole,
    ];

    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Decode => "decode",
            Self::Turn => "turn",
            Self::Approvals => "approvals",
            Self::Proofs => "proofs",
            Self::Share => "share",
            Self::Proof => "proof",
            Self::Audit => "audit",
            Self::AuditCommit => "audit_commit",
            Self::Whole => "whole",
        }
    }
}

/// Bits of a value below its highest one that choose the bucket.
const DETAIL: u32 = 5;
/// Values from 2^41 ns on, 36 minutes, share the last bucket.
const LAST: usize = ((42 - DETAIL) << DETAIL) as usize;

/// Durations, counted in buckets.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..=LAST).map(|_| AtomicU64::new(0)).collect(),
            sum_ns: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts one.
    pub fn record(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket_of(ns)) {
            bucket.fetch_add(1, Ordering::Relaxed);
            self.sum_ns.fetch_add(ns, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn snapshot(&self) -> Durations {
        let counted = self.buckets.iter().enumerate();
        Durations {
            sum_ns: self.sum_ns.load(Ordering::Relaxed),
            buckets: counted
                .map(|(bucket, count)| (upper_end(bucket), count.load(Ordering::Relaxed)))
                .filter(|(_, count)| *count > 0)
                .collect(),
        }
    }
}

fn bucket_of(ns: u64) -> usize {
    // The value's DETAIL + 1 highest bits, and how far they are shifted.
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(DETAIL + 1);
    let bucket = (u64::from(shift) << DETAIL) + (ns >> shift);
    usize::try_from(bucket).unwrap_or(LAST).min(LAST)
}

/// The largest value of a bucket, in nanoseconds.
fn upper_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket >> DETAIL).saturating_sub(1);
    ((bucket - (shift << DETAIL) + 1) << shift) - 1
}

/// Durations that were counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations {
    /// Their sum in nanoseconds.
    pub sum_ns: u64,
    /// How many there are up to each of these values, in nanoseconds, and above the one before: ascending, without empty ones.
    pub buckets: Vec<(u64, u64)>,
}

/// The durations of one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseDurations {
    /// Which.
    pub phase: Phase,
    /// How long.
    #[serde(flatten)]
    pub durations: Durations,
}

/// One histogram a phase.
#[derive(Debug, Default)]
pub struct Phases([Histogram; Phase::ALL.len()]);

impl Phases {
    /// Counts one.
    pub fn record(&self, phase: Phase, took: Duration) {
        if let Some(histogram) = self.0.get(phase as usize) {
            histogram.record(took);
        }
    }

    /// All of them, in order.
    #[must_use]
    pub fn snapshot(&self) -> Vec<PhaseDurations> {
        let of = |(phase, histogram): (Phase, &Histogram)| PhaseDurations {
            phase,
            durations: histogram.snapshot(),
        };
        Phase::ALL.into_iter().zip(&self.0).map(of).collect()
    }
}

/// Times consecutive phases: each lasts from the end of the one before.
pub(super) struct Stopwatch<'a> {
    phases: &'a Phases,
    last: Instant,
    laps: [Option<(Phase, Instant, Instant)>; Phase::ALL.len()],
}

impl<'a> Stopwatch<'a> {
    pub(super) fn start(phases: &'a Phases) -> Self {
        Self {
            phases,
            last: Instant::now(),
            laps: [None; Phase::ALL.len()],
        }
    }

    /// The next phase begins now, and not where the one before ended.
    pub(super) fn restart(&mut self) {
        self.last = Instant::now();
    }

    /// The phases that ended, with their beginnings and ends.
    pub(super) fn laps(&self) -> impl Iterator<Item = (Phase, Instant, Instant)> {
        self.laps.iter().flatten().copied()
    }

    /// The phase ends now. A phase that ends in a refusal is not counted.
    pub(super) fn lap(&mut self, phase: Phase) {
        let now = Instant::now();
        self.beside(phase, self.last, now);
        self.last = now;
    }

    /// A phase that went on beside the others, and moves none of them.
    pub(super) fn beside(&mut self, phase: Phase, start: Instant, end: Instant) {
        self.phases
            .record(phase, end.saturating_duration_since(start));
        if let Some(lap) = self.laps.get_mut(phase as usize) {
            *lap = Some((phase, start, end));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, missing_docs)]
    use super::*;

    #[test]
    fn a_bucket_holds_what_lies_up_to_its_end_and_above_the_one_before() {
        let mut values: Vec<u64> = (0..5_000).collect();
        values.extend((12..41).flat_map(|e| [(1 << e) - 1, 1 << e, (1 << e) + (1 << (e - 3))]));
        for ns in values {
            let bucket = bucket_of(ns);
            assert!(ns <= upper_end(bucket), "{ns}");
            assert!(bucket == 0 || ns > upper_end(bucket - 1), "{ns}");
            assert!(upper_end(bucket) - ns <= ns / 32, "{ns}");
        }
        assert_eq!(bucket_of(u64::MAX), LAST);
    }

    #[test]
    fn what_was_recorded_is_in_the_snapshot() {
        let phases = Phases::default();
        for us in [1, 1, 1_000] {
            phases.record(Phase::Proof, Duration::from_micros(us));
        }
        let snapshot = phases.snapshot();
        assert_eq!(snapshot.len(), Phase::ALL.len());
        let proof = &snapshot[Phase::Proof as usize];
        assert_eq!(proof.phase, Phase::Proof);
        assert_eq!(proof.durations.sum_ns, 1_002_000);
        let counts: Vec<u64> = proof.durations.buckets.iter().map(|(_, n)| *n).collect();
        assert_eq!(counts, [2, 1]);
        assert!(snapshot[0].durations.buckets.is_empty());
    }
}
