//! Ceremonies on this node: the drivers of the key generation's machines (protocol section 8).
//!
//! The machines of the crate `dkg` decide; what is here gives them a disk, a network and a clock.
//!
//! - **As a member** (`seat`): a message comes in over a connection that proved its sender's identity. The machine
//!   takes it, its state is sealed and durable, and only then does the reply leave. What is asked again is answered with the
//!   same bytes, so that any crash on either side costs a repetition and nothing else.
//! - **As the leader** (`lead`): one task for each ceremony asks the members, this node's own machine among them without a
//!   network, and goes on asking those that cannot be reached until the proposal expires. It may die at any moment and
//!   goes on at the next start.
//! - **As the leader's successor** (`take_over`): when nothing is heard of the leader for the configured patience, the next member
//!   takes over, this one when it is its turn; and it gives way when its own member hears of another leader before it.
//!
//! **Who may speak**: only identities among the configured members, known by their TLS keys. A proposal that lists
//! anybody whom this node's operator did not configure is refused. Acceptance is the operator's, by hand, or in
//! advance for proposers listed in `ceremony.accept_from`; a proposal made on this node is accepted by it.
//!
//! - **As a signer** (`certify`): with the key in use, t members sign under Y itself what the key is and whose.
//!
//! **Activation** is one transaction: the share with everything that serving needs goes in, the ceremony's secrets go out;
//! then the key is in the keyring, and the next request is answered.

mod certify;
mod desk;
mod error;
mod forgetting;
mod handing_on;
mod lead;
mod policy;
mod propose_again;
mod proposing;
mod seat;
mod succession;
mod take_over;
mod view;

pub use desk::{Advanced, Desk, Step};
pub use error::CeremonyError;
pub(crate) use proposing::Wish;
pub(crate) use view::when;
pub use view::{CeremonyView, Excluded, OtherVersion, ReshareView, Waiting};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dkg::{LocalNode, Member, MemberIdentity, MemberStage};
use ed25519_dalek::SigningKey;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::audit::{AuditError, AuditLog};
use crate::client::{Dialer, PeerOptions};
use crate::config::LiveConfig;
use crate::daemon::clock_s;
use crate::keyring::Keyring;
use crate::server::{CeremonyHandler, Refusal};
use crate::store::{RecordsError, Store, Table};
use crate::tls::TlsIdentity;
use certify::Made;
use lead::Led;
use seat::Seat;

/// How often ceremonies that nobody asks about any more are looked at, whether they have expired, and keys, whether their
/// certificate is still missing because whoever was to ask for it is gone.
const CHECK: Duration = Duration::from_secs(10);
/// A leader that has asked nothing for so many seconds is said to be silent: it tells that it is there every 20 at most.
const SILENT_S: u64 = 45;
/// For a member's answer: it may have to check the deals of all others.
const ANSWER: Duration = Duration::from_secs(60);
/// How long after the start witnesses are waited for, who would tell that the folder was set back. They have five seconds for an answer.
const SHOWN_WITHIN: Duration = Duration::from_secs(6);

/// Names a ceremony.
pub type CeremonyId = [u8; 16];

/// What the ceremonies need of the node.
pub(crate) struct Surroundings {
    /// The node's folder.
    pub(crate) folder: PathBuf,
    pub(crate) own: MemberIdentity,
    pub(crate) signing: Arc<SigningKey>,
    pub(crate) policy: Option<certs::Policy>,
    pub(crate) live: Arc<LiveConfig>,
    pub(crate) store: Arc<Store>,
    pub(crate) keyring: Arc<Keyring>,
    /// Remembers which policies this node's operator agreed to.
    pub(crate) audit: Arc<AuditLog>,
    /// The node was restored from its phrase, and has forgotten what it promised: it serves reads and nothing else.
    pub(crate) restored: bool,
    /// Whether its audit log has been shown to its witnesses since the start.
    pub(crate) shown: watch::Receiver<bool>,
}

