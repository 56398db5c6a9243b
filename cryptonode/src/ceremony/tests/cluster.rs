//! Several nodes' ceremonies in one process: each with a store, a keyring and a QUIC server of its own, and with a door that lets only some
//! kinds of messages in, or lets no answer to them out.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use dkg::{Leader, LeaderEffect, RecoveryPhrase};
use futures_util::future::BoxFuture;

use super::super::*;
use crate::audit::{AuditError, AuditLog, AuditRecord, CheckpointKey, Committed};
use crate::config::{Card, Config};
use crate::keyring::ActiveKey;
use crate::server::{
    self, AuditSink, Clients, Counters, Gate, LiveLimits, Refusal, Serving, Witnessing,
};
use crate::store::{Change, Cost, NodeIdentity, Passphrase, key_change, restored_change};
use crate::wire::v1::EvidenceItem;
use crate::witness::Reply;

pub struct Node {
    pub ceremonies: Arc<Ceremonies>,
    pub own: MemberIdentity,
    pub door: Arc<Door>,
    phrase: RecoveryPhrase,
    dir: tempfile::TempDir,
    live: Arc<LiveConfig>,
    policy: certs::Policy,
    /// Whether its witnesses have seen its log: they have, unless a test says otherwise.
    pub shown: watch::Sender<bool>,
}

/// What comes in and what goes out.
pub struct Door {
    inner: Mutex<Option<Arc<Ceremonies>>>,
    /// Kinds of messages that are not let in; `*` is all.
    pub shut: Mutex<BTreeSet<&'static str>>,
    /// Members whose messages are not let in.
    pub deaf_to: Mutex<BTreeSet<[u8; 32]>>,
    /// Kinds of messages that are answered in vain.
    pub mute: Mutex<BTreeSet<&'static str>>,
    /// All that was let in, and from whom.
    pub heard: Mutex<Vec<([u8; 32], dkg::Message)>>,
}

struct NoAudit;

impl Witnessing for NoAudit {
    fn offered(&self, _: [u8; 32], _: String) -> BoxFuture<'_, Result<Reply, Refusal>> {
        async { Err(Refusal::Stopping) }.boxed()
    }

    fn cosigned(&self) -> Option<String> {
        None
    }

    fn consistency(&self, _: u64, _: u64) -> Result<Vec<[u8; 32]>, Refusal> {
        Err(Refusal::Stopping)
    }

    fn evidence(&self) -> Vec<EvidenceItem> {
        Vec::new()
    }
}

impl AuditSink for NoAudit {
    fn append(&self, _: AuditRecord) -> BoxFuture<'_, Result<Committed, AuditError>> {
        async { Err(AuditError::Closed) }.boxed()
    }

    fn checkpoint(&self) -> BoxFuture<'_, Result<String, AuditError>> {
        async { Err(AuditError::Closed) }.boxed()
    }

    fn read(&self, _: u64, _: u32, _: usize) -> Result<Vec<Vec<u8>>, AuditError> {
        Err(AuditError::Closed)
    }

    fn size(&self) -> u64 {
        0
    }
}

impl CeremonyHandler for Door {
    fn is_member(&self, identity: &[u8; 32]) -> bool {
        lock(&self.inner)
            .as_ref()
            .is_some_and(|inner| inner.is_member(identity))
    }

    fn handle(&self, from: [u8; 32], message: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, Refusal>> {
        let question = dkg::Message::from_bytes(&message).unwrap();
        let kind = question.name();
        let inner = lock(&self.inner).clone();
        async move {
            let lost = Err(Refusal::Stopping);
            let shut = lock(&self.shut).clone();
            let deaf = lock(&self.deaf_to).contains(&from);
            if deaf || shut.contains(kind) || shut.contains("*") {
                return lost;
            }
            let Some(inner) = inner else { return lost };
            lock(&self.heard).push((from, question));
            let answer = inner.handle(from, message).await;
            if lock(&self.mute).contains(kind) {
                return lost;
            }
            answer
        }
        .boxed()
    }

    fn policy(&self, hash: [u8; 32]) -> BoxFuture<'_, Option<Vec<u8>>> {
        let inner = lock(&self.inner).clone();
        async move { inner?.policy(hash).await }.boxed()
    }
}

