//! One host, or one corrupt member, against the node's bounds: it takes its part of them, and others are served.
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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cryptonode::audit::{AuditError, AuditRecord, Committed};
use cryptonode::client::ClientIdentity;
use cryptonode::server::{AuditSink, Limits};
use cryptonode::tls;
use cryptonode::wire::v1::{Answer, ByteBuf, Request};
use futures_util::future::BoxFuture;
use network_harness::*;
use quinn::{Connection, SendStream, TransportConfig, VarInt};

/// A connection from one of this machine's addresses, 127.0.0.`host`.
async fn from_host(
    host: u8,
    node: &Node,
    identity: ClientIdentity,
    transport: TransportConfig,
) -> Connection {
    let pinned = node.identity.verifying_key().to_bytes();
    let mut config =
        quinn::ClientConfig::new(Arc::new(tls::client_config(&identity, &pinned).unwrap()));
    config.transport_config(Arc::new(transport));
    quinn::Endpoint::client(([127, 0, 0, host], 0).into())
        .unwrap()
        .connect_with(config, node.address, "any.name")
        .unwrap()
        .await
        .unwrap()
}

async fn stranger(host: u8, node: &Node) -> Connection {
    let identity = ClientIdentity::generate().unwrap();
    from_host(host, node, identity, TransportConfig::default()).await
}

/// Begins requests and never ends them. At least so many of them are refused.
async fn begin(
    (node, connection): (&Node, &Connection),
    (streams, bytes): (usize, usize),
    refused: u64,
) -> Vec<SendStream> {
    let mut begun = Vec::new();
    for _ in 0..streams {
        let (mut send, _) = connection.open_bi().await.unwrap();
        let content = vec![0x61; bytes];
        // A stream that the node refuses is stopped: what is left of it does not matter.
        let _ = tokio::time::timeout(Duration::from_secs(1), send.write_all(&content)).await;
        begun.push(send);
    }
    until("they are accepted or refused", || {
        let busy = node.refusals("busy");
        busy >= refused && open_requests(node) + busy >= streams as u64
    })
    .await;
    begun
}

