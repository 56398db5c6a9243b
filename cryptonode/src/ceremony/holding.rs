//! What a reshare's machine needs of the node's keys, and what comes of it for them.
//!
//! The share of the base goes into the machine for one message and is never part of a ceremony's state. The number of the
//! highest attempt that this node has confirmed on a base is kept with the key, across ceremonies, and is written in the
//! transaction of the machine's state: so is the new share, and the end of the old one's time.

use std::sync::Arc;

use dkg::{
    ActivatedKey, ConfirmedAttempt, Fault, Holding, Member, MemberOutput, Message, RetiredKey,
};

use super::{Ceremonies, CeremonyError, Surroundings};
use crate::daemon::clock_s;
use crate::keyring::{ActiveKey, InsertError, KeyEntry};
use crate::store::{Change, RecordsError, entry_changes};

/// What a step of a machine means for the node's keys.
pub(super) struct KeyStep {
    pub(super) activated: Option<ActivatedKey>,
    pub(super) confirmed: Option<ConfirmedAttempt>,
    pub(super) retired: Option<RetiredKey>,
}

impl KeyStep {
    fn public_key(&self) -> Option<[u8; 32]> {
        let activated = self.activated.as_ref();
        activated
            .map(|key| *key.package.public_key().as_bytes())
            .or_else(|| self.confirmed.map(|confirmed| confirmed.base.public_key))
            .or_else(|| self.retired.as_ref().map(|retired| retired.base.public_key))
    }
}

impl Ceremonies {
    /// Lets a machine answer a message, with what this node holds of the base if it is about a reshare.
    pub(super) fn handle(
        &self,
        machine: &mut Member,
        from: &[u8; 32],
        message: Message,
    ) -> Result<MemberOutput, Fault> {
        let (now, rng) = (clock_s(), &mut rand::rng());
        let Some(base) = machine.base_of(&message) else {
            return machine.handle(from, message, now, rng);
        };
        let entry = self.around.keyring.entry(&base.public_key);
        let share = entry
            .iter()
            .flat_map(|entry| entry.held())
            .find(|key| key.result == base.result);
        let holding = Holding {
            share: share.map(|key| &key.share),
            newest: entry.as_ref().and_then(|entry| entry.newest_heard_of()),
            confirmed: entry
                .as_ref()
                .map_or(0, |entry| entry.confirmed(&base.result)),
        };
        machine.handle_reshare(from, message, &holding, now, rng)
    }

    /// Makes a step durable: the machine's state, and what it means for the key, in one transaction. Then the keyring has it.
    /// A share of a lower result than this node knows of is not used.
    pub(super) fn commit(
        &self,
        mut changes: Vec<Change>,
        step: KeyStep,
        expires: u64,
    ) -> Result<Option<Arc<ActiveKey>>, CeremonyError> {
        let Surroundings { store, keyring, .. } = &self.around;
        let Some(public_key) = step.public_key() else {
            store.commit(&changes)?;
            return Ok(None);
        };
        let KeyStep {
            activated,
            confirmed,
            retired,
        } = step;
        let policy = retired
            .as_ref()
            .map(|retired| self.policy_of(&public_key, retired))
            .transpose()?;
        let activated = activated.map(|key| self.active_key(key)).transpose()?;
        let now = clock_s();
        // A certificate may come out after the proposal's end: the overlap is had all the same.
        let latest = expires
            .max(now)
            .saturating_add(self.around.live.now().ceremony.overlap_s);
        let change = |entry: &mut KeyEntry| {
            if let Some(ConfirmedAttempt { base, attempt }) = confirmed {
                entry.confirm(base.result, attempt);
            }
            match (activated, retired, policy) {
                (Some(key), _, _) => match entry.activate(key, now, latest) {
                    Err(InsertError::Share(error)) => {
                        Err(CeremonyError::from(RecordsError::from(error)))
                    }
                    Err(lower) => {
                        tracing::warn!(key = %hex::encode(public_key), "{lower}");
                        Ok(None)
                    }
                    Ok(key) => Ok(Some(key)),
                },
                (None, Some(retired), Some(policy)) => {
                    entry.retire(retired.successor, policy, now, latest);
                    Ok(None)
                }
                _ => Ok(None),
            }
        };
        keyring.change(&public_key, change, |before, after| {
            changes.extend(entry_changes(before, after));
            Ok(store.commit(&changes)?)
        })
    }

    /// The policy of the result that follows a base: it governs what is left of the base too.
    fn policy_of(
        &self,
        public_key: &[u8; 32],
        retired: &RetiredKey,
    ) -> Result<certs::Policy, CeremonyError> {
        let certified = dkg::verify_reshare(&retired.certificate, public_key).map_err(|error| {
            RecordsError::Unreadable {
                what: "the certificate of a reshare",
                reason: error.to_string(),
            }
        })?;
        self.policy_with(certified.policy_hash())
    }

    /// The policy with this hash, which a ceremony is held under.
    fn policy_with(&self, hash: &[u8; 32]) -> Result<certs::Policy, CeremonyError> {
        let policy = self.known_policy(hash)?;
        Ok(policy.ok_or(RecordsError::Unreadable {
            what: "the policy of a new key",
            reason: "it is missing".to_owned(),
        })?)
    }

    fn active_key(&self, key: ActivatedKey) -> Result<ActiveKey, CeremonyError> {
        let key = ActiveKey {
            policy: self.policy_with(&key.policy_hash)?,
            share: key.share,
            package: key.package,
            result: key.name,
            members: key.members,
            certificate: key.certificate,
        };
        key.check().map_err(RecordsError::from)?;
        Ok(key)
    }
}
