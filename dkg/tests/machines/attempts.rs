//! Two attempts of one number, with members of their own: they are two attempts, told apart by their parameters, and make two keys.

use std::collections::BTreeSet;

use dkg::{Message, Proposal};

use crate::false_leader::FalseLeader;
use crate::world::World;

const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];
/// The seat of the one that is in both, because it has set its disk back.
const CHEAT: u16 = 3;

#[test]
fn two_attempts_of_one_number_make_two_keys_and_no_honest_member_is_in_both() {
    let mut world = World::new(880);
    let mut terms = world.terms(2, &FIVE);
    terms.may_be_absent = 2;
    let proposal = Proposal::new(terms, &mut world.rng).unwrap();
    let leader = FalseLeader::new(&mut world, proposal);
    let (proposal, id) = (leader.proposal.clone(), leader.proposal.id());
    let name = |seat: u16| proposal.member(seat).unwrap().name.clone();
    let before = world.nodes[&name(CHEAT)].disks[&id].clone();
    let first = leader.attempt(&mut world, 1, &[4, 5]);
    // Nobody who keeps its promises takes part in both.
    for seat in [1, 2, CHEAT] {
        let answer = world.ask(&proposal, &name(seat), &leader.begin(1, &[1, 2]));
        assert!(!matches!(answer, Message::Dealt { .. }), "{answer:?}");
    }
    let cheat = world.nodes.get_mut(&name(CHEAT)).unwrap();
    let after = cheat.disks.insert(id, before).unwrap();
    cheat.crash();
    let second = leader.attempt(&mut world, 1, &[1, 2]);
    let mut params = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for (certificate, seats) in [(&first, [1, 2, CHEAT]), (&second, [CHEAT, 4, 5])] {
        if seats[0] == 1 {
            let cheat = world.nodes.get_mut(&name(CHEAT)).unwrap();
            let second = cheat.disks.insert(id, after.clone()).unwrap();
            cheat.crash();
            leader.show(&mut world, certificate, &name(CHEAT));
            let cheat = world.nodes.get_mut(&name(CHEAT)).unwrap();
            cheat.disks.insert(id, second);
            cheat.crash();
        }
        for seat in seats
            .into_iter()
            .filter(|seat| (*seat, seats[0]) != (CHEAT, 1))
        {
            leader.show(&mut world, certificate, &name(seat));
        }
        let certified = world.verified(certificate);
        assert_eq!((certified.epoch(), certified.attempt()), (0, 1));
        params.insert(*certified.params());
        keys.insert(*certified.public_key().as_bytes());
        for seat in seats {
            let node = &world.nodes[&name(seat)];
            let key = &node.keys[&certified.name()];
            key.share.check(certified.package()).unwrap();
        }
    }
    assert_eq!((params.len(), keys.len()), (2, 2));
    for seat in [1, 2, 4, 5] {
        assert_eq!(world.nodes[&name(seat)].keys.len(), 1);
    }
}
