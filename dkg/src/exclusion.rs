//! Why a member takes no part in an attempt: the leader's word, or evidence that convinces everybody.
//!
//! An attempt that fails by somebody's fault is followed by one without that member, as far as the proposal lets members be
//! absent. The leader names each one left out, with its grounds. Silence cannot be proved, so the number of absent members is
//! what bounds a false leader; cheating can be proved, and the proof travels with the next `begin`, or with the `notice` that no other
//! attempt follows: every member checks it for itself, and a leader whose evidence is false is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::acknowledge::Complaints;
use crate::attempt::{Acceptance, Attempt};
use crate::deal::{DealHeader, OpenHeader, commitments_hash};
use crate::fault::{DealFault, Fault};
use crate::proposal::{MAX_MEMBERS, Proposal};
use crate::wire_v1;

/// The most bytes that the evidence of one list may take: the grounds as they are encoded, all but the leader's mere words. With it a
/// `begin` or `notice` stays within a message, and what a member keeps within its state, however many members cheat. Of the longest
/// evidence there is, complaints of the deals of 1,024 dealers, more than a dozen pieces fit.
pub(crate) const MAX_EVIDENCE: usize = 16 << 20;
/// The longest code of a fault that a leader may claim, in bytes.
const MAX_CODE: usize = 64;

/// One member that takes no part. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclusion {
    /// The member's seat in the proposal.
    pub member: u16,
    /// Why.
    pub grounds: Grounds,
}

/// Why a member takes no part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Grounds {
    /// It gave no answer in time, says the leader.
    Silent,
    /// Its operator declined, says the leader.
    Declined,
    /// It gave an answer that it must not give, says the leader.
    Claimed {
        /// The fault's code.
        code: String,
    },
    /// It signed a deal that is void by itself.
    VoidDeal(Box<Accused>),
    /// A complaint decides between a dealer and its author.
    Complaint {
        /// The deal complained of.
        accused: Box<Accused>,
        /// The complaint, as its author signed it.
        complaints: Complaints,
    },
    /// It signed two deals for one attempt.
    TwoDeals(Box<TwoDeals>),
    /// It signed two encryption keys for one ceremony.
    TwoAcceptances(Box<TwoAcceptances>),
}

/// Two deals that one dealer signed for one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwoDeals {
    /// What the dealer signed.
    pub first: DealHeader,
    /// What it signed too.
    pub second: DealHeader,
    /// The number of the attempt.
    pub attempt: u32,
    /// The attempt's acceptances.
    pub acceptances: Vec<Acceptance>,
}

/// Two acceptances of one member with different encryption keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwoAcceptances {
    /// What the member signed.
    pub first: Acceptance,
    /// What it signed too.
    pub second: Acceptance,
}

/// A deal of an earlier attempt, with what its attempt's parameters follow from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accused {
    /// What the dealer signed.
    pub header: DealHeader,
    /// The number of the attempt.
    pub attempt: u32,
    /// The attempt's acceptances.
    pub acceptances: Vec<Acceptance>,
    /// A_1 ‖ … ‖ A_t−1, or as many as the dealer has made: 1,024 at most.
    pub commitments: ByteBuf,
}

impl Accused {
    pub(crate) fn new(attempt: &Attempt, header: &DealHeader, commitments: &ByteBuf) -> Box<Self> {
        Box::new(Self {
            header: header.clone(),
            attempt: attempt.number,
            acceptances: attempt.acceptances.clone(),
            commitments: commitments.clone(),
        })
    }

    /// The attempt, and the deal as far as it can be read. `None` if the dealer did not sign this, or if it has more commitments than any
    /// threshold asks for: to show so many could take any number of bytes.
    fn open(&self, proposal: &Proposal) -> Option<(Attempt, Result<OpenHeader, DealFault>)> {
        if self.commitments.len() > 32 * MAX_MEMBERS {
            return None;
        }
        let attempt = Attempt::new(proposal, self.attempt, self.acceptances.clone()).ok()?;
        let digest = self.header.digest(&attempt.params);
        let signed = self.header.is_signed(&attempt, &digest);
        if !signed || commitments_hash(&self.commitments) != self.header.commitments_hash {
            return None;
        }
        let open = self.header.open(&attempt, digest, &self.commitments);
        Some((attempt, open))
    }
}

impl Grounds {
    /// Whether anybody can check it, and need not believe a leader.
    pub(crate) fn is_evidence(&self) -> bool {
        !matches!(self, Self::Silent | Self::Declined | Self::Claimed { .. })
    }

