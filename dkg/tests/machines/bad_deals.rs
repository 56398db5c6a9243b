//! Deals that are wrong, dealt to an honest leader and relayed by an accomplice, whole and in excerpts. Each is refused, and its dealer
//! named.

use curve25519_dalek::{RistrettoPoint, Scalar};
use dkg::{Acceptance, Deal, DealFault, Fault, MemberStage, Message};
use reencrypt::Point;

use crate::cluster::{Cluster, Step};
use crate::dealer::{self, Dealer, encryption_secret, excerpt, relay};

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
const SHOWN_BY_EXCERPTS: [&str; 1] = ["deal-proof"];

fn dealer(cluster: &Cluster, acceptances: &[Acceptance], place: usize) -> Dealer {
    Dealer::new(
        &cluster.proposal,
        acceptances,
        index(place),
        encryption_secret(cluster.nodes[place].state()),
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

/// Whether c_ij opens under a pad from this point, to a share that fits the deal.
fn opens(
    params: &[u8],
    acceptances: &[Acceptance],
    deal: &Deal,
    (from, to): (usize, usize),
    shared: &[u8; 32],
) -> bool {
    let header = &deal.header;
    let pad = dealer::pad(
        params,
        (index(from), index(to)),
        (&header.constant, &header.commitments_hash),
        (
            &acceptances[from].encryption_key,
            &acceptances[to].encryption_key,
        ),
        shared,
    );
    let ciphertext = deal.ciphertexts.as_chunks::<32>().0[to];
    let share = Scalar::from_canonical_bytes(ciphertext).unwrap() - pad;
    let point = |bytes: &[u8; 32]| *Point::from_bytes(bytes).unwrap().as_ristretto();
    let rest = deal.commitments.as_chunks::<32>().0.iter().map(point);
    let expected: RistrettoPoint = std::iter::once(point(&header.constant))
        .chain(rest)
        .rev()
        .fold(RistrettoPoint::default(), |value, commitment| {
            value * Scalar::from(index(to)) + commitment
        });
    RistrettoPoint::mul_base(&share) == expected
}

/// An opening gives away what the cheat and the victim have dealt to each other, which the cheat knows without it; of what
/// anybody else has dealt or was dealt it says nothing.
#[test]
fn a_complaint_opens_nothing_that_the_cheat_did_not_know() {
    let mut cluster = Cluster::new(3, 5, 13);
    let (mut acceptances, mut opening): (Vec<Acceptance>, _) = (Vec::new(), None);
    let (mut deals, mut secret) = (std::collections::BTreeMap::new(), None);
    cluster.run_with(|cluster, step| match step {
        Step::Question(
            CHEAT,
            Message::Begin {
                acceptances: all, ..
            },
        ) => acceptances.clone_from(all),
        Step::Answer(place, Message::Dealt { deal, .. }) => {
            if place == CHEAT {
                let mut cheat = dealer(cluster, &acceptances, CHEAT);
                let wrong = cheat.share(index(VICTIM)) + Scalar::ONE;
                cheat.encrypt(index(VICTIM), wrong, &acceptances[VICTIM].encryption_key);
                **deal = cheat.finish(&cluster.nodes[CHEAT].local.identity);
                secret = Some(cheat.secret);
            }
            deals.insert(place, deal.clone());
        }
        Step::Answer(CHEAT, reply @ Message::Refused { .. }) => {
            *reply = Message::Pending {
                ceremony: cluster.proposal.id(),
            };
        }
        Step::Answer(VICTIM, Message::Complained { complaints, .. }) => {
            assert_eq!(complaints.complaints.len(), 1, "of nobody else");
            opening = Some(complaints.complaints[0].opening);
        }
        _ => {}
    });
    cluster.assert_failed_by(CHEAT, "deal-share");
    let opening = opening.unwrap();
    let of_victim = Point::from_bytes(&acceptances[VICTIM].encryption_key).unwrap();
    let known = secret.unwrap() * of_victim.as_ristretto();
    assert_eq!(known.compress().to_bytes(), opening, "the cheat knows it");
    let params = dealer::params(&cluster.proposal, 1, &acceptances);
    for (from, deal) in &deals {
        for to in 0..5 {
            let opened = opens(&params, &acceptances, deal, (*from, to), &opening);
            assert_eq!(opened, (*from, to) == (VICTIM, CHEAT), "{from} to {to}");
        }
    }
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
    assert_void("deal-proof", &|cluster, acceptances| {
        let mut dealer = dealer(cluster, acceptances, CHEAT);
        let rogue = RistrettoPoint::mul_base(&Scalar::from(5u8))
            - RistrettoPoint::mul_base(&dealer.polynomial[0]);
        dealer.commitments[0] = rogue.compress().to_bytes();
        dealer.finish(&cluster.nodes[CHEAT].local.identity)
    });
    // A proof that is no proof.
    assert_void("deal-proof", &|cluster, acceptances| {
        let dealer = dealer(cluster, acceptances, CHEAT);
        dealer.finish_with(&cluster.nodes[CHEAT].local.identity, [255; 64])
    });
    // Another's point as the constant term, with the one secret that it knows in the place of both.
    assert_void("deal-proof", &|cluster, acceptances| {
        let mut dealer = dealer(cluster, acceptances, CHEAT);
        dealer.commitments[0] = acceptances[VICTIM].encryption_key;
        let proof = dealer.proof(dealer.secret, dealer.secret);
        dealer.finish_with(&cluster.nodes[CHEAT].local.identity, proof)
    });
    // Constant term and proof copied from another dealer, word for word.
    assert_void("deal-proof", &|cluster, acceptances| {
        let mut honest = dealer(cluster, acceptances, 3);
        let copied = honest.finish(&cluster.nodes[3].local.identity).header;
        let mut dealer = dealer(cluster, acceptances, CHEAT);
        dealer.commitments[0] = copied.constant;
        dealer.finish_with(&cluster.nodes[CHEAT].local.identity, copied.proof)
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
