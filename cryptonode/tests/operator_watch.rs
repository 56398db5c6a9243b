//! What a node shows to those who look after it: health, readiness, metrics, and the dashboard and alerts made of them.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]
#![allow(dead_code, unreachable_pub)] // the harness is shared by several test programs

mod operator_harness;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use operator_harness::reads::{Reader, now};
use operator_harness::{Running, Site, eventually, json, metric, page};
use serde_json::Value;

fn conditions(node: &Running, path: &str) -> (u16, Value) {
    let (status, body) = page(node, path);
    (status, serde_json::from_str(&body).unwrap())
}

#[test]
fn metrics_say_what_the_cluster_does() {
    let site = Site::new();
    let names = ["n1", "n2", "n3"];
    site.cluster(&names);
    for name in names {
        site.configure(name, |text| {
            text.replace("members_every_s = 15", "members_every_s = 1")
        });
    }
    let mut nodes: Vec<Running> = names.iter().map(|name| site.run(name)).collect();

    let (status, reasons) = conditions(&nodes[0], "/readyz");
    assert_eq!((status, &reasons["ready"]), (503, &Value::Bool(false)));
    assert_eq!(reasons["reasons"][0]["code"], "no-key");
    assert_eq!(conditions(&nodes[0], "/healthz").0, 200);
    assert_eq!(page(&nodes[0], "/").0, 404);
    site.make_key("n1", 2);
    let (status, reasons) = conditions(&nodes[0], "/readyz");
    assert_eq!((status, &reasons["stage"]), (200, &"serving".into()));

    let reader = Reader::new(&site, "n1");
    assert_eq!(reader.read(&site, "n1"), "share");
    let expired = reader.request(&site.issuer, &reader.document(), now() - 1_000);
    assert_eq!(reader.outcome("n1", &expired), "not-enough-approvals");
    let all_there = eventually("all members are reachable", || {
        let (_, metrics) = page(&nodes[0], "/metrics");
        (metric(&metrics, "cryptonode_key_members_reachable", &[]) == Some(3.0)).then_some(metrics)
    });
    let share = ["request=\"reencrypt\"", "outcome=\"share\""];
    let refused = [
        "request=\"reencrypt\"",
        "outcome=\"refused\"",
        "reason=\"not-enough-approvals\"",
    ];
    for (name, labels, value) in [
        ("cryptonode_ready", &[][..], 1.0),
        ("cryptonode_shares_total", &[][..], 1.0),
        ("cryptonode_requests_total", &share[..], 1.0),
        ("cryptonode_requests_total", &refused[..], 1.0),
        (
            "cryptonode_approvals_not_counted_total",
            &["reason=\"approval-expired\""][..],
            1.0,
        ),
        (
            "cryptonode_approval_age_seconds_count",
            &["organisation=\"Hospital\""][..],
            1.0,
        ),
        (
            "cryptonode_share_phase_seconds_count",
            &["phase=\"audit\""][..],
            1.0,
        ),
        (
            "cryptonode_share_phase_seconds_count",
            &["phase=\"audit_commit\""][..],
            1.0,
        ),
        ("cryptonode_key_epoch", &[][..], 0.0),
        ("cryptonode_key_threshold", &[][..], 2.0),
        ("cryptonode_audit_records_total", &[][..], 1.0),
        ("cryptonode_audit_writable", &[][..], 1.0),
        (
            "cryptonode_issuer_expiry_timestamp_seconds",
            &[][..],
            4_000_000_000.0,
        ),
    ] {
        assert_eq!(
            metric(&all_there, name, labels),
            Some(value),
            "{name} in\n{all_there}"
        );
    }
    let ahead = metric(&all_there, "cryptonode_member_clock_ahead_seconds", &["n2"]).unwrap();
    assert!(ahead.abs() < 15.0, "one machine has one clock: {ahead}");
    everything_named_is_exported(&all_there);

    nodes.pop().unwrap().kill();
    eventually("the killed member is missed", || {
        let (_, metrics) = page(&nodes[0], "/metrics");
        let gone = metric(&metrics, "cryptonode_member_reachable", &["\"n3\""]) == Some(0.0);
        let left = metric(&metrics, "cryptonode_key_members_reachable", &[]);
        (gone && left == Some(2.0)).then_some(())
    });
}

