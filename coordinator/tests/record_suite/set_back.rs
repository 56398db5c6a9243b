//! Stores that were set back: a read is approved once, whatever its peer has forgotten.

use crate::{approvals::*, ledger::*};
use coordinator::record::{
    ApprovalTerms, OrganisationChange, OrganisationEndorse, PeerKeys, Transaction, TransactionId,
    peer::{Peer, copy_store, examine_store, mark_taken_back},
};
use std::path::{Path, PathBuf};

const MARGIN_MS: u64 = 60_000;

fn open(bench: &Bench) -> Peer {
    bench.open("alpha", ApprovalTerms::default()).unwrap()
}

fn store(bench: &Bench) -> PathBuf {
    bench.folder.path().join("alpha")
}

fn copy(bench: &Bench, to: &Path) {
    copy_store(&store(bench), to, &bench.founders.genesis, &id("alpha")).unwrap();
}

/// With an approved read that the copy, made before, knows nothing of; and the block of that read, which the others still have.
fn approved_after_a_copy(bench: &mut Bench, copied: &Path) -> (TransactionId, Peer) {
    let [mut beta] = bench.peers(["beta"]);
    let mut alpha = open(bench);
    let first = bench.with_read(&mut [&mut alpha, &mut beta]);
    assert_eq!(code(&mut alpha, first, bench.now_ms), "ok");
    copy(bench, copied);
    bench.now_ms += 1000;
    let read = bench.read(&mut [&mut alpha, &mut beta]);
    assert_eq!(code(&mut alpha, read, bench.now_ms), "ok");
    (read, beta)
}

/// Brings what a peer lacks from another one.
fn catch_up(peer: &mut Peer, from: &Peer) {
    for height in peer.tip().0 + 1..=from.tip().0 {
        let block = from.replica().block(height).unwrap().unwrap();
        peer.adopt(&block).unwrap();
    }
    finalise(&mut [peer]);
}

#[test]
fn a_store_that_was_set_back_is_noticed_and_approves_no_read_twice() {
    let mut bench = Bench::new();
    let copied = bench.folder.path().join("copy");
    let (read, beta) = approved_after_a_copy(&mut bench, &copied);
    // Somebody puts the copy in the store's place; the note beside it is newer than the store's. Or there is none at all.
    for without_note in [false, true] {
        std::fs::copy(&copied, store(&bench)).unwrap();
        let note = store(&bench).with_extension("approving");
        if without_note {
            std::fs::remove_file(note).unwrap();
        }
        let mut alpha = open(&bench);
        catch_up(&mut alpha, &beta);
        assert_eq!(code(&mut alpha, read, bench.now_ms), "peer-set-back");
        drop(alpha);
        // For good, not only until the next start.
        let mut alpha = open(&bench);
        finalise(&mut [&mut alpha]);
        assert_eq!(code(&mut alpha, read, bench.now_ms), "peer-set-back");
    }
}

#[test]
fn a_store_that_was_taken_back_remembers_what_it_knows_and_approves_what_comes_later() {
    let mut bench = Bench::new();
    let copied = bench.folder.path().join("copy");
    let (read, mut beta) = approved_after_a_copy(&mut bench, &copied);
    let genesis = &bench.founders.genesis;
    std::fs::remove_file(store(&bench).with_extension("approving")).unwrap();
    std::fs::copy(&copied, store(&bench)).unwrap();
    bench.now_ms += 5000;
    let until = mark_taken_back(&store(&bench), genesis, &id("alpha"), bench.now_ms).unwrap();
    assert_eq!(until, bench.now_ms + MARGIN_MS);
    let mut alpha = open(&bench);
    // What was approved before the copy is given again.
    let first = alpha
        .replica()
        .with_state(|state| *state.threshold_reads().next().unwrap().0);
    catch_up(&mut alpha, &beta);
    assert_eq!(code(&mut alpha, first, bench.now_ms), "ok");
    assert_eq!(code(&mut alpha, read, bench.now_ms), "peer-set-back");
    // A read of the margin is refused for good, one after it approved, once and durably.
    bench.now_ms = until;
    let last = bench.read(&mut [&mut alpha, &mut beta]);
    bench.now_ms += 1;
    let next = bench.read(&mut [&mut alpha, &mut beta]);
    assert_eq!(code(&mut alpha, last, bench.now_ms), "peer-set-back");
    let approval = alpha.approve(&[next], bench.now_ms).remove(0).unwrap();
    drop(alpha);
    let mut alpha = open(&bench);
    finalise(&mut [&mut alpha]);
    let again = alpha.approve(&[next], bench.now_ms).remove(0).unwrap();
    assert_eq!(again, approval);
    assert_eq!(code(&mut alpha, last, bench.now_ms), "peer-set-back");
}

