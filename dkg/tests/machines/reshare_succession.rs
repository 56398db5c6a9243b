//! Reshares whose leader vanishes, and which another seat brings to their end.

use std::collections::VecDeque;

use dkg::{Leader, Message, Proposal};
use serde_bytes::ByteBuf;

use crate::world::{Run, World};

/// a and b leave, c and d stay, e and f are new.
const OLD: [&str; 4] = ["a", "b", "c", "d"];
const NEW: [&str; 4] = ["c", "d", "e", "f"];
const STEPS: [&str; 6] = [
    "propose",
    "begin",
    "deals",
    "acknowledgements",
    "hand-over",
    "certificate",
];

/// A reshare up to its leader's first question of a step to somebody else, or its third proposal; from then on nothing is heard of it.
fn left_at(world: &mut World, proposal: Proposal, step: &str) -> Run {
    let leader = world.name_of(proposal.leader());
    let mut run = world.lead(proposal.clone(), proposal.leader());
    let mut queue: VecDeque<_> = {
        let effects = run.leader.poll(world.now);
        run.carry_out(effects).into()
    };
    let mut left = if step == "propose" { 2 } else { 0 };
    while let Some((to, message)) = queue.pop_front() {
        let name = world.name_of(&to);
        if message.name() == step && name != leader {
            if left == 0 {
                return run;
            }
            left -= 1;
        }
        let reply = world.ask(&proposal, &name, &message);
        let effects = run.leader.handle_reply(&to, &reply, world.now);
        queue.extend(run.carry_out(effects));
    }
    panic!("{step} is never asked");
}

/// Whoever's turn comes first takes over.
fn take_over(world: &mut World, run: &mut Run, gone: &str) -> String {
    let (id, now) = (run.id(), world.now);
    let mut turns: Vec<(u64, String)> = Vec::new();
    for (name, node) in &mut world.nodes {
        let turn = node
            .machine_mut(&id)
            .and_then(|machine| machine.takes_over_at(now));
        if name != gone {
            turns.extend(turn.map(|turn| (turn, name.clone())));
        }
    }
    turns.sort();
    assert!(
        turns.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "one turn at a time"
    );
    let (turn, name) = turns.remove(0);
    world.now = turn;
    let machine = world
        .nodes
        .get_mut(&name)
        .unwrap()
        .machine_mut(&id)
        .unwrap();
    run.leader = Leader::take_over(machine, turn).unwrap();
    name
}

/// The successor leads to the end. `gone` answers nothing before `back`.
fn lead_on(world: &mut World, run: &mut Run, successor: &str, gone: &str, back: u64) {
    let from = world.nodes[successor].identity();
    let mut queue = VecDeque::new();
    for _ in 0..5_000 {
        let Some((to, message)) = queue.pop_front() else {
            if run.is_over() {
                return;
            }
            let effects = run.leader.poll(world.now);
            queue.extend(run.carry_out(effects));
            if queue.is_empty() && !run.is_over() {
                world.now = run.leader.next_poll().unwrap().max(world.now + 1);
            }
            continue;
        };
        let name = world.name_of(&to);
        if name == gone && world.now < back {
            run.leader.unreachable(&to, world.now);
            continue;
        }
        let reply = world.ask_from(&from, &run.proposal, &name, &message);
        let reply = Message::from_bytes(&reply.to_bytes()).unwrap();
        let effects = run.leader.handle_reply(&to, &reply, world.now);
        queue.extend(run.carry_out(effects));
    }
    panic!("it does not end: {:?}", run.leader.progress());
}

