//! Crashes at every step: of each member before and after each write, of the leader after each effect.

use dkg::{Leader, LocalNode, Member, MemberStage, Message, StateError};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::cluster::{Cluster, NOW, Node, Step};

#[test]
fn every_question_gets_the_same_bytes_again_also_after_a_restart() {
    let mut cluster = Cluster::new(2, 3, 1);
    let mut earlier: Vec<Vec<(Message, Message)>> = vec![Vec::new(); 3];
    let mut asked: Option<Message> = None;
    let rng = &mut StdRng::seed_from_u64(77);
    cluster.run_with(|cluster, step| match step {
        Step::Question(_, message) => asked = Some(message.clone()),
        Step::Answer(place, reply) => {
            let from = cluster.leader_id();
            earlier[place].push((asked.take().unwrap(), reply.clone()));
            for restart in [false, true] {
                if restart {
                    cluster.nodes[place].crash();
                }
                // All questions so far, those of earlier steps included.
                for (question, answer) in &earlier[place] {
                    let before = cluster.nodes[place].disk.clone();
                    let again = cluster.nodes[place].serve(&from, question.clone(), rng);
                    assert_eq!(again.to_bytes(), answer.to_bytes());
                    assert_eq!(
                        cluster.nodes[place].disk, before,
                        "a repeated question writes nothing"
                    );
                }
            }
        }
    });
    cluster.assert_completed();
    assert!(earlier.iter().all(|questions| questions.len() == 5));
}

/// How a member dies at its k-th turn.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Death {
    BeforeWriting,
    AfterWriting,
}

#[test]
fn a_member_killed_at_any_turn_comes_back_and_the_ceremony_completes() {
    let members = 3;
    for death in [Death::BeforeWriting, Death::AfterWriting] {
        for turn in 0..5 * members {
            let mut cluster = Cluster::new(2, members, 2);
            let mut count = 0;
            let effects = cluster.leader.poll(cluster.now);
            let mut queue = cluster.carry_out(effects);
            while !cluster.is_over() {
                let Some((to, message)) = (!queue.is_empty()).then(|| queue.remove(0)) else {
                    cluster.now = cluster.leader.next_poll().unwrap();
                    let effects = cluster.leader.poll(cluster.now);
                    queue = cluster.carry_out(effects);
                    continue;
                };
                let (place, from) = (cluster.index_of(&to), cluster.leader_id());
                count += 1;
                if count == turn + 1 {
                    let node = &mut cluster.nodes[place];
                    let mut output = node.answer(&from, message, &mut cluster.rng).unwrap();
                    if death == Death::AfterWriting {
                        node.write(&mut output);
                    }
                    node.crash();
                    cluster.leader.unreachable(&to, cluster.now);
                    continue;
                }
                let reply = cluster.nodes[place].serve(&from, message, &mut cluster.rng);
                let effects = cluster.leader.handle_reply(&to, &reply, cluster.now);
                queue.extend(cluster.carry_out(effects));
            }
            cluster.assert_completed();
        }
    }
}

#[test]
fn a_leader_killed_after_any_effect_goes_on() {
    let (members, mut turn, mut finished) = (3, 0, false);
    while !finished {
        let mut cluster = Cluster::new(2, members, 3);
        let mut handled = 0;
        let effects = cluster.leader.poll(cluster.now);
        let mut queue = cluster.carry_out(effects);
        finished = true;
        loop {
            if handled == turn && !cluster.is_over() {
                finished = false;
                handled += 1;
                cluster.crash_leader();
                queue.clear();
                let effects = cluster.leader.poll(cluster.now);
                queue = cluster.carry_out(effects);
            }
            let Some((to, message)) = (!queue.is_empty()).then(|| queue.remove(0)) else {
                break;
            };
            let (place, from) = (cluster.index_of(&to), cluster.leader_id());
            let reply = cluster.nodes[place].serve(&from, message, &mut cluster.rng);
            handled += 1;
            let effects = cluster.leader.handle_reply(&to, &reply, cluster.now);
            queue.extend(cluster.carry_out(effects));
        }
        cluster.assert_completed();
        turn += 1;
    }
    assert!(turn > 15);
}