#[test]
fn a_restart_in_order_changes_nothing() {
    let mut bench = Bench::new();
    let mut alpha = open(&bench);
    let mut last = bench.with_read(&mut [&mut alpha]);
    for _ in 0..5 {
        drop(alpha);
        alpha = open(&bench);
        finalise(&mut [&mut alpha]);
        assert_eq!(code(&mut alpha, last, bench.now_ms), "ok");
        // Over several notes.
        bench.now_ms += 45_000;
        last = bench.read(&mut [&mut alpha]);
        assert_eq!(code(&mut alpha, last, bench.now_ms), "ok");
    }
}

#[test]
fn a_peer_that_catches_up_approves_nothing_until_it_has() {
    let bench = Bench::new();
    let mut alpha = open(&bench);
    let read = bench.with_read(&mut [&mut alpha]);
    alpha.catch_up_to(bench.now_ms + 5000);
    for (come_to, expected) in [
        (bench.now_ms + 4999, "peer-catching-up"),
        (bench.now_ms + 5000, "ok"),
        (bench.now_ms, "ok"),
    ] {
        alpha.has_come_to(come_to);
        assert_eq!(code(&mut alpha, read, bench.now_ms), expected);
    }
}

#[test]
fn a_copy_is_one_state_and_says_whose_it_is() {
    let mut bench = Bench::new();
    let copied = bench.folder.path().join("copy");
    approved_after_a_copy(&mut bench, &copied);
    let genesis = &bench.founders.genesis;
    let examined = examine_store(&copied, genesis, &id("alpha")).unwrap();
    let alpha = open(&bench);
    assert_eq!(examined.height + 1, alpha.tip().0);
    // Never over another file.
    let again = copy_store(&store(&bench), &copied, genesis, &id("alpha"));
    assert_eq!(again.unwrap_err().code(), "record-store");
    let other = examine_store(&copied, genesis, &id("beta"));
    assert_eq!(other.unwrap_err().code(), "record-store-other");
    let damaged = |damage: &str| {
        let path = bench.folder.path().join("damaged");
        std::fs::copy(&copied, &path).unwrap();
        let connection = rusqlite::Connection::open(&path).unwrap();
        assert!(connection.execute(damage, []).unwrap() > 0, "{damage}");
        connection.close().unwrap();
        examine_store(&path, genesis, &id("alpha"))
            .unwrap_err()
            .code()
    };
    for damage in [
        "DELETE FROM blocks WHERE height = (SELECT max(height) FROM blocks)",
        "DELETE FROM transactions WHERE position = 0",
        "UPDATE blocks SET signed_head = (SELECT signed_head FROM blocks WHERE height = 2)",
    ] {
        assert_eq!(damaged(damage), "record-store-damaged", "{damage}");
    }
}

/// Everything of a peer's is gone: its store, and the note beside it.
fn lose(bench: &Bench) {
    let store = store(bench);
    let gone = ["", "-wal", "-shm"].map(|suffix| format!("{}{suffix}", store.display()));
    for file in gone.iter().map(PathBuf::from) {
        let _ = std::fs::remove_file(file);
    }
    std::fs::remove_file(store.with_extension("approving")).unwrap();
    assert!(!store.exists());
}

#[test]
fn a_peer_that_lost_its_store_approves_no_read_twice_and_what_comes_later() {
    let mut bench = Bench::new();
    let copied = bench.folder.path().join("copy");
    let (read, mut beta) = approved_after_a_copy(&mut bench, &copied);
    lose(&bench);
    bench.now_ms += 5000;
    let mut alpha = open(&bench);
    alpha.starts(bench.now_ms).unwrap();
    catch_up(&mut alpha, &beta);
    assert_eq!(code(&mut alpha, read, bench.now_ms), "peer-set-back");
    drop(alpha);
    // For good; a later start with what it has got since is no new beginning.
    let until = bench.now_ms + MARGIN_MS;
    bench.now_ms += 1000;
    let mut alpha = open(&bench);
    alpha.starts(bench.now_ms).unwrap();
    finalise(&mut [&mut alpha]);
    bench.now_ms = until;
    let last = bench.read(&mut [&mut alpha, &mut beta]);
    bench.now_ms += 1;
    let next = bench.read(&mut [&mut alpha, &mut beta]);
    assert_eq!(code(&mut alpha, read, bench.now_ms), "peer-set-back");
    assert_eq!(code(&mut alpha, last, bench.now_ms), "peer-set-back");
    assert_eq!(code(&mut alpha, next, bench.now_ms), "ok");
}