    /// The leader's word for a fault: of a refusal, what the member said itself.
    pub(crate) fn claimed(fault: &Fault) -> Self {
        let code = match fault {
            Fault::Refused { code, .. } if !code.is_empty() => code.as_str(),
            other => other.code(),
        };
        Self::Claimed {
            code: code.to_owned(),
        }
    }

    /// A stable name for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::Silent => "silent",
            Self::Declined => "rejected",
            Self::Claimed { code } => code,
            Self::VoidDeal(_) => "void-deal",
            Self::Complaint { .. } => "complaint",
            Self::TwoDeals(_) => "two-deals",
            Self::TwoAcceptances(_) => "two-acceptances",
        }
    }
}

impl Exclusion {
    /// The fault that the evidence proves; `None` if there is only the leader's word.
    ///
    /// # Errors
    /// [`Fault::FalseEvidence`] if the evidence does not prove a fault of this member, or is longer than such evidence need be.
    pub fn verify(&self, proposal: &Proposal) -> Result<Option<Fault>, Fault> {
        let proved = match &self.grounds {
            Grounds::Claimed { code } if code.len() > MAX_CODE => None,
            Grounds::Silent | Grounds::Declined | Grounds::Claimed { .. } => return Ok(None),
            Grounds::VoidDeal(accused) => prove_void(accused, proposal),
            Grounds::Complaint {
                accused,
                complaints,
            } => prove_by_complaint(accused, complaints, proposal),
            Grounds::TwoDeals(both) => prove_two_deals(both, proposal),
            Grounds::TwoAcceptances(both) => prove_two_acceptances(both, proposal),
        };
        proved
            .filter(|(culprit, _)| *culprit == self.member)
            .map(|(_, fault)| Some(fault))
            .ok_or(Fault::FalseEvidence {
                member: self.member,
            })
    }
}

/// How many bytes the evidence of a list takes.
fn evidence_bytes(excluded: &[Exclusion]) -> usize {
    excluded
        .iter()
        .map(|exclusion| match &exclusion.grounds {
            evidence if evidence.is_evidence() => wire_v1::encode(evidence).len(),
            _ => 0,
        })
        .sum()
}

/// Adds to a list of those that are left out or accused. Evidence that would make it too long is told as a mere word, which everybody
/// who has not seen it has to take or leave.
pub(crate) fn add(list: &mut Vec<Exclusion>, mut exclusion: Exclusion, proposal: &Proposal) {
    let alone = evidence_bytes(std::slice::from_ref(&exclusion));
    if alone > 0 && evidence_bytes(list).saturating_add(alone) > MAX_EVIDENCE {
        let proved = exclusion.verify(proposal).ok().flatten();
        let code = proved.map_or(exclusion.grounds.code(), |fault| fault.code());
        exclusion.grounds = Grounds::Claimed {
            code: code.to_owned(),
        };
    }
    list.push(exclusion);
}

/// How many more attempts than members left out a proposal may take. An attempt without another one left out follows when two
/// leaders have begun different attempts of one number.
pub(crate) const SPARE_ATTEMPTS: usize = 32;

/// Checks what a `begin` says: acceptances of all that take part, grounds for each of the others and for nobody else, evidence that
/// convicts, a number that the proposal can have come to.
pub(crate) fn check_begin(
    proposal: &Proposal,
    number: u32,
    acceptances: Vec<Acceptance>,
    excluded: &[Exclusion],
) -> Result<Attempt, Fault> {
    let attempt = Attempt::new(proposal, number, acceptances)?;
    let present = attempt.present();
    let named = excluded.iter().map(|exclusion| exclusion.member);
    let absent = proposal.absent_from(&present);
    let earlier = number.saturating_sub(proposal.first_attempt());
    let earlier = usize::try_from(earlier).unwrap_or(usize::MAX);
    if !named.eq(absent) || excluded.len() + SPARE_ATTEMPTS < earlier {
        return Err(Fault::ExclusionCount { attempt: number });
    }
    let bytes = evidence_bytes(excluded);
    if bytes > MAX_EVIDENCE {
        let most = MAX_EVIDENCE;
        return Err(Fault::EvidenceTooLong { bytes, most });
    }
    for exclusion in excluded {
        exclusion.verify(proposal)?;
    }
    Ok(attempt)
}

/// Evidence as it is told: that which convicts, once for each member, in seat order.
pub(crate) fn proved(told: Vec<Exclusion>, proposal: &Proposal) -> Vec<Exclusion> {
    let mut proved: BTreeMap<u16, Exclusion> = BTreeMap::new();
    for exclusion in told {
        if !proved.contains_key(&exclusion.member)
            && matches!(exclusion.verify(proposal), Ok(Some(_)))
        {
            proved.insert(exclusion.member, exclusion);
        }
    }
    proved.into_values().collect()
}

