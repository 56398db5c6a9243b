//! Uploads in parts: cut off, killed, repeated, given up.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coordinator::api::{PartsView, PreparedView};
use coordinator::client::profile::Profile;
use coordinator::client::{Client, ClientError, PartsOptions, Signer, user_key};
use coordinator::record::UnsignedTransaction;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::site::{Site, id, plaintext};

const MIB: usize = 1 << 20;

/// The administrator, without the client.
struct Plain {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Plain {
    fn of(site: &Site) -> Self {
        let profile = Profile::read(&site.profile()).unwrap();
        Self {
            http: reqwest::Client::new(),
            base: format!("{}/v1/tenants/main", site.url),
            key: profile.api_key.unwrap().expose().to_owned(),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> (u16, Value) {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let answer = request
            .bearer_auth(&self.key)
            .body(body)
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.unwrap();
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }

    async fn begin(&self, document: &str) -> (u16, Value) {
        let path = format!("/datasets/designs/documents/{document}/parts");
        let body = json!({ "author": "admin", "tag": document }).to_string();
        self.ask(Method::POST, &path, body).await
    }

    async fn offset(&self, id: &str) -> u64 {
        let (status, view) = self.ask(Method::GET, &format!("/parts/{id}"), "").await;
        assert_eq!(status, 200, "{view}");
        view["offset"].as_u64().unwrap()
    }
}

fn set(site: &Site, from: &str, to: &str) {
    let config = site.dir().join("coordinator.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&config, text.replace(from, to)).unwrap();
}

fn whole(body: &[u8]) -> String {
    json!({ "length": body.len(), "sha256": hex::encode(Sha256::digest(body)) }).to_string()
}

async fn document(site: &Site, document: &str) -> Vec<u8> {
    let mut out = Vec::new();
    site.administrator()
        .get(&id("designs"), &id(document), None, &mut out, None)
        .await
        .unwrap();
    out
}

fn within(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_arrived_outlives_a_cut_and_a_kill() {
    let mut site = Site::start();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let plain = Plain::of(&site);
    let body = plaintext(30 * MIB + 17);
    let (status, begun) = plain.begin("film").await;
    assert_eq!(status, 201);
    let upload = begun["id"].as_str().unwrap();
    let send = async |plain: &Plain, offset: usize, bytes: &[u8]| {
        let path = format!("/parts/{upload}?offset={offset}");
        plain.ask(Method::PUT, &path, bytes.to_vec()).await
    };
    let (status, view) = send(&plain, 0, &body[..10 * MIB]).await;
    assert_eq!((status, view["offset"].as_u64()), (200, Some(10 << 20)));

    // The connection is cut within a request: what came of it is kept.
    let mut stream = TcpStream::connect(site.url.strip_prefix("http://").unwrap()).unwrap();
    write!(
        stream,
        "PUT /v1/tenants/main/parts/{upload}?offset={} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        10 * MIB, plain.key, 20 * MIB
    )
    .unwrap();
    stream.write_all(&body[10 * MIB..19 * MIB]).unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    let arrived = {
        let started = Instant::now();
        loop {
            let offset = plain.offset(upload).await;
            if offset > 18 << 20 {
                break offset as usize;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{offset}");
        }
    };
    // No plaintext lies on the disk.
    for path in site.bodies() {
        let stored = std::fs::read(path).unwrap();
        assert!(
            !stored
                .windows(64)
                .step_by(64)
                .any(|it| it == &body[4096..4160])
        );
    }

    site.kill();
    site.run();
    let plain = Plain::of(&site);
    assert_eq!(plain.offset(upload).await, arrived as u64);
    let listed = plain.ask(Method::GET, "/parts?tag=film", "").await.1;
    assert_eq!(listed["items"][0]["id"], upload);
    // A gap is not taken; what is there already is passed over.
    let (status, problem) = send(&plain, arrived + 1, b"x").await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("parts-gap")));
    assert_eq!(problem["more"]["offset"], arrived);
    let complete = format!("/parts/{upload}/complete");
    let (status, problem) = plain.ask(Method::POST, &complete, whole(&body)).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("parts-incomplete"))
    );
    for _ in 0..2 {
        let (status, view) = send(&plain, arrived - 1000, &body[arrived - 1000..]).await;
        assert_eq!(
            (status, view["offset"].as_u64()),
            (200, Some(body.len() as u64))
        );
    }

    // What is not what was sent is not written.
    let mut other = body.clone();
    other[77] ^= 1;
    let (status, problem) = plain.ask(Method::POST, &complete, whole(&other)).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (422, Some("parts-differ"))
    );
    // The same answer twice, and after a restart another one to the same body.
    let (status, first) = plain.ask(Method::POST, &complete, whole(&body)).await;
    assert_eq!(status, 201, "{first}");
    assert_eq!(
        plain.ask(Method::POST, &complete, whole(&body)).await.1,
        first
    );
    site.kill();
    site.run();
    let plain = Plain::of(&site);
    let (_, prepared) = plain.ask(Method::POST, &complete, whole(&body)).await;
    assert_ne!(prepared["id"], first["id"]);
    let prepared: PreparedView = serde_json::from_value(prepared).unwrap();
    let key = user_key::read(&Profile::read(&site.profile()).unwrap().key.unwrap()).unwrap();
    let unsigned = UnsignedTransaction::from_bytes(&prepared.transaction).unwrap();
    let commit = format!("/uploads/{}", prepared.id);
    let signed = unsigned.sign(&key).as_bytes().to_vec();
    assert_eq!(plain.ask(Method::POST, &commit, signed).await.0, 201);
    assert!(document(&site, "film").await == body);
    // The parts are gone, and one body is left.
    assert_eq!(site.bodies().len(), 1);
    let (status, _) = plain
        .ask(Method::GET, &format!("/parts/{upload}"), "")
        .await;
    assert_eq!(status, 404);
    assert_eq!(
        plain.ask(Method::GET, "/parts", "").await.1["items"],
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_so_many_and_old_ones_go() {
    let mut site = Site::init();
    set(&site, "tenant_parts = 64", "tenant_parts = 2");
    set(
        &site,
        "tenant_parts_bytes = 1099511627776",
        "tenant_parts_bytes = 3000",
    );
    site.run();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let plain = Plain::of(&site);
    let (one, two) = (plain.begin("one").await.1, plain.begin("two").await.1);
    let (status, problem) = plain.begin("three").await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (429, Some("parts-too-many"))
    );
    let at = |view: &Value| format!("/parts/{}?offset=0", view["id"].as_str().unwrap());
    assert_eq!(
        plain.ask(Method::PUT, &at(&one), vec![1; 2000]).await.0,
        200
    );
    let (status, problem) = plain.ask(Method::PUT, &at(&two), vec![1; 2000]).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (429, Some("parts-too-large"))
    );
    assert_eq!(site.bodies().len(), 1);
    let discard = format!("/parts/{}", one["id"].as_str().unwrap());
    assert_eq!(plain.ask(Method::DELETE, &discard, "").await.0, 204);
    assert_eq!(site.bodies().len(), 0);
    assert_eq!(
        plain.ask(Method::PUT, &at(&two), vec![1; 2000]).await.0,
        200
    );
    assert_eq!(site.bodies().len(), 1);

