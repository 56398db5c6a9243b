//! What is taken back: approvals and issuers by their authorities' lists, keys and documents by the operator.
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

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use operator_harness::reads::{Document, Reader, now};
use operator_harness::{Site, eventually, json, metric, page, refused};
use serde_json::Value;

/// Names the source of the hospital's list in a node's configuration.
fn watch(site: &Site, name: &str, source: &str) {
    let authority = site.issuer.certificate_pem();
    std::fs::write(site.path(name).join("ca.pem"), authority).unwrap();
    site.configure(name, |text| {
        format!(
            "{text}\n[[revocation]]\nauthority = \"ca.pem\"\nsource = \"{source}\"\nrefresh_s = 1\nmax_stale_s = 0\n"
        )
    });
}

/// A list of the hospital, from so many seconds ago, good for so many from then on.
fn list(site: &Site, serials: &[&[u8]], number: u64, ago_s: u64, good_for_s: u64) -> Vec<u8> {
    let from = now() - ago_s;
    site.issuer
        .revocation_list(serials, number, from, from + good_for_s)
        .unwrap()
}

fn put(site: &Site, list: &[u8]) {
    operator_harness::replace(&site.path("n1").join("hospital.crl"), list);
}

#[test]
fn a_revoked_approval_opens_nothing() {
    let site = Site::new();
    site.cluster(&["n1"]);
    watch(&site, "n1", "hospital.crl");
    let node = site.run("n1");
    site.make_key("n1", 1);
    let reader = Reader::new(&site, "n1");
    let document = reader.document();
    let (request, approval) = reader.request_with(&site.issuer, &document, now());
    let serial = certs::serial_number(&approval).unwrap();
    let issuer = certs::serial_number(site.issuer.certificate_der()).unwrap();
    let becomes = |wanted: &str| {
        eventually(wanted, || {
            reader.answer("n1", &request).contains(wanted).then_some(())
        });
    };

    // Without a list nothing of this authority counts.
    assert!(reader.answer("n1", &request).contains("revocation-stale"));
    put(&site, &list(&site, &[], 1, 600, 3_600));
    becomes("share");
    put(&site, &list(&site, &[serial], 2, 500, 3_600));
    becomes("approval-revoked");
    assert_eq!(reader.read(&site, "n1"), "share");
    put(&site, &list(&site, &[issuer], 3, 400, 3_600));
    becomes("issuer-revoked");

    // An older list, and one of somebody else, take nothing back.
    let failures = |least: f64| {
        eventually("the list is refused", || {
            let (_, metrics) = page(&node, "/metrics");
            let found = metric(&metrics, "cryptonode_revocation_list_failures_total", &[]);
            found.is_some_and(|found| found >= least).then_some(())
        });
    };
    let before = {
        let (_, metrics) = page(&node, "/metrics");
        metric(&metrics, "cryptonode_revocation_list_failures_total", &[]).unwrap()
    };
    put(&site, &list(&site, &[], 1, 600, 3_600));
    failures(before + 1.0);
    put(&site, &list(&Site::new(), &[], 9, 100, 3_600));
    failures(before + 2.0);
    let status = json(&mut site.on("n1", &["status"]));
    let failure = status["revocation"][0]["failure"].as_str().unwrap();
    assert!(failure.contains("revocation-list-signature"), "{failure}");
    assert!(reader.answer("n1", &request).contains("issuer-revoked"));

    // The source is gone and the node was killed: what was revoked stays revoked.
    std::fs::remove_file(site.path("n1").join("hospital.crl")).unwrap();
    node.kill();
    let _node = site.run("n1");
    assert!(reader.answer("n1", &request).contains("issuer-revoked"));
}

/// What the authority's server says: a list, or nothing.
type Said = Arc<Mutex<Option<Vec<u8>>>>;

/// An authority's web server, with TLS if it is told how.
fn serve_lists(said: &Said, tls: Option<Arc<rustls::ServerConfig>>) -> SocketAddr {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let stream = stream.unwrap();
            let list = said.lock().unwrap().clone();
            match &tls {
                None => answer(stream, list),
                Some(config) => {
                    let connection = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
                    answer(rustls::StreamOwned::new(connection, stream), list);
                }
            }
        }
    });
    address
}

