//! What an operator does with one node, and every mistake that is made with it.
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

use operator_harness::{Site, cryptonode, json, mode, refused, write_private};

#[test]
fn a_node_is_made_runs_and_stops() {
    let site = Site::new();
    let made = site.init("n1");
    let words = fs::read_to_string(site.path("n1.words")).unwrap();
    assert_eq!(words.split_whitespace().count(), 24);
    assert_eq!(mode(&site.path("n1.words")), 0o600);
    assert_eq!(mode(&site.path("n1")), 0o700);
    let card = json(&mut site.on("n1", &["card"]));
    assert_eq!(
        (&card["identity"], &card["address"]),
        (&made["identity"], &made["address"])
    );

    let mut node = site.run("n1");
    assert_eq!(node.ready["name"], "n1");
    assert_eq!(node.ready["listen"], made["address"]);
    assert_eq!(node.ready["keys"].as_array().unwrap().len(), 0);
    for entry in fs::read_dir(site.path("n1")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(
            mode(&path) & 0o077,
            0,
            "{} is open to others",
            path.display()
        );
    }
    let status = json(&mut site.on("n1", &["status"]));
    assert_eq!(status["ready"], false);
    assert!(
        status["not_ready"][0]
            .as_str()
            .unwrap()
            .contains("no key is active")
    );
    let limits = fs::read_to_string(format!("/proc/{}/limits", node.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");

    let sentence = refused(
        site.on("n1", &["run"])
            .arg("--passphrase-file")
            .arg(site.path("pass")),
        5,
    );
    assert!(sentence.contains("in use"), "{sentence}");
    let sentence = refused(&mut site.on("n1", &["key", "export"]), 1);
    assert!(sentence.contains("ceremony propose"), "{sentence}");
    let sentence = refused(&mut site.on("n1", &["ceremony", "status"]), 1);
    assert!(sentence.contains("no ceremony"), "{sentence}");
    let sentence = refused(
        &mut site.on("n1", &["ceremony", "propose", "--threshold", "1"]),
        1,
    );
    assert!(sentence.contains("policy set"), "{sentence}");

    let pid = rustix::process::Pid::from_raw(i32::try_from(node.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(
        node.rest(),
        "",
        "nothing but the ready line on standard output"
    );
    assert!(!site.path("n1").join("admin.sock").exists());
    let sentence = refused(&mut site.on("n1", &["status"]), 6);
    assert!(sentence.contains("cryptonode run"), "{sentence}");
    let verified = json(&mut site.on("n1", &["audit", "verify"]));
    assert_eq!(
        (verified["records"].as_u64(), verified["signed"].as_u64()),
        (Some(0), Some(0))
    );

    let log = site.log("n1");
    for secret in words.split_whitespace().collect::<Vec<_>>().windows(2) {
        assert!(!log.contains(&secret.join(" ")));
    }
    assert!(!log.contains(operator_harness::PASSPHRASE));
}

#[test]
fn signals_and_closed_input_stop_it() {
    let site = Site::new();
    site.init("n1");
    assert_eq!(site.run("n1").terminate(), 0);
    assert_eq!(site.run("n1").abandon(), 0);
    site.run("n1").kill();
    assert_eq!(site.run("n1").terminate(), 0);
}

#[test]
fn a_free_port_is_chosen_when_none_is_given() {
    let site = Site::new();
    site.init("n1");
    let config = site.path("n1").join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let listen = text
        .lines()
        .find(|line| line.starts_with("listen = "))
        .unwrap()
        .to_owned();
    fs::write(&config, text.replace(&listen, "listen = \"127.0.0.1:0\"")).unwrap();
    let node = site.run("n1");
    let address: std::net::SocketAddr = node.ready["listen"].as_str().unwrap().parse().unwrap();
    assert_ne!(address.port(), 0);
}

#[test]
fn wrong_passphrases_change_nothing() {
    let site = Site::new();
    site.init("n1");
    let store = site.path("n1").join("store.redb");
    let before = fs::read(&store).unwrap();
    write_private(&site.path("other"), "wrong\n");
    let sentence = refused(
        site.on("n1", &["run"])
            .arg("--passphrase-file")
            .arg(site.path("other")),
        4,
    );
    assert!(sentence.contains("wrong passphrase"), "{sentence}");
    write_private(&site.path("empty"), "\n");
    let sentence = refused(
        site.on("n1", &["run"])
            .arg("--passphrase-file")
            .arg(site.path("empty")),
        4,
    );
    assert!(sentence.contains("empty"), "{sentence}");
    let sentence = refused(
        site.on("n1", &["run"])
            .arg("--passphrase-file")
            .arg(site.path("none")),
        4,
    );
    assert!(sentence.contains("none"), "{sentence}");
    let sentence = refused(&mut site.on("n2", &["init", "--name", "n2"]), 4);
    assert!(sentence.contains("--passphrase-file"), "{sentence}");
    assert_eq!(fs::read(&store).unwrap(), before);
    // As systemd hands it over.
    write_private(&site.path("passphrase"), operator_harness::PASSPHRASE);
    let output = site
        .on("n1", &["run", "--exit-with-stdin"])
        .env("CREDENTIALS_DIRECTORY", site.dir.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn damage_is_told_and_left_alone() {
    let site = Site::new();
    site.init("n1");
    site.run("n1").terminate();
    let run = || {
        let mut command = site.on("n1", &["run"]);
        command.arg("--passphrase-file").arg(site.path("pass"));
        command
    };
    for (file, status, part) in [
        ("config.toml", 3, "line 1"),
        ("identity.json", 7, "identity.json"),
        ("store.redb", 7, "damaged"),
        ("audit/checkpoint", 7, "checkpoint"),
    ] {
        let path = site.path("n1").join(file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, b"rubbish").unwrap();
        let sentence = refused(&mut run(), status);
        assert!(sentence.contains(part), "{sentence}");
        assert_eq!(fs::read(&path).unwrap(), b"rubbish");
        fs::write(&path, whole).unwrap();
    }
    let config = site.path("n1").join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("colour = 1\n{text}")).unwrap();
    let sentence = refused(&mut site.on("n1", &["config", "check"]), 3);
    assert!(
        sentence.contains("colour") && sentence.contains("config.toml, line 1"),
        "{sentence}"
    );
    fs::write(&config, text).unwrap();
    site.init("n2");
    fs::copy(
        site.path("n2").join("identity.json"),
        site.path("n1").join("identity.json"),
    )
    .unwrap();
    let sentence = refused(&mut run(), 3);
    assert!(sentence.contains("two nodes"), "{sentence}");
}

#[test]
fn wrong_command_lines_leave_no_half_node() {
    let site = Site::new();
    let init = |words: &[&str]| {
        let mut command = site.on("n1", &["init"]);
        command
            .args(words)
            .arg("--passphrase-file")
            .arg(site.path("pass"));
        command
    };
    refused(&mut init(&["--name", "a b"]), 3);
    refused(&mut init(&["--name", "n1", "--advertise", "nowhere"]), 3);
    refused(&mut init(&["--name", "n1", "--json"]), 2);
    assert!(!site.path("n1").exists());
    site.init("n1");
    fs::remove_file(site.path("n1.words")).unwrap();
    let sentence = refused(&mut init(&["--name", "n1"]), 1);
    assert!(sentence.contains("nothing was changed"), "{sentence}");
    let sentence = refused(&mut site.on("elsewhere", &["card"]), 6);
    assert!(sentence.contains("cryptonode init"), "{sentence}");
    let sentence = refused(site.on("n1", &["member", "add"]).arg("{}"), 3);
    assert!(sentence.contains("card"), "{sentence}");
    assert_eq!(
        cryptonode()
            .arg("frobnicate")
            .output()
            .unwrap()
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        cryptonode().arg("--help").output().unwrap().status.code(),
        Some(0)
    );
    assert!(
        cryptonode()
            .args(["completions", "bash"])
            .output()
            .unwrap()
            .status
            .success()
    );
}
