//! What becomes of each datagram of one direction: a machine without sockets and clock.
//!
//! In this order: it is *lost* with a fixed probability, each for itself; it waits for *bandwidth* (a token bucket of
//! [`BURST`] bytes; what would have to wait longer than the queue is long is dropped); then the *delay* passes, and the *jitter*,
//! which is exponentially distributed: queues on the way only ever add, mostly a little and seldom much. Datagrams leave in
//! the order in which they came, as on one route, but for those that are *reordered*: such a one is held back by a
//! quarter of the delay, a millisecond at least, and those behind it do not wait for it.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Bytes that may leave at once after a pause: ten datagrams, QUIC's initial window (RFC 9002, 7.2).
pub const BURST: f64 = 15_000.0;
/// The least that a reordered datagram is held back.
const LEAST_HOLD: Duration = Duration::from_millis(1);

/// What lies in one direction between two parties.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// Of each datagram.
    pub delay: Duration,
    /// Mean of the exponential distribution that is added to the delay.
    pub jitter: Duration,
    /// Probability of loss, 0 to 1.
    pub loss: f64,
    /// Probability of being held back, 0 to 1.
    pub reorder: f64,
    /// Bandwidth; none: unlimited.
    pub bytes_per_second: Option<f64>,
    /// Bytes that may wait for bandwidth.
    pub queue_bytes: f64,
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// By chance.
    Lost,
    /// Too much waits for bandwidth.
    Overflow,
    /// It arrives.
    Arrives {
        /// When, on the caller's clock.
        at: Duration,
        /// Whether it was held back for later ones.
        reordered: bool,
    },
}

/// One direction between two parties.
#[derive(Debug)]
pub struct Direction {
    conditions: Conditions,
    random: StdRng,
    /// When the token bucket is full again.
    full_at: Duration,
    /// When the last datagram in order arrives.
    last: Duration,
}

