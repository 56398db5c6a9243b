#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use reencrypt::{KeyShare, PublicKeyPackage, SecretScalar};

use super::*;

/// A key of one member, which hands it on to itself.
struct World {
    secret: SecretScalar,
    policy: certs::Policy,
}

fn world() -> World {
    let issuer =
        certs::Issuer::generate("A", certs::Algorithm::Ed25519, 1_700_000_000, 4_000_000_000)
            .unwrap();
    let organisation = certs::Organisation {
        name: "A".to_owned(),
        issuers: vec![issuer.certificate_der().to_vec()],
    };
    let policy = certs::PolicyConfig {
        approvals_needed: 1,
        organisations: vec![organisation],
        max_lifetime_s: 300,
        tolerance_s: 30,
    };
    World {
        secret: SecretScalar::random(&mut rand::rng()),
        policy: certs::Policy::new(policy).unwrap(),
    }
}

fn name(epoch: u64) -> ResultName {
    ResultName {
        epoch,
        attempt: 1,
        hash: [9; 64],
    }
}

fn version(epoch: u64) -> ResultVersion {
    (&name(epoch)).into()
}

impl World {
    fn key(&self, epoch: u64) -> ActiveKey {
        let public_key = self.secret.public();
        let secret = SecretScalar::from_canonical_bytes(&self.secret.to_bytes()).unwrap();
        ActiveKey {
            share: KeyShare::new(1, epoch, public_key, secret).unwrap(),
            package: PublicKeyPackage::new(public_key, epoch, 1, vec![public_key]).unwrap(),
            result: name(epoch),
            policy: self.policy.clone(),
            members: Vec::new(),
            certificate: Vec::new(),
        }
    }

    /// A key that was reshared so often, once a second, before any overlap was over.
    fn reshared(&self, times: u64) -> KeyEntry {
        let mut entry = KeyEntry::new(*self.secret.public().as_bytes());
        for epoch in 0..=times {
            entry
                .activate(self.key(epoch), 100 + epoch, 1_000 + epoch)
                .unwrap();
        }
        entry
    }
}

/// The epochs that are answered for, asked for one by one.
fn answered(entry: &KeyEntry, up_to: u64) -> Vec<u64> {
    let entry = Arc::new(entry.clone());
    (0..=up_to)
        .filter(|epoch| entry.choose(Some(version(*epoch))).is_ok())
        .collect()
}

#[test]
fn a_second_reshare_within_the_overlap_keeps_what_is_still_served() {
    let world = world();
    let mut entry = world.reshared(2);
    assert_eq!(answered(&entry, 2), [0, 1, 2]);
    // All members of epoch 1 have it: what was before it goes when that overlap is over, and not earlier.
    entry.set_end(&name(1), 200);
    assert!(entry.erase_due(199).is_empty());
    assert_eq!(entry.erase_due(200), [name(0)]);
    assert_eq!(answered(&entry, 2), [1, 2]);
    assert!(entry.erase_due(201).is_empty());
    entry.set_end(&name(2), 300);
    assert_eq!(entry.erase_due(300), [name(1)]);
    assert_eq!(answered(&entry, 2), [2]);
    assert!(entry.state().overlaps.is_empty());
    let erased: Vec<Option<u64>> = entry
        .state()
        .history
        .iter()
        .map(|past| past.erased)
        .collect();
    assert_eq!(erased, [Some(200), Some(300), None]);
}

#[test]
fn what_is_before_a_result_that_all_have_goes_with_it() {
    let mut entry = world().reshared(2);
    // Not all have epoch 1, but all have epoch 2.
    entry.set_end(&name(2), 200);
    assert_eq!(entry.erase_due(200), [name(1), name(0)]);
    assert!(entry.state().overlaps.is_empty());
    assert_eq!(answered(&entry, 2), [2]);
}

#[test]
fn without_news_of_the_members_each_share_goes_at_its_latest() {
    let mut entry = world().reshared(2);
    assert!(entry.erase_due(1_000).is_empty());
    assert_eq!(entry.erase_due(1_001), [name(0)]);
    assert_eq!(entry.erase_due(1_002), [name(1)]);
}

#[test]
fn the_earlier_shares_are_bounded_and_a_full_node_says_until_when() {
    let world = world();
    let most = u64::try_from(MAX_PREVIOUS).unwrap();
    let entry = world.reshared(most - 1);
    assert_eq!(entry.is_full_until(), None);
    let entry = world.reshared(most);
    assert_eq!(entry.is_full_until(), Some(1_001));
    assert_eq!(answered(&entry, most).len(), MAX_PREVIOUS + 1);
    // What is certified all the same is taken, and the earliest goes.
    let entry = world.reshared(most + 1);
    assert_eq!(entry.previous().len(), MAX_PREVIOUS);
    assert_eq!(entry.state().history[0].erased, Some(100 + most + 1));
    assert!(answered(&entry, 0).is_empty());
}

#[test]
fn who_hands_its_place_on_within_the_overlap_serves_both_until_then() {
    let world = world();
    let mut entry = world.reshared(1);
    entry.retire(name(2), world.policy.clone(), 102, 1_002);
    assert_eq!(answered(&entry, 2), [0, 1]);
    assert_eq!(entry.erase_due(1_001), [name(0)]);
    assert_eq!(entry.erase_due(1_002), [name(1)]);
    assert!(answered(&entry, 2).is_empty());
}
