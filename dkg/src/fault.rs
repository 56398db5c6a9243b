//! What can be wrong with a peer's message, and who is to blame.
//!
//! Every fault is a value, not a sentence: it names the culprit by index where one can be named, and carries the
//! evidence where evidence exists that convinces others. [`Fault::code`] is stable; sentences are for people and may change.

use crate::attempt::Acceptance;
use crate::deal::DealHeader;
use crate::hex;
use crate::proposal::ProposalError;
use crate::wire_v1::WireError;

/// Why a message was refused, or a member failed an attempt. Indices are those of the attempt, 1…n, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes are no message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The proposal is not acceptable to anybody.
    #[error(transparent)]
    Proposal(#[from] ProposalError),
    /// This node's operator configured another approval policy.
    #[error(
        "this node's approval policy is {}, the proposal's is {}: the operators must configure the same policy",
        hex::encode(ours),
        hex::encode(theirs)
    )]
    OtherPolicy {
        /// SHA-256 of this node's policy.
        ours: [u8; 32],
        /// SHA-256 of the proposal's policy.
        theirs: [u8; 32],
    },
    /// The proposal does not have this node, or not its recovery key.
    #[error(
        "the proposal does not list this node with its own identity and recovery key: give the proposer this node's card again"
    )]
    NotListed,
    /// The sender is no member of the ceremony.
    #[error("the sender {} is not a member of this ceremony", hex::encode(from))]
    Stranger {
        /// The identity that TLS established.
        from: [u8; 32],
    },
    /// About a ceremony that this machine does not run.
    #[error("the message is about another ceremony")]
    OtherCeremony,
    /// A second proposal under the same id.
    #[error(
        "another proposal was already made under this ceremony's id: the leader must choose a new one"
    )]
    OtherProposal,
    /// A message that does not fit the step that this member is at.
    #[error("a message `{message}` does not fit here: this member is at the step `{stage}`")]
    OutOfStep {
        /// The kind of message.
        message: &'static str,
        /// The step.
        stage: &'static str,
    },
    /// The proposal is no longer open.
    #[error(
        "the proposal expired at {expires} (seconds since 1970) and it is {now}: make a new one"
    )]
    Expired {
        /// Seconds since the Unix epoch.
        expires: u64,
        /// Seconds since the Unix epoch.
        now: u64,
    },
    /// The operator rejected the proposal, or the leader called it off.
    #[error("the ceremony is closed here: {reason}")]
    Closed {
        /// Why, in words.
        reason: String,
    },
    /// Too late to call off: the key may exist.
    #[error("this member has confirmed the result and keeps its share, because the key may exist")]
    AlreadyConfirmed,
    /// The call to abandon is not signed by the leader.
    #[error("the call to abandon the ceremony is not signed by its leader")]
    AbandonSignature,
    /// Another attempt than the one that this member is at.
    #[error("the question is about attempt {0}, and this member is at another")]
    Attempt(u32),
    /// A call to leave a member out that its own evidence does not support.
    #[error(
        "the evidence for leaving member {member} out does not prove anything: the leader is false"
    )]
    FalseEvidence {
        /// The member's index in the proposal.
        member: u16,
    },
    /// More evidence than a call to leave members out may carry.
    #[error(
        "the evidence for leaving members out has {bytes} bytes where at most {most} are taken: the leader must give its word for the rest"
    )]
    EvidenceTooLong {
        /// Bytes there are.
        bytes: usize,
        /// How many are taken.
        most: usize,
    },
    /// A call to leave members out that the proposal, or the order of attempts, does not allow.
    #[error(
        "attempt {attempt} leaves out other members than its grounds name, or more than the proposal allows"
    )]
    ExclusionCount {
        /// The attempt's number.
        attempt: u32,
    },
    /// Somebody else than the leader asks for another attempt.
    #[error("only the ceremony's leader begins another attempt")]
    NotLeader,
    /// Not one acceptance of each member that takes part, in index order, or of too few.
    #[error("{got} acceptances where one of each of {expected} members is needed, in index order")]
    AcceptanceCount {
        /// n.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// A member's acceptance is not signed by it, or its key is not a point.
    #[error("the acceptance of member {member} is not valid")]
    AcceptanceInvalid {
        /// The member.
        member: u16,
    },
    /// The relayed list has not this member's own message as this member made it.
    #[error(
        "this member's own {what} was altered on the way: the leader relays what it was not given"
    )]
    OwnMessageAltered {
        /// `acceptance`, `deal`, `acknowledgement` or `confirmation`.
        what: &'static str,
    },
    /// One member signed two encryption keys for one ceremony.
    #[error("member {member} signed two different encryption keys for this ceremony")]
    TwoAcceptances {
        /// The member.
        member: u16,
        /// Both, as evidence.
        evidence: Box<(Acceptance, Acceptance)>,
    },
    /// Other parameters for an attempt that has begun, without proof of who changed them.
    #[error("this attempt has begun with other parameters: the leader must make a new proposal")]
    OtherParameters,
    /// Not one deal of each member in index order.
    #[error("{got} deals where one of each of {expected} members is needed, in index order")]
    DealCount {
        /// n.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// What the leader relayed in a member's name is not what that member signed.
    #[error(
        "the {what} of member {author} is not what that member signed: the leader relays what it was not given"
    )]
    RelayAltered {
        /// The member in whose name it was relayed, who is not to blame.
        author: u16,
        /// `acceptance`, `deal`, `ciphertext`, `commitments` or `acknowledgement`.
        what: &'static str,
    },
    /// A deal is void, by what its dealer signed.
    #[error("the deal of member {dealer} is void: {reason}")]
    BadDeal {
        /// The dealer.
        dealer: u16,
        /// Why.
        reason: DealFault,
    },
    /// A dealer signed two different deals for one attempt.
    #[error("member {dealer} signed two different deals for one attempt")]
    TwoDeals {
        /// The dealer.
        dealer: u16,
        /// What it signed, both times, as evidence.
        evidence: Box<(DealHeader, DealHeader)>,
    },
    /// The leader sent other sums than those of the deals.
    #[error("the sums are not those of the deals: the leader made them up")]
    FalseSums,
    /// Another leader showed this member deals that no dealer had signed, and it has confirmed them.
    #[error(
        "this member has confirmed deals that another leader made up: the attempt must be repeated"
    )]
    FalseDeals,
    /// A complaint that its own evidence refutes.
    #[error("member {member} complained of the deal of member {dealer} without cause")]
    FalseComplaint {
        /// The author of the complaint.
        member: u16,
        /// The dealer, who is not to blame.
        dealer: u16,
    },
    /// Not one acknowledgement or confirmation of each member in index order.
    #[error("{got} {what}s where one of each of {expected} members is needed, in index order")]
    Count {
        /// `acknowledgement` or `confirmation`.
        what: &'static str,
        /// n.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// Not signed by its author.
    #[error("the {what} of member {member} is not signed by it")]
    Unsigned {
        /// `acknowledgement`, `complaint` or `confirmation`.
        what: &'static str,
        /// The author.
        member: u16,
    },
    /// A member acknowledged other deals than this one has seen.
    #[error(
        "member {member} has acknowledged other deals than this member was shown: the leader, or that member, is false"
    )]
    OtherDeals {
        /// The member.
        member: u16,
    },
    /// A certificate of another result than the one that this member has confirmed.
    #[error("this is about another result than the one that this member has confirmed")]
    OtherResult,
    /// A member signed a confirmation of another result.
    #[error(
        "member {member} has confirmed another result than the deals and acknowledgements give"
    )]
    OtherConfirmation {
        /// The member.
        member: u16,
    },
    /// The second check failed: the share does not fit the qualified dealers' sums.
    #[error(
        "this member's share does not fit the result, although each dealer's part did: the attempt must be repeated"
    )]
    ShareMismatch,
    /// The certificate is not valid.
    #[error("the certificate is not valid: {0}")]
    Certificate(#[from] crate::certificate::CertificateError),
    /// The key's statement was not signed.
    #[error(transparent)]
    Signing(#[from] crate::signing::SigningError),
    /// This node already knows a greater result of the key than the base.
    #[error(
        "the key has been handed on to a newer result (epoch {epoch}, attempt {attempt}): propose again from that one"
    )]
    BaseSuperseded {
        /// Its epoch.
        epoch: u64,
        /// Its attempt.
        attempt: u32,
    },
    /// An attempt on the base with this or a higher number was confirmed already, in this ceremony or another.
    #[error(
        "this member has confirmed attempts on that base up to number {highest}: propose again with attempts after {highest}"
    )]
    AttemptTaken {
        /// The highest.
        highest: u32,
    },
    /// The proposal leaves out more attempts' numbers than any history explains.
    #[error(
        "the proposal numbers its attempts from {after} on, and this member has confirmed none above {highest}: propose again with attempts after the highest confirmed"
    )]
    AttemptsAhead {
        /// What the proposal says.
        after: u32,
        /// What this member has confirmed.
        highest: u32,
    },
    /// An old member without its share of the base.
    #[error(
        "this node does not hold the share of member {index} of the base: leave it out as an old member, and make it a new one under another identity if it was restored"
    )]
    BaseNotHeld {
        /// Its index in the base.
        index: u16,
    },
    /// A message of a reshare came to a node that did not look up what it holds of the base.
    #[error("what this node holds of the key that is handed on was not looked up")]
    BaseUnknown,
    /// The deals of a reshare do not add up to the key.
    #[error("the result is not one of the key that is handed on")]
    OtherKey,
    /// The sum of the deals is the identity or otherwise unusable. Cannot happen by chance.
    #[error("the result is not a usable key: the attempt must be repeated")]
    UnusableResult,
    /// A member answered with a refusal.
    #[error("member {member} refused ({code}): {sentence}")]
    Refused {
        /// The member.
        member: u16,
        /// The code that it gave.
        code: String,
        /// The sentence that it gave.
        sentence: String,
        /// Whom it named, 0 for nobody.
        named: u16,
    },
    /// A member's operator said no.
    #[error("the operator of member {member} rejected the proposal: {reason}")]
    Rejected {
        /// The member.
        member: u16,
        /// The reason given.
        reason: String,
    },
    /// A member answered with something that is no answer to what it was asked.
    #[error("member {member} answered with `{message}`, which is no answer to what it was asked")]
    WrongAnswer {
        /// The member.
        member: u16,
        /// The kind of message.
        message: &'static str,
    },
    /// What an earlier run of this leader found, read back from its state.
    #[error("{sentence}")]
    Recorded {
        /// The member, 0 for nobody.
        member: u16,
        /// The fault's code.
        code: String,
        /// The fault's sentence.
        sentence: String,
    },
    /// A member gave no answer before the proposal expired.
    #[error("member {member} ({waiting_for}) gave no answer before the proposal expired")]
    Silent {
        /// The member.
        member: u16,
        /// What was waited for.
        waiting_for: &'static str,
    },
}

