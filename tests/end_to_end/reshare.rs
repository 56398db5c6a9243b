//! A platform whose cluster is reshared under its readers: nobody tells it, and no read fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;
use serde_json::Value;

use super::running::{Running, assert_nothing_left, document, file, place, program};

fn coordinator(site: &Path, user: &str, arguments: &[&str]) -> std::process::Output {
    let mut command = program();
    command
        .arg("coordinator")
        .env("COORDINATOR_PROFILE", site.join("platform/client.toml"))
        .args(["--user", user, "--json", "--key"])
        .arg(site.join("users").join(format!("{user}.pem")))
        .args(arguments);
    command.output().unwrap()
}

fn cryptonode(site: &Path, node: &str, arguments: &[&str]) -> Value {
    let mut command = program();
    command.arg("cryptonode").args(arguments).arg("--dir");
    command.arg(site.join("nodes").join(node)).arg("--json");
    let output = command.output().unwrap();
    let (said, text) = (&output.stderr, String::from_utf8(output.stdout).unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(said));
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// The epochs of all descriptors that the platform has written down.
fn epochs_written(folder: &Path) -> Vec<u64> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let inside = path
                .parent()
                .is_some_and(|folder| folder.ends_with("clusters"));
            if path.is_dir() {
                open.push(path);
            } else if inside {
                let text = std::fs::read_to_string(&path).unwrap();
                let descriptor: Value = serde_json::from_str(&text).unwrap();
                found.push(descriptor["epoch"].as_u64().unwrap());
            }
        }
    }
    found
}

#[test]
fn no_read_of_the_platform_fails_while_its_cluster_is_reshared() {
    let (dir, site) = place();
    let mut up = Running::start(&[
        "up".as_ref(),
        "--json".as_ref(),
        "--dir".as_ref(),
        site.as_os_str(),
    ]);
    up.wait_for("ready");
    let letter = file(&dir, "letter.txt", b"Dear all, and bob");
    let written = coordinator(
        &site,
        "alice",
        &["put", "demo", "report", letter.to_str().unwrap()],
    );
    assert_eq!(document(&written)["written"]["version"], 1);
    // Two at a time, of whom one begins when the other is in the middle of it.
    let stop = Arc::<AtomicBool>::default();
    let readers = ["one.txt", "another.txt"].map(|copy| {
        let reads = Arc::<AtomicU64>::default();
        let (site, stop, counter) = (site.clone(), Arc::clone(&stop), Arc::clone(&reads));
        let copy = dir.path().join(copy);
        let reader = std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let get = ["get", "demo", "report", "--out", copy.to_str().unwrap()];
                let read = coordinator(&site, "bob", &get);
                let said = String::from_utf8_lossy(&read.stderr);
                assert!(read.status.success(), "a read failed: {said}");
                assert_eq!(std::fs::read(&copy).unwrap(), b"Dear all, and bob");
                std::fs::remove_file(&copy).unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        (reads, reader)
    });
    let more = |count: u64| {
        let until = readers
            .each_ref()
            .map(|(reads, _)| reads.load(Ordering::SeqCst) + count);
        for ((reads, reader), until) in readers.iter().zip(until) {
            while reads.load(Ordering::SeqCst) < until {
                assert!(!reader.is_finished(), "a read failed");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    };
    more(1);
    assert!(epochs_written(&site).iter().all(|epoch| *epoch == 0));
    let shown = cryptonode(&site, "node-1", &["key", "show"]);
    let key = shown["key"]["public_key"].as_str().unwrap().to_owned();
    let words = ["ceremony", "propose", "--reshare", &key, "--wait"];
    let made = cryptonode(&site, "node-1", &words);
    assert_eq!(made["outcome"], "activated", "{made}");
    // The platform finds out by itself, and writes it down.
    while !epochs_written(&site).contains(&1) {
        more(1);
    }
    more(2);
    stop.store(true, Ordering::SeqCst);
    for (_, reader) in readers {
        reader.join().unwrap();
    }
    up.signal(Signal::TERM);
    let (status, said) = up.finish();
    assert_eq!(status.code(), Some(0), "{said}");
    assert_nothing_left(&site);
}
