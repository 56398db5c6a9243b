//! Nodes that start without their passphrase, and where a passphrase may come from.
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

use std::fs;
use std::os::unix::fs::PermissionsExt;

use operator_harness::reads::Reader;
use operator_harness::{PASSPHRASE, Running, Site, json, metric, page, refused, write_private};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A node that is given no passphrase.
fn start_sealed(site: &Site) -> Running {
    let mut command = site.on("n1", &["run", "--exit-with-stdin", "--json"]);
    command.env("CRYPTONODE_LOG", "cryptonode=debug");
    let node = site.start("n1", command);
    assert_eq!(node.ready["event"], "sealed");
    node
}

#[test]
fn a_sealed_node_waits_and_serves_once_it_is_opened() {
    let site = Site::new();
    site.cluster(&["n1"]);
    let first = site.run("n1");
    let key = site.make_key("n1", 1);
    let reader = Reader::new(&site, "n1");
    first.terminate();

    let mut node = start_sealed(&site);
    let (status, body) = page(&node, "/readyz");
    let reasons: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &reasons["reasons"][0]["code"]),
        (503, &"sealed".into())
    );
    assert_eq!(page(&node, "/healthz").0, 200);
    let (_, metrics) = page(&node, "/metrics");
    assert_eq!(
        metric(&metrics, "cryptonode_stage", &["\"sealed\""]),
        Some(1.0)
    );
    let sentence = refused(&mut site.on("n1", &["status"]), 1);
    assert!(sentence.contains("cryptonode unseal"), "{sentence}");

    write_private(&site.path("wrong"), "another passphrase\n");
    let unseal = |file: &str| {
        let mut command = site.on("n1", &["unseal"]);
        command.arg("--passphrase-file").arg(site.path(file));
        command
    };
    for _ in 0..3 {
        let sentence = refused(&mut unseal("wrong"), 4);
        assert!(sentence.contains("wrong passphrase"), "{sentence}");
    }
    let opened = json(&mut unseal("pass"));
    assert_eq!(opened["keys"][0], key.as_str());
    let line: Value = serde_json::from_str(&node.line()).unwrap();
    assert_eq!(line["event"], "ready");
    assert_eq!(reader.read(&site, "n1"), "share");
    assert_eq!(page(&node, "/readyz").0, 200);
    let sentence = refused(&mut unseal("pass"), 1);
    assert!(sentence.contains("not sealed"), "{sentence}");
    let log = site.log("n1");
    assert!(!log.contains(PASSPHRASE) && !log.contains("another passphrase"));
    assert_eq!(node.terminate(), 0);

    // A sealed node stops when it is told to, and a killed one comes back sealed.
    assert_eq!(start_sealed(&site).terminate(), 0);
    start_sealed(&site).kill();
    assert_eq!(start_sealed(&site).abandon(), 0);
}

