//! A node that has lost everything but its phrase, and a phrase among custodians.
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

use std::path::PathBuf;
use std::process::Command;

use operator_harness::{Running, Site, cryptonode, json, mode, put_store, refused};
use serde_json::Value;

const THREE: [&str; 3] = ["n1", "n2", "n3"];

/// Three nodes with a key of 2 of 3, of which n3 has been lost, folder and all.
fn lost() -> (Site, Vec<Running>, String, Value) {
    let site = Site::new();
    site.cluster(&THREE);
    let mut nodes: Vec<_> = THREE.iter().map(|name| site.run(name)).collect();
    json(&mut site.on("n1", &["ceremony", "propose", "--threshold", "2"]));
    let done = json(&mut site.on("n1", &["ceremony", "status", "--wait"]));
    let key = done["public_key"].as_str().unwrap().to_owned();
    let before = json(&mut site.on("n3", &["key", "show"]));
    nodes.pop().unwrap().kill();
    std::fs::remove_dir_all(site.path("n3")).unwrap();
    (site, nodes, key, before)
}

fn restore(site: &Site, words: &str) -> Command {
    let mut command = cryptonode();
    command
        .arg("restore")
        .args([PathBuf::from("--phrase-file"), site.path(words)])
        .args([PathBuf::from("--policy"), site.path("policy.toml")]);
    command
}

/// The member's card is enough: certificate and policy come from it.
#[test]
fn a_member_gives_all_that_a_restore_needs_beside_the_phrase() {
    let (site, _nodes, key, before) = lost();
    let words = site.path("n3.words");
    let mut command = cryptonode();
    command
        .args(["restore", "--dry-run", "--key", &key, "--phrase-file"])
        .arg(words)
        .args([PathBuf::from("--from"), site.path("n2.card")]);
    let drill = json(&mut command);
    assert_eq!(drill["keys"][0]["index"], before["key"]["index"]);
    assert!(!site.path("n3").exists());
}

fn into_folder(site: &Site, command: &mut Command) {
    let card: Value =
        serde_json::from_str(&std::fs::read_to_string(site.path("n3.card")).unwrap()).unwrap();
    command
        .args(["--name", "n3", "--argon2-memory-kib", "8", "--listen"])
        .arg(card["address"].as_str().unwrap())
        .args([PathBuf::from("--dir"), site.path("n3")])
        .args([PathBuf::from("--passphrase-file"), site.path("pass")]);
}

#[test]
fn a_lost_node_comes_back_from_its_phrase_and_serves_reads_only() {
    let (site, mut nodes, key, before) = lost();
    // The drill: everything is checked, nothing is written.
    let certificate = site.path("key.ceremony");
    let exported = site
        .on("n2", &["key", "export"])
        .arg("--certificate")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(exported.status.success());
    let drilled = json(
        restore(&site, "n3.words")
            .arg("--dry-run")
            .arg("--certificate")
            .arg(&certificate),
    );
    assert_eq!(
        (
            &drilled["keys"][0]["public_key"],
            &drilled["keys"][0]["index"]
        ),
        (&Value::from(key.as_str()), &before["key"]["index"])
    );
    assert!(!site.path("n3").exists());
    // From a member over the network.
    let mut command = restore(&site, "n3.words");
    into_folder(&site, &mut command);
    command
        .args(["--key", &key, "--from"])
        .arg(site.path("n2.card"));
    json(&mut command);
    assert_eq!(mode(&site.path("n3")), 0o700);
    let n3 = site.run("n3");
    assert_eq!(n3.ready["keys"][0], key);
    let after = json(&mut site.on("n3", &["key", "show"]));
    for field in [
        "public_key",
        "epoch",
        "attempt",
        "index",
        "threshold",
        "member_names",
        "policy_hash",
    ] {
        assert_eq!(after["key"][field], before["key"][field], "{field}");
    }
    assert_eq!(after["certificate"], before["certificate"]);
    let status = json(&mut site.on("n3", &["status"]));
    assert_eq!(
        (&status["ready"], &status["restored"]),
        (&true.into(), &true.into())
    );

    // It has forgotten what it promised: it proposes nothing, and takes part in nothing.
    let sentence = refused(
        &mut site.on("n3", &["ceremony", "propose", "--threshold", "1"]),
        1,
    );
    assert!(
        sentence.contains("restored from its recovery phrase"),
        "{sentence}"
    );
    json(&mut site.on("n1", &["ceremony", "propose", "--threshold", "2"]));
    let sentence = refused(&mut site.on("n1", &["ceremony", "status", "--wait"]), 8);
    assert!(
        sentence.contains("n3") && sentence.contains("restored-node"),
        "{sentence}"
    );
    // It comes back as it was after a crash.
    n3.kill();
    let n3 = site.run("n3");
    assert_eq!(n3.ready["keys"][0], key);
    nodes.push(n3);
}