/// Every metric that the dashboard and the alerts name is on the page of a real node.
fn everything_named_is_exported(page: &str) {
    let exported: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| {
            line.strip_prefix("# TYPE ")
                .and_then(|rest| rest.split(' ').next())
        })
        .collect();
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    for file in ["grafana-dashboard.json", "prometheus-alerts.yml"] {
        let text = std::fs::read_to_string(deploy.join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: BTreeSet<&str> = words
            .filter(|word| word.starts_with("cryptonode_"))
            .collect();
        assert!(named.len() > 10, "{file} names few metrics");
        for name in named {
            let base = ["_total", "_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            assert!(
                exported.contains(name) || base.is_some_and(|base| exported.contains(base)),
                "{file} names {name}, which no node exports"
            );
        }
    }
}

#[test]
fn a_failed_audit_log_is_told_at_once() {
    let site = Site::new();
    site.cluster(&["n1"]);
    let node = site.run_with("n1", |command| {
        // Files may not grow from a moment on that the test chooses: writes fail then, as on a full disk.
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
        shell.arg(command.get_program()).args(command.get_args());
        shell
    });
    site.make_key("n1", 1);
    let reader = Reader::new(&site, "n1");
    assert_eq!(reader.read(&site, "n1"), "share");
    assert_eq!(conditions(&node, "/healthz").0, 200);
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let pid = rustix::process::Pid::from_raw(i32::try_from(node.id()).unwrap());
    rustix::process::prlimit(pid, rustix::process::Resource::Fsize, none).unwrap();
    assert_eq!(reader.read(&site, "n1"), "audit-unavailable");
    for path in ["/healthz", "/readyz"] {
        let (status, reasons) = conditions(&node, path);
        assert_eq!(status, 503, "{path}");
        assert_eq!(reasons["reasons"][0]["code"], "audit-unavailable");
    }
    let (_, metrics) = page(&node, "/metrics");
    assert_eq!(
        metric(&metrics, "cryptonode_audit_writable", &[]),
        Some(0.0)
    );
    assert_eq!(
        metric(&metrics, "cryptonode_audit_write_failures_total", &[]),
        Some(1.0)
    );
    assert_eq!(metric(&metrics, "cryptonode_healthy", &[]), Some(0.0));
}

#[test]
fn a_taken_address_of_the_page_does_not_stop_the_node() {
    let site = Site::new();
    site.init("n1");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    site.configure("n1", |text| {
        text.replace(
            "[health]\nlisten = \"127.0.0.1:0\"",
            &format!("[health]\nlisten = \"{address}\""),
        )
    });
    let node = site.run("n1");
    assert_eq!(node.ready["health"], Value::Null);
    let status = json(&mut site.on("n1", &["status"]));
    let failure = status["health_failure"].as_str().unwrap();
    assert!(failure.contains(&address.to_string()), "{failure}");
    drop(taken);
    eventually("the page opens once the address is free", || {
        let status = json(&mut site.on("n1", &["status"]));
        (status["health"] == address.to_string().as_str()).then_some(())
    });
}

/// What the page says on a path within a few seconds, from a connection of its own.
fn health_of(node: &Running) -> (u16, Duration) {
    let since = Instant::now();
    let (status, _) = page(node, "/healthz");
    (status, since.elapsed())
}

#[test]
fn silent_connections_do_not_occupy_the_page() {
    let site = Site::new();
    site.init("n1");
    let node = site.run("n1");
    let address = node.ready["health"].as_str().unwrap();
    // Some say nothing at all, some half a head, some ask and do not read.
    let mut silent: Vec<TcpStream> = (0..64)
        .map(|number| {
            let mut stream = TcpStream::connect(address).unwrap();
            let words: &[u8] = match number % 3 {
                0 => b"",
                1 => b"GET /metrics HTTP/1.1\r\nhost: ",
                _ => b"GET /metrics HTTP/1.1\r\nhost: n1\r\n\r\n",
            };
            stream.write_all(words).unwrap();
            stream
        })
        .collect();
    // None waits for a silent one to be closed.
    let mut quickest = Duration::MAX;
    for _ in 0..40 {
        let (status, took) = health_of(&node);
        assert_eq!(status, 200);
        quickest = quickest.min(took);
    }
    assert!(quickest < Duration::from_secs(3), "{quickest:?}");
    // The last ones were let in, and are closed in a while although they send nothing.
    let last = silent.last_mut().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut rest = Vec::new();
    let ended = last.read_to_end(&mut rest);
    assert!(
        !matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
        "the node keeps a silent connection: {ended:?}"
    );
}

#[test]
fn a_connection_to_the_page_is_for_one_request() {
    let site = Site::new();
    site.init("n1");
    let node = site.run("n1");
    let address = node.ready["health"].as_str().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let ask = "GET /healthz HTTP/1.1\r\nhost: n1\r\n\r\n";
    stream.write_all(ask.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
}
