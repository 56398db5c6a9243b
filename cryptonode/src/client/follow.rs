//! How a client follows a key to its newest members.
//!
//! A reshare leaves Y as it is and gives its shares to other members. The members sign under Y who they are
//! ([`reencrypt::KeyCertificate`]), as soon as at least a threshold of them serves. So a client that knows Y asks whomever it
//! knows for the newest certificate, verifies it, turns to the members that it names, asks those as well, and so on until it
//! hears of nothing newer: one node that answers is enough, however many reshares were missed. Where members are is hearsay:
//! several nodes' hints are tried for each, and a member's identity is what TLS proves.
//!
//! It is done in the background, now and then and whenever a node's answer says that there is a newer result; and in the
//! middle of a read that cannot go on without. The result before the newest is kept: as long as the overlap lasts, a read
//! that the newest members cannot answer yet falls back to it.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reencrypt::KeyCertificate;
use tokio::sync::Notify;

use super::descriptor::is_address;
use super::outcome::{NodeOutcome, Outcome};
use super::peer::Dialer;
use super::view::{Contact, View};
use crate::wire::v1::{Answer, Request, ResultVersion};

/// For one round of questions.
const ROUND: Duration = Duration::from_secs(3);
/// Once a newer certificate is there, others may bring a newer one yet for so long.
const AFTER_FIRST: Duration = Duration::from_millis(200);
/// Most rounds of one search: each leads to a later result than the one before.
const MOST_ROUNDS: usize = 16;

/// How long a client that nobody uses any more is kept in memory by its search for newer results.
const STEP: Duration = Duration::from_secs(1);

/// What a client knows of a key's results.
pub(super) struct Following {
    public_key: [u8; 32],
    dialer: Arc<Dialer>,
    views: Mutex<Views>,
    searching: tokio::sync::Mutex<()>,
    wake: Notify,
    /// The client is closed: nobody is asked any more.
    closed: AtomicBool,
}

#[derive(Clone)]
struct Views {
    /// What the client was made with. Its members are asked as well, always.
    first: Arc<View>,
    current: Arc<View>,
    previous: Option<Arc<View>>,
    /// Counts the searches that have ended.
    searches: u64,
}

/// What a node said of the newest result.
struct Said {
    certificate: KeyCertificate,
    addresses: Vec<String>,
}

impl Following {
    pub(super) fn new(first: View, dialer: Arc<Dialer>) -> Arc<Self> {
        let first = Arc::new(first);
        Arc::new(Self {
            public_key: first.cluster().descriptor().public_key,
            dialer,
            views: Mutex::new(Views {
                current: Arc::clone(&first),
                previous: None,
                searches: 0,
                first,
            }),
            searching: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            closed: AtomicBool::new(false),
        })
    }

    pub(super) fn current(&self) -> Arc<View> {
        Arc::clone(&self.views().current)
    }

    /// The results to read with, the one to be tried first first.
    pub(super) fn usable(&self) -> Vec<Arc<View>> {
        let views = self.views();
        std::iter::once(views.current)
            .chain(views.previous)
            .collect()
    }