/// The leader, an old member that leaves or a new one, vanishes for good at each step.
#[test]
fn another_seat_finishes_a_reshare_without_its_leader() {
    for (seed, leader) in (900u64..).zip(["a", "b", "c", "f"]) {
        for step in STEPS {
            let mut world = World::new(seed);
            let base = world.create(2, &OLD);
            let mut terms = world.reshare(&base, 2, &NEW);
            terms.leader = world.nodes[leader].identity();
            terms.may_be_absent = 1;
            if OLD.contains(&leader) {
                let indices = world.old_indices(&terms, &[leader]);
                terms.base.as_mut().unwrap().old_may_be_absent = indices;
            }
            let proposal = Proposal::new(terms, &mut world.rng).unwrap();
            let mut run = left_at(&mut world, proposal, step);
            let successor = take_over(&mut world, &mut run, leader);
            assert_ne!(successor, leader);
            lead_on(&mut world, &mut run, &successor, leader, u64::MAX);
            let result = world.certified(&run).name();
            assert_eq!(
                world.secret(&result),
                world.secret(&base),
                "{leader} {step}"
            );
            let [left_out] = run.leader.exclusions() else {
                panic!("{leader} {step}: {:?}", run.leader.exclusions())
            };
            assert_eq!(
                run.proposal.member(left_out.member).unwrap().identity,
                world.nodes[leader].identity()
            );
            for name in NEW.into_iter().filter(|name| *name != leader) {
                assert!(
                    world.nodes[name].keys.contains_key(&result),
                    "{leader} {step}: {name}"
                );
            }
            for name in OLD.into_iter().filter(|name| *name != leader) {
                let retired = world.nodes[name].retired.iter();
                assert!(
                    retired.map(|one| one.successor).eq([result]),
                    "{leader} {step}: {name}"
                );
            }
        }
    }
}

/// Nobody may be absent: the successor, the next seat in the circle, goes on with the same attempt and waits until the former leader's node is
/// back as a member.
#[test]
fn a_successor_goes_on_with_the_same_attempt_when_nobody_may_be_absent() {
    for step in STEPS {
        let mut world = World::new(910);
        let base = world.create(2, &OLD);
        let mut terms = world.reshare(&base, 2, &NEW);
        terms.leader = world.nodes["b"].identity();
        let proposal = Proposal::new(terms, &mut world.rng).unwrap();
        let seats = proposal.seats().len();
        let mut run = left_at(&mut world, proposal, step);
        let successor = take_over(&mut world, &mut run, "b");
        let seat = |name: &str| {
            let identity = world.nodes[name].identity();
            usize::from(run.proposal.index_of(&identity).unwrap())
        };
        if step != "propose" {
            assert_eq!(seat(&successor), seat("b") % seats + 1, "{step}");
        }
        let back = world.now + 1_000;
        lead_on(&mut world, &mut run, &successor, "b", back);
        let result = world.certified(&run).name();
        assert_eq!((result.epoch, result.attempt), (1, 1), "{step}");
        assert_eq!(world.secret(&result), world.secret(&base));
        assert!(run.leader.exclusions().is_empty());
        for name in NEW {
            assert!(
                world.nodes[name].keys.contains_key(&result),
                "{step}: {name}"
            );
        }
        for name in OLD {
            assert_eq!(world.nodes[name].retired.len(), 1, "{step}: {name}");
        }
    }
}

/// A leader shows an old member that leaves false sums and vanishes. That member has confirmed a result that nobody else has; under the next
/// leader another attempt follows, and nobody is blamed.
#[test]
fn false_sums_told_to_who_leaves_cost_an_attempt_and_blame_nobody() {
    let mut world = World::new(920);
    let base = world.create(2, &OLD);
    let mut terms = world.reshare(&base, 2, &NEW);
    terms.leader = world.nodes["b"].identity();
    let proposal = Proposal::new(terms, &mut world.rng).unwrap();
    let mut run = left_at(&mut world, proposal, "hand-over");
    let mut effects = Leader::restore(run.disk.as_ref().unwrap())
        .unwrap()
        .poll(world.now);
    let a = world.nodes["a"].identity();
    let question = run
        .carry_out(std::mem::take(&mut effects))
        .into_iter()
        .find(|(to, message)| *to == a && message.name() == "hand-over");
    let Some((
        _,
        Message::HandOver {
            attempt,
            sums,
            acknowledgements,
            ceremony,
        },
    )) = question
    else {
        panic!("a is asked to hand over")
    };
    let mut false_sums = sums.into_vec();
    let (first, second) = false_sums.split_at_mut(32);
    second.copy_from_slice(first);
    let lie = Message::HandOver {
        attempt,
        sums: ByteBuf::from(false_sums),
        acknowledgements,
        ceremony,
    };
    let proposal = run.proposal.clone();
    let answer = world.ask(&proposal, "a", &lie);
    assert!(matches!(answer, Message::Confirmed { .. }), "{answer:?}");
    let successor = take_over(&mut world, &mut run, "b");
    let back = world.now + 10;
    lead_on(&mut world, &mut run, &successor, "b", back);
    let result = world.certified(&run).name();
    assert_eq!((result.epoch, result.attempt), (1, 2));
    assert_eq!(world.secret(&result), world.secret(&base));
    assert!(run.leader.exclusions().is_empty());
}
