//! Every operation of the scheme, each with a name that docs/performance.md refers to.
//!
//!     cargo bench -p reencrypt -- --warm-up-time 1 --measurement-time 2

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

#[path = "../tests/cluster/mod.rs"]
mod cluster;

use std::hint::black_box;

use cluster::Cluster;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::traits::VartimeMultiscalarMul;
use ed25519_dalek::{Signer, SigningKey};
use reencrypt::*;

/// One read of one wrapped key: a DEK of 32 bytes under a label of 32 bytes.
struct Read {
    cluster: Cluster,
    wrapped: VerifiedWrappedKey,
    ephemeral: EphemeralSecret,
}

impl Read {
    fn new(threshold: u16, members: u16) -> Self {
        let rng = &mut rand::rng();
        let cluster = Cluster::deal(threshold, members, 0, rng);
        let wrapped = wrap(&cluster.public_key(), &[1; 32], &[2; 32], rng).unwrap();
        let ephemeral = EphemeralSecret::new(&wrapped, rng);
        Read {
            cluster,
            wrapped,
            ephemeral,
        }
    }

    fn share(&self, ephemeral: &EphemeralSecret, index: u16) -> Share {
        let node = self.cluster.node(index);
        node.reencrypt(&self.wrapped, ephemeral.public(), &mut rand::rng())
            .unwrap()
    }

    /// A new opening with the answers for it, the last t of n members.
    fn opening(&self) -> (Opening, Vec<(u16, [u8; Share::LENGTH])>) {
        let ephemeral = EphemeralSecret::new(&self.wrapped, &mut rand::rng());
        let package = &self.cluster.package;
        let answers = (1..=package.members())
            .rev()
            .take(package.threshold().into())
            .map(|index| (index, self.share(&ephemeral, index).to_bytes()))
            .collect();
        let opening = Opening::new(self.wrapped.clone(), ephemeral, package.clone()).unwrap();
        (opening, answers)
    }
}

fn feed(opening: &mut Opening, answers: &[(u16, [u8; Share::LENGTH])]) -> Progress {
    let mut progress = Progress::Finished;
    for (index, answer) in answers {
        progress = opening.add(*index, answer);
    }
    assert!(matches!(progress, Progress::Opened(_)));
    progress
}

fn writer(c: &mut Criterion) {
    let rng = &mut rand::rng();
    let y = SecretScalar::random(rng).public();
    c.bench_function("wrap", |b| {
        b.iter(|| wrap(black_box(&y), &[1; 32], &[2; 32], rng).unwrap());
    });
    let wrapped = wrap(&y, &[1; 32], &[2; 32], rng).unwrap();
    c.bench_function("wrapped key, parsed and verified", |b| {
        b.iter(|| {
            WrappedKey::parse(black_box(wrapped.as_bytes()))
                .unwrap()
                .verify(rng)
                .unwrap()
        });
    });
}

fn node(c: &mut Criterion) {
    let rng = &mut rand::rng();
    let read = Read::new(3, 5);
    let node = read.cluster.node(1);
    let wrapped_bytes = read.wrapped.as_bytes();
    let ephemeral_bytes = read.ephemeral.public().as_bytes();
    let parse = || {
        let wrapped = WrappedKey::parse_under(black_box(wrapped_bytes), &node.public_key());
        (
            wrapped.unwrap(),
            EphemeralKey::parse(black_box(ephemeral_bytes)).unwrap(),
        )
    };

    c.bench_function("request parsed", |b| b.iter(parse));
    let (wrapped, ephemeral) = parse();
    c.bench_function("request's two proofs verified", |b| {
        b.iter(|| verify_request(black_box(&wrapped), &ephemeral, rng).unwrap());
    });
    c.bench_function("share and its proof", |b| {
        b.iter(|| {
            node.reencrypt(black_box(&read.wrapped), read.ephemeral.public(), rng)
                .unwrap()
        });
    });
    let whole = |rng: &mut rand::rngs::ThreadRng| {
        let (wrapped, ephemeral) = parse();
        let (wrapped, ephemeral) = verify_request(&wrapped, &ephemeral, rng).unwrap();
        node.reencrypt(&wrapped, &ephemeral, rng)
            .unwrap()
            .to_bytes()
    };
    c.bench_function("node: request to share", |b| b.iter(|| whole(rng)));

    // What two approvals cost at least: their Ed25519 signatures, over as many bytes as a certificate has.
    let approvals = [1u8, 2].map(|seed| {
        let issuer = SigningKey::from_bytes(&[seed; 32]);
        let certificate = [seed; 400];
        (
            issuer.verifying_key(),
            certificate,
            issuer.sign(&certificate),
        )
    });
    c.bench_function("node: request to share, with two Ed25519 signatures", |b| {
        b.iter(|| {
            for (issuer, certificate, signature) in &approvals {
                issuer
                    .verify_strict(black_box(certificate), signature)
                    .unwrap();
            }
            whole(rng)
        });
    });
}

