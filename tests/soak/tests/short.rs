//! A short run, with nothing but processes made to fail: what `just soak` does for ten minutes on machines of its own. The same
//! site, the peers of its record on the engine `simplex` and each a process of its own.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::process::Command;

use serde_json::Value;

/// What goes wrong, each once at least, in an order that follows from the seed.
const FAULTS: [&str; 8] = [
    "corrupt-peer-store",
    "kill-node",
    "kill-peer",
    "kill-platform",
    "lose-peer-store",
    "replace-peer",
    "reshare",
    "stop-peer",
];

/// Those of the five kinds that befall a peer, one of them with the node's and one with the reshare, and the platform's alone: then
/// each has come.
const EPISODES: usize = 6;

/// Takes some minutes, so it is a step of its own in the continuous integration: `just soak-short`.
#[test]
#[ignore = "minutes under load: just soak-short"]
fn nothing_acknowledged_is_lost_and_nobody_unapproved_is_let_in() {
    let ran = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["--seconds", "60", "--seed", "1", "--plain", "--json"])
        .args(["--episodes", &EPISODES.to_string()])
        .args(["--only", &FAULTS.join(",")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert!(ran.status.success(), "{report:#}\n{said}");
    let number = |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    // It did look: there were faults, answers, refusals and shares.
    for fault in FAULTS {
        assert!(number(&format!("/faults/{fault}")) > 0, "{report:#}");
    }
    assert_eq!(report.pointer("/never"), Some(&Value::Array(vec![])));
    assert_eq!(number("/found/peers"), 4, "{report:#}");
    for operation in [
        "write",
        "read",
        "read-as-guest",
        "read-after-removal",
        "read-as-stranger",
        "ask-node-unapproved",
    ] {
        let as_due = number(&format!("/operations/{operation}/as_due"));
        assert!(as_due > 0, "{operation}: {report:#}");
    }
    assert_eq!(
        number("/found/acknowledged"),
        number("/found/read_back"),
        "{report:#}"
    );
    assert!(number("/found/shares") >= 3 * number("/found/answered_reads"));
    assert_eq!(report.pointer("/violations"), Some(&Value::Array(vec![])));
}
