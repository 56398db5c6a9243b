//! The rounds: what is asked, which answers count, and what follows when all have answered.

use std::collections::BTreeSet;

use reencrypt::Point;

use super::deals::{DealSet, VerifiedDeal};
use super::progress::{LeaderPhase, WaitingFor};
use crate::acknowledge::Acknowledgement;
use crate::attempt::{Acceptance, Attempt};
use crate::certificate;
use crate::confirm::{AttemptResult, Confirmation};
use crate::exclusion::Exclusion;
use crate::fault::Fault;
use crate::proposal::Proposal;
use crate::sums::encode_sums;
use crate::wire_v1::{MAX_SENTENCE, Message, legible};

/// The answers to one question, in index order.
pub(super) struct Round<T>(Vec<Option<T>>);

/// The open round, with everything that the rounds before have made.
pub(super) enum Phase {
    /// `None` for those that are left out.
    Accepting(Round<Option<Acceptance>>),
    /// `None` for those that are no dealers.
    Dealing(Attempt, Round<Option<VerifiedDeal>>),
    Acknowledging {
        deals: DealSet,
        /// Those that want the whole deals.
        wanted: BTreeSet<u16>,
        round: Round<Acknowledgement>,
    },
    Confirming {
        deals: DealSet,
        acknowledgements: Vec<Acknowledgement>,
        result: Box<AttemptResult>,
        hash: [u8; 64],
        /// Those that another leader has made doubt what they had acknowledged: only the whole deals bring them back.
        wanted: BTreeSet<u16>,
        round: Round<Confirmation>,
    },
    Activating {
        certificate: Vec<u8>,
        public_key: Point,
        /// Y_1 ‖ … ‖ Y_n.
        public_shares: Vec<u8>,
        round: Round<()>,
    },
    Completed {
        certificate: Vec<u8>,
        public_key: Point,
    },
    /// Another leads.
    StoodAside,
    Failed {
        faults: Vec<Fault>,
        round: Round<()>,
    },
}

/// What an answer does.
pub(super) enum Step {
    /// Nothing: it answers a question of an earlier round, or one that was answered.
    Stale,
    /// It counts, or calls for another question at once.
    Kept,
    /// It does not count yet.
    AskAgain(WaitingFor),
    /// The attempt fails.
    Failed(Vec<Fault>),
}

impl<T> Round<T> {
    pub(super) fn new(members: usize) -> Self {
        Self((0..members).map(|_| None).collect())
    }

    fn slot(&mut self, index: u16) -> Option<&mut Option<T>> {
        usize::from(index)
            .checked_sub(1)
            .and_then(|place| self.0.get_mut(place))
    }

    fn keep(&mut self, index: u16, answer: T) -> Step {
        match self.slot(index) {
            Some(slot) => {
                *slot = Some(answer);
                Step::Kept
            }
            None => Step::Stale,
        }
    }

    fn waits_for(&self, index: u16) -> bool {
        usize::from(index)
            .checked_sub(1)
            .and_then(|place| self.0.get(place))
            .is_some_and(Option::is_none)
    }

    fn is_complete(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }

    fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.0).into_iter().flatten().collect()
    }
}

impl Round<Option<Acceptance>> {
    /// Goes on without the member.
    pub(super) fn pass_over(&mut self, index: u16) {
        if let Some(slot) = self.slot(index) {
            *slot = Some(None);
        }
    }
}

impl Phase {
    pub(super) fn first(members: usize) -> Self {
        Self::Accepting(Round::new(members))
    }

    pub(super) fn dealing(attempt: Attempt) -> Self {
        let seats = attempt.seats();
        Self::Dealing(attempt, Round::new(seats))
    }

    /// The attempt that goes on, until its result is certified.
    pub(super) fn attempt(&self) -> Option<&Attempt> {
        match self {
            Self::Dealing(attempt, _) => Some(attempt),
            Self::Acknowledging { deals, .. } | Self::Confirming { deals, .. } => {
                Some(&deals.attempt)
            }
            _ => None,
        }
    }