#[test]
fn what_does_not_fit_restores_nothing() {
    let (site, _nodes, key, _) = lost();
    let certificate = site.path("key.ceremony");
    let exported = site
        .on("n2", &["key", "export"])
        .arg("--certificate")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(exported.status.success());
    let drill = |words: &str, file: &std::path::Path| {
        let mut command = restore(&site, words);
        command.arg("--dry-run").arg("--certificate").arg(file);
        command
    };
    // Another node's phrase gives another node; a stranger's phrase nothing.
    site.init("stranger");
    let sentence = refused(&mut drill("stranger.words", &certificate), 1);
    assert!(sentence.contains("belongs to no member"), "{sentence}");
    std::fs::write(site.path("bad.words"), "abandon ".repeat(24)).unwrap();
    assert!(refused(&mut drill("bad.words", &certificate), 1).contains("do not belong together"));
    // An altered certificate.
    let mut bytes = std::fs::read(&certificate).unwrap();
    let place = bytes.len() - 40;
    bytes[place] ^= 1;
    std::fs::write(site.path("altered"), &bytes).unwrap();
    refused(&mut drill("n3.words", &site.path("altered")), 1);
    // Another policy.
    let text = std::fs::read_to_string(site.path("policy.toml")).unwrap();
    std::fs::write(
        site.path("policy.toml"),
        format!("max_lifetime_s = 60\n{text}"),
    )
    .unwrap();
    let sentence = refused(&mut drill("n3.words", &certificate), 3);
    assert!(sentence.contains("was made under the policy"), "{sentence}");
    std::fs::write(site.path("policy.toml"), text).unwrap();
    // A key that nobody has, and a member that is not there.
    let other = format!("{}{}", &key[2..], &key[..2]);
    let mut command = drill("n3.words", &certificate);
    refused(command.args(["--key", &other]), 1);
    assert!(!site.path("n3").exists());
}

