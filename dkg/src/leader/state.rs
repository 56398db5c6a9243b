//! The bytes of a leader's state: the byte 0x01 and the CBOR of the proposal and the rounds that are complete.
//!
//! Nothing in it is secret. What it holds of other members is verified again when it is read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use super::deals::{DealSet, VerifiedDeal};
use super::rounds::{Phase, Round};
use super::{Leader, Peer};
use crate::acknowledge::Acknowledgement;
use crate::attempt::{Acceptance, Attempt};
use crate::certificate::CertifiedKey;
use crate::deal::Deal;
use crate::exclusion::Exclusion;
use crate::fault::Fault;
use crate::member::StateError;
use crate::proposal::{Proposal, SignedProposal};
use crate::sums::encode_sums;
use crate::wire_v1;

const STATE_VERSION: u8 = 1;
/// The longest state: all deals of 1,024 members, whole, and the evidence of the exclusions.
const MAX_STATE: usize = 160 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    proposal: SignedProposal,
    own: u16,
    abandon: Option<ByteArray<64>>,
    patience_s: u32,
    exclusions: Vec<Exclusion>,
    accused: Vec<Exclusion>,
    phase: StoredPhase,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum StoredPhase {
    Accepting,
    Dealing {
        attempt: u32,
        acceptances: Vec<Acceptance>,
    },
    Acknowledging {
        attempt: u32,
        acceptances: Vec<Acceptance>,
        deals: Vec<Deal>,
    },
    Confirming {
        attempt: u32,
        acceptances: Vec<Acceptance>,
        deals: Vec<Deal>,
        acknowledgements: Vec<Acknowledgement>,
    },
    Activating {
        certificate: ByteBuf,
    },
    Completed {
        certificate: ByteBuf,
    },
    StoodAside,
    Failed {
        faults: Vec<StoredFault>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFault {
    member: u16,
    code: String,
    sentence: String,
}

pub(super) fn encode(leader: &Leader) -> Vec<u8> {
    let whole = |deals: &DealSet| {
        deals
            .deals
            .iter()
            .map(|verified| verified.deal.clone())
            .collect()
    };
    let phase = match &leader.phase {
        Phase::Accepting(_) => StoredPhase::Accepting,
        Phase::Dealing(attempt, _) => StoredPhase::Dealing {
            attempt: attempt.number,
            acceptances: attempt.acceptances.clone(),
        },
        Phase::Acknowledging { deals, .. } => StoredPhase::Acknowledging {
            attempt: deals.attempt.number,
            acceptances: deals.attempt.acceptances.clone(),
            deals: whole(deals),
        },
        Phase::Confirming {
            deals,
            acknowledgements,
            ..
        } => StoredPhase::Confirming {
            attempt: deals.attempt.number,
            acceptances: deals.attempt.acceptances.clone(),
            deals: whole(deals),
            acknowledgements: acknowledgements.clone(),
        },
        Phase::Activating { certificate, .. } => StoredPhase::Activating {
            certificate: ByteBuf::from(certificate.clone()),
        },
        Phase::Completed { certificate, .. } => StoredPhase::Completed {
            certificate: ByteBuf::from(certificate.clone()),
        },
        Phase::StoodAside => StoredPhase::StoodAside,
        Phase::Failed { faults, .. } => StoredPhase::Failed {
            faults: faults.iter().map(stored_fault).collect(),
        },
    };
    let mut bytes = vec![STATE_VERSION];
    wire_v1::encode_into(
        &Stored {
            proposal: leader.signed.clone(),
            own: leader.own,
            abandon: leader.abandon.map(ByteArray::new),
            patience_s: leader.patience_s,
            exclusions: leader.exclusions.clone(),
            accused: leader.accused.clone(),
            phase,
        },
        &mut bytes,
    );
    bytes
}

fn stored_fault(fault: &Fault) -> StoredFault {
    let member = fault.culprit().unwrap_or_default();
    match fault {
        Fault::Recorded { code, sentence, .. } => StoredFault {
            member,
            code: code.clone(),
            sentence: sentence.clone(),
        },
        other => StoredFault {
            member,
            code: other.code().to_owned(),
            sentence: other.to_string(),
        },
    }
}

pub(super) fn decode(state: &[u8]) -> Result<Leader, StateError> {
    let (&version, rest) = state.split_first().ok_or(StateError::Damaged)?;
    if version != STATE_VERSION {
        return Err(StateError::Version(version));
    }
    let stored: Stored = wire_v1::decode(rest, MAX_STATE)?;
    let proposal = stored.proposal.verify()?;
    if proposal.member(stored.own).is_none() {
        return Err(StateError::Inconsistent);
    }
    let (mut phase, roster) = restore_phase(&proposal, stored.phase)?;
    if let Phase::Accepting(round) = &mut phase {
        for exclusion in &stored.exclusions {
            round.pass_over(exclusion.member);
        }
    }
    Ok(Leader {
        peers: vec![Peer::default(); roster.seats().len()],
        roster,
        proposal,
        exclusions: stored.exclusions,
        patience_s: stored.patience_s,
        round_since: None,
        whole_deals: false,
        told: 0,
        signed: stored.proposal,
        own: stored.own,
        abandon: stored.abandon.map(ByteArray::into_array),
        phase,
        accused: stored.accused,
        reports: BTreeMap::new(),
        raised_by: BTreeMap::new(),
        refused: BTreeMap::new(),
        refused_since: None,
        next_ping: None,
        may_be_behind: true,
        unwritten: false,
        unreported: true,
    })
}

/// The phase, with the members that are asked in it.
fn restore_phase(
    proposal: &Proposal,
    stored: StoredPhase,
) -> Result<(Phase, Proposal), StateError> {
    let seats = proposal.seats().len();
    let attempt = |number, acceptances| {
        Attempt::new(proposal, number, acceptances).map_err(|_| StateError::Inconsistent)
    };
    let deals = |number, acceptances, deals: Vec<Deal>| {
        let attempt = attempt(number, acceptances)?;
        let verified = attempt
            .dealers
            .iter()
            .zip(&deals)
            .map(|(dealer, deal)| VerifiedDeal::new(&attempt, dealer.seat, deal))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| StateError::Inconsistent)?;
        if verified.len() != attempt.dealers.len() || deals.len() != verified.len() {
            return Err(StateError::Inconsistent);
        }
        DealSet::new(attempt, verified).map_err(|_| StateError::Inconsistent)
    };
    let mut roster = proposal.clone();
    let phase = match stored {
        StoredPhase::Accepting => Phase::first(seats),
        StoredPhase::Dealing {
            attempt: number,
            acceptances,
        } => Phase::dealing(attempt(number, acceptances)?),
        StoredPhase::Acknowledging {
            attempt,
            acceptances,
            deals: whole,
        } => Phase::acknowledging(deals(attempt, acceptances, whole)?),
        StoredPhase::Confirming {
            attempt,
            acceptances,
            deals: whole,
            acknowledgements,
        } => Phase::confirming(deals(attempt, acceptances, whole)?, acknowledgements)
            .map_err(|_| StateError::Inconsistent)?,
        StoredPhase::Activating { certificate } => {
            let key = certified(proposal, &certificate)?;
            roster = key.roster().clone();
            Phase::Activating {
                certificate: certificate.into_vec(),
                public_key: key.public_key(),
                public_shares: encode_sums(key.package().public_shares()),
                round: Round::new(roster.seats().len()),
            }
        }
        StoredPhase::Completed { certificate } => {
            let key = certified(proposal, &certificate)?;
            roster = key.roster().clone();
            Phase::Completed {
                certificate: certificate.into_vec(),
                public_key: key.public_key(),
            }
        }
        StoredPhase::StoodAside => Phase::StoodAside,
        StoredPhase::Failed { faults } => {
            let recorded = |fault: StoredFault| Fault::Recorded {
                member: fault.member,
                code: fault.code,
                sentence: fault.sentence,
            };
            Phase::failed(faults.into_iter().map(recorded).collect(), seats)
        }
    };
    if let Some(attempt) = phase.attempt() {
        roster = attempt.roster.clone();
    }
    Ok((phase, roster))
}

fn certified(proposal: &Proposal, certificate: &[u8]) -> Result<CertifiedKey, StateError> {
    let key = CertifiedKey::verify_unpinned(certificate).map_err(|_| StateError::Inconsistent)?;
    if key.proposal() != proposal {
        return Err(StateError::Inconsistent);
    }
    Ok(key)
}
