//! Histories of several proposals from one base: withheld certificates, two attempts that both come true, restored nodes, crashes.

use curve25519_dalek::Scalar;
use dkg::{Fault, Message, Proposal, ResultName, Terms};
use rand::Rng;

use crate::false_leader::FalseLeader;
use crate::reshare::hand_on;
use crate::world::{Event, Run, World, interpolate};

const OLD: [&str; 4] = ["a", "b", "c", "d"];

/// All take part in attempt 1 of a proposal and confirm it; its leader keeps the certificate to itself.
pub fn withhold(world: &mut World, terms: Terms) -> (Run, Vec<u8>) {
    let mut run = world.propose(terms);
    let mut queue: Vec<_> = {
        let effects = run.leader.poll(world.now);
        run.carry_out(effects)
    };
    while let Some((to, message)) = queue.pop() {
        if matches!(message, Message::Certificate { .. }) {
            continue;
        }
        let name = world.name_of(&to);
        let reply = world.ask(&run.proposal, &name, &message);
        let effects = run.leader.handle_reply(&to, &reply, world.now);
        queue.extend(run.carry_out(effects));
    }
    let certificate = run.certificate.clone().unwrap();
    (run, certificate)
}

pub fn show(world: &mut World, run: &Run, certificate: &[u8], name: &str) -> Message {
    let question = Message::Certificate {
        public_shares: serde_bytes::ByteBuf::new(),
        ceremony: run.id(),
        certificate: serde_bytes::ByteBuf::from(certificate.to_vec()),
    };
    world.ask(&run.proposal, name, &question)
}

#[test]
fn two_proposals_from_one_base_cannot_both_have_an_attempt() {
    let mut world = World::new(820);
    let base = world.create(3, &["a", "b", "c", "d", "e"]);
    let first = world.reshare(&base, 2, &["p", "q", "r"]);
    let second = world.reshare(&base, 2, &["s", "u", "v"]);
    let (withheld, certificate) = withhold(&mut world, first);
    // The second numbers its attempts from 1 too: every old member says that number 1 is taken, and up to where.
    let mut run = world.propose(second.clone());
    world.run(&mut run, |_, _, _| {});
    for (_, fault) in run.culprits.as_ref().unwrap() {
        let Fault::Refused { code, sentence, .. } = fault else {
            panic!("{fault:?}")
        };
        assert_eq!(code, "attempt-taken");
        assert!(sentence.contains("up to number 1"), "{sentence}");
    }
    // Proposed again after that number, it goes on, though the first certificate is still hidden.
    let mut again = second;
    again.base.as_mut().unwrap().attempts_after = 1;
    let result = hand_on(&mut world, again);
    assert_eq!((result.epoch, result.attempt), (1, 2));
    // The first comes out: its new members hold a true sharing of it, and nobody follows it who knows the other.
    for name in ["a", "b", "c", "d", "e", "p", "q", "r"] {
        let answer = show(&mut world, &withheld, &certificate, name);
        assert!(matches!(answer, Message::Activated { .. }), "{answer:?}");
    }
    let lower = world.verified(&certificate).name();
    assert!(lower < result);
    assert_eq!(world.secret(&lower), world.secret(&result));
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(world.nodes[name].newest, Some(result));
    }
    // A reshare from the lower result is refused by whoever knows the higher, and goes on among those that do not.
    let terms = world.reshare(&lower, 2, &["p", "a"]);
    let mut run = world.propose(terms);
    world.run(&mut run, |_, _, _| {});
    run.assert_failed_by("a", "base-superseded");
    let terms = world.reshare(&result, 2, &["p", "q", "r", "a"]);
    let united = hand_on(&mut world, terms);
    assert_eq!(united.epoch, 2);
}

