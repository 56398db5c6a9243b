//! Envelope encryption beside its limit: AES-256-GCM and SHA-256 of aws-lc-rs over the same buffer, one after the other.
//! The target is within 1.25 times the limit, either way.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use coordinator::envelope::{BodyKey, BodyReader, BodySealer};
use coordinator::record::{Identifier, VersionName};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const SIZE: usize = 16 << 20;
/// What arrives from the network at once.
const STEP: usize = 64 << 10;

fn name() -> VersionName {
    let id = |name| Identifier::new(name).unwrap();
    VersionName {
        tenant: id("acme"),
        dataset: id("designs"),
        document: id("bridge"),
        version: 1,
    }
}

fn limit(cipher: &LessSafeKey, buffer: &mut [u8]) {
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let tag = cipher
        .seal_in_place_separate_tag(nonce, Aad::empty(), buffer)
        .unwrap();
    black_box(tag.as_ref());
    black_box(digest::digest(&digest::SHA256, buffer));
}

fn seal(key: &BodyKey, plaintext: &[u8], out: &mut Vec<u8>, sink: &mut impl FnMut(&[u8])) {
    let mut sealer = BodySealer::new(key, &name(), &mut rand::rng(), out).unwrap();
    for part in plaintext.chunks(STEP) {
        sealer.push(part, out).unwrap();
        sink(out);
        out.clear();
    }
    sealer.finish(out).unwrap();
    sink(out);
    out.clear();
}

fn envelope(c: &mut Criterion) {
    let plaintext = vec![7; SIZE];
    let key = BodyKey::generate(&mut rand::rng());
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[1; 32]).unwrap());
    let mut group = c.benchmark_group("envelope, 16 MiB");
    group
        .throughput(Throughput::Bytes(SIZE as u64))
        .sample_size(30);

    let mut buffer = plaintext.clone();
    group.bench_function("limit: AES-256-GCM + SHA-256", |b| {
        b.iter(|| limit(&cipher, &mut buffer))
    });

    let mut out = Vec::new();
    group.bench_function("encrypt with checksum", |b| {
        b.iter(|| {
            seal(&key, &plaintext, &mut out, &mut |part| {
                black_box(part);
            })
        });
    });

    let mut sealed = Vec::new();
    seal(&key, &plaintext, &mut out, &mut |part| {
        sealed.extend_from_slice(part)
    });
    let name = name();
    group.bench_function("verify checksum, then decrypt", |b| {
        b.iter(|| {
            black_box(digest::digest(&digest::SHA256, &sealed));
            let mut reader = BodyReader::new(
                BodyKey::from_slice(key.expose()).unwrap(),
                name.clone(),
                SIZE as u64,
            );
            for part in sealed.chunks(STEP) {
                reader.push(part, &mut out).unwrap();
                black_box(&out);
                out.clear();
            }
            reader.finish().unwrap();
        });
    });
    group.finish();
}

criterion_group!(benches, envelope);
criterion_main!(benches);