/// The fault, with the culprit's seat in the proposal.
type Proved = Option<(u16, Fault)>;

fn prove_void(accused: &Accused, proposal: &Proposal) -> Proved {
    let (attempt, open) = accused.open(proposal)?;
    let reason = match open {
        Err(reason) => reason,
        Ok(open) => accused
            .header
            .open_proof(&attempt.params, &open)
            .and_then(|proof| open.verify_vartime(&proof))
            .err()?,
    };
    let dealer = attempt.seat_of_dealer(accused.header.index);
    let fault = Fault::BadDeal { dealer, reason };
    Some((attempt.in_proposal(dealer)?, fault))
}

fn prove_by_complaint(accused: &Accused, complaints: &Complaints, proposal: &Proposal) -> Proved {
    let (attempt, open) = accused.open(proposal)?;
    let open = open.ok()?;
    if !complaints.is_bounded(&attempt) {
        return None;
    }
    if !complaints.is_signed(&attempt.roster, &attempt.params) {
        return None;
    }
    let complaint = complaints
        .complaints
        .iter()
        .find(|complaint| complaint.dealer == accused.header.index)?;
    let fault = complaint.judge_vartime(&attempt, complaints.index, &accused.header, &open);
    Some((attempt.in_proposal(fault.culprit()?)?, fault))
}

fn prove_two_deals(both: &TwoDeals, proposal: &Proposal) -> Proved {
    let attempt = Attempt::new(proposal, both.attempt, both.acceptances.clone()).ok()?;
    let (first, second) = (&both.first, &both.second);
    let digests = (
        first.digest(&attempt.params),
        second.digest(&attempt.params),
    );
    let signed = first.is_signed(&attempt, &digests.0) && second.is_signed(&attempt, &digests.1);
    if !signed || first.index != second.index || digests.0 == digests.1 {
        return None;
    }
    let dealer = attempt.seat_of_dealer(first.index);
    let fault = Fault::TwoDeals {
        dealer,
        evidence: Box::new((first.clone(), second.clone())),
    };
    Some((attempt.in_proposal(dealer)?, fault))
}

fn prove_two_acceptances(both: &TwoAcceptances, proposal: &Proposal) -> Proved {
    let (first, second) = (&both.first, &both.second);
    let signed = first.is_valid(proposal) && second.is_valid(proposal);
    if !signed || first.index != second.index || first.encryption_key == second.encryption_key {
        return None;
    }
    let fault = Fault::TwoAcceptances {
        member: first.index,
        evidence: Box::new((first.clone(), second.clone())),
    };
    Some((first.index, fault))
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        missing_docs
    )]
    use super::*;
    use crate::confirm::tests::alone;

    /// As long as any. What stands in them does not matter here.
    pub(crate) fn header() -> DealHeader {
        DealHeader {
            index: u16::MAX,
            constant: [0; 32],
            signature: [0; 64],
            proof: [0; 64],
            ciphertexts_root: [0; 32],
            commitments_hash: [0; 64],
        }
    }

    /// Grounds of about so many bytes.
    fn long(bytes: usize) -> Grounds {
        Grounds::VoidDeal(Box::new(Accused {
            header: header(),
            attempt: 1,
            acceptances: Vec::new(),
            commitments: ByteBuf::from(vec![0; bytes]),
        }))
    }

    /// However many members cheat: the list goes out, and names them all.
    #[test]
    fn what_a_list_has_no_room_for_is_told_as_a_word() {
        let (proposal, _) = alone();
        let mut list = Vec::new();
        for member in 1..=40 {
            let grounds = if member % 10 == 0 {
                Grounds::Silent
            } else {
                long(1 << 20)
            };
            add(&mut list, Exclusion { member, grounds }, &proposal);
        }
        let named: Vec<u16> = list.iter().map(|exclusion| exclusion.member).collect();
        assert!(named.into_iter().eq(1..=40));
        let bytes = evidence_bytes(&list);
        assert!(bytes <= MAX_EVIDENCE && bytes > MAX_EVIDENCE - (2 << 20));
        let words = list
            .iter()
            .filter(|one| matches!(one.grounds, Grounds::Claimed { .. }))
            .count();
        assert_eq!(words, 40 - 4 - 15);
        assert!(wire_v1::encode(&list).len() < MAX_EVIDENCE + 40 * 100);
    }
}
