//! The proposal: what a ceremony is to make, and with whom. Each member's operator accepts or rejects it.
//!
//! A proposal is one canonical encoding (CBOR, `docs/protocol/key-generation.md` section 3) signed by the member that
//! makes it. Everything that follows hashes those bytes, so that nobody can be brought to take part in a ceremony
//! other than the one that was accepted.
//!
//! Members stand in the order of their identities; a member's index, 1…n, is its place. In a reshare the old members that are not
//! new ones have the *seats* after them ([`crate::Base`]). A [`Proposal`] has always been
//! checked: nothing but [`Proposal::new`] and [`Proposal::from_bytes`] makes one.

mod error;
mod fields;
mod identities;
mod seats;

use std::sync::Arc;

use ed25519_dalek::{SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::base::{Base, BaseFields, BaseTerms};
use crate::{signature, tags, wire_v1};

pub use error::ProposalError;
pub(crate) use fields::check_text;
use fields::{Fields, members_asked_for};
pub use identities::KnownIdentities;
pub use seats::OldSeat;
use seats::{old_seats, seat_of};

/// Version of this protocol. A node of another version is told so by name before anything starts.
pub const PROTOCOL_VERSION: u16 = 1;
/// The most members of one key.
pub const MAX_MEMBERS: usize = 1024;
/// The longest name of a member, in bytes.
pub const MAX_NAME: usize = 64;
/// The longest address of a member, in bytes.
pub const MAX_ADDRESS: usize = 255;
/// The longest a proposal may stay open, in seconds: 30 days.
pub const MAX_LIFETIME_S: u64 = 30 * 24 * 3600;
/// How long a proposal stays open unless told otherwise, in seconds: 24 hours.
pub const DEFAULT_LIFETIME_S: u64 = 24 * 3600;

/// What a ceremony makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A new key, at epoch 0.
    Create,
    /// An existing key, handed on by members of its base, at the next epoch.
    Reshare,
}

/// A node as others know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberIdentity {
    /// What people call it, 1 to 64 bytes, without control characters.
    pub name: String,
    /// Where it is reached, `host:port`, 1 to 255 bytes, without control characters.
    pub address: String,
    /// Its Ed25519 public key, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub identity: [u8; 32],
    /// R, the ristretto255 point to which its shares are sealed, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub recovery_public: [u8; 32],
}

/// What a proposal says, before it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// t: how many shares open. 1 ≤ t ≤ n.
    pub threshold: u16,
    /// SHA-256 of the approval policy (protocol.md 7).
    pub policy_hash: [u8; 32],
    /// The members of the new key or of the new epoch, in any order.
    pub members: Vec<MemberIdentity>,
    /// The result that is dealt anew; `None` for a new key.
    pub base: Option<BaseTerms>,
    /// The identity of the member, new or old, that proposes and leads.
    pub leader: [u8; 32],
    /// When it was made, seconds since the Unix epoch.
    pub created: u64,
    /// From when on it is void, seconds since the Unix epoch.
    pub expires: u64,
    /// How many of the (new) members an attempt may leave out: those that stay silent, decline or cheat. 0: all or nobody.
    pub may_be_absent: u16,
    /// Allows n < 2t − 1, where t − 1 members that fall silent stop the key for ever.
    pub allow_few_members: bool,
    /// The proposer's software, for people: at most 64 bytes.
    pub software: String,
}

/// A proposal that has been checked. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    fields: Arc<Fields>,
    hash: [u8; 64],
    base: Option<Arc<Base>>,
    /// The new members, then the old ones that are not new.
    seats: Arc<[MemberIdentity]>,
    /// The identities of the seats, decoded.
    identities: Arc<[VerifyingKey]>,
    /// The seats of the old members, in the base's order.
    old: Arc<[OldSeat]>,
}

/// A proposal's bytes with the signature of its leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedProposal {
    /// The canonical bytes of the proposal.
    pub proposal: ByteBuf,
    /// The leader's signature over `H("cryptonode/v1/dkg-propose", hash of the proposal)`, 64 bytes.
    #[serde(with = "serde_bytes")]
    pub signature: [u8; 64],
}

