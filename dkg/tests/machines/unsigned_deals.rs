//! Deals that their dealers have not signed: a member whose dealers also acknowledge does not verify the signatures while all else is right.

use dkg::{Acceptance, Acknowledgement, Deal, LeaderPhase, MemberStage, Message};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::cluster::{Cluster, NOW, Step};
use crate::dealer::{Dealer, encryption_secret, excerpt, relay, sums};
use crate::succession::lead;
use crate::world::{Event, World};

/// 0-based: the member that cheats, and the member that is cheated. Neither leads.
const CHEAT: usize = 1;
const VICTIM: usize = 2;
/// Leads when the first is gone.
const HONEST: usize = 3;

/// What the cheat could have dealt as well, in order but for the signature.
fn unsigned(cluster: &Cluster, acceptances: &[Acceptance]) -> Deal {
    let secret = encryption_secret(cluster.nodes[CHEAT].state());
    let index = u16::try_from(CHEAT + 1).unwrap();
    let mut dealer = Dealer::new(&cluster.proposal, acceptances, index, secret, 77);
    let mut deal = dealer.finish(&cluster.nodes[CHEAT].local.identity);
    deal.header.signature[0] ^= 1;
    deal
}

fn ask(cluster: &mut Cluster, from: usize, question: &Message) -> Message {
    let rng = &mut StdRng::seed_from_u64(5);
    let from = cluster.nodes[from].card.identity;
    cluster.nodes[VICTIM].serve(&from, question.clone(), rng)
}

/// The cheat, who does not lead, shows the victim a deal of its own that it has signed nowhere, before the leader comes with the one that it
/// has. The victim acknowledges the first to the cheat, and drops it for the second; not the other way round.
#[test]
fn an_unsigned_deal_is_dropped_for_the_signed_one() {
    for whole in [false, true] {
        let mut cluster = Cluster::new(3, 5, 730);
        if whole {
            cluster = cluster.with_whole_deals();
        }
        let to = u16::try_from(VICTIM + 1).unwrap();
        let (mut acceptances, mut dealt, mut sets) = (Vec::new(), Vec::new(), Vec::new());
        let mut shown = None;
        cluster.run_with(|cluster, step| match step {
            Step::Question(
                VICTIM,
                Message::Begin {
                    acceptances: all, ..
                },
            ) => acceptances.clone_from(all),
            Step::Answer(_, Message::Dealt { deal, .. }) => dealt.push((**deal).clone()),
            Step::Question(
                VICTIM,
                message @ (Message::Deals { .. } | Message::WholeDeals { .. }),
            ) => {
                let mut deals = dealt.clone();
                deals.sort_by_key(|deal| deal.header.index);
                deals[CHEAT] = unsigned(cluster, &acceptances);
                let question = Message::Deals {
                    sums: sums(&deals),
                    deals: deals.iter().map(|deal| excerpt(deal, to)).collect(),
                    attempt: 1,
                    ceremony: message.ceremony().unwrap(),
                };
                match ask(cluster, CHEAT, &question) {
                    Message::Acknowledged {
                        acknowledgement, ..
                    } => sets.push(acknowledgement.set),
                    other => panic!("{other:?}"),
                }
                cluster.nodes[VICTIM].crash();
                shown = Some(question);
            }
            Step::Answer(
                VICTIM,
                Message::Acknowledged {
                    acknowledgement, ..
                },
            ) => sets.push(acknowledgement.set),
            Step::Question(VICTIM, Message::Acknowledgements { .. }) => {
                match ask(cluster, CHEAT, shown.as_ref().unwrap()) {
                    Message::Refused { code, .. } => assert_eq!(code, "relay-altered"),
                    other => panic!("{other:?}"),
                }
            }
            _ => {}
        });
        cluster.assert_completed();
        assert!(sets.len() == 2 && sets[0] != sets[1]);
    }
}

/// If anything else is wrong too, the leader is blamed for the missing signature and not the dealer for the rest.
#[test]
fn nobody_is_blamed_for_an_unsigned_deal() {
    for whole in [false, true] {
        let mut cluster = Cluster::new(3, 5, 731);
        if whole {
            cluster = cluster.with_whole_deals();
        }
        let to = u16::try_from(VICTIM + 1).unwrap();
        let (mut acceptances, mut codes) = (Vec::new(), Vec::new());
        cluster.run_with(|cluster, step| match step {
            Step::Question(
                VICTIM,
                Message::Begin {
                    acceptances: all, ..
                },
            ) => acceptances.clone_from(all),
            // Beside the sums of the deals that were signed.
            Step::Question(VICTIM, Message::Deals { deals, .. }) => {
                deals[CHEAT] = excerpt(&unsigned(cluster, &acceptances), to);
            }
            Step::Question(VICTIM, Message::WholeDeals { deals, .. }) => {
                deals[CHEAT] = relay(&unsigned(cluster, &acceptances), to);
            }
            Step::Answer(VICTIM, Message::Refused { code, culprit, .. }) => {
                assert_ne!(
                    cluster.nodes[VICTIM].member.stage(),
                    MemberStage::Complained
                );
                codes.push((code.clone(), *culprit));
            }
            _ => {}
        });
        assert_eq!(codes.first(), Some(&("relay-altered".to_owned(), 0)));
    }
}

