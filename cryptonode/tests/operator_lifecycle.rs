//! Reloads, stops, the service manager and the doctor, on real processes.
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

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use cryptonode::tls;
use cryptonode::wire::v1::Answer;
use operator_harness::reads::{Reader, now};
use operator_harness::{Site, eventually, json, metric, page, put_store, refused};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn a_changed_configuration_is_taken_whole_or_not_at_all() {
    let site = Site::new();
    site.cluster(&["n1"]);
    // No level on the command line: the configuration says it.
    let node = site.run_with("n1", |mut command| {
        command.env_remove("CRYPTONODE_LOG");
        command
    });
    site.make_key("n1", 1);
    let reader = Reader::new(&site, "n1");
    assert_eq!(reader.read(&site, "n1"), "share");

    // By command: the client is denied, the log is louder, and what needs a restart is named.
    site.configure("n1", |text| {
        text.replace(
            "\ndeny = []",
            &format!("\ndeny = [\"{}\"]", reader.fingerprint()),
        )
        .replace("level = \"info\"", "level = \"debug\"")
        .replace("idle_timeout_ms = 30000", "idle_timeout_ms = 20000")
    });
    let done = json(&mut site.on("n1", &["reload"]));
    assert_eq!(done["changed"], serde_json::json!(["clients", "log"]));
    assert_eq!(
        done["restart_needed"],
        serde_json::json!(["limits.idle_timeout_ms"])
    );
    assert_eq!(reader.read(&site, "n1"), "client-denied");
    assert!(site.log("n1").contains("DEBUG"), "{}", site.log("n1"));
    assert_eq!(Reader::new(&site, "n1").read(&site, "n1"), "share");

    // By SIGHUP: a file with one error is not taken, though it would admit the client again.
    site.configure("n1", |text| {
        let (before, after) = text.split_once("\ndeny = [").unwrap();
        let (_, after) = after.split_once('\n').unwrap();
        format!("colour = \"red\"\n{before}\ndeny = []\n{after}")
    });
    signal(node.id(), Signal::HUP);
    let failure = eventually("the file is refused", || {
        let status = json(&mut site.on("n1", &["status"]));
        status["config_failure"].as_str().map(str::to_owned)
    });
    assert!(
        failure.contains("config.toml, line 1") && failure.contains("colour"),
        "{failure}"
    );
    assert_eq!(reader.read(&site, "n1"), "client-denied");
    let (_, metrics) = page(&node, "/metrics");
    assert_eq!(
        metric(&metrics, "cryptonode_config_in_order", &[]),
        Some(0.0)
    );
    let sentence = refused(&mut site.on("n1", &["reload"]), 3);
    assert!(sentence.contains("line 1"), "{sentence}");

    // By itself, once the file is right.
    site.configure("n1", |text| text.replace("colour = \"red\"\n", ""));
    eventually("the file is taken", || {
        let status = json(&mut site.on("n1", &["status"]));
        (status["config_failure"] == Value::Null).then_some(())
    });
    assert_eq!(reader.read(&site, "n1"), "share");
}

#[test]
fn a_members_new_address_is_used_without_a_restart() {
    let site = Site::new();
    let names = ["n1", "n2"];
    site.cluster(&names);
    for name in names {
        site.configure(name, |text| {
            text.replace("members_every_s = 15", "members_every_s = 1")
        });
    }
    let first = site.run("n1");
    let second = site.run("n2");
    let reachable = |wanted: f64| {
        eventually("the member is seen or missed", || {
            let (_, metrics) = page(&first, "/metrics");
            (metric(&metrics, "cryptonode_member_reachable", &["\"n2\""]) == Some(wanted))
                .then_some(())
        });
    };
    reachable(1.0);
    let old = second.ready["listen"].as_str().unwrap().to_owned();
    second.terminate();
    let address = testkit::ports::udp().unwrap().to_string();
    site.configure("n2", |text| text.replace(&old, &address));
    let _second = site.run("n2");
    reachable(0.0);
    site.configure("n1", |text| text.replace(&old, &address));
    reachable(1.0);
    site.make_key("n1", 1);
}

