//! What nobody needs any more, so that nothing of a ceremony stays for ever.
//!
//! - A ceremony that is decided is forgotten `ceremony.remember_s` after its proposal expired: until then the same proposal must not
//!   be played again, and its operators may want to see what came of it. With it goes the evidence. Who has confirmed and does not
//!   know whether the key exists keeps its place; whoever has activated answers it by the key's own record.
//! - Pending shares of a reshare's results that a greater one has overtaken go when the overlap with that is over.
//! - What belongs to results of which no share is held any more: the signing of their certificates, and policies.

use std::collections::BTreeSet;
use std::sync::Arc;

use dkg::{BaseName, MemberOutput, MemberStage, Message};

use super::seat::Seat;
use super::{Ceremonies, CeremonyError, CeremonyId, lock};
use crate::daemon::clock_s;
use crate::store::{Change, Table};

impl Ceremonies {
    /// Forgets what is due. Blocks on the disk.
    pub(super) fn forget_due(&self) {
        self.forget_overtaken();
        self.forget_unheld();
        if let Err(error) = self.forget_decided(clock_s()) {
            tracing::warn!(code = error.code(), %error, "what is over could not be removed; it is tried again");
        }
    }

    /// Pending shares that a greater result has overtaken.
    fn forget_overtaken(&self) {
        for entry in self.around.keyring.entries() {
            let Some(result) = entry.newest_heard_of() else {
                continue;
            };
            if !entry.state().overlaps.is_empty() {
                continue;
            }
            let newest = BaseName {
                public_key: *entry.public_key(),
                result,
            };
            let seats = lock(&self.seats).clone();
            let of_key =
                |(_, seat): &(CeremonyId, Arc<Seat>)| seat.is_reshare_of(entry.public_key());
            for (id, seat) in seats.into_iter().filter(of_key) {
                let forgotten = self.advance(&id, &seat, |machine| {
                    Ok(MemberOutput {
                        persist: machine.forget_below(&newest),
                        ..MemberOutput::repeat(Message::Abandoned { ceremony: id })
                    })
                });
                if let Err(error) = forgotten {
                    tracing::warn!(ceremony = %hex::encode(id), code = error.code(), %error, "pending shares could not be erased; it is tried again");
                }
            }
        }
    }

    /// Results of which no share is held have nothing to be signed, and nobody is told of them.
    pub(super) fn forget_unheld(&self) {
        let entries = self.around.keyring.entries();
        let held: Vec<_> = entries.iter().flat_map(|entry| entry.held()).collect();
        lock(&self.made).retain(|_, made| held.iter().any(|key| made.is(key)));
    }

    /// Ceremonies whose time is over, in memory and on the disk.
    fn forget_decided(&self, now: u64) -> Result<(), CeremonyError> {
        let remember_s = self.around.live.now().ceremony.remember_s;
        let is_over = |expires: u64| now >= expires.saturating_add(remember_s);
        let over: Vec<CeremonyId> = lock(&self.seats)
            .iter()
            .filter(|(_, seat)| seat.is_over(is_over))
            .map(|(id, _)| *id)
            .collect();
        // What was there before it is asked what is needed: whatever comes meanwhile stays.
        let _one = lock(&self.resharing);
        let certificates = self.around.store.names(Table::KeyCertificate)?;
        let policies = self.around.store.names(Table::Policy)?;
        let made: BTreeSet<CeremonyId> = lock(&self.made).keys().copied().collect();
        let mut led_over = Vec::new();
        for (id, led) in lock(&self.led).clone() {
            let seated = lock(&self.seats).contains_key(&id) && !over.contains(&id);
            if seated || !is_over(led.expires()) {
                continue;
            }
            if led.is_done() {
                led_over.push(id);
            } else {
                // Who has confirmed and not heard of the end asks by itself.
                led.dismiss();
            }
        }
        let gone: Vec<CeremonyId> = over.iter().chain(&led_over).copied().collect();
        let mut changes = Vec::new();
        for id in &over {
            changes.push(Change::erase(Table::Decided, id));
            changes.push(Change::erase(Table::Ceremony, id));
        }
        changes.extend(led_over.iter().map(|id| Change::erase(Table::Leading, id)));
        let unsigned = |id: &&Vec<u8>| !made.iter().any(|known| known.as_slice() == *id);
        let unsigned = certificates.iter().filter(unsigned);
        changes.extend(unsigned.map(|id| Change::erase(Table::KeyCertificate, id)));
        let needed = self.policies_in_use(&gone);
        let unneeded = |hash: &&Vec<u8>| !needed.iter().any(|known| known.as_slice() == *hash);
        let unneeded = policies.iter().filter(unneeded);
        changes.extend(unneeded.map(|hash| Change::erase(Table::Policy, hash)));
        if changes.is_empty() {
            return Ok(());
        }
        self.around.store.commit(&changes)?;
        lock(&self.seats).retain(|id, _| !over.contains(id));
        lock(&self.led).retain(|id, _| !led_over.contains(id));
        lock(&self.arrived).retain(|id| !gone.contains(id));
        for id in &gone {
            tracing::debug!(ceremony = %hex::encode(id), "a ceremony whose time is over is forgotten");
        }
        self.notify();
        Ok(())
    }

    /// The policies of the ceremonies that are still remembered: a share has its own in its record.
    fn policies_in_use(&self, gone: &[CeremonyId]) -> BTreeSet<[u8; 32]> {
        let (seats, led) = (lock(&self.seats).clone(), lock(&self.led).clone());
        let seats = seats.iter().filter(|(id, _)| !gone.contains(id));
        let led = led.iter().filter(|(id, _)| !gone.contains(id));
        seats
            .filter_map(|(_, seat)| seat.policy_hash())
            .chain(led.map(|(_, led)| *led.proposal().policy_hash()))
            .collect()
    }

    /// What a member that has forgotten the ceremony, since its time is over, still says of it to one that was there: the key exists.
    pub(super) fn answer_of_made(&self, from: &[u8; 32], message: &Message) -> Option<Message> {
        let ceremony = message.ceremony()?;
        let made = lock(&self.made).get(&ceremony).cloned()?;
        made.has_seat(from).then_some(())?;
        if matches!(message, Message::Propose { .. }) {
            return None;
        }
        if matches!(message, Message::Certificate { .. }) {
            return Some(Message::Activated { ceremony });
        }
        let entries = self.around.keyring.entries();
        let mut held = entries.iter().flat_map(|entry| entry.held());
        let key = held.find(|key| made.is(key))?;
        Some(Message::Certificate {
            ceremony,
            certificate: serde_bytes::ByteBuf::from(key.certificate.clone()),
            public_shares: serde_bytes::ByteBuf::new(),
        })
    }
}

/// Whether a machine at this stage still has something to hear of its ceremony's end. `pending`: it holds a share of a result whose
/// certificate may still come.
pub(super) fn may_be_made_up_for(stage: MemberStage, pending: bool) -> bool {
    match stage {
        MemberStage::New | MemberStage::Proposed | MemberStage::Accepted | MemberStage::Closed => {
            false
        }
        MemberStage::Dealt
        | MemberStage::DealsWanted
        | MemberStage::Acknowledged
        | MemberStage::Complained
        | MemberStage::Confirmed => true,
        MemberStage::Activated => pending,
    }
}
