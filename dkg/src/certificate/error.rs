//! Why a certificate is not valid.

use crate::proposal::ProposalError;
use crate::wire_v1::WireError;

/// Why a certificate is not valid, or of no use here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not a certificate in its one encoding.
    #[error("the certificate cannot be read: {0}")]
    Encoding(#[from] WireError),
    /// Its proposal is not acceptable.
    #[error(transparent)]
    Proposal(#[from] ProposalError),
    /// Of another version.
    #[error("the certificate is of version {0}, which this version does not read")]
    Version(u16),
    /// A list has not the length that the proposal asks for.
    #[error("the certificate has {got} {what} where the proposal asks for {expected}")]
    Count {
        /// `encryption keys`, `sums`, `qualified dealers` or `confirmations`.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// The epoch, the attempt or the dealers are not those that follow from the proposal and who took part.
    #[error("the certificate's epoch, attempt or dealers are not those of its proposal")]
    OtherResult,
    /// The sums are not those of the key that is handed on.
    #[error("the certificate is of another key than the one that its proposal hands on")]
    OtherKey,
    /// The certificate is not one of a reshare.
    #[error("the certificate is one of a new key: it is verified by its members' identities")]
    NotAReshare,
    /// Its list of absent members is not one that the proposal allows.
    #[error("the certificate leaves out members as its proposal does not allow")]
    Absence,
    /// A sum of commitments, or a public share that follows from them, is no point or the identity.
    #[error("the certificate has a point that is the identity or none")]
    Point,
    /// The public shares sent beside the certificate are not those that follow from it.
    #[error("the public shares sent beside the certificate are not those that follow from it")]
    PublicShares,
    /// A confirmation is missing or not signed by its member.
    #[error("the certificate has no valid confirmation of member {member}")]
    Confirmation {
        /// The member's index.
        member: u16,
    },
    /// The members are not the ones that were pinned.
    #[error("the certificate is not one of the expected members: their identities differ")]
    OtherMembers,
    /// The phrase is not one of a member of this key.
    #[error("this recovery phrase belongs to no member of this key")]
    NotAMember,
    /// The sealed share does not open, or is not the member's share.
    #[error(
        "the share sealed for member {member} is not its share of this key: its own node made it so"
    )]
    SealedShare {
        /// The member's index.
        member: u16,
    },
}

impl CertificateError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Encoding(error) => error.code(),
            Self::Proposal(error) => error.code(),
            Self::Version(_) => "certificate-version",
            Self::Count { .. } => "certificate-count",
            Self::OtherResult => "certificate-other-result",
            Self::OtherKey => "certificate-other-key",
            Self::NotAReshare => "certificate-not-a-reshare",
            Self::Absence => "certificate-absence",
            Self::Point => "certificate-point",
            Self::PublicShares => "certificate-public-shares",
            Self::Confirmation { .. } => "certificate-confirmation",
            Self::OtherMembers => "certificate-other-members",
            Self::NotAMember => "certificate-not-a-member",
            Self::SealedShare { .. } => "certificate-sealed-share",
        }
    }
}
