//! Members as witnesses of one another's audit logs, on real processes over QUIC: what a node that rewrote its history, or whose folder is an older
//! copy, looks like to the others, to itself and to an auditor.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]
#![allow(dead_code, unreachable_pub)] // the harness is shared by several test programs

mod operator_harness;

use std::path::{Path, PathBuf};
use std::process::Command;

use certs::checkpoint::{Checkpoint, SignedCheckpoint};
use certs::merkle;
use cryptonode::audit::{
    AuditEntry, AuditLog, AuditRecord, CheckpointKey, note_key, verify_folder, witness_key,
};
use cryptonode::client::ClusterDescriptor;
use cryptonode::store::{Passphrase, Store, audit_head_change};
use cryptonode::wire::v1::{Answer, EvidenceItem, Request};
use operator_harness::reads::Reader;
use operator_harness::{PASSPHRASE, Running, Site, json, metric, page, refused};
use serde_json::Value;

/// Three nodes that show each other their logs every second, with a key of 2 of 3.
fn village(site: &Site) -> [Running; 3] {
    let names = ["n1", "n2", "n3"];
    site.cluster(&names);
    for name in names {
        site.configure(name, |text| {
            text.replace("\nevery_s = 60", "\nevery_s = 1")
                .replace("\nafter_records = 1000", "\nafter_records = 1")
        });
    }
    let nodes = names.map(|name| site.run(name));
    site.make_key("n1", 2);
    nodes
}

fn read(site: &Site, reader: &Reader, name: &str, times: usize) {
    for _ in 0..times {
        assert_eq!(reader.read(site, name), "share");
    }
}

/// Waits until so many witnesses have cosigned at least so many records of a node.
fn cosigned(site: &Site, name: &str, records: u64, by: usize) -> Value {
    site.until(name, &["audit", "witness"], |view| {
        let witnesses = view["own"]["witnesses"].as_array().unwrap();
        let enough = witnesses
            .iter()
            .filter(|witness| witness["cosigned_records"].as_u64() >= Some(records));
        view["own"]["cosigned_records"].as_u64() >= Some(records) && enough.count() == by
    })
}

/// What a node has seen of another's log.
fn watched(view: &Value, member: &str) -> Option<Value> {
    let logs = view["watched"].as_array().unwrap();
    let mut found = logs.iter().filter(|log| log["member"] == member);
    found.next().cloned()
}

/// Waits until a node says that another's log is refused as this kind.
fn caught(site: &Site, by: &str, member: &str, kind: &str) -> Value {
    let view = site.until(by, &["audit", "witness"], |view| {
        watched(view, member).is_some_and(|log| log["refused"]["kind"] == kind)
    });
    watched(&view, member).unwrap()
}

fn ask(reader: &Reader, name: &str, request: &Request) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(reader.send(name, request))
}

fn identity(site: &Site, name: &str) -> [u8; 32] {
    let card = json(&mut site.on(name, &["card"]));
    let text = card["identity"].as_str().unwrap();
    hex::decode(text).unwrap().try_into().unwrap()
}

fn copy_folder(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}

