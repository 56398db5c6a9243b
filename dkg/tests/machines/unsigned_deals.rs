//! Deals that their dealers have not signed: a member whose dealers also acknowledge does not verify the signatures while all else is right.

use dkg::{Acceptance, Deal, MemberStage, Message};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::cluster::{Cluster, Step};
use crate::dealer::{Dealer, encryption_secret, excerpt, relay, sums};
use crate::world::{Event, World};

/// 0-based: the member that cheats, and the member that is cheated. Neither leads.
const CHEAT: usize = 1;
const VICTIM: usize = 2;

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
