//! The steps of a member, each holding what the step before has made.
//!
//! Everything here is public: it has been sent, or was received. The secrets stand apart, in [`Secrets`].

use reencrypt::{Point, SecretScalar};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::MemberStage;
use super::lead::Watch;
use crate::acknowledge::{Acknowledgement, Complaints};
use crate::attempt::{Acceptance, Attempt};
use crate::confirm::Confirmation;
use crate::deal::{Deal, DealHeader};
use crate::exclusion::Exclusion;
use crate::fault::Fault;
use crate::pairs::Pairs;
use crate::proposal::{Proposal, SignedProposal};
use crate::sums::{decode_sums, encode_sums};

/// A ceremony that has been proposed.
pub(super) struct Running {
    pub(super) signed: SignedProposal,
    pub(super) proposal: Proposal,
    pub(super) index: u16,
    pub(super) stage: Stage,
    /// Who takes no part in the attempt, and why, as far as the leader said.
    pub(super) exclusions: Vec<Exclusion>,
    /// Results of earlier attempts that this member has confirmed, oldest first: a certificate of one may exist.
    pub(super) pending: Vec<Pending>,
    /// Hashes of the results that this member has activated before the one of its stage, 64 bytes each.
    pub(super) activated: Vec<ByteBuf>,
    /// Follows from the stage's dealing; there is one if and only if there is a dealing.
    pub(super) attempt: Option<Attempt>,
    pub(super) secrets: Secrets,
    /// Evidence against members with which no other attempt followed.
    pub(super) accused: Vec<Exclusion>,
    pub(super) watch: Watch,
}

/// What is erased when the ceremony is decided or abandoned.
#[derive(Default)]
pub(super) struct Secrets {
    /// n_j, from the acceptance on.
    pub(super) encryption: Option<SecretScalar>,
    /// What n_j shares with the others of the attempt, as far as it was computed. Not written.
    pub(super) pairs: Pairs,
    /// x_j, from the acknowledgement on; none in the seat of an old member that leaves.
    pub(super) share: Option<SecretScalar>,
    /// x_j of each pending result; none in the seat of an old member that leaves.
    pub(super) pending: Vec<SecretScalar>,
}

/// A confirmed result of an earlier attempt.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pending {
    pub(super) verified: Verified,
    pub(super) confirmation: Confirmation,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Stage {
    Proposed,
    Accepted {
        acceptance: Acceptance,
    },
    Dealt(Dealing),
    DealsWanted {
        dealing: Dealing,
        headers: Vec<DealHeader>,
        /// The sums that the leader sent, whatever they are.
        sums: ByteBuf,
    },
    Complained {
        dealing: Dealing,
        headers: Vec<DealHeader>,
        complaints: Complaints,
    },
    Acknowledged(Verified),
    Confirmed {
        verified: Verified,
        confirmation: Confirmation,
    },
    Activated {
        verified: Verified,
        confirmation: Confirmation,
        /// For members that have not seen it and ask about something else.
        certificate: ByteBuf,
    },
    Closed {
        reason: String,
        rejected: bool,
    },
}

/// An attempt that has begun, with this member's own deal if it is a dealer.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dealing {
    pub(super) number: u32,
    pub(super) acceptances: Vec<Acceptance>,
    pub(super) deal: Option<Deal>,
}

/// All deals are right; or an old member that leaves has been shown that the new members say so.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verified {
    pub(super) dealing: Dealing,
    /// The signed part of every deal, in index order. None in the seat of an old member that leaves.
    pub(super) headers: Vec<DealHeader>,
    /// Whether this member has checked the whole deals one by one, so that the sums are theirs.
    pub(super) whole_deals: bool,
    /// S_0 ‖ … ‖ S_t−1.
    pub(super) sums: ByteBuf,
    /// The same, decoded. Not written: a restored member decodes them when it needs them.
    #[serde(skip)]
    decoded_sums: Vec<Point>,
    /// The hash of the set of deals.
    #[serde(with = "serde_bytes")]
    pub(super) set: [u8; 64],
    /// `None` in the seat of an old member that leaves.
    pub(super) acknowledgement: Option<Acknowledgement>,
}

/// The deals that were answered.
pub(super) struct Seen<'a>(&'a [DealHeader]);

impl Stage {
    pub(super) fn public(&self) -> MemberStage {
        match self {
            Self::Proposed => MemberStage::Proposed,
            Self::Accepted { .. } => MemberStage::Accepted,
            Self::Dealt(_) => MemberStage::Dealt,
            Self::DealsWanted { .. } => MemberStage::DealsWanted,
            Self::Complained { .. } => MemberStage::Complained,
            Self::Acknowledged(_) => MemberStage::Acknowledged,
            Self::Confirmed { .. } => MemberStage::Confirmed,
            Self::Activated { .. } => MemberStage::Activated,
            Self::Closed { .. } => MemberStage::Closed,
        }
    }

    /// From the confirmation on the key may exist, and the share is not given up.
    pub(super) fn keeps_share(&self) -> bool {
        matches!(self, Self::Confirmed { .. } | Self::Activated { .. })
    }

    pub(super) fn dealing(&self) -> Option<&Dealing> {
        match self {
            Self::Dealt(dealing)
            | Self::DealsWanted { dealing, .. }
            | Self::Complained { dealing, .. } => Some(dealing),
            _ => self.verified().map(|verified| &verified.dealing),
        }
    }

    pub(super) fn verified(&self) -> Option<&Verified> {
        match self {
            Self::Acknowledged(verified)
            | Self::Confirmed { verified, .. }
            | Self::Activated { verified, .. } => Some(verified),
            _ => None,
        }
    }

    pub(super) fn confirmation(&self) -> Option<&Confirmation> {
        match self {
            Self::Confirmed { confirmation, .. } | Self::Activated { confirmation, .. } => {
                Some(confirmation)
            }
            _ => None,
        }
    }

