//! What gives the two machines a clock, the network and the disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use certs::cosignature::WitnessKey;
use certs::merkle::Hash;
use ed25519_dalek::SigningKey;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{
    Collector, Effect, Heard, History, Identity, NotWeighed, OwnLogView, Reply, Watch, Watched,
    WatchedView, WitnessingView,
};
use crate::audit::{AuditLog, note_key, origin_of, witness_key};
use crate::client::{Dialer, Peer, PeerOptions};
use crate::config::LiveConfig;
use crate::daemon::{clock_ms, clock_s};
use crate::keyring::Keyring;
use crate::server::{Refusal, Witnessing};
use crate::store::{Change, RecordsError, Store, StoreError, Table, audit_head_change};
use crate::tls::TlsIdentity;
use crate::wire::v1::{Answer, EvidenceItem, MAX_FINDINGS, Request};

/// How often it is asked whether a round is due.
const TICK: Duration = Duration::from_secs(1);
/// For one witness's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Most witnesses of one log: those that follow it in the order of identities, so that each node watches as many.
const MAX_WITNESSES: usize = 64;
/// Witnesses that are asked at the same time. Each may need a new connection and writes to its disk: when all nodes of a large cluster asked
/// all their witnesses at once, on shared machines no answer would come in time, and all would begin anew.
const AT_ONCE: usize = 4;

/// What witnessing needs of the node.
pub(crate) struct Surroundings {
    pub(crate) name: String,
    pub(crate) signing: SigningKey,
    pub(crate) live: Arc<LiveConfig>,
    pub(crate) store: Arc<Store>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) audit: Arc<AuditLog>,
    /// The node was restored from its phrase, and is known to have lost its log.
    pub(crate) restored: bool,
}

/// A node as a log and as a witness.
pub(crate) struct Witnesses {
    around: Surroundings,
    own: Identity,
    dialer: Arc<Dialer>,
    watch: Mutex<Watch>,
    /// Held from the weighing of an offer until it is answered.
    weighing: tokio::sync::Mutex<()>,
    collector: Mutex<Collector>,
}

impl History for AuditLog {
    fn root_at(&self, size: u64) -> Option<Hash> {
        self.root_at(size)
    }

