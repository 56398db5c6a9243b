//! The end of a run, for people and for programs.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::history::{Sums, Violation};
use crate::verify::Found;

/// All that there is to say.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Whether no promise was broken.
    pub(crate) ok: bool,
    /// The seed of faults and users.
    pub(crate) seed: u64,
    /// Seconds under load.
    pub(crate) seconds: f64,
    /// Episodes that were played to their end.
    pub(crate) episodes: usize,
    /// Faults by kind.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// Faults that could not be made here, by kind.
    pub(crate) left_out: BTreeMap<&'static str, u64>,
    /// Kinds that were asked for and did not come, for want of time.
    pub(crate) never: Vec<&'static str>,
    /// What could not be made to fail here, and why.
    pub(crate) lacks: Vec<String>,
    /// Operations by kind.
    #[serde(serialize_with = "operations")]
    pub(crate) operations: BTreeMap<&'static str, Sums>,
    /// Milliseconds until all was well after an episode: the middle one, and the longest.
    pub(crate) recovery_ms: (u64, u64),
    /// What the service manager started again, by why.
    pub(crate) restarts: BTreeMap<String, u64>,
    /// What the operator did, as the documentation says.
    pub(crate) operator: BTreeMap<&'static str, u64>,
    /// The checks at the end.
    pub(crate) found: Found,
    /// Promises that were broken.
    pub(crate) violations: Vec<Violation>,
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

fn share(of: (u64, u64)) -> f64 {
    let (good, all) = of;
    if all == 0 {
        return 100.0;
    }
    // Counts of operations are far below 2^52.
    100.0 * good as f64 / all as f64
}

/// One kind of operation, for programs.
fn operation(sums: &Sums) -> Value {
    let mut millis = sums.millis.clone();
    millis.sort_unstable();
    json!({
        "count": sums.count, "as_due": sums.as_due, "failed": sums.failed,
        "availability_percent": share((sums.as_due, sums.count)),
        "availability_while_the_platform_was_well_percent": share(sums.served),
        "p50_ms": percentile(&millis, 50), "p99_ms": percentile(&millis, 99), "longest_ms": millis.last(),
    })
}

fn operations<S: serde::Serializer>(
    sums: &BTreeMap<&'static str, Sums>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(sums.iter().map(|(name, sums)| (name, operation(sums))))
}

fn list<N: std::fmt::Display>(counts: &BTreeMap<N, u64>) -> String {
    let parts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if parts.is_empty() {
        "none".to_owned()
    } else {
        parts.join(", ")
    }
}

impl Report {
    /// The table.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            format!(
                "{:<22}{:>8}{:>8}{:>9}{:>10}{:>8}{:>8}  failed by",
                "operation", "count", "as due", "avail. %", "*avail. %", "p50 ms", "p99 ms"
            ),
        ];
        for (name, sums) in &self.operations {
            let mut millis = sums.millis.clone();
            millis.sort_unstable();
            lines.push(format!(
                "{name:<22}{:>8}{:>8}{:>9.2}{:>10.2}{:>8}{:>8}  {}",
                sums.count,
                sums.as_due,
                share((sums.as_due, sums.count)),
                share(sums.served),
                percentile(&millis, 50),
                percentile(&millis, 99),
                if sums.failed.is_empty() {
                    String::new()
                } else {
                    list(&sums.failed)
                },
            ));
        }
        let found = &self.found;
        lines.extend([
            "* while the platform itself was in no trouble".to_owned(),
            String::new(),
            format!("faults            {}", list(&self.faults)),
            format!("left out          {}", list(&self.left_out)),
            format!(
                "never came        {}",
                match self.never.as_slice() {
                    [] => "none".to_owned(),
                    kinds => kinds.join(", "),
                }
            ),
            format!(
                "recovery          {} ms in the middle, {} ms at most, after {} episodes",
                self.recovery_ms.0, self.recovery_ms.1, self.episodes
            ),
            format!("service manager   {}", list(&self.restarts)),
            format!("operator          {}", list(&self.operator)),
            format!(
                "written           {} versions acknowledged, {} read back",
                found.acknowledged, found.read_back
            ),
            format!(
                "record            {} transactions, verified; the same at {} peers; head signed by {}",
                found.transactions, found.peers, found.signed_by
            ),
            format!(
                "nodes' logs       {} verified, {} shares, each with its approved read; key at epoch {}",
                found.node_logs, found.shares, found.epoch
            ),
            format!(
                "answered reads    {}, each with its shares in the logs",
                found.answered_reads
            ),
        ]);
        lines.extend(
            self.lacks
                .iter()
                .map(|it| format!("could not fail    {it}")),
        );
        for violation in &self.violations {
            lines.push(format!(
                "VIOLATED at {} ms  {}: {}",
                violation.at_ms, violation.promise, violation.seen
            ));
        }
        let verdict = match (self.ok, self.left_out.is_empty()) {
            (true, true) => {
                "nothing acknowledged was lost, nobody unapproved was let in".to_owned()
            }
            // It says nothing of what it could not try.
            (true, false) => format!(
                "nothing acknowledged was lost, nobody unapproved was let in; that is not shown for {}, which cannot be made to happen here",
                self.left_out.keys().copied().collect::<Vec<_>>().join(", ")
            ),
            (false, _) => format!("{} promises were broken", self.violations.len()),
        };
        lines.push(format!(
            "\nseed {}, {:.0} s: {verdict}",
            self.seed, self.seconds
        ));
        lines
    }
}
