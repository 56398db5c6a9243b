//! The beginning of a ledger: its name and its founding organisations. Its hash is the ledger's id.
//!
//! Whoever pins the id pins everything that follows: every transaction is signed for it, the first block's parent is it,
//! and it stands in the origin of every signed head.

use super::{
    canonical::{self, DecodeError},
    hash,
    identifier::Identifier,
    signed::LedgerId,
    state::State,
    transaction::{MAX_ISSUERS, Organisation},
};
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Bytes of the longest genesis.
pub const MAX_GENESIS: usize = 4 * 1024 * 1024;
/// Organisations on one ledger.
pub const MAX_ORGANISATIONS: usize = certs::MAX_ORGANISATIONS;

/// Batches that an epoch of the order may have.
pub const EPOCH_BATCHES: std::ops::RangeInclusive<u32> = 4..=1_000_000;

/// The beginning of a ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// The ledger's name, for people.
    pub name: Identifier,
    /// Random, so that no two ledgers have the same id.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 32],
    /// When it was made, milliseconds since the Unix epoch. No block is earlier.
    pub time_ms: u64,
    /// The founding organisations, by name, ascending.
    pub organisations: Vec<Organisation>,
    /// Batches of the order in an epoch: those who order change only between two of them. Without it they never do. Under the engine `solo` there are no epochs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch_batches: Option<u32>,
}

/// Why a genesis, or a change of the organisations, is not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrganisationsError {
    /// Nobody, or too many.
    #[error("a ledger has 1 to {MAX_ORGANISATIONS} organisations, not {0}")]
    Count(usize),
    /// Not ascending by name, or one twice.
    #[error("the organisations must be in ascending order of their names, each once")]
    Order,
    /// Not an Ed25519 key, or one of small order.
    #[error("the {what} key of {organisation} is not a usable Ed25519 public key")]
    Key {
        /// Whose.
        organisation: Identifier,
        /// `operator` or `head`.
        what: &'static str,
    },
    /// One key for two purposes or two organisations.
    #[error(
        "a key of {0} is used twice: operators and heads of all organisations need keys of their own"
    )]
    SharedKey(Identifier),
    /// No approval certificate, or too many.
    #[error("{organisation} has {found} approval certificates, 1 to {MAX_ISSUERS} are allowed")]
    Issuers {
        /// Whose.
        organisation: Identifier,
        /// How many.
        found: usize,
    },
    /// Epochs that are too short to agree within, or too long to change anything.
    #[error("an epoch has {} to {} batches, not {found}", EPOCH_BATCHES.start(), EPOCH_BATCHES.end())]
    Epochs {
        /// Asked for.
        found: u32,
    },
    /// The certificates do not make an approval policy.
    #[error("the approval certificates cannot be used: {0}")]
    Policy(String),
}

/// How many of `n` organisations decide: n − ⌊(n−1)/3⌋.
#[must_use]
pub fn quorum(n: usize) -> usize {
    n - n.saturating_sub(1) / 3
}

impl Genesis {
    /// The ledger's id.
    #[must_use]
    pub fn id(&self) -> LedgerId {
        hash::tagged(hash::GENESIS, self)
    }

    /// The origin of the ledger's signed heads: its name, a slash, its id in hexadecimal.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}/{}", self.name, hex::encode(self.id()))
    }

    /// The canonical encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self)
    }

    /// Decodes the canonical encoding, at most [`MAX_GENESIS`] bytes.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        canonical::from_bytes(bytes, MAX_GENESIS)
    }

    /// The state that the first block is applied to.
    ///
    /// # Errors
    /// [`OrganisationsError`] if the founding organisations cannot found anything.
    pub fn state(&self) -> Result<State, OrganisationsError> {
        if !self.organisations.is_sorted_by(|a, b| a.name < b.name) {
            return Err(OrganisationsError::Order);
        }
        check_organisations(&self.organisations)?;
        if let Some(found) = self.epoch_batches.filter(|it| !EPOCH_BATCHES.contains(it)) {
            return Err(OrganisationsError::Epochs { found });
        }
        let mut state = State::empty(self.id());
        for organisation in &self.organisations {
            state.organisations.put(
                &mut state.tree,
                organisation.name.clone(),
                organisation.clone(),
            );
        }
        Ok(state)
    }
}

/// Whether these organisations can run a ledger together.
pub(super) fn check_organisations(
    organisations: &[Organisation],
) -> Result<(), OrganisationsError> {
    if organisations.is_empty() || organisations.len() > MAX_ORGANISATIONS {
        return Err(OrganisationsError::Count(organisations.len()));
    }
    let mut keys = BTreeSet::new();
    for organisation in organisations {
        for (what, key) in [
            ("operator", &organisation.operator_key),
            ("head", &organisation.head_key),
        ] {
            let organisation = &organisation.name;
            usable_key(key).ok_or_else(|| OrganisationsError::Key {
                organisation: organisation.clone(),
                what,
            })?;
            if !keys.insert(*key) {
                return Err(OrganisationsError::SharedKey(organisation.clone()));
            }
        }
        let found = organisation.issuers.len();
        if found == 0 || found > MAX_ISSUERS {
            return Err(OrganisationsError::Issuers {
                organisation: organisation.name.clone(),
                found,
            });
        }
    }
    let listed = organisations
        .iter()
        .map(|organisation| certs::Organisation {
            name: organisation.name.to_string(),
            issuers: organisation
                .issuers
                .iter()
                .map(|issuer| issuer.to_vec())
                .collect(),
        });
    let policy = certs::PolicyConfig {
        approvals_needed: 1,
        organisations: listed.collect(),
        max_lifetime_s: 300,
        tolerance_s: 30,
    };
    certs::Policy::new(policy)
        .map(|_| ())
        .map_err(|error| OrganisationsError::Policy(error.to_string()))
}

/// The key, if its bytes are one that signatures can be held against: of a point that is not of small order, in its canonical
/// encoding. Decoding takes y modulo p; a second encoding of one key would pass for a second key, and other implementations refuse it.
pub(super) fn usable_key(bytes: &[u8; 32]) -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(bytes)
        .ok()
        .filter(|key| !key.is_weak() && key.to_edwards().compress().as_bytes() == bytes)
}
