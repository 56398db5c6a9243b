//! This node as a leader: one task for each ceremony that carries out what the leader's machine asks for.

mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dkg::{Fault, Leader, LeaderEffect, LeaderPhase, Member, MemberIdentity, Message, Proposal};
use ed25519_dalek::SigningKey;
use serde_bytes::ByteBuf;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::{Ceremonies, CeremonyError, CeremonyId, blocking, lock, stopped};
use crate::client::Peer;
use crate::daemon::{clock_ms, clock_s};
use crate::server::SOFTWARE;
use crate::store::{Change, Table};
use crate::wire::v1::{Answer, Request};

/// A ceremony that this node leads.
pub(super) struct Led {
    leader: Mutex<Leader>,
    /// Why the last question to a member got no answer, by identity.
    heard: Mutex<BTreeMap<[u8; 32], String>>,
    /// The software of the members that have been reached.
    software: Mutex<BTreeMap<[u8; 32], String>>,
    outcome: Mutex<Outcome>,
    /// Effects of commands, for the task to carry out.
    pending: Mutex<Vec<LeaderEffect>>,
    wake: Notify,
    /// The task that leads is there.
    running: AtomicBool,
    /// Nobody needs it any more: the task ends.
    dismissed: AtomicBool,
    /// How often this node has asked after the proposal's end whether anything came of it, and when it does so again.
    asked_late: u32,
    asks_again_at: AtomicU64,
}

/// The longest pause between two such questions, in seconds.
const LATE_PAUSE_S: u64 = 3_600;

#[derive(Default)]
struct Outcome {
    /// Who was at fault, once it has failed and that is durable: before, it is not told.
    culprits: Option<Vec<(MemberIdentity, Fault)>>,
    /// The task ended for a reason of this node's own.
    stuck: Option<String>,
}

/// A member's answer, or why there is none.
struct Heard {
    from: [u8; 32],
    what: Result<Message, String>,
}

impl Led {
    pub(super) fn new(
        proposal: Proposal,
        signing: &SigningKey,
        patience_s: u32,
        now: u64,
    ) -> Result<Self, CeremonyError> {
        let leader = Leader::new(proposal, signing, now)?;
        Ok(Self::of(leader.with_patience(patience_s)))
    }

    pub(super) fn restore(id: &CeremonyId, state: &[u8]) -> Result<Self, CeremonyError> {
        let leader = Leader::restore(state).map_err(|error| CeremonyError::State {
            id: hex::encode(id),
            reason: error.to_string(),
        })?;
        let led = Self::of(leader);
        // A decided one reports its outcome again, and has nothing else to say that the task would not say too.
        if led.has_ended() {
            for effect in lock(&led.leader).poll(clock_s()) {
                if let LeaderEffect::Failed { culprits } = effect {
                    lock(&led.outcome).culprits = Some(culprits);
                }
            }
        }
        Ok(led)
    }

    /// Goes on where another leader has fallen silent.
    pub(super) fn take_over(
        machine: &mut Member,
        patience_s: u32,
        before: Option<&Self>,
    ) -> Result<Self, CeremonyError> {
        let leader = Leader::take_over(machine, clock_s())?;
        let mut led = Self::of(leader.with_patience(patience_s));
        led.asked_late = before.map_or(0, |before| before.asked_late + 1);
        Ok(led)
    }

    fn of(leader: Leader) -> Self {
        Self {
            leader: Mutex::new(leader),
            heard: Mutex::default(),
            software: Mutex::default(),
            outcome: Mutex::default(),
            pending: Mutex::default(),
            wake: Notify::new(),
            running: AtomicBool::new(false),
            dismissed: AtomicBool::new(false),
            asked_late: 0,
            asks_again_at: AtomicU64::new(0),
        }
    }

    /// Whether its time is over, and nothing came of it that this node knows of. Others may know more, and are asked again at growing
    /// intervals: see [`Led::asks_again_at`].
    pub(super) fn has_ended_unknowing(&self) -> bool {
        self.has_failed() && self.has_ended() && !self.is_running()
    }

