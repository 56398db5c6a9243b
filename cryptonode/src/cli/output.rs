//! Printing: text for people, JSON for programs.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::json;

use super::Failure;

const STRONG: Style = Style::new().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Where results go. Colours appear on a terminal only.
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// A result: the JSON document, or the lines.
    pub(super) fn result(
        &mut self,
        value: &impl Serialize,
        lines: &[String],
    ) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        if self.json {
            let text = serde_json::to_string(value).map_err(std::io::Error::from)?;
            writeln!(out, "{text}")?;
        } else {
            for line in lines {
                writeln!(out, "{line}")?;
            }
        }
        out.flush()?;
        Ok(())
    }

    /// Something on the way to a result: a line of JSON, or a line.
    pub(super) fn event(&mut self, value: &impl Serialize, line: &str) -> Result<(), Failure> {
        self.result(value, &[line.to_owned()])
    }

    /// Text as it is, also with `--json`: it is a document of its own.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
        Ok(())
    }

    /// A sentence for the operator that is no result; with `--json` it is left out.
    pub(super) fn note(&mut self, sentence: &str) {
        if !self.json {
            let _ = writeln!(anstream::stderr(), "{sentence}");
        }
    }

    pub(super) fn failure(&mut self, failure: &Failure) {
        let _ = writeln!(
            anstream::stderr(),
            "{BAD}cryptonode:{BAD:#} {}",
            failure.message
        );
        if self.json && !failure.told {
            let value = json!({ "error": { "code": failure.code, "message": failure.message } });
            let _ = writeln!(anstream::stdout(), "{value}");
        }
    }
}

/// `name: value` with the name made strong.
pub(super) fn field(name: &str, value: impl std::fmt::Display) -> String {
    format!("{STRONG}{name}:{STRONG:#} {value}")
}