    pub(super) fn certificate(&self) -> Option<&ByteBuf> {
        match self {
            Self::Activated { certificate, .. } => Some(certificate),
            _ => None,
        }
    }

    pub(super) fn seen(&self) -> Option<Seen<'_>> {
        match self {
            Self::DealsWanted { headers, .. } | Self::Complained { headers, .. } => {
                Some(Seen(headers))
            }
            _ => self.verified().map(|verified| Seen(&verified.headers)),
        }
    }
}

impl Dealing {
    pub(super) fn acceptance(&self, index: u16) -> Option<&Acceptance> {
        self.acceptances
            .iter()
            .find(|acceptance| acceptance.index == index)
    }

    /// Whether a `begin` asks for the attempt that this member has dealt in. If not, the evidence of whose doing it is.
    pub(super) fn check_repeated(
        &self,
        proposal: &Proposal,
        number: u32,
        acceptances: &[Acceptance],
    ) -> Result<(), Fault> {
        if number != self.number {
            return Err(Fault::Attempt(number));
        }
        let expected = self.acceptances.len();
        if acceptances.len() != expected {
            return Err(Fault::AcceptanceCount {
                expected,
                got: acceptances.len(),
            });
        }
        for (known, other) in self.acceptances.iter().zip(acceptances) {
            if known == other {
                continue;
            }
            if known.index != other.index || !other.is_valid(proposal) {
                return Err(Fault::OtherParameters);
            }
            // Signing one key twice harms nobody.
            if known.encryption_key != other.encryption_key {
                return Err(Fault::TwoAcceptances {
                    member: known.index,
                    evidence: Box::new((known.clone(), other.clone())),
                });
            }
        }
        Ok(())
    }
}

impl Verified {
    pub(super) fn new(
        dealing: Dealing,
        headers: Vec<DealHeader>,
        sums: &[Point],
        acknowledgement: Acknowledgement,
    ) -> Self {
        Self {
            dealing,
            headers,
            sums: ByteBuf::from(encode_sums(sums)),
            whole_deals: false,
            decoded_sums: sums.to_vec(),
            set: acknowledgement.set,
            acknowledgement: Some(acknowledgement),
        }
    }

    /// What an old member that leaves has been shown.
    pub(super) fn of_hand_over(dealing: Dealing, set: [u8; 64], sums: ByteBuf) -> Self {
        Self {
            dealing,
            headers: Vec::new(),
            sums,
            whole_deals: false,
            decoded_sums: Vec::new(),
            set,
            acknowledgement: None,
        }
    }

    /// Whether this is the result that was shown.
    pub(super) fn is_of(&self, set: &[u8; 64], sums: &[u8]) -> bool {
        self.set == *set && *self.sums == *sums
    }

    pub(super) fn sums(&self, threshold: u16) -> Option<Vec<Point>> {
        if self.decoded_sums.len() == usize::from(threshold) {
            return Some(self.decoded_sums.clone());
        }
        decode_sums(&self.sums, threshold)
    }
}

impl Seen<'_> {
    /// Whether a set of deals is the one that was answered, by digests. If not, the evidence of whose doing it is.
    pub(super) fn check_repeated<'a>(
        &self,
        attempt: &Attempt,
        headers: impl ExactSizeIterator<Item = &'a DealHeader>,
    ) -> Result<(), Fault> {
        let (expected, got) = (self.0.len(), headers.len());
        if got != expected {
            return Err(Fault::DealCount { expected, got });
        }
        let mut altered = None;
        for (known, other) in self.0.iter().zip(headers) {
            if known.index != other.index {
                return Err(Fault::DealCount { expected, got });
            }
            let digest = other.digest(&attempt.params);
            let known_digest = known.digest(&attempt.params);
            if known_digest == digest {
                continue;
            }
            let seat = attempt.seat_of_dealer(known.index);
            if other.is_signed(attempt, &digest) && known.is_signed(attempt, &known_digest) {
                let evidence = Box::new((known.clone(), other.clone()));
                return Err(Fault::TwoDeals {
                    dealer: seat,
                    evidence,
                });
            }
            // What convicts somebody comes first.
            altered.get_or_insert(Fault::RelayAltered {
                author: seat,
                what: "deal",
            });
        }
        altered.map_or(Ok(()), Err)
    }

    /// Whether one at least of those that were answered was made up.
    pub(super) fn hold_made_up<'a>(
        &self,
        attempt: &Attempt,
        headers: impl Iterator<Item = &'a DealHeader>,
    ) -> bool {
        let mut pairs = self.0.iter().zip(headers);
        pairs.any(|(known, other)| was_made_up(attempt, known, other))
    }

    /// Whether those that were answered were made up: no dealer has signed them where they differ from what is shown now, which is signed.
    pub(super) fn were_made_up<'a>(
        &self,
        attempt: &Attempt,
        headers: impl ExactSizeIterator<Item = &'a DealHeader>,
    ) -> bool {
        if headers.len() != self.0.len() {
            return false;
        }
        let mut differ = false;
        for (known, other) in self.0.iter().zip(headers) {
            if known.digest(&attempt.params) == other.digest(&attempt.params) {
                continue;
            }
            differ = true;
            if !was_made_up(attempt, known, other) {
                return false;
            }
        }
        differ
    }
}

/// Whether the dealer has not signed the first deal, and has signed another.
fn was_made_up(attempt: &Attempt, known: &DealHeader, other: &DealHeader) -> bool {
    let (before, now) = (known.digest(&attempt.params), other.digest(&attempt.params));
    known.index == other.index
        && before != now
        && other.is_signed(attempt, &now)
        && !known.is_signed(attempt, &before)
}
