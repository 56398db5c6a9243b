//! Looks whether the other members are there: so that an operator knows of a cluster that is about to lose its quorum before a
//! reader does.
//!
//! Each member is asked for its `status`, over a connection that pins its identity. The answer has the member's clock, too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use rand::seq::SliceRandom as _;
use tokio::sync::watch;

use crate::client::{Dialer, Peer, PeerOptions};
use crate::config::LiveConfig;
use crate::daemon::clock_ms;
use crate::keyring::Keyring;
use crate::randomness;
use crate::tls::TlsIdentity;
use crate::wire::v1::{Answer, Request};

/// A member as it was last seen.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) name: String,
    /// Version, round trip and how far its clock is ahead of this node's, or why it could not be asked.
    pub(crate) answer: Result<Sighting, String>,
}

/// What an answering member said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sighting {
    pub(crate) software: String,
    pub(crate) round_trip: Duration,
    pub(crate) clock_ahead_ms: i64,
}

/// Who was there when last looked.
pub(crate) struct Probe {
    own: [u8; 32],
    live: Arc<LiveConfig>,
    keyring: Arc<Keyring>,
    seen: Mutex<BTreeMap<[u8; 32], Seen>>,
    dialer: Arc<Dialer>,
}

/// How often it is asked whether it is time to look.
const TICK: Duration = Duration::from_secs(1);
/// How long a member has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Members that are asked at the same time. A connection costs both sides milliseconds of processor, and nobody is in a hurry: when all nodes of
/// a large cluster start at once and each calls all the others at once, no handshake ends in time, and all begin anew.
const AT_ONCE: usize = 2;
/// So many members are asked one after the other. Those of a larger cluster then have a pause between them, however often the configuration says to look: n nodes that
/// each look at all the others make n² connections, and on shared machines the ceremonies would have to wait for those.
const WITHOUT_PAUSE: usize = 16;
const PAUSE: Duration = Duration::from_secs(1);

impl Probe {
    /// A probe that presents `identity`, the node's own.
    pub(crate) fn new(
        identity: TlsIdentity,
        own: [u8; 32],
        live: Arc<LiveConfig>,
        keyring: Arc<Keyring>,
    ) -> Arc<Self> {
        let options = PeerOptions {
            request_timeout: ANSWER_WITHIN,
            ..PeerOptions::default()
        };
        Arc::new(Self {
            own,
            live,
            keyring,
            seen: Mutex::default(),
            dialer: Dialer::new(identity, options),
        })
    }

    /// The members as they were last seen.
    pub(crate) fn seen(&self) -> BTreeMap<[u8; 32], Seen> {
        self.seen_now().clone()
    }

    /// Looks again and again until `stop`.
    pub(crate) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut peers = BTreeMap::new();
        let mut looked: Option<Instant> = None;
        loop {
            let look = async {
                let every = Duration::from_secs(self.live.now().health.members_every_s.into());
                if !every.is_zero() && looked.is_none_or(|looked| looked.elapsed() >= every) {
                    looked = Some(Instant::now());
                    self.look(&mut peers).await;
                }
                // A changed interval is noticed soon.
                tokio::time::sleep(TICK).await;
            };
            tokio::select! {
                () = look => {}
                // An error means that the sender is gone, which is a stop too.
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.dialer.close().await;
    }

    /// The others by identity, with name and address: as configured, else as in the keys.
    fn others(&self) -> BTreeMap<[u8; 32], (String, String)> {
        let mut others = BTreeMap::new();
        for key in self.keyring.iter() {
            for member in &key.members {
                others.insert(
                    member.identity,
                    (member.name.clone(), member.address.clone()),
                );
            }
        }
        let config = self.live.now();
        for member in &config.members {
            let known = (member.name.clone(), member.address.clone());
            others.insert(member.identity, known);
        }
        others.remove(&self.own);
        others
    }

    async fn look(&self, peers: &mut BTreeMap<[u8; 32], (String, Arc<Peer>)>) {
        let others = self.others();
        peers.retain(|identity, (address, _)| {
            others
                .get(identity)
                .is_some_and(|(_, configured)| configured == address)
        });
        for (identity, (name, address)) in &others {
            if peers.contains_key(identity) {
                continue;
            }
            match self.dialer.peer(address, identity) {
                Ok(peer) => drop(peers.insert(*identity, (address.clone(), Arc::new(peer)))),
                Err(error) => tracing::warn!(member = name, %error, "a member cannot be asked"),
            }
        }
        self.seen_now()
            .retain(|identity, _| others.contains_key(identity));
        let mut asked: Vec<_> = peers
            .iter()
            .map(|(identity, (_, peer))| (*identity, Arc::clone(peer)))
            .collect();
        // Every node in an order of its own: nobody is asked by all the others at the same moment.
        asked.shuffle(&mut randomness::system());
        let answers = stream::iter(asked.into_iter().enumerate())
            .then(|(position, asked)| async move {
                if position >= WITHOUT_PAUSE {
                    tokio::time::sleep(PAUSE).await;
                }
                asked
            })
            .map(|(identity, peer)| async move { (identity, ask(&peer).await) })
            .buffer_unordered(AT_ONCE);
        let mut answers = std::pin::pin!(answers);
        while let Some((identity, answer)) = answers.next().await {
            if let Some((name, _)) = others.get(&identity) {
                self.saw(identity, name, answer);
            }
        }
    }

    fn saw(&self, identity: [u8; 32], name: &str, answer: Result<Sighting, String>) {
        let mut seen = self.seen_now();
        let before = seen.get(&identity).map(|seen| seen.answer.is_ok());
        match (&answer, before) {
            (Err(reason), None | Some(true)) => {
                tracing::warn!(member = name, reason, "a member cannot be reached");
            }
            (Ok(_), Some(false)) => tracing::info!(member = name, "a member is back"),
            _ => {}
        }
        let name = name.to_owned();
        seen.insert(identity, Seen { name, answer });
    }

    fn seen_now(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks one member for its status.
pub(crate) async fn ask(peer: &Peer) -> Result<Sighting, String> {
    // The first call may make the connection; the clock is compared over a warm one.
    peer.connect().await.map_err(|error| error.to_string())?;
    let (begun, sent_ms) = (Instant::now(), clock_ms());
    let answer = peer.call(&Request::Status {}).await;
    let round_trip = begun.elapsed();
    match answer.map_err(|error| error.to_string())? {
        Answer::Status {
            time_ms, software, ..
        } => {
            let half_ms = u64::try_from(round_trip.as_millis() / 2).unwrap_or(0);
            let here = i128::from(sent_ms) + i128::from(half_ms);
            let ahead = i128::from(time_ms) - here;
            Ok(Sighting {
                software,
                round_trip,
                clock_ahead_ms: i64::try_from(ahead).unwrap_or(i64::MAX),
            })
        }
        Answer::Refused { message, .. } => Err(message),
        other => Err(format!("it answered with {}", other.name())),
    }
}
