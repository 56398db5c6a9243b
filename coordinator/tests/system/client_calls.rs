//! Every route of the API has a call of the Rust client: each is called here for real, and what leaves the client is held against the description
//! of the API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, header};
use coordinator::api::auth::{Scope, Scopes};
use coordinator::client::profile::Profile;
use coordinator::client::{
    Client, ClientError, GetOptions, PartsOptions, PutOptions, Signer, user_key,
};
use coordinator::record::audit::AuditQuery;
use coordinator::record::{
    DocumentName, Encryption, Role, Storage, TransactionId, UserName, UserRole, VersionName,
};
use serde_json::Value;

use crate::authentication::success_of_tenant;
use crate::cluster::Cluster;
use crate::end_to_end::exchange;
use crate::site::{Site, id};

/// What passed: method and path, and whether it was to happen once.
type Passed = Arc<Mutex<BTreeSet<(String, String, bool)>>>;

/// What stands between the client and the platform, and notes what passes.
#[derive(Clone)]
struct Between {
    url: String,
    http: reqwest::Client,
    passed: Passed,
}

impl Between {
    async fn start(site: &Site) -> (Self, String) {
        let between = Self {
            url: site.url.clone(),
            http: reqwest::Client::new(),
            passed: Passed::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(between.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (between, url)
    }
}

async fn pass(State(between): State<Between>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let once = parts.headers.contains_key("idempotency-key");
    let noted = (parts.method.to_string(), parts.uri.path().to_owned(), once);
    between.passed.lock().unwrap().insert(noted);
    let url = format!("{}{}", between.url, parts.uri);
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut forward = between.http.request(parts.method, url).body(body);
    for (name, value) in &parts.headers {
        if !matches!(*name, header::HOST | header::CONTENT_LENGTH) {
            forward = forward.header(name, value);
        }
    }
    let answer = forward.send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let bytes = answer.bytes().await.unwrap();
    let mut response = Response::builder().status(status);
    for (name, value) in &headers {
        if *name != header::TRANSFER_ENCODING {
            response = response.header(name, value);
        }
    }
    response.body(Body::from(bytes)).unwrap()
}

/// Makes clients for one thing each that is to happen once.
struct Once<'c>(&'c Client);

impl Once<'_> {
    fn next(&self) -> Client {
        self.0.once(&uuid::Uuid::now_v7().to_string()).unwrap()
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    result.unwrap_err().code().to_owned()
}

fn request_id(of: &str) -> TransactionId {
    let mut id = [0; 32];
    hex::decode_to_slice(of, &mut id).unwrap();
    id
}

/// The operation of the description that a request is one of.
fn operation<'d>(
    paths: &'d BTreeMap<String, Value>,
    method: &str,
    path: &str,
) -> Option<(&'d str, bool)> {
    let fits = |template: &str| {
        let (mut found, mut wanted) = (path.split('/'), template.split('/'));
        loop {
            match (found.next(), wanted.next()) {
                (None, None) => return true,
                (Some(found), Some(wanted)) if found == wanted || wanted.starts_with('{') => {}
                _ => return false,
            }
        }
    };
    // A word goes before a name: `parts/{id}/content` is none of `parts/{id}/{…}`.
    let known = paths.iter().filter(|(template, _)| fits(template));
    let (_, item) = known.min_by_key(|(template, _)| template.matches('{').count())?;
    let operation = item.get(method.to_lowercase())?;
    let parameters = operation["parameters"].as_array();
    let takes_key = |it: &Value| it["name"] == "Idempotency-Key";
    let once = parameters.is_some_and(|all| all.iter().any(takes_key));
    Some((operation["operationId"].as_str()?, once))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_has_a_call() {
    let (site, cluster) = exchange().await;
    let (between, url) = Between::start(&site).await;
    let profile = Profile::read(&site.profile()).unwrap();
    let operator = profile.operator_key.unwrap();
    let operator = operator.expose();
    let api_key = profile.api_key.unwrap().expose().to_owned();
    let keys = std::fs::read_to_string(site.dir().join("verifiers.txt")).unwrap();
    let keys = keys.lines().filter(|line| !line.starts_with('#'));
    let keys: Vec<_> = keys.map(|line| line.parse().unwrap()).collect();
    let client = |tenant: &str, api_key: &str, user: &str, key: Option<&std::path::Path>| {
        let mut client = Client::new(&url, id(tenant), api_key.to_owned()).unwrap();
        client.sign_as(match key {
            Some(key) => Signer::new(id(user), user_key::read(key).unwrap()),
            None => Signer::managed(id(user)),
        });
        client.pin_organisations(keys.clone());
        client
    };
    let admin = client("main", &api_key, "admin", Some(&profile.key.unwrap()));

    platform_calls(&admin, operator, &site).await;
    dataset_calls(&admin, &url, &site).await;
    document_calls(&admin, &cluster).await;
    key_calls(&admin).await;
    user_calls(&admin).await;
    let carol = client("main", &api_key, "carol", None);
    managed_calls(&admin, &carol).await;
    let ada = site.file("ada.pem");
    let umbra = success_of_tenant(&site, ada.to_str().unwrap());
    let ada = client("umbra", &umbra, "ada", Some(&ada));
    let eve = client("umbra", &umbra, "eve", None);
    shared_calls(&admin, &ada, &eve).await;

    let description = admin.description().await.unwrap();
    let paths: BTreeMap<String, Value> =
        serde_json::from_value(description["paths"].clone()).unwrap();
    let mut called = BTreeSet::new();
    for (method, path, with_key) in between.passed.lock().unwrap().iter() {
        let found = operation(&paths, method, path);
        let (operation, takes_key) = found.unwrap_or_else(|| panic!("{method} {path}"));
        // What takes a key counts when it had one.
        if !takes_key || *with_key {
            called.insert(operation.to_owned());
        }
    }
    let all: BTreeSet<String> = paths
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|it| it["operationId"].as_str().unwrap().to_owned())
        .collect();
    let missing: Vec<&String> = all.difference(&called).collect();
    assert!(missing.is_empty(), "routes without a call: {missing:?}");
}

