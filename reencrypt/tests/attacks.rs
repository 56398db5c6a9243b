//! Attacks on sections 2 to 6, each refused for its reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod cluster;

use cluster::Cluster;
use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use rand::rngs::ThreadRng;
use reencrypt::equality::{Batch, EqualityProof, Statement};
use reencrypt::*;

const LABEL: &[u8] = b"a label";
const SECRET: &[u8] = &[0x5e; 32];

fn rng() -> ThreadRng {
    rand::rng()
}

fn random_point() -> Point {
    SecretScalar::random(&mut rng()).public()
}

fn generators() -> (Point, Point) {
    (Point::generator(), Point::shadow_generator())
}

/// A read that nobody disturbs, up to the nodes' answers.
struct Read {
    cluster: Cluster,
    wrapped: VerifiedWrappedKey,
    secret: EphemeralSecret,
}

impl Read {
    fn new(threshold: u16, members: u16) -> Self {
        let cluster = Cluster::deal(threshold, members, 4, &mut rng());
        let wrapped = wrap(&cluster.public_key(), LABEL, SECRET, &mut rng()).unwrap();
        Self::of(cluster, wrapped)
    }

    fn of(cluster: Cluster, wrapped: VerifiedWrappedKey) -> Self {
        let secret = EphemeralSecret::new(&wrapped, &mut rng());
        Read {
            cluster,
            wrapped,
            secret,
        }
    }

    fn answer(&self, index: u16) -> [u8; Share::LENGTH] {
        let node = self.cluster.node(index);
        node.reencrypt(&self.wrapped, self.secret.public(), &mut rng())
            .unwrap()
            .to_bytes()
    }

    fn verify(&self, share: &[u8]) -> Result<VerifiedShare, ShareError> {
        Share::parse(share)?.verify(&self.cluster.package, &self.wrapped, self.secret.public())
    }

    fn open(self) -> Opening {
        Opening::new(self.wrapped, self.secret, self.cluster.package).unwrap()
    }
}

/// A wrapped key of somebody who follows the format and not the rules: the proof is good, the body is whatever `body`
/// makes of `S` and `U`.
fn wrapped_by_a_liar(
    public_key: &Point,
    body: impl FnOnce(&RistrettoPoint, &Point) -> Vec<u8>,
) -> VerifiedWrappedKey {
    let r = SecretScalar::random(&mut rng());
    let u = r.public();
    let body = body(&(public_key.as_ristretto() * r.expose()), &u);
    let context = [public_key.as_bytes(), LABEL, body.as_slice()];
    let bytes = [
        &[1],
        public_key.as_bytes().as_slice(),
        &points_and_proof(&r, "wrapped-key", &context),
        &(LABEL.len() as u16).to_le_bytes(),
        LABEL,
        &(body.len() as u16).to_le_bytes(),
        &body,
    ]
    .concat();
    WrappedKey::parse(&bytes)
        .unwrap()
        .verify(&mut rng())
        .unwrap()
}

/// `s·G ‖ s·Ḡ ‖ proof`.
fn points_and_proof(secret: &SecretScalar, purpose: &str, context: &[&[u8]]) -> Vec<u8> {
    let bases = generators();
    let shadow = Point::from_ristretto(bases.1.as_ristretto() * secret.expose()).unwrap();
    let points = (secret.public(), shadow);
    let statement = Statement {
        purpose,
        context,
        bases,
        points,
    };
    let proof = EqualityProof::prove(&statement, secret, &mut rng()).to_bytes();
    [points.0.as_bytes().as_slice(), points.1.as_bytes(), &proof].concat()
}

fn body_of(wrapped: &WrappedKey) -> &[u8] {
    let start = 193 + 2 + wrapped.label().len() + 2;
    &wrapped.as_bytes()[start..]
}

fn point_u(wrapped: &WrappedKey) -> Point {
    Point::from_slice(&wrapped.as_bytes()[33..65]).unwrap()
}

/// The proof that passes a batch in which both of its equations have one weight: for any point `first`, a `second` with
/// `first + second = s·(B1 + B2)`, and commitments in the same relation.
struct OneWeightForgery {
    second: Point,
    proof: [u8; 96],
}

