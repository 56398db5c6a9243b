//! How far a sweep is, and how long it will still take.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// On a terminal a bar; elsewhere a line for each measurement.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    done: usize,
    of: usize,
    /// Point → seconds of one measurement of it.
    took: BTreeMap<String, f64>,
    waiting: Vec<String>,
    started: Instant,
}

impl Progress {
    /// Of these measurements, by their points' names; `known` are those of which it is known how long they take.
    pub(super) fn new(waiting: Vec<String>, known: BTreeMap<String, f64>) -> Self {
        let of = waiting.len();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(of as u64);
            if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed} {msg}")
            {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self {
            bar,
            done: 0,
            of,
            took: known,
            waiting,
            started: Instant::now(),
        }
    }

    /// A measurement begins.
    pub(super) fn begins(&mut self, point: &str) {
        let left = self.left().map_or_else(String::new, |left| {
            format!(", about {:#} left", HumanDuration(left))
        });
        match &self.bar {
            Some(bar) => bar.set_message(format!("{point}{left}")),
            None => anstream::eprintln!("{} of {}: {point}{left}", self.done + 1, self.of),
        }
        self.started = Instant::now();
    }

    /// It ended; `failed` with what it said.
    pub(super) fn ended(&mut self, point: &str, failed: Option<&str>) {
        self.done += 1;
        if let Some(place) = self.waiting.iter().position(|waiting| waiting == point) {
            self.waiting.remove(place);
        }
        match failed {
            None => {
                let seconds = self.started.elapsed().as_secs_f64();
                self.took.insert(point.to_owned(), seconds);
            }
            Some(reason) => {
                let line = format!("{point} failed: {reason}");
                match &self.bar {
                    Some(bar) => bar.println(line),
                    None => anstream::eprintln!("{line}"),
                }
            }
        }
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// What remains: each waiting measurement as long as the one of the same point, or as the mean of all.
    fn left(&self) -> Option<Duration> {
        let mean = self.took.values().sum::<f64>() / self.took.len() as f64;
        let seconds: f64 = self
            .waiting
            .iter()
            .map(|point| self.took.get(point).copied().unwrap_or(mean))
            .sum();
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// No more.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
