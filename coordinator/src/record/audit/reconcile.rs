//! The record held against the crypto nodes' logs.
//!
//! A node logs every share before it gives it, with the ids of the approvals that it counted. An approval's id is the id of
//! the read on the record. So for each share there must be that read, of that wrapped key, to that ephemeral key, for
//! that client, under that cluster key, from that organisation; and a share without is evidence against the node, or against the organisations
//! whose approvals it names.

use super::VerifiedRecord;
use crate::record::{
    identifier::Identifier, peer::ApprovalTerms, root::Hash, signed::TransactionId,
    state::RecordedRead,
};
use cryptonode::audit::{AuditApproval, AuditRecord, as_json};
use reencrypt::EphemeralKey;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum DiscrepancyKind {
    /// A share without any approval.
    #[error("the share was given without an approval")]
    NoApproval,
    /// Fewer organisations than the policy asks for.
    #[error("the share was given with approvals of {found} organisations, {needed} are needed")]
    TooFewApprovals {
        /// Distinct organisations in the log.
        found: usize,
        /// The policy's m.
        needed: usize,
    },
    /// An approval id that names no read.
    #[error("approval {approval_id} of {organisation} is of no read on the record")]
    UnknownRead {
        /// The approval's id.
        approval_id: String,
        /// Who is said to have issued it.
        organisation: String,
    },
    /// The read is of something else.
    #[error("approval {approval_id} of {organisation} is of a read with another {what}")]
    OtherRead {
        /// The approval's id.
        approval_id: String,
        /// Who is said to have issued it.
        organisation: String,
        /// What differs: `write_id`, `ephemeral key`, `client` or `cluster key`.
        what: &'static str,
    },
    /// The share is older than the read.
    #[error("the share was given at {share_ms} ms, before the read of {read_ms} ms")]
    BeforeRead {
        /// When the share was given.
        share_ms: u64,
        /// Time of the read's block.
        read_ms: u64,
    },
    /// The share is younger than any approval of the read can be.
    #[error(
        "the share was given at {share_ms} ms, long after the read of {read_ms} ms: no approval of it can have been valid then"
    )]
    LongAfterRead {
        /// When the share was given.
        share_ms: u64,
        /// Time of the read's block.
        read_ms: u64,
    },
    /// An issuer that the organisation never had on the record.
    #[error(
        "approval {approval_id} was issued by a certificate that {organisation} never had on the record"
    )]
    UnknownIssuer {
        /// The approval's id.
        approval_id: String,
        /// Who is said to have issued it.
        organisation: String,
    },
}

impl DiscrepancyKind {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoApproval => "no-approval",
            Self::TooFewApprovals { .. } => "too-few-approvals",
            Self::UnknownRead { .. } => "unknown-read",
            Self::OtherRead { .. } => "other-read",
            Self::BeforeRead { .. } => "before-read",
            Self::LongAfterRead { .. } => "long-after-read",
            Self::UnknownIssuer { .. } => "unknown-issuer",
        }
    }
}

/// One share that does not fit, with the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Discrepancy {
    /// The node in whose log it is.
    pub node: String,
    /// Its place in the log given.
    pub index: usize,
    /// What does not fit.
    pub kind: DiscrepancyKind,
    /// The record as the node logged it.
    #[serde(serialize_with = "evidence")]
    pub evidence: AuditRecord,
}

