//! The log: standard error, for operators and their collectors. Secrets have no form in which they could be logged.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::{Failure, exit};

/// Form of the log.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Format {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging at `level`, or at `default`. In a process that logs already, that log goes on.
///
/// A level alone is that of this project's own crates; those of others stay at warnings unless they are named, for nobody
/// here answers for what they write at `trace`.
pub(super) fn start(level: Option<&str>, default: &str, format: Format) -> Result<(), Failure> {
    let level = level.unwrap_or(default);
    let directives = if level.contains(['=', ',']) || level == "off" {
        level.to_owned()
    } else {
        format!("warn,coordinator={level},cryptonode={level},reencrypt={level},certs={level}")
    };
    let filter = EnvFilter::try_new(directives).map_err(|e| {
        Failure::new(
            exit::USAGE,
            "log-level",
            format!("the log level {level:?} cannot be read: {e}"),
        )
    })?;
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let _ = match format {
        Format::Text => builder.with_ansi(terminal).try_init(),
        Format::Json => builder.json().try_init(),
    };
    Ok(())
}