async fn platform_calls(admin: &Client, operator: &str, site: &Site) {
    assert_eq!(admin.health().await.unwrap().status, "ok");
    let meaning = admin.problem_meaning("not-permitted").await.unwrap();
    assert_eq!(meaning.status, 403);
    assert_eq!(code(admin.problem_meaning("../v1").await), "request");
    assert_eq!(admin.status().await.unwrap().tenant, "main");
    let file = site.file("export");
    let (lengths, moved) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let on_length: coordinator::client::OnProgress = {
        let lengths = lengths.clone();
        Box::new(move |length| lengths.lock().unwrap().push(length))
    };
    let on_progress: coordinator::client::OnProgress = {
        let moved = moved.clone();
        Box::new(move |bytes| *moved.lock().unwrap() += bytes)
    };
    let bytes = admin
        .export(operator, &file, Some(&on_length), Some(&on_progress))
        .await
        .unwrap();
    assert_eq!(*lengths.lock().unwrap(), [bytes]);
    assert_eq!(*moved.lock().unwrap(), bytes);
    assert_eq!(std::fs::metadata(&file).unwrap().len(), bytes);
    let query = AuditQuery::default();
    assert!(!admin.audit(&query, 5).await.unwrap().rows.is_empty());
    let all = admin.audit_all(operator, &query, 5).await.unwrap();
    assert!(!all.rows.is_empty());
    assert_eq!(admin.master_keys(operator).await.unwrap().keys.len(), 1);
    let once = admin.once("rotation").unwrap();
    let first = once.rotate_master_key(operator).await.unwrap();
    let again = once.rotate_master_key(operator).await.unwrap();
    assert_eq!(first, again);
    let note = admin.checkpoint().await.unwrap();
    assert!(note.contains("alder"));
    admin.prove_consistency(1).await.unwrap();
}

