//! Why approvals were not counted: one typed reason for each certificate, with a stable code and a sentence.

use crate::certificate::CertificateError;

/// Why one approval was not counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request carries more approvals than are looked at in one request.
    #[error("the request carries {given} approvals; send at most {most}")]
    TooManyApprovals {
        /// How many there are.
        given: usize,
        /// [`crate::MAX_APPROVALS`].
        most: usize,
    },
    /// Byte for byte an earlier certificate of the same request.
    #[error("it is the same certificate as approval {first}; it counts once")]
    Duplicate {
        /// Index of the earlier one.
        first: usize,
    },
    /// Not a certificate at all.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    /// Signed with something else than Ed25519 or ECDSA P-256 with SHA-256.
    #[error("it is signed by an algorithm other than Ed25519 and ECDSA P-256 with SHA-256")]
    SignatureAlgorithm,
    /// A critical extension that is not of the profile.
    #[error("it has the critical extension {oid}, which approvals do not have")]
    UnknownCriticalExtension {
        /// Its object identifier, dotted.
        oid: String,
    },
    /// An extension of the profile is missing.
    #[error("it has no {extension} extension, so it is no approval")]
    MissingExtension {
        /// Its name.
        extension: &'static str,
    },
    /// An extension of the profile that must be critical is not.
    #[error("its {extension} extension is not marked critical")]
    NotCritical {
        /// Its name.
        extension: &'static str,
    },
    /// An extension of the profile whose value is not as the profile has it.
    #[error("its {extension} extension does not have the value that approvals have")]
    ExtensionValue {
        /// Its name.
        extension: &'static str,
    },
    /// The certificate of an authority.
    #[error("it is the certificate of an authority, not an approval")]
    IsAuthority,
    /// An approval id that is empty, too long or not printable.
    #[error(
        "its approval id is empty, longer than {} characters, or not printable",
        crate::MAX_APPROVAL_ID
    )]
    ApprovalId,
    /// For another wrapped key.
    #[error("it approves a read of another wrapped key (write_id {})", hex(.approved))]
    OtherWriteId {
        /// The `write_id` that it approves.
        approved: [u8; 32],
    },
    /// For another ephemeral key.
    #[error("it approves a read to another ephemeral key ({})", hex(.approved))]
    OtherEphemeralPoint {
        /// The point X that it approves.
        approved: [u8; 32],
    },
    /// For another client.
    #[error(
        "it was issued to another client: its key is not the key of this connection's client certificate"
    )]
    OtherClient,
    /// Ends before it begins.
    #[error("its validity ends before it begins")]
    ReversedValidity,
    /// Valid for longer than the policy allows.
    #[error("it is valid for {seconds} s; the policy allows {most} s")]
    LifetimeTooLong {
        /// notAfter − notBefore.
        seconds: u64,
        /// The policy's maximum.
        most: u32,
    },
    /// Not yet valid, even with the clock tolerance.
    #[error(
        "it is valid only from {not_before} on, and it is {now} here (tolerance {tolerance_s} s)"
    )]
    NotYetValid {
        /// Seconds since the Unix epoch.
        not_before: u64,
        /// The verifier's clock.
        now: u64,
        /// The policy's clock tolerance.
        tolerance_s: u32,
    },
    /// Expired, even with the clock tolerance.
    #[error(
        "it expired at {not_after}, and it is {now} here (tolerance {tolerance_s} s); get a new approval"
    )]
    Expired {
        /// Seconds since the Unix epoch.
        not_after: u64,
        /// The verifier's clock.
        now: u64,
        /// The policy's clock tolerance.
        tolerance_s: u32,
    },
    /// No issuer of the policy made its signature.
    #[error("none of the policy's issuers signed it")]
    UnknownIssuer,
    /// The request's signatures needed more tries than one request gets.
    #[error(
        "its signature was not checked: the other approvals of the request used up its {tries} signature checks"
    )]
    SignatureChecksUsedUp {
        /// How many there were.
        tries: usize,
    },
    /// The issuer's own certificate is not valid yet.
    #[error("the issuer of {organisation} that signed it is valid only from {not_before} on")]
    IssuerNotYetValid {
        /// Whose issuer it is.
        organisation: String,
        /// Seconds since the Unix epoch.
        not_before: u64,
    },
    /// The issuer's own certificate has expired.
    #[error(
        "the issuer of {organisation} that signed it expired at {not_after}; its organisation must renew it"
    )]
    IssuerExpired {
        /// Whose issuer it is.
        organisation: String,
        /// Seconds since the Unix epoch.
        not_after: u64,
    },
    /// A second certificate of an organisation that is counted already.
    #[error("{organisation} is counted already, for approval {first}; an organisation counts once")]
    OrganisationCounted {
        /// The organisation.
        organisation: String,
        /// Index of the approval that it is counted for.
        first: usize,
    },
    /// Its issuer has taken it back.
    #[error("{organisation} has revoked it: ask for a new approval")]
    Revoked {
        /// Whose approval it is.
        organisation: String,
    },
    /// The certificate of its issuer has been taken back.
    #[error(
        "the issuer of {organisation} that signed it is revoked; its organisation must use another"
    )]
    IssuerRevoked {
        /// Whose issuer it is.
        organisation: String,
    },
    /// There is no revocation list of today for its issuer.
    #[error(
        "this node has no revocation list for {organisation} that is new enough, and counts none of its approvals until it has: ask another node and tell its operator"
    )]
    RevocationStale {
        /// Whose approvals do not count.
        organisation: String,
    },
}

