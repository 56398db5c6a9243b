//! `summary.csv`: one row a point, with what was measured of it and the ends of its 95 % confidence intervals.
//!
//! Columns: the settings that vary and the records' labels; `runs`, `requests`, `failed`; then for each quantity its value,
//! `…_low` and `…_high`. `PHASE_share` is the phase's part of the whole time, between 0 and 1. An end that the data do not bound is
//! empty. Times are in milliseconds.

use std::collections::{BTreeMap, BTreeSet};

use super::experiment::{Experiment, Settings};
use super::failure::Failure;
use super::folder::Folder;
use super::records::{self, Run};
use super::statistics::{Estimate, Statistic, estimate, mean_of_runs};

const LATENCY: [(&str, Statistic); 4] = [
    ("latency_p50_ms", Statistic::Quantile(0.50)),
    ("latency_p90_ms", Statistic::Quantile(0.90)),
    ("latency_p99_ms", Statistic::Quantile(0.99)),
    ("latency_mean_ms", Statistic::Mean),
];

/// A fact of whole runs.
type Fact = fn(&Run) -> Option<f64>;

const FACTS: [(&str, Fact); 7] = [
    ("requests_per_second", |run| run.facts.requests_per_second),
    ("failed_share", |run| {
        let all = run.latency_ms.len() as f64 + f64::from(run.failed);
        Some(f64::from(run.failed) / all)
    }),
    ("nodes_cpu_ms", |run| run.facts.nodes_cpu_ms),
    ("network_ms", |run| run.facts.network_ms),
    ("nodes_asked", |run| run.facts.asked),
    ("bytes_sent", |run| run.facts.bytes_sent),
    ("bytes_received", |run| run.facts.bytes_received),
];

/// Everything that was measured, by point.
#[derive(Debug)]
pub(super) struct Summary {
    /// The first columns: settings and labels that distinguish rows.
    pub(super) keys: Vec<String>,
    /// The quantities' columns, without `_low` and `_high`.
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Row>,
    pub(super) measured: usize,
    pub(super) wanted: usize,
    /// Commits that were measured, each once.
    pub(super) commits: BTreeSet<String>,
    /// The lowest and the highest load average before a measurement.
    pub(super) load: Option<(f64, f64)>,
}

/// One point, and one set of labels.
#[derive(Debug)]
pub(super) struct Row {
    /// All settings, and the labels.
    pub(super) settings: Settings,
    pub(super) requests: usize,
    pub(super) failed: u32,
    pub(super) values: BTreeMap<String, Estimate>,
    pub(super) runs: Vec<Run>,
}

impl Row {
    /// A setting or a label, empty if the row has none such.
    pub(super) fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }

    /// Each run's own value of a column.
    pub(super) fn values_of_runs(&self, column: &str) -> Vec<f64> {
        let statistic = LATENCY.iter().find(|(name, _)| *name == column);
        let fact = FACTS.iter().find(|(name, _)| *name == column);
        self.runs
            .iter()
            .filter_map(|run| match (statistic, fact) {
                (Some((_, statistic)), _) => {
                    let estimated = estimate(&[&run.latency_ms], &[*statistic]);
                    estimated
                        .into_iter()
                        .flatten()
                        .next()
                        .map(|estimate| estimate.value)
                }
                (_, Some((_, fact))) => fact(run),
                _ => None,
            })
            .collect()
    }
}

impl Summary {
    /// Reads all finished measurements.
    pub(super) fn read(folder: &Folder, experiment: &Experiment) -> Result<Self, Failure> {
        let repetitions = experiment.file.repetitions;
        let mut summary = Self {
            keys: Vec::new(),
            columns: Vec::new(),
            rows: Vec::new(),
            measured: 0,
            wanted: experiment.points().len() * repetitions as usize,
            commits: BTreeSet::new(),
            load: None,
        };
        for point in experiment.points() {
            let slug = experiment.slug(point);
            // Labels → runs of all repetitions.
            let mut labelled: BTreeMap<BTreeMap<String, String>, Vec<Run>> = BTreeMap::new();
            for repetition in (1..=repetitions).filter(|number| folder.has(&slug, *number)) {
                let about = folder.read_measurement(&slug, repetition)?;
                let path = folder.measurement(&slug, repetition);
                let read = records::read(&path.join("records.jsonl"), &path.join("result.json"))?;
                for (labels, runs) in read {
                    labelled
                        .entry(labels)
                        .or_default()
                        .extend(runs.into_values());
                }
                summary.note(&about);
            }
            for (labels, runs) in labelled {
                let mut settings = point.clone();
                settings.extend(labels);
                summary.rows.push(Row::of(settings, runs));
            }
        }
        if summary.rows.is_empty() {
            return Err(Failure::Nothing(folder.root().display().to_string()));
        }
        summary.keys = keys(&summary.rows, experiment);
        summary.columns = columns(&summary.rows);
        summary.sort();
        Ok(summary)
    }

    fn note(&mut self, about: &super::folder::Measurement) {
        self.measured += 1;
        self.commits.insert(about.build.commit_text());
        if let Some(load) = about.load_average.0 {
            let (low, high) = self.load.unwrap_or((load, load));
            self.load = Some((low.min(load), high.max(load)));
        }
    }

