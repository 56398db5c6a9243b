//! Taking turns, and what came of it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A sample lasts at least so long, in as many calls as it takes.
const SAMPLE: Duration = Duration::from_millis(4);

/// One operation of one implementation.
pub struct Operation {
    name: &'static str,
    implementation: &'static str,
    /// Does it once and gives the time of what counts.
    once: Box<dyn FnMut() -> Duration>,
}

impl Operation {
    /// An operation whose whole call counts.
    pub fn new(
        name: &'static str,
        implementation: &'static str,
        mut work: impl FnMut() + 'static,
    ) -> Self {
        let once = move || {
            let started = Instant::now();
            work();
            started.elapsed()
        };
        Self {
            name,
            implementation,
            once: Box::new(once),
        }
    }

    /// An operation that needs something made before each call, which does not count.
    pub fn prepared<T>(
        name: &'static str,
        implementation: &'static str,
        mut prepare: impl FnMut() -> T + 'static,
        mut work: impl FnMut(T) + 'static,
    ) -> Self {
        let once = move || {
            let input = prepare();
            let started = Instant::now();
            work(input);
            started.elapsed()
        };
        Self {
            name,
            implementation,
            once: Box::new(once),
        }
    }
}

/// What was measured: operation, implementation, milliseconds of each sample.
pub struct Samples(Vec<(&'static str, &'static str, Vec<f64>)>);

/// Takes so many samples of each operation, in turns.
pub fn take(mut operations: Vec<Operation>, count: u32) -> Samples {
    let calls: Vec<u32> = operations
        .iter_mut()
        .map(|operation| {
            // The first call makes tables; the second tells how many fill a sample.
            (operation.once)();
            let once = (operation.once)().max(Duration::from_nanos(1));
            u32::try_from(SAMPLE.as_nanos().div_ceil(once.as_nanos())).unwrap_or(u32::MAX)
        })
        .collect();
    let mut all: Vec<(&str, &str, Vec<f64>)> = operations
        .iter()
        .map(|operation| (operation.name, operation.implementation, Vec::new()))
        .collect();
    for _ in 0..count {
        for ((operation, calls), samples) in operations.iter_mut().zip(&calls).zip(&mut all) {
            let spent: Duration = (0..*calls).map(|_| (operation.once)()).sum();
            samples
                .2
                .push(spent.as_secs_f64() * 1e3 / f64::from(*calls));
        }
    }
    Samples(all)
}

impl Samples {
    /// Writes the records.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for (operation, implementation, samples) in &self.0 {
            for sample in samples {
                let record = json!({
                    "run": 1,
                    "operation": operation,
                    "implementation": implementation,
                    "latency_ms": sample,
                });
                writeln!(file, "{record}")?;
            }
        }
        file.flush()
    }

    fn medians(&self) -> impl Iterator<Item = (&'static str, &'static str, f64)> + '_ {
        self.0.iter().map(|(operation, implementation, samples)| {
            let mut sorted = samples.clone();
            sorted.sort_by(f64::total_cmp);
            (
                *operation,
                *implementation,
                sorted[sorted.len().div_ceil(2) - 1],
            )
        })
    }

    /// For programs.
    pub fn document(&self) -> Value {
        let operations: Vec<Value> = self
            .medians()
            .map(|(operation, implementation, median)| {
                json!({ "operation": operation, "implementation": implementation, "median_ms": median })
            })
            .collect();
        json!({ "operations": operations })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = format!(
            "{:<36}{:<28}{:>12}\n",
            "operation", "implementation", "median, ms"
        );
        for (operation, implementation, median) in self.medians() {
            let _ = writeln!(out, "{operation:<36}{implementation:<28}{median:>12.4}");
        }
        out
    }
}
