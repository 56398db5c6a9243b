//! Proofs by the API and by the command line, and what is said to whoever opens a record as what it is not.

use certs::merkle::{leaf_hash, verify_consistency, verify_inclusion};
use coordinator::record::head::SignedHead;
use serde_json::Value;

use crate::site::{Site, bare, failure, success};

fn hash(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

#[test]
fn a_transaction_and_the_growth_of_the_record_are_proven_by_the_api() {
    let site = Site::start();
    let verifiers = site.dir().join("verifiers.txt");
    let keys = verifiers.to_str().unwrap();
    let kept = site.file("kept.checkpoint");
    let note = site.cli(&["audit", "checkpoint"]);
    let note = note["checkpoint"].as_str().unwrap().to_owned();
    std::fs::write(&kept, &note).unwrap();
    let old = SignedHead::parse(&note).unwrap().claimed().clone();
    let created = site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let id = hash(created["receipt"]["transaction_id"].as_str().unwrap());

    let client = site.administrator();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proof = runtime.block_on(client.prove(&id)).unwrap();
    let note_keys: Vec<certs::note::NoteKey> = std::fs::read_to_string(&verifiers)
        .unwrap()
        .lines()
        .map(|it| it.parse().unwrap())
        .collect();
    let head = SignedHead::parse(&proof.checkpoint).unwrap();
    let head = head.verify(&note_keys, 3).unwrap().checkpoint;
    let path: Vec<[u8; 32]> = proof.path.iter().map(|it| hash(it)).collect();
    let leaf = leaf_hash(&proof.transaction);
    verify_inclusion(&leaf, proof.position, proof.size, &path, &head.root).unwrap();
    assert_eq!(proof.size, head.size);
    let unknown = runtime.block_on(client.prove(&[0; 32])).unwrap_err();
    assert_eq!(unknown.code(), "not-found");

    // Another tenant's transaction does not exist, though it is on the record.
    let other = site.operator(&[
        "--profile",
        site.profile().to_str().unwrap(),
        "tenant",
        "create",
        "rival",
        "--organisation",
        "birch",
        "--administrator",
        "ada",
        "--new-key",
        site.file("ada.pem").to_str().unwrap(),
    ]);
    let other = hash(other["receipt"]["transaction_id"].as_str().unwrap());
    let hidden = runtime.block_on(client.prove(&other)).unwrap_err();
    assert_eq!(hidden.code(), "not-found");

    let size = old.checkpoint.size;
    let view = runtime.block_on(client.prove_consistency(size)).unwrap();
    let new = SignedHead::parse(&view.checkpoint).unwrap();
    let new = new.verify(&note_keys, 3).unwrap().checkpoint;
    assert!(new.size > size && view.size == new.size);
    let path: Vec<[u8; 32]> = view.path.iter().map(|it| hash(it)).collect();
    verify_consistency(size, new.size, &path, &old.checkpoint.root, &new.root).unwrap();
    let beyond = runtime.block_on(client.prove_consistency(1_000_000));
    assert_eq!(beyond.unwrap_err().code(), "bad-request");

    // The same by the command line, which believes nothing.
    let since = ["audit", "checkpoint", "--since", kept.to_str().unwrap()];
    let since = [&since[..], &["--keys", keys]].concat();
    let continued = site.cli(&since);
    assert_eq!(continued["old"], size);
    assert_eq!(continued["signed_by"].as_array().unwrap().len(), 3);
    let mut lines: Vec<&str> = note.lines().collect();
    let other_root = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    lines[2] = other_root;
    std::fs::write(&kept, lines.join("\n") + "\n").unwrap();
    let (status, said, _) = site.fails(&since);
    assert_eq!(status, 7, "{said}");
    assert!(said.contains("does not go on"), "{said}");
}

#[test]
fn organisations_are_audited_by_operators_and_their_keys_written_out() {
    let site = Site::start();
    let verifiers = site.dir().join("verifiers.txt");
    let keys = ["--keys", verifiers.to_str().unwrap()];
    let ask = |name: &str| site.cli(&[&["audit", "organisation", name], &keys[..]].concat());
    let alder = ask("alder");
    let rows = alder["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["kind"], "tenant-register");
    assert_eq!(rows[0]["author"], "organisation alder");
    assert_eq!(ask("birch")["rows"], Value::Array(vec![]));
    // A tenant's key is not enough.
    let tenant = site.file("tenant.toml");
    let (profile, tenant) = (site.profile(), tenant.to_str().unwrap());
    let written = ["--profile", profile.to_str().unwrap(), "client", "init"];
    success(bare(&[&written[..], &["--out", tenant, "--json"]].concat()));
    let refused = ["--json", "--profile", tenant, "audit", "organisation"];
    let (status, said, _) = failure(bare(&[&refused[..], &["alder"]].concat()));
    assert_eq!(status, 3, "{said}");
    assert!(said.contains("operator's API key"), "{said}");

    let export = site.file("record.export");
    let export = export.to_str().unwrap();
    site.cli(&["audit", "export", "--out", export]);
    let now = site.file("now.txt");
    let verify = ["audit", "verify", export, keys[0], keys[1], "--keys-out"];
    let report = site.cli(&[&verify[..], &[now.to_str().unwrap()]].concat());
    assert_eq!(report["handovers"], Value::Array(vec![]));
    assert_eq!(
        std::fs::read_to_string(&now).unwrap(),
        std::fs::read_to_string(&verifiers).unwrap()
    );
    // One folder has the peers of all organisations: each gets its own file.
    let out = site.file("approvals");
    let written = site.operator(&["audit", "approvals", "--out", out.to_str().unwrap()]);
    assert_eq!(written["organisations"].as_array().unwrap().len(), 3);
    for name in ["alder", "birch", "cedar"] {
        assert!(out.join(format!("{name}.approvals")).exists());
    }
}

#[test]
fn who_opens_a_record_as_another_engines_is_told_what_to_do() {
    let site = Site::init();
    let (dir, passphrase) = (site.dir(), site.passphrase());
    let (dir, passphrase) = (dir.to_str().unwrap(), passphrase.to_str().unwrap());
    let config = site.dir().join("coordinator.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let token = site.file("token");
    std::fs::write(&token, "a token").unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let peer = format!(
        "engine = \"simplex\"\n[[record.peers]]\norganisation = \"alder\"\nurl = \"http://127.0.0.1:1\"\ntoken_file = {:?}\n",
        token.to_str().unwrap()
    );
    let changed = text.replacen("engine = \"solo\"\n", &peer, 1);
    assert_ne!(changed, text);
    std::fs::write(&config, changed).unwrap();
    let run = [
        "--json",
        "run",
        "--dir",
        dir,
        "--passphrase-file",
        passphrase,
    ];
    let (status, said, json) = failure(bare(&run));
    assert_eq!(status, 3, "{said}");
    assert_eq!(json["error"]["code"], "record-engine");
    assert!(said.contains("set engine = \"solo\""), "{said}");

    // And the other way round: the keys of the peers are elsewhere.
    std::fs::write(&config, text).unwrap();
    for name in ["alder", "birch", "cedar"] {
        for what in ["head", "operator", "approvals"] {
            let sealed = site.dir().join(format!("secrets/{name}.{what}.sealed"));
            std::fs::remove_file(sealed).unwrap();
        }
    }
    let (status, said, json) = failure(bare(&run));
    assert_eq!(status, 3, "{said}");
    assert_eq!(json["error"]["code"], "record-engine");
    assert!(said.contains("set engine = \"simplex\""), "{said}");

    // A platform's folder is no peer's.
    let peer = ["--json", "peer", "status", "--dir", dir];
    let (status, said, _) = failure(bare(&peer));
    assert_eq!(status, 3, "{said}");
    assert!(said.contains("the folder of a platform"), "{said}");
    // Nor the other way round.
    let peer = site.file("peer");
    let peer = peer.to_str().unwrap();
    let init = [
        "--json",
        "peer",
        "init",
        "--organisation",
        "alder",
        "--listen",
        "127.0.0.1:7720",
        "--dir",
        peer,
        "--passphrase-file",
        passphrase,
    ];
    success(bare(&init));
    let run = [
        "--json",
        "run",
        "--dir",
        peer,
        "--passphrase-file",
        passphrase,
    ];
    let (status, said, _) = failure(bare(&run));
    assert_eq!(status, 3, "{said}");
    assert!(said.contains("coordinator peer run"), "{said}");
    let early = ["--json", "audit", "approvals", "--dir", peer];
    let out = site.file("early");
    let out = [
        "--out",
        out.to_str().unwrap(),
        "--passphrase-file",
        passphrase,
    ];
    let (status, said, _) = failure(bare(&[&early[..], &out].concat()));
    assert_eq!(status, 3, "{said}");
    assert!(said.contains("coordinator peer join"), "{said}");
}
