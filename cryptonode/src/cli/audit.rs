//! `cryptonode audit`: the log, read from its files; no passphrase and no running node are needed. Only `witness` asks the node.

mod prove;
mod verify;
mod witness;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::member::open;
use super::output::field;
use super::{Dir, Failure, Output, exit};
use crate::audit::{self, AuditEntry, Follower, note_key, witness_key};
use crate::node_files::AUDIT_FOLDER;

/// How often a followed log is looked at.
const FOLLOW: std::time::Duration = std::time::Duration::from_millis(250);

/// `cryptonode audit`.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Verify every record, and the log against its signed checkpoint; or, without the log, a proof or an export.
    Verify(verify::Verify),
    /// Prove that a record is in the log, or that the log continues an earlier checkpoint, to somebody who has not the log.
    Prove(prove::Prove),
    /// Who has cosigned this node's log, and what it has seen of others' logs. Asks the running node.
    Witness(Dir),
    /// The keys by which others verify this node's log, and its word on theirs.
    Key(Dir),
    /// Show records, the latest ones unless told otherwise.
    Show {
        #[command(flatten)]
        dir: Dir,
        /// Number of the first record to show.
        #[arg(long)]
        from: Option<u64>,
        /// How many at most.
        #[arg(long, default_value_t = 20)]
        limit: u64,
    },
    /// Show the latest records, and with --follow those that come. Checks frames, not signatures.
    Tail {
        #[command(flatten)]
        dir: Dir,
        /// How many to begin with.
        #[arg(long, default_value_t = 10)]
        lines: usize,
        /// Go on until it is stopped.
        #[arg(long)]
        follow: bool,
    },
    /// Write all records and the signed checkpoints as lines of JSON.
    Export {
        #[command(flatten)]
        dir: Dir,
        /// The file to write; standard output if absent.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

pub(super) fn run(command: AuditCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        AuditCommand::Verify(command) => verify::run(&command, output),
        AuditCommand::Prove(command) => prove::run(&command, output),
        AuditCommand::Witness(Dir { dir }) => witness::run(&dir, output),
        AuditCommand::Key(Dir { dir }) => key(&dir, output),
        AuditCommand::Show {
            dir: Dir { dir },
            from,
            limit,
        } => show(&dir, from, limit, output),
        AuditCommand::Tail {
            dir: Dir { dir },
            lines,
            follow,
        } => tail(&dir, lines, follow, output),
        AuditCommand::Export {
            dir: Dir { dir },
            out,
        } => export(&dir, out, output),
    }
}

fn key(dir: &Path, output: &mut Output) -> Result<(), Failure> {
    let (config, own) = open(dir)?;
    let wrong = |error: certs::note::NoteError| {
        Failure::new(exit::CONFIGURATION, error.code(), error.to_string())
    };
    let log = note_key(&config.name, &own.identity).map_err(wrong)?;
    let witness = witness_key(&config.name, &own.identity).map_err(wrong)?;
    output.result(
        &json!({ "log": log.to_string(), "witness": witness.to_string() }),
        &[field("log", log), field("witness", witness)],
    )
}

fn show(dir: &Path, from: Option<u64>, limit: u64, output: &mut Output) -> Result<(), Failure> {
    let (config, own) = open(dir)?;
    let mut shown: std::collections::VecDeque<(u64, AuditEntry)> =
        std::collections::VecDeque::new();
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    audit::verify_folder(
        &dir.join(AUDIT_FOLDER),
        &config.name,
        &own.identity,
        |index, record, _| {
            let late_enough = from.is_none_or(|from| index >= from);
            // With --from the first ones are kept, without it the last ones.
            if late_enough && (from.is_none() || shown.len() < wanted) && wanted > 0 {
                if shown.len() == wanted {
                    shown.pop_front();
                }
                shown.push_back((index, record.clone()));
            }
            Ok(())
        },
    )?;
    let records: Vec<_> = shown
        .iter()
        .map(|(index, record)| json!({ "index": index, "record": record.as_json() }))
        .collect();
    let lines: Vec<String> = shown
        .iter()
        .map(|(index, record)| line(*index, record))
        .collect();
    output.result(&json!({ "records": records }), &lines)
}

fn tail(dir: &Path, lines: usize, follow: bool, output: &mut Output) -> Result<(), Failure> {
    open(dir)?;
    let mut log = Follower::new(&dir.join(AUDIT_FOLDER));
    let mut last = std::collections::VecDeque::new();
    log.poll(|index, entry| {
        if last.len() >= lines {
            last.pop_front();
        }
        if lines > 0 {
            last.push_back((index, entry));
        }
    })?;
    loop {
        for (index, entry) in last.drain(..) {
            let value = json!({ "index": index, "record": entry.as_json() });
            output.event(&value, &line(index, &entry))?;
        }
        if !follow {
            return Ok(());
        }
        std::thread::sleep(FOLLOW);
        log.poll(|index, entry| last.push_back((index, entry)))?;
    }
}

fn export(dir: &Path, out: Option<PathBuf>, output: &mut Output) -> Result<(), Failure> {
    let (config, own) = open(dir)?;
    let folder = dir.join(AUDIT_FOLDER);
    match out {
        None => {
            let mut text = Vec::new();
            audit::export(&folder, &config.name, &own.identity, &mut text)?;
            output.raw(&text)
        }
        Some(path) => {
            let file = File::create(&path).map_err(|error| unwritable(&path, &error))?;
            let mut file = BufWriter::new(file);
            let verified = audit::export(&folder, &config.name, &own.identity, &mut file)?;
            file.flush()?;
            output.result(
                &verify::as_json(&verified),
                &[field("written", path.display())],
            )
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot write {}: {error}", path.display());
    Failure::new(exit::FAILED, "output", message)
}

fn when(time_ms: u64) -> String {
    time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ms) * 1_000_000)
        .ok()
        .and_then(|time| {
            time.format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .unwrap_or_else(|| time_ms.to_string())
}

fn line(index: u64, entry: &AuditEntry) -> String {
    let record = match entry {
        AuditEntry::Share(record) => record,
        AuditEntry::Operator(record) => {
            return format!(
                "{index} {} by the operator: {} {}: {}",
                when(record.time_ms),
                record.action,
                hex::encode(record.subject),
                record.reason
            );
        }
    };
    let when = when(record.time_ms);
    let approvals: Vec<String> = record
        .approvals
        .iter()
        .map(|approval| format!("{} by {}", approval.approval_id, approval.organisation))
        .collect();
    let short = |bytes: &[u8; 32]| hex::encode(bytes).chars().take(16).collect::<String>();
    format!(
        "{index} {when} document {} to client {} key {} epoch {}: {}",
        short(&record.write_id),
        short(&record.client),
        short(&record.public_key),
        record.epoch,
        approvals.join(", ")
    )
}
