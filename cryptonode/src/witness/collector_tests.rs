#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::collections::BTreeMap;

use certs::checkpoint::sign;
use certs::merkle::{Tree, leaf_hash};
use ed25519_dalek::SigningKey;

use super::super::{Reply, Watch};
use super::*;
use crate::audit::{note_key, origin_of, witness_key};

fn signing(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn identity(seed: u8) -> Identity {
    signing(seed).verifying_key().to_bytes()
}

/// A log in memory.
struct Log(Tree);

impl Log {
    fn new(size: u64, story: u8) -> Self {
        let leaf = |n: u64| leaf_hash(&[&[story], n.to_le_bytes().as_slice()].concat());
        Self((0..size).map(leaf).collect())
    }

    fn note(&self) -> String {
        let origin = origin_of("n1", &identity(1));
        let head = Checkpoint {
            origin: origin.clone(),
            size: self.0.size(),
            root: self.0.root(),
        };
        sign(&head, &origin, &signing(1)).unwrap()
    }
}

impl History for Log {
    fn root_at(&self, size: u64) -> Option<Hash> {
        self.0.root_at(size).ok()
    }

    fn consistency(&self, old: u64, new: u64) -> Option<Vec<Hash>> {
        self.0.consistency_proof(old, new).ok()
    }
}

/// A log's collector and its witnesses, of which some do not answer.
struct Village {
    collector: Collector,
    witnesses: BTreeMap<Identity, Watch>,
    silent: Vec<Identity>,
    offers: usize,
}

impl Village {
    fn new(witnesses: u8) -> Self {
        let seeds = 2..2 + witnesses;
        Self {
            collector: Collector::new(note_key("n1", &identity(1)).unwrap()),
            witnesses: seeds
                .map(|seed| {
                    let name = origin_of("w", &identity(seed));
                    let watch = Watch::new(&name, &signing(seed), BTreeMap::new());
                    (identity(seed), watch)
                })
                .collect(),
            silent: Vec::new(),
            offers: 0,
        }
    }

    fn keys(&self) -> Vec<(Identity, WitnessKey)> {
        let identities = self.witnesses.keys();
        identities
            .map(|identity| (*identity, witness_key("w", identity).unwrap()))
            .collect()
    }

    /// One round to its end; what is left of the effects.
    fn round(&mut self, log: &Log, now_ms: u64) -> Vec<Effect> {
        let keys = self.keys();
        let mut open = self.collector.begin(&log.note(), keys, log, now_ms);
        let mut rest = Vec::new();
        while let Some(effect) = open.pop() {
            let Effect::Offer { to, offer } = effect else {
                rest.push(effect);
                continue;
            };
            self.offers += 1;
            let heard = if self.silent.contains(&to) {
                Heard::Failed("it is away".to_owned())
            } else {
                let watch = self.witnesses.get_mut(&to).unwrap();
                let weighed = watch.weigh(&identity(1), &offer, now_ms).unwrap();
                match watch.take(weighed, now_ms / 1000).unwrap() {
                    Reply::Cosigned(lines) => Heard::Cosigned(lines),
                    Reply::Seen(note) => Heard::Seen(note),
                }
            };
            open.extend(self.collector.heard(&to, heard, log, now_ms));
        }
        rest
    }
}

fn published(effects: &[Effect]) -> SignedCheckpoint {
    let [Effect::Publish(note)] = effects else {
        panic!("{effects:?}")
    };
    SignedCheckpoint::parse(note).unwrap()
}

#[test]
fn a_round_brings_the_cosignatures_of_all_that_answer() {
    let mut village = Village::new(3);
    let keys: Vec<WitnessKey> = village.keys().into_iter().map(|(_, key)| key).collect();
    let checkpoint = published(&village.round(&Log::new(5, 0), 7_000));
    let cosigners = checkpoint.cosigners(&keys).unwrap();
    assert_eq!(cosigners.len(), 3);
    assert!(cosigners.iter().all(|cosigned| cosigned.time_s == 7));
    assert_eq!(village.offers, 3, "nobody is asked twice");

    // Who was away for a round has seen less, and gets the longer proof.
    village.silent = vec![identity(2)];
    let checkpoint = village.round(&Log::new(8, 0), 8_000);
    assert_eq!(checkpoint, [], "fewer than before: the better one stays");
    village.silent.clear();
    let checkpoint = published(&village.round(&Log::new(11, 0), 9_000));
    assert_eq!(checkpoint.claimed().size, 11);
    assert_eq!(checkpoint.cosigners(&keys).unwrap().len(), 3);
    assert_eq!(village.offers, 9);

    // One that never comes back does not hold up the others for ever.
    village.silent = vec![identity(2)];
    let checkpoint = published(&village.round(&Log::new(12, 0), 9_000 + STALE_MS));
    assert_eq!(checkpoint.cosigners(&keys).unwrap().len(), 2);
}

#[test]
fn a_node_that_was_started_anew_learns_what_its_witnesses_have_seen() {
    let mut village = Village::new(2);
    village.round(&Log::new(5, 0), 0);
    village.collector = Collector::new(note_key("n1", &identity(1)).unwrap());
    village.offers = 0;
    let checkpoint = published(&village.round(&Log::new(9, 0), 1_000));
    assert_eq!((checkpoint.claimed().size, village.offers), (9, 4));
}

#[test]
fn a_log_that_was_set_back_or_rewritten_is_told_by_its_own_signature() {
    for log in [Log::new(3, 0), Log::new(5, 1), Log::new(9, 1)] {
        let mut village = Village::new(2);
        village.round(&Log::new(5, 0), 0);
        village.collector = Collector::new(note_key("n1", &identity(1)).unwrap());
        let effects = village.round(&log, 1_000);
        let heads: Vec<&Checkpoint> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::SetBack(head) => Some(head),
                _ => None,
            })
            .collect();
        assert!(
            heads.len() >= 2 && heads.len() == effects.len(),
            "{effects:?}"
        );
        assert!(heads.iter().all(|head| head.size == 5));
        // The witnesses have both heads, because it offered all the same.
        for watch in village.witnesses.values() {
            let kept = &watch.logs()[&identity(1)];
            let refused = kept.refused().unwrap();
            assert_ne!(refused.kind, super::super::FindingKind::Unproven);
            assert_eq!(refused.shown, log.note());
        }
        // It says so of itself.
        assert!(
            village
                .collector
                .outcomes()
                .all(|(_, outcome)| matches!(outcome, Some(Outcome::Refused { .. })))
        );
    }
}

