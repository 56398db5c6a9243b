//! Attacks and accidents around a change of the leader.

use curve25519_dalek::Scalar;
use dkg::{
    Acceptance, Exclusion, Grounds, Leader, LeaderEffect, LeaderPhase, MemberStage, Message,
};

use crate::cluster::{Cluster, NOW};
use crate::dealer::{Dealer, encryption_secret};

const CHEAT: usize = 1;
const VICTIM: usize = 2;
const SUCCESSOR: usize = 3;

fn index(place: usize) -> u16 {
    u16::try_from(place + 1).unwrap()
}

/// The node at `place` takes over and leads to its end, at `now`; `dead` do not answer, nor who is made to answer nothing. Gives the leader.
pub fn lead(
    cluster: &mut Cluster,
    place: usize,
    dead: &[usize],
    mut answer: impl FnMut(&mut Cluster, usize, &Message, Message) -> Option<Message>,
) -> Leader {
    let own = cluster.nodes[place].card.identity;
    let mut leader = Leader::take_over(&mut cluster.nodes[place].member, cluster.now).unwrap();
    for _ in 0..2_000 {
        let mut effects: std::collections::VecDeque<_> = leader.poll(cluster.now).into();
        while let Some(effect) = effects.pop_front() {
            let LeaderEffect::Send { to, message } = effect else {
                continue;
            };
            let asked = cluster.index_of(&to);
            if dead.contains(&asked) {
                leader.unreachable(&to, cluster.now);
                continue;
            }
            let question = message.clone();
            let about = message.about();
            let (now, rng) = (cluster.now, &mut cluster.rng);
            let node = &mut cluster.nodes[asked];
            let mut outcome = node.member.handle(&own, message, now, rng);
            if node.member.stage() == MemberStage::Proposed {
                outcome = node.member.accept(now, rng);
            }
            let reply = match outcome {
                Ok(mut output) => {
                    node.write(&mut output);
                    output.reply
                }
                Err(fault) => Message::refusal(about, &fault),
            };
            let Some(reply) = answer(cluster, asked, &question, reply) else {
                leader.unreachable(&to, cluster.now);
                continue;
            };
            effects.extend(leader.handle_reply(&to, &reply, cluster.now));
        }
        match leader.progress().phase {
            LeaderPhase::Completed | LeaderPhase::StoodAside => return leader,
            LeaderPhase::Failed if leader.next_poll().is_none() => return leader,
            _ => {}
        }
        cluster.now = leader.next_poll().unwrap().max(cluster.now + 1);
    }
    panic!("{:?}", leader.progress());
}

/// A first attempt in which the cheat deals a wrong share, up to the step `last`, whose answers the leader keeps to itself.
fn cheated(seed: u64, absent: u16, last: &str) -> (Cluster, Vec<Acceptance>) {
    let mut cluster = Cluster::with_absent(3, 5, absent, seed);
    let mut acceptances: Vec<Acceptance> = Vec::new();
    let effects = cluster.leader.poll(cluster.now);
    let mut queue: std::collections::VecDeque<_> = cluster.carry_out(effects).into();
    while let Some((to, message)) = queue.pop_front() {
        let (place, from) = (cluster.index_of(&to), cluster.leader_id());
        if let Message::Begin {
            acceptances: all, ..
        } = &message
        {
            acceptances.clone_from(all);
        }
        let mut reply = cluster.nodes[place].serve(&from, message, &mut cluster.rng);
        if let (CHEAT, Message::Dealt { deal, .. }) = (place, &mut reply) {
            **deal = wrong_share(&cluster, &acceptances);
        }
        // The cheat itself finds its own deal in order.
        if place == CHEAT && matches!(reply, Message::Refused { .. }) {
            reply = Message::Pending {
                ceremony: cluster.proposal.id(),
            };
        }
        let kept = match &reply {
            Message::Complained { .. } | Message::Acknowledged { .. } => last == "deals",
            _ => false,
        };
        if !kept {
            let effects = cluster.leader.handle_reply(&to, &reply, cluster.now);
            queue.extend(cluster.carry_out(effects));
        }
    }
    (cluster, acceptances)
}

