//! One audit record and its only encoding.

use serde::{Deserialize, Serialize};
use serde_json::json;

/// Longest encoding of a record in bytes. 64 approvals with ids and organisation names of ordinary length fit easily.
pub const MAX_RECORD: usize = 64 * 1024;

/// One approval that counted for a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditApproval {
    /// The ledger's approval id, as the certificate carried it.
    pub approval_id: String,
    /// The organisation of the key's policy that it counted for.
    pub organisation: String,
    /// SHA-256 of the issuer certificate's DER.
    #[serde(with = "serde_bytes")]
    pub issuer_fingerprint: [u8; 32],
}

/// What a node remembers of one share that it gave (protocol section 9).
///
/// The encoding is CBOR (RFC 8949) in core deterministic form: the fields below stand in the order that section 4.2.1
/// asks for, so that the derived encoding is the canonical one. These bytes are the leaf of the Merkle tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRecord {
    /// Epoch of the key.
    pub epoch: u64,
    /// SHA-256 of the client's SubjectPublicKeyInfo (DER), from its TLS certificate.
    #[serde(with = "serde_bytes")]
    pub client: [u8; 32],
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// SHA-256 of the wrapped key that the share re-encrypts.
    #[serde(with = "serde_bytes")]
    pub write_id: [u8; 32],
    /// The approvals that counted.
    pub approvals: Vec<AuditApproval>,
    /// The cluster key Y.
    #[serde(with = "serde_bytes")]
    pub public_key: [u8; 32],
    /// The ephemeral key's point X.
    #[serde(with = "serde_bytes")]
    pub ephemeral_point: [u8; 32],
}

/// Why bytes are not an audit record, or a record has no encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Longer than [`MAX_RECORD`].
    #[error("an audit record of {length} bytes is longer than the {MAX_RECORD} that are allowed")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Not CBOR of this shape.
    #[error("not an audit record: {reason}")]
    Malformed {
        /// The decoder's reason.
        reason: String,
    },
    /// CBOR of this shape, but not in its one canonical encoding.
    #[error("an audit record in an encoding that is not the canonical one")]
    NotCanonical,
}

impl AuditRecord {
    /// The canonical bytes.
    ///
    /// # Errors
    /// [`RecordError::TooLong`] if they exceed [`MAX_RECORD`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, RecordError> {
        let mut bytes = Vec::with_capacity(256 + self.approvals.len() * 128);
        ciborium::into_writer(self, &mut bytes).map_err(|error| RecordError::Malformed {
            reason: error.to_string(),
        })?;
        if bytes.len() > MAX_RECORD {
            return Err(RecordError::TooLong {
                length: bytes.len(),
            });
        }
        Ok(bytes)
    }

    /// Reads the canonical bytes, and nothing else.
    ///
    /// # Errors
    /// [`RecordError`] for a length over [`MAX_RECORD`], another shape, trailing bytes, or another encoding of the same record.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD {
            return Err(RecordError::TooLong {
                length: bytes.len(),
            });
        }
        let record: Self =
            ciborium::from_reader(bytes).map_err(|error| RecordError::Malformed {
                reason: error.to_string(),
            })?;
        if record.to_bytes()? != bytes {
            return Err(RecordError::NotCanonical);
        }
        Ok(record)
    }
}

/// The epoch and the key of a share's record, without decoding all of it: the first field, and one at a fixed distance from the end
/// in the canonical encoding. `None` for other records.
#[cfg(feature = "node")]
pub(super) fn epoch_and_key(bytes: &[u8]) -> Option<(u64, [u8; 32])> {
    // A map of seven, "epoch".
    let rest = bytes.strip_prefix(b"\xa7\x65epoch")?;
    let epoch = match rest.split_first()? {
        (small @ 0..=0x17, _) => u64::from(*small),
        (0x18, rest) => u64::from(*rest.first()?),
        (0x19, rest) => u16::from_be_bytes(*rest.first_chunk()?).into(),
        (0x1a, rest) => u32::from_be_bytes(*rest.first_chunk()?).into(),
        (0x1b, rest) => u64::from_be_bytes(*rest.first_chunk()?),
        _ => return None,
    };
    // "public_key", 32 bytes, "ephemeral_point", 32 bytes.
    const BEHIND: usize = 16 + 2 + 32;
    let key = bytes.get(..bytes.len().checked_sub(BEHIND)?)?;
    let (head, key) = key.split_last_chunk()?;
    head.ends_with(b"\x6apublic_key\x58\x20")
        .then_some((epoch, *key))
}

/// A record as JSON for people and scripts: bytes in hexadecimal.
#[must_use]
pub fn as_json(record: &AuditRecord) -> serde_json::Value {
    json!({
        "time_ms": record.time_ms,
        "client": hex::encode(record.client),
        "public_key": hex::encode(record.public_key),
        "epoch": record.epoch,
        "write_id": hex::encode(record.write_id),
        "ephemeral_point": hex::encode(record.ephemeral_point),
        "approvals": record.approvals.iter().map(|approval| json!({
            "approval_id": approval.approval_id,
            "organisation": approval.organisation,
            "issuer_fingerprint": hex::encode(approval.issuer_fingerprint),
        })).collect::<Vec<_>>(),
    })
}
