//! A platform that has just begun to follow, and is asked for an export at once.

use super::federation::{Federation, served_at, success};
use super::platform::Platform;
use serde_json::Value;
use std::process::{Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_coordinator");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_of_a_fresh_platform_waits_for_its_first_blocks() {
    let mut federation = Federation::start(4);
    drop(Platform::start(&federation));
    // Its copy of the record is lost, and when it starts again nobody shows it anything yet.
    let dir = federation.base.path().join("platform");
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(dir.join(format!("record/mirror.sqlite{end}")));
    }
    for peer in 0..4 {
        federation.stop(peer);
    }
    let passphrase = federation.base.path().join("passphrase");
    let mut platform = Command::new(BINARY)
        .args(["--json", "run", "--exit-with-stdin", "--dir"])
        .arg(&dir)
        .arg("--passphrase-file")
        .arg(&passphrase)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    served_at(&mut platform).unwrap();
    let export = federation.base.path().join("early.export");
    let asking = Command::new(BINARY)
        .args(["--json", "audit", "export", "--out"])
        .arg(&export)
        .env("COORDINATOR_PROFILE", dir.join("client.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for peer in 0..4 {
        federation.run(peer);
    }
    let asked = asking.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&asked.stderr);
    assert!(asked.status.success(), "{said}; {}", federation.logs());
    let mut verify = Command::new(BINARY);
    verify
        .args(["--json", "audit", "verify"])
        .arg(&export)
        .arg("--keys")
        .arg(dir.join("verifiers.txt"));
    let report: Value = success(&mut verify);
    // The tenant's registration is there: it was final before.
    assert!(report["blocks"].as_u64().unwrap() >= 1, "{report}");
    assert!(report["signed_by"].as_array().unwrap().len() >= 3);
    drop(platform.stdin.take());
    platform.wait().unwrap();
}
