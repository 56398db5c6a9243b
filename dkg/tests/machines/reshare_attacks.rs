//! Attacks on a reshare from within it, each carried out: false dealers, two deals after a crash, false sums for those that leave.

use curve25519_dalek::Scalar;
use dkg::{Acceptance, Deal, MemberStage, Message, Proposal, ResultName, Terms};

use crate::dealer::{Dealer, encryption_secret};
use crate::world::{Event, Run, World};

const OLD: [&str; 4] = ["a", "b", "c", "d"];
const NEW: [&str; 4] = ["a", "x", "y", "z"];

/// A base of 2 of 4 whose first dealer, by index, is the cheat and does not lead.
struct Cheated {
    world: World,
    terms: Terms,
    base: ResultName,
    cheat: String,
    /// Its index in the base.
    index: u16,
}

impl Cheated {
    fn new(seed: u64, may_be_absent: bool) -> Self {
        let mut world = World::new(seed);
        let base = world.create(2, &OLD);
        let mut terms = world.reshare(&base, 2, &NEW);
        let mut old: Vec<(u16, &str)> = OLD
            .iter()
            .map(|name| (world.old_indices(&terms, &[name])[0], *name))
            .collect();
        old.sort_unstable();
        let (index, cheat) = old[0];
        terms.leader = world.nodes[old[1].1].identity();
        if may_be_absent {
            terms.base.as_mut().unwrap().old_may_be_absent = vec![index];
            terms.may_be_absent = 1;
        }
        Self {
            world,
            terms,
            base,
            cheat: cheat.to_owned(),
            index,
        }
    }

    /// The cheat deals this in the first attempt, and says of it whatever its machine says of its own.
    fn run(&mut self, deal: impl Fn(&Proposal, &[Acceptance], u16, [Scalar; 2]) -> Dealer) -> Run {
        let mut run = self.world.propose(self.terms.clone());
        let proposal = run.proposal.clone();
        let (cheat, index) = (self.cheat.clone(), self.index);
        let share = *self.world.nodes[&cheat].keys[&self.base]
            .share
            .secret()
            .expose();
        self.world.run(&mut run, |world, name, event| {
            let Event::Answer(question, reply) = event else {
                return;
            };
            if name != cheat {
                return;
            }
            match question {
                Message::Begin {
                    attempt: 1,
                    acceptances,
                    ..
                } => {
                    let secret = encryption_secret(&world.nodes[name].disks[&proposal.id()]);
                    let mut dealer = deal(&proposal, acceptances, index, [secret, share]);
                    let identity = &world.nodes[name].local.identity;
                    let deal: Deal = dealer.finish(identity);
                    *reply = Some(Message::Dealt {
                        deal: Box::new(deal),
                        attempt: 1,
                        ceremony: proposal.id(),
                    });
                }
                // Its machine finds its own deal altered; the cheat would not say so.
                Message::Deals { .. } | Message::WholeDeals { .. } => *reply = None,
                _ => {}
            }
        });
        run
    }
}

/// The share of another than its own.
fn other_constant(
    proposal: &Proposal,
    acceptances: &[Acceptance],
    index: u16,
    [secret, share]: [Scalar; 2],
) -> Dealer {
    let constant = Some(share + Scalar::ONE);
    Dealer::with_constant(proposal, 1, acceptances, index, secret, constant, 5)
}

/// A wrong share for the new member of index 2.
fn wrong_share(
    proposal: &Proposal,
    acceptances: &[Acceptance],
    index: u16,
    [secret, share]: [Scalar; 2],
) -> Dealer {
    let mut dealer = Dealer::with_constant(proposal, 1, acceptances, index, secret, Some(share), 5);
    let victim = acceptances.iter().find(|one| one.index == 2).unwrap();
    let wrong = dealer.share(2) + Scalar::ONE;
    dealer.encrypt(2, wrong, &victim.encryption_key);
    dealer
}

#[test]
fn a_corrupt_old_dealer_is_left_out_with_evidence_if_the_proposal_lets_it_be() {
    type Cheat = fn(&Proposal, &[Acceptance], u16, [Scalar; 2]) -> Dealer;
    let cases: [(Cheat, &str, &str); 2] = [
        (other_constant, "void-deal", "deal-base-share"),
        (wrong_share, "complaint", "deal-share"),
    ];
    for (seed, (cheat, grounds, code)) in (800u64..).zip(cases) {
        let mut cheated = Cheated::new(seed, true);
        let run = cheated.run(cheat);
        let [exclusion] = run.exclusions.as_slice() else {
            panic!("{:?} {:?}", run.exclusions, run.culprits)
        };
        assert_eq!(exclusion.grounds.code(), grounds);
        let fault = exclusion.verify(&run.proposal).unwrap().unwrap();
        assert_eq!(fault.code(), code);
        let member = run.proposal.member(exclusion.member).unwrap();
        assert_eq!(member.name, cheated.cheat);
        let certified = cheated.world.certified(&run);
        assert_eq!(certified.name().attempt, 2);
        assert_eq!(
            cheated.world.secret(&certified.name()),
            cheated.world.secret(&cheated.base)
        );

        let mut cheated = Cheated::new(seed + 50, false);
        let run = cheated.run(cheat);
        run.assert_failed_by(&cheated.cheat.clone(), code);
        assert!(
            cheated
                .world
                .nodes
                .values()
                .all(|node| node.keys.len() <= 1)
        );
    }
}