#[test]
fn false_answers_are_worth_nothing_and_a_round_ends_all_the_same() {
    let mut village = Village::new(1);
    let log = Log::new(5, 0);
    let (witness, _) = village.keys().remove(0);
    let other = Log::new(5, 1).note();
    for (false_answer, offers) in [
        (Heard::Cosigned(String::new()), 0),
        (Heard::Cosigned("— w AAAA\n".to_owned()), 0),
        (
            Heard::Cosigned(log.note().split_once("\n\n").unwrap().1.to_owned()),
            0,
        ),
        (Heard::Seen("no checkpoint".to_owned()), 0),
        (Heard::Seen(other.replace("5\n", "6\n")), 0),
        (Heard::Failed("it is away".to_owned()), 0),
        // It takes no proof, and says so for ever: asked as often as is allowed.
        (Heard::Seen(String::new()), usize::from(MAX_STEPS) - 1),
    ] {
        let keys = village.keys();
        let effects = village.collector.begin(&log.note(), keys, &log, 0);
        assert!(matches!(effects[..], [Effect::Offer { .. }]));
        for again in 0..=offers {
            let effects = village
                .collector
                .heard(&witness, false_answer.clone(), &log, 0);
            let expected = usize::from(again < offers);
            assert_eq!(effects.len(), expected, "{false_answer:?}");
            assert!(!effects.iter().any(|e| matches!(e, Effect::SetBack(_))));
        }
        assert!(village.collector.is_due(1, 5, 1, 1_000), "the round ended");
        assert!(matches!(
            village.collector.outcomes().next().unwrap().1,
            Some(Outcome::Refused { .. } | Outcome::Silent { .. })
        ));
    }
}

#[test]
fn rounds_are_due_by_time_and_by_records() {
    let mut village = Village::new(1);
    let log = Log::new(5, 0);
    assert!(village.collector.is_due(0, 5, 60_000, 100), "at the start");
    village.round(&log, 0);
    for (now_ms, size, due) in [(59_999, 104, false), (60_000, 5, true), (1_000, 105, true)] {
        assert_eq!(village.collector.is_due(now_ms, size, 60_000, 100), due);
    }
    // What must be seen at once is, if it was not offered already.
    assert!(!village.collector.lacks(5) && village.collector.lacks(6));
    let keys = village.keys();
    let _ = village.collector.begin(&log.note(), keys, &log, 100_000);
    assert!(
        !village.collector.is_due(u64::MAX, 500, 60_000, 100) && !village.collector.lacks(6),
        "one at a time"
    );
}
