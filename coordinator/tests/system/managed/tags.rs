//! What an answer says of the state that it is about: whoever has a body reads nothing, and what was fetched is what is written back.

use coordinator::client::user_key;
use coordinator::record::UnsignedTransaction;
use reqwest::Method;
use serde_json::{Value, json};

use super::parts::carol;
use super::{Answer, BRIDGE, Plain, site};
use crate::site::plaintext;

fn tag(answer: &Answer) -> String {
    let tag = answer.headers.get("etag");
    let tag = tag.unwrap_or_else(|| panic!("{} without an ETag", answer.status));
    tag.to_str().unwrap().to_owned()
}

async fn with(plain: &Plain, method: Method, path: &str, header: (&str, &str)) -> Answer {
    plain.send(method, path, Vec::new(), &[header]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_body_reads_nothing() {
    let (site, admin) = site();
    let carol = carol(&admin, &["read", "write", "manage", "audit"]).await;
    let reads = async || {
        let rows = "audit/rows?kinds=read&subject=document:main/designs/bridge";
        let rows = carol.get(rows).await.json();
        rows["rows"].as_array().unwrap().len()
    };
    let plain = plaintext(300_000);
    let written = carol.put(BRIDGE, &plain).await;
    assert_eq!(written.status, 201);
    let first = tag(&written);
    assert!(
        first.starts_with("\"v1."),
        "strong, of this version: {first}"
    );
    let read = carol.get(BRIDGE).await;
    assert_eq!((tag(&read), read.body == plain), (first.clone(), true));
    let head = carol.send(Method::HEAD, BRIDGE, Vec::new(), &[]).await;
    assert_eq!((head.status, tag(&head)), (200, first.clone()));
    assert_eq!(reads().await, 1);

    // Neither a key nor the body is needed to say that it is the same: nothing comes onto the record, and the body is not there.
    let body = site.bodies().remove(0);
    let aside = site.file("aside");
    std::fs::rename(&body, &aside).unwrap();
    for method in [Method::GET, Method::HEAD] {
        let same = with(&carol, method, BRIDGE, ("if-none-match", &first)).await;
        assert_eq!((same.status, tag(&same)), (304, first.clone()));
        assert!(same.body.is_empty() && !same.headers.contains_key("x-read-id"));
    }
    let gone = ("if-match", "\"v7.00\"");
    let refused = with(&carol, Method::GET, BRIDGE, gone).await;
    assert_eq!(refused.problem(), (412, "precondition-failed".into()));
    assert_eq!(reads().await, 1);
    std::fs::rename(&aside, &body).unwrap();
    // Conditions are for those who may read.
    let as_dave = format!("{BRIDGE}?reader=dave");
    let refused = with(&admin, Method::GET, &as_dave, ("if-none-match", &first)).await;
    assert_eq!(refused.problem(), (403, "not-permitted".into()));

    // A part goes with the parts that the caller has, or the whole comes.
    for (if_range, status, length) in [
        (first.as_str(), 206, 100),
        ("\"v2.00\"", 200, plain.len()),
        ("Sun, 22 Nov 2026 00:00:00 GMT", 200, plain.len()),
    ] {
        let headers = [("range", "bytes=1000-1099"), ("if-range", if_range)];
        let part = carol.send(Method::GET, BRIDGE, Vec::new(), &headers).await;
        assert_eq!(
            (part.status, part.body.len()),
            (status, length),
            "{if_range}"
        );
        assert_eq!(tag(&part), first);
    }

    // What was fetched is written back, unless somebody else was faster; the document's own tag does as well.
    let write = async |header: (&str, &str)| {
        let body = b"another".to_vec();
        carol.send(Method::PUT, BRIDGE, body, &[header]).await
    };
    assert_eq!(write(("if-none-match", &first)).await.status, 412);
    let written = write(("if-match", &first)).await;
    assert_eq!(written.status, 201, "{}", written.json());
    let second = tag(&written);
    assert_eq!(write(("if-match", &first)).await.status, 412);
    let read = with(&carol, Method::GET, BRIDGE, ("if-none-match", &first)).await;
    assert_eq!((read.status, tag(&read)), (200, second.clone()));
    assert_eq!(read.body, b"another");
    let old = format!("{BRIDGE}?version=1");
    let same = with(&carol, Method::GET, &old, ("if-none-match", &first)).await;
    assert_eq!(same.status, 304, "a version stays what it is");
    let document = tag(&carol.get("datasets/designs/documents/bridge").await);
    assert_ne!(document, second);
    assert_eq!(write(("if-match", &document)).await.status, 201);

    // What is erased is that, whatever one has of it.
    let erase = "datasets/designs/documents/bridge?version=1";
    carol.done(Method::DELETE, erase, Value::Null).await;
    let erased = with(&carol, Method::GET, &old, ("if-none-match", &first)).await;
    assert_eq!(erased.problem(), (410, "erased".into()));
    let head = with(&carol, Method::HEAD, &old, ("if-none-match", &first)).await;
    assert_eq!(head.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_something_answers_with_its_new_state() {
    let (site, admin) = site();
    let carol = carol(&admin, &["read", "write", "manage", "audit"]).await;
    let send = async |method: Method, path: &str, body: Value| {
        let body = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let answer = carol.send(method, path, body, &[]).await;
        assert_eq!(answer.status, 201, "{path}: {}", answer.json());
        answer
    };
    let new = json!({ "dataset": "plans", "encryption": "none", "storage": "ledger" });
    let made = send(Method::POST, "datasets", new.clone()).await;
    assert_eq!(tag(&made), tag(&carol.get("datasets/plans").await));
    let other = json!({ "encryption": "platform", "storage": "off-chain" });
    let path = "datasets/plans/configuration";
    let configured = send(Method::PUT, path, other).await;
    assert_eq!(tag(&configured), tag(&carol.get("datasets/plans").await));

    let permissions = async || tag(&carol.get("datasets/designs/permissions").await);
    let reader = "datasets/designs/permissions/reader/main/dave";
    for method in [Method::PUT, Method::DELETE] {
        let changed = send(method, reader, Value::Null).await;
        assert_eq!(tag(&changed), permissions().await);
    }
    let users = json!({ "users": ["main/dave"] });
    let set = send(
        Method::PUT,
        "datasets/designs/permissions/writer",
        users.clone(),
    )
    .await;
    let present = permissions().await;
    assert_eq!(tag(&set), present);
    // The tag of an answer is what the next change is held against, and a repetition has it too.
    let once = [
        ("if-match", present.as_str()),
        ("idempotency-key", "the-readers"),
    ];
    let path = "datasets/designs/permissions/reader";
    let body = users.to_string().into_bytes();
    let first = carol.send(Method::PUT, path, body.clone(), &once).await;
    let again = carol.send(Method::PUT, path, body, &once).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert!(again.headers.contains_key("idempotency-replayed"));
    assert_eq!(tag(&first), tag(&again));
    assert_eq!(tag(&first), permissions().await);

    let end =
        |version: u64| json!({ "dataset": "designs", "document": "bridge", "version": version });
    for body in [b"one", b"two"] {
        assert_eq!(carol.put(BRIDGE, body).await.status, 201);
    }
    let link = json!({ "from": end(2), "to": end(1), "relation": "follows" });
    let path = "datasets/designs/links/next";
    for _ in 0..2 {
        let linked = send(Method::PUT, path, link.clone()).await;
        assert_eq!(tag(&linked), tag(&carol.get(path).await));
    }

    // Whoever signs itself finds it in the answer to what it signed.
    site.add_user("erin");
    let writer = "datasets/designs/permissions/writer/main/erin";
    send(Method::PUT, writer, Value::Null).await;
    let key = user_key::read(&site.file("erin.pem")).unwrap();
    let signed = |prepared: &Value| {
        let bytes = hex::decode(prepared["transaction"].as_str().unwrap()).unwrap();
        let unsigned = UnsignedTransaction::from_bytes(&bytes).unwrap();
        unsigned.sign(&key).as_bytes().to_vec()
    };
    let path = "datasets/designs/documents/bridge/uploads?author=erin";
    let prepared = admin.send(Method::POST, path, b"three".to_vec(), &[]).await;
    assert_eq!(prepared.status, 201);
    assert!(
        !prepared.headers.contains_key("etag"),
        "nothing has changed"
    );
    let prepared = prepared.json();
    let path = format!("uploads/{}", prepared["id"].as_str().unwrap());
    let written = admin
        .send(Method::POST, &path, signed(&prepared), &[])
        .await;
    assert_eq!(written.status, 201, "{}", written.json());
    assert_eq!(tag(&written), tag(&carol.get(BRIDGE).await));
    let path = "datasets/designs/links/next?author=erin";
    let body = link.to_string().into_bytes();
    let prepared = admin.send(Method::PUT, path, body, &[]).await.json();
    let linked = admin
        .send(Method::POST, "transactions", signed(&prepared), &[])
        .await;
    assert_eq!(linked.status, 201, "{}", linked.json());
    assert_eq!(tag(&linked), "\"3\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_authorities_are_changed_as_they_were_seen() {
    let (_site, admin) = site();
    carol(&admin, &["read"]).await;
    let state = async |path: &str| tag(&admin.get(path).await);
    let first = state("users/carol").await;
    let same = with(
        &admin,
        Method::GET,
        "users/carol",
        ("if-none-match", &first),
    )
    .await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    // Each change makes another state, and none is made to one that was not seen.
    let expiry = json!({ "expires_ms": 4_000_000_000_000_u64 }).to_string();
    let managed = json!({ "managed": true }).to_string();
    let mut seen = first;
    for (method, path, body) in [
        (Method::POST, "users/carol/suspend?author=admin", ""),
        (Method::POST, "users/carol/resume?author=admin", ""),
        (
            Method::PUT,
            "users/carol/expiry?author=admin",
            expiry.as_str(),
        ),
        (Method::POST, "users/carol/rotate", managed.as_str()),
        (Method::DELETE, "users/carol?author=admin", ""),
    ] {
        let change = async |seen: &str| {
            let body = body.as_bytes().to_vec();
            let header = [("if-match", seen)];
            admin.send(method.clone(), path, body, &header).await
        };
        let made = change(&seen).await;
        assert_eq!(made.status, 201, "{path}: {}", made.json());
        let refused = change(&seen).await.problem();
        assert_eq!(refused, (412, "precondition-failed".into()), "{path}");
        let now = state("users/carol").await;
        assert_ne!(now, seen, "{path}");
        seen = now;
    }
    let bind = json!({ "chain": ["3000"], "proof": "00" }).to_string();
    for method in [Method::PUT, Method::DELETE] {
        let path = "users/dave/certificate?author=admin";
        let header = [("if-match", seen.as_str())];
        let body = bind.as_bytes().to_vec();
        let refused = admin.send(method, path, body, &header).await;
        assert_eq!(refused.problem(), (412, "precondition-failed".into()));
    }

    let none = state("authorities").await;
    let set = async |seen: &str, bound_clients: bool| {
        let asked = json!({ "certificates": [], "bound_clients": bound_clients });
        let (path, header) = ("authorities?author=admin", [("if-match", seen)]);
        let body = asked.to_string().into_bytes();
        admin.send(Method::PUT, path, body, &header).await.problem()
    };
    assert_eq!(set("\"0.00\"", false).await.0, 412);
    assert_eq!(set(&none, false).await.0, 201);
    assert_eq!(set(&none, false).await.0, 412, "somebody else was faster");
}

/// Whoever writes what must not be there yet writes the first version, or nothing.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_make_a_document_one_does() {
    let (site, admin) = site();
    let carol = carol(&admin, &["read", "write"]).await;
    let new = [("if-none-match", "*")];
    for document in ["bridge", "road", "tunnel"] {
        let path = format!("datasets/designs/documents/{document}/content");
        let put = || carol.send(Method::PUT, &path, b"a plan".to_vec(), &new);
        let answers = futures_util::future::join_all((0..16).map(|_| put())).await;
        let made = answers.iter().filter(|it| it.status == 201);
        assert_eq!(made.count(), 1);
        for answer in answers.iter().filter(|it| it.status != 201) {
            let refused = answer.problem();
            let late = (409, "version".to_owned());
            let seen = (412, "precondition-failed".to_owned());
            assert!(refused == late || refused == seen, "{refused:?}");
        }
    }
    assert_eq!(site.bodies().len(), 3);
}