fn forge_for_one_weight(first: Point, purpose: &str, context: &[&[u8]]) -> OneWeightForgery {
    let (g, shadow) = generators();
    let both = g.as_ristretto() + shadow.as_ristretto();
    let s = SecretScalar::random(&mut rng());
    let w = SecretScalar::random(&mut rng());
    let second = Point::from_ristretto(both * s.expose() - first.as_ristretto()).unwrap();
    let w1 = random_point();
    let w2 = Point::from_ristretto(both * w.expose() - w1.as_ristretto()).unwrap();
    let e = Hasher::new("cryptonode/v1/dleq")
        .item(purpose.as_bytes())
        .items(context)
        .items(&[
            g.as_bytes(),
            shadow.as_bytes(),
            first.as_bytes(),
            second.as_bytes(),
        ])
        .items(&[w1.as_bytes(), w2.as_bytes()])
        .finalize_scalar();
    let f: Scalar = w.expose() + e * s.expose();
    // It does satisfy the sum of its two equations.
    let left = both * f;
    let right =
        w1.as_ristretto() + w2.as_ristretto() + (first.as_ristretto() + second.as_ristretto()) * e;
    assert_eq!(left, right);
    let proof = [*w1.as_bytes(), *w2.as_bytes(), f.to_bytes()].concat();
    OneWeightForgery {
        second,
        proof: proof.try_into().unwrap(),
    }
}

#[test]
fn one_weight_forgery_is_refused_alone_and_in_a_batch() {
    let (g, shadow) = generators();
    let context: [&[u8]; 1] = [b"context"];
    for _ in 0..16 {
        let first = random_point();
        let forgery = forge_for_one_weight(first, "test", &context);
        let statement = Statement {
            purpose: "test",
            context: &context,
            bases: (g, shadow),
            points: (first, forgery.second),
        };
        let proof = EqualityProof::from_bytes(&forgery.proof).unwrap();
        assert_eq!(proof.verify_vartime(&statement), Err(ProofError::False));
        let mut batch = Batch::new();
        let number = batch.push(&statement, &proof);
        assert_eq!(
            batch.verify_vartime(&mut rng()).unwrap_err().indices(),
            [number]
        );
    }
}

#[test]
fn two_false_proofs_whose_errors_cancel_are_both_named() {
    // f of the first is one too large, f of the second one too small: without weights they would cancel.
    let secret = SecretScalar::random(&mut rng());
    let (g, shadow) = generators();
    let points = (
        secret.public(),
        Point::from_ristretto(shadow.as_ristretto() * secret.expose()).unwrap(),
    );
    let statement = Statement {
        purpose: "test",
        context: &[],
        bases: (g, shadow),
        points,
    };
    let mut batch = Batch::new();
    for error in [Scalar::ZERO, Scalar::ONE, Scalar::ZERO, -Scalar::ONE] {
        let mut bytes = EqualityProof::prove(&statement, &secret, &mut rng()).to_bytes();
        let f = decode_scalar(bytes[64..].try_into().unwrap()).unwrap() + error;
        bytes[64..].copy_from_slice(f.as_bytes());
        batch.push(&statement, &EqualityProof::from_bytes(&bytes).unwrap());
    }
    let culprits = batch.verify_vartime(&mut rng()).unwrap_err();
    assert_eq!(culprits.indices(), [1, 3]);
    assert!(culprits.contains(3) && !culprits.contains(2));
}

#[test]
fn a_proof_holds_for_no_other_purpose_context_base_or_point() {
    let secret = SecretScalar::random(&mut rng());
    let (g, shadow) = generators();
    let shadow_point = Point::from_ristretto(shadow.as_ristretto() * secret.expose()).unwrap();
    let context: [&[u8]; 2] = [b"ab", b"c"];
    let statement = Statement {
        purpose: "test",
        context: &context,
        bases: (g, shadow),
        points: (secret.public(), shadow_point),
    };
    let proof = EqualityProof::prove(&statement, &secret, &mut rng());
    proof.verify_vartime(&statement).unwrap();
    let shifted: [&[u8]; 2] = [b"a", b"bc"];
    let shorter: [&[u8]; 1] = [b"abc"];
    for moved in [
        Statement {
            purpose: "tes",
            ..statement
        },
        Statement {
            context: &shifted,
            ..statement
        },
        Statement {
            context: &shorter,
            ..statement
        },
        Statement {
            bases: (shadow, g),
            ..statement
        },
        Statement {
            bases: (g, random_point()),
            ..statement
        },
        Statement {
            points: (shadow_point, secret.public()),
            ..statement
        },
        Statement {
            points: (random_point(), shadow_point),
            ..statement
        },
    ] {
        assert_eq!(proof.verify_vartime(&moved), Err(ProofError::False));
        let mut batch = Batch::new();
        batch.push(&statement, &proof);
        batch.push(&moved, &proof);
        assert_eq!(batch.verify_vartime(&mut rng()).unwrap_err().indices(), [1]);
    }
}

