//! The client against clusters in which something is wrong: the first t good answers win, and everyone is named.
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
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cryptonode::client::{Client, ClientOptions, ClusterError, Opened, Outcome};
use cryptonode::server::{Limits, Refusal};
use cryptonode::wire::v1::{Answer, MAX_SHARE_ANSWER, Request};
use network_harness::*;

async fn open(material: &Material, client: &Client) -> Opened {
    let read = Read::new(&material.public_key);
    let approvals = material.approve(&read, client.spki(), &[0, 1, 2]);
    client.open(read.wrapped, read.ephemeral, approvals).await
}

fn assert_opened(opened: &Opened) {
    match &opened.result {
        Ok(secret) => assert!(secret.ct_eq(SECRET)),
        Err(error) => panic!("{error}"),
    }
}

fn count(opened: &Opened, what: impl Fn(&Outcome) -> bool) -> usize {
    opened.nodes.iter().filter(|node| what(&node.what)).count()
}

/// A node with a bad record is asked last: not at all, unless the machine is so busy that good nodes seem slow.
async fn assert_left_alone(material: &Material, client: &Client, node: usize) {
    for _ in 0..10 {
        let opened = open(material, client).await;
        assert_opened(&opened);
        if opened.nodes[node].what == Outcome::NotAsked {
            return;
        }
    }
    panic!("node{} is asked again and again", node + 1);
}

/// As [`patient`], but others are asked in place of a node that takes its time: who needs less than [`AGES`] did not wait for it.
fn hedging() -> ClientOptions {
    ClientOptions {
        hedge_after: ClientOptions::default().hedge_after,
        ..patient()
    }
}

