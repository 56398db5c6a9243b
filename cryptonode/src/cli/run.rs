//! `cryptonode run`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::output::field;
use super::{Failure, Output, PassphraseSource, exit};
use crate::daemon::{self, Event, RunOptions};
use crate::process;

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints one line when it serves; with --json:
  {\"event\":\"ready\",\"name\":…,\"listen\":…,\"identity\":…,\"keys\":[…],\"health\":…}
Without a passphrase it starts sealed ({\"event\":\"sealed\",…}) and serves after `cryptonode unseal`.
SIGTERM or Ctrl-C stops it after what it accepted is answered; a second one stops it at once.

Example:
  cryptonode run --dir n1 --passphrase-file pass")]
pub(super) struct Run {
    /// The node's folder.
    #[arg(long, value_name = "DIR", env = "CRYPTONODE_DIR")]
    dir: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseSource,
    /// Start sealed, and wait for `cryptonode unseal`; so does a node that finds no passphrase and nobody at a terminal.
    #[arg(long, conflicts_with_all = ["passphrase_file", "passphrase_command"])]
    sealed: bool,
    /// Stop when standard input is closed: with a pipe from the supervisor, nothing is left running when that dies.
    #[arg(long)]
    exit_with_stdin: bool,
}

pub(super) fn run(command: &Run, output: &mut Output) -> Result<(), Failure> {
    process::forbid_core_dumps();
    // The folder is taken before the passphrase is asked for: nobody should type it in vain.
    let prepared = daemon::prepare(&command.dir)?;
    let passphrase = if command.sealed {
        None
    } else {
        command.passphrase.find(false)?
    };
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
    let announce = |event: &Event| {
        let (value, line) = match event {
            Event::Sealed { name, health } => {
                let value = json!({ "event": "sealed", "name": name, "health": health });
                let dir = command.dir.display();
                let line = format!("{name}, waiting for `cryptonode unseal --dir {dir}`");
                (value, field("sealed", line))
            }
            Event::Ready(ready) => {
                let keys = if ready.keys.is_empty() {
                    "no key yet".to_owned()
                } else {
                    ready.keys.join(", ")
                };
                let line = format!(
                    "{} on {}, identity {}, {keys}",
                    ready.name, ready.listen, ready.identity
                );
                (ready.to_json(), field("ready", line))
            }
        };
        if output.event(&value, &line).is_err() {
            tracing::warn!("nobody reads standard output: its lines are lost");
        }
    };
    let result = runtime.block_on(daemon::run(prepared, passphrase, options, announce));
    runtime.shutdown_background();
    result.map_err(Failure::from)
}