    fn sort(&mut self) {
        let keys = std::mem::take(&mut self.keys);
        self.rows.sort_by(|a, b| {
            keys.iter()
                .map(|key| compare(a.setting(key), b.setting(key)))
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        self.keys = keys;
    }

    /// The file.
    pub(super) fn csv(&self) -> String {
        let mut head: Vec<String> = self
            .keys
            .iter()
            .map(|key| key.trim_start_matches('_').to_owned())
            .collect();
        head.extend(["runs", "requests", "failed"].map(str::to_owned));
        for column in &self.columns {
            head.extend([
                column.clone(),
                format!("{column}_low"),
                format!("{column}_high"),
            ]);
        }
        let mut out = head
            .iter()
            .map(|name| field(name))
            .collect::<Vec<_>>()
            .join(",");
        out.push('\n');
        for row in &self.rows {
            let mut fields: Vec<String> = self
                .keys
                .iter()
                .map(|key| field(row.setting(key)))
                .collect();
            let counts = [row.runs.len(), row.requests, row.failed as usize];
            fields.extend(counts.map(|count| count.to_string()));
            for column in &self.columns {
                let estimate = row.values.get(column);
                let part = |part: fn(&Estimate) -> Option<f64>| {
                    estimate.and_then(part).map_or_else(String::new, number)
                };
                fields.extend([part(|e| Some(e.value)), part(|e| e.low), part(|e| e.high)]);
            }
            out.push_str(&fields.join(","));
            out.push('\n');
        }
        out
    }
}

impl Row {
    fn of(settings: Settings, runs: Vec<Run>) -> Self {
        let mut values = BTreeMap::new();
        let of = |values: fn(&Run) -> &[f64]| -> Vec<&[f64]> { runs.iter().map(values).collect() };
        let statistics = LATENCY.map(|(_, statistic)| statistic);
        let latency = estimate(&of(|run| &run.latency_ms), &statistics);
        for ((name, _), estimate) in LATENCY.iter().zip(latency) {
            values.extend(estimate.map(|estimate| ((*name).to_owned(), estimate)));
        }
        let phases: BTreeSet<&String> = runs.iter().flat_map(|run| run.phases_ms.keys()).collect();
        for phase in phases {
            let of_phase: Vec<&[f64]> = runs
                .iter()
                .filter_map(|run| run.phases_ms.get(phase).map(Vec::as_slice))
                .collect();
            let means = estimate(&of_phase, &[Statistic::Mean]);
            values.extend(
                means
                    .into_iter()
                    .flatten()
                    .map(|mean| (format!("{phase}_mean_ms"), mean)),
            );
            let shares: Vec<f64> = runs.iter().filter_map(|run| run.share(phase)).collect();
            values.extend(mean_of_runs(&shares).map(|share| (format!("{phase}_share"), share)));
        }
        let bytes: BTreeSet<&String> = runs.iter().flat_map(|run| run.bytes.keys()).collect();
        for name in bytes {
            let means: Vec<f64> = runs
                .iter()
                .filter_map(|run| run.bytes.get(name))
                .map(|values| values.iter().sum::<f64>() / values.len().max(1) as f64)
                .collect();
            values.extend(mean_of_runs(&means).map(|mean| (name.clone(), mean)));
        }
        for (name, fact) in FACTS {
            let of_runs: Vec<f64> = runs.iter().filter_map(fact).collect();
            values.extend(mean_of_runs(&of_runs).map(|mean| (name.to_owned(), mean)));
        }
        let failed = runs.iter().map(|run| run.failed).sum();
        let good: usize = runs.iter().map(|run| run.latency_ms.len()).sum();
        Self {
            settings,
            requests: good + failed as usize,
            failed,
            values,
            runs,
        }
    }
}

/// What distinguishes rows; if nothing does, nothing.
fn keys(rows: &[Row], experiment: &Experiment) -> Vec<String> {
    let mut keys = experiment.varied();
    let names: BTreeSet<&String> = rows.iter().flat_map(|row| row.settings.keys()).collect();
    let settings: BTreeSet<&String> = experiment
        .points()
        .iter()
        .flat_map(|point| point.keys())
        .collect();
    keys.extend(names.difference(&settings).map(|name| (*name).clone()));
    keys
}

fn columns(rows: &[Row]) -> Vec<String> {
    let present: BTreeSet<&String> = rows.iter().flat_map(|row| row.values.keys()).collect();
    let known = LATENCY
        .iter()
        .map(|(name, _)| *name)
        .chain(FACTS.iter().map(|(name, _)| *name));
    let mut columns: Vec<String> = known
        .filter(|name| present.iter().any(|column| column == name))
        .map(str::to_owned)
        .collect();
    let phases = present.iter().filter(|column| !columns.contains(column));
    let phases: Vec<String> = phases.map(|column| (*column).clone()).collect();
    columns.extend(phases);
    columns
}

/// Numbers by their value, texts by theirs.
pub(super) fn compare(a: &str, b: &str) -> std::cmp::Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(b),
    }
}

/// A number as it stands in the CSV, in the tables and beside the plots: four significant digits, never an exponent.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 {
            "0".to_owned()
        } else {
            String::new()
        };
    }
    let magnitude = value.abs().log10().floor() as i32;
    let decimals = usize::try_from(3 - magnitude).unwrap_or(0).min(9);
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A CSV field (RFC 4180).
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(missing_docs)]
    use super::*;

    #[test]
    fn numbers_have_four_digits_and_no_exponent() {
        let shown = [0.0, 0.000_123_46, 1.0, 1.23456, 99.999, 12_345.6, f64::NAN].map(number);
        assert_eq!(shown, ["0", "0.0001235", "1", "1.235", "100", "12346", ""]);
    }

    #[test]
    fn fields_with_commas_are_quoted() {
        assert_eq!(field("3 of 5, LAN"), "\"3 of 5, LAN\"");
        assert_eq!(field("a \"b\""), "\"a \"\"b\"\"\"");
    }
}