/// `X = U' − U` would make the nodes compute `x_i·U'` under an approval for `U`.
#[test]
fn a_point_chosen_to_open_another_document_is_refused() {
    let cluster = Cluster::deal(2, 3, 0, &mut rng());
    let y = cluster.public_key();
    let approved = wrap(&y, b"approved", SECRET, &mut rng()).unwrap();
    let target = wrap(&y, b"not approved", &[0x99; 32], &mut rng()).unwrap();
    let x =
        Point::from_ristretto(point_u(&target).as_ristretto() - point_u(&approved).as_ristretto())
            .unwrap();

    let write_id = approved.write_id();
    let own = EphemeralSecret::new(&approved, &mut rng());
    let copied = [x.as_bytes(), &own.public().as_bytes()[32..]].concat();
    let context: [&[u8]; 2] = [y.as_bytes(), &write_id];
    let forgery = forge_for_one_weight(x, "ephemeral-key", &context);
    let forged = [
        x.as_bytes(),
        forgery.second.as_bytes(),
        forgery.proof.as_slice(),
    ]
    .concat();

    for bytes in [copied, forged] {
        let key = EphemeralKey::parse(&bytes).unwrap();
        let expected = EphemeralKeyError::Proof(ProofError::False);
        assert_eq!(key.verify(&y, &write_id, &mut rng()), Err(expected));
        assert_eq!(
            verify_request(&approved, &key, &mut rng()),
            Err(RequestError::EphemeralKey(expected))
        );
    }
}

/// A stranger takes over `U` and `Ū` of somebody's wrapped key, shifted by a multiple that he knows.
#[test]
fn a_shifted_ciphertext_is_refused() {
    let y = random_point();
    let wrapped = wrap(&y, LABEL, SECRET, &mut rng()).unwrap();
    let delta = SecretScalar::random(&mut rng());
    let (g, shadow) = generators();
    let mut bytes = wrapped.as_bytes().to_vec();
    for (at, generator) in [(33, g), (65, shadow)] {
        let point = Point::from_slice(&bytes[at..at + 32]).unwrap();
        let shifted: RistrettoPoint =
            point.as_ristretto() + generator.as_ristretto() * delta.expose();
        bytes[at..at + 32].copy_from_slice(shifted.compress().as_bytes());
    }
    let expected = WrappedKeyError::Proof(ProofError::False);
    assert_eq!(
        WrappedKey::parse(&bytes).unwrap().verify(&mut rng()),
        Err(expected)
    );

    // With both proofs of the request false, the wrapped key is named.
    let other = wrap(&y, LABEL, SECRET, &mut rng()).unwrap();
    let ephemeral = EphemeralSecret::new(&other, &mut rng());
    assert_eq!(
        verify_request(
            &WrappedKey::parse(&bytes).unwrap(),
            ephemeral.public(),
            &mut rng()
        ),
        Err(RequestError::WrappedKey(expected))
    );
}

#[test]
fn an_ephemeral_key_serves_one_wrapped_key_of_one_cluster() {
    let cluster = Cluster::deal(1, 1, 0, &mut rng());
    let stranger = Cluster::deal(1, 1, 0, &mut rng());
    let y = cluster.public_key();
    let one = wrap(&y, LABEL, SECRET, &mut rng()).unwrap();
    let two = wrap(&y, LABEL, SECRET, &mut rng()).unwrap();
    let for_one = EphemeralSecret::new(&one, &mut rng());
    let for_two = EphemeralSecret::new(&two, &mut rng());

    let refused = Err(RequestError::EphemeralKey(EphemeralKeyError::Proof(
        ProofError::False,
    )));
    assert_eq!(
        verify_request(&two, for_one.public(), &mut rng()).map(drop),
        refused
    );
    // Verified types do not mix either.
    let node = cluster.node(1);
    assert_eq!(
        node.reencrypt(&two, for_one.public(), &mut rng()),
        Err(RequestError::OtherWrite)
    );
    assert_eq!(
        stranger
            .node(1)
            .reencrypt(&one, for_one.public(), &mut rng()),
        Err(RequestError::OtherKey)
    );
    assert_eq!(
        Opening::new(two.clone(), for_one, cluster.package.clone()).unwrap_err(),
        RequestError::OtherWrite
    );
    assert_eq!(
        Opening::new(two, for_two, stranger.package).unwrap_err(),
        RequestError::OtherKey
    );
}