#[test]
fn a_restored_leader_reports_its_outcome_again() {
    let mut cluster = Cluster::new(2, 3, 4);
    cluster.run();
    cluster.crash_leader();
    cluster.outcome = None;
    cluster.run();
    cluster.assert_completed();

    let mut cluster = Cluster::new(2, 3, 5);
    let rejected = cluster.nodes[1].card.name.clone();
    cluster.run_with(|cluster, step| {
        if let Step::Answer(1, reply @ Message::Accepted { .. }) = step {
            *reply = cluster.nodes[1].member.reject("no").unwrap().reply;
        }
    });
    let sentence = cluster.culprits()[0].1.to_string();
    cluster.crash_leader();
    cluster.outcome = None;
    cluster.run();
    let (name, fault) = cluster.culprits().remove(0);
    assert_eq!((name, fault.to_string()), (rejected, sentence));
}

/// All states that a ceremony leaves on the disks, with false sums for one member.
fn states() -> (Cluster, Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut cluster = Cluster::new(2, 3, 6);
    let (mut members, mut leaders) = (Vec::new(), Vec::new());
    cluster.run_with(|cluster, step| {
        if let Step::Question(1, Message::Deals { sums, .. }) = step {
            sums.reverse();
        }
        members.extend(cluster.nodes[1].disk.clone());
        leaders.extend(cluster.leader_disk.clone());
    });
    leaders.extend(cluster.leader_disk.clone());
    members.dedup();
    leaders.dedup();
    (cluster, members, leaders)
}

#[test]
fn a_damaged_state_is_refused_and_never_panics() {
    let (cluster, members, leaders) = states();
    let local: &LocalNode = &cluster.nodes[1].local;
    assert_eq!((members.len(), leaders.len()), (6, 6));
    for (state, step) in members
        .iter()
        .map(|state| (state, 11))
        .chain(leaders.iter().map(|state| (state, 97)))
    {
        for length in (0..state.len()).step_by(step).chain([state.len() - 1]) {
            assert!(Member::restore(local.clone(), &state[..length]).is_err());
            assert!(Leader::restore(&state[..length]).is_err());
        }
        for place in (0..state.len()).step_by(step) {
            let mut altered = state.clone();
            altered[place] ^= 0x40;
            let _ = Member::restore(local.clone(), &altered);
            let _ = Leader::restore(&altered);
        }
        let longer = [state.as_slice(), &[0]].concat();
        assert!(
            Member::restore(local.clone(), &longer).is_err() && Leader::restore(&longer).is_err()
        );
    }
    let other = Node::new("other", 1234);
    assert!(matches!(
        Member::restore(other.local.clone(), &members[0]),
        Err(StateError::OtherNode)
    ));
    assert!(matches!(
        Member::restore(local.clone(), &[9, 9]),
        Err(StateError::Version(9))
    ));
    assert!(matches!(
        Member::restore(local.clone(), &[]),
        Err(StateError::Damaged)
    ));
}

#[test]
fn secrets_are_gone_from_the_state_when_the_ceremony_is_decided() {
    let (cluster, members, _) = states();
    let key = cluster.nodes[1].key.as_ref().unwrap();
    let share = key.share.secret().to_bytes();
    let holds_share = |state: &[u8]| state.windows(32).any(|window| window == share.as_slice());
    // Flags: bit 0 for the encryption secret, bit 1 for the share.
    let flags: Vec<u8> = members.iter().map(|state| state[1]).collect();
    assert_eq!(flags, [1, 1, 1, 3, 3, 0]);
    assert!(holds_share(&members[3]) && holds_share(&members[4]) && !holds_share(&members[5]));
    for state in members.iter().take(4) {
        let mut member = Member::restore(cluster.nodes[1].local.clone(), state).unwrap();
        let erased = member.reject("changed my mind").unwrap().persist.unwrap();
        assert_eq!(erased[1], 0);
        let encryption = &state[2..34];
        assert!(!erased.windows(32).any(|window| window == encryption));
        assert_eq!(
            Member::restore(cluster.nodes[1].local.clone(), &erased)
                .unwrap()
                .stage(),
            MemberStage::Closed
        );
        let mut member = Member::restore(cluster.nodes[1].local.clone(), state).unwrap();
        assert_eq!(member.expire(NOW + 3600).unwrap()[1], 0);
    }
}
