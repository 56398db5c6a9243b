//! Reshares as their nodes live them: other members, other n and t, the same members, members that leave, absent ones, restores.

use curve25519_dalek::{RistrettoPoint, Scalar};
use dkg::{
    CertificateError, Fault, Holding, KeyCertificate, Member, MemberStage, Message, Proposal,
    ProposalError, ResultName, Terms,
};
use rand::Rng;

use crate::cluster::POLICY;
use crate::world::{Event, World, interpolate};

const OLD: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Hands a result on, and checks everything that holds of every reshare.
pub fn hand_on(world: &mut World, terms: Terms) -> ResultName {
    let base = KeyCertificate::verify_any(&terms.base.as_ref().unwrap().certificate).unwrap();
    let mut run = world.propose(terms);
    world.run(&mut run, |_, _, _| {});
    check(world, &base, &run)
}

/// Everything that holds of a reshare that completed.
fn check(world: &mut World, base: &KeyCertificate, run: &crate::world::Run) -> ResultName {
    let (y, certified) = (base.package().public_key(), world.certified(run));
    let result = certified.name();
    assert_eq!(certified.public_key(), y);
    assert_eq!(result.epoch, base.name().epoch + 1);
    // One secret, another polynomial.
    let (old, new) = (world.shares(&base.name()), world.shares(&result));
    assert_eq!(new.len(), certified.members().len());
    let secret = world.secret(&result);
    assert_eq!(secret, world.secret(&base.name()));
    let (t_old, t) = (base.package().threshold(), certified.package().threshold());
    if t_old > 1 && t > 1 {
        // Shares of both never combine, whatever threshold is taken, where both have the fewest that say nothing.
        let few = old[..usize::from(t_old) - 1].iter();
        for mixed in 1..usize::from(t) {
            let others = new.iter().filter(|(j, _)| few.clone().all(|(i, _)| i != j));
            let points: Vec<(u16, Scalar)> =
                few.clone().chain(others.take(mixed)).copied().collect();
            assert_ne!(interpolate(&points), secret);
        }
    }
    for (name, node) in &world.nodes {
        let is_new = certified.index_of(&node.identity()).is_some();
        assert_eq!(node.keys.contains_key(&result), is_new, "{name}");
        let retired = node
            .retired
            .iter()
            .filter(|retired| retired.successor == result);
        let is_old = base
            .members()
            .iter()
            .any(|old| old.identity == node.identity());
        let took_part = node.disks.contains_key(&run.id())
            && node.machine(&run.id()).stage() == MemberStage::Activated;
        assert_eq!(retired.count(), usize::from(is_old && took_part), "{name}");
        // The phrase of a new member gives its share back, that of another gives nothing.
        let restored = dkg::restore_key(run.certificate.as_ref().unwrap(), &node.phrase);
        match restored {
            Ok(restored) => assert_eq!(
                restored.share.secret().to_bytes(),
                node.keys[&result].share.secret().to_bytes()
            ),
            Err(error) => assert!(!is_new && error == CertificateError::NotAMember),
        }
    }
    // No share of the base was ever written with this ceremony.
    for (_, share) in &old {
        // Where one share is the secret, old and new ones are the same.
        if new.iter().any(|(_, other)| other == share) {
            continue;
        }
        let share = share.to_bytes();
        let of_this = world.written.iter().filter(|(id, _)| *id == run.id());
        for (_, state) in of_this {
            assert!(!state.windows(32).any(|window| window == share));
        }
    }
    // The new members sign for the same Y.
    let certificate = world.certify(&result);
    let key = KeyCertificate::verify(&certificate, y.as_bytes()).unwrap();
    assert_eq!(key.name(), result);
    result
}

#[test]
fn any_change_of_members_and_threshold_keeps_the_secret() {
    let cases: [(u16, &[&str], u16, &[&str]); 8] = [
        (3, &OLD, 3, &["p", "q", "r", "s", "u"]),
        (3, &OLD, 3, &OLD),
        (3, &OLD, 5, &["a", "b", "c", "d", "e", "f", "g", "h", "i"]),
        (3, &OLD, 2, &["b", "d", "e"]),
        (2, &OLD, 4, &["e", "f", "g", "h"]),
        (1, &["a"], 3, &["a", "b", "c", "d"]),
        (4, &OLD, 1, &["z"]),
        (5, &OLD, 2, &["c", "x", "y"]),
    ];
    for (seed, (t_old, old, t, new)) in (700u64..).zip(cases) {
        let mut world = World::new(seed);
        let base = world.create(t_old, old);
        let terms = world.reshare(&base, t, new);
        let result = hand_on(&mut world, terms);
        assert_eq!((result.epoch, result.attempt), (1, 1));
    }
}

