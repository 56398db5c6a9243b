//! The drill of `docs/operating-a-peer.md`: a peer is copied while it runs, its machine is lost, and the copy takes its place.

use crate::approvals::approval;
use crate::federation::{Federation, success};
use crate::hospital::Hospital;
use std::path::Path;
use std::process::{Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_coordinator");

fn peer_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(["--json", "peer"])
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn refusal(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_copied_lost_and_taken_back_and_approves_no_read_twice() {
    let mut federation = Federation::start(4);
    let hospital = Hospital::open(&federation).await;
    let before = hospital.read(&federation, 0).await;
    let known = approval(&federation, 0, &before).await.unwrap();

    let copy = federation.base.path().join("copy");
    let copy_text = copy.to_str().unwrap().to_owned();
    let dir = federation.peers[0].dir.clone();
    let dir_text = dir.to_str().unwrap().to_owned();
    let made = success(&mut peer_command(&[
        "backup", "--dir", &dir_text, "--out", &copy_text,
    ]));
    assert_eq!(made["organisation"], "alder");
    assert!(made["height"].as_u64().unwrap() >= 4);
    let checked = success(&mut peer_command(&[
        "restore", "--from", &copy_text, "--check",
    ]));
    assert_eq!(checked["files"], made["files"]);
    for absent in ["token", "record/order", "record/alder.approving"] {
        assert!(!copy.join(absent).exists(), "{absent}");
    }

    // After the copy: a read that alder approves. Then its machine is gone, and more happens without it.
    let after = hospital.read(&federation, 0).await;
    let first = approval(&federation, 0, &after).await.unwrap();
    federation.kill(0);
    let lost = federation.base.path().join("lost");
    std::fs::rename(&dir, &lost).unwrap();
    let away = hospital.read(&federation, 1).await;
    assert!(approval(&federation, 1, &away).await.is_ok());

    // Damage is found before anything is made of it, and nothing is put over a folder that is in use.
    let damaged = federation.base.path().join("damaged");
    copy_folder(&copy, &damaged);
    let store = damaged.join("record/alder.sqlite");
    let mut bytes = std::fs::read(&store).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&store, bytes).unwrap();
    let damaged = damaged.to_str().unwrap();
    let restore = ["restore", "--from", damaged, "--dir", &dir_text];
    let (status, said) = refusal(&mut peer_command(&restore));
    assert!(
        status == Some(3) && said.contains("not what was backed up"),
        "{said}"
    );
    assert!(!dir.exists());
    let other = federation.peers[1].dir.to_str().unwrap().to_owned();
    let onto = ["restore", "--from", &copy_text, "--dir", &other];
    let (_, said) = refusal(&mut peer_command(&onto));
    assert!(said.contains("is not empty"), "{said}");

    let restore = ["restore", "--from", &copy_text, "--dir", &dir_text];
    let restored = success(&mut peer_command(&restore));
    assert_eq!(restored["height"], made["height"]);
    // Its software knows the token that it had.
    std::fs::copy(lost.join("token"), dir.join("token")).unwrap();
    federation.run(0);
    let height = federation.status(1).await.height;
    federation.agree(&[0, 1, 2, 3], height).await;

    // What it remembers it gives again; what it may have approved it approves no second time; nor what is of the time around.
    assert_eq!(approval(&federation, 0, &before).await, Ok(known));
    let again = approval(&federation, 0, &after).await;
    assert_eq!(again, Err("peer-set-back".to_owned()));
    assert!(!first.is_empty());
    let refused = approval(&federation, 0, &away).await;
    assert_eq!(refused, Err("peer-set-back".to_owned()));
    // It takes part, and the others approve as before.
    let next = hospital.read(&federation, 0).await;
    assert!(approval(&federation, 2, &next).await.is_ok());
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}
