//! Building a batch when this member leads, and judging those of others.
//!
//! Judged is what stays as it is: the encoding and its bounds, that every item is well-formed, that time does not run backwards. Whether an item *does*
//! anything is decided after it is final, by everyone alike. A batch from the future is neither right nor wrong: the vote waits until
//! this member's clock is near enough.

use crate::{
    Clock, Judge, Timing,
    batch::Batch,
    pool::{Pool, item_id},
    time::millis,
};
use commonware_consensus::{
    Application, Heightable as _, marshal::ancestry::Ancestry, simplex::types::Context,
};
use commonware_cryptography::{Digested, Digestible as _, ed25519::PublicKey, sha256::Digest};
use commonware_runtime::tokio;
use futures_util::StreamExt as _;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) type Scheme = commonware_consensus::simplex::scheme::ed25519::Scheme;

#[derive(Clone)]
pub(crate) struct Orderer {
    pub(crate) pool: Arc<Pool>,
    pub(crate) judge: Arc<dyn Judge>,
    pub(crate) clock: Clock,
    pub(crate) timing: Timing,
    /// Height of the last batch whose items the pool has forgotten.
    pub(crate) delivered: Arc<AtomicU64>,
}

impl Application<tokio::Context> for Orderer {
    type SigningScheme = Scheme;
    type Context = Context<Digest, PublicKey>;
    type Block = Batch;
    type Input = ();

    async fn propose(
        &mut self,
        _: (tokio::Context, Self::Context),
        mut ancestry: impl Ancestry<Batch>,
        (): (),
    ) -> Option<Digested<Batch>> {
        let parent = ancestry.next().await?;
        // What an ancestor brings that was not delivered yet is still in the pool.
        let mut on_the_way = HashSet::new();
        let mut ancestor = parent.clone();
        while ancestor.height().get() > self.delivered.load(Ordering::Acquire) {
            on_the_way.extend(ancestor.inner().items.iter().map(|item| item_id(item)));
            match ancestry.next().await {
                Some(older) => ancestor = older,
                None => break,
            }
        }
        let items = self.pool.next(&on_the_way, self.timing.idle).await;
        let batch = Batch {
            parent: parent.digest(),
            height: parent.height().next(),
            time_ms: (self.clock)().max(parent.inner().time_ms),
            items,
        };
        let digest = batch.digest();
        Some(Digested::precomputed(batch, digest))
    }

    async fn verify(
        &mut self,
        _: (tokio::Context, Self::Context),
        mut ancestry: impl Ancestry<Batch>,
    ) -> bool {
        let (Some(batch), Some(parent)) = (ancestry.next().await, ancestry.next().await) else {
            // Not there yet is no verdict: no vote.
            return std::future::pending().await;
        };
        let batch = batch.inner();
        if batch.time_ms < parent.inner().time_ms
            || !batch.items.iter().all(|item| self.judge.well_formed(item))
        {
            tracing::warn!(height = %batch.height(), "a proposed batch is not right, and is not voted for");
            return false;
        }
        let ahead = millis(self.timing.ahead);
        loop {
            let latest = (self.clock)().saturating_add(ahead);
            if batch.time_ms <= latest {
                return true;
            }
            let early = Duration::from_millis(batch.time_ms - latest);
            ::tokio::time::sleep(early.min(Duration::from_secs(1))).await;
        }
    }
}
