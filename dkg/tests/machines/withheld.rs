//! A certificate that its leader keeps to itself, goes on without, and brings out later: whoever has confirmed holds its share of both results.

use std::collections::BTreeMap;

use curve25519_dalek::{RistrettoPoint, Scalar};
use dkg::{ActivatedKey, Message};

use crate::cluster::{Cluster, Outcome};
use crate::simulation::secrecy::subsets;
use crate::world::interpolate;

#[test]
fn a_certificate_that_was_withheld_is_followed_when_it_comes_out() {
    // All confirm the first attempt. The leader keeps the last confirmation to itself, goes on without that member, and brings
    // the first certificate out when the second attempt is under way, or done.
    for late in ["begin", "deals", "acknowledgements", "certificate", "done"] {
        let mut cluster = Cluster::with_absent(2, 4, 1, 306);
        // The same ceremony, led honestly to its end: its certificate is that of the first attempt.
        let mut withheld: Option<Vec<u8>> = None;
        let mut confirmed: BTreeMap<u16, dkg::Confirmation> = BTreeMap::new();
        let mut shadow: Option<dkg::Leader> = None;
        let mut activated_first = false;
        cluster.run_lossy(|cluster, place, message, reply| {
            if let Message::Confirmed {
                attempt: 1,
                confirmation,
                ..
            } = &reply
            {
                confirmed.insert(confirmation.index, confirmation.clone());
                if shadow.is_none() {
                    shadow =
                        Some(dkg::Leader::restore(cluster.leader_disk.as_ref().unwrap()).unwrap());
                }
                if confirmed.len() == 4
                    && let Some(shadow) = &mut shadow
                {
                    let _ = shadow.poll(cluster.now);
                    for (index, confirmation) in &confirmed {
                        let from = cluster.nodes[usize::from(*index) - 1].card.identity;
                        let reply = Message::Confirmed {
                            ceremony: cluster.proposal.id(),
                            attempt: 1,
                            confirmation: confirmation.clone(),
                        };
                        for effect in shadow.handle_reply(&from, &reply, cluster.now) {
                            if let dkg::LeaderEffect::Certified { certificate } = effect {
                                withheld = Some(certificate);
                            }
                        }
                    }
                }
            }
            let second = message.attempt() == Some(2) || message.name() == "certificate";
            if place == 1 && second && message.name() == late && !activated_first {
                activated_first = true;
                let question = Message::Certificate {
                    ceremony: cluster.proposal.id(),
                    certificate: serde_bytes::ByteBuf::from(withheld.clone().unwrap()),
                    public_shares: serde_bytes::ByteBuf::new(),
                };
                let from = cluster.leader_id();
                let answer = cluster.nodes[1].serve(&from, question, &mut cluster.rng);
                assert!(
                    matches!(answer, Message::Activated { .. }),
                    "{late}: {answer:?}"
                );
                let key = cluster.nodes[1].key.as_ref().unwrap();
                key.share.check(&key.package).unwrap();
                assert_eq!(key.package.members(), 4);
            }
            let silent =
                place == 3 && matches!(message, Message::Acknowledgements { attempt: 1, .. });
            let gone = place == 3 && message.attempt().is_some_and(|attempt| attempt > 1);
            (!silent && !gone).then_some(reply)
        });
        let withheld = withheld.unwrap();
        assert!(
            matches!(cluster.outcome, Some(Outcome::Completed)),
            "{late}"
        );
        assert_eq!(activated_first, late != "done", "{late}");
        // Every member that confirmed the first attempt activates it whenever it comes out, after a crash too, and holds its share.
        for place in 0..4 {
            show_and_hold(&mut cluster, place, &withheld, 4);
        }
        // If the second came about, everybody in it holds that too, and nobody else.
        let second: Vec<Vec<u8>> = keys(&cluster)
            .filter(|(_, key)| key.certificate != withheld)
            .map(|(_, key)| key.certificate.clone())
            .collect();
        assert!(second.windows(2).all(|pair| pair[0] == pair[1]), "{late}");
        let came_about = ["certificate", "done"].contains(&late);
        assert!(!second.is_empty() || !came_about, "{late}");
        if let Some(second) = second.first() {
            for place in 0..3 {
                show_and_hold(&mut cluster, place, second, 3);
            }
            assert_eq!(cluster.nodes[3].activations, 1, "{late}");
        }
        // Two members open each, whoever they are, and one of each opens neither.
        let both: Vec<&Vec<u8>> = std::iter::once(&withheld).chain(second.first()).collect();
        let shares = |certificate: &Vec<u8>| -> Vec<(u16, Scalar)> {
            let of_it = keys(&cluster).filter(|(_, key)| key.certificate == *certificate);
            of_it
                .map(|(_, key)| (key.share.index(), *key.share.secret().expose()))
                .collect()
        };
        for (number, certificate) in both.iter().enumerate() {
            let y = public_key(&cluster, certificate);
            let opens = |some: &[(u16, Scalar)]| {
                RistrettoPoint::mul_base(&interpolate(some))
                    .compress()
                    .to_bytes()
                    == y
            };
            for pair in subsets(&shares(certificate), 2) {
                assert!(opens(&pair), "{late}");
                assert!(!opens(&pair[..1]) && !opens(&pair[1..]), "{late}");
            }
            let others = both
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != number);
            for (_, other) in others {
                for (one, more) in shares(certificate).iter().flat_map(|one| {
                    let more = shares(other).into_iter();
                    more.map(|more| (*one, more)).collect::<Vec<_>>()
                }) {
                    assert!(one.0 == more.0 || !opens(&[one, more]), "{late}");
                }
            }
        }
    }
}

/// All keys that were handed over, by place.
fn keys(cluster: &Cluster) -> impl Iterator<Item = (usize, &ActivatedKey)> {
    let places = cluster.nodes.iter().enumerate();
    places.flat_map(|(place, node)| {
        node.former
            .iter()
            .chain(&node.key)
            .map(move |key| (place, key))
    })
}

fn public_key(cluster: &Cluster, certificate: &[u8]) -> [u8; 32] {
    let (_, key) = keys(cluster)
        .find(|(_, key)| key.certificate == certificate)
        .unwrap();
    *key.package.public_key().as_bytes()
}

/// A member that was started again is shown a certificate of so many, and holds its share of that result, handed over once.
fn show_and_hold(cluster: &mut Cluster, place: usize, certificate: &[u8], members: usize) {
    cluster.nodes[place].crash();
    let from = cluster.leader_id();
    let question = Message::Certificate {
        ceremony: cluster.proposal.id(),
        certificate: serde_bytes::ByteBuf::from(certificate.to_vec()),
        public_shares: serde_bytes::ByteBuf::new(),
    };
    let answer = cluster.nodes[place].serve(&from, question, &mut cluster.rng);
    assert!(matches!(answer, Message::Activated { .. }), "{answer:?}");
    let pinned: Vec<[u8; 32]> = cluster.nodes[..members]
        .iter()
        .map(|node| node.card.identity)
        .collect();
    let certified = dkg::verify_certificate(certificate, &pinned).unwrap();
    let held: Vec<&ActivatedKey> = keys(cluster)
        .filter(|(at, key)| *at == place && key.certificate == certificate)
        .map(|(_, key)| key)
        .collect();
    let [key] = held.as_slice() else {
        panic!("{place} holds {} shares of it", held.len())
    };
    key.share.check(certified.package()).unwrap();
    assert_eq!(&key.package, certified.package());
    let restored = certified
        .recover_share(&cluster.nodes[place].phrase)
        .unwrap();
    assert_eq!(restored.secret().to_bytes(), key.share.secret().to_bytes());
}
