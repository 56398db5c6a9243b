//! `cryptonode audit verify`: the folder of a node, or, with keys alone, a proof or an export.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use certs::checkpoint::{Checkpoint, SignedCheckpoint};
use certs::log_proof::{ConsistencyFile, InclusionFile, LogProofError, MAX_FILE};
use certs::merkle::{Tree, leaf_hash};
use clap::Args;
use serde_json::{Value, json};

use super::super::member::open;
use super::super::output::field;
use super::super::{Failure, Output, exit};
use super::{line, when};
use crate::audit::{
    self, AuditEntry, Cosigner, ExportedLogError, ProveError, TrustError, Trusted, TrustedHead,
    Verified, check_exported,
};
use crate::client::ClusterDescriptor;
use crate::node_files::AUDIT_FOLDER;

/// Verify every record, and the log against its signed checkpoint; or, without the log, a proof or an export.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cryptonode audit verify --dir n1\n  cryptonode audit verify --proof read-7.tlog-proof --cluster cluster.json --witnesses 2\n  cryptonode audit verify --proof continued --old last-month.checkpoint --key cryptonode/n1/…\n  cryptonode audit verify --export n1-audit.jsonl --old last-month.checkpoint --cluster cluster.json"
)]
pub(crate) struct Verify {
    /// The node's folder.
    #[arg(long, value_name = "DIR", env = "CRYPTONODE_DIR")]
    dir: Option<PathBuf>,
    /// A file that `audit prove` wrote; it is checked without the log.
    #[arg(long, value_name = "FILE", conflicts_with = "export")]
    proof: Option<PathBuf>,
    /// A file that `audit export` wrote; it is checked without the folder.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// The key of a log or of a witness, as `audit key` prints them; as often as needed.
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// cluster.json: the keys of all its members, as logs and as witnesses.
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    /// How many witnesses, at least, must have cosigned.
    #[arg(long, value_name = "N", default_value_t = 0)]
    witnesses: usize,
    /// A checkpoint of the log that was kept from earlier: it must be continued. As often as needed.
    #[arg(long, value_name = "FILE")]
    old: Vec<PathBuf>,
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        let exit = match &error {
            TrustError::Key { .. } => exit::USAGE,
            TrustError::UnknownLog { .. } => exit::FAILED,
            _ => exit::DAMAGED,
        };
        Self::new(exit, error.code(), error.to_string())
    }
}

impl From<LogProofError> for Failure {
    fn from(error: LogProofError) -> Self {
        TrustError::from(error).into()
    }
}

impl From<ExportedLogError> for Failure {
    fn from(error: ExportedLogError) -> Self {
        match error {
            ExportedLogError::Trust(error) => error.into(),
            ExportedLogError::Io { .. } => Self::new(exit::FAILED, error.code(), error.to_string()),
            other => Self::new(exit::DAMAGED, other.code(), other.to_string()),
        }
    }
}

/// A file of text that is no longer than any proof.
pub(super) fn read_text(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE as u64 + 1).read_to_string(&mut text))
        .map_err(|error| {
            let message = format!("cannot read {}: {error}", path.display());
            Failure::new(exit::FAILED, "input", message)
        })?;
    Ok(text)
}

impl Verify {
    /// Whom the command line names.
    fn trusted(&self) -> Result<Trusted, Failure> {
        let mut trusted = Trusted::default();
        for key in &self.key {
            trusted.add(key)?;
        }
        if let Some(path) = &self.cluster {
            let cluster = ClusterDescriptor::from_json(&read_text(path)?)
                .and_then(ClusterDescriptor::check)
                .map_err(|error| {
                    let message = format!("{}: {error}", path.display());
                    Failure::new(exit::CONFIGURATION, error.code(), message)
                })?;
            for member in &cluster.descriptor().members {
                trusted.add_member(&member.name, &member.identity)?;
            }
        }
        Ok(trusted)
    }

    /// The heads that were kept from earlier.
    fn kept(&self, trusted: &Trusted) -> Result<Vec<Checkpoint>, Failure> {
        let heads = self.old.iter().map(|path| {
            let checkpoint = SignedCheckpoint::parse(&read_text(path)?)
                .map_err(|error| Failure::from(LogProofError::from(error)))?;
            Ok(trusted.verify(&checkpoint, 0)?.head)
        });
        heads.collect()
    }
}

pub(super) fn run(command: &Verify, output: &mut Output) -> Result<(), Failure> {
    let mut trusted = command.trusted()?;
    if let (None, None) = (&command.proof, &command.export) {
        let dir = command.dir.as_deref().ok_or_else(|| {
            let message = "say what to verify: --dir, --proof or --export";
            Failure::new(exit::USAGE, "usage", message)
        })?;
        return folder(command, dir, &mut trusted, output);
    }
    if !trusted.knows_logs() {
        let message = "say whose log it is: --key with what `audit key` prints, or --cluster";
        return Err(Failure::new(exit::USAGE, "usage", message));
    }
    let kept = command.kept(&trusted)?;
    if let Some(path) = &command.proof {
        return proof(command, &read_text(path)?, &trusted, &kept, output);
    }
    let path = command.export.as_deref().unwrap_or(Path::new("-"));
    let file = File::open(path).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        Failure::new(exit::FAILED, "input", message)
    })?;
    let checked = check_exported(BufReader::new(file), &trusted, command.witnesses, &kept)?;
    let mut lines = vec![
        field("export", format!("in order, {} records", checked.records)),
        field("origin", &checked.signed.head.origin),
        field("signed", format!("{} records", checked.signed.head.size)),
    ];
    lines.extend(checked.cosigned.as_ref().map(cosigned_line));
    let value = json!({
        "ok": true, "kind": "export", "origin": checked.signed.head.origin, "records": checked.records,
        "signed": checked.signed.head.size, "cosigned": checked.cosigned.as_ref().map(cosigned_json),
        "continues": kept.iter().map(|head| head.size).collect::<Vec<_>>(),
    });
    output.result(&value, &lines)
}

