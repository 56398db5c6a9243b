//! `up` starts the same, stays, and says what to type next; what it says is what works.

use std::path::Path;
use std::process::Output;

use rustix::process::Signal;
use serde_json::Value;

use super::running::{Running, assert_nothing_left, document, file, place, program};

fn coordinator(site: &Path, user: &str, arguments: &[&str]) -> Output {
    let mut command = program();
    command
        .arg("coordinator")
        .env("COORDINATOR_PROFILE", site.join("platform/client.toml"));
    command
        .args(["--user", user, "--json", "--key"])
        .arg(site.join("users").join(format!("{user}.pem")));
    command.args(arguments).output().unwrap()
}

#[test]
fn a_document_is_written_read_and_withdrawn_with_the_commands_that_up_tells() {
    let (dir, site) = place();
    let mut up = Running::start(&[
        "up".as_ref(),
        "--json".as_ref(),
        "--dir".as_ref(),
        site.as_os_str(),
    ]);
    let ready: Value = serde_json::from_str(&up.wait_for("ready")).unwrap();
    assert!(
        ready["url"]
            .as_str()
            .unwrap()
            .starts_with("http://127.0.0.1:")
    );

    let letter = file(&dir, "letter.txt", b"Dear all, and bob");
    let (letter, copy) = (letter.to_str().unwrap(), dir.path().join("copy.txt"));
    let get = ["get", "demo", "report", "--out", copy.to_str().unwrap()];

    let written = coordinator(&site, "alice", &["put", "demo", "report", letter]);
    assert!(
        written.status.success(),
        "{}",
        String::from_utf8_lossy(&written.stderr)
    );
    assert_eq!(document(&written)["written"]["version"], 1);
    let read = coordinator(&site, "bob", &get);
    assert!(
        read.status.success(),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
    assert_eq!(std::fs::read(&copy).unwrap(), b"Dear all, and bob");
    std::fs::remove_file(&copy).unwrap();

    let refused = coordinator(&site, "mallory", &get);
    assert!(!refused.status.success() && !copy.exists());
    assert_eq!(document(&refused)["error"]["code"], "not-permitted");

    // Taking the permission away holds for the very next read.
    let revoked = coordinator(&site, "alice", &["revoke", "demo", "reader", "bob"]);
    assert!(
        revoked.status.success(),
        "{}",
        String::from_utf8_lossy(&revoked.stderr)
    );
    let refused = coordinator(&site, "bob", &get);
    assert_eq!(document(&refused)["error"]["code"], "not-permitted");
    assert!(!copy.exists());

    up.signal(Signal::TERM);
    let (status, said) = up.finish();
    assert_eq!(status.code(), Some(0), "{said}");
    assert_nothing_left(&site);
}
