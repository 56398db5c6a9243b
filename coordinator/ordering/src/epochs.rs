//! Who orders when. Heights are cut into epochs of one length; each epoch has its members, who alone vote in it.
//!
//! The members of an epoch are what the caller says after it made use of the last batch of the epoch before ([`crate::Delivery::done`]). All callers execute
//! the same batches, so all say the same. Nobody votes in an epoch before its members are known to it; so there is no height of which two opinions
//! exist who orders it.

use crate::{MAX_MEMBERS, Member, StartError, application::Scheme};
use commonware_codec::{Copying, DecodeExt as _};
use commonware_consensus::types::{Epoch, FixedEpocher};
use commonware_cryptography::{
    certificate::{Provider, Scoped},
    ed25519::{PrivateKey, PublicKey},
};
use commonware_utils::ordered::Set;
use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};
use tokio::sync::watch;

/// A member's key in the library's type.
pub(crate) fn public_key(member: &Member) -> Result<PublicKey, StartError> {
    PublicKey::decode(Copying(member.key.as_slice())).map_err(|_| StartError::Key)
}

/// Who orders in an epoch.
pub(crate) struct Roll {
    pub(crate) members: Vec<(PublicKey, Member)>,
    /// Signs, if this member is one of them; verifies in any case.
    pub(crate) scheme: Arc<Scheme>,
    pub(crate) signs: bool,
}

impl Roll {
    fn new(signer: &Signer, members: &[Member]) -> Result<Self, StartError> {
        if members.is_empty() || members.len() > MAX_MEMBERS {
            return Err(StartError::Members);
        }
        let members: Vec<_> = members
            .iter()
            .map(|member| Ok((public_key(member)?, *member)))
            .collect::<Result<_, StartError>>()?;
        let keys: Set<PublicKey> = members
            .iter()
            .map(|(key, _)| key.clone())
            .collect::<Vec<_>>()
            .try_into()
            .map_err(|_| StartError::Members)?;
        let namespace = &signer.namespace;
        let signing = Scheme::signer(namespace, keys.clone(), signer.key.clone());
        let signs = signing.is_some();
        let scheme = signing.unwrap_or_else(|| Scheme::verifier(namespace, keys));
        Ok(Self {
            members,
            scheme: Arc::new(scheme),
            signs,
        })
    }

    fn is_of(&self, members: &[Member]) -> bool {
        self.members.iter().map(|(_, member)| member).eq(members)
    }
}

struct Signer {
    namespace: Vec<u8>,
    key: PrivateKey,
}

struct Known {
    /// By the first epoch that it holds for.
    rolls: BTreeMap<u64, Arc<Roll>>,
    /// The last epoch whose members are known.
    through: u64,
    /// Those who will be members if nothing changes until the epoch ends.
    coming: Vec<Member>,
}

/// What is known of the epochs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Epochs {
    signer: Arc<Signer>,
    length: NonZeroU64,
    known: Arc<RwLock<Known>>,
    /// Goes up with every change of what is known.
    version: Arc<watch::Sender<u64>>,
    /// The epoch that the batches which were made use of have reached.
    reached: Arc<watch::Sender<u64>>,
}