fn evidence<S: Serializer>(record: &AuditRecord, serializer: S) -> Result<S::Ok, S::Error> {
    as_json(record).serialize(serializer)
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reconciliation {
    /// Shares that were looked at.
    pub shares: usize,
    /// Reads under a cluster key on the record.
    pub reads: usize,
    /// Ids of reads for which no node logged a share: refused, abandoned, or answered by nodes whose logs are not here.
    pub reads_without_shares: Vec<String>,
    /// Shares that do not fit.
    pub discrepancies: Vec<Discrepancy>,
}

/// Holds nodes' logs, each under the node's name, against a verified record. `approvals_needed` is the policy's m;
/// `tolerance_ms` is by how much the clocks of nodes and record may differ.
#[must_use]
pub fn reconcile(
    record: &VerifiedRecord,
    logs: &[(String, Vec<AuditRecord>)],
    approvals_needed: usize,
    tolerance_ms: u64,
) -> Reconciliation {
    let mut answered: BTreeSet<TransactionId> = BTreeSet::new();
    let mut discrepancies = Vec::new();
    for (node, log) in logs {
        for (index, share) in log.iter().enumerate() {
            for kind in judge(record, share, approvals_needed, tolerance_ms, &mut answered) {
                discrepancies.push(Discrepancy {
                    node: node.clone(),
                    index,
                    kind,
                    evidence: share.clone(),
                });
            }
        }
    }
    let reads: Vec<_> = record.state.threshold_reads().collect();
    let unanswered = reads.iter().filter(|(id, _)| !answered.contains(*id));
    Reconciliation {
        shares: logs.iter().map(|(_, log)| log.len()).sum(),
        reads: reads.len(),
        reads_without_shares: unanswered.map(|(id, _)| hex::encode(id)).collect(),
        discrepancies,
    }
}

fn judge(
    record: &VerifiedRecord,
    share: &AuditRecord,
    needed: usize,
    tolerance_ms: u64,
    answered: &mut BTreeSet<TransactionId>,
) -> Vec<DiscrepancyKind> {
    if share.approvals.is_empty() {
        return vec![DiscrepancyKind::NoApproval];
    }
    let mut found = Vec::new();
    let organisations: BTreeSet<&str> = share
        .approvals
        .iter()
        .map(|it| it.organisation.as_str())
        .collect();
    if organisations.len() < needed {
        found.push(DiscrepancyKind::TooFewApprovals {
            found: organisations.len(),
            needed,
        });
    }
    for approval in &share.approvals {
        let AuditApproval {
            approval_id,
            organisation,
            issuer_fingerprint,
        } = approval;
        let (approval_id, organisation) = (approval_id.clone(), organisation.clone());
        let issuers = Identifier::new(&organisation)
            .ok()
            .and_then(|name| record.issuers.get(&name));
        if !issuers.is_some_and(|known| known.contains(issuer_fingerprint)) {
            let (approval_id, organisation) = (approval_id.clone(), organisation.clone());
            found.push(DiscrepancyKind::UnknownIssuer {
                approval_id,
                organisation,
            });
        }
        let Some((id, read)) = read_of(record, &approval_id) else {
            found.push(DiscrepancyKind::UnknownRead {
                approval_id,
                organisation,
            });
            continue;
        };
        if let Some(what) = difference(record, share, read) {
            found.push(DiscrepancyKind::OtherRead {
                approval_id,
                organisation,
                what,
            });
            continue;
        }
        answered.insert(id);
        let untimely = untimely(share.time_ms, read.time_ms, tolerance_ms);
        found.extend(untimely.filter(|kind| !found.contains(kind)));
    }
    found
}

/// Whether the share is from a time at which no peer's approval of the read was valid, whatever the peers' terms.
fn untimely(share_ms: u64, read_ms: u64, tolerance_ms: u64) -> Option<DiscrepancyKind> {
    const LIFETIME_MS: u64 = ApprovalTerms::MAX_LIFETIME_S as u64 * 1000;
    let last = read_ms
        .saturating_add(ApprovalTerms::MAX_WINDOW_MS + LIFETIME_MS)
        .saturating_add(tolerance_ms);
    if share_ms.saturating_add(tolerance_ms) < read_ms {
        Some(DiscrepancyKind::BeforeRead { share_ms, read_ms })
    } else if share_ms > last {
        Some(DiscrepancyKind::LongAfterRead { share_ms, read_ms })
    } else {
        None
    }
}

fn read_of<'r>(
    record: &'r VerifiedRecord,
    approval_id: &str,
) -> Option<(TransactionId, &'r RecordedRead)> {
    let id: TransactionId = hex::decode(approval_id).ok()?.try_into().ok()?;
    // One spelling only: what a peer issued has lower-case digits.
    let read = record
        .state
        .read(&id)
        .filter(|_| hex::encode(id) == approval_id)?;
    Some((id, read))
}

/// What of the read is not what the share was given for.
fn difference(
    record: &VerifiedRecord,
    share: &AuditRecord,
    read: &RecordedRead,
) -> Option<&'static str> {
    let Some(asked) = &read.reencryption else {
        return Some("write_id");
    };
    let point = EphemeralKey::parse(&asked.ephemeral_key)
        .ok()
        .map(|key| *key.point().as_bytes());
    if asked.write_id != share.write_id {
        Some("write_id")
    } else if point != Some(share.ephemeral_point) {
        Some("ephemeral key")
    } else if <Hash>::from(Sha256::digest(&asked.client_spki)) != share.client {
        Some("client")
    } else if record
        .state
        .cluster_key_of(read)
        .is_some_and(|key| key != share.public_key)
    {
        Some("cluster key")
    } else {
        None
    }
}
