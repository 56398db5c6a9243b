//! The load generator, run as a researcher runs it: real processes, a real key, few requests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::process::{Command, Output};

use serde_json::Value;

fn latency(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_latency"))
        .args(arguments)
        .output()
        .unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

const SMALL: [&str; 9] = [
    "--members",
    "3",
    "--threshold",
    "2",
    "--requests",
    "20",
    "--warm-up",
    "3",
    "--json",
];

#[test]
fn a_closed_loop_reports_every_request_and_every_node() {
    let folder = std::env::temp_dir().join(format!("latency-test-{}", std::process::id()));
    let records = folder.with_extension("jsonl");
    let mut arguments = SMALL.to_vec();
    arguments.extend(["--repetitions", "2", "--records", records.to_str().unwrap()]);
    let output = latency(&arguments);
    let report = document(&output);
    assert!(output.status.success(), "{report}");

    assert_eq!(report["experiment"]["concurrency"], 1);
    assert!(
        report["environment"]["disk_sync_ms"]["p50"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for run in runs {
        assert_eq!(
            (run["requests"].as_u64(), run["failed"].as_u64()),
            (Some(20), Some(0))
        );
        assert!(run["requests_per_second"].as_f64().unwrap() > 0.0);
        let at = |name: &str| run["latency_ms"][name].as_f64().unwrap();
        let rising = ["p50", "p90", "p95", "p99", "max"].map(at);
        assert!(rising[0] > 0.0 && rising.is_sorted(), "{rising:?}");
        for phase in ["ephemeral_key", "approvals", "answers", "opening"] {
            assert!(
                run["phases_ms"][phase]["p50"].as_f64().unwrap() > 0.0,
                "{phase}"
            );
        }
        let nodes = run["nodes"].as_array().unwrap();
        let answered: u64 = nodes
            .iter()
            .map(|node| node["answered"].as_u64().unwrap())
            .sum();
        assert_eq!((nodes.len(), answered), (3, 40));
        assert!(run["nodes_cpu_ms"].as_f64().unwrap() > 0.0);
        // The wrapped key, the ephemeral key and two approvals, to two nodes.
        assert!(run["bytes_sent"].as_f64().unwrap() > 2_000.0);
    }
    let lines = std::fs::read_to_string(&records).unwrap();
    std::fs::remove_file(&records).unwrap();
    assert_eq!(lines.lines().count(), 40);
    let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(line["answered"].as_array().unwrap().len(), 2);
}

#[test]
fn an_open_loop_counts_from_when_a_request_should_have_started() {
    let mut arguments = SMALL.to_vec();
    arguments.extend([
        "--rate",
        "100",
        "--arrivals",
        "even",
        "--algorithm",
        "p256",
        "--ahead",
    ]);
    let output = latency(&arguments);
    let report = document(&output);
    assert!(output.status.success(), "{report}");
    assert_eq!(report["experiment"]["rate"], 100.0);
    let run = &report["runs"][0];
    // Twenty requests, ten milliseconds apart, take two tenths of a second however fast they are.
    assert!(run["seconds"].as_f64().unwrap() >= 0.2, "{run}");
    assert!(run["phases_ms"]["late"]["max"].as_f64().unwrap() > 0.0);
    assert!(run["latency_ms"]["p50"].as_f64() >= run["phases_ms"]["answers"]["p50"].as_f64());
}

#[test]
fn numbers_that_make_no_cluster_are_refused_with_a_sentence() {
    let output = latency(&["--members", "3", "--threshold", "4", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let report = document(&output);
    assert_eq!(report["error"]["code"], "arguments");
    let message = report["error"]["message"].as_str().unwrap();
    assert!(message.contains("--threshold"), "{message}");
}
