//! Encryption keys of which a member signed two, and those made from another's.

use curve25519_dalek::{RistrettoPoint, Scalar};
use dkg::{Acceptance, Deal, Fault, Grounds, Message};
use rand::SeedableRng;
use rand::rngs::StdRng;
use reencrypt::{Point, SecretScalar};

use crate::cluster::{Cluster, Outcome, Step};
use crate::dealer::{self, Dealer, encryption_secret};
use crate::false_words::evidence_of;

/// 0-based: the member that cheats, and the member that is cheated. Neither leads.
const CHEAT: usize = 1;
const VICTIM: usize = 2;

fn index(place: usize) -> u16 {
    u16::try_from(place + 1).unwrap()
}

#[test]
fn two_encryption_keys_of_one_member_are_evidence_against_it() {
    let mut cluster = Cluster::new(2, 3, 11);
    let rng = &mut StdRng::seed_from_u64(3);
    let mut tried = false;
    cluster.run_with(|cluster, step| {
        if let Step::Question(VICTIM, Message::Acknowledgements { ceremony, .. }) = step {
            let (ceremony, from) = (*ceremony, cluster.leader_id());
            let acceptances: Vec<Acceptance> = (0..3)
                .map(|place| acceptance(cluster, place, &SecretScalar::random(rng)))
                .collect();
            let question = Message::Begin {
                ceremony,
                attempt: 1,
                excluded: Vec::new(),
                acceptances,
            };
            let fault = evidence_of(cluster, &from, question, rng);
            assert!(matches!(fault, Fault::TwoAcceptances { member: 1, .. }));
            tried = true;
        }
    });
    assert!(tried);
    cluster.assert_completed();
}

/// An acceptance of a member with an encryption secret that the test knows.
pub fn acceptance(cluster: &Cluster, place: usize, secret: &SecretScalar) -> Acceptance {
    let key = *secret.public().as_bytes();
    let identity = &cluster.nodes[place].local.identity;
    dealer::acceptance(&cluster.proposal, index(place), key, identity)
}

/// N of the cheat, and what it takes for its secret.
type Forge = fn(&Acceptance) -> (RistrettoPoint, Scalar);

/// Ways to take part with an N made from an honest member's: word for word, a multiple of it, the negated one, one that differs by a
/// known point.
const FORGERIES: [Forge; 4] = [
    |honest| (point(honest), Scalar::ONE),
    |honest| (point(honest) * Scalar::from(3u8), Scalar::from(3u8)),
    |honest| (-point(honest), -Scalar::ONE),
    |honest| {
        let shift = Scalar::from(5u8);
        (point(honest) + RistrettoPoint::mul_base(&shift), shift)
    },
];

fn point(of: &Acceptance) -> RistrettoPoint {
    *Point::from_bytes(&of.encryption_key)
        .unwrap()
        .as_ristretto()
}

/// What the cheat deals under its key, with a wrong share for the victim.
fn deal(cluster: &Cluster, acceptances: &[Acceptance], secret: Scalar) -> Deal {
    let mut dealer = Dealer::new(&cluster.proposal, acceptances, index(CHEAT), secret, 7);
    dealer.encryption_key = acceptances[CHEAT].encryption_key;
    let wrong = dealer.share(index(VICTIM)) + Scalar::ONE;
    dealer.encrypt(index(VICTIM), wrong, &acceptances[VICTIM].encryption_key);
    dealer.finish(&cluster.nodes[CHEAT].local.identity)
}

