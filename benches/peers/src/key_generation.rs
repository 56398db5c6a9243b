//! Key generation: one member's whole work, this project's beside frost-core's.
//!
//! Ours: every answer of one member from the proposal to the activated key, as its leader asks. frost-core's: `part1`, `part2`
//! and `part3` with every other participant's packages.

use std::collections::BTreeMap;
use std::hint::black_box;

use ceremonies::{NOW, Recorded, record};
use dkg::{Member, MemberStage, Message};
use frost_ristretto255::Identifier;
use frost_ristretto255::keys::dkg::{part1, part2, part3, round1, round2};
use rand_core_06::OsRng;

use crate::samples::Operation;

const MEMBER: &str = "one member's key generation";

/// One operation of each.
pub fn operations(members: u16, threshold: u16) -> Vec<Operation> {
    vec![ours(members, threshold), frost(members, threshold)]
}

fn ours(members: u16, threshold: u16) -> Operation {
    let Recorded {
        local,
        known,
        leader,
        steps,
    } = record(members, threshold, 3).unwrap();
    Operation::prepared(
        MEMBER,
        "dkg (this project)",
        move || -> Vec<(Member, Message)> {
            // The member's state at each question: the questions are those of a ceremony that was played before.
            let before = |state: &Option<Vec<u8>>| match state {
                Some(state) => Member::restore(local.clone(), state).unwrap(),
                None => Member::new(local.clone()).with_known(known.clone()),
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
