//! What processes used of the processors: Linux' own account of each thread, in nanoseconds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What the threads of a process have used since they started, by their numbers. A thread that has ended is not in it any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage(BTreeMap<u32, Used>);

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// On a processor, in nanoseconds.
    running_ns: u64,
    /// Ready to run, and waiting for a processor, in nanoseconds.
    waiting_ns: u64,
    /// How often it was put on a processor.
    slices: u64,
}

impl Usage {
    /// Of the process with this number. Nothing if it is gone.
    pub(super) fn of_process(pid: u32) -> Self {
        let threads = Path::new("/proc").join(pid.to_string()).join("task");
        let Ok(entries) = fs::read_dir(threads) else {
            return Self::default();
        };
        let threads = entries.filter_map(|entry| {
            let path = entry.ok()?.path();
            let number = path.file_name()?.to_str()?.parse().ok()?;
            let text = fs::read_to_string(path.join("schedstat")).ok()?;
            Some((number, Used::parse(&text)?))
        });
        Self(threads.collect())
    }

    /// What was used since `before`, thread by thread: one that has ended meanwhile takes nothing away from what the others used. Only what it
    /// used itself since then is missing.
    pub(super) fn since(&self, before: &Self) -> Used {
        self.0
            .iter()
            .map(|(thread, now)| {
                let before = before.0.get(thread).copied().unwrap_or_default();
                now.since(before)
            })
            .fold(Used::default(), Used::and)
    }
}

impl Used {
    fn parse(schedstat: &str) -> Option<Self> {
        let mut numbers = schedstat.split_whitespace().map(str::parse);
        Some(Self {
            running_ns: numbers.next()?.ok()?,
            waiting_ns: numbers.next()?.ok()?,
            slices: numbers.next()?.ok()?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            running_ns: self.running_ns.saturating_sub(before.running_ns),
            waiting_ns: self.waiting_ns.saturating_sub(before.waiting_ns),
            slices: self.slices.saturating_sub(before.slices),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            running_ns: self.running_ns + other.running_ns,
            waiting_ns: self.waiting_ns + other.waiting_ns,
            slices: self.slices + other.slices,
        }
    }

    /// Milliseconds on a processor.
    pub(super) fn running_ms(self) -> f64 {
        self.running_ns as f64 / 1e6
    }

    /// Milliseconds of waiting for a processor.
    pub(super) fn waiting_ms(self) -> f64 {
        self.waiting_ns as f64 / 1e6
    }

    /// How often it was put on a processor.
    pub(super) fn slices(self) -> f64 {
        self.slices as f64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, missing_docs)]
    use super::*;

    fn usage(threads: &[(u32, &str)]) -> Usage {
        let used = threads
            .iter()
            .map(|(thread, text)| (*thread, Used::parse(text).unwrap()));
        Usage(used.collect())
    }

    #[test]
    fn a_thread_that_ended_takes_nothing_away_from_the_others() {
        let before = usage(&[(1, "100 10 3"), (2, "9000 900 70")]);
        // Thread 2 has ended, thread 3 is new.
        let after = usage(&[(1, "150 12 5"), (3, "20 1 1")]);
        assert_eq!(after.since(&before), Used::parse("70 3 3").unwrap());
        assert_eq!(Used::parse("1 2"), None);
    }

    #[test]
    fn this_very_process_is_seen_to_work() {
        let before = Usage::of_process(std::process::id());
        let mut sum = 0_u64;
        while Usage::of_process(std::process::id())
            .since(&before)
            .running_ms()
            < 1.0
        {
            sum = (0..10_000).fold(sum, |sum, more| sum.wrapping_mul(31).wrapping_add(more));
        }
        std::hint::black_box(sum);
        assert_eq!(Usage::of_process(u32::MAX).since(&before), Used::default());
    }
}
