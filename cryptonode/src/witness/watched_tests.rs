#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use certs::checkpoint::sign;
use certs::cosignature::CosignatureLine;
use certs::merkle::{Tree, leaf_hash};

use super::*;
use crate::audit::{origin_of, witness_key};

fn log_key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn log() -> Identity {
    log_key().verifying_key().to_bytes()
}

fn witness() -> Watch {
    let key = SigningKey::from_bytes(&[2; 32]);
    let name = origin_of("w", &key.verifying_key().to_bytes());
    Watch::new(&name, &key, BTreeMap::new())
}

/// A log whose records from `other` on are others.
fn tree(size: u64, other: u64) -> Tree {
    (0..size)
        .map(|n| {
            let story = if n < other { b'a' } else { b'b' };
            leaf_hash(&[&[story], n.to_le_bytes().as_slice()].concat())
        })
        .collect()
}

fn note_as(name: &str, tree: &Tree, size: u64) -> String {
    let origin = origin_of(name, &log());
    let head = Checkpoint {
        origin: origin.clone(),
        size,
        root: tree.root_at(size).unwrap(),
    };
    sign(&head, &origin, &log_key()).unwrap()
}

fn note(tree: &Tree, size: u64) -> String {
    note_as("n1", tree, size)
}

fn offer(tree: &Tree, old: u64, size: u64) -> String {
    ConsistencyFile {
        old,
        proof: tree.consistency_proof(old, size).unwrap(),
        checkpoint: SignedCheckpoint::parse(&note(tree, size)).unwrap(),
    }
    .to_string()
}

/// Offers, and says whether something had to be durable.
fn answer(watch: &mut Watch, offer: &str, now_ms: u64) -> (Reply, bool) {
    let weighed = watch.weigh(&log(), offer, now_ms).unwrap();
    let durable = weighed.durable().is_some();
    (watch.take(weighed, now_ms / 1000).unwrap(), durable)
}

fn is_cosigned(reply: &Reply, of: &str) -> bool {
    let Reply::Cosigned(line) = reply else {
        return false;
    };
    let key = SigningKey::from_bytes(&[2; 32]).verifying_key().to_bytes();
    let mut checkpoint = SignedCheckpoint::parse(of).unwrap();
    let line = CosignatureLine::from_text(line);
    checkpoint
        .add_cosignature(&line, &witness_key("w", &key).unwrap())
        .is_ok()
}

#[test]
fn what_continues_is_kept_and_then_cosigned() {
    let (mut watch, tree) = (witness(), tree(20, 20));
    let first = watch.weigh(&log(), &offer(&tree, 0, 5), 1_000).unwrap();
    let (who, kept) = first.durable().unwrap();
    assert_eq!((who, kept.head().unwrap().size), (&log(), 5));
    // Nothing holds before it is durable: a crash here has cosigned nothing and seen nothing.
    assert!(watch.logs().is_empty() && watch.cosigned() == 0);
    let reply = watch.take(first, 1).unwrap();
    assert!(is_cosigned(&reply, &note(&tree, 5)));

    let (reply, durable) = answer(&mut watch, &offer(&tree, 5, 20), 2_000);
    assert!(durable && is_cosigned(&reply, &note(&tree, 20)));
    // The same once more: nothing new to keep, and a fresh time.
    let (reply, durable) = answer(&mut watch, &offer(&tree, 20, 20), 3_000);
    assert!(!durable && is_cosigned(&reply, &note(&tree, 20)));
    let stored = watch.logs()[&log()].to_bytes();
    assert_eq!(
        Watched::from_bytes(&stored).unwrap(),
        watch.logs()[&log()],
        "what is stored reads back"
    );
    assert!(watch.logs()[&log()].findings().is_empty());
}

#[test]
fn who_does_not_know_what_was_seen_is_told_and_makes_up_for_it() {
    let (mut watch, tree) = (witness(), tree(20, 20));
    assert_eq!(
        answer(&mut watch, &offer(&tree, 3, 5), 0).0,
        Reply::Seen(String::new())
    );
    assert!(watch.logs().is_empty());
    answer(&mut watch, &offer(&tree, 0, 5), 0);
    // It was started anew, and begins at nothing.
    let (reply, durable) = answer(&mut watch, &offer(&tree, 0, 20), 0);
    assert_eq!((reply, durable), (Reply::Seen(note(&tree, 5)), false));
    let refused = watch.logs()[&log()].refused().unwrap();
    assert_eq!(refused.kind, FindingKind::Unproven);
    assert!(is_cosigned(
        &answer(&mut watch, &offer(&tree, 5, 20), 0).0,
        &note(&tree, 20)
    ));
    assert_eq!(watch.logs()[&log()].refused(), None);
    // An old offer that was long on its way: told, and forgotten with the next.
    let (reply, _) = answer(&mut watch, &offer(&tree, 5, 7), 0);
    assert_eq!(reply, Reply::Seen(note(&tree, 20)));
    assert_eq!(
        watch.logs()[&log()].refused().unwrap().kind,
        FindingKind::SetBack
    );
    answer(&mut watch, &offer(&tree, 20, 20), 0);
    let kept = &watch.logs()[&log()];
    assert!(kept.refused().is_none() && kept.findings().is_empty());
}