fn proof(
    command: &Verify,
    text: &str,
    trusted: &Trusted,
    kept: &[Checkpoint],
    output: &mut Output,
) -> Result<(), Failure> {
    if text.starts_with("old ") {
        let file = ConsistencyFile::parse(text)?;
        let [old] = kept else {
            let message = "a proof that a log continues a checkpoint needs that one: --old FILE";
            return Err(Failure::new(exit::USAGE, "usage", message));
        };
        let found = trusted.verify(&file.checkpoint, command.witnesses)?;
        file.verify(trusted.log_of(&file.checkpoint)?, old)?;
        let value = json!({
            "ok": true, "kind": "consistency", "origin": found.head.origin, "old": old.size,
            "size": found.head.size, "cosigners": found.cosigners,
        });
        return output.result(
            &value,
            &[
                field(
                    "continued",
                    format!("{} records are the first of {}", old.size, found.head.size),
                ),
                field("origin", &found.head.origin),
                cosigned_line(&found),
            ],
        );
    }
    let file = InclusionFile::parse(text)?;
    let found = trusted.verify(&file.checkpoint, command.witnesses)?;
    let (index, leaf, head) = file.verify(trusted.log_of(&file.checkpoint)?)?;
    let entry = AuditEntry::from_bytes(leaf)
        .map_err(|error| Failure::new(exit::DAMAGED, "audit-record", error.to_string()))?;
    let value = json!({
        "ok": true, "kind": "inclusion", "origin": head.origin, "index": index, "size": head.size,
        "record": entry.as_json(), "cosigners": found.cosigners,
    });
    output.result(
        &value,
        &[
            field("record", line(index, &entry)),
            field(
                "in the log",
                format!("{}, {} records", head.origin, head.size),
            ),
            cosigned_line(&found),
        ],
    )
}

fn folder(
    command: &Verify,
    dir: &Path,
    trusted: &mut Trusted,
    output: &mut Output,
) -> Result<(), Failure> {
    let (config, own) = open(dir)?;
    trusted.add_member(&config.name, &own.identity)?;
    for member in &config.members {
        trusted.add_member(&member.name, &member.identity)?;
    }
    let mut tree = Tree::new();
    let verified = audit::verify_folder(
        &dir.join(AUDIT_FOLDER),
        &config.name,
        &own.identity,
        |_, _, bytes| {
            tree.push(leaf_hash(bytes));
            Ok(())
        },
    )?;
    for old in command.kept(trusted)? {
        if old.origin != verified.origin || tree.root_at(old.size) != Ok(old.root) {
            return Err(ProveError::NotContinued { old: old.size }.into());
        }
    }
    let cosigned = match &verified.cosigned_note {
        Some(note) => {
            let checkpoint = SignedCheckpoint::parse(note)
                .map_err(|error| Failure::from(LogProofError::from(error)))?;
            Some(trusted.verify(&checkpoint, command.witnesses)?)
        }
        None if command.witnesses > 0 => {
            let (found, needed) = (0, command.witnesses);
            return Err(TrustError::FewWitnesses { found, needed }.into());
        }
        None => None,
    };
    let signed = verified
        .signed
        .map_or("no checkpoint yet".to_owned(), |size| {
            format!("{size} records")
        });
    let mut value = as_json(&verified);
    if let Some(fields) = value.as_object_mut() {
        let cosigners = cosigned.as_ref().map(cosigned_json);
        fields.insert("cosigned".to_owned(), cosigners.unwrap_or_default());
    }
    let mut lines = vec![
        field(
            "audit log",
            format!("in order, {} records", verified.records),
        ),
        field("origin", &verified.origin),
        field("root", hex::encode(verified.root)),
        field("signed", signed),
    ];
    lines.extend(cosigned.as_ref().map(cosigned_line));
    output.result(&value, &lines)
}

fn cosigned_json(found: &TrustedHead) -> Value {
    json!({ "records": found.head.size, "cosigners": found.cosigners })
}

fn cosigned_line(found: &TrustedHead) -> String {
    let by = |cosigner: &Cosigner| {
        let time = when(cosigner.time_s.saturating_mul(1000));
        format!("{} at {time}", cosigner.witness)
    };
    let names: Vec<String> = found.cosigners.iter().map(by).collect();
    let names = if names.is_empty() {
        "none of the known witnesses".to_owned()
    } else {
        names.join(", ")
    };
    field(
        "cosigned",
        format!("{} records, by {names}", found.head.size),
    )
}

pub(super) fn as_json(verified: &Verified) -> Value {
    json!({
        "ok": true, "origin": verified.origin, "records": verified.records, "root": hex::encode(verified.root),
        "signed": verified.signed, "unfinished_bytes": verified.unfinished,
        "cosigned_records": verified.cosigned,
    })
}