/// Options under which a test is quick whatever is wrong.
fn quick() -> ClientOptions {
    ClientOptions {
        connect_timeout: Duration::from_millis(400),
        request_timeout: Duration::from_millis(1500),
        ..ClientOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_of_five_open_a_wrapped_key() {
    let material = Material::new(3, 5, 3);
    let nodes = honest(&material);
    let client = client(&material, &addresses(&nodes), ClientOptions::default());
    assert!(
        client
            .connect()
            .await
            .iter()
            .all(|(_, connected)| connected.is_ok())
    );
    for _ in 0..5 {
        let opened = open(&material, &client).await;
        assert_opened(&opened);
        assert_eq!(
            count(&opened, |what| *what == Outcome::Answered),
            3,
            "{:?}",
            opened.nodes
        );
        assert_eq!(opened.nodes.len(), 5);
    }
    let recorded: usize = nodes
        .iter()
        .map(|node| node.audit.records.lock().unwrap().len())
        .sum();
    assert!(recorded >= 15, "every share has its record");
    let shares: u64 = nodes
        .iter()
        .map(|node| node.serving.counters.snapshot().shares)
        .sum();
    assert!(shares <= recorded as u64);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_are_collected_for_somebody_else() {
    let material = Material::new(3, 5, 3);
    let nodes = honest(&material);
    let client = client(&material, &addresses(&nodes), ClientOptions::default());
    let read = Read::new(&material.public_key);
    let approvals = material.approve(&read, client.spki(), &[1, 2, 3]);
    let collected = client
        .collect_shares(&read.wrapped, read.ephemeral.public(), approvals)
        .await;
    let shares = collected.result.unwrap();
    assert_eq!(shares.len(), 3);
    let mut opening =
        reencrypt::Opening::new(read.wrapped, read.ephemeral, material.package.clone()).unwrap();
    let mut last = None;
    for share in &shares {
        last = Some(opening.add(reencrypt::Share::parse(share).unwrap().index(), share));
    }
    let Some(reencrypt::Progress::Opened(secret)) = last else {
        panic!("{last:?}")
    };
    assert!(secret.ct_eq(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_share_is_named_and_replaced() {
    let material = Material::new(3, 5, 3);
    let nodes = honest(&material);
    let mut places = addresses(&nodes);
    places[1] = impostor(
        &material.identities[1],
        answers_with(material.wrong_share(2), Duration::ZERO),
    );
    let client = client(&material, &places, patient());
    let mut caught = false;
    for _ in 0..20 {
        let opened = open(&material, &client).await;
        assert_opened(&opened);
        if matches!(opened.nodes[1].what, Outcome::Cheated { .. }) {
            assert_eq!(count(&opened, |what| *what == Outcome::Answered), 3);
            caught = true;
            break;
        }
    }
    assert!(caught, "node2 was never asked");
    assert_left_alone(&material, &client, 1).await;

    let read = Read::new(&material.public_key);
    let approvals = material.approve(&read, client.spki(), &[0, 1, 2]);
    let only = network_harness::client(
        &material,
        &[places[1], places[1], places[1], places[3], places[4]],
        quick(),
    );
    let collected = only
        .collect_shares(&read.wrapped, read.ephemeral.public(), approvals)
        .await;
    assert!(matches!(
        collected.result,
        Err(ClusterError::TooFewAnswers { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_from_nodes_does_no_harm() {
    let material = Material::new(2, 5, 3);
    let nodes = honest(&material);
    let mut places = addresses(&nodes);
    places[0] = impostor(
        &material.identities[0],
        sends(b"\xff\xff not cbor".to_vec()),
    );
    places[1] = impostor(
        &material.identities[1],
        sends(vec![0; MAX_SHARE_ANSWER + 1]),
    );
    let other = Answer::Checkpoint { note: "x".into() };
    places[2] = impostor(&material.identities[2], says(other));
    let client = client(&material, &places, hedging());
    for _ in 0..10 {
        assert_opened(&open(&material, &client).await);
    }
    let codes: Vec<String> = {
        let mut codes = Vec::new();
        for _ in 0..30 {
            for node in open(&material, &client).await.nodes {
                if let Outcome::Failed { code, .. } = node.what {
                    codes.push(code);
                }
            }
        }
        codes
    };
    assert!(
        codes.iter().all(|code| [
            "message-not-cbor",
            "message-truncated",
            "message-shape",
            "answer-too-long",
            "answer-kind"
        ]
        .contains(&code.as_str())),
        "{codes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_than_t_nodes_give_a_clear_error() {
    let material = Material::new(3, 5, 3);
    let mut nodes = honest(&material);
    let places = addresses(&nodes);
    for node in nodes.drain(2..).collect::<Vec<_>>() {
        node.stop().await;
    }
    let options = ClientOptions {
        connect_timeout: Duration::from_secs(3),
        deadline: 2 * AGES,
        ..ClientOptions::default()
    };
    let client = client(&material, &places, options);
    let begun = Instant::now();
    let opened = open(&material, &client).await;
    let error = opened.result.unwrap_err();
    let sentence = error.to_string();
    assert!(
        sentence.starts_with("2 of 5 nodes answered, 3 are needed: "),
        "{sentence}"
    );
    for name in [
        "node3 is unreachable",
        "node4 is unreachable",
        "node5 is unreachable",
    ] {
        assert!(sentence.contains(name), "{sentence}");
    }
    assert!(begun.elapsed() < AGES, "{:?}", begun.elapsed());
    assert_eq!(error.code(), "too-few-answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_nodes_cost_one_hedging_delay_and_then_nothing() {
    let material = Material::new(3, 5, 3);
    let nodes = honest(&material);
    let mut places = addresses(&nodes);
    let (_keep0, hole0) = black_hole();
    let (_keep1, hole1) = black_hole();
    (places[0], places[3]) = (hole0, hole1);
    let client = client(&material, &places, hedging());
    let begun = Instant::now();
    assert_opened(&open(&material, &client).await);
    assert!(begun.elapsed() < AGES, "hedged: {:?}", begun.elapsed());
    for dead in [0, 3] {
        assert_left_alone(&material, &client, dead).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_takes_on_no_more_reads_than_it_may() {
    let material = Material::new(3, 5, 3);
    let nodes = honest(&material);
    let options = ClientOptions {
        reads_at_once: 1,
        ..ClientOptions::default()
    };
    let client = client(&material, &addresses(&nodes), options);
    let mut first = Box::pin(open(&material, &client));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    let second = open(&material, &client).await;
    assert_eq!(second.result.unwrap_err().code(), "busy");
    assert!(
        second
            .nodes
            .iter()
            .all(|node| node.what == Outcome::NotAsked)
    );
    assert_opened(&first.await);
    assert_opened(&open(&material, &client).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_node_is_hedged() {
    let material = Material::new(3, 5, 3);
    let nodes = honest(&material);
    let mut places = addresses(&nodes);
    places[2] = impostor(
        &material.identities[2],
        answers_with(material.key_share(3), 2 * AGES),
    );
    let client = client(&material, &places, hedging());
    let mut overtaken = false;
    for _ in 0..20 {
        let begun = Instant::now();
        let opened = open(&material, &client).await;
        assert_opened(&opened);
        assert!(begun.elapsed() < AGES, "{:?}", begun.elapsed());
        if opened.nodes[2].what == Outcome::Overtaken {
            overtaken = true;
            break;
        }
    }
    assert!(overtaken);
    assert_left_alone(&material, &client, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_node_is_waited_for_if_it_is_needed() {
    let material = Material::new(3, 3, 3);
    let nodes = honest(&material);
    let mut places = addresses(&nodes);
    places[2] = impostor(
        &material.identities[2],
        answers_with(material.key_share(3), Duration::from_millis(1200)),
    );
    let client = client(&material, &places, ClientOptions::default());
    assert_opened(&open(&material, &client).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_alive_and_says_nothing_times_out() {
    let material = Material::new(2, 2, 3);
    let nodes = honest(&material);
    let mut places = addresses(&nodes);
    places[1] = impostor(&material.identities[1], is_silent());
    let options = ClientOptions {
        connect_timeout: AGES,
        request_timeout: Duration::from_millis(2_500),
        ..ClientOptions::default()
    };
    let client = client(&material, &places, options);
    let opened = open(&material, &client).await;
    assert!(
        matches!(opened.nodes[1].what, Outcome::TimedOut { .. }),
        "{:?}",
        opened.nodes
    );
    assert!(
        opened
            .result
            .unwrap_err()
            .to_string()
            .starts_with("1 of 2 nodes answered, 2 are needed: node2 was too slow")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_node_is_asked_again() {
    let material = Material::new(2, 2, 3);
    let nodes = honest(&material);
    let mut places = addresses(&nodes);
    let times = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (true_answer, seen) = (
        answers_with(material.key_share(2), Duration::ZERO),
        Arc::clone(&times),
    );
    let busy = Refusal::Busy {
        retry_after: Duration::from_millis(20),
    }
    .to_answer()
    .to_bytes()
    .unwrap();
    places[1] = impostor(
        &material.identities[1],
        Arc::new(move |request| match seen.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => {
                let busy = busy.clone();
                Box::pin(async move { Some(busy) })
            }
            _ => true_answer(request),
        }),
    );
    let client = client(&material, &places, patient());
    assert_opened(&open(&material, &client).await);
    assert_eq!(times.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_refuses_what_others_grant_is_asked_after_them() {
    let material = Material::new(2, 3, 3);
    let nodes = honest(&material);
    let mut places = addresses(&nodes);
    let times = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let refusal = Answer::Refused {
        code: "not-enough-approvals".to_owned(),
        message: "It has another policy.".to_owned(),
        retry_after_ms: None,
    };
    let (refusal, asked) = (refusal.to_bytes().unwrap(), Arc::clone(&times));
    places[0] = impostor(
        &material.identities[0],
        Arc::new(move |request| {
            let refusal = refusal.clone();
            if matches!(request, Request::Reencrypt { .. }) {
                asked.fetch_add(1, Ordering::Relaxed);
            }
            Box::pin(async move { Some(refusal) })
        }),
    );
    let client = client(&material, &places, patient());
    // Whom nobody knows comes first, so its turn comes.
    while times.load(Ordering::Relaxed) == 0 {
        assert_opened(&open(&material, &client).await);
    }
    assert_left_alone(&material, &client, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_identity_is_not_talked_to() {
    for threshold in [2, 3] {
        let material = Material::new(threshold, 3, 3);
        let nodes = honest(&material);
        // node1's address leads to node2.
        let places = [nodes[1].address, nodes[1].address, nodes[2].address];
        let client = client(&material, &places, patient());
        let opened = open(&material, &client).await;
        match (threshold, &opened.nodes[0].what) {
            // The others are enough, whether or not it was asked.
            (2, Outcome::Failed { .. } | Outcome::NotAsked | Outcome::Overtaken) => {
                assert_opened(&opened);
            }
            (3, Outcome::Failed { code, reason }) => {
                assert_eq!(code, "node-identity");
                assert!(reason.contains("another identity key"), "{reason}");
                assert_eq!(opened.result.unwrap_err().code(), "too-few-answers");
            }
            (_, other) => panic!("{other:?}"),
        }
        assert_eq!(nodes[0].serving.counters.snapshot().connections, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapped_key_of_another_cluster_is_not_sent() {
    let material = Material::new(2, 3, 3);
    let nodes = honest(&material);
    let client = client(&material, &addresses(&nodes), quick());
    let stranger = Material::new(2, 3, 3);
    let opened = open(&stranger, &client).await;
    assert_eq!(opened.result.unwrap_err().code(), "other-key");
    assert!(
        opened
            .nodes
            .iter()
            .all(|node| node.what == Outcome::NotAsked)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_and_restarted_node_is_found_again_at_once() {
    let material = Arc::new(Material::new(1, 1, 3));
    let start = |address| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let material = Arc::clone(&material);
        let node =
            runtime.block_on(async move { Node::start(&material, 1, address, Limits::default()) });
        (runtime, node)
    };
    let (runtime, node) = tokio::task::block_in_place(|| {
        std::thread::scope(|s| s.spawn(|| start(loopback())).join().unwrap())
    });
    let address = node.address;
    let client = client(&material, &[address], patient());
    assert_opened(&open(&material, &client).await);
    // Its sockets go away without a word, as when a process is killed.
    runtime.shutdown_background();
    drop(node);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (runtime, node) = tokio::task::block_in_place(|| {
        std::thread::scope(|s| s.spawn(|| start(address)).join().unwrap())
    });
    let begun = Instant::now();
    let opened = open(&material, &client).await;
    assert_opened(&opened);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}: its reset was not heard",
        begun.elapsed()
    );
    runtime.shutdown_background();
    drop(node);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_diagnosis_is_plain_and_serialises() {
    let material = Material::new(2, 2, 3);
    let nodes = honest(&material);
    let client = client(&material, &addresses(&nodes), quick());
    let read = Read::new(&material.public_key);
    let approvals = material.approve(&read, client.spki(), &[0]);
    let opened = client.open(read.wrapped, read.ephemeral, approvals).await;
    let sentence = opened.result.unwrap_err().to_string();
    assert!(
        sentence.starts_with(
            "0 of 2 nodes answered, 2 are needed: node1 refused (not-enough-approvals): "
        ),
        "{sentence}"
    );
    let json = serde_json::to_value(&opened.nodes).unwrap();
    assert_eq!(json[0]["what"], "refused");
    assert_eq!(json[0]["code"], "not-enough-approvals");
    assert!(json[0]["millis"].as_f64().unwrap() > 0.0);
}
