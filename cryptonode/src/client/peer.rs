//! One node, as seen by those who call it: a warm connection, made when needed and shared by all calls.
//!
//! - **One connection at a time.** Whoever needs it while it is being made waits for the same attempt. The attempt runs
//!   as a task of its own, so that a call that is given up (because other nodes were faster) does not undo it.
//! - **Dead nodes are noticed.** A node that is connected and sends not even an acknowledgement within the connect
//!   timeout is gone (the datagrams received are counted), whatever it would have answered; one that acknowledges
//!   is only slow, and has until the request timeout. After a failed attempt the node counts as down for a while
//!   ([`Peer::is_down`]): callers with a choice turn to others first.
//! - **A restarted node is noticed at once**: it resets connections that it does not know (RFC 9000, 10.3), and the
//!   call is made once more on a new one.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, Shared};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use quinn::{Connection, Endpoint, VarInt};

use super::call_error::CallError;
use crate::tls::{self, NODE_NAME, TlsError, TlsIdentity};
use crate::wire::v1::{Answer, Request, presentable};

/// How long a close may take to reach the other side.
const CLOSE_WITHIN: Duration = Duration::from_millis(250);
/// The code with which a client ends a stream or a connection that it no longer needs.
const NO_LONGER_NEEDED: VarInt = VarInt::from_u32(0);
/// How often a quiet connection is kept open. Below the idle timeouts of both sides and of common NATs.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Most addresses of one name that are tried, each this long after the one before it: a name often has an IPv6 address that
/// leads nowhere, beside an IPv4 address that does not (RFC 8305).
const MOST_ADDRESSES: usize = 4;
const NEXT_ADDRESS: Duration = Duration::from_millis(200);
/// When a connection without any packet from the node counts as lost.
const IDLE: Duration = Duration::from_secs(25);

/// How long to wait, and for what.
#[derive(Debug, Clone)]
pub struct PeerOptions {
    /// For a connection, and for the first sign of life after a request. Default 1 s.
    pub connect_timeout: Duration,
    /// For the whole answer of a node that is alive. Default 5 s.
    pub request_timeout: Duration,
    /// How long a node that could not be reached is left for last. Default 5 s.
    pub down_for: Duration,
}

impl Default for PeerOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(5),
            down_for: Duration::from_secs(5),
        }
    }
}

/// Makes [`Peer`]s that share one identity and one UDP socket for each address family.
#[derive(Debug)]
pub struct Dialer {
    identity: TlsIdentity,
    options: PeerOptions,
    sockets: Mutex<Sockets>,
}

#[derive(Debug, Default)]
struct Sockets {
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

impl Dialer {
    /// A dialer that presents `identity` to everyone it calls.
    #[must_use]
    pub fn new(identity: TlsIdentity, options: PeerOptions) -> Arc<Self> {
        Arc::new(Self {
            identity,
            options,
            sockets: Mutex::default(),
        })
    }

    /// The identity that is presented.
    #[must_use]
    pub fn identity(&self) -> &TlsIdentity {
        &self.identity
    }

    /// The node at `address` (`host:port`) that holds the Ed25519 key `pinned`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`TlsError`] if the identity cannot be used for TLS.
    pub fn peer(self: &Arc<Self>, address: &str, pinned: &[u8; 32]) -> Result<Peer, TlsError> {
        self.peer_at(&[address.to_owned()], pinned)
    }

    /// The node that holds the Ed25519 key `pinned`, at one of several addresses: each is tried although those before it have
    /// not failed yet. Nothing is sent yet.
    ///
    /// # Errors
    /// [`TlsError`] if the identity cannot be used for TLS.
    pub fn peer_at(
        self: &Arc<Self>,
        addresses: &[String],
        pinned: &[u8; 32],
    ) -> Result<Peer, TlsError> {
        let full_handshakes = Arc::default();
        let tls = tls::counted_client_config(&self.identity, pinned, Arc::clone(&full_handshakes))?;
        let mut config = quinn::ClientConfig::new(Arc::new(tls));
        config.transport_config(Arc::new(transport()));
        Ok(Peer {
            full_handshakes,
            target: Target {
                dialer: Arc::clone(self),
                addresses: addresses.to_vec(),
                config,
            },
            link: Arc::default(),
        })
    }