/// Why a deal is void, by what its dealer signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DealFault {
    /// Not signed by the dealer (seen by the leader, who got it from the dealer itself).
    #[error("it is not signed by its dealer")]
    Signature,
    /// Made under another index.
    #[error("it carries the index {0} of another member")]
    Index(u16),
    /// Not t commitments.
    #[error("it has {got} commitments where {expected} are needed")]
    CommitmentCount {
        /// t.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// Not n ciphertexts.
    #[error("it has {got} ciphertexts where {expected} are needed")]
    CiphertextCount {
        /// n.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// The commitments are not those of the digest.
    #[error("its commitments are not those that its dealer signed")]
    CommitmentsHash,
    /// The ciphertexts are not those of the digest.
    #[error("its ciphertexts are not those that its dealer signed")]
    CiphertextsRoot,
    /// In a reshare: it passes on something else than the dealer's share.
    #[error("its constant term is not its dealer's public share of the key that is handed on")]
    BaseShare,
    /// A commitment is the identity or no point. 0 is the constant term's.
    #[error("its commitment {0} is the identity or not a point")]
    Commitment(usize),
    /// The dealer does not show that it knows the constant term and the secret of its encryption key.
    #[error(
        "its proof that it knows its constant term and the secret of its encryption key is wrong"
    )]
    Proof,
    /// A share is wrong, proved by the opening of one ciphertext.
    #[error("its share for member {to} does not fit its commitments")]
    Share {
        /// The member whose share it is.
        to: u16,
    },
}