/// The writer himself can choose `x_c = −r`, which makes `U + X` the identity.
#[test]
fn an_identity_base_is_refused() {
    let cluster = Cluster::deal(1, 1, 0, &mut rng());
    let y = cluster.public_key();
    let r = SecretScalar::random(&mut rng());
    let body = [0; 64];
    let wrapped = [
        &[1],
        y.as_bytes().as_slice(),
        &points_and_proof(&r, "wrapped-key", &[y.as_bytes(), b"", &body]),
        &[0, 0, 64, 0],
        &body,
    ]
    .concat();
    let wrapped = WrappedKey::parse(&wrapped).unwrap();
    let negative = SecretScalar::from_scalar(-r.expose()).unwrap();
    let context = [y.as_bytes().as_slice(), &wrapped.write_id()];
    let ephemeral = points_and_proof(&negative, "ephemeral-key", &context);
    let ephemeral = EphemeralKey::parse(&ephemeral).unwrap();
    let (wrapped, ephemeral) = verify_request(&wrapped, &ephemeral, &mut rng()).unwrap();
    let refused = RequestError::IdentityBase;
    assert_eq!(
        cluster.node(1).reencrypt(&wrapped, &ephemeral, &mut rng()),
        Err(refused)
    );
}

#[test]
fn a_share_serves_one_request_index_and_epoch() {
    let read = Read::new(2, 4);
    let good = read.answer(2);
    read.verify(&good).unwrap();

    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good;
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let not_its_proof = Err(ShareError::Proof(ProofError::False));
    assert_eq!(read.verify(&with(0, &3u16.to_le_bytes())), not_its_proof);
    assert_eq!(
        read.verify(&with(0, &0u16.to_le_bytes())),
        Err(ShareError::IndexZero)
    );
    assert_eq!(
        read.verify(&with(0, &5u16.to_le_bytes())),
        Err(ShareError::NotAMember {
            index: 5,
            members: 4
        })
    );
    assert_eq!(
        read.verify(&with(2, &5u64.to_le_bytes())),
        Err(ShareError::OtherEpoch {
            expected: 4,
            got: 5
        })
    );
    assert_eq!(
        read.verify(&with(10, random_point().as_bytes())),
        not_its_proof
    );
    // The proof of another request of the same reader for the same wrapped key.
    let again = EphemeralSecret::new(&read.wrapped, &mut rng());
    let moved = read
        .cluster
        .node(2)
        .reencrypt(&read.wrapped, again.public(), &mut rng())
        .unwrap();
    assert_eq!(read.verify(&moved.to_bytes()), not_its_proof);
    // A commitment that is no point is found when the proof is verified.
    assert_eq!(
        read.verify(&with(42, &[0; 32])),
        Err(ShareError::Proof(ProofError::FirstCommitment(
            PointError::Identity
        )))
    );
    assert_eq!(
        read.verify(&with(74, &[0xff; 32])),
        Err(ShareError::Proof(ProofError::SecondCommitment(
            PointError::NotCanonical
        )))
    );
}

#[test]
fn shares_verified_together_are_refused_one_by_one() {
    let read = Read::new(3, 7);
    let mut shares: Vec<Share> = (1..=7)
        .map(|index| Share::parse(&read.answer(index)).unwrap())
        .collect();
    let verify = |shares: &[Share]| {
        let (package, wrapped) = (&read.cluster.package, &read.wrapped);
        verify_shares(shares, package, wrapped, read.secret.public(), &mut rng())
    };
    assert_eq!(verify(&shares).unwrap().len(), 7);

    let mut moved = read.answer(3);
    moved[0] = 5;
    shares[4] = Share::parse(&moved).unwrap();
    let mut other_epoch = read.answer(1);
    other_epoch[2] = 9;
    shares[0] = Share::parse(&other_epoch).unwrap();
    assert_eq!(
        verify(&shares).unwrap_err(),
        [
            (
                0,
                ShareError::OtherEpoch {
                    expected: 4,
                    got: 9
                }
            ),
            (4, ShareError::Proof(ProofError::False)),
        ]
    );
}

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

