//! The record held against the crypto nodes' logs.
//!
//! A node logs every share before it gives it, with the ids of the approvals that it counted. An approval's id is the id of
//! the read on the record. So for each share there must be that read, of that wrapped key, to that ephemeral key, for
//! that client, under that cluster key, from that organisation; and a share without is evidence against the node, or against the organisations
//! whose approvals it names.
//!
//! With the files of what the organisations say they approved ([`IssuedApprovals`]) it goes both ways: an approval that a node counted must be among those that its
//! organisation issued, and each that was issued has its outcome: the nodes that gave a share for it and when, or none.

use super::{
    ApprovalFault, IssuedApproval, IssuedApprovals, VerifiedRecord,
    matching::{Asked, difference, read_of},
};
use crate::record::{identifier::Identifier, peer::ApprovalTerms, signed::TransactionId};
use cryptonode::audit::{AuditApproval, AuditRecord, as_json};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

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
    /// The organisation says that it never issued it.
    #[error(
        "approval {approval_id} is not among those that {organisation} says it issued, up to {until_ms} ms"
    )]
    NotIssued {
        /// The approval's id.
        approval_id: String,
        /// Who is said to have issued it.
        organisation: String,
        /// When the organisation said so.
        until_ms: u64,
    },
    /// Before or after the approval was valid.
    #[error(
        "the share was given at {share_ms} ms, and approval {approval_id} of {organisation} was valid from {not_before_s} s to {not_after_s} s"
    )]
    NotValid {
        /// The approval's id.
        approval_id: String,
        /// Who issued it.
        organisation: String,
        /// When the share was given.
        share_ms: u64,
        /// From when on the approval was valid.
        not_before_s: u64,
        /// Until when.
        not_after_s: u64,
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
            Self::NotIssued { .. } => "approval-not-issued",
            Self::NotValid { .. } => "approval-not-valid",
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

/// A share that a node gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Release {
    /// The node.
    pub node: String,
    /// When, by its clock, milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// What became of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nodes counted it when they gave a share.
    Used,
    /// None of the nodes whose logs are here did, and it has expired.
    Unused,
    /// None did, and it was still valid when the organisation wrote it out.
    Open,
}

/// An approval that an organisation issued, with its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountedApproval {
    /// Who issued it.
    pub organisation: Identifier,
    /// Its id, which is that of the read.
    pub approval_id: String,
    /// When it was issued, seconds since the Unix epoch.
    pub issued_s: u64,
    /// Until when it was valid, seconds since the Unix epoch.
    pub expires_s: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// The shares that were given for it.
    pub releases: Vec<Release>,
}

/// An approval that should not have been issued, with the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FalseApproval {
    /// Who issued it.
    pub organisation: Identifier,
    /// Its id.
    pub approval_id: String,
    /// What does not fit.
    pub fault: ApprovalFault,
    /// SHA-256 of the certificate, which is in the organisation's file.
    #[serde(with = "hex")]
    pub certificate: [u8; 32],
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
    /// All approvals that the organisations whose files are here issued, each with its outcome.
    pub approvals: Vec<AccountedApproval>,
    /// Those of them that should not have been issued.
    pub false_approvals: Vec<FalseApproval>,
    /// Organisations that are or were on the record and whose files are not here: what became of their approvals is not told.
    pub without_files: Vec<Identifier>,
}

impl Reconciliation {
    /// Whether everything fits.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.discrepancies.is_empty() && self.false_approvals.is_empty()
    }

    /// How many approvals had this outcome.
    #[must_use]
    pub fn with_outcome(&self, outcome: Outcome) -> usize {
        let same = self.approvals.iter().filter(|it| it.outcome == outcome);
        same.count()
    }
}

