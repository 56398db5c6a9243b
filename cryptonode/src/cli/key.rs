//! `cryptonode key` and `cryptonode status`: what the running node serves.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::ceremony::ask;
use super::output::field;
use super::{Dir, Failure, Output};
use crate::admin::{Command, ExportedKey, KeyView, NodeStatus};
use crate::store::write_private;

/// `cryptonode key`.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// List the keys of which this node has a share.
    List(Dir),
    /// Show one key.
    Show {
        #[command(flatten)]
        dir: Dir,
        /// Y in hexadecimal, or the head of it; the only key if absent.
        key: Option<String>,
    },
    /// Print cluster.json, by which platforms call the cluster.
    #[command(after_help = "Example:\n  cryptonode key export --dir n1 --out cluster.json")]
    Export {
        #[command(flatten)]
        dir: Dir,
        /// Y in hexadecimal, or the head of it; the only key if absent.
        key: Option<String>,
        /// Write it into this file instead of printing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Write the ceremony's certificate into this file too.
        #[arg(long, value_name = "FILE")]
        certificate: Option<PathBuf>,
    },
}

pub(super) fn run(command: KeyCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        KeyCommand::List(Dir { dir }) => {
            let keys: Vec<KeyView> = ask(&dir, &Command::KeyList {})?;
            let lines: Vec<String> = keys.iter().map(line).collect();
            output.result(&keys, &lines)
        }
        KeyCommand::Show {
            dir: Dir { dir },
            key,
        } => {
            let ExportedKey {
                key, certificate, ..
            } = ask(&dir, &Command::KeyExport { public_key: key })?;
            let lines = [
                field("public key", &key.public_key),
                field("epoch", key.epoch),
                field("threshold", format!("{} of {}", key.threshold, key.members)),
                field("members", key.member_names.join(", ")),
                field("this node's index", key.index),
                field(
                    "policy",
                    format!(
                        "{} ({} of {})",
                        key.policy_hash,
                        key.approvals_needed,
                        key.organisations.join(", ")
                    ),
                ),
                field("certificate", format!("{} bytes", certificate.len() / 2)),
            ];
            output.result(&json!({ "key": key, "certificate": certificate }), &lines)
        }
        KeyCommand::Export {
            dir: Dir { dir },
            key,
            out,
            certificate,
        } => {
            let exported: ExportedKey = ask(&dir, &Command::KeyExport { public_key: key })?;
            if let Some(path) = &certificate {
                let bytes = hex::decode(&exported.certificate).unwrap_or_default();
                write_private(path, &bytes, true)?;
            }
            match out {
                // The descriptor is a document already, so it is printed as it is, with or without --json.
                None => output.raw(exported.descriptor.as_bytes()),
                Some(path) => {
                    write_private(&path, exported.descriptor.as_bytes(), true)?;
                    let value = json!({ "public_key": exported.key.public_key, "out": path });
                    output.result(&value, &[field("written", path.display())])
                }
            }
        }
    }
}

fn line(key: &KeyView) -> String {
    format!(
        "{} epoch {}, {} of {}, index {}",
        key.public_key, key.epoch, key.threshold, key.members, key.index
    )
}

pub(super) fn status(dir: &Path, output: &mut Output) -> Result<(), Failure> {
    let status: NodeStatus = ask(dir, &Command::Status {})?;
    let mut lines = vec![
        field("node", format!("{} {}", status.name, status.identity)),
        field(
            "listens on",
            format!("{}, reached at {}", status.listen, status.advertise),
        ),
        field("version", &status.version),
        field("up for", format!("{} s", status.up_s)),
        field("ready", if status.ready { "yes" } else { "no" }),
    ];
    lines.extend(status.not_ready.iter().cloned());
    lines.extend(status.keys.iter().map(|key| field("key", line(key))));
    lines.extend(
        status
            .ceremonies
            .iter()
            .map(|ceremony| field("ceremony", format!("{}: {}", ceremony.id, ceremony.step))),
    );
    lines.push(field(
        "audit",
        format!("{} records, {}", status.audit.records, status.audit.origin),
    ));
    output.result(&status, &lines)
}
