//! This node as the successor of a leader that is gone, and as one that gives way.
//!
//! The rule of whose turn it is belongs to the member's machine. Here it is looked at now and then, a leader is made from what the
//! machine knows and made durable, and its task is started.
//!
//! A member that has confirmed and seen no certificate when the proposal expires asks all others whether a key came of it, and goes on
//! asking, at growing intervals of an hour at most, until it knows: those that know may be away for long.

use std::sync::Arc;

use dkg::{LeaderEffect, MemberStage};

use super::lead::Led;
use super::seat::Seat;
use super::{Ceremonies, CeremonyError, CeremonyId, blocking, lock};
use crate::daemon::clock_s;

impl Ceremonies {
    /// Takes over the lead of every ceremony in which it is this node's turn.
    pub(super) async fn take_over_due(self: &Arc<Self>) {
        if self.remembers().is_err() {
            return;
        }
        let seats = lock(&self.seats).clone();
        for (id, seat) in seats {
            let led = lock(&self.led).get(&id).cloned();
            let turn = seat.with(|machine| machine.takes_over_at(clock_s()));
            let turn = match (&led, turn.flatten()) {
                // Only who has confirmed still has a turn when the proposal has expired.
                (Some(led), Some(_)) if led.has_ended_unknowing() => {
                    Some(led.asks_again_at().max(led.expires()))
                }
                (Some(led), _) if !led.has_stood_aside() => None,
                (_, turn) => turn,
            };
            if turn.is_none_or(|turn| clock_s() < turn) {
                continue;
            }
            let late = led.filter(|led| led.has_ended_unknowing());
            if let Err(error) = self.take_over(id, &seat, late.as_deref()).await {
                tracing::warn!(ceremony = %hex::encode(id), code = error.code(), %error, "the lead cannot be taken over now");
            }
        }
    }

    async fn take_over(
        self: &Arc<Self>,
        id: CeremonyId,
        seat: &Seat,
        late: Option<&Led>,
    ) -> Result<(), CeremonyError> {
        let patience_s = self.around.live.now().ceremony.patience_s;
        let before = seat
            .with(|machine| machine.led_by().map(|leader| leader.name.clone()))
            .flatten();
        let Some(led) = seat.with(|machine| Led::take_over(machine, patience_s, late)) else {
            return Ok(());
        };
        let led = Arc::new(led?);
        let ceremony = hex::encode(id);
        match late {
            None => tracing::warn!(
                ceremony,
                leader = before.unwrap_or_default(),
                "nothing is heard of the ceremony's leader: this node leads it on"
            ),
            Some(_) => tracing::info!(
                ceremony,
                "this node has confirmed and does not know whether a key came of it: it asks again"
            ),
        }
        let mut first = Vec::new();
        for effect in led.begin() {
            match effect {
                LeaderEffect::Persist(state) => {
                    let this = Arc::clone(self);
                    blocking(move || this.persist_leader(&id, state)).await??;
                }
                other => first.push(other),
            }
        }
        lock(&self.led).insert(id, Arc::clone(&led));
        self.spawn_lead(led, first);
        self.notify();
        Ok(())
    }

    /// This node's member hears that its own node leads, as it did before the start.
    pub(super) fn leads_on(&self, id: &CeremonyId) {
        if let Ok(seat) = self.seat(id) {
            seat.with(|machine| machine.take_lead(clock_s()));
        }
    }

    /// Whether this node's member has heard that somebody else leads.
    pub(super) fn is_led_by_another(&self, id: &CeremonyId) -> bool {
        let own = self.around.own.identity;
        self.seat(id)
            .ok()
            .and_then(|seat| seat.with(|machine| machine.led_by().map(|leader| leader.identity)))
            .flatten()
            .is_some_and(|leader| leader != own)
    }

    /// Whether operators are shown a ceremony as its leader sees it. If not, as the member sees it: another leads; or nothing came of it
    /// under this node while others may go on, or went on.
    pub(super) fn is_seen_as_leader(&self, led: &Led, seat: Option<&Arc<Seat>>) -> bool {
        let Some(stage) = seat.and_then(|seat| seat.stage()) else {
            return true;
        };
        let proposed = led.is_proposed_by(&self.around.own.identity);
        let goes_on = stage == MemberStage::Activated || !proposed;
        !(led.has_stood_aside() || led.has_failed() && goes_on)
    }
}