fn answer(mut stream: impl Read + Write, list: Option<Vec<u8>>) {
    let mut head = [0; 4096];
    // A client that does not trust the server's certificate goes away here.
    if !matches!(stream.read(&mut head), Ok(1..)) {
        return;
    }
    let (status, body) = match list {
        Some(list) => ("200 OK", list),
        None => ("503 Away", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(&[head.into_bytes(), body].concat());
    let _ = stream.flush();
}

/// A web server's key with a certificate of an authority of its own, and that authority's certificate in PEM.
fn web_server() -> (Arc<rustls::ServerConfig>, String) {
    let key = || rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
    root.distinguished_name
        .push(rcgen::DnType::CommonName, "web root");
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_key = key();
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let root = rcgen::Issuer::new(root, root_key);
    let leaf_key = key();
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&leaf_key, &root).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let private = rustls::pki_types::PrivatePkcs8KeyDer::from(leaf_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private.into())
        .unwrap();
    (Arc::new(config), root_pem)
}

#[test]
fn a_list_comes_over_tls_from_a_server_that_the_machine_trusts() {
    let site = Site::new();
    site.cluster(&["n1"]);
    let said: Said = Arc::new(Mutex::new(Some(list(&site, &[], 1, 600, 3_600))));
    let (tls, root) = web_server();
    let address = serve_lists(&said, Some(tls));
    watch(&site, "n1", &format!("https://{address}/hospital.crl"));
    std::fs::write(site.path("web-root.pem"), root).unwrap();
    // Without the root, the server is nobody.
    let node = site.run("n1");
    let failure = eventually("the failure is told", || {
        let status = json(&mut site.on("n1", &["status"]));
        status["revocation"][0]["failure"]
            .as_str()
            .map(str::to_owned)
    });
    assert!(!failure.is_empty());
    node.terminate();
    let _node = site.run_with("n1", |mut command| {
        command.env("SSL_CERT_FILE", site.path("web-root.pem"));
        command
    });
    eventually("the list is taken", || {
        let status = json(&mut site.on("n1", &["status"]));
        (status["revocation"][0]["usable"] == true).then_some(())
    });
}

#[test]
fn a_list_from_an_address_goes_stale_when_it_stays_away() {
    let site = Site::new();
    site.cluster(&["n1"]);
    let said: Said = Arc::default();
    let address = serve_lists(&said, None);
    *said.lock().unwrap() = Some(list(&site, &[], 1, 600, 3_600));
    watch(&site, "n1", &format!("http://{address}/hospital.crl"));
    let node = site.run("n1");
    site.make_key("n1", 1);
    let reader = Reader::new(&site, "n1");
    let becomes = |wanted: &str| {
        eventually(wanted, || {
            let request = reader.request(&site.issuer, &reader.document(), now());
            reader.answer("n1", &request).contains(wanted).then_some(())
        });
    };
    becomes("share");
    // A newer list that is over already: then the server is away.
    *said.lock().unwrap() = Some(list(&site, &[], 2, 60, 50));
    becomes("revocation-stale");
    *said.lock().unwrap() = None;
    let status = eventually("the failure is told", || {
        let status = json(&mut site.on("n1", &["status"]));
        status["revocation"][0]["failure"]
            .is_string()
            .then_some(status)
    });
    assert_eq!(status["revocation"][0]["usable"], false);
    let (_, metrics) = page(&node, "/metrics");
    assert_eq!(
        metric(&metrics, "cryptonode_revocation_list_usable", &[]),
        Some(0.0)
    );
    *said.lock().unwrap() = Some(list(&site, &[], 3, 30, 3_600));
    becomes("share");
}

#[test]
fn a_file_that_was_refused_is_read_again_although_it_does_not_change() {
    let site = Site::new();
    site.cluster(&["n1"]);
    watch(&site, "n1", "hospital.crl");
    // Issued by a clock that is ahead by more than the node tolerates: acceptable a few seconds later.
    let from = now() + 64;
    let early = site.issuer.revocation_list(&[], 1, from, from + 3_600);
    put(&site, &early.unwrap());
    let _node = site.run("n1");
    let view = || json(&mut site.on("n1", &["status"]))["revocation"][0].clone();
    let refused = view();
    assert_eq!(refused["usable"], false, "{refused}");
    assert!(refused["failure"].is_string(), "{refused}");
    eventually("the list is taken", || {
        let view = view();
        (view["usable"] == true && view["failure"].is_null()).then_some(())
    });
}

#[test]
fn a_list_that_cannot_be_kept_is_used_and_leaves_no_older_one_behind() {
    let site = Site::new();
    site.cluster(&["n1"]);
    watch(&site, "n1", "hospital.crl");
    let node = site.run_with("n1", |command| {
        // Files may not grow from a moment on that the test chooses: writes fail then, as on a full disk.
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
        shell.arg(command.get_program()).args(command.get_args());
        shell
    });
    site.make_key("n1", 1);
    let reader = Reader::new(&site, "n1");
    let (request, approval) = reader.request_with(&site.issuer, &reader.document(), now());
    let serial = certs::serial_number(&approval).unwrap();
    let becomes = |wanted: &str| {
        eventually(wanted, || {
            reader.answer("n1", &request).contains(wanted).then_some(())
        });
    };
    put(&site, &list(&site, &[], 1, 600, 3_600));
    becomes("share");
    let pid = rustix::process::Pid::from_raw(i32::try_from(node.id()).unwrap());
    let grow = |current| {
        let limit = rustix::process::Rlimit {
            current,
            maximum: None,
        };
        rustix::process::prlimit(pid, rustix::process::Resource::Fsize, limit).unwrap();
    };
    grow(Some(0));
    put(&site, &list(&site, &[serial], 2, 500, 3_600));
    becomes("approval-revoked");
    let status = json(&mut site.on("n1", &["status"]));
    let failure = status["revocation"][0]["failure"].as_str().unwrap();
    assert!(failure.contains("cannot be kept"), "{failure}");
    assert_eq!(status["revocation"][0]["usable"], true);
    let kept = || {
        std::fs::read_dir(site.path("n1").join("revocation"))
            .unwrap()
            .count()
    };
    assert_eq!(kept(), 0, "an older list would bring the approval back");

    // The source is away and the node starts again: it knows no list, and lets nothing count.
    let source = site.path("n1").join("hospital.crl");
    let away = site.path("n1").join("away.crl");
    std::fs::rename(&source, &away).unwrap();
    node.kill();
    let _node = site.run("n1");
    assert!(reader.answer("n1", &request).contains("revocation-stale"));
    std::fs::rename(&away, &source).unwrap();
    becomes("approval-revoked");
    eventually("the list is kept", || (kept() == 1).then_some(()));
}

#[test]
fn a_new_section_holds_at_once_although_another_address_hangs() {
    let site = Site::new();
    site.cluster(&["n1"]);
    // An authority's server that takes connections and never says anything.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = Site::new();
    std::fs::write(
        site.path("n1").join("other.pem"),
        other.issuer.certificate_pem(),
    )
    .unwrap();
    let address = hanging.local_addr().unwrap();
    site.configure("n1", |text| {
        format!("{text}\n[[revocation]]\nauthority = \"other.pem\"\nsource = \"http://{address}/a.crl\"\n")
    });
    let _node = site.run("n1");
    site.make_key("n1", 1);
    let reader = Reader::new(&site, "n1");
    assert_eq!(reader.read(&site, "n1"), "share");
    let asked = hanging.accept().unwrap();

    let said: Said = Arc::new(Mutex::new(Some(list(&site, &[], 1, 600, 3_600))));
    let answering = serve_lists(&said, None);
    watch(&site, "n1", "nowhere.crl");
    json(&mut site.on("n1", &["reload"]));
    // With the very next request: no list, so nothing of this authority counts.
    assert_eq!(reader.read(&site, "n1"), "not-enough-approvals");
    site.configure("n1", |text| {
        text.replace(
            "\"nowhere.crl\"",
            &format!("\"http://{answering}/hospital.crl\""),
        )
    });
    let since = std::time::Instant::now();
    json(&mut site.on("n1", &["reload"]));
    eventually("the other address is asked", || {
        (reader.read(&site, "n1") == "share").then_some(())
    });
    let took = since.elapsed();
    assert!(
        took < std::time::Duration::from_secs(25),
        "it waited for the one that hangs: {took:?}"
    );
    drop(asked);
}

#[test]
fn a_suspension_survives_a_kill_and_is_in_the_audit_log() {
    let site = Site::new();
    site.cluster(&["n1"]);
    let node = site.run("n1");
    let key = site.make_key("n1", 1);
    let reader = Reader::new(&site, "n1");
    let (document, other) = (reader.document(), reader.document());
    let read = |document: &Document| reader.read_again(&site, "n1", document);
    assert_eq!(read(&document), "share");

    let write_id = document.write_id();
    json(&mut site.on(
        "n1",
        &[
            "key",
            "suspend",
            "--document",
            &write_id,
            "--reason",
            "withdrawn",
        ],
    ));
    node.kill();
    let node = site.run("n1");
    assert_eq!(read(&document), "document-suspended");
    assert_eq!(read(&other), "share");

    json(&mut site.on(
        "n1",
        &["key", "suspend", &key[..8], "--reason", "investigation 7"],
    ));
    assert_eq!(read(&other), "key-suspended");
    assert_eq!(page(&node, "/readyz").0, 503);
    node.kill();
    let _node = site.run("n1");
    assert_eq!(read(&other), "key-suspended");
    let again = ["key", "suspend", &key[..8], "--reason", "again"];
    let sentence = refused(&mut site.on("n1", &again), 1);
    assert!(sentence.contains("already"), "{sentence}");
    let all = json(&mut site.on("n1", &["key", "suspended"]));
    assert_eq!(all.as_array().unwrap().len(), 2);

    json(&mut site.on("n1", &["key", "resume", &key[..8], "--reason", "closed"]));
    assert_eq!(read(&other), "share");
    assert_eq!(read(&document), "document-suspended");
    let sentence = refused(
        &mut site.on("n1", &["key", "resume", &key[..8], "--reason", "twice"]),
        1,
    );
    assert!(sentence.contains("not suspended"), "{sentence}");

    let shown = json(&mut site.on("n1", &["audit", "show"]));
    let records = shown["records"].as_array().unwrap();
    let actions: Vec<(&str, &str)> = records
        .iter()
        .filter_map(|entry| {
            let record = &entry["record"];
            Some((record["action"].as_str()?, record["reason"].as_str()?))
        })
        .collect();
    assert_eq!(
        actions,
        [
            ("suspend-document", "withdrawn"),
            ("suspend-key", "investigation 7"),
            ("resume-key", "closed")
        ]
    );
    assert_eq!(records.len(), 6, "three shares beside: {shown}");
    let verified = json(&mut site.on("n1", &["audit", "verify"]));
    assert_eq!(verified["records"], Value::from(6));
}