/// The cheat gives whoever leads the first attempt the same deal again, and goes on.
fn deals_again(cluster: &Cluster, place: usize, question: &Message, reply: Message) -> Message {
    match (place, question) {
        (
            CHEAT,
            Message::Begin {
                acceptances,
                attempt: 1,
                ..
            },
        ) => Message::Dealt {
            ceremony: cluster.proposal.id(),
            attempt: 1,
            deal: Box::new(wrong_share(cluster, acceptances)),
        },
        // It finds its own deal in order.
        (CHEAT, _) if matches!(reply, Message::Refused { .. }) => Message::Pending {
            ceremony: cluster.proposal.id(),
        },
        _ => reply,
    }
}

fn wrong_share(cluster: &Cluster, acceptances: &[Acceptance]) -> dkg::Deal {
    let secret = encryption_secret(cluster.nodes[CHEAT].state());
    let mut dealer = Dealer::new(&cluster.proposal, acceptances, index(CHEAT), secret, 1);
    let wrong = dealer.share(index(VICTIM)) + Scalar::ONE;
    dealer.encrypt(index(VICTIM), wrong, &acceptances[VICTIM].encryption_key);
    dealer.finish(&cluster.nodes[CHEAT].local.identity)
}

#[test]
fn a_complaint_that_the_leader_suppresses_comes_out_under_the_next() {
    let (mut cluster, _) = cheated(500, 2, "deals");
    assert_eq!(
        cluster.nodes[VICTIM].member.stage(),
        MemberStage::Complained
    );
    let turn = cluster.nodes[SUCCESSOR].member.takes_over_at(NOW).unwrap();
    assert!(turn >= NOW + u64::from(dkg::DEFAULT_PATIENCE_S));
    cluster.now = turn;
    // The former leader answers nobody.
    let leader = lead(
        &mut cluster,
        SUCCESSOR,
        &[0],
        |cluster, place, question, reply| Some(deals_again(cluster, place, question, reply)),
    );
    assert_eq!(leader.progress().phase, LeaderPhase::Completed);
    let told: Vec<_> = leader
        .exclusions()
        .iter()
        .map(|told| (told.member, told.grounds.code().to_owned()))
        .collect();
    // The deal of the silent leader is missing in the first attempt, so that it is left out first.
    let expected =
        [(1, "silent"), (2, "complaint")].map(|(member, code)| (member, code.to_owned()));
    assert_eq!(told, expected);
    cluster.assert_one_result();
    for place in [VICTIM, SUCCESSOR, 4] {
        assert_eq!(cluster.nodes[place].activations, 1);
    }
}

/// The leader keeps the complaint to itself and begins anew, with everybody: an attempt that another leader's would excuse. The victim
/// goes on when the dealer is left out, and tells whoever leads what it was dealt.
#[test]
fn a_complaint_outlives_the_attempt_that_a_leader_gives_up_to_hide_it() {
    let (mut cluster, acceptances) = cheated(502, 1, "deals");
    let first_leader = cluster.leader_id();
    let question = Message::Begin {
        attempt: 2,
        ceremony: cluster.proposal.id(),
        excluded: Vec::new(),
        acceptances,
    };
    for crashed in [false, true] {
        if crashed {
            cluster.nodes[VICTIM].crash();
        }
        let reply = cluster.nodes[VICTIM].serve(&first_leader, question.clone(), &mut cluster.rng);
        let Message::Notice { excluded, .. } = &reply else {
            panic!("{}", reply.name());
        };
        let [told] = excluded.as_slice() else {
            panic!("{excluded:?}");
        };
        assert_eq!((told.member, told.grounds.code()), (2, "complaint"));
        let proved = told.verify(&cluster.proposal).unwrap().unwrap();
        assert_eq!(proved.code(), "deal-share");
    }
    // Another leads; the first one is alive, and its member does what it is asked. Nobody is silent.
    cluster.now = cluster.nodes[SUCCESSOR].member.takes_over_at(NOW).unwrap();
    let leader = lead(
        &mut cluster,
        SUCCESSOR,
        &[],
        |cluster, place, question, reply| Some(deals_again(cluster, place, question, reply)),
    );
    assert_eq!(leader.progress().phase, LeaderPhase::Completed);
    let told = leader.exclusions();
    assert_eq!((told.len(), told[0].member), (1, 2), "{told:?}");
    assert_eq!(told[0].grounds.code(), "complaint");
    cluster.assert_one_result();
}

