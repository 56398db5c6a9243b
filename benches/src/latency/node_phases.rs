//! Where the nodes' time went: their own histograms, read over their operator's socket before and after a run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cryptonode::admin::{Command, request};
use cryptonode::server::{Phase, PhaseDurations};

use super::distribution::Distribution;

/// All nodes' phases together, at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct NodePhases(BTreeMap<Phase, Counted>);

#[derive(Clone, Debug, Default)]
struct Counted {
    sum_ns: u64,
    /// Upper end in nanoseconds → count.
    buckets: BTreeMap<u64, u64>,
}

impl NodePhases {
    /// Of the nodes that run in these folders. One that does not answer, or is of a version without the command, adds nothing.
    pub(super) fn of(folders: &[PathBuf]) -> Self {
        let mut all = Self::default();
        for folder in folders {
            let Ok(answer) = request(folder, &Command::Phases {}, |_| {}) else {
                continue;
            };
            let phases: Vec<PhaseDurations> = serde_json::from_value(answer).unwrap_or_default();
            for PhaseDurations { phase, durations } in phases {
                let counted = all.0.entry(phase).or_default();
                counted.sum_ns += durations.sum_ns;
                for (upper, count) in durations.buckets {
                    *counted.buckets.entry(upper).or_default() += count;
                }
            }
        }
        all
    }

    /// What came to it since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let nothing = Counted::default();
        let since = self.0.iter().map(|(phase, counted)| {
            let before = before.0.get(phase).unwrap_or(&nothing);
            let buckets = counted
                .buckets
                .iter()
                .map(|(upper, count)| {
                    let earlier = before.buckets.get(upper).copied().unwrap_or_default();
                    (*upper, count.saturating_sub(earlier))
                })
                .filter(|(_, count)| *count > 0)
                .collect();
            let sum_ns = counted.sum_ns.saturating_sub(before.sum_ns);
            (*phase, Counted { sum_ns, buckets })
        });
        Self(since.collect())
    }

    /// In milliseconds, by the phase's name.
    pub(super) fn distributions(&self) -> BTreeMap<&'static str, Distribution> {
        self.0
            .iter()
            .map(|(phase, counted)| {
                let buckets: Vec<(f64, u64)> = counted
                    .buckets
                    .iter()
                    .map(|(upper, count)| (*upper as f64 / 1e6, *count))
                    .collect();
                let sum = counted.sum_ns as f64 / 1e6;
                (phase.name(), Distribution::of_counts(&buckets, sum))
            })
            .collect()
    }

    /// Mean of what is left of these calls, in milliseconds, when the nodes' own part is taken off. None if the nodes did not do just as many
    /// requests as there are calls: calls that others overtook, refusals and the requests of other clients would be held against calls that
    /// they have nothing to do with.
    pub(super) fn network_ms(&self, calls_ms: &[f64]) -> Option<f64> {
        let whole = self.0.get(&Phase::Whole)?;
        let done: u64 = whole.buckets.values().sum();
        if done == 0 || done != u64::try_from(calls_ms.len()).ok()? {
            return None;
        }
        let count = done as f64;
        Some(calls_ms.iter().sum::<f64>() / count - whole.sum_ns as f64 / 1e6 / count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, missing_docs)]
    use super::*;

    fn whole(counts: &[(u64, u64)]) -> NodePhases {
        let counted = Counted {
            sum_ns: counts.iter().map(|(ns, count)| ns * count).sum(),
            buckets: counts.iter().copied().collect(),
        };
        NodePhases([(Phase::Whole, counted)].into())
    }

    #[test]
    fn the_network_is_what_calls_take_beyond_the_nodes_part() {
        let before = whole(&[(9_000_000, 7)]);
        let after = whole(&[(1_000_000, 2), (9_000_000, 7)]);
        assert_eq!(after.since(&before).network_ms(&[1.5, 2.5]), Some(1.0));
    }

    #[test]
    fn requests_that_are_not_of_these_calls_leave_the_network_unknown() {
        let two = whole(&[(1_000_000, 2)]);
        // The nodes did more than was used (overtaken calls, a flood), or less (answers of nodes that tell nothing).
        assert_eq!(two.network_ms(&[1.5]), None);
        assert_eq!(two.network_ms(&[1.5, 1.5, 1.5]), None);
        assert_eq!(NodePhases::default().network_ms(&[]), None);
    }
}
