//! Users whose keys the platform keeps: an application that knows HTTP and no cryptography.

use coordinator::client::profile::Profile;
use reqwest::Method;
use serde_json::{Value, json};

use crate::site::{Site, plaintext};

mod foreign;
mod keys;
mod owned;
mod parts;
mod privacy;
mod tags;
mod times;

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