#[test]
fn an_old_member_that_leaves_may_lead() {
    let mut world = World::new(720);
    let base = world.create(2, &["a", "b", "c"]);
    let leader = world.cards(&["b"]).remove(0).identity;
    let terms = Terms {
        leader,
        ..world.reshare(&base, 2, &["x", "y", "z"])
    };
    hand_on(&mut world, terms);
}

#[test]
fn after_any_reshares_one_after_another_the_secret_is_the_same() {
    let all = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    for seed in 0..12 {
        let mut world = World::new(2_000 + seed);
        let mut below = |bound: usize| (world.rng.next_u64() as usize) % bound;
        let mut draw = || {
            let n = 1 + below(6);
            let mut names = all.to_vec();
            for place in (1..names.len()).rev() {
                names.swap(place, below(place + 1));
            }
            (1 + below(n), names[..n].to_vec())
        };
        let drawn: Vec<(usize, Vec<&str>)> = (0..4).map(|_| draw()).collect();
        let mut result = None;
        let mut first = None;
        for (t, names) in drawn {
            let t = u16::try_from(t).unwrap();
            let name = match result {
                None => world.create(t, &names),
                Some(base) => {
                    let terms = world.reshare(&base, t, &names);
                    hand_on(&mut world, terms)
                }
            };
            let secret = world.secret(&name);
            assert_eq!(*first.get_or_insert(secret), secret, "seed {seed}");
            result = Some(name);
        }
    }
}

#[test]
fn t_survivors_replace_the_rest_and_fewer_are_told_so() {
    let mut world = World::new(730);
    let base = world.create(3, &OLD);
    for dead in ["d", "e"] {
        world.nodes.get_mut(dead).unwrap().restored = true;
    }
    let mut terms = world.reshare(&base, 3, &["a", "b", "c", "f", "g"]);
    let absent = world.old_indices(&terms, &["d", "e"]);
    terms.base.as_mut().unwrap().old_may_be_absent = absent.clone();
    let certificate = terms.base.as_ref().unwrap().certificate.clone();
    let mut run = world.propose(terms.clone());
    // One is silent for good, and the other refuses.
    world.run(&mut run, |world, name, event| {
        if let ("d", Event::Answer(_, reply)) = (name, event) {
            *reply = None;
        }
        let _ = world;
    });
    let key = KeyCertificate::verify_any(&certificate).unwrap();
    let result = check(&mut world, &key, &run);
    assert_eq!(run.exclusions.len(), 2);
    assert_eq!(result.attempt, 1, "no attempt was lost");

    // With one survivor less the proposal is none.
    let mut few = terms.clone();
    let absent = world.old_indices(&few, &["c", "d", "e"]);
    few.base.as_mut().unwrap().old_may_be_absent = absent;
    let error = Proposal::new(few, &mut world.rng).unwrap_err();
    assert_eq!(error.code(), "proposal-old-absence");
    assert_eq!(
        error,
        ProposalError::OldAbsence {
            absent: 3,
            members: 5,
            threshold: 3
        }
    );

    // And if it falls silent although it was not named, the ceremony fails, and names all that are silent.
    let mut world = World::new(731);
    let base = world.create(3, &OLD);
    let mut terms = world.reshare(&base, 3, &["a", "b", "f", "g", "h"]);
    let absent = world.old_indices(&terms, &["d", "e"]);
    terms.base.as_mut().unwrap().old_may_be_absent = absent;
    let mut run = world.propose(terms);
    world.run(&mut run, |_, name, event| {
        if let ("c" | "d" | "e", Event::Answer(_, reply)) = (name, event) {
            *reply = None;
        }
    });
    let culprits = run.culprits.unwrap();
    let mut named: Vec<&str> = culprits.iter().map(|(one, _)| one.name.as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, ["c", "d", "e"]);
    assert!(culprits.iter().all(|(_, fault)| fault.code() == "silent"));
    assert!(world.nodes.values().all(|node| node.keys.len() <= 1));
    world.secret(&base);
}

