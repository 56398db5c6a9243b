//! The records of keys: one for each share, erasable, and one for all that is known of the key besides.
//!
//! A share's record is named Y(32) ‖ epoch(8, big-endian) ‖ attempt(4, big-endian) ‖ the first 16 bytes of the result's hash, so that
//! the shares of two results never overwrite each other. It is sealed under a key of its own ([`Table::Key`] is erasable):
//! erasing it destroys that key, and what pages of the file still hold opens no more.

use std::collections::BTreeMap;
use std::sync::Arc;

use reencrypt::{KeyCertificate, KeyShare, Point, PublicKeyPackage, ResultName, SecretScalar};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::Zeroize;

use super::records::{RecordsError, decode, encode};
use super::{Change, Store, Table};
use crate::keyring::{
    Absence, AbsenceKind, ActiveKey, KeyEntry, KeyState, Newest, Overlap, PastResult,
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    index: u16,
    epoch: u64,
    attempt: u32,
    #[serde(with = "serde_bytes")]
    result: [u8; 64],
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

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredName {
    epoch: u64,
    attempt: u32,
    #[serde(with = "serde_bytes")]
    hash: [u8; 64],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredState {
    certificate: Option<ByteBuf>,
    addresses: Vec<String>,
    absence: Option<(AbsenceKind, StoredName)>,
    /// As stores of the first version have it, for one overlap.
    #[serde(default, skip_serializing)]
    overlap: Option<StoredOverlap>,
    #[serde(default)]
    overlaps: Vec<StoredOverlap>,
    history: Vec<StoredPast>,
    confirmed: Vec<(StoredName, u32)>,
    policy: Option<ByteBuf>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredOverlap {
    successor: StoredName,
    ends: Option<u64>,
    latest: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPast {
    result: StoredName,
    threshold: u16,
    members: Vec<String>,
    index: Option<u16>,
    since: u64,
    erased: Option<u64>,
}

impl From<&ResultName> for StoredName {
    fn from(name: &ResultName) -> Self {
        Self {
            epoch: name.epoch,
            attempt: name.attempt,
            hash: name.hash,
        }
    }
}

impl From<&StoredName> for ResultName {
    fn from(name: &StoredName) -> Self {
        Self {
            epoch: name.epoch,
            attempt: name.attempt,
            hash: name.hash,
        }
    }
}

fn share_record(public_key: &[u8; 32], result: &ResultName) -> Vec<u8> {
    let mut name = public_key.to_vec();
    name.extend_from_slice(&result.epoch.to_be_bytes());
    name.extend_from_slice(&result.attempt.to_be_bytes());
    name.extend(result.hash.iter().take(16));
    name
}

/// The change that writes a share, with all that serving with it takes.
#[must_use]
pub fn key_change(key: &ActiveKey) -> Change {
    let stored = StoredKey {
        index: key.share.index(),
        epoch: key.result.epoch,
        attempt: key.result.attempt,
        result: key.result.hash,
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
    let record = share_record(&stored.public_key, &key.result);
    Change::put(Table::Key, &record, encode(&stored, room))
}

/// The changes that make what is held and known of a key durable: shares that came, shares that went, and the state.
#[must_use]
pub fn entry_changes(before: Option<&KeyEntry>, after: &KeyEntry) -> Vec<Change> {
    let held =
        |entry: &KeyEntry, result: &ResultName| entry.held().any(|key| key.result == *result);
    let mut changes: Vec<Change> = after
        .held()
        .filter(|key| !before.is_some_and(|before| held(before, &key.result)))
        .map(|key| key_change(key))
        .collect();
    let gone = before
        .into_iter()
        .flat_map(KeyEntry::held)
        .filter(|key| !held(after, &key.result));
    changes.extend(
        gone.map(|key| Change::erase(Table::Key, &share_record(&after.public_key, &key.result))),
    );
    if before.is_none_or(|before| before.state != after.state) {
        changes.push(state_change(&after.public_key, &after.state));
    }
    changes
}

fn state_change(public_key: &[u8; 32], state: &KeyState) -> Change {
    let newest = state.newest.as_ref();
    let stored = StoredState {
        certificate: newest.map(|newest| ByteBuf::from(newest.certificate.as_bytes())),
        addresses: newest.map_or_else(Vec::new, |newest| newest.addresses.clone()),
        absence: state
            .absence
            .map(|absence| (absence.kind, (&absence.successor).into())),
        overlap: None,
        overlaps: state
            .overlaps
            .iter()
            .map(|overlap| StoredOverlap {
                successor: (&overlap.successor).into(),
                ends: overlap.ends,
                latest: overlap.latest,
            })
            .collect(),
        history: state
            .history
            .iter()
            .map(|past| StoredPast {
                result: (&past.result).into(),
                threshold: past.threshold,
                members: past.members.clone(),
                index: past.index,
                since: past.since,
                erased: past.erased,
            })
            .collect(),
        confirmed: state
            .confirmed
            .iter()
            .map(|(base, attempt)| (base.into(), *attempt))
            .collect(),
        policy: state
            .policy
            .as_ref()
            .map(|policy| ByteBuf::from(policy.to_bytes())),
    };
    Change::put(Table::KeyState, public_key, encode(&stored, 4096))
}

impl Store {
    /// All shares, each checked: x_i·G = Y_i, and the public shares on one polynomial under Y.
    ///
    /// # Errors
    /// [`RecordsError::Share`] for a share that does not fit.
    pub fn active_keys(&self) -> Result<Vec<ActiveKey>, RecordsError> {
        self.list(Table::Key)?
            .iter()
            .map(|(_, bytes)| active_key(bytes))
            .collect()
    }

    /// All that is held and known of each key.
    ///
    /// # Errors
    /// As [`Store::active_keys`].
    pub fn keys(&self) -> Result<Vec<KeyEntry>, RecordsError> {
        let mut states: BTreeMap<[u8; 32], KeyState> = BTreeMap::new();
        for (record, bytes) in self.list(Table::KeyState)? {
            let public_key: [u8; 32] = record.try_into().map_err(|_| RecordsError::Unreadable {
                what: STATE,
                reason: "its name has another length".to_owned(),
            })?;
            states.insert(public_key, key_state(&public_key, &bytes)?);
        }
        let mut shares: BTreeMap<[u8; 32], Vec<Arc<ActiveKey>>> = BTreeMap::new();
        for key in self.active_keys()? {
            let public_key = *key.package.public_key().as_bytes();
            shares.entry(public_key).or_default().push(Arc::new(key));
            states.entry(public_key).or_default();
        }
        Ok(states
            .into_iter()
            .map(|(public_key, state)| {
                let held = shares.remove(&public_key).unwrap_or_default();
                KeyEntry::stored(public_key, held, state)
            })
            .collect())
    }
}

const STATE: &str = "the state of a key";

fn key_state(public_key: &[u8; 32], bytes: &[u8]) -> Result<KeyState, RecordsError> {
    let unreadable = |reason: String| RecordsError::Unreadable {
        what: STATE,
        reason,
    };
    let stored: StoredState = decode(STATE, bytes)?;
    let newest = stored
        .certificate
        .map(|certificate| KeyCertificate::verify(&certificate, public_key))
        .transpose()
        .map_err(|error| unreadable(error.to_string()))?
        .map(|certificate| Newest {
            certificate,
            addresses: stored.addresses,
        });
    let policy = stored
        .policy
        .map(|policy| certs::Policy::from_bytes(&policy))
        .transpose()
        .map_err(|error| unreadable(error.to_string()))?;
    Ok(KeyState {
        newest,
        absence: stored.absence.map(|(kind, successor)| Absence {
            kind,
            successor: (&successor).into(),
        }),
        overlaps: stored
            .overlap
            .iter()
            .chain(&stored.overlaps)
            .map(|overlap| Overlap {
                successor: (&overlap.successor).into(),
                ends: overlap.ends,
                latest: overlap.latest,
            })
            .collect(),
        history: stored
            .history
            .into_iter()
            .map(|past| PastResult {
                result: (&past.result).into(),
                threshold: past.threshold,
                members: past.members,
                index: past.index,
                since: past.since,
                erased: past.erased,
            })
            .collect(),
        confirmed: stored
            .confirmed
            .iter()
            .map(|(base, attempt)| (base.into(), *attempt))
            .collect(),
        policy,
    })
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
        result: ResultName {
            epoch: stored.epoch,
            attempt: stored.attempt,
            hash: stored.result,
        },
        policy: certs::Policy::from_bytes(&stored.policy)
            .map_err(|error| unreadable(error.to_string()))?,
        members: stored.members.clone(),
        certificate: stored.certificate.to_vec(),
    };
    key.check()?;
    Ok(key)
}
