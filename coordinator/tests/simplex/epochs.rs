//! Organisations come and go, and with the next epoch their peers do.

use super::federation::{Federation, id};
use super::order::recorded;
use super::platform::Platform;
use serde_json::Value;
use std::time::Instant;

/// Batches in an epoch: few, so that the next one is near.
const EPOCH: u32 = 6;
const FOUNDERS: [usize; 4] = [0, 1, 2, 3];

/// Exports the platform's record and verifies it offline, against the keys of the founders alone.
fn verified(federation: &Federation, platform: &Platform, name: &str) -> Value {
    let export = federation.base.path().join(name);
    let export = export.to_str().unwrap();
    platform.cli(&["audit", "export", "--out", export]);
    let founders = federation.base.path().join("exchange/verifiers.txt");
    let founders = founders.to_str().unwrap();
    platform.cli(&["audit", "verify", export, "--keys", founders])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fifth_organisation_joins_and_votes_and_one_of_the_founders_leaves() {
    let mut federation = Federation::found_with(4, EPOCH);
    for peer in FOUNDERS {
        federation.run(peer);
    }
    let platform = Platform::start(&federation);
    let before = verified(&federation, &platform, "before.export");
    assert!(
        before["signed_by"].as_array().unwrap().len() >= 3,
        "{before}"
    );

    // It runs before anybody has admitted it: nobody lets it in, and it says that it does not vote.
    let elm = federation.newcomer();
    federation.run(elm);
    assert!(!federation.status(elm).await.votes);
    let file = federation.peers[elm].dir.join("organisation.json");
    federation.endorse(&[0, 1], &["--admit", file.to_str().unwrap()]);
    let undecided = federation.until(3, |it| !it.changes.is_empty()).await;
    assert_eq!(undecided.organisations.len(), 4);
    assert_eq!(undecided.changes[0].organisation, id("elm"));
    federation.endorse(&[2], &["--admit", file.to_str().unwrap()]);

    // Four of five are a quorum: with dogwood away nothing is final without the newcomer.
    federation.until(elm, |it| it.votes).await;
    federation.stop(3);
    let five = federation.registration(1, "five");
    let height = recorded(&federation.submit(elm, &five).await);
    federation.agree(&[0, 1, 2, elm], height).await;

    // All start again in the middle of things, one of them without its order, and one without what it executed.
    for peer in [0, 1, 2, elm] {
        federation.kill(peer);
    }
    std::fs::remove_dir_all(federation.peers[0].dir.join("record/order")).unwrap();
    for end in ["", "-wal", "-shm"] {
        let store = format!("record/elm.sqlite{end}");
        let _ = std::fs::remove_file(federation.peers[elm].dir.join(store));
    }
    for peer in [0, 1, 2, 3, elm] {
        federation.run(peer);
    }
    let again = federation.registration(2, "again");
    let height = recorded(&federation.submit(3, &again).await);
    federation.agree(&[0, 1, 2, 3, elm], height).await;

    // Alder leaves. It votes no more and can still be asked; three of the four that are left go on.
    federation.endorse(&[1, 2, 3, elm], &["--remove", "alder"]);
    let left = federation.until(0, |it| !it.votes).await;
    assert_eq!(left.organisations.len(), 4);
    assert!(left.height >= height && left.fault.is_none(), "{left:?}");
    federation.until(1, |it| it.epoch >= left.epoch).await;
    federation.stop(3);
    let four = federation.registration(2, "four");
    let height = recorded(&federation.submit(elm, &four).await);
    federation.agree(&[1, 2, elm], height).await;

    // The platform followed through both changes, and what it exports holds from the genesis on.
    federation.run(3);
    federation.agree(&[1, 2, 3, elm], height).await;
    let started = Instant::now();
    let after = loop {
        let after = verified(&federation, &platform, "after.export");
        if after["blocks"] == height {
            break after;
        }
        assert!(started.elapsed().as_secs() < 60, "{after}");
    };
    let signers = after["signed_by"].as_array().unwrap();
    assert!(
        signers.len() >= 3 && !signers.contains(&"alder".into()),
        "{after}"
    );
}
