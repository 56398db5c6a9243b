//! Users whose keys the platform keeps: an application that knows HTTP and no cryptography, and how keys change hands.

use coordinator::client::profile::Profile;
use reqwest::Method;
use serde_json::{Value, json};

use crate::site::{Site, plaintext};

/// Plain HTTP with an API key: nothing here signs.
struct Plain {
    http: reqwest::Client,
    base: String,
    key: String,
}

struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Status and code of a problem.
    fn problem(&self) -> (u16, String) {
        let code = self.json()["code"].as_str().unwrap_or_default().to_owned();
        (self.status, code)
    }
}

impl Plain {
    fn of(site: &Site, key: &str) -> Self {
        Self {
            http: reqwest::Client::new(),
            base: format!("{}/v1/tenants/main", site.url),
            key: key.to_owned(),
        }
    }

    fn with_key(&self, key: &Value) -> Self {
        Self {
            http: self.http.clone(),
            base: self.base.clone(),
            key: key.as_str().unwrap().to_owned(),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let url = format!("{}/{path}", self.base);
        let mut request = self
            .http
            .request(method, url)
            .bearer_auth(&self.key)
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap().to_vec(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Vec::new(), &[]).await
    }

    async fn put(&self, path: &str, body: &[u8]) -> Answer {
        self.send(Method::PUT, path, body.to_vec(), &[]).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, Vec::new(), &[]).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, body.to_string().into_bytes(), &[])
            .await
    }

    /// What must be on the record when the answer comes.
    async fn done(&self, method: Method, path: &str, body: Value) -> Value {
        let body = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let answer = self.send(method, path, body, &[]).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 201, "{path}: {text}");
        answer.json()
    }
}

/// A platform whose administrator's key it keeps, and an API key that is bound to nobody.
fn site() -> (Site, Plain) {
    let mut site = Site::init_with(&["--managed-administrator"]);
    site.run();
    let profile = Profile::read(&site.profile()).unwrap();
    assert!(profile.key.is_none(), "there is no file of a key");
    let plain = Plain::of(&site, profile.api_key.unwrap().expose());
    (site, plain)
}

const BRIDGE: &str = "datasets/designs/documents/bridge/content";

