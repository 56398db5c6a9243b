//! What a leaf of the log can be: a share that was given, or a word of the operator or of the node itself.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::record::{self, AuditRecord, MAX_RECORD, RecordError};

/// Longest reason that an operator may give, in bytes.
pub const MAX_REASON: usize = 1_024;

/// Something that the operator did to what the node gives: suspended a key, agreed to another policy, and so on; or that the node promised in a
/// reshare.
///
/// The encoding is CBOR in core deterministic form, like that of [`AuditRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorRecord {
    /// `suspend-key`, `resume-key`, `suspend-document`, `resume-document`, `propose-policy`, `accept-policy` or `confirm-reshare`.
    pub action: String,
    /// Why, in the operator's words; of a policy, which ceremony gives it to which key, and in place of which; of a reshare, which ceremony and attempt.
    pub reason: String,
    /// Y, the SHA-256 of the document's wrapped key, or that of the policy.
    #[serde(with = "serde_bytes")]
    pub subject: [u8; 32],
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

impl OperatorRecord {
    /// The canonical bytes.
    ///
    /// # Errors
    /// [`RecordError::TooLong`] for a reason longer than [`MAX_REASON`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, RecordError> {
        let length = self.reason.len().max(self.action.len());
        if length > MAX_REASON {
            return Err(RecordError::TooLong { length });
        }
        let mut bytes = Vec::with_capacity(128 + self.reason.len());
        ciborium::into_writer(self, &mut bytes).map_err(|error| RecordError::Malformed {
            reason: error.to_string(),
        })?;
        Ok(bytes)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
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

/// One leaf of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditEntry {
    /// A share was given.
    Share(AuditRecord),
    /// The operator did something.
    Operator(OperatorRecord),
}

impl AuditEntry {
    /// Reads the canonical bytes of one of the two, and nothing else.
    ///
    /// # Errors
    /// [`RecordError`], as of a share's record.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD {
            let length = bytes.len();
            return Err(RecordError::TooLong { length });
        }
        match AuditRecord::from_bytes(bytes) {
            Ok(record) => Ok(Self::Share(record)),
            Err(error) => OperatorRecord::from_bytes(bytes)
                .map(Self::Operator)
                .map_err(|_| error),
        }
    }

    /// The entry as JSON for people and scripts: bytes in hexadecimal.
    #[must_use]
    pub fn as_json(&self) -> Value {
        match self {
            Self::Share(record) => record::as_json(record),
            Self::Operator(record) => json!({
                "action": record.action,
                "reason": record.reason,
                "subject": hex::encode(record.subject),
                "time_ms": record.time_ms,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_word_of_the_operator_has_one_encoding() {
        let record = OperatorRecord {
            action: "suspend-key".to_owned(),
            reason: "a disk was stolen".to_owned(),
            subject: [7; 32],
            time_ms: 1_800_000_000_000,
        };
        let bytes = record.to_bytes().unwrap();
        // Four keys in the order of RFC 8949, section 4.2.1.
        assert_eq!(bytes.first(), Some(&0xa4));
        assert_eq!(
            AuditEntry::from_bytes(&bytes).unwrap(),
            AuditEntry::Operator(record.clone())
        );
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(AuditEntry::from_bytes(&longer).is_err());
        let wordy = OperatorRecord {
            reason: "x".repeat(MAX_REASON + 1),
            ..record
        };
        assert!(wordy.to_bytes().is_err());
    }
}
