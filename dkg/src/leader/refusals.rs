//! Members that refuse a proposal: all of them are named before anything starts.
//!
//! A member refuses what it cannot take part in: another policy, another version, another card than its own. Where the proposal cannot go without it, nothing
//! comes of it. But an operator who hears of one such member only hears of the next with the next proposal. So the leader asks on
//! until every member has looked at the proposal, or for a while, and then names all that refuse, to its operator and to the members. One that has been put right meanwhile is
//! asked again like anybody else.

use super::progress::WaitingFor;
use super::rounds::Phase;
use super::{Leader, LeaderEffect};
use crate::exclusion::{self, Exclusion, Grounds};
use crate::fault::Fault;

/// How long after the first refusal the others are waited for at most, in seconds.
const LOOK_S: u32 = 60;

impl Leader {
    /// Keeps a refusal in mind, if it is one of the proposal.
    pub(super) fn refuses(&mut self, index: u16, faults: &[Fault], now: u64) -> bool {
        let [fault @ Fault::Refused { code, sentence, .. }] = faults else {
            return false;
        };
        if !matches!(self.phase, Phase::Accepting(_)) {
            return false;
        }
        let why = WaitingFor::Refusal {
            code: code.clone(),
            sentence: sentence.clone(),
        };
        self.refused.insert(index, fault.clone());
        self.refused_since.get_or_insert(now);
        self.ask_later(index, why, now);
        true
    }

    /// A member has accepted after all.
    pub(super) fn takes_back(&mut self, index: u16) {
        if self.refused.remove(&index).is_some() && self.refused.is_empty() {
            self.refused_since = None;
        }
    }

    /// Until when the others are waited for, if somebody refuses; seconds since the Unix epoch.
    pub(super) fn refused_until(&self) -> Option<u64> {
        let since = self.refused_since?;
        Some(since.saturating_add(u64::from(self.patience_s.min(LOOK_S))))
    }

    /// Fails if somebody refuses, and everybody has looked at the proposal or has had the time.
    pub(super) fn end_refused(&mut self, now: u64, effects: &mut Vec<LeaderEffect>) {
        let Some(until) = self.refused_until() else {
            return;
        };
        let undecided = |(peer, index): (&super::Peer, u16)| {
            let decides = matches!(peer.last, Some(WaitingFor::Decision));
            self.phase.waits_for(index) && !self.refused.contains_key(&index) && !decides
        };
        if matches!(self.phase, Phase::Accepting(_))
            && (now >= until || !self.peers.iter().zip(1u16..).any(undecided))
        {
            let faults = self.with_refusals(Vec::new());
            self.fail(faults, effects);
        }
    }

    /// These faults, and the refusals of all that have been heard, those that are left out for theirs among them.
    pub(super) fn with_refusals(&mut self, faults: Vec<Fault>) -> Vec<Fault> {
        let refused = std::mem::take(&mut self.refused);
        self.refused_since = None;
        if refused.is_empty() {
            return faults;
        }
        for (member, fault) in &refused {
            let grounds = Grounds::claimed(fault);
            let exclusion = Exclusion {
                member: *member,
                grounds,
            };
            exclusion::add(&mut self.accused, exclusion, &self.proposal);
        }
        let left_out = self.exclusions.iter().filter_map(|out| match &out.grounds {
            Grounds::Claimed { code } => Some(Fault::Recorded {
                member: out.member,
                code: code.clone(),
                sentence: format!("it refused to take part ({code})"),
            }),
            _ => None,
        });
        left_out
            .chain(refused.into_values())
            .chain(faults)
            .collect()
    }
}
