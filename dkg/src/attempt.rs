//! An attempt: a proposal carried out with definite members and their encryption keys.
//!
//! (Step 3 of `docs/protocol/key-generation.md`.) Once every member has accepted, the leader relays all acceptances, and everybody computes the same
//!
//! ```text
//! params = H("cryptonode/v1/dkg-params", hash of the proposal, LE32(attempt), base,
//!            LE16(n_old), LE16(t_old), [old members], LE16(n), LE16(t), identity_1, R_1, N_1, …, identity_n, R_n, N_n)
//! ```
//!
//! (in a create, `base` is empty, n_old and t_old are 0 and there are no old members; in a reshare `base` is the result hash of the base,
//! n_old counts the old members that take part, t_old is the base's threshold, and each old member is LE16(index in the base), identity, N).
//! All that is hashed, signed or proved later in the attempt includes `params`, so nothing can be carried from one attempt
//! or ceremony into another. An attempt *is* its `params`. The number alone does not name it: two leaders, or one that lies, may begin attempts of
//! one number with different members. Whoever keeps its promises takes part in one of each number only, so no honest member is in both.
//!
//! The members of an attempt are those whose acceptances it lists; others may be absent, as the proposal allows. In the
//! attempt they have the seats 1, 2, … in the proposal's order; the new ones have the indices 1 … n. An old member that leaves
//! signs an acceptance too: it deals under its encryption key.
//!
//! Each pair of members has one shared secret n_i·N_j = n_j·N_i, under which each deals to the other ([`crate::pairs`]). That a dealer knows
//! its n is proved in its deal ([`crate::knowledge`]). Two equal N are no harm: whoever has copied another's has no such proof.

use curve25519_dalek::Scalar;
use ed25519_dalek::SigningKey;
use reencrypt::{Hasher, Point, SecretScalar};
use serde::{Deserialize, Serialize};

use crate::base::Base;
use crate::dealers::{Dealer, dealers};
use crate::fault::Fault;
use crate::proposal::Proposal;
use crate::signature::{self, Batch};
use crate::tags;

/// The number of the first attempt of a create, and of the first on a base.
pub const FIRST_ATTEMPT: u32 = 1;

/// A member's consent to a proposal, with the encryption key N = n·G that it made for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// The member's seat.
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
    /// N of everybody who takes part, by seat: first those of the new members, N_1 … N_n.
    pub(crate) encryption_keys: Vec<Point>,
    /// In the order of their indices, which is that of the deals.
    pub(crate) dealers: Vec<Dealer>,
    /// The dealers' weights, in the same order.
    pub(crate) weights: Vec<Scalar>,
}

impl Attempt {
    /// Checks one valid acceptance of each member that takes part, by seat, and computes the parameters.
    pub(crate) fn new(
        proposal: &Proposal,
        number: u32,
        acceptances: Vec<Acceptance>,
    ) -> Result<Self, Fault> {
        if number < proposal.first_attempt() {
            return Err(Fault::Attempt(number));
        }
        let present: Vec<u16> = acceptances
            .iter()
            .map(|acceptance| acceptance.index)
            .collect();
        let roster = proposal.among(&present).ok_or(Fault::AcceptanceCount {
            expected: proposal.seats().len(),
            got: acceptances.len(),
        })?;
        let mut signatures = Batch::default();
        for (acceptance, identity) in acceptances.iter().zip(roster.identities()) {
            let index = acceptance.index.to_le_bytes();
            let items = acceptance.signed_items(proposal, &index);
            signatures.push(identity, tags::ACCEPT, &items, &acceptance.signature);
        }
        signatures
            .verify()
            .map_err(|places| altered(&places, "acceptance"))?;
        let decode = |acceptance: &Acceptance| {
            let member = acceptance.index;
            Point::from_bytes(&acceptance.encryption_key)
                .map_err(|_| Fault::AcceptanceInvalid { member })
        };
        let encryption_keys: Vec<Point> =
            acceptances.iter().map(decode).collect::<Result<_, _>>()?;
        let encoded: Vec<[u8; 32]> = encryption_keys.iter().map(|key| *key.as_bytes()).collect();
        let params = params(&roster, number, &encoded);
        let dealers = dealers(&roster).ok_or(Fault::UnusableResult)?;
        Ok(Self {
            weights: dealers.iter().map(|dealer| dealer.weight).collect(),
            dealers,
            number,
            roster,
            params,
            acceptances,
            encryption_keys,
        })
    }

