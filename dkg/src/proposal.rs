//! The proposal: what a ceremony is to make, and with whom. Each member's operator accepts or rejects it.
//!
//! A proposal is one canonical encoding (CBOR, `docs/protocol/key-generation.md` section 3) signed by the member that
//! makes it. Everything that follows hashes those bytes, so that nobody can be brought to take part in a ceremony
//! other than the one that was accepted.
//!
//! Members stand in the order of their identities; a member's index, 1…n, is its place. A [`Proposal`] has always been
//! checked: nothing but [`Proposal::new`] and [`Proposal::from_bytes`] makes one.

use std::collections::BTreeSet;

use ed25519_dalek::{SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use reencrypt::Point;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{signature, tags, wire_v1};

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
    /// The members, in any order.
    pub members: Vec<MemberIdentity>,
    /// The identity of the member that proposes and leads.
    pub leader: [u8; 32],
    /// When it was made, seconds since the Unix epoch.
    pub created: u64,
    /// From when on it is void, seconds since the Unix epoch.
    pub expires: u64,
    /// How many of the members an attempt may leave out: those that stay silent, decline or cheat. 0: all or nobody.
    pub may_be_absent: u16,
    /// Allows n < 2t − 1, where t − 1 members that fall silent stop the key for ever.
    pub allow_few_members: bool,
    /// The proposer's software, for people: at most 64 bytes.
    pub software: String,
}

/// A proposal that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    fields: Fields,
    hash: [u8; 64],
    /// The members' identities, decoded.
    identities: Vec<VerifyingKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(with = "serde_bytes")]
    id: [u8; 16],
    kind: Kind,
    #[serde(with = "serde_bytes")]
    leader: [u8; 32],
    created: u64,
    expires: u64,
    members: Vec<MemberIdentity>,
    version: u16,
    software: String,
    threshold: u16,
    #[serde(with = "serde_bytes")]
    policy_hash: [u8; 32],
    /// How many of the members may be left out of an attempt.
    may_be_absent: u16,
    allow_few_members: bool,
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

/// Why terms are no proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// The bytes are not a proposal in its one encoding.
    #[error("the proposal cannot be read: {0}")]
    Encoding(#[from] wire_v1::WireError),
    /// Made for another version of the protocol.
    #[error(
        "the proposal is for version {theirs} of the protocol and this node speaks version {ours}: bring all members to one version"
    )]
    Version {
        /// The version that this code speaks.
        ours: u16,
        /// The version that the proposal names.
        theirs: u16,
    },
    /// No member, or too many.
    #[error("a key has 1 to {MAX_MEMBERS} members, the proposal has {0}")]
    MemberCount(usize),
    /// t is 0 or more than n.
    #[error(
        "the threshold must be between 1 and the number of members: it is {threshold} of {members}"
    )]
    Threshold {
        /// t.
        threshold: u16,
        /// n.
        members: usize,
    },
    /// n < 2t − 1 without leave.
    #[error("with a threshold of {threshold}, {needed} members are asked for and the proposal has {members}: if {tolerated} of them fall silent, the key is lost; \
             lower the threshold, add members, or allow it explicitly", tolerated = members.saturating_sub(usize::from(*threshold)) + 1)]
    FewMembers {
        /// t.
        threshold: u16,
        /// n.
        members: usize,
        /// 2t − 1.
        needed: usize,
    },
    /// Members are not in the order of their identities.
    #[error("the members of the proposal are not in the order of their identities")]
    Order,
    /// One identity, recovery key, name or address twice.
    #[error(
        "two members of the proposal have the same {what}: {name} is one of them; each node needs its own"
    )]
    Duplicate {
        /// `identity`, `recovery key` or `name`.
        what: &'static str,
        /// The second member that has it.
        name: String,
    },
    /// A member's identity or recovery key is not a usable key.
    #[error("the {what} of member {name} is not a valid key: ask its operator for the card again")]
    Key {
        /// `identity` or `recovery key`.
        what: &'static str,
        /// The member.
        name: String,
    },
    /// An empty, long or unprintable text.
    #[error(
        "the {what} of a member of the proposal, or of its software, is empty, too long, or has control characters"
    )]
    Text {
        /// `name`, `address` or `software`.
        what: &'static str,
    },
    /// The leader is not one of the members.
    #[error("the leader of the proposal is not among its members")]
    Leader,
    /// Expires before it is made, or stays open for more than 30 days.
    #[error(
        "the proposal is open from {created} to {expires}: it must expire after it is made and within 30 days"
    )]
    Lifetime {
        /// Seconds since the Unix epoch.
        created: u64,
        /// Seconds since the Unix epoch.
        expires: u64,
    },
    /// Without those that may be absent, too few are left for the threshold.
    #[error(
        "with {absent} of {members} members absent too few are left for a threshold of {threshold}: let fewer be absent, lower the threshold, or allow few members explicitly"
    )]
    Absence {
        /// How many may be absent.
        absent: u16,
        /// n.
        members: usize,
        /// t.
        threshold: u16,
    },
    /// The signature is not the leader's.
    #[error("the proposal is not signed by its leader")]
    Signature,
}