    fn consistency(&self, old: u64, new: u64) -> Option<Vec<Hash>> {
        self.consistency_proof(old, new).ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A member's name and address.
type Member = (String, String);

impl Witnesses {
    /// Reads what the store has of others' logs.
    pub(crate) fn open(around: Surroundings) -> Result<Arc<Self>, RecordsError> {
        let unreadable = |reason: String| RecordsError::Unreadable {
            what: "what this node saw of another's audit log",
            reason,
        };
        let mut logs = BTreeMap::new();
        for (key, value) in around.store.list(Table::Witnessed)? {
            let identity: Identity = key
                .as_slice()
                .try_into()
                .map_err(|_| unreadable("its key has another length".to_owned()))?;
            logs.insert(identity, Watched::from_bytes(&value).map_err(unreadable)?);
        }
        let own = around.signing.verifying_key().to_bytes();
        let log = note_key(&around.name, &own).map_err(|error| unreadable(error.to_string()))?;
        let tls = TlsIdentity::from_signing_key(&around.signing)
            .map_err(|error| unreadable(error.to_string()))?;
        let options = PeerOptions {
            request_timeout: ANSWER_WITHIN,
            ..PeerOptions::default()
        };
        let name = origin_of(&around.name, &own);
        Ok(Arc::new(Self {
            watch: Mutex::new(Watch::new(&name, &around.signing, logs)),
            weighing: tokio::sync::Mutex::default(),
            collector: Mutex::new(Collector::new(log)),
            dialer: Dialer::new(tls, options),
            own,
            around,
        }))
    }

    /// Shows this node's log to its witnesses, again and again until `stop`.
    pub(crate) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut peers = BTreeMap::new();
        loop {
            let turn = async {
                let settings = self.around.live.now().witness;
                let every_ms = settings.every_s.saturating_mul(1000);
                let size = self.around.audit.size();
                let due = every_ms > 0
                    && lock(&self.collector).is_due(
                        clock_ms(),
                        size,
                        every_ms,
                        settings.after_records,
                    );
                if due {
                    self.round(&mut peers).await;
                }
                // A changed interval is noticed soon.
                tokio::time::sleep(TICK).await;
            };
            tokio::select! {
                () = turn => {}
                // An error means that the sender is gone, which is a stop too.
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.dialer.close().await;
    }

    async fn round(&self, peers: &mut BTreeMap<Identity, (String, Arc<Peer>)>) {
        let witnesses = self.witnesses();
        peers.retain(|identity, (address, _)| {
            witnesses
                .get(identity)
                .is_some_and(|(_, known)| known == address)
        });
        let mut keys: Vec<(Identity, WitnessKey)> = Vec::new();
        for (identity, (name, address)) in &witnesses {
            if !peers.contains_key(identity) {
                match self.dialer.peer(address, identity) {
                    Ok(peer) => drop(peers.insert(*identity, (address.clone(), Arc::new(peer)))),
                    Err(error) => {
                        tracing::warn!(member = name, %error, "a witness cannot be asked");
                        continue;
                    }
                }
            }
            // A member whose name cannot stand in a note has no log that could be cosigned, and cosigns none.
            keys.extend(witness_key(name, identity).ok().map(|key| (*identity, key)));
        }
        if keys.is_empty() {
            return;
        }
        // A log that takes no more records has said so already.
        let Ok(note) = self.around.audit.checkpoint().await else {
            return;
        };
        let audit = self.around.audit.as_ref();
        let mut effects = lock(&self.collector).begin(&note, keys, audit, clock_ms());
        let mut offers = VecDeque::new();
        let mut asked = FuturesUnordered::new();
        loop {
            for effect in effects {
                match effect {
                    Effect::Offer { to, offer } => offers.push_back((to, offer)),
                    Effect::Publish(note) => self.publish(note).await,
                    Effect::SetBack(head) => self.set_back(head).await,
                }
            }
            while asked.len() < AT_ONCE
                && let Some((to, offer)) = offers.pop_front()
            {
                let peer = peers.get(&to).map(|(_, peer)| Arc::clone(peer));
                asked.push(async move { (to, ask(peer, offer).await) });
            }
            let Some((from, heard)) = asked.next().await else {
                return;
            };
            effects = lock(&self.collector).heard(&from, heard, audit, clock_ms());
        }
    }

    async fn publish(&self, note: String) {
        let audit = Arc::clone(&self.around.audit);
        let kept = tokio::task::spawn_blocking(move || audit.keep_cosigned(&note)).await;
        if let Ok(Err(error)) = kept {
            tracing::error!(code = error.code(), %error, "a cosigned checkpoint could not be kept");
        }
    }

    /// This node signed a head that its log does not continue. Nothing more is written, also after a restart.
    async fn set_back(&self, head: certs::checkpoint::Checkpoint) {
        if self.around.restored {
            tracing::warn!(
                records = head.size,
                "witnesses have seen the log that this node lost: it gets no cosignatures until a reshare gives it a new identity"
            );
            return;
        }
        let Err(error) = self.around.audit.hold_against(&head) else {
            return;
        };
        tracing::error!(code = error.code(), %error, "a witness has another history of this node's log");
        let store = Arc::clone(&self.around.store);
        let remembered =
            tokio::task::spawn_blocking(move || store.commit(&[audit_head_change(&head)])).await;
        if let Ok(Err(error)) = remembered {
            tracing::error!(%error, "the head that this node once signed could not be remembered");
        }
    }

    /// The members of this node's keys that are its witnesses, with name and address.
    fn witnesses(&self) -> BTreeMap<Identity, Member> {
        let mut members = BTreeMap::new();
        for entry in self.around.keyring.entries() {
            for member in entry.held().flat_map(|key| &key.members) {
                let known = (member.name.clone(), member.address.clone());
                members.insert(member.identity, known);
            }
        }
        members.remove(&self.own);
        let config = self.around.live.now();
        for member in &config.members {
            if let Some((_, address)) = members.get_mut(&member.identity) {
                address.clone_from(&member.address);
            }
        }
        let behind = members.range(self.own..).chain(members.range(..self.own));
        let chosen = behind.take(MAX_WITNESSES);
        chosen
            .map(|(identity, member)| (*identity, member.clone()))
            .collect()
    }

    fn name_of(&self, identity: &Identity) -> Option<String> {
        let config = self.around.live.now();
        let entries = self.around.keyring.entries();
        let members = entries
            .iter()
            .flat_map(|entry| entry.held())
            .flat_map(|key| &key.members);
        let mut known = config.members.iter().chain(members);
        let member = known.find(|member| member.identity == *identity);
        member.map(|member| member.name.clone())
    }

    /// A sentence for each log that is not cosigned, since it does not continue what was seen of it.
    pub(crate) fn refused(&self) -> Vec<String> {
        let logs = lock(&self.watch).logs().clone();
        let views = logs
            .iter()
            .map(|(identity, log)| WatchedView::of(identity, self.name_of(identity), log));
        views
            .filter_map(|log| Some(log.refused?.sentence))
            .collect()
    }

    /// Everything, for the operator.
    pub(crate) fn view(&self) -> WitnessingView {
        let audit = &self.around.audit;
        let (logs, given) = {
            let watch = lock(&self.watch);
            (watch.logs().clone(), watch.cosigned())
        };
        let collector = lock(&self.collector);
        WitnessingView {
            own: OwnLogView::of(audit.origin(), audit.size(), audit.cosigned(), &collector),
            watched: logs
                .iter()
                .map(|(identity, log)| WatchedView::of(identity, self.name_of(identity), log))
                .collect(),
            given,
        }
    }

    async fn weigh(&self, from: Identity, offer: &str) -> Result<Reply, Refusal> {
        let _one_at_a_time = self.weighing.lock().await;
        let weighed = lock(&self.watch).weigh(&from, offer, clock_ms())?;
        if let Some(finding) = weighed.finding() {
            let member = self.name_of(&from).unwrap_or_else(|| hex::encode(from));
            let sentence = super::FindingView::of(finding, &member).sentence;
            tracing::warn!(member, kind = finding.kind.code(), "{sentence}");
        }
        if let Some((log, watched)) = weighed.durable() {
            let change = Change::put(Table::Witnessed, log, Zeroizing::new(watched.to_bytes()));
            let store = Arc::clone(&self.around.store);
            let committed: Result<Result<(), StoreError>, _> =
                tokio::task::spawn_blocking(move || store.commit(&[change])).await;
            if let Err(error) = committed.map_err(|_| Refusal::Stopping)? {
                tracing::error!(%error, "nothing is cosigned that cannot be remembered");
                let what = "what it saw of the log could not be written";
                return Err(Refusal::Internal { what });
            }
        }
        Ok(lock(&self.watch).take(weighed, clock_s())?)
    }
}

/// Sends one offer, and reads the answer.
async fn ask(peer: Option<Arc<Peer>>, offer: String) -> Heard {
    let Some(peer) = peer else {
        return Heard::Failed("its address is not known".to_owned());
    };
    let request = Request::Witness { offer };
    match tokio::time::timeout(ANSWER_WITHIN, peer.call(&request)).await {
        Ok(Ok(Answer::Cosigned { signatures })) => Heard::Cosigned(signatures),
        Ok(Ok(Answer::Seen { note })) => Heard::Seen(note),
        Ok(Ok(Answer::Refused { code, message, .. })) => {
            Heard::Failed(format!("{code}: {message}"))
        }
        Ok(Ok(other)) => Heard::Failed(format!("it answered with {}", other.name())),
        Ok(Err(error)) => Heard::Failed(error.to_string()),
        Err(_) => Heard::Failed("it did not answer in time".to_owned()),
    }
}

impl From<NotWeighed> for Refusal {
    fn from(reason: NotWeighed) -> Self {
        match reason {
            NotWeighed::TooOften { retry_after_ms } => Self::RateLimited {
                retry_after: Duration::from_millis(retry_after_ms),
            },
            other => Self::Witness {
                code: other.code(),
                message: other.to_string(),
            },
        }
    }
}

impl Witnessing for Arc<Witnesses> {
    fn offered(&self, from: Identity, offer: String) -> BoxFuture<'_, Result<Reply, Refusal>> {
        let this = Arc::clone(self);
        // A caller that goes away, or is not waited for any longer, must not leave a write behind that another offer overtakes.
        let weighing = tokio::spawn(async move { this.weigh(from, &offer).await });
        async move { weighing.await.map_err(|_| Refusal::Stopping)? }.boxed()
    }

    fn cosigned(&self) -> Option<String> {
        self.around.audit.cosigned()
    }

    fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, Refusal> {
        let proof = self.around.audit.consistency_proof(old, new);
        proof.map_err(|error| Refusal::Witness {
            code: "audit-range",
            message: error.to_string(),
        })
    }

    fn evidence(&self) -> Vec<EvidenceItem> {
        let watch = lock(&self.watch);
        let logs = watch.logs().values();
        let findings = logs.flat_map(|log| {
            // What is refused now stands among the findings already, unless it may still be made up for.
            let refused = log.refused().filter(|now| !log.findings().contains(now));
            log.findings().iter().chain(refused)
        });
        findings
            .take(MAX_FINDINGS)
            .map(|finding| EvidenceItem {
                kind: finding.kind.code().to_owned(),
                seen: finding.seen.clone(),
                shown: finding.shown.clone(),
                time_ms: finding.time_ms,
            })
            .collect()
    }
}
