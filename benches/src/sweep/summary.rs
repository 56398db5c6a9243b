//! `summary.csv`: one row a point, with what was measured of it and the ends of its 95 % confidence intervals.
//!
//! Columns: the settings that vary and the records' labels; `runs`, `requests`, `failed`; then for each quantity its value,
//! `…_low` and `…_high`. Percentiles are of all requests, and those that failed count as infinitely long: one that falls among them is empty, and so is
//! the maximum. Means are of those that succeeded. `node_PHASE_…` is what the nodes told of their own work. `PHASE_share` is the phase's part of the whole time, between 0 and 1. An end that the data do not bound is
//! empty. Times are in milliseconds.

use std::collections::{BTreeMap, BTreeSet};

use super::experiment::{Experiment, Settings};
use super::failure::Failure;
use super::folder::Folder;
use super::records::{self, Run, Spread, Used};
use super::statistics::{Estimate, Sign, Statistic, estimate, mean_of_runs};

/// Of all requests: those that failed count as infinitely long.
const QUANTILES: [(&str, Statistic); 4] = [
    ("latency_p50_ms", Statistic::Quantile(0.50)),
    ("latency_p90_ms", Statistic::Quantile(0.90)),
    ("latency_p95_ms", Statistic::Quantile(0.95)),
    ("latency_p99_ms", Statistic::Quantile(0.99)),
];

/// Of those that succeeded.
const MEAN: (&str, Statistic) = ("latency_mean_ms", Statistic::Mean);

/// A fact of whole runs.
type Fact = fn(&Run) -> Option<f64>;

const FACTS: [(&str, Sign, Fact); 21] = {
    use Sign::{Any, NeverNegative};
    [
        ("latency_max_ms", NeverNegative, |run| {
            let slowest = run.with_failures().into_iter().reduce(f64::max)?;
            slowest.is_finite().then_some(slowest)
        }),
        ("requests_per_second", NeverNegative, |run| {
            run.facts.requests_per_second
        }),
        ("offered_per_second", NeverNegative, |run| {
            run.facts.offered_per_second
        }),
        ("drain_seconds", NeverNegative, |run| {
            run.facts.drain_seconds
        }),
        ("failed_share", NeverNegative, |run| {
            let all = run.latency_ms.len() as f64 + f64::from(run.failed);
            Some(f64::from(run.failed) / all)
        }),
        ("nodes_cpu_ms", NeverNegative, |run| run.facts.nodes_cpu_ms),
        ("idle_nodes_cpu_ms", NeverNegative, |run| {
            run.facts.idle_nodes_cpu_ms
        }),
        ("node_cpu_mean_ms", NeverNegative, |run| {
            mean_node(run, |node| node.cpu_ms)
        }),
        ("node_cpu_max_ms", NeverNegative, |run| {
            most_of_a_node(run, |node| node.cpu_ms)
        }),
        ("node_bytes_sent_max", NeverNegative, |run| {
            most_of_a_node(run, |node| node.bytes_sent)
        }),
        ("node_bytes_received_max", NeverNegative, |run| {
            most_of_a_node(run, |node| node.bytes_received)
        }),
        ("client_cpu_ms", NeverNegative, |run| {
            run.facts.client.cpu_ms
        }),
        ("relay_cpu_ms", NeverNegative, |run| run.facts.relay.cpu_ms),
        // Differences of two means.
        ("network_ms", Any, |run| run.facts.network_ms),
        ("probe_network_ms", Any, |run| run.facts.probes.network_ms),
        ("probe_t_th_p50_ms", NeverNegative, |run| {
            run.facts.probes.t_th_answer_ms?.p50
        }),
        ("probe_n_th_p50_ms", NeverNegative, |run| {
            run.facts.probes.n_th_answer_ms?.p50
        }),
        ("nodes_asked", NeverNegative, |run| run.facts.asked),
        ("bytes_sent", NeverNegative, |run| run.facts.bytes_sent),
        ("bytes_received", NeverNegative, |run| {
            run.facts.bytes_received
        }),
        ("steal_share", NeverNegative, |run| run.facts.steal_share),
    ]
};