    fn views(&self) -> Views {
        self.views
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends the search in the background.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// A node's answer says that there is a result as new as this.
    pub(super) fn heard_of(&self, newest: ResultVersion) {
        if newest > self.views().current.version() {
            self.wake.notify_one();
        }
    }

    /// Looks for newer results every `every`, and when [`Self::heard_of`] one, as long as the client is there.
    pub(super) fn start(self: &Arc<Self>, every: Duration) {
        let following = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut waited = every;
            loop {
                // Only for a while at a time, so that the client can go.
                let Some(this) = Weak::upgrade(&following).filter(|this| !this.is_closed()) else {
                    return;
                };
                if waited >= every {
                    this.search().await;
                    waited = Duration::ZERO;
                }
                let step = STEP.min(every.saturating_sub(waited));
                waited = match tokio::time::timeout(step, this.wake.notified()).await {
                    Ok(()) => every,
                    Err(_) => waited + step,
                };
            }
        });
    }

    /// Asks for newer certificates until there are none. Whether the newest result is another than at the call: by this
    /// search, or one that went on at the time.
    pub(super) async fn search(&self) -> bool {
        let before = self.views();
        let _one = self.searching.lock().await;
        if self.views().searches == before.searches {
            let mut asked = HashSet::new();
            for _ in 0..MOST_ROUNDS {
                if !self.round(&mut asked).await {
                    break;
                }
            }
            self.views
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .searches += 1;
        }
        !Arc::ptr_eq(&self.current(), &before.current)
    }

    /// One round: asks the nodes that have not been asked yet. Whether it led to others.
    async fn round(&self, asked: &mut HashSet<[u8; 32]>) -> bool {
        let views = self.views();
        let mut known = vec![Arc::clone(&views.current)];
        known.extend(views.previous.clone());
        known.push(Arc::clone(&views.first));
        let contacts: Vec<Arc<Contact>> = known
            .iter()
            .flat_map(|view| view.contacts())
            .filter(|contact| asked.insert(*contact.identity()))
            .cloned()
            .collect();
        let said = self.ask(&contacts, &views.current).await;
        let Some(newest) = said
            .iter()
            .map(|said| &said.certificate)
            .max_by_key(|certificate| *certificate.result())
        else {
            return false;
        };
        let newer = views.current.is_before(newest.result());
        // An older certificate says nothing of the members that are known.
        if !newer && newest.version() != version(&views.current) {
            return false;
        }
        let hints: Vec<&Said> = said
            .iter()
            .filter(|said| said.certificate.result() == newest.result())
            .collect();
        let addresses = addresses(newest, &hints, &known);
        if !newer && !brings_addresses(&views.current, &addresses) {
            return false;
        }
        match View::of_certificate(newest, &addresses, &known, &self.dialer) {
            Ok(view) => {
                let result = newest.result();
                tracing::info!(key = %hex::encode(self.public_key), %result, "the key's members are known");
                let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
                let before = std::mem::replace(&mut views.current, Arc::new(view));
                if newer {
                    views.previous = Some(before);
                }
                newer
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate of the key cannot be followed");
                false
            }
        }
    }

    async fn ask(&self, contacts: &[Arc<Contact>], current: &View) -> Vec<Said> {
        let request = Request::KeyCertificate {
            public_key: self.public_key,
        };
        let mut questions: FuturesUnordered<_> = contacts
            .iter()
            .map(async |contact| contact.peer().call(&request).await)
            .collect();
        let mut end = Instant::now() + ROUND;
        let mut said = Vec::new();
        while let Ok(Some(answer)) = tokio::time::timeout_at(end.into(), questions.next()).await {
            let Ok(Answer::KeyCertificate {
                addresses,
                certificate,
            }) = answer
            else {
                continue;
            };
            match KeyCertificate::verify(&certificate, &self.public_key) {
                Ok(certificate) => {
                    if current.is_before(certificate.result()) {
                        end = end.min(Instant::now() + AFTER_FIRST);
                    }
                    said.push(Said {
                        certificate,
                        addresses,
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, code = error.code(), "a node's certificate of the key is not valid");
                }
            }
        }
        said
    }
}

fn version(view: &View) -> (u64, u32) {
    let ResultVersion { epoch, attempt } = view.version();
    (epoch, attempt)
}

/// Where each member may be: what most of the nodes say first, then what was known before.
fn addresses(
    certificate: &KeyCertificate,
    hints: &[&Said],
    known: &[Arc<View>],
) -> Vec<Vec<String>> {
    certificate
        .members()
        .iter()
        .enumerate()
        .map(|(position, member)| {
            let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
            let said = hints.iter().filter_map(|said| said.addresses.get(position));
            for address in said.filter(|address| is_address(address)) {
                *votes.entry(address).or_default() += 1;
            }
            let before = known
                .iter()
                .flat_map(|view| view.contacts())
                .filter(|contact| *contact.identity() == member.identity)
                .flat_map(|contact| contact.addresses())
                .filter(|address| is_address(address));
            let mut addresses: Vec<String> = Vec::new();
            let mut voted: Vec<(&str, usize)> = votes.into_iter().collect();
            voted.sort_by_key(|&(_, votes)| std::cmp::Reverse(votes));
            for address in voted
                .into_iter()
                .map(|(one, _)| one)
                .chain(before.map(String::as_str))
            {
                if !addresses.iter().any(|one| one == address) {
                    addresses.push(address.to_owned());
                }
            }
            addresses
        })
        .collect()
}

/// Whether there is a new place to look for a member that cannot be reached.
fn brings_addresses(view: &View, addresses: &[Vec<String>]) -> bool {
    view.members()
        .iter()
        .zip(view.contacts())
        .zip(addresses)
        .any(|((member, contact), addresses)| {
            member.peer().is_down()
                && addresses
                    .iter()
                    .any(|one| !contact.addresses().contains(one))
        })
}

/// Whether what the nodes did may mean that the key has other members by now, or that not enough have the result yet.
pub(super) fn may_have_moved(nodes: &[NodeOutcome]) -> bool {
    nodes.iter().any(|node| match &node.what {
        Outcome::Refused { code, .. } => matches!(
            code.as_str(),
            "unknown-key" | "epoch-superseded" | "epoch-unknown" | "epoch-missed" | "key-retired"
        ),
        Outcome::TimedOut { .. } | Outcome::Unreachable { .. } | Outcome::Failed { .. } => true,
        Outcome::Answered | Outcome::Cheated { .. } | Outcome::Overtaken | Outcome::NotAsked => {
            false
        }
    })
}
