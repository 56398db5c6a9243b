//! Processor time that the hypervisor gave to other machines: on a rented machine it is in every number, and nobody sees it.

use std::fs;

/// What `/proc/stat` counts of all processors together, in ticks since the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticks {
    all: u64,
    stolen: u64,
}

impl Ticks {
    /// Up to now; none where the system does not tell.
    pub(crate) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user, nice, system, idle, iowait, irq, softirq, steal; guests' time, which follows, is in the first two already.
        let ticks = line
            .split_whitespace()
            .take(8)
            .map(|ticks| ticks.parse().ok())
            .collect::<Option<Vec<u64>>>()?;
        Some(Self {
            all: ticks.iter().sum(),
            stolen: *ticks.get(7)?,
        })
    }

    /// The part of the time since `before` that was given to others.
    pub(crate) fn stolen_since(self, before: Self) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        Some(self.stolen.saturating_sub(before.stolen) as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(missing_docs)]
    use super::*;

    #[test]
    fn steal_is_a_part_of_all_time() {
        let before = Ticks::parse("cpu  10 0 10 70 0 0 0 10 5 0\ncpu0 1 2 3 4 5 6 7 8\n");
        let after = Ticks::parse("cpu  20 0 20 120 0 0 5 35 9 0\n");
        let both = after.zip(before);
        assert_eq!(
            both.and_then(|(after, before)| after.stolen_since(before)),
            Some(0.25)
        );
        assert_eq!(both.and_then(|(after, _)| after.stolen_since(after)), None);
        assert_eq!(Ticks::parse("cpu  10 0 10\n"), None);
    }
}