#[test]
fn a_dealer_whose_disk_was_rolled_back_is_convicted_by_its_two_deals() {
    let mut world = World::new(850);
    let base = world.create(2, &OLD);
    let terms = world.reshare(&base, 2, &["x", "y", "z"]);
    let mut run = world.propose(terms);
    let proposal = run.proposal.clone();
    let mut old: Vec<(u16, &str)> = OLD
        .iter()
        .map(|name| {
            (
                proposal.index_of(&world.nodes[*name].identity()).unwrap(),
                *name,
            )
        })
        .collect();
    old.sort_unstable();
    let dealer = old[0].1;
    let mut other: Option<Deal> = None;
    let mut convicted = false;
    world.run(&mut run, |world, name, event| match event {
        Event::Answer(question @ Message::Begin { .. }, Some(Message::Dealt { deal, .. }))
            if name == dealer && other.is_none() =>
        {
            // After a mere crash it sends the same bytes.
            let node = world.nodes.get_mut(dealer).unwrap();
            node.crash();
            let again = world.ask(&proposal, dealer, question);
            assert!(matches!(&again, Message::Dealt { deal: same, .. } if same == deal));
            // From a disk of before the deal it makes another one.
            let before = accepted_before(world, dealer, &proposal);
            let node = world.nodes.get_mut(dealer).unwrap();
            let after = node.disks.insert(proposal.id(), before);
            node.crash();
            let Message::Dealt { deal: second, .. } = world.ask(&proposal, dealer, question) else {
                panic!()
            };
            assert_ne!(&second, deal);
            other = Some(*second);
            let node = world.nodes.get_mut(dealer).unwrap();
            node.disks.insert(proposal.id(), after.unwrap());
            node.crash();
        }
        Event::Answer(Message::Deals { deals, sums, .. }, Some(Message::Acknowledged { .. })) => {
            // Whoever has seen the one refuses the other, with both as evidence.
            let mut deals = deals.clone();
            let to = proposal.index_of(&world.nodes[name].identity()).unwrap();
            deals[0] = crate::dealer::excerpt(other.as_ref().unwrap(), to);
            let question = Message::Deals {
                sums: sums.clone(),
                deals,
                attempt: 1,
                ceremony: proposal.id(),
            };
            let answer = world.ask(&proposal, name, &question);
            let Message::Notice { excluded, .. } = answer else {
                panic!("{answer:?}")
            };
            let fault = excluded[0].verify(&proposal).unwrap().unwrap();
            assert_eq!(fault.code(), "two-deals");
            assert_eq!(proposal.member(excluded[0].member).unwrap().name, dealer);
            convicted = true;
        }
        _ => {}
    });
    assert!(convicted);
    let result = world.certified(&run).name();
    assert_eq!(world.secret(&result), world.secret(&base));
}

/// The disk of a member as it was when it had accepted: its state of a later step without the steps since.
fn accepted_before(world: &World, name: &str, proposal: &Proposal) -> Vec<u8> {
    let id = proposal.id();
    world
        .written
        .iter()
        .map(|(_, state)| state)
        .find(|state| {
            dkg::Member::restore(world.nodes[name].local.clone(), state).is_ok_and(|member| {
                member.ceremony() == Some(id) && member.stage() == MemberStage::Accepted
            })
        })
        .unwrap()
        .clone()
}

#[test]
fn a_leaving_member_signs_one_result_of_an_attempt() {
    let mut world = World::new(870);
    let base = world.create(2, &OLD);
    let terms = world.reshare(&base, 2, &["x", "y", "z"]);
    let mut run = world.propose(terms);
    let proposal = run.proposal.clone();
    let mut checked = 0;
    world.run(&mut run, |world, name, event| {
        let Event::Question(message @ Message::HandOver { .. }) = event else {
            return;
        };
        let Message::HandOver {
            sums,
            attempt,
            ceremony,
            acknowledgements,
        } = message.clone()
        else {
            return;
        };
        let mut refused = |sums: Vec<u8>, acknowledgements: &[dkg::Acknowledgement]| {
            let question = Message::HandOver {
                sums: serde_bytes::ByteBuf::from(sums),
                attempt,
                ceremony,
                acknowledgements: acknowledgements.to_vec(),
            };
            match world.ask(&proposal, name, &question) {
                Message::Refused { code, .. } => code,
                other => panic!("{other:?}"),
            }
        };
        let bytes = sums.to_vec();
        let swapped = [&bytes[32..64], &bytes[..32]].concat();
        if checked % 2 == 0 {
            // Of another key, cut short, not acknowledged by all, with a signature that is not one.
            assert_eq!(refused(swapped, &acknowledgements), "other-key");
            assert_eq!(
                refused(bytes[32..].to_vec(), &acknowledgements),
                "unusable-result"
            );
            assert_eq!(refused(bytes.clone(), &acknowledgements[1..]), "list-count");
            let mut forged = acknowledgements.clone();
            forged[1].signature[3] ^= 1;
            assert_eq!(refused(bytes, &forged), "relay-altered");
        }
        checked += 1;
    });
    assert_eq!(checked, 4);
    let ceremony = proposal.id();
    // Once it has confirmed, nothing else under that number.
    let result = world.certified(&run).name();
    assert!(!world.nodes["a"].keys.contains_key(&result));
    assert_eq!(
        world.nodes["a"].machine(&ceremony).stage(),
        MemberStage::Activated
    );
    let retired = &world.nodes["a"].retired[0];
    assert_eq!((retired.base.result, retired.successor), (base, result));
}
