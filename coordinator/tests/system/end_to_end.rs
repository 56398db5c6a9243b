//! Reads that the reader opens itself: the platform passes on what it cannot open.

use std::io::Read as _;
use std::process::{Command, Stdio};

use coordinator::client::profile::Profile;
use coordinator::client::{Client, ClientError, GetOptions, PutOptions, Signer, user_key};
use coordinator::record::UnsignedTransaction;
use reencrypt::{EphemeralSecret, WrappedKey};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::authentication::success_of_tenant;
use crate::cluster::Cluster;
use crate::site::{Site, id, plaintext};
use crate::streaming::peak_kib;

pub(crate) const LENGTH: usize = 300_000;

/// A platform whose cluster is two of three nodes, with `designs/bridge` in two versions, and `reader`, who may read it.
pub(crate) async fn exchange() -> (Site, Cluster) {
    let mut site = Site::init();
    let cluster = Cluster::start(2, 3, &site.dir().join("policy.toml"));
    let file = site.file("cluster.json");
    std::fs::write(&file, cluster.descriptor.to_json()).unwrap();
    site.run();
    site.operator(&["cluster", "add", file.to_str().unwrap()]);
    site.add_user("reader");
    site.cli(&["dataset", "create", "designs"]);
    site.cli(&["dataset", "create", "notes", "--storage", "ledger"]);
    site.cli(&["dataset", "create", "drafts", "--encryption", "platform"]);
    for dataset in ["designs", "notes", "drafts"] {
        site.cli(&["grant", dataset, "reader", "reader"]);
    }
    let client = site.administrator();
    for fill in [7, 8] {
        let mut plain = plaintext(LENGTH);
        plain[0] = fill;
        let source = std::io::Cursor::new(plain);
        let (dataset, document) = (id("designs"), id("bridge"));
        client
            .put(&dataset, &document, source, PutOptions::default())
            .await
            .unwrap();
    }
    for dataset in ["notes", "drafts"] {
        let (dataset, document) = (id(dataset), id("note"));
        let source = &b"a short note"[..];
        client
            .put(&dataset, &document, source, PutOptions::default())
            .await
            .unwrap();
    }
    (site, cluster)
}

/// The document in this version.
pub(crate) fn bridge(version: u8) -> Vec<u8> {
    let mut plain = plaintext(LENGTH);
    plain[0] = 6 + version;
    plain
}

/// The reader, who speaks to whatever answers at `url` and knows the organisations' keys.
pub(crate) fn reader_at(site: &Site, url: &str) -> Client {
    let profile = Profile::read(&site.profile()).unwrap();
    let api_key = profile.api_key.unwrap().expose().to_owned();
    let mut client = Client::new(url, id("main"), api_key).unwrap();
    let key = user_key::read(&site.file("reader.pem")).unwrap();
    client.sign_as(Signer::new(id("reader"), key));
    let keys = std::fs::read_to_string(site.dir().join("verifiers.txt")).unwrap();
    let keys = keys.lines().filter(|line| !line.starts_with('#'));
    client.pin_organisations(keys.map(|line| line.parse().unwrap()).collect());
    client
}

/// Somebody with nothing but HTTP.
struct Plain {
    http: reqwest::Client,
    key: String,
    base: String,
}

