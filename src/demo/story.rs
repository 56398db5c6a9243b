//! What happened, as it is told to a person and as one JSON document.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::{Map, Value};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// Whether a step did what it should. A refusal that was to be expected is [`Outcome::Ok`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It did.
    Ok,
    /// It did not.
    Failed,
}

/// One step of the story.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// A stable name, such as `kill-two-nodes`.
    pub name: &'static str,
    /// What was to happen, as a sentence.
    pub title: String,
    /// Whether it did.
    pub outcome: Outcome,
    /// How long it took.
    pub milliseconds: f64,
    /// What came of it, as a sentence; of a failure, the reason.
    pub result: String,
    /// Figures of this step.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

/// What a step has to say for itself when it went well.
#[derive(Default)]
pub struct Told {
    /// What came of it, as a sentence.
    pub result: String,
    /// Figures for the JSON document.
    pub details: Map<String, Value>,
    /// Further lines for a person.
    pub lines: Vec<String>,
}

impl Told {
    /// A result without figures.
    pub fn new(result: impl Into<String>) -> Self {
        Self {
            result: result.into(),
            ..Self::default()
        }
    }

    /// Adds a figure.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a line for a person.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }
}

/// The telling of the steps, as they happen.
pub struct Story {
    json: bool,
    steps: Vec<Step>,
    began: Instant,
}

impl Story {
    /// Tells a person as it goes, unless `json`: then it keeps all for the document at the end.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            steps: Vec::new(),
            began: Instant::now(),
        }
    }

    /// The steps so far.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How long it has been going.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether every step did what it should.
    pub fn all_ok(&self) -> bool {
        self.steps.iter().all(|step| step.outcome == Outcome::Ok)
    }

    /// Does a step, times it, tells it. Gives nothing back if it failed.
    pub async fn step<T, E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        title: impl Into<String>,
        work: impl Future<Output = Result<(T, Told), E>>,
    ) -> Option<T> {
        let title = title.into();
        self.announce(&title);
        let began = Instant::now();
        let done = work.await;
        let milliseconds = began.elapsed().as_secs_f64() * 1e3;
        let (outcome, told, value) = match done {
            Ok((value, told)) => (Outcome::Ok, told, Some(value)),
            Err(error) => (Outcome::Failed, Told::new(error.to_string()), None),
        };
        self.tell(outcome, &title, milliseconds, &told);
        self.steps.push(Step {
            name,
            title,
            outcome,
            milliseconds,
            result: told.result,
            details: told.details,
        });
        value
    }

    /// A line for a person that is no step.
    pub fn say(&self, line: &str) {
        if !self.json {
            anstream::println!("{line}");
        }
    }

    /// A heading for a person.
    pub fn heading(&self, text: &str) {
        if !self.json {
            let bold = Style::new().bold();
            anstream::println!("\n{bold}{text}{bold:#}");
        }
    }

    fn announce(&self, title: &str) {
        if !self.json && std::io::stdout().is_terminal() {
            anstream::print!("{DIM}…{DIM:#} {title}");
            let _ = std::io::stdout().flush();
        }
    }

    fn tell(&self, outcome: Outcome, title: &str, milliseconds: f64, told: &Told) {
        if self.json {
            return;
        }
        if std::io::stdout().is_terminal() {
            anstream::print!("\r\x1b[2K");
        }
        let time = human_time(milliseconds);
        let mark = match outcome {
            Outcome::Ok => format!("{GOOD}✓{GOOD:#}"),
            Outcome::Failed => format!("{BAD}✗{BAD:#}"),
        };
        anstream::println!("{mark} {title} {DIM}{time}{DIM:#}");
        for line in told
            .result
            .lines()
            .chain(told.lines.iter().map(String::as_str))
        {
            anstream::println!("  {line}");
        }
    }
}

/// Milliseconds as a person reads them.
pub fn human_time(milliseconds: f64) -> String {
    if milliseconds < 10.0 {
        format!("{milliseconds:.1} ms")
    } else if milliseconds < 2_000.0 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.1} s", milliseconds / 1e3)
    }
}

/// Bytes as a person reads them.
pub fn human_size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if value < 1024.0 || unit == "GiB" {
            return if unit == "bytes" {
                format!("{bytes} bytes")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{bytes} bytes")
}