#[test]
fn a_peer_of_a_new_ledger_approves_at_once() {
    let mut bench = Bench::new();
    let mut alpha = open(&bench);
    alpha.starts(bench.now_ms).unwrap();
    bench.now_ms += 1;
    let read = bench.with_read(&mut [&mut alpha]);
    assert_eq!(code(&mut alpha, read, bench.now_ms), "ok");
    // One that starts when there are blocks, but no read from before that, has forgotten nothing.
    let mut late = bench.open("beta", ApprovalTerms::default()).unwrap();
    late.starts(bench.now_ms).unwrap();
    bench.now_ms += 1;
    let read = bench.read(&mut [&mut alpha]);
    catch_up(&mut late, &alpha);
    assert_eq!(code(&mut late, read, bench.now_ms), "ok");
}

#[test]
fn a_successor_approves_nothing_that_its_predecessor_may_have() {
    let mut bench = Bench::new();
    let [mut beta] = bench.peers(["beta"]);
    let mut alpha = open(&bench);
    let read = bench.with_read(&mut [&mut alpha, &mut beta]);
    assert_eq!(code(&mut alpha, read, bench.now_ms), "ok");
    let genesis = bench.founders.genesis.clone();
    let mut changed = genesis.organisations[0].clone();
    changed.head_key = public("alpha's second head");
    bench.now_ms += 1000;
    for endorser in ["beta", "gamma", "delta"] {
        let change = OrganisationChange::Rekey(changed.clone());
        let endorse = Transaction::OrganisationEndorse(OrganisationEndorse { change });
        bench.execute(&mut [&mut alpha, &mut beta], endorser, endorse);
    }
    let since = bench.now_ms;
    assert_eq!(code(&mut alpha, read, bench.now_ms), "peer-unavailable");
    // Its peer ran before its keys were on the record, as newcomers' do.
    let keys = PeerKeys {
        head_key: key("alpha's second head"),
        ..bench.founders.peer("alpha")
    };
    let path = bench.folder.path().join("successor");
    let mut successor = Peer::open(&path, &genesis, keys, ApprovalTerms::default()).unwrap();
    successor.starts(since - 500).unwrap();
    catch_up(&mut successor, &beta);
    let refused = successor.approve(&[read], bench.now_ms).remove(0);
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), "peer-set-back");
    assert!(refused.to_string().contains(&since.to_string()));
    drop(successor);
    // Also after another start; and a new read is approved at once.
    let keys = PeerKeys {
        head_key: key("alpha's second head"),
        ..bench.founders.peer("alpha")
    };
    let mut successor = Peer::open(&path, &genesis, keys, ApprovalTerms::default()).unwrap();
    finalise(&mut [&mut successor]);
    assert_eq!(code(&mut successor, read, bench.now_ms), "peer-set-back");
    let next = bench.read(&mut [&mut beta, &mut successor]);
    assert_eq!(code(&mut successor, next, bench.now_ms), "ok");
}

#[test]
fn a_peer_that_hears_nothing_any_more_approves_nothing() {
    const HEARD_WITHIN_MS: u64 = 10_000;
    let bench = Bench::new();
    let mut alpha = open(&bench);
    let read = bench.with_read(&mut [&mut alpha]);
    alpha.has_come_to(bench.now_ms);
    let last = bench.now_ms + HEARD_WITHIN_MS;
    for (now_ms, expected) in [(last, "ok"), (last + 1, "peer-catching-up"), (last, "ok")] {
        assert_eq!(code(&mut alpha, read, now_ms), expected);
    }
    // An old batch is no news; a new one is.
    alpha.has_come_to(bench.now_ms - 1);
    assert_eq!(code(&mut alpha, read, last + 1), "peer-catching-up");
    alpha.has_come_to(last);
    assert_eq!(code(&mut alpha, read, last + 1), "ok");
}
