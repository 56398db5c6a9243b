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

/// Starts logging at `level`, or at `info`. In a process that logs already, that log goes on.
pub(super) fn start(level: Option<&str>, format: Format) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(level.unwrap_or("info")).map_err(|error| {
        Failure::new(
            exit::USAGE,
            "log-level",
            format!(
                "--log {:?} cannot be read: {error}",
                level.unwrap_or_default()
            ),
        )
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let _ = match format {
        Format::Text => builder.with_ansi(terminal).try_init(),
        Format::Json => builder.json().try_init(),
    };
    Ok(())
}
