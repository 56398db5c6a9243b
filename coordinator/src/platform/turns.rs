//! Whose turn it is to move a body: there are so many turns, and no tenant holds them all.
//!
//! One tenant holds three quarters of the turns at most, so there is room for the others whatever it does. Among those that wait, the one goes
//! first whose tenant holds the fewest; of one tenant's, the one that came first. So tenants that all have much to move share the turns evenly.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use super::locked;

/// The turns of one process.
pub(super) struct Turns {
    all: usize,
    of_one_tenant: usize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// How many each tenant holds; never zero.
    held: HashMap<String, usize>,
    /// All of them together.
    taken: usize,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    tenant: String,
    turn: oneshot::Sender<Turn>,
}

/// A turn; it ends when this is dropped.
pub(super) struct Turn {
    /// None once it is given back.
    of: Option<(Arc<Turns>, String)>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((turns, tenant)) = self.of.take() {
            locked(&turns.queue).give_back(&tenant);
            turns.pass_on();
        }
    }
}

impl Queue {
    fn held_by(&self, tenant: &str) -> usize {
        self.held.get(tenant).copied().unwrap_or(0)
    }

    fn take(&mut self, tenant: &str) {
        self.taken += 1;
        *self.held.entry(tenant.to_owned()).or_default() += 1;
    }

    fn give_back(&mut self, tenant: &str) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(held) = self.held.get_mut(tenant) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.held.remove(tenant);
            }
        }
    }

    /// Who comes next, if anybody may; the turn is its from now on.
    fn next(&mut self, all: usize, of_one_tenant: usize) -> Option<Waiting> {
        self.waiting.retain(|it| !it.turn.is_closed());
        if self.taken >= all {
            return None;
        }
        let may = |it: &Waiting| self.held_by(&it.tenant) < of_one_tenant;
        let waiting = self.waiting.iter().enumerate().filter(|(_, it)| may(it));
        // The first of those that hold as few.
        let (at, _) = waiting.min_by_key(|(_, it)| self.held_by(&it.tenant))?;
        let next = self.waiting.remove(at)?;
        self.take(&next.tenant);
        Some(next)
    }
}

impl Turns {
    pub(super) fn new(all: usize) -> Arc<Self> {
        Arc::new(Self {
            all,
            of_one_tenant: (all - all / 4).max(1),
            queue: Mutex::default(),
        })
    }

    /// A turn of this tenant's; none if it does not come in time.
    pub(super) async fn take(self: &Arc<Self>, tenant: &str, within: Duration) -> Option<Turn> {
        let (turn, comes) = oneshot::channel();
        let tenant = tenant.to_owned();
        locked(&self.queue)
            .waiting
            .push_back(Waiting { tenant, turn });
        self.pass_on();
        // If nobody waits for it any more, the turn is dropped with the channel, and goes to the next.
        tokio::time::timeout(within, comes).await.ok()?.ok()
    }

    /// Gives the turns that are free to those that wait.
    fn pass_on(self: &Arc<Self>) {
        loop {
            let next = locked(&self.queue).next(self.all, self.of_one_tenant);
            let Some(Waiting { tenant, turn }) = next else {
                return;
            };
            let of = Some((self.clone(), tenant));
            if let Err(mut unwanted) = turn.send(Turn { of })
                && let Some((_, tenant)) = unwanted.of.take()
            {
                // It went away in this moment. Not by a drop, which would come back here.
                locked(&self.queue).give_back(&tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use futures_util::FutureExt as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// Takes one that is free.
    fn now(turns: &Arc<Turns>, tenant: &str) -> Option<Turn> {
        let taken = turns.take(tenant, LONG);
        let mut taken = std::pin::pin!(taken);
        taken.as_mut().now_or_never().flatten()
    }

    #[tokio::test]
    async fn one_tenant_leaves_a_quarter_to_the_others() {
        let turns = Turns::new(8);
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(now(&turns, "acme").unwrap());
        }
        assert!(now(&turns, "acme").is_none());
        let other = [now(&turns, "umbra"), now(&turns, "umbra")];
        assert!(other.iter().all(Option::is_some));
        assert!(now(&turns, "third").is_none(), "all are taken");
        drop(other);
        assert!(now(&turns, "acme").is_none());
        held.pop();
        assert!(now(&turns, "acme").is_some());
        // What went away waits no more, and what was given back is not counted.
        drop(held);
        now(&turns, "umbra").unwrap();
        let queue = locked(&turns.queue);
        assert!(queue.held.is_empty() && queue.waiting.is_empty() && queue.taken == 0);
    }

    #[tokio::test]
    async fn who_holds_the_fewest_goes_first() {
        let turns = Turns::new(4);
        let mut held = vec![
            now(&turns, "acme").unwrap(),
            now(&turns, "acme").unwrap(),
            now(&turns, "acme").unwrap(),
            now(&turns, "umbra").unwrap(),
        ];
        let wait = |tenant: &'static str| {
            let turns = turns.clone();
            let mut waits = Box::pin(async move { turns.take(tenant, LONG).await });
            assert!((&mut waits).now_or_never().is_none());
            waits
        };
        let (mut first, mut second) = (wait("acme"), wait("acme"));
        let (mut other, gone) = (wait("umbra"), wait("third"));
        drop(gone);
        drop(held.remove(0));
        // Two against one: the later one's turn.
        let umbra = (&mut other).now_or_never().flatten().unwrap();
        assert!((&mut first).now_or_never().is_none());
        drop(umbra);
        let own = (&mut first).now_or_never().flatten().unwrap();
        assert!((&mut second).now_or_never().is_none(), "in its order");
        drop(own);
        assert!((&mut second).now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn whoever_waits_too_long_is_told() {
        let turns = Turns::new(1);
        let held = now(&turns, "acme").unwrap();
        let late = turns.take("acme", Duration::from_millis(1)).await;
        assert!(late.is_none());
        drop(held);
        assert!(now(&turns, "acme").is_some());
    }
}
