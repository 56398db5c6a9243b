//! What the instruments write, read back.
//!
//! A *record* is one line of JSON of one thing that was timed. Every instrument writes the same form:
//!
//! | key | |
//! |---|---|
//! | `run` | number of the run within the measurement, from 1 |
//! | `latency_ms` | how long it took, in milliseconds |
//! | `failure` | present if it failed; its time then counts nowhere, itself as a failure that took for ever |
//! | any other `*_ms` | a phase of it, except `at_ms`, when it began |
//! | any `*_bytes` | bytes of it |
//! | texts | labels, such as `operation`: records with different labels are different lines in the plots |
//!
//! Anything else is for the reader of the file. So whatever writes such lines can be plotted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::failure::Failure;

/// The records of one run with the same labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Run {
    /// Milliseconds of those that succeeded.
    pub(super) latency_ms: Vec<f64>,
    pub(super) failed: u32,
    /// Phase → milliseconds of those that succeeded.
    pub(super) phases_ms: BTreeMap<String, Vec<f64>>,
    /// What → bytes of those that succeeded.
    pub(super) bytes: BTreeMap<String, Vec<f64>>,
    /// What the instrument's document says of the whole run.
    pub(super) facts: Facts,
}

impl Run {
    /// The times of all: what failed never ended, and counts as infinitely long. Left out it would make a cluster that fails under load look fast.
    pub(super) fn with_failures(&self) -> Vec<f64> {
        let mut all = self.latency_ms.clone();
        all.extend(std::iter::repeat_n(f64::INFINITY, self.failed as usize));
        all
    }

    /// A phase's part of all requests' time.
    pub(super) fn share(&self, phase: &str) -> Option<f64> {
        let whole: f64 = self.latency_ms.iter().sum();
        let part: f64 = self.phases_ms.get(phase)?.iter().sum();
        (whole > 0.0).then_some(part / whole)
    }
}

/// Numbers of a whole run: requests a second, and what one request cost.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(super) struct Facts {
    pub(super) requests_per_second: Option<f64>,
    pub(super) nodes_cpu_ms: Option<f64>,
    pub(super) network_ms: Option<f64>,
    pub(super) asked: Option<f64>,
    pub(super) bytes_sent: Option<f64>,
    pub(super) bytes_received: Option<f64>,
    pub(super) offered_per_second: Option<f64>,
    pub(super) drain_seconds: Option<f64>,
    pub(super) idle_nodes_cpu_ms: Option<f64>,
    pub(super) steal_share: Option<f64>,
    #[serde(default)]
    pub(super) client: Used,
    #[serde(default)]
    pub(super) relay: Used,
    #[serde(default)]
    pub(super) nodes: Vec<Used>,
    #[serde(default)]
    pub(super) probes: Probes,
    /// Phase → what it took the nodes.
    #[serde(default)]
    pub(super) node_phases_ms: BTreeMap<String, Spread>,
}

/// What one process used for one request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(super) struct Used {
    pub(super) cpu_ms: Option<f64>,
    pub(super) bytes_sent: Option<f64>,
    pub(super) bytes_received: Option<f64>,
}

/// What requests to all nodes gave.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(super) struct Probes {
    pub(super) network_ms: Option<f64>,
    pub(super) t_th_answer_ms: Option<Spread>,
    pub(super) n_th_answer_ms: Option<Spread>,
}

/// What the summary takes of a distribution in an instrument's document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub(super) struct Spread {
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    pub(super) mean: Option<f64>,
}

/// Labels → runs, by the run's number.
pub(super) type Labelled = BTreeMap<BTreeMap<String, String>, BTreeMap<u32, Run>>;

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    runs: Vec<Told>,
}

/// The facts of a run. Without a number the entries are numbered as they stand.
#[derive(Deserialize)]
struct Told {
    run: Option<u32>,
    /// Of which records: of those with at least these labels.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(flatten)]
    facts: Facts,
}

/// Reads one measurement: its records and its document.
pub(super) fn read(records: &Path, document: &Path) -> Result<Labelled, Failure> {
    let text = read_text(records)?;
    let mut all = Labelled::new();
    for (number, line) in (1..).zip(text.lines()) {
        let damaged = |reason: String| Failure::Damaged {
            file: format!("{}, line {number}", records.display()),
            reason,
        };
        let value: BTreeMap<String, Value> =
            serde_json::from_str(line).map_err(|error| damaged(error.to_string()))?;
        add(&mut all, value).map_err(damaged)?;
    }
    let text = read_text(document)?;
    let facts: Document = serde_json::from_str(&text).map_err(|error| Failure::Damaged {
        file: document.display().to_string(),
        reason: error.to_string(),
    })?;
    for (labels, runs) in &mut all {
        for (number, told) in (1..).zip(&facts.runs) {
            let of_these = told
                .labels
                .iter()
                .all(|(name, value)| labels.get(name) == Some(value));
            if let Some(run) = runs
                .get_mut(&told.run.unwrap_or(number))
                .filter(|_| of_these)
            {
                run.facts = told.facts.clone();
            }
        }
    }
    Ok(all)
}

fn read_text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(Failure::io(format!("read {}", path.display())))
}

fn add(all: &mut Labelled, record: BTreeMap<String, Value>) -> Result<(), String> {
    let number = |name: &str| record.get(name).and_then(Value::as_f64);
    let run = record
        .get("run")
        .and_then(Value::as_u64)
        .and_then(|run| u32::try_from(run).ok())
        .ok_or("it names no run")?;
    let labels = record
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    let run = all.entry(labels).or_default().entry(run).or_default();
    if record.contains_key("failure") {
        run.failed += 1;
        return Ok(());
    }
    let latency = number("latency_ms")
        .filter(|latency| latency.is_finite())
        .ok_or("it has no latency_ms")?;
    run.latency_ms.push(latency);
    for (name, value) in &record {
        if let (Some(phase), Some(value)) = (name.strip_suffix("_ms"), value.as_f64())
            && !["latency", "at"].contains(&phase)
        {
            let phases = &mut run.phases_ms;
            phases.entry(phase.to_owned()).or_default().push(value);
        }
        if let (true, Some(value)) = (name.ends_with("_bytes"), value.as_f64()) {
            run.bytes.entry(name.clone()).or_default().push(value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]
    use super::*;

    fn line(text: &str) -> BTreeMap<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn failures_count_and_their_times_do_not() {
        let mut all = Labelled::new();
        for text in [
            r#"{"run":1,"at_ms":0.0,"latency_ms":2.0,"opening_ms":0.5,"answered":[1,2]}"#,
            r#"{"run":1,"at_ms":3.0,"latency_ms":9.0,"opening_ms":0.0,"failure":["timed-out","late"]}"#,
            r#"{"run":2,"latency_ms":4.0,"operation":"wrap"}"#,
        ] {
            add(&mut all, line(text)).unwrap();
        }
        let plain = &all[&BTreeMap::new()][&1];
        assert_eq!(
            (plain.latency_ms.as_slice(), plain.failed),
            ([2.0].as_slice(), 1)
        );
        assert_eq!(
            plain.phases_ms,
            BTreeMap::from([("opening".to_owned(), vec![0.5])])
        );
        let wrap = BTreeMap::from([("operation".to_owned(), "wrap".to_owned())]);
        assert_eq!(all[&wrap][&2].latency_ms, [4.0]);
    }

    #[test]
    fn a_line_without_a_time_is_refused() {
        let mut all = Labelled::new();
        assert!(add(&mut all, line(r#"{"run":1}"#)).is_err());
        assert!(add(&mut all, line(r#"{"latency_ms":1.0}"#)).is_err());
    }
}
