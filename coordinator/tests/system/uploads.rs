//! What happens to a body between its arrival and its commit, when somebody else, the disk or the record comes in between.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use coordinator::api::{PartsView, PreparedView};
use coordinator::client::profile::Profile;
use coordinator::client::{Client, ClientError, GetOptions, PutOptions, Signer, user_key};
use coordinator::record::UnsignedTransaction;

use crate::site::{Site, files_in, id, plaintext};

fn set(site: &Site, from: &str, to: &str) {
    let config = site.dir().join("coordinator.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&config, text.replace(from, to)).unwrap();
}

fn api_key(site: &Site) -> String {
    let profile = Profile::read(&site.profile()).unwrap();
    profile.api_key.unwrap().expose().to_owned()
}

/// Sends a body for a document of `designs`, as the administrator.
async fn prepare(site: &Site, document: &str) -> PreparedView {
    let url = format!(
        "{}/v1/tenants/main/datasets/designs/documents/{document}/uploads?author=admin",
        site.url
    );
    let sent = reqwest::Client::new()
        .post(&url)
        .bearer_auth(api_key(site))
        .body(plaintext(100_000))
        .send();
    let answer = sent.await.unwrap();
    assert_eq!(answer.status(), 201);
    answer.json().await.unwrap()
}

/// Signs what was prepared and commits it: status and answer.
async fn commit(site: &Site, prepared: &PreparedView) -> (u16, serde_json::Value) {
    let key = user_key::read(&Profile::read(&site.profile()).unwrap().key.unwrap()).unwrap();
    let unsigned = UnsignedTransaction::from_bytes(&prepared.transaction).unwrap();
    let url = format!("{}/v1/tenants/main/uploads/{}", site.url, prepared.id);
    let sent = reqwest::Client::new()
        .post(&url)
        .bearer_auth(api_key(site))
        .body(unsigned.sign(&key).as_bytes().to_vec())
        .send();
    let answer = sent.await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn stores(site: &Site) -> Vec<PathBuf> {
    let mut found = files_in(site.dir().join("record"));
    found.retain(|path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.starts_with(b"SQLite format 3")
    });
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_one_is_told_and_leaves_nothing() {
    let site = Site::start();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let (first, second) = (
        prepare(&site, "bridge").await,
        prepare(&site, "bridge").await,
    );
    assert_eq!(site.bodies().len(), 2);
    assert_eq!(commit(&site, &second).await.0, 201);
    let (status, problem) = commit(&site, &first).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("version")));
    assert!(problem["detail"].as_str().unwrap().contains("version 1"));
    assert_eq!(site.bodies().len(), 1);
    let mut out = Vec::new();
    let client = site.administrator();
    client
        .get(&id("designs"), &id("bridge"), None, &mut out, None)
        .await
        .unwrap();
    assert!(out == plaintext(100_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_stays_while_nobody_knows_whether_it_was_committed() {
    let mut site = Site::init();
    set(&site, "prepared_s = 120", "prepared_s = 6");
    site.run();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let stores = stores(&site);
    assert_eq!(stores.len(), 3);
    let prepared = prepare(&site, "bridge").await;
    // Two of the three peers cannot write, so the record stops over this block.
    let locks: Vec<rusqlite::Connection> = stores[..2]
        .iter()
        .map(|path| {
            let connection = rusqlite::Connection::open(path).unwrap();
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            connection
        })
        .collect();
    let (status, problem) = commit(&site, &prepared).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (503, Some("record-halted"))
    );
    drop(locks);
    // It ends, so that its service manager starts it again.
    assert!(!site.ended().success());
    let notes = |site: &Site| {
        std::fs::read_dir(site.dir().join("uploads"))
            .unwrap()
            .count()
    };
    // Whatever the next start finds on the record, it can put both in order.
    assert_eq!((site.bodies().len(), notes(&site)), (1, 1));
    site.run();
    let listed = site.cli(&["ls", "designs"]);
    assert_eq!(
        (site.bodies().len(), notes(&site)),
        (listed.as_array().unwrap().len(), 0)
    );
}

/// Sends a body byte by byte until there is an answer.
fn trickle(site: &Site, target: &str) -> String {
    let mut stream = TcpStream::connect(site.url.strip_prefix("http://").unwrap()).unwrap();
    write!(
        stream,
        "{target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 100000000\r\n\r\n",
        api_key(site)
    )
    .unwrap();
    let wait = Some(Duration::from_millis(200));
    stream.set_read_timeout(wait).unwrap();
    let (started, mut answer) = (Instant::now(), [0; 4096]);
    loop {
        assert!(started.elapsed() < Duration::from_secs(20), "{target}");
        let _ = stream.write_all(b"x");
        if let Ok(read) = stream.read(&mut answer) {
            break String::from_utf8_lossy(&answer[..read]).into_owned();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_of_single_bytes_does_not_keep_its_turn() {
    let mut site = Site::init();
    set(&site, "idle_s = 60", "idle_s = 1");
    site.run();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let bridge = "/v1/tenants/main/datasets/designs/documents/bridge";
    let begin = reqwest::Client::new()
        .post(format!("{}{bridge}/parts", site.url))
        .bearer_auth(api_key(&site))
        .body(r#"{"author":"admin"}"#);
    let begun: PartsView = begin.send().await.unwrap().json().await.unwrap();
    for target in [
        format!("POST {bridge}/uploads?author=admin"),
        format!("PUT /v1/tenants/main/parts/{}?offset=0", begun.id),
    ] {
        let answer = trickle(&site, &target);
        assert!(answer.starts_with("HTTP/1.1 408"), "{target}: {answer}");
        assert!(answer.contains("transfer-idle"), "{target}: {answer}");
    }
}

#[test]
fn a_head_that_never_ends_is_cut_off() {
    let site = Site::start();
    let mut stream = TcpStream::connect(site.url.strip_prefix("http://").unwrap()).unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nlong: ")
        .unwrap();
    let wait = Some(Duration::from_millis(500));
    stream.set_read_timeout(wait).unwrap();
    let (started, mut answer) = (Instant::now(), [0; 64]);
    loop {
        assert!(started.elapsed() < Duration::from_secs(45));
        let sent = stream.write_all(b"x");
        if sent.is_err() || stream.read(&mut answer).is_ok() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_content_type_is_refused_before_the_body() {
    let site = Site::start();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let document = site.file("document");
    std::fs::write(&document, "text").unwrap();
    let document = document.to_str().unwrap();
    for kind in ["", "text/\u{e9}"] {
        let (status, said, json) =
            site.fails(&["put", "designs", "bridge", document, "--content-type", kind]);
        assert_eq!(
            (status, json["error"]["code"].as_str()),
            (8, Some("content-type")),
            "{said}"
        );
    }
    let (status, said, _) = site.fails(&[
        "put",
        "designs",
        "bridge",
        document,
        "--content-type",
        "a\nb",
    ]);
    assert!(status == 2 && said.contains("content type"), "{said}");
    // A body that never ends, so the refusal cannot have waited for it.
    let options = PutOptions {
        content_type: Some(" ".into()),
        ..PutOptions::default()
    };
    let endless = tokio::io::repeat(7);
    match site
        .administrator()
        .put(&id("designs"), &id("bridge"), endless, options)
        .await
    {
        Err(ClientError::Problem { code, .. }) => assert_eq!(code, "content-type"),
        Err(ClientError::Unreachable { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(site.bodies().is_empty());
}

#[test]
fn bodies_leave_room_on_the_disk_for_the_record() {
    let mut site = Site::init();
    set(
        &site,
        "free_bytes = 1073741824",
        "free_bytes = 1000000000000000",
    );
    site.run();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let document = site.file("document");
    std::fs::write(&document, plaintext(100_000)).unwrap();
    let (status, said, json) =
        site.fails(&["put", "designs", "bridge", document.to_str().unwrap()]);
    assert_eq!(json["error"]["code"], "body-store-full", "{said}");
    assert!(status == 1 && said.contains("limits.free_bytes"), "{said}");
    let started = Instant::now();
    while !site.bodies().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
    site.cli(&["dataset", "create", "notes", "--encryption", "platform"]);
}

/// Passes on what both sides say, but of each connection's answers only the first `limit` bytes.
fn cutting_relay(upstream: String, limit: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) =
                (client.unwrap(), TcpStream::connect(&upstream).unwrap());
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut (&mut server).take(limit), &mut client);
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_notices_a_document_that_is_cut_off() {
    let site = Site::start();
    let profile = Profile::read(&site.profile()).unwrap();
    let upstream = site.url.strip_prefix("http://").unwrap().to_owned();
    for level in ["none", "platform"] {
        site.cli(&["dataset", "create", level, "--encryption", level]);
        let body = std::io::Cursor::new(plaintext(3_000_000));
        let (dataset, document) = (id(level), id("bridge"));
        site.administrator()
            .put(&dataset, &document, body, PutOptions::default())
            .await
            .unwrap();
        let relay = cutting_relay(upstream.clone(), 1_000_000);
        let mut client = Client::new(&relay, id("main"), api_key(&site)).unwrap();
        let key = user_key::read(profile.key.as_ref().unwrap()).unwrap();
        client.sign_as(Signer::new(id("admin"), key));
        let out = site.file("out");
        let got = client
            .get_to_file(&dataset, &document, GetOptions::default(), &out)
            .await;
        match got {
            Err(ClientError::BrokenOff {
                received, expected, ..
            }) => assert!(received < 1_000_000 && expected == 3_000_000),
            other => panic!("{other:?}"),
        }
        assert!(!out.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_speaks_of_is_found_and_removed() {
    let site = Site::start();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let prepared = prepare(&site, "bridge").await;
    assert_eq!(commit(&site, &prepared).await.0, 201);
    let waiting = prepare(&site, "tunnel").await;
    let folder = site.bodies()[0].parent().unwrap().to_owned();
    let orphan = folder.join("ab".repeat(16));
    std::fs::write(&orphan, [7; 100]).unwrap();
    std::fs::write(folder.join("readme.txt"), "not a body").unwrap();
    let find = |more: &[&str]| site.operator(&[&["bodies", "orphans"], more].concat());
    let young = find(&[]);
    assert_eq!(
        (&young["objects"], &young["orphans"]),
        (&4.into(), &serde_json::json!([]))
    );
    let found = find(&["--hours", "0"]);
    assert_eq!(found["orphans"].as_array().unwrap().len(), 1);
    assert_eq!(found["orphans"][0]["bytes"], 100);
    assert!(orphan.exists());
    find(&["--hours", "0", "--remove"]);
    assert!(!orphan.exists() && folder.join("readme.txt").exists());
    // What is written, and what waits for its signature, is none.
    assert_eq!(commit(&site, &waiting).await.0, 201);
    assert_eq!(site.bodies().len(), 3);
}
