//! Printing: text for people, JSON for programs, progress for terminals.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::Failure;

const STRONG: Style = Style::new().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Where results go. Colours and progress appear on a terminal only.
pub(super) struct Output {
    json: bool,
    /// Set once standard output carries a document of the user's: then results and errors go to standard error.
    taken: AtomicBool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            taken: AtomicBool::new(false),
        }
    }

    /// From now on standard output is for a document alone.
    pub(super) fn take_stdout(&self) {
        self.taken.store(true, Ordering::Relaxed);
    }

    /// A result: the JSON document, or the lines.
    pub(super) fn result(&self, value: &impl Serialize, lines: &[String]) -> Result<(), Failure> {
        let text = if self.json {
            serde_json::to_string(value).map_err(std::io::Error::from)?
        } else {
            lines.join("\n")
        };
        if self.taken.load(Ordering::Relaxed) {
            self.note(&text);
            return Ok(());
        }
        let mut out = anstream::stdout().lock();
        // Whoever stops reading has read enough.
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }

    /// Text as it is, also with `--json`: it is a document of its own.
    pub(super) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }

    /// A sentence beside a result that goes to standard output as a document.
    pub(super) fn note(&self, sentence: &str) {
        let _ = writeln!(anstream::stderr(), "{sentence}");
    }

    pub(super) fn failure(&self, failure: &Failure) {
        let _ = writeln!(
            anstream::stderr(),
            "{BAD}coordinator:{BAD:#} {}",
            failure.message
        );
        if self.json {
            let Failure {
                code,
                message,
                more,
                request_id,
                ..
            } = failure;
            self.error(
                json!({ "code": code, "message": message, "more": more, "request_id": request_id }),
            );
            return;
        }
        for line in failure.more.as_ref().map(said).unwrap_or_default() {
            let _ = writeln!(anstream::stderr(), "  {line}");
        }
        if let Some(id) = failure.request_id.as_ref().filter(|_| failure.is_internal) {
            let _ = writeln!(
                anstream::stderr(),
                "  in the platform's log it is request {id}"
            );
        }
    }

    /// A command line that cannot be read; what is wrong with it has been said on standard error.
    pub(super) fn usage(&self, message: &str) {
        if self.json {
            self.error(json!({ "code": "usage", "message": message }));
        }
    }

    fn error(&self, error: serde_json::Value) {
        let value = json!({ "error": error });
        if self.taken.load(Ordering::Relaxed) {
            self.note(&value.to_string());
        } else {
            let _ = writeln!(anstream::stdout(), "{value}");
        }
    }

    /// A progress bar for `length` bytes, or for an unknown number.
    pub(super) fn progress(&self, what: &str, length: Option<u64>) -> ProgressBar {
        if self.json || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::no_length();
        match length {
            Some(length) => of_length(&bar, length),
            None => style(&bar, "{msg} {spinner} {bytes}, {bytes_per_sec}"),
        }
        bar.set_message(what.to_owned());
        bar
    }
}

impl Output {
    /// A progress bar for a number of things.
    pub(super) fn progress_of_items(&self, what: &str, count: u64) -> ProgressBar {
        if self.json || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(count);
        let template = "{msg} {wide_bar} {pos} of {len}, {per_sec}, {eta} left";
        style(&bar, template);
        bar.set_message(what.to_owned());
        bar
    }
}

/// Says how many bytes there will be.
pub(super) fn of_length(bar: &ProgressBar, length: u64) {
    bar.set_length(length);
    style(
        bar,
        "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
    );
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

/// What organisations and nodes said, a line each.
fn said(more: &serde_json::Value) -> Vec<String> {
    let text = |value: &serde_json::Value, name: &str| {
        value
            .get(name)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let list = |name: &str| {
        more.get(name)
            .and_then(serde_json::Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let organisations = list("organisations")
        .into_iter()
        .filter(|o| o.get("code").is_some());
    let organisations =
        organisations.map(|o| format!("{}: {}", text(&o, "organisation"), text(&o, "message")));
    let nodes = list("nodes");
    let nodes = nodes.iter().map(|n| {
        format!(
            "{} {} {}",
            text(n, "name"),
            text(n, "outcome"),
            text(n, "message")
        )
    });
    organisations.chain(nodes).collect()
}

/// `name: value` with the name made strong.
pub(super) fn field(name: &str, value: impl std::fmt::Display) -> String {
    format!("{STRONG}{name}:{STRONG:#} {value}")
}

/// A time as people and programs read it (RFC 3339, UTC), from milliseconds since the Unix epoch.
pub(super) fn instant(ms: u64) -> String {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    i64::try_from(ms / 1000)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{ms} ms"))
}

/// A table with aligned columns; the first row is the heading.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(String::as_str);
        cells
            .chain(heading.get(column).copied())
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let line = |cells: Vec<&str>| {
        let last = cells.len().saturating_sub(1);
        let padded = cells.iter().enumerate().map(|(column, cell)| {
            if column == last {
                (*cell).to_owned()
            } else {
                format!("{cell:<width$}", width = width(column))
            }
        });
        padded.collect::<Vec<_>>().join("  ")
    };
    let mut lines = vec![format!("{STRONG}{}{STRONG:#}", line(heading.to_vec()))];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    lines
}