impl ProposalError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Encoding(error) => error.code(),
            Self::Version { .. } => "other-version",
            Self::MemberCount(_) => "proposal-member-count",
            Self::Threshold { .. } => "proposal-threshold",
            Self::FewMembers { .. } => "proposal-few-members",
            Self::Order => "proposal-order",
            Self::Duplicate { .. } => "proposal-duplicate",
            Self::Key { .. } => "proposal-key",
            Self::Text { .. } => "proposal-text",
            Self::Leader => "proposal-leader",
            Self::Lifetime { .. } => "proposal-lifetime",
            Self::Absence { .. } => "proposal-absence",
            Self::Signature => "proposal-signature",
        }
    }
}

impl Proposal {
    /// A proposal to create a key on these terms, under a random id. Sorts the members.
    pub fn new<R: CryptoRng>(terms: Terms, rng: &mut R) -> Result<Self, ProposalError> {
        let mut id = [0; 16];
        rng.fill_bytes(&mut id);
        let mut members = terms.members;
        members.sort_by_key(|member| member.identity);
        Self::from_fields(Fields {
            version: PROTOCOL_VERSION,
            id,
            kind: Kind::Create,
            threshold: terms.threshold,
            policy_hash: terms.policy_hash,
            members,
            may_be_absent: terms.may_be_absent,
            leader: terms.leader,
            created: terms.created,
            expires: terms.expires,
            allow_few_members: terms.allow_few_members,
            software: terms.software,
        })
    }

    /// Reads and checks a proposal; `bytes` must be its one encoding.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProposalError> {
        Self::from_fields(wire_v1::decode(bytes, wire_v1::MAX_PROPOSAL)?)
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        wire_v1::encode(&self.fields)
    }

    fn from_fields(fields: Fields) -> Result<Self, ProposalError> {
        let identities = fields.check()?;
        let hash = reencrypt::hash(tags::PROPOSAL, &[&wire_v1::encode(&fields)]);
        Ok(Self {
            fields,
            hash,
            identities,
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

    /// The member of index 1…n.
    pub fn member(&self, index: u16) -> Option<&MemberIdentity> {
        usize::from(index)
            .checked_sub(1)
            .and_then(|place| self.fields.members.get(place))
    }

    /// The index, 1…n, of an identity.
    pub fn index_of(&self, identity: &[u8; 32]) -> Option<u16> {
        let place = self
            .fields
            .members
            .binary_search_by(|member| member.identity.cmp(identity))
            .ok()?;
        u16::try_from(place + 1).ok()
    }

    /// The decoded identities of the members, in index order.
    pub(crate) fn identities(&self) -> &[VerifyingKey] {
        &self.identities
    }

    /// The decoded identity of the member of index 1…n.
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

    /// The proposal as an attempt of these members carries it out: under the same hash, with their places as indices 1, 2, …
    /// `None` unless `present` are indices of members in ascending order, and as many as the proposal asks for.
    pub(crate) fn among(&self, present: &[u16]) -> Option<Self> {
        let all = self.fields.members.len();
        let ascending = present
            .iter()
            .zip(present.iter().skip(1))
            .all(|(a, b)| a < b);
        if !ascending || present.len() + usize::from(self.fields.may_be_absent) < all {
            return None;
        }
        let members = present
            .iter()
            .map(|index| self.member(*index).cloned())
            .collect::<Option<Vec<_>>>()?;
        let identities = present
            .iter()
            .map(|index| self.identity(*index).copied())
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            fields: Fields {
                members,
                ..self.fields.clone()
            },
            hash: self.hash,
            identities,
        })
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
        let proposal = Proposal::from_bytes(&self.proposal)?;
        if !proposal.is_signed_by_leader(tags::PROPOSE, &self.signature) {
            return Err(ProposalError::Signature);
        }
        Ok(proposal)
    }
}

