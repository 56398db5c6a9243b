//! Properties that hold for all inputs, on random ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod cluster;

use std::sync::LazyLock;

use cluster::Cluster;
use proptest::prelude::*;
use proptest::sample::Index;
use rand::SeedableRng;
use rand::rngs::StdRng;
use reencrypt::equality::{Batch, EqualityProof, Statement};
use reencrypt::*;

/// One read, whose messages are damaged in many ways.
struct Fixture {
    package: PublicKeyPackage,
    wrapped: VerifiedWrappedKey,
    ephemeral: VerifiedEphemeralKey,
    share: [u8; Share::LENGTH],
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let rng = &mut StdRng::seed_from_u64(7);
    let cluster = Cluster::deal(2, 3, 0x0102_0304, rng);
    let wrapped = wrap(&cluster.public_key(), b"some label", &[3; 48], rng).unwrap();
    let ephemeral = *EphemeralSecret::new(&wrapped, rng).public();
    let share = cluster
        .node(2)
        .reencrypt(&wrapped, &ephemeral, rng)
        .unwrap()
        .to_bytes();
    Fixture {
        package: cluster.package,
        wrapped,
        ephemeral,
        share,
    }
});

/// A test whether bytes pass.
type Accepts = fn(&[u8]) -> bool;

/// Whether these bytes pass as a wrapped key, an ephemeral key, a share, of the one read.
fn accepts_wrapped_key(bytes: &[u8]) -> bool {
    WrappedKey::parse(bytes).is_ok_and(|key| key.verify(&mut rand::rng()).is_ok())
}

fn accepts_ephemeral_key(bytes: &[u8]) -> bool {
    let wrapped = &FIXTURE.wrapped;
    EphemeralKey::parse(bytes).is_ok_and(|key| {
        key.verify(&wrapped.public_key(), &wrapped.write_id(), &mut rand::rng())
            .is_ok()
    })
}

fn accepts_share(bytes: &[u8]) -> bool {
    let Fixture {
        package,
        wrapped,
        ephemeral,
        ..
    } = &*FIXTURE;
    Share::parse(bytes).is_ok_and(|share| share.verify(package, wrapped, ephemeral).is_ok())
}

fn every_flipped_bit(bytes: &[u8], accepts: Accepts) {
    assert!(accepts(bytes));
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!accepts(&flipped), "bit {bit} flipped, and still accepted");
    }
}

#[test]
fn every_flipped_bit_of_a_wrapped_key_is_refused() {
    every_flipped_bit(FIXTURE.wrapped.as_bytes(), accepts_wrapped_key);
}

#[test]
fn every_flipped_bit_of_an_ephemeral_key_is_refused() {
    every_flipped_bit(FIXTURE.ephemeral.as_bytes(), accepts_ephemeral_key);
}

#[test]
fn every_flipped_bit_of_a_share_is_refused() {
    every_flipped_bit(&FIXTURE.share, accepts_share);
}

#[test]
fn every_other_length_is_refused() {
    let messages: [(&[u8], Accepts); 3] = [
        (FIXTURE.wrapped.as_bytes(), accepts_wrapped_key),
        (FIXTURE.ephemeral.as_bytes(), accepts_ephemeral_key),
        (&FIXTURE.share, accepts_share),
    ];
    for (bytes, accepts) in messages {
        for length in 0..bytes.len() {
            assert!(!accepts(&bytes[..length]));
        }
        assert!(!accepts(&[bytes, &[0]].concat()));
    }
}

