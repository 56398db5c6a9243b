//! Proofs of what happened.

use std::path::{Path, PathBuf};

use certs::checkpoint::NoteKey;
use clap::Subcommand;
use serde_json::json;

use super::audit_rows::{self, About, Rows};
use super::output::field;
use super::reconcile::{self, Reconcile};
use super::{Connect, Failure, Output, block_on, exit};
use crate::folder;
use crate::record::Identifier;
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
    /// organisations signed. Or the proof of one row, which is a few hundred bytes.
    #[command(after_help = "\
Examples:
  coordinator audit verify record.export --keys D/verifiers.txt
  coordinator audit verify --proof P/7.tlog-proof --keys D/verifiers.txt")]
    Verify {
        /// The export.
        #[arg(
            value_name = "FILE",
            required_unless_present = "proof",
            conflicts_with = "proof"
        )]
        export: Option<PathBuf>,
        /// A row's proof, from `audit document … --proofs`.
        #[arg(long, value_name = "FILE")]
        proof: Option<PathBuf>,
        /// File with the organisations' verifier keys, one in each line, got from the organisations themselves.
        #[arg(long, value_name = "FILE")]
        keys: PathBuf,
    },
    /// What happened to a document: its versions, reads, links, erasure.
    #[command(after_help = "\
Examples:
  coordinator audit document designs bridge --keys D/verifiers.txt
  coordinator audit document designs bridge --kind read \\
    --from 2026-11-01 --to 2026-11-30 --proofs P")]
    Document {
        /// The dataset.
        #[arg(value_name = "DATASET")]
        dataset: Identifier,
        /// The document.
        #[arg(value_name = "DOCUMENT")]
        document: Identifier,
        #[command(flatten)]
        rows: Rows,
    },
    /// What happened to a link between documents.
    Link {
        /// The dataset that the link lies in.
        #[arg(value_name = "DATASET")]
        dataset: Identifier,
        /// The link.
        #[arg(value_name = "LINK")]
        link: Identifier,
        #[command(flatten)]
        rows: Rows,
    },
    /// Who was given access to a dataset, asked for it or lost it, and by whom.
    Permission {
        /// The dataset.
        #[arg(value_name = "DATASET")]
        dataset: Identifier,
        #[command(flatten)]
        rows: Rows,
    },
    /// What a user signed, and what was done about it.
    User {
        /// The user.
        #[arg(value_name = "USER")]
        user: Identifier,
        #[command(flatten)]
        rows: Rows,
    },
    /// What happened in a dataset.
    Dataset {
        /// The dataset.
        #[arg(value_name = "DATASET")]
        dataset: Identifier,
        #[command(flatten)]
        rows: Rows,
    },
    /// What happened in the tenant.
    Tenant {
        #[command(flatten)]
        rows: Rows,
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
        AuditCommand::Verify {
            proof: Some(proof),
            keys,
            ..
        } => audit_rows::verify(proof, keys, output),
        AuditCommand::Verify {
            export: Some(export),
            keys,
            ..
        } => verify(export, keys, output),
        AuditCommand::Verify { .. } => {
            let message = "say what to verify: an export, or --proof";
            Err(Failure::new(exit::USAGE, "usage", message))
        }
        AuditCommand::Document {
            dataset,
            document,
            rows,
        } => audit_rows::run(&About::Document(dataset, document), rows, connect, output),
        AuditCommand::Link {
            dataset,
            link,
            rows,
        } => audit_rows::run(&About::Link(dataset, link), rows, connect, output),
        AuditCommand::Permission { dataset, rows } => {
            audit_rows::run(&About::Permission(dataset), rows, connect, output)
        }
        AuditCommand::User { user, rows } => {
            audit_rows::run(&About::User(user), rows, connect, output)
        }
        AuditCommand::Dataset { dataset, rows } => {
            audit_rows::run(&About::Dataset(dataset), rows, connect, output)
        }
        AuditCommand::Tenant { rows } => audit_rows::run(&About::Tenant, rows, connect, output),
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
