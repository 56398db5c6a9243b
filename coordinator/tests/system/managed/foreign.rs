//! Managed users of another tenant: they ask for access, are let in or not, and read with one request; and owners whose documents' keys are
//! wrapped anew without a signature of their own.

use coordinator::client::{Client, ClientError, GetOptions, Signer, user_key};
use coordinator::record::{Role, UserRole};
use reqwest::Method;
use serde_json::{Value, json};

use super::{BRIDGE, Plain, site};
use crate::authentication::success_of_tenant;
use crate::cluster::Cluster;
use crate::site::{Site, id, plaintext};

const SHARED: &str = "shared/main/datasets/designs";

async fn carol(admin: &Plain, encryption: &str) {
    for user in ["carol", "dave"] {
        let new = json!({ "user": user, "managed": true, "role": "member" });
        admin.done(Method::POST, "users?author=admin", new).await;
    }
    let new = json!({ "dataset": "designs", "encryption": encryption, "storage": "off-chain" });
    admin.done(Method::POST, "datasets?author=carol", new).await;
}

/// The tenant umbra with its administrator ada, who has a key of her own, and eve, whose key the platform keeps.
async fn umbra(site: &Site) -> (Plain, Client) {
    let ada = site.file("ada.pem");
    let api_key = success_of_tenant(site, ada.to_str().unwrap());
    let mut client = Client::new(&site.url, id("umbra"), api_key.clone()).unwrap();
    client.sign_as(Signer::new(id("ada"), user_key::read(&ada).unwrap()));
    client
        .add_managed_user(&id("eve"), UserRole::Member, None)
        .await
        .unwrap();
    let mut plain = Plain::of(site, &api_key);
    plain.base = format!("{}/v1/tenants/umbra", site.url);
    (plain, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_another_tenant_asks_and_is_let_in() {
    let (site, admin) = site();
    carol(&admin, "platform").await;
    let body = plaintext(200_000);
    let path = format!("{BRIDGE}?author=carol");
    assert_eq!(admin.put(&path, &body).await.status, 201);
    let (umbra, ada) = umbra(&site).await;
    let content = format!("{SHARED}/documents/bridge/content?reader=eve");
    let requests = format!("{SHARED}/access-requests?reader=eve");
    let ask = format!("{SHARED}/access-requests?author=eve");
    let reader = json!({ "role": "reader" });

    // What is not open does not exist, and what was not asked for neither.
    for method in [Method::GET, Method::HEAD] {
        let answer = umbra.send(method, &content, Vec::new(), &[]).await;
        assert_eq!(answer.status, 404);
    }
    assert_eq!(umbra.get(&requests).await.json()["items"], json!([]));
    let asked = umbra.done(Method::POST, &ask, reader.clone()).await;
    let again = umbra.post(&ask, reader.clone()).await;
    assert_eq!(again.problem(), (409, "access-pending".into()));
    let unknown = "shared/main/datasets/nothing/access-requests?author=eve";
    let unknown = umbra.post(unknown, reader).await;
    assert_eq!(unknown.problem(), (404, "unknown-dataset".into()));

    let listed = admin.get("datasets/designs/access-requests").await.json();
    assert_eq!(listed["items"][0]["user"], "umbra/eve");
    assert_eq!(listed["items"][0]["request"], asked["transaction_id"]);
    let request = asked["transaction_id"].as_str().unwrap();
    let decide = |how: &str, author: &str| {
        format!("datasets/designs/access-requests/{request}/{how}?author={author}")
    };
    let refused = admin.post(&decide("grant", "dave"), Value::Null).await;
    assert_eq!(refused.problem(), (403, "not-permitted".into()));
    let path = decide("grant", "carol");
    admin.done(Method::POST, &path, Value::Null).await;
    let told = umbra.get(&requests).await.json();
    assert_eq!(told["items"][0]["status"], "granted");
    assert_eq!(told["items"][0]["decided_by"], "main/carol");

    // One request, and the read is on the record like any other.
    let read = umbra.get(&content).await;
    assert!(read.status == 200 && read.body == body);
    let report = read.headers["x-read-id"].to_str().unwrap();
    let report = umbra.get(&format!("reads/{report}")).await.json();
    assert_eq!(report["outcome"], "complete");
    let rows = "audit/rows?kinds=read&subject=document:main/designs/bridge";
    let rows = admin.get(rows).await.json();
    assert_eq!(rows["rows"][0]["author"], "managed user umbra/eve");
    let tag = read.headers["etag"].to_str().unwrap();
    for (name, value, status, length) in [
        ("range", "bytes=10-19", 206, 10),
        ("if-none-match", tag, 304, 0),
    ] {
        let headers = [(name, value)];
        let answer = umbra
            .send(Method::GET, &content, Vec::new(), &headers)
            .await;
        assert_eq!(
            (answer.status, answer.body.len()),
            (status, length),
            "{name}"
        );
    }
    let versions = format!("{SHARED}/documents/bridge?reader=eve");
    let state = umbra.get(&versions).await.headers["etag"].clone();
    let own = admin.get("datasets/designs/documents/bridge").await;
    assert_eq!(state, own.headers["etag"], "the same state for everybody");
    let same = [("if-none-match", state.to_str().unwrap())];
    let same = umbra.send(Method::GET, &versions, Vec::new(), &same).await;
    assert_eq!(same.status, 304);
    let head = umbra.send(Method::HEAD, &content, Vec::new(), &[]).await;
    assert_eq!(
        (head.status, &head.headers["etag"]),
        (200, &read.headers["etag"])
    );
    // The Rust client, for a managed user.
    let main = id("main");
    let mut eve = ada.once("unused").unwrap();
    eve.sign_as(Signer::managed(id("eve")));
    let options = GetOptions {
        of_tenant: Some(&main),
        ..GetOptions::default()
    };
    let mut out = Vec::new();
    let (designs, bridge) = (id("designs"), id("bridge"));
    let got = eve.get_with(&designs, &bridge, options, &mut out).await;
    assert_eq!((got.unwrap().version, out == body), (1, true));
    // A reader writes nothing, there or here.
    let write = format!("{BRIDGE}?author=eve");
    assert_eq!(umbra.put(&write, b"x").await.status, 404);

    // Taken back.
    let path = "datasets/designs/permissions/reader/umbra/eve?author=carol";
    admin.done(Method::DELETE, path, Value::Null).await;
    let tagged = [("if-none-match", tag)];
    let gone = umbra.send(Method::GET, &content, Vec::new(), &tagged).await;
    assert_eq!(gone.problem(), (404, "not-found".into()));

    // Ada signs herself, and is declined; on the command line too.
    ada.ask_for_access(Some(&main), &designs, Role::Reader)
        .await
        .unwrap();
    let key_file = site.file("umbra.key");
    coordinator::folder::write_private(&key_file, umbra.key.as_bytes()).unwrap();
    let cli = |arguments: &[&str]| {
        let (key_file, ada) = (key_file.to_str().unwrap(), site.file("ada.pem"));
        let mut all = vec!["--tenant", "umbra", "--api-key-file", key_file];
        all.extend(["--user", "ada", "--key", ada.to_str().unwrap()]);
        all.extend(arguments);
        crate::site::success(site.try_cli(&all))
    };
    cli(&["request", "ask", "designs", "writer", "--of-tenant", "main"]);
    let listed = admin.get("datasets/designs/access-requests").await.json();
    for it in listed["items"].as_array().unwrap() {
        if it["user"] == "umbra/ada" {
            let request = it["request"].as_str().unwrap();
            let path = format!("datasets/designs/access-requests/{request}/decline?author=carol");
            admin.done(Method::POST, &path, Value::Null).await;
        }
    }
    let own = ada.shared_access_requests(&main, &designs).await.unwrap();
    let own: Vec<_> = own.iter().map(|it| (it.role, it.status.as_str())).collect();
    assert_eq!(
        own,
        [(Role::Writer, "declined"), (Role::Reader, "declined")]
    );
    let listed = cli(&["request", "ls", "designs", "--of-tenant", "main"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let mut out = Vec::new();
    let options = GetOptions {
        of_tenant: Some(&main),
        ..GetOptions::default()
    };
    match ada
        .get_with(&designs, &id("bridge"), options, &mut out)
        .await
    {
        Err(ClientError::Problem { status: 404, .. }) => {}
        other => panic!("{:?}", other.map(|got| got.version)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_managed_owners_documents_are_wrapped_anew() {
    let mut site = Site::init_with(&["--managed-administrator"]);
    let policy = site.dir().join("policy.toml");
    let clusters = [Cluster::start(2, 3, &policy), Cluster::start(2, 3, &policy)];
    site.run();
    let known = clusters.each_ref().map(|cluster| {
        let file = site.file("cluster.json");
        std::fs::write(&file, cluster.descriptor.to_json()).unwrap();
        let added = site.operator(&["cluster", "add", file.to_str().unwrap()]);
        added["public_key"].as_str().unwrap().to_owned()
    });
    let profile = coordinator::client::profile::Profile::read(&site.profile()).unwrap();
    let admin = Plain::of(&site, profile.api_key.unwrap().expose());
    carol(&admin, "platform").await;
    let configure = async |cluster: &str| {
        let to = json!({ "encryption": "threshold", "cluster": cluster, "storage": "off-chain" });
        let path = "datasets/designs/configuration?author=carol";
        admin.done(Method::PUT, path, to).await;
    };
    let documents = ["bridge", "road", "tunnel"];
    let content = |document: &str, who: &str| {
        format!("datasets/designs/documents/{document}/content?{who}=carol")
    };
    for document in &documents[..2] {
        let path = content(document, "author");
        assert_eq!(admin.put(&path, document.as_bytes()).await.status, 201);
    }
    configure(&known[0]).await;
    let path = content("tunnel", "author");
    assert_eq!(admin.put(&path, b"tunnel").await.status, 201);
    configure(&known[1]).await;
    let status = async || {
        let status = admin.get("datasets/designs/rewraps").await.json();
        let pending = status["pending"].as_array().unwrap().len();
        (status["total"].as_u64(), status["done"].as_u64(), pending)
    };
    assert_eq!(status().await, (Some(3), Some(0), 3));

    // The platform's own key, then a cluster's, which takes a read that the organisations approve.
    let rewraps = |document: &str| format!("datasets/designs/documents/{document}/rewraps");
    let asked = |author: &str| json!({ "author": author, "version": 1 });
    let refused = admin.post(&rewraps("bridge"), asked("dave")).await;
    assert_eq!(refused.problem(), (403, "not-permitted".into()));
    let once = [("idempotency-key", "bridge")];
    let mut answers = Vec::new();
    for _ in 0..2 {
        let body = asked("carol").to_string().into_bytes();
        let path = rewraps("bridge");
        answers.push(admin.send(Method::POST, &path, body, &once).await);
    }
    assert_eq!(answers[0].status, 200, "{}", answers[0].json());
    assert!(answers[0].json()["receipt"]["height"].is_u64());
    assert_eq!(answers[0].body, answers[1].body);
    assert_eq!(status().await, (Some(3), Some(1), 2));
    let wrapped = admin.post(&rewraps("tunnel"), asked("carol")).await;
    assert_eq!(wrapped.status, 200, "{}", wrapped.json());
    assert_eq!(status().await, (Some(3), Some(2), 1));
    let rows = admin
        .get("audit/rows?subject=document:main/designs/tunnel")
        .await
        .json();
    let kinds: Vec<_> = rows["rows"].as_array().unwrap().iter().collect();
    assert_eq!(kinds.len(), 3, "write, read, rewrap: {rows}");
    for row in kinds {
        assert_eq!(row["author"], "managed user main/carol");
    }
    // The rest on the command line.
    let done = site.cli(&["--user", "carol", "rewrap", "cluster", "designs"]);
    assert_eq!(
        (&done["rewrapped"], &done["before"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(status().await, (Some(3), Some(3), 0));
    // The old cluster is of no use any more.
    (1..=3).for_each(|node| clusters[0].stop(node));
    for document in documents {
        let read = admin.get(&content(document, "reader")).await;
        assert_eq!(read.body, document.as_bytes(), "{}", read.status);
    }
}