/// The first leader shows the victim a deal that the cheat has signed nowhere, and has it confirm that at once, under acknowledgements of the others
/// that it makes up. Nobody else is asked for any. Then it leads no more.
fn confirmed_alone(cluster: &mut Cluster) {
    let to = u16::try_from(VICTIM + 1).unwrap();
    let (mut acceptances, mut dealt, mut asked) = (Vec::new(), Vec::new(), Vec::new());
    let effects = cluster.leader.poll(cluster.now);
    let mut queue: std::collections::VecDeque<_> = cluster.carry_out(effects).into();
    while let Some((peer, message)) = queue.pop_front() {
        let (place, from) = (cluster.index_of(&peer), cluster.leader_id());
        if let Message::Begin {
            acceptances: all, ..
        } = &message
        {
            acceptances.clone_from(all);
        }
        if matches!(message, Message::Deals { .. }) {
            asked.push(message);
            continue;
        }
        let reply = cluster.nodes[place].serve(&from, message, &mut cluster.rng);
        if let Message::Dealt { deal, .. } = &reply {
            dealt.push((**deal).clone());
        }
        let effects = cluster.leader.handle_reply(&peer, &reply, cluster.now);
        queue.extend(cluster.carry_out(effects));
    }
    let ceremony = cluster.proposal.id();
    dealt.sort_by_key(|deal| deal.header.index);
    dealt[CHEAT] = unsigned(cluster, &acceptances);
    assert_eq!(asked.len(), dealt.len());
    let deals = Message::Deals {
        sums: sums(&dealt),
        deals: dealt.iter().map(|deal| excerpt(deal, to)).collect(),
        attempt: 1,
        ceremony,
    };
    let Message::Acknowledged {
        acknowledgement, ..
    } = ask(cluster, 0, &deals)
    else {
        panic!("{:?}", cluster.nodes[VICTIM].member.stage())
    };
    let made_up = |index| Acknowledgement {
        set: acknowledgement.set,
        index,
        signature: [0; 64],
    };
    let mut acknowledgements: Vec<_> = (1..=5).map(made_up).collect();
    // Its own it knows.
    let all = |acknowledgements: &[Acknowledgement]| Message::Acknowledgements {
        attempt: 1,
        ceremony,
        acknowledgements: acknowledgements.to_vec(),
    };
    match ask(cluster, 0, &all(&acknowledgements)) {
        Message::Refused { code, .. } => assert_eq!(code, "own-message-altered"),
        other => panic!("{other:?}"),
    }
    acknowledgements[VICTIM] = acknowledgement;
    // Of other deals nothing is said that is not signed.
    let mut others = acknowledgements.clone();
    others[CHEAT].set[0] ^= 1;
    match ask(cluster, 0, &all(&others)) {
        Message::Refused { code, culprit, .. } => {
            assert_eq!((code.as_str(), culprit), ("relay-altered", 0));
        }
        other => panic!("{other:?}"),
    }
    let answer = ask(cluster, 0, &all(&acknowledgements));
    assert!(matches!(answer, Message::Confirmed { .. }), "{answer:?}");
    assert_eq!(cluster.nodes[VICTIM].member.stage(), MemberStage::Confirmed);
}

/// What it has confirmed comes to nothing, the honest leader begins the next attempt for its sake, and nobody is left out.
#[test]
fn who_has_confirmed_made_up_deals_is_not_blamed_and_the_next_attempt_makes_the_key() {
    for crashes in [false, true] {
        let mut cluster = Cluster::with_absent(3, 5, 1, 733);
        confirmed_alone(&mut cluster);
        if crashes {
            cluster.nodes[VICTIM].crash();
        }
        cluster.now = cluster.nodes[HONEST].member.takes_over_at(NOW).unwrap();
        let mut said = Vec::new();
        let leader = lead(&mut cluster, HONEST, &[], |_, place, question, reply| {
            if let (VICTIM, Message::Refused { code, culprit, .. }) = (place, &reply) {
                said.push((question.attempt(), code.clone(), *culprit));
            }
            Some(reply)
        });
        let refused = (Some(1), "false-deals".to_owned(), 0);
        assert!(said.contains(&refused), "{said:?}");
        assert_eq!(leader.progress().phase, LeaderPhase::Completed);
        assert!(leader.exclusions().is_empty(), "{:?}", leader.exclusions());
        cluster.assert_one_result();
        for node in &cluster.nodes {
            assert_eq!((node.activations, node.member.attempt()), (1, Some(2)));
        }
    }
}

/// In a reshare a dealer that leaves acknowledges nothing: there the signatures are verified at once.
#[test]
fn a_deal_of_a_dealer_that_leaves_needs_its_signature() {
    let mut world = World::new(732);
    let base = world.create(2, &["a", "b", "c"]);
    let terms = world.reshare(&base, 2, &["x", "y", "z"]);
    let mut run = world.propose(terms);
    let proposal = run.proposal.clone();
    let mut refused = 0;
    world.run(&mut run, |world, name, event| {
        if let Event::Question(Message::Deals {
            sums,
            deals,
            attempt,
            ceremony,
        }) = event
        {
            let mut deals = deals.clone();
            deals[0].header.signature[0] ^= 1;
            let question = Message::Deals {
                sums: sums.clone(),
                deals,
                attempt: *attempt,
                ceremony: *ceremony,
            };
            match world.ask(&proposal, name, &question) {
                Message::Refused { code, .. } => assert_eq!(code, "relay-altered"),
                other => panic!("{other:?}"),
            }
            refused += 1;
        }
    });
    assert_eq!(refused, 3);
    let result = world.certified(&run).name();
    assert_eq!(world.secret(&result), world.secret(&base));
}
