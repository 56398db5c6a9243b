//! An attempt: a proposal carried out with definite members and their encryption keys.
//!
//! (Step 3 of `docs/protocol/key-generation.md`.) Once every member has accepted, the leader relays all acceptances, and everybody computes the same
//!
//! ```text
//! params = H("cryptonode/v1/dkg-params", hash of the proposal, LE32(attempt), base,
//!            LE16(n_old), LE16(t_old), [old members], LE16(n), LE16(t), identity_1, R_1, N_1, …, identity_n, R_n, N_n)
//! ```
//!
//! The members of an attempt are those whose acceptances it lists; others may be absent, as many as the proposal allows. In the
//! attempt they have the indices 1, 2, … in the order of their identities, whatever their places in the proposal are.
//!
//! (in a create, `base` is empty, n_old and t_old are 0 and there are no old members). All that is hashed, signed or
//! proved later in the attempt includes `params`, so nothing can be carried from one attempt or ceremony into another.

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use reencrypt::{Hasher, Point, SecretScalar};
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::proposal::Proposal;
use crate::signature::{self, Batch};
use crate::tags;

/// The number of the first attempt.
pub const FIRST_ATTEMPT: u32 = 1;

/// A member's consent to a proposal, with the encryption key N = n·G that it made for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// The member's index, 1…n.
    pub index: u16,
    /// The member's signature over `H("cryptonode/v1/dkg-accept", hash of the proposal, LE16(index), N)`, 64 bytes.
    #[serde(with = "serde_bytes")]
    pub signature: [u8; 64],
    /// N, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub encryption_key: [u8; 32],
}

impl Acceptance {
    pub(crate) fn new(
        proposal: &Proposal,
        index: u16,
        secret: &SecretScalar,
        identity: &SigningKey,
    ) -> Self {
        let encryption_key = *secret.public().as_bytes();
        let signature = signature::sign(
            identity,
            tags::ACCEPT,
            &[proposal.hash(), &index.to_le_bytes(), &encryption_key],
        );
        Self {
            index,
            encryption_key,
            signature,
        }
    }

    /// Whether the member signed it for this proposal, and its key is a point.
    pub(crate) fn is_valid(&self, proposal: &Proposal) -> bool {
        let index = self.index.to_le_bytes();
        proposal.identity(self.index).is_some_and(|identity| {
            let items = self.signed_items(proposal, &index);
            signature::verify(identity, tags::ACCEPT, &items, &self.signature)
                && Point::from_bytes(&self.encryption_key).is_ok()
        })
    }

    fn signed_items<'a>(&'a self, proposal: &'a Proposal, index: &'a [u8; 2]) -> [&'a [u8]; 3] {
        [proposal.hash(), index, &self.encryption_key]
    }
}

/// An attempt whose acceptances have been verified.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) number: u32,
    /// The proposal with the attempt's members only; indices are places in it.
    pub(crate) roster: Proposal,
    pub(crate) params: [u8; 64],
    pub(crate) acceptances: Vec<Acceptance>,
    /// N_1 … N_n.
    pub(crate) encryption_keys: Vec<Point>,
}

impl Attempt {
    /// Checks one valid acceptance of each member that takes part, in index order, and computes the parameters.
    pub(crate) fn new(
        proposal: &Proposal,
        number: u32,
        acceptances: Vec<Acceptance>,
    ) -> Result<Self, Fault> {
        if number < FIRST_ATTEMPT {
            return Err(Fault::Attempt(number));
        }
        let present: Vec<u16> = acceptances
            .iter()
            .map(|acceptance| acceptance.index)
            .collect();
        let roster = proposal.among(&present).ok_or(Fault::AcceptanceCount {
            expected: proposal.members().len(),
            got: acceptances.len(),
        })?;
        let expected = acceptances.len();
        let mut encryption_keys = Vec::with_capacity(expected);
        let mut taken = BTreeSet::new();
        let mut signatures = Batch::default();
        for (acceptance, identity) in acceptances.iter().zip(roster.identities()) {
            let index = acceptance.index.to_le_bytes();
            let items = acceptance.signed_items(proposal, &index);
            signatures.push(identity, tags::ACCEPT, &items, &acceptance.signature);
        }
        signatures
            .verify()
            .map_err(|places| altered(&places, "acceptance"))?;
        for acceptance in &acceptances {
            let member = acceptance.index;
            if !taken.insert(acceptance.encryption_key) {
                return Err(Fault::EncryptionKeyTaken { member });
            }
            let key = Point::from_bytes(&acceptance.encryption_key)
                .map_err(|_| Fault::AcceptanceInvalid { member })?;
            encryption_keys.push(key);
        }
        let params = params(
            &roster,
            number,
            acceptances
                .iter()
                .map(|acceptance| &acceptance.encryption_key),
        );
        Ok(Self {
            number,
            roster,
            params,
            acceptances,
            encryption_keys,
        })
    }

    pub(crate) fn members(&self) -> usize {
        self.encryption_keys.len()
    }

    /// The indices in the proposal of the members that take part.
    pub(crate) fn present(&self) -> Vec<u16> {
        self.acceptances
            .iter()
            .map(|acceptance| acceptance.index)
            .collect()
    }

    /// The index in the proposal of the member that has `index` in this attempt.
    pub(crate) fn in_proposal(&self, index: u16) -> Option<u16> {
        usize::from(index)
            .checked_sub(1)
            .and_then(|place| self.acceptances.get(place))
            .map(|acceptance| acceptance.index)
    }

    /// The index in this attempt of the member that has `index` in the proposal.
    pub(crate) fn of_proposal(&self, index: u16) -> Option<u16> {
        let place = self
            .acceptances
            .iter()
            .position(|acceptance| acceptance.index == index)?;
        u16::try_from(place + 1).ok()
    }

    pub(crate) fn encryption_key(&self, index: u16) -> Option<&Point> {
        usize::from(index)
            .checked_sub(1)
            .and_then(|place| self.encryption_keys.get(place))
    }
}

/// The fault of a relay in which the signatures at these places are false.
pub(crate) fn altered(places: &[usize], what: &'static str) -> Fault {
    let author = places
        .first()
        .and_then(|place| u16::try_from(place + 1).ok())
        .unwrap_or_default();
    Fault::RelayAltered { author, what }
}

/// The parameters' hash. `proposal` is the attempt's roster, `encryption_keys` are N_1 … N_n.
pub(crate) fn params<'a>(
    proposal: &Proposal,
    number: u32,
    encryption_keys: impl Iterator<Item = &'a [u8; 32]>,
) -> [u8; 64] {
    let members = u16::try_from(proposal.members().len()).unwrap_or(u16::MAX);
    let mut hasher = Hasher::new(tags::PARAMS)
        .item(proposal.hash())
        .item(&number.to_le_bytes())
        .item(&[])
        .item(&0u16.to_le_bytes())
        .item(&0u16.to_le_bytes())
        .item(&members.to_le_bytes())
        .item(&proposal.threshold().to_le_bytes());
    for (member, key) in proposal.members().iter().zip(encryption_keys) {
        hasher = hasher
            .item(&member.identity)
            .item(&member.recovery_public)
            .item(key);
    }
    hasher.finalize()
}