async fn dataset_calls(admin: &Client, url: &str, site: &Site) {
    let once = Once(admin);
    let plans = id("plans");
    let (platform, store) = (Encryption::Platform, Storage::OffChain);
    let thing = once.next();
    let made = thing.create_dataset(&plans, platform, store).await.unwrap();
    // The same call is the same thing; another call needs a key of its own.
    let again = thing.create_dataset(&plans, platform, store).await;
    assert_eq!(again.unwrap(), made);
    let other = thing.create_dataset(&id("other"), platform, store).await;
    assert_eq!(code(other), "idempotency-key-reused");
    let again = admin.create_dataset(&plans, platform, store).await;
    assert_eq!(code(again), "dataset-exists");
    admin
        .prove(&request_id(&made.transaction_id))
        .await
        .unwrap();
    once.next()
        .configure_dataset(&plans, Encryption::None, Storage::Ledger)
        .await
        .unwrap();
    assert_eq!(admin.dataset(&plans).await.unwrap().encryption, "none");
    assert!(admin.datasets().await.unwrap().len() >= 4);

    let reader: UserName = "main/reader".parse().unwrap();
    let users = std::slice::from_ref(&reader);
    let role = Role::Writer;
    once.next().set_role(&plans, role, users).await.unwrap();
    once.next()
        .add_to_role(&plans, Role::Reader, &reader)
        .await
        .unwrap();
    let permissions = admin.permissions(&plans).await.unwrap();
    assert_eq!(
        (permissions.writers, permissions.readers.len()),
        (vec!["main/reader".to_owned()], 1)
    );
    for role in [Role::Reader, Role::Writer] {
        once.next()
            .remove_from_role(&plans, role, &reader)
            .await
            .unwrap();
    }
    let asker = {
        let profile = Profile::read(&site.profile()).unwrap();
        let api_key = profile.api_key.unwrap().expose().to_owned();
        let mut client = Client::new(url, id("main"), api_key).unwrap();
        let key = user_key::read(&site.file("reader.pem")).unwrap();
        client.sign_as(Signer::new(id("reader"), key));
        client
    };
    for (role, grant) in [(Role::Reader, true), (Role::Writer, false)] {
        let asking = asker.once(&format!("asking-{}", role.name())).unwrap();
        let asked = asking.ask_for_access(None, &plans, role).await.unwrap();
        let request = request_id(&asked.transaction_id);
        let owner = once.next();
        match grant {
            true => owner.grant_access(&plans, &request).await,
            false => owner.decline_access(&plans, &request).await,
        }
        .unwrap();
    }
    let requests = admin.access_requests(&plans).await.unwrap();
    let states: Vec<_> = requests.iter().map(|it| it.status.as_str()).collect();
    assert_eq!(states, ["declined", "granted"]);
}

fn version(dataset: &str, document: &str, version: u64) -> VersionName {
    DocumentName {
        tenant: id("main"),
        dataset: id(dataset),
        document: id(document),
    }
    .version(version)
}

