//! The reader of an exported log: what an auditor does, with the node's public identity and nothing else.
//!
//! An export is lines of JSON: one for each record, whose `leaf` is the record's bytes, and a last one with the signed
//! `checkpoint`. Only those two are believed: the records are decoded from the leaves, the leaves are hashed to a root,
//! and the root must be the one that the identity signed. So a signed record that was altered, left out or moved does not pass,
//! and neither does another node's log.
//!
//! Records may follow that no checkpoint covers yet: those of the last moment of a running node, or of one that was killed. They
//! are told apart ([`ExportedLog::signed`]); a node that logged a share said so, signed or not.

use std::io::BufRead;

use certs::checkpoint::{Checkpoint, SignedCheckpoint};
use certs::log_proof::LogProofError;
use certs::merkle::{Tree, leaf_hash};
use serde::Deserialize;

use super::{
    AuditEntry, AuditRecord, MAX_RECORD, OperatorRecord, TrustError, Trusted, TrustedHead,
    note_key, origin_of,
};

/// Longest line in bytes: a record in hexadecimal, and the same for people.
const MAX_LINE: u64 = 8 * MAX_RECORD as u64;

/// Why an export is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportedLogError {
    /// It cannot be read.
    #[error("the export cannot be read: {reason}")]
    Io {
        /// The system's reason.
        reason: String,
    },
    /// A line that no export has.
    #[error("line {line} of the export is not in order: {reason}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// It ends without a checkpoint.
    #[error("the export has no signed checkpoint at its end: it was cut short")]
    NoCheckpoint,
    /// The checkpoint is not this node's.
    #[error("the checkpoint is not one that {origin} signed: {reason}")]
    Checkpoint {
        /// The origin that it should have.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The records are not the signed ones.
    #[error("the records are not the {signed} that {origin} signed: the export was altered")]
    Altered {
        /// The log's origin.
        origin: String,
        /// How many records it signed.
        signed: u64,
    },
    /// A head that was kept is not its past.
    #[error(
        "the log {origin} does not continue the checkpoint of {old} records that was kept: it was rewritten or set back, and the two checkpoints are the evidence"
    )]
    NotContinued {
        /// The log's origin.
        origin: String,
        /// Records under the kept head.
        old: u64,
    },
    /// Its checkpoints are not signed and cosigned as they must be.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl ExportedLogError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "node-log-file",
            Self::Line { .. } => "node-log-line",
            Self::NoCheckpoint => "node-log-cut-short",
            Self::Checkpoint { .. } => "node-log-checkpoint",
            Self::Altered { .. } => "node-log-altered",
            Self::NotContinued { .. } => "audit-not-continued",
            Self::Trust(error) => error.code(),
        }
    }
}

#[derive(Deserialize)]
struct Line {
    leaf: Option<String>,
    checkpoint: Option<String>,
    cosigned: Option<String>,
}

/// What an export's lines have in them: decoded, and held against no signature.
struct Lines {
    tree: Tree,
    records: Vec<AuditRecord>,
    operator: Vec<OperatorRecord>,
    is_share: Vec<bool>,
    note: String,
    cosigned: Option<String>,
}

fn read_lines(mut export: impl BufRead) -> Result<Lines, ExportedLogError> {
    let (mut tree, mut records, mut last) = (Tree::new(), Vec::new(), None);
    let (mut operator, mut is_share) = (Vec::new(), Vec::new());
    let mut text = String::new();
    for line in 1.. {
        text.clear();
        let read = std::io::Read::take(&mut export, MAX_LINE)
            .read_line(&mut text)
            .map_err(|error| ExportedLogError::Io {
                reason: error.to_string(),
            })?;
        if read == 0 {
            break;
        }
        let wrong = |reason: String| ExportedLogError::Line { line, reason };
        if last.is_some() {
            return Err(wrong("something follows the checkpoint".to_owned()));
        }
        let parsed: Line = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        match (parsed.leaf, parsed.checkpoint) {
            (Some(leaf), None) => {
                let leaf = hex::decode(leaf).map_err(|error| wrong(error.to_string()))?;
                let entry =
                    AuditEntry::from_bytes(&leaf).map_err(|error| wrong(error.to_string()))?;
                is_share.push(matches!(entry, AuditEntry::Share(_)));
                match entry {
                    AuditEntry::Share(record) => records.push(record),
                    AuditEntry::Operator(record) => operator.push(record),
                }
                tree.push(leaf_hash(&leaf));
            }
            (None, Some(checkpoint)) => last = Some((checkpoint, parsed.cosigned)),
            _ => return Err(wrong("it has neither a leaf nor a checkpoint".to_owned())),
        }
    }
    let (note, cosigned) = last.ok_or(ExportedLogError::NoCheckpoint)?;
    Ok(Lines {
        tree,
        records,
        operator,
        is_share,
        note,
        cosigned,
    })
}

