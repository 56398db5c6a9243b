//! What answers look like, whatever was asked: problems, request ids, parts of lists, tags, and requests that do not happen twice.

use coordinator::api::problem_types;
use coordinator::client::PutOptions;
use coordinator::client::profile::Profile;
use coordinator::record::Identifier;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::site::{Site, id};

struct Caller {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Caller {
    fn of(site: &Site) -> Self {
        let key = Profile::read(&site.profile()).unwrap().api_key.unwrap();
        Self {
            http: reqwest::Client::new(),
            base: format!("{}/v1/tenants/main", site.url),
            key: key.expose().to_owned(),
        }
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.base);
        self.http.request(method, url).bearer_auth(&self.key)
    }

    async fn get(&self, path: &str) -> Value {
        let (status, _, body) = told(self.ask(Method::GET, path)).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }
}

/// Status, headers and JSON; a problem is checked to be one.
async fn told(request: RequestBuilder) -> (u16, HeaderMap, Value) {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.unwrap();
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status >= 400 {
        assert_eq!(headers["content-type"], "application/problem+json");
        let code = json["code"].as_str().unwrap();
        assert_eq!(json["type"], format!("/problems/{code}"));
        assert_eq!(json["status"], status);
        assert_eq!(
            json["request_id"],
            headers["x-request-id"].to_str().unwrap()
        );
        assert!(
            problem_types::find(code).is_some(),
            "{code} is no listed type"
        );
        assert!(json["detail"].as_str().unwrap().len() > 10);
    }
    (status, headers, json)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_is_a_problem_of_a_listed_type() {
    let site = Site::start();
    let caller = Caller::of(&site);
    let cases = [
        (caller.ask(Method::GET, "/nothing"), 404, "not-found"),
        (
            caller.ask(Method::PUT, "/status"),
            405,
            "method-not-allowed",
        ),
        (
            caller.ask(Method::GET, "/users?limit=many"),
            400,
            "bad-request",
        ),
        (caller.ask(Method::GET, "/users?page=2"), 400, "bad-request"),
        (
            caller.ask(Method::GET, "/datasets/-no-name"),
            400,
            "bad-request",
        ),
        (
            caller.ask(Method::GET, "/reads/no-uuid"),
            400,
            "bad-request",
        ),
        (
            caller.ask(Method::POST, "/keys").body("{"),
            400,
            "bad-request",
        ),
        (
            caller
                .ask(Method::POST, "/keys")
                .body("{\"name\":\"x\",\"scopes\":[]}"),
            400,
            "bad-request",
        ),
        // What would be passed over was meant all the same.
        (
            caller.ask(Method::POST, "/datasets?author=admin").body(
                "{\"dataset\":\"d\",\"encryption\":\"none\",\"storage\":\"ledger\",\"readers\":[]}",
            ),
            400,
            "bad-request",
        ),
        (
            caller.ask(Method::POST, "/keys").body(vec![b' '; 5000]),
            413,
            "body-too-long",
        ),
        (
            caller
                .ask(Method::POST, "/transactions")
                .body(vec![0; 200_000]),
            413,
            "body-too-long",
        ),
        (
            caller.ask(Method::POST, "/transactions").body("no CBOR"),
            422,
            "malformed",
        ),
        (
            caller.ask(Method::GET, "/datasets/unknown"),
            404,
            "not-found",
        ),
    ];
    for (number, (request, status, code)) in cases.into_iter().enumerate() {
        // A short plain word is the request's id; anything else is replaced.
        let (found, headers, json) =
            told(request.header("x-request-id", format!("mine-{number}"))).await;
        assert_eq!(
            (found, json["code"].as_str()),
            (status, Some(code)),
            "{json}"
        );
        assert_eq!(headers["x-request-id"], format!("mine-{number}"));
    }
    // What of a path cannot be read is said, and what it should be.
    for (path, sentence) in [
        (
            "/datasets/designs/permissions/readers/main/alice?author=admin",
            "`reader`",
        ),
        ("/datasets/-x/permissions/reader/main/alice", "position 0"),
    ] {
        let (status, _, json) = told(caller.ask(Method::PUT, path)).await;
        let said = json["detail"].as_str().unwrap();
        assert!(status == 400 && said.contains(sentence), "{said}");
    }
    let long = format!("/reads/{}", "x".repeat(3000));
    let (status, _, json) = told(caller.ask(Method::GET, &long)).await;
    assert_eq!(status, 400);
    assert!(json["detail"].as_str().unwrap().len() < 200, "{json}");
    let (_, headers, _) = told(
        caller
            .ask(Method::GET, "/status")
            .header("x-request-id", "two words"),
    )
    .await;
    assert_eq!(headers["x-request-id"].len(), 36);
    let (_, headers, _) = told(caller.ask(Method::PUT, "/status")).await;
    assert!(headers["allow"].to_str().unwrap().contains("GET"));
    // The type of a problem leads to what it means, without a key.
    let told = reqwest::get(format!("{}/problems/not-permitted", site.url))
        .await
        .unwrap();
    let told: Value = told.json().await.unwrap();
    assert_eq!(
        (&told["code"], &told["status"]),
        (&json!("not-permitted"), &json!(403))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_parts() {
    let site = Site::start();
    let caller = Caller::of(&site);
    for name in ["alpha", "beta", "gamma"] {
        site.cli(&["dataset", "create", name, "--encryption", "none"]);
        site.add_user(&format!("user-{name}"));
        site.cli(&["key", "create", name, "--scope", "read"]);
    }
    let owner = site.administrator();
    for document in ["one", "two", "two", "two"] {
        let document = id(document);
        owner
            .put(&id("alpha"), &document, &b"body"[..], PutOptions::default())
            .await
            .unwrap();
    }
    for (path, key, whole) in [
        ("/datasets", "dataset", 3),
        ("/users", "user", 4),
        ("/keys", "id", 4),
        ("/datasets/alpha/documents", "document", 2),
        ("/datasets/alpha/documents/two", "version", 3),
    ] {
        let all = caller.get(path).await;
        let all = all["items"].as_array().unwrap();
        assert_eq!(all.len(), whole, "{path}");
        for limit in 1..=whole {
            let (mut found, mut after) = (Vec::new(), String::new());
            loop {
                let part = caller.get(&format!("{path}?limit={limit}{after}")).await;
                let items = part["items"].as_array().unwrap();
                assert!((1..=limit).contains(&items.len()), "{path} {limit}");
                found.extend(items.iter().cloned());
                match part["next"].as_str() {
                    Some(next) => after = format!("&after={next}"),
                    None => break,
                }
            }
            assert_eq!(&found, all, "{path} in parts of {limit}, by {key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_save_fetches_and_keep_writes_apart() {
    let site = Site::start();
    let caller = Caller::of(&site);
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let owner = site.administrator();
    let bridge = "/datasets/designs/documents/bridge";
    let upload = |name: &str, value: &str| {
        let request = caller.ask(Method::POST, &format!("{bridge}/uploads?author=admin"));
        request.header(name, value).body("stones")
    };
    let (status, _, _) = told(upload("if-none-match", "*")).await;
    assert_eq!(status, 201, "there is none yet");
    let put = async || {
        owner
            .put(
                &id("designs"),
                &id("bridge"),
                &b"stones"[..],
                PutOptions::default(),
            )
            .await
    };
    put().await.unwrap();
    let tag = async |path: &str| {
        let (_, headers, _) = told(caller.ask(Method::GET, path)).await;
        headers["etag"].to_str().unwrap().to_owned()
    };
    let (first, dataset) = (tag(bridge).await, tag("/datasets/designs").await);
    let (status, _, body) = told(
        caller
            .ask(Method::GET, bridge)
            .header("if-none-match", &first),
    )
    .await;
    assert_eq!((status, body), (304, Value::Null));
    assert_eq!(told(upload("if-match", &first)).await.0, 201);
    // Another version: who has seen the first one only is refused, before its body is stored.
    put().await.unwrap();
    assert_eq!(
        told(
            caller
                .ask(Method::GET, bridge)
                .header("if-none-match", &first)
        )
        .await
        .0,
        200
    );
    for (name, value) in [("if-match", first.as_str()), ("if-none-match", "*")] {
        let (status, _, json) = told(upload(name, value)).await;
        assert_eq!(
            (status, json["code"].as_str()),
            (412, Some("precondition-failed"))
        );
    }
    // A dataset's tag changes with its permissions.
    site.add_user("reader");
    assert_eq!(tag("/datasets/designs").await, dataset);
    site.cli(&["grant", "designs", "reader", "reader"]);
    assert_ne!(tag("/datasets/designs").await, dataset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_an_idempotency_key_happens_once() {
    let mut site = Site::start();
    let caller = Caller::of(&site);
    let make = |caller: &Caller, key: &str, name: &str| {
        let body = json!({ "name": name, "scopes": ["read"] });
        caller
            .ask(Method::POST, "/keys")
            .header("idempotency-key", key)
            .json(&body)
    };
    let names = async |caller: &Caller| {
        let keys = caller.get("/keys").await;
        let names = keys["items"].as_array().unwrap().iter();
        names
            .map(|key| key["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (status, headers, first) = told(make(&caller, "k-1", "reports")).await;
    assert_eq!(status, 201);
    assert!(!headers.contains_key("idempotency-replayed"));
    let (status, headers, again) = told(make(&caller, "k-1", "reports")).await;
    assert_eq!((status, &again), (201, &first));
    assert_eq!(headers["idempotency-replayed"], "true");
    assert_eq!(headers["cache-control"], "no-store");
    // Another body, another route, another key.
    for other in [
        make(&caller, "k-1", "exports"),
        caller
            .ask(Method::POST, "/transactions")
            .header("idempotency-key", "k-1")
            .body("x"),
    ] {
        let (status, _, json) = told(other).await;
        assert_eq!(
            (status, json["code"].as_str()),
            (422, Some("idempotency-key-reused"))
        );
    }
    let (_, _, other) = told(make(&caller, "k-2", "reports")).await;
    assert_ne!(other["id"], first["id"]);
    // A key is its API key's own.
    let every = json!({ "name": "every", "scopes": ["read", "keys"] });
    let (_, _, every) = told(caller.ask(Method::POST, "/keys").json(&every)).await;
    let second = Caller {
        key: every["api_key"].as_str().unwrap().to_owned(),
        ..Caller::of(&site)
    };
    let (_, headers, _) = told(make(&second, "k-1", "reports")).await;
    assert!(!headers.contains_key("idempotency-replayed"));
    // What was refused may be tried again.
    for _ in 0..2 {
        let (status, headers, _) = told(make(&caller, "k-3", "")).await;
        assert_eq!(
            (status, headers.contains_key("idempotency-replayed")),
            (422, false)
        );
    }
    for bad in ["", "two words", &"k".repeat(129)] {
        let (status, _, json) = told(make(&caller, bad, "reports")).await;
        assert_eq!(
            (status, json["code"].as_str()),
            (400, Some("idempotency-key-malformed"))
        );
    }
    // At the same time: one makes it, the others wait or get its answer.
    let many = (0..8).map(|_| told(make(&caller, "k-4", "at once")));
    for (status, _, json) in futures_util::future::join_all(many).await {
        assert!(
            status == 201 || json["code"] == "idempotency-key-in-use",
            "{json}"
        );
    }
    let expected = ["init", "reports", "reports", "every", "reports", "at once"];
    assert_eq!(names(&caller).await, expected);

    // After a loss of power too.
    site.kill();
    site.run();
    let caller = Caller::of(&site);
    let (status, headers, again) = told(make(&caller, "k-1", "reports")).await;
    assert_eq!((status, &again), (201, &first));
    assert_eq!(headers["idempotency-replayed"], "true");
    assert_eq!(names(&caller).await, expected);

    // A document: its upload and its commit, each repeated, are one version.
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let upload = |body: &'static str| {
        let path = "/datasets/designs/documents/bridge/uploads?author=admin";
        caller
            .ask(Method::POST, path)
            .header("idempotency-key", "u-1")
            .body(body)
    };
    let (status, _, prepared) = told(upload("stones")).await;
    assert_eq!(
        (status, told(upload("stones")).await.2),
        (201, prepared.clone())
    );
    assert_eq!(told(upload("wood")).await.0, 422);
    let profile = Profile::read(&site.profile()).unwrap();
    let key = coordinator::client::user_key::read(&profile.key.unwrap()).unwrap();
    let bytes = hex::decode(prepared["transaction"].as_str().unwrap()).unwrap();
    let unsigned = coordinator::record::UnsignedTransaction::from_bytes(&bytes).unwrap();
    let signed = unsigned.sign(&key).as_bytes().to_vec();
    let commit = || {
        let path = format!("/uploads/{}", prepared["id"].as_str().unwrap());
        caller
            .ask(Method::POST, &path)
            .header("idempotency-key", "c-1")
            .body(signed.clone())
    };
    let (status, _, receipt) = told(commit()).await;
    assert_eq!(status, 201, "{receipt}");
    assert_eq!(told(commit()).await.2, receipt);
    let versions = site
        .administrator()
        .versions(&id("designs"), &id("bridge"))
        .await
        .unwrap();
    assert_eq!(versions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_without_a_body_happens_once_too() {
    let site = Site::start();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    site.add_user("reader");
    let caller = Caller::of(&site);
    let entry = "/datasets/designs/permissions/reader/main/reader?author=admin";
    let changes = [
        (Method::PUT, entry),
        (Method::POST, "/users/reader/suspend?author=admin"),
        (Method::DELETE, "/users/reader?author=admin"),
    ];
    for (at, (method, path)) in changes.into_iter().enumerate() {
        let ask = || {
            let key = format!("b-{at}");
            caller
                .ask(method.clone(), path)
                .header("idempotency-key", key)
        };
        let (status, headers, first) = told(ask()).await;
        assert_eq!(status, 202, "{path}: {first}");
        assert!(!headers.contains_key("idempotency-replayed"));
        // Prepared anew it would have another nonce.
        let (status, headers, again) = told(ask()).await;
        assert_eq!((status, &again), (202, &first), "{path}");
        assert_eq!(headers["idempotency-replayed"], "true");
        // A body that nobody asked for makes it another request.
        assert_eq!(told(ask().body("x")).await.0, 422, "{path}");
    }
    let operator = Profile::read(&site.profile())
        .unwrap()
        .operator_key
        .unwrap();
    let rotate = || {
        let url = format!("{}/v1/operator/master-keys", site.url);
        let request = caller.http.post(url).bearer_auth(operator.expose());
        request.header("idempotency-key", "m-1")
    };
    let (status, _, first) = told(rotate()).await;
    assert_eq!(status, 201, "{first}");
    assert_eq!(told(rotate()).await.2, first);
    let newest = &site.cli(&["key", "master", "show"])["keys"][0]["id"];
    assert_eq!(*newest, first["keys"][0]["id"], "it was rotated once");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_has_its_share_of_requests() {
    let mut site = Site::init();
    let path = site.dir().join("coordinator.toml");
    let settings = std::fs::read_to_string(&path).unwrap();
    let settings = settings
        .replace("tenant_requests_s = 2000", "tenant_requests_s = 1")
        .replace("tenant_burst = 4000", "tenant_burst = 5");
    std::fs::write(&path, settings).unwrap();
    site.run();
    let caller = Caller::of(&site);
    let other = Caller {
        key: Profile::read(&site.profile())
            .unwrap()
            .operator_key
            .unwrap()
            .expose()
            .to_owned(),
        base: format!("{}/v1/operator", site.url),
        ..Caller::of(&site)
    };
    let mut refused = 0;
    for _ in 0..20 {
        let (status, headers, json) = told(caller.ask(Method::GET, "/status")).await;
        if status != 200 {
            assert_eq!((status, json["code"].as_str()), (429, Some("rate-limited")));
            let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=2).contains(&wait), "{wait}");
            refused += 1;
        }
    }
    assert!(refused >= 10, "{refused}");
    // Neither others nor whoever has no right key have a part in that.
    let (status, _, _) = told(other.ask(Method::GET, "/audit/export")).await;
    assert_eq!(status, 200);
    let stranger = Caller {
        key: "nonsense".to_owned(),
        ..Caller::of(&site)
    };
    assert_eq!(told(stranger.ask(Method::GET, "/status")).await.0, 401);
    let _: Identifier = id("main");
}
