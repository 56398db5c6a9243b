//! The log: standard error, for operators and their collectors. Secrets have no form in which they could be logged.

use clap::ValueEnum;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, reload};

use super::{Failure, exit};
use crate::log_level;

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
    let (filter, handle) = reload::Layer::new(filter);
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A log that cannot be written (its disk is full, say) must not take requests down with it.
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        Format::Text => registry.with(lines.with_ansi(terminal)).try_init(),
        Format::Json => registry.with(lines.json()).try_init(),
    };
    // What the command line says holds to the end; otherwise the configuration says it, and may change it.
    if started.is_ok() && level.is_none() {
        log_level::install(move |level| {
            let filter = EnvFilter::try_new(level).map_err(|error| error.to_string())?;
            handle.reload(filter).map_err(|error| error.to_string())
        });
    }
    Ok(())
}
