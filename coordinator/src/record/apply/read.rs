//! Reads: who opens what, and to which key.

use super::{Rules, active_user, bounded};
use crate::record::{
    event::Event,
    identifier::{UserName, VersionName},
    rejection::Rejection,
    state::{Content, Key32, RecordedRead, State, ThresholdKey},
    transaction::{EPHEMERAL_KEY_LENGTH, MAX_CLIENT_SPKI, Read, Reencryption, Role},
};
use reencrypt::{EphemeralKey, EphemeralKeyError, Point, ProofError};

impl Rules<'_> {
    pub(super) fn read(&mut self, it: &Read) -> Result<Vec<Event>, Rejection> {
        let reader = self.user()?;
        let name = it.name();
        let content = readable(self.state, &reader, &name, self.block.time_ms)?;
        let point = match (&content.threshold, &it.reencryption) {
            (Some(key), Some(asked)) => Some(self.check_reencryption(&reader, &name, key, asked)?),
            (None, None) => None,
            (key, _) => {
                return Err(Rejection::Reencryption {
                    version: name,
                    needed: key.is_some(),
                });
            }
        };

        let id = self.transaction.id();
        let key_version = self.state.user(&reader).map_or(0, |user| user.key_version);
        let read = RecordedRead {
            reader,
            key_version,
            name: name.clone(),
            height: self.block.height,
            time_ms: self.block.time_ms,
            reencryption: it.reencryption.clone(),
        };
        let state = &mut *self.state;
        if let Some(point) = point {
            state
                .ephemeral_points
                .put(&mut state.tree, Key32(point), Key32(id));
        }
        state.reads.put(&mut state.tree, Key32(id), read);
        Ok(vec![Event::ReadRecorded {
            version: name,
            approval_id: hex::encode(id),
        }])
    }

    /// Checks what the read is re-encrypted to, and returns X.
    fn check_reencryption(
        &self,
        reader: &UserName,
        version: &VersionName,
        key: &ThresholdKey,
        asked: &Reencryption,
    ) -> Result<[u8; 32], Rejection> {
        if asked.write_id != key.write_id {
            return Err(Rejection::WriteId {
                version: version.clone(),
                found: asked.write_id,
            });
        }
        bounded("the client's key", asked.client_spki.len(), MAX_CLIENT_SPKI)?;
        if !is_der_sequence(&asked.client_spki) {
            return Err(Rejection::ClientKey);
        }
        let (tenant, time_ms) = (&reader.tenant, self.block.time_ms);
        self.state
            .client_stands(tenant, &asked.client_spki, time_ms)?;
        bounded(
            "the ephemeral key",
            asked.ephemeral_key.len(),
            EPHEMERAL_KEY_LENGTH,
        )?;
        let malformed = |error: EphemeralKeyError| Rejection::EphemeralKey {
            reason: error.to_string(),
        };
        let ephemeral = EphemeralKey::parse(&asked.ephemeral_key).map_err(malformed)?;
        let point = *ephemeral.point().as_bytes();
        if self.state.ephemeral_points.contains(&Key32(point)) {
            return Err(Rejection::EphemeralKeyUsed { point });
        }
        let cluster =
            Point::from_bytes(&key.public_key).map_err(|error| Rejection::ClusterKey {
                reason: error.to_string(),
            })?;
        self.verifier
            .ephemeral_key(self.transaction, &ephemeral, &cluster, &key.write_id)
            .map_err(|error| match error {
                EphemeralKeyError::Proof(ProofError::False) => Rejection::EphemeralKeyProof,
                other => malformed(other),
            })?;
        Ok(point)
    }
}

/// What a read of `version` by `reader` gets, if it may be read at this time by this state. Asked when a read is
/// applied, and again by each peer before it approves.
pub(in crate::record) fn readable<'s>(
    state: &'s State,
    reader: &UserName,
    version: &VersionName,
    time_ms: u64,
) -> Result<&'s Content, Rejection> {
    active_user(state, reader, time_ms)?;
    let dataset = version.dataset_name();
    if state.dataset(&dataset).is_none() {
        return Err(Rejection::UnknownDataset(dataset));
    }
    if !state.allows(reader, &dataset, Role::Reader) {
        return Err(Rejection::NotPermitted {
            user: reader.clone(),
            role: Role::Reader,
            dataset,
        });
    }
    let row = state
        .version(version)
        .ok_or_else(|| Rejection::UnknownVersion(version.clone()))?;
    row.content
        .as_ref()
        .ok_or_else(|| Rejection::Erased(version.to_string()))
}

impl State {
    /// Whether a read of a version by a user would be accepted at this time, whatever it is re-encrypted to.
    #[must_use]
    pub fn may_read(&self, reader: &UserName, version: &VersionName, time_ms: u64) -> bool {
        readable(self, reader, version, time_ms).is_ok()
    }
}

/// Whether the bytes are one DER SEQUENCE and nothing after it: enough that nobody takes something else for a key. The
/// issuer reads the rest.
fn is_der_sequence(bytes: &[u8]) -> bool {
    match bytes {
        [0x30, length, rest @ ..] if *length < 0x80 => rest.len() == usize::from(*length),
        [0x30, 0x81, length, rest @ ..] => *length >= 0x80 && rest.len() == usize::from(*length),
        [0x30, 0x82, high, low, rest @ ..] => {
            *high > 0 && rest.len() == usize::from(u16::from_be_bytes([*high, *low]))
        }
        _ => false,
    }
}