/// What an operator can do who means harm: another history, signed with the node's own key, and remembered by its own store.
fn rewrite(site: &Site, name: &str, change: impl Fn(u64, &mut AuditRecord), more: u64) {
    let folder = site.path(name);
    let mut records = Vec::new();
    let visit = |_, entry: &AuditEntry, _: &[u8]| {
        let AuditEntry::Share(record) = entry else {
            panic!("{entry:?}")
        };
        records.push(record.clone());
        Ok(())
    };
    verify_folder(&folder.join("audit"), name, &identity(site, name), visit).unwrap();
    for _ in 0..more {
        records.push(records[0].clone());
    }
    for (index, record) in (0..).zip(&mut records) {
        change(index, record);
    }
    let store = Store::open(&folder, &Passphrase::new(PASSPHRASE).unwrap()).unwrap();
    let key = CheckpointKey::of_node(name, &store.identity().unwrap().signing).unwrap();
    std::fs::remove_dir_all(folder.join("audit")).unwrap();
    let log = AuditLog::open(&folder.join("audit"), key, None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for record in records {
        runtime.block_on(log.append(record)).unwrap();
    }
    log.close();
    store.commit(&[audit_head_change(&log.head())]).unwrap();
}

/// The auditor's side: cluster.json, and a cosigned checkpoint that was asked for over the network by anybody.
fn audit_files(site: &Site, reader: &Reader) -> (PathBuf, PathBuf, Checkpoint) {
    let exported = site.on("n1", &["key", "export"]).output().unwrap();
    let cluster = site.path("cluster.json");
    std::fs::write(&cluster, exported.stdout).unwrap();
    let Answer::Checkpoint { note } = ask(reader, "n1", &Request::CosignedCheckpoint {}) else {
        panic!("no cosigned checkpoint");
    };
    let kept = site.path("kept.checkpoint");
    std::fs::write(&kept, &note).unwrap();
    let descriptor =
        ClusterDescriptor::from_json(&std::fs::read_to_string(&cluster).unwrap()).unwrap();
    let keys: Vec<_> = descriptor
        .members
        .iter()
        .map(|member| witness_key(&member.name, &member.identity).unwrap())
        .collect();
    let checkpoint = SignedCheckpoint::parse(&note).unwrap();
    let cosigners = checkpoint.cosigners(&keys).unwrap();
    let mut names: Vec<&str> = cosigners
        .iter()
        .map(|cosigned| cosigned.witness.name().split('/').nth(1).unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["n2", "n3"]);
    (cluster, kept, checkpoint.claimed().clone())
}

fn verify(with: &[&str], files: &[(&str, &Path)]) -> Command {
    let mut command = operator_harness::cryptonode();
    command.args(["audit", "verify"]).args(with);
    for (option, path) in files {
        command.arg(option).arg(path);
    }
    command
}

#[test]
fn a_node_that_rewrites_its_history_is_caught_by_the_others_and_by_an_auditor() {
    let site = Site::new();
    let [n1, n2, _n3] = village(&site);
    let reader = Reader::new(&site, "n1");
    read(&site, &reader, "n1", 5);
    cosigned(&site, "n1", 5, 2);
    let (cluster, kept, head) = audit_files(&site, &reader);
    let own = note_key("n1", &identity(&site, "n1")).unwrap();

    // As long as it is honest: proofs hold without the log, and the log continues what was kept.
    let proof = site.path("record.tlog-proof");
    let made = json(
        site.on("n1", &["audit", "prove", "--index", "3"])
            .arg("--out")
            .arg(&proof),
    );
    let files = [("--proof", proof.as_path()), ("--cluster", &cluster)];
    let proved = json(&mut verify(&["--witnesses", "2"], &files));
    assert_eq!(
        (&proved["index"], &proved["record"]),
        (&made["index"], &made["record"])
    );
    assert_eq!(proved["cosigners"].as_array().unwrap().len(), 2);
    let too_many = refused(&mut verify(&["--witnesses", "3"], &files), 7);
    assert!(too_many.contains("2 of the witnesses"), "{too_many}");
    let several = refused(
        &mut site.on("n1", &["audit", "prove", "--approval", "read-1"]),
        1,
    );
    assert!(several.contains("records fit"), "{several}");
    read(&site, &reader, "n1", 2);
    cosigned(&site, "n1", 7, 2);
    let continued = site.path("continued");
    json(
        site.on("n1", &["audit", "prove"])
            .arg("--out")
            .arg(&continued)
            .arg("--from")
            .arg(&kept),
    );
    let files = [
        ("--proof", continued.as_path()),
        ("--cluster", &cluster),
        ("--old", &kept),
    ];
    let found = json(&mut verify(&["--witnesses", "2"], &files));
    assert_eq!(
        (&found["old"], &found["size"]),
        (&head.size.into(), &7.into())
    );
    let Answer::Checkpoint { note } = ask(&reader, "n1", &Request::Checkpoint {}) else {
        panic!("no checkpoint");
    };
    let newer = SignedCheckpoint::parse(&note).unwrap().claimed().clone();
    let request = Request::Consistency {
        new: newer.size,
        old: head.size,
    };
    let Answer::Consistency { proof: hashes } = ask(&reader, "n1", &request) else {
        panic!("no proof");
    };
    let hashes: Vec<[u8; 32]> = hashes
        .into_iter()
        .map(|hash| hash.into_vec().try_into().unwrap())
        .collect();
    merkle::verify_consistency(head.size, newer.size, &hashes, &head.root, &newer.root).unwrap();
    let evidence = ask(&reader, "n2", &Request::Evidence {});
    assert_eq!(evidence, Answer::Evidence { findings: vec![] });
    let before = watched(&json(&mut site.on("n2", &["audit", "witness"])), "n1").unwrap();
    assert_eq!(
        (&before["records"], &before["refused"]),
        (&7.into(), &Value::Null)
    );

    // The same with keys that the operators hand out instead of cluster.json.
    let mut with_keys = verify(&["--witnesses", "2"], &[("--proof", &proof)]);
    let keys = ["n1", "n2", "n3"].map(|name| json(&mut site.on(name, &["audit", "key"])));
    let text = |key: &Value| key.as_str().unwrap().to_owned();
    with_keys.args(["--key", &text(&keys[0]["log"])]);
    for key in &keys {
        // Its own cosignature would count for nothing.
        with_keys.args(["--key", &text(&key["witness"])]);
    }
    assert_eq!(json(&mut with_keys)["index"], 3);
    let last = json(&mut site.on("n1", &["audit", "tail", "--lines", "2"]));
    assert_eq!(last["index"], 6);
    let export = site.path("export.jsonl");
    json(
        site.on("n1", &["audit", "export"])
            .arg("--out")
            .arg(&export),
    );
    let files = [
        ("--export", export.as_path()),
        ("--cluster", &cluster),
        ("--old", &kept),
    ];
    let checked = json(&mut verify(&["--witnesses", "2"], &files));
    assert_eq!(
        (&checked["records"], &checked["cosigned"]["records"]),
        (&7.into(), &7.into())
    );

    // One record becomes another, and the log goes on behind it.
    assert_eq!(n1.terminate(), 0);
    rewrite(
        &site,
        "n1",
        |index, record| {
            if index == 2 {
                record.write_id = [0xee; 32];
            }
        },
        2,
    );
    let in_order = json(&mut site.on("n1", &["audit", "verify"]));
    assert_eq!(in_order["records"], 9, "to itself all is well");
    let n1 = site.run("n1");

    // Each of the others has caught it, names it, and has both checkpoints with its signature.
    for witness in ["n2", "n3"] {
        let log = caught(&site, witness, "n1", "not-continued");
        assert_eq!(log["records"], 7, "what was seen stays what it is");
        let finding = &log["findings"][0];
        assert_eq!(finding, &log["refused"]);
        let sentence = finding["sentence"].as_str().unwrap();
        assert!(
            sentence.starts_with("n1 shows a log of 9 records"),
            "{sentence}"
        );
        let sizes = ["seen", "shown"].map(|which| {
            let note = SignedCheckpoint::parse(finding[which].as_str().unwrap()).unwrap();
            note.verify(std::slice::from_ref(&own), 1).unwrap().size
        });
        assert_eq!(sizes, [7, 9]);
    }
    let status = json(&mut site.on("n2", &["status"]));
    let refused_logs = status["audit"]["others_refused"].as_array().unwrap();
    assert!(
        refused_logs[0].as_str().unwrap().starts_with("n1 shows"),
        "{status}"
    );
    let member = ["member=\"n1\""];
    let (_, metrics) = page(&n2, "/metrics");
    assert_eq!(
        metric(&metrics, "cryptonode_witness_refused", &member),
        Some(1.0)
    );
    assert_eq!(
        metric(&metrics, "cryptonode_witness_findings", &member),
        Some(1.0)
    );
    // It gets no cosignatures, says so itself, and gives no shares on a log that is not the one it signed.
    let status = site.until("n1", &["status"], |status| status["ready"] == false);
    let reason = status["not_ready"][0].as_str().unwrap();
    assert!(
        reason.contains("was set back") && reason.contains("head of 7"),
        "{reason}"
    );
    assert_eq!(reader.read(&site, "n1"), "audit-unavailable");
    let view = json(&mut site.on("n1", &["audit", "witness"]));
    assert_eq!(view["own"]["cosigned_records"], Value::Null);
    let witnesses = view["own"]["witnesses"].as_array().unwrap();
    assert!(
        witnesses.iter().any(|witness| witness["refused"] == true),
        "{view}"
    );
    assert_eq!(
        Reader::new(&site, "n2").read(&site, "n2"),
        "share",
        "the others go on"
    );

    // The evidence is given to anyone, and outlives the witness's process.
    drop(n2);
    let _n2 = site.run("n2");
    let Answer::Evidence { findings } = ask(&reader, "n2", &Request::Evidence {}) else {
        panic!("no evidence");
    };
    let [
        EvidenceItem {
            kind, seen, shown, ..
        },
    ] = findings.as_slice()
    else {
        panic!("{findings:?}");
    };
    assert_eq!(kind, "not-continued");
    for note in [seen, shown] {
        let note = SignedCheckpoint::parse(note).unwrap();
        assert!(note.verify(std::slice::from_ref(&own), 1).is_ok());
    }

    // An auditor with the old checkpoint needs none of them.
    json(
        site.on("n1", &["audit", "export"])
            .arg("--out")
            .arg(&export),
    );
    let files = [("--export", export.as_path()), ("--cluster", &cluster)];
    assert_eq!(
        json(&mut verify(&[], &files))["records"],
        9,
        "it is signed, after all"
    );
    let files = [files[0], files[1], ("--old", kept.as_path())];
    let sentence = refused(&mut verify(&[], &files), 7);
    assert!(
        sentence.contains("does not continue the checkpoint of"),
        "{sentence}"
    );
    let from = refused(
        site.on("n1", &["audit", "prove"]).arg("--from").arg(&kept),
        7,
    );
    assert!(from.contains("does not continue"), "{from}");
    refused(
        site.on("n1", &["audit", "verify"]).arg("--old").arg(&kept),
        7,
    );
    // Nor is it taken back by another start.
    assert_eq!(n1.terminate(), 0);
    let mut again = site.on("n1", &["run"]);
    again.arg("--passphrase-file").arg(site.path("pass"));
    assert!(refused(&mut again, 7).contains("was set back"));
}

#[test]
fn a_node_restored_from_an_older_backup_is_told_by_its_witnesses_and_gives_no_shares() {
    let site = Site::new();
    let [n1, _n2, n3] = village(&site);
    // A witness that is away holds up nothing.
    n3.kill();
    let reader = Reader::new(&site, "n1");
    read(&site, &reader, "n1", 3);
    let view = cosigned(&site, "n1", 3, 1);
    let mut witnesses = view["own"]["witnesses"].as_array().unwrap().iter();
    assert!(
        witnesses.any(|witness| witness["failure"].is_string() && witness["refused"] == false),
        "{view}"
    );

    assert_eq!(n1.terminate(), 0);
    copy_folder(&site.path("n1"), &site.path("backup"));
    let n1 = site.run("n1");
    read(&site, &reader, "n1", 3);
    cosigned(&site, "n1", 6, 1);
    n1.kill();
    copy_folder(&site.path("n1"), &site.path("newer"));
    std::fs::remove_dir_all(site.path("n1")).unwrap();
    copy_folder(&site.path("backup"), &site.path("n1"));

    // The copy is in order by itself: store and log agree.
    let n1 = site.run("n1");
    let log = caught(&site, "n2", "n1", "set-back");
    assert_eq!(log["records"], 6);
    let sentence = log["refused"]["sentence"].as_str().unwrap();
    assert!(
        sentence.starts_with("n1 shows a log of 3 records, and had signed 6"),
        "{sentence}"
    );
    assert!(log["findings"].as_array().unwrap().is_empty(), "{log}");
    let status = site.until("n1", &["status"], |status| status["ready"] == false);
    let reason = status["not_ready"][0].as_str().unwrap();
    assert!(
        reason.contains("head of 6 records, and the log has 3"),
        "{reason}"
    );
    let (healthy, _) = page(&n1, "/healthz");
    assert_eq!(healthy, 503);
    assert_eq!(reader.read(&site, "n1"), "audit-unavailable");
    n1.kill();
    let mut again = site.on("n1", &["run"]);
    again.arg("--passphrase-file").arg(site.path("pass"));
    assert!(refused(&mut again, 7).contains("was set back"));

    // With the newer copy it goes on, and is cosigned again.
    std::fs::remove_dir_all(site.path("n1")).unwrap();
    copy_folder(&site.path("newer"), &site.path("n1"));
    let _n1 = site.run("n1");
    read(&site, &reader, "n1", 1);
    cosigned(&site, "n1", 7, 1);
    let view = json(&mut site.on("n2", &["audit", "witness"]));
    assert_eq!(watched(&view, "n1").unwrap()["refused"], Value::Null);
}

/// No share was given and nothing was suspended: what tells the copy from the node is what the node has confirmed since.
#[test]
fn a_folder_from_before_a_reshare_is_told_by_its_witnesses_and_takes_part_in_nothing() {
    let site = Site::new();
    let names = ["n1", "n2", "n3"];
    site.cluster(&names);
    names.iter().for_each(|name| site.hurry(name, 2));
    let [n1, _n2, _n3] = names.map(|name| site.run(name));
    let key = site.make_key("n1", 2);
    for name in names {
        site.until(name, &["key", "show"], |shown| {
            shown["key_certificate"].is_string()
        });
    }
    assert_eq!(n1.terminate(), 0);
    copy_folder(&site.path("n1"), &site.path("backup"));
    let n1 = site.run("n1");

    let reshare = ["ceremony", "propose", "--reshare", &key, "--wait"];
    let done = json(&mut site.on("n1", &reshare));
    assert_eq!(done["outcome"], "activated", "{done}");
    // Nobody waits for the minute of `every_s`.
    for name in names {
        let view = cosigned(&site, name, 1, 2);
        assert_eq!(view["own"]["records"], 1, "{view}");
        let shown = json(&mut site.on(name, &["audit", "show"]));
        let record = &shown["records"][0]["record"];
        assert_eq!(record["action"], "confirm-reshare", "{shown}");
        assert_eq!(record["subject"], key.as_str(), "{shown}");
    }

    n1.kill();
    std::fs::remove_dir_all(site.path("n1")).unwrap();
    copy_folder(&site.path("backup"), &site.path("n1"));
    let n1 = site.run("n1");
    // The first thing that it hears, before it takes part in anything.
    let told = refused(&mut site.on("n1", &reshare), 1);
    assert!(told.contains("the folder was set back"), "{told}");
    let log = caught(&site, "n2", "n1", "set-back");
    assert_eq!(log["records"], 1);
    let status = site.until("n1", &["status"], |status| status["ready"] == false);
    let reason = status["not_ready"].to_string();
    assert!(
        reason.contains("head of 1 records, and the log has 0"),
        "{reason}"
    );
    n1.kill();
    let mut again = site.on("n1", &["run"]);
    again.arg("--passphrase-file").arg(site.path("pass"));
    assert!(refused(&mut again, 7).contains("was set back"));
}
