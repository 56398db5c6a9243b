//! The master key: rotated while documents are read and written, killed in the middle, destroyed at the end; and what an erasure destroys.

use std::time::{Duration, Instant};

use coordinator::client::profile::Profile;
use coordinator::client::{PutOptions, user_key};
use coordinator::config::RecordConfig;
use coordinator::envelope::{BodyKey, BodySealer, DocumentKey, document_key_context};
use coordinator::folder::Folder;
use coordinator::master_key::{MasterKey as _, Passphrase, SealedMasterKey};
use coordinator::platform::now_ms;
use coordinator::record::{
    Author, Body, DatasetName, KeyWrapping, Transaction, UnsignedTransaction, UserName, Write,
};
use coordinator::setup;
use serde_json::Value;

use crate::site::{PASSPHRASE, Site, id, plaintext};

fn set(site: &Site, from: &str, to: &str) {
    let config = site.dir().join("coordinator.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&config, text.replace(from, to)).unwrap();
}

async fn write(site: &Site, dataset: &str, document: &str, length: usize) {
    let body = std::io::Cursor::new(plaintext(length));
    site.administrator()
        .put(&id(dataset), &id(document), body, PutOptions::default())
        .await
        .unwrap();
}

async fn read(site: &Site, dataset: &str, document: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    site.administrator()
        .get(&id(dataset), &id(document), None, &mut out, None)
        .await
        .map(|_| out)
        .map_err(|e| e.code().to_owned())
}

fn keys(shown: &Value) -> Vec<(String, u64)> {
    let keys = shown["keys"].as_array().unwrap().iter();
    keys.map(|key| {
        let id = key["id"].as_str().unwrap().to_owned();
        (id, key["version_keys"].as_u64().unwrap())
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_outlives_a_kill_and_the_old_key_is_destroyed() {
    let mut site = Site::init();
    set(&site, "rewrap_s = 2000", "rewrap_s = 3");
    site.run();
    for level in ["platform", "none"] {
        site.cli(&["dataset", "create", level, "--encryption", level]);
        for number in 0..16 {
            write(&site, level, &format!("d{number}"), 3000 + number).await;
        }
    }
    let first = keys(&site.cli(&["key", "master", "show"]));
    assert_eq!((first.len(), first[0].1), (1, 32));
    let old = first[0].0.clone();

    let rotated = keys(&site.cli(&["key", "master", "rotate", "--detach"]));
    assert_eq!((rotated.len(), rotated[1].0.as_str()), (2, old.as_str()));
    let started = Instant::now();
    let under_old = loop {
        let shown = keys(&site.cli(&["key", "master", "show"]));
        if shown[0].1 > 0 {
            break shown[1].1;
        }
        assert!(started.elapsed() < Duration::from_secs(60));
    };
    assert!(under_old > 0, "it is under way");
    site.kill();
    site.run();
    let shown = site.cli(&["key", "master", "show"]);
    assert_eq!(keys(&shown).len(), 2, "it goes on: {shown}");
    // Meanwhile: what is under either key is read, and what is written is under the new one.
    for number in 0..16 {
        let expected = plaintext(3000 + number);
        for level in ["platform", "none"] {
            assert!(read(&site, level, &format!("d{number}")).await.unwrap() == expected);
        }
    }
    write(&site, "platform", "new", 5000).await;
    let done = site.cli(&["rewrap", "platform"]);
    assert_eq!(keys(&done), [(rotated[0].0.clone(), 33)]);
    assert_eq!(done["rewrap"]["running"], false);

    // The old key is nowhere: neither in the file, nor needed for anything, the platform's own secrets included.
    let text = std::fs::read_to_string(site.dir().join("master.key")).unwrap();
    assert!(!text.contains(&old) && text.contains(&rotated[0].0));
    for _ in 0..2 {
        for level in ["platform", "none"] {
            assert!(read(&site, level, "d7").await.unwrap() == plaintext(3007));
        }
        assert!(read(&site, "platform", "new").await.unwrap() == plaintext(5000));
        site.stop();
        site.run();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_nobody_uses_is_rotated_by_a_command() {
    let mut site = Site::start();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    write(&site, "designs", "bridge", 5000).await;
    let (dir, passphrase) = (site.dir(), site.passphrase());
    let rotate = [
        "key",
        "master",
        "rotate",
        "--dir",
        dir.to_str().unwrap(),
        "--passphrase-file",
        passphrase.to_str().unwrap(),
    ];
    let (status, said, _) = site.fails(&rotate);
    assert_eq!(status, 5, "{said}");
    site.stop();
    let rotated = site.cli(&rotate);
    // Three keys of each of three organisations, the API's secret, the key towards the nodes.
    assert_eq!(rotated["secrets"], 11);
    assert_eq!(rotated["older"].as_array().unwrap().len(), 1);
    site.run();
    let done = keys(&site.cli(&["rewrap", "platform"]));
    assert_eq!(done, [(rotated["present"].as_str().unwrap().to_owned(), 1)]);
    assert!(read(&site, "designs", "bridge").await.unwrap() == plaintext(5000));
}

/// What the platform has of the version keys: their wrapped bytes.
fn wrapped_keys(site: &Site) -> Vec<Vec<u8>> {
    let store = rusqlite::Connection::open(site.dir().join("keys.sqlite")).unwrap();
    let mut select = store.prepare("SELECT wrapped FROM keys").unwrap();
    let rows = select.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_destroys_the_version_keys() {
    let site = Site::start();
    for (dataset, storage) in [("designs", "off-chain"), ("notes", "ledger")] {
        let level = ["--encryption", "platform", "--storage", storage];
        site.cli(&[&["dataset", "create", dataset], &level[..]].concat());
        write(&site, dataset, "bridge", 1500).await;
        write(&site, dataset, "bridge", 1600).await;
    }
    let before = wrapped_keys(&site);
    assert_eq!(before.len(), 4);
    site.cli(&["erase", "designs", "bridge", "--version", "1"]);
    site.cli(&["erase", "notes", "bridge"]);
    let left = wrapped_keys(&site);
    assert_eq!(left.len(), 1);
    for file in std::fs::read_dir(site.dir()).unwrap() {
        let path = file.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for wrapped in before.iter().filter(|it| !left.contains(it)) {
            // Behind the format and the master key's name: the salt and the sealed key.
            let secret = &wrapped[9..];
            let found = bytes.windows(secret.len()).any(|it| it == secret);
            assert!(!found, "{}", path.display());
        }
    }
    assert!(read(&site, "designs", "bridge").await.unwrap() == plaintext(1600));
    assert_eq!(read(&site, "notes", "bridge").await, Err("erased".into()));
}

/// A version as it was written before there were version keys: its document key is wrapped under the master key itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_the_master_key_itself_is_read_and_outlives_a_rotation() {
    let mut site = Site::start();
    let create = ["dataset", "create", "notes", "--encryption", "platform"];
    site.cli(&[&create[..], &["--storage", "ledger"]].concat());
    site.stop();
    let plain = plaintext(900);
    {
        let folder = Folder::open(&site.dir()).unwrap();
        let passphrase = Passphrase::new(PASSPHRASE);
        let master = SealedMasterKey::open(&folder.master_key(), &passphrase).unwrap();
        let genesis = setup::read_genesis(&folder).unwrap();
        let record = setup::open_record(&folder, &master, genesis, &RecordConfig::default())
            .await
            .unwrap();
        let profile = Profile::read(&site.profile()).unwrap();
        let author = UserName {
            tenant: id("main"),
            user: profile.user.unwrap(),
        };
        let dataset = DatasetName {
            tenant: id("main"),
            dataset: id("notes"),
        };
        let name = dataset.document(id("old")).version(1);
        let rng = &mut rand::rng();
        let (body_key, key) = (BodyKey::generate(rng), DocumentKey::generate(rng));
        let mut stored = Vec::new();
        let mut sealer = BodySealer::new(&body_key, &name, rng, &mut stored).unwrap();
        sealer.push(&plain, &mut stored).unwrap();
        let sealed = sealer.finish(&mut stored).unwrap();
        let context = document_key_context(&name);
        let wrapped_key = master.wrap(key.expose(), &context).await.unwrap();
        let write = Write {
            tenant: id("main"),
            dataset: id("notes"),
            document: id("old"),
            version: 1,
            content_type: None,
            length: sealed.length,
            checksum: sealed.checksum,
            wrapped_dek1: key
                .wrap_body_key(&body_key, &name, &sealed, &[], rng)
                .unwrap(),
            key: KeyWrapping::Platform { wrapped_key },
            body: Body::OnLedger(stored),
        };
        let unsigned = UnsignedTransaction {
            ledger: record.ledger(),
            author: Author::User(author),
            nonce: rand::random(),
            expires_ms: now_ms() + 60_000,
            transaction: Transaction::Write(write),
        };
        let signer = user_key::read(&profile.key.unwrap()).unwrap();
        record.submit(unsigned.sign(&signer)).await.unwrap();
        record.close().await;
    }
    site.run();
    assert!(read(&site, "notes", "old").await.unwrap() == plain);
    let done = keys(&site.cli(&["key", "master", "rotate"]));
    assert_eq!((done.len(), done[0].1), (1, 1));
    assert!(read(&site, "notes", "old").await.unwrap() == plain);
    // And once more, now that its successor is kept.
    let done = keys(&site.cli(&["key", "master", "rotate"]));
    assert_eq!((done.len(), done[0].1), (1, 1));
    assert!(read(&site, "notes", "old").await.unwrap() == plain);
    site.cli(&["erase", "notes", "old"]);
    assert_eq!(wrapped_keys(&site).len(), 0);
}
