//! What was prepared and waits for its signature: bounded in number and in time, and visible to its own tenant only.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::record::UnsignedTransaction;

/// A transaction that waits for its signature.
#[derive(Debug, Clone)]
pub struct PreparedTransaction {
    /// Names what it belongs to at this platform: a stored body, a read, a rewrap.
    pub id: Uuid,
    /// What its author is to check and sign.
    pub transaction: UnsignedTransaction,
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
    waiting: Mutex<HashMap<Uuid, Waiting<T>>>,
    limit: usize,
    lifetime: Duration,
}

impl<T> Prepared<T> {
    pub(super) fn new(limit: usize, lifetime: Duration) -> Self {
        Self {
            waiting: Mutex::new(HashMap::new()),
            limit,
            lifetime,
        }
    }

    /// Adds something; gives it back if there are too many.
    pub(super) fn insert(&self, tenant: &str, what: T, now: Instant) -> Result<Uuid, T> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= self.limit {
            return Err(what);
        }
        let id = Uuid::now_v7();
        waiting.insert(
            id,
            Waiting {
                tenant: tenant.to_owned(),
                until: now + self.lifetime,
                what,
            },
        );
        Ok(id)
    }

    /// Puts back what was taken: it waits until the same moment as before.
    pub(super) fn put_back(&self, id: Uuid, taken: Taken<T>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(id, taken.0);
    }

    /// Takes something out, if it is this tenant's and has not expired.
    pub(super) fn take(&self, id: Uuid, tenant: &str, now: Instant) -> Option<Taken<T>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting
            .get(&id)
            .is_some_and(|w| w.tenant == tenant && w.until > now)
        {
            return None;
        }
        waiting.remove(&id).map(Taken)
    }

    /// Whether it still waits.
    pub(super) fn has(&self, id: Uuid) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get(&id).is_some_and(|w| w.until > Instant::now())
    }

    /// Takes out everything that has expired.
    pub(super) fn expired(&self, now: Instant) -> Vec<T> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting
            .extract_if(|_, w| w.until <= now)
            .map(|(_, w)| w.what)
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
}