#[test]
fn two_deals_shown_to_two_leaders_convict_their_dealer() {
    let mut cluster = Cluster::with_absent(3, 5, 1, 501);
    // All have acknowledged under the first leader, which then vanishes.
    let (mut acceptances, mut dealt, mut second) = (Vec::new(), None, None);
    let mut stop = false;
    let effects = cluster.leader.poll(cluster.now);
    let mut queue: std::collections::VecDeque<_> = cluster.carry_out(effects).into();
    while let Some((to, message)) = queue.pop_front() {
        if let Message::Begin {
            acceptances: all, ..
        } = &message
        {
            acceptances.clone_from(all);
        }
        stop |= matches!(message, Message::Acknowledgements { .. });
        if stop {
            continue;
        }
        let (place, from) = (cluster.index_of(&to), cluster.leader_id());
        let reply = cluster.nodes[place].serve(&from, message, &mut cluster.rng);
        if let (CHEAT, Message::Dealt { deal, .. }) = (place, &reply) {
            dealt = Some(deal.clone());
        }
        let effects = cluster.leader.handle_reply(&to, &reply, cluster.now);
        queue.extend(cluster.carry_out(effects));
    }
    let first = dealt.unwrap();
    cluster.now += 4 * u64::from(dkg::DEFAULT_PATIENCE_S);
    let leader = lead(
        &mut cluster,
        SUCCESSOR,
        &[],
        |cluster, place, question, reply| {
            Some(match (place, question) {
                (CHEAT, Message::Begin { attempt: 1, .. }) => {
                    let secret = encryption_secret(cluster.nodes[CHEAT].state());
                    let (proposal, index) = (&cluster.proposal, index(CHEAT));
                    let mut dealer = Dealer::new(proposal, &acceptances, index, secret, 7);
                    let deal = Box::new(dealer.finish(&cluster.nodes[CHEAT].local.identity));
                    second = Some(deal.clone());
                    Message::Dealt {
                        ceremony: cluster.proposal.id(),
                        attempt: 1,
                        deal,
                    }
                }
                // It does not convict itself.
                (CHEAT, _) => Message::Pending {
                    ceremony: cluster.proposal.id(),
                },
                _ => reply,
            })
        },
    );
    assert_eq!(leader.progress().phase, LeaderPhase::Completed);
    // Its two signatures convict it, whoever looks: the deal that it gave the first leader, and that which it gave the second.
    let [left_out] = leader.exclusions() else {
        panic!("{:?}", leader.exclusions())
    };
    assert_eq!(left_out.member, index(CHEAT));
    let Grounds::TwoDeals(both) = &left_out.grounds else {
        panic!("{:?}", left_out.grounds)
    };
    assert_eq!((both.attempt, &both.acceptances), (1, &acceptances));
    assert_ne!(both.first, both.second);
    let mut signed = [&both.first, &both.second];
    signed.sort_by_key(|header| **header != first.header);
    assert_eq!(*signed[0], first.header, "the deal of its own machine");
    assert_eq!(*signed[1], second.unwrap().header);
    let fault = left_out.verify(&cluster.proposal).unwrap().unwrap();
    assert_eq!(fault.code(), "two-deals");
    // It convicts nobody else, and not for another ceremony.
    for member in (1..=5).filter(|member| *member != index(CHEAT)) {
        let of_another = Exclusion {
            member,
            ..left_out.clone()
        };
        assert!(of_another.verify(&cluster.proposal).is_err());
    }
    assert!(
        left_out
            .verify(&Cluster::with_absent(3, 5, 1, 499).proposal)
            .is_err()
    );
    cluster.assert_one_result();
    for place in [0, VICTIM, SUCCESSOR, 4] {
        assert_eq!(cluster.nodes[place].activations, 1);
        let told = cluster.nodes[place].member.exclusions();
        assert_eq!(
            told,
            std::slice::from_ref(left_out),
            "{place} has checked it"
        );
    }
    assert!(cluster.nodes[CHEAT].key.is_none());
}

