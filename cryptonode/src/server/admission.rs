//! Admission: how much of the node's bounds is taken, and by whom.
//!
//! Connections, requests and the bytes that requests hold are bounded for the node as a whole and, within that, for each
//! *origin*: the address for strangers, whom anybody can be any number of, and the identity for members. Without the second
//! bound a single host that begins requests and never ends them would have the node say `busy` to everybody. Members
//! have bytes of their own, since their messages are long: a corrupt member must not keep readers out, nor readers the members.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::clients::{ClientLimits, ClientState};
use super::limits::LiveLimits;
use crate::wire::v1::{MAX_MEMBER_REQUEST, MAX_REQUEST};

/// What is taken of a node's bounds.
pub(super) struct Admission {
    limits: LiveLimits,
    clients: Arc<Room>,
    members: Arc<Room>,
    /// Requests in arithmetic at the same time.
    at_once: usize,
    arithmetic: Semaphore,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// Connections that were let in and have not ended, their handshakes included.
    connections: usize,
    networks: HashMap<IpAddr, Network>,
    /// Bounded by the number of members that the operator configured.
    members: HashMap<[u8; 32], Arc<Origin>>,
}

/// One network that has connections.
struct Network {
    connections: usize,
    own: Arc<Origin>,
}

/// What one origin may take.
struct Origin {
    room: Arc<Room>,
    arithmetic: Semaphore,
}

impl Admission {
    pub(super) fn new(limits: &LiveLimits) -> Arc<Self> {
        let at_once = limits.now().arithmetic.max(1);
        Arc::new(Self {
            clients: Arc::default(),
            members: Arc::default(),
            at_once,
            arithmetic: Semaphore::new(at_once),
            taken: Mutex::default(),
            limits: limits.clone(),
        })
    }

    /// Bytes held for clients' requests, and for members'.
    pub(super) fn bytes_held(&self) -> [usize; 2] {
        [&self.clients, &self.members].map(|room| room.bytes.load(Ordering::Relaxed))
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        lock(&self.taken).connections
    }

    /// Whether three quarters of the connections are taken.
    pub(super) fn is_crowded(&self) -> bool {
        let most = self.limits.now().connections;
        self.connections() >= most - most / 4
    }

    /// `None` if all places, or all of this network, are taken.
    pub(super) fn connect(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let network = network_of(address);
        let limits = self.limits.now();
        let mut taken = lock(&self.taken);
        let before = taken.networks.get(&network);
        if taken.connections >= limits.connections
            || before.map_or(0, |network| network.connections) >= limits.connections_per_address
        {
            return None;
        }
        taken.connections += 1;
        let entry = taken.networks.entry(network).or_insert_with(|| Network {
            connections: 0,
            own: self.new_origin(),
        });
        entry.connections += 1;
        Some(Place {
            network,
            own: Arc::clone(&entry.own),
            admission: Arc::clone(self),
        })
    }

    /// What a stranger at this place may take, being this client.
    pub(super) fn of_client(&self, place: &Place, client: Arc<ClientState>) -> Rooms {
        Rooms {
            all: Arc::clone(&self.clients),
            own: Arc::clone(&place.own),
            client: Some(client),
            limits: self.limits.clone(),
        }
    }

    /// What a member may take, wherever it calls from.
    pub(super) fn of_member(&self, identity: [u8; 32]) -> Rooms {
        let mut taken = lock(&self.taken);
        let own = taken
            .members
            .entry(identity)
            .or_insert_with(|| self.new_origin());
        Rooms {
            all: Arc::clone(&self.members),
            own: Arc::clone(own),
            client: None,
            limits: self.limits.clone(),
        }
    }

    fn new_origin(&self) -> Arc<Origin> {
        Arc::new(Origin {
            room: Arc::default(),
            arithmetic: Semaphore::new(self.at_once),
        })
    }

