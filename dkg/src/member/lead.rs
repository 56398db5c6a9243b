//! Who leads, as one member sees it, and when it is its own turn.
//!
//! Any member that has accepted may lead, in a reshare also an old one that leaves; the proposal's leader is only the first. A member remembers from whom it was last asked
//! something and when. It regards its leader as gone when that has asked nothing for longer than the *patience*, or, lest
//! somebody holds the lead by asking without going on, when it has not been brought a step further for four times that. Then the next
//! seat of the proposal takes over, the one after it one patience later, and so on in a circle.
//!
//! A question that changes nothing is answered to any member. What a leader alone may do is to begin another attempt, or to leave somebody
//! out. A member lets another than its leader do that when its leader is gone, or when the other stands before its leader in the
//! circle that begins with the proposal's leader: so of two that lead at once, each of whom some members have lost sight of, one gives
//! way. Whoever lost the lead by standing still, or took it back in this way, must bring the member a step further before its place
//! counts again: otherwise silence and coming back by turns would keep the lead for ever. So must whoever led this member to confirm what came to
//! nothing, for it may have told false sums: otherwise one that lies could do so in every attempt. For the same reason whoever was gone while it led
//! is not the first to step in for the next that is gone, but waits until each other seat has had its turn.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_bytes::ByteBuf;

use super::MemberOutput;
use super::stage::{Running, Stage};
use crate::attempt::Attempt;
use crate::exclusion::Exclusion;
use crate::proposal::{MemberIdentity, Proposal, SignedProposal};
use crate::wire_v1::Message;

/// How many times its patience a member bears with a leader that asks and does not go on.
pub(crate) const STANDSTILL: u64 = 4;

/// What a member knows of its leader. Only who it is outlives a restart.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    /// The seat in the proposal of the member that leads.
    leader: u16,
    /// When it asked something last; `None` before anything was looked at.
    heard: Option<u64>,
    /// When it brought this member a step further.
    moved: Option<u64>,
    /// Members that have lost the lead by standing still, or have taken it back by their place, or have led this member to confirm what came to
    /// nothing, and have brought it no step further since. Their place does not count.
    stalled: BTreeSet<u16>,
    /// Members that were gone while they led, by silence or by standing still, and have brought this member no step further since. They are heard again when
    /// each of the others has had its turn.
    lost: BTreeSet<u16>,
    /// The seats for which the leader says that it waits. Shown to people, and nothing else.
    waiting: Vec<u16>,
    /// Who led when this member confirmed.
    confirmed_under: Option<u16>,
}

/// For whom a member waits, as far as it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits<'a> {
    /// The one that leads: the next question is to come from it.
    pub leader: &'a MemberIdentity,
    /// When it asked something last, seconds since the Unix epoch; `None` if it has not since the start.
    pub heard: Option<u64>,
    /// Since when this member has not been brought a step further.
    pub since: Option<u64>,
    /// Those for whom the leader says that it waits: its word.
    pub told: Vec<&'a MemberIdentity>,
}

/// What a member that takes over the lead begins with.
pub(crate) struct Inheritance {
    pub(crate) signed: SignedProposal,
    pub(crate) proposal: Proposal,
    /// Its own seat in the proposal.
    pub(crate) own: u16,
    /// The attempt that it is in, and who takes no part.
    pub(crate) attempt: Option<(Attempt, Vec<Exclusion>)>,
    /// Evidence that it has been told.
    pub(crate) accused: Vec<Exclusion>,
}

impl Watch {
    pub(super) fn of(leader: u16) -> Self {
        Self {
            leader,
            heard: None,
            moved: None,
            stalled: BTreeSet::new(),
            lost: BTreeSet::new(),
            waiting: Vec::new(),
            confirmed_under: None,
        }
    }

    pub(super) fn leader(&self) -> u16 {
        self.leader
    }

    pub(super) fn take(&mut self, own: u16, now: u64) {
        self.leader = own;
        self.advanced(now);
    }

