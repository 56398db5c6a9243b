//! Nodes that take as long as they can: the client gets its answer within its deadline.
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

use cryptonode::client::ClientOptions;
use cryptonode::server::Limits;
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
    for _ in 0..2 {
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
