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

const SMALL: [&str; 13] = [
    "--members",
    "3",
    "--threshold",
    "2",
    "--requests",
    "20",
    "--warm-up",
    "3",
    "--probes",
    "4",
    "--handshakes",
    "2",
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
    let build = &report["environment"]["build"];
    assert_eq!(
        build["executable_sha256"].as_str().map(str::len),
        Some(64),
        "{build}"
    );
    assert!(build["rustc"].is_string() && build["flags"].is_string());
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    let mut networks = Vec::new();
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
        for phase in [
            "receive",
            "decode",
            "turn",
            "approvals",
            "proofs",
            "share",
            "proof",
            "audit",
            "audit_commit",
            "whole",
        ] {
            let of = &run["node_phases_ms"][phase];
            assert!(of["max"].as_f64().unwrap() > 0.0, "{phase} {of}");
        }
        assert!(run["idle_nodes_cpu_ms"].as_f64() <= run["nodes_cpu_ms"].as_f64());
        assert!(run["offered_per_second"].is_null() && run["drain_seconds"].is_null());
        networks.extend([&run["network_ms"], &run["probes"]["network_ms"]].map(Value::as_f64));
        assert!(run["asked"].as_f64().unwrap() >= 2.0);
        let probes = &run["probes"];
        assert_eq!(
            (probes["probes"].as_u64(), probes["answered"].as_f64()),
            (Some(4), Some(3.0))
        );
        assert!(
            probes["n_th_answer_ms"]["p50"].as_f64() >= probes["t_th_answer_ms"]["p50"].as_f64()
        );
        for part in [
            "mask",
            "share_verification",
            "batch_verification",
            "combination",
        ] {
            // Not the opening: a difference of two times, which of few may be nothing.
            let of = &probes["reader_ms"][part];
            assert!(of["max"].as_f64().unwrap() > 0.0, "{part} {of}");
        }
        assert!(run["relay"].is_null());
        // The fastest are asked: one of the three may have had nothing to do.
        for node in nodes {
            let (answered, sent) = (&node["answered"], &node["bytes_sent"]);
            assert!(
                answered.as_u64() == Some(0) || sent.as_f64().unwrap() > 0.0,
                "{node}"
            );
        }
        // The wrapped key, the ephemeral key and two approvals, to two nodes.
        assert!(run["bytes_sent"].as_f64().unwrap() > 2_000.0);
    }
    // Unknown where a slow machine made the client ask others: not in all four, and never nothing.
    let known: Vec<f64> = networks.iter().flatten().copied().collect();
    assert!(
        !known.is_empty() && known.iter().all(|ms| *ms > 0.0),
        "{networks:?}"
    );
    let connections = &report["connections"];
    assert_eq!(
        (connections["made"].as_u64(), connections["failed"].as_u64()),
        (Some(6), Some(0))
    );
    assert_eq!(connections["sessions_taken_up"], 6, "{connections}");
    let lines = std::fs::read_to_string(&records).unwrap();
    std::fs::remove_file(&records).unwrap();
    assert_eq!(lines.lines().count(), 40);
    let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(line["answered"].as_array().unwrap().len(), 2);
}

#[test]
fn an_open_loop_counts_from_when_a_request_should_have_started() {
    let records = std::env::temp_dir().join(format!("open-loop-test-{}.jsonl", std::process::id()));
    let mut arguments = SMALL.to_vec();
    arguments.extend(["--records", records.to_str().unwrap()]);
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
    // They came in two tenths of a second, whenever the last was done.
    let offered = run["offered_per_second"].as_f64().unwrap();
    assert!((offered - 100.0).abs() < 1e-6, "{run}");
    assert!(run["requests_per_second"].as_f64().unwrap() <= offered);
    let drain = run["drain_seconds"].as_f64().unwrap();
    assert!((run["seconds"].as_f64().unwrap() - 0.2 - drain).abs() < 1e-6);
    assert!(run["phases_ms"]["late"]["max"].as_f64().unwrap() > 0.0);
    assert!(run["latency_ms"]["p50"].as_f64() >= run["phases_ms"]["answers"]["p50"].as_f64());

    let lines = std::fs::read_to_string(&records).unwrap();
    std::fs::remove_file(&records).unwrap();
    let mut due = Vec::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let ms = |name: &str| line[name].as_f64().unwrap();
        due.push(ms("at_ms"));
        // Whatever happened before it was asked for is in a request's time.
        let parts = [
            "late_ms",
            "ephemeral_key_ms",
            "approvals_ms",
            "answers_ms",
            "opening_ms",
        ];
        let parts: f64 = parts.map(ms).iter().sum();
        assert!(ms("latency_ms") >= parts - 1e-6, "{line}");
    }
    // They come at their times, whatever becomes of those before: no request waits for another to come.
    due.sort_by(f64::total_cmp);
    assert_eq!(due.len(), 20);
    for (number, due) in (1_u32..).zip(due) {
        assert!((due - 10.0 * f64::from(number)).abs() < 1e-3, "{due}");
    }
}

