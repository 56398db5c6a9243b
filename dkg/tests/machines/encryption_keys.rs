//! Encryption keys that a member signed two of, shares with another, or made from another's.

use curve25519_dalek::{RistrettoPoint, Scalar};
use dkg::{Acceptance, Fault, MemberStage, Message};
use rand::SeedableRng;
use rand::rngs::StdRng;
use reencrypt::{Point, SecretScalar};

use crate::cluster::{Cluster, Step};
use crate::dealer::{self, encryption_secret};
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
    dealer::acceptance(
        &cluster.proposal,
        index(place),
        key,
        *secret.expose(),
        identity,
    )
}

#[test]
fn one_encryption_key_of_two_members_is_refused() {
    let mut cluster = Cluster::new(2, 3, 12);
    cluster.run_with(|cluster, step| {
        if let Step::Answer(
            CHEAT,
            Message::Accepted {
                acceptance: own, ..
            },
        ) = step
        {
            // It has seen the other's disk: without it there is no proof.
            let stolen = encryption_secret(cluster.nodes[0].state());
            *own = acceptance(cluster, CHEAT, &SecretScalar::from_scalar(stolen).unwrap());
        }
    });
    cluster.assert_failed_by(CHEAT, "encryption-key-taken");
}

/// A complaint of the cheat's deal opens n_j·N_i. Were N_i made from an honest member's N_k, it would open what k and j deal to each
/// other. Such a key is void before anything is dealt under it, whoever leads.
#[test]
fn an_encryption_key_made_from_another_members_is_void() {
    type Forge = fn(&Cluster, &Acceptance) -> Acceptance;
    fn forged(cluster: &Cluster, key: RistrettoPoint, known: Scalar) -> Acceptance {
        let identity = &cluster.nodes[CHEAT].local.identity;
        let key = key.compress().to_bytes();
        dealer::acceptance(&cluster.proposal, index(CHEAT), key, known, identity)
    }
    fn point(of: &Acceptance) -> RistrettoPoint {
        *Point::from_bytes(&of.encryption_key)
            .unwrap()
            .as_ristretto()
    }
    let ways: [Forge; 6] = [
        // Word for word, and with another's proof.
        |cluster, honest| {
            let (key, proof) = (honest.encryption_key, honest.proof);
            let identity = &cluster.nodes[CHEAT].local.identity;
            dealer::sign_acceptance(&cluster.proposal, index(CHEAT), key, proof, identity)
        },
        // A multiple of it, the negated one, one that differs by a known point.
        |cluster, honest| {
            forged(
                cluster,
                point(honest) * Scalar::from(3u8),
                Scalar::from(3u8),
            )
        },
        |cluster, honest| forged(cluster, -point(honest), -Scalar::ONE),
        |cluster, honest| {
            let shift = Scalar::from(5u8);
            forged(
                cluster,
                point(honest) + RistrettoPoint::mul_base(&shift),
                shift,
            )
        },
        // No point, and a proof that is none.
        |cluster, honest| {
            let identity = &cluster.nodes[CHEAT].local.identity;
            let (key, proof) = ([0; 32], honest.proof);
            dealer::sign_acceptance(&cluster.proposal, index(CHEAT), key, proof, identity)
        },
        |cluster, honest| {
            let identity = &cluster.nodes[CHEAT].local.identity;
            let (key, proof) = (honest.encryption_key, [255; 64]);
            dealer::sign_acceptance(&cluster.proposal, index(CHEAT), key, proof, identity)
        },
    ];
    for (seed, forge) in (700..).zip(ways) {
        // An honest leader does not take it.
        let mut cluster = Cluster::new(2, 3, seed);
        let mut honest = None;
        cluster.run_with(|cluster, step| match step {
            Step::Answer(0, Message::Accepted { acceptance, .. }) => {
                honest = Some(acceptance.clone());
            }
            Step::Answer(CHEAT, Message::Accepted { acceptance, .. }) => {
                *acceptance = forge(cluster, honest.as_ref().unwrap());
            }
            _ => {}
        });
        cluster.assert_failed_by(CHEAT, "acceptance-invalid");
        // One that relays it gets no deal.
        let mut cluster = Cluster::new(2, 3, seed);
        let (mut answers, mut dealt) = (Vec::new(), 0);
        cluster.run_with(|cluster, step| match step {
            Step::Question(VICTIM, Message::Begin { acceptances, .. }) => {
                let honest = acceptances[0].clone();
                acceptances[CHEAT] = forge(cluster, &honest);
            }
            Step::Answer(VICTIM, Message::Refused { code, culprit, .. }) => {
                answers.push((code.clone(), *culprit));
                assert_eq!(cluster.nodes[VICTIM].member.stage(), MemberStage::Accepted);
            }
            Step::Answer(VICTIM, Message::Dealt { .. }) => dealt += 1,
            _ => {}
        });
        let refused = ("acceptance-invalid".to_owned(), index(CHEAT));
        assert_eq!((answers.first(), dealt), (Some(&refused), 0));
    }
}
