//! The canonical form of a proposal, and what must hold of it.

use std::collections::BTreeSet;

use ed25519_dalek::VerifyingKey;
use reencrypt::Point;
use serde::{Deserialize, Serialize};

use super::{
    Kind, KnownIdentities, MAX_ADDRESS, MAX_LIFETIME_S, MAX_MEMBERS, MAX_NAME, MemberIdentity,
    PROTOCOL_VERSION, ProposalError,
};
use crate::base::BaseFields;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields {
    #[serde(with = "serde_bytes")]
    pub(super) id: [u8; 16],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base: Option<BaseFields>,
    pub(super) kind: Kind,
    #[serde(with = "serde_bytes")]
    pub(super) leader: [u8; 32],
    pub(super) created: u64,
    pub(super) expires: u64,
    pub(super) members: Vec<MemberIdentity>,
    pub(super) version: u16,
    pub(super) software: String,
    pub(super) threshold: u16,
    #[serde(with = "serde_bytes")]
    pub(super) policy_hash: [u8; 32],
    /// How many of the members may be left out of an attempt.
    pub(super) may_be_absent: u16,
    pub(super) allow_few_members: bool,
}

/// 2t − 1: with so many members, t honest ones hold shares if t − 1 do not.
pub(super) fn members_asked_for(threshold: u16) -> usize {
    (2 * usize::from(threshold)).saturating_sub(1)
}

impl Fields {
    /// Everything that can be checked without the base. Returns the members' identities, decoded.
    pub(super) fn check(
        &self,
        known: &KnownIdentities,
    ) -> Result<Vec<VerifyingKey>, ProposalError> {
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
        if (self.kind == Kind::Reshare) != self.base.is_some() {
            return Err(ProposalError::Kind);
        }
        check_text("software", &self.software, MAX_NAME)?;
        self.check_members(known)
    }

    pub(super) fn is_member(&self, identity: &[u8; 32]) -> bool {
        self.members
            .binary_search_by(|member| member.identity.cmp(identity))
            .is_ok()
    }

    fn check_members(&self, known: &KnownIdentities) -> Result<Vec<VerifyingKey>, ProposalError> {
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
            let identity = known.key(&member.identity);
            identities.push(identity.ok_or_else(|| key("identity"))?);
            previous = Some(member);
        }
        Ok(identities)
    }

    /// For who makes the proposal. To take part, a member must find its own key in it ([`crate::Fault::NotListed`]), which is a point.
    pub(super) fn check_recovery_keys(&self) -> Result<(), ProposalError> {
        let is_none =
            |member: &&MemberIdentity| Point::from_bytes(&member.recovery_public).is_err();
        match self.members.iter().find(is_none) {
            Some(member) => Err(ProposalError::Key {
                what: "recovery key",
                name: member.name.clone(),
            }),
            None => Ok(()),
        }
    }
}

pub(crate) fn check_text(what: &'static str, text: &str, most: usize) -> Result<(), ProposalError> {
    if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
        return Err(ProposalError::Text { what });
    }
    Ok(())
}
