//! Links, permissions, requests for access and erasure: on the command line, and over HTTP with transactions that are signed elsewhere.

use coordinator::client::profile::Profile;
use coordinator::client::{ClientError, PutOptions, user_key};
use coordinator::record::UnsignedTransaction;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::site::{Site, id, plaintext};

/// Somebody with nothing but HTTP and an Ed25519 key.
struct Plain<'s> {
    site: &'s Site,
    http: reqwest::Client,
    key: String,
}

impl<'s> Plain<'s> {
    fn of(site: &'s Site) -> Self {
        let key = Profile::read(&site.profile()).unwrap().api_key.unwrap();
        Self {
            site,
            http: reqwest::Client::new(),
            key: key.expose().to_owned(),
        }
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/v1/tenants/main{path}", self.site.url);
        self.http.request(method, url).bearer_auth(&self.key)
    }

    async fn told(&self, request: RequestBuilder) -> (u16, Value) {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (Value, String) {
        let response = self.ask(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let tag = response
            .headers()
            .get("etag")
            .map(|it| it.to_str().unwrap().to_owned());
        (response.json().await.unwrap(), tag.unwrap_or_default())
    }

    /// Signs what was prepared, and puts it onto the record.
    async fn sign(&self, user: &str, request: RequestBuilder) -> (u16, Value) {
        let (status, prepared) = self.told(request).await;
        assert_eq!(status, 202, "{prepared}");
        let path = match user {
            "admin" => Profile::read(&self.site.profile()).unwrap().key.unwrap(),
            user => self.site.file(&format!("{user}.pem")),
        };
        let bytes = hex::decode(prepared["transaction"].as_str().unwrap()).unwrap();
        let unsigned = UnsignedTransaction::from_bytes(&bytes).unwrap();
        assert_eq!(hex::encode(unsigned.id()), prepared["transaction_id"]);
        let signed = unsigned.sign(&user_key::read(&path).unwrap());
        let request = self
            .ask(Method::POST, "/transactions")
            .body(signed.as_bytes().to_vec());
        let (status, receipt) = self.told(request).await;
        if status == 201 {
            assert_eq!(receipt["transaction_id"], prepared["transaction_id"]);
        }
        (status, receipt)
    }
}

async fn written(site: &Site, dataset: &str, document: &str, bytes: usize) {
    let source = std::io::Cursor::new(plaintext(bytes));
    let put = site.administrator();
    put.put(&id(dataset), &id(document), source, PutOptions::default())
        .await
        .unwrap();
}

async fn read(
    site: &Site,
    user: &str,
    dataset: &str,
    document: &str,
    version: Option<u64>,
) -> String {
    let client = if user == "admin" {
        site.administrator()
    } else {
        site.client(user)
    };
    let mut out = Vec::new();
    match client
        .get(&id(dataset), &id(document), version, &mut out, None)
        .await
    {
        Ok(_) => "fine".to_owned(),
        Err(ClientError::Problem { status, code, .. }) => format!("{status} {code}"),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_made_changed_read_and_proven() {
    let site = Site::start();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    for document in ["plan", "bridge", "bridge"] {
        written(&site, "designs", document, 10).await;
    }
    let made = site.cli(&[
        "link",
        "put",
        "designs",
        "of-plan",
        "designs/bridge@1",
        "designs/plan@1",
    ]);
    assert_eq!(made["version"], 1);
    let shown = site.cli(&["link", "show", "designs", "of-plan"]);
    assert_eq!(
        (&shown["relation"], &shown["from"]["version"]),
        (&json!("derived-from"), &json!(1))
    );
    let (_, _, json) = site.fails(&[
        "link",
        "put",
        "designs",
        "x",
        "designs/bridge@9",
        "designs/plan@1",
    ]);
    assert_eq!(json["error"]["code"], "unknown-version");

    // Over HTTP: changed from the version that was seen, and not from another.
    let plain = Plain::of(&site);
    let path = "/datasets/designs/links/of-plan";
    let (link, tag) = plain.get(path).await;
    assert_eq!(link, shown);
    let change = |header: &str, value: &str| {
        let body = json!({
            "from": { "dataset": "designs", "document": "bridge", "version": 2 },
            "to": { "tenant": "main", "dataset": "designs", "document": "plan", "version": 1 }, "relation": "follows"
        });
        plain
            .ask(Method::PUT, &format!("{path}?author=admin"))
            .header(header, value)
            .json(&body)
    };
    assert_eq!(plain.told(change("if-none-match", "*")).await.0, 412);
    assert_eq!(plain.sign("admin", change("if-match", &tag)).await.0, 201);
    let (status, problem) = plain.told(change("if-match", &tag)).await;
    assert_eq!(
        (status, &problem["code"]),
        (412, &json!("precondition-failed"))
    );
    let listed = site.cli(&["link", "ls", "designs"]);
    assert_eq!(
        (&listed[0]["version"], &listed[0]["relation"]),
        (&json!(2), &json!("follows"))
    );
    assert_eq!(
        plain.get("/datasets/designs/links?limit=1").await.0["items"],
        listed
    );

    // Proven to whoever has the organisations' keys, without the platform.
    let (proof, keys) = (site.file("proof"), site.dir().join("verifiers.txt"));
    let (proof, keys) = (proof.to_str().unwrap(), keys.to_str().unwrap());
    site.cli(&["link", "prove", "designs", "of-plan", "--out", proof]);
    let verify = ["link", "verify", proof, "--keys", keys];
    let verified = site.cli(&verify);
    assert_eq!(verified["from"], "main/designs/bridge@2");
    assert_eq!(verified["author"], "user main/admin");
    let original: Value = serde_json::from_slice(&std::fs::read(proof).unwrap()).unwrap();
    let altered = |change: &dyn Fn(&mut Value)| {
        let mut value = original.clone();
        change(&mut value);
        std::fs::write(proof, value.to_string()).unwrap();
        let (status, said, json) = site.fails(&verify);
        assert_eq!(
            (status, &json["error"]["code"]),
            (7, &json!("proof")),
            "{said}"
        );
    };
    let flip = |text: &str| {
        let last = if text.ends_with('0') { '1' } else { '0' };
        format!("{}{last}", &text[..text.len() - 1])
    };
    altered(&|it| it["position"] = json!(0));
    altered(&|it| it["size"] = json!(it["size"].as_u64().unwrap() + 1));
    altered(&|it| it["path"][0] = json!(flip(it["path"][0].as_str().unwrap())));
    altered(&|it| it["transaction"] = json!(flip(it["transaction"].as_str().unwrap())));
    altered(&|it| {
        it["checkpoint"] = json!(
            it["checkpoint"]
                .as_str()
                .unwrap()
                .replacen("alder", "cedar", 1)
        )
    });
    // Links are the writers' matter.
    site.add_user("stranger");
    let (_, refused) = plain.sign("stranger", {
        let body = json!({
            "from": { "dataset": "designs", "document": "bridge", "version": 2 },
            "to": { "dataset": "designs", "document": "plan", "version": 1 }, "relation": "follows"
        });
        plain.ask(Method::PUT, "/datasets/designs/links/other?author=stranger").json(&body)
    }).await;
    assert_eq!(refused["code"], "not-permitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_and_requests_for_access_over_http_and_command_line() {
    let site = Site::start();
    site.add_user("alice");
    site.add_user("bob");
    let plain = Plain::of(&site);
    let body = json!({ "dataset": "designs", "encryption": "platform", "storage": "off-chain" });
    let create = plain
        .ask(Method::POST, "/datasets?author=admin")
        .json(&body);
    assert_eq!(plain.sign("admin", create).await.0, 201);
    written(&site, "designs", "bridge", 10).await;
    assert_eq!(
        read(&site, "alice", "designs", "bridge", None).await,
        "403 not-permitted"
    );

    // Asked, granted: she reads. Asked, declined: he does not.
    let ask = |user: &str| {
        let path = format!("/datasets/designs/access-requests?author={user}");
        plain
            .ask(Method::POST, &path)
            .json(&json!({ "role": "reader" }))
    };
    let (status, asked) = plain.sign("alice", ask("alice")).await;
    assert_eq!(status, 201);
    assert_eq!(
        plain.sign("alice", ask("alice")).await.1["code"],
        "access-pending"
    );
    assert_eq!(plain.sign("bob", ask("bob")).await.0, 201);
    let listed = plain.get("/datasets/designs/access-requests").await.0;
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let first = plain
        .get("/datasets/designs/access-requests?limit=1")
        .await
        .0;
    assert_eq!(
        (&first["items"][0], &first["next"]),
        (&listed["items"][0], &json!("main/alice/reader"))
    );
    let rest = plain
        .get("/datasets/designs/access-requests?after=main/alice/reader")
        .await
        .0;
    assert_eq!(rest["items"][0], listed["items"][1]);
    let request = asked["transaction_id"].as_str().unwrap();
    assert_eq!(listed["items"][0]["request"], request);
    let grant = |user: &str| {
        let path = format!("/datasets/designs/access-requests/{request}/grant?author={user}");
        plain.ask(Method::POST, &path)
    };
    assert_eq!(
        plain.sign("alice", grant("alice")).await.1["code"],
        "not-permitted",
        "not by herself"
    );
    assert_eq!(plain.sign("admin", grant("admin")).await.0, 201);
    assert_eq!(
        read(&site, "alice", "designs", "bridge", None).await,
        "fine"
    );
    let requests = site.cli(&["request", "ls", "designs"]);
    let of_bob = requests
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["user"] == "main/bob")
        .unwrap();
    let beginning = &of_bob["request"].as_str().unwrap()[..12];
    site.cli(&["request", "decline", "designs", beginning]);
    assert_eq!(
        read(&site, "bob", "designs", "bridge", None).await,
        "403 not-permitted"
    );
    let requests = site.cli(&["request", "ls", "designs"]);
    let states: Vec<_> = requests
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["status"].clone())
        .collect();
    assert_eq!(states, ["granted", "declined"]);
    let (_, _, json) = site.fails(&["request", "grant", "designs", beginning]);
    assert_eq!(json["error"]["code"], "unknown-access-request");

    // Set, added, removed; nobody overwrites what he has not seen.
    let (permissions, tag) = plain.get("/datasets/designs/permissions").await;
    assert_eq!(permissions["readers"], json!(["main/alice"]));
    let set = |tag: &str| {
        let body = json!({ "users": ["main/bob", "main/alice"] });
        let path = "/datasets/designs/permissions/writer?author=admin";
        plain
            .ask(Method::PUT, path)
            .header("if-match", tag)
            .json(&body)
    };
    assert_eq!(plain.sign("admin", set(&tag)).await.0, 201);
    assert_eq!(plain.told(set(&tag)).await.0, 412);
    let entry = |method: Method, user: &str| {
        let path = format!("/datasets/designs/permissions/reader/main/{user}?author=admin");
        plain.ask(method, &path)
    };
    assert_eq!(plain.sign("admin", entry(Method::PUT, "bob")).await.0, 201);
    assert_eq!(
        plain.sign("admin", entry(Method::DELETE, "alice")).await.0,
        201
    );
    assert_eq!(
        plain.sign("admin", entry(Method::DELETE, "alice")).await.1["code"],
        "permission-unchanged"
    );
    let shown = site.cli(&["permission", "show", "designs"]);
    assert_eq!(shown["readers"], json!(["main/bob"]));
    assert_eq!(shown["writers"], json!(["main/alice", "main/bob"]));
    site.cli(&["permission", "set", "designs", "reader", "alice", "bob"]);
    site.cli(&["permission", "set", "designs", "writer"]);
    site.cli(&["permission", "remove", "designs", "reader", "bob"]);
    site.cli(&["permission", "add", "designs", "writer", "bob"]);
    let shown = site.cli(&["permission", "show", "designs"]);
    assert_eq!(
        (&shown["readers"], &shown["writers"]),
        (&json!(["main/alice"]), &json!(["main/bob"]))
    );
    let stale = ["permission", "set", "designs", "reader", "--after", "1"];
    assert_eq!(site.fails(&stale).2["error"]["code"], "version");

    // A configuration, and users.
    let (_, tag) = plain.get("/datasets/designs").await;
    let configure = |tag: &str| {
        let body = json!({ "encryption": "none", "storage": "ledger" });
        let path = "/datasets/designs/configuration?author=admin";
        plain
            .ask(Method::PUT, path)
            .header("if-match", tag)
            .json(&body)
    };
    assert_eq!(plain.sign("admin", configure(&tag)).await.0, 201);
    assert_eq!(plain.told(configure(&tag)).await.0, 412);
    assert_eq!(plain.get("/datasets/designs").await.0["storage"], "ledger");
    let user = json!({ "user": "carol", "public_key": "00", "role": "member" });
    let register = |user: &Value| plain.ask(Method::POST, "/users?author=admin").json(user);
    assert_eq!(plain.told(register(&user)).await.0, 400);
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
    let user =
        json!({ "user": "carol", "public_key": hex::encode(key.to_bytes()), "role": "member" });
    assert_eq!(plain.sign("admin", register(&user)).await.0, 201);
    let suspend =
        |what: &str| plain.ask(Method::POST, &format!("/users/carol/{what}?author=admin"));
    for (what, suspended) in [("suspend", true), ("resume", false)] {
        assert_eq!(plain.sign("admin", suspend(what)).await.0, 201);
        let users = plain.get("/users?after=bob&limit=1").await.0;
        assert_eq!(
            (&users["items"][0]["user"], &users["items"][0]["suspended"]),
            (&json!("carol"), &json!(suspended))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_gone_and_stays_gone() {
    let mut site = Site::start();
    site.add_user("alice");
    for dataset in ["designs", "plans"] {
        site.cli(&["dataset", "create", dataset, "--encryption", "platform"]);
    }
    for document in ["bridge", "bridge", "tunnel"] {
        written(&site, "designs", document, 5000).await;
    }
    written(&site, "plans", "valley", 5000).await;
    assert_eq!(site.bodies().len(), 4);
    // One version: its body goes with it, the others stay.
    site.cli(&["erase", "designs", "bridge", "--version", "1"]);
    assert_eq!(site.bodies().len(), 3);
    assert_eq!(
        read(&site, "admin", "designs", "bridge", Some(1)).await,
        "410 erased"
    );
    assert_eq!(
        read(&site, "admin", "designs", "bridge", None).await,
        "fine"
    );
    assert_eq!(
        site.fails(&["erase", "designs", "bridge", "--version", "1"])
            .2["error"]["code"],
        "erased"
    );

    // A read that was prepared before, and is signed after, comes too late.
    {
        let plain = Plain::of(&site);
        let path = "/datasets/designs/documents/tunnel/reads";
        let asked = plain
            .ask(Method::POST, path)
            .json(&json!({ "reader": "admin" }));
        let (_, prepared) = plain.told(asked).await;
        site.cli(&["erase", "designs", "tunnel"]);
        let bytes = hex::decode(prepared["transaction"].as_str().unwrap()).unwrap();
        let key = Profile::read(&site.profile()).unwrap().key.unwrap();
        let signed = UnsignedTransaction::from_bytes(&bytes)
            .unwrap()
            .sign(&user_key::read(&key).unwrap());
        let commit = format!("/reads/{}", prepared["id"].as_str().unwrap());
        let commit = plain
            .ask(Method::POST, &commit)
            .body(signed.as_bytes().to_vec());
        let (status, problem) = plain.told(commit).await;
        assert_eq!((status, &problem["code"]), (410, &json!("erased")));
        written(&site, "designs", "tunnel-2", 5000).await;
    }

    // A document over HTTP, by an owner alone, and only as it was seen.
    let kept: Vec<_> = site
        .bodies()
        .iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    let index = site.dir().join("bodies.sqlite");
    {
        let plain = Plain::of(&site);
        let path = "/datasets/designs/documents/bridge";
        let erase = |user: &str, tag: &str| {
            plain
                .ask(Method::DELETE, &format!("{path}?author={user}"))
                .header("if-match", tag)
        };
        let (_, tag) = plain.get(path).await;
        assert_eq!(plain.told(erase("admin", "\"1.1\"")).await.0, 412);
        assert_eq!(
            plain.sign("alice", erase("alice", &tag)).await.1["code"],
            "not-permitted"
        );
        assert_eq!(site.bodies().len(), 3);
        assert_eq!(plain.sign("admin", erase("admin", &tag)).await.0, 201);
        assert_eq!(site.bodies().len(), 2);
        assert_eq!(
            read(&site, "admin", "designs", "bridge", None).await,
            "410 erased"
        );
        // What happened stays.
        let versions = plain.get(path).await.0;
        let levels: Vec<_> = versions["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["encryption"].clone())
            .collect();
        assert_eq!(levels, ["erased", "erased"]);
        let again = site
            .administrator()
            .put(
                &id("designs"),
                &id("bridge"),
                &b"x"[..],
                PutOptions::default(),
            )
            .await;
        assert!(
            matches!(again, Err(ClientError::Problem { ref code, .. }) if code == "erased"),
            "{again:?}"
        );
    }

    // Bodies that come back, as after a crash before they were removed, go with the next start.
    site.stop();
    let connection = rusqlite::Connection::open(&index).unwrap();
    for (path, bytes) in &kept {
        if !path.exists() {
            std::fs::write(path, bytes).unwrap();
            let pointer = hex::decode(path.file_name().unwrap().to_str().unwrap()).unwrap();
            let row = ("main", "designs", "bridge", 2, pointer);
            connection
                .execute("INSERT INTO bodies VALUES (?1, ?2, ?3, ?4, ?5)", row)
                .unwrap();
        }
    }
    drop(connection);
    assert_eq!(site.bodies().len(), 3);
    site.run();
    assert_eq!(site.bodies().len(), 2);

    // All that the user owns, shown first; run again, it finds nothing.
    site.cli(&["permission", "add", "plans", "owner", "alice"]);
    let owned = ["erase", "--all-owned"];
    let shown = site.cli(&owned);
    assert_eq!(
        (&shown["erased"], &shown["documents"]),
        (&json!(false), &json!(["designs/tunnel-2", "plans/valley"]))
    );
    assert_eq!(site.bodies().len(), 2);
    let key = site.file("alice.pem");
    let as_alice = [
        "--user",
        "alice",
        "--key",
        key.to_str().unwrap(),
        "erase",
        "--all-owned",
        "--yes",
    ];
    assert_eq!(site.cli(&as_alice)["documents"], json!(["plans/valley"]));
    assert_eq!(site.bodies().len(), 1);
    let all = ["erase", "--all-owned", "--yes"];
    assert_eq!(site.cli(&all)["documents"], json!(["designs/tunnel-2"]));
    assert!(site.bodies().is_empty());
    assert_eq!(site.cli(&all)["documents"], json!([]));
}
