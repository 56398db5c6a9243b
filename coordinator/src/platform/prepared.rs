//! What was prepared and waits for its signature: bounded in number, for each tenant too, and in time, and visible to its own tenant only.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::locked;
use crate::record::{UnsignedTransaction, VersionName};

/// One tenant gets one part in so many of the room: a quarter. Whoever prepares and never signs stands in the way of nobody else.
const TENANTS_SHARE: usize = 4;

/// A transaction that waits for its signature.
#[derive(Debug, Clone)]
pub struct PreparedTransaction {
    /// Names what it belongs to at this platform: a stored body, a read, a rewrap.
    pub id: Uuid,
    /// What its author is to check and sign.
    pub transaction: UnsignedTransaction,
}

/// A write that waits for its signature, with what it says of the version that it makes.
#[derive(Debug, Clone)]
pub struct PreparedWrite {
    /// Names the stored body at this platform.
    pub id: Uuid,
    /// What its author is to check and sign.
    pub transaction: UnsignedTransaction,
    /// The version.
    pub name: VersionName,
    /// Bytes of plaintext.
    pub length: u64,
    /// SHA-256 over the stored body.
    pub checksum: [u8; 32],
}

impl From<PreparedWrite> for PreparedTransaction {
    fn from(
        PreparedWrite {
            id, transaction, ..
        }: PreparedWrite,
    ) -> Self {
        Self { id, transaction }
    }
}

struct Waiting<T> {
    tenant: String,
    until: Instant,
    what: T,
}

/// What was taken out, and could be put back.
pub(super) struct Taken<T>(Waiting<T>);

impl<T> Taken<T> {
    pub(super) fn what(&self) -> &T {
        &self.0.what
    }

    pub(super) fn into_inner(self) -> T {
        self.0.what
    }
}

/// A set of things that wait.
pub(super) struct Prepared<T> {
    waiting: Mutex<Set<T>>,
    limit: usize,
    lifetime: Duration,
}

struct Set<T> {
    all: HashMap<Uuid, Waiting<T>>,
    /// How many of them are each tenant's.
    of_tenant: HashMap<String, usize>,
}

impl<T> Set<T> {
    fn put(&mut self, id: Uuid, it: Waiting<T>) {
        *self.of_tenant.entry(it.tenant.clone()).or_default() += 1;
        self.all.insert(id, it);
    }

    fn take(&mut self, id: Uuid) -> Option<Waiting<T>> {
        let taken = self.all.remove(&id)?;
        if let Some(count) = self.of_tenant.get_mut(&taken.tenant) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_tenant.remove(&taken.tenant);
            }
        }
        Some(taken)
    }
}

impl<T> Prepared<T> {
    pub(super) fn new(limit: usize, lifetime: Duration) -> Self {
        Self {
            waiting: Mutex::new(Set {
                all: HashMap::new(),
                of_tenant: HashMap::new(),
            }),
            limit,
            lifetime,
        }
    }

    /// Adds something; gives it back if there are too many, or too many of this tenant's.
    pub(super) fn insert(&self, tenant: &str, what: T, now: Instant) -> Result<Uuid, T> {
        let mut waiting = locked(&self.waiting);
        let own = waiting.of_tenant.get(tenant).copied().unwrap_or(0);
        let most = (self.limit / TENANTS_SHARE).max(1);
        if waiting.all.len() >= self.limit || own >= most {
            return Err(what);
        }
        let id = Uuid::now_v7();
        let it = Waiting {
            tenant: tenant.to_owned(),
            until: now + self.lifetime,
            what,
        };
        waiting.put(id, it);
        Ok(id)
    }

    /// Puts back what was taken: it waits until the same moment as before.
    pub(super) fn put_back(&self, id: Uuid, taken: Taken<T>) {
        locked(&self.waiting).put(id, taken.0);
    }

    /// Takes something out, if it is this tenant's and has not expired.
    pub(super) fn take(&self, id: Uuid, tenant: &str, now: Instant) -> Option<Taken<T>> {
        self.take_if(id, tenant, now, |_| true)
    }

    /// The same of what `fits` alone.
    pub(super) fn take_if(
        &self,
        id: Uuid,
        tenant: &str,
        now: Instant,
        fits: impl FnOnce(&T) -> bool,
    ) -> Option<Taken<T>> {
        let mut waiting = locked(&self.waiting);
        let found = waiting.all.get(&id)?;
        if found.tenant != tenant || found.until <= now || !fits(&found.what) {
            return None;
        }
        waiting.take(id).map(Taken)
    }

    /// Whether it still waits.
    pub(super) fn has(&self, id: Uuid) -> bool {
        let waiting = locked(&self.waiting);
        waiting
            .all
            .get(&id)
            .is_some_and(|w| w.until > Instant::now())
    }

    /// Takes out everything that has expired.
    pub(super) fn expired(&self, now: Instant) -> Vec<T> {
        let mut waiting = locked(&self.waiting);
        let over = waiting.all.iter().filter(|(_, w)| w.until <= now);
        let over: Vec<Uuid> = over.map(|(id, _)| *id).collect();
        over.into_iter()
            .filter_map(|id| waiting.take(id).map(|w| w.what))
            .collect()
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bounded_in_number_time_and_tenant() {
        let prepared = Prepared::new(2, Duration::from_secs(10));
        let now = Instant::now();
        let first = prepared.insert("a", 1, now).unwrap();
        let second = prepared
            .insert("b", 2, now + Duration::from_secs(5))
            .unwrap();
        assert_eq!(prepared.insert("a", 3, now), Err(3));
        assert!(prepared.take(first, "b", now).is_none());
        let taken = prepared
            .take(first, "a", now + Duration::from_secs(9))
            .unwrap();
        assert_eq!(taken.what(), &1);
        prepared.put_back(first, taken);
        assert!(
            prepared
                .take(first, "a", now + Duration::from_secs(10))
                .is_none()
        );
        assert_eq!(prepared.expired(now + Duration::from_secs(10)), [1]);
        assert_eq!(
            prepared
                .take(second, "b", now + Duration::from_secs(14))
                .unwrap()
                .into_inner(),
            2
        );
        assert!(prepared.take(second, "b", now).is_none());
    }

    #[test]
    fn one_tenant_leaves_room_for_others() {
        let prepared = Prepared::new(8, Duration::from_secs(10));
        let now = Instant::now();
        let first = prepared.insert("a", 1, now).unwrap();
        prepared.insert("a", 2, now).unwrap();
        assert_eq!(prepared.insert("a", 3, now), Err(3));
        prepared.insert("b", 4, now).unwrap();
        // What is taken, or is over, makes room, and what was put back takes it again.
        let taken = prepared.take(first, "a", now).unwrap();
        prepared.put_back(first, taken);
        assert_eq!(prepared.insert("a", 5, now), Err(5));
        assert!(prepared.take_if(first, "a", now, |it| *it == 2).is_none());
        prepared.take_if(first, "a", now, |it| *it == 1).unwrap();
        prepared.insert("a", 6, now).unwrap();
        let later = now + Duration::from_secs(10);
        assert_eq!(prepared.expired(later).len(), 3);
        prepared.insert("a", 7, later).unwrap();
        prepared.insert("a", 8, later).unwrap();
        assert_eq!(prepared.insert("a", 9, later), Err(9));
    }
}