    /// When others are asked again, seconds since the Unix epoch.
    pub(super) fn asks_again_at(&self) -> u64 {
        self.asks_again_at.load(Ordering::SeqCst)
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::SeqCst)
    }

    /// Whether nothing of it is left to be done here.
    pub(super) fn is_done(&self) -> bool {
        let dismissed = self.dismissed.load(Ordering::SeqCst);
        !self.is_running() && (dismissed || self.has_ended())
    }

    /// Nobody needs it any more: its task ends, if there is one.
    pub(super) fn dismiss(&self) {
        self.dismissed.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// What is proposed.
    pub(super) fn proposal(&self) -> Proposal {
        lock(&self.leader).proposal().clone()
    }

    /// When its proposal expires, seconds since the Unix epoch.
    pub(super) fn expires(&self) -> u64 {
        lock(&self.leader).proposal().expires()
    }

    /// Whether nobody has to be asked any more: the key is active everywhere, or it failed and all have been asked to
    /// give up, or would have given up by themselves by now.
    pub(super) fn has_ended(&self) -> bool {
        let leader = lock(&self.leader);
        match leader.progress().phase {
            LeaderPhase::Completed | LeaderPhase::StoodAside => true,
            LeaderPhase::Failed => {
                leader.next_poll().is_none() || clock_s() >= leader.proposal().expires()
            }
            _ => false,
        }
    }

    /// Whether this node does not lead it now, because another does.
    pub(super) fn has_stood_aside(&self) -> bool {
        lock(&self.leader).progress().phase == LeaderPhase::StoodAside
    }

    pub(super) fn has_failed(&self) -> bool {
        lock(&self.leader).progress().phase == LeaderPhase::Failed
    }

    /// Whether this node made the proposal, and so may call it off.
    pub(super) fn is_proposed_by(&self, own: &[u8; 32]) -> bool {
        lock(&self.leader).proposal().leader() == own
    }

    /// Another member leads, as this node's own member has heard.
    fn gives_way(&self) -> Vec<LeaderEffect> {
        lock(&self.leader).stand_aside()
    }

    /// Whether the task has ended for a reason of this node's own.
    pub(super) fn is_stuck(&self) -> bool {
        lock(&self.outcome).stuck.is_some()
    }

    /// The first effects of a new leader, the first of which makes it durable.
    pub(super) fn begin(&self) -> Vec<LeaderEffect> {
        lock(&self.leader).poll(clock_s())
    }

    /// Asks a member once, before it is told of the proposal, which version it runs: its operator should hear of another one before
    /// anything starts.
    async fn learn_software(&self, member: &[u8; 32], peer: &Peer) {
        if lock(&self.software).contains_key(member) {
            return;
        }
        if let Ok(Answer::Status { software, .. }) = peer.call(&Request::Status {}).await {
            if software != SOFTWARE {
                tracing::warn!(member = %hex::encode(member), software, own = SOFTWARE, "a member of a ceremony runs another version");
            }
            lock(&self.software).insert(*member, software);
        }
    }

    fn take(&self, heard: Heard) -> Vec<LeaderEffect> {
        let mut leader = lock(&self.leader);
        match heard.what {
            Ok(message) => {
                lock(&self.heard).remove(&heard.from);
                leader.handle_reply(&heard.from, &message, clock_s())
            }
            Err(reason) => {
                tracing::debug!(member = %hex::encode(heard.from), reason, "no answer");
                lock(&self.heard).insert(heard.from, reason);
                leader.unreachable(&heard.from, clock_s());
                Vec::new()
            }
        }
    }

    /// How long until the machine is to be polled: the leader counts in seconds.
    fn rest(&self) -> Duration {
        match lock(&self.leader).next_poll() {
            Some(at) => {
                Duration::from_millis(at.saturating_mul(1000).saturating_sub(clock_ms()).max(5))
            }
            None => Duration::from_secs(3600),
        }
    }
}

impl Ceremonies {
    /// Calls off a ceremony: the task tells the members.
    pub(super) fn call_off(self: &Arc<Self>, led: &Arc<Led>) -> Result<(), CeremonyError> {
        let phase = lock(&led.leader).progress().phase;
        let asleep = led.has_ended();
        let effects = lock(&led.leader).abort(clock_s());
        if effects.is_empty() {
            return Err(CeremonyError::TooLate {
                reason: format!("it is {}", phase.name()),
            });
        }
        if asleep {
            self.spawn_lead(Arc::clone(led), effects);
            return Ok(());
        }
        lock(&led.pending).extend(effects);
        led.wake.notify_one();
        Ok(())
    }

    /// Makes the leader's state durable.
    pub(super) fn persist_leader(
        &self,
        id: &CeremonyId,
        state: Vec<u8>,
    ) -> Result<(), CeremonyError> {
        let change = Change::put(Table::Leading, id, Zeroizing::new(state));
        Ok(self.around.store.commit(&[change])?)
    }

    /// Starts the task that leads, with effects that are to be carried out first.
    pub(super) fn spawn_lead(self: &Arc<Self>, led: Arc<Led>, first: Vec<LeaderEffect>) {
        let this = Arc::clone(self);
        led.running.store(true, Ordering::SeqCst);
        self.keep(tokio::spawn(async move {
            if let Err(error) = this.lead(&led, first).await {
                tracing::error!(code = error.code(), %error, "a ceremony cannot be led on until the node is started again");
                lock(&led.outcome).stuck = Some(format!("This node cannot go on leading it: {error}."));
                this.notify();
            }
            let pause = u64::from(this.around.live.now().ceremony.patience_s)
                .saturating_mul(1 << led.asked_late.min(12))
                .min(LATE_PAUSE_S);
            led.asks_again_at.store(clock_s().saturating_add(pause), Ordering::SeqCst);
            led.running.store(false, Ordering::SeqCst);
        }));
    }