#[test]
fn disjoint_new_members_in_two_attempts_of_one_proposal_hold_two_true_sharings() {
    for order in [[0, 1], [1, 0]] {
        let mut world = World::new(830);
        let base = world.create(2, &["a", "b", "c"]);
        let mut terms = world.reshare(&base, 2, &["p", "q", "s", "u"]);
        terms.may_be_absent = 2;
        terms.leader = world.nodes["a"].identity();
        let proposal = Proposal::new(terms, &mut world.rng).unwrap();
        let leader = FalseLeader::new(&mut world, proposal);
        let new: Vec<String> = leader
            .proposal
            .members()
            .iter()
            .map(|one| one.name.clone())
            .collect();
        // The first attempt leaves out two of the new members, the second the other two; nobody is shown a certificate meanwhile.
        let first = leader.attempt(&mut world, 1, &[3, 4]);
        // Nobody takes part in one number twice.
        for name in ["a", "b", "c"] {
            let answer = world.ask(&leader.proposal, name, &leader.begin(1, &[1, 2]));
            let Message::Begun { acceptances, .. } = answer else {
                panic!("{answer:?}")
            };
            assert!(acceptances.iter().all(|one| ![3, 4].contains(&one.index)));
        }
        let second = leader.attempt(&mut world, 2, &[1, 2]);
        let certificates = [(&first, &new[..2]), (&second, &new[2..])];
        for which in order {
            let (certificate, members) = certificates[which];
            for name in members.iter().map(String::as_str).chain(["a", "b", "c"]) {
                world.nodes.get_mut(name).unwrap().crash();
                leader.show(&mut world, certificate, name);
            }
        }
        let (lower, higher) = (
            world.verified(&first).name(),
            world.verified(&second).name(),
        );
        assert_eq!((lower.epoch, lower.attempt), (1, 1));
        assert_eq!((higher.epoch, higher.attempt), (1, 2));
        // Both are true sharings of the secret; one share of each is not.
        let secret = world.secret(&base);
        assert_eq!(
            (world.secret(&lower), world.secret(&higher)),
            (secret, secret)
        );
        for (_, one) in world.shares(&lower) {
            for (_, other) in world.shares(&higher) {
                assert_ne!(interpolate(&[(1, one), (2, other)]), secret);
                assert_ne!(interpolate(&[(2, one), (1, other)]), secret);
            }
        }
        // Whoever saw both follows the higher, whichever came last, and the next reshare brings all together.
        for name in ["a", "b", "c"] {
            assert_eq!(world.nodes[name].newest, Some(higher));
        }
        let terms = world.reshare(&higher, 3, &["p", "q", "s", "u", "a"]);
        hand_on(&mut world, terms);
    }
}

#[test]
fn a_certificate_that_comes_out_during_a_later_attempt_ends_that_by_name() {
    for late in ["propose", "begin", "deals", "hand-over", "acknowledgements"] {
        let mut world = World::new(840);
        let base = world.create(2, &OLD);
        let first = world.reshare(&base, 2, &["p", "q", "r"]);
        let mut second = world.reshare(&base, 2, &["b", "s", "u"]);
        second.base.as_mut().unwrap().attempts_after = 1;
        let (withheld, certificate) = withhold(&mut world, first);
        let mut run = world.propose(second);
        let mut shown = false;
        world.run(&mut run, |world, name, event| {
            let Event::Question(message) = event else {
                return;
            };
            let is_old = OLD.contains(&name);
            if is_old && message.name() == late && !shown {
                shown = true;
                let answer = show(world, &withheld, &certificate, name);
                assert!(matches!(answer, Message::Activated { .. }), "{answer:?}");
            }
        });
        assert!(shown, "{late}");
        // Whoever knows of the first deals and confirms no more from the base.
        let first = world.verified(&certificate).name();
        if run.completed {
            // It was past its part in the second when it learned of the first.
            assert_eq!(late, "deals");
        } else {
            for (_, fault) in run.culprits.as_ref().unwrap() {
                assert!(
                    matches!(fault, Fault::Refused { code, .. } if code == "base-superseded"),
                    "{late}: {fault:?}"
                );
            }
        }
        // The first is there for all, and the next reshare begins from the newest that there is.
        for name in ["a", "b", "c", "d", "p", "q", "r"] {
            show(&mut world, &withheld, &certificate, name);
        }
        let newest = world.nodes["a"].newest.unwrap();
        assert!(newest >= first);
        let terms = world.reshare(&newest, 3, &["a", "b", "c", "d", "e"]);
        hand_on(&mut world, terms);
    }
}

#[test]
fn a_restored_node_confirms_nothing_and_is_replaced_under_another_identity() {
    let mut world = World::new(860);
    let base = world.create(2, &OLD);
    let first = world.reshare(&base, 2, &["a", "b", "x"]);
    let (withheld, certificate) = withhold(&mut world, first);
    // d loses its disk. Its phrase gives the share of the base back, and not what it has promised.
    let restored = {
        let node = &world.nodes["d"];
        let base_certificate = &node.keys[&base].certificate;
        dkg::restore_key(base_certificate, &node.phrase).unwrap()
    };
    let node = world.nodes.get_mut("d").unwrap();
    assert_eq!(
        restored.share.secret().to_bytes(),
        node.keys[&base].share.secret().to_bytes()
    );
    node.records.clear();
    node.disks.clear();
    node.crash();
    node.restored = true;
    // Asked to confirm again what it has confirmed, and something else under the same number, it does neither.
    let other = world.reshare(&base, 2, &["a", "b", "y"]);
    let mut run = world.propose(other.clone());
    world.run(&mut run, |_, _, _| {});
    assert!(run.culprits.is_some());
    let answer = show(&mut world, &withheld, &certificate, "d");
    assert!(matches!(answer, Message::Refused { code, .. } if code == "restored-node"));
    // Named as absent, it stops nobody, and comes back as another.
    let mut terms = other;
    terms.members = world.cards(&["a", "b", "c", "d-anew"]);
    let absent = world.old_indices(&terms, &["d"]);
    let base_terms = terms.base.as_mut().unwrap();
    base_terms.old_may_be_absent = absent;
    base_terms.attempts_after = 1;
    let mut run = world.propose(terms);
    world.run(&mut run, |_, _, _| {});
    let result = world.certified(&run).name();
    assert_eq!(world.secret(&result), world.secret(&base));
    assert!(world.nodes["d-anew"].keys.contains_key(&result));
    // What the phrase of the old identity gives back fits nothing of the new epoch.
    let node = &world.nodes["d-anew"];
    let stale = &restored.share;
    assert!(stale.check(&node.keys[&result].package).is_err());
    assert!(dkg::restore_key(&node.keys[&result].certificate, &world.nodes["d"].phrase).is_err());
}

