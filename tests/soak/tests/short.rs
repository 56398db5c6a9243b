//! A short run, with nothing but processes made to fail: what `just soak` does for ten minutes on machines of its own.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::process::Command;

use serde_json::Value;

/// Takes a minute and a half, so it is a step of its own in the continuous integration: `cargo test -p soak -- --ignored`.
#[test]
#[ignore = "a minute and a half under load: just soak-short"]
fn nothing_acknowledged_is_lost_and_nobody_unapproved_is_let_in() {
    let ran = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["--seconds", "60", "--seed", "1", "--plain", "--json"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert!(ran.status.success(), "{report:#}\n{said}");
    let number = |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    // It did look: there were faults, answers, refusals and shares.
    assert!(number("/episodes") >= 3, "{report:#}");
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
