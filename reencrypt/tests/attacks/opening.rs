//! Section 6: nodes and writers that lie to a reader.

use super::*;
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};

/// What nodes 1 to 7 answer instead of their shares.
fn lie(read: &Read, index: u16) -> Vec<u8> {
    let mut answer = read.answer(index).to_vec();
    match index {
        1 => answer[10..42].copy_from_slice(random_point().as_bytes()),
        // The right length, and no proof.
        2 => {
            answer[10..42].copy_from_slice(random_point().as_bytes());
            answer[42..106].fill(0xff);
        }
        3 => answer = read.answer(8).to_vec(),
        4 => answer.truncate(10),
        5 => answer[2] ^= 1,
        6 => answer.push(0),
        // Another key altogether, and a true proof about that.
        7 => {
            let secret = SecretScalar::random(&mut rng());
            let impostor = KeyShare::new(7, 4, read.cluster.public_key(), secret).unwrap();
            let public = read.secret.public();
            answer = impostor
                .reencrypt(&read.wrapped, public, &mut rng())
                .unwrap()
                .to_bytes()
                .to_vec();
        }
        _ => {}
    }
    answer
}

/// Before, between or behind the answers, with a false one among them.
#[test]
fn when_an_opening_is_prepared_makes_no_difference() {
    for when in 0..=4 {
        let read = Read::new(3, 10);
        let answers = [8, 1, 9, 10].map(|index| (index, lie(&read, index)));
        let mut opening = Opening::begin(read.wrapped, read.secret, read.cluster.package).unwrap();
        let mut opened = None;
        for (place, (index, answer)) in answers.iter().enumerate() {
            if place >= when {
                opening.prepare();
            }
            if let Progress::Opened(secret) = opening.add(*index, answer) {
                opened = Some((place, secret));
            }
        }
        let (place, secret) = opened.expect("three honest answers");
        assert_eq!((place, secret.expose()), (3, SECRET));
        assert_eq!(opening.culprits().len(), 1);
    }
}

/// Every kind of false answer, and still t honest answers open.
#[test]
fn liars_are_named_and_honest_answers_open() {
    // The order does not matter; the third honest answer always comes last.
    let orders: [[u16; 10]; 3] = [
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        [8, 1, 9, 7, 2, 3, 4, 5, 6, 10],
        [7, 8, 1, 6, 5, 9, 4, 3, 2, 10],
    ];
    for order in orders {
        let read = Read::new(3, 10);
        let answers = order.map(|index| (index, lie(&read, index)));
        let mut opening = read.open();
        let mut opened = None;
        for (place, (index, answer)) in answers.iter().enumerate() {
            match opening.add(*index, answer) {
                Progress::Opened(secret) => opened = Some((place, secret)),
                Progress::Need(missing) => assert!((1..=3).contains(&missing)),
                other => panic!("{other:?}"),
            }
        }
        let (place, secret) = opened.expect("three honest answers");
        assert_eq!(place, 9);
        assert_eq!(secret.expose(), SECRET);
        let mut named: Vec<u16> = opening.culprits().iter().map(|c| c.index).collect();
        named.sort_unstable();
        assert_eq!(named, [1, 2, 3, 4, 5, 6, 7]);
        for culprit in opening.culprits() {
            let expected = match culprit.index {
                1 | 7 => ShareError::Proof(ProofError::False),
                2 => ShareError::Proof(ProofError::FirstCommitment(PointError::NotCanonical)),
                3 => ShareError::OtherIndex {
                    expected: 3,
                    got: 8,
                },
                4 => ShareError::Length { got: 10 },
                5 => ShareError::OtherEpoch {
                    expected: 4,
                    got: 5,
                },
                _ => ShareError::Length { got: 139 },
            };
            assert_eq!(culprit.reason, expected);
            assert_eq!(culprit.reason.is_misbehaviour(), culprit.index != 5);
        }
    }
}

#[test]
fn one_node_counts_once_whatever_it_sends() {
    let read = Read::new(3, 5);
    let (one, again, two, three) = (
        read.answer(1),
        read.answer(1),
        read.answer(2),
        read.answer(3),
    );
    let mut opening = read.open();
    assert!(matches!(opening.add(1, &one), Progress::Need(2)));
    assert!(matches!(opening.add(1, &one), Progress::Need(2)));
    assert!(matches!(opening.add(1, &again), Progress::Need(2)));
    // Its answer under another node's index is that node's fault, as far as the caller can know.
    assert!(matches!(opening.add(4, &one), Progress::Need(2)));
    assert!(matches!(opening.add(2, &two), Progress::Need(1)));
    assert!(matches!(opening.add(3, &three), Progress::Opened(_)));
    assert_eq!(
        opening.culprits(),
        [Culprit {
            index: 4,
            reason: ShareError::OtherIndex {
                expected: 4,
                got: 1
            }
        }]
    );
}

