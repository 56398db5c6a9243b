//! What processes used of the processors: Linux' own account of each thread, in nanoseconds.

use std::fs;
use std::path::Path;

/// What a process has used since it started. A thread that has ended is not in it any more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// On a processor, in nanoseconds.
    running_ns: u64,
    /// Ready to run, and waiting for a processor, in nanoseconds.
    waiting_ns: u64,
    /// How often it was put on a processor.
    slices: u64,
}

impl Usage {
    /// Of the process with this number. Zero if it is gone.
    pub(super) fn of_process(pid: u32) -> Self {
        let threads = Path::new("/proc").join(pid.to_string()).join("task");
        let Ok(entries) = fs::read_dir(threads) else {
            return Self::default();
        };
        entries
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("schedstat")).ok())
            .filter_map(|text| Self::parse(&text))
            .fold(Self::default(), |sum, thread| Self {
                running_ns: sum.running_ns + thread.running_ns,
                waiting_ns: sum.waiting_ns + thread.waiting_ns,
                slices: sum.slices + thread.slices,
            })
    }

    fn parse(schedstat: &str) -> Option<Self> {
        let mut numbers = schedstat.split_whitespace().map(str::parse);
        Some(Self {
            running_ns: numbers.next()?.ok()?,
            waiting_ns: numbers.next()?.ok()?,
            slices: numbers.next()?.ok()?,
        })
    }

    /// What was used since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            running_ns: self.running_ns.saturating_sub(before.running_ns),
            waiting_ns: self.waiting_ns.saturating_sub(before.waiting_ns),
            slices: self.slices.saturating_sub(before.slices),
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
