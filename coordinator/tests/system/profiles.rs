//! Named profiles, completions, and a platform with one command.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::site::{Site, bare, failure, success};

const BINARY: &str = env!("CARGO_BIN_EXE_coordinator");

/// A command of somebody with profiles of its own.
fn somebody(site: &Site, arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .arg("--json")
        .env_remove("COORDINATOR_PROFILE")
        .env("COORDINATOR_PROFILES", site.file("settings/profiles.toml"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn profiles_are_kept_by_name() {
    let site = Site::start();
    let profile = site.profile();
    let from = ["--profile", profile.to_str().unwrap()];
    let (status, said, _) = failure(somebody(&site, &["status"]));
    assert!(status == 3 && said.contains("--url"), "{said}");
    let (status, said, json) = failure(somebody(&site, &["--profile", "acme", "status"]));
    assert_eq!(
        (status, &json["error"]["code"]),
        (3, &Value::from("profile"))
    );
    assert!(said.contains("coordinator profile add acme"), "{said}");

    let add = [&from[..], &["profile", "add", "acme"]].concat();
    let added = success(somebody(&site, &add));
    assert_eq!(added["default"], true, "the first is the default");
    success(somebody(&site, &["status"]));
    // With other names of what it says; the user's key goes with the user.
    site.add_user("alice");
    let key = site.file("alice.pem");
    let add = [
        &from[..],
        &[
            "--user",
            "alice",
            "--key",
            key.to_str().unwrap(),
            "profile",
            "add",
            "alice",
        ],
    ]
    .concat();
    assert_eq!(success(somebody(&site, &add))["default"], false);
    let create = [
        "--profile",
        "alice",
        "dataset",
        "create",
        "hers",
        "--encryption",
        "none",
    ];
    success(somebody(&site, &create));
    let shown = success(somebody(&site, &["profile", "show", "alice"]));
    assert_eq!(
        (&shown["user"], &shown["api_key"]),
        (&Value::from("alice"), &Value::from(true))
    );
    assert!(shown["key"].as_str().unwrap().starts_with('/'));
    let list = success(somebody(&site, &["profile", "ls"]));
    assert_eq!(list["profiles"], serde_json::json!(["acme", "alice"]));
    success(somebody(&site, &["profile", "use", "alice"]));
    assert_eq!(
        success(somebody(&site, &["profile", "show"]))["user"],
        "alice"
    );
    success(somebody(&site, &["profile", "remove", "alice"]));
    let (_, said, _) = failure(somebody(&site, &["profile", "use", "alice"]));
    assert!(said.contains("it has acme"), "{said}");

    // An API key is in it: for its owner alone.
    let file = site.file("settings/profiles.toml");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let (status, said, _) = failure(somebody(&site, &["--profile", "acme", "status"]));
    assert!(status == 3 && said.contains("chmod 600"), "{said}");
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = bare(&["completions", shell]);
        assert!(script.status.success());
        let script = String::from_utf8(script.stdout).unwrap();
        for command in [
            "serve",
            "up",
            "tenant",
            "user",
            "key",
            "dataset",
            "put",
            "get",
            "ls",
            "link",
            "permission",
            "request",
            "audit",
            "erase",
            "rewrap",
            "profile",
        ] {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
    // And a shell takes it.
    let script = bare(&["completions", "bash"]).stdout;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let check = "source \"$1\" && complete -p coordinator && COMP_WORDS=(coordinator us) COMP_CWORD=1 && _coordinator coordinator us coordinator && printf '%s\\n' \"${COMPREPLY[@]}\"";
    let ran = Command::new("bash")
        .args(["-c", check, "-"])
        .arg(file.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(
        ran.status.success() && said.lines().any(|line| line == "user"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_makes_a_platform_for_plain_http() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("try");
    let http = reqwest::Client::new();
    for round in 1..=2 {
        let mut child = Command::new(BINARY)
            .args([
                "up",
                "--json",
                "--exit-with-stdin",
                "--listen",
                "127.0.0.1:0",
                "--dir",
            ])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let key = std::fs::read_to_string(base.path().join("try.key")).unwrap();
        let url = format!("{}/v1/tenants/main", ready["url"].as_str().unwrap());
        if round == 1 {
            let new = serde_json::json!({ "dataset": "designs", "encryption": "platform", "storage": "off-chain" });
            let made = http
                .post(format!("{url}/datasets?author=admin"))
                .bearer_auth(&key)
                .json(&new);
            assert_eq!(made.send().await.unwrap().status(), 201);
            let content = format!("{url}/datasets/designs/documents/bridge/content?author=admin");
            let written = http
                .put(content)
                .bearer_auth(&key)
                .body("a plan")
                .send()
                .await
                .unwrap();
            assert_eq!(written.status(), 201);
        }
        let content = format!("{url}/datasets/designs/documents/bridge/content?reader=admin");
        let read = http.get(content).bearer_auth(&key).send().await.unwrap();
        assert_eq!(read.text().await.unwrap(), "a plan", "round {round}");
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
    for file in ["try.key", "try.passphrase"] {
        let mode = std::fs::metadata(base.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}