#[test]
fn what_was_configured_while_sealed_holds_from_the_first_request_on() {
    let site = Site::new();
    site.cluster(&["n1"]);
    let first = site.run("n1");
    site.make_key("n1", 1);
    let reader = Reader::new(&site, "n1");
    assert_eq!(reader.read(&site, "n1"), "share");
    first.terminate();

    let mut node = start_sealed(&site);
    site.configure("n1", |text| {
        let denied = format!("\ndeny = [\"{}\"]", reader.fingerprint());
        text.replace("\ndeny = []", &denied)
    });
    // A reload of a sealed node is no stop either.
    let pid = Pid::from_raw(i32::try_from(node.id()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let mut unseal = site.on("n1", &["unseal"]);
    json(unseal.arg("--passphrase-file").arg(site.path("pass")));
    let line: Value = serde_json::from_str(&node.line()).unwrap();
    assert_eq!(line["event"], "ready");
    assert_eq!(reader.read(&site, "n1"), "client-denied");
    assert_eq!(node.terminate(), 0);
}

#[test]
fn a_damaged_store_is_told_to_whoever_opens_it() {
    let site = Site::new();
    site.init("n1");
    let node = start_sealed(&site);
    fs::write(site.path("n1").join("store.redb"), b"rubbish").unwrap();
    let mut command = site.on("n1", &["unseal"]);
    command.arg("--passphrase-file").arg(site.path("pass"));
    let sentence = refused(&mut command, 1);
    assert!(
        sentence.contains("damaged") || sentence.contains("stopped"),
        "{sentence}"
    );
    assert_eq!(node.wait(), 7);
}

#[test]
fn a_passphrase_that_others_may_read_is_refused() {
    let site = Site::new();
    site.init("n1");
    let pass = site.path("pass");
    for mode in [0o644, 0o640, 0o604, 0o666] {
        fs::set_permissions(&pass, fs::Permissions::from_mode(mode)).unwrap();
        let mut command = site.on("n1", &["run"]);
        let sentence = refused(command.arg("--passphrase-file").arg(&pass), 4);
        assert!(sentence.contains("chmod 600"), "{mode:o}: {sentence}");
    }
    // As systemd hands it over.
    write_private(&site.path("passphrase"), PASSPHRASE);
    let mut command = site.on("n1", &["run", "--exit-with-stdin", "--json"]);
    command.env("CREDENTIALS_DIRECTORY", site.dir.path());
    let node = site.start("n1", command);
    assert_eq!(node.ready["event"], "ready");
}

#[test]
fn a_program_can_give_the_passphrase() {
    let site = Site::new();
    site.init("n1");
    let with = |command: &str| {
        let mut run = site.on("n1", &["run", "--exit-with-stdin", "--json"]);
        run.args(["--passphrase-command", command]);
        run
    };
    for (command, reason) in [
        (
            "echo YWxtb3N0 | base64 --decode && exit 3",
            "exit status: 3",
        ),
        ("true", "it printed nothing"),
        ("yes", "more than 4096 bytes"),
        (
            "head -c 5000 /dev/zero | tr '\\0' x",
            "more than 4096 bytes",
        ),
        ("printf '\\377'", "UTF-8"),
        ("echo another passphrase", "wrong passphrase"),
    ] {
        let told = refused(&mut with(command), 4);
        assert!(told.contains(reason), "{command}: {told}");
        assert!(
            !told.contains("almost"),
            "what it printed is not told: {told}"
        );
    }
    // As the tool of a token would: it opens what lies sealed on the disk.
    let sealed = site.path("sealed.b64");
    let encode = std::process::Command::new("base64")
        .arg(site.path("pass"))
        .output()
        .unwrap();
    fs::write(&sealed, encode.stdout).unwrap();
    let node = site.start("n1", with(&format!("base64 --decode {}", sealed.display())));
    assert_eq!(node.ready["event"], "ready");
}

#[test]
fn memory_is_locked_where_that_is_allowed() {
    let site = Site::new();
    site.init("n1");
    let node = site.run("n1");
    let status = json(&mut site.on("n1", &["status"]));
    let proc = fs::read_to_string(format!("/proc/{}/status", node.id())).unwrap();
    let locked = proc
        .lines()
        .find(|line| line.starts_with("VmLck:"))
        .unwrap();
    let locked_kib: u64 = locked.split_whitespace().nth(1).unwrap().parse().unwrap();
    if status["memory_locked"] == true {
        assert!(locked_kib > 1_000, "{locked}");
    } else {
        assert_eq!(locked_kib, 0);
        assert!(status["memory_failure"].is_string(), "{status}");
    }
    drop(node);
    // With a limit, nothing is locked rather than too little.
    let limited = site.run_with("n1", |command| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "ulimit -l 64 2>/dev/null; exec \"$0\" \"$@\""]);
        shell.arg(command.get_program()).args(command.get_args());
        shell
    });
    let status = json(&mut site.on("n1", &["status"]));
    let proc = fs::read_to_string(format!("/proc/{}/status", limited.id())).unwrap();
    let capable = proc
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << 14) != 0);
    assert_eq!(status["memory_locked"], capable);
}
