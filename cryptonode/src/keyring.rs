//! The keys that this node answers for, in memory.
//!
//! A key comes in here in two ways: at start, from the sealed store, and when a ceremony activates it. Both check
//! x_i·G = Y_i first ([`ActiveKey::check`]): a node that is up without a usable share must say so at start, not at the
//! first read. A request takes an `Arc` out and works on it with no lock held.
//!
//! A reshare gives a key another *result*: other shares of the same x, with a higher epoch. A node keeps the share of the one
//! before for a short overlap and answers for both, so that no read fails while clients learn of the new members
//! ([`KeyEntry`]). Then it is erased, on the disk too.

mod entry;
mod refusal;
mod state;

pub use entry::{Chosen, KeyEntry};
pub use refusal::KeyRefusal;
pub use state::{Absence, AbsenceKind, KeyState, MAX_PREVIOUS, Newest, Overlap, PastResult};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use reencrypt::{KeyShare, KeyShareError, PublicKeyPackage, ResultName};

use crate::wire::v1::{KeyStatus, ResultVersion};

/// A key whose ceremony is decided, and this node's share of it.
pub struct ActiveKey {
    /// This node's secret share x_i, with its index and epoch.
    pub share: KeyShare,
    /// Y, epoch, t and all public shares Y_1…Y_n.
    pub package: PublicKeyPackage,
    /// Epoch, attempt and hash of the ceremony's result.
    pub result: ResultName,
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
            .field("result", &self.result)
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
    /// What a node says of it to whoever asks.
    #[must_use]
    pub fn status(&self) -> KeyStatus {
        KeyStatus {
            epoch: self.package.epoch(),
            index: self.share.index(),
            attempt: self.result.attempt,
            members: u16::try_from(self.members.len()).unwrap_or(u16::MAX),
            threshold: self.package.threshold(),
            public_key: *self.package.public_key().as_bytes(),
        }
    }

    /// Epoch and attempt, as requests name the result.
    #[must_use]
    pub fn version(&self) -> ResultVersion {
        (&self.result).into()
    }

    /// Checks the share against the public data: same key, same epoch, x_i·G = Y_i.
    ///
    /// # Errors
    /// [`UnusableShare`] says which of these does not hold.
    pub fn check(&self) -> Result<(), UnusableShare> {
        let (share, package) = (self.result.epoch, self.package.epoch());
        let named = if share == package {
            Ok(())
        } else {
            Err(KeyShareError::OtherEpoch { share, package })
        };
        named
            .and_then(|()| self.share.check(&self.package))
            .map_err(|reason| UnusableShare {
                public_key: hex::encode(self.package.public_key().as_bytes()),
                reason,
            })
    }
}

/// A key that does not go into the keyring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// Its share does not fit.
    #[error(transparent)]
    Share(#[from] UnusableShare),
    /// A higher result of the key is known.
    #[error(
        "a share of {found} was made, and this node knows of {known} of the same key: it is not used"
    )]
    Lower {
        /// What was to be put in.
        found: ResultVersion,
        /// What is known.
        known: ResultVersion,
    },
}

/// All keys of this node, by their 32 bytes Y.
#[derive(Debug, Default)]
pub struct Keyring {
    keys: RwLock<HashMap<[u8; 32], Arc<KeyEntry>>>,
    /// Held while a change is computed and made durable, so that no two changes are made of one state.
    changing: Mutex<()>,
}

impl Keyring {
    /// A keyring with no key in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is known of the key named Y.
    #[must_use]
    pub fn entry(&self, public_key: &[u8; 32]) -> Option<Arc<KeyEntry>> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(public_key)
            .cloned()
    }

    /// The share of the newest result of the key named Y, if this node has it.
    #[must_use]
    pub fn get(&self, public_key: &[u8; 32]) -> Option<Arc<ActiveKey>> {
        self.entry(public_key)?.current().cloned()
    }

    /// The share to answer a request with: that of the result asked for, or of the newest.
    ///
    /// # Errors
    /// [`KeyRefusal`] if there is none.
    pub fn choose(
        &self,
        public_key: &[u8; 32],
        asked: Option<ResultVersion>,
    ) -> Result<Chosen, KeyRefusal> {
        self.entry(public_key)
            .ok_or_else(|| KeyRefusal::Unknown {
                public_key: hex::encode(public_key),
            })?
            .choose(asked)
    }

    /// Changes what is held and known of one key: `step` changes a copy, `persist` makes the difference durable, and only
    /// then is it seen by requests. Those that already hold an earlier share finish with it.
    ///
    /// # Errors
    /// What `step` or `persist` return; the keyring is then as it was.
    pub fn change<T, E>(
        &self,
        public_key: &[u8; 32],
        step: impl FnOnce(&mut KeyEntry) -> Result<T, E>,
        persist: impl FnOnce(Option<&KeyEntry>, &KeyEntry) -> Result<(), E>,
    ) -> Result<T, E> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.entry(public_key);
        let mut after = before
            .as_deref()
            .cloned()
            .unwrap_or_else(|| KeyEntry::new(*public_key));
        let outcome = step(&mut after)?;
        persist(before.as_deref(), &after)?;
        self.put(after);
        Ok(outcome)
    }

    /// Puts in what a store has of a key.
    pub fn put(&self, entry: KeyEntry) {
        self.keys
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(entry.public_key, Arc::new(entry));
    }

    /// Puts a key in, in memory only. An earlier result of the same key is served beside it from then on.
    ///
    /// # Errors
    /// [`InsertError`] if the share does not match its public share, or a higher result is known; the keyring is then as it
    /// was.
    pub fn insert(&self, key: ActiveKey) -> Result<Arc<ActiveKey>, InsertError> {
        let name = *key.package.public_key().as_bytes();
        self.change(
            &name,
            |entry| entry.activate(key, 0, u64::MAX),
            |_, _| Ok(()),
        )
    }

    /// The shares of the newest results as they are now, in the order of the keys' names.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<ActiveKey>> {
        self.entries()
            .iter()
            .filter_map(|entry| entry.current().cloned())
            .collect()
    }

    /// All keys, those of which no share is held among them, in the order of their names.
    #[must_use]
    pub fn entries(&self) -> Vec<Arc<KeyEntry>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = keys.values().cloned().collect();
        drop(keys);
        all.sort_by_key(|entry| entry.public_key);
        all
    }

    /// [`Self::all`] as an iterator over a snapshot: no lock is held while it runs.
    pub fn iter(&self) -> impl Iterator<Item = Arc<ActiveKey>> + use<> {
        self.all().into_iter()
    }

    /// How many keys this node has the newest share of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all().len()
    }

    /// Whether there is none.
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
            result: ResultName {
                epoch: 0,
                attempt: 1,
                hash: [0; 64],
            },
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
