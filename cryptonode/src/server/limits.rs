//! Bounds on everything that a peer can make a node hold or wait for.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Bounds of a server. The defaults suit one node on a machine of a few cores.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections. Further ones are refused.
    pub connections: usize,
    /// Open connections from one IPv4 address or one IPv6 network of 64 bits. Further ones are refused.
    pub connections_per_address: usize,
    /// Open connections beyond which a newcomer must first prove its address by a retry token (RFC 9000, 8.1.2).
    pub validate_above: usize,
    /// Handshakes going on beyond which a newcomer must first prove its address, likewise.
    pub validate_above_handshakes: usize,
    /// Requests going on in one connection at the same time; QUIC itself holds the client to it.
    pub requests_per_connection: u32,
    /// Requests going on in all connections. Further ones are told `busy`.
    pub requests: usize,
    /// Bytes held at the same time for requests, and for long answers until they are taken. A request that would go beyond
    /// is told `busy`. A page of the audit log takes 2 MiB.
    pub request_bytes: usize,
    /// The same for members, whose requests are counted apart.
    pub member_bytes: usize,
    /// One address, or one member, may take one in so many of the requests and of their bytes: then it is told `busy`, and others
    /// are not.
    pub origins: usize,
    /// Requests in arithmetic at the same time.
    pub arithmetic: usize,
    /// For a handshake to complete.
    pub handshake: Duration,
    /// For a request to arrive, from the opening of its stream to its last byte.
    pub request: Duration,
    /// The same for a member's request, which may be long.
    pub member_request: Duration,
    /// For the audit record to become durable.
    pub audit: Duration,
    /// For a ceremony's reply.
    pub ceremony: Duration,
    /// For the client to take the whole answer.
    pub answer: Duration,
    /// Without any packet from the client, a connection is closed.
    pub idle: Duration,
    /// Without any request, a stranger's connection is closed if three quarters of the connections are taken.
    pub quiet: Duration,
    /// For requests that go on when the server is told to stop.
    pub stop: Duration,
    /// What `busy` says when to try again.
    pub retry_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            connections_per_address: 256,
            validate_above: 256,
            validate_above_handshakes: 32,
            requests_per_connection: 128,
            requests: 2_048,
            request_bytes: 128 * 1024 * 1024,
            member_bytes: 128 * 1024 * 1024,
            origins: 4,
            arithmetic: std::thread::available_parallelism().map_or(1, usize::from),
            handshake: Duration::from_secs(3),
            request: Duration::from_secs(5),
            member_request: Duration::from_secs(60),
            audit: Duration::from_secs(5),
            ceremony: Duration::from_secs(60),
            answer: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            quiet: Duration::from_secs(5),
            stop: Duration::from_secs(10),
            retry_after: Duration::from_millis(200),
        }
    }
}

/// The bounds of this moment: the operator may change them while the node serves.
///
/// `requests_per_connection`, `idle` and `arithmetic` are taken once, when the server is made.
#[derive(Debug, Clone)]
pub struct LiveLimits(Arc<RwLock<Arc<Limits>>>);

impl From<Limits> for LiveLimits {
    fn from(limits: Limits) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(limits))))
    }
}

impl LiveLimits {
    /// The bounds that hold.
    #[must_use]
    pub fn now(&self) -> Arc<Limits> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in their place, for what begins from now on.
    pub fn replace(&self, limits: Limits) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }
}