#[test]
fn a_proposal_of_a_reshare_is_checked_against_its_base() {
    let mut world = World::new(740);
    let base = world.create(2, &["a", "b", "c"]);
    let terms = world.reshare(&base, 2, &["a", "x", "y"]);
    let mut refused = |change: &dyn Fn(&mut Terms)| {
        let mut changed = terms.clone();
        change(&mut changed);
        Proposal::new(changed, &mut world.rng).unwrap_err().code()
    };
    let with = |terms: &mut Terms, change: &dyn Fn(&mut dkg::BaseTerms)| {
        change(terms.base.as_mut().unwrap());
    };
    assert_eq!(
        refused(&|terms| with(terms, &|base| drop(base.addresses.pop()))),
        "proposal-base-addresses"
    );
    assert_eq!(
        refused(&|terms| with(terms, &|base| base.addresses[1].clear())),
        "proposal-text"
    );
    for absent in [vec![1, 2], vec![0], vec![4], vec![1, 1], vec![3, 2]] {
        assert_eq!(
            refused(&|terms| with(terms, &|base| base.old_may_be_absent.clone_from(&absent))),
            "proposal-old-absence"
        );
    }
    assert_eq!(
        refused(&|terms| with(terms, &|base| base.attempts_after = u32::MAX)),
        "proposal-attempts-after"
    );
    assert_eq!(
        refused(&|terms| with(terms, &|base| {
            let last = base.certificate.len() - 1;
            base.certificate[last] ^= 1;
        })),
        "proposal-base"
    );
    assert_eq!(refused(&|terms| terms.leader = [9; 32]), "proposal-leader");
    let proposal = Proposal::new(terms.clone(), &mut world.rng).unwrap();
    assert_eq!(
        Proposal::from_bytes(&proposal.to_bytes()).unwrap(),
        proposal
    );
    assert_eq!((proposal.epoch(), proposal.seats().len()), (1, 5));
    assert_eq!(proposal.base().unwrap().name().result, base);
}

#[test]
fn a_node_takes_part_only_with_what_it_holds_and_promised() {
    let mut world = World::new(750);
    let base = world.create(2, &["a", "b", "c"]);
    let leader = world.nodes["a"].identity();
    let terms = world.reshare(&base, 2, &["a", "b", "x"]);
    let proposal = Proposal::new(terms, &mut world.rng).unwrap();
    let signed = proposal.sign(&world.nodes["a"].local.identity).unwrap();
    let rng = &mut rand::rng();
    let mut refused = |name: &str, holding: Option<Holding<'_>>| {
        let mut member = Member::new(world.nodes[name].local.clone());
        let message = Message::Propose {
            proposal: signed.clone(),
        };
        assert_eq!(member.base_of(&message).map(|base| base.result), Some(base));
        let answer = match holding {
            Some(holding) => member.handle_reshare(&leader, message, &holding, world.now, rng),
            None => member.handle(&leader, message, world.now, rng),
        };
        answer.err().map(|fault| fault.code())
    };
    let share = |name: &str| Some(&world.nodes[name].keys[&base].share);
    let holding = |share, confirmed| Holding {
        share,
        newest: Some(base),
        confirmed,
    };
    assert_eq!(refused("b", None), Some("base-unknown"));
    assert_eq!(refused("b", Some(holding(None, 0))), Some("base-not-held"));
    assert_eq!(
        refused("b", Some(holding(share("c"), 0))),
        Some("base-not-held")
    );
    assert_eq!(refused("c", Some(holding(None, 0))), Some("base-not-held"));
    assert_eq!(
        refused("b", Some(holding(share("b"), 1))),
        Some("attempt-taken")
    );
    let superseded = Holding {
        newest: Some(ResultName { epoch: 1, ..base }),
        ..holding(share("b"), 0)
    };
    assert_eq!(refused("b", Some(superseded)), Some("base-superseded"));
    assert_eq!(refused("b", Some(holding(share("b"), 0))), None);
    // A new member needs nothing.
    assert_eq!(refused("x", Some(Holding::default())), None);

    // Numbers far above anything that was confirmed use up nobody's numbers.
    let mut terms = world.reshare(&base, 2, &["a", "b", "x"]);
    terms.base.as_mut().unwrap().attempts_after = dkg::MAX_ATTEMPTS_AHEAD + 1;
    let mut run = world.propose(terms);
    world.run(&mut run, |_, _, _| {});
    assert!(run.culprits.is_some());
    for (_, fault) in run.culprits.unwrap() {
        assert!(matches!(fault, Fault::Refused { code, .. } if code == "attempts-ahead"));
    }
}