    pub(super) fn failed(faults: Vec<Fault>, members: usize) -> Self {
        Self::Failed {
            faults,
            round: Round::new(members),
        }
    }

    pub(super) fn acknowledging(deals: DealSet) -> Self {
        Self::Acknowledging {
            round: Round::new(deals.attempt.members()),
            wanted: BTreeSet::new(),
            deals,
        }
    }

    pub(super) fn confirming(
        deals: DealSet,
        acknowledgements: Vec<Acknowledgement>,
    ) -> Result<Self, Fault> {
        let result = deals.result()?;
        Ok(Self::Confirming {
            hash: result.hash(),
            result: Box::new(result),
            wanted: BTreeSet::new(),
            round: Round::new(deals.attempt.seats()),
            deals,
            acknowledgements,
        })
    }

    pub(super) fn public(&self) -> LeaderPhase {
        match self {
            Self::Accepting(_) => LeaderPhase::Accepting,
            Self::Dealing(..) => LeaderPhase::Dealing,
            Self::Acknowledging { .. } => LeaderPhase::Acknowledging,
            Self::Confirming { .. } => LeaderPhase::Confirming,
            Self::Activating { .. } => LeaderPhase::Activating,
            Self::Completed { .. } => LeaderPhase::Completed,
            Self::StoodAside => LeaderPhase::StoodAside,
            Self::Failed { .. } => LeaderPhase::Failed,
        }
    }

    /// Until the key exists.
    pub(super) fn can_fail(&self) -> bool {
        !matches!(
            self,
            Self::Activating { .. } | Self::Completed { .. } | Self::Failed { .. }
        )
    }

    /// Until the key exists, while this leader leads.
    pub(super) fn is_going_on(&self) -> bool {
        self.can_fail() && !matches!(self, Self::StoodAside)
    }

