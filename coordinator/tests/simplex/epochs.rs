//! Organisations come and go, and with the next epoch their peers do.

use super::federation::{Federation, id};
use super::order::recorded;
use super::platform::Platform;
use coordinator::peer::ask::AskedPeer;
use coordinator::record::PeerAccess;
use coordinator::record::wire::StandingView;
use cryptonode::tls::TlsIdentity;
use ed25519_dalek::SigningKey;
use serde_json::Value;
use std::sync::Arc;
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
    // What it was answered, its own copy has.
    platform.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
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

    federation.until(0, |it| it.votes).await;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_removed_while_it_was_away_is_told_so_and_stops() {
    let mut federation = Federation::found_with(4, EPOCH);
    for peer in FOUNDERS {
        federation.run(peer);
    }
    let dogwood = 3;
    let before = federation.registration(0, "before");
    let height = recorded(&federation.submit(0, &before).await);
    federation.agree(&FOUNDERS, height).await;
    federation.stop(dogwood);
    federation.endorse(&[0, 1, 2], &["--remove", "dogwood"]);
    // Past the epoch in which it would still be let in.
    let decided = federation.until(0, |it| it.organisations.len() == 3).await;
    federation.until(0, |it| it.epoch > decided.epoch + 2).await;

    // Whoever holds a key is told about that key, and nobody else about any.
    let key = federation.peers[dogwood].key("head");
    let asked = |key: &SigningKey| {
        let access = PeerAccess::Keys {
            identity: Arc::new(TlsIdentity::from_signing_key(key).unwrap()),
            known: vec![federation.genesis.organisations[0].head_key],
        };
        AskedPeer::reached(federation.peers[0].url_tls.as_str(), access).unwrap()
    };
    let Ok(StandingView::Departed { epoch, note }) = asked(&key).standing().await else {
        panic!("alder does not say that dogwood has left");
    };
    assert!(
        epoch >= decided.epoch && epoch <= decided.epoch + 1,
        "{decided:?}"
    );
    assert!(
        note.contains("dogwood") && note.contains("\n— alder "),
        "{note}"
    );
    let birch = asked(&federation.peers[1].key("head"));
    assert_eq!(birch.standing().await.unwrap(), StandingView::Member);
    let stranger = asked(&SigningKey::from_bytes(&[7; 32]));
    assert_eq!(stranger.standing().await.unwrap(), StandingView::Unknown);
    assert_eq!(stranger.status().await.unwrap_err().code(), "peer-client");

    federation.run(dogwood);
    assert_eq!(federation.ended(dogwood), Some(8));
    let said = std::fs::read_to_string(federation.log_file(dogwood)).unwrap();
    assert!(said.contains("peer-removed"), "{said}");
    let sentence =
        format!("dogwood has no place in the order with this peer's key from epoch {epoch} on");
    assert!(said.contains(&sentence), "{said}");
    // The others do not mind.
    let after = federation.registration(1, "after");
    let height = recorded(&federation.submit(2, &after).await);
    federation.agree(&[0, 1, 2], height).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_begins_with_those_who_order_now_when_all_founders_have_left() {
    let mut federation = Federation::found_with(2, EPOCH);
    let (alder, birch) = (0, 1);
    federation.run(alder);
    federation.run(birch);
    let mut endorsers = vec![alder, birch];
    for _ in 0..2 {
        let newcomer = federation.newcomer();
        federation.run(newcomer);
        let file = federation.peers[newcomer].dir.join("organisation.json");
        federation.endorse(&endorsers, &["--admit", file.to_str().unwrap()]);
        federation.until(newcomer, |it| it.votes).await;
        endorsers.push(newcomer);
    }
    let (cedar, dogwood) = (2, 3);
    let others = [birch, cedar, dogwood];
    federation.endorse(&others, &["--remove", "alder"]);
    federation.endorse(&others, &["--remove", "birch"]);
    federation.until(birch, |it| !it.votes).await;
    federation.stop(alder);
    federation.stop(birch);
    let two = federation.registration(cedar, "two");
    recorded(&federation.submit(dogwood, &two).await);

    // The genesis has nobody who could let it in. What cedar says it believes of nobody: every epoch is certified by the one before, from the genesis on.
    let elm = federation.newcomer_helped_by(cedar);
    federation.run(elm);
    let file = federation.peers[elm].dir.join("organisation.json");
    federation.endorse(&[cedar, dogwood], &["--admit", file.to_str().unwrap()]);
    federation.until(elm, |it| it.votes).await;
    let three = federation.registration(dogwood, "three");
    let height = recorded(&federation.submit(elm, &three).await);
    federation.agree(&[cedar, dogwood, elm], height).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organisation_that_lost_its_keys_votes_again_with_new_ones() {
    let mut federation = Federation::found_with(4, EPOCH);
    let new = federation.successor(3);
    for peer in [0, 1, 2, new] {
        federation.run(peer);
    }
    let file = federation.peers[new].dir.join("organisation.json");
    federation.endorse(&[0, 1, 2], &["--rekey", file.to_str().unwrap()]);
    federation.until(new, |it| it.votes).await;

    // Three of four are needed, and one of the others is away.
    federation.stop(0);
    let again = federation.registration(1, "again");
    let height = recorded(&federation.submit(new, &again).await);
    federation.agree(&[1, 2, new], height).await;
}