/// Holds nodes' logs, each under the node's name, and organisations' files of approvals against a verified record. An organisation may have several files: of the peer
/// that it had, and of the one with new keys. `approvals_needed` is the policy's m; `tolerance_ms` is by how much the clocks of nodes, peers and record may differ.
#[must_use]
pub fn reconcile(
    record: &VerifiedRecord,
    logs: &[(String, Vec<AuditRecord>)],
    issued: &[IssuedApprovals],
    approvals_needed: usize,
    tolerance_ms: u64,
) -> Reconciliation {
    let mut accounts = Accounts::new(issued);
    let mut answered: BTreeSet<TransactionId> = BTreeSet::new();
    let mut discrepancies = Vec::new();
    for (node, log) in logs {
        for (index, share) in log.iter().enumerate() {
            let mut kinds = judge(record, share, approvals_needed, tolerance_ms, &mut answered);
            kinds.extend(accounts.take(node, share, tolerance_ms));
            for kind in kinds {
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
    let known = record.issuers.keys();
    let without_files = known.filter(|name| !accounts.until_ms.contains_key(name.as_str()));
    Reconciliation {
        shares: logs.iter().map(|(_, log)| log.len()).sum(),
        reads: reads.len(),
        reads_without_shares: unanswered.map(|(id, _)| hex::encode(id)).collect(),
        discrepancies,
        without_files: without_files.cloned().collect(),
        false_approvals: accounts.wrong.clone(),
        approvals: accounts.settle(tolerance_ms),
    }
}

/// The approvals that were issued, by organisation and id, and the shares given for each.
struct Accounts<'i> {
    issued: BTreeMap<(String, String), (&'i IssuedApproval, Vec<Release>)>,
    /// Until when each organisation whose file is here tells of its approvals.
    until_ms: BTreeMap<&'i str, (&'i Identifier, u64)>,
    wrong: Vec<FalseApproval>,
}

impl<'i> Accounts<'i> {
    fn new(files: &'i [IssuedApprovals]) -> Self {
        let (mut issued, mut until_ms, mut wrong) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for file in files {
            let organisation = file.organisation();
            let (_, until) = until_ms
                .entry(organisation.as_str())
                .or_insert((organisation, 0));
            *until = file.time_ms().max(*until);
            for approval in file.approvals() {
                let key = (organisation.to_string(), approval.approval_id.clone());
                let (known, _) = issued.entry(key).or_insert((approval, Vec::new()));
                let second = known.certificate != approval.certificate;
                let second = second.then_some(ApprovalFault::Second);
                for fault in approval.fault.clone().into_iter().chain(second) {
                    let found = FalseApproval {
                        organisation: organisation.clone(),
                        approval_id: approval.approval_id.clone(),
                        fault,
                        certificate: approval.certificate,
                    };
                    if !wrong.contains(&found) {
                        wrong.push(found);
                    }
                }
            }
        }
        Self {
            issued,
            until_ms,
            wrong,
        }
    }

    /// Notes what a share was given for; says which of it was never issued, or not valid then.
    fn take(&mut self, node: &str, share: &AuditRecord, tolerance_ms: u64) -> Vec<DiscrepancyKind> {
        let mut found = Vec::new();
        for counted in &share.approvals {
            let key = (counted.organisation.clone(), counted.approval_id.clone());
            let Some((_, until_ms)) = self.until_ms.get(key.0.as_str()) else {
                continue;
            };
            let issued = self.issued.get_mut(&key);
            let (organisation, approval_id) = key;
            match issued.filter(|(it, _)| it.issuer == counted.issuer_fingerprint) {
                Some((approval, releases)) => {
                    releases.push(Release {
                        node: node.to_owned(),
                        time_ms: share.time_ms,
                    });
                    let (not_before_s, not_after_s) = (approval.not_before_s, approval.not_after_s);
                    let early = share.time_ms.saturating_add(tolerance_ms)
                        < not_before_s.saturating_mul(1000);
                    let late = share.time_ms > end_ms(not_after_s).saturating_add(tolerance_ms);
                    if early || late {
                        found.push(DiscrepancyKind::NotValid {
                            approval_id,
                            organisation,
                            share_ms: share.time_ms,
                            not_before_s,
                            not_after_s,
                        });
                    }
                }
                // What it issued after it wrote its file is not in it.
                None if share.time_ms > until_ms.saturating_add(tolerance_ms) => {}
                None => found.push(DiscrepancyKind::NotIssued {
                    approval_id,
                    organisation,
                    until_ms: *until_ms,
                }),
            }
        }
        found
    }

    fn settle(self, tolerance_ms: u64) -> Vec<AccountedApproval> {
        let until_ms = self.until_ms;
        type Account<'a> = ((String, String), (&'a IssuedApproval, Vec<Release>));
        let account = |((name, _), (approval, releases)): Account<'_>| {
            let (organisation, until_ms) = *until_ms.get(name.as_str())?;
            let expired = end_ms(approval.not_after_s).saturating_add(tolerance_ms) < until_ms;
            Some(AccountedApproval {
                organisation: organisation.clone(),
                approval_id: approval.approval_id.clone(),
                issued_s: approval.not_before_s,
                expires_s: approval.not_after_s,
                outcome: match (releases.is_empty(), expired) {
                    (false, _) => Outcome::Used,
                    (true, true) => Outcome::Unused,
                    (true, false) => Outcome::Open,
                },
                releases,
            })
        };
        self.issued.into_iter().filter_map(account).collect()
    }
}

/// The last millisecond of a second.
fn end_ms(second: u64) -> u64 {
    second.saturating_mul(1000).saturating_add(999)
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
        if !issuers.is_some_and(|known| known.contains_key(issuer_fingerprint)) {
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
        let asked = Asked {
            write_id: &share.write_id,
            ephemeral_point: &share.ephemeral_point,
            client: share.client,
            public_key: Some(&share.public_key),
        };
        if let Some(what) = difference(record, &asked, read) {
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