impl Epochs {
    /// `members` by the first epoch that they hold for, known through the epoch of the batch after `delivered`.
    pub(crate) fn new(
        namespace: &[u8],
        key: PrivateKey,
        length: NonZeroU64,
        members: &BTreeMap<u64, Vec<Member>>,
        coming: Vec<Member>,
        delivered: u64,
    ) -> Result<Self, StartError> {
        let namespace = namespace.to_vec();
        let signer = Signer { namespace, key };
        let rolls: BTreeMap<_, _> = members
            .iter()
            .map(|(epoch, members)| Ok((*epoch, Arc::new(Roll::new(&signer, members)?))))
            .collect::<Result<_, StartError>>()?;
        if length.get() < 2 || !rolls.contains_key(&0) {
            return Err(StartError::Members);
        }
        Ok(Self {
            signer: Arc::new(signer),
            length,
            known: Arc::new(RwLock::new(Known {
                rolls,
                through: delivered.saturating_add(1) / length,
                coming,
            })),
            version: Arc::new(watch::channel(0).0),
            reached: Arc::new(watch::channel(0).0),
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the library.
    pub(crate) fn epocher(&self) -> FixedEpocher {
        FixedEpocher::new(self.length)
    }

    /// The epoch of the batch with this height.
    pub(crate) fn of(&self, height: u64) -> u64 {
        height / self.length
    }

    /// The height of the last batch before an epoch.
    pub(crate) fn before(&self, epoch: u64) -> u64 {
        epoch.saturating_mul(self.length.get()).saturating_sub(1)
    }

    /// The epoch after the one that ends with this height.
    pub(crate) fn begun_by(&self, height: u64) -> Option<u64> {
        let next = height.checked_add(1)?;
        (next % self.length == 0).then(|| next / self.length)
    }

    /// Who orders in an epoch, if that is known already.
    pub(crate) fn roll(&self, epoch: u64) -> Option<Arc<Roll>> {
        let known = self.read();
        let mut rolls = known.rolls.range(..=epoch);
        let (_, roll) = rolls.next_back()?;
        (epoch <= known.through).then(|| roll.clone())
    }

    /// Those who are let in besides the members of an epoch: who will be a member in the next, and who was one in the epoch before and may lack its end.
    pub(crate) fn others(&self, epoch: u64) -> Vec<Member> {
        let mut others = self.read().coming.clone();
        if let Some(roll) = epoch.checked_sub(1).and_then(|before| self.roll(before)) {
            others.extend(roll.members.iter().map(|(_, member)| *member));
        }
        others
    }

    /// A batch was made use of, and these would order if an epoch began now.
    pub(crate) fn after(&self, height: u64, members: &[Member]) -> Result<(), StartError> {
        let mut changed = false;
        {
            let mut known = self.write();
            if known.coming != members {
                known.coming = members.to_vec();
                changed = true;
            }
            if let Some(next) = self.begun_by(height).filter(|next| *next > known.through) {
                let last = known.rolls.values().next_back();
                if !last.is_some_and(|roll| roll.is_of(members)) {
                    let roll = Roll::new(&self.signer, members)?;
                    known.rolls.insert(next, Arc::new(roll));
                }
                known.through = next;
                changed = true;
            }
        }
        if changed {
            self.version.send_modify(|version| *version += 1);
        }
        self.reach(height);
        Ok(())
    }

    /// A batch is behind the caller.
    pub(crate) fn reach(&self, height: u64) {
        if let Some(next) = self.begun_by(height) {
            self.reached.send_if_modified(|reached| {
                let further = next > *reached;
                *reached = next.max(*reached);
                further
            });
        }
    }

    /// Verifies what the members of an epoch sign, and does not sign.
    pub(crate) fn verifier(&self, roll: &Roll) -> Scheme {
        use commonware_cryptography::certificate::Scheme as _;
        Scheme::verifier(&self.signer.namespace, roll.scheme.participants().clone())
    }

    /// Changes of who is let in.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The epoch to be in.
    pub(crate) fn reached(&self) -> watch::Receiver<u64> {
        self.reached.subscribe()
    }

    /// Returns when the members of an epoch are known.
    pub(crate) async fn until_known(&self, epoch: u64) {
        let mut changes = self.changes();
        while self.read().through < epoch {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Provider for Epochs {
    type Scope = Epoch;
    type Scheme = Scheme;

    fn scoped(&self, epoch: Epoch) -> Option<Scoped<Scheme>> {
        Some(Scoped::scheme(self.roll(epoch.get())?.scheme.clone()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use commonware_cryptography::Signer as _;

    fn key(number: u8) -> PrivateKey {
        PrivateKey::decode(Copying([number; 32].as_slice())).unwrap()
    }

    fn members(numbers: &[u8]) -> Vec<Member> {
        let key = |number: &u8| key(*number).public_key().as_ref().try_into().unwrap();
        let member = |number: &u8| Member {
            key: key(number),
            address: None,
        };
        numbers.iter().map(member).collect()
    }

    fn epochs(own: u8, delivered: u64) -> Epochs {
        let founders = BTreeMap::from([(0, members(&[1, 2, 3, 4]))]);
        let length = NonZeroU64::new(10).unwrap();
        let coming = members(&[1, 2, 3, 4]);
        Epochs::new(&[b'n'; 128], key(own), length, &founders, coming, delivered).unwrap()
    }

    #[test]
    fn members_change_where_an_epoch_ends_and_nowhere_else() {
        let epochs = epochs(5, 0);
        assert!(!epochs.roll(0).unwrap().signs);
        let five = members(&[1, 2, 3, 4, 5]);
        epochs.after(3, &five).unwrap();
        assert_eq!(epochs.roll(0).unwrap().members.len(), 4);
        assert!(epochs.roll(1).is_none());
        assert_eq!(epochs.others(0), five);
        epochs.after(9, &five).unwrap();
        assert!(epochs.roll(1).unwrap().signs);
        assert_eq!(epochs.roll(1).unwrap().members.len(), 5);
        assert_eq!(epochs.roll(0).unwrap().members.len(), 4);
        assert_eq!(*epochs.reached().borrow(), 1);

        // Who has left is let in for one epoch more, and the same end again changes nothing.
        let three = members(&[2, 3, 4]);
        epochs.after(19, &three).unwrap();
        epochs.after(9, &three).unwrap();
        assert_eq!(epochs.roll(1).unwrap().members.len(), 5);
        assert_eq!(epochs.others(2).len(), 3 + 5);
        epochs.after(29, &three).unwrap();
        assert_eq!(epochs.others(3).len(), 3 + 3);
        assert!(Arc::ptr_eq(
            &epochs.roll(2).unwrap(),
            &epochs.roll(3).unwrap()
        ));
    }

    #[test]
    fn what_is_no_list_of_members_is_refused_and_changes_nothing() {
        let epochs = epochs(1, 0);
        for wrong in [vec![], members(&[1, 1]), members(&[7; 1 + MAX_MEMBERS])] {
            assert!(epochs.after(9, &wrong).is_err());
            assert!(epochs.roll(1).is_none());
            assert_eq!(*epochs.reached().borrow(), 0);
        }
    }

    #[test]
    fn a_restart_knows_the_members_through_the_next_batch() {
        assert!(epochs(1, 8).roll(1).is_none());
        assert!(epochs(1, 9).roll(1).is_some());
        assert!(epochs(1, 9).roll(2).is_none());
        assert_eq!((epochs(1, 0).before(0), epochs(1, 0).before(2)), (0, 19));
    }
}
