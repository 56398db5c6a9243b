//! Bad input gets one clear sentence and an exit status, and loses nothing; secrets stay out of the logs.

use std::os::unix::fs::PermissionsExt as _;

use coordinator::client::profile::Profile;

use crate::site::{PASSPHRASE, Site, bare, everything_in, failure};

fn refused(arguments: &[&str], status: i32, sentence: &str) {
    let (found, said, _) = failure(bare(arguments));
    assert_eq!(found, status, "{said}");
    assert!(said.contains(sentence), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
}

#[test]
fn bad_input_gets_one_clear_sentence() {
    let site = Site::init();
    let (dir, passphrase) = (site.dir(), site.passphrase());
    let (dir, passphrase) = (dir.to_str().unwrap(), passphrase.to_str().unwrap());
    let wrong = site.file("wrong");
    std::fs::write(&wrong, "another").unwrap();
    let wrong = wrong.to_str().unwrap();
    let empty = site.file("empty");
    std::fs::write(&empty, "").unwrap();

    refused(
        &[
            "run",
            "--dir",
            "/nonexistent",
            "--passphrase-file",
            passphrase,
        ],
        3,
        "coordinator init",
    );
    refused(
        &["run", "--dir", dir, "--passphrase-file", wrong],
        4,
        "the passphrase does not open",
    );
    refused(
        &[
            "run",
            "--dir",
            dir,
            "--passphrase-file",
            empty.to_str().unwrap(),
        ],
        4,
        "is empty",
    );
    refused(
        &["run", "--dir", dir, "--passphrase-file", "/nonexistent"],
        1,
        "cannot read /nonexistent",
    );
    refused(
        &[
            "run",
            "--dir",
            dir,
            "--passphrase-file",
            passphrase,
            "--listen",
            "0.0.0.0:0",
        ],
        3,
        "loopback",
    );
    let init = [
        "init",
        "--dir",
        dir,
        "--organisation",
        "a",
        "--approvals",
        "1",
        "--passphrase-file",
        passphrase,
    ];
    refused(&init, 3, "is not empty");
    let new = site.file("new");
    let new = new.to_str().unwrap();
    let init = [
        "init",
        "--dir",
        new,
        "--organisation",
        "a",
        "--passphrase-file",
        passphrase,
    ];
    refused(
        &[&init[..], &["--approvals", "2"]].concat(),
        1,
        "2 approvals cannot be had from 1 organisations",
    );
    refused(
        &[&init[..], &["--approvals", "1", "--organisation", "a"]].concat(),
        1,
        "named twice",
    );
    assert!(!std::path::Path::new(new).exists());

    let config = site.dir().join("coordinator.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("transfers", "transfer")).unwrap();
    refused(
        &["run", "--dir", dir, "--passphrase-file", passphrase],
        3,
        "transfer",
    );
    refused(&["config", "check", "--dir", dir], 3, "unknown field");
    std::fs::write(&config, text).unwrap();

    let genesis = site.dir().join("genesis.cbor");
    let original = std::fs::read(&genesis).unwrap();
    std::fs::write(&genesis, &original[1..]).unwrap();
    refused(
        &["run", "--dir", dir, "--passphrase-file", passphrase],
        7,
        "genesis.cbor is damaged",
    );
    std::fs::write(&genesis, original).unwrap();

    refused(&["status"], 3, "the platform's URL is not known");
    let profile = site.profile();
    let profile = profile.to_str().unwrap();
    refused(
        &[
            "--profile",
            profile,
            "--url",
            "http://127.0.0.1:1",
            "status",
        ],
        6,
        "is it running",
    );
    refused(&["cluster", "add", "--dir", dir, passphrase], 3, "cluster");
    refused(&["--profile", "/nonexistent", "status"], 1, "/nonexistent");
    std::fs::set_permissions(profile, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&["--profile", profile, "status"], 3, "chmod 600");
    // What cannot be read of a command line is said to programs, too.
    let (status, said, json) = failure(bare(&["put", "designs", "--json"]));
    assert!(status == 2 && said.contains("Usage:"), "{said}");
    assert_eq!(json["error"]["code"], "usage");
    let sentence = json["error"]["message"].as_str().unwrap();
    assert!(
        sentence.starts_with("the following") && sentence.ends_with("<DOCUMENT> <FILE>"),
        "{sentence}"
    );
}

#[test]
fn a_folder_is_used_once_and_a_damaged_store_is_left_alone() {
    let mut site = Site::start();
    let (dir, passphrase) = (site.dir(), site.passphrase());
    let run = [
        "run",
        "--dir",
        dir.to_str().unwrap(),
        "--passphrase-file",
        passphrase.to_str().unwrap(),
    ];
    refused(&run, 5, "another coordinator is using");
    let missing = site.fails(&["put", "designs", "bridge", "/nonexistent"]);
    assert!(
        missing.1.contains("cannot read /nonexistent"),
        "{}",
        missing.1
    );
    let folder = site.fails(&["put", "designs", "bridge", dir.to_str().unwrap()]);
    assert!(folder.1.contains("is a folder"), "{}", folder.1);
    let unknown = site.fails(&["put", "nowhere", "bridge", passphrase.to_str().unwrap()]);
    assert!(unknown.1.contains("there is no dataset"), "{}", unknown.1);
    let unknown = site.fails(&["get", "nowhere", "bridge"]);
    assert!(unknown.1.contains("there is no document"), "{}", unknown.1);
    site.stop();
    // The profile knows the URL of the last run; the folder has what it needs, for its user alone.
    assert_eq!(
        Profile::read(&site.profile()).unwrap().url.as_deref(),
        Some(site.url.as_str())
    );
    for path in everything_in(site.dir()) {
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn scripts_can_rely_on_statuses_and_on_standard_output() {
    let site = Site::start();
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    // What the record refuses, and what is not there.
    let again = site.fails(&["dataset", "create", "designs", "--encryption", "platform"]);
    assert_eq!(again.0, 8, "{}", again.1);
    let request = again.2["error"]["request_id"].as_str().unwrap();
    assert!(site.log().contains(request), "the log has more about it");
    let nobody = site.fails(&["grant", "designs", "reader", "nobody"]);
    assert_eq!(nobody.0, 8, "{}", nobody.1);
    let document = site.file("document");
    std::fs::write(&document, "text").unwrap();
    let document = document.to_str().unwrap();
    site.cli(&["put", "designs", "bridge", document]);
    let outrun = site.fails(&["put", "designs", "bridge", document, "--version", "1"]);
    assert_eq!(outrun.0, 8, "{}", outrun.1);
    let version = site.fails(&["get", "designs", "bridge", "--version", "9"]);
    assert!(version.1.contains("there is no version"), "{}", version.1);
    let folder = site.dir();
    let folder = site.fails(&[
        "get",
        "designs",
        "bridge",
        "--out",
        folder.to_str().unwrap(),
    ]);
    assert!(folder.1.contains("directory"), "{}", folder.1);
    // Standard output carries the document and nothing else.
    let got = site.try_cli(&["get", "designs", "bridge", "--out", "-"]);
    assert_eq!(got.stdout, b"text");
    assert!(String::from_utf8_lossy(&got.stderr).contains("\"sha256\""));
    let refused = site.try_cli(&["get", "designs", "tunnel", "--out", "-"]);
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("\"not-found\""));
    // What was mistyped is not taken for a platform that is down.
    let empty = site.file("empty");
    private_file(&empty, "");
    for (arguments, sentence) in [
        (["--url", "nowhere", "status"], "no URL of a platform"),
        (["--url", "ftp://x", "status"], "no URL of a platform"),
        (
            ["--api-key-file", empty.to_str().unwrap(), "status"],
            "API key is empty",
        ),
    ] {
        let (status, said, _) = site.fails(&arguments);
        assert!(status == 3 && said.contains(sentence), "{said}");
    }
    // A profile that is handed on has no operator's key in it.
    let out = site.file("handed-on.toml");
    site.cli(&["client", "init", "--out", out.to_str().unwrap()]);
    let profile = Profile::read(&out).unwrap();
    assert!(profile.api_key.is_some() && profile.operator_key.is_none());
}

fn private_file(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn no_secret_is_in_any_log() {
    let mut site = Site::start();
    site.add_user("alice");
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    let document = site.file("document");
    std::fs::write(&document, "a sentence that nobody else may read").unwrap();
    site.cli(&["put", "designs", "bridge", document.to_str().unwrap()]);
    let out = site.file("out");
    site.cli(&["get", "designs", "bridge", "--out", out.to_str().unwrap()]);
    site.stop();
    let log = site.log();
    assert!(log.contains("serving") && log.contains("stopped"), "{log}");
    let profile = Profile::read(&site.profile()).unwrap();
    let key = coordinator::client::user_key::read(&site.file("alice.pem")).unwrap();
    let secrets = [
        PASSPHRASE.to_owned(),
        "nobody else may read".to_owned(),
        profile
            .api_key
            .unwrap()
            .expose()
            .rsplit('.')
            .next()
            .unwrap()
            .to_owned(),
        profile
            .operator_key
            .unwrap()
            .expose()
            .rsplit('.')
            .next()
            .unwrap()
            .to_owned(),
        hex::encode(key.to_bytes()),
        "PRIVATE KEY".to_owned(),
    ];
    for secret in secrets {
        assert!(!log.contains(&secret));
    }
}
