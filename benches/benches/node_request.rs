//! A node's whole work on one request, and a reader's on a whole read, without wire and disk.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::hint::black_box;

use benches::Cluster;
use certs::Algorithm;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use reencrypt::Progress;

fn node_request(c: &mut Criterion) {
    let mut group = c.benchmark_group("node-request");
    for (algorithm, name) in [
        (Algorithm::Ed25519, "ed25519"),
        (Algorithm::EcdsaP256, "p256"),
    ] {
        for approvals in [1, 2, 3] {
            let cluster = Cluster::new(3, 5, approvals, algorithm);
            let request = cluster.request();
            group.bench_function(BenchmarkId::new(name, approvals), |b| {
                b.iter(|| black_box(cluster.answer(1, &request)));
            });
        }
    }
    group.finish();
}

fn whole_read(c: &mut Criterion) {
    let cluster = Cluster::new(3, 5, 2, Algorithm::Ed25519);
    c.bench_function("reader/open-from-three-answers", |b| {
        b.iter_batched(
            || {
                let request = cluster.request();
                let answers: Vec<_> = (1..=3)
                    .map(|i| (i, cluster.answer(i, &request).to_bytes()))
                    .collect();
                (request, answers)
            },
            |(request, answers)| {
                let mut opening = cluster.opening(request);
                let mut last = Progress::Need(3);
                for (index, answer) in answers {
                    last = opening.add(index, &answer);
                }
                assert!(matches!(last, Progress::Opened(_)));
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, node_request, whole_read);
criterion_main!(benches);