impl Direction {
    /// A direction whose chances follow from the seed.
    #[must_use]
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            random: StdRng::seed_from_u64(seed),
            full_at: Duration::ZERO,
            last: Duration::ZERO,
        }
    }

    /// Other conditions from now on. What is under way arrives as it was to.
    pub fn change(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Takes a datagram of so many bytes at `now`, which never goes back.
    pub fn take(&mut self, now: Duration, bytes: usize) -> Fate {
        let conditions = self.conditions;
        if self.random.random::<f64>() < conditions.loss {
            return Fate::Lost;
        }
        let Some(leaves) = self.leaves(now, bytes) else {
            return Fate::Overflow;
        };
        // The inverse of the exponential distribution; 1 − u is never zero.
        let late = conditions
            .jitter
            .mul_f64(-(1.0 - self.random.random::<f64>()).ln());
        let arrives = leaves + conditions.delay + late;
        let reordered = self.random.random::<f64>() < conditions.reorder;
        if reordered {
            let hold = (conditions.delay / 4).max(LEAST_HOLD);
            return Fate::Arrives {
                at: arrives + hold,
                reordered,
            };
        }
        self.last = self.last.max(arrives);
        Fate::Arrives {
            at: self.last,
            reordered,
        }
    }

    /// When there is bandwidth for it; `None` if the queue is full.
    fn leaves(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let Some(rate) = self.conditions.bytes_per_second else {
            return Some(now);
        };
        let time_of = |bytes: f64| Duration::from_secs_f64(bytes / rate);
        let full_at = self.full_at.max(now) + time_of(bytes as f64);
        let leaves = full_at.saturating_sub(time_of(BURST)).max(now);
        if leaves - now > time_of(self.conditions.queue_bytes) {
            return None;
        }
        self.full_at = full_at;
        Some(leaves)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    const PLAIN: Conditions = Conditions {
        delay: Duration::from_millis(20),
        jitter: Duration::ZERO,
        loss: 0.0,
        reorder: 0.0,
        bytes_per_second: None,
        queue_bytes: 64_000.0,
    };
    const MS: Duration = Duration::from_millis(1);

    /// The fates of `count` datagrams of 1,000 bytes, one each millisecond.
    fn fates(conditions: Conditions, count: u32) -> Vec<Fate> {
        let mut direction = Direction::new(conditions, 7);
        (0..count)
            .map(|number| direction.take(number * MS, 1_000))
            .collect()
    }

    fn delays(fates: &[Fate]) -> Vec<f64> {
        (0_u32..)
            .zip(fates)
            .filter_map(|(number, fate)| match fate {
                Fate::Arrives { at, .. } => Some((*at - number * MS).as_secs_f64() * 1e3),
                Fate::Lost | Fate::Overflow => None,
            })
            .collect()
    }

    #[test]
    fn without_more_it_is_the_delay_exactly() {
        let fates = fates(PLAIN, 1_000);
        assert!(delays(&fates).iter().all(|ms| (ms - 20.0).abs() < 1e-6));
    }

    #[test]
    fn the_same_seed_gives_the_same_fates() {
        let conditions = Conditions {
            loss: 0.1,
            jitter: MS,
            reorder: 0.1,
            ..PLAIN
        };
        assert_eq!(fates(conditions, 1_000), fates(conditions, 1_000));
    }

    #[test]
    fn loss_is_within_five_standard_deviations() {
        for (loss, count) in [(0.01, 100_000_u32), (0.3, 100_000)] {
            let lost = fates(Conditions { loss, ..PLAIN }, count)
                .iter()
                .filter(|fate| **fate == Fate::Lost)
                .count() as f64;
            let n = f64::from(count);
            let deviation = (n * loss * (1.0 - loss)).sqrt();
            assert!((lost - n * loss).abs() < 5.0 * deviation, "{lost} of {n}");
        }
    }

    #[test]
    fn jitter_has_its_mean_adds_only_and_keeps_the_order() {
        // Far enough apart that no datagram waits for the one before.
        let conditions = Conditions {
            jitter: MS,
            ..PLAIN
        };
        let mut direction = Direction::new(conditions, 3);
        let late: Vec<f64> = (0..50_000_u32)
            .map(|number| {
                let now = number * 100 * MS;
                match direction.take(now, 100) {
                    Fate::Arrives { at, .. } => (at - now - PLAIN.delay).as_secs_f64() * 1e3,
                    fate => panic!("{fate:?}"),
                }
            })
            .collect();
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        assert!(
            late.iter().all(|ms| *ms >= 0.0) && (mean - 1.0).abs() < 0.03,
            "{mean}"
        );

        let close = fates(conditions, 10_000);
        let arrivals: Vec<Duration> = close
            .iter()
            .filter_map(|fate| match fate {
                Fate::Arrives { at, .. } => Some(*at),
                Fate::Lost | Fate::Overflow => None,
            })
            .collect();
        assert!(arrivals.is_sorted());
    }

    #[test]
    fn reordered_datagrams_are_overtaken() {
        let conditions = Conditions {
            reorder: 0.05,
            ..PLAIN
        };
        let fates = fates(conditions, 20_000);
        let held = fates
            .iter()
            .filter(|fate| {
                matches!(
                    fate,
                    Fate::Arrives {
                        reordered: true,
                        ..
                    }
                )
            })
            .count();
        assert!((900..1_100).contains(&held), "{held}");
        let of = |fate: &Fate| match fate {
            Fate::Arrives { at, .. } => *at,
            fate => panic!("{fate:?}"),
        };
        let first = fates
            .iter()
            .position(|fate| {
                matches!(
                    fate,
                    Fate::Arrives {
                        reordered: true,
                        ..
                    }
                )
            })
            .unwrap();
        assert!(of(&fates[first]) > of(&fates[first + 1]));
    }

    #[test]
    fn bandwidth_is_what_passes_and_the_queue_is_bounded() {
        // A megabyte a second is offered, half of it passes.
        let conditions = Conditions {
            bytes_per_second: Some(500_000.0),
            queue_bytes: 50_000.0,
            ..PLAIN
        };
        let fates = fates(conditions, 10_000);
        let passed = delays(&fates).len() as f64 * 1_000.0;
        // Ten seconds' worth, and the burst and the queue once.
        assert!((passed - 5_065_000.0).abs() < 5_000.0, "{passed}");
        let longest = delays(&fates).iter().copied().fold(0.0, f64::max);
        assert!((longest - 120.0).abs() < 3.0, "{longest}");
        assert_eq!(
            fates[9],
            Fate::Arrives {
                at: 29 * MS,
                reordered: false
            }
        );
        assert!(fates.contains(&Fate::Overflow));
    }
}
