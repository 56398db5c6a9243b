//! The relay itself, measured: real datagrams through the real process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::relay::{Config, Network, RelayProcess};

/// How long a datagram may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(15);

fn relay(network: Network) -> RelayProcess {
    RelayProcess::start(
        &mut Command::new(env!("CARGO_BIN_EXE_relay")),
        &Config {
            parties: vec!["node-1".to_owned(), "node-2".to_owned()],
            network,
            seed: 1,
        },
    )
    .unwrap()
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A node that sends each datagram back.
fn echo() -> UdpSocket {
    let node = socket();
    let echoing = node.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = echoing.recv_from(&mut buffer) {
            let _ = echoing.send_to(&buffer[..length], from);
        }
    });
    node
}

#[test]
fn a_round_trip_is_what_was_configured_and_what_the_machine_adds() {
    let mut relay = relay(Network::uniform(30.0));
    let (node, client) = (echo(), socket());
    relay.target("node-1", node.local_addr().unwrap()).unwrap();
    let mut shortest = Duration::MAX;
    for number in 0..20_u8 {
        let started = Instant::now();
        client.send_to(&[number; 100], relay.fronts()[0]).unwrap();
        let mut buffer = [0; 2048];
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        let took = started.elapsed();
        // Never early, whatever the machine does.
        assert!(took >= Duration::from_millis(30), "{took:?}");
        assert_eq!(
            (&buffer[..length], from),
            ([number; 100].as_slice(), relay.fronts()[0])
        );
        shortest = shortest.min(took);
    }
    // The best of twenty: a loose bound, for machines that are busy with others.
    assert!(shortest < Duration::from_millis(60), "{shortest:?}");
    let statistics = relay.statistics().unwrap();
    assert_eq!((statistics.datagrams, statistics.lost), (40, 0));
    assert_eq!((statistics.bytes, statistics.undeliverable), (4_000, 0));
    assert_eq!(relay.statistics().unwrap().datagrams, 0);
}

#[test]
fn what_is_not_lost_arrives_and_the_loss_is_the_configured_one() {
    let mut network = Network::uniform(0.0);
    network.loss_percent = 30.0;
    let mut relay = relay(network);
    let (node, client) = (socket(), socket());
    relay.target("node-2", node.local_addr().unwrap()).unwrap();
    let count = 4_000_u32;
    let mut arrived = 0;
    let mut buffer = [0; 2048];
    // In small groups, so that no socket's buffer overflows: loss must come from the relay alone.
    for group in 0..count / 40 {
        for number in 0..40 {
            client
                .send_to(&(group * 40 + number).to_le_bytes(), relay.fronts()[1])
                .unwrap();
        }
        let mut passed = 40;
        // Not before the relay has read all of them.
        let mut read = 0;
        while read < 40 {
            let statistics = relay.statistics().unwrap();
            read += statistics.datagrams;
            passed -= statistics.lost;
        }
        for _ in 0..passed {
            node.recv_from(&mut buffer).unwrap();
            arrived += 1;
        }
    }
    let expected = 0.7 * f64::from(count);
    let deviation = (0.21 * f64::from(count)).sqrt();
    assert!(
        (f64::from(arrived) - expected).abs() < 5.0 * deviation,
        "{arrived}"
    );
}

#[test]
fn a_pair_is_told_from_another_by_who_sends() {
    // From node 2 to node 1 nothing passes; from the client everything.
    let mut network = Network::uniform(1.0);
    network.directions = vec![testkit::relay::Exception {
        from: "node-2".to_owned(),
        to: "node-1".to_owned(),
        delay_ms: None,
        jitter_ms: None,
        loss_percent: Some(100.0),
        reorder_percent: None,
        bandwidth_mbit: None,
    }];
    let mut relay = relay(network.clone());
    let node = socket();
    relay.target("node-1", node.local_addr().unwrap()).unwrap();
    let client = socket();
    let mut buffer = [0; 2048];
    client.send_to(b"of the client", relay.fronts()[0]).unwrap();
    let (length, _) = node.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"of the client");

    // This process is node 2 from now on: what its next socket sends is node 2's.
    relay.process("node-2", std::process::id()).unwrap();
    let as_node = socket();
    as_node.send_to(b"of node 2", relay.fronts()[0]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while relay.statistics().unwrap().lost == 0 {
        assert!(Instant::now() < deadline);
    }

    // Another network lets it through.
    network.directions.clear();
    relay.network(network).unwrap();
    as_node.send_to(b"again", relay.fronts()[0]).unwrap();
    let (length, _) = node.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"again");
}

#[test]
fn bandwidth_is_the_configured_one_in_one_direction_of_one_pair() {
    const COUNT: u32 = 60;
    // To node 1 a megabit a second, back and to node 2 as fast as can be.
    let mut network = Network::uniform(0.0);
    network.directions = vec![testkit::relay::Exception {
        from: "client".to_owned(),
        to: "node-1".to_owned(),
        delay_ms: None,
        jitter_ms: None,
        loss_percent: None,
        reorder_percent: None,
        bandwidth_mbit: Some(1.0),
    }];
    let mut relay = relay(network);
    let took = |relay: &mut RelayProcess, party: &str, front: usize| {
        let (node, client) = (socket(), socket());
        relay.target(party, node.local_addr().unwrap()).unwrap();
        let started = Instant::now();
        for number in 0..COUNT {
            let mut datagram = [0; 1_000];
            datagram[..4].copy_from_slice(&number.to_le_bytes());
            client.send_to(&datagram, relay.fronts()[front]).unwrap();
        }
        let mut buffer = [0; 2048];
        for number in 0..COUNT {
            let (length, _) = node.recv_from(&mut buffer).unwrap();
            assert_eq!(
                (length, &buffer[..4]),
                (1_000, number.to_le_bytes().as_slice())
            );
        }
        started.elapsed()
    };
    // 60,000 bytes, of which 15,000 go at once: the rest takes 0.36 s at 125,000 bytes a second, never less.
    let narrow = took(&mut relay, "node-1", 0);
    assert!(narrow >= Duration::from_millis(350), "{narrow:?}");
    let wide = took(&mut relay, "node-2", 1);
    assert!(wide < narrow, "{wide:?}");
    assert_eq!(relay.statistics().unwrap().overflowed, 0);
}
