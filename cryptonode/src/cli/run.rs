//! `cryptonode run`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::output::field;
use super::{Failure, Output, PassphraseSource, exit};
use crate::daemon::{self, Ready, RunOptions};
use crate::store::Passphrase;

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints one line when it serves; with --json:
  {\"event\":\"ready\",\"name\":…,\"listen\":…,\"identity\":…,\"keys\":[…]}
SIGTERM or Ctrl-C stops it after what it accepted is answered; a second one stops it at once.

Example:
  cryptonode run --dir n1 --passphrase-file pass")]
pub(super) struct Run {
    /// The node's folder.
    #[arg(long, value_name = "DIR", env = "CRYPTONODE_DIR")]
    dir: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseSource,
    /// Stop when standard input is closed: with a pipe from the supervisor, nothing is left running when that dies.
    #[arg(long)]
    exit_with_stdin: bool,
}

pub(super) fn run(command: &Run, output: &mut Output) -> Result<(), Failure> {
    daemon::forbid_core_dumps();
    // The folder is taken before the passphrase is asked for: nobody should type it in vain.
    let prepared = daemon::prepare(&command.dir)?;
    let passphrase = Passphrase::obtain(command.passphrase.passphrase_file.as_deref(), false)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(
                exit::FAILED,
                "runtime",
                format!("cannot start threads: {error}"),
            )
        })?;
    let options = RunOptions {
        exit_with_stdin: command.exit_with_stdin,
    };
    let announce = |ready: &Ready| {
        let value = json!({
            "event": "ready", "name": ready.name, "listen": ready.listen.to_string(), "identity": ready.identity,
            "keys": ready.keys,
        });
        let keys = if ready.keys.is_empty() {
            "no key yet".to_owned()
        } else {
            ready.keys.join(", ")
        };
        let line = field(
            "ready",
            format!(
                "{} on {}, identity {}, {keys}",
                ready.name, ready.listen, ready.identity
            ),
        );
        if output.event(&value, &line).is_err() {
            tracing::warn!("nobody reads standard output: the ready line was lost");
        }
    };
    let result = runtime.block_on(daemon::run(prepared, passphrase, options, announce));
    runtime.shutdown_background();
    result.map_err(Failure::from)
}
