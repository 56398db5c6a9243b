//! Messages between the leader and the members, version 1.
//!
//! A message is the byte 0x01 and one CBOR item in core deterministic encoding (RFC 8949, section 4.2.1): a map with one
//! text key, the kind of message, whose value is a map with text keys. Fields are declared in the order of their encoded
//! keys, shorter names first. What does not encode back to the same bytes is refused, unknown keys too. Lengths are checked before anything is decoded, and the decoder never reserves more than the
//! input can fill. `docs/protocol/key-generation.md` section 4 lists the kinds.

mod canonical;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::acknowledge::{Acknowledgement, Complaints};
use crate::attempt::Acceptance;
use crate::confirm::Confirmation;
use crate::deal::{Deal, DealExcerpt, RelayedDeal};
use crate::exclusion::Exclusion;
use crate::fault::Fault;
use crate::frost::NonceCommitments;
use crate::proposal::SignedProposal;
pub(crate) use canonical::{decode, encode, encode_into, peek};

/// The first byte of every message.
pub const WIRE_VERSION: u8 = 1;
/// The longest message, in bytes: all whole deals of 1,024 members with a threshold of 1,024. With the sums, a ceremony of 64 members
/// stays under 60 KB.
pub const MAX_MESSAGE: usize = 40 << 20;
/// The longest proposal, in bytes: 1,024 members with the longest names and addresses, and as many of a base with its certificate.
pub const MAX_PROPOSAL: usize = 1 << 20;
/// The longest certificate, in bytes.
pub const MAX_CERTIFICATE: usize = 2 << 20;
/// The longest sentence in a refusal, in bytes.
pub const MAX_SENTENCE: usize = 1024;