/// Keys that are kept for a user.
fn kept(site: &Site, user: &str) -> i64 {
    let list = rusqlite::Connection::open(site.dir().join("managed-keys.sqlite")).unwrap();
    let count = "SELECT count(*) FROM managed_keys WHERE user = ?1";
    list.query_row(count, [user], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_without_cryptography_does_everything() {
    let (mut site, admin) = site();
    for user in ["carol", "dave"] {
        let new = json!({ "user": user, "managed": true, "role": "member" });
        admin.done(Method::POST, "users?author=admin", new).await;
    }
    let row = admin.get("users/carol").await.json();
    assert_eq!(
        (&row["managed"], &row["key_version"]),
        (&json!(true), &json!(1))
    );
    let scopes = ["read", "write", "manage", "audit"];
    let new = json!({ "name": "app", "scopes": scopes, "user": "carol" });
    let issued = admin.done(Method::POST, "keys", new).await;
    assert_eq!(issued["user"], "carol");
    let carol = admin.with_key(&issued["api_key"]);

    // Whoever has the key bound to carol need not name her.
    let new = json!({ "dataset": "designs", "encryption": "platform", "storage": "off-chain" });
    carol.done(Method::POST, "datasets", new).await;
    let plain = plaintext(300_000);
    let written = carol.put(BRIDGE, &plain).await;
    assert_eq!(written.status, 201, "{}", written.json());
    assert_eq!(written.json()["version"], 1);
    let read = carol.get(BRIDGE).await;
    assert!(read.status == 200 && read.body == plain);
    let timing = read.headers["server-timing"].to_str().unwrap();
    for phase in [
        "permission",
        "master-key",
        "fetch",
        "checksum",
        "decrypt",
        "total",
    ] {
        assert!(
            timing.contains(&format!("{phase};dur=")),
            "{phase}: {timing}"
        );
    }
    let id = read.headers["x-read-id"].to_str().unwrap();
    let report = carol.get(&format!("reads/{id}")).await.json();
    assert_eq!(report["outcome"], "complete");
    let part = [("range", "bytes=1000-1099")];
    let part = carol.send(Method::GET, BRIDGE, Vec::new(), &part).await;
    assert!(part.status == 206 && part.body == plain[1000..1100]);

    // To look whether it is there is no read.
    let rows = "audit/rows?kinds=read&subject=document:main/designs/bridge";
    let reads = carol.get(rows).await.json()["rows"]
        .as_array()
        .unwrap()
        .len();
    let head = carol.send(Method::HEAD, BRIDGE, Vec::new(), &[]).await;
    assert_eq!(
        (head.status, &head.headers["content-length"]),
        (200, &"300000".parse().unwrap())
    );
    let rows = carol.get(rows).await.json();
    assert_eq!(rows["rows"].as_array().unwrap().len(), reads);
    // Every row shows by itself who held the key.
    for row in rows["rows"].as_array().unwrap() {
        assert_eq!(row["author"], "managed user main/carol");
    }

    // Permission is the record's, whoever signs.
    let as_dave = format!("{BRIDGE}?reader=dave");
    assert_eq!(
        admin.get(&as_dave).await.problem(),
        (403, "not-permitted".into())
    );
    let reader = "datasets/designs/permissions/reader/main/dave";
    carol.done(Method::PUT, reader, Value::Null).await;
    assert_eq!(admin.get(&as_dave).await.body, plain);
    carol.done(Method::DELETE, reader, Value::Null).await;
    assert_eq!(
        admin.get(&as_dave).await.problem(),
        (403, "not-permitted".into())
    );

    // The same again is the same.
    let once = [("idempotency-key", "a-second-version")];
    let first = carol
        .send(Method::PUT, BRIDGE, b"second".to_vec(), &once)
        .await;
    let again = carol
        .send(Method::PUT, BRIDGE, b"second".to_vec(), &once)
        .await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    assert!(again.headers.contains_key("idempotency-replayed"));
    let stale = [("if-none-match", "*")];
    let refused = carol
        .send(Method::PUT, BRIDGE, b"third".to_vec(), &stale)
        .await;
    assert_eq!(refused.problem(), (412, "precondition-failed".into()));

    // After a restart too; then erased.
    site.stop();
    site.run();
    let carol = Plain::of(&site, &carol.key);
    assert_eq!(carol.get(BRIDGE).await.body, b"second");
    carol
        .done(
            Method::DELETE,
            "datasets/designs/documents/bridge",
            Value::Null,
        )
        .await;
    assert_eq!(carol.get(BRIDGE).await.problem(), (410, "erased".into()));
    // In the log stands which API key asked, and no key.
    let log = site.log();
    let id = carol.key.split('.').nth(1).unwrap();
    assert!(log.contains("signing for a managed user") && log.contains(id));
    assert!(!log.contains(&carol.key) && !log.contains(&admin.key));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_signs_for_nobody_whom_the_key_is_not_for() {
    let (site, admin) = site();
    for user in ["carol", "dave"] {
        let new = json!({ "user": user, "managed": true, "role": "member" });
        admin.done(Method::POST, "users?author=admin", new).await;
    }
    let new = json!({ "dataset": "designs", "encryption": "none", "storage": "off-chain" });
    admin.done(Method::POST, "datasets?author=carol", new).await;
    let issue = async |scopes: &[&str]| {
        let new = json!({ "name": "app", "scopes": scopes, "user": "carol" });
        let issued = admin.done(Method::POST, "keys", new).await;
        admin.with_key(&issued["api_key"])
    };
    let carol = issue(&["read", "write", "manage", "keys"]).await;
    let writer = issue(&["write"]).await;

    // A key bound to carol is for nobody else, signed or not.
    let refused = (403, "api-key-user".to_owned());
    assert_eq!(
        carol
            .put(&format!("{BRIDGE}?author=dave"), b"x")
            .await
            .problem(),
        refused
    );
    assert_eq!(
        carol.get(&format!("{BRIDGE}?reader=admin")).await.problem(),
        refused
    );
    let new = json!({ "user": "eve", "managed": true, "role": "member" });
    assert_eq!(
        carol
            .post("users?author=admin", new.clone())
            .await
            .problem(),
        refused
    );
    assert_eq!(
        carol
            .post("users/admin/rotate", json!({ "managed": true }))
            .await
            .problem(),
        refused
    );
    assert_eq!(
        carol
            .post("users/admin/transactions", json!({}))
            .await
            .problem()
            .0,
        422
    );
    let uploads = "datasets/designs/documents/bridge/uploads?author=dave";
    assert_eq!(carol.post(uploads, json!("x")).await.problem(), refused);
    // It makes no key for others, and revokes none of theirs.
    let more = json!({ "name": "more", "scopes": ["read"], "user": "dave" });
    assert_eq!(carol.post("keys", more).await.problem(), refused);
    let own = carol
        .done(
            Method::POST,
            "keys",
            json!({ "name": "own", "scopes": ["read"] }),
        )
        .await;
    assert_eq!(own["user"], "carol");
    let admins = admin.key.split('.').nth(1).unwrap();
    assert_eq!(
        carol.delete(&format!("keys/{admins}")).await.problem(),
        refused
    );
    let refused = (403, "api-key-scope".to_owned());
    assert_eq!(writer.get(BRIDGE).await.problem(), refused);
    let reader = "datasets/designs/permissions/reader/main/dave";
    assert_eq!(writer.put(reader, b"").await.problem(), refused);
    assert_eq!(writer.put(BRIDGE, b"x").await.status, 201);

    // Nobody is asked for when nobody is named.
    assert_eq!(
        admin.put(BRIDGE, b"x").await.problem(),
        (400, "author-missing".into())
    );
    assert_eq!(
        admin
            .put(&format!("{BRIDGE}?author=nobody"), b"x")
            .await
            .problem(),
        (404, "unknown-user".into())
    );
    // A member registers nobody, and no key is made for the attempt.
    assert_eq!(
        carol.post("users", new).await.problem(),
        (403, "not-administrator".into())
    );
    assert_eq!(kept(&site, "eve"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_exchanged_suspended_and_destroyed() {
    let (site, admin) = site();
    let new = json!({ "user": "carol", "managed": true, "role": "member" });
    admin.done(Method::POST, "users?author=admin", new).await;
    let new = json!({ "dataset": "designs", "encryption": "none", "storage": "off-chain" });
    admin.done(Method::POST, "datasets?author=carol", new).await;
    let write = format!("{BRIDGE}?author=carol");
    assert_eq!(admin.put(&write, b"one").await.status, 201);

    // The key before is destroyed as soon as the record has the next one.
    let rotate = json!({ "managed": true });
    admin.done(Method::POST, "users/carol/rotate", rotate).await;
    let row = admin.get("users/carol").await.json();
    assert_eq!(
        (&row["managed"], &row["key_version"]),
        (&json!(true), &json!(2))
    );
    assert_eq!(kept(&site, "carol"), 1);
    assert_eq!(admin.put(&write, b"two").await.status, 201);

    // Suspended, it signs nothing and is kept; resumed, it signs again.
    admin
        .done(
            Method::POST,
            "users/carol/suspend?author=admin",
            Value::Null,
        )
        .await;
    assert_eq!(
        admin.put(&write, b"x").await.problem(),
        (403, "user-suspended".into())
    );
    assert_eq!(kept(&site, "carol"), 1);
    admin
        .done(Method::POST, "users/carol/resume?author=admin", Value::Null)
        .await;
    assert_eq!(admin.put(&write, b"three").await.status, 201);

    // With a time of its own it goes on until then; when that is over, the key is gone, and no later time brings it back.
    let later = json!({ "expires_ms": 4_000_000_000_000_u64 });
    admin
        .done(
            Method::PUT,
            "users/carol/expiry?author=admin",
            later.clone(),
        )
        .await;
    assert_eq!(admin.put(&write, b"four").await.status, 201);
    admin
        .done(Method::DELETE, "users/carol?author=admin", Value::Null)
        .await;
    assert_eq!(
        admin.put(&write, b"x").await.problem(),
        (403, "user-expired".into())
    );
    assert_eq!(kept(&site, "carol"), 0);
    admin
        .done(Method::PUT, "users/carol/expiry?author=admin", later)
        .await;
    assert_eq!(
        admin.put(&write, b"x").await.problem(),
        (422, "managed-key-missing".into())
    );
    let own = admin.delete("users/admin?author=admin").await;
    assert_eq!(own.problem(), (422, "own-account".into()));
}

#[test]
fn a_key_goes_into_the_platforms_hands_and_out_of_them() {
    let site = Site::start();
    let added = site.cli(&["user", "add", "carol", "--managed"]);
    assert_eq!(added["managed"], true);
    site.add_user("alice");
    let as_carol = |arguments: &[&str]| {
        let mut all = vec!["--user", "carol"];
        all.extend(arguments);
        site.try_cli(&all)
    };
    let done = |output| crate::site::success(output);
    // The same commands, without a key.
    done(as_carol(&[
        "dataset",
        "create",
        "designs",
        "--encryption",
        "platform",
    ]));
    let (plan, copy) = (site.file("plan"), site.file("copy"));
    std::fs::write(&plan, plaintext(70_000)).unwrap();
    let (plan, copy) = (plan.to_str().unwrap(), copy.to_str().unwrap());
    done(as_carol(&["put", "designs", "bridge", plan]));
    let got = done(as_carol(&["get", "designs", "bridge", "--out", copy]));
    assert_eq!(got["got"]["report"]["outcome"], "complete");
    assert_eq!(std::fs::read(copy).unwrap(), plaintext(70_000));
    done(as_carol(&["grant", "designs", "reader", "alice"]));

    // Whoever has a key of her own is not signed for.
    let alone = [
        "--user",
        "alice",
        "dataset",
        "create",
        "x",
        "--encryption",
        "none",
    ];
    let (status, said, json) = site.fails(&alone);
    assert_eq!(
        (status, &json["error"]["code"]),
        (8, &json!("user-not-managed"))
    );
    assert!(said.contains("--key"), "{said}");

    // She takes the key, and the platform has none any more.
    let own = site.file("carol.pem");
    let own = own.to_str().unwrap();
    let taken = done(as_carol(&["user", "rotate", "--new-key", own]));
    assert_eq!(taken["managed"], false);
    let shown = site.cli(&["user", "show", "carol"]);
    assert_eq!(
        (&shown["managed"], &shown["public_key"]),
        (&json!(false), &taken["public_key"])
    );
    assert_eq!(kept(&site, "carol"), 0);
    let (_, _, json) = crate::site::failure(as_carol(&["get", "designs", "bridge", "--out", copy]));
    assert_eq!(json["error"]["code"], "user-not-managed");
    done(as_carol(&["--key", own, "put", "designs", "bridge", plan]));
    // She gives it back, and her file is of no use.
    done(as_carol(&["--key", own, "user", "rotate", "--managed"]));
    done(as_carol(&["put", "designs", "bridge", plan]));
    let late = ["--key", own, "put", "designs", "bridge", plan];
    let (_, _, json) = crate::site::failure(as_carol(&late));
    assert_eq!(
        json["error"]["code"], "not-what-was-meant",
        "what the platform is to sign, she does not"
    );

    // The record shows who held the key, version by version.
    let rows = site.cli(&["audit", "document", "designs", "bridge"]);
    let authors: Vec<&str> = rows["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["kind"] == "write")
        .map(|row| row["author"].as_str().unwrap())
        .collect();
    let (managed, herself) = ("managed user main/carol", "user main/carol");
    assert_eq!(authors, [managed, herself, managed]);

    // And a user ends.
    site.cli(&["user", "expire", "alice", "--days", "3"]);
    site.cli(&["user", "expire", "alice", "--never"]);
    site.cli(&["user", "remove", "carol"]);
    assert_eq!(kept(&site, "carol"), 0);
    let (_, _, json) = crate::site::failure(as_carol(&["put", "designs", "bridge", plan]));
    assert_eq!(json["error"]["code"], "user-expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_own_authorities_are_changed_in_json() {
    let (_site, admin) = site();
    let new = json!({ "user": "carol", "managed": true, "role": "member" });
    admin.done(Method::POST, "users?author=admin", new).await;
    let none = json!({ "certificates": [] });
    admin
        .done(Method::PUT, "authorities?author=admin", none.clone())
        .await;
    let (own, by_carol) = ("authorities?author=admin", "authorities?author=carol");
    let put = async |path: &str, body: Value| {
        let body = body.to_string().into_bytes();
        admin.send(Method::PUT, path, body, &[]).await.problem()
    };
    assert_eq!(put(by_carol, none).await, (403, "not-administrator".into()));
    let wrong = json!({ "certificates": ["3000"] });
    assert_eq!(put(own, wrong).await, (422, "certificate-chain".into()));
    assert_eq!(
        put(own, json!({ "certificates": ["x"] })).await,
        (400, "bad-request".into())
    );
    let list = json!({ "list": "3000" });
    let list = admin.post("revocations?author=admin", list).await.problem();
    assert_eq!(list, (404, "unknown-authorities".into()));
    let certificate = "users/carol/certificate?author=admin";
    assert_eq!(
        admin.delete(certificate).await.problem(),
        (422, "certificate-unbound".into())
    );
    let bind = json!({ "chain": ["3000"], "proof": "00" });
    assert_eq!(
        put(certificate, bind).await,
        (404, "unknown-authorities".into())
    );
}

/// Reads an answer to its end, trailers and all.
fn raw(site: &Site, request: &str) -> String {
    use std::io::{Read as _, Write as _};
    let address = site.url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_a_long_read_come_behind_it_for_who_takes_them() {
    let (site, admin) = site();
    let new = json!({ "dataset": "designs", "encryption": "platform", "storage": "off-chain" });
    admin.done(Method::POST, "datasets?author=admin", new).await;
    let write = format!("{BRIDGE}?author=admin");
    assert_eq!(admin.put(&write, &vec![b'x'; 4_000_000]).await.status, 201);
    let long = admin.get(&format!("{BRIDGE}?reader=admin")).await;
    let timing = long.headers["server-timing"].to_str().unwrap();
    assert!(
        timing.contains("first-byte;dur=") && !timing.contains("total"),
        "{timing}"
    );
    assert_eq!(long.headers["content-length"], "4000000");

    let key = &admin.key;
    let request = format!(
        "GET /v1/tenants/main/{BRIDGE}?reader=admin HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {key}\r\nte: trailers\r\nconnection: close, te\r\n\r\n"
    );
    let answer = tokio::task::spawn_blocking(move || raw(&site, &request))
        .await
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200") && !head.contains("content-length"),
        "{head}"
    );
    assert!(head.contains("trailer: server-timing"), "{head}");
    let end = body.rsplit("0\r\n").next().unwrap();
    for phase in ["permission", "fetch", "checksum", "decrypt", "total"] {
        assert!(end.contains(&format!("{phase};dur=")), "{phase}: {end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_person_is_on_the_ledger_but_the_names_that_were_chosen() {
    let (mut site, admin) = site();
    let new = json!({ "user": "u-7f3a", "managed": true, "role": "member" });
    admin.done(Method::POST, "users?author=admin", new).await;
    let new = json!({ "name": "Zebedee's laptop", "scopes": ["read", "write"], "user": "u-7f3a" });
    let key = admin.done(Method::POST, "keys", new).await;
    let new = json!({ "dataset": "notes", "encryption": "platform", "storage": "ledger" });
    admin.done(Method::POST, "datasets?author=admin", new).await;
    let new = json!({ "dataset": "files", "encryption": "platform", "storage": "off-chain" });
    admin.done(Method::POST, "datasets?author=admin", new).await;
    let body = b"Zebedee lives at 1 Magic Roundabout";
    let headers = [("user-agent", "Zebedee"), ("x-request-id", "Zebedee")];
    for dataset in ["notes", "files"] {
        let path = format!("datasets/{dataset}/documents/d1/content?author=admin");
        let key = format!("Zebedee-{dataset}");
        let headers = [&headers[..], &[("idempotency-key", &key)]].concat();
        let written = admin
            .send(Method::PUT, &path, body.to_vec(), &headers)
            .await;
        assert_eq!(written.status, 201, "{}", written.json());
        let path = format!("datasets/{dataset}/documents/d1/content?reader=admin");
        assert_eq!(admin.get(&path).await.body, body);
    }
    site.stop();
    let found = |folder: &str, needle: &[u8]| {
        let mut folders = vec![site.dir().join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if std::fs::read(&path)
                    .unwrap()
                    .windows(needle.len())
                    .any(|it| it == needle)
                {
                    return true;
                }
            }
        }
        false
    };
    assert!(
        found("record", b"u-7f3a"),
        "the name that was chosen is there"
    );
    let key = key["api_key"].as_str().unwrap();
    let (id, mac) = key.rsplit_once('.').unwrap();
    let id = id.rsplit('.').next().unwrap();
    for secret in [
        b"Zebedee".as_slice(),
        b"Roundabout",
        id.as_bytes(),
        mac.as_bytes(),
    ] {
        assert!(
            !found("record", secret),
            "{}",
            String::from_utf8_lossy(secret)
        );
    }
    assert!(!found("bodies", b"Roundabout"));
}
