//! Honest members that are lied to by leaders, one after the other: they are not blamed for it, and whoever says so without end is.

use curve25519_dalek::Scalar;
use dkg::{Acceptance, Exclusion, Fault, Grounds, LeaderPhase, MemberStage, Message};

use crate::cluster::{Cluster, NOW};
use crate::succession::lead;
use crate::sums::shifted;

/// 0-based. The proposal's leader lies, and so does the next in the circle; two fewer than three.
const FIRST: usize = 0;
const SECOND: usize = 1;
const VICTIM: usize = 2;
const HONEST: usize = 3;
const PATIENCE: u64 = dkg::DEFAULT_PATIENCE_S as u64;

/// The first leader tells the victim sums that fit its share alone, S + x·(x − j), and has it confirm them. Then it leads no more.
fn misled(seed: u64) -> (Cluster, Vec<Acceptance>) {
    let mut cluster = Cluster::with_absent(3, 5, 1, seed);
    let j = Scalar::from(VICTIM as u64 + 1);
    let mut acceptances = Vec::new();
    let effects = cluster.leader.poll(cluster.now);
    let mut queue: std::collections::VecDeque<_> = cluster.carry_out(effects).into();
    while let Some((to, mut message)) = queue.pop_front() {
        let (place, from) = (cluster.index_of(&to), cluster.leader_id());
        let asks_to_confirm = matches!(message, Message::Acknowledgements { .. });
        match &mut message {
            Message::Begin {
                acceptances: all, ..
            } => acceptances.clone_from(all),
            Message::Deals { sums, .. } if place == VICTIM => {
                *sums = shifted(sums, &[Scalar::ZERO, -j, Scalar::ONE]).into();
            }
            _ => {}
        }
        if asks_to_confirm && place != VICTIM {
            continue;
        }
        let reply = cluster.nodes[place].serve(&from, message, &mut cluster.rng);
        if !asks_to_confirm {
            let effects = cluster.leader.handle_reply(&to, &reply, cluster.now);
            queue.extend(cluster.carry_out(effects));
        }
    }
    assert_eq!(cluster.nodes[VICTIM].member.stage(), MemberStage::Confirmed);
    (cluster, acceptances)
}

/// One asks another, now.
fn ask(cluster: &mut Cluster, from: usize, to: usize, message: Message) -> Result<Message, Fault> {
    let from = cluster.nodes[from].card.identity;
    let (now, rng) = (cluster.now, &mut cluster.rng);
    let node = &mut cluster.nodes[to];
    let mut output = node.member.handle(&from, message, now, rng)?;
    node.write(&mut output);
    Ok(output.reply)
}

fn led_by(cluster: &Cluster, place: usize) -> usize {
    let leader = cluster.nodes[place].member.led_by().unwrap();
    cluster.index_of(&leader.identity)
}

/// An honest leader finds the victim with a result that comes to nothing, and begins anew. The second liar, which stands before it, has the victim begin
/// an attempt that nobody else is in, and falls silent: the victim can neither follow the honest one, nor hear it for a while.
#[test]
fn who_is_misled_by_two_leaders_in_a_row_is_not_blamed() {
    let (mut cluster, acceptances) = misled(980);
    cluster.now = cluster.nodes[HONEST].member.takes_over_at(NOW).unwrap();
    let (mut said, mut lied_to_at) = (Vec::new(), None);
    let leader = lead(
        &mut cluster,
        HONEST,
        &[],
        |cluster, place, question, reply| {
            if place == VICTIM {
                let code = match &reply {
                    Message::Refused { code, .. } => code.clone(),
                    other => other.name().to_owned(),
                };
                said.push((question.attempt(), code));
                let dealt = matches!(
                    (question, &reply),
                    (Message::Begin { attempt: 2, .. }, Message::Dealt { .. })
                );
                if dealt && lied_to_at.is_none() {
                    let begin = Message::Begin {
                        attempt: 3,
                        ceremony: cluster.proposal.id(),
                        excluded: vec![Exclusion {
                            member: 5,
                            grounds: Grounds::Silent,
                        }],
                        acceptances: acceptances[..4].to_vec(),
                    };
                    let answer = ask(cluster, SECOND, VICTIM, begin).unwrap();
                    assert!(matches!(answer, Message::Dealt { attempt: 3, .. }));
                    lied_to_at = Some(cluster.now);
                }
            }
            Some(reply)
        },
    );
    let heard = |attempt, code: &str| said.contains(&(Some(attempt), code.to_owned()));
    assert!(heard(1, "false-sums"), "{said:?}");
    assert!(heard(2, "begun"), "{said:?}");
    assert!(heard(4, "not-the-leader"), "{said:?}");
    assert_eq!(leader.progress().phase, LeaderPhase::Completed);
    assert!(
        leader.exclusions().is_empty(),
        "nobody did anything that is seen"
    );
    assert!(cluster.now >= lied_to_at.unwrap() + PATIENCE);
    cluster.assert_one_result();
    for node in &cluster.nodes {
        assert_eq!((node.activations, node.member.attempt()), (1, Some(4)));
    }
}

