//! `cryptonode key` and `cryptonode status`: what the running node serves.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use dkg::KeyCertificate;
use serde_json::json;

use super::ceremony::ask;
use super::output::field;
use super::{Dir, Failure, Output, exit};
use crate::admin::{Command, ExportedKey, KeyView, NodeStatus};
use crate::ceremony::when;
use crate::store::write_private;
use crate::suspension::{SuspensionKind, SuspensionView};

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
        /// Write the key's certificate, signed under the key itself, into this file too.
        #[arg(long, value_name = "FILE")]
        key_certificate: Option<PathBuf>,
    },
    /// Give no shares of a key, or for one document, until `resume`; at once and durably.
    #[command(after_help = "\
A document is named by its write id, as the audit log shows it. Each member of the cluster decides for itself: a read needs t \
members that give shares.

Examples:
  cryptonode key suspend --dir n1 3af1 --reason 'investigation 7'
  cryptonode key suspend --dir n1 --document 5be0… --reason 'withdrawn by its owner'")]
    Suspend(Suspension),
    /// Give shares again of what was suspended.
    Resume(Suspension),
    /// List what is suspended.
    Suspended(Dir),
    /// Verify a key's certificate: who its members are, by the key itself. Needs no node and no network.
    #[command(after_help = "\
The 32 bytes of the public key are all that has to be known: t of its members have signed under it who they are.

Example:
  cryptonode key verify 3af1… --certificate key.cert")]
    Verify {
        /// Y in hexadecimal, from a source that is trusted.
        key: String,
        /// The key's certificate, as `key export --key-certificate` writes it.
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
    },
}

/// What is suspended or resumed.
#[derive(Debug, clap::Args)]
pub(super) struct Suspension {
    #[command(flatten)]
    dir: Dir,
    /// Y in hexadecimal, or the head of it.
    #[arg(required_unless_present = "document")]
    key: Option<String>,
    /// The write id of one document instead of a key.
    #[arg(long, value_name = "WRITE-ID", conflicts_with = "key")]
    document: Option<String>,
    /// Why; it goes into the audit log.
    #[arg(long)]
    reason: String,
}

fn suspend(command: Suspension, suspended: bool, output: &mut Output) -> Result<(), Failure> {
    let (kind, subject) = match (command.key, command.document) {
        (_, Some(document)) => (SuspensionKind::Document, document),
        (key, None) => (SuspensionKind::Key, key.unwrap_or_default()),
    };
    let reason = command.reason;
    let request = if suspended {
        Command::Suspend {
            kind,
            subject,
            reason,
        }
    } else {
        Command::Resume {
            kind,
            subject,
            reason,
        }
    };
    let view: SuspensionView = ask(&command.dir.dir, &request)?;
    let word = if suspended { "suspended" } else { "resumed" };
    output.result(
        &json!({ (word): view }),
        &[field(
            word,
            format!("{} {}", kind_word(view.kind), view.subject),
        )],
    )
}

