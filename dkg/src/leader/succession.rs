//! Taking over the lead, and finding out that others have gone on.
//!
//! A successor begins with what its own member has: the signed proposal, and the latest `begin`. It asks again from the start;
//! members answer what they have answered before. What it does not know it learns from the answers:
//!
//! - `begun`: the member is in another attempt. If t members (or t_old old ones) say the same, one of them at least is honest and was led there, and
//!   the leader goes on with that attempt, or stands aside if that leaves its own node out. What fewer say may be made up, so that
//!   it is not believed; but members may really be in an attempt that its leader could tell to few of them. Since they never go back, the
//!   leader begins the next number for all, at most two numbers further, and as often for a member as it can have been misled.
//! - a refusal as `false-sums` or `false-deals`: another leader has lied to the member, and it has confirmed what comes to nothing. The next number follows too.
//! - `certificate`: the key exists. The leader brings it to all.
//! - `notice`: two things that one member signed, one of which this leader could not know.
//! - a refusal as `not-the-leader`: the member still hears of another leader. It is asked again; the two find each other through
//!   their own members ([`crate::Member::led_by`]), and the driver of the one that gives way calls [`Leader::stand_aside`]. The other may have fallen
//!   silent, or stand still: such a member is not left out before it would have let go of that one itself.

use super::rounds::{Phase, Round};
use super::{Leader, LeaderEffect, PING_S, Peer};
use crate::attempt::Attempt;
use crate::base::Base;
use crate::certificate::CertifiedKey;
use crate::exclusion::{self, Exclusion, SPARE_ATTEMPTS};
use crate::fault::Fault;
use crate::member::Member;
use crate::sums::encode_sums;
use crate::wire_v1::Message;

impl Leader {
    /// A leader that goes on from where `member` is, whose turn it is ([`Member::takes_over_at`]).
    ///
    /// # Errors
    /// [`Fault::OutOfStep`] if the member knows no proposal.
    pub fn take_over(member: &mut Member, now: u64) -> Result<Self, Fault> {
        member.take_lead(now);
        let Some((inherited, abandon)) = member.inherits() else {
            return Err(Fault::OutOfStep {
                message: "leading",
                stage: "new",
            });
        };
        let seats = inherited.proposal.seats().len();
        let (phase, exclusions) = match inherited.attempt {
            Some((attempt, exclusions)) => (Phase::dealing(attempt), exclusions),
            None => (Phase::first(seats), Vec::new()),
        };
        let mut leader = Self::of(
            inherited.proposal,
            inherited.signed,
            inherited.own,
            abandon,
            phase,
        );
        leader.exclusions = exclusions;
        leader.told = leader.exclusions.len();
        leader.accused = inherited.accused;
        leader.may_be_behind = true;
        Ok(leader)
    }

    /// Another leads. Nothing more is asked; the ceremony goes on without this leader. A proposal's leader may still call it off.
    pub fn stand_aside(&mut self) -> Vec<LeaderEffect> {
        let mut effects = Vec::new();
        if self.phase.is_going_on() {
            self.phase = Phase::StoodAside;
            self.peers.clear();
            self.persist(&mut effects);
        }
        effects
    }

    /// How long until members that have answered are told again that this leader is there, in seconds.
    pub(super) fn ping_every(&self) -> u64 {
        u64::from(self.patience_s / 3).clamp(1, PING_S)
    }

    /// Tells members that have nothing to answer that the leader is there.
    pub(super) fn ping(&mut self, now: u64, effects: &mut Vec<LeaderEffect>) {
        if !self.phase.is_going_on() || self.next_ping.is_some_and(|at| now < at) {
            return;
        }
        self.next_ping = Some(now.saturating_add(self.ping_every()));
        let to_all = std::mem::take(&mut self.may_be_behind);
        let attempt = self.attempt().unwrap_or_default();
        let waited_for = self.progress().waiting;
        let mut waiting: Vec<u16> = waited_for
            .iter()
            .filter_map(|waiting| self.proposal.index_of(&waiting.member.identity))
            .collect();
        waiting.sort_unstable();
        let seats = self.roster.seats().iter().zip(1u16..);
        effects.extend(
            seats
                .filter(|(_, index)| to_all || !self.phase.waits_for(*index))
                .map(|(member, _)| LeaderEffect::Send {
                    to: member.identity,
                    message: Message::Leading {
                        ceremony: self.proposal.id(),
                        attempt,
                        waiting: waiting.clone(),
                    },
                }),
        );
    }

