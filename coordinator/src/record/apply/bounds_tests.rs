//! What keeps one transaction or one block from taking the time of millions.

use super::write_id_tests::{id, state, version};
use super::{MAX_FORGOTTEN, apply, finish_block};
use crate::record::{
    Author, BlockContext, Body, Document, Encryption, KeyWrapping, MAX_BLOCK_TRANSACTIONS,
    MAX_VERSIONS, State, Transaction, UnsignedTransaction, UserName, VersionName, Write,
    state::Key32,
};
use ed25519_dalek::SigningKey;

/// Transactions of a whole hour may all expire at one instant, if their authors want it so. The block after that must not take
/// the time of all of them; and the blocks that follow must get through them faster than new ones can come.
#[test]
fn what_expires_at_once_is_forgotten_over_several_blocks() {
    let mut state = State::empty([1; 32]);
    let rows = 2 * MAX_FORGOTTEN as u64 + 10;
    let key = |number: u64| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Key32(id)
    };
    for number in 0..rows {
        state
            .unexpired
            .put(&mut state.tree, (1000, key(number)), ());
    }
    state.unexpired.put(&mut state.tree, (2001, key(0)), ());
    let mut left = Vec::new();
    for height in 1..=4 {
        let block = BlockContext {
            height,
            time_ms: 2000,
        };
        finish_block(&mut state, &block, [0; 32]);
        left.push(state.unexpired.len());
    }
    assert_eq!(left, [MAX_FORGOTTEN + 11, 11, 1, 1]);
    assert!(state.unexpired.contains(&(2001, key(0))));
    const { assert!(MAX_FORGOTTEN > MAX_BLOCK_TRANSACTIONS) };
}

/// An erasure of a document is one transaction and goes through all its versions.
#[test]
fn a_document_has_no_more_versions_than_one_erasure_ends() {
    let ann = UserName {
        tenant: id("acme"),
        user: id("ann"),
    };
    let key = SigningKey::from_bytes(&[7; 32]);
    for (latest, expected) in [(MAX_VERSIONS - 1, None), (MAX_VERSIONS, Some("too-large"))] {
        let mut state = state(&ann, &key, Encryption::None);
        let latest = latest as u64;
        let document = Document {
            latest,
            erased: false,
            changed_ms: 0,
        };
        let name = version().document_name();
        state.documents.put(&mut state.tree, name, document);
        let VersionName {
            tenant,
            dataset,
            document,
            ..
        } = version();
        let content = UnsignedTransaction {
            ledger: [1; 32],
            author: Author::User(ann.clone()),
            nonce: [0; 16],
            expires_ms: 10,
            transaction: Transaction::Write(Write {
                tenant,
                dataset,
                document,
                version: latest + 1,
                content_type: None,
                length: 1,
                checksum: [0; 32],
                wrapped_dek1: vec![],
                key: KeyWrapping::None,
                body: Body::OffChain { pointer: vec![1] },
            }),
        };
        let block = BlockContext {
            height: 1,
            time_ms: 1,
        };
        let outcome = apply(&mut state, &block, &content.sign(&key));
        assert_eq!(outcome.err().map(|rejection| rejection.code()), expected);
    }
}
