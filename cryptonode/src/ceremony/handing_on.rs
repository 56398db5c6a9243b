//! The terms of a proposal: of a new key, or of one that is handed on to other members.

use std::sync::Arc;

use dkg::{BaseTerms, MemberIdentity};

use super::{Ceremonies, CeremonyError, Wish};
use crate::keyring::KeyEntry;

/// What a proposal asks for.
pub(super) struct Handed {
    pub(super) threshold: u16,
    pub(super) members: Vec<MemberIdentity>,
    pub(super) base: Option<BaseTerms>,
    pub(super) policy: certs::Policy,
}

impl Ceremonies {
    /// What the operator wishes for, with what is left unsaid: in a reshare the threshold stays as it is, and so do the
    /// members but for those that are said to be absent.
    pub(super) fn wished(&self, wish: &Wish) -> Result<Handed, CeremonyError> {
        let Some(head) = &wish.reshare else {
            if !wish.absent.is_empty() || wish.after_attempt != 0 || wish.policy.is_some() {
                return Err(CeremonyError::NotAReshare);
            }
            let policy = self.around.policy.clone();
            return Ok(Handed {
                policy: policy.ok_or(CeremonyError::NoPolicy)?,
                threshold: wish.threshold.ok_or(CeremonyError::NoThreshold)?,
                members: self.members_called(wish.members.as_deref())?,
                base: None,
            });
        };
        let entry = self.only_key(&head.to_lowercase())?;
        // Refused by name if this node has no share of the newest result.
        let key = entry.choose(None).map_err(CeremonyError::Key)?.key;
        if let Some(until) = entry.is_full_until() {
            return Err(CeremonyError::EpochsFull { until });
        }
        let policy = wish.policy.clone().unwrap_or_else(|| key.policy.clone());
        if wish.policy.as_ref() == Some(&key.policy) {
            return Err(CeremonyError::SamePolicy {
                hash: hex::encode(policy.hash()),
            });
        }
        let newest = entry.state().newest.as_ref();
        let certificate = newest.filter(|newest| newest.certificate.name() == key.result);
        let certificate = certificate.ok_or_else(|| CeremonyError::NotSigned {
            public_key: hex::encode(entry.public_key()),
        })?;
        let mut old_may_be_absent = Vec::new();
        for name in &wish.absent {
            let place = (1_u16..)
                .zip(&key.members)
                .find(|(_, member)| member.name == *name);
            let (index, _) = place.ok_or_else(|| CeremonyError::NotAnOldMember {
                name: name.clone(),
                members: names(&key.members),
            })?;
            old_may_be_absent.push(index);
        }
        old_may_be_absent.sort_unstable();
        old_may_be_absent.dedup();
        let members = match &wish.members {
            Some(names) => names
                .iter()
                .map(|name| self.called(name, &key.members))
                .collect::<Result<_, _>>()?,
            None => key
                .members
                .iter()
                .filter(|member| !wish.absent.contains(&member.name))
                .map(|member| {
                    self.known(&member.identity)
                        .unwrap_or_else(|| member.clone())
                })
                .collect(),
        };
        Ok(Handed {
            policy,
            threshold: wish.threshold.unwrap_or_else(|| key.package.threshold()),
            members,
            base: Some(BaseTerms {
                certificate: certificate.certificate.as_bytes().to_vec(),
                addresses: key
                    .members
                    .iter()
                    .map(|member| {
                        let known = self.known(&member.identity);
                        known.map_or_else(|| member.address.clone(), |known| known.address)
                    })
                    .collect(),
                old_may_be_absent,
                attempts_after: entry.confirmed(&key.result).max(wish.after_attempt),
            }),
        })
    }

    /// The one key whose name begins with `head`.
    pub(super) fn only_key(&self, head: &str) -> Result<Arc<KeyEntry>, CeremonyError> {
        let mut fitting = self.around.keyring.entries();
        fitting.retain(|entry| hex::encode(entry.public_key()).starts_with(head));
        match fitting.as_slice() {
            [entry] => Ok(Arc::clone(entry)),
            _ => Err(CeremonyError::NoSuchKey {
                head: head.to_owned(),
            }),
        }
    }

    /// This node, a configured member, or a present member of the key.
    fn called(
        &self,
        name: &str,
        present: &[MemberIdentity],
    ) -> Result<MemberIdentity, CeremonyError> {
        let own = &self.around.own;
        if own.name == name {
            return Ok(own.clone());
        }
        let config = self.around.live.now();
        let mut known = config.members.iter().chain(present);
        known
            .find(|member| member.name == name)
            .cloned()
            .ok_or_else(|| CeremonyError::NoSuchMember {
                name: name.to_owned(),
            })
    }
}

fn names(members: &[MemberIdentity]) -> String {
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    names.join(", ")
}
