//! Their documents in parts: begun and sent as everybody's, on the record with one request more, and once however often that is sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use coordinator::client::profile::Profile;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Answer, BRIDGE, Plain, site};
use crate::site::{Site, plaintext};

const MIB: usize = 1 << 20;

fn whole(body: &[u8]) -> Value {
    json!({ "length": body.len(), "sha256": hex::encode(Sha256::digest(body)) })
}

/// A dataset of carol's, whom dave joins, and an API key with these scopes that is bound to her.
pub(super) async fn carol(admin: &Plain, scopes: &[&str]) -> Plain {
    for user in ["carol", "dave"] {
        let new = json!({ "user": user, "managed": true, "role": "member" });
        admin.done(Method::POST, "users?author=admin", new).await;
    }
    let new = json!({ "dataset": "designs", "encryption": "platform", "storage": "off-chain" });
    admin.done(Method::POST, "datasets?author=carol", new).await;
    let new = json!({ "name": "app", "scopes": scopes, "user": "carol" });
    let issued = admin.done(Method::POST, "keys", new).await;
    admin.with_key(&issued["api_key"])
}

async fn begin(plain: &Plain, author: &str) -> String {
    let asked = json!({ "author": author, "content_type": "video/quicktime" });
    let path = "datasets/designs/documents/bridge/parts";
    let begun = plain.done(Method::POST, path, asked).await;
    begun["id"].as_str().unwrap().to_owned()
}

async fn send(plain: &Plain, upload: &str, offset: usize, bytes: &[u8]) {
    let path = format!("parts/{upload}?offset={offset}");
    let sent = plain.put(&path, bytes).await;
    assert_eq!(sent.status, 200, "{}", sent.json());
}

async fn complete(plain: &Plain, upload: &str, body: &[u8], headers: &[(&str, &str)]) -> Answer {
    let path = format!("parts/{upload}/content");
    let body = whole(body).to_string().into_bytes();
    plain.send(Method::POST, &path, body, headers).await
}

