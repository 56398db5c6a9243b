//! A key that is reshared under its readers: real nodes over QUIC, shares interpolated here under the same Y.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod network_harness;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cryptonode::client::{Client, ClientIdentity, ClientOptions, Opened, Outcome};
use cryptonode::server::Limits;
use cryptonode::wire::v1::{Answer, ByteBuf, Request, ResultVersion};
use ed25519_dalek::SigningKey;
use futures_util::FutureExt;
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

fn quick() -> ClientOptions {
    ClientOptions {
        connect_timeout: Duration::from_millis(800),
        ..ClientOptions::default()
    }
}

fn asking_for(read: &Read, approvals: &[Vec<u8>], result: Option<(u64, u32)>) -> Request {
    let Request::Reencrypt {
        approvals,
        wrapped_key,
        ephemeral_key,
        ..
    } = read.request(approvals)
    else {
        unreachable!()
    };
    Request::Reencrypt {
        result: result.map(|(epoch, attempt)| ResultVersion { epoch, attempt }),
        approvals,
        traceparent: None,
        wrapped_key,
        ephemeral_key,
    }
}

fn keys(count: usize) -> Vec<SigningKey> {
    (0..count)
        .map(|_| SigningKey::from_bytes(&rand::random()))
        .collect()
}

/// A node's answer for a result of a key.
async fn ask(material: &Material, node: &Node, result: Option<(u64, u32)>) -> Answer {
    let (peer, spki) = peer(node);
    let read = Read::new(&material.public_key);
    let approvals = material.approve(&read, &spki, &[0, 1, 2]);
    peer.call(&asking_for(&read, &approvals, result))
        .await
        .unwrap()
}

