//! A ceremony as the operator of a member that does not lead it sees it.
//!
//! What it waits for is known at the leader. A member knows its own operator, its leader and when that was last heard of, and for whom the leader says
//! that it waits: at most twenty seconds old, and the leader's word.

use dkg::{Member, MemberStage, Waits};

use super::Seat;
use crate::ceremony::view::{excluded, when};
use crate::ceremony::{CeremonyView, OtherVersion, Waiting, is_decided, lock};
use crate::daemon::clock_s;
use crate::server::SOFTWARE;

impl Seat {
    /// The ceremony as this member sees it, with the time when it was proposed; `None` before there is a proposal.
    /// `own` is this node's name, and `silent_s` for how long a leader is silent before that is worth a word.
    pub(in crate::ceremony) fn view(
        &self,
        own: &str,
        silent_s: u64,
    ) -> Option<(u64, CeremonyView)> {
        let machine = lock(&self.machine);
        let machine = machine.as_ref()?;
        let proposal = machine.proposal()?;
        let stage = machine.stage();
        let common = CeremonyView::of(proposal);
        let leader = machine.led_by();
        let outcome = match stage {
            MemberStage::Activated => Some("activated"),
            MemberStage::Closed => Some("abandoned"),
            _ => None,
        };
        let sentence = match stage {
            MemberStage::Proposed => Some(format!(
                "It waits for this node's operator: cryptonode ceremony accept {}",
                common.id
            )),
            MemberStage::DealsWanted => Some(
                "This member's share does not fit the sums; it waits for the whole deals to see why."
                    .to_owned(),
            ),
            MemberStage::Complained => Some(
                "This member has shown that a dealer gave it a wrong share; the leader names it."
                    .to_owned(),
            ),
            MemberStage::Confirmed => Some(
                "This member holds its share and waits for the others' confirmations.".to_owned(),
            ),
            MemberStage::Closed => machine.closed_because().map(str::to_owned),
            _ => None,
        };
        let other_versions = (common.software != SOFTWARE).then(|| OtherVersion {
            member: common.proposed_by.clone(),
            software: common.software.clone(),
        });
        let view = CeremonyView {
            leader: leader.map(|member| member.name.clone()).unwrap_or_default(),
            other_versions: other_versions.into_iter().collect(),
            step: stage.name().to_owned(),
            decided: is_decided(stage),
            outcome: outcome.map(str::to_owned),
            waiting_for: waiting_for(machine, own, clock_s(), silent_s),
            sentence,
            attempt: machine.attempt(),
            excluded: excluded(
                machine.exclusions().iter().chain(machine.accused()),
                proposal,
            ),
            ..common
        };
        Some((proposal.created(), view))
    }
}

fn waiting_for(machine: &Member, own: &str, now: u64, silent_s: u64) -> Vec<Waiting> {
    if machine.stage() == MemberStage::Proposed {
        return vec![Waiting {
            member: own.to_owned(),
            waiting_for: "its operator's acceptance".to_owned(),
            heard: String::new(),
            since: machine.proposal().map(dkg::Proposal::created),
        }];
    }
    let waits = machine.waits();
    waits.map_or_else(Vec::new, |waits| listed(&waits, now, silent_s))
}

/// Those that the leader has named, and the leader itself.
fn listed(waits: &Waits<'_>, now: u64, silent_s: u64) -> Vec<Waiting> {
    let heard = match waits.heard {
        None => "nothing heard of it since this node's start".to_owned(),
        Some(heard) if now > heard.saturating_add(silent_s) => {
            format!("nothing heard of it since {}", when(heard))
        }
        Some(_) => String::new(),
    };
    let told = waits.told.iter().map(|member| Waiting {
        member: member.name.clone(),
        waiting_for: "its answer".to_owned(),
        heard: format!("says {}", waits.leader.name),
        since: None,
    });
    told.chain([Waiting {
        member: waits.leader.name.clone(),
        waiting_for: "its next question".to_owned(),
        heard,
        since: waits.since,
    }])
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> dkg::MemberIdentity {
        dkg::MemberIdentity {
            name: name.to_owned(),
            address: String::new(),
            identity: [1; 32],
            recovery_public: [2; 32],
        }
    }

    #[test]
    fn a_leader_that_falls_silent_is_shown_with_the_time_of_its_last_word() {
        let (leader, away) = (member("n1"), member("n3"));
        let mut waits = Waits {
            leader: &leader,
            heard: Some(1_000),
            since: Some(900),
            told: vec![&away],
        };
        let names = |listed: &[Waiting]| -> Vec<(String, String)> {
            let all = listed.iter();
            all.map(|one| (one.member.clone(), one.heard.clone()))
                .collect()
        };
        let shown = listed(&waits, 1_045, 45);
        assert_eq!(
            names(&shown),
            [
                ("n3".to_owned(), "says n1".to_owned()),
                ("n1".to_owned(), String::new())
            ]
        );
        assert_eq!(shown.last().and_then(|last| last.since), Some(900));
        // The same as long as nothing changes, whatever the time is: who follows a ceremony is not told again.
        assert_eq!(listed(&waits, 1_020, 45), shown);
        waits.told.clear();
        let silent = listed(&waits, 1_046, 45);
        assert_eq!(silent, listed(&waits, 9_999, 45));
        let said = "nothing heard of it since 1970-01-01T00:16:40Z".to_owned();
        assert_eq!(names(&silent), [("n1".to_owned(), said)]);
        waits.heard = None;
        let said = "nothing heard of it since this node's start".to_owned();
        assert_eq!(names(&listed(&waits, 0, 45)), [("n1".to_owned(), said)]);
    }
}