pub fn policy(names: &[&str]) -> certs::Policy {
    let organisations = names.iter().map(|name| {
        let issuer = certs::Issuer::generate(
            name,
            certs::Algorithm::Ed25519,
            1_700_000_000,
            4_000_000_000,
        );
        certs::Organisation {
            name: (*name).to_owned(),
            issuers: vec![issuer.unwrap().certificate_der().to_vec()],
        }
    });
    let config = certs::PolicyConfig {
        approvals_needed: 1,
        organisations: organisations.collect(),
        max_lifetime_s: 300,
        tolerance_s: 30,
    };
    certs::Policy::new(config).unwrap()
}

/// Nodes that know each other and accept each other's proposals. Those whose names begin with `old` say that they run another version, and those with
/// `other` have another policy. Nothing goes on by itself before [`Node::start`].
pub fn cluster(names: &[&str], settings: &str) -> Vec<Node> {
    let (common, another) = (policy(&["Hospital"]), policy(&["Clinic"]));
    let made: Vec<_> = names
        .iter()
        .map(|name| {
            let phrase = RecoveryPhrase::generate(&mut rand::rng());
            let keys = phrase.node_keys();
            let limits = server::Limits::default();
            let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
            let endpoint = server::bind(address, &keys.identity, &limits).unwrap();
            let own = MemberIdentity {
                name: (*name).to_owned(),
                identity: keys.identity.verifying_key().to_bytes(),
                recovery_public: *keys.recovery_public.as_bytes(),
                address: endpoint.local_addr().unwrap().to_string(),
            };
            (phrase, own, endpoint)
        })
        .collect();
    let all: Vec<MemberIdentity> = made.iter().map(|(_, own, _)| own.clone()).collect();
    let identities: Vec<String> = all
        .iter()
        .map(|own| format!("{:?}", hex::encode(own.identity)))
        .collect();
    made.into_iter()
        .map(|(phrase, own, endpoint)| {
            let mut text = format!(
                "name = {:?}\nlisten = {:?}\n[ceremony]\naccept_from = [{}]\n{settings}\n",
                own.name,
                own.address,
                identities.join(", ")
            );
            for other in all.iter().filter(|other| other.name != own.name) {
                text.push_str(&Card::of(other).as_toml());
            }
            let identity = NodeIdentity {
                signing: phrase.node_keys().identity,
                recovery_public: own.recovery_public,
            };
            let dir = new_store(&[identity.to_change()]);
            let config = Config::parse(dir.path(), &text).unwrap();
            let live = Arc::new(LiveConfig::new(config));
            let policy = if own.name.starts_with("other") {
                &another
            } else {
                &common
            };
            let (policy, door) = (policy.clone(), None);
            Node::open(phrase, own, dir, live, policy, door, Some(endpoint))
        })
        .collect()
}

