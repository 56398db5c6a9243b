//! What an organisation says it approved: all approvals that its peer remembers, in a file that the peer's head key has signed.
//!
//! ```text
//! {"format":"coordinator-approvals/1","ledger":HEX,"organisation":NAME}
//! {"approval":HEX}                                  one line each: the certificate (DER), ascending by approval id
//! {"signed":"C2SP signed note"}
//! ```
//!
//! The note is a tlog-checkpoint of an origin of its own, by which nobody takes it for a head of the record; its root is over the certificates:
//!
//! ```text
//! approvals/LEDGER ID IN HEXADECIMAL/ORGANISATION
//! NUMBER OF APPROVALS
//! MERKLE ROOT OVER THEM, BASE64
//! block NUMBER OF THE PEER'S LAST BLOCK
//! time MILLISECONDS SINCE THE UNIX EPOCH
//! ```
//!
//! A certificate proves by itself that its organisation issued it. That there is no other one the organisation only says, over its signature: a share that a node
//! gave for one that is not in the file is the word of one against that of the other.

use super::{
    AuditError, VerifiedRecord,
    export::HexBytes,
    lines::Lines,
    matching::{Asked, difference, read_of},
};
use crate::record::{identifier::Identifier, peer::ApprovalTerms, root::Hash, signed::LedgerId};
use certs::{
    Binding, MAX_CERTIFICATE, MAX_ISSUERS, Organisation, Policy, PolicyConfig, UnverifiedApproval,
    checkpoint::{Checkpoint, CheckpointError, NoteKey},
    merkle::{Tree, leaf_hash},
    note::SignedNote,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// The format's name and version.
const FORMAT: &str = "coordinator-approvals/1";
/// Bytes of the longest line: a note.
const MAX_LINE: u64 = 2 * certs::note::MAX_NOTE as u64;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::record) struct Opening {
    format: String,
    #[serde(with = "hex")]
    ledger: LedgerId,
    organisation: Identifier,
}

impl Opening {
    pub(in crate::record) fn new(ledger: LedgerId, organisation: Identifier) -> Self {
        let format = FORMAT.to_owned();
        Self {
            format,
            ledger,
            organisation,
        }
    }
}

/// One approval.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::record) struct ApprovalLine {
    pub(in crate::record) approval: HexBytes,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::record) struct Closing {
    pub(in crate::record) signed: String,
}

/// What the organisation's peer signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::record) struct Statement {
    pub(in crate::record) ledger: LedgerId,
    pub(in crate::record) organisation: Identifier,
    /// How many approvals.
    pub(in crate::record) number: u64,
    /// Merkle root over them.
    pub(in crate::record) root: Hash,
    /// The peer's last block.
    pub(in crate::record) block: u64,
    /// When it was made, milliseconds since the Unix epoch.
    pub(in crate::record) time_ms: u64,
}

impl Statement {
    pub(in crate::record) fn to_text(&self) -> Result<String, CheckpointError> {
        let checkpoint = Checkpoint {
            origin: format!(
                "approvals/{}/{}",
                hex::encode(self.ledger),
                self.organisation
            ),
            size: self.number,
            root: self.root,
        };
        let checkpoint = checkpoint.to_text()?;
        Ok(format!(
            "{checkpoint}block {}\ntime {}\n",
            self.block, self.time_ms
        ))
    }
}

/// Why a file of approvals is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalsError {
    /// It cannot be read, or is none.
    #[error("the file of approvals {path} is not in order: {source}")]
    File {
        /// The file.
        path: String,
        /// What does not hold.
        source: AuditError,
    },
    /// Of another ledger than the record.
    #[error("{path} is of the ledger {found}, the record is {expected}")]
    OtherLedger {
        /// The file.
        path: String,
        /// The ledger of the file.
        found: String,
        /// The record's.
        expected: String,
    },
    /// Of an organisation that the record never had.
    #[error("{path} is of {organisation}, which was never on the record")]
    UnknownOrganisation {
        /// The file.
        path: String,
        /// Whose it says it is.
        organisation: Identifier,
    },
    /// Not signed by its organisation.
    #[error("{path} was not signed by {organisation}: {reason}")]
    Signature {
        /// The file.
        path: String,
        /// Whose it says it is.
        organisation: Identifier,
        /// What does not hold.
        reason: String,
    },
    /// A certificate that the organisation did not issue.
    #[error("approval {line} of {path} was not issued by {organisation}: {reason}")]
    Certificate {
        /// The file.
        path: String,
        /// Which, from 1.
        line: u64,
        /// Whose it says it is.
        organisation: Identifier,
        /// What does not hold.
        reason: String,
    },
    /// Later than the record's export, so that reads may be missing there.
    #[error(
        "{path} was made at block {found} and the record's export ends with block {exported}: export the record once more, after the approvals"
    )]
    Newer {
        /// The file.
        path: String,
        /// The peer's last block then.
        found: u64,
        /// The export's last block.
        exported: u64,
    },
}