fn reader(c: &mut Criterion) {
    let rng = &mut rand::rng();
    let read = Read::new(3, 5);
    c.bench_function("ephemeral key", |b| {
        b.iter(|| EphemeralSecret::new(black_box(&read.wrapped), rng));
    });
    let share = read.share(&read.ephemeral, 1).to_bytes();
    c.bench_function("share, parsed and verified", |b| {
        b.iter(|| {
            let share = Share::parse(black_box(&share)).unwrap();
            let (package, ephemeral) = (&read.cluster.package, read.ephemeral.public());
            share.verify(package, &read.wrapped, ephemeral).unwrap()
        });
    });

    for (threshold, members) in [(3, 5), (11, 16), (43, 64)] {
        let read = Read::new(threshold, members);
        let shares: Vec<[u8; Share::LENGTH]> = (1..=threshold)
            .map(|index| read.share(&read.ephemeral, index).to_bytes())
            .collect();
        c.bench_function(
            &format!("{threshold} shares, parsed and verified together"),
            |b| {
                b.iter(|| {
                    let shares: Vec<Share> = shares
                        .iter()
                        .map(|share| Share::parse(share).unwrap())
                        .collect();
                    let (package, ephemeral) = (&read.cluster.package, read.ephemeral.public());
                    verify_shares(&shares, package, &read.wrapped, ephemeral, rng).unwrap()
                });
            },
        );

        // From the answers' bytes to the secret, but for x_c·Y, which is ready before they come.
        c.bench_function(&format!("open t = {threshold}, optimistically"), |b| {
            b.iter_batched_ref(
                || read.opening(),
                |(opening, answers)| feed(opening, answers),
                BatchSize::SmallInput,
            );
        });
        // The same with x_c·Y: all that a reader computes from the answers on.
        c.bench_function(
            &format!("open t = {threshold}, optimistically, with x_c·Y"),
            |b| {
                b.iter_batched(
                    || {
                        let ephemeral = EphemeralSecret::new(&read.wrapped, &mut rand::rng());
                        let answers: Vec<_> = (members - threshold + 1..=members)
                            .map(|index| (index, read.share(&ephemeral, index).to_bytes()))
                            .collect();
                        (
                            read.wrapped.clone(),
                            ephemeral,
                            read.cluster.package.clone(),
                            answers,
                        )
                    },
                    |(wrapped, ephemeral, package, answers)| {
                        feed(
                            &mut Opening::new(wrapped, ephemeral, package).unwrap(),
                            &answers,
                        )
                    },
                    BatchSize::SmallInput,
                );
            },
        );
        // Every proof is verified before the shares are combined.
        c.bench_function(
            &format!("open t = {threshold}, every share verified"),
            |b| {
                b.iter_batched(
                    || {
                        let ephemeral = EphemeralSecret::new(&read.wrapped, &mut rand::rng());
                        let public = *ephemeral.public();
                        let answers: Vec<_> = (1..=threshold)
                            .map(|index| (index, read.share(&ephemeral, index).to_bytes()))
                            .collect();
                        let package = read.cluster.package.clone();
                        let opening =
                            Opening::new(read.wrapped.clone(), ephemeral, package.clone()).unwrap();
                        (opening, package, public, answers)
                    },
                    |(mut opening, package, public, answers)| {
                        let shares: Vec<Share> = answers
                            .iter()
                            .map(|(_, share)| Share::parse(share).unwrap())
                            .collect();
                        verify_shares(&shares, &package, &read.wrapped, &public, &mut rand::rng())
                            .unwrap();
                        feed(&mut opening, &answers)
                    },
                    BatchSize::SmallInput,
                );
            },
        );
        // One liar among the first t: combine, verify all, drop one, combine again.
        c.bench_function(&format!("open t = {threshold}, one node lies"), |b| {
            b.iter_batched_ref(
                || {
                    let ephemeral = EphemeralSecret::new(&read.wrapped, &mut rand::rng());
                    let mut answers: Vec<_> = (1..=threshold + 1)
                        .map(|index| (index, read.share(&ephemeral, index).to_bytes()))
                        .collect();
                    let lie = *y_of(&read).as_bytes();
                    answers[0].1[10..42].copy_from_slice(&lie);
                    let package = read.cluster.package.clone();
                    let opening = Opening::new(read.wrapped.clone(), ephemeral, package).unwrap();
                    (opening, answers)
                },
                |(opening, answers)| feed(opening, answers),
                BatchSize::SmallInput,
            );
        });
    }
}

fn y_of(read: &Read) -> Point {
    read.cluster.public_key()
}

fn packages(c: &mut Criterion) {
    for (threshold, members) in [(3, 5), (22, 43), (33, 64), (129, 256)] {
        let package = Cluster::deal(threshold, members, 0, &mut rand::rng()).package;
        let (y, shares) = (package.public_key(), package.public_shares().to_vec());
        c.bench_function(
            &format!("public key package, {threshold} of {members}"),
            |b| {
                b.iter_batched(
                    || shares.clone(),
                    |shares| PublicKeyPackage::new(y, 0, threshold, shares).unwrap(),
                    BatchSize::SmallInput,
                );
            },
        );
    }
}

/// The group operations that the others consist of.
fn group(c: &mut Criterion) {
    let rng = &mut rand::rng();
    let secret = SecretScalar::random(rng);
    let point = SecretScalar::random(rng).public();
    c.bench_function("s·G, encoded", |b| b.iter(|| black_box(&secret).public()));
    c.bench_function("s·P, encoded", |b| {
        b.iter(|| black_box(&secret).diffie_hellman(black_box(&point)));
    });
    for count in [3, 11, 43] {
        let (scalars, points) = (
            vec![*secret.expose(); count],
            vec![*point.as_ristretto(); count],
        );
        c.bench_function(&format!("sum of {count} public multiples"), |b| {
            b.iter(|| RistrettoPoint::vartime_multiscalar_mul(black_box(&scalars), &points));
        });
    }
    c.bench_function("point decoded", |b| {
        b.iter(|| Point::from_bytes(black_box(point.as_bytes())).unwrap());
    });
}

criterion_group!(operations, group, writer, node, reader, packages);
criterion_main!(operations);