/// Two of three nodes with these options, one request: the report, and whether it was answered.
fn one_request(options: &[&str]) -> (Value, bool) {
    let few = [
        "--members=3",
        "--threshold=2",
        "--approvals=1",
        "--requests=1",
        "--warm-up=0",
        "--probes=0",
        "--handshakes=0",
        "--json",
    ];
    let output = latency(&[few.as_slice(), options].concat());
    let report = document(&output);
    assert!(report["error"].is_null(), "{report}");
    (report, output.status.success())
}

#[test]
fn hedging_asks_another_node_and_without_it_nobody_is_asked() {
    // Whichever two are asked, one of them is late.
    let late = ["--fault=late=1500@1", "--fault=late=1500@2"];
    for (hedging, asked) in [("--hedge-after=20", 3.0), ("--no-hedging", 2.0)] {
        let (report, answered) = one_request(&[late[0], late[1], hedging]);
        assert!(answered, "{report}");
        assert_eq!(report["runs"][0]["asked"], asked, "{hedging}: {report}");
    }
}

#[test]
fn only_who_verifies_shares_sees_a_false_proof() {
    // The true points with false proofs: good enough to combine, and not to verify.
    let false_proofs = ["--fault=wrong-proof@1", "--fault=wrong-proof@2"];
    for (combination, opens) in [("optimistic", true), ("verified", false)] {
        let option = format!("--combination={combination}");
        let (report, answered) = one_request(&[false_proofs[0], false_proofs[1], &option]);
        assert_eq!(answered, opens, "{report}");
        let run = &report["runs"][0];
        assert_eq!(run["failed"], u32::from(!opens), "{report}");
        assert_eq!(run["latency_ms"]["p50"].is_null(), !opens, "{report}");
    }
}

#[test]
fn all_nodes_may_be_needed() {
    let options = [
        "--members=2",
        "--threshold=2",
        "--approvals=1",
        "--requests=2",
        "--warm-up=0",
        "--probes=0",
        "--handshakes=0",
        "--json",
    ];
    let output = latency(&options);
    let report = document(&output);
    assert!(output.status.success(), "{report}");
    assert_eq!(report["runs"][0]["asked"], 2.0);
}

#[test]
fn a_cluster_with_faulty_nodes_far_away_still_answers() {
    let mut arguments = SMALL.to_vec();
    arguments.extend([
        "--members",
        "5",
        "--fault",
        "crashed",
        "--fault",
        "wrong-share@2",
    ]);
    arguments.extend([
        "--fault",
        "late=100@1",
        "--round-trip",
        "20",
        "--jitter",
        "1",
        "--loss",
        "0.5",
    ]);
    // Five members instead of the first two words' three.
    let output = latency(&arguments[2..]);
    let report = document(&output);
    assert!(output.status.success(), "{report}");
    let experiment = &report["experiment"];
    assert_eq!(experiment["faults"]["node-5"], "crashed");
    assert_eq!(experiment["faults"]["node-2"], "wrong-share");
    assert_eq!(experiment["network_in_full"]["loss_percent"], 0.5);
    let run = &report["runs"][0];
    // There and back through the relay, never early.
    assert!(run["latency_ms"]["p50"].as_f64().unwrap() >= 20.0, "{run}");
    let nodes = run["nodes"].as_array().unwrap();
    for (node, fault) in [(0, "late=100"), (1, "wrong-share"), (4, "crashed")] {
        assert_eq!(nodes[node]["fault"], fault);
    }
    // Whoever lies or is gone is never used; of the others are those that seem fast.
    assert_eq!(
        (nodes[1]["answered"].as_u64(), nodes[4]["answered"].as_u64()),
        (Some(0), Some(0))
    );
    let used = [0, 2, 3].map(|node| nodes[node]["answered"].as_u64().unwrap());
    assert!(used.iter().sum::<u64>() > 0, "{used:?}");
    let relay = &run["relay"];
    assert!(relay["datagrams"].as_u64().unwrap() > 80, "{relay}");
    // None but those to the node that is gone: a client with a choice seldom tries it.
    assert!(
        relay["undeliverable"].as_u64() < relay["datagrams"].as_u64(),
        "{relay}"
    );
    // Nodes 1, 3 and 4 have good answers to a probe.
    assert_eq!(run["probes"]["complete"], 0);
    // No n-th answer is not one after no time.
    assert!(run["probes"]["n_th_answer_ms"]["p50"].is_null(), "{run}");
}

