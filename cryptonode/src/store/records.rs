//! What the store's records say, as types.

use certs::checkpoint::Checkpoint;
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{Change, Store, StoreError, Table};
use crate::keyring::UnusableShare;

const ONLY: &[u8] = b"only";

/// A node's long-term keys, as far as they are on its disk: never ρ, which only the phrase has.
pub struct NodeIdentity {
    /// The Ed25519 identity.
    pub signing: SigningKey,
    /// R = ρ·G, to which the shares of ceremonies are sealed.
    pub recovery_public: [u8; 32],
}

impl std::fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeIdentity")
            .field("identity", &hex::encode(self.public()))
            .finish_non_exhaustive()
    }
}

impl NodeIdentity {
    /// The public identity.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }
}

/// Why the records are not usable.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record unseals but cannot be understood.
    #[error(
        "a record of the store cannot be understood ({what}: {reason}): start the version that wrote it, or restore the folder from a backup"
    )]
    Unreadable {
        /// Which record.
        what: &'static str,
        /// What does not hold.
        reason: String,
    },
    /// A share that does not fit its key.
    #[error(
        "{0}; this node does not start with a share that it cannot use: restore the folder from a backup"
    )]
    Share(#[from] UnusableShare),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredIdentity {
    #[serde(with = "serde_bytes")]
    seed: [u8; 32],
    #[serde(with = "serde_bytes")]
    recovery_public: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredHead {
    origin: String,
    size: u64,
    #[serde(with = "serde_bytes")]
    root: [u8; 32],
}

impl Drop for StoredIdentity {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

pub(super) fn encode<T: Serialize>(value: &T, at_most: usize) -> Zeroizing<Vec<u8>> {
    // Large enough that the buffer never moves and leaves no copy of a secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(at_most));
    #[allow(
        clippy::expect_used,
        reason = "writing plain structures into memory cannot fail"
    )]
    ciborium::into_writer(value, &mut *bytes).expect("CBOR into memory");
    bytes
}

pub(super) fn decode<T: for<'a> Deserialize<'a>>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, RecordsError> {
    ciborium::from_reader(bytes).map_err(|error| RecordsError::Unreadable {
        what,
        reason: error.to_string(),
    })
}

impl NodeIdentity {
    /// The change that writes it.
    #[must_use]
    pub fn to_change(&self) -> Change {
        let stored = StoredIdentity {
            seed: self.signing.to_bytes(),
            recovery_public: self.recovery_public,
        };
        Change::put(Table::Identity, ONLY, encode(&stored, 256))
    }
}

/// The change that remembers the head of the audit log.
#[must_use]
pub fn audit_head_change(head: &Checkpoint) -> Change {
    let stored = StoredHead {
        origin: head.origin.clone(),
        size: head.size,
        root: head.root,
    };
    Change::put(
        Table::AuditHead,
        ONLY,
        encode(&stored, 256 + head.origin.len()),
    )
}

/// The change that remembers how often the store was opened and closed with its audit log.
#[must_use]
pub fn opened_change(times: u64) -> Change {
    Change::put(
        Table::Opened,
        ONLY,
        Zeroizing::new(times.to_be_bytes().to_vec()),
    )
}

/// The change that keeps the policy that a ceremony is held under: the key gets it, whatever is configured by then.
#[must_use]
pub fn policy_change(policy: &certs::Policy) -> Change {
    Change::put(
        Table::Policy,
        &policy.hash(),
        Zeroizing::new(policy.to_bytes()),
    )
}

/// The change that marks a node as restored from its phrase: it has forgotten what it promised.
#[must_use]
pub fn restored_change() -> Change {
    Change::put(Table::Restored, ONLY, Zeroizing::new(vec![1]))
}

impl Store {
    /// Whether the node was restored from its phrase.
    ///
    /// # Errors
    /// [`RecordsError`] if that cannot be read.
    pub fn is_restored(&self) -> Result<bool, RecordsError> {
        Ok(self.get(Table::Restored, ONLY)?.is_some())
    }

    /// How often the store was opened and closed with its audit log.
    ///
    /// # Errors
    /// [`RecordsError`] if that cannot be read.
    pub fn opened(&self) -> Result<u64, RecordsError> {
        let Some(bytes) = self.get(Table::Opened, ONLY)? else {
            return Ok(0);
        };
        let times = bytes.as_slice().try_into().map(u64::from_be_bytes);
        times.map_err(|_| RecordsError::Unreadable {
            what: "how often the store was opened",
            reason: "it has another length".to_owned(),
        })
    }

    /// The node's long-term keys.
    ///
    /// # Errors
    /// [`RecordsError`] if they are not there or cannot be read.
    pub fn identity(&self) -> Result<NodeIdentity, RecordsError> {
        const WHAT: &str = "the identity";
        let bytes = self.get(Table::Identity, ONLY)?;
        let bytes = bytes.ok_or(RecordsError::Unreadable {
            what: WHAT,
            reason: "it is missing".to_owned(),
        })?;
        let stored: StoredIdentity = decode(WHAT, &bytes)?;
        Ok(NodeIdentity {
            signing: SigningKey::from_bytes(&stored.seed),
            recovery_public: stored.recovery_public,
        })
    }

    /// The policy with this hash, if a ceremony was held under it.
    ///
    /// # Errors
    /// [`RecordsError`] if it cannot be read.
    pub fn policy(&self, hash: &[u8; 32]) -> Result<Option<certs::Policy>, RecordsError> {
        const WHAT: &str = "a ceremony's policy";
        let Some(bytes) = self.get(Table::Policy, hash)? else {
            return Ok(None);
        };
        certs::Policy::from_bytes(&bytes)
            .map(Some)
            .map_err(|error| RecordsError::Unreadable {
                what: WHAT,
                reason: error.to_string(),
            })
    }

    /// The head of the audit log as it was last remembered.
    ///
    /// # Errors
    /// [`RecordsError`] if it cannot be read.
    pub fn audit_head(&self) -> Result<Option<Checkpoint>, RecordsError> {
        let Some(bytes) = self.get(Table::AuditHead, ONLY)? else {
            return Ok(None);
        };
        let stored: StoredHead = decode("the head of the audit log", &bytes)?;
        Ok(Some(Checkpoint {
            origin: stored.origin,
            size: stored.size,
            root: stored.root,
        }))
    }
}