#[test]
fn a_phrase_goes_to_custodians_and_comes_back() {
    let site = Site::new();
    let made = site.init("n1");
    let words = std::fs::read_to_string(site.path("n1.words")).unwrap();
    let split = |needed: &str| {
        let mut command = cryptonode();
        command
            .args(["custody", "split", "--needed", needed, "--pieces", "3"])
            .args([PathBuf::from("--phrase-file"), site.path("n1.words")])
            .args([PathBuf::from("--out-dir"), site.path("pieces")]);
        command
    };
    assert!(refused(&mut split("1"), 1).contains("at least 2"));
    // Into nothing that is there, and of what fails nothing is left.
    let folder = site.path("pieces");
    std::fs::write(&folder, "a file").unwrap();
    assert!(refused(&mut split("2"), 1).contains("something at"));
    std::fs::remove_file(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("piece-1-of-3"), "of another split").unwrap();
    assert!(refused(&mut split("2"), 1).contains("something at"));
    let kept = std::fs::read_to_string(folder.join("piece-1-of-3")).unwrap();
    assert_eq!(kept, "of another split");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    std::fs::remove_file(folder.join("piece-1-of-3")).unwrap();
    let made_pieces = json(&mut split("2"));
    let piece = |index: u16| site.path("pieces").join(format!("piece-{index}-of-3"));
    assert_eq!((mode(&folder), mode(&piece(1))), (0o700, 0o600));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 3);
    assert!(refused(&mut split("2"), 1).contains("something at"));
    let beside = std::fs::read_dir(site.dir.path()).unwrap();
    for name in beside.map(|entry| entry.unwrap().file_name()) {
        assert!(!name.to_string_lossy().starts_with('.'), "{name:?} is left");
    }
    // Each custodian alone; and by telephone, that their pieces belong together.
    let common = &made_pieces["words"];
    assert_eq!(common.as_str().unwrap().split(' ').count(), 6);
    for index in 1..=3 {
        let verified = json(cryptonode().args(["custody", "verify"]).arg(piece(index)));
        assert_eq!(verified[0]["identity"], made["identity"]);
        assert_eq!(verified[0]["words"], *common);
        assert_eq!(
            (&verified[0]["index"], &verified[0]["needed"]),
            (&index.into(), &2.into())
        );
    }
    let join = |pieces: &[PathBuf]| {
        let mut command = cryptonode();
        command.args(["custody", "join"]).args(pieces);
        command.args([PathBuf::from("--phrase-out"), site.path("joined.words")]);
        command
    };
    assert!(refused(&mut join(&[piece(1)]), 1).contains("2 are needed"));
    assert!(!site.path("joined.words").exists());
    assert_eq!(json(&mut join(&[piece(3), piece(1)]))["words"], *common);
    assert_eq!(
        std::fs::read_to_string(site.path("joined.words")).unwrap(),
        words
    );
    // A piece that was miswritten is found out by its custodian.
    let text = std::fs::read_to_string(piece(2)).unwrap();
    let share = text.find("6573686172655820").map_or(40, |at| at + 16);
    let flipped = if &text[share..=share] == "0" {
        "1"
    } else {
        "0"
    };
    let altered = format!("{}{flipped}{}", &text[..share], &text[share + 1..]);
    std::fs::write(piece(2), altered).unwrap();
    let sentence = refused(cryptonode().args(["custody", "verify"]).arg(piece(2)), 1);
    assert!(sentence.contains("piece"), "{sentence}");
}

/// The drill as operators do it once in a while: from the custodians' pieces to what a restore would bring back.
#[test]
fn the_drill_goes_from_pieces_to_what_a_restore_would_bring_back() {
    let (site, _nodes, key, before) = lost();
    let split = |folder: &str| {
        let mut command = cryptonode();
        command
            .args(["custody", "split", "--needed", "3", "--pieces", "5"])
            .args([PathBuf::from("--phrase-file"), site.path("n3.words")])
            .args([PathBuf::from("--out-dir"), site.path(folder)]);
        json(&mut command)
    };
    let (kept, earlier) = (split("pieces"), split("earlier"));
    std::fs::remove_file(site.path("n3.words")).unwrap();
    let piece = |folder: &str, index: u16| site.path(folder).join(format!("piece-{index}-of-5"));
    let words = |file: PathBuf| {
        let verified = json(cryptonode().args(["custody", "verify"]).arg(file));
        verified[0]["words"].clone()
    };
    // One custodian has a piece of an earlier split of the same phrase: its words differ, and it does not go with the others.
    assert_ne!(kept["words"], earlier["words"]);
    assert_eq!(words(piece("earlier", 4)), earlier["words"]);
    let join = |pieces: &[PathBuf]| {
        let mut command = cryptonode();
        command.args(["custody", "join"]).args(pieces);
        command.args([PathBuf::from("--phrase-out"), site.path("drill.words")]);
        command
    };
    let mixed = [piece("pieces", 5), piece("pieces", 2), piece("earlier", 4)];
    assert!(refused(&mut join(&mixed), 1).contains("another split"));
    let fitting = [piece("pieces", 5), piece("pieces", 2), piece("pieces", 4)];
    for file in &fitting {
        assert_eq!(words(file.clone()), kept["words"]);
    }
    json(&mut join(&fitting));
    assert_eq!(mode(&site.path("drill.words")), 0o600);
    let mut command = cryptonode();
    command
        .args(["restore", "--dry-run", "--key", &key])
        .args([PathBuf::from("--phrase-file"), site.path("drill.words")])
        .args([PathBuf::from("--from"), site.path("n2.card")]);
    let drill = json(&mut command);
    assert_eq!(drill["keys"][0]["public_key"], key);
    assert_eq!(drill["keys"][0]["index"], before["key"]["index"]);
    assert!(!site.path("n3").exists());
}