impl DealFault {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Signature => "deal-signature",
            Self::Index(_) => "deal-index",
            Self::CommitmentCount { .. } => "deal-commitment-count",
            Self::CiphertextCount { .. } => "deal-ciphertext-count",
            Self::CommitmentsHash => "deal-commitments-hash",
            Self::CiphertextsRoot => "deal-ciphertexts-root",
            Self::BaseShare => "deal-base-share",
            Self::Commitment(_) => "deal-commitment",
            Self::Proof => "deal-proof",
            Self::Share { .. } => "deal-share",
        }
    }
}

impl Fault {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Wire(error) => error.code(),
            Self::Proposal(error) => error.code(),
            Self::OtherPolicy { .. } => "other-policy",
            Self::NotListed => "not-listed",
            Self::Stranger { .. } => "stranger",
            Self::OtherCeremony => "other-ceremony",
            Self::OtherProposal => "other-proposal",
            Self::OutOfStep { .. } => "out-of-step",
            Self::Expired { .. } => "expired",
            Self::Closed { .. } => "closed",
            Self::AlreadyConfirmed => "already-confirmed",
            Self::AbandonSignature => "abandon-signature",
            Self::Attempt(_) => "attempt",
            Self::FalseEvidence { .. } => "false-evidence",
            Self::EvidenceTooLong { .. } => "evidence-too-long",
            Self::ExclusionCount { .. } => "exclusion-count",
            Self::NotLeader => "not-the-leader",
            Self::AcceptanceCount { .. } => "acceptance-count",
            Self::AcceptanceInvalid { .. } => "acceptance-invalid",
            Self::OwnMessageAltered { .. } => "own-message-altered",
            Self::TwoAcceptances { .. } => "two-acceptances",
            Self::OtherParameters => "other-parameters",
            Self::DealCount { .. } => "deal-count",
            Self::RelayAltered { .. } => "relay-altered",
            Self::BadDeal { reason, .. } => reason.code(),
            Self::TwoDeals { .. } => "two-deals",
            Self::FalseSums => "false-sums",
            Self::FalseDeals => "false-deals",
            Self::FalseComplaint { .. } => "false-complaint",
            Self::Count { .. } => "list-count",
            Self::Unsigned { .. } => "unsigned",
            Self::OtherDeals { .. } => "other-deals",
            Self::OtherResult => "other-result",
            Self::OtherConfirmation { .. } => "other-confirmation",
            Self::ShareMismatch => "share-mismatch",
            Self::BaseSuperseded { .. } => "base-superseded",
            Self::AttemptTaken { .. } => "attempt-taken",
            Self::AttemptsAhead { .. } => "attempts-ahead",
            Self::BaseNotHeld { .. } => "base-not-held",
            Self::BaseUnknown => "base-unknown",
            Self::OtherKey => "other-key",
            Self::Certificate(error) => error.code(),
            Self::Signing(error) => error.code(),
            Self::UnusableResult => "unusable-result",
            Self::Refused { .. } => "refused",
            Self::Rejected { .. } => "rejected",
            Self::WrongAnswer { .. } => "wrong-answer",
            Self::Recorded { .. } => "recorded",
            Self::Silent { .. } => "silent",
        }
    }

    /// The index of the member that is to blame, if one can be named. Faults of the relay name nobody here: the one
    /// who sent the message is to blame for them.
    pub fn culprit(&self) -> Option<u16> {
        match self {
            Self::AcceptanceInvalid { member }
            | Self::TwoAcceptances { member, .. }
            | Self::FalseComplaint { member, .. }
            | Self::Unsigned { member, .. }
            | Self::OtherDeals { member }
            | Self::OtherConfirmation { member }
            | Self::Refused { member, .. }
            | Self::Rejected { member, .. }
            | Self::WrongAnswer { member, .. }
            | Self::Silent { member, .. } => Some(*member),
            Self::Recorded { member, .. } => (*member != 0).then_some(*member),
            Self::Signing(error) => error.culprit(),
            Self::BadDeal { dealer, .. } | Self::TwoDeals { dealer, .. } => Some(*dealer),
            _ => None,
        }
    }
}