fn epoch_of(answer: &Answer) -> (u64, Option<u64>) {
    match answer {
        Answer::Share { share, newest } => (
            reencrypt::Share::parse(share).unwrap().epoch(),
            newest.map(|newest| newest.epoch),
        ),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_answers_for_both_results_during_the_overlap_and_refuses_by_name_afterwards() {
    let old = Material::new(2, 3, 3);
    let node = Node::start(&old, 1, loopback(), Limits::default());
    let here = [node.address; 3];
    assert_eq!(epoch_of(&ask(&old, &node, None).await), (0, None));
    assert_eq!(epoch_of(&ask(&old, &node, Some((0, 1))).await), (0, None));
    let (code, ..) = refusal(ask(&old, &node, Some((1, 2))).await);
    assert_eq!(code, "epoch-unknown");

    let new = old.reshared(2, old.identities.clone(), 2);
    node.activate(&new, 1, &here);
    assert_eq!(epoch_of(&ask(&old, &node, None).await), (1, None));
    // Not announced before a threshold of members has signed it.
    assert_eq!(epoch_of(&ask(&old, &node, Some((0, 1))).await), (0, None));
    node.learn(&new, &here);
    assert_eq!(
        epoch_of(&ask(&old, &node, Some((0, 1))).await),
        (0, Some(1))
    );
    assert_eq!(epoch_of(&ask(&old, &node, Some((1, 2))).await), (1, None));
    // A lower attempt of the same epoch is another result.
    let (code, ..) = refusal(ask(&old, &node, Some((1, 1))).await);
    assert_eq!(code, "epoch-superseded");

    node.change(|entry| {
        entry.set_end(&new.result, now());
        assert_eq!(entry.erase_due(now()), [old.result]);
        assert!(entry.erase_due(now()).is_empty());
    });
    let (code, message, _) = refusal(ask(&old, &node, Some((0, 1))).await);
    assert_eq!(code, "epoch-superseded");
    assert!(message.contains("epoch 1, attempt 2"), "{message}");
    assert_eq!(epoch_of(&ask(&old, &node, None).await), (1, None));
    // What is lower than what is there does not come back.
    let lower = old.reshared(2, old.identities.clone(), 1);
    let addresses = here.map(|address| address.to_string());
    let refused = node
        .serving
        .keyring
        .insert(lower.active_key(1, &addresses))
        .unwrap_err();
    assert!(refused.to_string().contains("attempt 2"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_missed_the_ceremony_does_not_serve_and_who_retired_serves_until_the_overlap_ends() {
    let old = Material::new(2, 3, 3);
    let nodes = honest(&old);
    let new = old.reshared(2, [&old.identities[..1], &keys(2)[..]].concat(), 1);
    let places = [nodes[0].address; 3];

    nodes[1].learn(&new, &places);
    for asked in [None, Some((0, 1)), Some((1, 1))] {
        let (code, message, _) = refusal(ask(&old, &nodes[1], asked).await);
        assert_eq!(code, "epoch-missed");
        assert!(message.contains("epoch 1, attempt 1"), "{message}");
    }
    nodes[2].change(|entry| entry.retire(new.result, old.policy.clone(), now(), now() + 60));
    nodes[2].learn(&new, &places);
    assert_eq!(
        epoch_of(&ask(&old, &nodes[2], Some((0, 1))).await),
        (0, Some(1))
    );
    assert_eq!(epoch_of(&ask(&old, &nodes[2], None).await), (0, Some(1)));
    let (code, ..) = refusal(ask(&old, &nodes[2], Some((1, 1))).await);
    assert_eq!(code, "key-retired");
    nodes[2].change(|entry| {
        entry.set_end(&new.result, now() - 1);
        assert_eq!(entry.erase_due(now()), [old.result]);
    });
    let (code, ..) = refusal(ask(&old, &nodes[2], Some((0, 1))).await);
    assert_eq!(code, "key-retired");

    // Both still tell where the key went.
    for node in &nodes[1..] {
        let (peer, _) = peer(node);
        let question = Request::KeyCertificate {
            public_key: *old.public_key.as_bytes(),
        };
        let Answer::KeyCertificate { certificate, .. } = peer.call(&question).await.unwrap() else {
            panic!("no certificate")
        };
        let certificate =
            reencrypt::KeyCertificate::verify(&certificate, old.public_key.as_bytes()).unwrap();
        assert_eq!(*certificate.result(), new.result);
    }
    // A reshare that has the absent node among its members brings it back.
    let next = new.reshared(2, old.identities.clone(), 1);
    nodes[1].activate(&next, 2, &places);
    assert_eq!(epoch_of(&ask(&old, &nodes[1], None).await), (2, None));
    let (code, ..) = refusal(ask(&old, &nodes[1], Some((0, 1))).await);
    assert_eq!(code, "epoch-superseded");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_of_the_higher_result_governs_both() {
    let old = Material::new(1, 1, 2);
    let node = Node::start(&old, 1, loopback(), Limits::default());
    let mut new = old.reshared(1, old.identities.clone(), 1);
    new.policy = Material::new(1, 1, 3).policy;
    assert_eq!(epoch_of(&ask(&old, &node, Some((0, 1))).await), (0, None));
    node.activate(&new, 1, &[node.address]);
    // The approvals are of organisations that the new policy does not know.
    let (code, ..) = refusal(ask(&old, &node, Some((0, 1))).await);
    assert_eq!(code, "not-enough-approvals");
}

/// Clients that read without a pause until told to stop, each finding its way by itself; counts.
struct Load {
    stop: Arc<AtomicBool>,
    readers: Vec<(Arc<AtomicU64>, tokio::task::JoinHandle<()>)>,
}

impl Load {
    fn start(material: &Arc<Material>, clients: &[Arc<Client>]) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let reader = |client: &Arc<Client>| {
            let (material, client) = (Arc::clone(material), Arc::clone(client));
            let (stopped, reads) = (Arc::clone(&stop), Arc::<AtomicU64>::default());
            let counter = Arc::clone(&reads);
            let task = tokio::spawn(async move {
                while !stopped.load(Ordering::SeqCst) {
                    assert_opened(&open(&material, &client).await);
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            });
            (reads, task)
        };
        let readers = clients.iter().map(reader).collect();
        Self { stop, readers }
    }

    /// Waits for this many more reads of each client.
    async fn more(&self, reads: u64) {
        let reached = self
            .readers
            .iter()
            .map(|(count, _)| count.load(Ordering::SeqCst));
        let until: Vec<u64> = reached.map(|reached| reached + reads).collect();
        for ((count, task), until) in self.readers.iter().zip(until) {
            while count.load(Ordering::SeqCst) < until {
                assert!(!task.is_finished(), "a read failed");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    async fn finish(self) {
        self.stop.store(true, Ordering::SeqCst);
        for (_, task) in self.readers {
            task.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_fails_while_three_of_five_become_four_of_seven() {
    let old = Arc::new(Material::new(3, 5, 3));
    let mut nodes = honest(&old);
    let first: Vec<SocketAddr> = addresses(&nodes);
    // One looks for the new members as soon as they are announced; the others find out by reading.
    let patient = || ClientOptions {
        connect_timeout: Duration::from_secs(30),
        request_timeout: Duration::from_secs(30),
        ..ClientOptions::default()
    };
    let clients = [0; 3].map(|_| Arc::new(client(&old, &first, patient())));
    let load = Load::start(&old, &clients);
    load.more(5).await;

    // Members 1 to 4 stay, 5 goes, three machines come.
    let new = old.reshared(4, [&old.identities[..4], &keys(3)[..]].concat(), 2);
    for index in 5..=7 {
        let node = Node::start(&new, index, loopback(), Limits::default());
        nodes.push(node);
    }
    let places: Vec<SocketAddr> = nodes[..4]
        .iter()
        .chain(&nodes[5..])
        .map(|n| n.address)
        .collect();
    load.more(2).await;
    // One after the other has the new result; as soon as four have, it is announced, by two of them at first.
    nodes[0].activate(&new, 1, &places);
    load.more(2).await;
    for node in [&nodes[0], &nodes[5]] {
        node.learn(&new, &places);
    }
    clients[0].refresh().await;
    assert_eq!(clients[0].cluster().descriptor().epoch, 1);
    load.more(5).await;
    for index in [2, 3, 4] {
        nodes[index - 1].activate(&new, index as u16, &places);
        load.more(2).await;
    }
    nodes[4].change(|entry| entry.retire(new.result, old.policy.clone(), now(), now() + 60));
    for node in &nodes {
        node.learn(&new, &places);
    }
    load.more(5).await;
    // The overlap ends, not at the same moment everywhere.
    for node in &nodes[..5] {
        node.change(|entry| {
            entry.set_end(&new.result, now());
            assert_eq!(entry.erase_due(now()), [old.result]);
        });
        load.more(2).await;
    }
    load.more(5).await;
    load.finish().await;
    for client in &clients {
        let cluster = client.cluster();
        assert_eq!(cluster.descriptor().epoch, 1);
        assert_eq!(cluster.package().threshold(), 4);
    }

    // A client that knows only the first descriptor gets there, in its first read.
    let late = network_harness::client(&old, &first, quick());
    let opened = open(&old, &late).await;
    assert_opened(&opened);
    assert_eq!(opened.nodes.len(), 7);
    assert_eq!(late.cluster().package().epoch(), 1);
    assert_eq!(late.cluster().package().threshold(), 4);
    late.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_that_answers_leads_over_several_reshares() {
    let first = Material::new(2, 3, 3);
    let mut machines = honest(&first);
    let listed = addresses(&machines);
    // Each result has members of its own. What is left of the old ones knows its successor and nothing later.
    let second = first.reshared(2, keys(3), 1);
    let third = second.reshared(2, keys(3), 4);
    for material in [&second, &third] {
        for index in 1..=3 {
            machines.push(Node::start(material, index, loopback(), Limits::default()));
        }
    }
    let places = addresses(&machines);
    machines[2].learn(&second, &places[3..6]);
    for node in &machines[3..6] {
        node.learn(&third, &places[6..]);
    }
    for node in &machines[6..] {
        node.learn(&third, &places[6..]);
    }
    // Two of the three listed machines are gone for good, and so are two of the second generation.
    let survivors: Vec<Node> = machines
        .into_iter()
        .enumerate()
        .filter(|(place, _)| ![0, 1, 3, 4].contains(place))
        .map(|(_, node)| node)
        .collect();
    let client = client(&first, &listed, quick());
    let opened = open(&first, &client).await;
    assert_opened(&opened);
    assert_eq!(client.cluster().descriptor().epoch, 2);
    assert_eq!(client.cluster().descriptor().attempt, 4);
    let stale = refusal(ask(&first, &survivors[0], Some((0, 1))).await).0;
    assert_eq!(stale, "epoch-missed");
}

#[tokio::test(flavor = "multi_thread")]
async fn false_certificates_and_false_addresses_mislead_nobody() {
    let old = Material::new(2, 3, 3);
    let stranger = Material::new(2, 3, 3);
    let new = old.reshared(2, [&old.identities[..1], &keys(2)[..]].concat(), 1);
    let (_hole, nowhere) = black_hole();
    let honest_node = Node::start(&old, 1, loopback(), Limits::default());
    let newcomers: Vec<Node> = (2..=3)
        .map(|index| Node::start(&new, index, loopback(), Limits::default()))
        .collect();
    let places = [
        honest_node.address,
        newcomers[0].address,
        newcomers[1].address,
    ];
    honest_node.activate(&new, 1, &places);
    honest_node.learn(&new, &places);
    // One old member shows another key's certificate, one that of this key with a later epoch that nobody signed, and both
    // the true one with addresses of their own choice.
    let forged = {
        let mut statement = old.key_certificate().statement().clone();
        statement.result.epoch = 9;
        let bytes = statement.to_bytes();
        let message = reencrypt::KeyStatement::message(&bytes);
        reencrypt::KeyStatement::with_signature(&bytes, sign_under(&stranger.secret, &message))
    };
    let liar = |certificate: Vec<u8>, identity: &SigningKey| {
        let shown = Answer::KeyCertificate {
            addresses: vec![nowhere.to_string(); 3],
            certificate: ByteBuf::from(certificate),
        };
        let refused = Answer::Refused {
            code: "epoch-superseded".into(),
            message: "No.".into(),
            retry_after_ms: None,
        };
        let answers = [shown, refused].map(|answer| answer.to_bytes().unwrap());
        let script: Script = Arc::new(move |request| {
            let asked_for_share = matches!(request, Request::Reencrypt { .. });
            let bytes = answers[usize::from(asked_for_share)].clone();
            async move { Some(bytes) }.boxed()
        });
        impostor(identity, script)
    };
    for lie in [
        forged,
        stranger.key_certificate().as_bytes().to_vec(),
        new.key_certificate().as_bytes().to_vec(),
        vec![0; 40],
    ] {
        let liars = [
            liar(lie.clone(), &old.identities[1]),
            liar(lie, &old.identities[2]),
        ];
        let listed = [honest_node.address, liars[0], liars[1]];
        let client = client(&old, &listed, quick());
        let opened = open(&old, &client).await;
        assert_opened(&opened);
        assert_eq!(client.cluster().descriptor().epoch, 1);
        client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_of_another_result_are_not_combined_and_not_called_cheating() {
    let old = Material::new(2, 3, 3);
    let new = old.reshared(2, old.identities.clone(), 1);
    let nodes = honest(&old);
    // It answers with its newest share, whatever it was asked for.
    let careless = impostor(
        &old.identities[0],
        answers_with(new.key_share(1), Duration::ZERO),
    );
    let listed = [careless, nodes[1].address, nodes[2].address];
    let client = Client::new(
        cluster(&old, &listed),
        ClientIdentity::generate().unwrap(),
        patient(),
    )
    .unwrap();
    // Until it was asked: the order is by chance at first.
    for _ in 0..50 {
        let opened = open(&old, &client).await;
        assert_opened(&opened);
        match &opened.nodes[0].what {
            Outcome::Failed { code, .. } => {
                assert_eq!(code, "share-other-epoch");
                return;
            }
            Outcome::NotAsked | Outcome::Overtaken => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("it was never asked");
}
