//! Deals that are wrong, dealt to an honest leader and relayed by an accomplice, whole and in excerpts. Each is refused, and its dealer
//! named.

use curve25519_dalek::{RistrettoPoint, Scalar};
use dkg::{Acceptance, Deal, DealFault, Fault, MemberStage, Message};

use crate::cluster::{Cluster, Step};
use crate::dealer::{Dealer, excerpt, relay};

/// 0-based: the dealer that cheats, and the member that is cheated. Neither leads.
const CHEAT: usize = 1;
const VICTIM: usize = 2;

fn index(place: usize) -> u16 {
    u16::try_from(place + 1).unwrap()
}

/// What a cheating dealer deals instead, given everybody's acceptances.
type Cheat<'a> = dyn Fn(&Cluster, &[Acceptance]) -> Deal + 'a;

/// The dealer gives the leader its deal: whoever finds out first names it.
fn dealt_to_the_leader(cluster: &mut Cluster, cheat: &Cheat<'_>) {
    let mut acceptances = Vec::new();
    cluster.run_with(|cluster, step| match step {
        Step::Question(
            CHEAT,
            Message::Begin {
                acceptances: all, ..
            },
        ) => acceptances.clone_from(all),
        Step::Answer(CHEAT, Message::Dealt { deal, .. }) => **deal = cheat(cluster, &acceptances),
        // The cheat itself finds its own deal in order.
        Step::Answer(CHEAT, reply @ Message::Refused { .. }) => {
            *reply = Message::Pending {
                ceremony: cluster.proposal.id(),
            };
        }
        _ => {}
    });
}

/// The leader is an accomplice: it relays the deal without looking at it, beside the sums of the honest deals or whole. Returns what the
/// victim answers.
fn relayed_by_the_leader(cluster: &mut Cluster, cheat: &Cheat<'_>) -> Message {
    let mut acceptances = Vec::new();
    let mut verdict = None;
    cluster.run_with(|cluster, step| match step {
        Step::Question(
            CHEAT,
            Message::Begin {
                acceptances: all, ..
            },
        ) => acceptances.clone_from(all),
        Step::Question(VICTIM, Message::Deals { deals, .. }) => {
            deals[CHEAT] = excerpt(&cheat(cluster, &acceptances), index(VICTIM));
        }
        Step::Question(VICTIM, Message::WholeDeals { deals, .. }) => {
            deals[CHEAT] = relay(&cheat(cluster, &acceptances), index(VICTIM));
        }
        Step::Answer(
            VICTIM,
            reply @ (Message::Refused { .. }
            | Message::Complained { .. }
            | Message::DealsWanted { .. }),
        ) => {
            verdict.get_or_insert_with(|| reply.clone());
        }
        _ => {}
    });
    assert!(cluster.nodes.iter().all(|node| node.key.is_none()));
    verdict.unwrap()
}