    /// What an answer says of things that this leader does not know. `None` if it is an ordinary one.
    pub(super) fn learn(
        &mut self,
        from: &[u8; 32],
        reply: &Message,
        now: u64,
        effects: &mut Vec<LeaderEffect>,
    ) -> Option<Learned> {
        if reply.ceremony() != Some(self.proposal.id()) {
            return None;
        }
        match reply {
            Message::Following { .. } => Some(Learned::Nothing),
            Message::Certificate { certificate, .. } => {
                let key = CertifiedKey::verify_unpinned(certificate).ok()?;
                if *key.proposal() != self.proposal {
                    return None;
                }
                self.certified(&key, certificate, effects);
                Some(Learned::AskAgain)
            }
            Message::Begun {
                attempt,
                acceptances,
                excluded,
                ..
            } => {
                let member = self.proposal.index_of(from)?;
                let own = self.phase.attempt().map(|own| (own.number, own.params));
                let same_number = own.is_some_and(|(number, _)| number == *attempt);
                let older = own.is_some_and(|(number, _)| number > *attempt);
                if !self.phase.is_going_on() || older {
                    return Some(Learned::AskAgain);
                }
                let begun =
                    exclusion::check_begin(&self.proposal, *attempt, acceptances.clone(), excluded)
                        .ok()?;
                if same_number && own.is_some_and(|(_, params)| params == begun.params) {
                    return Some(Learned::AskAgain);
                }
                self.elsewhere(member, begun, excluded.clone(), now, effects);
                Some(Learned::AskAgain)
            }
            // Another leader has told it something false about this attempt, or the qualified deals do not add up: neither is its fault.
            // One about an earlier attempt comes late: the number has been raised already.
            Message::Refused { code, attempt, .. }
                if matches!(
                    code.as_str(),
                    "false-sums" | "false-deals" | "share-mismatch"
                ) =>
            {
                let member = self.proposal.index_of(from)?;
                let own = self.phase.attempt().filter(|_| self.phase.is_going_on())?;
                if *attempt != own.number {
                    return None;
                }
                let (number, acceptances) = (own.number, own.acceptances.clone());
                if !self.may_be_misled(member) {
                    return None;
                }
                let excluded = self.excluded();
                let number = number.saturating_add(1);
                let next =
                    exclusion::check_begin(&self.proposal, number, acceptances, &excluded).ok()?;
                self.go_on_with(next, now, effects);
                Some(Learned::AskAgain)
            }
            Message::Notice { excluded, .. } => {
                let proved = exclusion::proved(excluded.clone(), &self.proposal);
                if proved.is_empty() {
                    return None;
                }
                if self.phase.is_going_on() {
                    let (told, named) = self.convicted(proved);
                    if named.is_empty() {
                        // They are left out already.
                    } else if !self.leave_out_named(named, now, effects) {
                        for (exclusion, _) in &told {
                            exclusion::add(&mut self.accused, exclusion.clone(), &self.proposal);
                        }
                        let faults = told.into_iter().map(|(_, fault)| fault).collect();
                        self.fail(faults, effects);
                    }
                }
                Some(Learned::AskAgain)
            }
            _ => None,
        }
    }

    /// Evidence with the fault that each proves, and the grounds by member of those that still take part.
    fn convicted(
        &self,
        proved: Vec<Exclusion>,
    ) -> (
        Vec<(Exclusion, Fault)>,
        std::collections::BTreeMap<u16, exclusion::Grounds>,
    ) {
        let told: Vec<(Exclusion, Fault)> = proved
            .into_iter()
            .filter(|exclusion| {
                !self
                    .exclusions
                    .iter()
                    .any(|known| known.member == exclusion.member)
            })
            .filter_map(|exclusion| {
                let fault = exclusion.verify(&self.proposal).ok().flatten()?;
                let fault = Fault::Recorded {
                    member: exclusion.member,
                    code: fault.code().to_owned(),
                    sentence: fault.to_string(),
                };
                Some((exclusion, fault))
            })
            .collect();
        let named = told
            .iter()
            .map(|(exclusion, _)| (exclusion.member, exclusion.grounds.clone()))
            .collect();
        (told, named)
    }

