//! What comes out, and how the caller says that it was made use of.

use crate::{Member, batch::Batch, epochs::Epochs, pool::Pool};
use bytes::Bytes;
use commonware_actor::Feedback;
use commonware_consensus::{Heightable as _, Reporter, marshal::Update};
use commonware_utils::{Acknowledgement as _, acknowledgement::Exact};
use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering as Memory},
    },
};
use tokio::sync::{mpsc, watch};

/// Batches that may wait for the caller.
pub(crate) const PENDING: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// A batch that is final.
#[derive(Debug)]
pub struct Delivery {
    /// Its height; the one before was delivered before.
    pub height: u64,
    /// Its time, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What is in it.
    pub items: Vec<Bytes>,
    done: Option<Exact>,
    used: Used,
}

/// What a batch that was made use of changes.
#[derive(Clone)]
pub(crate) struct Used {
    pub(crate) pool: Arc<Pool>,
    pub(crate) delivered: Arc<AtomicU64>,
    pub(crate) epochs: Epochs,
}

impl std::fmt::Debug for Used {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Used")
    }
}

impl Delivery {
    /// The epoch that begins after this batch, if it is the last of its epoch.
    #[must_use]
    pub fn begins(&self) -> Option<u64> {
        self.used.epochs.begun_by(self.height)
    }

    /// Says that it was made use of, durably, and who is to order from the next epoch on as things stand after it. Those who are not members yet are
    /// let in at once, to fetch what they lack; it is what is said after the last batch of an epoch that counts, and all members must say the same then.
    /// A delivery that is dropped instead stops the member: it cannot go on without.
    pub fn done(self, members: &[Member]) {
        self.used.pool.forget(&self.items);
        self.used.delivered.store(self.height, Memory::Release);
        if let Err(error) = self.used.epochs.after(self.height, members) {
            tracing::error!(%error, height = self.height, "nobody can order after this batch");
            return;
        }
        if let Some(done) = self.done {
            done.acknowledge();
        }
    }
}

/// Takes final batches from marshal and gives them to the caller.
#[derive(Clone)]
pub(crate) struct Out {
    /// What is not above this the caller has already.
    pub(crate) after: u64,
    pub(crate) deliveries: mpsc::Sender<Delivery>,
    /// A batch with a later time was voted for after this member's start, see `votes`.
    pub(crate) fresh_ms: u64,
    /// The height of the last such batch.
    pub(crate) fresh: Arc<watch::Sender<u64>>,
    pub(crate) used: Used,
}

impl Out {
    /// Gives the caller the next batch from this member's own archive, and leaves room for as many as marshal gives at once.
    pub(crate) async fn replay(&mut self, batch: &Batch) {
        if let Ok(room) = self.deliveries.reserve_many(PENDING.get() + 1).await {
            drop(room);
            self.deliver(batch, None);
        }
        self.after = batch.height().get();
    }

    fn deliver(&self, batch: &Batch, done: Option<Exact>) -> Feedback {
        let height = batch.height().get();
        if batch.time_ms > self.fresh_ms {
            self.fresh.send_replace(height);
        }
        if height <= self.after || height == 0 {
            self.used.epochs.reach(height);
            if let Some(done) = done {
                done.acknowledge();
            }
            return Feedback::Ok;
        }
        let delivery = Delivery {
            height,
            time_ms: batch.time_ms,
            items: batch.items.clone(),
            done,
            used: self.used.clone(),
        };
        match self.deliveries.try_send(delivery) {
            Ok(()) => Feedback::Ok,
            Err(_) => Feedback::Closed,
        }
    }
}

impl Reporter for Out {
    type Activity = Update<Batch>;

    fn report(&mut self, update: Update<Batch>) -> Feedback {
        match update {
            Update::Tip(..) => Feedback::Ok,
            Update::Block(batch, done) => self.deliver(batch.inner(), Some(done)),
        }
    }
}
