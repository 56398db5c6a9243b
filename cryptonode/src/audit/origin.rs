//! The name of a node's log, which is also the name of the key that signs its checkpoints.

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