    /// n: how many get a share.
    pub(crate) fn members(&self) -> usize {
        self.roster.members().len()
    }

    /// Whether every dealer also acknowledges the deals, as in a create.
    pub(crate) fn dealers_acknowledge(&self) -> bool {
        let members = self.members();
        let acknowledges = |dealer: &Dealer| usize::from(dealer.seat) <= members;
        self.dealers.iter().all(acknowledges)
    }

    /// How many take part, new and old.
    pub(crate) fn seats(&self) -> usize {
        self.acceptances.len()
    }

    /// The dealer whose deals carry this index.
    pub(crate) fn dealer(&self, index: u16) -> Option<&Dealer> {
        let place = self
            .dealers
            .binary_search_by_key(&index, |dealer| dealer.index);
        place.ok().and_then(|place| self.dealers.get(place))
    }

    /// The dealer in this seat, if it is one of a dealer.
    pub(crate) fn dealer_in(&self, seat: u16) -> Option<&Dealer> {
        self.dealers.iter().find(|dealer| dealer.seat == seat)
    }

    /// The seat of the dealer whose deals carry this index; 0, which is nobody's, if there is none.
    pub(crate) fn seat_of_dealer(&self, index: u16) -> u16 {
        self.dealer(index)
            .map(|dealer| dealer.seat)
            .unwrap_or_default()
    }

    /// The seats in the proposal of the members that take part.
    pub(crate) fn present(&self) -> Vec<u16> {
        self.acceptances
            .iter()
            .map(|acceptance| acceptance.index)
            .collect()
    }

    /// The seat in the proposal of the member that has `seat` in this attempt.
    pub(crate) fn in_proposal(&self, seat: u16) -> Option<u16> {
        usize::from(seat)
            .checked_sub(1)
            .and_then(|place| self.acceptances.get(place))
            .map(|acceptance| acceptance.index)
    }

    /// The seat in this attempt of the member that has `seat` in the proposal.
    pub(crate) fn of_proposal(&self, seat: u16) -> Option<u16> {
        let place = self
            .acceptances
            .iter()
            .position(|acceptance| acceptance.index == seat)?;
        u16::try_from(place + 1).ok()
    }

    /// N_i of the dealer whose deals carry this index.
    pub(crate) fn dealer_key(&self, index: u16) -> Option<&Point> {
        self.encryption_key(self.dealer(index)?.seat)
    }

    /// N of the member that has `seat` in this attempt.
    pub(crate) fn encryption_key(&self, seat: u16) -> Option<&Point> {
        usize::from(seat)
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

/// The parameters' hash. `roster` is the proposal among those that take part, `encryption_keys` are theirs by seat.
pub(crate) fn params(roster: &Proposal, number: u32, encryption_keys: &[[u8; 32]]) -> [u8; 64] {
    let key = |seat: u16| {
        let place = usize::from(seat).checked_sub(1)?;
        encryption_keys.get(place)
    };
    let count = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes();
    let base = roster.base();
    let result = base.map(|base| base.name().result.hash);
    let mut hasher = Hasher::new(tags::PARAMS)
        .item(roster.hash())
        .item(&number.to_le_bytes())
        .item(result.as_ref().map_or(&[], <[u8; 64]>::as_slice))
        .item(&count(roster.old_seats().len()))
        .item(&base.map_or(0, Base::threshold).to_le_bytes());
    for old in roster.old_seats() {
        if let (Some(member), Some(key)) = (roster.member(old.seat), key(old.seat)) {
            let index = old.index.to_le_bytes();
            hasher = hasher.item(&index).item(&member.identity).item(key);
        }
    }
    hasher = hasher
        .item(&count(roster.members().len()))
        .item(&roster.threshold().to_le_bytes());
    for (member, key) in roster.members().iter().zip(encryption_keys) {
        hasher = hasher
            .item(&member.identity)
            .item(&member.recovery_public)
            .item(key);
    }
    hasher.finalize()
}
