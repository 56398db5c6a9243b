//! The bytes of a member's state.
//!
//! ```text
//! 0x01 ‖ which secrets follow (bit 0: n_j, bit 1: x_j, bits 2 to 7: how many x_j of earlier attempts)
//!      ‖ n_j(32)? ‖ x_j(32)? ‖ x_j(32) of each earlier attempt ‖ CBOR of the proposal and the step
//! ```
//!
//! The secrets stand outside the CBOR, so that they pass through no decoder that leaves copies behind. The driver seals
//! the whole; what is restored is nevertheless checked, and a state that does not fit together is refused.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use super::LocalNode;
use super::lead::Watch;
use super::stage::{Pending, Running, Secrets, Stage};
use crate::attempt::Attempt;
use crate::exclusion::Exclusion;
use crate::pairs::Pairs;
use crate::proposal::{ProposalError, SignedProposal};
use crate::wire_v1::{self, WireError};
use reencrypt::SecretScalar;

const STATE_VERSION: u8 = 1;
const HAS_ENCRYPTION: u8 = 1;
const HAS_SHARE: u8 = 2;
const EACH_PENDING: u8 = 4;
/// The most results of earlier attempts that a state holds.
pub(super) const MAX_PENDING: usize = 63;
/// The longest state: the headers of 1,024 deals and one's own deal for each confirmed attempt, and twice the most evidence, of those left
/// out and of those accused. The tests here add it up.
const MAX_STATE: usize = 128 << 20;

/// Why bytes are no state of this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Written by another version of the software.
    #[error("the ceremony's state is of version {0}, which this software does not read")]
    Version(u8),
    /// Cut short, or a secret in it is none.
    #[error("the ceremony's state is damaged")]
    Damaged,
    /// Not the encoding that this version writes.
    #[error("the ceremony's state cannot be read: {0}")]
    Encoding(#[from] WireError),
    /// The proposal in it is not one.
    #[error("the proposal in the ceremony's state is not valid: {0}")]
    Proposal(#[from] ProposalError),
    /// Written by another node.
    #[error(
        "the ceremony's state belongs to another node: it must be read with the identity that wrote it"
    )]
    OtherNode,
    /// Readable, but its parts do not belong together.
    #[error("the parts of the ceremony's state do not belong together")]
    Inconsistent,
}

impl StateError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Version(_) => "state-version",
            Self::Damaged => "state-damaged",
            Self::Encoding(_) => "state-encoding",
            Self::Proposal(_) => "state-proposal",
            Self::OtherNode => "state-other-node",
            Self::Inconsistent => "state-inconsistent",
        }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    proposal: &'a SignedProposal,
    stage: &'a Stage,
    exclusions: &'a [Exclusion],
    pending: &'a [Pending],
    activated: &'a [ByteBuf],
    leader: u16,
    accused: &'a [Exclusion],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    proposal: SignedProposal,
    stage: Stage,
    exclusions: Vec<Exclusion>,
    pending: Vec<Pending>,
    activated: Vec<ByteBuf>,
    leader: u16,
    accused: Vec<Exclusion>,
}

pub(super) fn encode(running: &Running) -> Zeroizing<Vec<u8>> {
    let written = Written {
        proposal: &running.signed,
        stage: &running.stage,
        exclusions: &running.exclusions,
        pending: &running.pending,
        activated: &running.activated,
        leader: running.watch.leader(),
        accused: &running.accused,
    };
    let mut public = Vec::with_capacity(usual_length(running));
    wire_v1::encode_into(&written, &mut public);
    let secrets = &running.secrets;
    let flags = u8::from(secrets.encryption.is_some()) * HAS_ENCRYPTION
        + u8::from(secrets.share.is_some()) * HAS_SHARE
        + u8::try_from(secrets.pending.len()).unwrap_or(u8::MAX) * EACH_PENDING;
    // Large enough from the start: growing would leave copies of the secrets behind.
    let mut state = Zeroizing::new(Vec::with_capacity(
        2 + 64 + 32 * secrets.pending.len() + public.len(),
    ));
    state.extend_from_slice(&[STATE_VERSION, flags]);
    let current = [&secrets.encryption, &secrets.share].into_iter().flatten();
    for secret in current.chain(&secrets.pending) {
        state.extend_from_slice(secret.to_bytes().as_slice());
    }
    state.extend_from_slice(&public);
    state
}

