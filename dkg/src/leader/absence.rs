//! Going on without a member: who may be left out, on which grounds, and the attempt that follows.

use std::collections::{BTreeMap, BTreeSet};

use super::progress::WaitingFor;
use super::rounds::Phase;
use super::{Leader, LeaderEffect};
use crate::attempt::Attempt;
use crate::exclusion::{self, Accused, Exclusion, Grounds};
use crate::fault::{DealFault, Fault};
use crate::member::STANDSTILL;
use crate::wire_v1::Message;

impl Leader {
    /// Whether these may be left out too, by their seats in the proposal.
    fn may_leave_out(&self, more: impl IntoIterator<Item = u16>) -> bool {
        let mut absent: BTreeSet<u16> = self
            .exclusions
            .iter()
            .map(|exclusion| exclusion.member)
            .collect();
        absent.extend(more);
        self.proposal.may_leave_out(&absent)
    }

    /// Whether anybody may be left out yet.
    fn may_leave_anybody_out(&self) -> bool {
        let excluded = |seat: &u16| {
            self.exclusions
                .iter()
                .any(|exclusion| exclusion.member == *seat)
        };
        (1u16..)
            .zip(self.proposal.seats())
            .map(|(seat, _)| seat)
            .filter(|seat| !excluded(seat))
            .any(|seat| self.may_leave_out([seat]))
    }

    /// When those that are silent in the open round are left out, seconds since the Unix epoch.
    pub(super) fn deadline(&self, since: u64) -> Option<u64> {
        if !self.may_leave_anybody_out() {
            return None;
        }
        match &self.phase {
            // Whoever was said to be absent is not waited for any longer than others, once all others have accepted.
            Phase::Accepting(_) if self.waits_for_the_absent_only() => {
                Some(since.saturating_add(u64::from(self.patience_s)))
            }
            Phase::Accepting(_) => {
                let (created, expires) = (self.proposal.created(), self.proposal.expires());
                // A successor gives everybody the time to answer it.
                let asked = since.saturating_add(u64::from(self.patience_s));
                let half = created + (expires - created) / 2;
                Some(if since > half { asked } else { half })
            }
            phase => phase.attempt().map(|_| {
                let patience = u64::from(self.patience_s);
                let silent = self.silent();
                let elsewhere = |fault: &Fault| self.follows_another(fault);
                // A member bears so long with a leader that stands still, and then it hears this one.
                let times = match !silent.is_empty() && silent.iter().all(elsewhere) {
                    true => STANDSTILL + 1,
                    false => 1,
                };
                since.saturating_add(patience.saturating_mul(times))
            }),
        }
    }

    /// Who is left out when the deadline has come: first those that say nothing, and whoever follows another leader when there is nobody else.
    pub(super) fn overdue(&self) -> Vec<Fault> {
        let mut silent = self.silent();
        if !silent.iter().all(|fault| self.follows_another(fault)) {
            silent.retain(|fault| !self.follows_another(fault));
        }
        silent
    }

    /// Whether this silent one has said in this round that another leads.
    fn follows_another(&self, silent: &Fault) -> bool {
        let place = silent
            .culprit()
            .and_then(|seat| usize::from(seat).checked_sub(1));
        let peer = place.and_then(|place| self.peers.get(place));
        peer.and_then(|peer| peer.last.as_ref()).is_some_and(
            |last| matches!(last, WaitingFor::Refusal { code, .. } if code == "not-the-leader"),
        )
    }

    /// Whether only old members have yet to accept that the proposal names as those that may be absent.
    fn waits_for_the_absent_only(&self) -> bool {
        let Some(base) = self.proposal.base() else {
            return false;
        };
        let named: BTreeSet<u16> = self
            .proposal
            .old_seats()
            .iter()
            .filter(|old| base.old_may_be_absent().contains(&old.index))
            .map(|old| old.seat)
            .collect();
        let silent = self.silent();
        let awaited = silent.iter().map(Fault::culprit);
        !silent.is_empty()
            && awaited
                .into_iter()
                .all(|seat| seat.is_some_and(|seat| named.contains(&seat)))
    }

    /// A fault under the culprit's seat in the proposal, where the attempt has other seats.
    pub(super) fn in_proposal(&self, fault: Fault) -> Fault {
        match (fault.culprit(), self.phase.attempt()) {
            (Some(culprit), Some(attempt)) if attempt.in_proposal(culprit) != Some(culprit) => {
                Fault::Recorded {
                    member: attempt.in_proposal(culprit).unwrap_or_default(),
                    code: fault.code().to_owned(),
                    sentence: fault.to_string(),
                }
            }
            _ => fault,
        }
    }