/// Nothing that it says in a ceremony is undone by putting an older store in its place, not even one from the same run of the node.
#[test]
fn a_store_from_before_a_confirmation_is_not_asked_to_confirm_again() {
    let site = Site::new();
    site.cluster(&THREE);
    let _n1 = site.run("n1");
    let n2 = site.run("n2");
    let words = ["ceremony", "propose", "--threshold", "2"];
    let proposed = json(&mut site.on("n1", &words));
    let id = proposed["id"].as_str().unwrap();
    // n3 is away: n2 has accepted, and nothing else goes on.
    site.follow_one("n2", id, |view| view["step"] == "accepted");
    put_store(&site.path("n2"), &site.path("before"));
    let _n3 = site.run("n3");
    let done = json(&mut site.on("n1", &["ceremony", "status", "--wait"]));
    assert_eq!(done["outcome"], "activated", "{done}");
    n2.kill();
    put_store(&site.path("n2"), &site.path("newest"));
    put_store(&site.path("before"), &site.path("n2"));
    let mut run = site.on("n2", &["run"]);
    run.arg("--passphrase-file").arg(site.path("pass"));
    let told = refused(&mut run, 7);
    assert!(
        told.contains("older than the audit log") && told.contains("a ceremony was confirmed"),
        "{told}"
    );
    put_store(&site.path("newest"), &site.path("n2"));
    let n2 = site.run("n2");
    assert_eq!(n2.ready["keys"][0], done["public_key"]);
}

#[test]
fn a_restored_node_is_replaced_by_one_with_a_new_identity() {
    let site = Site::new();
    let four = ["n1", "n2", "n3", "n4"];
    site.cluster(&four);
    four.iter().for_each(|name| site.hurry(name, 2));
    let mut nodes: Vec<_> = four.iter().map(|name| site.run(name)).collect();
    let words = [
        "ceremony",
        "propose",
        "--threshold",
        "2",
        "--members",
        "n1,n2,n3",
        "--wait",
    ];
    let key = json(&mut site.on("n1", &words))["public_key"].clone();
    let key = key.as_str().unwrap().to_owned();
    site.until("n1", &["key", "show"], |shown| {
        shown["key_certificate"].is_string()
    });
    nodes.remove(2).kill();
    std::fs::remove_dir_all(site.path("n3")).unwrap();
    let mut command = restore(&site, "n3.words");
    into_folder(&site, &mut command);
    json(
        command
            .args(["--key", &key, "--from"])
            .arg(site.path("n2.card")),
    );
    site.hurry("n3", 2);
    nodes.push(site.run("n3"));
    assert_eq!(json(&mut site.on("n3", &["status"]))["ready"], true);

    // As one of the new members it would take part under the identity that has forgotten what it promised.
    let words = [
        "ceremony",
        "propose",
        "--reshare",
        &key[..8],
        "--patience-s",
        "3",
    ];
    json(&mut site.on("n1", &words));
    let sentence = refused(&mut site.on("n1", &["ceremony", "status", "--wait"]), 8);
    assert!(sentence.contains("restored-node"), "{sentence}");
    // n4, which the same operator may have made on the same machine, takes its place.
    let options = ["--absent", "n3", "--members", "n1,n2,n4", "--wait"];
    let made = json(site.on("n1", &words).args(options));
    assert_eq!(made["outcome"], "activated", "{made}");
    for name in ["n1", "n2", "n4"] {
        site.until(name, &["key", "show"], |shown| {
            shown["key"]["epochs_held"] == serde_json::json!([1])
        });
    }
    // The restored one finds out, and serves no more.
    let status = site.until("n3", &["status"], |status| status["ready"] == false);
    assert!(
        status["not_ready"].to_string().contains("epoch-missed"),
        "{status}"
    );
    site.until("n3", &["key", "show"], |shown| {
        shown["key"]["epochs_held"] == serde_json::json!([])
    });
}