impl ApprovalsError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "approvals-file",
            Self::OtherLedger { .. } => "approvals-ledger",
            Self::UnknownOrganisation { .. } => "approvals-organisation",
            Self::Signature { .. } => "approvals-signature",
            Self::Certificate { .. } => "approvals-certificate",
            Self::Newer { .. } => "approvals-newer",
        }
    }
}

/// An approval that an organisation issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedApproval {
    /// The ledger's approval id.
    pub approval_id: String,
    /// From when on it was valid, seconds since the Unix epoch: when it was issued.
    pub not_before_s: u64,
    /// Until when, seconds since the Unix epoch.
    pub not_after_s: u64,
    /// SHA-256 of the issuer's certificate.
    pub issuer: Hash,
    /// What does not fit with the record.
    pub fault: Option<ApprovalFault>,
    /// SHA-256 of the certificate.
    pub certificate: Hash,
}

/// What of an approval does not fit with the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum ApprovalFault {
    /// Its id names no read.
    #[error("it is of no read on the record")]
    UnknownRead,
    /// The read is of something else.
    #[error("it is of a read with another {what}")]
    OtherRead {
        /// What differs.
        what: &'static str,
    },
    /// Issued before the read, or too long after it.
    #[error("it was issued at {issued_s} s, and the read is of {read_ms} ms")]
    Untimely {
        /// When, seconds since the Unix epoch.
        issued_s: u64,
        /// Time of the read's block, milliseconds since the Unix epoch.
        read_ms: u64,
    },
    /// A second one for one read.
    #[error("it is a second approval of one read")]
    Second,
}

impl ApprovalFault {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownRead => "approval-of-no-read",
            Self::OtherRead { .. } => "approval-of-other-read",
            Self::Untimely { .. } => "approval-untimely",
            Self::Second => "approval-second",
        }
    }
}

/// An organisation's file of approvals that was verified against a record: made by [`verify_approvals`] and in no other way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedApprovals {
    organisation: Identifier,
    block: u64,
    time_ms: u64,
    approvals: Vec<IssuedApproval>,
}

impl IssuedApprovals {
    /// Whose.
    #[must_use]
    pub fn organisation(&self) -> &Identifier {
        &self.organisation
    }

    /// The last block of the peer that made it.
    #[must_use]
    pub fn block(&self) -> u64 {
        self.block
    }

    /// When it was made by that peer's clock, milliseconds since the Unix epoch.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// All that it issued by then, ascending by approval id.
    #[must_use]
    pub fn approvals(&self) -> &[IssuedApproval] {
        &self.approvals
    }
}

/// Verifies a file of approvals against a record that was verified: signed by a key that its organisation has or had there, every certificate issued by an
/// authority that it has or had there. What of an approval does not fit with the record is told with it ([`IssuedApproval::fault`]); `tolerance_ms` is by how
/// much the clocks of peer and record may differ.
///
/// # Errors
/// [`ApprovalsError`] with the first thing that does not hold.
pub fn verify_approvals(
    path: &Path,
    record: &VerifiedRecord,
    tolerance_ms: u64,
) -> Result<IssuedApprovals, ApprovalsError> {
    let name = path.display().to_string();
    let file = |source| ApprovalsError::File {
        path: name.clone(),
        source,
    };
    let mut lines = Lines::open(path, MAX_LINE).map_err(file)?;
    let first = lines.next().map_err(file)?.unwrap_or_default();
    let opening: Opening = lines.parse(&first).map_err(file)?;
    if opening.format != FORMAT {
        let reason = format!("the format is {}, not {FORMAT}", opening.format);
        return Err(file(lines.wrong(reason)));
    }
    if opening.ledger != record.report.ledger {
        return Err(ApprovalsError::OtherLedger {
            path: name.clone(),
            found: hex::encode(opening.ledger),
            expected: hex::encode(record.report.ledger),
        });
    }
    let organisation = opening.organisation;
    let unknown = || ApprovalsError::UnknownOrganisation {
        path: name.clone(),
        organisation: organisation.clone(),
    };
    let keys = record.head_keys.get(&organisation).ok_or_else(unknown)?;
    let policies = policies(record, &organisation);

    let (mut tree, mut approvals) = (Tree::new(), Vec::<IssuedApproval>::new());
    let note = loop {
        let line = lines.next().map_err(file)?;
        let line = line.ok_or_else(|| file(lines.wrong("it ends without a signature")))?;
        if line.starts_with("{\"signed\"") {
            let closing: Closing = lines.parse(&line).map_err(file)?;
            if lines.next().map_err(file)?.is_some() {
                return Err(file(lines.wrong("there is more after the signature")));
            }
            break closing.signed;
        }
        let line: ApprovalLine = lines.parse(&line).map_err(file)?;
        let der = line.approval.0;
        let refused = |reason: String| ApprovalsError::Certificate {
            path: name.clone(),
            line: tree.size() + 1,
            organisation: organisation.clone(),
            reason,
        };
        if der.len() > MAX_CERTIFICATE {
            return Err(refused("it is longer than any certificate".to_owned()));
        }
        let issued = issued(&der, &policies, record, tolerance_ms).map_err(refused)?;
        if approvals
            .last()
            .is_some_and(|it| it.approval_id >= issued.approval_id)
        {
            return Err(file(
                lines.wrong("the approvals are not ascending by id, each once"),
            ));
        }
        tree.push(leaf_hash(&der));
        approvals.push(issued);
    };
    let statement = signed_statement(&note, keys).and_then(|(block, time_ms, text)| {
        let statement = Statement {
            ledger: opening.ledger,
            organisation: organisation.clone(),
            number: tree.size(),
            root: tree.root(),
            block,
            time_ms,
        };
        let expected = statement.to_text().map_err(|error| error.to_string())?;
        if text == expected {
            Ok(statement)
        } else {
            Err(
                "what was signed is not these approvals: some were altered, added or left out"
                    .to_owned(),
            )
        }
    });
    let statement = statement.map_err(|reason| ApprovalsError::Signature {
        path: name.clone(),
        organisation: organisation.clone(),
        reason,
    })?;
    if statement.block > record.report.blocks {
        return Err(ApprovalsError::Newer {
            path: name,
            found: statement.block,
            exported: record.report.blocks,
        });
    }
    Ok(IssuedApprovals {
        organisation,
        block: statement.block,
        time_ms: statement.time_ms,
        approvals,
    })
}