    /// Closes all connections, and waits until the nodes have been told.
    pub async fn close(&self) {
        let sockets = std::mem::take(&mut *lock(&self.sockets));
        for endpoint in [sockets.v4, sockets.v6].into_iter().flatten() {
            endpoint.close(NO_LONGER_NEEDED, b"the client is done");
            // A node that is gone does not acknowledge; nobody is waiting for it to.
            let _ = tokio::time::timeout(CLOSE_WITHIN, endpoint.wait_idle()).await;
        }
    }

    fn endpoint(&self, to: SocketAddr) -> std::io::Result<Endpoint> {
        let mut sockets = lock(&self.sockets);
        let (slot, any): (_, SocketAddr) = match to {
            SocketAddr::V4(_) => (&mut sockets.v4, (Ipv4Addr::UNSPECIFIED, 0).into()),
            SocketAddr::V6(_) => (&mut sockets.v6, (Ipv6Addr::UNSPECIFIED, 0).into()),
        };
        match slot {
            Some(endpoint) => Ok(endpoint.clone()),
            None => Ok(slot.insert(Endpoint::client(any)?).clone()),
        }
    }
}

fn transport() -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(KEEP_ALIVE));
    transport.max_idle_timeout(IDLE.try_into().ok());
    // A node never opens a stream to its client.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    transport.datagram_receive_buffer_size(None);
    transport
}

/// What went over a connection, in UDP's terms: everything of QUIC, and no headers of IP and UDP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of the datagrams that were sent.
    pub bytes_sent: u64,
    /// Bytes of those that were received.
    pub bytes_received: u64,
    /// How many were sent.
    pub datagrams_sent: u64,
    /// How many were received.
    pub datagrams_received: u64,
}

/// One node, and the connection to it if there is one.
pub struct Peer {
    full_handshakes: Arc<AtomicU64>,
    target: Target,
    link: Arc<Mutex<Link>>,
}

#[derive(Clone)]
struct Target {
    dialer: Arc<Dialer>,
    addresses: Vec<String>,
    config: quinn::ClientConfig,
}

type Attempt = Shared<BoxFuture<'static, Result<Connection, CallError>>>;

#[derive(Default)]
struct Link {
    connection: Option<Connection>,
    attempt: Option<Attempt>,
    down_until: Option<Instant>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("addresses", &self.target.addresses)
            .finish_non_exhaustive()
    }
}