#[test]
fn a_node_that_cheated_is_not_listened_to_again() {
    let read = Read::new(2, 3);
    let (one, two, three) = (read.answer(1), read.answer(2), read.answer(3));
    let mut lie = one;
    lie[10..42].copy_from_slice(random_point().as_bytes());
    let mut opening = read.open();
    assert!(matches!(opening.add(1, &lie), Progress::Need(1)));
    assert!(matches!(opening.add(2, &two), Progress::Need(1)));
    assert!(matches!(opening.add(1, &one), Progress::Need(1)));
    assert_eq!(opening.culprits().len(), 1);
    assert!(matches!(opening.add(3, &three), Progress::Opened(_)));
}

#[test]
fn shares_of_two_epochs_do_not_mix() {
    let secret = SecretScalar::random(&mut rng());
    let old = Cluster::share(&secret, 2, 3, 0, &mut rng());
    let new = Cluster::share(&secret, 2, 3, 1, &mut rng());
    assert_eq!(old.public_key(), new.public_key());
    let wrapped = wrap(&new.public_key(), LABEL, SECRET, &mut rng()).unwrap();
    let ephemeral = EphemeralSecret::new(&wrapped, &mut rng());
    let answer = |cluster: &Cluster, index| {
        cluster
            .node(index)
            .reencrypt(&wrapped, ephemeral.public(), &mut rng())
            .unwrap()
            .to_bytes()
    };
    let (late, two, now) = (answer(&old, 1), answer(&new, 2), answer(&new, 1));
    let mut opening = Opening::new(wrapped, ephemeral, new.package).unwrap();
    assert!(matches!(opening.add(1, &late), Progress::Need(2)));
    assert!(matches!(opening.add(2, &two), Progress::Need(1)));
    // It is named and not condemned: once it has followed the reshare, its answer counts.
    assert_eq!(
        opening.culprits(),
        [Culprit {
            index: 1,
            reason: ShareError::OtherEpoch {
                expected: 1,
                got: 0
            }
        }]
    );
    assert!(matches!(opening.add(1, &now), Progress::Opened(_)));
}

/// A body that commits to no key.
fn wrong_commitment(_: &RistrettoPoint, _: &Point) -> Vec<u8> {
    vec![0xab; 80]
}

/// A body that commits to the right key, and a text that was never sealed with it.
fn wrong_text(public_key: Point) -> impl FnOnce(&RistrettoPoint, &Point) -> Vec<u8> {
    move |shared, u| {
        let mut okm = [0; 64];
        let ikm = shared.compress().to_bytes();
        hkdf::Hkdf::<sha2::Sha512>::new(Some(b"cryptonode/v1/wrap"), &ikm)
            .expand_multi_info(&[public_key.as_bytes(), u.as_bytes()], &mut okm)
            .unwrap();
        [&okm[32..], [0xab; 48].as_slice()].concat()
    }
}

#[test]
fn an_invalid_wrapped_key_blames_no_node() {
    let cluster = || Cluster::deal(2, 3, 0, &mut rng());
    let (one, two) = (cluster(), cluster());
    let without_commitment = wrapped_by_a_liar(&one.public_key(), wrong_commitment);
    let without_text = wrapped_by_a_liar(&two.public_key(), wrong_text(two.public_key()));
    for (cluster, wrapped) in [(one, without_commitment), (two, without_text)] {
        let read = Read::of(cluster, wrapped);
        let answers = [1, 2, 3].map(|index| read.answer(index));
        let mut opening = read.open();
        assert!(matches!(opening.add(1, &answers[0]), Progress::Need(1)));
        assert!(matches!(
            opening.add(2, &answers[1]),
            Progress::InvalidWrappedKey
        ));
        assert!(matches!(opening.add(3, &answers[2]), Progress::Finished));
        assert_eq!(opening.culprits(), []);
    }
}

#[test]
fn a_liar_among_the_nodes_does_not_hide_that_the_writer_lied() {
    let cluster = Cluster::deal(2, 3, 0, &mut rng());
    let wrapped = wrapped_by_a_liar(&cluster.public_key(), wrong_commitment);
    let read = Read::of(cluster, wrapped);
    let [mut one, two, three] = [1, 2, 3].map(|index| read.answer(index));
    one[10..42].copy_from_slice(random_point().as_bytes());
    let mut opening = read.open();
    assert!(matches!(opening.add(1, &one), Progress::Need(1)));
    assert!(matches!(opening.add(2, &two), Progress::Need(1)));
    assert!(matches!(
        opening.add(3, &three),
        Progress::InvalidWrappedKey
    ));
    assert_eq!(
        opening
            .culprits()
            .iter()
            .map(|c| c.index)
            .collect::<Vec<_>>(),
        [1]
    );
}

