//! A dataset moves to another cluster: every version's key is wrapped anew, by its owner's signature.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use coordinator::client::profile::Profile;
use coordinator::client::{ClientError, PutOptions};

use crate::cluster::Cluster;
use crate::site::{Site, id, plaintext};

const DOCUMENTS: usize = 40;

fn known(site: &Site, cluster: &Cluster, name: &str) -> String {
    let file = site.file(name);
    std::fs::write(&file, cluster.descriptor.to_json()).unwrap();
    let added = site.operator(&["cluster", "add", file.to_str().unwrap()]);
    added["public_key"].as_str().unwrap().to_owned()
}

/// The document's `ETag`.
async fn tag(site: &Site, dataset: &str, document: &str) -> String {
    let key = Profile::read(&site.profile()).unwrap().api_key.unwrap();
    let path = format!("v1/tenants/main/datasets/{dataset}/documents/{document}");
    let asked = reqwest::Client::new().get(format!("{}/{path}", site.url));
    let answer = asked.bearer_auth(key.expose()).send().await.unwrap();
    answer.headers()["etag"].to_str().unwrap().to_owned()
}

async fn write(site: &Site, dataset: &str, document: &str, length: usize) {
    let body = std::io::Cursor::new(plaintext(length));
    site.administrator()
        .put(&id(dataset), &id(document), body, PutOptions::default())
        .await
        .unwrap();
}

async fn read(site: &Site, user: &str, dataset: &str, document: &str, version: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let client = match user {
        "admin" => site.administrator(),
        user => site.client(user),
    };
    client
        .get(&id(dataset), &id(document), Some(version), &mut out, None)
        .await
        .unwrap();
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_moves_to_another_cluster_though_everything_is_killed_in_between() {
    let mut site = Site::init();
    let policy = site.dir().join("policy.toml");
    let (old, new) = (Cluster::start(2, 3, &policy), Cluster::start(2, 3, &policy));
    site.run();
    let (from, to) = (
        known(&site, &old, "old.json"),
        known(&site, &new, "new.json"),
    );
    site.add_user("reader");
    site.cli(&["dataset", "create", "designs", "--cluster", &from]);
    site.cli(&["grant", "designs", "reader", "reader"]);
    for number in 0..DOCUMENTS {
        write(&site, "designs", &format!("d{number}"), 2000 + number).await;
    }
    write(&site, "designs", "d0", 70_000).await;
    write(&site, "designs", "gone", 100).await;
    site.cli(&["erase", "designs", "gone"]);

    site.cli(&["dataset", "configure", "designs", "--cluster", &to]);
    assert_eq!(site.cli(&["dataset", "show", "designs"])["cluster"], to);
    write(&site, "designs", "after", 300).await;
    let status = |site: &Site| site.cli(&["rewrap", "status", "designs"]);
    let shown = status(&site);
    let total = DOCUMENTS as u64 + 2;
    assert_eq!(
        (&shown["total"], &shown["done"]),
        (&total.into(), &1.into())
    );
    assert_eq!(shown["pending"][0]["cluster"], from);

    // A reader does not decide where keys lie.
    let mut key = [0; 32];
    hex::decode_to_slice(&to, &mut key).unwrap();
    let (designs, document) = (id("designs"), id("d1"));
    let reader = site.client("reader");
    match reader.rewrap(&designs, &document, 1, &key).await {
        Err(ClientError::Problem {
            status: 403, code, ..
        }) => assert_eq!(code, "not-permitted"),
        other => panic!("{other:?}"),
    }
    // Nor does the platform: what is to be signed is not for another cluster than the owner meant.
    let owner = site.administrator();
    match owner.rewrap(&designs, &document, 1, &[3; 32]).await {
        Err(ClientError::NotWhatWasMeant { what, .. }) => assert_eq!(what, "the cluster key"),
        other => panic!("{other:?}"),
    }

    // Killed with -9 in the middle: the command, and then the platform.
    let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"))
        .args(["rewrap", "cluster", "designs", "--json"])
        .env("COORDINATOR_PROFILE", site.profile())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (started, client) = (Instant::now(), site.administrator());
    loop {
        let view = client.pending_rewraps(&id("designs"), None).await.unwrap();
        if view.done.unwrap() > 3 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(60));
    }
    command.kill().unwrap();
    command.wait().unwrap();
    site.kill();
    site.run();
    let before = status(&site)["done"].as_u64().unwrap();
    assert!(before > 3 && before < total, "{before} of {total}");
    assert_eq!(
        read(&site, "reader", "designs", "d9", 1).await,
        plaintext(2009)
    );

    let done = site.cli(&["rewrap", "cluster", "designs"]);
    assert_eq!(done["rewrapped"], total - before);
    let shown = status(&site);
    assert_eq!(
        (&shown["total"], &shown["done"]),
        (&total.into(), &total.into())
    );
    let again = site.cli(&["rewrap", "cluster", "designs"]);
    assert_eq!(again["rewrapped"], 0);

    // Without the old cluster everything opens, for whoever it did before.
    (1..=3).for_each(|node| old.stop(node));
    for number in 0..DOCUMENTS {
        let found = read(&site, "reader", "designs", &format!("d{number}"), 1).await;
        assert!(found == plaintext(2000 + number));
    }
    assert!(read(&site, "reader", "designs", "d0", 2).await == plaintext(70_000));

    // Every rewrap is on the record, signed by the owner, with the read that it took.
    let keys = site.dir().join("verifiers.txt");
    let keys = keys.to_str().unwrap();
    let rows = site.cli(&["audit", "document", "designs", "d5", "--keys", keys]);
    let rows = rows["rows"].as_array().unwrap().clone();
    let kinds: Vec<&str> = rows
        .iter()
        .map(|row| row["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["write", "read", "rewrap", "read"]);
    assert_eq!(rows[2]["author"], "user main/admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_the_platform_goes_under_a_cluster_and_its_version_key_is_destroyed() {
    let mut site = Site::init();
    let cluster = Cluster::start(2, 3, &site.dir().join("policy.toml"));
    site.run();
    let to = known(&site, &cluster, "cluster.json");
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    write(&site, "designs", "bridge", 80_000).await;
    let keys =
        |site: &Site| site.cli(&["key", "master", "show"])["keys"][0]["version_keys"].clone();
    assert_eq!(keys(&site), 1);
    let (status, said, json) = site.fails(&["rewrap", "cluster", "designs"]);
    assert_eq!(
        (status, &json["error"]["code"]),
        (8, &"encryption-mismatch".into()),
        "{said}"
    );
    site.cli(&["dataset", "configure", "designs", "--cluster", &to]);
    let pending = site.cli(&["rewrap", "status", "designs"]);
    assert_eq!(pending["pending"][0]["encryption"], "platform");
    let before = tag(&site, "designs", "bridge").await;
    assert_eq!(before, tag(&site, "designs", "bridge").await);
    let done = site.cli(&["rewrap", "cluster", "designs"]);
    assert_eq!(done["rewrapped"], 1);
    assert_eq!(keys(&site), 0);
    // Whoever saw the document before has not seen this.
    assert_ne!(before, tag(&site, "designs", "bridge").await);
    assert!(read(&site, "admin", "designs", "bridge", 1).await == plaintext(80_000));
    let listed = site.cli(&["ls", "designs", "bridge"]);
    assert_eq!(listed[0]["encryption"], "threshold");
}
