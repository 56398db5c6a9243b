//! Envelope encryption beside its limit: AES-256-GCM and SHA-256 of aws-lc-rs over the same buffer, one after the other.
//! The target is within 1.25 times the limit, either way.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use coordinator::envelope::{BodyKey, BodyReader, BodySealer};
use coordinator::record::{Identifier, VersionName};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const SIZE: usize = 16 << 20;
/// What arrives from the network at once.
const STEP: usize = 64 << 10;
/// What is fetched from the body store at once.
const PART: usize = 1 << 20;
/// Pairs that are measured for the ratios.
const PAIRS: usize = 201;

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

/// SHA-256 over the stored body, then decryption: what a read does.
fn open(key: &BodyKey, sealed: &[u8], out: &mut Vec<u8>) {
    black_box(digest::digest(&digest::SHA256, sealed));
    let key = BodyKey::from_slice(key.expose()).unwrap();
    let mut reader = BodyReader::new(key, name(), SIZE as u64);
    for part in sealed.chunks(PART) {
        reader.push(part, out).unwrap();
        black_box(&*out);
        out.clear();
    }
    reader.finish().unwrap();
}

/// Runs `limit` and `work` in turn and prints how many times longer `work` takes: quartiles over pairs, so that what else
/// the machine does falls on both alike.
#[allow(clippy::print_stdout, reason = "a bench reports on standard output")]
fn paired(what: &str, mut limit: impl FnMut(), mut work: impl FnMut()) {
    let timed = |run: &mut dyn FnMut()| {
        let started = Instant::now();
        run();
        started.elapsed().as_secs_f64()
    };
    let mut ratios: Vec<f64> = (0..PAIRS)
        .map(|_| {
            let base = timed(&mut limit);
            timed(&mut work) / base
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let quartile = |n: usize| ratios.get(PAIRS * n / 4).copied().unwrap_or(f64::NAN);
    println!(
        "{what}: {:.3} times the limit (quartiles {:.3} to {:.3} of {PAIRS} pairs; target 1.25)",
        quartile(2),
        quartile(1),
        quartile(3)
    );
}

fn envelope(c: &mut Criterion) {
    let plaintext = vec![7; SIZE];
    let key = BodyKey::generate(&mut rand::rng());
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[1; 32]).unwrap());
    let (mut buffer, mut out, mut sealed) = (plaintext.clone(), Vec::new(), Vec::new());
    seal(&key, &plaintext, &mut out, &mut |part| {
        sealed.extend_from_slice(part);
    });
    let mut drain = |part: &[u8]| {
        black_box(part);
    };

    paired(
        "encrypt with checksum",
        || limit(&cipher, &mut buffer),
        || seal(&key, &plaintext, &mut out, &mut drain),
    );
    paired(
        "verify checksum, then decrypt",
        || limit(&cipher, &mut buffer),
        || open(&key, &sealed, &mut out),
    );

    let mut group = c.benchmark_group("envelope, 16 MiB");
    group
        .throughput(Throughput::Bytes(SIZE as u64))
        .sample_size(30);
    group.bench_function("limit: AES-256-GCM + SHA-256", |b| {
        b.iter(|| limit(&cipher, &mut buffer));
    });
    group.bench_function("encrypt with checksum", |b| {
        b.iter(|| seal(&key, &plaintext, &mut out, &mut drain));
    });
    group.bench_function("verify checksum, then decrypt", |b| {
        b.iter(|| open(&key, &sealed, &mut out));
    });
    group.finish();
}

criterion_group!(benches, envelope);
criterion_main!(benches);
