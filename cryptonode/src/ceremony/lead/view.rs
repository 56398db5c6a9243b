//! A ceremony as its leader's operator sees it.

use std::collections::BTreeSet;

use dkg::{Leader, LeaderPhase, LeaderProgress, MemberIdentity, WaitingFor};

use super::Led;
use crate::ceremony::propose_again::without;
use crate::ceremony::view::excluded;
use crate::ceremony::{CeremonyView, OtherVersion, Waiting, lock};
use crate::server::SOFTWARE;

impl Led {
    /// The ceremony as its leader sees it, with the time when it was proposed.
    pub(in crate::ceremony) fn view(&self, own: &MemberIdentity) -> (u64, CeremonyView) {
        let leader = lock(&self.leader);
        let proposal = leader.proposal();
        let progress = leader.progress();
        let heard = lock(&self.heard);
        let outcome = lock(&self.outcome);
        let waiting_for = progress
            .waiting
            .iter()
            .map(|waiting| {
                let (waiting_for, said) = describe(&waiting.waiting_for, progress.phase);
                let heard = heard.get(&waiting.member.identity).cloned().unwrap_or(said);
                Waiting {
                    member: waiting.member.name.clone(),
                    waiting_for: waiting_for.to_owned(),
                    heard,
                    since: None,
                }
            })
            .collect();
        let ended = match (progress.phase, outcome.culprits.as_deref()) {
            (LeaderPhase::Completed, _) => Some("activated"),
            (LeaderPhase::Failed, Some([])) => Some("abandoned"),
            (LeaderPhase::Failed, Some(_)) => Some("failed"),
            _ => None,
        };
        let culprits = outcome.culprits.as_deref().unwrap_or_default();
        let mut gone: BTreeSet<[u8; 32]> =
            culprits.iter().map(|(member, _)| member.identity).collect();
        gone.extend(away(&leader, &progress));
        let evidence: Vec<String> = culprits
            .iter()
            .map(|(member, fault)| format!("{}: {fault}", member.name))
            .collect();
        let sentence = match progress.phase {
            _ if outcome.stuck.is_some() => outcome.stuck.clone(),
            LeaderPhase::Failed if ended.is_none() => None,
            LeaderPhase::Failed if evidence.is_empty() => Some("It was called off.".to_owned()),
            LeaderPhase::Failed => Some(evidence.join("; ")),
            _ if proposal.has_few_members() => Some(
                "Fewer than 2t − 1 members: if some of them fall silent, the key is lost."
                    .to_owned(),
            ),
            _ => None,
        };
        let software = lock(&self.software);
        let other_versions = proposal
            .seats()
            .iter()
            .filter_map(|member| Some((member, software.get(&member.identity)?)))
            .filter(|(_, software)| *software != SOFTWARE)
            .map(|(member, software)| OtherVersion {
                member: member.name.clone(),
                software: software.clone(),
            })
            .collect();
        let view = CeremonyView {
            led: true,
            leader: own.name.clone(),
            other_versions,
            step: progress.phase.name().to_owned(),
            decided: ended.is_some(),
            outcome: ended.map(str::to_owned),
            waiting_for,
            propose_again: without(proposal, &gone, &own.identity),
            culprits: culprits
                .iter()
                .map(|(member, _)| member.name.clone())
                .collect(),
            sentence,
            attempt: leader.attempt(),
            excluded: excluded(leader.exclusions().iter().chain(leader.accused()), proposal),
            ..CeremonyView::of(proposal)
        };
        (proposal.created(), view)
    }
}

/// Those that cannot be reached, as long as no key can exist, unless the leader will leave them out by itself.
fn away(leader: &Leader, progress: &LeaderProgress) -> Vec<[u8; 32]> {
    let may_go_on = matches!(
        progress.phase,
        LeaderPhase::Accepting
            | LeaderPhase::Dealing
            | LeaderPhase::Acknowledging
            | LeaderPhase::Confirming
    );
    let proposal = leader.proposal();
    let new = proposal.members().len();
    let is_new = |seat: u16| usize::from(seat) <= new;
    let named_absent = |seat: u16| {
        let old = proposal.old_seats().iter().find(|old| old.seat == seat);
        let absent = proposal.base().map(|base| base.old_may_be_absent());
        old.is_some_and(|old| absent.is_some_and(|absent| absent.contains(&old.index)))
    };
    let waiting = progress.waiting.iter().filter(|_| may_go_on);
    let away: Vec<[u8; 32]> = waiting
        .filter(|waiting| waiting.waiting_for == WaitingFor::Reachable)
        .map(|waiting| waiting.member.identity)
        .filter(|identity| {
            let seat = proposal.index_of(identity);
            seat.is_none_or(|seat| is_new(seat) || !named_absent(seat))
        })
        .collect();
    let left_out = leader.exclusions().iter();
    let left_out = left_out.filter(|left_out| is_new(left_out.member)).count();
    if away.len() + left_out <= usize::from(proposal.may_be_absent()) {
        return Vec::new();
    }
    away
}

/// What a member is waited for, and what it said itself.
fn describe(waiting: &WaitingFor, phase: LeaderPhase) -> (&'static str, String) {
    let answer = match phase {
        LeaderPhase::Accepting => "acceptance",
        LeaderPhase::Dealing => "deal",
        LeaderPhase::Acknowledging => "acknowledgement",
        LeaderPhase::Confirming => "confirmation",
        LeaderPhase::Activating
        | LeaderPhase::Completed
        | LeaderPhase::Failed
        | LeaderPhase::StoodAside => "activation",
    };
    match waiting {
        WaitingFor::Decision => ("its operator's acceptance", String::new()),
        WaitingFor::Refusal { code, sentence } => (answer, format!("{code}: {sentence}")),
        WaitingFor::Turn | WaitingFor::Answer | WaitingFor::Reachable => (answer, String::new()),
    }
}