    /// Whether a certificate that a member shows is news. Also when nothing came of it under this leader.
    pub(super) fn may_learn_of_a_key(&self) -> bool {
        self.is_going_on() || self.has_failed()
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    pub(super) fn waits_for(&self, index: u16) -> bool {
        match self {
            Self::Accepting(round) => round.waits_for(index),
            Self::Dealing(_, round) => round.waits_for(index),
            Self::Acknowledging { round, .. } => round.waits_for(index),
            Self::Confirming { round, .. } => round.waits_for(index),
            Self::Activating { round, .. } | Self::Failed { round, .. } => round.waits_for(index),
            Self::Completed { .. } | Self::StoodAside => false,
        }
    }

    /// Takes one answer of member `index`. `proposal` is the roster of those that are asked.
    pub(super) fn answer(&mut self, proposal: &Proposal, index: u16, reply: &Message) -> Step {
        let member = index;
        let anew = self.is_acknowledged_anew(index, reply);
        if !self.waits_for(index) || self.is_stale(reply) && !anew {
            return Step::Stale;
        }
        let unreadable = matches!(reply, Message::Refused { ceremony, .. } if *ceremony == [0; 16]);
        let wrong = || {
            Step::Failed(vec![Fault::WrongAnswer {
                member,
                message: reply.name(),
            }])
        };
        if reply.ceremony() != Some(proposal.id()) && !unreadable {
            return if self.can_fail() {
                wrong()
            } else {
                Step::AskAgain(WaitingFor::Answer)
            };
        }
        match (self, reply) {
            (Self::Accepting(_), Message::Pending { .. }) => Step::AskAgain(WaitingFor::Decision),
            (Self::Accepting(_), Message::Rejected { reason, .. }) => {
                let reason = legible(reason, MAX_SENTENCE);
                Step::Failed(vec![Fault::Rejected { member, reason }])
            }
            (Self::Accepting(round), Message::Accepted { acceptance, .. }) => {
                if acceptance.index == member && acceptance.is_valid(proposal) {
                    round.keep(index, Some(acceptance.clone()))
                } else {
                    Step::Failed(vec![Fault::AcceptanceInvalid { member }])
                }
            }
            (
                Self::Dealing(attempt, round),
                Message::Dealt {
                    attempt: number,
                    deal,
                    ..
                },
            ) if *number == attempt.number => match VerifiedDeal::new(attempt, member, deal) {
                Ok(verified) => round.keep(index, Some(verified)),
                Err(fault) => Step::Failed(vec![fault]),
            },
            (
                Self::Dealing(attempt, round),
                Message::Ready {
                    attempt: number, ..
                },
            ) if *number == attempt.number && attempt.dealer_in(member).is_none() => {
                round.keep(index, None)
            }
            (
                Self::Acknowledging { deals, round, .. },
                Message::Acknowledged {
                    attempt,
                    acknowledgement,
                    ..
                },
            ) if *attempt == deals.attempt.number => {
                if acknowledgement.index != member
                    || !acknowledgement.is_signed(proposal, &deals.attempt.params)
                {
                    Step::Failed(vec![Fault::Unsigned {
                        what: "acknowledgement",
                        member,
                    }])
                } else if acknowledgement.set != deals.set {
                    Step::Failed(vec![Fault::OtherDeals { member }])
                } else {
                    round.keep(index, acknowledgement.clone())
                }
            }
            (Self::Acknowledging { deals, wanted, .. }, Message::DealsWanted { attempt, .. })
                if *attempt == deals.attempt.number =>
            {
                // At once the first time; later if it keeps asking, or its first call comes twice.
                if wanted.insert(index) {
                    Step::Kept
                } else {
                    Step::AskAgain(WaitingFor::Answer)
                }
            }
            (
                Self::Acknowledging { deals, .. } | Self::Confirming { deals, .. },
                Message::Complained {
                    attempt,
                    complaints,
                    ..
                },
            ) if *attempt == deals.attempt.number => {
                if complaints.index == member {
                    Step::Failed(deals.judge(proposal, complaints))
                } else {
                    Step::Failed(vec![Fault::Unsigned {
                        what: "complaint",
                        member,
                    }])
                }
            }
            (
                Self::Confirming {
                    deals, hash, round, ..
                },
                Message::Confirmed {
                    attempt,
                    confirmation,
                    ..
                },
            ) if *attempt == deals.attempt.number => {
                if confirmation.index == member
                    && confirmation.is_signed(proposal, &deals.attempt.params, hash)
                {
                    round.keep(index, confirmation.clone())
                } else {
                    Step::Failed(vec![Fault::OtherConfirmation { member }])
                }
            }
            (Self::Confirming { wanted, .. }, Message::Acknowledged { .. }) if anew => {
                wanted.remove(&index);
                // At growing intervals, lest somebody is sent all deals again and again.
                Step::AskAgain(WaitingFor::Answer)
            }
            (Self::Confirming { deals, wanted, .. }, Message::Refused { code, sentence, .. })
                if code == "out-of-step" =>
            {
                if !deals.attempt.roster.is_leaving(index) {
                    wanted.insert(index);
                }
                Step::AskAgain(refusal(code, sentence))
            }
            (Self::Activating { round, .. }, Message::Activated { .. }) => round.keep(index, ()),
            // It knows a greater result of the key, and needs this one no more.
            (Self::Activating { round, .. }, Message::Refused { code, .. })
                if code == "base-superseded" =>
            {
                round.keep(index, ())
            }
            (Self::Activating { .. }, Message::Refused { code, sentence, .. }) => {
                Step::AskAgain(refusal(code, sentence))
            }
            (Self::Activating { .. }, _) => Step::AskAgain(WaitingFor::Answer),
            // A question of the attempt before may have been answered after this attempt's first. And a member that still
            // hears of another leader is asked again.
            (phase, Message::Refused { code, sentence, .. })
                if code == "not-the-leader"
                    // A restored leader looks for members that it has not proposed to yet.
                    || code == "other-ceremony" && matches!(phase, Self::Accepting(_))
                    || code == "attempt"
                        && phase
                            .attempt()
                            .is_some_and(|attempt| attempt.number > attempt.roster.first_attempt()) =>
            {
                Step::AskAgain(refusal(code, sentence))
            }
            // Whatever it says, it has heard it.
            (Self::Failed { round, .. }, _) => round.keep(index, ()),
            (
                _,
                Message::Refused {
                    code,
                    sentence,
                    culprit,
                    ..
                },
            ) => Step::Failed(vec![Fault::Refused {
                member,
                code: legible(code, 64),
                sentence: legible(sentence, MAX_SENTENCE),
                named: *culprit,
            }]),
            _ => wrong(),
        }
    }

    /// Whether this is the answer to whole deals that were sent to this member once more, after all had acknowledged.
    fn is_acknowledged_anew(&self, index: u16, reply: &Message) -> bool {
        let Self::Confirming { deals, wanted, .. } = self else {
            return false;
        };
        wanted.contains(&index)
            && reply.attempt() == Some(deals.attempt.number)
            && matches!(
                reply,
                Message::Acknowledged { .. } | Message::Complained { .. }
            )
    }

    /// Answers to questions of earlier rounds or attempts, late or repeated.
    fn is_stale(&self, reply: &Message) -> bool {
        if let (Some(number), Some(current)) = (reply.attempt(), self.attempt())
            && number < current.number
        {
            return true;
        }
        let round = match reply {
            Message::Pending { .. } | Message::Rejected { .. } | Message::Accepted { .. } => {
                LeaderPhase::Accepting
            }
            Message::Dealt { .. } | Message::Ready { .. } => LeaderPhase::Dealing,
            Message::Acknowledged { .. }
            | Message::DealsWanted { .. }
            | Message::Complained { .. } => LeaderPhase::Acknowledging,
            Message::Confirmed { .. } => LeaderPhase::Confirming,
            _ => return false,
        };
        (round as u8) < (self.public() as u8)
    }

    /// Goes on to the next round once all have answered. Says whether it did.
    pub(super) fn advance(
        &mut self,
        proposal: &Proposal,
        exclusions: &[Exclusion],
    ) -> Result<bool, Fault> {
        let seats = match self.attempt() {
            Some(attempt) => attempt.seats(),
            None => proposal.seats().len(),
        };
        let next = match self {
            Self::Accepting(round) if round.is_complete() => {
                let acceptances = round.take().into_iter().flatten().collect();
                let number = proposal.first_attempt();
                Self::dealing(Attempt::new(proposal, number, acceptances)?)
            }
            Self::Dealing(attempt, round) if round.is_complete() => {
                let deals = round.take().into_iter().flatten().collect();
                Self::acknowledging(DealSet::new(attempt.clone(), deals)?)
            }
            Self::Acknowledging { deals, round, .. } if round.is_complete() => {
                let acknowledgements = round.take();
                Self::confirming(deals.take(), acknowledgements)?
            }
            Self::Confirming {
                deals,
                result,
                round,
                ..
            } if round.is_complete() => {
                let keys = deals.attempt.encryption_keys.iter();
                let certificate = certificate::encode(
                    proposal,
                    deals.attempt.number,
                    exclusions
                        .iter()
                        .map(|exclusion| exclusion.member)
                        .collect(),
                    keys,
                    result,
                    &round.take(),
                );
                let public_key = *result.sums.first().ok_or(Fault::UnusableResult)?;
                let package = certificate::package(&deals.attempt.roster, result)?;
                Self::Activating {
                    certificate,
                    public_key,
                    public_shares: encode_sums(package.public_shares()),
                    round: Round::new(seats),
                }
            }
            Self::Activating {
                certificate,
                public_key,
                round,
                ..
            } if round.is_complete() => Self::Completed {
                certificate: std::mem::take(certificate),
                public_key: *public_key,
            },
            _ => return Ok(false),
        };
        *self = next;
        Ok(true)
    }
}

/// What a member says that it waits for, as it may be shown to people.
fn refusal(code: &str, sentence: &str) -> WaitingFor {
    WaitingFor::Refusal {
        code: legible(code, 64),
        sentence: legible(sentence, MAX_SENTENCE),
    }
}
