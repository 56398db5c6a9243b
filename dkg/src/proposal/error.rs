//! Why terms are no proposal.

use reencrypt::KeyCertificateError;

use super::MAX_MEMBERS;
use crate::wire_v1;

/// Why terms are no proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// The bytes are not a proposal in its one encoding.
    #[error("the proposal cannot be read: {0}")]
    Encoding(#[from] wire_v1::WireError),
    /// Made for another version of the protocol.
    #[error(
        "the proposal is for version {theirs} of the protocol and this node speaks version {ours}: bring all members to one version"
    )]
    Version {
        /// The version that this code speaks.
        ours: u16,
        /// The version that the proposal names.
        theirs: u16,
    },
    /// No member, or too many.
    #[error("a key has 1 to {MAX_MEMBERS} members, the proposal has {0}")]
    MemberCount(usize),
    /// t is 0 or more than n.
    #[error(
        "the threshold must be between 1 and the number of members: it is {threshold} of {members}"
    )]
    Threshold {
        /// t.
        threshold: u16,
        /// n.
        members: usize,
    },
    /// n < 2t − 1 without leave.
    #[error("with a threshold of {threshold}, {needed} members are asked for and the proposal has {members}: if {tolerated} of them fall silent, the key is lost; \
             lower the threshold, add members, or allow it explicitly", tolerated = members.saturating_sub(usize::from(*threshold)) + 1)]
    FewMembers {
        /// t.
        threshold: u16,
        /// n.
        members: usize,
        /// 2t − 1.
        needed: usize,
    },
    /// Members are not in the order of their identities.
    #[error("the members of the proposal are not in the order of their identities")]
    Order,
    /// One identity, recovery key, name or address twice.
    #[error(
        "two members of the proposal have the same {what}: {name} is one of them; each node needs its own"
    )]
    Duplicate {
        /// `identity`, `recovery key` or `name`.
        what: &'static str,
        /// The second member that has it.
        name: String,
    },
    /// A member's identity or recovery key is not a usable key.
    #[error("the {what} of member {name} is not a valid key: ask its operator for the card again")]
    Key {
        /// `identity` or `recovery key`.
        what: &'static str,
        /// The member.
        name: String,
    },
    /// An empty, long or unprintable text.
    #[error(
        "the {what} of a member of the proposal, or of its software, is empty, too long, or has control characters"
    )]
    Text {
        /// `name`, `address` or `software`.
        what: &'static str,
    },
    /// The leader is not one of the members.
    #[error("the leader of the proposal is not among its members")]
    Leader,
    /// Expires before it is made, or stays open for more than 30 days.
    #[error(
        "the proposal is open from {created} to {expires}: it must expire after it is made and within 30 days"
    )]
    Lifetime {
        /// Seconds since the Unix epoch.
        created: u64,
        /// Seconds since the Unix epoch.
        expires: u64,
    },
    /// Without those that may be absent, too few are left for the threshold.
    #[error(
        "with {absent} of {members} members absent too few are left for a threshold of {threshold}: let fewer be absent, lower the threshold, or allow few members explicitly"
    )]
    Absence {
        /// How many may be absent.
        absent: u16,
        /// n.
        members: usize,
        /// t.
        threshold: u16,
    },
    /// A create with a base, or a reshare without.
    #[error("a reshare names its base, and a create has none")]
    Kind,
    /// The certificate of the base does not hold under its own Y.
    #[error("the certificate of the key to be handed on is not valid: {0}")]
    Base(KeyCertificateError),
    /// Not one address of each old member.
    #[error("the proposal has {got} addresses for the {expected} members of the base")]
    BaseAddresses {
        /// n of the base.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// Without the old members that may be absent, fewer than t of the base are left, or the list is not one of its members.
    #[error(
        "with {absent} of the {members} old members absent, fewer than {threshold} are left, and only {threshold} together can hand the key on: \
         name fewer of them, each once and in index order"
    )]
    OldAbsence {
        /// How many may be absent.
        absent: usize,
        /// n of the base.
        members: usize,
        /// t of the base.
        threshold: u16,
    },
    /// The attempts' numbers are used up.
    #[error("attempts cannot be numbered from {0} on")]
    AttemptsAfter(u32),
    /// The signature is not the leader's.
    #[error("the proposal is not signed by its leader")]
    Signature,
}

impl ProposalError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Encoding(error) => error.code(),
            Self::Version { .. } => "other-version",
            Self::MemberCount(_) => "proposal-member-count",
            Self::Threshold { .. } => "proposal-threshold",
            Self::FewMembers { .. } => "proposal-few-members",
            Self::Order => "proposal-order",
            Self::Duplicate { .. } => "proposal-duplicate",
            Self::Key { .. } => "proposal-key",
            Self::Text { .. } => "proposal-text",
            Self::Leader => "proposal-leader",
            Self::Lifetime { .. } => "proposal-lifetime",
            Self::Absence { .. } => "proposal-absence",
            Self::Kind => "proposal-kind",
            Self::Base(_) => "proposal-base",
            Self::BaseAddresses { .. } => "proposal-base-addresses",
            Self::OldAbsence { .. } => "proposal-old-absence",
            Self::AttemptsAfter(_) => "proposal-attempts-after",
            Self::Signature => "proposal-signature",
        }
    }
}