impl Proposal {
    /// A proposal on these terms, under a random id: of a reshare if they name a base, else of a new key. Sorts the members.
    pub fn new<R: CryptoRng>(terms: Terms, rng: &mut R) -> Result<Self, ProposalError> {
        let mut id = [0; 16];
        rng.fill_bytes(&mut id);
        let mut members = terms.members;
        members.sort_by_key(|member| member.identity);
        let fields = Fields {
            version: PROTOCOL_VERSION,
            id,
            kind: match terms.base {
                Some(_) => Kind::Reshare,
                None => Kind::Create,
            },
            base: terms.base.map(BaseFields::from),
            threshold: terms.threshold,
            policy_hash: terms.policy_hash,
            members,
            may_be_absent: terms.may_be_absent,
            leader: terms.leader,
            created: terms.created,
            expires: terms.expires,
            allow_few_members: terms.allow_few_members,
            software: terms.software,
        };
        fields.check_recovery_keys()?;
        let bytes = wire_v1::encode(&fields);
        Self::from_fields(fields, &bytes, &KnownIdentities::default())
    }

    /// Reads and checks a proposal; `bytes` must be its one encoding. That the recovery keys are points is for their owners to know:
    /// nobody else computes with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProposalError> {
        Self::from_bytes_knowing(bytes, &KnownIdentities::default())
    }

    /// [`Proposal::from_bytes`] for whoever has decoded identities before.
    pub fn from_bytes_knowing(
        bytes: &[u8],
        known: &KnownIdentities,
    ) -> Result<Self, ProposalError> {
        let fields = wire_v1::decode(bytes, wire_v1::MAX_PROPOSAL)?;
        Self::from_fields(fields, bytes, known)
    }

    /// The base that a proposal's bytes name, verified under its Y. Nothing else of them is looked at: [`Proposal::from_bytes`] does. `None` if
    /// they name none, or are no proposal.
    pub(crate) fn base_in(bytes: &[u8]) -> Option<Base> {
        #[derive(Deserialize)]
        struct Named {
            #[serde(default)]
            base: Option<BaseFields>,
        }
        let named: Named = wire_v1::peek(bytes, wire_v1::MAX_PROPOSAL)?;
        named.base?.verify().ok()
    }

    /// The id that a proposal's bytes have, whatever else they are.
    pub(crate) fn id_in(bytes: &[u8]) -> Option<[u8; 16]> {
        #[derive(Deserialize)]
        struct Named {
            #[serde(with = "serde_bytes")]
            id: [u8; 16],
        }
        let named: Option<Named> = wire_v1::peek(bytes, wire_v1::MAX_PROPOSAL);
        named.map(|named| named.id)
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        wire_v1::encode(&*self.fields)
    }

    /// `bytes` are the encoding of `fields`.
    fn from_fields(
        fields: Fields,
        bytes: &[u8],
        known: &KnownIdentities,
    ) -> Result<Self, ProposalError> {
        let mut identities = fields.check(known)?;
        let base = fields
            .base
            .as_ref()
            .map(BaseFields::verify)
            .transpose()?
            .map(Arc::new);
        let mut seats = fields.members.clone();
        if let Some(base) = &base {
            let old = base.certificate().members().iter().zip(base.addresses());
            for (member, address) in old {
                if fields.is_member(&member.identity) {
                    continue;
                }
                let key = |what| ProposalError::Key {
                    what,
                    name: member.name.clone(),
                };
                let identity = known.key(&member.identity);
                identities.push(identity.ok_or_else(|| key("identity"))?);
                seats.push(MemberIdentity {
                    name: member.name.clone(),
                    address: address.clone(),
                    identity: member.identity,
                    recovery_public: member.recovery_public,
                });
            }
        }
        if !seats.iter().any(|seat| seat.identity == fields.leader) {
            return Err(ProposalError::Leader);
        }
        let hash = reencrypt::hash(tags::PROPOSAL, &[bytes]);
        Ok(Self {
            old: old_seats(base.as_deref(), &seats).into(),
            fields: Arc::new(fields),
            hash,
            base,
            seats: seats.into(),
            identities: identities.into(),
        })
    }

    /// The bytes with the leader's signature. `identity` must be the leader's.
    pub fn sign(&self, identity: &SigningKey) -> Result<SignedProposal, ProposalError> {
        if identity.verifying_key().to_bytes() != self.fields.leader {
            return Err(ProposalError::Signature);
        }
        let signature = signature::sign(identity, tags::PROPOSE, &[&self.hash]);
        Ok(SignedProposal {
            proposal: ByteBuf::from(self.to_bytes()),
            signature,
        })
    }

    /// `H("cryptonode/v1/dkg-proposal", bytes)`, 64 bytes.
    pub fn hash(&self) -> &[u8; 64] {
        &self.hash
    }

    /// The random name of the ceremony, 16 bytes.
    pub fn id(&self) -> [u8; 16] {
        self.fields.id
    }

    /// What is to be made.
    pub fn kind(&self) -> Kind {
        self.fields.kind
    }

    /// The version of the protocol.
    pub fn version(&self) -> u16 {
        self.fields.version
    }

    /// t: how many shares open.
    pub fn threshold(&self) -> u16 {
        self.fields.threshold
    }

    /// SHA-256 of the approval policy.
    pub fn policy_hash(&self) -> &[u8; 32] {
        &self.fields.policy_hash
    }

    /// The members in index order: the first has index 1.
    pub fn members(&self) -> &[MemberIdentity] {
        &self.fields.members
    }

    /// Everybody who takes part, by seat: the members, then the old members of a reshare that are not among them. The first
    /// has seat 1.
    pub fn seats(&self) -> &[MemberIdentity] {
        &self.seats
    }

    /// The result that is dealt anew. `None` in a create.
    pub fn base(&self) -> Option<&Base> {
        self.base.as_deref()
    }

    /// The seats of the base's members, in the base's order. None in a create.
    pub fn old_seats(&self) -> &[OldSeat] {
        &self.old
    }

    /// Whether the seat is that of an old member that leaves: it gets no share.
    pub fn is_leaving(&self, seat: u16) -> bool {
        usize::from(seat) > self.fields.members.len()
    }

    /// The epoch of the key that comes of it: 0 for a new one.
    pub fn epoch(&self) -> u64 {
        self.base
            .as_ref()
            .map_or(0, |base| base.name().result.epoch.saturating_add(1))
    }

    /// The number of the first attempt: 1 in a create.
    pub fn first_attempt(&self) -> u32 {
        self.base
            .as_ref()
            .map_or(0, |base| base.attempts_after())
            .saturating_add(1)
    }

    /// The member in seat 1, 2, ….
    pub fn member(&self, seat: u16) -> Option<&MemberIdentity> {
        usize::from(seat)
            .checked_sub(1)
            .and_then(|place| self.seats.get(place))
    }

    /// The seat of an identity: a new member's is its index, 1…n.
    pub fn index_of(&self, identity: &[u8; 32]) -> Option<u16> {
        seat_of(&self.seats, identity)
    }

    /// The decoded identities, by seat.
    pub(crate) fn identities(&self) -> &[VerifyingKey] {
        &self.identities
    }

    /// The decoded identity of the member in seat 1, 2, ….
    pub(crate) fn identity(&self, index: u16) -> Option<&VerifyingKey> {
        usize::from(index)
            .checked_sub(1)
            .and_then(|place| self.identities.get(place))
    }

    /// Whether the leader signed `H(tag, hash of the proposal)`.
    pub(crate) fn is_signed_by_leader(&self, tag: &str, by_leader: &[u8; 64]) -> bool {
        self.index_of(self.leader())
            .and_then(|index| self.identity(index))
            .is_some_and(|leader| signature::verify(leader, tag, &[&self.hash], by_leader))
    }

    /// The identity of the member that proposes and leads.
    pub fn leader(&self) -> &[u8; 32] {
        &self.fields.leader
    }

    /// When it was made, seconds since the Unix epoch.
    pub fn created(&self) -> u64 {
        self.fields.created
    }

    /// From when on it is void, seconds since the Unix epoch.
    pub fn expires(&self) -> u64 {
        self.fields.expires
    }

    /// Whether n < 2t − 1 is allowed; operators should see a warning then.
    pub fn allows_few_members(&self) -> bool {
        self.fields.allow_few_members
    }

    /// How many of the members an attempt may leave out.
    pub fn may_be_absent(&self) -> u16 {
        self.fields.may_be_absent
    }

    /// Whether fewer than 2t − 1 members hold the key, so that t − 1 silent ones lose it.
    pub fn has_few_members(&self) -> bool {
        self.fields.members.len() < members_asked_for(self.fields.threshold)
    }

    /// The proposer's software, for people.
    pub fn software(&self) -> &str {
        &self.fields.software
    }
}

impl SignedProposal {
    /// Reads the proposal, checks it, and verifies that its leader signed it.
    pub fn verify(&self) -> Result<Proposal, ProposalError> {
        self.verify_knowing(&KnownIdentities::default())
    }

    /// [`SignedProposal::verify`] for whoever has decoded identities before.
    pub(crate) fn verify_knowing(
        &self,
        known: &KnownIdentities,
    ) -> Result<Proposal, ProposalError> {
        let proposal = Proposal::from_bytes_knowing(&self.proposal, known)?;
        if !proposal.is_signed_by_leader(tags::PROPOSE, &self.signature) {
            return Err(ProposalError::Signature);
        }
        Ok(proposal)
    }
}
