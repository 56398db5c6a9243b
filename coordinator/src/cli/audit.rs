//! Proofs of what happened.

use std::path::{Path, PathBuf};

use certs::checkpoint::NoteKey;
use certs::merkle::verify_consistency;
use clap::Subcommand;
use serde_json::json;

use super::audit_rows::{self, About, Rows};
use super::operator::PassphraseSource;
use super::output::{field, of_length};
use super::reconcile::{self, Reconcile};
use super::{Connect, Failure, Output, approvals, block_on, exit};
use crate::client::OnProgress;
use crate::folder;
use crate::record::audit::{ProvenHead, VerifiedRecord, verify_export};
use crate::record::head::SignedHead;
use crate::record::{Hash, Identifier};

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
The keys may be the founders': the export has the head after every change of the
organisations, signed by those before, so that it leads from them to those of now.

Examples:
  coordinator audit verify record.export --keys D/verifiers.txt
  coordinator audit verify record.export --keys founders.txt \\
    --keys-out now.txt
  coordinator audit verify --proof P/7.tlog-proof --keys now.txt")]
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
        /// Write the verifier keys of the organisations that are on the record at the export's end into this file, for rows and proofs of now.
        #[arg(long, value_name = "FILE", conflicts_with = "proof")]
        keys_out: Option<PathBuf>,
    },
    /// Write out what the organisations whose peers' stores lie in a folder have approved, each signed by its head key, for `audit reconcile`. The peers may be running.
    #[command(after_help = "Example:\n  coordinator audit approvals --dir A --out approvals")]
    Approvals {
        /// The folder of a peer, or of a platform with the engine `solo`.
        #[arg(long, value_name = "DIR", env = "COORDINATOR_DIR")]
        dir: PathBuf,
        /// The folder for the files, ORGANISATION.approvals.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseSource,
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
    /// What an organisation signed, and what the others decided about it. From a platform it needs an operator's API key.
    Organisation {
        /// The organisation.
        #[arg(value_name = "NAME")]
        name: Identifier,
        #[command(flatten)]
        rows: Rows,
    },
    /// What happened in the tenant.
    Tenant {
        #[command(flatten)]
        rows: Rows,
    },
    /// Hold the record against the crypto nodes' logs and what the organisations approved, offline: every share that a node released must have its approved read, and
    /// every approval its outcome.
    Reconcile(Reconcile),
    /// Print the record's head, signed by the organisations' peers.
    #[command(after_help = "\
Examples:
  coordinator audit checkpoint > may.checkpoint
  coordinator audit checkpoint --since may.checkpoint --keys D/verifiers.txt")]
    Checkpoint {
        /// A head that was kept: refuse unless the record continues it.
        #[arg(long, value_name = "FILE", requires = "keys")]
        since: Option<PathBuf>,
        /// File with the verifier keys of the organisations that are on the record now, under which the newest head is verified.
        #[arg(long, value_name = "FILE", requires = "since")]
        keys: Option<PathBuf>,
    },
}

pub(super) fn run(
    command: &AuditCommand,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        AuditCommand::Export { out } => {
            let (client, key) = (connect.client()?, connect.operator_key()?);
            let bar = output.progress("record", None);
            let (known, moved) = (bar.clone(), bar.clone());
            let on_length: OnProgress = Box::new(move |length| of_length(&known, length));
            let on_progress: OnProgress = Box::new(move |bytes| moved.inc(bytes));
            let fetched = client.export(key.expose(), out, Some(&on_length), Some(&on_progress));
            let fetched = block_on(async { Ok(fetched.await) })?;
            bar.finish_and_clear();
            let bytes = fetched?;
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
            keys_out,
            ..
        } => verify(export, keys, keys_out.as_deref(), output),
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
        AuditCommand::Organisation { name, rows } => {
            audit_rows::run(&About::Organisation(name), rows, connect, output)
        }
        AuditCommand::Tenant { rows } => audit_rows::run(&About::Tenant, rows, connect, output),
        AuditCommand::Reconcile(command) => reconcile::run(command, output),
        AuditCommand::Approvals {
            dir,
            out,
            passphrase,
        } => approvals::run(dir, out, passphrase, output),
        AuditCommand::Checkpoint {
            since: Some(since),
            keys: Some(keys),
        } => continued(since, keys, connect, output),
        AuditCommand::Checkpoint { .. } => {
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

/// The newest head, if it is signed and the record under it continues the one that was kept.
fn continued(since: &Path, keys: &Path, connect: &Connect, output: &Output) -> Result<(), Failure> {
    let keys = verifier_keys(keys)?;
    let damaged = |code: &str, reason: String| {
        let message = format!(
            "the record does not go on from the head that was kept: {reason}; keep both as evidence"
        );
        Failure::new(exit::DAMAGED, code, message)
    };
    let kept = folder::read_limited(since, MAX_KEYS)?;
    let kept = std::str::from_utf8(&kept).unwrap_or_default();
    // A shell's `>` keeps one line end more than a note has, or one less.
    let kept = format!("{}\n", kept.trim_end());
    // Who kept it knows that it was signed, perhaps by organisations that are not on the record any more.
    let old = SignedHead::parse(&kept).map_err(|e| {
        let message = format!("{} is no head of a record: {e}", since.display());
        Failure::new(exit::CONFIGURATION, "checkpoint-file", message)
    })?;
    let old = &old.claimed().checkpoint;
    let client = connect.client()?;
    let view = block_on(async { Ok(client.prove_consistency(old.size).await?) })?;
    let proven = ProvenHead::verify(&view.checkpoint, &keys);
    let proven = proven.map_err(|e| damaged(e.code(), e.to_string()))?;
    let new = &proven.head().checkpoint;
    if new.origin != old.origin {
        return Err(damaged(
            "proof-other-ledger",
            format!("it is of {}", new.origin),
        ));
    }
    let path = view.path.iter().map(|it| {
        let hash = hex::decode(it).ok()?;
        hash.try_into().ok()
    });
    let path: Option<Vec<Hash>> = path.collect();
    let path = path.ok_or_else(|| damaged("proof-malformed", "the path is not hashes".into()))?;
    verify_consistency(old.size, new.size, &path, &old.root, &new.root)
        .map_err(|e| damaged(e.code(), e.to_string()))?;
    let value = json!({
        "checkpoint": view.checkpoint, "old": old.size, "size": new.size, "signed_by": proven.signed_by(),
    });
    output.result(&value, &[view.checkpoint.trim_end().to_owned()])
}

fn verify(
    export: &Path,
    keys: &Path,
    keys_out: Option<&Path>,
    output: &Output,
) -> Result<(), Failure> {
    let verified = verified(export, keys)?;
    let report = &verified.report;
    if let Some(path) = keys_out {
        let text = report.verifiers.join("\n") + "\n";
        folder::write_private(path, text.as_bytes())?;
    }
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
    ];
    let handed_over = report.handovers.iter().map(|it| {
        let signers = it.signed_by.join(", ");
        let text = format!("{} then, said {signers}", it.verifiers.len());
        field(
            &format!("organisations changed with block {}", it.block),
            text,
        )
    });
    let holds = "every signature, proof, permission and root in it holds".to_owned();
    let lines: Vec<String> = lines
        .into_iter()
        .chain(handed_over)
        .chain([holds])
        .collect();
    output.result(report, &lines)
}