fn again(site: &mut Site, plain: &Plain) -> Plain {
    site.kill();
    site.run();
    Plain::of(site, &plain.key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_document_is_written_in_parts_and_once() {
    let (mut site, admin) = site();
    let carol = carol(&admin, &["read", "write"]).await;
    let body = plaintext(10 * MIB + 17);
    let upload = begin(&carol, "carol").await;
    send(&carol, &upload, 0, &body[..9 * MIB]).await;
    // The platform ends as by a loss of power; what it has said that it has is there.
    let carol = again(&mut site, &carol);
    let status = carol.get(&format!("parts/{upload}")).await.json();
    assert_eq!(status["offset"], 9 * MIB);
    let early = complete(&carol, &upload, &body, &[]).await;
    assert_eq!(early.problem(), (409, "parts-incomplete".into()));
    send(&carol, &upload, 9 * MIB, &body[9 * MIB..]).await;
    let wrong = whole(b"something else");
    let wrong = json!({ "length": body.len(), "sha256": wrong["sha256"] });
    let refused = carol.post(&format!("parts/{upload}/content"), wrong).await;
    assert_eq!(refused.problem(), (422, "parts-differ".into()));

    let absent = [("if-match", "\"1.1\"")];
    let refused = complete(&carol, &upload, &body, &absent).await;
    assert_eq!(refused.problem(), (412, "precondition-failed".into()));
    let fresh = [("if-none-match", "*")];
    let first = complete(&carol, &upload, &body, &fresh).await;
    assert_eq!(first.status, 201, "{}", first.json());
    assert_eq!(first.json()["version"], 1);
    assert_eq!(first.json()["length"], body.len());
    let state = carol.get("datasets/designs/documents/bridge").await;
    let read = carol.get(BRIDGE).await;
    assert!(read.status == 200 && read.body == body);
    assert_eq!(first.headers["etag"], read.headers["etag"]);
    assert_eq!(read.headers["content-type"], "video/quicktime");
    // Nothing of the parts is left.
    assert_eq!(site.bodies().len(), 1);

    // Whoever missed the answer gets it, after a loss of power too, whatever the state is by now.
    let carol = again(&mut site, &carol);
    for _ in 0..2 {
        let same = complete(&carol, &upload, &body, &fresh).await;
        assert_eq!((same.status, same.json()), (201, first.json()));
    }
    let other = complete(&carol, &upload, b"something else", &[]).await;
    assert_eq!(other.problem(), (422, "parts-differ".into()));
    let versions = carol.get("datasets/designs/documents/bridge").await.json();
    assert_eq!(versions["items"].as_array().unwrap().len(), 1);
    // And the same again by the key that is there for that.
    let upload = begin(&carol, "carol").await;
    send(&carol, &upload, 0, b"second").await;
    let once = [
        ("idempotency-key", "second"),
        ("if-match", state.headers["etag"].to_str().unwrap()),
    ];
    let second = complete(&carol, &upload, b"second", &once).await;
    let repeated = complete(&carol, &upload, b"second", &once).await;
    assert_eq!(
        (second.status, second.json()["version"].as_u64()),
        (201, Some(2))
    );
    assert_eq!(second.body, repeated.body);
    assert!(repeated.headers.contains_key("idempotency-replayed"));
    let unknown = format!("parts/{}/content", uuid::Uuid::now_v7());
    let unknown = carol.post(&unknown, whole(b"second")).await;
    assert_eq!(unknown.problem(), (404, "not-prepared".into()));
}

/// Sends all of a part but its last byte, when the platform takes it; what comes back sends that.
fn hold(site: &Site, plain: &Plain, upload: &str, body: &[u8]) -> impl FnOnce() + use<> {
    let mut stream = TcpStream::connect(site.url.strip_prefix("http://").unwrap()).unwrap();
    let (key, length) = (&plain.key, body.len());
    let head = format!(
        "PUT /v1/tenants/main/parts/{upload}?offset=0 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
         expect: 100-continue\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    answers.read_line(&mut line).unwrap();
    assert!(line.contains("100"), "{line}");
    let (last, first) = body.split_last().unwrap();
    stream.write_all(first).unwrap();
    let last = *last;
    move || {
        stream.write_all(&[last]).unwrap();
        let mut rest = String::new();
        answers.read_to_string(&mut rest).unwrap();
        assert!(rest.contains(" 200 OK"), "{rest}");
    }
}

/// Whoever says what he has seen writes what comes next after that, or nothing, whoever writes between the look and the commit.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_completed_comes_after_what_was_seen() {
    let (site, admin) = site();
    let carol = carol(&admin, &["read", "write"]).await;
    assert_eq!(carol.put(BRIDGE, b"first").await.status, 201);
    let state = carol.get("datasets/designs/documents/bridge").await;
    let seen = state.headers["etag"].to_str().unwrap().to_owned();
    let upload = begin(&carol, "carol").await;
    // While somebody sends, a completion has looked at the state, and waits.
    let last = hold(&site, &carol, &upload, b"third");
    let headers = [("if-match", seen.as_str())];
    let completed = complete(&carol, &upload, b"third", &headers);
    let between = async {
        assert_eq!(carol.put(BRIDGE, b"second").await.status, 201);
        tokio::task::spawn_blocking(last).await.unwrap();
    };
    let (completed, ()) = futures_util::future::join(completed, between).await;
    let (status, code) = completed.problem();
    assert!(
        (status, code.as_str()) == (409, "version") || status == 412,
        "{}",
        completed.json()
    );
    assert_eq!(carol.get(BRIDGE).await.body, b"second");

    // An upload that was begun so is of that version alone, whoever signs; and so is what is completed so.
    let begin_at = async |value: &str| {
        let path = "datasets/designs/documents/bridge/parts";
        let body = b"{\"author\":\"carol\"}".to_vec();
        let header = [("if-match", value)];
        admin.send(Method::POST, path, body, &header).await
    };
    let refused = begin_at(&seen).await;
    assert_eq!(refused.problem(), (412, "precondition-failed".into()));
    let state = carol.get("datasets/designs/documents/bridge").await;
    let seen = state.headers["etag"].to_str().unwrap().to_owned();
    let begun = begin_at(&seen).await.json();
    let begun = begun["id"].as_str().unwrap();
    send(&carol, begun, 0, b"fourth").await;
    assert_eq!(carol.put(BRIDGE, b"third").await.status, 201);
    let late = complete(&carol, begun, b"fourth", &[]).await;
    assert_eq!(late.problem(), (409, "version".into()));
    site.keeps_its_own_key("carol");
    let path = "datasets/designs/documents/bridge/parts";
    let asked = json!({ "author": "carol" });
    let own = admin.done(Method::POST, path, asked).await;
    let own = own["id"].as_str().unwrap();
    send(&admin, own, 0, b"fourth").await;
    let body = whole(b"fourth").to_string().into_bytes();
    let path = format!("parts/{own}/complete");
    let stale = [("if-match", seen.as_str())];
    let refused = admin.send(Method::POST, &path, body.clone(), &stale).await;
    assert_eq!(refused.problem(), (412, "precondition-failed".into()));
    let state = admin.get("datasets/designs/documents/bridge").await;
    let fresh = [("if-match", state.headers["etag"].to_str().unwrap())];
    let prepared = admin.send(Method::POST, &path, body, &fresh).await;
    assert_eq!(prepared.status, 201, "{}", prepared.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_complete_at_once_write_one_version() {
    let (site, admin) = site();
    let carol = carol(&admin, &["read", "write"]).await;
    let body = plaintext(3 * MIB);
    let upload = begin(&carol, "carol").await;
    send(&carol, &upload, 0, &body).await;
    let all = (0..8).map(|_| complete(&carol, &upload, &body, &[]));
    let answers = futures_util::future::join_all(all).await;
    for answer in &answers {
        assert_eq!((answer.status, answer.json()), (201, answers[0].json()));
    }
    let versions = carol.get("datasets/designs/documents/bridge").await.json();
    assert_eq!(versions["items"].as_array().unwrap().len(), 1);
    assert_eq!(site.bodies().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_completed_for_its_author_alone() {
    let (site, admin) = site();
    let carol = carol(&admin, &["read", "write"]).await;
    let body = b"by dave";
    // Of a user to whom the key is not bound; it is as good as any other with one that is bound to nobody.
    let writer = "datasets/designs/permissions/writer/main/dave?author=carol";
    admin.done(Method::PUT, writer, Value::Null).await;
    let daves = begin(&admin, "dave").await;
    send(&admin, &daves, 0, body).await;
    let refused = complete(&carol, &daves, body, &[]).await;
    assert_eq!(refused.problem(), (404, "not-prepared".into()));
    let written = complete(&admin, &daves, body, &[]).await;
    assert_eq!(written.status, 201, "{}", written.json());
    // The record shows who wrote, and who held the key.
    let rows = "audit/rows?kinds=write&subject=document:main/designs/bridge";
    let rows = admin.get(rows).await.json();
    assert_eq!(rows["rows"][0]["author"], "managed user main/dave");

    // Whoever holds its key itself signs itself.
    site.keeps_its_own_key("carol");
    let own = begin(&admin, "carol").await;
    send(&admin, &own, 0, body).await;
    let refused = complete(&admin, &own, body, &[]).await;
    assert_eq!(refused.problem(), (422, "user-not-managed".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_writes_in_parts_for_them() {
    let (site, admin) = site();
    carol(&admin, &["read", "write"]).await;
    let (film, copy) = (site.file("film"), site.file("copy"));
    std::fs::write(&film, plaintext(9 * MIB)).unwrap();
    let (film, copy) = (film.to_str().unwrap(), copy.to_str().unwrap());
    assert!(Profile::read(&site.profile()).unwrap().key.is_none());
    let put = [
        "--user",
        "carol",
        "put",
        "designs",
        "film",
        film,
        "--in-parts",
    ];
    let written = site.cli(&put);
    assert_eq!(written["written"]["version"], 1);
    site.cli(&["--user", "carol", "get", "designs", "film", "--out", copy]);
    assert!(std::fs::read(copy).unwrap() == plaintext(9 * MIB));
}