impl Refusal {
    /// Stable code of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooManyApprovals { .. } => "too-many-approvals",
            Self::Duplicate { .. } => "duplicate-approval",
            Self::Certificate(error) => error.code(),
            Self::SignatureAlgorithm => "approval-signature-algorithm",
            Self::UnknownCriticalExtension { .. } => "approval-unknown-critical-extension",
            Self::MissingExtension { .. } => "approval-missing-extension",
            Self::NotCritical { .. } => "approval-extension-not-critical",
            Self::ExtensionValue { .. } => "approval-extension-value",
            Self::IsAuthority => "approval-is-authority",
            Self::ApprovalId => "approval-id",
            Self::OtherWriteId { .. } => "approval-other-write-id",
            Self::OtherEphemeralPoint { .. } => "approval-other-ephemeral-key",
            Self::OtherClient => "approval-other-client",
            Self::ReversedValidity => "approval-reversed-validity",
            Self::LifetimeTooLong { .. } => "approval-lifetime",
            Self::NotYetValid { .. } => "approval-not-yet-valid",
            Self::Expired { .. } => "approval-expired",
            Self::UnknownIssuer => "approval-unknown-issuer",
            Self::SignatureChecksUsedUp { .. } => "approval-signature-not-checked",
            Self::IssuerNotYetValid { .. } => "issuer-not-yet-valid",
            Self::IssuerExpired { .. } => "issuer-expired",
            Self::OrganisationCounted { .. } => "organisation-counted-already",
            Self::Revoked { .. } => "approval-revoked",
            Self::IssuerRevoked { .. } => "issuer-revoked",
            Self::RevocationStale { .. } => "revocation-stale",
        }
    }

    /// The organisation that signed the certificate, where the signature told.
    #[must_use]
    pub fn organisation(&self) -> Option<&str> {
        match self {
            Self::IssuerNotYetValid { organisation, .. }
            | Self::IssuerExpired { organisation, .. }
            | Self::OrganisationCounted { organisation, .. }
            | Self::Revoked { organisation }
            | Self::IssuerRevoked { organisation }
            | Self::RevocationStale { organisation } => Some(organisation),
            _ => None,
        }
    }
}

/// Too few approvals counted: the request is refused, and each reason is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How many distinct organisations the policy asks for.
    pub needed: u16,
    /// How many approved.
    pub counted: u16,
    /// The organisations that did approve.
    pub organisations: Vec<String>,
    /// Index of each approval that was not counted, and why, in ascending order.
    pub reasons: Vec<(usize, Refusal)>,
}

impl Refused {
    /// Stable code of the refusal as a whole.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "not-enough-approvals"
    }
}

/// How many reasons the sentence spells out.
const REASONS_SHOWN: usize = 8;

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self {
            needed, counted, ..
        } = self;
        write!(
            f,
            "{counted} of the {needed} organisations needed approved this read"
        )?;
        if !self.organisations.is_empty() {
            write!(f, " ({})", self.organisations.join(", "))?;
        }
        for (index, reason) in self.reasons.iter().take(REASONS_SHOWN) {
            write!(f, "; approval {index} does not count: {reason}")?;
        }
        match self.reasons.len().saturating_sub(REASONS_SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl core::error::Error for Refused {}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