/// Block, time, and the whole text of a note that one of these keys signed.
fn signed_statement(note: &str, keys: &[NoteKey]) -> Result<(u64, u64, String), String> {
    let signed = SignedNote::parse(note).map_err(|error| error.to_string())?;
    let text = signed.verify(keys, 1).map_err(|error| error.to_string())?;
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|digits| digits.parse::<u64>().ok())
            .ok_or_else(|| format!("the signed text has no line `{}N`", name))
    };
    Ok((number("block ")?, number("time ")?, text.to_owned()))
}

/// Policies that take what the organisation's authorities issue, all that it ever had, as many in each as a policy may have.
fn policies(record: &VerifiedRecord, organisation: &Identifier) -> Vec<Policy> {
    let known = record.issuers.get(organisation).into_iter().flatten();
    let known: Vec<&Vec<u8>> = known.map(|(_, der)| der).collect();
    let policy = |issuers: &[&Vec<u8>]| {
        // Each was on the record, where no certificate comes that is no issuer's.
        Policy::new(PolicyConfig {
            approvals_needed: 1,
            organisations: vec![Organisation {
                name: organisation.to_string(),
                issuers: issuers.iter().map(|it| it.to_vec()).collect(),
            }],
            max_lifetime_s: ApprovalTerms::MAX_LIFETIME_S,
            tolerance_s: 0,
        })
        .ok()
    };
    known.chunks(MAX_ISSUERS).filter_map(policy).collect()
}

fn issued(
    der: &[u8],
    policies: &[Policy],
    record: &VerifiedRecord,
    tolerance_ms: u64,
) -> Result<IssuedApproval, String> {
    let approval = UnverifiedApproval::parse(der).map_err(|refusal| refusal.to_string())?;
    let binding = Binding {
        write_id: *approval.write_id(),
        ephemeral_point: *approval.ephemeral_point(),
        client_spki: approval.client_spki(),
    };
    let mut refusal = "it has no authority on the record".to_owned();
    let mut issuer = None;
    for policy in policies {
        match policy.verify(&[der], &binding, approval.not_before()) {
            Ok(approved) => issuer = approved.counted.first().map(|it| it.issuer_fingerprint),
            Err(refused) => refusal = refused.to_string(),
        }
    }
    let issuer = issuer.ok_or(refusal)?;
    let asked = Asked {
        write_id: &binding.write_id,
        ephemeral_point: &binding.ephemeral_point,
        client: Sha256::digest(binding.client_spki).into(),
        public_key: None,
    };
    let fault = match read_of(record, approval.approval_id()) {
        None => Some(ApprovalFault::UnknownRead),
        Some((_, read)) => match difference(record, &asked, read) {
            Some(what) => Some(ApprovalFault::OtherRead { what }),
            None => untimely(approval.not_before(), read.time_ms, tolerance_ms),
        },
    };
    Ok(IssuedApproval {
        approval_id: approval.approval_id().to_owned(),
        not_before_s: approval.not_before(),
        not_after_s: approval.not_after(),
        issuer,
        fault,
        certificate: Sha256::digest(der).into(),
    })
}

/// Whether no peer's terms let it issue this at that time.
fn untimely(issued_s: u64, read_ms: u64, tolerance_ms: u64) -> Option<ApprovalFault> {
    // Certificates have whole seconds: it may have been issued at the end of that one.
    let (first, last) = (
        issued_s.saturating_mul(1000),
        issued_s.saturating_mul(1000) + 999,
    );
    let window = ApprovalTerms::MAX_WINDOW_MS.saturating_add(tolerance_ms);
    let early = last.saturating_add(window) < read_ms;
    let late = first > read_ms.saturating_add(window);
    (early || late).then_some(ApprovalFault::Untimely { issued_s, read_ms })
}