/// How long the public part is when nothing went wrong, or a little less than this. So much is reserved at once: growing means copying.
fn usual_length(running: &Running) -> usize {
    // As they are encoded, with the names of their fields.
    const ACCEPTANCE: usize = 144;
    const HEADER: usize = 352;
    let dealing = running.stage.dealing();
    let deal = dealing.and_then(|dealing| dealing.deal.as_ref());
    let verified = running.stage.verified();
    let certificate = running.stage.certificate();
    1024 + running.signed.proposal.len()
        + dealing.map_or(0, |dealing| ACCEPTANCE * dealing.acceptances.len())
        + deal.map_or(0, |deal| deal.ciphertexts.len() + deal.commitments.len())
        + verified.map_or(0, |verified| {
            HEADER * verified.headers.len() + verified.sums.len()
        })
        + certificate.map_or(0, |certificate| certificate.len())
}

pub(super) fn decode(node: &LocalNode, state: &[u8]) -> Result<Running, StateError> {
    let (&version, rest) = state.split_first().ok_or(StateError::Damaged)?;
    if version != STATE_VERSION {
        return Err(StateError::Version(version));
    }
    let (&flags, mut rest) = rest.split_first().ok_or(StateError::Damaged)?;
    let mut take = |is_there: bool| -> Result<Option<SecretScalar>, StateError> {
        if !is_there {
            return Ok(None);
        }
        let (bytes, after) = rest.split_first_chunk::<32>().ok_or(StateError::Damaged)?;
        rest = after;
        SecretScalar::from_canonical_bytes(bytes)
            .map(Some)
            .map_err(|_| StateError::Damaged)
    };
    let secrets = Secrets {
        encryption: take(flags & HAS_ENCRYPTION != 0)?,
        pairs: Pairs::default(),
        share: take(flags & HAS_SHARE != 0)?,
        pending: (0..flags / EACH_PENDING)
            .filter_map(|_| take(true).transpose())
            .collect::<Result<_, _>>()?,
    };
    let read: Read = wire_v1::decode(rest, MAX_STATE)?;
    let proposal = read.proposal.verify()?;
    let index = proposal
        .index_of(&node.identity.verifying_key().to_bytes())
        .ok_or(StateError::OtherNode)?;
    let attempt = read
        .stage
        .dealing()
        .map(|dealing| Attempt::new(&proposal, dealing.number, dealing.acceptances.clone()))
        .transpose()
        .map_err(|_| StateError::Inconsistent)?;
    let running = Running {
        signed: read.proposal,
        proposal,
        index,
        stage: read.stage,
        exclusions: read.exclusions,
        pending: read.pending,
        activated: read.activated,
        attempt,
        secrets,
        accused: read.accused,
        watch: Watch::of(read.leader),
    };
    if !is_consistent(&running) {
        return Err(StateError::Inconsistent);
    }
    Ok(running)
}

