//! An organisation asks its own peer, and has the others' signatures under what it answers.

use crate::federation::{Federation, success};
use crate::hospital::Hospital;
use std::process::{Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_coordinator");

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(["--json", "--tenant", "hospital"])
        .args(arguments)
        .env_remove("COORDINATOR_PROFILE")
        .stdin(Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_peer_are_proven_under_the_heads_of_all() {
    let federation = Federation::start(4);
    let hospital = Hospital::open(&federation).await;
    hospital.read(&federation, 3).await;
    federation.agree(&[0, 1, 2, 3], 4).await;

    let keys = federation.base.path().join("exchange/verifiers.txt");
    let keys = keys.to_str().unwrap();
    let peers: Vec<String> = federation
        .peers
        .iter()
        .map(|peer| {
            let token = peer.dir.join("token");
            format!("{},{},{}", peer.name, peer.url, token.display())
        })
        .collect();
    let ask = |peers: &[String]| {
        let document = ["audit", "document", "scans", "scan", "--keys", keys];
        let mut command = command(&document);
        for peer in peers {
            command.args(["--peer", peer]);
        }
        command
    };
    let proofs = federation.base.path().join("proofs");
    let answer = success(ask(&peers).arg("--proofs").arg(&proofs));
    let kinds: Vec<_> = answer["rows"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&kinds[0]["kind"], &kinds[1]["kind"]),
        (&"write".into(), &"read".into())
    );
    assert_eq!(answer["signed_by"].as_array().unwrap().len(), 4);
    let file = answer["proofs"][1].as_str().unwrap();
    let proven = success(&mut command(&[
        "audit", "verify", "--proof", file, "--keys", keys,
    ]));
    assert_eq!(proven["kind"], "read");
    assert_eq!(proven["signed_by"].as_array().unwrap().len(), 4);

    // Two signatures of four are no quorum: nobody shows such rows as proven.
    let few = ask(&peers[..2]).output().unwrap();
    assert_eq!(few.status.code(), Some(7));
    let said = String::from_utf8_lossy(&few.stderr).into_owned();
    assert!(said.contains("does not hold"), "{said}");
    // An earlier head is signed by all, however far the peers have come since.
    for _ in 0..3 {
        hospital.read(&federation, 0).await;
    }
    federation.agree(&[0, 1, 2, 3], 7).await;
    let later = success(&mut ask(&peers));
    assert_eq!(later["rows"].as_array().unwrap().len(), 5);
}
