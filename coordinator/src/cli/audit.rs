//! Proofs of what happened.

use std::path::{Path, PathBuf};

use certs::checkpoint::NoteKey;
use clap::Subcommand;
use serde_json::json;

use super::output::field;
use super::reconcile::{self, Reconcile};
use super::{Connect, Failure, Output, block_on, exit};
use crate::folder;
use crate::record::audit::{VerifiedRecord, verify_export};

const MAX_KEYS: u64 = 1024 * 1024;

/// Commands about proofs.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Fetch the whole record with its signed head, for `audit verify`. Needs an operator's API key.
    #[command(
        after_help = "Example:\n  coordinator --profile D/client.toml audit export --out record.export"
    )]
    Export {
        /// The file to write.
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
    },
    /// Verify an export offline: every signature, proof, permission and root in it is checked anew, up to a head that enough
    /// organisations signed.
    #[command(
        after_help = "Example:\n  coordinator audit verify record.export --keys D/verifiers.txt"
    )]
    Verify {
        /// The export.
        #[arg(value_name = "FILE")]
        export: PathBuf,
        /// File with the organisations' verifier keys, one in each line, got from the organisations themselves.
        #[arg(long, value_name = "FILE")]
        keys: PathBuf,
    },
    /// Hold the record against the crypto nodes' logs, offline: every share that a node released must have its approved read.
    Reconcile(Reconcile),
    /// Print the record's head, signed by the organisations' peers.
    Checkpoint,
}

pub(super) fn run(
    command: &AuditCommand,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        AuditCommand::Export { out } => {
            let (client, key) = (connect.client()?, connect.operator_key()?);
            let bytes = block_on(async { Ok(client.export(key.expose(), out).await?) })?;
            let line = field("export", format!("{}, {bytes} bytes", out.display()));
            output.result(&json!({ "export": out, "bytes": bytes }), &[line])
        }
        AuditCommand::Verify { export, keys } => verify(export, keys, output),
        AuditCommand::Reconcile(command) => reconcile::run(command, output),
        AuditCommand::Checkpoint => {
            let client = connect.client()?;
            let note = block_on(async { Ok(client.checkpoint().await?) })?;
            output.result(
                &json!({ "checkpoint": note }),
                &[note.trim_end().to_owned()],
            )
        }
    }
}

/// The organisations' keys in a file.
pub(super) fn verifier_keys(keys: &Path) -> Result<Vec<NoteKey>, Failure> {
    let wrong = |reason: String| {
        let message = format!(
            "{} is not a list of verifier keys: {reason}",
            keys.display()
        );
        Failure::new(exit::CONFIGURATION, "verifier-keys", message)
    };
    let bytes = folder::read_limited(keys, MAX_KEYS)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is not text".into()))?;
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<NoteKey> = lines
        .map(|line| line.parse::<NoteKey>().map_err(|e| wrong(e.to_string())))
        .collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(wrong("it is empty".into()));
    }
    Ok(keys)
}

/// The export, verified under the keys in the file.
pub(super) fn verified(export: &Path, keys: &Path) -> Result<VerifiedRecord, Failure> {
    let keys = verifier_keys(keys)?;
    verify_export(export, &keys).map_err(|e| {
        Failure::new(
            exit::DAMAGED,
            e.code(),
            format!("the export does not hold: {e}"),
        )
    })
}

fn verify(export: &Path, keys: &Path, output: &Output) -> Result<(), Failure> {
    let verified = verified(export, keys)?;
    let report = &verified.report;
    let absent = if report.not_signed_by.is_empty() {
        "nobody".to_owned()
    } else {
        report.not_signed_by.join(", ")
    };
    let lines = [
        field(
            "ledger",
            format!("{} {}", report.name, hex::encode(report.ledger)),
        ),
        field("blocks", report.blocks),
        field("transactions", report.transactions),
        field("signed by", report.signed_by.join(", ")),
        field("not signed by", absent),
        "every signature, proof, permission and root in it holds".to_owned(),
    ];
    output.result(report, &lines)
}