/// All ways, for a deal that is void by what its dealer signed. What only the whole deal shows leads to a call for it.
fn assert_void(code: &str, cheat: &Cheat<'_>) {
    let mut cluster = Cluster::new(3, 5, 1);
    dealt_to_the_leader(&mut cluster, cheat);
    cluster.assert_failed_by(CHEAT, code);

    let whole = Cluster::new(3, 5, 2).with_whole_deals();
    for (mut cluster, is_whole) in [(Cluster::new(3, 5, 2), false), (whole, true)] {
        match relayed_by_the_leader(&mut cluster, cheat) {
            Message::Refused {
                code: got, culprit, ..
            } => assert_eq!((got.as_str(), culprit), (code, index(CHEAT))),
            Message::DealsWanted { .. } if !is_whole && !SHOWN_BY_EXCERPTS.contains(&code) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(
            cluster.nodes[VICTIM].member.stage(),
            MemberStage::Closed,
            "closed when it was called off"
        );
    }
}

/// What the signed part of a deal shows by itself.
const SHOWN_BY_EXCERPTS: [&str; 3] = [
    "deal-constant-proof",
    "deal-ephemeral",
    "deal-ephemeral-proof",
];

fn dealer(cluster: &Cluster, acceptances: &[Acceptance], place: usize) -> Dealer {
    Dealer::new(
        &cluster.proposal,
        acceptances,
        index(place),
        1000 + place as u64,
    )
}

#[test]
fn an_honest_deal_made_from_the_documents_is_accepted() {
    let mut cluster = Cluster::new(3, 5, 3);
    let made = std::cell::RefCell::new(None);
    let mut acceptances = Vec::new();
    cluster.run_with(|cluster, step| match step {
        Step::Question(
            CHEAT,
            Message::Begin {
                acceptances: all, ..
            },
        ) => acceptances.clone_from(all),
        Step::Answer(CHEAT, Message::Dealt { deal, .. }) => {
            **deal =
                dealer(cluster, &acceptances, CHEAT).finish(&cluster.nodes[CHEAT].local.identity);
            *made.borrow_mut() = Some(deal.clone());
        }
        // Its own machine knows another deal, and refuses; the others must not.
        Step::Answer(
            place,
            Message::Acknowledged {
                acknowledgement, ..
            },
        ) => {
            assert!(place != CHEAT && acknowledgement.index == index(place));
        }
        _ => {}
    });
    assert!(made.borrow().is_some());
    let (name, fault) = cluster.culprits().remove(0);
    assert_eq!(name, cluster.nodes[CHEAT].card.name);
    assert!(matches!(fault, Fault::Refused { code, .. } if code == "own-message-altered"));
}

#[test]
fn a_bad_share_is_complained_of_and_its_dealer_named() {
    let cheat = |cluster: &Cluster, acceptances: &[Acceptance]| {
        let mut dealer = dealer(cluster, acceptances, CHEAT);
        let wrong = dealer.share(index(VICTIM)) + Scalar::ONE;
        dealer.encrypt(index(VICTIM), wrong, &acceptances[VICTIM].encryption_key);
        dealer.finish(&cluster.nodes[CHEAT].local.identity)
    };
    let mut cluster = Cluster::new(3, 5, 4);
    dealt_to_the_leader(&mut cluster, &cheat);
    cluster.assert_failed_by(CHEAT, "deal-share");
    assert_eq!(
        cluster.culprits()[0].1,
        Fault::BadDeal {
            dealer: index(CHEAT),
            reason: DealFault::Share { to: index(VICTIM) }
        }
    );
}

#[test]
fn a_ciphertext_that_is_no_scalar_is_complained_of() {
    let cheat = |cluster: &Cluster, acceptances: &[Acceptance]| {
        let mut dealer = dealer(cluster, acceptances, CHEAT);
        dealer.ciphertexts[VICTIM] = [255; 32];
        dealer.finish(&cluster.nodes[CHEAT].local.identity)
    };
    let mut cluster = Cluster::new(3, 5, 5);
    dealt_to_the_leader(&mut cluster, &cheat);
    cluster.assert_failed_by(CHEAT, "deal-share");
}

#[test]
fn whole_deals_with_errors_that_cancel_in_the_sum_name_both_dealers() {
    let mut cluster = Cluster::new(3, 5, 6).with_whole_deals();
    let mut acceptances: Vec<Acceptance> = Vec::new();
    cluster.run_with(|cluster, step| match step {
        Step::Question(
            _,
            Message::Begin {
                acceptances: all, ..
            },
        ) => acceptances.clone_from(all),
        Step::Answer(place @ (1 | 3), Message::Dealt { deal, .. }) => {
            let mut dealer = dealer(cluster, &acceptances, place);
            let error = if place == 1 {
                Scalar::ONE
            } else {
                -Scalar::ONE
            };
            let wrong = dealer.share(index(VICTIM)) + error;
            dealer.encrypt(index(VICTIM), wrong, &acceptances[VICTIM].encryption_key);
            **deal = dealer.finish(&cluster.nodes[place].local.identity);
        }
        Step::Answer(1 | 3, reply @ Message::Refused { .. }) => {
            *reply = Message::Pending {
                ceremony: cluster.proposal.id(),
            };
        }
        _ => {}
    });
    let culprits: Vec<u16> = cluster
        .culprits()
        .iter()
        .filter_map(|(_, fault)| fault.culprit())
        .collect();
    assert_eq!(culprits, [2, 4]);
    assert!(
        cluster
            .culprits()
            .iter()
            .all(|(_, fault)| fault.code() == "deal-share")
    );
}

#[test]
fn a_constant_term_that_the_dealer_does_not_know_voids_the_deal() {
    // A_0 chosen as another point than the polynomial's: a rogue key.
    assert_void("deal-constant-proof", &|cluster, acceptances| {
        let mut dealer = dealer(cluster, acceptances, CHEAT);
        let rogue = RistrettoPoint::mul_base(&Scalar::from(5u8))
            - RistrettoPoint::mul_base(&dealer.polynomial[0]);
        dealer.commitments[0] = rogue.compress().to_bytes();
        dealer.finish(&cluster.nodes[CHEAT].local.identity)
    });
    // A proof that is no proof.
    assert_void("deal-constant-proof", &|cluster, acceptances| {
        let mut dealer = dealer(cluster, acceptances, CHEAT);
        let ephemeral = dealer.ephemeral;
        let secret = dealer.e;
        let true_one = dealer.proof("cryptonode/v1/dkg-proof-ephemeral", secret, &ephemeral);
        dealer.finish_with(&cluster.nodes[CHEAT].local.identity, [255; 64], true_one)
    });
}

#[test]
fn an_e_that_the_dealer_does_not_know_voids_the_deal() {
    // E = c·E_k, made from another dealer's, so that complaints against it would open that dealer's shares.
    assert_void("deal-ephemeral-proof", &|cluster, acceptances| {
        let honest = dealer(cluster, acceptances, 3);
        let mut dealer = dealer(cluster, acceptances, CHEAT);
        dealer.ephemeral = RistrettoPoint::mul_base(&(honest.e * Scalar::from(3u8)))
            .compress()
            .to_bytes();
        dealer.finish(&cluster.nodes[CHEAT].local.identity)
    });
    // E and its proof copied from another dealer, word for word.
    assert_void("deal-ephemeral-proof", &|cluster, acceptances| {
        let mut honest = dealer(cluster, acceptances, 3);
        let mut dealer = dealer(cluster, acceptances, CHEAT);
        let copied = honest
            .finish(&cluster.nodes[3].local.identity)
            .header
            .ephemeral_proof;
        dealer.ephemeral = honest.ephemeral;
        let constant = dealer.commitments[0];
        let known = dealer.polynomial[0];
        let true_one = dealer.proof("cryptonode/v1/dkg-proof-constant", known, &constant);
        dealer.finish_with(&cluster.nodes[CHEAT].local.identity, true_one, copied)
    });
    // One proof serves one purpose: that of the constant term is none of e.
    assert_void("deal-ephemeral-proof", &|cluster, acceptances| {
        let mut dealer = dealer(cluster, acceptances, CHEAT);
        dealer.e = dealer.polynomial[0];
        dealer.ephemeral = dealer.commitments[0];
        let (secret, point) = (dealer.e, dealer.ephemeral);
        let proof = dealer.proof("cryptonode/v1/dkg-proof-constant", secret, &point);
        dealer.finish_with(&cluster.nodes[CHEAT].local.identity, proof, proof)
    });
}

#[test]
fn a_wrong_number_of_commitments_voids_the_deal() {
    assert_void("deal-commitment-count", &|cluster, acceptances| {
        let mut dealer = dealer(cluster, acceptances, CHEAT);
        dealer.commitments.pop();
        dealer.finish(&cluster.nodes[CHEAT].local.identity)
    });
    // A polynomial of a higher degree: shares fit, but t of them would not open.
    assert_void("deal-commitment-count", &|cluster, acceptances| {
        let mut dealer = dealer(cluster, acceptances, CHEAT);
        dealer.polynomial.push(Scalar::from(9u8));
        dealer.commitments.push(
            RistrettoPoint::mul_base(&Scalar::from(9u8))
                .compress()
                .to_bytes(),
        );
        for (to, acceptance) in (1..).zip(acceptances) {
            let share = dealer.share(to);
            dealer.encrypt(to, share, &acceptance.encryption_key);
        }
        dealer.finish(&cluster.nodes[CHEAT].local.identity)
    });
}

#[test]
fn an_identity_commitment_voids_the_deal() {
    for place in [0, 2] {
        assert_void("deal-commitment", &|cluster, acceptances| {
            let mut dealer = dealer(cluster, acceptances, CHEAT);
            dealer.commitments[place] = [0; 32];
            dealer.finish(&cluster.nodes[CHEAT].local.identity)
        });
    }
    assert_void("deal-ephemeral", &|cluster, acceptances| {
        let mut dealer = dealer(cluster, acceptances, CHEAT);
        dealer.ephemeral = [0; 32];
        dealer.finish(&cluster.nodes[CHEAT].local.identity)
    });
}

#[test]
fn a_dealer_that_cheats_the_leader_alone_is_named_by_it() {
    let cases: [(&str, &Cheat<'_>); 4] = [
        ("deal-ciphertext-count", &|cluster, acceptances| {
            let mut dealer = dealer(cluster, acceptances, CHEAT);
            dealer.ciphertexts.pop();
            dealer.finish(&cluster.nodes[CHEAT].local.identity)
        }),
        ("deal-signature", &|cluster, acceptances| {
            dealer(cluster, acceptances, CHEAT).finish(&cluster.nodes[3].local.identity)
        }),
        ("deal-index", &|cluster, acceptances| {
            dealer(cluster, acceptances, 3).finish(&cluster.nodes[CHEAT].local.identity)
        }),
        ("deal-ciphertexts-root", &|cluster, acceptances| {
            let mut deal =
                dealer(cluster, acceptances, CHEAT).finish(&cluster.nodes[CHEAT].local.identity);
            deal.ciphertexts[40] ^= 1;
            deal
        }),
    ];
    for (code, cheat) in cases {
        let mut cluster = Cluster::new(3, 5, 7);
        dealt_to_the_leader(&mut cluster, cheat);
        cluster.assert_failed_by(CHEAT, code);
    }
}