/// A liar that stands before the leader has the victim follow it, and falls silent: what is left of its patience is longer than the leader's.
#[test]
fn who_follows_another_for_a_while_is_not_left_out_as_silent() {
    let mut cluster = Cluster::with_absent(3, 5, 1, 981);
    // All have dealt under the first leader, which then vanishes.
    let effects = cluster.leader.poll(cluster.now);
    let mut queue: std::collections::VecDeque<_> = cluster.carry_out(effects).into();
    while let Some((to, message)) = queue.pop_front() {
        let (place, from) = (cluster.index_of(&to), cluster.leader_id());
        let reply = cluster.nodes[place].serve(&from, message.clone(), &mut cluster.rng);
        if matches!(message, Message::Begin { .. }) {
            continue;
        }
        let effects = cluster.leader.handle_reply(&to, &reply, cluster.now);
        queue.extend(cluster.carry_out(effects));
    }
    cluster.now = cluster.nodes[HONEST].member.takes_over_at(NOW).unwrap();
    let mut lied_to = false;
    let leader = lead(
        &mut cluster,
        HONEST,
        &[],
        |cluster, place, question, reply| {
            if place == VICTIM && matches!(question, Message::Deals { .. }) && !lied_to {
                lied_to = true;
                let leading = Message::Leading {
                    attempt: 1,
                    ceremony: cluster.proposal.id(),
                    waiting: Vec::new(),
                };
                ask(cluster, SECOND, VICTIM, leading).unwrap();
                assert_eq!(led_by(cluster, VICTIM), SECOND);
            }
            Some(reply)
        },
    );
    assert!(lied_to);
    assert_eq!(leader.progress().phase, LeaderPhase::Completed);
    assert!(leader.exclusions().is_empty(), "{:?}", leader.exclusions());
    for node in &cluster.nodes {
        assert_eq!((node.activations, node.member.attempt()), (1, Some(1)));
    }
}

/// Whoever led to a result that comes to nothing does not come back by its place.
#[test]
fn a_leader_that_misled_a_member_once_is_not_followed_again_while_another_leads() {
    let (mut cluster, acceptances) = misled(982);
    cluster.now = cluster.nodes[HONEST].member.takes_over_at(NOW).unwrap();
    let ceremony = cluster.proposal.id();
    let begin = Message::Begin {
        attempt: 2,
        ceremony,
        excluded: Vec::new(),
        acceptances,
    };
    let leading = Message::Leading {
        attempt: 2,
        ceremony,
        waiting: Vec::new(),
    };
    // One that has confirmed nothing lets it come back: it may have been cut off.
    for (place, expected) in [(VICTIM, HONEST), (4, FIRST)] {
        let answer = ask(&mut cluster, HONEST, place, begin.clone()).unwrap();
        assert!(matches!(answer, Message::Dealt { attempt: 2, .. }));
        assert_eq!(led_by(&cluster, place), HONEST);
        let _ = ask(&mut cluster, FIRST, place, leading.clone());
        assert_eq!(led_by(&cluster, place), expected);
    }
    // When the honest one is gone, it is heard like anybody else in the end.
    cluster.now += 7 * PATIENCE + 60;
    let _ = ask(&mut cluster, FIRST, VICTIM, leading);
    assert_eq!(led_by(&cluster, VICTIM), FIRST);
}

/// One that is told true sums and says that they are false is believed as often as there may be liars, and once more.
#[test]
fn who_says_without_end_that_it_is_lied_to_is_left_out() {
    let mut cluster = Cluster::with_absent(3, 5, 1, 983);
    cluster.run_lossy(|_, place, message, reply| {
        Some(match (place, message) {
            (SECOND, Message::Deals { .. }) => Message::refusal(message.about(), &Fault::FalseSums),
            _ => reply,
        })
    });
    cluster.assert_completed_without(&[SECOND]);
    let [left_out] = cluster.leader.exclusions() else {
        panic!("{:?}", cluster.leader.exclusions())
    };
    assert_eq!(left_out.grounds.code(), "false-sums");
    // Three times it was believed.
    assert_eq!(cluster.nodes[VICTIM].member.attempt(), Some(5));
}
