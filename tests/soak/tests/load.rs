//! A short run of what `just load` does for a minute.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::process::Command;

use serde_json::Value;

/// It wants the machine for itself, so it is a step of its own in the continuous integration: `just soak-short`.
#[test]
#[ignore = "500 clients at once: just soak-short"]
fn five_hundred_clients_lose_nothing_while_nodes_and_a_peer_come_and_go() {
    let ran = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["--seconds", "15", "--json"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert!(ran.status.success(), "{report:#}\n{said}");
    assert_eq!(report["clients"], 500);
    assert_eq!(report["events"].as_array().map(Vec::len), Some(4));
    for kind in ["read", "write"] {
        let count = report["at_once"][kind]["count"].as_u64();
        assert!(count.is_some_and(|count| count > 0), "{kind}: {report:#}");
    }
    for nothing in ["lost", "wrong", "killed_at_the_end"] {
        assert_eq!(report[nothing], Value::Array(vec![]), "{report:#}");
    }
    assert_eq!(report["failed"], serde_json::json!({}), "{report:#}");
}
