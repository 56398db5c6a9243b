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

    /// What came to it since `before`, in milliseconds, by the phase's name.
    pub(super) fn since(&self, before: &Self) -> BTreeMap<&'static str, Distribution> {
        let nothing = Counted::default();
        self.0
            .iter()
            .map(|(phase, counted)| {
                let before = before.0.get(phase).unwrap_or(&nothing);
                let buckets: Vec<(f64, u64)> = counted
                    .buckets
                    .iter()
                    .map(|(upper, count)| {
                        let earlier = before.buckets.get(upper).copied().unwrap_or_default();
                        (*upper as f64 / 1e6, count.saturating_sub(earlier))
                    })
                    .filter(|(_, count)| *count > 0)
                    .collect();
                let sum = counted.sum_ns.saturating_sub(before.sum_ns) as f64 / 1e6;
                (phase.name(), Distribution::of_counts(&buckets, sum))
            })
            .collect()
    }
}
