//! Random schedules: messages dropped, doubled, late and out of order; members and the leader crashing in between.
//!
//! Invariants, after every event: whoever activated has the same result, and its share fits it. When the network calms
//! down: the ceremony completes, and every member activated once.

use std::collections::HashMap;

use dkg::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::cluster::{Cluster, Outcome};

struct Network {
    questions: Vec<([u8; 32], Message)>,
    answers: Vec<([u8; 32], Message)>,
}

fn below(rng: &mut StdRng, limit: usize) -> usize {
    (rng.next_u64() % limit as u64) as usize
}

fn run(seed: u64) {
    let mut chance = StdRng::seed_from_u64(seed);
    let members = 1 + below(&mut chance, 5);
    let threshold = u16::try_from(1 + below(&mut chance, members)).unwrap();
    let mut cluster = Cluster::new(threshold, members, 50_000 + seed);
    let mut network = Network {
        questions: Vec::new(),
        answers: Vec::new(),
    };
    let mut certificates: HashMap<Vec<u8>, ()> = HashMap::new();
    let storm = 30 + below(&mut chance, 120);
    for event in 0..storm + 4_000 {
        if matches!(cluster.outcome, Some(Outcome::Completed)) && event > storm {
            break;
        }
        let calm = event > storm;
        let roll = if calm { 40 } else { below(&mut chance, 100) };
        let leader_id = cluster.leader_id();
        if roll < 5 {
            let place = below(&mut chance, members);
            cluster.nodes[place].crash();
        } else if roll < 8 {
            cluster.crash_leader();
        } else if roll < 20 && !network.questions.is_empty() {
            // Lost, and the driver notices.
            let place = below(&mut chance, network.questions.len());
            let (to, _) = network.questions.swap_remove(place);
            cluster.leader.unreachable(&to, cluster.now);
        } else if roll < 28 && !network.answers.is_empty() {
            // An answer twice, one of them later.
            let place = below(&mut chance, network.answers.len());
            let doubled = network.answers[place].clone();
            network.answers.push(doubled);
        } else if roll < 36 && !network.questions.is_empty() {
            let place = below(&mut chance, network.questions.len());
            let doubled = network.questions[place].clone();
            network.questions.push(doubled);
        } else if (roll < 70 || network.answers.is_empty()) && !network.questions.is_empty() {
            let place = below(&mut chance, network.questions.len());
            let (to, message) = network.questions.swap_remove(place);
            let at = cluster.index_of(&to);
            let reply = cluster.nodes[at].serve(&leader_id, message, &mut cluster.rng);
            if let Message::Refused { code, .. } = &reply {
                // A crashed leader asks again, also those that it had not asked before.
                assert!(
                    ["out-of-step", "other-ceremony"].contains(&code.as_str()),
                    "seed {seed}: {code}"
                );
            }
            network.answers.push((to, reply));
        } else if !network.answers.is_empty() {
            let place = below(&mut chance, network.answers.len());
            let (from, reply) = network.answers.swap_remove(place);
            let effects = cluster.leader.handle_reply(&from, &reply, cluster.now);
            let sends = cluster.carry_out(effects);
            network.questions.extend(sends);
        } else {
            cluster.now = cluster
                .leader
                .next_poll()
                .unwrap_or(cluster.now)
                .max(cluster.now + 1);
            if calm {
                // Drivers time out what was lost with a crash.
                for node in 0..members {
                    let identity = cluster.nodes[node].card.identity;
                    cluster.leader.unreachable(&identity, cluster.now);
                }
                cluster.now += 31;
            }
            let effects = cluster.leader.poll(cluster.now);
            let sends = cluster.carry_out(effects);
            network.questions.extend(sends);
        }
        cluster.assert_one_result();
        for node in &cluster.nodes {
            if let Some(key) = &node.key {
                certificates.insert(key.certificate.clone(), ());
            }
        }
    }
    cluster.assert_completed();
    assert_eq!(certificates.len(), 1, "seed {seed}");
}

#[test]
fn any_schedule_ends_with_one_result_for_all() {
    for seed in 0..300 {
        run(seed);
    }
}