impl Peer {
    /// Where the node is, or may be.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.target.addresses
    }

    /// Whether the last attempt to reach the node failed a short while ago.
    #[must_use]
    pub fn is_down(&self) -> bool {
        lock(&self.link)
            .down_until
            .is_some_and(|until| Instant::now() < until)
    }

    /// What went over the present connection so far; all zero if there is none.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let stats = lock(&self.link).connection.as_ref().map(Connection::stats);
        stats.map_or_else(Traffic::default, |stats| Traffic {
            bytes_sent: stats.udp_tx.bytes,
            bytes_received: stats.udp_rx.bytes,
            datagrams_sent: stats.udp_tx.datagrams,
            datagrams_received: stats.udp_rx.datagrams,
        })
    }

    /// How many connections have begun with a full handshake; every other one took a session up again.
    #[must_use]
    pub fn full_handshakes(&self) -> u64 {
        self.full_handshakes.load(Ordering::Relaxed)
    }

    /// Makes the connection, if there is none, so that the next call finds it.
    ///
    /// # Errors
    /// [`CallError`] if the node cannot be reached or is another.
    pub async fn connect(&self) -> Result<(), CallError> {
        self.connection().await.map(|_| ())
    }

    /// Sends a request and reads the answer. A refusal is an answer.
    ///
    /// # Errors
    /// [`CallError`] says what went wrong, in words for an operator.
    pub async fn call(&self, request: &Request) -> Result<Answer, CallError> {
        let bytes = request.to_bytes().map_err(CallError::Request)?;
        self.call_encoded(&bytes, request.longest_answer()).await
    }

    /// [`Self::call`] with a request that is encoded once and sent to many. Reads at most `longest` bytes.
    pub(crate) async fn call_encoded(
        &self,
        request: &[u8],
        longest: usize,
    ) -> Result<Answer, CallError> {
        let deadline = self.target.dialer.options.request_timeout;
        let first = self.exchange(request, longest, deadline).await;
        let answer = match first {
            // The connection was of a process that is gone, or ran into its idle timeout unseen. No share is lost by
            // asking again: the node remembers no request, and a second record of the same approvals is harmless.
            Err(CallError::Lost { .. }) => self.exchange(request, longest, deadline).await?,
            other => other?,
        };
        Answer::from_bytes(&answer).map_err(CallError::Answer)
    }

    async fn exchange(
        &self,
        request: &[u8],
        longest: usize,
        deadline: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let connection = self.connection().await?;
        let received = connection.stats().udp_rx.datagrams;
        let exchange = async {
            let (mut send, mut receive) = connection
                .open_bi()
                .await
                .map_err(CallError::from_connection)?;
            // A node that refuses early may stop reading: the answer is what counts.
            if send.write_all(request).await.is_ok() {
                let _ = send.finish();
            }
            receive
                .read_to_end(longest)
                .await
                .map_err(|error| CallError::from_read(error, longest))
        };
        tokio::pin!(exchange);
        let silence = self.target.dialer.options.connect_timeout.min(deadline);
        let result = match tokio::time::timeout(silence, &mut exchange).await {
            Ok(result) => result,
            Err(_) if connection.stats().udp_rx.datagrams == received => {
                self.forget(&connection);
                connection.close(NO_LONGER_NEEDED, b"no packet from the node");
                self.went_down();
                return Err(CallError::Silent { after: silence });
            }
            Err(_) => {
                match tokio::time::timeout(deadline.saturating_sub(silence), &mut exchange).await {
                    Ok(result) => result,
                    Err(_) => return Err(CallError::TimedOut { after: deadline }),
                }
            }
        };
        if connection.close_reason().is_some() {
            self.forget(&connection);
        }
        result
    }

    async fn connection(&self) -> Result<Connection, CallError> {
        let attempt = {
            let mut link = lock(&self.link);
            if let Some(connection) = link
                .connection
                .as_ref()
                .filter(|connection| connection.close_reason().is_none())
            {
                return Ok(connection.clone());
            }
            match &link.attempt {
                Some(attempt) => attempt.clone(),
                None => {
                    let attempt = self.start_attempt();
                    link.attempt = Some(attempt.clone());
                    attempt
                }
            }
        };
        attempt.await
    }

    fn start_attempt(&self) -> Attempt {
        let (target, link) = (self.target.clone(), Arc::clone(&self.link));
        let task = tokio::spawn(async move {
            let options = &target.dialer.options;
            let result = match tokio::time::timeout(options.connect_timeout, target.connect()).await
            {
                Ok(result) => result,
                Err(_) => Err(target.unreachable(format!(
                    "it did not answer within {} ms",
                    options.connect_timeout.as_millis()
                ))),
            };
            let mut link = lock(&link);
            link.attempt = None;
            link.connection = result.as_ref().ok().cloned();
            link.down_until = result.is_err().then(|| Instant::now() + options.down_for);
            result
        });
        async move { task.await.unwrap_or_else(|_| Err(CallError::Stopped)) }
            .boxed()
            .shared()
    }

    fn forget(&self, connection: &Connection) {
        let mut link = lock(&self.link);
        if link
            .connection
            .as_ref()
            .is_some_and(|current| current.stable_id() == connection.stable_id())
        {
            link.connection = None;
        }
    }

    fn went_down(&self) {
        lock(&self.link).down_until = Some(Instant::now() + self.target.dialer.options.down_for);
    }
}

