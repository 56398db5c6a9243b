//! What this program becomes when it is re-executed: the processes of an experiment.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

use cryptonode::daemon::{self, RunOptions};
use cryptonode::store::Passphrase;
use testkit::faulty_node;
use testkit::misbehaviour::Misbehaviour;
use tokio::task::JoinSet;

use super::flood;

/// The relay.
pub(super) const RELAY: &str = "relay";
/// Several nodes in one process: their folders and passphrase files in turn.
pub(super) const NODES: &str = "nodes";
/// A node that misbehaves: folder, passphrase file, misbehaviour.
pub(super) const FAULTY_NODE: &str = "faulty-node";

/// A client that floods ([`super::flood`]).
pub(super) const FLOOD: &str = "flood";

/// Runs as the role that the first word names; `None` if it names none.
pub fn run(words: &[OsString]) -> Option<ExitCode> {
    let (role, rest) = words.split_first()?;
    let result = match role.to_str()? {
        "cryptonode" => return Some(cryptonode::cli::run(words.iter().cloned())),
        RELAY => testkit::relay::serve(std::io::stdin(), std::io::stdout())
            .map_err(|error| error.to_string()),
        NODES => nodes(rest),
        FAULTY_NODE => faulty(rest),
        FLOOD => runtime().and_then(|runtime| {
            let flooded = runtime.block_on(flood::run(rest, ready));
            runtime.shutdown_background();
            flooded
        }),
        _ => return None,
    };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("{}: {error}", role.display());
            ExitCode::FAILURE
        }
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}"))
}

fn ready() {
    anstream::println!("{{\"event\":\"ready\"}}");
}

/// All nodes as tasks of one runtime. SIGTERM, and the end of standard input, reach every one of them.
fn nodes(words: &[OsString]) -> Result<(), String> {
    daemon::forbid_core_dumps();
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let mut running = JoinSet::new();
        for node in words.chunks_exact(2) {
            let [dir, passphrase] = node else { continue };
            let (dir, passphrase) = (PathBuf::from(dir), PathBuf::from(passphrase));
            running.spawn(async move {
                let prepared = daemon::prepare(&dir).map_err(|error| error.to_string())?;
                let passphrase = Passphrase::obtain(Some(&passphrase), false)
                    .map_err(|error| error.to_string())?;
                let options = RunOptions {
                    exit_with_stdin: true,
                };
                daemon::run(prepared, Some(passphrase), options, |_| ready())
                    .await
                    .map_err(|error| error.to_string())
            });
        }
        while let Some(ended) = running.join_next().await {
            ended.map_err(|error| error.to_string())??;
        }
        Ok(())
    });
    runtime.shutdown_background();
    result
}

fn faulty(words: &[OsString]) -> Result<(), String> {
    let [dir, passphrase, misbehaviour] = words else {
        return Err("give a folder, a passphrase file and a misbehaviour".to_owned());
    };
    let misbehaviour: Misbehaviour = misbehaviour
        .to_str()
        .unwrap_or_default()
        .parse()
        .map_err(|error: testkit::misbehaviour::UnknownMisbehaviour| error.to_string())?;
    let (dir, passphrase): (&OsStr, &OsStr) = (dir, passphrase);
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let serving =
            faulty_node::run(dir.as_ref(), passphrase.as_ref(), misbehaviour, |_| ready());
        let stdin = tokio::task::spawn_blocking(|| {
            std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())
        });
        tokio::select! {
            served = serving => served.map_err(|error| error.to_string()),
            _ = stdin => Ok(()),
        }
    });
    runtime.shutdown_background();
    result
}
