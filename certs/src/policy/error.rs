//! Why a configuration makes no policy, and a certificate no issuer.

use crate::certificate::CertificateError;
use crate::policy::{MAX_ISSUERS, MAX_NAME, MAX_ORGANISATIONS, MAX_TOLERANCE_S};
use crate::signature::KeyDefect;

/// Why a configuration makes no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// m = 0.
    #[error("the policy asks for no approvals; approvals_needed must be at least 1")]
    NoApprovalsNeeded,
    /// m > number of organisations.
    #[error("the policy asks for {needed} approvals but has {organisations} organisations")]
    TooManyNeeded {
        /// m
        needed: u16,
        /// How many there are.
        organisations: usize,
    },
    /// More than [`MAX_ORGANISATIONS`].
    #[error("the policy has {count} organisations; at most {MAX_ORGANISATIONS} are supported")]
    TooManyOrganisations {
        /// How many there are.
        count: usize,
    },
    /// A name that is empty, too long or not printable.
    #[error(
        "organisation {index} (counting from 0) must have a name of 1 to {MAX_NAME} printable characters"
    )]
    Name {
        /// Its place in the configuration.
        index: usize,
    },
    /// Two organisations of one name, or of names that differ in case alone.
    #[error("two organisations are named {name}")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// An organisation without issuers.
    #[error("organisation {organisation} has no issuer certificate")]
    NoIssuer {
        /// Its name.
        organisation: String,
    },
    /// An organisation with more than [`MAX_ISSUERS`].
    #[error(
        "organisation {organisation} has {count} issuer certificates; at most {MAX_ISSUERS} are supported"
    )]
    TooManyIssuers {
        /// Its name.
        organisation: String,
        /// How many it has.
        count: usize,
    },
    /// One certificate listed twice.
    #[error("issuer certificate {index} of organisation {organisation} is listed twice")]
    DuplicateIssuer {
        /// The organisation's name.
        organisation: String,
        /// The second one's place in its list, from 0.
        index: usize,
    },
    /// One public key in two organisations.
    #[error(
        "organisations {first} and {second} have an issuer with the same public key: its holder would count twice"
    )]
    SharedKey {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// A certificate that cannot be an issuer's.
    #[error("issuer certificate {index} of organisation {organisation} cannot be used: {defect}")]
    Issuer {
        /// The organisation's name.
        organisation: String,
        /// Its place in the organisation's list, from 0.
        index: usize,
        /// What is wrong with it.
        defect: IssuerDefect,
    },
    /// Text that holds no PEM certificate.
    #[error("issuer {index} of organisation {organisation} is not a PEM certificate")]
    Pem {
        /// The organisation's name.
        organisation: String,
        /// Its place in the organisation's list, from 0.
        index: usize,
    },
    /// A lifetime out of bounds.
    #[error("max_lifetime_s is {seconds}; it must be 1 to 86400")]
    Lifetime {
        /// The lifetime.
        seconds: u32,
    },
    /// A clock tolerance out of bounds.
    #[error("tolerance_s is {seconds}; it must be at most {MAX_TOLERANCE_S}")]
    Tolerance {
        /// The tolerance.
        seconds: u32,
    },
    /// Bytes that are no canonical encoding of a policy.
    #[error("the bytes are not the canonical encoding of a policy")]
    Encoding,
}

impl PolicyError {
    /// Stable code of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoApprovalsNeeded => "policy-no-approvals-needed",
            Self::TooManyNeeded { .. } => "policy-too-many-needed",
            Self::TooManyOrganisations { .. } => "policy-too-many-organisations",
            Self::Name { .. } => "policy-name",
            Self::DuplicateName { .. } => "policy-duplicate-name",
            Self::NoIssuer { .. } => "policy-no-issuer",
            Self::TooManyIssuers { .. } => "policy-too-many-issuers",
            Self::DuplicateIssuer { .. } => "policy-duplicate-issuer",
            Self::SharedKey { .. } => "policy-shared-key",
            Self::Issuer { defect, .. } => defect.code(),
            Self::Pem { .. } => "policy-pem",
            Self::Lifetime { .. } => "policy-lifetime",
            Self::Tolerance { .. } => "policy-tolerance",
            Self::Encoding => "policy-encoding",
        }
    }
}

/// Why a certificate cannot be an issuer's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerDefect {
    /// Not a certificate for us.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    /// basicConstraints missing or without cA TRUE.
    #[error("it is not the certificate of an authority (basicConstraints cA)")]
    NotAuthority,
    /// keyUsage missing or without keyCertSign.
    #[error("its key may not sign certificates (keyUsage keyCertSign)")]
    NoCertificateSigning,
    /// A critical extension that is not understood, such as name constraints.
    #[error("it has the critical extension {oid}, which is not supported in an issuer")]
    UnknownCriticalExtension {
        /// Its object identifier, dotted.
        oid: String,
    },
    /// Its validity ends before it begins.
    #[error("its validity ends before it begins")]
    ReversedValidity,
    /// A key that cannot be used.
    #[error("{0}")]
    Key(#[from] KeyDefect),
}

impl IssuerDefect {
    /// Stable code of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Certificate(error) => error.code(),
            Self::NotAuthority => "issuer-not-authority",
            Self::NoCertificateSigning => "issuer-no-certificate-signing",
            Self::UnknownCriticalExtension { .. } => "issuer-unknown-critical-extension",
            Self::ReversedValidity => "issuer-reversed-validity",
            Self::Key(KeyDefect::Unsupported) => "issuer-key-type",
            Self::Key(KeyDefect::Invalid) => "issuer-key-invalid",
            Self::Key(KeyDefect::Weak) => "issuer-key-weak",
        }
    }
}