/// All ceremonies of this node.
pub(crate) struct Ceremonies {
    around: Surroundings,
    desk: Desk,
    local: LocalNode,
    dialer: Arc<Dialer>,
    seats: Mutex<BTreeMap<CeremonyId, Arc<Seat>>>,
    led: Mutex<BTreeMap<CeremonyId, Arc<Led>>>,
    /// Until when witnesses are waited for.
    shown_by: tokio::time::Instant,
    /// The keys that came of ceremonies.
    made: Mutex<BTreeMap<CeremonyId, Arc<Made>>>,
    /// Held while a machine takes a step that depends on what other reshares have confirmed on the same base, and while it is looked
    /// which policies ceremonies need.
    resharing: Mutex<()>,
    /// Whether a confirmation is durable that has not been counted beside the store yet: it does not leave before.
    uncounted: Mutex<bool>,
    /// Ceremonies in the order in which this node has heard of them since its start.
    arrived: Mutex<Vec<CeremonyId>>,
    /// Counts changes, for those that wait for one.
    changes: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
    tasks: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ceremonies {
    /// Reads the ceremonies that the store knows. Nothing is sent before [`Ceremonies::resume`].
    pub(crate) fn open(around: Surroundings) -> Result<Arc<Self>, CeremonyError> {
        let recovery_public =
            reencrypt::Point::from_bytes(&around.own.recovery_public).map_err(|error| {
                RecordsError::Unreadable {
                    what: "the recovery key",
                    reason: error.to_string(),
                }
            })?;
        let local = LocalNode {
            identity: Arc::clone(&around.signing),
            recovery_public,
            // A node without a policy takes no new part in anything; the zeros are compared with nothing then.
            policy_hash: around.policy.as_ref().map_or([0; 32], certs::Policy::hash),
        };
        let options = PeerOptions {
            request_timeout: ANSWER,
            ..PeerOptions::default()
        };
        let dialer = Dialer::new(TlsIdentity::from_signing_key(&around.signing)?, options);
        let mut seats = BTreeMap::new();
        for table in [Table::Decided, Table::Ceremony] {
            for (key, state) in around.store.list(table)? {
                let id = id_of(&key)?;
                let machine = policy::restore(&around, &local, &id, &state)?;
                seats.insert(id, Arc::new(Seat::new(machine)));
            }
        }
        let mut led = BTreeMap::new();
        for (key, state) in around.store.list(Table::Leading)? {
            let id = id_of(&key)?;
            led.insert(id, Arc::new(Led::restore(&id, &state)?));
        }
        let mut made = BTreeMap::new();
        let entries = around.keyring.entries();
        for key in entries.iter().flat_map(|entry| entry.held()) {
            let (id, key) = Made::of(key)?;
            if let Some(certificate) = around.store.get(Table::KeyCertificate, &id)? {
                key.restore(&certificate);
            }
            made.insert(id, Arc::new(key));
        }
        let desk = Desk {
            store: Arc::clone(&around.store),
            keyring: Arc::clone(&around.keyring),
            policy: around.policy.clone(),
        };
        Ok(Arc::new(Self {
            around,
            desk,
            local,
            dialer,
            seats: Mutex::new(seats),
            led: Mutex::new(led),
            shown_by: tokio::time::Instant::now() + SHOWN_WITHIN,
            made: Mutex::new(made),
            resharing: Mutex::default(),
            uncounted: Mutex::default(),
            arrived: Mutex::default(),
            changes: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            tasks: Mutex::default(),
        }))
    }

    /// Goes on with the ceremonies that this node leads, and starts looking after the ones that expire.
    pub(crate) fn resume(self: &Arc<Self>) {
        let open: Vec<(CeremonyId, Arc<Led>)> = lock(&self.led)
            .iter()
            .filter(|(_, led)| !led.has_ended())
            .map(|(id, led)| (*id, Arc::clone(led)))
            .collect();
        for (id, led) in open {
            self.leads_on(&id);
            let first = led.begin();
            self.spawn_lead(led, first);
        }
        self.relearn_own();
        self.keep(tokio::spawn(Arc::clone(self).look_after_keys()));
        let this = Arc::clone(self);
        let mut stopping = self.stopping.subscribe();
        // A turn to take over the lead must not pass unseen.
        let patience = Duration::from_secs(self.around.live.now().ceremony.patience_s.into());
        let check = CHECK.min(patience / 4);
        self.keep(tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stopped(&mut stopping) => return,
                    () = tokio::time::sleep(check) => {}
                }
                let this = Arc::clone(&this);
                this.certify_missing();
                this.take_over_due().await;
                let _ = tokio::task::spawn_blocking(move || {
                    this.expire_all();
                    this.forget_due();
                })
                .await;
            }
        }));
    }

    /// Stops leading, at a point from which the next start goes on.
    pub(crate) async fn stop(&self) {
        let _ = self.stopping.send_replace(true);
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        for task in tasks {
            let _ = task.await;
        }
        self.dialer.close().await;
    }

    /// Accepts a proposal that waits for this node's operator.
    /// `consent` is the hash of the policy that its operator was shown, if it was.
    pub(crate) async fn accept(
        self: &Arc<Self>,
        id: &str,
        consent: Option<[u8; 32]>,
    ) -> Result<CeremonyView, CeremonyError> {
        self.shown().await;
        self.remembers()?;
        let seat = self.seat(&self.find(Some(id))?)?;
        let undecided = seat.stage() == Some(MemberStage::Proposed);
        let proposal = seat.with(|machine| machine.proposal().cloned()).flatten();
        if let Some(proposal) = proposal.filter(|_| undecided) {
            self.check_consent(&proposal, consent)?;
            if self.changes_policy(&proposal) {
                self.record_consent("accept-policy", &proposal).await?;
            }
        }
        self.decide(id, |machine| {
            machine.accept(clock_s(), &mut crate::randomness::system())
        })
        .await
    }

    /// Rejects a proposal, or withdraws from it.
    pub(crate) async fn reject(
        self: &Arc<Self>,
        id: &str,
        reason: &str,
    ) -> Result<CeremonyView, CeremonyError> {
        let reason = reason.to_owned();
        self.decide(id, move |machine| machine.reject(&reason))
            .await
    }

    async fn decide(
        self: &Arc<Self>,
        id: &str,
        decision: impl FnOnce(&mut Member) -> Result<dkg::MemberOutput, dkg::Fault> + Send + 'static,
    ) -> Result<CeremonyView, CeremonyError> {
        let id = self.find(Some(id))?;
        let seat = self.seat(&id)?;
        let this = Arc::clone(self);
        blocking(move || this.advance(&id, &seat, decision)).await??;
        self.view(Some(&hex::encode(id)))
    }

    /// Calls off a ceremony that this node leads.
    pub(crate) async fn abort(self: &Arc<Self>, id: &str) -> Result<CeremonyView, CeremonyError> {
        let id = self.find(Some(id))?;
        let led = lock(&self.led).get(&id).cloned();
        let own = &self.around.own.identity;
        let Some(led) = led.filter(|led| led.is_proposed_by(own)) else {
            return Err(CeremonyError::NotLeader {
                leader: self.view(Some(&hex::encode(id)))?.proposed_by,
            });
        };
        let mut changes = self.changes();
        let (this, leading) = (Arc::clone(self), Arc::clone(&led));
        blocking(move || this.call_off(&leading)).await??;
        // The task makes the end durable before it is told.
        loop {
            let view = self.view(Some(&hex::encode(id)))?;
            if view.decided || led.is_stuck() || changes.changed().await.is_err() {
                return Ok(view);
            }
        }
    }

    /// Whether this node knows what it has promised. One that was restored from its phrase does not, nor one whose folder was set back, as the other
    /// members have shown it.
    pub(super) fn remembers(&self) -> Result<(), CeremonyError> {
        if self.is_restored() {
            return Err(CeremonyError::Restored);
        }
        match self.around.audit.health() {
            Err(AuditError::RolledBack { .. }) => Err(CeremonyError::SetBack),
            _ => Ok(()),
        }
    }

    /// Waits until the witnesses have seen this node's log since its start, or have had the time to: who has forgotten what it promised
    /// should hear of it before it promises anything else.
    async fn shown(&self) {
        let mut shown = self.around.shown.clone();
        // Whoever shows it is gone when the node stops.
        let _ = tokio::time::timeout_at(self.shown_by, shown.wait_for(|shown| *shown)).await;
    }

    /// Whether this node was restored from its phrase, and so takes part in no ceremony.
    pub(crate) fn is_restored(&self) -> bool {
        self.around.restored
    }

    /// All ceremonies, the latest proposal last.
    pub(crate) fn list(&self) -> Vec<CeremonyView> {
        let mut views: Vec<(u64, CeremonyView)> = Vec::new();
        let led: BTreeMap<CeremonyId, Arc<Led>> = lock(&self.led).clone();
        let seats = lock(&self.seats).clone();
        // Looked up after the view: whoever is seen to have activated has made the key.
        let made = |id: &CeremonyId| lock(&self.made).get(id).cloned();
        let as_leader = |id: &CeremonyId, led: &Led| self.is_seen_as_leader(led, seats.get(id));
        let own = &self.around.own;
        let silent_s = SILENT_S.min(self.around.live.now().ceremony.patience_s.into());
        for (id, seat) in &seats {
            if !led.get(id).is_some_and(|led| as_leader(id, led)) {
                views.extend(seat.view(&own.name, silent_s).map(|(proposed, mut view)| {
                    view.public_key = made(id).map(|made| made.public_key.clone());
                    (proposed, view)
                }));
            }
        }
        for (id, led) in led.iter().filter(|(id, led)| as_leader(id, led)) {
            let (proposed, mut view) = led.view(own);
            if let Some(made) = made(id) {
                view.public_key = Some(made.public_key.clone());
                if view.succeeded() && made.certificate().is_none() {
                    view.is_being_signed();
                }
            }
            views.push((proposed, view));
        }
        // Proposals are dated in seconds; within one, the order of arrival decides.
        let arrived = lock(&self.arrived).clone();
        let place = |view: &CeremonyView| arrived.iter().position(|id| hex::encode(id) == view.id);
        views.sort_by_cached_key(|(proposed, view)| (*proposed, place(view), view.id.clone()));
        views.into_iter().map(|(_, view)| view).collect()
    }

    /// The ceremony whose id begins with `head`, or the latest.
    pub(crate) fn view(&self, head: Option<&str>) -> Result<CeremonyView, CeremonyError> {
        let id = hex::encode(self.find(head)?);
        self.list()
            .into_iter()
            .find(|view| view.id == id)
            .ok_or(CeremonyError::None)
    }

    /// Told whenever a ceremony changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Resolves when the node stops.
    pub(crate) async fn stopped(&self) {
        stopped(&mut self.stopping.subscribe()).await;
    }

    fn find(&self, head: Option<&str>) -> Result<CeremonyId, CeremonyError> {
        let views = self.list();
        let fitting: Vec<&CeremonyView> = match head {
            None => views.last().into_iter().collect(),
            Some(head) => views
                .iter()
                .filter(|view| view.id.starts_with(&head.to_lowercase()))
                .collect(),
        };
        match (fitting.as_slice(), head) {
            ([view], _) => id_of(&hex::decode(&view.id).unwrap_or_default()),
            ([], None) => Err(CeremonyError::None),
            ([], Some(head)) => Err(CeremonyError::NoSuchCeremony {
                id: head.to_owned(),
            }),
            (_, head) => Err(CeremonyError::Ambiguous {
                id: head.unwrap_or_default().to_owned(),
            }),
        }
    }

    fn note_arrival(&self, id: CeremonyId) {
        let mut arrived = lock(&self.arrived);
        if !arrived.contains(&id) {
            arrived.push(id);
        }
    }

    fn notify(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn keep(&self, task: tokio::task::JoinHandle<()>) {
        let mut tasks = lock(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    fn configured(&self, identity: &[u8; 32]) -> Option<MemberIdentity> {
        let config = self.around.live.now();
        std::iter::once(&self.around.own)
            .chain(&config.members)
            .find(|member| member.identity == *identity)
            .cloned()
    }

    /// A member that the operator configured, or that has a share of a key of this node: it was configured when the key was
    /// made, and has a say in what becomes of it.
    fn known(&self, identity: &[u8; 32]) -> Option<MemberIdentity> {
        self.configured(identity).or_else(|| {
            let entries = self.around.keyring.entries();
            let mut members = entries
                .iter()
                .flat_map(|entry| entry.held())
                .flat_map(|key| &key.members);
            members.find(|member| member.identity == *identity).cloned()
        })
    }
}

/// Resolves when the node stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Runs work that blocks on the disk or the processor.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CeremonyError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| CeremonyError::Stopping)
}

fn id_of(key: &[u8]) -> Result<CeremonyId, CeremonyError> {
    key.try_into().map_err(|_| CeremonyError::State {
        id: hex::encode(key),
        reason: "its id has another length".to_owned(),
    })
}

/// Whether nothing more can come of a ceremony on this member's side.
fn is_decided(stage: MemberStage) -> bool {
    matches!(stage, MemberStage::Activated | MemberStage::Closed)
}

impl CeremonyHandler for Arc<Ceremonies> {
    fn is_member(&self, identity: &[u8; 32]) -> bool {
        if self.is_restored() {
            // Its configuration is new; who asks is told why it takes no part.
            return self.around.keyring.iter().any(|key| {
                key.members
                    .iter()
                    .any(|member| member.identity == *identity)
            });
        }
        self.known(identity).is_some()
    }

    fn handle(&self, from: [u8; 32], message: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, Refusal>> {
        let (this, message) = (Arc::clone(self), Arc::new(message));
        async move {
            this.shown().await;
            let answer = async |offered| {
                let (this, message) = (Arc::clone(&this), Arc::clone(&message));
                blocking(move || this.answer(&from, &message, offered)).await.and_then(|answer| answer)
            };
            let answered = match answer(None).await {
                Err(CeremonyError::PolicyMissing(missing)) => {
                    let fetched = this.fetch_policy(&from, &missing).await.map_err(|reason| Refusal::Ceremony {
                        code: "policy-missing",
                        message: format!("the proposal's policy could not be had from its proposer: {reason}"),
                    })?;
                    answer(Some(fetched)).await
                }
                answered => answered,
            };
            answered.map_err(|error| {
                tracing::error!(code = error.code(), %error, "a member's message could not be answered");
                Refusal::Internal { what: "the ceremony's state could not be written" }
            })
        }
        .boxed()
    }

    fn policy(&self, hash: [u8; 32]) -> BoxFuture<'_, Option<Vec<u8>>> {
        let this = Arc::clone(self);
        async move {
            let found = blocking(move || this.policy_for_members(&hash)).await;
            found.ok().flatten()
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
