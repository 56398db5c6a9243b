//! The rule that a `write_id` is on the record once, by itself.
//!
//! The label names the version, and a version is written once, so the same wrapped key cannot come a second time past
//! the checks in front. That is an argument about other rules; this one must hold without them.

use super::apply;
use crate::record::{
    Author, BlockContext, Body, Dataset, Encryption, Identifier, KeyWrapping, Organisation,
    Permissions, Rejection, State, Storage, Tenant, Transaction, UnsignedTransaction, User,
    UserName, UserRole, VersionName, Write, label::wrapped_key_label, state::Key32,
};
use ed25519_dalek::SigningKey;
use reencrypt::SecretScalar;
use serde_bytes::ByteBuf;

pub(super) fn id(name: &str) -> Identifier {
    Identifier::new(name).unwrap()
}

/// A state with one dataset of ann's, made by hand.
pub(super) fn state(ann: &UserName, key: &SigningKey, encryption: Encryption) -> State {
    let mut state = State::empty([1; 32]);
    let public_key = key.verifying_key().to_bytes();
    let (operator_key, head_key) = (public_key, public_key);
    let alpha = Organisation {
        name: id("alpha"),
        operator_key,
        head_key,
        issuers: vec![ByteBuf::new()],
    };
    let tenant = Tenant {
        organisation: id("alpha"),
        registered_ms: 0,
    };
    let role = UserRole::Member;
    let user = User {
        public_key,
        key_version: 1,
        role,
        suspended: false,
        expires_ms: None,
        certificate: None,
        must_be_bound: false,
        managed: false,
        registered_ms: 0,
    };
    let storage = Storage::OffChain;
    let dataset = Dataset {
        version: 1,
        encryption,
        storage,
        changed_by: ann.clone(),
        changed_ms: 0,
    };
    let name = version().dataset_name();
    state.organisations.put(&mut state.tree, id("alpha"), alpha);
    state.tenants.put(&mut state.tree, id("acme"), tenant);
    state.users.put(&mut state.tree, ann.clone(), user);
    state.datasets.put(&mut state.tree, name.clone(), dataset);
    state.permissions.put(
        &mut state.tree,
        name,
        Permissions::of_creator(ann.clone(), Author::User(ann.clone()), 0),
    );
    state
}

pub(super) fn version() -> VersionName {
    VersionName {
        tenant: id("acme"),
        dataset: id("data"),
        document: id("doc"),
        version: 1,
    }
}

#[test]
fn a_known_write_id_is_refused() {
    let rng = &mut rand::rng();
    let y = SecretScalar::random(rng).public();
    let ann = UserName {
        tenant: id("acme"),
        user: id("ann"),
    };
    let key = SigningKey::from_bytes(&[7; 32]);
    let mut state = state(
        &ann,
        &key,
        Encryption::Threshold {
            public_key: *y.as_bytes(),
        },
    );

    let wrapped = reencrypt::wrap(&y, &wrapped_key_label(&version(), &ann), &[9; 32], rng).unwrap();
    let VersionName {
        tenant,
        dataset,
        document,
        version,
    } = version();
    let write = Transaction::Write(Write {
        tenant,
        dataset,
        document,
        version,
        content_type: None,
        length: 1,
        checksum: [0; 32],
        wrapped_dek1: vec![1],
        key: KeyWrapping::Threshold {
            wrapped_key: wrapped.as_bytes().to_vec(),
        },
        body: Body::OffChain { pointer: vec![1] },
    });
    let author = Author::User(ann);
    let content = UnsignedTransaction {
        ledger: [1; 32],
        author,
        nonce: [0; 16],
        expires_ms: 10,
        transaction: write,
    };
    let signed = content.sign(&key);
    let block = BlockContext {
        height: 1,
        time_ms: 1,
    };

    let mut known = state.clone();
    let write_id = wrapped.write_id();
    known
        .write_ids
        .put(&mut known.tree, Key32(write_id), Key32([3; 32]));
    let root = known.root();
    assert_eq!(
        apply(&mut known, &block, &signed),
        Err(Rejection::WriteIdKnown { write_id })
    );
    assert_eq!(known.root(), root);
    assert!(apply(&mut state, &block, &signed).is_ok());
    assert!(state.write_ids.contains(&Key32(write_id)));
}
