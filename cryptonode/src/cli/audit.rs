//! `cryptonode audit`: the log, read from its files; no passphrase and no running node are needed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::member::open;
use super::output::field;
use super::{Dir, Failure, Output, exit};
use crate::audit::{self, AuditEntry, Verified};
use crate::node_files::AUDIT_FOLDER;

/// `cryptonode audit`.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Verify every record, and the log against its signed checkpoint.
    Verify(Dir),
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
    /// Write all records and the signed checkpoint as lines of JSON.
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
        AuditCommand::Verify(Dir { dir }) => {
            let (config, own) = open(&dir)?;
            let verified = audit::verify_folder(
                &dir.join(AUDIT_FOLDER),
                &config.name,
                &own.identity,
                |_, _, _| Ok(()),
            )?;
            let signed = verified
                .signed
                .map_or("no checkpoint yet".to_owned(), |size| {
                    format!("{size} records")
                });
            output.result(
                &as_json(&verified),
                &[
                    field(
                        "audit log",
                        format!("in order, {} records", verified.records),
                    ),
                    field("origin", &verified.origin),
                    field("root", hex::encode(verified.root)),
                    field("signed", signed),
                ],
            )
        }
        AuditCommand::Show {
            dir: Dir { dir },
            from,
            limit,
        } => {
            let (config, own) = open(&dir)?;
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
        AuditCommand::Export {
            dir: Dir { dir },
            out,
        } => {
            let (config, own) = open(&dir)?;
            let folder = dir.join(AUDIT_FOLDER);
            match out {
                None => {
                    let mut text = Vec::new();
                    audit::export(&folder, &config.name, &own.identity, &mut text)?;
                    output.raw(&text)
                }
                Some(path) => {
                    let file = File::create(&path).map_err(|error| {
                        Failure::new(
                            exit::FAILED,
                            "output",
                            format!("cannot write {}: {error}", path.display()),
                        )
                    })?;
                    let mut file = BufWriter::new(file);
                    let verified = audit::export(&folder, &config.name, &own.identity, &mut file)?;
                    file.flush()?;
                    output.result(&as_json(&verified), &[field("written", path.display())])
                }
            }
        }
    }
}

fn as_json(verified: &Verified) -> serde_json::Value {
    json!({
        "ok": true, "origin": verified.origin, "records": verified.records, "root": hex::encode(verified.root),
        "signed": verified.signed, "unfinished_bytes": verified.unfinished,
    })
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