async fn document_calls(admin: &Client, cluster: &Cluster) {
    let once = Once(admin);
    let (designs, bridge, drafts, note) = (id("designs"), id("bridge"), id("drafts"), id("note"));
    assert_eq!(admin.documents(&designs).await.unwrap().len(), 1);
    assert_eq!(admin.versions(&designs, &bridge).await.unwrap().len(), 2);
    let put = once.next();
    let write = async || {
        let source = &b"a third version"[..];
        let options = PutOptions::default();
        put.put(&designs, &bridge, source, options).await.unwrap()
    };
    let (first, again) = (write().await, write().await);
    assert_eq!((first.version, again.version), (3, 3), "written once");
    let mut out = Vec::new();
    let got = admin.get(&designs, &bridge, Some(3), &mut out, None).await;
    let report = got.unwrap().report.unwrap();
    assert_eq!(out, b"a third version");
    let report = admin.read_report(report.read_id).await.unwrap();
    assert_eq!(report.outcome, "complete");
    let name = version("designs", "bridge", 3).document_name();
    admin.prove_version(&name, None).await.unwrap();
    let mut out = Vec::new();
    let options = GetOptions {
        version: Some(1),
        ..GetOptions::default()
    };
    let reader = once.next();
    reader
        .get_end_to_end(&designs, &bridge, options, &mut out)
        .await
        .unwrap();
    assert_eq!(out.len(), crate::end_to_end::LENGTH);

    let parts = PartsOptions {
        tag: Some("film".to_owned()),
        ..PartsOptions::default()
    };
    let begun = once
        .next()
        .begin_parts(&drafts, &note, &parts)
        .await
        .unwrap();
    let found = admin.parts(Some("film")).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&begun));
    let sent = admin
        .send_part(begun.id, 0, b"some bytes".to_vec())
        .await
        .unwrap();
    assert_eq!(admin.parts_status(begun.id).await.unwrap(), sent);
    assert_eq!(sent.offset, 10);
    admin.discard_parts(begun.id).await.unwrap();
    assert!(admin.parts(None).await.unwrap().is_empty());
    let source = std::io::Cursor::new(b"in parts".to_vec());
    let thing = once.next();
    let written = thing.put_in_parts(&drafts, &note, source, PartsOptions::default());
    assert_eq!(written.await.unwrap().version, 2);
    let unknown = admin.discard_upload(uuid::Uuid::now_v7()).await;
    assert_eq!(code(unknown), "not-prepared");

    let (link, relation) = (id("of-note"), id("derived-from"));
    let (from, to) = (
        version("designs", "bridge", 3),
        version("drafts", "note", 2),
    );
    once.next()
        .put_link(&designs, &link, &from, &to, &relation)
        .await
        .unwrap();
    assert_eq!(admin.links(&designs).await.unwrap().len(), 1);
    assert_eq!(admin.link(&designs, &link).await.unwrap().version, 1);
    admin.prove_link(&designs, &link).await.unwrap();

    // What lies under the platform's keys comes under the cluster's.
    let key = cluster.descriptor.public_key;
    let threshold = Encryption::Threshold { public_key: key };
    once.next()
        .configure_dataset(&drafts, threshold, Storage::OffChain)
        .await
        .unwrap();
    let pending = admin.pending_rewraps(&drafts, None).await.unwrap();
    assert_eq!((pending.total, pending.done), (Some(2), Some(0)));
    let thing = once.next();
    let wrapped = async || thing.rewrap(&drafts, &note, 2, &key).await.unwrap();
    assert_eq!(wrapped().await, wrapped().await, "wrapped once");
    let pending = admin.pending_rewraps(&drafts, None).await.unwrap();
    assert_eq!((pending.total, pending.done), (Some(2), Some(1)));

    let thing = once.next();
    thing.erase(&drafts, &note, Some(1)).await.unwrap();
    let erased = admin.versions(&drafts, &note).await.unwrap();
    assert_eq!(erased[0].encryption, "erased");
    let user = id("admin");
    let owned = admin.owned(&user, 10).await.unwrap();
    assert_eq!(owned.count, 3);
    let gone = once.next().erase_owned(2).await.unwrap();
    assert_eq!((gone.erased.len(), gone.remaining), (2, 1));
    assert_eq!(admin.owned(&user, 10).await.unwrap().count, 1);
}

async fn key_calls(admin: &Client) {
    let once = Once(admin);
    let scopes = Scopes::try_from(vec![Scope::Read]).unwrap();
    let thing = once.next();
    let made = thing
        .create_key("reports", scopes, None, None)
        .await
        .unwrap();
    let again = thing
        .create_key("reports", scopes, None, None)
        .await
        .unwrap();
    assert_eq!(made.record, again.record, "made once");
    let next = once.next().rotate_key(&made.record.id, 0).await.unwrap();
    let revoked = admin.revoke_key(&next.record.id).await.unwrap();
    assert!(revoked.revoked_ms.is_some());
    assert_eq!(admin.keys().await.unwrap().len(), 3);
}

