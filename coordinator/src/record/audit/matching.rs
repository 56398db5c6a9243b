//! Which read on the record an approval or a share is of, and whether it is of that very one.

use super::VerifiedRecord;
use crate::record::{root::Hash, signed::TransactionId, state::RecordedRead};
use reencrypt::EphemeralKey;
use sha2::{Digest as _, Sha256};

/// What something says that it is for.
pub(super) struct Asked<'a> {
    /// SHA-256 of the wrapped key.
    pub(super) write_id: &'a [u8; 32],
    /// X.
    pub(super) ephemeral_point: &'a [u8; 32],
    /// SHA-256 of the client's SubjectPublicKeyInfo.
    pub(super) client: Hash,
    /// The cluster's key, where it is said.
    pub(super) public_key: Option<&'a [u8; 32]>,
}

/// The read that an approval's id names.
pub(super) fn read_of<'r>(
    record: &'r VerifiedRecord,
    approval_id: &str,
) -> Option<(TransactionId, &'r RecordedRead)> {
    let id: TransactionId = hex::decode(approval_id).ok()?.try_into().ok()?;
    // One spelling only: what a peer issued has lower-case digits.
    let read = record
        .state
        .read(&id)
        .filter(|_| hex::encode(id) == approval_id)?;
    Some((id, read))
}

/// What of the read is not what was asked for.
pub(super) fn difference(
    record: &VerifiedRecord,
    asked: &Asked<'_>,
    read: &RecordedRead,
) -> Option<&'static str> {
    let Some(recorded) = &read.reencryption else {
        return Some("write_id");
    };
    let point = EphemeralKey::parse(&recorded.ephemeral_key)
        .ok()
        .map(|key| *key.point().as_bytes());
    if recorded.write_id != *asked.write_id {
        Some("write_id")
    } else if point.as_ref() != Some(asked.ephemeral_point) {
        Some("ephemeral key")
    } else if <Hash>::from(Sha256::digest(&recorded.client_spki)) != asked.client {
        Some("client")
    } else if asked.public_key.is_some_and(|asked| {
        let known = record.state.cluster_key_of(read);
        known.is_some_and(|key| key != *asked)
    }) {
        Some("cluster key")
    } else {
        None
    }
}