    /// A member is in another attempt.
    fn elsewhere(
        &mut self,
        member: u16,
        begun: Attempt,
        excluded: Vec<Exclusion>,
        now: u64,
        effects: &mut Vec<LeaderEffect>,
    ) {
        let number = begun.number;
        self.reports.insert(member, begun.params);
        if self.is_reported_by_an_honest_one(&begun.params) {
            if begun.of_proposal(self.own).is_none() {
                effects.extend(self.stand_aside());
                return;
            }
            self.exclusions = excluded;
            self.told = self.told.min(self.exclusions.len());
            self.go_on_with(begun, now, effects);
            return;
        }
        let Some(own) = self.phase.attempt() else {
            return;
        };
        let (ours, acceptances) = (own.number, own.acceptances.clone());
        if number > ours.saturating_add(1) || !self.may_be_misled(member) {
            return;
        }
        let next = exclusion::check_begin(
            &self.proposal,
            number.saturating_add(1),
            acceptances,
            &self.excluded(),
        );
        if let Ok(next) = next {
            self.go_on_with(next, now, effects);
        }
    }

    /// Whether a member that says so may have been misled once more. An honest one is, by each leader that lies, once: it does not follow it by its
    /// place again. Those are fewer than t and, of old members, fewer than t_old; and a member that was restarted does not know who it
    /// was. One that is never content uses attempts up: all that may lie leave some.
    fn may_be_misled(&mut self, member: u16) -> bool {
        let old = self.proposal.base().map_or(1, Base::threshold);
        let liars = usize::from(self.proposal.threshold().saturating_sub(1))
            + usize::from(old.saturating_sub(1));
        let most = (liars + 1).min(SPARE_ATTEMPTS / liars.max(1)).max(1);
        let misled = self.raised_by.entry(member).or_default();
        *misled = misled.saturating_add(1);
        *misled <= most
    }

    /// Whether so many say that they are in this attempt that one of them at least is honest: t new members, or t_old old ones.
    fn is_reported_by_an_honest_one(&self, params: &[u8; 64]) -> bool {
        let says = |seat: &u16| self.reports.get(seat) == Some(params);
        let new = (1u16..)
            .zip(self.proposal.members())
            .filter(|(seat, _)| says(seat))
            .count();
        let old = self.proposal.old_seats().iter();
        let old = old.filter(|old| says(&old.seat)).count();
        new >= usize::from(self.proposal.threshold())
            || self
                .proposal
                .base()
                .is_some_and(|base| old >= usize::from(base.threshold()))
    }

    /// Begins an attempt.
    pub(super) fn go_on_with(
        &mut self,
        attempt: Attempt,
        now: u64,
        effects: &mut Vec<LeaderEffect>,
    ) {
        self.roster = attempt.roster.clone();
        self.peers = vec![Peer::default(); self.roster.seats().len()];
        self.phase = Phase::dealing(attempt);
        self.round_since = Some(now);
        self.persist(effects);
    }

    /// A certificate that another leader has made.
    fn certified(
        &mut self,
        key: &CertifiedKey,
        certificate: &[u8],
        effects: &mut Vec<LeaderEffect>,
    ) {
        if !self.phase.may_learn_of_a_key() {
            return;
        }
        let own = self.proposal.member(self.own).map(|own| own.identity);
        if own.is_none_or(|own| key.roster().index_of(&own).is_none()) {
            effects.extend(self.stand_aside());
            return;
        }
        self.roster = key.roster().clone();
        self.peers = vec![Peer::default(); self.roster.seats().len()];
        self.phase = Phase::Activating {
            certificate: certificate.to_vec(),
            public_key: key.public_key(),
            public_shares: encode_sums(key.package().public_shares()),
            round: Round::new(self.roster.seats().len()),
        };
        self.unreported = true;
        self.persist(effects);
        effects.push(LeaderEffect::Certified {
            certificate: certificate.to_vec(),
        });
    }
}

/// What is to be done after an answer that told something new.
pub(super) enum Learned {
    /// Nothing.
    Nothing,
    /// The one who answered is asked again.
    AskAgain,
}
