//! Results of a reshare that nobody follows any more: their shares are forgotten when the greater one's overlap is over, and no others.

use dkg::{BaseName, Leader, Member, MemberStage, Message, Proposal, ResultName};

use crate::false_leader::FalseLeader;
use crate::reshare_histories::{show, withhold};
use crate::world::World;

const OLD: [&str; 4] = ["a", "b", "c", "d"];

fn of_key(world: &World, result: ResultName) -> BaseName {
    let holder = world
        .nodes
        .values()
        .find_map(|node| node.keys.values().next());
    BaseName {
        public_key: *holder.unwrap().package.public_key().as_bytes(),
        result,
    }
}

/// The node's driver, when an overlap is over. Whether anything was forgotten.
fn forget(world: &mut World, name: &str, id: &[u8; 16], newest: &BaseName) -> bool {
    let node = world.nodes.get_mut(name).unwrap();
    let state = node.machine_mut(id).unwrap().forget_below(newest);
    if let Some(state) = &state {
        node.disks.insert(*id, state.to_vec());
        // What was written is what there is.
        node.crash();
        let restored = Member::restore(node.local.clone(), state).unwrap();
        assert!(!restored.holds_secrets());
    }
    state.is_some()
}

#[test]
fn a_share_of_an_overtaken_proposal_is_forgotten_and_no_earlier() {
    let mut world = World::new(900);
    let base = world.create(2, &OLD);
    let secret = world.secret(&base);
    let first = world.reshare(&base, 2, &["a", "b", "p"]);
    let mut second = world.reshare(&base, 2, &["a", "b", "c", "q"]);
    let (mut withheld, certificate) = withhold(&mut world, first);
    let id = withheld.id();
    second.base.as_mut().unwrap().attempts_after = 1;
    let mut run = world.propose(second);
    world.run(&mut run, |_, _, _| {});
    let result = world.certified(&run).name();
    for name in OLD {
        let node = &world.nodes[name];
        assert!(node.machine(&id).holds_secrets(), "{name}");
        assert_eq!(node.machine(&id).stage(), MemberStage::Confirmed);
    }
    // Neither the base, nor the result itself, nor one of another key has overtaken it.
    let itself = ResultName {
        epoch: 1,
        attempt: 1,
        hash: [0; 64],
    };
    let mut other = of_key(&world, result);
    other.public_key[0] ^= 1;
    for newest in [of_key(&world, base), other] {
        for name in OLD {
            assert!(!forget(&mut world, name, &id, &newest), "{newest:?}");
        }
    }
    // The base has been handed on, and n_j opens what was dealt of it. The share is kept.
    for name in OLD {
        let newest = of_key(&world, itself);
        let before = world.nodes[name].disks[&id][1];
        let machine = world.nodes.get_mut(name).unwrap().machine_mut(&id).unwrap();
        let state = machine.forget_below(&newest).unwrap();
        assert_eq!((before & 1, state[1]), (1, before - 1), "{name}");
        assert_eq!(machine.stage(), MemberStage::Confirmed);
        assert!(machine.forget_below(&newest).is_none(), "once");
        Member::restore(world.nodes[name].local.clone(), &state).unwrap();
        let node = world.nodes.get_mut(name).unwrap();
        node.disks.insert(id, state.to_vec());
    }
    let newest = of_key(&world, result);
    for name in OLD {
        assert!(forget(&mut world, name, &id, &newest), "{name}");
        assert!(!world.nodes[name].disks[&id].is_empty());
    }
    // The withheld certificate comes out: those that have forgotten say why, p activates, and its leader is done.
    for name in OLD {
        let answer = show(&mut world, &withheld, &certificate, name);
        assert!(
            matches!(&answer, Message::Refused { code, .. } if code == "base-superseded"),
            "{answer:?}"
        );
        assert_eq!(
            world.nodes[name].machine(&id).stage(),
            MemberStage::Closed,
            "{name}"
        );
        assert!(!forget(&mut world, name, &id, &newest), "once");
    }
    withheld.leader = Leader::restore(withheld.disk.as_ref().unwrap()).unwrap();
    world.run(&mut withheld, |_, _, _| {});
    assert!(withheld.completed);
    assert_eq!(world.secret(&result), secret);
    // Nothing that is asked for is lost: the next reshare begins from the newest.
    let terms = world.reshare(&result, 2, &["a", "c", "q", "p"]);
    crate::reshare::hand_on(&mut world, terms);
}

/// Three new members of whom p is in both attempts; its leader shows the certificates when it likes.
fn two_attempts(seed: u64) -> (World, FalseLeader, [Vec<u8>; 2], String) {
    let mut world = World::new(seed);
    let base = world.create(2, &["a", "b", "c"]);
    let mut terms = world.reshare(&base, 2, &["p", "q", "s"]);
    terms.may_be_absent = 1;
    terms.leader = world.nodes["a"].identity();
    let proposal = Proposal::new(terms, &mut world.rng).unwrap();
    let leader = FalseLeader::new(&mut world, proposal);
    let first = leader.attempt(&mut world, 1, &[3]);
    let second = leader.attempt(&mut world, 2, &[2]);
    let both = leader.proposal.members()[0].name.clone();
    (world, leader, [first, second], both)
}

#[test]
fn of_two_attempts_the_lower_is_forgotten_and_the_higher_never() {
    // The higher was activated: the lower is of no use any more.
    let (mut world, leader, [first, second], both) = two_attempts(910);
    let id = leader.proposal.id();
    leader.show(&mut world, &second, &both);
    let higher = world.verified(&second).name();
    assert!(world.nodes[&both].machine(&id).holds_secrets());
    let newest = of_key(&world, higher);
    assert!(forget(&mut world, &both, &id, &newest));
    leader.show(&mut world, &first, &both);
    assert_eq!(world.nodes[&both].keys.len(), 1);
    assert_eq!(world.nodes[&both].newest, Some(higher));

    // The lower was activated: a certificate of the higher may come, and then its share is needed.
    let (mut world, leader, [first, second], both) = two_attempts(911);
    let id = leader.proposal.id();
    leader.show(&mut world, &first, &both);
    let lower = of_key(&world, world.verified(&first).name());
    assert!(!forget(&mut world, &both, &id, &lower));
    assert!(world.nodes[&both].machine(&id).holds_secrets());
    leader.show(&mut world, &second, &both);
    assert_eq!(world.nodes[&both].keys.len(), 2);
    assert!(!world.nodes[&both].machine(&id).holds_secrets());
}

#[test]
fn results_of_a_create_do_not_overtake_each_other() {
    let mut world = World::new(920);
    let base = world.create(2, &["a", "b", "c"]);
    let id = *world.nodes["a"].disks.keys().next().unwrap();
    let newest = of_key(
        &world,
        ResultName {
            epoch: 5,
            attempt: 5,
            ..base
        },
    );
    assert!(!forget(&mut world, "a", &id, &newest));
}
