//! A collector that does not answer costs a node nothing but the spans.
#![cfg(all(feature = "node", feature = "telemetry"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]
#![allow(dead_code, unreachable_pub)] // the harness is shared by several test programs

mod operator_harness;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use cryptonode::wire::v1::{Request, TraceParent};
use operator_harness::reads::{Reader, now};
use operator_harness::{Site, eventually, json, metric, page, refused};

/// A request of a new document, within a trace that is recorded.
fn traced(site: &Site, reader: &Reader) -> Request {
    let mut request = reader.request(&site.issuer, &reader.document(), now());
    let Request::Reencrypt { traceparent, .. } = &mut request else {
        unreachable!()
    };
    *traceparent = Some(TraceParent::begin());
    request
}

#[test]
fn a_collector_that_hangs_delays_no_share_and_no_stop() {
    let site = Site::new();
    site.cluster(&["n1"]);
    // It takes connections and never says anything.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hanging.local_addr().unwrap();
    site.configure("n1", |text| {
        format!("{text}\n[telemetry]\nendpoint = \"http://{address}\"\n")
    });
    let node = site.run("n1");
    site.make_key("n1", 1);
    let reader = Reader::new(&site, "n1");
    for _ in 0..20 {
        assert_eq!(reader.outcome("n1", &traced(&site, &reader)), "share");
    }
    let asked = hanging.accept().unwrap();
    // It is given up after a while, and that is told.
    eventually("the loss is counted", || {
        let (_, metrics) = page(&node, "/metrics");
        let lost = metric(&metrics, "cryptonode_trace_spans_total", &["\"failed\""]);
        (lost >= Some(9.0)).then_some(())
    });
    assert_eq!(reader.outcome("n1", &traced(&site, &reader)), "share");
    let since = Instant::now();
    assert_eq!(node.terminate(), 0);
    assert!(
        since.elapsed() < Duration::from_secs(30),
        "{:?}",
        since.elapsed()
    );
    assert!(
        site.log("n1").contains("spans are lost"),
        "{}",
        site.log("n1")
    );
    drop(asked);
}

#[test]
fn a_collector_that_is_no_address_is_told_before_the_node_starts() {
    let site = Site::new();
    site.init("n1");
    site.configure("n1", |text| {
        format!("{text}\n[telemetry]\nendpoint = \"collector:4318\"\n")
    });
    let sentence = refused(&mut site.on("n1", &["config", "check"]), 3);
    assert!(
        sentence.contains("telemetry.endpoint") && sentence.contains("collector:4318"),
        "{sentence}"
    );
    // A changed one is named until the restart.
    site.configure("n1", |text| text.replace("collector:4318", "off"));
    let _node = site.run("n1");
    site.configure("n1", |text| {
        text.replace("\"off\"", "\"http://127.0.0.1:4318\"")
    });
    let done = json(&mut site.on("n1", &["reload"]));
    assert_eq!(done["restart_needed"][0], "telemetry", "{done}");
}
