//! Nodes that take as long as they can, and addresses that lead nowhere: the client gets its answer within its deadline.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod network_harness;

use std::time::{Duration, Instant};

use cryptonode::client::{ClientOptions, Dialer, PeerOptions};
use cryptonode::server::Limits;
use cryptonode::wire::v1::{Answer, Request};
use network_harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_stall_one_after_the_other_do_not_use_up_the_deadline() {
    const MEMBERS: u16 = 40;
    let material = Material::new(1, MEMBERS, 1);
    let holes: Vec<_> = (0..MEMBERS).map(|_| black_hole()).collect();
    let mut places: Vec<_> = holes.iter().map(|(_, address)| *address).collect();
    // One answers, and every other takes the longest hedging delay: one after the other that could be 20 s.
    let node = Node::start(&material, MEMBERS, loopback(), Limits::default());
    places[usize::from(MEMBERS) - 1] = node.address;
    let options = ClientOptions {
        connect_timeout: Duration::from_secs(8),
        request_timeout: Duration::from_secs(8),
        hedge_after: Duration::from_millis(500),
        deadline: Duration::from_secs(8),
        ..ClientOptions::default()
    };
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        let client = client(&material, &places, options.clone());
        let read = Read::new(&material.public_key);
        let approvals = material.approve(&read, client.spki(), &[0]);
        let begun = Instant::now();
        let opened = client.open(read.wrapped, read.ephemeral, approvals).await;
        assert_eq!(opened.result.unwrap().expose(), SECRET);
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_secs(6), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_an_address_that_leads_nowhere_is_reached_by_the_other() {
    // `localhost` is ::1 and 127.0.0.1 on most machines; the node listens on the latter alone.
    let found: Vec<_> = tokio::net::lookup_host("localhost:1")
        .await
        .unwrap()
        .collect();
    if !found.first().is_some_and(std::net::SocketAddr::is_ipv6) {
        return;
    }
    let (_, node) = one();
    let dialer = Dialer::new(
        cryptonode::client::ClientIdentity::generate().unwrap(),
        PeerOptions::default(),
    );
    let address = format!("localhost:{}", node.address.port());
    let peer = dialer
        .peer(&address, &node.identity.verifying_key().to_bytes())
        .unwrap();
    let answer = peer.call(&Request::Status {}).await.unwrap();
    assert!(matches!(answer, Answer::Status { .. }));
}