#[test]
fn a_rewritten_history_is_not_cosigned_and_both_heads_are_kept() {
    for (old, size, kind) in [
        (8, 8, FindingKind::Forked),
        (8, 20, FindingKind::NotContinued),
    ] {
        let (mut watch, honest, rewritten) = (witness(), tree(20, 20), tree(20, 6));
        answer(&mut watch, &offer(&honest, 0, 8), 1_000);
        let weighed = watch
            .weigh(&log(), &offer(&rewritten, old, size), 2_000)
            .unwrap();
        assert!(weighed.durable().is_some(), "evidence outlives the process");
        let reply = watch.take(weighed, 2).unwrap();
        assert_eq!(reply, Reply::Seen(note(&honest, 8)));
        let expected = Finding {
            kind,
            seen: note(&honest, 8),
            shown: note(&rewritten, size),
            time_ms: 2_000,
        };
        let kept = watch.logs()[&log()].clone();
        assert_eq!(kept.findings(), std::slice::from_ref(&expected));
        assert_eq!(kept.refused(), Some(&expected));
        // Again and again: no second entry, and nothing to write.
        let (reply, durable) = answer(&mut watch, &offer(&rewritten, old, size), 9_000);
        assert_eq!((reply, durable), (Reply::Seen(note(&honest, 8)), false));
        // What continues the head that was seen is cosigned again; the evidence stays.
        let (reply, _) = answer(&mut watch, &offer(&honest, 8, 12), 9_000);
        assert!(is_cosigned(&reply, &note(&honest, 12)));
        let kept = watch.logs()[&log()].clone();
        assert_eq!((kept.findings(), kept.refused()), (&[expected][..], None));
    }
}

#[test]
fn findings_are_bounded() {
    let (mut watch, honest) = (witness(), tree(20, 20));
    answer(&mut watch, &offer(&honest, 0, 8), 0);
    for other in 0..8 {
        answer(&mut watch, &offer(&tree(20, other), 8, 8), 60_000 * other);
    }
    let kept = &watch.logs()[&log()];
    assert_eq!(kept.findings().len(), MAX_FINDINGS);
    assert_eq!(kept.findings()[0].shown, note(&tree(20, 0), 8));
    assert!(kept.to_bytes().len() < 8_192);
}

#[test]
fn only_the_members_own_log_counts_and_only_one() {
    let (mut watch, tree) = (witness(), tree(20, 20));
    let offered = |checkpoint: &str| {
        ConsistencyFile {
            old: 0,
            proof: Vec::new(),
            checkpoint: SignedCheckpoint::parse(checkpoint).unwrap(),
        }
        .to_string()
    };
    let mut weigh = |from: &Identity, offer: &str| match watch.weigh(from, offer, 0) {
        Ok(weighed) => {
            watch.take(weighed, 0).unwrap();
            "taken"
        }
        Err(refused) => refused.code(),
    };
    // Another member's connection, a false signature, no offer at all.
    assert_eq!(
        weigh(&[9; 32], &offered(&note(&tree, 5))),
        "witness-other-log"
    );
    let origin = origin_of("n1", &log());
    let head = Checkpoint {
        origin: origin.clone(),
        size: 5,
        root: [0; 32],
    };
    let forged = sign(&head, &origin, &SigningKey::from_bytes(&[3; 32])).unwrap();
    assert_eq!(
        weigh(&log(), &offered(&forged)),
        "note-not-enough-signatures"
    );
    assert_eq!(weigh(&log(), "old 0\n"), "proof-malformed");
    assert_eq!(weigh(&log(), &offered(&note(&tree, 5))), "taken");
    // A second log under another name would be a way round the first.
    assert_eq!(
        weigh(&log(), &offered(&note_as("n2", &tree, 5))),
        "witness-other-log"
    );
}

#[test]
fn what_strangers_write_below_a_checkpoint_is_not_kept() {
    let (mut watch, tree) = (witness(), tree(20, 20));
    let mut longer = note(&tree, 5);
    certs::checkpoint::add_signature(&mut longer, "x", &SigningKey::from_bytes(&[5; 32])).unwrap();
    let offered = ConsistencyFile {
        old: 0,
        proof: Vec::new(),
        checkpoint: SignedCheckpoint::parse(&longer).unwrap(),
    };
    answer(&mut watch, &offered.to_string(), 0);
    assert_eq!(watch.logs()[&log()].note(), note(&tree, 5));
}

#[test]
fn offers_have_a_rate() {
    let (mut watch, tree) = (witness(), tree(20, 20));
    let offered = offer(&tree, 0, 5);
    let refused = (0..)
        .find_map(|_| watch.weigh(&log(), &offered, 0).err())
        .unwrap();
    assert_eq!(
        refused,
        NotWeighed::TooOften {
            retry_after_ms: 250
        }
    );
    assert!(watch.weigh(&log(), &offered, 249).is_err());
    assert!(watch.weigh(&log(), &offered, 500).is_ok());
}