#[test]
fn evidence_reaches_all_also_when_no_attempt_follows() {
    let (cluster, _) = cheated(502, 0, "none");
    cluster.assert_failed_by(CHEAT, "deal-share");
    for place in [0, VICTIM, 3, 4] {
        let [told] = cluster.nodes[place].member.accused() else {
            panic!("{:?}", cluster.nodes[place].member.accused())
        };
        assert_eq!(
            (told.member, told.grounds.code()),
            (index(CHEAT), "complaint")
        );
        assert_eq!(
            told.verify(&cluster.proposal).unwrap().unwrap().code(),
            "deal-share"
        );
        // Also after a restart.
        let state = cluster.nodes[place].disk.as_ref().unwrap();
        let member = dkg::Member::restore(cluster.nodes[place].local.clone(), state).unwrap();
        assert_eq!(member.accused().len(), 1);
    }
    assert_eq!(cluster.leader.accused().len(), 1);
}

#[test]
fn attempts_with_disjoint_members_are_two_keys_that_each_of_their_members_holds() {
    // Two of four may be absent, which leaves fewer than 2t − 1: each half takes the other for dead.
    let mut cluster = Cluster::with_absent(2, 4, 2, 503);
    cluster.run_lossy(|_, place, message, reply| {
        (place < 2
            || matches!(
                message,
                Message::Propose { .. } | Message::Begin { attempt: 1, .. }
            ))
        .then_some(reply)
    });
    cluster.now += 10;
    let leader = lead(&mut cluster, 2, &[0, 1], |_, _, _, reply| Some(reply));
    assert_eq!(leader.progress().phase, LeaderPhase::Completed);
    let key = |place: usize| cluster.nodes[place].key.as_ref().unwrap().package.clone();
    assert_eq!((key(0), key(2)), (key(1), key(3)));
    assert_ne!(key(0), key(2));
    for node in &cluster.nodes {
        let key = node.key.as_ref().unwrap();
        key.share.check(&key.package).unwrap();
        assert_eq!(node.activations, 1);
    }
}

#[test]
fn a_leader_that_stands_still_loses_the_lead_though_it_asks() {
    let (mut cluster, _) = cheated(504, 1, "deals");
    let (ceremony, from) = (cluster.proposal.id(), cluster.leader_id());
    let patience = u64::from(dkg::DEFAULT_PATIENCE_S);
    let mut now = NOW;
    let mut turn = u64::MAX;
    while now < turn {
        let ping = Message::Leading {
            waiting: Vec::new(),
            attempt: 1,
            ceremony,
        };
        let member = &mut cluster.nodes[CHEAT].member;
        let _ = member.handle(&from, ping, now, &mut cluster.rng).unwrap();
        turn = member.takes_over_at(now).unwrap();
        now += 20;
        assert!(now < NOW + 6 * patience, "it never ends");
    }
    assert!(now >= NOW + 4 * patience);
}
