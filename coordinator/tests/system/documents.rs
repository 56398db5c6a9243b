//! Documents at each level of encryption come back as they were written, to those who may read them.

use std::io::{BufRead as _, BufReader, Write as _};

use coordinator::client::{ClientError, PutOptions};
use serde_json::Value;

use crate::site::{Site, id, plaintext};

#[tokio::test(flavor = "multi_thread")]
async fn every_level_and_storage_brings_documents_back() {
    let site = Site::start();
    let administrator = site.administrator();
    for level in ["none", "platform"] {
        for (storage, sizes) in [
            ("off-chain", &[0, 1, 2048, 65_536, 3_000_000][..]),
            ("ledger", &[0, 1, 2048][..]),
        ] {
            let dataset = format!("{level}-{storage}");
            site.cli(&[
                "dataset",
                "create",
                &dataset,
                "--encryption",
                level,
                "--storage",
                storage,
            ]);
            for (number, size) in sizes.iter().enumerate() {
                let plain = plaintext(*size);
                let options = PutOptions {
                    content_type: Some("text/plain".into()),
                    ..PutOptions::default()
                };
                let source = std::io::Cursor::new(plain.clone());
                let written = administrator
                    .put(&id(&dataset), &id("document"), source, options)
                    .await
                    .unwrap();
                assert_eq!(
                    (written.version, written.length),
                    (number as u64 + 1, *size as u64)
                );
                let mut out = Vec::new();
                let got = administrator
                    .get(&id(&dataset), &id("document"), None, &mut out, None)
                    .await
                    .unwrap();
                assert!(out == plain, "{dataset} {size}");
                assert_eq!(got.sha256, written.sha256);
                let report = got.report.unwrap();
                assert_eq!(
                    (report.outcome.as_str(), report.encryption.as_str()),
                    ("complete", level)
                );
                assert!(
                    report.phases.record_ms > 0.0
                        && report.phases.total_ms >= report.phases.first_byte_ms
                );
                assert!(report.height > Some(written.receipt.height));
            }
            // Older versions stay readable.
            let mut out = Vec::new();
            administrator
                .get(&id(&dataset), &id("document"), Some(2), &mut out, None)
                .await
                .unwrap();
            assert_eq!(out, plaintext(1));
            let versions = administrator
                .versions(&id(&dataset), &id("document"))
                .await
                .unwrap();
            assert_eq!(versions.len(), sizes.len());
            assert!(versions.iter().all(|version| version.encryption == level));
        }
    }
    // What is encrypted does not lie in the store in the clear, and what is on the ledger does not lie there at all.
    let big = plaintext(3_000_000);
    let bodies: Vec<Vec<u8>> = site
        .bodies()
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    assert_eq!(bodies.len(), 2 * 5);
    assert_eq!(bodies.iter().filter(|body| **body == big).count(), 1);
    assert!(
        std::fs::read_dir(site.dir().join("uploads"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_and_readers_only_while_they_may() {
    let site = Site::start();
    site.add_user("reader");
    site.add_user("stranger");
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let owner = site.administrator();
    let (designs, bridge) = (id("designs"), id("bridge"));
    owner
        .put(&designs, &bridge, &b"stones"[..], PutOptions::default())
        .await
        .unwrap();

    let refused = |result: Result<_, ClientError>| match result {
        Err(ClientError::Problem {
            status: 403,
            code,
            detail,
            request_id,
            ..
        }) => {
            assert_eq!(code, "not-permitted");
            assert!(
                detail.contains("designs") && request_id.is_some(),
                "{detail}"
            );
        }
        Err(other) => panic!("{other:?}"),
        Ok(()) => panic!("not refused"),
    };
    let read = async |user: &str| {
        let mut out = Vec::new();
        let result = site
            .client(user)
            .get(&designs, &bridge, None, &mut out, None)
            .await;
        assert_eq!(
            out.as_slice(),
            if result.is_ok() { &b"stones"[..] } else { b"" }
        );
        result.map(|_| ())
    };
    refused(read("stranger").await);
    refused(read("reader").await);
    site.cli(&["grant", "designs", "reader", "reader"]);
    read("reader").await.unwrap();
    // A reader does not write, and learns it before sending much.
    let body = std::io::Cursor::new(plaintext(5_000_000));
    let written = site
        .client("reader")
        .put(&designs, &bridge, body, PutOptions::default())
        .await;
    refused(written.map(|_| ()));
    site.cli(&["revoke", "designs", "reader", "reader"]);
    refused(read("reader").await);
    // The administrator's profile shows who may.
    let shown = site.cli(&["dataset", "show", "designs"]);
    assert_eq!(shown["permissions"]["readers"], Value::Array(vec![]));
    assert_eq!(shown["permissions"]["owners"][0], "main/admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_conflict_and_restarts_lose_nothing() {
    let mut site = Site::start();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let (designs, bridge) = (id("designs"), id("bridge"));
    let client = site.administrator();
    client
        .put(&designs, &bridge, &b"first"[..], PutOptions::default())
        .await
        .unwrap();
    let again = PutOptions {
        version: Some(1),
        ..PutOptions::default()
    };
    match client.put(&designs, &bridge, &b"second"[..], again).await {
        Err(ClientError::Problem {
            status: 409, code, ..
        }) => assert_eq!(code, "version"),
        other => panic!("{other:?}"),
    }
    let next = PutOptions {
        version: Some(2),
        ..PutOptions::default()
    };
    client
        .put(&designs, &bridge, &b"second"[..], next)
        .await
        .unwrap();
    assert_eq!(site.bodies().len(), 2);

    // A body that was stored and never signed for is gone after a loss of power; what was committed is not.
    let key = coordinator::client::profile::Profile::read(&site.profile())
        .unwrap()
        .api_key
        .unwrap();
    let url = format!(
        "{}/v1/tenants/main/datasets/designs/documents/orphan/uploads?author=admin",
        site.url
    );
    let prepared = reqwest::Client::new()
        .post(&url)
        .bearer_auth(key.expose())
        .body(plaintext(100_000))
        .send();
    assert_eq!(prepared.await.unwrap().status(), 201);
    assert_eq!(site.bodies().len(), 3);
    site.kill();
    site.run();
    assert_eq!(site.bodies().len(), 2);
    let client = site.administrator();
    for (version, expected) in [(1, &b"first"[..]), (2, b"second")] {
        let mut out = Vec::new();
        client
            .get(&designs, &bridge, Some(version), &mut out, None)
            .await
            .unwrap();
        assert_eq!(out, expected);
    }
    site.stop();
    site.run();
    let listed = site.cli(&["ls", "designs"]);
    assert_eq!(
        (listed[0]["document"].as_str(), listed[0]["latest"].as_u64()),
        (Some("bridge"), Some(2))
    );
}

#[test]
fn an_upload_cut_off_by_a_loss_of_power_leaves_nothing() {
    let mut site = Site::start();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let key = coordinator::client::profile::Profile::read(&site.profile())
        .unwrap()
        .api_key
        .unwrap();
    let mut stream =
        std::net::TcpStream::connect(site.url.strip_prefix("http://").unwrap()).unwrap();
    write!(
        stream,
        "POST /v1/tenants/main/datasets/designs/documents/bridge/uploads?author=admin HTTP/1.1\r\nhost: x\r\n\
         authorization: Bearer {}\r\nexpect: 100-continue\r\ncontent-length: 100000000\r\n\r\n",
        key.expose()
    )
    .unwrap();
    // The platform asks for the body, so the write is under way.
    let mut line = String::new();
    BufReader::new(stream.try_clone().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains("100"), "{line}");
    stream.write_all(&plaintext(10_000_000)).unwrap();
    site.kill();
    site.run();
    assert!(site.bodies().is_empty());
    assert!(
        std::fs::read_dir(site.dir().join("uploads"))
            .unwrap()
            .next()
            .is_none()
    );
    let listed = site.cli(&["ls", "designs"]);
    assert_eq!(listed.as_array().unwrap().len(), 0);
}