    /// A turn at arithmetic. A client has no more requests in the queue of its origin, and an origin no more in the queue of all, than
    /// can be worked on at a time, and the rest in a queue of its own: however many it sends, others wait for no more than
    /// that, those behind the same address too. Alone, it has all processors.
    pub(super) async fn turn<'a>(&'a self, rooms: &'a Rooms) -> Option<Turn<'a>> {
        let client = match rooms.client() {
            Some(client) => Some(client.turns(self.at_once).acquire().await.ok()?),
            None => None,
        };
        Some(Turn {
            _own: rooms.own.arithmetic.acquire().await.ok()?,
            _all: self.arithmetic.acquire().await.ok()?,
            _client: client,
        })
    }
}

/// A turn, which ends when this is dropped.
pub(super) struct Turn<'a> {
    _client: Option<SemaphorePermit<'a>>,
    _own: SemaphorePermit<'a>,
    _all: SemaphorePermit<'a>,
}

/// A place among the connections, given back when dropped.
pub(super) struct Place {
    network: IpAddr,
    own: Arc<Origin>,
    admission: Arc<Admission>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.admission.taken);
        taken.connections -= 1;
        if let Some(open) = taken.networks.get_mut(&self.network) {
            open.connections -= 1;
            if open.connections == 0 {
                taken.networks.remove(&self.network);
            }
        }
    }
}

/// Requests and bytes that are taken on. What may be taken is given with each taking, since the operator may change it.
#[derive(Debug, Default)]
pub(super) struct Room {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

/// What may be taken of a room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caps {
    pub(super) requests: usize,
    pub(super) bytes: usize,
}

fn take(taken: &AtomicUsize, more: usize, most: usize) -> bool {
    taken
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            taken.checked_add(more).filter(|taken| *taken <= most)
        })
        .is_ok()
}

/// What one client takes from: the room of all, its origin's part of it, and, if it is no member, its own.
pub(super) struct Rooms {
    all: Arc<Room>,
    own: Arc<Origin>,
    client: Option<Arc<ClientState>>,
    limits: LiveLimits,
}

impl Rooms {
    /// The client's own state; members have none.
    pub(super) fn client(&self) -> Option<&ClientState> {
        self.client.as_deref()
    }

    /// Resolves when more may be taken of this client: at once, unless it was told of late that it asks too often.
    pub(super) async fn rested(&self) {
        let Some(client) = self.client() else { return };
        while let Some(until) = client.rests_until().filter(|until| *until > Instant::now()) {
            tokio::time::sleep_until(until.into()).await;
        }
    }

    /// A place for one request; `None` if there is none now.
    pub(super) fn enter(&self, client: &ClientLimits) -> Option<Held> {
        let limits = self.limits.now();
        let (bytes, longest) = match self.client {
            Some(_) => (limits.request_bytes, MAX_REQUEST),
            None => (limits.member_bytes, MAX_MEMBER_REQUEST),
        };
        let all = Caps {
            requests: limits.requests,
            bytes,
        };
        // The part of one origin, in which the longest request has room.
        let parts = limits.origins.max(1);
        let own = Caps {
            requests: limits.requests.div_ceil(parts),
            bytes: (bytes / parts).max(longest),
        };
        let client = match &self.client {
            Some(state) => Some(Occupied::enter(&state.room, client.caps())?),
            None => None,
        };
        Some(Held {
            client,
            own: Occupied::enter(&self.own.room, own)?,
            all: Occupied::enter(&self.all, all)?,
        })
    }
}

/// What a request takes, given back when dropped.
pub(super) struct Held {
    client: Option<Occupied>,
    own: Occupied,
    all: Occupied,
}

impl Held {
    /// Takes room for more bytes; `false` if there is none now.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        self.client.as_mut().is_none_or(|client| client.hold(bytes))
            && self.own.hold(bytes)
            && self.all.hold(bytes)
    }
}

struct Occupied {
    room: Arc<Room>,
    caps: Caps,
    bytes: usize,
}

impl Occupied {
    fn enter(room: &Arc<Room>, caps: Caps) -> Option<Self> {
        take(&room.requests, 1, caps.requests).then(|| Self {
            room: Arc::clone(room),
            caps,
            bytes: 0,
        })
    }

    fn hold(&mut self, bytes: usize) -> bool {
        let taken = take(&self.room.bytes, bytes, self.caps.bytes);
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.room.requests.fetch_sub(1, Ordering::Relaxed);
        self.room.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What one host may be taken to have: an IPv4 address, or an IPv6 network of 64 bits.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