/// A node's log, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedLog {
    /// The node's place among those that were asked for.
    pub node: usize,
    /// The records of all shares, from the first on.
    pub records: Vec<AuditRecord>,
    /// How many of them are under the signed checkpoint: the first ones.
    pub signed: u64,
    /// What the operator did, from the first on.
    pub operator: Vec<OperatorRecord>,
}

/// Reads and verifies an exported log of one of `nodes`, each with its name and its public identity.
///
/// # Errors
/// [`ExportedLogError`] with the first thing that does not hold.
pub fn read_exported(
    export: impl BufRead,
    nodes: &[(&str, [u8; 32])],
) -> Result<ExportedLog, ExportedLogError> {
    let lines = read_lines(export)?;
    let note = &lines.note;
    let unreadable = |reason: String| ExportedLogError::Checkpoint {
        origin: "any of the nodes".to_owned(),
        reason,
    };
    let signed = SignedCheckpoint::parse(note).map_err(|error| unreadable(error.to_string()))?;
    let claimed = signed.claimed().origin.clone();
    let (node, (name, identity)) = (0..)
        .zip(nodes)
        .find(|(_, (name, identity))| origin_of(name, identity) == claimed)
        .ok_or_else(|| unreadable(format!("it is of the log {claimed}")))?;

    let origin = claimed;
    let key = note_key(name, identity);
    let verified = key
        .map_err(|error| error.to_string())
        .and_then(|key| signed.verify(&[key], 1).map_err(|error| error.to_string()));
    let head = match verified {
        Ok(head) => head,
        Err(reason) => return Err(ExportedLogError::Checkpoint { origin, reason }),
    };
    if lines.tree.root_at(head.size) != Ok(head.root) {
        return Err(ExportedLogError::Altered {
            origin,
            signed: head.size,
        });
    }
    let leaves = usize::try_from(head.size).unwrap_or(usize::MAX);
    let signed = lines.is_share.iter().take(leaves);
    Ok(ExportedLog {
        node,
        signed: signed.filter(|share| **share).count() as u64,
        records: lines.records,
        operator: lines.operator,
    })
}

/// What an auditor finds in an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedExport {
    /// Records in it, signed or not.
    pub records: u64,
    /// The head that the log signed last.
    pub signed: TrustedHead,
    /// The newest head that witnesses cosigned, if the export has one.
    pub cosigned: Option<TrustedHead>,
}

