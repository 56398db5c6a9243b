//! What the store's records say, as types.

use certs::checkpoint::Checkpoint;
use ed25519_dalek::SigningKey;
use reencrypt::{KeyShare, Point, PublicKeyPackage, SecretScalar};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::{Zeroize, Zeroizing};

use super::{Change, Store, StoreError, Table};
use crate::keyring::{ActiveKey, UnusableShare};

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
struct StoredKey {
    index: u16,
    epoch: u64,
    #[serde(with = "serde_bytes")]
    secret: [u8; 32],
    #[serde(with = "serde_bytes")]
    public_key: [u8; 32],
    threshold: u16,
    public_shares: Vec<ByteBuf>,
    policy: ByteBuf,
    members: Vec<dkg::MemberIdentity>,
    certificate: ByteBuf,
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

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

fn encode<T: Serialize>(value: &T, at_most: usize) -> Zeroizing<Vec<u8>> {
    // Large enough that the buffer never moves and leaves no copy of a secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(at_most));
    #[allow(
        clippy::expect_used,
        reason = "writing plain structures into memory cannot fail"
    )]
    ciborium::into_writer(value, &mut *bytes).expect("CBOR into memory");
    bytes
}

fn decode<T: for<'a> Deserialize<'a>>(what: &'static str, bytes: &[u8]) -> Result<T, RecordsError> {
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

/// The change that writes an active key with this node's share, in place of an earlier epoch of it.
#[must_use]
pub fn key_change(key: &ActiveKey) -> Change {
    let stored = StoredKey {
        index: key.share.index(),
        epoch: key.share.epoch(),
        secret: *key.share.secret().to_bytes(),
        public_key: *key.package.public_key().as_bytes(),
        threshold: key.package.threshold(),
        public_shares: key
            .package
            .public_shares()
            .iter()
            .map(|share| ByteBuf::from(share.as_bytes().to_vec()))
            .collect(),
        policy: ByteBuf::from(key.policy.to_bytes()),
        members: key.members.clone(),
        certificate: ByteBuf::from(key.certificate.clone()),
    };
    let members = key.members.len() * 512;
    let room = 4096
        + stored.certificate.len()
        + stored.policy.len()
        + members
        + stored.public_shares.len() * 48;
    Change::put(Table::Key, &stored.public_key, encode(&stored, room))
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

    /// All active keys, each checked: x_i·G = Y_i, and the public shares on one polynomial under Y.
    ///
    /// # Errors
    /// [`RecordsError::Share`] for a share that does not fit.
    pub fn active_keys(&self) -> Result<Vec<ActiveKey>, RecordsError> {
        self.list(Table::Key)?
            .iter()
            .map(|(_, bytes)| active_key(bytes))
            .collect()
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

fn active_key(bytes: &[u8]) -> Result<ActiveKey, RecordsError> {
    const WHAT: &str = "an active key";
    let unreadable = |reason: String| RecordsError::Unreadable { what: WHAT, reason };
    let stored: StoredKey = decode(WHAT, bytes)?;
    let public_key =
        Point::from_bytes(&stored.public_key).map_err(|error| unreadable(error.to_string()))?;
    let public_shares = stored
        .public_shares
        .iter()
        .map(|share| Point::from_slice(share))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unreadable(error.to_string()))?;
    let package = PublicKeyPackage::new(public_key, stored.epoch, stored.threshold, public_shares)
        .map_err(|error| unreadable(error.to_string()))?;
    let secret = SecretScalar::from_canonical_bytes(&stored.secret)
        .map_err(|_| unreadable("the share is no scalar".to_owned()))?;
    let key = ActiveKey {
        share: KeyShare::new(stored.index, stored.epoch, public_key, secret)
            .map_err(|error| unreadable(error.to_string()))?,
        package,
        policy: certs::Policy::from_bytes(&stored.policy)
            .map_err(|error| unreadable(error.to_string()))?,
        members: stored.members.clone(),
        certificate: stored.certificate.to_vec(),
    };
    key.check()?;
    Ok(key)
}
