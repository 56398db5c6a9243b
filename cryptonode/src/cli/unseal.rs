//! `cryptonode unseal`: gives a sealed node its passphrase.

use std::path::PathBuf;

use clap::Args;

use super::output::field;
use super::{Failure, Output, PassphraseSource, exit};
use crate::admin;

/// Arguments of `unseal`.
#[derive(Debug, Args)]
#[command(after_help = "\
A node that was started without a passphrase has no secrets in memory: it shows its health, waits, and serves once it is opened. The \
passphrase goes over the admin socket, which only the node's user can open.

Examples:
  cryptonode unseal --dir n1
  cryptonode unseal --dir n1 --passphrase-file /run/secrets/pass")]
pub(super) struct Unseal {
    /// The node's folder.
    #[arg(long, value_name = "DIR", env = "CRYPTONODE_DIR")]
    dir: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

pub(super) fn run(command: &Unseal, output: &mut Output) -> Result<(), Failure> {
    crate::process::forbid_core_dumps();
    let passphrase = command.passphrase.obtain(false)?;
    let opened = admin::unseal(&command.dir, &passphrase).map_err(|error| {
        let wrong = error.code() == "wrong-passphrase";
        let failure = Failure::from(error);
        if wrong {
            Failure {
                exit: exit::PASSPHRASE,
                ..failure
            }
        } else {
            failure
        }
    })?;
    let listen = opened
        .get("listen")
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default()
        .to_owned();
    output.result(&opened, &[field("serves", listen)])
}
