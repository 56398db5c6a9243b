//! Connections: who gets one, and how they end.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use quinn::{Connection, ConnectionError, Endpoint, Incoming, RecvStream, SendStream, VarInt};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, info};

use super::admission::{Admission, Place, Rooms};
use super::counters::{Open, count};
use super::limits::{Limits, LiveLimits};
use super::request::{answer_stream, enter};
use super::serving::Serving;
use crate::tls;

/// Application code of a connection closed because the node stops.
const STOPPING: VarInt = VarInt::from_u32(1);

/// Application code of a connection closed because nothing was asked over it and the node has few places left.
const CROWDED: VarInt = VarInt::from_u32(3);

/// What all connections share.
pub(super) struct Shared {
    pub(super) serving: Arc<Serving>,
    live: LiveLimits,
    pub(super) admission: Arc<Admission>,
}

impl Shared {
    /// The bounds of this moment.
    pub(super) fn limits(&self) -> Arc<Limits> {
        self.live.now()
    }
}

/// The client of a connection.
pub(super) struct ClientKey {
    /// Its public key, DER SubjectPublicKeyInfo.
    pub(super) spki: Vec<u8>,
    /// SHA-256 of that.
    pub(super) fingerprint: [u8; 32],
    /// Its Ed25519 key, if it belongs to a member.
    pub(super) member: Option<[u8; 32]>,
    /// What its requests may take.
    pub(super) rooms: Rooms,
}

/// Serves until `stop` resolves, then finishes the requests that were taken on, within [`Limits::stop`], and closes the
/// endpoint.
pub async fn serve(
    endpoint: Endpoint,
    serving: Arc<Serving>,
    limits: impl Into<LiveLimits>,
    stop: impl Future<Output = ()>,
) {
    let live = limits.into();
    let admission = Admission::new(&live);
    let seen = Arc::downgrade(&admission);
    serving.counters.measures.watch_bytes(move || {
        seen.upgrade()
            .map_or([0; 2], |admission| admission.bytes_held())
    });
    let shared = Arc::new(Shared {
        admission,
        serving,
        live,
    });
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => {
                    if let Some((incoming, place)) = admit(incoming, &shared) {
                        connections.spawn(connection(incoming, place, Arc::clone(&shared), stopped.clone()));
                    }
                }
                None => break,
            },
        }
    }
    info!(
        connections = connections.len(),
        "stopping: finishing what was accepted"
    );
    let _ = stopping.send(true);
    let grace = tokio::time::sleep(shared.limits().stop);
    let mut grace = pin!(grace);
    while !connections.is_empty() {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            Some(incoming) = endpoint.accept() => incoming.refuse(),
            () = &mut grace => break,
        }
    }
    connections.abort_all();
    endpoint.close(STOPPING, b"the node is stopping");
    // The close packets; a client that does not acknowledge them is not waited for.
    let _ = tokio::time::timeout(std::time::Duration::from_millis(500), endpoint.wait_idle()).await;
}

/// Lets a newcomer in, asks it to prove its address, or refuses it. No state is kept for the latter two.
fn admit(incoming: Incoming, shared: &Arc<Shared>) -> Option<(Incoming, Place)> {
    let counters = &shared.serving.counters;
    let limits = shared.limits();
    let handshakes = counters.handshakes_open.load(Ordering::Relaxed) as usize;
    let loaded = shared.admission.connections() >= limits.validate_above
        || handshakes >= limits.validate_above_handshakes;
    if loaded && !incoming.remote_address_validated() && incoming.may_retry() {
        count(&counters.retries);
        let _ = incoming.retry();
        return None;
    }
    match shared.admission.connect(incoming.remote_address().ip()) {
        Some(place) => Some((incoming, place)),
        None => {
            count(&counters.connections_refused);
            incoming.refuse();
            None
        }
    }
}

/// The client's next request, once it may have one. What it sends meanwhile waits at its side: QUIC holds it to so many streams.
async fn next_stream(
    connection: &Connection,
    client: &ClientKey,
) -> Result<(SendStream, RecvStream), ConnectionError> {
    client.rooms.rested().await;
    connection.accept_bi().await
}

async fn connection(
    incoming: Incoming,
    place: Place,
    shared: Arc<Shared>,
    mut stopping: watch::Receiver<bool>,
) {
    let counters = &shared.serving.counters;
    let handshake = Open::new(&counters.handshakes_open);
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => {
            count(&counters.handshakes_failed);
            debug!(%error, "a handshake failed at its first packet");
            return;
        }
    };
    let connection = match tokio::time::timeout(shared.limits().handshake, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            count(&counters.handshakes_failed);
            debug!(%error, "a handshake failed");
            return;
        }
        Err(_) => {
            count(&counters.handshakes_failed);
            debug!("a handshake took too long");
            return;
        }
    };
    drop(handshake);
    let Some(spki) = tls::peer_key(&connection) else {
        // The handshake demands a certificate; without one there is nothing to bind approvals to.
        connection.close(VarInt::from_u32(2), b"a client certificate is needed");
        return;
    };
    let member =
        tls::ed25519_key(&spki).filter(|identity| shared.serving.ceremony.is_member(identity));
    let fingerprint: [u8; 32] = Sha256::digest(&spki).into();
    let client = Arc::new(ClientKey {
        fingerprint,
        spki,
        rooms: match member {
            Some(identity) => shared.admission.of_member(identity),
            None => {
                let state = shared.serving.gate.clients.state(fingerprint);
                shared.admission.of_client(&place, state)
            }
        },
        member,
    });
    let _open = Open::new(&counters.connections_open);
    count(&counters.connections);

    let mut streams = JoinSet::new();
    let mut quiet_since = Instant::now();
    while !*stopping.borrow_and_update() {
        tokio::select! {
            _ = stopping.changed() => break,
            Some(_) = streams.join_next() => quiet_since = Instant::now(),
            // Connections cost a client nothing: those that are kept for nothing must not keep others out.
            () = tokio::time::sleep_until(quiet_since + shared.limits().quiet),
                if streams.is_empty() && client.member.is_none() =>
            {
                if shared.admission.is_crowded() {
                    connection.close(CROWDED, b"no request for a while, and the node has many clients");
                    break;
                }
                quiet_since = Instant::now();
            }
            stream = next_stream(&connection, &client) => match stream {
                Ok((send, receive)) => {
                    // Here, and not in the stream's own task: a client that asks too often must rest before its next request is
                    // taken, or all that it has sent would come in at once when the rest is over.
                    let entered = enter(&shared, &client);
                    streams.spawn(answer_stream(Arc::clone(&shared), Arc::clone(&client), entered, send, receive));
                }
                Err(error) => {
                    debug!(%error, "a connection ended");
                    break;
                }
            },
        }
    }
    while streams.join_next().await.is_some() {}
    connection.close(STOPPING, b"the node is stopping");
}