#[test]
fn the_wait_for_a_nodes_replacement_is_a_wait_for_answers() {
    const ROUND_TRIP: f64 = 300.0;
    let records = std::env::temp_dir().join(format!("refusal-test-{}.jsonl", std::process::id()));
    let arguments = [
        "--members=3",
        "--threshold=2",
        "--requests=1",
        "--warm-up=0",
        "--probes=0",
        "--handshakes=0",
        "--fault=refusal",
        "--no-hedging",
        &format!("--round-trip={ROUND_TRIP}"),
        &format!("--records={}", records.display()),
        "--json",
    ];
    // Two of three whom the client does not know yet: of three first requests two meet the one that refuses. Afterwards it is asked last.
    let replaced = (0..40).find_map(|_| {
        let output = latency(&arguments);
        let report = document(&output);
        assert!(output.status.success(), "{report}");
        let line = std::fs::read_to_string(&records).unwrap();
        std::fs::remove_file(&records).unwrap();
        let line: Value = serde_json::from_str(line.trim()).unwrap();
        let met = line["others_asked"] == serde_json::json!([refuses(&report)]);
        met.then_some(line)
    });
    let line = replaced.expect("somebody was refused");
    // The refusal's round trip, and then the replacement's: both before anything can be opened.
    assert!(
        line["answers_ms"].as_f64().unwrap() >= 2.0 * ROUND_TRIP,
        "{line}"
    );
    assert!(line["opening_ms"].as_f64().unwrap() < ROUND_TRIP, "{line}");
}

/// The index of the node that refuses.
fn refuses(report: &Value) -> u64 {
    let nodes = report["runs"][0]["nodes"].as_array().unwrap();
    let node = nodes.iter().find(|node| node["fault"] == "refusal");
    node.unwrap()["index"].as_u64().unwrap()
}

#[test]
fn the_instruments_free_memory_as_the_shipped_programs_do() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("#[global_allocator]\nstatic MEMORY: ZeroAlloc<System>"),
            "{}",
            path.display()
        );
    }
}

#[test]
fn all_nodes_in_one_process_with_the_audit_log_in_memory() {
    let mut arguments = SMALL.to_vec();
    arguments.extend(["--processes", "one", "--audit", "tmpfs", "--no-hedging"]);
    arguments.extend(["--combination", "verified", "--payload", "1024"]);
    let output = latency(&arguments);
    let report = document(&output);
    assert!(output.status.success(), "{report}");
    assert_eq!(report["experiment"]["combination"], "verified");
    assert!(report["experiment"]["hedge_after_ms"].is_null());
    let run = &report["runs"][0];
    let together = run["nodes_together"]["cpu_ms"].as_f64().unwrap();
    assert!(
        together > 0.0 && run["nodes_cpu_ms"].as_f64() == Some(together),
        "{run}"
    );
    assert_eq!(run["failed"], 0);
    // What each node used is not known: nothing is said of it, and not that it was nothing.
    assert!(run["idle_nodes_cpu_ms"].is_null(), "{run}");
    for node in run["nodes"].as_array().unwrap() {
        assert!(
            node["cpu_ms"].is_null() && node["bytes_sent"].is_number(),
            "{node}"
        );
    }
}

#[test]
fn numbers_that_make_no_cluster_are_refused_with_a_sentence() {
    let output = latency(&["--members", "3", "--threshold", "4", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let report = document(&output);
    assert_eq!(report["error"]["code"], "arguments");
    let message = report["error"]["message"].as_str().unwrap();
    assert!(message.contains("--threshold"), "{message}");

    for (options, says) in [
        (["--fault=false-sums", "--members=5"], "wrong-share"),
        (["--fault=crashed@6", "--members=5"], "nodes 1 to 5"),
        (["--approvals=0", "--members=5"], "--approvals"),
        (["--payload=9", "--members=60000"], "--members"),
        (["--rate=0", "--members=5"], "--rate"),
    ] {
        let output = latency(&[options[0], options[1], "--json"]);
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        let error = &document(&output)["error"];
        assert_eq!(error["code"], "arguments", "{error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
    }

    let output = latency(&["--network", "moon", "--json"]);
    let report = document(&output);
    assert_eq!(report["error"]["code"], "network");
    let message = report["error"]["message"].as_str().unwrap();
    assert!(message.contains("atlantic"), "{message}");
}