fn kind_word(kind: SuspensionKind) -> &'static str {
    match kind {
        SuspensionKind::Key => "key",
        SuspensionKind::Document => "document",
    }
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
                key,
                certificate,
                key_certificate,
                ..
            } = ask(&dir, &Command::KeyExport { public_key: key })?;
            let mut lines = vec![
                field("public key", &key.public_key),
                field("state", &key.state),
                field("epoch", format!("{} (attempt {})", key.epoch, key.attempt)),
                field("threshold", format!("{} of {}", key.threshold, key.members)),
                field("members", key.member_names.join(", ")),
                field(
                    "this node's index",
                    match key.index {
                        0 => "none".to_owned(),
                        index => index.to_string(),
                    },
                ),
                field(
                    "policy",
                    if key.approvals_needed == 0 {
                        // Of a key that this node has no share of.
                        key.policy_hash.clone()
                    } else {
                        format!(
                            "{} ({} of {})",
                            key.policy_hash,
                            key.approvals_needed,
                            key.organisations.join(", ")
                        )
                    },
                ),
                field("certificate", format!("{} bytes", certificate.len() / 2)),
                field(
                    "signed under the key",
                    if key_certificate.is_some() {
                        "yes"
                    } else {
                        "not yet"
                    },
                ),
            ];
            if let Some(ends) = key.overlap_ends {
                lines.push(field(
                    "old share erased",
                    format!("{} at the latest", when(ends)),
                ));
            }
            lines.extend(history(&key));
            lines.extend(key.sentence.clone());
            output.result(
                &json!({ "key": key, "certificate": certificate, "key_certificate": key_certificate }),
                &lines,
            )
        }
        KeyCommand::Suspend(command) => suspend(command, true, output),
        KeyCommand::Resume(command) => suspend(command, false, output),
        KeyCommand::Suspended(Dir { dir }) => {
            let all: Vec<SuspensionView> = ask(&dir, &Command::Suspended {})?;
            let lines: Vec<String> = all
                .iter()
                .map(|view| {
                    field(
                        kind_word(view.kind),
                        format!("{}: {}", view.subject, view.reason),
                    )
                })
                .collect();
            output.result(&all, &lines)
        }
        KeyCommand::Verify { key, certificate } => verify(&key, &certificate, output),
        KeyCommand::Export {
            dir: Dir { dir },
            key,
            out,
            certificate,
            key_certificate,
        } => {
            let exported: ExportedKey = ask(&dir, &Command::KeyExport { public_key: key })?;
            if let Some(path) = &key_certificate {
                let signed = exported.key_certificate.as_deref().ok_or_else(|| {
                    let message = "the key's certificate is not signed yet: as many members as a read takes must be reachable; try again in a minute";
                    Failure::new(exit::FAILED, "not-signed-yet", message)
                })?;
                write_private(path, &hex::decode(signed).unwrap_or_default(), true)?;
            }
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

/// Checks a certificate by Y alone.
fn verify(key: &str, path: &Path, output: &mut Output) -> Result<(), Failure> {
    let public_key: [u8; 32] = hex::decode(key)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| {
            let message = "the public key must be 64 hexadecimal digits";
            Failure::new(exit::USAGE, "public-key", message)
        })?;
    let bytes = std::fs::read(path).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        Failure::new(exit::FAILED, "certificate-file", message)
    })?;
    let certificate = KeyCertificate::verify(&bytes, &public_key)
        .map_err(|error| Failure::new(exit::FAILED, error.code(), error.to_string()))?;
    let package = certificate.package();
    let (epoch, attempt) = certificate.version();
    let members: Vec<_> = (1u16..)
        .zip(certificate.members())
        .map(|(index, member)| {
            json!({
                "index": index,
                "name": member.name,
                "identity": hex::encode(member.identity),
                "public_share": hex::encode(member.public_share),
                "recovery_public": hex::encode(member.recovery_public),
            })
        })
        .collect();
    let mut lines = vec![
        "The certificate is signed by the holders of the key.".to_owned(),
        field("public key", key),
        field("epoch", epoch),
        field("attempt", attempt),
        field(
            "threshold",
            format!("{} of {}", package.threshold(), package.members()),
        ),
        field("policy", hex::encode(certificate.policy_hash())),
    ];
    lines.extend((1u16..).zip(certificate.members()).map(|(index, member)| {
        field(
            &format!("member {index}"),
            format!("{} {}", member.name, hex::encode(member.identity)),
        )
    }));
    let value = json!({
        "public_key": hex::encode(public_key),
        "epoch": epoch,
        "attempt": attempt,
        "threshold": package.threshold(),
        "policy_hash": hex::encode(certificate.policy_hash()),
        "members": members,
    });
    output.result(&value, &lines)
}

fn line(key: &KeyView) -> String {
    let share = match key.state.as_str() {
        "serving" => format!("index {}", key.index),
        "overlap" => format!("index {}, and the epoch before", key.index),
        "retired" => "handed on: key-retired".to_owned(),
        _ => "not served: epoch-missed".to_owned(),
    };
    format!(
        "{} epoch {}, {} of {}, {share}",
        key.public_key, key.epoch, key.threshold, key.members
    )
}

/// The epochs of a key, a line each.
fn history(key: &KeyView) -> Vec<String> {
    let epochs = key.history.iter();
    epochs
        .map(|past| {
            let share = match (past.index, past.erased) {
                (None, _) => "this node is no member".to_owned(),
                (Some(index), Some(erased)) => {
                    format!("index {index}, share erased {}", when(erased))
                }
                (Some(index), None) => format!("index {index}"),
            };
            field(
                &format!("epoch {}", past.epoch),
                format!(
                    "attempt {}, {} of {}, since {}, {share}",
                    past.attempt,
                    past.threshold,
                    past.members.join(", "),
                    when(past.since)
                ),
            )
        })
        .collect()
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
    if status.restored {
        lines.push(
            "Restored from its recovery phrase: it serves reads and takes part in no ceremony."
                .to_owned(),
        );
    }
    lines.extend(status.not_ready.iter().cloned());
    for (name, failure) in [
        ("config.toml is not taken", &status.config_failure),
        ("no health page", &status.health_failure),
        ("memory is not locked", &status.memory_failure),
    ] {
        lines.extend(failure.iter().map(|failure| field(name, failure)));
    }
    if !status.restart_needed.is_empty() {
        let settings = status.restart_needed.join(", ");
        lines.push(field("taken at the next start", settings));
    }
    lines.extend(status.suspended.iter().map(|suspended| {
        field(
            "suspended",
            format!("{}: {}", suspended.subject, suspended.reason),
        )
    }));
    lines.extend(status.keys.iter().map(|key| field("key", line(key))));
    lines.extend(
        status
            .ceremonies
            .iter()
            .map(|ceremony| field("ceremony", format!("{}: {}", ceremony.id, ceremony.step))),
    );
    lines.push(field(
        "audit",
        format!(
            "{} records, {} cosigned, {}",
            status.audit.records,
            status.audit.cosigned_records.unwrap_or(0),
            status.audit.origin
        ),
    ));
    lines.extend(status.audit.others_refused.iter().cloned());
    output.result(&status, &lines)
}