    async fn lead(
        self: &Arc<Self>,
        led: &Arc<Led>,
        first: Vec<LeaderEffect>,
    ) -> Result<(), CeremonyError> {
        let mut stopping = self.stopping.subscribe();
        let (answers, mut answered) = mpsc::channel::<Heard>(64);
        let mut peers: BTreeMap<[u8; 32], Arc<Peer>> = BTreeMap::new();
        // Dropped, and with it every question that is out, when this returns.
        let mut questions = JoinSet::new();
        let mut queue = VecDeque::from(first);
        let mut asked = 0usize;
        let id = lock(&led.leader).ceremony();
        loop {
            if self.is_led_by_another(&id) {
                queue.extend(led.gives_way());
            }
            while let Some(effect) = queue.pop_front() {
                asked += usize::from(matches!(effect, LeaderEffect::Send { .. }));
                self.carry_out(led, effect, &mut peers, &answers, &mut questions)
                    .await?;
            }
            self.notify();
            while questions.try_join_next().is_some() {}
            let dismissed = led.dismissed.load(Ordering::SeqCst);
            if dismissed || asked == 0 && led.has_ended() {
                return Ok(());
            }
            tokio::select! {
                () = stopped(&mut stopping) => return Ok(()),
                Some(heard) = answered.recv() => {
                    asked -= 1;
                    let led = Arc::clone(led);
                    // Verifying a deal takes a while.
                    queue.extend(blocking(move || led.take(heard)).await?);
                }
                () = led.wake.notified() => queue.extend(std::mem::take(&mut *lock(&led.pending))),
                () = tokio::time::sleep(led.rest()) => queue.extend(lock(&led.leader).poll(clock_s())),
            }
        }
    }

    async fn carry_out(
        self: &Arc<Self>,
        led: &Arc<Led>,
        effect: LeaderEffect,
        peers: &mut BTreeMap<[u8; 32], Arc<Peer>>,
        answers: &mpsc::Sender<Heard>,
        questions: &mut JoinSet<()>,
    ) -> Result<(), CeremonyError> {
        let id = lock(&led.leader).ceremony();
        let ceremony = hex::encode(id);
        match effect {
            LeaderEffect::Persist(state) => {
                let this = Arc::clone(self);
                blocking(move || this.persist_leader(&id, state)).await??;
            }
            LeaderEffect::Send { to, message } => {
                tracing::debug!(ceremony, to = %hex::encode(to), message = message.name(), "asking");
                let answers = answers.clone();
                let this = Arc::clone(self);
                if to == self.around.own.identity {
                    questions.spawn(async move {
                        this.shown().await;
                        let answer = blocking(move || this.answer_message(&to, message))
                            .await
                            .and_then(|answer| answer);
                        let what = answer.map_err(|error| error.to_string());
                        let _ = answers.send(Heard { from: to, what }).await;
                    });
                    return Ok(());
                }
                let peer = match peers.get(&to) {
                    Some(peer) => Arc::clone(peer),
                    None => {
                        let peer = Arc::new(self.dialer.peer(&self.address_of(led, &to), &to)?);
                        peers.insert(to, Arc::clone(&peer));
                        peer
                    }
                };
                let led = Arc::clone(led);
                questions.spawn(async move {
                    if matches!(message, Message::Propose { .. }) {
                        led.learn_software(&to, &peer).await;
                    }
                    let what = ask(&peer, &message).await;
                    let _ = answers.send(Heard { from: to, what }).await;
                });
            }
            LeaderEffect::Excluded { member, exclusion } => {
                tracing::warn!(
                    ceremony,
                    member = member.name,
                    grounds = exclusion.grounds.code(),
                    "a member is left out; the ceremony goes on without it"
                );
            }
            LeaderEffect::Certified { .. } => {
                tracing::info!(ceremony, "all members have confirmed: the key exists")
            }
            LeaderEffect::Completed { public_key, .. } => {
                tracing::info!(ceremony, public_key = %hex::encode(public_key.as_bytes()), "all members serve the key");
                self.certify(id);
            }
            LeaderEffect::Failed { culprits } => {
                for (member, fault) in &culprits {
                    tracing::warn!(
                        ceremony,
                        member = member.name,
                        code = fault.code(),
                        "the ceremony failed: {fault}"
                    );
                }
                lock(&led.outcome).culprits = Some(culprits);
            }
        }
        Ok(())
    }

    /// The address that this node's operator configured, which may be newer than the proposal's.
    fn address_of(&self, led: &Led, identity: &[u8; 32]) -> String {
        let configured = self.configured(identity).map(|member| member.address);
        configured.unwrap_or_else(|| {
            let leader = lock(&led.leader);
            let proposal = leader.proposal();
            let member = proposal
                .index_of(identity)
                .and_then(|index| proposal.member(index));
            member
                .map(|member| member.address.clone())
                .unwrap_or_default()
        })
    }
}

/// Asks a member over the network. What the member's machine refuses is an answer; everything else is worth asking again.
pub(super) async fn ask(peer: &Peer, message: &Message) -> Result<Message, String> {
    let request = Request::Ceremony {
        message: ByteBuf::from(message.to_bytes()),
    };
    match peer.call(&request).await {
        Ok(Answer::Ceremony { message }) => Message::from_bytes(&message)
            .map_err(|error| format!("its answer cannot be read: {error}")),
        Ok(Answer::Refused { code, message, .. }) => Err(format!("{code}: {message}")),
        Ok(_) => Err("it answered something else than it was asked".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