/// Any history of proposals with crashes, lost answers, leaders that vanish and certificates that come late: whatever two nodes hold
/// under one name is one sharing of the same secret, and when it is calm a reshare from the newest result completes.
#[test]
fn in_every_history_the_key_stays_usable_and_nobody_is_stuck() {
    let all = ["a", "b", "c", "d", "e", "f", "g"];
    for seed in 0..25u64 {
        let mut world = World::new(5_000 + seed);
        let base = world.create(2, &all[..4]);
        let secret = world.secret(&base);
        let mut newest = base;
        let mut withheld: Vec<(Run, Vec<u8>)> = Vec::new();
        let mut highest = 0;
        for _ in 0..4 {
            let n = 3 + (world.rng.next_u64() % 3) as usize;
            let from = (world.rng.next_u64() % 3) as usize;
            let names = &all[from..(from + n).min(all.len())];
            let mut terms = world.reshare(&newest, 2, names);
            terms.may_be_absent = u16::try_from(names.len() - 2).unwrap();
            let base_terms = terms.base.as_mut().unwrap();
            let old = dkg::KeyCertificate::verify_any(&base_terms.certificate).unwrap();
            let old = u16::try_from(old.members().len()).unwrap();
            base_terms.old_may_be_absent = (3..=old).collect();
            base_terms.attempts_after = highest;
            let mut run = world.propose(terms);
            let fate = world.rng.next_u64() % 4;
            let stop = 10 + world.rng.next_u64() % 60;
            let (mut asked, mut dice) = (0, world.rng.next_u64());
            let leader = world.name_of(run.proposal.leader());
            world.run_for(1_500, &mut run, |world, name, event| {
                let Event::Answer(question, reply) = event else {
                    asked += 1;
                    return;
                };
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if dice >> 60 == 0 {
                    world.nodes.get_mut(name).unwrap().crash();
                }
                let certificate = matches!(question, Message::Certificate { .. });
                // The leader vanishes, in the middle or with the certificate in hand; or answers are lost.
                let gone = fate == 0 && asked > stop && name != leader;
                let hidden = fate == 1 && certificate && name != leader;
                if gone || hidden || dice >> 61 == 1 {
                    *reply = None;
                }
            });
            for node in world.nodes.values() {
                highest = highest.max(node.records.values().copied().max().unwrap_or_default());
            }
            if let Some(certificate) = run.certificate.clone() {
                withheld.push((run, certificate));
            }
            consistent(&world, secret, seed);
            // Some of what came about is shown to all, as members do that have activated.
            for (run, certificate) in &withheld {
                for name in all {
                    if world.nodes.contains_key(name)
                        && run
                            .proposal
                            .index_of(&world.nodes[name].identity())
                            .is_some()
                    {
                        show(&mut world, run, certificate, name);
                    }
                }
            }
            consistent(&world, secret, seed);
            newest = world
                .nodes
                .values()
                .filter_map(|node| node.newest)
                .max()
                .unwrap();
        }
        let mut terms = world.reshare(&newest, 3, &["a", "b", "c", "d", "e"]);
        terms.base.as_mut().unwrap().attempts_after = highest;
        let mut run = world.propose(terms);
        world.run(&mut run, |_, _, _| {});
        let result = world.certified(&run).name();
        assert_eq!(world.secret(&result), secret, "seed {seed}");
    }
}

fn consistent(world: &World, secret: Scalar, seed: u64) {
    let mut names: Vec<ResultName> = world
        .nodes
        .values()
        .flat_map(|node| node.keys.keys().copied())
        .collect();
    names.sort_unstable();
    names.dedup();
    for pair in names.windows(2) {
        let numbers = |name: &ResultName| (name.epoch, name.attempt);
        assert_ne!(numbers(&pair[0]), numbers(&pair[1]), "seed {seed}");
    }
    // Of a result that everybody has activated t open it, and it is the same secret.
    for name in names {
        let of = |node: &crate::world::Node| node.keys.get(&name).map(|key| key.package.clone());
        let package = world.nodes.values().find_map(of).unwrap();
        let shares = world.shares(&name);
        if shares.len() >= usize::from(package.threshold()) {
            assert_eq!(world.secret(&name), secret, "seed {seed}");
        }
    }
}