impl Node {
    fn open(
        phrase: RecoveryPhrase,
        own: MemberIdentity,
        dir: tempfile::TempDir,
        live: Arc<LiveConfig>,
        policy: certs::Policy,
        door: Option<Arc<Door>>,
        endpoint: Option<quinn::Endpoint>,
    ) -> Self {
        let store = Store::open(dir.path(), &Passphrase::new("word").unwrap()).unwrap();
        let (signing, restored) = (phrase.node_keys().identity, store.is_restored().unwrap());
        let keyring = Arc::new(Keyring::new());
        for entry in store.keys().unwrap() {
            keyring.put(entry);
        }
        let key = CheckpointKey::of_node(&own.name, &signing).unwrap();
        let audit = AuditLog::open(&dir.path().join("audit"), key, None).unwrap();
        let (shown, was_shown) = watch::channel(true);
        let ceremonies = Ceremonies::open(Surroundings {
            folder: dir.path().to_owned(),
            own: own.clone(),
            signing: Arc::new(signing),
            policy: Some(policy.clone()),
            live: Arc::clone(&live),
            store: Arc::new(store),
            keyring: Arc::clone(&keyring),
            audit: Arc::new(audit),
            restored,
            shown: was_shown,
        })
        .unwrap();
        let door = door.unwrap_or_else(|| {
            Arc::new(Door {
                inner: Mutex::default(),
                shut: Mutex::default(),
                deaf_to: Mutex::default(),
                mute: Mutex::default(),
                heard: Mutex::default(),
            })
        });
        *lock(&door.inner) = Some(Arc::clone(&ceremonies));
        if let Some(endpoint) = endpoint {
            let config = live.now();
            let serving = Arc::new(Serving {
                identity: own.identity,
                software: match own.name.starts_with("old") {
                    true => "cryptonode 0.0.1".to_owned(),
                    false => server::SOFTWARE.to_owned(),
                },
                keyring,
                audit: Arc::new(NoAudit),
                witness: Arc::new(NoAudit),
                ceremony: Arc::clone(&door) as Arc<dyn CeremonyHandler>,
                gate: Arc::new(Gate::new(Clients::new(config.clients.clone()))),
                clock_ms: crate::daemon::clock_ms,
                counters: Arc::new(Counters::default()),
                telemetry: crate::telemetry::Telemetry::default(),
            });
            let limits = LiveLimits::from(config.limits.limits());
            tokio::spawn(server::serve(
                endpoint,
                serving,
                limits,
                std::future::pending(),
            ));
        }
        Self {
            ceremonies,
            own,
            door,
            phrase,
            dir,
            live,
            policy,
            shown,
        }
    }

    /// From here on it does by itself what a running node does.
    pub fn start(&self) {
        self.ceremonies.resume();
    }

    pub async fn stop(&self) {
        lock(&self.door.shut).insert("*");
        self.ceremonies.stop().await;
    }

    /// How long it remembers what is over, in seconds.
    pub fn remember(&self, seconds: u64) {
        let mut config = (*self.live.now()).clone();
        config.ceremony.remember_s = seconds;
        self.live.replace(config);
    }

    pub fn shut(&self, kinds: &[&'static str]) {
        *lock(&self.door.shut) = kinds.iter().copied().collect();
    }

    pub fn mute(&self, kinds: &[&'static str]) {
        *lock(&self.door.mute) = kinds.iter().copied().collect();
    }

    pub fn stage(&self, id: &CeremonyId) -> Option<MemberStage> {
        lock(&self.ceremonies.seats).get(id)?.stage()
    }

    pub fn records(&self, table: Table) -> usize {
        self.ceremonies.around.store.names(table).unwrap().len()
    }

    /// The results that it holds shares of, and whether it serves.
    pub fn held(&self) -> Vec<(u64, u32)> {
        let entries = self.ceremonies.around.keyring.entries();
        let held = entries.iter().flat_map(|entry| entry.held());
        held.map(|key| (key.result.epoch, key.result.attempt))
            .collect()
    }

    pub fn serves(&self) -> Vec<(u64, u32)> {
        let entries = self.ceremonies.around.keyring.entries();
        let served = entries.iter().flat_map(|entry| entry.served());
        served
            .map(|key| (key.result.epoch, key.result.attempt))
            .collect()
    }

    /// The leader of a proposal, to be driven by hand.
    pub fn leader(&self, wish: &Wish) -> Leader {
        let (proposal, policy) = self.ceremonies.proposal_for(wish).unwrap();
        let change = crate::store::policy_change(&policy);
        self.ceremonies.around.store.commit(&[change]).unwrap();
        Leader::new(proposal, &self.ceremonies.around.signing, clock_s()).unwrap()
    }

    pub fn tell(&self, from: &Self, message: dkg::Message) -> dkg::Message {
        // As a node does: a step may wait for the disk.
        let answer = tokio::task::block_in_place(|| {
            self.ceremonies.answer_message(&from.own.identity, message)
        });
        answer.unwrap()
    }
}

/// The wish for a key that any t of all answer for.
pub fn wish(threshold: u16) -> Wish {
    Wish {
        threshold: Some(threshold),
        reshare: None,
        policy: None,
        absent: Vec::new(),
        after_attempt: 0,
        members: None,
        open_for_s: None,
        may_be_absent: 0,
        patience_s: None,
        allow_few_members: false,
    }
}

/// Drives a leader until its result is certified. A member gives no answers to questions of the kind that it is silent to, and time passes
/// as it needs. `from` leads.
pub fn drive(
    nodes: &[Node],
    from: &Node,
    leader: &mut Leader,
    silent: Option<(&str, &str)>,
) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut now, mut states) = (clock_s(), Vec::new());
    let mut queue: std::collections::VecDeque<_> = leader.poll(now).into();
    for _ in 0..10_000 {
        let Some(effect) = queue.pop_front() else {
            now += 1;
            queue.extend(leader.poll(now));
            continue;
        };
        match effect {
            LeaderEffect::Persist(state) => states.push(state),
            LeaderEffect::Send { to, message } => {
                let node = nodes.iter().find(|node| node.own.identity == to).unwrap();
                if silent == Some((node.own.name.as_str(), message.name())) {
                    leader.unreachable(&to, now);
                } else {
                    let reply = node.tell(from, message);
                    queue.extend(leader.handle_reply(&to, &reply, now));
                }
            }
            LeaderEffect::Certified { certificate } => return (certificate, states),
            LeaderEffect::Failed { culprits } => panic!("{culprits:?}"),
            _ => {}
        }
    }
    panic!("nothing comes of it: {:?}", leader.progress())
}

