//! Every domain-separation tag of the record, in one place, and the hash that uses them.
//!
//! What is hashed or signed is the canonical encoding of the array `[tag, value]`, so that no bytes mean two things.

use super::canonical;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// The genesis; its hash is the ledger's id.
pub(super) const GENESIS: &str = "coordinator/v1/genesis";
/// What an author signs.
pub(super) const TRANSACTION: &str = "coordinator/v1/transaction";
/// What a new key signs when a user rotates to it.
pub(super) const ROTATION: &str = "coordinator/v1/key-rotation";
/// What a company certificate's key signs when a user is bound to it.
pub(super) const CERTIFICATE: &str = "coordinator/v1/certificate-binding";
/// What a company certificate's key signs when a client is bound to it.
pub(super) const CLIENT: &str = "coordinator/v1/client-binding";
/// A change of the organisations.
pub(super) const CHANGE: &str = "coordinator/v1/organisation-change";
/// A block's header.
pub(super) const BLOCK: &str = "coordinator/v1/block";
/// The label of a wrapped key.
pub(super) const LABEL: &str = "coordinator/v1/wrapped-key-label";
/// The seed of the weights by which a transaction's proofs are verified.
pub(super) const WEIGHTS: &str = "coordinator/v1/proof-weights";

/// A row's key in the state tree.
pub(super) const STATE_KEY: &str = "coordinator/v1/state-key";
/// A row's value in the state tree.
pub(super) const STATE_VALUE: &str = "coordinator/v1/state-value";

/// The canonical encoding of `[tag, value]`.
pub(super) fn statement<T: Serialize + ?Sized>(tag: &str, value: &T) -> Vec<u8> {
    canonical::to_bytes(&(tag, value))
}

/// SHA-256 over [`statement`].
pub(super) fn tagged<T: Serialize + ?Sized>(tag: &str, value: &T) -> [u8; 32] {
    Sha256::digest(statement(tag, value)).into()
}
