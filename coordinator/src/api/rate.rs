//! How many requests each tenant may make: a bucket of tokens for each, which fills at a steady rate.
//!
//! The bucket is asked after the API key was verified, so that nobody uses up another tenant's share; whoever has no key is held
//! by the limit on connections. Buckets that are full again are forgotten.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Buckets beyond which the full ones are thrown out.
const MANY: usize = 1024;

/// The limits of one process.
pub(super) struct Rates {
    /// Requests a second.
    rate: f64,
    /// Requests at once.
    burst: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rates {
    pub(super) fn new(rate: u32, burst: u32) -> Self {
        Self {
            rate: f64::from(rate.max(1)),
            burst: f64::from(burst.max(1)),
            buckets: Mutex::default(),
        }
    }

    /// Takes a token of this tenant.
    ///
    /// # Errors
    ///
    /// When there will be one.
    pub(super) fn take(&self, tenant: &str, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MANY && !buckets.contains_key(tenant) {
            buckets.retain(|_, bucket| self.tokens(bucket, now) < self.burst);
        }
        let bucket = buckets.entry(tenant.to_owned()).or_insert(Bucket {
            tokens: self.burst,
            at: now,
        });
        let tokens = self.tokens(bucket, now);
        bucket.at = bucket.at.max(now);
        if tokens < 1.0 {
            bucket.tokens = tokens;
            return Err(Duration::from_secs_f64((1.0 - tokens) / self.rate));
        }
        bucket.tokens = tokens - 1.0;
        Ok(())
    }

    fn tokens(&self, bucket: &Bucket, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * self.rate;
        (bucket.tokens + gained).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_tenant_has_its_own_share() {
        let rates = Rates::new(2, 3);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for _ in 0..3 {
            rates.take("acme", at(0)).unwrap();
        }
        let wait = rates.take("acme", at(0)).unwrap_err();
        assert_eq!(wait, Duration::from_millis(500));
        rates.take("umbra", at(0)).unwrap();
        // To be refused costs nothing.
        assert_eq!(
            rates.take("acme", at(250)).unwrap_err(),
            Duration::from_millis(250)
        );
        rates.take("acme", at(500)).unwrap();
        assert!(rates.take("acme", at(500)).is_err());
        // No more is saved up than the burst.
        for _ in 0..3 {
            rates.take("acme", at(3_600_000)).unwrap();
        }
        assert!(rates.take("acme", at(3_600_000)).is_err());
    }

    #[test]
    fn buckets_do_not_pile_up() {
        let rates = Rates::new(1, 1);
        let start = Instant::now();
        for number in 0..MANY {
            rates.take(&number.to_string(), start).unwrap();
        }
        rates
            .take("one more", start + Duration::from_secs(2))
            .unwrap();
        assert_eq!(rates.buckets.lock().unwrap().len(), 1);
    }
}
