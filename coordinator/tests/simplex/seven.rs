//! Seven organisations bear two that are at fault at the same time, each in a way of its own.

use super::federation::Federation;
use super::liar::Liar;
use super::order::recorded;
use super::platform::Platform;
use super::twins::{PATIENCE, order_as};
use bytes::Bytes;
use coordinator::record::SignedTransaction;
use std::time::Instant;

const HONEST: [usize; 5] = [0, 1, 2, 3, 4];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_proposes_what_is_invalid_and_one_signs_wrong_heads_and_five_go_on() {
    let mut federation = Federation::found(7);
    for peer in 0..6 {
        federation.run(peer);
    }
    let (liar, forger) = (5, 6);
    let (order, came) = order_as(&federation, forger);
    let mut urls: Vec<_> = federation.peers[..6]
        .iter()
        .map(|it| it.url.clone())
        .collect();
    urls[liar] = Liar::in_front_of(&federation.peers[liar], federation.genesis.origin()).await;

    // What is no transaction, what nobody signed, and what is signed by somebody who may not.
    let right = federation.registration(0, "stolen");
    let other = federation.registration(0, "other");
    let forged = SignedTransaction::from_parts(right.content().clone(), *other.signature());
    let forged = Bytes::copy_from_slice(forged.as_bytes());
    let taken = federation.registration(1, "first");
    let twice = federation.registration(forger, "first");
    let first = recorded(&federation.submit(2, &taken).await);
    for item in [
        Bytes::from_static(b"no transaction"),
        forged.clone(),
        Bytes::copy_from_slice(twice.as_bytes()),
    ] {
        order.submit(item).unwrap();
    }
    let mut last = first;
    for number in 0..8 {
        let transaction = federation.registration(number % 5, &format!("honest{number}"));
        last = recorded(&federation.submit((number + 1) % 5, &transaction).await);
    }
    let head = federation.agree(&HONEST, last).await;
    assert!(head.contains("\n9\n"), "{head}");
    let started = Instant::now();
    while let Ok(item) = came.try_recv() {
        assert_ne!(item, Bytes::from_static(b"no transaction"));
        assert!(started.elapsed() < PATIENCE);
    }
    // The name that was taken in alder's name is free.
    let height = recorded(&federation.submit(3, &right).await);
    federation.agree(&HONEST, height).await;

    let platform = tokio::task::spawn_blocking(move || {
        let platform = Platform::start_at(&federation, &urls);
        platform.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
        let started = Instant::now();
        loop {
            let status = platform.cli(&["status"]);
            let peers = status["peers"].as_array().unwrap();
            let fault = peers[liar]["fault"].as_str().unwrap_or_default();
            if fault.contains("another head") {
                assert!(
                    HONEST.iter().all(|it| peers[*it]["fault"].is_null()),
                    "{status}"
                );
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{status}");
        }
    });
    platform.await.unwrap();
    order.close();
}

#[tokio::test]
async fn five_go_on_without_two_and_one_without_its_disk_stands_in_for_a_third() {
    let mut federation = Federation::start(7);
    let first = federation.registration(0, "first");
    let height = recorded(&federation.submit(6, &first).await);
    let together = federation.agree(&[0, 1, 2, 3, 4, 5, 6], height).await;
    federation.kill(5);
    federation.kill(6);
    let mut last = height;
    for number in 0..4 {
        let transaction = federation.registration(number, &format!("without{number}"));
        last = recorded(&federation.submit(number + 1, &transaction).await);
    }
    let five = federation.agree(&HONEST, last).await;
    assert_ne!(five, together);

    // One of the two has lost its disk. When its votes are over a third dies: only with that one there is a quorum again.
    std::fs::remove_dir_all(federation.peers[6].dir.join("record")).unwrap();
    federation.run(6);
    federation.until(6, |it| it.votes).await;
    federation.kill(4);
    let again = federation.registration(0, "again");
    last = recorded(&federation.submit(1, &again).await);
    let agreed = federation.agree(&[0, 1, 2, 3, 6], last).await;
    federation.run(4);
    federation.run(5);
    assert_eq!(federation.agree(&[0, 1, 2, 3, 4, 5, 6], last).await, agreed);
}
