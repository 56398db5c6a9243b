//! Clients one by one: who is given nothing, and how much each may take.
//!
//! A client is its TLS key. Anybody can make any number of keys, so that these bounds hold a known client to its share (a platform
//! that runs wild, two platforms behind one address) and stand beside those by address ([`super::admission`]), which
//! hold strangers.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::admission::{Caps, Room};
use super::refusal::Refusal;

/// What one client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// Requests at a time.
    pub requests: u32,
    /// Requests a second; 0 is no bound.
    pub requests_per_second: u32,
    /// Requests at once after a rest; 0 is a second's worth.
    pub burst: u32,
    /// Bytes held for its requests.
    pub bytes: u32,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            requests: 512,
            requests_per_second: 0,
            burst: 0,
            bytes: 32 * 1024 * 1024,
        }
    }
}

impl ClientLimits {
    fn capacity(&self) -> f64 {
        f64::from(match self.burst {
            0 => self.requests_per_second,
            burst => burst,
        })
    }

    pub(super) fn caps(&self) -> Caps {
        let number = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        Caps {
            requests: number(self.requests),
            bytes: number(self.bytes),
        }
    }
}

/// The operator's rules for clients, each named by the SHA-256 of its SubjectPublicKeyInfo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientRules {
    /// If it is there, nobody else is given shares.
    pub allow: Option<HashSet<[u8; 32]>>,
    /// Given nothing.
    pub deny: HashSet<[u8; 32]>,
    /// What each client may take.
    pub each: ClientLimits,
    /// What single clients may take instead.
    pub named: HashMap<[u8; 32], ClientLimits>,
}

impl ClientRules {
    pub(super) fn limits(&self, client: &[u8; 32]) -> ClientLimits {
        self.named.get(client).copied().unwrap_or(self.each)
    }
}

/// The rules of this moment, and what each client has taken.
#[derive(Debug, Default)]
pub struct Clients {
    rules: RwLock<Arc<ClientRules>>,
    taken: Mutex<HashMap<[u8; 32], Arc<ClientState>>>,
}

/// The longest pause of a client that asks too often: whoever comes back when it was told to is not kept waiting for long.
const LONGEST_REST: Duration = Duration::from_millis(100);
/// More clients than this are looked through for those that can be forgotten.
const REMEMBERED: usize = 4_096;

impl Clients {
    /// Begins with `rules`.
    #[must_use]
    pub fn new(rules: ClientRules) -> Self {
        Self {
            rules: RwLock::new(Arc::new(rules)),
            taken: Mutex::default(),
        }
    }

    /// Puts other rules in place of those that hold. They hold for the next request, also on connections that are open.
    pub fn replace(&self, rules: ClientRules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// The rules that hold.
    #[must_use]
    pub fn rules(&self) -> Arc<ClientRules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn state(&self, client: [u8; 32]) -> Arc<ClientState> {
        let rules = self.rules();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= REMEMBERED {
            let now = Instant::now();
            // A client that came back would have the same bucket anew.
            taken.retain(|client, state| {
                Arc::strong_count(state) > 1 || !state.has_rested(rules.limits(client), now)
            });
        }
        Arc::clone(taken.entry(client).or_default())
    }
}

/// What one client has taken.
#[derive(Debug, Default)]
pub(super) struct ClientState {
    pub(super) room: Arc<Room>,
    bucket: Mutex<Option<Bucket>>,
    turns: OnceLock<Semaphore>,
    rests_until: Mutex<Option<Instant>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn filled(self, limits: ClientLimits, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + since * f64::from(limits.requests_per_second)).min(limits.capacity())
    }
}

impl ClientState {
    /// The queue of its requests for a turn at arithmetic, `at_once` of which go on to that of its origin.
    pub(super) fn turns(&self, at_once: usize) -> &Semaphore {
        self.turns.get_or_init(|| Semaphore::new(at_once))
    }

    /// Takes one request from the client's rate.
    pub(super) fn pass(&self, limits: ClientLimits, now: Instant) -> Result<(), Refusal> {
        if limits.requests_per_second == 0 {
            return Ok(());
        }
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = bucket.map_or(limits.capacity(), |bucket| bucket.filled(limits, now));
        if tokens < 1.0 {
            // The bucket stays as it is: asking too early costs nothing but the answer.
            let missing = (1.0 - tokens) / f64::from(limits.requests_per_second);
            self.rest(limits, now);
            return Err(Refusal::RateLimited {
                retry_after: Duration::from_secs_f64(missing).max(Duration::from_millis(1)),
            });
        }
        *bucket = Some(Bucket {
            tokens: tokens - 1.0,
            at: now,
        });
        Ok(())
    }

    /// Nothing more of this client is taken for a moment. A refusal costs the node something too: without a pause, one that sends on
    /// and on would have it refuse on and on.
    fn rest(&self, limits: ClientLimits, now: Instant) {
        let mut until = self
            .rests_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let from = until.map_or(now, |until| until.max(now));
        let one = Duration::from_secs_f64(1.0 / f64::from(limits.requests_per_second.max(1)));
        *until = Some((from + one).min(now + LONGEST_REST));
    }

    /// Until when nothing is taken of this client.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        *self
            .rests_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn has_rested(&self, limits: ClientLimits, now: Instant) -> bool {
        let bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.is_none_or(|bucket| bucket.filled(limits, now) >= limits.capacity())
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        missing_docs
    )]

    use super::*;

    #[test]
    fn a_rate_is_a_bucket_that_fills_up_again() {
        let limits = ClientLimits {
            requests_per_second: 10,
            burst: 3,
            ..ClientLimits::default()
        };
        let state = ClientState::default();
        let start = Instant::now();
        for _ in 0..3 {
            state.pass(limits, start).unwrap();
        }
        let refusal = state.pass(limits, start).unwrap_err();
        assert_eq!(
            (refusal.code(), refusal.retry_after_ms()),
            ("rate-limited", Some(100))
        );
        assert!(!state.has_rested(limits, start));
        let later = start + Duration::from_millis(100);
        state.pass(limits, later).unwrap();
        assert!(state.pass(limits, later).is_err());
        let rested = start + Duration::from_secs(5);
        assert!(state.has_rested(limits, rested));
        assert_eq!(
            (0..9)
                .filter(|_| state.pass(limits, rested).is_ok())
                .count(),
            3
        );
    }

    #[test]
    fn refusals_make_a_client_rest_for_a_moment() {
        let limits = ClientLimits {
            requests_per_second: 100,
            burst: 1,
            ..ClientLimits::default()
        };
        let state = ClientState::default();
        let start = Instant::now();
        state.pass(limits, start).unwrap();
        assert_eq!(state.rests_until(), None);
        for refused in 1..=5 {
            assert!(state.pass(limits, start).is_err());
            let rest = Duration::from_millis(10 * refused);
            assert_eq!(state.rests_until(), Some(start + rest));
        }
        for _ in 0..100 {
            assert!(state.pass(limits, start).is_err());
        }
        assert_eq!(state.rests_until(), Some(start + LONGEST_REST));
    }

    #[test]
    fn clients_that_have_rested_are_forgotten() {
        let clients = Clients::default();
        let kept = clients.state([7; 32]);
        for number in 0..2 * REMEMBERED {
            let mut client = [0; 32];
            client[..8].copy_from_slice(&number.to_le_bytes());
            clients.state(client);
        }
        let taken = clients.taken.lock().unwrap();
        assert!(taken.len() <= REMEMBERED + 1);
        assert!(Arc::ptr_eq(&taken[&[7; 32]], &kept));
    }
}