    /// Whether the authors of these faults can be named, are not the leader itself, and are not too many.
    pub(super) fn can_leave_out(&self, faults: &[Fault]) -> bool {
        self.name(faults, None)
            .is_some_and(|named| !named.is_empty() && self.may_leave_out(named.into_keys()))
    }

    /// Goes on without the authors of these faults. `false`, and nothing has changed, if one of them cannot be named or is the leader
    /// itself, or if the proposal does not let so many be absent.
    pub(super) fn leave_out(
        &mut self,
        faults: &[Fault],
        reply: Option<&Message>,
        now: u64,
        effects: &mut Vec<LeaderEffect>,
    ) -> bool {
        match self.name(faults, reply) {
            Some(named) => self.leave_out_named(named, now, effects),
            None => false,
        }
    }

    /// Keeps the evidence against those with whom no other attempt follows.
    pub(super) fn accuse(&mut self, faults: &[Fault], reply: &Message) {
        let named = self.name(faults, Some(reply)).unwrap_or_default();
        for (member, grounds) in named {
            let exclusion = Exclusion { member, grounds };
            exclusion::add(&mut self.accused, exclusion, &self.proposal);
        }
    }

    /// Goes on without these members, given by their seats in the proposal, as [`Leader::leave_out`] does.
    pub(super) fn leave_out_named(
        &mut self,
        named: BTreeMap<u16, Grounds>,
        now: u64,
        effects: &mut Vec<LeaderEffect>,
    ) -> bool {
        if named.contains_key(&self.own) {
            return false;
        }
        if named.is_empty() || !self.may_leave_out(named.keys().copied()) {
            return false;
        }
        let next = match &mut self.phase {
            Phase::Accepting(round) => {
                for member in named.keys() {
                    round.pass_over(*member);
                }
                None
            }
            phase => {
                let Some(attempt) = phase.attempt() else {
                    return false;
                };
                let left = attempt
                    .acceptances
                    .iter()
                    .filter(|acceptance| !named.contains_key(&acceptance.index))
                    .cloned()
                    .collect();
                match Attempt::new(&self.proposal, attempt.number.saturating_add(1), left) {
                    Ok(attempt) => Some(attempt),
                    Err(_) => return false,
                }
            }
        };
        for (member, grounds) in named {
            let exclusion = Exclusion { member, grounds };
            exclusion::add(&mut self.exclusions, exclusion, &self.proposal);
        }
        match next {
            Some(attempt) => self.go_on_with(attempt, now, effects),
            None => self.persist(effects),
        }
        true
    }

    /// The culprits by their seats in the proposal, with grounds that hold; `None` if somebody cannot be left out.
    fn name(&self, faults: &[Fault], reply: Option<&Message>) -> Option<BTreeMap<u16, Grounds>> {
        let mut named = BTreeMap::new();
        for fault in faults {
            let culprit = fault.culprit()?;
            let member = match self.phase.attempt() {
                Some(attempt) => attempt.in_proposal(culprit)?,
                None => culprit,
            };
            if member == self.own {
                return None;
            }
            let exclusion = Exclusion {
                member,
                grounds: self.evidence(fault, reply),
            };
            // What does not convince others is the leader's word, and is told as such.
            let grounds = match exclusion.verify(&self.proposal) {
                Ok(_) => exclusion.grounds,
                Err(_) => Grounds::claimed(fault),
            };
            named.insert(member, grounds);
        }
        Some(named)
    }

    fn evidence(&self, fault: &Fault, reply: Option<&Message>) -> Grounds {
        let claimed = || Grounds::claimed(fault);
        match (&self.phase, fault, reply) {
            (_, Fault::Silent { .. }, _) => Grounds::Silent,
            (_, Fault::Rejected { .. }, _) => Grounds::Declined,
            (
                Phase::Dealing(attempt, _),
                Fault::BadDeal { reason, .. },
                Some(Message::Dealt { deal, .. }),
            ) if *reason != DealFault::Signature => {
                Grounds::VoidDeal(Accused::new(attempt, &deal.header, &deal.commitments))
            }
            (
                Phase::Acknowledging { deals, .. } | Phase::Confirming { deals, .. },
                Fault::BadDeal { dealer, .. } | Fault::FalseComplaint { dealer, .. },
                Some(Message::Complained { complaints, .. }),
            ) => match deals.deal(*dealer) {
                Some(deal) => Grounds::Complaint {
                    accused: Accused::new(&deals.attempt, &deal.header, &deal.commitments),
                    complaints: complaints.clone(),
                },
                None => claimed(),
            },
            _ => claimed(),
        }
    }
}
