//! What waits to be ordered. Bounded for each member that sent it, so that none can take the others' room.

use crate::batch::{MAX_BATCH_BYTES, MAX_BATCH_ITEMS};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Items of one member that wait at most.
const MAX_WAITING: usize = 8 * MAX_BATCH_ITEMS;
/// Their bytes.
const MAX_WAITING_BYTES: usize = 8 * MAX_BATCH_BYTES;

pub(crate) type ItemId = [u8; 32];
/// The key of the member that sent something.
pub(crate) type Origin = [u8; 32];

pub(crate) fn item_id(item: &[u8]) -> ItemId {
    Sha256::digest(item).into()
}

/// More waits already than is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much waits to be ordered already; try again in a moment")]
pub struct Full;

#[derive(Default)]
struct Waiting {
    /// In the order in which they came.
    order: BTreeMap<u64, ItemId>,
    items: HashMap<ItemId, Item>,
    /// Number and bytes of what each member sent.
    taken: HashMap<Origin, (usize, usize)>,
    next: u64,
}

struct Item {
    place: u64,
    bytes: Bytes,
    origin: Origin,
    since: Instant,
}

pub(crate) struct Pool {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting::default()),
            arrived: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the member at `origin` sent; says whether it is new.
    pub(crate) fn offer(&self, bytes: Bytes, origin: Origin) -> Result<bool, Full> {
        let id = item_id(&bytes);
        let mut waiting = self.lock();
        if waiting.items.contains_key(&id) {
            return Ok(false);
        }
        let (number, size) = waiting.taken.get(&origin).copied().unwrap_or_default();
        if number >= MAX_WAITING || size + bytes.len() > MAX_WAITING_BYTES {
            return Err(Full);
        }
        waiting
            .taken
            .insert(origin, (number + 1, size + bytes.len()));
        let place = waiting.next;
        waiting.next += 1;
        waiting.order.insert(place, id);
        let since = Instant::now();
        let item = Item {
            place,
            bytes,
            origin,
            since,
        };
        waiting.items.insert(id, item);
        drop(waiting);
        self.arrived.notify_waiters();
        Ok(true)
    }

    /// As much as fits into a batch, oldest first, without those that are on the way already.
    fn pick(&self, on_the_way: &HashSet<ItemId>) -> Vec<Bytes> {
        let waiting = self.lock();
        let mut picked = Vec::new();
        let mut size = 0;
        for id in waiting
            .order
            .values()
            .filter(|id| !on_the_way.contains(*id))
        {
            let Some(item) = waiting.items.get(id) else {
                continue;
            };
            if picked.len() == MAX_BATCH_ITEMS || size + item.bytes.len() > MAX_BATCH_BYTES {
                break;
            }
            size += item.bytes.len();
            picked.push(item.bytes.clone());
        }
        picked
    }

    /// The same, as soon as there is anything; nothing after `patience`.
    pub(crate) async fn next(
        &self,
        on_the_way: &HashSet<ItemId>,
        patience: Duration,
    ) -> Vec<Bytes> {
        let anything = async {
            loop {
                // Registered before looking, so that what arrives in between wakes it.
                let arrived = self.arrived.notified();
                tokio::pin!(arrived);
                arrived.as_mut().enable();
                let picked = self.pick(on_the_way);
                if !picked.is_empty() {
                    return picked;
                }
                arrived.await;
            }
        };
        tokio::time::timeout(patience, anything)
            .await
            .unwrap_or_default()
    }

    /// Forgets what was ordered.
    pub(crate) fn forget<'a>(&self, items: impl IntoIterator<Item = &'a Bytes>) {
        let mut waiting = self.lock();
        for item in items {
            let Some(item) = waiting.items.remove(&item_id(item)) else {
                continue;
            };
            waiting.order.remove(&item.place);
            if let Some((number, size)) = waiting.taken.get_mut(&item.origin) {
                *number = number.saturating_sub(1);
                *size = size.saturating_sub(item.bytes.len());
                // Members come and go: nothing is kept of one of whom nothing waits.
                if *number == 0 {
                    waiting.taken.remove(&item.origin);
                }
            }
        }
    }

    /// What a member sent that has waited for longer than this, oldest first and at most so many.
    pub(crate) fn stale(&self, origin: Origin, age: Duration, limit: usize) -> Vec<Bytes> {
        let waiting = self.lock();
        let items = waiting
            .order
            .values()
            .filter_map(|id| waiting.items.get(id));
        items
            .filter(|item| item.origin == origin && item.since.elapsed() >= age)
            .take(limit)
            .map(|item| item.bytes.clone())
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ONE: Origin = [1; 32];
    const TWO: Origin = [2; 32];

    fn item(number: usize) -> Bytes {
        Bytes::from(number.to_be_bytes().to_vec())
    }

    #[test]
    fn one_member_cannot_take_the_room_of_another() {
        let pool = Pool::new();
        for number in 0..MAX_WAITING {
            assert_eq!(pool.offer(item(number), ONE), Ok(true));
        }
        assert_eq!(pool.offer(item(MAX_WAITING), ONE), Err(Full));
        assert_eq!(pool.offer(item(0), ONE), Ok(false));
        assert_eq!(pool.offer(item(MAX_WAITING), TWO), Ok(true));
        pool.forget([&item(0)]);
        assert_eq!(pool.offer(item(MAX_WAITING + 1), ONE), Ok(true));
    }

    #[test]
    fn a_batch_takes_what_fits_and_is_not_on_the_way() {
        let pool = Pool::new();
        for number in 0..MAX_BATCH_ITEMS + 10 {
            pool.offer(item(number), ONE).unwrap();
        }
        let on_the_way = HashSet::from([item_id(&item(0)), item_id(&item(2))]);
        let picked = pool.pick(&on_the_way);
        assert_eq!(picked.len(), MAX_BATCH_ITEMS);
        assert_eq!(picked.first(), Some(&item(1)));
        assert_eq!(picked.get(1), Some(&item(3)));
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let pool = Pool::new();
        let none = HashSet::new();
        let (picked, offered) = tokio::join!(pool.next(&none, Duration::from_secs(30)), async {
            tokio::task::yield_now().await;
            pool.offer(item(1), ONE)
        });
        assert_eq!((picked, offered), (vec![item(1)], Ok(true)));
        pool.forget([&item(1)]);
        assert!(pool.next(&none, Duration::ZERO).await.is_empty());
    }
}