async fn user_calls(admin: &Client) {
    let once = Once(admin);
    let dora = id("dora");
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let public_key = key.verifying_key().to_bytes();
    let member = UserRole::Member;
    once.next()
        .add_user(&dora, &public_key, member, None)
        .await
        .unwrap();
    once.next().suspend_user(&dora).await.unwrap();
    assert!(admin.user_view(&dora).await.unwrap().suspended);
    once.next().resume_user(&dora).await.unwrap();
    let later = coordinator::platform::now_ms() + 3_600_000;
    once.next().expire_user(&dora, Some(later)).await.unwrap();
    assert_eq!(
        admin.user_view(&dora).await.unwrap().expires_ms,
        Some(later)
    );
    once.next().remove_user(&dora).await.unwrap();
    assert!(admin.user_view(&dora).await.unwrap().expires_ms.unwrap() < later);
    once.next()
        .add_managed_user(&id("carol"), member, None)
        .await
        .unwrap();
    assert!(admin.users().await.unwrap().len() >= 4);

    once.next().set_authorities(&[], false).await.unwrap();
    assert!(admin.authorities().await.unwrap().is_empty());
    let none = [vec![0x30, 0]];
    let list = once.next().publish_revocations(&[0x30, 0], &[]).await;
    assert_eq!(code(list), "unknown-authorities");
    let bound = once
        .next()
        .bind_certificate(&id("carol"), &none, &[0])
        .await;
    assert_eq!(code(bound), "unknown-authorities");
    let unbound = once.next().unbind_certificate(&id("carol")).await;
    assert_eq!(code(unbound), "certificate-unbound");
    let client = [9; 32];
    let bound = once.next().bind_client(&client, &none, &[0]).await;
    assert_eq!(code(bound), "unknown-authorities");
    let unbound = once.next().unbind_client(&client).await;
    assert_eq!(code(unbound), "certificate-unbound");
    assert!(admin.clients().await.unwrap().items.is_empty());
}

async fn managed_calls(admin: &Client, carol: &Client) {
    let once = Once(carol);
    let (own, note) = (id("own"), id("note"));
    let (none, store) = (Encryption::None, Storage::OffChain);
    once.next().create_dataset(&own, none, store).await.unwrap();
    let thing = once.next();
    for _ in 0..2 {
        let put = thing.put(&own, &note, &b"text"[..], PutOptions::default());
        assert_eq!(put.await.unwrap().version, 1);
    }
    let mut out = Vec::new();
    carol.get(&own, &note, None, &mut out, None).await.unwrap();
    assert_eq!(out, b"text");
    let source = std::io::Cursor::new(b"in parts".to_vec());
    let thing = once.next();
    let written = thing.put_in_parts(&own, &note, source, PartsOptions::default());
    assert_eq!(written.await.unwrap().version, 2);
    let reader: UserName = "main/reader".parse().unwrap();
    let grant = coordinator::record::PermissionEntry {
        tenant: id("main"),
        dataset: own.clone(),
        role: Role::Reader,
        user: reader,
    };
    let grant = coordinator::record::Transaction::PermissionAdd(grant);
    once.next().submit(grant).await.unwrap();
    // Her key goes into her own hands, and back.
    let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    once.next().take_key(&key).await.unwrap();
    let carol = id("carol");
    assert!(!admin.user_view(&carol).await.unwrap().managed);
}

async fn shared_calls(admin: &Client, ada: &Client, eve: &Client) {
    let (main, plans, list) = (id("main"), id("plans"), id("list"));
    let text = &b"shared"[..];
    admin
        .put(&plans, &list, text, PutOptions::default())
        .await
        .unwrap();
    let once = Once(ada);
    once.next()
        .add_managed_user(&id("eve"), UserRole::Member, None)
        .await
        .unwrap();
    let grant = async |of: &Client| {
        let name = of.user().unwrap().user;
        let asking = of.once(&format!("asking-{name}")).unwrap();
        let asked = asking.ask_for_access(Some(&main), &plans, Role::Reader);
        let request = request_id(&asked.await.unwrap().transaction_id);
        admin.grant_access(&plans, &request).await.unwrap();
        let own = of.shared_access_requests(&main, &plans).await.unwrap();
        assert_eq!(own[0].status, "granted");
    };
    grant(ada).await;
    grant(eve).await;
    let documents = ada.shared_documents(&main, &plans).await.unwrap();
    assert_eq!(documents.len(), 1);
    let versions = ada.shared_versions(&main, &plans, &list).await.unwrap();
    assert_eq!(versions.len(), 1);
    let name = version("plans", "list", 1).document_name();
    ada.prove_version(&name, Some(1)).await.unwrap();
    for client in [once.next(), eve.once("read").unwrap()] {
        let options = GetOptions {
            of_tenant: Some(&main),
            ..GetOptions::default()
        };
        let mut out = Vec::new();
        client
            .get_with(&plans, &list, options, &mut out)
            .await
            .unwrap();
        assert_eq!(out, text);
    }
}
