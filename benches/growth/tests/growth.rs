//! The program, on a record of a few blocks: what it reports is of the record that it made.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::process::Command;

#[test]
fn a_small_record_is_made_measured_and_opened() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_growth"))
        .args(["--transactions", "400", "--block", "64", "--every", "200"])
        .args(["--json", "--keep", "--dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["transactions"], 400);
    assert_eq!(report["open"]["transactions"], 400);
    assert_eq!(report["points"].as_array().unwrap().len(), 2);
    assert!(report["apply_s"].as_f64().unwrap() > 0.0);
    // On the disk is at least what the transactions have, and the store is still there.
    let bytes = |name: &str| report[name].as_u64().unwrap();
    assert!(bytes("disk_bytes") > bytes("transaction_bytes"));
    assert!(dir.path().join("org.sqlite").exists());
}