impl Target {
    fn unreachable(&self, reason: String) -> CallError {
        CallError::Unreachable {
            address: self.addresses.join(" or "),
            reason,
        }
    }

    async fn connect(&self) -> Result<Connection, CallError> {
        let lookups = self.addresses.iter().map(tokio::net::lookup_host);
        let mut found: Vec<SocketAddr> = Vec::new();
        let mut failed = None;
        for lookup in futures_util::future::join_all(lookups).await {
            match lookup {
                Ok(addresses) => found.extend(addresses.take(MOST_ADDRESSES)),
                Err(error) => failed = Some(error),
            }
        }
        match failed.filter(|_| found.is_empty()) {
            Some(error) => Err(self.unreachable(format!("its address cannot be found: {error}"))),
            None => self.connect_to_any(found.into_iter()).await,
        }
    }

    /// The first of these that answers. Each is tried although the ones before it have not failed yet.
    async fn connect_to_any(
        &self,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> Result<Connection, CallError> {
        let mut attempts: FuturesUnordered<_> = (0_u32..)
            .zip(addresses)
            .map(async |(number, address)| {
                tokio::time::sleep(number * NEXT_ADDRESS).await;
                self.connect_to(address).await
            })
            .collect();
        let mut last = self.unreachable("its name has no address".to_owned());
        while let Some(attempt) = attempts.next().await {
            match attempt {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<Connection, CallError> {
        let endpoint = self.dialer.endpoint(address).map_err(|error| {
            self.unreachable(format!("no UDP socket can be opened here: {error}"))
        })?;
        endpoint
            .connect_with(self.config.clone(), address, NODE_NAME)
            .map_err(|error| self.unreachable(presentable(&error.to_string(), 200)))?
            .await
            .map_err(|error| CallError::from_handshake(&self.addresses.join(" or "), &error))
    }
}

/// Calls a node once, over a connection of its own.
///
/// # Errors
/// [`CallError`] says what went wrong, in words for an operator.
pub async fn call(
    identity: TlsIdentity,
    address: &str,
    pinned: &[u8; 32],
    request: &Request,
    options: PeerOptions,
) -> Result<Answer, CallError> {
    let dialer = Dialer::new(identity, options);
    let peer = dialer
        .peer(address, pinned)
        .map_err(|error| CallError::Identity {
            reason: error.to_string(),
        })?;
    let answer = peer.call(request).await;
    dialer.close().await;
    answer
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn an_address_that_leads_nowhere_does_not_hide_the_next() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
        let identity = TlsIdentity::from_signing_key(&key).unwrap();
        let config =
            quinn::ServerConfig::with_crypto(Arc::new(tls::server_config(&identity).unwrap()));
        let loopback: SocketAddr = ([127, 0, 0, 1], 0).into();
        let node = Endpoint::server(config, loopback).unwrap();
        let hole = std::net::UdpSocket::bind(loopback).unwrap();
        let addresses = [hole.local_addr().unwrap(), node.local_addr().unwrap()];
        tokio::spawn(async move { node.accept().await.unwrap().await.unwrap().closed().await });

        let dialer = Dialer::new(TlsIdentity::generate().unwrap(), PeerOptions::default());
        let peer = dialer
            .peer("node.example:7700", key.verifying_key().as_bytes())
            .unwrap();
        let limit = dialer.options.connect_timeout;
        let connecting = peer.target.connect_to_any(addresses.into_iter());
        let connection = tokio::time::timeout(limit, connecting)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(connection.remote_address(), addresses[1]);
    }
}