    // Nobody sends any more.
    site.stop();
    set(&site, "parts_s = 86400", "parts_s = 1");
    site.run();
    let plain = Plain::of(&site);
    assert_eq!(plain.begin("three").await.0, 201);
    let list = rusqlite::Connection::open(site.dir().join("parts.sqlite")).unwrap();
    let sql = "UPDATE uploads SET expires_ms = 1";
    within("the list is free", || list.execute(sql, []).is_ok());
    within("the parts are gone", || site.bodies().is_empty());
    let count = "SELECT COUNT(*) FROM uploads";
    within("the list is empty", || {
        list.query_row(count, [], |row| row.get::<_, u32>(0))
            .unwrap()
            == 0
    });
    // Their keys too.
    let keys = rusqlite::Connection::open(site.dir().join("keys.sqlite")).unwrap();
    let count = "SELECT COUNT(*) FROM keys";
    let left: u32 = keys.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

/// Lets so many bytes of each connection's requests pass and cuts it then; counts the connections.
fn cutting_relay(upstream: String, limit: u64) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicU64::new(0));
    let counted = connections.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            let (mut client, server) = (client.unwrap(), TcpStream::connect(&upstream).unwrap());
            let (mut answers, mut back) =
                (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
            let mut server = server;
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut (&mut client).take(limit), &mut server);
                let _ = server.shutdown(Shutdown::Both);
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    (url, connections)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_behind_a_connection_that_is_cut_all_the_time_comes_through() {
    let site = Site::start();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let profile = Profile::read(&site.profile()).unwrap();
    let upstream = site.url.strip_prefix("http://").unwrap().to_owned();
    let (relay, connections) = cutting_relay(upstream, 3 << 20);
    let api_key = profile.api_key.unwrap().expose().to_owned();
    let mut client = Client::new(&relay, id("main"), api_key).unwrap();
    let key = user_key::read(&profile.key.unwrap()).unwrap();
    client.sign_as(Signer::new(id("admin"), key));
    let body = plaintext(20 * MIB + 3);
    let source = std::io::Cursor::new(body.clone());
    let written = client
        .put_in_parts(&id("designs"), &id("film"), source, PartsOptions::default())
        .await
        .unwrap();
    assert_eq!(written.sha256, hex::encode(Sha256::digest(&body)));
    assert!(document(&site, "film").await == body);
    // No request of a whole piece ever came through: it goes on where the one before was cut.
    assert!(connections.load(Ordering::SeqCst) >= 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_goes_on_where_it_was_killed() {
    let site = Site::start();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let file = site.file("film.mov");
    let body = plaintext(64 * MIB + 5);
    std::fs::write(&file, &body).unwrap();
    let put = ["put", "designs", "film", file.to_str().unwrap()];
    let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"))
        .args(put)
        .env("COORDINATOR_PROFILE", site.profile())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let plain = Plain::of(&site);
    let started = Instant::now();
    let upload = loop {
        let listed = plain.ask(Method::GET, "/parts", "").await.1;
        let view: Option<PartsView> = serde_json::from_value(listed["items"][0].clone()).ok();
        if let Some(view) = view.filter(|it| it.offset > 0) {
            break view;
        }
        assert!(started.elapsed() < Duration::from_secs(60));
    };
    command.kill().unwrap();
    command.wait().unwrap();
    let kept = plain.offset(&upload.id.to_string()).await;
    assert!(kept > 0 && kept < body.len() as u64, "{kept}");
    let put = site.cli(&put);
    assert_eq!(put["written"]["sha256"], hex::encode(Sha256::digest(&body)));
    assert!(document(&site, "film").await == body);
    assert_eq!(
        plain.ask(Method::GET, "/parts", "").await.1["items"],
        json!([])
    );

    // A changed file is another upload; what was sent before is not taken for it.
    let client = site.administrator();
    let tagged = || PartsOptions {
        tag: Some("the same".to_owned()),
        ..PartsOptions::default()
    };
    let (designs, other) = (id("designs"), id("other"));
    let asked = json!({ "author": "admin", "tag": "the same" }).to_string();
    let path = "/datasets/designs/documents/other/parts";
    let begun = plain.ask(Method::POST, path, asked).await.1;
    let send = format!("/parts/{}?offset=0", begun["id"].as_str().unwrap());
    plain.ask(Method::PUT, &send, "stones").await;
    match client
        .put_in_parts(&designs, &other, &b"bricks"[..], tagged())
        .await
    {
        Err(ClientError::Problem { code, .. }) => assert_eq!(code, "parts-differ"),
        other => panic!("{other:?}"),
    }
    let written = client
        .put_in_parts(&designs, &other, &b"bricks"[..], tagged())
        .await;
    assert_eq!(written.unwrap().length, 6);
}

/// Bytes that are nowhere in memory at once.
struct Source {
    left: u64,
    position: u64,
}

impl tokio::io::AsyncRead for Source {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let length = self.left.min(buffer.remaining() as u64);
        let filled = buffer.initialize_unfilled_to(length as usize);
        for (place, byte) in filled.chunks_mut(8).enumerate() {
            let word = (self.position / 8 + place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            byte.copy_from_slice(&word.to_le_bytes()[..byte.len()]);
        }
        buffer.advance(length as usize);
        self.left -= length;
        self.position += length;
        std::task::Poll::Ready(Ok(()))
    }
}

/// Counts and hashes what it gets.
struct Sink(u64, Sha256);

impl tokio::io::AsyncWrite for Sink {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.0 += bytes.len() as u64;
        self.1.update(bytes);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

/// `just large`: needs twice as much room on the disk as the document has bytes (`LARGE_BYTES`, 10 GiB if it is not set).
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes 20 GiB"]
#[allow(clippy::print_stdout, reason = "it measures")]
async fn a_very_large_document_goes_up_in_parts_and_comes_back_in_bounded_memory() {
    let length = std::env::var("LARGE_BYTES").map_or(10 << 30, |it| it.parse().unwrap());
    let site = Site::start();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let before = crate::streaming::peak_kib(site.pid());
    let started = Instant::now();
    let source = Source {
        left: length,
        position: 0,
    };
    let (client, designs, film) = (site.administrator(), id("designs"), id("film"));
    let written = client
        .put_in_parts(&designs, &film, source, PartsOptions::default())
        .await
        .unwrap();
    let up = started.elapsed();
    let mut sink = Sink(0, Sha256::new());
    client
        .get(&designs, &film, None, &mut sink, None)
        .await
        .unwrap();
    let down = started.elapsed() - up;
    assert_eq!((written.length, sink.0), (length, length));
    assert_eq!(hex::encode(sink.1.finalize()), written.sha256);
    let grown = crate::streaming::peak_kib(site.pid()).saturating_sub(before);
    println!("{length} bytes: up {up:.1?}, down {down:.1?}, memory +{grown} KiB");
    assert!(grown < 96 * 1024, "the process grew by {grown} KiB");
}