prop_compose! {
    fn cluster_and_answers()(members in 1u16..=8)(
        members in Just(members),
        threshold in 1..=members,
        order in Just((1..=members).collect::<Vec<u16>>()).prop_shuffle(),
    ) -> (u16, u16, Vec<u16>) {
        (threshold, members, order)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_t_of_n_open(
        (threshold, members, order) in cluster_and_answers(),
        epoch: u64,
        label in prop::collection::vec(any::<u8>(), 0..=MAX_LABEL),
        secret in prop::collection::vec(any::<u8>(), MIN_SECRET..=MAX_SECRET),
        liars in prop::collection::vec(any::<bool>(), 8),
        seed: u64,
    ) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let cluster = Cluster::deal(threshold, members, epoch, rng);
        let made = wrap(&cluster.public_key(), &label, &secret, rng).unwrap();
        let wrapped = WrappedKey::parse(made.as_bytes()).unwrap().verify(rng).unwrap();
        prop_assert_eq!(&made, &wrapped);
        prop_assert_eq!(wrapped.label(), label);

        let reader = EphemeralSecret::new(&wrapped, rng);
        let sent = EphemeralKey::parse(reader.public().as_bytes()).unwrap();
        prop_assert_eq!(&sent, &**reader.public());
        let (approved, ephemeral) = verify_request(&wrapped, &sent, rng).unwrap();

        let mut opening = Opening::new(wrapped, reader, cluster.package.clone()).unwrap();
        let (mut honest, mut opened) = (0, None);
        let mut expected_culprits = Vec::new();
        for (place, index) in order.into_iter().enumerate() {
            let mut answer = cluster.node(index).reencrypt(&approved, &ephemeral, rng).unwrap().to_bytes();
            prop_assert_eq!(Share::parse(&answer).unwrap().to_bytes(), answer);
            if liars[place] {
                answer[10..42].copy_from_slice(SecretScalar::random(rng).public().as_bytes());
                if opened.is_none() {
                    expected_culprits.push(index);
                }
            } else {
                honest += 1;
            }
            match opening.add(index, &answer) {
                Progress::Opened(secret) => {
                    prop_assert_eq!(honest, threshold);
                    opened = Some(secret);
                }
                Progress::Need(missing) => prop_assert!(missing <= threshold.into()),
                Progress::Finished => prop_assert!(opened.is_some()),
                Progress::InvalidWrappedKey => prop_assert!(false, "the wrapped key is good"),
            }
        }
        prop_assert_eq!(opened.is_some(), honest >= threshold);
        if let Some(opened) = opened {
            prop_assert_eq!(opened.expose(), secret);
            let mut named: Vec<u16> = opening.culprits().iter().map(|c| c.index).collect();
            named.sort_unstable();
            expected_culprits.sort_unstable();
            prop_assert_eq!(named, expected_culprits);
        }
    }

    #[test]
    fn a_batch_names_the_false_proofs_and_no_others(
        truth in prop::collection::vec(any::<bool>(), 0..24),
        seed: u64,
    ) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut batch = Batch::new();
        let bases = [
            (Point::generator(), Point::shadow_generator()),
            (Point::generator(), SecretScalar::random(rng).public()),
            (SecretScalar::random(rng).public(), SecretScalar::random(rng).public()),
        ];
        for (number, truth) in truth.iter().enumerate() {
            let secret = SecretScalar::random(rng);
            let bases = bases[number % bases.len()];
            let times = |base: Point| Point::from_ristretto(base.as_ristretto() * secret.expose()).unwrap();
            let points = (times(bases.0), if *truth { times(bases.1) } else { times(bases.0) });
            let statement = Statement { purpose: "test", context: &[], bases, points };
            let proof = EqualityProof::prove(&statement, &secret, rng);
            prop_assert_eq!(EqualityProof::from_bytes(&proof.to_bytes()), Ok(proof));
            prop_assert_eq!(proof.verify_vartime(&statement).is_ok(), *truth);
            prop_assert_eq!(batch.push(&statement, &proof), number);
        }
        let expected: Vec<usize> =
            truth.iter().enumerate().filter(|(_, truth)| !**truth).map(|(number, _)| number).collect();
        match batch.verify_vartime(rng) {
            Ok(()) => prop_assert!(expected.is_empty()),
            Err(culprits) => prop_assert_eq!(culprits.indices(), expected),
        }
    }

    #[test]
    fn a_damaged_message_is_refused(place: Index, byte in 1u8.., which in 0usize..3) {
        let (bytes, accepts): (&[u8], Accepts) = match which {
            0 => (FIXTURE.wrapped.as_bytes(), accepts_wrapped_key),
            1 => (FIXTURE.ephemeral.as_bytes(), accepts_ephemeral_key),
            _ => (&FIXTURE.share, accepts_share),
        };
        let mut damaged = bytes.to_vec();
        *place.get_mut(&mut damaged) ^= byte;
        prop_assert!(!accepts(&damaged));
    }
}

proptest! {
    #[test]
    fn what_parses_has_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..600), start in 0usize..300) {
        // Random bytes hardly ever parse: they replace the end of good ones.
        let spliced = |good: &[u8]| -> Vec<u8> {
            good.iter().take(start).chain(&bytes).copied().collect()
        };
        let wrapped = spliced(FIXTURE.wrapped.as_bytes());
        if let Ok(key) = WrappedKey::parse(&wrapped) {
            prop_assert_eq!(key.as_bytes(), wrapped);
        }
        let ephemeral = spliced(FIXTURE.ephemeral.as_bytes());
        if let Ok(key) = EphemeralKey::parse(&ephemeral) {
            prop_assert_eq!(key.as_bytes().to_vec(), ephemeral);
        }
        let share = spliced(&FIXTURE.share);
        if let Ok(parsed) = Share::parse(&share) {
            prop_assert_eq!(parsed.to_bytes().to_vec(), share);
        }
    }

    #[test]
    fn points_and_scalars_have_one_encoding(bytes: [u8; 32]) {
        if let Ok(point) = Point::from_bytes(&bytes) {
            prop_assert_eq!(point.as_bytes(), &bytes);
            prop_assert_eq!(Point::from_ristretto(*point.as_ristretto()), Some(point));
        }
        if let Ok(scalar) = decode_scalar(&bytes) {
            prop_assert_eq!(scalar.to_bytes(), bytes);
        }
    }
}
