//! How much one client asks of its cluster at the same time.
//!
//! Two things make an overloaded cluster slower than a busy one. Requests that wait until their deadline and are given up then have cost
//! the nodes work for nothing: so a client takes on only as many reads as can end in time, and refuses the rest at once,
//! before a node hears of them. And a read whose nodes are slow asks others as well, which is right when a few nodes are slow, and
//! wrong when all are, because each read then costs n shares instead of t: so such additional calls are few beside the others (*The
//! tail at scale*, Dean and Barroso, Communications of the ACM 2013; gRPC proposal A6 bounds retries for the same reason). A node that failed
//! is replaced whatever the load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Additional calls that may always be in flight, so that a few reads at a time are hedged as far as they like.
const HEDGES: usize = 64;
/// Beyond those, one in so many of all calls in flight.
const HEDGED_SHARE: usize = 10;

/// What a client has in flight.
#[derive(Debug, Default)]
pub(super) struct Load {
    reads: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    hedges: Arc<AtomicUsize>,
}

/// Something in flight. It is over when this is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn one_more(of: &Arc<AtomicUsize>) -> Self {
        of.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(of))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    /// One more read; `None` if `most` are going on.
    pub(super) fn read(&self, most: usize) -> Option<InFlight> {
        let read = InFlight::one_more(&self.reads);
        (self.reads.load(Ordering::Relaxed) <= most).then_some(read)
    }

    /// A call to a node that no other call stands beside.
    pub(super) fn call(&self) -> InFlight {
        InFlight::one_more(&self.calls)
    }

    /// A call in addition to others that are slow, in a cluster of `members`; `None` while too many are in flight.
    pub(super) fn hedge(&self, members: usize) -> Option<InFlight> {
        let most = HEDGES + members + self.calls.load(Ordering::Relaxed) / HEDGED_SHARE;
        let hedge = InFlight::one_more(&self.hedges);
        (self.hedges.load(Ordering::Relaxed) <= most).then_some(hedge)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_are_taken_up_to_the_bound_and_again_when_one_is_over() {
        let load = Load::default();
        let first = load.read(2).unwrap();
        let _second = load.read(2).unwrap();
        assert!(load.read(2).is_none());
        drop(first);
        assert!(load.read(2).is_some());
    }

    #[test]
    fn additional_calls_are_a_tenth_of_the_others_and_a_few() {
        let load = Load::default();
        let few: Vec<_> = std::iter::from_fn(|| load.hedge(5)).take(1_000).collect();
        assert_eq!(few.len(), HEDGES + 5);
        let calls: Vec<_> = (0..3_000).map(|_| load.call()).collect();
        let more: Vec<_> = std::iter::from_fn(|| load.hedge(5)).take(1_000).collect();
        assert_eq!(more.len(), 300);
        drop((few, more, calls));
        assert!(load.hedge(5).is_some());
    }
}