#[test]
fn a_policy_changes_only_where_operators_configured_it() {
    let mut world = World::new(760);
    let base = world.create(2, &["a", "b", "c"]);
    let terms = Terms {
        policy_hash: [8; 32],
        ..world.reshare(&base, 2, &["a", "b", "c"])
    };
    for name in ["a", "b", "c"] {
        let node = world.nodes.get_mut(name).unwrap();
        node.local.policy_hash = if name == "b" { POLICY } else { [8; 32] };
    }
    let mut run = world.propose(terms.clone());
    world.run(&mut run, |_, _, _| {});
    run.assert_failed_by("b", "other-policy");
    world.nodes.get_mut("b").unwrap().local.policy_hash = [8; 32];
    let result = hand_on(&mut world, terms);
    let key = &world.nodes["b"].keys[&result];
    assert_eq!(key.policy_hash, [8; 32]);
}

#[test]
fn who_knows_only_y_verifies_the_certificate_of_a_reshare() {
    let mut world = World::new(770);
    let base = world.create(2, &["a", "b", "c"]);
    let y = world.nodes["a"].keys[&base].package.public_key();
    let terms = world.reshare(&base, 2, &["x", "y", "z"]);
    let result = hand_on(&mut world, terms);
    let key = &world.nodes["x"].keys[&result];
    let certified = dkg::verify_reshare(&key.certificate, y.as_bytes()).unwrap();
    assert_eq!(certified.package(), &key.package);
    let pinned: Vec<[u8; 32]> = key.members.iter().map(|member| member.identity).collect();
    assert!(dkg::verify_certificate(&key.certificate, &pinned).is_ok());
    let other = RistrettoPoint::mul_base(&Scalar::from(5u8)).compress();
    assert_eq!(
        dkg::verify_reshare(&key.certificate, other.as_bytes()).unwrap_err(),
        CertificateError::OtherKey
    );
    let first = &world.nodes["a"].keys[&base].certificate;
    assert_eq!(
        dkg::verify_reshare(first, y.as_bytes()).unwrap_err(),
        CertificateError::NotAReshare
    );
    // No bit of it may be altered.
    let length = key.certificate.len();
    for place in (0..length).step_by(length / 150) {
        let mut altered = key.certificate.clone();
        altered[place] ^= 1;
        assert!(
            dkg::verify_reshare(&altered, y.as_bytes()).is_err(),
            "{place}"
        );
    }
}

#[test]
fn whoever_is_killed_at_any_turn_comes_back_and_the_reshare_completes() {
    let prepared = || {
        let mut world = World::new(780);
        let base = world.create(2, &["a", "b", "c"]);
        let terms = world.reshare(&base, 2, &["c", "x", "y"]);
        (world, terms)
    };
    let (mut world, terms) = prepared();
    let mut turns = 0;
    let mut run = world.propose(terms);
    world.run(&mut run, |_, _, event| {
        turns += usize::from(matches!(event, Event::Question(_)));
    });
    for at in 0..turns {
        let (mut world, terms) = prepared();
        let certificate = terms.base.as_ref().unwrap().certificate.clone();
        let base = KeyCertificate::verify_any(&certificate).unwrap();
        let mut run = world.propose(terms);
        let mut turn = 0;
        // The node asked dies after it has written and before it answers; the leader's process dies at the same time.
        run.dies_after = Some(at + 1);
        world.run(&mut run, |world, name, event| {
            if let Event::Answer(_, reply) = event {
                if turn == at {
                    *reply = None;
                    world.nodes.get_mut(name).unwrap().crash();
                }
                turn += 1;
            }
        });
        check(&mut world, &base, &run);
    }
}
