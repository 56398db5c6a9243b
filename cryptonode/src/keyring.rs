//! The keys that this node answers for, in memory.
//!
//! A key comes in here in two ways: at start, from the sealed store, and when a ceremony activates it. Both check
//! x_i·G = Y_i first ([`ActiveKey::check`]): a node that is up without a usable share must say so at start, not at the
//! first read. A request takes an `Arc` out and works on it with no lock held.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use reencrypt::{KeyShare, KeyShareError, PublicKeyPackage};

/// A key whose ceremony is decided, and this node's share of it.
pub struct ActiveKey {
    /// This node's secret share x_i, with its index and epoch.
    pub share: KeyShare,
    /// Y, epoch, t and all public shares Y_1…Y_n.
    pub package: PublicKeyPackage,
    /// The approval policy that the members fixed when they made the key; nothing but a ceremony changes it.
    pub policy: certs::Policy,
    /// The members in index order: member i stands at position i − 1.
    pub members: Vec<dkg::MemberIdentity>,
    /// The certificate of the ceremony: parameters, result and all confirmations, verifiable by anyone who pins the
    /// members' identities.
    pub certificate: Vec<u8>,
}

impl std::fmt::Debug for ActiveKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActiveKey")
            .field("public_key", &self.package.public_key())
            .field("epoch", &self.package.epoch())
            .field("index", &self.share.index())
            .finish_non_exhaustive()
    }
}

/// A share that does not fit its key's public data. It must not be served with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the share of key {public_key} does not fit the public data stored with it: {reason}")]
pub struct UnusableShare {
    /// Y in hexadecimal.
    pub public_key: String,
    /// What does not hold.
    pub reason: KeyShareError,
}

impl ActiveKey {
    /// Checks the share against the public data: same key, same epoch, x_i·G = Y_i.
    ///
    /// # Errors
    /// [`UnusableShare`] says which of these does not hold.
    pub fn check(&self) -> Result<(), UnusableShare> {
        self.share
            .check(&self.package)
            .map_err(|reason| UnusableShare {
                public_key: hex::encode(self.package.public_key().as_bytes()),
                reason,
            })
    }
}

/// All active keys of this node, by their 32 bytes Y.
#[derive(Debug, Default)]
pub struct Keyring {
    keys: RwLock<HashMap<[u8; 32], Arc<ActiveKey>>>,
}

impl Keyring {
    /// A keyring with no key in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The active key named Y.
    #[must_use]
    pub fn get(&self, public_key: &[u8; 32]) -> Option<Arc<ActiveKey>> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(public_key)
            .cloned()
    }

    /// Puts a key in, in place of an earlier epoch of the same key. Requests that already hold the earlier one finish
    /// with it.
    ///
    /// # Errors
    /// [`UnusableShare`] if the share does not match its public share; the keyring is then as it was.
    pub fn insert(&self, key: ActiveKey) -> Result<Arc<ActiveKey>, UnusableShare> {
        key.check()?;
        let name = *key.package.public_key().as_bytes();
        let key = Arc::new(key);
        self.keys
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, Arc::clone(&key));
        Ok(key)
    }

    /// All active keys as they are now, in the order of their names.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<ActiveKey>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = keys.values().cloned().collect();
        drop(keys);
        all.sort_by_key(|key| *key.package.public_key().as_bytes());
        all
    }

    /// [`Self::all`] as an iterator over a snapshot: no lock is held while it runs.
    pub fn iter(&self) -> impl Iterator<Item = Arc<ActiveKey>> + use<> {
        self.all().into_iter()
    }

    /// How many keys are active.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Whether no key is active.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        missing_docs
    )]

    use reencrypt::SecretScalar;

    use super::*;

    fn key(share_of: &SecretScalar, key_of: &SecretScalar) -> ActiveKey {
        let public_key = key_of.public();
        let secret = SecretScalar::from_canonical_bytes(&share_of.to_bytes()).unwrap();
        let issuer =
            certs::Issuer::generate("A", certs::Algorithm::Ed25519, 1_700_000_000, 4_000_000_000)
                .unwrap();
        let organisation = certs::Organisation {
            name: "A".to_owned(),
            issuers: vec![issuer.certificate_der().to_vec()],
        };
        let policy = certs::PolicyConfig {
            approvals_needed: 1,
            organisations: vec![organisation],
            max_lifetime_s: 300,
            tolerance_s: 30,
        };
        ActiveKey {
            share: KeyShare::new(1, 0, public_key, secret).unwrap(),
            package: PublicKeyPackage::new(public_key, 0, 1, vec![public_key]).unwrap(),
            policy: certs::Policy::new(policy).unwrap(),
            members: Vec::new(),
            certificate: Vec::new(),
        }
    }

    #[test]
    fn a_share_that_does_not_fit_is_not_served() {
        let (right, wrong) = (
            SecretScalar::random(&mut rand::rng()),
            SecretScalar::random(&mut rand::rng()),
        );
        let keyring = Keyring::new();
        assert!(keyring.insert(key(&wrong, &right)).is_err());
        assert!(keyring.is_empty());
        keyring.insert(key(&right, &right)).unwrap();
        assert!(keyring.get(right.public().as_bytes()).is_some());
        assert!(keyring.get(wrong.public().as_bytes()).is_none());
        assert_eq!(keyring.iter().count(), 1);
    }

    #[test]
    fn nothing_secret_is_printed() {
        let secret = SecretScalar::random(&mut rand::rng());
        let printed = format!("{:?}", key(&secret, &secret));
        assert!(!printed.contains(&hex::encode(secret.to_bytes().as_slice())));
    }
}
