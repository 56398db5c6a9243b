//! Key generation: one member's whole work, this project's beside frost-core's.
//!
//! Ours: every answer of one member from the proposal to the activated key, as its leader asks. frost-core's: `part1`, `part2`
//! and `part3` with every other participant's packages.

use std::collections::BTreeMap;
use std::hint::black_box;

use dkg::{
    Leader, LeaderEffect, LocalNode, Member, MemberIdentity, MemberStage, Message, Proposal,
    RecoveryPhrase, Terms,
};
use frost_ristretto255::Identifier;
use frost_ristretto255::keys::dkg::{part1, part2, part3, round1, round2};
use rand_core_06::OsRng;

use crate::samples::Operation;

const NOW: u64 = 1_800_000_000;
const MEMBER: &str = "one member's key generation";

/// One operation of each.
pub fn operations(members: u16, threshold: u16) -> Vec<Operation> {
    vec![ours(members, threshold), frost(members, threshold)]
}

fn ours(members: u16, threshold: u16) -> Operation {
    let (local, leader, steps) = record(members, threshold);
    Operation::prepared(
        MEMBER,
        "dkg (this project)",
        move || -> Vec<(Member, Message)> {
            // The member's state at each question: the questions are those of a ceremony that was played before.
            let before = |state: &Option<Vec<u8>>| match state {
                Some(state) => Member::restore(local.clone(), state).unwrap(),
                None => Member::new(local.clone()),
            };
            steps
                .iter()
                .map(|(state, question)| (before(state), question.clone()))
                .collect()
        },
        move |steps| {
            let rng = &mut rand::rng();
            for (mut member, question) in steps {
                member.handle(&leader, question, NOW, rng).unwrap();
                if member.stage() == MemberStage::Proposed {
                    member.accept(NOW, rng).unwrap();
                }
                black_box(&member);
            }
        },
    )
}

type Step = (Option<Vec<u8>>, Message);

/// A whole ceremony, of which member 2's questions are kept.
fn record(members: u16, threshold: u16) -> (LocalNode, [u8; 32], Vec<Step>) {
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
        leader: leader_id,
        created: NOW,
        expires: NOW + 3600,
        may_be_absent: 0,
        base: None,
        allow_few_members: true,
        software: "bench".to_owned(),
    };
    let proposal = Proposal::new(terms, rng).unwrap();
    let mut leader = Leader::new(proposal, &nodes[0].0.identity, NOW).unwrap();
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
    (nodes.swap_remove(1).0, leader_id, steps)
}

fn frost(members: u16, threshold: u16) -> Operation {
    let identifiers: Vec<Identifier> = (1..=members)
        .map(|i| Identifier::try_from(i).unwrap())
        .collect();
    let me = identifiers[0];
    let mut secrets = BTreeMap::new();
    let mut first: BTreeMap<Identifier, round1::Package> = BTreeMap::new();
    for id in &identifiers {
        let (secret, package) = part1(*id, members, threshold, OsRng).unwrap();
        secrets.insert(*id, secret);
        first.insert(*id, package);
    }
    let without = |id: &Identifier| {
        let mut others = first.clone();
        others.remove(id);
        others
    };
    // What the others send to us, and our own secret: the packages are of a run that was played before.
    let mut second: BTreeMap<Identifier, round2::Package> = BTreeMap::new();
    for (id, secret) in secrets.iter().filter(|(id, _)| **id != me) {
        let (_, mut packages) = part2(secret.clone(), &without(id)).unwrap();
        second.insert(*id, packages.remove(&me).unwrap());
    }
    let (mine, others) = (secrets.remove(&me).unwrap(), without(&me));
    Operation::prepared(
        MEMBER,
        "frost-core 3 (ristretto255)",
        move || mine.clone(),
        move |mine| {
            // part1 is measured with a secret of its own; the later parts need the one that the others answered.
            black_box(part1(me, members, threshold, OsRng).unwrap());
            let (kept, _) = part2(mine, &others).unwrap();
            black_box(part3(&kept, &others, &second).unwrap());
        },
    )
}