/// Waits until it has happened.
#[track_caller]
pub fn until(what: &str, happened: impl Fn() -> bool) -> impl Future<Output = ()> {
    let (what, from) = (what.to_owned(), std::panic::Location::caller());
    async move {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !happened() {
            assert!(
                Instant::now() < deadline,
                "it did not happen ({from}): {what}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A node that is started again with what is on its disk.
pub async fn restart(node: Node) -> Node {
    started_with(node, |_| None).await
}

/// A node that has lost its disk, and is made anew from its phrase and a member's copy of the certificate, as `cryptonode restore` does it.
pub async fn restore(node: Node, certificate: Vec<u8>) -> Node {
    let make = |node: &Node| {
        let dkg::RestoredKey { certified, share } =
            dkg::restore_key(&certificate, &node.phrase).unwrap();
        let key = ActiveKey {
            share,
            package: certified.package().clone(),
            result: certified.name(),
            policy: node.policy.clone(),
            members: certified.members().to_vec(),
            certificate: certificate.clone(),
        };
        key.check().unwrap();
        let identity = NodeIdentity {
            signing: node.phrase.node_keys().identity,
            recovery_public: node.own.recovery_public,
        };
        let changes = [identity.to_change(), restored_change(), key_change(&key)];
        Some(new_store(&changes))
    };
    started_with(node, make).await
}

/// A folder with a store that holds this.
fn new_store(changes: &[Change]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let word = Passphrase::new("word").unwrap();
    let cheap = Cost {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };
    Store::create(dir.path(), &word, cheap, changes).unwrap();
    dir
}

/// Stops a node, and starts it with what is on its disk, or on another one.
async fn started_with(
    node: Node,
    other_disk: impl FnOnce(&Node) -> Option<tempfile::TempDir>,
) -> Node {
    node.stop().await;
    let other = other_disk(&node);
    let Node {
        ceremonies,
        own,
        door,
        phrase,
        dir,
        live,
        policy,
        shown: _,
    } = node;
    *lock(&door.inner) = None;
    let gone = Arc::downgrade(&ceremonies);
    drop(ceremonies);
    until("the store is let go", || gone.strong_count() == 0).await;
    lock(&door.shut).clear();
    let dir = other.unwrap_or(dir);
    Node::open(phrase, own, dir, live, policy, Some(door), None)
}