/// An honest leader finds the cheat's deal void, and goes on without it where the proposal allows.
#[test]
fn who_takes_part_under_a_key_made_from_anothers_is_named_by_its_deal() {
    for ((seed, forge), absent) in (700..).zip(FORGERIES).flat_map(|one| [(one, 0), (one, 1)]) {
        let mut cluster = Cluster::with_absent(2, 4, absent, seed);
        let (mut honest, mut known, mut acceptances) = (None, None, Vec::new());
        cluster.run_with(|cluster, step| match step {
            Step::Answer(0, Message::Accepted { acceptance, .. }) => {
                honest.get_or_insert_with(|| acceptance.clone());
            }
            Step::Answer(CHEAT, Message::Accepted { acceptance, .. }) => {
                let (key, secret) = forge(honest.as_ref().unwrap());
                let identity = &cluster.nodes[CHEAT].local.identity;
                let key = key.compress().to_bytes();
                *acceptance = dealer::acceptance(&cluster.proposal, index(CHEAT), key, identity);
                known = Some(secret);
            }
            Step::Question(
                CHEAT,
                Message::Begin {
                    acceptances: all,
                    attempt: 1,
                    ..
                },
            ) => acceptances.clone_from(all),
            // Its own machine finds its acceptance altered.
            Step::Answer(CHEAT, reply @ Message::Refused { .. }) if !acceptances.is_empty() => {
                *reply = Message::Dealt {
                    deal: Box::new(deal(cluster, &acceptances, known.unwrap())),
                    attempt: 1,
                    ceremony: cluster.proposal.id(),
                };
            }
            _ => {}
        });
        if absent == 0 {
            cluster.assert_failed_by(CHEAT, "deal-proof");
            continue;
        }
        assert!(matches!(cluster.outcome, Some(Outcome::Completed)));
        let [excluded] = cluster.leader.exclusions() else {
            panic!("{:?}", cluster.leader.exclusions())
        };
        assert_eq!(excluded.member, index(CHEAT));
        assert!(matches!(excluded.grounds, Grounds::VoidDeal(_)));
    }
}

/// What the victim answers to the deals, in excerpts and whole, when the leader is an accomplice and asks for it by hand.
fn asked_by_an_accomplice(cluster: &mut Cluster, forge: Option<Forge>) -> [Message; 2] {
    let (leader, ceremony) = (cluster.leader_id(), cluster.proposal.id());
    let identity = cluster.nodes[0].local.identity.clone();
    let proposal = cluster.proposal.sign(&identity).unwrap();
    let rng = &mut StdRng::seed_from_u64(1);
    let mut ask = |cluster: &mut Cluster, place: usize, question: &Message| {
        cluster.nodes[place].serve(&leader, question.clone(), rng)
    };
    let mut acceptances = Vec::new();
    for place in 0..4 {
        let question = Message::Propose {
            proposal: proposal.clone(),
        };
        match ask(cluster, place, &question) {
            Message::Accepted { acceptance, .. } => acceptances.push(acceptance),
            other => panic!("{other:?}"),
        }
    }
    let mut known = encryption_secret(cluster.nodes[CHEAT].state());
    if let Some(forge) = forge {
        let (key, secret) = forge(&acceptances[0]);
        let (identity, key) = (
            &cluster.nodes[CHEAT].local.identity,
            key.compress().to_bytes(),
        );
        acceptances[CHEAT] = dealer::acceptance(&cluster.proposal, index(CHEAT), key, identity);
        known = secret;
    }
    let begin = Message::Begin {
        attempt: 1,
        ceremony,
        excluded: Vec::new(),
        acceptances: acceptances.clone(),
    };
    let deals: Vec<Deal> = (0..4)
        .map(|place| {
            if place == CHEAT {
                return deal(cluster, &acceptances, known);
            }
            match ask(cluster, place, &begin) {
                Message::Dealt { deal, .. } => *deal,
                other => panic!("{other:?}"),
            }
        })
        .collect();
    let excerpts = Message::Deals {
        sums: dealer::sums(&deals),
        deals: deals
            .iter()
            .map(|deal| dealer::excerpt(deal, index(VICTIM)))
            .collect(),
        attempt: 1,
        ceremony,
    };
    let whole = Message::WholeDeals {
        deals: deals
            .iter()
            .map(|deal| dealer::relay(deal, index(VICTIM)))
            .collect(),
        attempt: 1,
        ceremony,
    };
    [excerpts, whole].map(|question| ask(cluster, VICTIM, &question))
}

/// A complaint of the cheat's deal opens n_j·N_i. Were N_i made from an honest member's N_k, it would open what k and j deal to each
/// other. Nobody complains of such a deal, whoever leads.
#[test]
fn nobody_complains_of_a_deal_under_a_key_made_from_anothers() {
    for (seed, forge) in (720..).zip(FORGERIES) {
        let mut cluster = Cluster::new(2, 4, seed);
        for answer in asked_by_an_accomplice(&mut cluster, Some(forge)) {
            match answer {
                Message::Refused { code, culprit, .. } => {
                    assert_eq!((code.as_str(), culprit), ("deal-proof", index(CHEAT)));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    // The twin: under a key of its own the same wrong share is complained of.
    let mut cluster = Cluster::new(2, 4, 719);
    let [summed, whole] = asked_by_an_accomplice(&mut cluster, None);
    assert!(matches!(summed, Message::DealsWanted { .. }), "{summed:?}");
    assert!(matches!(whole, Message::Complained { .. }), "{whole:?}");
}
