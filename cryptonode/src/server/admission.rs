//! Admission: how much of the node's bounds is taken, and by whom.
//!
//! Connections, requests and the bytes that requests hold are bounded for the node as a whole and, within that, for each
//! *origin*: the address for strangers, whom anybody can be any number of, and the identity for members. Without the second
//! bound a single host that begins requests and never ends them would have the node say `busy` to everybody. Members
//! have bytes of their own, since their messages are long: a corrupt member must not keep readers out, nor readers the members.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::limits::Limits;
use crate::wire::v1::{MAX_MEMBER_REQUEST, MAX_REQUEST};

/// What is taken of a node's bounds.
pub(super) struct Admission {
    limits: Limits,
    clients: Arc<Room>,
    members: Arc<Room>,
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
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            clients: Room::new(limits.requests, limits.request_bytes),
            members: Room::new(limits.requests, limits.member_bytes),
            arithmetic: Semaphore::new(limits.arithmetic.max(1)),
            taken: Mutex::default(),
            limits: limits.clone(),
        })
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        lock(&self.taken).connections
    }

    /// Whether three quarters of the connections are taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.connections() >= self.limits.connections - self.limits.connections / 4
    }

    /// `None` if all places, or all of this network, are taken.
    pub(super) fn connect(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let network = network_of(address);
        let mut taken = lock(&self.taken);
        let before = taken.networks.get(&network);
        if taken.connections >= self.limits.connections
            || before.map_or(0, |network| network.connections)
                >= self.limits.connections_per_address
        {
            return None;
        }
        taken.connections += 1;
        let entry = taken.networks.entry(network).or_insert_with(|| Network {
            connections: 0,
            own: self.part_of(self.limits.request_bytes, MAX_REQUEST),
        });
        entry.connections += 1;
        Some(Place {
            network,
            own: Arc::clone(&entry.own),
            admission: Arc::clone(self),
        })
    }

    /// What a stranger at this place may take.
    pub(super) fn of_client(&self, place: &Place) -> Rooms {
        Rooms {
            all: Arc::clone(&self.clients),
            own: Arc::clone(&place.own),
        }
    }

    /// What a member may take, wherever it calls from.
    pub(super) fn of_member(&self, identity: [u8; 32]) -> Rooms {
        let mut taken = lock(&self.taken);
        let own = taken
            .members
            .entry(identity)
            .or_insert_with(|| self.part_of(self.limits.member_bytes, MAX_MEMBER_REQUEST));
        Rooms {
            all: Arc::clone(&self.members),
            own: Arc::clone(own),
        }
    }

    /// The part of one origin, in which the longest request has room.
    fn part_of(&self, bytes: usize, longest: usize) -> Arc<Origin> {
        let parts = self.limits.origins.max(1);
        Arc::new(Origin {
            room: Room::new(
                self.limits.requests.div_ceil(parts),
                (bytes / parts).max(longest),
            ),
            arithmetic: Semaphore::new(self.limits.arithmetic.max(1)),
        })
    }

    /// A turn at arithmetic. An origin has no more requests in the queue of all than can be worked on at a time, and the rest in a
    /// queue of its own: however many it sends, others wait for no more than that. Alone, it has all processors.
    pub(super) async fn turn<'a>(&'a self, rooms: &'a Rooms) -> Option<[SemaphorePermit<'a>; 2]> {
        Some([
            rooms.own.arithmetic.acquire().await.ok()?,
            self.arithmetic.acquire().await.ok()?,
        ])
    }
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

/// Requests and bytes that may still be taken on.
struct Room {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Room {
    fn new(requests: usize, bytes: usize) -> Arc<Self> {
        let semaphore =
            |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self {
            requests: semaphore(requests),
            bytes: semaphore(bytes),
        })
    }
}

/// What one client takes from: the room of all, and its origin's part of it.
pub(super) struct Rooms {
    all: Arc<Room>,
    own: Arc<Origin>,
}

impl Rooms {
    /// A place for one request; `None` if there is none now.
    pub(super) fn enter(&self) -> Option<Held> {
        Some(Held {
            own: Occupied::enter(&self.own.room)?,
            all: Occupied::enter(&self.all)?,
        })
    }
}

/// What a request takes, given back when dropped.
pub(super) struct Held {
    own: Occupied,
    all: Occupied,
}

impl Held {
    /// Takes room for more bytes; `false` if there is none now.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        self.own.hold(bytes) && self.all.hold(bytes)
    }
}

struct Occupied {
    _request: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
    room: Arc<Room>,
}

impl Occupied {
    fn enter(room: &Arc<Room>) -> Option<Self> {
        Some(Self {
            _request: Arc::clone(&room.requests).try_acquire_owned().ok()?,
            bytes: Arc::clone(&room.bytes).try_acquire_many_owned(0).ok()?,
            room: Arc::clone(room),
        })
    }

    fn hold(&mut self, bytes: usize) -> bool {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.room.bytes)
            .try_acquire_many_owned(permits)
            .is_ok_and(|more| {
                self.bytes.merge(more);
                true
            })
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
