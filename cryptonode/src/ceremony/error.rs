//! Why something about a ceremony was not done, for operators.

use crate::audit::AuditError;
use crate::store::{RecordsError, StoreError};
use crate::tls::TlsError;

/// Why something about a ceremony was not done.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// No policy is configured.
    #[error(
        "this node has no approval policy: set one with `cryptonode policy set`, and start the node again"
    )]
    NoPolicy,
    /// This node was restored from its phrase.
    #[error(
        "this node was restored from its recovery phrase and has forgotten what it promised: it serves reads, and takes part in no ceremony under this identity; replace it by a new node"
    )]
    Restored,
    /// Its audit log was set back.
    #[error(
        "this node's audit log is older than what the other members have cosigned of it: the folder was set back, and has forgotten what it promised, so that it takes part in no ceremony; put the newer folder back, or if that is lost make the node anew from its phrase with `cryptonode restore`"
    )]
    SetBack,
    /// A name that no member has.
    #[error(
        "no configured member is called {name:?}: `cryptonode member list` shows them, `cryptonode member add` adds one"
    )]
    NoSuchMember {
        /// The name.
        name: String,
    },
    /// The proposal lists a node that the operator did not configure.
    #[error(
        "the proposal lists {name} ({identity}), which this node's operator has not configured with these keys: add its card with `cryptonode member add`, if it is right"
    )]
    UnknownMember {
        /// The name in the proposal.
        name: String,
        /// The identity in hexadecimal.
        identity: String,
    },
    /// Too many at a time.
    #[error("{open} ceremonies are open on this node: reject some before others can be proposed")]
    TooMany {
        /// How many.
        open: usize,
    },
    /// Too many of one proposer.
    #[error(
        "{remembered} ceremonies of this proposer are remembered on this node: they are forgotten ceremony.remember_s after they expire"
    )]
    TooManyOfOne {
        /// How many.
        remembered: usize,
    },
    /// Too many results of the key are still served.
    #[error(
        "this node still serves as many earlier epochs of the key as it may, since the key was reshared several times within their overlaps: propose again after {until} (seconds since 1970), when the next is erased"
    )]
    EpochsFull {
        /// When there is room again at the latest, seconds since the Unix epoch.
        until: u64,
    },
    /// Its operator has to agree to the policy.
    #[error(
        "this proposal changes the approval policy of the key: `cryptonode policy diff {id}` says how, `cryptonode policy accept {id}` agrees to it"
    )]
    ChangesPolicy {
        /// The ceremony.
        id: String,
    },
    /// Something else was shown.
    #[error(
        "the proposal is about the policy {proposed}, and the operator was shown {shown}: nothing was accepted"
    )]
    OtherPolicyShown {
        /// What was shown.
        shown: String,
        /// What is proposed.
        proposed: String,
    },
    /// No proposal changes a policy.
    #[error(
        "no ceremony of this node changes a key's policy: `cryptonode policy propose` makes one"
    )]
    NoPolicyChange,
    /// Nothing would change.
    #[error("the key has this policy already ({hash}): nothing is to be proposed")]
    SamePolicy {
        /// SHA-256 of it.
        hash: String,
    },
    /// It is fetched, and the message is answered then.
    #[error("the policy that is proposed is not here yet")]
    PolicyMissing(super::policy::MissingPolicy),
    /// No ceremony fits.
    #[error("no ceremony fits {id:?}: `cryptonode ceremony list` shows those of this node")]
    NoSuchCeremony {
        /// What was asked for.
        id: String,
    },
    /// None at all.
    #[error("this node knows no ceremony: make a proposal with `cryptonode ceremony propose`")]
    None,
    /// More than one fits.
    #[error("several ceremonies fit {id:?}: give more digits of one")]
    Ambiguous {
        /// What was asked for.
        id: String,
    },
    /// Not led here.
    #[error(
        "this node did not propose that ceremony: only {leader} can call it off; `cryptonode ceremony reject` takes this node out of it"
    )]
    NotLeader {
        /// Who proposed it.
        leader: String,
    },
    /// Too late to call off.
    #[error("the ceremony can no longer be called off: {reason}")]
    TooLate {
        /// Why.
        reason: String,
    },
    /// No threshold.
    #[error("a new key needs a threshold: give --threshold")]
    NoThreshold,
    /// Options of a reshare without one.
    #[error("--absent, --after-attempt and a policy of its own are about a reshare: name the key")]
    NotAReshare,
    /// No key, or more than one, fits.
    #[error(
        "not exactly one key of this node begins with {head:?}: `cryptonode key list` shows them"
    )]
    NoSuchKey {
        /// What was asked for.
        head: String,
    },
    /// This node cannot hand the key on.
    #[error("{0}; propose the reshare on a member that serves the key")]
    Key(crate::keyring::KeyRefusal),
    /// The base's certificate is missing.
    #[error(
        "the certificate of the key {public_key} is not signed yet, and a reshare needs it: as many members as a read takes must be reachable; try again in a minute"
    )]
    NotSigned {
        /// Y in hexadecimal.
        public_key: String,
    },
    /// A name that no present member has.
    #[error("no present member of the key is called {name:?}; they are {members}")]
    NotAnOldMember {
        /// The name.
        name: String,
        /// The present members.
        members: String,
    },
    /// The terms make no proposal.
    #[error(transparent)]
    Proposal(#[from] dkg::ProposalError),
    /// The machine refuses.
    #[error(transparent)]
    Fault(Box<dkg::Fault>),
    /// A stored state cannot be used.
    #[error("the stored state of ceremony {id} cannot be used: {reason}")]
    State {
        /// The ceremony.
        id: String,
        /// Why.
        reason: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in the store.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// That something was confirmed could not be written beside the store.
    #[error(transparent)]
    Unmarked(#[from] crate::set_back::SetBackError),
    /// Consent to a policy is recorded before it is given.
    #[error("nothing was agreed to, since the audit log takes no record of it: {0}")]
    Audit(AuditError),
    /// The node's own identity cannot be used for connections.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The work was lost, because the node stops.
    #[error("the node is stopping; its ceremonies go on after the next start")]
    Stopping,
}

impl From<dkg::Fault> for CeremonyError {
    fn from(fault: dkg::Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

impl CeremonyError {
    /// A stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPolicy => "no-policy",
            Self::Restored => "restored-node",
            Self::SetBack => "set-back",
            Self::NoSuchMember { .. } => "no-such-member",
            Self::UnknownMember { .. } => "unknown-member",
            Self::TooMany { .. } => "too-many-ceremonies",
            Self::TooManyOfOne { .. } => "too-many-ceremonies",
            Self::EpochsFull { .. } => "epochs-full",
            Self::ChangesPolicy { .. } => "changes-policy",
            Self::OtherPolicyShown { .. } => "other-policy",
            Self::NoPolicyChange => "no-policy-change",
            Self::SamePolicy { .. } => "same-policy",
            Self::PolicyMissing(_) => "policy-missing",
            Self::NoSuchCeremony { .. } => "no-such-ceremony",
            Self::None => "no-ceremony",
            Self::Ambiguous { .. } => "ambiguous-ceremony",
            Self::NotLeader { .. } => "not-leader",
            Self::TooLate { .. } => "too-late",
            Self::NoThreshold => "no-threshold",
            Self::NotAReshare => "not-a-reshare",
            Self::NoSuchKey { .. } => "no-such-key",
            Self::Key(refusal) => refusal.code(),
            Self::NotSigned { .. } => "not-signed-yet",
            Self::NotAnOldMember { .. } => "not-an-old-member",
            Self::Proposal(error) => error.code(),
            Self::Fault(fault) => fault.code(),
            Self::State { .. } => "ceremony-state",
            Self::Store(_) | Self::Records(_) | Self::Unmarked(_) => "store",
            Self::Audit(error) => error.code(),
            Self::Tls(_) => "own-identity",
            Self::Stopping => "stopping",
        }
    }
}