#[test]
fn a_stop_answers_what_was_accepted() {
    let site = Site::new();
    site.cluster(&["n1"]);
    let node = site.run("n1");
    site.make_key("n1", 1);
    let reader = Reader::new(&site, "n1");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcomes = runtime.block_on(async {
        let mut calls = tokio::task::JoinSet::new();
        let reader = std::sync::Arc::new(reader);
        for _ in 0..64 {
            let request = reader.request(&site.issuer, &reader.document(), now());
            let reader = std::sync::Arc::clone(&reader);
            calls.spawn(async move { reader.try_send("n1", &request).await });
        }
        // The stop comes when some are answered and others are on their way.
        let mut outcomes = vec![calls.join_next().await.unwrap().unwrap()];
        let pid = node.id();
        tokio::task::spawn_blocking(move || signal(pid, Signal::TERM))
            .await
            .unwrap();
        while let Some(outcome) = calls.join_next().await {
            outcomes.push(outcome.unwrap());
        }
        outcomes
    });
    let shares = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(Answer::Share { .. })))
        .count();
    assert!(shares >= 1);
    for outcome in &outcomes {
        match outcome {
            Ok(Answer::Share { .. }) => {}
            // Not accepted: the client knows, and nothing was promised.
            Ok(Answer::Refused { code, .. }) => assert_eq!(code, "stopping"),
            // Nobody whom the node had let in was left to wait; who came when it had gone could not reach it.
            Err(error) => {
                let error = error.to_string();
                assert!(
                    !error.contains("within") || error.contains("cannot be reached"),
                    "left to wait: {error}"
                );
            }
            Ok(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(node.wait(), 0);
    // Each share that was taken has its record, and the log is signed to its end.
    let verified = json(&mut site.on("n1", &["audit", "verify"]));
    let records = verified["records"].as_u64().unwrap();
    assert!(
        records >= shares as u64,
        "{records} records, {shares} shares"
    );
    assert_eq!(verified["signed"], verified["records"]);
}

#[test]
fn the_service_manager_is_told() {
    let site = Site::new();
    site.init("n1");
    let path = site.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let heard = |wanted: &str| {
        let mut bytes = [0; 4096];
        loop {
            let length = socket.recv(&mut bytes).expect(wanted);
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if text.lines().any(|line| line.starts_with(wanted)) {
                return text;
            }
        }
    };
    let node = site.run_with("n1", |mut command| {
        command.env("NOTIFY_SOCKET", &path);
        command.env("WATCHDOG_USEC", "300000");
        command.env_remove("WATCHDOG_PID");
        command
    });
    assert!(heard("READY=1").contains("STATUS=serving"));
    heard("WATCHDOG=1");
    heard("WATCHDOG=1");
    signal(node.id(), Signal::HUP);
    assert!(heard("RELOADING=1").contains("MONOTONIC_USEC="));
    heard("READY=1");
    signal(node.id(), Signal::TERM);
    heard("STOPPING=1");
    assert_eq!(node.wait(), 0);
}

#[test]
fn the_doctor_sees_what_is_wrong() {
    let site = Site::new();
    let names = ["n1", "n2"];
    site.cluster(&names);
    let doctor = |words: &[&str], status: i32| -> Vec<Value> {
        let mut command = site.on("n1", &["doctor", "--json"]);
        let output = command.args(words).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(status), "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        value["findings"].as_array().unwrap().clone()
    };
    let state = |findings: &[Value], check: &str, about: &str| -> String {
        let mut found = findings.iter().filter(|finding| {
            finding["check"] == check && finding["about"].as_str().unwrap().contains(about)
        });
        let finding = found
            .next()
            .unwrap_or_else(|| panic!("{check}: {findings:?}"));
        finding["state"].as_str().unwrap().to_owned()
    };
    // Nothing runs: the addresses can be had, the other member is missed.
    let findings = doctor(&[], 9);
    for (check, about, wanted) in [
        ("folder", "", "ok"),
        ("configuration", "", "ok"),
        ("node", "", "warning"),
        ("listen", "", "ok"),
        ("share", "", "skipped"),
        ("issuer", "Hospital", "ok"),
        ("member", "n2", "failed"),
    ] {
        assert_eq!(
            state(&findings, check, about),
            wanted,
            "{check} in {findings:?}"
        );
    }
    let (n1, n2) = (site.run("n1"), site.run("n2"));
    let key = site.make_key("n1", 1);
    let findings = doctor(&[], 0);
    for (check, about) in [
        ("node", ""),
        ("listen", ""),
        ("health", ""),
        ("share", &key[..16]),
        ("member", "n2"),
        ("clock", "n2"),
        ("policy", &format!("n2 {}", &key[..16])),
    ] {
        assert_eq!(
            state(&findings, check, about),
            "ok",
            "{check} in {findings:?}"
        );
    }
    // A node that does not run has its shares checked if it can be opened.
    n1.terminate();
    let pass = site.path("pass");
    let findings = doctor(&["--passphrase-file", pass.to_str().unwrap()], 0);
    assert_eq!(state(&findings, "share", &key[..16]), "ok");
    assert_eq!(state(&findings, "policy", "n2"), "ok");
    // Another program has the address, another node the member's.
    let listen = json(&mut site.on("n1", &["card"]))["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let _taken = std::net::UdpSocket::bind(&listen).unwrap();
    n2.terminate();
    let findings = doctor(&[], 9);
    assert_eq!(state(&findings, "listen", ""), "failed");
    assert_eq!(state(&findings, "member", "n2"), "failed");
}

#[test]
fn an_older_store_is_noticed_against_the_audit_log() {
    let site = Site::new();
    site.cluster(&["n1"]);
    let (folder, keep) = (site.path("n1"), |name: &str| {
        put_store(&site.path("n1"), &site.path(name))
    });
    assert_eq!(site.run("n1").terminate(), 0);
    keep("without-key");
    let node = site.run("n1");
    let key = site.make_key("n1", 1);
    assert_eq!(node.terminate(), 0);
    keep("with-key");
    let node = site.run("n1");
    let reader = Reader::new(&site, "n1");
    assert_eq!(reader.read(&site, "n1"), "share");
    let document = "ab".repeat(32);
    json(&mut site.on(
        "n1",
        &[
            "key",
            "suspend",
            "--document",
            &document,
            "--reason",
            "withdrawn",
        ],
    ));
    // Not even by a power failure is anything lost that makes the difference.
    node.kill();
    keep("newest");
    let start = |store: &str| {
        put_store(&site.path(store), &folder);
        let mut command = site.on("n1", &["run"]);
        command.arg("--passphrase-file").arg(site.path("pass"));
        refused(&mut command, 7)
    };
    let told = start("without-key");
    assert!(
        told.contains("older than the audit log") && told.contains("does not have that key"),
        "{told}"
    );
    assert!(told.contains(&key), "{told}");
    let told = start("with-key");
    assert!(
        told.contains(&document) && told.contains("suspended the document"),
        "{told}"
    );

    // The newest goes on, as often as one likes.
    put_store(&site.path("newest"), &folder);
    site.run("n1").kill();
    let node = site.run("n1");
    let resume = [
        "key",
        "resume",
        "--document",
        &document,
        "--reason",
        "a mistake",
    ];
    json(&mut site.on("n1", &resume));
    assert_eq!(node.terminate(), 0);
    // Nothing is suspended any more and no epoch has passed; what it was part of since, an older store does not know all the same.
    let told = start("with-key");
    assert!(told.contains("opened and closed"), "{told}");
    // Nor does the one that was the newest once.
    put_store(&site.path("newest"), &folder);
    let told = {
        let mut command = site.on("n1", &["run"]);
        command.arg("--passphrase-file").arg(site.path("pass"));
        refused(&mut command, 7)
    };
    assert!(told.contains("opened and closed"), "{told}");
}

/// The certificate that the node with this card presents to a newcomer.
fn presented(card: &Value) -> Vec<u8> {
    let pinned = hex::decode(card["identity"].as_str().unwrap()).unwrap();
    let own = tls::TlsIdentity::generate().unwrap();
    let config = tls::client_config(&own, &pinned.try_into().unwrap()).unwrap();
    let address = card["address"].as_str().unwrap().parse().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(quinn::ClientConfig::new(std::sync::Arc::new(config)));
        let connection = endpoint
            .connect(address, "node.invalid")
            .unwrap()
            .await
            .unwrap();
        let chain = connection.peer_identity().unwrap();
        let chain = chain
            .downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>()
            .unwrap();
        chain[0].to_vec()
    })
}

#[test]
fn a_certificate_of_the_operators_authority_is_presented_and_renewed_while_it_runs() {
    let site = Site::new();
    site.cluster(&["n1"]);
    let node = site.run("n1");
    site.make_key("n1", 1);
    let reader = Reader::new(&site, "n1");
    let request = json(&mut site.on("n1", &["certificate", "request"]));
    let request = request["request"].as_str().unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let authority = rcgen::Issuer::new(rcgen::CertificateParams::default(), key);
    let issue = |number: u64| {
        let mut request = rcgen::CertificateSigningRequestParams::from_pem(request).unwrap();
        request.params.serial_number = Some(number.into());
        request.signed_by(&authority).unwrap()
    };
    let card = json(&mut site.on("n1", &["card"]));
    let own = presented(&card);
    let path = site.path("n1").join("node.pem");
    let put = |pem: &str| operator_harness::replace(&path, pem.as_bytes());

    let first = issue(1);
    put(&first.pem());
    site.configure("n1", |text| {
        format!("{text}\n[tls]\ncertificate = \"node.pem\"\n")
    });
    let done = eventually("it is taken", || {
        (presented(&card) == first.der().as_ref()).then(|| json(&mut site.on("n1", &["reload"])))
    });
    assert_eq!(
        done["restart_needed"].as_array().unwrap().len(),
        0,
        "{done}"
    );
    assert_eq!(
        reader.read(&site, "n1"),
        "share",
        "whoever was connected stays"
    );
    let (_, metrics) = page(&node, "/metrics");
    let expiry = metric(
        &metrics,
        "cryptonode_tls_certificate_expiry_timestamp_seconds",
        &[],
    );
    assert!(expiry > Some(now() as f64), "{expiry:?}");

    // The file alone is changed.
    let second = issue(2);
    assert_ne!(first.der(), second.der());
    put(&second.pem());
    eventually("the new one is presented", || {
        (presented(&card) == second.der().as_ref()).then_some(())
    });

    // One that is not for this key, and one that is none, are not taken, and nothing else of the file is.
    let stranger = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let other = rcgen::CertificateParams::default()
        .self_signed(&stranger)
        .unwrap();
    for (wrong, reason) in [(other.pem(), "identity key"), ("nothing".to_owned(), "PEM")] {
        put(&wrong);
        let told = refused(&mut site.on("n1", &["reload"]), 3);
        assert!(
            told.contains("tls.certificate") && told.contains(reason),
            "{told}"
        );
        assert_eq!(presented(&card), second.der().as_ref());
        let status = json(&mut site.on("n1", &["status"]));
        assert!(status["config_failure"].is_string(), "{status}");
        let text = site.on("n1", &["status"]).output().unwrap().stdout;
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("config.toml is not taken"), "{text}");
    }
    assert_eq!(reader.read(&site, "n1"), "share");

    // Without one it makes its own again.
    site.configure("n1", |text| {
        text.replace("[tls]\ncertificate = \"node.pem\"\n", "")
    });
    json(&mut site.on("n1", &["reload"]));
    let last = presented(&card);
    assert!(last != second.der().as_ref() && last.len() == own.len());
}
