//! What a client remembers of each node: how fast it was of late, whether it refused what others granted, and whether it was caught
//! cheating.
//!
//! The memory decides only the order in which nodes are asked. It is never a reason not to ask a node at all: with t
//! answers needed, the slowest and even the suspect are better than none.

use std::time::{Duration, Instant};

/// Weight of the newest measurement in the moving average.
const NEWEST: f64 = 0.3;
/// A measurement counts half after this time, so that a node that was slow once is tried again some day.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// How long a node that refused what enough others granted is asked after those that did not: it has another policy, lists of
/// revocations that nobody renewed, no share of this epoch yet. Every read would pay a round trip for it.
const REFUSAL: Duration = Duration::from_secs(30);
/// How long a node that sent a false share is asked last.
const DISTRUST: Duration = Duration::from_secs(600);

/// One node's record.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    latency: Option<(f64, Instant)>,
    refused: Option<Instant>,
    cheated: Option<Instant>,
}

impl Standing {
    /// An answer took `took`.
    pub(super) fn answered(&mut self, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        let average = self
            .latency
            .map_or(took, |(before, _)| before + NEWEST * (took - before));
        self.latency = Some((average, now));
        self.refused = None;
    }

    /// It refused a request that enough others granted. What all refuse is the asker's fault, and says nothing of a node.
    pub(super) fn refused(&mut self, now: Instant) {
        self.refused = Some(now);
    }

    /// There was no answer for `waited`, and none is expected any more: it would have taken at least this long.
    pub(super) fn kept_waiting(&mut self, waited: Duration, now: Instant) {
        if self
            .latency
            .is_none_or(|(before, _)| before < waited.as_secs_f64())
        {
            self.latency = Some((waited.as_secs_f64(), now));
        }
    }

    /// It sent a share whose proof is false.
    pub(super) fn cheated(&mut self, now: Instant) {
        self.cheated = Some(now);
    }

    /// The average of late; `None` if the node never answered.
    pub(super) fn latency(&self) -> Option<Duration> {
        self.latency
            .map(|(seconds, _)| Duration::from_secs_f64(seconds))
    }

    /// Nodes are asked in ascending order of this. Nodes that were never asked come first, in random order (`lot`), so
    /// that they get measured and load spreads; those that are down or refused of late, and last those that cheated.
    pub(super) fn rank(&self, down: bool, lot: u32, now: Instant) -> (u8, f64, u32) {
        let within = |when: Option<Instant>, lasts: Duration| {
            when.is_some_and(|when| now.saturating_duration_since(when) < lasts)
        };
        let class = match within(self.cheated, DISTRUST) {
            true => 2,
            false => u8::from(down || within(self.refused, REFUSAL)),
        };
        let score = self.latency.map_or(0.0, |(seconds, when)| {
            let age = now.saturating_duration_since(when).as_secs_f64();
            seconds * (-age / HALF_LIFE.as_secs_f64()).exp2()
        });
        (class, score, lot)
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        missing_docs
    )]
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn order_is_unknown_then_fast_then_slow_then_down_then_cheats() {
        let now = Instant::now();
        let (unknown, mut fast, mut slow, mut cheat) = (
            Standing::default(),
            Standing::default(),
            Standing::default(),
            Standing::default(),
        );
        fast.answered(MS, now);
        slow.answered(20 * MS, now);
        cheat.answered(MS, now);
        cheat.cheated(now);
        let ranks = [
            unknown.rank(false, 9, now),
            fast.rank(false, 0, now),
            slow.rank(false, 0, now),
            fast.rank(true, 0, now),
            cheat.rank(false, 0, now),
        ];
        assert!(ranks.windows(2).all(|pair| pair[0] < pair[1]), "{ranks:?}");
    }

    #[test]
    fn a_slow_node_is_tried_again_some_day() {
        let then = Instant::now();
        let (mut fast, mut slow) = (Standing::default(), Standing::default());
        slow.kept_waiting(40 * MS, then);
        let later = then + 10 * HALF_LIFE;
        fast.answered(MS, later);
        assert!(slow.rank(false, 0, then) > fast.rank(false, 0, then));
        assert!(slow.rank(false, 0, later) < fast.rank(false, 0, later));
    }

    #[test]
    fn a_node_that_refused_comes_after_slow_ones_until_it_answers_or_some_time_has_passed() {
        let now = Instant::now();
        let (mut slow, mut refused) = (Standing::default(), Standing::default());
        slow.answered(40 * MS, now);
        refused.refused(now);
        let comes_last =
            |refused: &Standing, now| refused.rank(false, 0, now) > slow.rank(false, 0, now);
        assert!(comes_last(&refused, now));
        assert!(!comes_last(&refused, now + REFUSAL));
        refused.answered(MS, now);
        assert!(!comes_last(&refused, now));
    }

    #[test]
    fn the_average_follows_and_waiting_never_improves_it() {
        let now = Instant::now();
        let mut node = Standing::default();
        node.answered(10 * MS, now);
        node.kept_waiting(5 * MS, now);
        assert_eq!(node.latency().unwrap(), 10 * MS);
        node.kept_waiting(50 * MS, now);
        assert_eq!(node.latency().unwrap(), 50 * MS);
        for _ in 0..30 {
            node.answered(2 * MS, now);
        }
        assert!(node.latency().unwrap() < 3 * MS);
    }
}
