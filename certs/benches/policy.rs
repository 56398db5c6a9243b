//! What a policy costs a node for each request: parsing and the profile alone, then whole verifications of one to three
//! approvals. Beside them a bare signature check of each algorithm, which is what cannot be saved.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing)]

use std::hint::black_box;

use certs::{
    Algorithm, Approval, Binding, Issuer, Organisation, Policy, PolicyConfig, UnverifiedApproval,
    subject_public_key_info,
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const NOW: u64 = 1_800_000_000;

struct Request {
    policy: Policy,
    approvals: Vec<Vec<u8>>,
    client_spki: Vec<u8>,
}

/// A request with `needed` approvals under a policy of four organisations.
fn request(algorithm: Algorithm, needed: u16) -> Request {
    let names = ["a", "b", "c", "d"];
    let issuers = names
        .map(|name| Issuer::generate(name, algorithm, NOW - 100, NOW + 100_000).expect("issuer"));
    let client = Issuer::generate("client", Algorithm::Ed25519, NOW, NOW + 1).expect("client");
    let client_spki = subject_public_key_info(client.certificate_der())
        .expect("key")
        .to_vec();
    let approval = Approval {
        write_id: [1; 32],
        ephemeral_point: [2; 32],
        approval_id: "0193c5f0-6d3e-7c52-8ad1-3a5c1f0e9b77".to_owned(),
        client_spki: client_spki.clone(),
        not_before: NOW,
        not_after: NOW + 120,
    };
    let approvals = issuers
        .iter()
        .take(usize::from(needed))
        .map(|issuer| issuer.issue(&approval).expect("approval"))
        .collect();
    let organisations = names
        .iter()
        .zip(&issuers)
        .map(|(name, issuer)| Organisation {
            name: (*name).to_owned(),
            issuers: vec![issuer.certificate_der().to_vec()],
        })
        .collect();
    let config = PolicyConfig {
        approvals_needed: needed,
        organisations,
        max_lifetime_s: 300,
        tolerance_s: 30,
    };
    Request {
        policy: Policy::new(config).expect("policy"),
        approvals,
        client_spki,
    }
}

fn verify(c: &mut Criterion) {
    let mut group = c.benchmark_group("policy.verify");
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        for needed in 1..=3 {
            let request = request(algorithm, needed);
            let approvals: Vec<&[u8]> = request.approvals.iter().map(Vec::as_slice).collect();
            let binding = Binding {
                write_id: [1; 32],
                ephemeral_point: [2; 32],
                client_spki: &request.client_spki,
            };
            group.bench_function(BenchmarkId::new(format!("{algorithm:?}"), needed), |b| {
                b.iter(|| {
                    request
                        .policy
                        .verify(black_box(&approvals), &binding, NOW + 5)
                        .expect("approved")
                });
            });
        }
    }
    group.finish();
}

fn parse(c: &mut Criterion) {
    let request = request(Algorithm::Ed25519, 1);
    c.bench_function("approval.parse", |b| {
        b.iter(|| {
            UnverifiedApproval::parse(black_box(&request.approvals[0]))
                .expect("approval")
                .not_after()
        });
    });
}

fn issue(c: &mut Criterion) {
    let mut group = c.benchmark_group("issuer.issue");
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        let issuer = Issuer::generate("a", algorithm, NOW - 100, NOW + 100_000).expect("issuer");
        let approval = Approval {
            write_id: [1; 32],
            ephemeral_point: [2; 32],
            approval_id: "read".to_owned(),
            client_spki: subject_public_key_info(issuer.certificate_der())
                .expect("key")
                .to_vec(),
            not_before: NOW,
            not_after: NOW + 120,
        };
        group.bench_function(format!("{algorithm:?}"), |b| {
            b.iter(|| issuer.issue(&approval).expect("approval"))
        });
    }
    group.finish();
}

/// The unavoidable part of `policy.verify`: one signature over as many bytes as an approval's signed part has.
fn bare_signatures(c: &mut Criterion) {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair,
        ParsedPublicKey,
    };
    use ed25519_dalek::Signer;

    let message = [7; 450];
    let mut group = c.benchmark_group("bare signature");
    let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let (public, signature) = (key.verifying_key(), key.sign(&message));
    group.bench_function("Ed25519", |b| {
        b.iter(|| {
            public
                .verify_strict(black_box(&message), &signature)
                .expect("good")
        })
    });

    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("key");
    let signature = key
        .sign(&aws_lc_rs::rand::SystemRandom::new(), &message)
        .expect("signature");
    let public =
        ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.public_key().as_ref()).expect("key");
    group.bench_function("EcdsaP256", |b| {
        b.iter(|| {
            public
                .verify_sig(black_box(&message), signature.as_ref())
                .expect("good")
        });
    });
    group.finish();
}

criterion_group!(benches, verify, parse, issue, bare_signatures);
criterion_main!(benches);