/// Everything that a leader and a member say to each other. The leader asks, the member answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Message {
    /// Leader: takes part? Answered by `Accepted`, `Pending` or `Rejected`.
    Propose {
        /// The proposal, signed by the leader.
        proposal: SignedProposal,
    },
    /// Member: its operator has not decided yet. Ask again later.
    Pending {
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
    },
    /// Member: its operator said no.
    Rejected {
        /// The operator's reason.
        reason: String,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
    },
    /// Member: takes part, with this encryption key.
    Accepted {
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
        /// The member's encryption key, signed.
        acceptance: Acceptance,
    },
    /// Leader: all that take part have accepted; deal. Answered by `Dealt`, and by `Ready` from whoever is no dealer.
    Begin {
        /// The attempt's number, from 1.
        attempt: u32,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
        /// Everybody who takes no part, in index order, and why.
        excluded: Vec<Exclusion>,
        /// The acceptance of every member that takes part, in index order.
        acceptances: Vec<Acceptance>,
    },
    /// Member: its deal.
    Dealt {
        /// The deal, whole.
        deal: Box<Deal>,
        /// The attempt's number.
        attempt: u32,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
    },
    /// Member: takes part in the attempt, and has nothing to deal in it.
    Ready {
        /// The attempt's number.
        attempt: u32,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
    },
    /// Leader: everybody's deals as far as this member needs them, and the sums of their commitments. Answered by `Acknowledged` or
    /// `DealsWanted`.
    Deals {
        /// S_0 ‖ … ‖ S_t−1.
        sums: ByteBuf,
        /// In index order.
        deals: Vec<DealExcerpt>,
        /// The attempt's number.
        attempt: u32,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
    },
    /// Member: its share does not fit the sums, and it must see the whole deals to know why.
    DealsWanted {
        /// The attempt's number.
        attempt: u32,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
    },
    /// Leader: everybody's whole deals, each with this member's ciphertext. Answered by `Acknowledged` or `Complained`.
    WholeDeals {
        /// In index order.
        deals: Vec<RelayedDeal>,
        /// The attempt's number.
        attempt: u32,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
    },
    /// Member: all its shares are right.
    Acknowledged {
        /// The attempt's number.
        attempt: u32,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
        /// Names the set of deals, signed.
        acknowledgement: Acknowledgement,
    },
    /// Member: these dealers gave it wrong shares, and here is the evidence.
    Complained {
        /// The attempt's number.
        attempt: u32,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
        /// The complaints, signed.
        complaints: Complaints,
    },
    /// Leader: all have acknowledged; confirm. Answered by `Confirmed`.
    Acknowledgements {
        /// The attempt's number.
        attempt: u32,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
        /// In index order.
        acknowledgements: Vec<Acknowledgement>,
    },
    /// Leader, to an old member that leaves: all new members have acknowledged; confirm. Answered by `Confirmed`.
    HandOver {
        /// S_0 ‖ … ‖ S_t−1.
        sums: ByteBuf,
        /// The attempt's number.
        attempt: u32,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
        /// Of the new members, in index order.
        acknowledgements: Vec<Acknowledgement>,
    },
    /// Member: holds its share, durably.
    Confirmed {
        /// The attempt's number.
        attempt: u32,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
        /// Names the result, signed, with the share sealed to the member's recovery key.
        confirmation: Confirmation,
    },
    /// Leader: all have confirmed; activate. Answered by `Activated`.
    Certificate {
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
        /// The certificate's canonical bytes.
        certificate: ByteBuf,
        /// Y_1 ‖ … ‖ Y_n, which follow from the certificate: to check them costs less than to compute them. Empty: not given.
        public_shares: ByteBuf,
    },
    /// Member: serves with its share.
    Activated {
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
    },
    /// Member: is in this attempt, not in the one that was asked about. The same fields as in `Begin`.
    Begun {
        /// The attempt's number.
        attempt: u32,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
        /// Everybody who takes no part, in index order, and why.
        excluded: Vec<Exclusion>,
        /// The acceptance of every member that takes part, in index order.
        acceptances: Vec<Acceptance>,
    },
    /// Leader: is there, and leads this attempt. Answered by `Following`, `Begun` or `Certificate`.
    Leading {
        /// The attempt's number; 0 before the first.
        attempt: u32,
        /// The seats in the proposal of those that it waits for, ascending; for people.
        waiting: Vec<u16>,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
    },
    /// Member: has heard it, and is in this attempt.
    Following {
        /// The attempt's number; 0 before the first.
        attempt: u32,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
    },
    /// Evidence against members: from a leader with which no other attempt follows, answered by `Noted`; and from a member,
    /// as the answer to a question in which it found two things that one member signed.
    Notice {
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
        /// Who, and the evidence.
        excluded: Vec<Exclusion>,
    },
    /// Member: keeps what the evidence proves.
    Noted {
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
    },
    /// The proposal's leader: the ceremony is called off. Answered by `Abandoned`, and refused by whoever has confirmed.
    Abandon {
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
        /// Whose fault it is, with the evidence; empty if the operator called it off.
        excluded: Vec<Exclusion>,
        /// The leader's signature over `H("cryptonode/v1/dkg-abandon", hash of the proposal)`.
        #[serde(with = "serde_bytes")]
        signature: [u8; 64],
    },
    /// Any member: commit to nonces for a signature of the key's statement. Answered by `Committed`, or by `KeyCertificate`
    /// from a member that has the certificate already.
    Commit {
        /// The hash of the result whose statement it is: two attempts of one ceremony can both have one.
        #[serde(with = "serde_bytes")]
        result: [u8; 64],
        /// The signing session, random.
        #[serde(with = "serde_bytes")]
        session: [u8; 16],
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
    },
    /// Member: its commitments for the session.
    Committed {
        /// The signing session.
        #[serde(with = "serde_bytes")]
        session: [u8; 16],
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
        /// The commitments.
        commitments: NonceCommitments,
    },
    /// Any member: sign. Answered by `Signed`.
    Sign {
        /// The hash of the result whose statement it is.
        #[serde(with = "serde_bytes")]
        result: [u8; 64],
        /// The signing session.
        #[serde(with = "serde_bytes")]
        session: [u8; 16],
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
        /// Those of the t signers.
        commitments: Vec<NonceCommitments>,
    },
    /// Member: its share of the signature.
    Signed {
        /// z_i, 32 bytes.
        #[serde(with = "serde_bytes")]
        share: [u8; 32],
        /// The signing session.
        #[serde(with = "serde_bytes")]
        session: [u8; 16],
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
    },
    /// Any member: the key's certificate, signed under Y. Answered by `Kept`; also an answer to `Commit` and `Sign`.
    KeyCertificate {
        /// The hash of the result that it states.
        #[serde(with = "serde_bytes")]
        result: [u8; 64],
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
        /// The certificate's canonical bytes.
        certificate: ByteBuf,
    },
    /// Member: has verified and keeps the key's certificate.
    Kept {
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
    },
    /// Member: has erased its secrets of this ceremony.
    Abandoned {
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
    },
    /// Member: will not do that. Nothing has changed on its side.
    Refused {
        /// A stable code, see [`Fault::code`].
        code: String,
        /// The number of the attempt that the question was about; 0 if it named none. So a refusal that comes late is known as such.
        attempt: u32,
        /// The index of the member at fault, as far as the refusing one can tell; 0 if it names none.
        culprit: u16,
        /// The ceremony's id.
        #[serde(with = "serde_bytes")]
        ceremony: [u8; 16],
        /// A sentence for people, at most 1,024 bytes.
        sentence: String,
    },
}