/// Somebody else's body under one's own `U`: the key that follows is another, and the commitment shows it.
#[test]
fn a_stolen_body_does_not_open_under_another_u() {
    let cluster = Cluster::deal(1, 1, 0, &mut rng());
    let victim = wrap(&cluster.public_key(), LABEL, SECRET, &mut rng()).unwrap();
    let stolen = wrapped_by_a_liar(&cluster.public_key(), |_, _| body_of(&victim).to_vec());
    let read = Read::of(cluster, stolen);
    let one = read.answer(1);
    assert!(matches!(
        read.open().add(1, &one),
        Progress::InvalidWrappedKey
    ));
}

/// A body that opens with another `S` than the true one.
fn sealed_elsewhere(
    public_key: Point,
    shift: Point,
) -> impl FnOnce(&RistrettoPoint, &Point) -> Vec<u8> {
    move |shared, u| {
        let mut okm = [0; 64];
        let ikm = (shared + shift.as_ristretto()).compress().to_bytes();
        hkdf::Hkdf::<sha2::Sha512>::new(Some(b"cryptonode/v1/wrap"), &ikm)
            .expand_multi_info(&[public_key.as_bytes(), u.as_bytes()], &mut okm)
            .unwrap();
        let cipher = ChaCha20Poly1305::new_from_slice(&okm[..32]).unwrap();
        let mut text = SECRET.to_vec();
        let nonce = [0; 12].into();
        let tag = cipher
            .encrypt_inout_detached(&nonce, LABEL, text.as_mut_slice().into())
            .unwrap();
        [&okm[32..], &text, &tag].concat()
    }
}

/// What the commitment does not promise: a writer and a node together make a wrapped key that opens with that node's false
/// share, and with honest ones does not.
#[test]
fn a_writer_in_league_with_a_node_can_make_readers_disagree() {
    let cluster = Cluster::deal(2, 3, 0, &mut rng());
    let (public_key, shift) = (cluster.public_key(), random_point());
    let wrapped = wrapped_by_a_liar(&public_key, sealed_elsewhere(public_key, shift));
    let read = Read::of(cluster, wrapped);
    let [honest, two] = [1, 2].map(|index| read.answer(index));
    // λ_1 = 2 for the indices 1 and 2.
    let half = shift.as_ristretto() * Scalar::from(2_u8).invert();
    let d = Point::from_slice(&honest[10..42]).unwrap().as_ristretto() + half;
    let mut lie = honest;
    lie[10..42].copy_from_slice(d.compress().as_bytes());
    assert!(read.verify(&lie).is_err());

    let (wrapped, package) = (read.wrapped.clone(), read.cluster.package.clone());
    let other = EphemeralSecret::new(&wrapped, &mut rng());
    let answers = [1, 2].map(|index| {
        let node = read.cluster.node(index);
        let share = node.reencrypt(&wrapped, other.public(), &mut rng());
        share.unwrap().to_bytes()
    });
    let mut opening = read.open();
    opening.add(2, &two);
    let Progress::Opened(secret) = opening.add(1, &lie) else {
        panic!("the false share leads to what the writer committed to")
    };
    assert_eq!(secret.expose(), SECRET);
    assert_eq!(opening.culprits(), []);

    let mut opening = Opening::new(wrapped, other, package).unwrap();
    opening.add(1, &answers[0]);
    assert!(matches!(
        opening.add(2, &answers[1]),
        Progress::InvalidWrappedKey
    ));
}

#[test]
fn a_kept_ephemeral_secret_is_read_for_its_own_read_alone() {
    let read = Read::new(2, 3);
    let kept = read.secret.to_bytes();
    assert_eq!(kept.len(), EphemeralSecret::LENGTH);
    let again = EphemeralSecret::from_bytes(&*kept, &read.wrapped, &mut rng()).unwrap();
    assert_eq!(again.public(), read.secret.public());
    assert_eq!(*again.to_bytes(), *kept);

    let refused = |bytes: &[u8], wrapped: &VerifiedWrappedKey| {
        EphemeralSecret::from_bytes(bytes, wrapped, &mut rng()).unwrap_err()
    };
    // Another wrapped key's, of the same cluster.
    let other = wrap(&read.cluster.public_key(), LABEL, SECRET, &mut rng()).unwrap();
    assert_eq!(refused(&*kept, &other).code(), "ephemeral-key-proof");
    // Halves of two secrets.
    let second = EphemeralSecret::new(&read.wrapped, &mut rng()).to_bytes();
    let mixed = [&second[..32], &kept[32..]].concat();
    assert_eq!(refused(&mixed, &read.wrapped).code(), "ephemeral-key-proof");
    // No scalar, and lengths that are none.
    let reduced = [&[0xff; 32], &kept[32..]].concat();
    assert_eq!(
        refused(&reduced, &read.wrapped).code(),
        "ephemeral-key-proof"
    );
    for length in [0, 31, 32, EphemeralSecret::LENGTH - 1] {
        assert_eq!(
            refused(&kept[..length], &read.wrapped).code(),
            "ephemeral-key-length"
        );
    }
}
