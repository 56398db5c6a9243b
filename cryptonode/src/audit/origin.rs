//! The name of a node's log, which is also the name of the key that signs its checkpoints.

use certs::cosignature::WitnessKey;
use certs::note::{NoteError, NoteKey};
use ed25519_dalek::VerifyingKey;

/// The origin of a node's log: `cryptonode/<name>/<first 16 hexadecimal digits of the identity>`, so that two nodes of one
/// name have different logs.
#[must_use]
pub fn origin_of(name: &str, identity: &[u8; 32]) -> String {
    let prefix: String = hex::encode(identity).chars().take(16).collect();
    format!("cryptonode/{name}/{prefix}")
}

/// The key that verifies the checkpoints of the node `name`: its Ed25519 identity.
///
/// # Errors
/// [`NoteError`] if the name cannot stand in a signed note, or the identity is no key.
pub fn note_key(name: &str, identity: &[u8; 32]) -> Result<NoteKey, NoteError> {
    let key = VerifyingKey::from_bytes(identity).map_err(|_| NoteError::Key)?;
    NoteKey::new(&origin_of(name, identity), key)
}

/// Whether this is the name of a log of the node with this identity, whatever the node is called.
#[must_use]
pub fn is_origin_of(origin: &str, identity: &[u8; 32]) -> bool {
    let name = origin
        .strip_prefix("cryptonode/")
        .and_then(|rest| rest.rsplit_once('/'))
        .map(|(name, _)| name);
    name.is_some_and(|name| !name.is_empty() && origin_of(name, identity) == origin)
}

/// The key that verifies what the node `name` says of others' logs as their witness: the same identity, under the same name.
///
/// # Errors
/// As [`note_key`].
pub fn witness_key(name: &str, identity: &[u8; 32]) -> Result<WitnessKey, NoteError> {
    let key = VerifyingKey::from_bytes(identity).map_err(|_| NoteError::Key)?;
    WitnessKey::new(&origin_of(name, identity), key)
}