impl Plain {
    fn of(site: &Site) -> Self {
        let key = Profile::read(&site.profile()).unwrap().api_key.unwrap();
        Self {
            http: reqwest::Client::new(),
            key: key.expose().to_owned(),
            base: format!("{}/v1/tenants/main", site.url),
        }
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.base);
        self.http.request(method, url).bearer_auth(&self.key)
    }

    async fn told(&self, request: RequestBuilder) -> (u16, Value) {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    async fn code(&self, request: RequestBuilder) -> (u16, String) {
        let (status, body) = self.told(request).await;
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_opens_what_the_platform_only_passes_on() {
    let (site, _cluster) = exchange().await;
    let reader = reader_at(&site, &site.url);
    let (designs, document) = (id("designs"), id("bridge"));
    let options = || GetOptions::default();
    let get = async |options: GetOptions<'_>| {
        let mut out = Vec::new();
        let got = reader.get_end_to_end(&designs, &document, options, &mut out);
        (got.await.unwrap(), out)
    };
    let (got, out) = get(options()).await;
    assert!(out == bridge(2));
    assert_eq!((got.version, got.length), (2, LENGTH as u64));
    let (report, verified) = (got.report.unwrap(), got.verified.unwrap());
    assert_eq!(report.outcome, "relayed");
    assert_eq!(report.phases.decrypt_ms, 0.0);
    assert!(report.phases.cluster_ms > 0.0);
    let answered = report.nodes.iter().filter(|it| it.outcome == "answered");
    assert_eq!(answered.count(), 2);
    assert_eq!(verified.writer, "main/admin");
    assert_eq!(verified.signed_by, ["alder", "birch", "cedar"]);

    // The version that was asked for; the nodes asked from here; parts.
    let first = GetOptions {
        version: Some(1),
        ask_nodes: true,
        ..options()
    };
    let (got, out) = get(first).await;
    assert!(got.version == 1 && out == bridge(1));
    // The platform asked no node.
    assert!(got.report.unwrap().nodes.is_empty());
    for (range, expected) in [
        ("0-0", 0..1),
        ("65535-65536", 65_535..65_537),
        ("65536-131071", 65_536..131_072),
        ("100000-", 100_000..LENGTH),
        ("-5", LENGTH - 5..LENGTH),
        ("0-", 0..LENGTH),
    ] {
        let part = GetOptions {
            range: range.parse().ok(),
            ..options()
        };
        let (got, out) = get(part).await;
        assert!(out == bridge(2)[expected.clone()], "{range}");
        assert_eq!(got.length, expected.len() as u64);
    }
    let beyond = GetOptions {
        range: "300000-".parse().ok(),
        ..options()
    };
    let mut out = Vec::new();
    let refused = reader.get_end_to_end(&designs, &document, beyond, &mut out);
    assert!(matches!(refused.await, Err(ClientError::Range { length }) if length == LENGTH as u64));

    // A body that lies on the record, and one that only the platform opens.
    let (notes, drafts, name) = (id("notes"), id("drafts"), id("note"));
    let note = reader.get_end_to_end(&notes, &name, options(), &mut out);
    note.await.unwrap();
    assert_eq!(out, b"a short note");
    let refused = reader.get_end_to_end(&drafts, &name, options(), &mut out);
    assert!(matches!(
        refused.await,
        Err(ClientError::NotEndToEnd { .. })
    ));

    // On the command line, whose profile knows the organisations' keys.
    let (to, keys) = (site.file("bridge"), site.dir().join("verifiers.txt"));
    let to = to.to_str().unwrap();
    let command = ["get", "designs", "bridge", "--end-to-end", "--out", to];
    let said = site.cli(&command);
    assert_eq!(said["got"]["verified"]["writer"], "main/admin");
    assert!(std::fs::read(to).unwrap() == bridge(2));
    let mut command = command.to_vec();
    command.extend(["--version", "1", "--keys", keys.to_str().unwrap()]);
    site.cli(&command);
    assert!(std::fs::read(to).unwrap() == bridge(1));
    let stranger = Site::init();
    let theirs = stranger.dir().join("verifiers.txt");
    command.pop();
    command.push(theirs.to_str().unwrap());
    let (status, said, json) = site.fails(&command);
    assert_eq!(json["error"]["code"], "proof-head", "{said}");
    assert_eq!(status, 7);
    let (status, _, json) = site.fails(&["get", "drafts", "note", "--end-to-end", "--out", to]);
    assert_eq!(
        (status, json["error"]["code"].as_str()),
        (8, Some("not-end-to-end"))
    );
    // Without anybody's keys nothing is believed, and nothing is asked for.
    let mut keyless = reader_at(&site, &site.url);
    keyless.pin_organisations(Vec::new());
    let refused = keyless.get_end_to_end(&designs, &document, options(), &mut out);
    assert!(matches!(refused.await, Err(ClientError::NoVerifiers)));
}

/// The phases of a `Server-Timing`, with their milliseconds.
fn timed(header: &str) -> Vec<(String, f64)> {
    let phases = header.split(", ").map(|it| it.split_once(";dur=").unwrap());
    let read = |(name, ms): (&str, &str)| (name.to_owned(), ms.parse().unwrap());
    phases.map(read).collect()
}

/// A read that the platform opens says where its time went, in its answer, however the key is kept.
#[tokio::test(flavor = "multi_thread")]
async fn the_phases_of_a_read_are_in_its_answer() {
    let (site, _cluster) = exchange().await;
    let plain = Plain::of(&site);
    let key = user_key::read(&site.file("reader.pem")).unwrap();
    for (dataset, document, opens) in [
        ("designs", "bridge", &["approvals", "reencryption"][..]),
        ("drafts", "note", &["master-key"][..]),
    ] {
        let path = format!("/datasets/{dataset}/documents/{document}/reads");
        let asked = plain.ask(Method::POST, &path);
        let asked = asked.json(&json!({ "reader": "reader" }));
        let (_, prepared) = plain.told(asked).await;
        let bytes = hex::decode(prepared["transaction"].as_str().unwrap()).unwrap();
        let signed = UnsignedTransaction::from_bytes(&bytes).unwrap().sign(&key);
        let path = format!("/reads/{}", prepared["id"].as_str().unwrap());
        let commit = plain.ask(Method::POST, &path);
        let commit = commit.body(signed.as_bytes().to_vec());
        let read = commit.send().await.unwrap();
        assert_eq!(read.status(), 200);
        let times = timed(read.headers()["server-timing"].to_str().unwrap());
        let names: Vec<&str> = times.iter().map(|(name, _)| name.as_str()).collect();
        let expected: [&[&str]; 3] = [
            &["permission"],
            opens,
            &["fetch", "checksum", "decrypt", "total"],
        ];
        assert_eq!(names, expected.concat());
        // To hash a short note takes less than what is told.
        let took = |ms: f64| ms > 0.0 || (document == "note" && ms == 0.0);
        assert!(times.iter().all(|(_, ms)| took(*ms)), "{times:?}");
        let (parts, total) = times.split_at(times.len() - 1);
        let sum: f64 = parts.iter().map(|(_, ms)| ms).sum();
        assert!(sum <= total[0].1 + 0.01, "{times:?}");
    }
}

/// A prepared end-to-end read of the latest `designs/bridge`, signed by the reader: where to send it, and its id on the record.
async fn prepared(site: &Site, plain: &Plain) -> (String, Vec<u8>, String) {
    let proof = plain.ask(
        Method::GET,
        "/datasets/designs/documents/bridge/versions/latest/proof",
    );
    let (status, proof) = plain.told(proof).await;
    assert_eq!(status, 200, "{proof}");
    let bytes = hex::decode(proof["transaction"].as_str().unwrap()).unwrap();
    let signed = coordinator::record::SignedTransaction::from_bytes(&bytes).unwrap();
    let coordinator::record::Transaction::Write(write) = signed.transaction() else {
        panic!("{proof}")
    };
    let coordinator::record::KeyWrapping::Threshold { wrapped_key } = &write.key else {
        panic!("{proof}")
    };
    let rng = &mut rand::rng();
    let wrapped = WrappedKey::parse(wrapped_key).unwrap().verify(rng).unwrap();
    let ephemeral = EphemeralSecret::new(&wrapped, rng);
    let asked =
        json!({ "reader": "reader", "ephemeral_key": hex::encode(ephemeral.public().as_bytes()) });
    let prepare = plain.ask(Method::POST, "/datasets/designs/documents/bridge/reads");
    let (status, prepared) = plain.told(prepare.json(&asked)).await;
    assert_eq!(status, 201, "{prepared}");
    let bytes = hex::decode(prepared["transaction"].as_str().unwrap()).unwrap();
    let key = user_key::read(&site.file("reader.pem")).unwrap();
    let signed = UnsignedTransaction::from_bytes(&bytes).unwrap().sign(&key);
    let path = format!("/reads/{}", prepared["id"].as_str().unwrap());
    (path, signed.as_bytes().to_vec(), hex::encode(signed.id()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_over_http() {
    let (site, _cluster) = exchange().await;
    let plain = Plain::of(&site);
    let reads = "/datasets/designs/documents/bridge/reads";
    let prepare = |body: Value| plain.ask(Method::POST, reads).json(&body);
    for (body, status, code) in [
        (
            json!({ "reader": "reader", "ephemeral_key": "0z" }),
            400,
            "bad-request",
        ),
        (
            json!({ "reader": "reader", "ephemeral_key": "00" }),
            422,
            "ephemeral-key",
        ),
        (
            json!({ "reader": "reader", "client_spki": "3000" }),
            400,
            "bad-request",
        ),
    ] {
        assert_eq!(plain.code(prepare(body)).await, (status, code.to_owned()));
    }
    // An ephemeral key that was made for another wrapped key.
    let rng = &mut rand::rng();
    let elsewhere = reencrypt::SecretScalar::random(rng).public();
    let other = EphemeralSecret::for_write(&elsewhere, &[7; 32], rng);
    let body =
        json!({ "reader": "reader", "ephemeral_key": hex::encode(other.public().as_bytes()) });
    let refused = plain.code(prepare(body.clone())).await;
    assert_eq!(refused, (422, "ephemeral-key-proof".to_owned()));
    let drafts = plain.ask(Method::POST, "/datasets/drafts/documents/note/reads");
    let refused = plain.code(drafts.json(&body)).await;
    assert_eq!(refused, (422, "not-end-to-end".to_owned()));
    for version in ["0", "3", "18446744073709551616", "first"] {
        let path = format!("/datasets/designs/documents/bridge/versions/{version}/proof");
        let (status, _) = plain.code(plain.ask(Method::GET, &path)).await;
        assert!(status == 404 || status == 400, "{version}: {status}");
    }

    let (path, signed, id) = prepared(&site, &plain).await;
    let post = |path: &str, body: &[u8]| plain.ask(Method::POST, path).body(body.to_vec());
    let body = |id: &str| plain.ask(Method::GET, &format!("/recorded-reads/{id}/body"));
    // It is no read that the platform opens, and its body comes after it.
    let not_prepared = (404, "not-prepared".to_owned());
    assert_eq!(plain.code(post(&path, &signed)).await, not_prepared);
    let not_found = (404, "not-found".to_owned());
    assert_eq!(plain.code(body(&id)).await, not_found);
    let shares = format!("{path}/shares");
    let (_, other, _) = prepared(&site, &plain).await;
    let refused = plain.code(post(&shares, &other)).await;
    assert_eq!(refused, (422, "other-transaction".to_owned()));
    let once = post(&shares, &signed).header("idempotency-key", "once");
    let response = once.send().await.unwrap();
    let times = timed(response.headers()["server-timing"].to_str().unwrap());
    let names: Vec<&str> = times.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["permission", "approvals", "reencryption", "total"]);
    assert!(times.iter().all(|(_, ms)| *ms > 0.0), "{times:?}");
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(
        (status, &answer["receipt"]["transaction_id"]),
        (201, &json!(id))
    );
    assert_eq!(answer["shares"].as_array().unwrap().len(), 2);
    assert_eq!(answer["approvals"].as_array().unwrap().len(), 3);
    let again = post(&shares, &signed).header("idempotency-key", "once");
    assert_eq!(plain.told(again).await, (201, answer));
    assert_eq!(plain.code(post(&shares, &signed)).await, not_prepared);

    // The body comes for its own pointer only. Whoever opened the document key has it; the test looks into the store.
    let found = site.bodies();
    assert_eq!(found.len(), 3, "two versions and a draft");
    let names = found
        .iter()
        .map(|it| it.file_name().unwrap().to_str().unwrap());
    assert_eq!(
        plain.code(body(&id)).await,
        (400, "pointer-needed".to_owned())
    );
    let refused = plain.code(body(&id).header("body-pointer", "00")).await;
    assert_eq!(refused, (400, "bad-request".to_owned()));
    let mut answers = Vec::new();
    for name in names {
        let response = body(&id).header("body-pointer", name).send().await.unwrap();
        let status = response.status().as_u16();
        if status == 200 {
            let stored =
                std::fs::read(found.iter().find(|it| it.ends_with(name)).unwrap()).unwrap();
            assert_eq!(response.headers()["accept-ranges"], "bytes");
            assert!(response.bytes().await.unwrap() == stored);
            let part = body(&id)
                .header("body-pointer", name)
                .header("range", "bytes=16-31");
            let part = part.send().await.unwrap();
            assert_eq!(part.status(), 206);
            let told = format!("bytes 16-31/{}", stored.len());
            assert_eq!(part.headers()["content-range"], told.as_str());
            assert!(part.bytes().await.unwrap() == stored[16..32]);
            let beyond = body(&id)
                .header("body-pointer", name)
                .header("range", "bytes=9999999-");
            assert_eq!(
                plain.code(beyond).await,
                (416, "range-not-satisfiable".to_owned())
            );
        }
        answers.push(status);
    }
    answers.sort_unstable();
    assert_eq!(answers, [200, 404, 404]);

    // Who may read no longer fetches nothing, and what is erased is gone.
    let pointer = found
        .iter()
        .map(|it| it.file_name().unwrap().to_str().unwrap());
    let pointer = pointer.collect::<Vec<_>>();
    let all = async |status: u16, code: &str| {
        for pointer in &pointer {
            let refused = plain.code(body(&id).header("body-pointer", *pointer)).await;
            assert_eq!(refused, (status, code.to_owned()));
        }
    };
    site.cli(&["revoke", "designs", "reader", "reader"]);
    all(403, "not-permitted").await;
    site.cli(&["grant", "designs", "reader", "reader"]);
    site.cli(&["erase", "designs", "bridge"]);
    all(410, "erased").await;
    let unknown = "5a".repeat(32);
    assert_eq!(plain.code(body(&unknown)).await, not_found);
}

// The example of the library's documentation.
#[path = "../../examples/exchange.rs"]
#[allow(dead_code, reason = "its `main` is run by people")]
mod example;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_library_writes_and_reads_in_both_ways() {
    let (site, _cluster) = exchange().await;
    let profile = site.profile();
    Profile::set_url(&profile, &site.url).unwrap();
    let client = example::connect(&profile).unwrap();
    let (designs, tunnel, file) = (id("designs"), id("tunnel"), site.file("tunnel"));
    std::fs::write(&file, bridge(1)).unwrap();
    let version = example::write(&client, &designs, &tunnel, &file).await;
    assert_eq!(version.unwrap(), 1);
    let there = example::read(&client, &designs, &tunnel, 1).await;
    let here = example::read_end_to_end(&client, &designs, &tunnel, 1).await;
    assert!(there.unwrap() == bridge(1));
    assert!(here.unwrap() == (bridge(1), "main/admin".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_document_is_opened_in_bounded_memory() {
    const LARGE: usize = 96 << 20;
    let (site, _cluster) = exchange().await;
    let plain = plaintext(LARGE);
    let source = std::io::Cursor::new(plain.clone());
    let put = site.administrator();
    put.put(&id("designs"), &id("film"), source, PutOptions::default())
        .await
        .unwrap();
    let before = peak_kib(site.pid());
    let mut child = Command::new(env!("CARGO_BIN_EXE_coordinator"))
        .args(["get", "designs", "film", "--end-to-end", "--out", "-"])
        .args(["--url", &site.url])
        .env("COORDINATOR_PROFILE", site.profile())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    // More than a pipe holds is left: it cannot be done, and waits.
    let (mut first, mut rest) = (vec![0; LARGE - (1 << 20)], Vec::new());
    out.read_exact(&mut first).unwrap();
    let (reader, platform) = (peak_kib(child.id()), peak_kib(site.pid()) - before);
    out.read_to_end(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    first.extend(rest);
    assert!(first == plain);
    assert!(reader < 80 * 1024, "the reader's process had {reader} KiB");
    assert!(
        platform < 48 * 1024,
        "the platform's grew by {platform} KiB"
    );
}

/// Users of another tenant read what was opened to them, through their own tenant and with its key, both ways; and see nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_another_tenant_reads_what_is_open_to_it() {
    let (site, _cluster) = exchange().await;
    let ada = site.file("ada.pem");
    let api_key = success_of_tenant(&site, ada.to_str().unwrap());
    site.cli(&["grant", "designs", "reader", "umbra/ada"]);
    let mut client = Client::new(&site.url, id("umbra"), api_key).unwrap();
    client.sign_as(Signer::new(id("ada"), user_key::read(&ada).unwrap()));
    let keys = std::fs::read_to_string(site.dir().join("verifiers.txt")).unwrap();
    let keys = keys.lines().filter(|line| !line.starts_with('#'));
    client.pin_organisations(keys.map(|line| line.parse().unwrap()).collect());

    let (main, designs, document) = (id("main"), id("designs"), id("bridge"));
    let options = || GetOptions {
        of_tenant: Some(&main),
        ..GetOptions::default()
    };
    let mut out = Vec::new();
    let got = client
        .get_with(&designs, &document, options(), &mut out)
        .await
        .unwrap();
    assert!(out == bridge(2) && got.report.unwrap().outcome == "complete");
    let mut out = Vec::new();
    let got = client.get_end_to_end(&designs, &document, options(), &mut out);
    let got = got.await.unwrap();
    assert!(out == bridge(2) && got.report.unwrap().outcome == "relayed");
    let documents = client.shared_documents(&main, &designs).await.unwrap();
    assert_eq!(documents.len(), 1);
    let versions = client
        .shared_versions(&main, &designs, &document)
        .await
        .unwrap();
    assert_eq!(versions.len(), 2);

    // What is not open to it does not exist, there or anywhere, in every way.
    let gone = |result: Result<(), ClientError>| match result {
        Err(ClientError::Problem { status, code, .. }) => {
            assert_eq!((status, code.as_str()), (404, "not-found"))
        }
        other => panic!("{other:?}"),
    };
    let see_nothing = async |dataset: &str, document: &str| {
        let (dataset, document) = (id(dataset), id(document));
        let mut out = Vec::new();
        gone(
            client
                .get_with(&dataset, &document, options(), &mut out)
                .await
                .map(drop),
        );
        gone(
            client
                .get_end_to_end(&dataset, &document, options(), &mut out)
                .await
                .map(drop),
        );
        gone(client.shared_documents(&main, &dataset).await.map(drop));
        gone(
            client
                .shared_versions(&main, &dataset, &document)
                .await
                .map(drop),
        );
        assert!(out.is_empty());
    };
    see_nothing("notes", "note").await;
    see_nothing("nothing", "note").await;
    site.cli(&["revoke", "designs", "reader", "umbra/ada"]);
    see_nothing("designs", "bridge").await;
}
