//! `cryptonode audit prove`.

use std::path::PathBuf;

use certs::checkpoint::SignedCheckpoint;
use certs::log_proof::{LogProofError, verify_head};
use clap::Args;
use serde_json::json;

use super::super::member::open;
use super::super::output::field;
use super::super::{Dir, Failure, Output, exit};
use super::unwritable;
use super::verify::read_text;
use crate::audit::{ProveError, Wanted, note_key, prove_consistency, prove_record};
use crate::node_files::AUDIT_FOLDER;

/// Prove that a record is in the log, or that the log continues an earlier checkpoint, to somebody who has not the log.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cryptonode audit prove --dir n1 --approval read-7 --out read-7.tlog-proof\n  cryptonode audit prove --dir n1 --from last-month.checkpoint > continued\n  cryptonode audit verify --proof read-7.tlog-proof --cluster cluster.json --witnesses 2"
)]
pub(crate) struct Prove {
    #[command(flatten)]
    dir: Dir,
    #[command(flatten)]
    what: What,
    /// The file to write; standard output if absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The record's number, from 0.
    #[arg(long)]
    index: Option<u64>,
    /// The id of an approval that counted for it.
    #[arg(long, value_name = "ID")]
    approval: Option<String>,
    /// The SHA-256 of its wrapped key, in hexadecimal.
    #[arg(long, value_name = "HEX")]
    write_id: Option<String>,
    /// A file with an earlier checkpoint of this log: proves that the log continues it.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

impl From<ProveError> for Failure {
    fn from(error: ProveError) -> Self {
        match error {
            ProveError::Audit(error) => error.into(),
            ProveError::NotContinued { .. } => {
                Self::new(exit::DAMAGED, error.code(), error.to_string())
            }
            other => Self::new(exit::FAILED, other.code(), other.to_string()),
        }
    }
}

fn wanted(what: &What) -> Result<Wanted, Failure> {
    if let Some(index) = what.index {
        return Ok(Wanted::Index(index));
    }
    if let Some(id) = &what.approval {
        return Ok(Wanted::Approval(id.clone()));
    }
    let text = what.write_id.as_deref().unwrap_or_default();
    let id = hex::decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    id.map(Wanted::WriteId).ok_or_else(|| {
        let message =
            "a write id is 64 hexadecimal digits, as `cryptonode audit show --json` has it";
        Failure::new(exit::USAGE, "write-id", message)
    })
}

pub(super) fn run(command: &Prove, output: &mut Output) -> Result<(), Failure> {
    let Dir { dir } = &command.dir;
    let (config, own) = open(dir)?;
    let folder = dir.join(AUDIT_FOLDER);
    let (proof, about) = match &command.what.from {
        Some(path) => {
            let refused = |error: LogProofError| {
                let message = format!("{}: {error}", path.display());
                Failure::new(exit::FAILED, error.code(), message)
            };
            let log = note_key(&config.name, &own.identity)
                .map_err(|error| Failure::new(exit::FAILED, error.code(), error.to_string()))?;
            let old = SignedCheckpoint::parse(&read_text(path)?)
                .map_err(|error| refused(error.into()))
                .and_then(|checkpoint| verify_head(&checkpoint, &log).map_err(refused))?;
            let file = prove_consistency(&folder, &config.name, &own.identity, &old)?;
            let size = file.checkpoint.claimed().size;
            let about = json!({ "kind": "consistency", "old": old.size, "size": size });
            (file.to_string(), about)
        }
        None => {
            let wanted = wanted(&command.what)?;
            let (file, entry) = prove_record(&folder, &config.name, &own.identity, &wanted)?;
            let about = json!({
                "kind": "inclusion", "index": file.index, "size": file.checkpoint.claimed().size,
                "record": entry.as_json(),
            });
            (file.to_string(), about)
        }
    };
    if let Some(path) = &command.out {
        std::fs::write(path, &proof).map_err(|error| unwritable(path, &error))?;
    }
    if !output.is_json() && command.out.is_none() {
        return output.raw(proof.as_bytes());
    }
    let mut value = about;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("proof".to_owned(), proof.into());
    }
    let written = command.out.iter();
    let lines: Vec<String> = written
        .map(|path| field("written", path.display()))
        .collect();
    output.result(&value, &lines)
}