/// 2t − 1: with so many members, t honest ones hold shares if t − 1 do not.
fn members_asked_for(threshold: u16) -> usize {
    (2 * usize::from(threshold)).saturating_sub(1)
}

impl Fields {
    fn check(&self) -> Result<Vec<VerifyingKey>, ProposalError> {
        if self.version != PROTOCOL_VERSION {
            return Err(ProposalError::Version {
                ours: PROTOCOL_VERSION,
                theirs: self.version,
            });
        }
        let count = self.members.len();
        if !(1..=MAX_MEMBERS).contains(&count) {
            return Err(ProposalError::MemberCount(count));
        }
        let threshold = self.threshold;
        if threshold == 0 || usize::from(threshold) > count {
            return Err(ProposalError::Threshold {
                threshold,
                members: count,
            });
        }
        let needed = members_asked_for(threshold);
        if count < needed && !self.allow_few_members {
            return Err(ProposalError::FewMembers {
                threshold,
                members: count,
                needed,
            });
        }
        let absent = self.may_be_absent;
        let left = count.saturating_sub(usize::from(absent));
        let needed = if self.allow_few_members {
            usize::from(threshold)
        } else {
            needed
        };
        if absent != 0 && left < needed {
            return Err(ProposalError::Absence {
                absent,
                members: count,
                threshold,
            });
        }
        if self.expires <= self.created || self.expires - self.created > MAX_LIFETIME_S {
            return Err(ProposalError::Lifetime {
                created: self.created,
                expires: self.expires,
            });
        }
        check_text("software", &self.software, MAX_NAME)?;
        let identities = self.check_members()?;
        if !self
            .members
            .iter()
            .any(|member| member.identity == self.leader)
        {
            return Err(ProposalError::Leader);
        }
        Ok(identities)
    }

    fn check_members(&self) -> Result<Vec<VerifyingKey>, ProposalError> {
        let mut recovery_keys = BTreeSet::new();
        let mut names = BTreeSet::new();
        let mut identities = Vec::with_capacity(self.members.len());
        let mut previous: Option<&MemberIdentity> = None;
        for member in &self.members {
            check_text("name", &member.name, MAX_NAME)?;
            check_text("address", &member.address, MAX_ADDRESS)?;
            let duplicate = |what| ProposalError::Duplicate {
                what,
                name: member.name.clone(),
            };
            let key = |what| ProposalError::Key {
                what,
                name: member.name.clone(),
            };
            if let Some(previous) = previous {
                match previous.identity.cmp(&member.identity) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal => return Err(duplicate("identity")),
                    std::cmp::Ordering::Greater => return Err(ProposalError::Order),
                }
            }
            if !recovery_keys.insert(member.recovery_public) {
                return Err(duplicate("recovery key"));
            }
            if !names.insert(&member.name) {
                return Err(duplicate("name"));
            }
            identities
                .push(signature::identity_key(&member.identity).ok_or_else(|| key("identity"))?);
            if Point::from_bytes(&member.recovery_public).is_err() {
                return Err(key("recovery key"));
            }
            previous = Some(member);
        }
        Ok(identities)
    }
}

fn check_text(what: &'static str, text: &str, most: usize) -> Result<(), ProposalError> {
    if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
        return Err(ProposalError::Text { what });
    }
    Ok(())
}
