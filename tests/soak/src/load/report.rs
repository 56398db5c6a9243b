//! What is said at the end.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Arguments;
use crate::clients::Tally;

/// Something that was done to the site.
#[derive(Serialize)]
pub(crate) struct Event {
    /// Seconds since the clients began.
    pub(crate) at_s: f64,
    pub(crate) what: &'static str,
}

/// Times of operations that succeeded at once, in milliseconds.
#[derive(Serialize, Default)]
pub(crate) struct Times {
    count: usize,
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

impl Times {
    fn of(times: &[f64]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        // Nearest rank.
        let at = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Self {
            count: sorted.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

/// What came of a run.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) ok: bool,
    clients: u16,
    seconds: f64,
    seed: u64,
    events: Vec<Event>,
    operations_per_second: f64,
    mebibytes_written: f64,
    mebibytes_read: f64,
    /// Operations that succeeded at once, by kind.
    at_once: BTreeMap<&'static str, Times>,
    /// Those that succeeded after having been tried again.
    after_retries: BTreeMap<&'static str, u64>,
    /// Failures after which was tried again.
    retried: BTreeMap<String, u64>,
    /// Not finished when the run ended, although one may try again.
    given_up: BTreeMap<String, u64>,
    /// Failures after which nobody may try again: none are allowed.
    failed: BTreeMap<String, u64>,
    /// Writes that were acknowledged; all of them were read back.
    acknowledged: usize,
    /// Acknowledged writes that are not there as they were acknowledged: none are allowed.
    lost: Vec<String>,
    /// Reads that brought other bytes: none are allowed.
    wrong: Vec<String>,
    /// Whether all organisations' peers came to the same block afterwards.
    peers_level: bool,
    /// Processes that did not stop when they were told to.
    killed_at_the_end: Vec<String>,
}

impl Report {
    #[allow(clippy::too_many_arguments, reason = "each is a part of the report")]
    pub(crate) fn of(
        arguments: &Arguments,
        seconds: f64,
        events: Vec<Event>,
        tally: &Tally,
        lost: Vec<String>,
        peers_level: bool,
        killed_at_the_end: Vec<String>,
    ) -> Self {
        let tally = tally.lock();
        let at_once: usize = tally.took_ms.values().map(Vec::len).sum();
        let later: u64 = tally.after_retries.values().sum();
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let took = tally.took_ms.iter();
        let read = tally.took_ms.contains_key("read") && !tally.promises.is_empty();
        let nothing_wrong = tally.failed.is_empty() && lost.is_empty() && tally.wrong.is_empty();
        Self {
            ok: read && nothing_wrong && peers_level && killed_at_the_end.is_empty(),
            clients: arguments.clients,
            seconds,
            seed: arguments.seed,
            events,
            operations_per_second: (at_once as f64 + later as f64) / seconds,
            mebibytes_written: mebibytes(tally.bytes_written),
            mebibytes_read: mebibytes(tally.bytes_read),
            at_once: took
                .map(|(kind, times)| (*kind, Times::of(times)))
                .collect(),
            after_retries: tally.after_retries.clone(),
            retried: tally.retried.clone(),
            given_up: tally.given_up.clone(),
            failed: tally.failed.clone(),
            acknowledged: tally.promises.len(),
            lost,
            wrong: tally.wrong.clone(),
            peers_level,
            killed_at_the_end,
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} clients, {:.0} s: {:.1} operations/s, {:.1} MiB written, {:.1} MiB read",
            self.clients,
            self.seconds,
            self.operations_per_second,
            self.mebibytes_written,
            self.mebibytes_read
        )];
        for (kind, times) in &self.at_once {
            lines.push(format!(
                "  {kind:<6} {:>7} at once   p50 {:>7.0} ms   p90 {:>7.0} ms   p99 {:>7.0} ms   max {:>7.0} ms",
                times.count, times.p50, times.p90, times.p99, times.max
            ));
        }
        let counted = |what: &str, counts: &BTreeMap<String, u64>, lines: &mut Vec<String>| {
            for (code, count) in counts {
                lines.push(format!("  {what} {count:>6} × {code}"));
            }
        };
        for (kind, count) in &self.after_retries {
            lines.push(format!(
                "  {kind:<6} {count:>7} after having been tried again"
            ));
        }
        counted("tried again:", &self.retried, &mut lines);
        counted("given up at the end:", &self.given_up, &mut lines);
        counted("MUST NOT BE:", &self.failed, &mut lines);
        lines.push(format!(
            "  {} writes acknowledged and read back, {} lost, {} wrong",
            self.acknowledged,
            self.lost.len(),
            self.wrong.len()
        ));
        lines.extend(self.lost.iter().take(10).map(|it| format!("  LOST {it}")));
        lines.extend(self.wrong.iter().take(10).map(|it| format!("  WRONG {it}")));
        if !self.peers_level {
            lines.push("  the organisations' peers did NOT come to the same block".to_owned());
        }
        for name in &self.killed_at_the_end {
            lines.push(format!("  {name} did not stop when it was told to"));
        }
        lines.push(if self.ok { "ok" } else { "NOT ok" }.to_owned());
        lines
    }
}
