//! What a step of a member's machine means for the node: which share goes into it, what is written with it, and what of it is
//! shown to requests. It is done in one transaction of the store, and only then may the reply leave.
//!
//! The share of the base goes into the machine for one message and is never part of a ceremony's state. The number of the
//! highest attempt that this node has confirmed on a base is kept with the key, across ceremonies, and is written in the
//! transaction of the machine's state: so is the new share, and the end of the old one's time.
//!
//! There is no clock and no network here: [`super::Ceremonies`] has those.

use std::sync::Arc;

use dkg::{
    ActivatedKey, CertifiedKey, ConfirmedAttempt, Fault, Holding, Member, MemberOutput,
    MemberStage, Message, Proposal, RetiredKey,
};
use rand_core::CryptoRng;

use super::{CeremonyError, CeremonyId, is_decided};
use crate::keyring::{ActiveKey, InsertError, KeyEntry, Keyring};
use crate::store::{Change, RecordsError, Store, Table, entry_changes, policy_change};

/// The node's keys and its store, as ceremonies use them.
#[derive(Debug)]
pub struct Desk {
    /// Where everything is durable.
    pub store: Arc<Store>,
    /// The keys that requests are answered with.
    pub keyring: Arc<Keyring>,
    /// The operator's policy; without one the node takes no part in new ceremonies.
    pub policy: Option<certs::Policy>,
}

/// What a machine has done, and what it was before.
pub struct Step<'a> {
    /// The ceremony.
    pub id: &'a CeremonyId,
    /// The machine after the step.
    pub machine: &'a Member,
    /// Its stage before.
    pub before: MemberStage,
    /// The policy that the ceremony is held under, if it is new to this node.
    pub policy: Option<&'a certs::Policy>,
    /// What came of it.
    pub output: MemberOutput,
}

/// What is left of a step when it is durable.
#[derive(Debug)]
pub struct Advanced {
    /// What the sender may hear now.
    pub reply: Message,
    /// What was wrong with what was done nevertheless.
    pub notice: Option<Fault>,
    /// The share that was activated, and is served from now on.
    pub key: Option<Arc<ActiveKey>>,
    /// Its ceremony's certificate, as the machine has verified it.
    pub certified: Option<CertifiedKey>,
}

/// What a step of a machine means for the node's keys.
struct KeyStep {
    activated: Option<ActivatedKey>,
    confirmed: Option<ConfirmedAttempt>,
    retired: Option<RetiredKey>,
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

impl Desk {
    /// Lets a machine answer a message, with what this node holds of the base if it is about a reshare.
    ///
    /// # Errors
    /// The fault of whoever sent it; the machine is then as it was.
    pub fn handle<R: CryptoRng>(
        &self,
        machine: &mut Member,
        from: &[u8; 32],
        message: Message,
        now: u64,
        rng: &mut R,
    ) -> Result<MemberOutput, Fault> {
        let Some(base) = machine.base_of(&message) else {
            return machine.handle(from, message, now, rng);
        };
        let entry = self.keyring.entry(&base.public_key);
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

    /// Makes what a machine has done durable: its state, and what it means for the key, in one transaction. Then the keyring has
    /// it. An earlier share is served on for `overlap_s`.
    ///
    /// # Errors
    /// [`CeremonyError`]: the machine has gone ahead of the disk, and is to be dropped; nobody has heard of it.
    pub fn settle(
        &self,
        step: Step<'_>,
        now: u64,
        overlap_s: u64,
    ) -> Result<Advanced, CeremonyError> {
        let Step {
            id,
            machine,
            before,
            policy,
            output,
        } = step;
        let step = KeyStep {
            activated: output.activated,
            confirmed: output.confirmed,
            retired: output.retired,
        };
        let activated = step.activated.as_ref();
        let certified = activated.map(|activated| activated.certified.clone());
        let mut key = None;
        if let Some(state) = output.persist {
            let mut changes = Vec::with_capacity(4);
            // What may still be needed after the decision stays in the table that can be erased.
            if is_decided(machine.stage()) && !machine.holds_secrets() {
                changes.push(Change::erase(Table::Ceremony, id));
                changes.push(Change::put(Table::Decided, id, state));
            } else {
                changes.push(Change::put(Table::Ceremony, id, state));
            }
            if let (MemberStage::New, Some(policy)) = (before, policy) {
                changes.push(policy_change(policy));
            }
            // A certificate may come out after the proposal's end: the overlap is had all the same.
            let expires = machine.proposal().map_or(0, Proposal::expires);
            let latest = expires.max(now).saturating_add(overlap_s);
            key = self.commit(changes, step, now, latest)?;
        }
        Ok(Advanced {
            reply: output.reply,
            notice: output.notice,
            certified: certified.filter(|_| key.is_some()),
            key,
        })
    }

    /// Changes what is held and known of one key: durably, and then for all to see.
    ///
    /// # Errors
    /// [`CeremonyError`] if the store fails; the key is then as it was.
    pub fn change_key<T>(
        &self,
        public_key: &[u8; 32],
        step: impl FnOnce(&mut KeyEntry) -> T,
    ) -> Result<T, CeremonyError> {
        self.keyring.change(
            public_key,
            |entry| Ok(step(entry)),
            |before, after| {
                let changes = entry_changes(before, after);
                if changes.is_empty() {
                    return Ok(());
                }
                Ok(self.store.commit(&changes)?)
            },
        )
    }

    /// A share of a lower result than this node knows of is not used.
    fn commit(
        &self,
        mut changes: Vec<Change>,
        step: KeyStep,
        now: u64,
        latest: u64,
    ) -> Result<Option<Arc<ActiveKey>>, CeremonyError> {
        let Some(public_key) = step.public_key() else {
            self.store.commit(&changes)?;
            return Ok(None);
        };
        let KeyStep {
            activated,
            confirmed,
            retired,
        } = step;
        let policy = retired
            .as_ref()
            .map(|retired| self.policy_with(&retired.policy_hash))
            .transpose()?;
        let activated = activated.map(|key| self.active_key(key)).transpose()?;
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
        self.keyring.change(&public_key, change, |before, after| {
            changes.extend(entry_changes(before, after));
            Ok(self.store.commit(&changes)?)
        })
    }

    /// The policy with this hash: the configured one, that of a key, or one that a ceremony is held under.
    ///
    /// # Errors
    /// [`RecordsError`] if the store cannot be read.
    pub fn known_policy(&self, hash: &[u8; 32]) -> Result<Option<certs::Policy>, RecordsError> {
        let configured = self.policy.as_ref();
        if let Some(policy) = configured.filter(|policy| policy.hash() == *hash) {
            return Ok(Some(policy.clone()));
        }
        let entries = self.keyring.entries();
        let shares = entries.iter().flat_map(|entry| entry.held());
        let mut held = shares.map(|key| &key.policy).chain(
            entries
                .iter()
                .filter_map(|entry| entry.state().policy.as_ref()),
        );
        if let Some(policy) = held.find(|policy| policy.hash() == *hash) {
            return Ok(Some(policy.clone()));
        }
        self.store.policy(hash)
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
