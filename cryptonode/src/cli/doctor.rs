//! `cryptonode doctor` and `cryptonode reload`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::ceremony::ask;
use super::output::field;
use super::{Failure, Output, exit};
use crate::admin::Command;
use crate::doctor::{self, State};
use crate::reload::Reloaded;
use crate::store::Passphrase;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Checks folder, disk, configuration, addresses, shares, issuers' certificates, and the other members: whether they answer, as whom, \
with which version, clock and policy. It changes nothing. Exit status 0 if nothing has failed, 9 if something has.

Examples:
  cryptonode doctor --dir n1
  cryptonode doctor --dir n1 --json | jq '.findings[] | select(.state == \"failed\")'")]
pub(super) struct Doctor {
    /// The node's folder.
    #[arg(long, value_name = "DIR", env = "CRYPTONODE_DIR")]
    dir: PathBuf,
    /// File with the passphrase, to check the shares of a node that does not run.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Let warnings count as failures.
    #[arg(long)]
    strict: bool,
}

pub(super) fn run(command: &Doctor, output: &mut Output) -> Result<(), Failure> {
    crate::process::forbid_core_dumps();
    let passphrase = match &command.passphrase_file {
        Some(file) => Some(Passphrase::obtain(Some(file), false)?),
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let findings = runtime.block_on(doctor::examine(&command.dir, passphrase.as_ref()));
    let count = |state| {
        findings
            .iter()
            .filter(|finding| finding.state == state)
            .count()
    };
    let (failed, warnings) = (count(State::Failed), count(State::Warning));
    let lines: Vec<String> = findings
        .iter()
        .map(|finding| {
            let state = match finding.state {
                State::Ok => "ok     ",
                State::Warning => "warning",
                State::Failed => "FAILED ",
                State::Skipped => "skipped",
            };
            let about = if finding.about.is_empty() {
                String::new()
            } else {
                format!(" {}", finding.about)
            };
            format!(
                "{state} {}",
                field(&format!("{}{about}", finding.check), &finding.message)
            )
        })
        .collect();
    let value = json!({ "failed": failed, "warnings": warnings, "findings": findings });
    output.result(&value, &lines)?;
    if failed > 0 || (command.strict && warnings > 0) {
        let message = format!("{failed} checks failed, {warnings} warnings: see above what to do");
        return Err(Failure::new(exit::UNWELL, "unwell", message).told());
    }
    Ok(())
}

pub(super) fn reload(dir: &Path, output: &mut Output) -> Result<(), Failure> {
    let done: Reloaded =
        ask(dir, &Command::Reload {}).map_err(|failure: Failure| match failure.code.as_str() {
            "configuration" => Failure {
                exit: exit::CONFIGURATION,
                ..failure
            },
            _ => failure,
        })?;
    let listed = |names: &[String]| {
        if names.is_empty() {
            "nothing".to_owned()
        } else {
            names.join(", ")
        }
    };
    output.result(
        &done,
        &[
            field("changed", listed(&done.changed)),
            field("taken at the next start", listed(&done.restart_needed)),
        ],
    )
}