/// What a message is about. Empty for bytes that are no message.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// The ceremony's id.
    pub ceremony: Option<[u8; 16]>,
    /// The number of the attempt, if it names one.
    pub attempt: Option<u32>,
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Longer than such a thing may be.
    #[error("{length} bytes where at most {most} are allowed")]
    TooLong {
        /// Bytes there are.
        length: usize,
        /// Bytes there may be.
        most: usize,
    },
    /// No byte at all.
    #[error("an empty message")]
    Empty,
    /// Of another version of the protocol.
    #[error(
        "the message is of version {theirs} of the protocol and this node speaks version {ours}: bring all members to one version"
    )]
    Version {
        /// The version that this code speaks.
        ours: u8,
        /// The message's first byte.
        theirs: u8,
    },
    /// Not the CBOR that is expected.
    #[error("the bytes are not what is expected here: {0}")]
    Malformed(String),
    /// Readable, but not in its one encoding.
    #[error("the bytes are not in their one canonical encoding")]
    NotCanonical,
}

impl WireError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "message-too-long",
            Self::Empty => "message-empty",
            Self::Version { .. } => "other-version",
            Self::Malformed(_) => "message-malformed",
            Self::NotCanonical => "message-not-canonical",
        }
    }
}

impl Message {
    /// The message's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![WIRE_VERSION];
        encode_into(self, &mut bytes);
        bytes
    }

    /// Reads a message, at most [`MAX_MESSAGE`] bytes, in its one encoding.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        match bytes.split_first() {
            None => Err(WireError::Empty),
            Some((&WIRE_VERSION, rest)) => decode(rest, MAX_MESSAGE),
            Some((&theirs, _)) => Err(WireError::Version {
                ours: WIRE_VERSION,
                theirs,
            }),
        }
    }

    /// The id of the ceremony that the message is about; by it a driver finds the machine. Of a proposal nothing else is looked at: the
    /// machine does, and refuses what is none under this id. What has no id is about none.
    pub fn ceremony(&self) -> Option<[u8; 16]> {
        match self {
            Self::Propose { proposal } => crate::Proposal::id_in(&proposal.proposal),
            Self::Pending { ceremony }
            | Self::Rejected { ceremony, .. }
            | Self::Accepted { ceremony, .. }
            | Self::Begin { ceremony, .. }
            | Self::Dealt { ceremony, .. }
            | Self::Ready { ceremony, .. }
            | Self::HandOver { ceremony, .. }
            | Self::Deals { ceremony, .. }
            | Self::DealsWanted { ceremony, .. }
            | Self::WholeDeals { ceremony, .. }
            | Self::Acknowledged { ceremony, .. }
            | Self::Complained { ceremony, .. }
            | Self::Acknowledgements { ceremony, .. }
            | Self::Confirmed { ceremony, .. }
            | Self::Certificate { ceremony, .. }
            | Self::Activated { ceremony }
            | Self::Abandon { ceremony, .. }
            | Self::Begun { ceremony, .. }
            | Self::Leading { ceremony, .. }
            | Self::Following { ceremony, .. }
            | Self::Notice { ceremony, .. }
            | Self::Noted { ceremony }
            | Self::Commit { ceremony, .. }
            | Self::Committed { ceremony, .. }
            | Self::Sign { ceremony, .. }
            | Self::Signed { ceremony, .. }
            | Self::KeyCertificate { ceremony, .. }
            | Self::Kept { ceremony }
            | Self::Abandoned { ceremony }
            | Self::Refused { ceremony, .. } => Some(*ceremony),
        }
    }

    /// The number of the attempt that the message is about, if it names one.
    pub fn attempt(&self) -> Option<u32> {
        match self {
            Self::Begin { attempt, .. }
            | Self::Dealt { attempt, .. }
            | Self::Ready { attempt, .. }
            | Self::HandOver { attempt, .. }
            | Self::Deals { attempt, .. }
            | Self::DealsWanted { attempt, .. }
            | Self::WholeDeals { attempt, .. }
            | Self::Acknowledged { attempt, .. }
            | Self::Complained { attempt, .. }
            | Self::Acknowledgements { attempt, .. }
            | Self::Confirmed { attempt, .. } => Some(*attempt),
            Self::Refused { attempt, .. } => (*attempt > 0).then_some(*attempt),
            _ => None,
        }
    }

    /// What it is about, for a refusal of it.
    pub fn about(&self) -> About {
        About {
            ceremony: self.ceremony(),
            attempt: self.attempt(),
        }
    }

    /// The hash of the result whose statement is signed; by it a driver finds the key.
    pub fn result(&self) -> Option<&[u8; 64]> {
        match self {
            Self::Commit { result, .. }
            | Self::Sign { result, .. }
            | Self::KeyCertificate { result, .. } => Some(result),
            _ => None,
        }
    }

    /// The kind of message, as it stands on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Propose { .. } => "propose",
            Self::Pending { .. } => "pending",
            Self::Rejected { .. } => "rejected",
            Self::Accepted { .. } => "accepted",
            Self::Begin { .. } => "begin",
            Self::Dealt { .. } => "dealt",
            Self::Ready { .. } => "ready",
            Self::HandOver { .. } => "hand-over",
            Self::Deals { .. } => "deals",
            Self::DealsWanted { .. } => "deals-wanted",
            Self::WholeDeals { .. } => "whole-deals",
            Self::Acknowledged { .. } => "acknowledged",
            Self::Complained { .. } => "complained",
            Self::Acknowledgements { .. } => "acknowledgements",
            Self::Confirmed { .. } => "confirmed",
            Self::Certificate { .. } => "certificate",
            Self::Activated { .. } => "activated",
            Self::Abandon { .. } => "abandon",
            Self::Begun { .. } => "begun",
            Self::Leading { .. } => "leading",
            Self::Following { .. } => "following",
            Self::Notice { .. } => "notice",
            Self::Noted { .. } => "noted",
            Self::Commit { .. } => "commit",
            Self::Committed { .. } => "committed",
            Self::Sign { .. } => "sign",
            Self::Signed { .. } => "signed",
            Self::KeyCertificate { .. } => "key-certificate",
            Self::Kept { .. } => "kept",
            Self::Abandoned { .. } => "abandoned",
            Self::Refused { .. } => "refused",
        }
    }

    /// The answer that tells a peer of a fault. `about` as the message that was refused has it, [`Message::about`].
    pub fn refusal(about: About, fault: &Fault) -> Self {
        Self::Refused {
            ceremony: about.ceremony.unwrap_or_default(),
            attempt: about.attempt.unwrap_or_default(),
            code: fault.code().to_owned(),
            sentence: truncate(fault.to_string(), MAX_SENTENCE),
            culprit: fault.culprit().unwrap_or_default(),
        }
    }
}

/// A peer's text as it may be shown to people: without control characters, and not longer than `most` bytes.
pub(crate) fn legible(text: &str, most: usize) -> String {
    truncate(
        text.chars().filter(|letter| !letter.is_control()).collect(),
        most,
    )
}

/// Shortens a text to `most` bytes, on a character's boundary.
pub(crate) fn truncate(mut text: String, most: usize) -> String {
    let cut = (0..=most.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or_default();
    text.truncate(cut);
    text
}
