//! The committed counts, and the comparison with them.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::callgrind::Counts;

/// How much more an operation may need, and how much less before the baseline should follow.
const TOLERANCE: f64 = 0.05;

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Valgrind is missing or did not start.
    #[error("cannot run valgrind: {0}; install it (apt-get install valgrind)")]
    Valgrind(std::io::Error),
    /// No place for callgrind's files.
    #[error("cannot make a folder for callgrind's files: {0}")]
    Folder(std::io::Error),
    /// An operation did not run to its end.
    #[error("{operation} could not be counted: {reason}")]
    Run {
        /// Its name.
        operation: String,
        /// What it or valgrind said.
        reason: String,
    },
    /// A name that is none.
    #[error("there is no operation {name}; there are {known}")]
    Operation {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// No baseline for this platform, or not a readable one.
    #[error("no baseline in {}: {reason}; write one with `just bench-check --write` from a commit that you trust", path.display())]
    Baseline {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Counts of two compilers cannot be compared.
    #[error(
        "the baseline is of {baseline}, this is {here}; a new toolchain needs a new baseline: `just bench-check --write`"
    )]
    Compiler {
        /// The baseline's.
        baseline: String,
        /// Ours.
        here: String,
    },
}

/// `baseline/PLATFORM.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    /// What `rustc --version` said.
    rustc: String,
    /// Operation → instructions.
    instructions: Counts,
}

fn path(platform: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("baseline/{platform}.toml"))
}

/// The compiler that `rust-toolchain.toml` pins: this program was built with it.
fn rustc() -> String {
    Command::new("rustc")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("--version")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

/// Writes these counts as the platform's baseline; operations that were not counted keep theirs.
pub(crate) fn write(platform: &str, counts: &Counts) -> Result<PathBuf, Failure> {
    let path = path(platform);
    let mut instructions =
        Baseline::read(platform).map_or_else(|_| Counts::new(), |old| old.instructions);
    instructions.retain(|name, _| crate::operations::NAMES.contains(&name.as_str()));
    instructions.extend(counts.clone());
    let baseline = Baseline {
        rustc: rustc(),
        instructions,
    };
    let failed = |reason: String| Failure::Baseline {
        path: path.clone(),
        reason,
    };
    let text = toml::to_string(&baseline).map_err(|error| failed(error.to_string()))?;
    std::fs::write(&path, text).map_err(|error| failed(error.to_string()))?;
    Ok(path)
}

impl Baseline {
    /// The platform's.
    pub(crate) fn read(platform: &str) -> Result<Self, Failure> {
        let path = path(platform);
        let failed = |reason: String| Failure::Baseline {
            path: path.clone(),
            reason,
        };
        let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        let baseline: Self = toml::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let here = rustc();
        if baseline.rustc != here {
            return Err(Failure::Compiler {
                baseline: baseline.rustc,
                here,
            });
        }
        Ok(baseline)
    }

    /// Beside these counts.
    pub(crate) fn compare(&self, counts: &Counts) -> Comparison {
        Comparison {
            lines: counts
                .iter()
                .map(|(operation, counted)| Line {
                    operation: operation.clone(),
                    counted: *counted,
                    baseline: self.instructions.get(operation).copied(),
                })
                .collect(),
        }
    }
}

/// All operations beside the baseline.
pub(crate) struct Comparison {
    lines: Vec<Line>,
}

struct Line {
    operation: String,
    counted: u64,
    baseline: Option<u64>,
}

impl Line {
    /// How much more than the baseline, as a share of it.
    fn change(&self) -> Option<f64> {
        let baseline = self.baseline? as f64;
        Some((self.counted as f64 - baseline) / baseline)
    }

    fn verdict(&self) -> &'static str {
        match self.change() {
            None => "not in the baseline: write it with --write",
            Some(change) if change > TOLERANCE => "TOO MANY",
            Some(change) if change < -TOLERANCE => "fewer: keep the gain with --write",
            Some(_) => "",
        }
    }

    fn passes(&self) -> bool {
        self.change().is_some_and(|change| change <= TOLERANCE)
    }
}

impl Comparison {
    /// Whether every operation is in the baseline and needs at most 5 % more.
    pub(crate) fn passes(&self) -> bool {
        self.lines.iter().all(Line::passes)
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut out = format!(
            "{:<28}{:>14}{:>14}{:>9}\n",
            "instructions", "baseline", "now", "change"
        );
        for line in &self.lines {
            let baseline = line
                .baseline
                .map_or_else(String::new, |count| count.to_string());
            let change = line
                .change()
                .map_or_else(String::new, |change| format!("{:+.2} %", change * 100.0));
            let _ = writeln!(
                out,
                "{:<28}{baseline:>14}{:>14}{change:>9}  {}",
                line.operation,
                line.counted,
                line.verdict()
            );
        }
        out
    }

    /// For programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let operations: Vec<_> = self
            .lines
            .iter()
            .map(|line| {
                json!({
                    "operation": line.operation,
                    "instructions": line.counted,
                    "baseline": line.baseline,
                    "change": line.change(),
                    "passes": line.passes(),
                })
            })
            .collect();
        json!({ "passes": self.passes(), "operations": operations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(baseline: u64, now: u64) -> Comparison {
        let counts = |count| Counts::from([("wrap".to_owned(), count)]);
        let baseline = Baseline {
            rustc: String::new(),
            instructions: counts(baseline),
        };
        baseline.compare(&counts(now))
    }

    #[test]
    fn over_five_per_cent_more_fails() {
        assert!(compare(100_000, 105_000).passes());
        let worse = compare(100_000, 105_001);
        assert!(!worse.passes());
        assert!(worse.text().contains("TOO MANY"));
        assert!(compare(100_000, 50_000).passes());
    }

    #[test]
    fn an_operation_without_a_baseline_fails() {
        let baseline = Baseline {
            rustc: String::new(),
            instructions: Counts::new(),
        };
        assert!(
            !baseline
                .compare(&Counts::from([("new".to_owned(), 1)]))
                .passes()
        );
    }
}