    /// Its leader has brought this member a step further.
    pub(super) fn led_on(&mut self, now: u64) {
        self.stalled.remove(&self.leader);
        self.lost.remove(&self.leader);
        self.advanced(now);
    }

    /// This member has confirmed what its leader has led it to.
    pub(super) fn confirmed(&mut self) {
        self.confirmed_under = Some(self.leader);
    }

    /// Another begins an attempt after this member has confirmed: that came to nothing, and whoever led to it may have lied.
    pub(super) fn came_to_nothing(&mut self) {
        let before = self.confirmed_under.take();
        self.stalled
            .extend(before.filter(|before| *before != self.leader));
    }

    /// The leader's time begins anew.
    fn advanced(&mut self, now: u64) {
        self.waiting.clear();
        self.heard = Some(now);
        self.moved = Some(now);
    }
}

impl Running {
    /// How many seats there are.
    fn seat_count(&self) -> u64 {
        u64::try_from(self.proposal.seats().len()).unwrap_or(u64::MAX)
    }

    /// The place of a seat in the circle that begins after `first`: 1 for the next, the number of seats for `first` itself.
    fn places_after(&self, first: u16, member: u16) -> u64 {
        let seats = self.seat_count();
        let (first, member) = (u64::from(first), u64::from(member));
        match (member + seats).saturating_sub(first) % seats.max(1) {
            0 => seats,
            places => places,
        }
    }

    fn stands_before(&self, one: u16, other: u16) -> bool {
        let first = self.proposal.index_of(self.proposal.leader());
        let place = |member| {
            if Some(member) == first {
                0
            } else {
                self.places_after(first.unwrap_or_default(), member)
            }
        };
        place(one) < place(other)
    }

    /// Since when the leader counts as gone if nothing more is heard of it, and whether by standing still.
    fn gone_from(&self, patience_s: u32) -> Option<(u64, bool)> {
        let patience = u64::from(patience_s.max(1));
        let silent = self.watch.heard?.saturating_add(patience);
        let moved = self.watch.moved?.saturating_add(patience * STANDSTILL);
        let (created, expires) = (self.proposal.created(), self.proposal.expires());
        let still = match &self.stage {
            // Members' operators take their time; the first attempt is due when a half of it has passed.
            Stage::Accepted { .. } => moved.max(created + (expires - created) / 4 * 3),
            _ => moved,
        };
        Some((silent.min(still), still <= silent))
    }

    /// A question has come. Says whether the one who asks leads from here on.
    pub(super) fn is_led_by(&mut self, from: u16, now: u64, patience_s: u32) -> bool {
        self.watch.heard.get_or_insert(now);
        self.watch.moved.get_or_insert(now);
        let gone = self.gone_from(patience_s).filter(|(from, _)| now >= *from);
        if from == self.watch.leader {
            if !matches!(gone, Some((_, true))) {
                self.watch.heard = Some(now);
            }
            return true;
        }
        let takes_part = self
            .attempt
            .as_ref()
            .is_none_or(|attempt| attempt.of_proposal(from).is_some());
        let goes_before =
            self.stands_before(from, self.watch.leader) && !self.watch.stalled.contains(&from);
        // Whoever asks first, but not the same few for ever.
        let steps_in = gone.is_some_and(|(gone, _)| {
            !self.watch.lost.contains(&from) || now >= self.turn_of(from, gone, patience_s)
        });
        if !takes_part || !(steps_in || goes_before) {
            return false;
        }
        if let Some((_, true)) = gone {
            self.watch.stalled.insert(self.watch.leader);
        }
        if !steps_in {
            // It comes back, and shows that it leads; or else it was the last time.
            self.watch.stalled.insert(from);
        }
        if gone.is_some() {
            self.watch.lost.insert(self.watch.leader);
        }
        self.watch.leader = from;
        self.watch.advanced(now);
        true
    }

    /// Whom the leader waits for, as it says; a list of others than the proposal's seats is none.
    pub(super) fn note_waiting(&mut self, waiting: Vec<u16>) {
        let is_ascending = waiting.is_sorted_by(|one, next| one < next);
        let are_seats = waiting
            .iter()
            .all(|seat| self.proposal.member(*seat).is_some());
        self.watch.waiting = if is_ascending && are_seats {
            waiting
        } else {
            Vec::new()
        };
    }

