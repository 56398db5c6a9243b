//! One member's CPU in a key generation, with every deal relayed whole: all its answers from the proposal to the activated
//! key, without the network and without the leader.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use dkg::{
    Leader, LeaderEffect, LocalNode, Member, MemberIdentity, MemberStage, Message, Proposal,
    RecoveryPhrase, Terms,
};

const NOW: u64 = 1_800_000_000;

struct Recorded {
    local: LocalNode,
    leader: [u8; 32],
    /// The member's state before each question, and the question.
    steps: Vec<(Option<Vec<u8>>, Message)>,
}

/// A whole ceremony, of which member 2's questions are kept.
fn record(members: u16, threshold: u16) -> Recorded {
    let rng = &mut rand::rng();
    let mut nodes: Vec<(LocalNode, MemberIdentity)> = (0..members)
        .map(|place| {
            let keys = RecoveryPhrase::generate(rng).node_keys();
            let card = MemberIdentity {
                name: format!("node-{place}"),
                identity: keys.identity.verifying_key().to_bytes(),
                recovery_public: *keys.recovery_public.as_bytes(),
                address: "localhost:7700".to_owned(),
            };
            let local = LocalNode {
                identity: keys.identity,
                recovery_public: keys.recovery_public,
                policy_hash: [7; 32],
            };
            (local, card)
        })
        .collect();
    nodes.sort_by_key(|(_, card)| card.identity);
    let leader_id = nodes[0].1.identity;
    let terms = Terms {
        threshold,
        policy_hash: [7; 32],
        members: nodes.iter().map(|(_, card)| card.clone()).collect(),
        base: None,
        leader: leader_id,
        created: NOW,
        expires: NOW + 3600,
        may_be_absent: 0,
        allow_few_members: true,
        software: "bench".to_owned(),
    };
    let mut leader = Leader::new(
        Proposal::new(terms, rng).unwrap(),
        &nodes[0].0.identity,
        NOW,
    )
    .unwrap();
    let mut machines: Vec<Member> = nodes
        .iter()
        .map(|(local, _)| Member::new(local.clone()))
        .collect();
    let (mut state, mut steps) = (None, Vec::new());
    let mut queue = leader.poll(NOW);
    while !queue.is_empty() {
        for effect in std::mem::take(&mut queue) {
            let LeaderEffect::Send { to, message } = effect else {
                continue;
            };
            let place = nodes
                .iter()
                .position(|(_, card)| card.identity == to)
                .unwrap();
            if place == 1 {
                steps.push((state.clone(), message.clone()));
            }
            let mut output = machines[place]
                .handle(&leader_id, message, NOW, rng)
                .unwrap();
            if machines[place].stage() == MemberStage::Proposed {
                output = machines[place].accept(NOW, rng).unwrap();
            }
            if place == 1 {
                state = output.persist.map(|state| state.to_vec());
            }
            queue.extend(leader.handle_reply(&to, &output.reply, NOW));
        }
    }
    assert_eq!(machines[1].stage(), MemberStage::Activated);
    Recorded {
        local: nodes.swap_remove(1).0,
        leader: leader_id,
        steps,
    }
}

fn ceremony(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one member of a key generation");
    group.sample_size(10);
    for (members, threshold) in [(5, 3), (16, 11), (64, 43)] {
        let recorded = record(members, threshold);
        let name =
            |step: &str| BenchmarkId::new(step.to_owned(), format!("{threshold} of {members}"));
        for (state, question) in &recorded.steps {
            let fresh = || match state {
                Some(state) => Member::restore(recorded.local.clone(), state).unwrap(),
                None => Member::new(recorded.local.clone()),
            };
            group.bench_function(name(question.name()), |bencher| {
                bencher.iter_batched(
                    || (fresh(), question.clone()),
                    |(mut member, question)| {
                        let rng = &mut rand::rng();
                        member.handle(&recorded.leader, question, NOW, rng).unwrap();
                        if member.stage() == MemberStage::Proposed {
                            member.accept(NOW, rng).unwrap();
                        }
                    },
                    BatchSize::LargeInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, ceremony);
criterion_main!(benches);
