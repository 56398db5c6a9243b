//! Clients one by one: what one takes is not taken from another, and what the operator changes holds at once.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod network_harness;

use std::sync::Arc;

use cryptonode::audit::{AuditError, AuditRecord, Committed};
use cryptonode::client::{ClientIdentity, Dialer, Peer, PeerOptions};
use cryptonode::server::{AuditSink, ClientLimits, ClientRules, Limits};
use cryptonode::wire::v1::{Answer, Request};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use network_harness::*;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc};

/// A disk that is slow for one client alone: its records wait until the test lets them go.
struct SlowFor {
    client: std::sync::OnceLock<[u8; 32]>,
    waiting: mpsc::UnboundedSender<()>,
    go: Semaphore,
}

impl AuditSink for SlowFor {
    fn append(&self, record: AuditRecord) -> BoxFuture<'_, Result<Committed, AuditError>> {
        async move {
            if self.client.get() == Some(&record.client) {
                let _ = self.waiting.send(());
                self.go.acquire().await.unwrap().forget();
            }
            Ok(Committed::now(0))
        }
        .boxed()
    }

    fn checkpoint(&self) -> BoxFuture<'_, Result<String, AuditError>> {
        async { Err(AuditError::Closed) }.boxed()
    }

    fn read(&self, _: u64, _: u32, _: usize) -> Result<Vec<Vec<u8>>, AuditError> {
        Ok(Vec::new())
    }

    fn size(&self) -> u64 {
        0
    }
}

fn fingerprint(spki: &[u8]) -> [u8; 32] {
    Sha256::digest(spki).into()
}

fn share(material: &Material, spki: &[u8]) -> Request {
    let read = Read::new(&material.public_key);
    read.request(&material.approve(&read, spki, &[0, 1, 2]))
}

/// A client that waits for as long as a loaded machine takes.
fn patient(node: &Node) -> (Peer, Vec<u8>) {
    let identity = ClientIdentity::generate().unwrap();
    let spki = identity.spki().to_vec();
    let minute = std::time::Duration::from_secs(60);
    let options = PeerOptions {
        connect_timeout: minute,
        request_timeout: minute,
        ..PeerOptions::default()
    };
    let pinned = node.identity.verifying_key().to_bytes();
    let dialer = Dialer::new(identity, options);
    (
        dialer.peer(&node.address.to_string(), &pinned).unwrap(),
        spki,
    )
}

async fn code(peer: &Peer, request: &Request) -> (String, Option<u64>) {
    match peer.call(request).await.unwrap() {
        Answer::Refused {
            code,
            retry_after_ms,
            ..
        } => (code, retry_after_ms),
        other => (other.name().to_owned(), None),
    }
}

#[tokio::test]
async fn a_client_that_overloads_the_node_leaves_the_others_served() {
    let material = Material::new(1, 1, 3);
    let (waiting, mut waits) = mpsc::unbounded_channel();
    let slow = Arc::new(SlowFor {
        client: std::sync::OnceLock::new(),
        waiting,
        go: Semaphore::new(0),
    });
    let limits = Limits {
        audit: std::time::Duration::from_secs(60),
        ..Limits::default()
    };
    let audit = Arc::clone(&slow) as Arc<dyn AuditSink>;
    let node = Node::start_with(&material, 1, loopback(), limits, |serving| {
        serving.audit = audit;
        serving.gate.clients.replace(ClientRules {
            each: ClientLimits {
                requests: 3,
                ..ClientLimits::default()
            },
            ..ClientRules::default()
        });
    });
    let (greedy, greedy_spki) = patient(&node);
    let (modest, modest_spki) = patient(&node);
    slow.client.set(fingerprint(&greedy_spki)).unwrap();
    let greedy = Arc::new(greedy);
    // Its three places are taken by requests that go on for as long as the test wants.
    let mut going_on = Vec::new();
    for _ in 0..3 {
        let (peer, request) = (Arc::clone(&greedy), share(&material, &greedy_spki));
        going_on.push(tokio::spawn(async move { code(&peer, &request).await }));
    }
    for _ in 0..3 {
        waits.recv().await.unwrap();
    }
    // What comes above is told to come back, hundreds of times over; the other client, at the same address, is served.
    let request = share(&material, &greedy_spki);
    for _ in 0..5 {
        let more = (0..50).map(|_| code(&greedy, &request));
        for answer in futures_util::future::join_all(more).await {
            assert_eq!(answer, ("busy".to_owned(), Some(200)));
        }
        let served = code(&modest, &share(&material, &modest_spki)).await;
        assert_eq!(served.0, "share");
    }
    assert!(going_on.iter().all(|request| !request.is_finished()));
    slow.go.add_permits(3);
    for request in going_on {
        assert_eq!(request.await.unwrap().0, "share");
    }
    assert_eq!(node.refusals("busy"), 250);
}

#[tokio::test]
async fn rules_change_under_an_open_connection() {
    let (material, node) = one();
    let (peer, spki) = patient(&node);
    let request = share(&material, &spki);
    assert_eq!(code(&peer, &request).await.0, "share");
    let clients = &node.serving.gate.clients;
    let limits = ClientLimits {
        requests_per_second: 1,
        burst: 1,
        ..ClientLimits::default()
    };
    clients.replace(ClientRules {
        named: [(fingerprint(&spki), limits)].into(),
        ..ClientRules::default()
    });
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(code(&peer, &request).await);
    }
    let limited = answers.iter().find(|(code, _)| code == "rate-limited");
    let after = limited
        .expect("twenty at once are more than one a second")
        .1
        .unwrap();
    assert!((1..=1_000).contains(&after), "{after} ms");
    // Another client is not held to it.
    let (other, other_spki) = patient(&node);
    let theirs = share(&material, &other_spki);
    for _ in 0..5 {
        assert_eq!(code(&other, &theirs).await.0, "share");
    }
    clients.replace(ClientRules {
        deny: [fingerprint(&spki)].into(),
        ..ClientRules::default()
    });
    assert_eq!(code(&peer, &request).await.0, "client-denied");
    assert_eq!(code(&peer, &Request::Status {}).await.0, "client-denied");
    clients.replace(ClientRules::default());
    assert_eq!(code(&peer, &request).await.0, "share");
    assert_eq!(node.serving.counters.snapshot().connections, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_asks_too_often_comes_in_at_its_rate_and_not_in_waves() {
    let (material, node) = one();
    node.serving.gate.clients.replace(ClientRules {
        each: ClientLimits {
            requests_per_second: 50,
            burst: 1,
            ..ClientLimits::default()
        },
        ..ClientRules::default()
    });
    let (peer, spki) = patient(&node);
    let request = share(&material, &spki);
    let since = std::time::Instant::now();
    let asked = (0..20).map(|_| code(&peer, &request));
    let answers = futures_util::future::join_all(asked).await;
    // Each refusal is a rest of 20 ms, after which one more is served: nothing is taken in between.
    assert!(
        since.elapsed() >= std::time::Duration::from_millis(150),
        "{:?}",
        since.elapsed()
    );
    let served = answers.iter().filter(|(code, _)| code == "share").count();
    assert!(served >= 5, "{answers:?}");
    let refused = answers
        .iter()
        .filter(|(code, _)| code == "rate-limited")
        .count();
    assert_eq!(served + refused, 20, "{answers:?}");
}
