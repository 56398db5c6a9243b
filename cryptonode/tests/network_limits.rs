//! A node under load, attacked by slowness and numbers, with a failing disk, and told to stop.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod network_harness;

use std::sync::atomic::Ordering;
use std::time::Duration;

use cryptonode::client::{CallError, ClientIdentity, PeerOptions, call};
use cryptonode::server::Limits;
use cryptonode::wire::v1::{Answer, Request};
use network_harness::*;

#[tokio::test]
async fn a_request_that_dribbles_in_is_given_up() {
    let limits = Limits {
        request: Duration::from_millis(300),
        ..Limits::default()
    };
    let (material, node) = one_with(limits);
    let connection = raw(&node).await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let dribble = tokio::spawn(async move {
        while send.write_all(&[0x61]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let answer = Answer::from_bytes(&receive.read_to_end(4096).await.unwrap()).unwrap();
    assert_eq!(refusal(answer).0, "request-timeout");
    dribble.await.unwrap();
    // Streams opened and left alone, or reset, do not add up either.
    for _ in 0..200 {
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(&[1]).await.unwrap();
        send.reset(0_u32.into()).unwrap();
    }
    until("they are forgotten", || open_requests(&node) == 0).await;
    assert_alive(&material, &node).await;
}

#[tokio::test]
async fn more_requests_than_the_node_takes_on_are_told_when_to_come_back() {
    let (material, node) = one_with(Limits {
        requests: 1,
        ..Limits::default()
    });
    node.audit.delay_ms.store(2_000, Ordering::Relaxed);
    let (peer, spki) = peer(&node);
    let read = Read::new(&material.public_key);
    let request = read.request(&material.approve(&read, &spki, &[0, 1, 2]));
    peer.connect().await.unwrap();
    let (first, second) = tokio::join!(peer.call(&request), async {
        until("the first is accepted", || open_requests(&node) == 1).await;
        peer.call(&request).await
    });
    assert!(matches!(first.unwrap(), Answer::Share { .. }));
    let (code, _, retry_after_ms) = refusal(second.unwrap());
    assert_eq!((code.as_str(), retry_after_ms), ("busy", Some(200)));
}

#[tokio::test]
async fn bytes_of_all_requests_together_are_bounded() {
    let (material, node) = one_with(Limits {
        request_bytes: 20_000,
        ..Limits::default()
    });
    let connection = raw(&node).await;
    let mut begun = Vec::new();
    // One that never ends leaves no room for another. Whichever of the two comes first holds the bytes, so it may take some.
    loop {
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(&[0x61; 15_000]).await.unwrap();
        begun.push((send, receive));
        let (code, _, retry_after_ms) = refusal(send_raw(&connection, &[0x61; 15_000]).await);
        if code == "busy" {
            assert_eq!(retry_after_ms, Some(200));
            break;
        }
        assert_eq!(code, "message-shape");
    }
    for (mut send, _) in begun {
        let _ = send.reset(0_u32.into());
    }
    until("they are forgotten", || open_requests(&node) == 0).await;
    assert_alive(&material, &node).await;
}

#[tokio::test]
async fn connections_of_one_address_are_bounded() {
    let (_, node) = one_with(Limits {
        connections_per_address: 2,
        ..Limits::default()
    });
    let (first, _second) = (raw(&node).await, raw(&node).await);
    let (third, _) = peer(&node);
    let error = third.call(&Request::Status {}).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Unreachable { reason, .. } if reason.contains("no more connections")),
        "{error}"
    );
    first.close(0_u32.into(), b"");
    until("its place is free", || {
        node.serving.counters.snapshot().connections_open == 1
    })
    .await;
    let (fourth, _) = peer(&node);
    fourth.call(&Request::Status {}).await.unwrap();
}

#[tokio::test]
async fn under_load_newcomers_prove_their_address() {
    let (material, node) = one_with(Limits {
        validate_above: 0,
        ..Limits::default()
    });
    assert_alive(&material, &node).await;
    let snapshot = node.serving.counters.snapshot();
    assert_eq!((snapshot.retries, snapshot.connections), (1, 1));
}

#[tokio::test]
async fn without_a_durable_record_no_share_leaves() {
    let (material, node) = one_with(Limits {
        audit: Duration::from_millis(100),
        ..Limits::default()
    });
    let (peer, spki) = peer(&node);
    let read = Read::new(&material.public_key);
    let request = read.request(&material.approve(&read, &spki, &[0, 1, 2]));
    node.audit.fails.store(true, Ordering::Relaxed);
    assert_eq!(
        refusal(peer.call(&request).await.unwrap()).0,
        "audit-unavailable"
    );
    node.audit.fails.store(false, Ordering::Relaxed);
    node.audit.delay_ms.store(2_000, Ordering::Relaxed);
    assert_eq!(
        refusal(peer.call(&request).await.unwrap()).0,
        "audit-unavailable"
    );
    node.audit.delay_ms.store(0, Ordering::Relaxed);
    // Nothing is broken: there is only too much at a time.
    node.audit.full.store(true, Ordering::Relaxed);
    let (code, _, retry_after_ms) = refusal(peer.call(&request).await.unwrap());
    assert_eq!((code.as_str(), retry_after_ms), ("busy", Some(200)));
    node.audit.full.store(false, Ordering::Relaxed);
    assert!(matches!(
        peer.call(&request).await.unwrap(),
        Answer::Share { .. }
    ));
    assert_eq!(node.refusals("audit-unavailable"), 2);
}

#[tokio::test]
async fn a_stop_finishes_what_was_accepted() {
    let (material, node) = one();
    node.audit.delay_ms.store(500, Ordering::Relaxed);
    let (peer, spki) = peer(&node);
    let read = Read::new(&material.public_key);
    let request = read.request(&material.approve(&read, &spki, &[0, 1, 2]));
    peer.connect().await.unwrap();
    let pending = tokio::spawn(async move { peer.call(&request).await });
    until("it is accepted", || open_requests(&node) == 1).await;
    let (address, identity) = (
        node.address.to_string(),
        node.identity.verifying_key().to_bytes(),
    );
    node.stop().await;
    let answer = pending.await.unwrap().unwrap();
    assert!(matches!(answer, Answer::Share { .. }), "{answer:?}");
    let options = PeerOptions {
        connect_timeout: Duration::from_secs(1),
        ..PeerOptions::default()
    };
    let gone = call(
        ClientIdentity::generate().unwrap(),
        &address,
        &identity,
        &Request::Status {},
        options,
    )
    .await;
    assert!(matches!(gone, Err(CallError::Unreachable { .. })));
}

#[tokio::test]
async fn many_requests_on_one_connection_are_all_answered() {
    let (material, node) = one();
    let (peer, spki) = peer(&node);
    let read = Read::new(&material.public_key);
    let request = read.request(&material.approve(&read, &spki, &[0, 1, 2]));
    let calls = (0..300).map(|_| peer.call(&request));
    let answers = futures_util::future::join_all(calls).await;
    assert!(
        answers
            .into_iter()
            .all(|answer| matches!(answer, Ok(Answer::Share { .. })))
    );
    assert_eq!(node.serving.counters.snapshot().connections, 1);
}