/// The secrets that the step needs are there and no others, and n_j belongs to the acceptance.
fn is_consistent(running: &Running) -> bool {
    let secrets = &running.secrets;
    let (encryption, share) = match running.stage {
        // n_j goes when no other attempt can follow.
        Stage::Confirmed { .. } => (secrets.encryption.is_some(), true),
        Stage::Proposed | Stage::Activated { .. } | Stage::Closed { .. } => (false, false),
        Stage::Accepted { .. }
        | Stage::Dealt(_)
        | Stage::DealsWanted { .. }
        | Stage::Complained { .. } => (true, false),
        Stage::Acknowledged(_) => (true, true),
    };
    // An old member that leaves gets no share.
    let share = share && !running.is_leaving();
    let pending = if running.is_leaving() {
        0
    } else {
        running.pending.len()
    };
    if secrets.encryption.is_some() != encryption
        || secrets.share.is_some() != share
        || secrets.pending.len() != pending
    {
        return false;
    }
    let acceptance = match &running.stage {
        Stage::Accepted { acceptance } => Some(acceptance),
        stage => stage
            .dealing()
            .and_then(|dealing| dealing.acceptance(running.index)),
    };
    let sums_fit = running
        .stage
        .verified()
        .is_none_or(|verified| verified.sums(running.proposal.threshold()).is_some());
    let key_fits = match (&secrets.encryption, acceptance) {
        (Some(secret), Some(acceptance)) => {
            *secret.public().as_bytes() == acceptance.encryption_key
        }
        (Some(_), None) => false,
        (None, _) => true,
    };
    let index_fits = acceptance.is_none_or(|acceptance| acceptance.index == running.index);
    let leader_fits = running.proposal.member(running.watch.leader()).is_some();
    sums_fit && key_fits && index_fits && leader_fits
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        missing_docs
    )]
    use super::super::stage::{Dealing, Verified};
    use super::*;
    use crate::acknowledge::{Acknowledgement, Complaint, Complaints};
    use crate::attempt::Acceptance;
    use crate::confirm::Confirmation;
    use crate::deal::Deal;
    use crate::exclusion::tests::header;
    use crate::exclusion::{Accused, Grounds, MAX_EVIDENCE};
    use crate::proposal::MAX_MEMBERS;
    use crate::sealed_share::SEALED_SHARE;
    use crate::wire_v1::{MAX_CERTIFICATE, MAX_MESSAGE, MAX_PROPOSAL, Message};

    /// A reshare of as many to as many others.
    const SEATS: usize = 2 * MAX_MEMBERS;

    fn acceptances() -> Vec<Acceptance> {
        let acceptance = Acceptance {
            index: u16::MAX,
            signature: [0; 64],
            encryption_key: [0; 32],
        };
        vec![acceptance; SEATS]
    }

    fn points(count: usize) -> ByteBuf {
        ByteBuf::from(vec![0; 32 * count])
    }

    /// What is kept of one confirmed attempt.
    fn pending() -> Pending {
        let dealing = Dealing {
            number: u32::MAX,
            acceptances: acceptances(),
            deal: Some(Deal {
                header: header(),
                ciphertexts: points(MAX_MEMBERS),
                commitments: points(MAX_MEMBERS),
            }),
        };
        let acknowledgement = Acknowledgement {
            set: [0; 64],
            index: u16::MAX,
            signature: [0; 64],
        };
        let mut verified =
            Verified::new(dealing, vec![header(); MAX_MEMBERS], &[], acknowledgement);
        verified.sums = points(MAX_MEMBERS);
        Pending {
            verified,
            confirmation: Confirmation {
                index: u16::MAX,
                signature: [0; 64],
                sealed_share: ByteBuf::from(vec![0; SEALED_SHARE]),
            },
        }
    }

    /// The longest grounds that are a leader's word.
    fn words() -> Vec<Exclusion> {
        let word = Exclusion {
            member: u16::MAX,
            grounds: Grounds::Claimed {
                code: "x".repeat(64),
            },
        };
        vec![word; SEATS]
    }

    #[test]
    fn the_longest_state_and_the_longest_begin_are_within_their_bounds() {
        let length = |value: &[u8]| value.len();
        let evidence = MAX_EVIDENCE + length(&wire_v1::encode(&words()));
        let attempt = length(&wire_v1::encode(&pending()));
        let longest = 2
            + 32 * 65
            + MAX_PROPOSAL
            + MAX_CERTIFICATE
            + (MAX_PENDING + 1) * attempt
            + 2 * evidence
            + 4096;
        assert!(longest < MAX_STATE, "{longest}");
        assert!(longest > MAX_STATE / 2, "the bound says something");
        let begin = Message::Begin {
            attempt: u32::MAX,
            ceremony: [0; 16],
            excluded: words(),
            acceptances: acceptances(),
        };
        let longest = begin.to_bytes().len() + MAX_EVIDENCE;
        assert!(longest < MAX_MESSAGE, "{longest}");
    }

    /// A single piece, so that there is room for some of them.
    #[test]
    fn the_longest_evidence_is_a_fraction_of_the_most() {
        let complaint = Complaint {
            path: ByteBuf::from(vec![0; 512]),
            proof: [0; 96],
            dealer: u16::MAX,
            opening: [0; 32],
            ciphertext: [0; 32],
        };
        let grounds = Grounds::Complaint {
            accused: Box::new(Accused {
                header: header(),
                attempt: u32::MAX,
                acceptances: acceptances(),
                commitments: points(MAX_MEMBERS),
            }),
            complaints: Complaints {
                set: [0; 64],
                index: u16::MAX,
                signature: [0; 64],
                complaints: vec![complaint; MAX_MEMBERS],
            },
        };
        let bytes = wire_v1::encode(&grounds).len();
        assert!(MAX_EVIDENCE / bytes >= 14, "{bytes}");
    }
}
