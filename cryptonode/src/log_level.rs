//! The level of the log while the process runs.

use std::sync::OnceLock;

type Change = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// There if the log's level may be changed: a level that the command line gave holds to the end.
static CHANGE: OnceLock<Change> = OnceLock::new();

/// Whoever started the log says how its level is changed. The first one counts.
pub(crate) fn install(change: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) {
    let _ = CHANGE.set(Box::new(change));
}

/// Logs at `level` from now on, if the command line did not say otherwise.
pub(crate) fn set(level: &str) {
    let Some(change) = CHANGE.get() else { return };
    if let Err(reason) = change(level) {
        tracing::warn!(level, reason, "the log's level could not be changed");
    }
}