/// The mean over a run's nodes of what one request cost each.
fn mean_node(run: &Run, of: fn(&Used) -> Option<f64>) -> Option<f64> {
    let values: Vec<f64> = run.facts.nodes.iter().filter_map(of).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// What one request cost the node that it cost most.
fn most_of_a_node(run: &Run, of: fn(&Used) -> Option<f64>) -> Option<f64> {
    run.facts.nodes.iter().filter_map(of).reduce(f64::max)
}

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
    /// Programs that were measured: their files' SHA-256, and the commit.
    pub(super) builds: BTreeMap<String, String>,
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
        let quantile = QUANTILES.iter().find(|(name, _)| *name == column);
        let fact = FACTS.iter().find(|(name, _, _)| *name == column);
        let one = |values: &[f64], statistic| {
            let estimated = estimate(&[values], &[statistic]).into_iter().flatten();
            estimated.map(|estimate| estimate.value).next()
        };
        self.runs
            .iter()
            .filter_map(|run| match (quantile, fact) {
                (Some((_, statistic)), _) => one(&run.with_failures(), *statistic),
                (_, Some((_, _, fact))) => fact(run),
                _ if column == MEAN.0 => one(&run.latency_ms, MEAN.1),
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
            builds: BTreeMap::new(),
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
        let build = &about.build;
        self.builds
            .insert(build.executable_sha256.clone(), build.commit_text());
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
        let all: Vec<Vec<f64>> = runs.iter().map(Run::with_failures).collect();
        let all: Vec<&[f64]> = all.iter().map(Vec::as_slice).collect();
        let quantiles = estimate(&all, &QUANTILES.map(|(_, statistic)| statistic));
        let mean = estimate(&of(|run| &run.latency_ms), &[MEAN.1]);
        let names = QUANTILES.iter().chain([&MEAN]);
        for ((name, _), estimate) in names.zip(quantiles.into_iter().chain(mean)) {
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
            let share = mean_of_runs(&shares, Sign::NeverNegative);
            values.extend(share.map(|share| (format!("{phase}_share"), share)));
        }
        let bytes: BTreeSet<&String> = runs.iter().flat_map(|run| run.bytes.keys()).collect();
        for name in bytes {
            let means: Vec<f64> = runs
                .iter()
                .filter_map(|run| run.bytes.get(name))
                .map(|values| values.iter().sum::<f64>() / values.len().max(1) as f64)
                .collect();
            let mean = mean_of_runs(&means, Sign::NeverNegative);
            values.extend(mean.map(|mean| (name.clone(), mean)));
        }
        for (name, sign, fact) in FACTS {
            let of_runs: Vec<f64> = runs.iter().filter_map(fact).collect();
            values.extend(mean_of_runs(&of_runs, sign).map(|mean| (name.to_owned(), mean)));
        }
        values.extend(node_phases(&runs));
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

/// What the phases of a request took the nodes: `node_PHASE_mean_ms` and two percentiles, each the mean over runs.
fn node_phases(runs: &[Run]) -> BTreeMap<String, Estimate> {
    type Part = (&'static str, fn(&Spread) -> Option<f64>);
    const PARTS: [Part; 3] = [
        ("p50", |of| of.p50),
        ("p99", |of| of.p99),
        ("mean", |of| of.mean),
    ];
    let phases: BTreeSet<&String> = runs
        .iter()
        .flat_map(|run| run.facts.node_phases_ms.keys())
        .collect();
    let columns = phases.into_iter().flat_map(|phase| {
        PARTS.map(|(name, part)| {
            let of_runs: Vec<f64> = runs
                .iter()
                .filter_map(|run| part(run.facts.node_phases_ms.get(phase)?))
                .collect();
            let mean = mean_of_runs(&of_runs, Sign::NeverNegative)?;
            Some((format!("node_{phase}_{name}_ms"), mean))
        })
    });
    columns.flatten().collect()
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
    let known = QUANTILES
        .iter()
        .chain([&MEAN])
        .map(|(name, _)| *name)
        .chain(FACTS.iter().map(|(name, _, _)| *name));
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