async fn assert_served(connection: &Connection) {
    let status = Request::Status {}.to_bytes().unwrap();
    let answer = send_raw(connection, &status).await;
    assert!(matches!(answer, Answer::Status { .. }), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_requests_of_one_address_leave_room_for_others() {
    let (_, node) = one_with(Limits {
        requests: 16,
        ..Limits::default()
    });
    let attacker = stranger(1, &node).await;
    let _begun = begin((&node, &attacker), (40, 1), 36).await;
    assert_served(&stranger(2, &node).await).await;
    let snapshot = node.serving.counters.snapshot();
    assert_eq!(
        snapshot.refused.get("busy"),
        Some(&36),
        "a quarter is for one address"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_one_address_leave_room_for_others() {
    let (_, node) = one_with(Limits {
        request_bytes: 2 * 1024 * 1024,
        ..Limits::default()
    });
    let attacker = stranger(1, &node).await;
    let _begun = begin((&node, &attacker), (16, 200_000), 13).await;
    assert_served(&stranger(2, &node).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_requests_of_a_member_leave_room_for_clients() {
    let (material, node) = one_with(Limits {
        request_bytes: 2 * 1024 * 1024,
        ..Limits::default()
    });
    let identity = ClientIdentity::from_signing_key(&material.identities[2]).unwrap();
    let member = from_host(1, &node, identity, TransportConfig::default()).await;
    let _begun = begin((&node, &member), (3, 2 * 1024 * 1024), 0).await;
    assert_served(&stranger(1, &node).await).await;
    assert_served(&stranger(2, &node).await).await;
}

/// A log with long pages.
struct Pages;

impl AuditSink for Pages {
    fn append(&self, _: AuditRecord) -> BoxFuture<'_, Result<Committed, AuditError>> {
        Box::pin(async { Ok(Committed::now(0)) })
    }
    fn checkpoint(&self) -> BoxFuture<'_, Result<String, AuditError>> {
        Box::pin(async { Ok(String::new()) })
    }
    fn read(&self, _: u64, _: u32, _: usize) -> Result<Vec<Vec<u8>>, AuditError> {
        Ok(vec![vec![7; 60_000]; 16])
    }
    fn size(&self) -> u64 {
        16
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_are_bounded() {
    let material = Material::new(1, 1, 1);
    let limits = Limits {
        request_bytes: 20 * 1024 * 1024,
        ..Limits::default()
    };
    let node = Node::start_with(&material, 1, loopback(), limits, |serving| {
        serving.audit = Arc::new(Pages);
    });
    let mut closed = TransportConfig::default();
    closed.stream_receive_window(VarInt::from_u32(0));
    let identity = ClientIdentity::generate().unwrap();
    let attacker = from_host(1, &node, identity, closed).await;
    let page = Request::Audit {
        from: 0,
        limit: 4_096,
    }
    .to_bytes()
    .unwrap();
    let mut unread = Vec::new();
    for _ in 0..40 {
        let (mut send, receive) = attacker.open_bi().await.unwrap();
        send.write_all(&page).await.unwrap();
        send.finish().unwrap();
        unread.push(receive);
    }
    // A page and its encoding are 2 MiB: two of them fit into the quarter of 20 MiB that is for one address.
    until("the others are refused", || node.refusals("busy") >= 38).await;
    assert_eq!(node.refusals("busy"), 38);
    // Somebody who reads gets a page.
    let answer = send_raw(&stranger(2, &node).await, &page).await;
    assert!(matches!(answer, Answer::Audit { records, .. } if records.len() == 16));
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals_are_checked_before_any_point_is_decoded() {
    let (material, node) = one();
    let (peer, spki) = peer(&node);
    let read = Read::new(&material.public_key);
    let approvals = material.approve(&read, &spki, &[0, 1]);
    // Not enough approvals that count, and points that do not decode.
    let request = Request::Reencrypt {
        result: None,
        approvals: [&approvals[0], &approvals[1], &approvals[1]]
            .map(|approval| ByteBuf::from(approval.as_slice()))
            .to_vec(),
        traceparent: None,
        wrapped_key: ByteBuf::from(read.wrapped.as_bytes()),
        ephemeral_key: ByteBuf::from([0xff; 160]),
    };
    assert_eq!(
        refusal(peer.call(&request).await.unwrap()).0,
        "not-enough-approvals"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_kept_for_nothing_do_not_keep_others_out() {
    let (material, node) = one_with(Limits {
        connections: 8,
        quiet: Duration::from_secs(2),
        ..Limits::default()
    });
    let identity = ClientIdentity::from_signing_key(&material.identities[2]).unwrap();
    let member = from_host(1, &node, identity, TransportConfig::default()).await;
    let mut idle = Vec::new();
    for _ in 0..6 {
        idle.push(stranger(1, &node).await);
    }
    let busy = stranger(2, &node).await;
    // Until places are free again.
    while idle.iter().all(|idle| idle.close_reason().is_none()) {
        assert_served(&busy).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_served(&member).await;
    assert_served(&stranger(3, &node).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_queued_by_one_address_does_not_delay_others() {
    work_queued_by(3, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_queued_by_one_client_does_not_delay_another_behind_its_address() {
    work_queued_by(1, 1).await;
}

/// So many clients at 127.0.0.1 have much work in the queue when one at 127.0.0.`host` asks once.
async fn work_queued_by(clients: usize, host: u8) {
    const REQUESTS: usize = 300;
    let (material, node) = one_with(Limits {
        arithmetic: 1,
        ..Limits::default()
    });
    // Approvals of nobody, bound to the right things: each costs the node signature checks.
    let forger = Material::new(1, 1, 1);
    let answered = Arc::new(AtomicUsize::new(0));
    let identity = ClientIdentity::generate().unwrap();
    let spki = identity.spki().to_vec();
    let honest = from_host(host, &node, identity, TransportConfig::default()).await;
    let read = Read::new(&material.public_key);
    let request = read.request(&material.approve(&read, &spki, &[0, 1, 2]));
    let mut attack = Vec::new();
    for _ in 0..clients {
        let identity = ClientIdentity::generate().unwrap();
        let spki = identity.spki().to_vec();
        let attacker = from_host(1, &node, identity, TransportConfig::default()).await;
        let read = Read::new(&material.public_key);
        let request = read.request(&forger.approve(&read, &spki, &[0, 1, 2, 3]));
        let bytes = request.to_bytes().unwrap();
        for _ in 0..REQUESTS / clients {
            let (attacker, bytes) = (attacker.clone(), bytes.clone());
            let answered = Arc::clone(&answered);
            attack.push(tokio::spawn(async move {
                send_raw(&attacker, &bytes).await;
                answered.fetch_add(1, Ordering::Relaxed);
            }));
        }
    }
    let before = answered.load(Ordering::Relaxed);
    let answer = send_raw(&honest, &request.to_bytes().unwrap()).await;
    let overtook = answered.load(Ordering::Relaxed) - before;
    assert!(matches!(answer, Answer::Share { .. }), "{answer:?}");
    assert!(
        before < REQUESTS / 2,
        "the attack is over too early to tell"
    );
    // Behind the queue it would be about all that were left.
    assert!(overtook < REQUESTS / 3, "{overtook}");
    for request in attack {
        request.await.unwrap();
    }
}