    pub(super) fn waits(&self) -> Option<Waits<'_>> {
        if matches!(self.stage, Stage::Activated { .. } | Stage::Closed { .. })
            || self.watch.leader == self.index
        {
            return None;
        }
        let told = self.watch.waiting.iter();
        Some(Waits {
            leader: self.proposal.member(self.watch.leader)?,
            heard: self.watch.heard,
            since: self.watch.moved,
            told: told
                .filter_map(|seat| self.proposal.member(*seat))
                .collect(),
        })
    }

    /// When a member's turn to lead comes, the leader being gone from `gone` on. Those that have lost the lead come in a second round.
    fn turn_of(&self, member: u16, gone: u64, patience_s: u32) -> u64 {
        let mut before = self.places_after(self.watch.leader, member) - 1;
        if self.watch.lost.contains(&member) {
            before = before.saturating_add(self.seat_count());
        }
        gone.saturating_add(before.saturating_mul(u64::from(patience_s.max(1))))
    }

    /// When it is this member's turn to lead, seconds since the Unix epoch.
    pub(super) fn turn(&mut self, now: u64, patience_s: u32) -> Option<u64> {
        let ready = match &self.stage {
            Stage::Proposed | Stage::Activated { .. } | Stage::Closed { .. } => false,
            Stage::Accepted { .. }
            | Stage::Dealt(_)
            | Stage::DealsWanted { .. }
            | Stage::Complained { .. }
            | Stage::Acknowledged(_)
            | Stage::Confirmed { .. } => true,
        };
        if !ready {
            return None;
        }
        self.watch.heard.get_or_insert(now);
        self.watch.moved.get_or_insert(now);
        let (gone, _) = self.gone_from(patience_s)?;
        Some(self.turn_of(self.index, gone, patience_s))
    }

    pub(super) fn inheritance(&self) -> Inheritance {
        Inheritance {
            signed: self.signed.clone(),
            proposal: self.proposal.clone(),
            own: self.index,
            attempt: self
                .attempt
                .clone()
                .map(|attempt| (attempt, self.exclusions.clone())),
            accused: self.accused.clone(),
        }
    }

    /// The `begin` of the attempt that this member is in, for somebody who asks about another.
    pub(super) fn elsewhere(&self) -> Option<Message> {
        if let Some(certificate) = self.certified() {
            return Some(certificate);
        }
        let attempt = self.attempt.as_ref()?;
        Some(Message::Begun {
            ceremony: self.proposal.id(),
            attempt: attempt.number,
            excluded: self.exclusions.clone(),
            acceptances: attempt.acceptances.clone(),
        })
    }

    /// The certificate that this member has activated.
    pub(super) fn certified(&self) -> Option<Message> {
        Some(Message::Certificate {
            ceremony: self.proposal.id(),
            certificate: self.stage.certificate()?.clone(),
            public_shares: ByteBuf::new(),
        })
    }

    /// Somebody leads, at this attempt.
    pub(super) fn follow(&self, number: u32) -> MemberOutput {
        let own = self.attempt.as_ref().map_or(0, |attempt| attempt.number);
        let elsewhere = match self.certified() {
            None if own <= number => None,
            None => self.elsewhere(),
            certified => certified,
        };
        MemberOutput::repeat(elsewhere.unwrap_or(Message::Following {
            ceremony: self.proposal.id(),
            attempt: own,
        }))
    }

    /// The answer to a question about an attempt that this member has left.
    pub(super) fn left_behind(&self, number: u32) -> Option<Message> {
        let attempt = self.attempt.as_ref()?;
        match (attempt.number.cmp(&number), self.certified()) {
            (Ordering::Equal, _) => None,
            (_, Some(certificate)) => Some(certificate),
            (Ordering::Greater, None) => self.elsewhere(),
            (Ordering::Less, None) => None,
        }
    }
}