/// Verifies an export with an auditor's keys: that the records are the signed ones, that at least `witnesses` have cosigned them as
/// far as the export's cosigned head goes, and that they continue each of the heads that the auditor kept.
///
/// # Errors
/// [`ExportedLogError`] with the first thing that does not hold.
pub fn check_exported(
    export: impl BufRead,
    trusted: &Trusted,
    witnesses: usize,
    kept: &[Checkpoint],
) -> Result<CheckedExport, ExportedLogError> {
    let lines = read_lines(export)?;
    let verify = |note: &str, needed: usize| -> Result<TrustedHead, ExportedLogError> {
        let checkpoint = SignedCheckpoint::parse(note)
            .map_err(|error| TrustError::from(LogProofError::from(error)))?;
        let found = trusted.verify(&checkpoint, needed)?;
        if lines.tree.root_at(found.head.size) != Ok(found.head.root) {
            return Err(ExportedLogError::Altered {
                origin: found.head.origin,
                signed: found.head.size,
            });
        }
        Ok(found)
    };
    let signed = verify(&lines.note, 0)?;
    let cosigned = match &lines.cosigned {
        Some(note) => Some(verify(note, witnesses)?),
        None if witnesses > 0 => {
            let (found, needed) = (0, witnesses);
            return Err(TrustError::FewWitnesses { found, needed }.into());
        }
        None => None,
    };
    for old in kept {
        if old.origin != signed.head.origin || lines.tree.root_at(old.size) != Ok(old.root) {
            return Err(ExportedLogError::NotContinued {
                origin: signed.head.origin,
                old: old.size,
            });
        }
    }
    Ok(CheckedExport {
        records: lines.tree.size(),
        signed,
        cosigned,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use certs::checkpoint::sign;
    use ed25519_dalek::SigningKey;
    use serde_json::json;

    use super::*;

    fn record(time_ms: u64) -> AuditRecord {
        AuditRecord {
            epoch: 0,
            client: [1; 32],
            time_ms,
            write_id: [2; 32],
            approvals: Vec::new(),
            public_key: [3; 32],
            ephemeral_point: [4; 32],
        }
    }

    fn export(identity: &SigningKey, leaves: &[Vec<u8>]) -> Vec<String> {
        let origin = crate::audit::origin_of("n1", &identity.verifying_key().to_bytes());
        let tree: Tree = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        let head = Checkpoint {
            origin: origin.clone(),
            size: tree.size(),
            root: tree.root(),
        };
        let note = sign(&head, &origin, identity).unwrap();
        let mut lines: Vec<String> = leaves
            .iter()
            .map(|leaf| json!({ "leaf": hex::encode(leaf) }).to_string())
            .collect();
        lines.push(json!({ "checkpoint": note }).to_string());
        lines
    }

    #[test]
    fn what_was_signed_is_read_and_nothing_else() {
        let identity = SigningKey::from_bytes(&[7; 32]);
        let public = identity.verifying_key().to_bytes();
        let leaves: Vec<Vec<u8>> = (0..3).map(|i| record(i).to_bytes().unwrap()).collect();
        let lines = export(&identity, &leaves);
        let nodes = [("n0", public), ("n1", public)];
        let read = |lines: &[String]| read_exported(lines.join("\n").as_bytes(), &nodes);
        let log = read(&lines).unwrap();
        assert_eq!((log.node, log.signed), (1, 3));
        assert_eq!(log.records, [record(0), record(1), record(2)]);
        // A record of the last moment, which no checkpoint covers yet.
        let mut running = lines.clone();
        let unsigned = record(3).to_bytes().unwrap();
        running.insert(3, json!({ "leaf": hex::encode(unsigned) }).to_string());
        let log = read(&running).unwrap();
        assert_eq!((log.records.len(), log.signed), (4, 3));

        let altered = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines = lines.clone();
            change(&mut lines);
            read(&lines).unwrap_err().code()
        };
        assert_eq!(altered(&|lines| drop(lines.pop())), "node-log-cut-short");
        assert_eq!(altered(&|lines| drop(lines.remove(1))), "node-log-altered");
        assert_eq!(altered(&|lines| lines.swap(0, 1)), "node-log-altered");
        assert_eq!(
            altered(&|lines| lines.insert(0, lines[0].clone())),
            "node-log-altered"
        );
        assert_eq!(
            altered(&|lines| lines.push(lines[0].clone())),
            "node-log-line"
        );
        assert_eq!(
            altered(&|lines| lines[0] = "{}".to_owned()),
            "node-log-line"
        );
        let stranger = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes();
        let of_another = read_exported(lines.join("\n").as_bytes(), &[("n1", stranger)]);
        assert_eq!(of_another.unwrap_err().code(), "node-log-checkpoint");
        // The same name and the same head of the identity's digits, but another key.
        let mut forged = public;
        forged[31] ^= 1;
        let forged = read_exported(lines.join("\n").as_bytes(), &[("n1", forged)]);
        assert_eq!(forged.unwrap_err().code(), "node-log-checkpoint");
    }
}