#[test]
fn a_package_that_is_no_sharing_is_refused() {
    for (threshold, members) in [(1, 1), (1, 4), (2, 2), (3, 5), (5, 5), (4, 40)] {
        let cluster = Cluster::deal(threshold, members, 0, &mut rng());
        let package = &cluster.package;
        let y = package.public_key();
        let shares = package.public_shares().to_vec();
        let refused = Err(PublicKeyPackageError::NotASharing { threshold });
        let new = |y, shares| PublicKeyPackage::new(y, 0, threshold, shares).map(drop);

        assert_eq!(new(random_point(), shares.clone()), refused);
        for place in 0..shares.len() {
            let mut wrong = shares.clone();
            wrong[place] = random_point();
            assert_eq!(new(y, wrong), refused);
        }
        if threshold > 1 {
            let mut swapped = shares.clone();
            swapped.swap(0, 1);
            assert_eq!(new(y, swapped), refused);
            let smaller = threshold - 1;
            assert_eq!(
                PublicKeyPackage::new(y, 0, smaller, shares.clone()).map(drop),
                Err(PublicKeyPackageError::NotASharing { threshold: smaller })
            );
        }
        let impossible = [0, members + 1];
        for threshold in impossible {
            assert_eq!(
                PublicKeyPackage::new(y, 0, threshold, shares.clone()).map(drop),
                Err(PublicKeyPackageError::Threshold { threshold, members })
            );
        }
    }
    let y = random_point();
    assert_eq!(
        PublicKeyPackage::new(y, 0, 1, Vec::new()).map(drop),
        Err(PublicKeyPackageError::Threshold {
            threshold: 1,
            members: 0
        })
    );
    assert_eq!(
        PublicKeyPackage::new(y, 0, 1, vec![y; 65_536]).map(drop),
        Err(PublicKeyPackageError::TooManyMembers { got: 65_536 })
    );
}

#[test]
fn a_key_share_that_does_not_fit_the_package_is_refused() {
    let cluster = Cluster::deal(2, 3, 1, &mut rng());
    let y = cluster.public_key();
    let share = |index, epoch, y, bytes: &[u8; 32]| {
        KeyShare::new(
            index,
            epoch,
            y,
            SecretScalar::from_canonical_bytes(bytes).unwrap(),
        )
    };
    let bytes = cluster.node(2).secret().to_bytes();
    let check = |share: Result<KeyShare, KeyShareError>| share.unwrap().check(&cluster.package);
    assert_eq!(check(share(2, 1, y, &bytes)), Ok(()));
    assert_eq!(
        share(0, 1, y, &bytes).unwrap_err(),
        KeyShareError::IndexZero
    );
    assert_eq!(
        check(share(2, 1, random_point(), &bytes)),
        Err(KeyShareError::OtherKey)
    );
    assert_eq!(
        check(share(2, 0, y, &bytes)),
        Err(KeyShareError::OtherEpoch {
            share: 0,
            package: 1
        })
    );
    assert_eq!(
        check(share(4, 1, y, &bytes)),
        Err(KeyShareError::NotAMember {
            index: 4,
            members: 3
        })
    );
    assert_eq!(
        check(share(3, 1, y, &bytes)),
        Err(KeyShareError::OtherPublicShare { index: 3 })
    );
}

#[test]
fn wrapping_checks_its_lengths() {
    let y = random_point();
    let with = |label: usize, secret: usize| {
        wrap(&y, &vec![1; label], &vec![2; secret], &mut rng()).map(|w| w.as_bytes().len())
    };
    assert_eq!(with(1_025, 32), Err(WrapError::LabelTooLong { got: 1_025 }));
    assert_eq!(with(0, 15), Err(WrapError::SecretLength { got: 15 }));
    assert_eq!(with(0, 1_025), Err(WrapError::SecretLength { got: 1_025 }));
    assert_eq!(with(0, 16), Ok(197 + 64));
    assert_eq!(with(1_024, 1_024), Ok(MAX_WRAPPED_KEY));
}

#[test]
fn a_key_is_known_before_anything_is_decoded() {
    let y = random_point();
    let mut bytes = wrap(&y, LABEL, SECRET, &mut rng())
        .unwrap()
        .as_bytes()
        .to_vec();
    assert_eq!(WrappedKey::peek_public_key(&bytes), Ok(y.as_bytes()));
    assert!(WrappedKey::parse_under(&bytes, &y).is_ok());
    assert_eq!(
        WrappedKey::parse_under(&bytes, &random_point()),
        Err(WrappedKeyError::OtherKey)
    );
    bytes.push(0);
    assert_eq!(
        WrappedKey::peek_public_key(&bytes),
        Err(WrappedKeyError::Trailing { extra: 1 })
    );
}
