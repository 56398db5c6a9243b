//! One instance of consensus after another: an epoch ends, the next begins.
//!
//! ```text
//! epoch e                                            epoch e + 1
//! … batch, batch, last batch ── made use of ──────→ members known, let in; journal `votes-{e+1}`; built on the last batch
//! ```
//!
//! - One instance runs at a time. Its messages have the epoch's number in front, and go to nobody else.
//! - A vote of a later epoch says that its sender has the end of ours: it is fetched from there. What is fetched is certified by our epoch's members, so
//!   a sender that only says so gains nothing.
//! - Who is not a member runs an instance that verifies and does not sign.
//! - A member that lost its votes runs one too, until it may vote again (`votes`): then the instance is started once more, with a journal of votes, above the final batch
//!   that says so.
//! - A journal is removed two epochs later: nobody goes back to an epoch whose end it has made use of.

use crate::{
    Member, Timing,
    application::{Orderer, Scheme},
    batch::Batch,
    engine::{BUFFER, MAILBOX, non_zero},
    epochs::Epochs,
    faults::{Bouncer, Watch},
    network::Doorkeeper,
    votes::Votes,
};
use commonware_consensus::{
    Reporters,
    marshal::{
        core::Mailbox,
        standard::{Inline, Standard},
    },
    simplex::{
        self, Floor, ForwardPolicy, SkipBudget, SkipPolicy, elector::RoundRobin,
        types::Finalization,
    },
    types::{Epoch, FixedEpocher, Height, ViewDelta},
};
use commonware_cryptography::{Digestible as _, Sha256, ed25519::PublicKey, sha256::Digest};
use commonware_p2p::{
    Channel, Message, Receiver, Sender,
    utils::mux::{Builder as _, Error as MuxError, MuxHandle, Muxer, SubReceiver, SubSender},
};
use commonware_parallel::Sequential;
use commonware_runtime::{
    Handle, Storage as _, Supervisor as _, buffer::paged::CacheRef, tokio as runtime,
};
use commonware_utils::vec::NonEmptyVec;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering as Memory},
    },
    time::Duration,
};
use tokio::sync::{mpsc, watch};

pub(crate) const KEPT_VIEWS: ViewDelta = ViewDelta::new(256);
pub(crate) const FETCH_WITHIN: Duration = Duration::from_secs(1);
pub(crate) const FETCH_AGAIN: Duration = Duration::from_millis(100);
/// A leader from whom nothing was heard for so long is not waited for.
const ABSENT_AFTER: Duration = Duration::from_secs(8);
/// Within which an instance that was ended lets go of its channels, and how often is looked.
const LET_GO: Duration = Duration::from_secs(20);
const HELD: Duration = Duration::from_millis(10);
/// Epochs after which the journal of one is removed.
const JOURNALS: u64 = 2;

pub(crate) type Marshal = Mailbox<Scheme, Standard<Batch>>;

/// What goes into every instance.
pub(crate) struct Conductor {
    pub(crate) context: runtime::Context,
    pub(crate) epochs: Epochs,
    pub(crate) marshal: Marshal,
    pub(crate) inline: Inline<runtime::Context, Scheme, Orderer, Batch, FixedEpocher>,
    pub(crate) bouncer: Bouncer,
    pub(crate) doorkeeper: Doorkeeper,
    /// Called until this member votes.
    pub(crate) helpers: Vec<Member>,
    pub(crate) timing: Timing,
    pub(crate) cache: CacheRef,
    /// The epoch that it is in, for whoever asks.
    pub(crate) epoch: Arc<AtomicU64>,
    /// Whether it may vote at all.
    pub(crate) votes: Votes,
    /// The same, for whoever asks.
    pub(crate) votes_lost: Arc<AtomicBool>,
    /// Heights of final batches that were voted for after this member's start.
    pub(crate) fresh: watch::Receiver<u64>,
}

/// The channels of consensus, each cut into one for each epoch.
struct Channels<S: Sender> {
    votes: MuxHandle<S>,
    certificates: MuxHandle<S>,
    views: MuxHandle<S>,
    /// Votes of epochs in which this member is not.
    elsewhere: mpsc::Receiver<(Channel, Message<S::PublicKey>)>,
}

/// An instance that runs. It ends with this.
struct Running {
    epoch: u64,
    engine: Handle<()>,
    /// It follows only because its votes are lost.
    votes_lost: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

/// A channel of an epoch. The parts of an instance that was just ended let go of it one after the other.
async fn registered<S: Sender>(
    channel: &mut MuxHandle<S>,
    epoch: u64,
) -> Option<(SubSender<S>, SubReceiver<S::PublicKey>)> {
    for _ in 0..LET_GO.as_millis() / HELD.as_millis() {
        match channel.register(epoch).await {
            Ok(registered) => return Some(registered),
            Err(MuxError::AlreadyRegistered(_)) => tokio::time::sleep(HELD).await,
            Err(_) => return None,
        }
    }
    None
}

/// Where the votes of an epoch are. The first one's name is from the time when there was one.
fn journal(epoch: u64) -> String {
    match epoch {
        0 => "votes".to_owned(),
        epoch => format!("votes-{epoch}"),
    }
}

/// What an instance that does not vote keeps of an epoch. No vote is in it, so it must not pass for a journal of votes.
fn followed(epoch: u64) -> String {
    format!("follows-{epoch}")
}

impl Conductor {
    /// Runs from this epoch on. Returns when something ends that must not.
    pub(crate) async fn run<S, R>(
        mut self,
        first: u64,
        votes: (S, R),
        certificates: (S, R),
        views: (S, R),
    ) where
        S: Sender<PublicKey = PublicKey>,
        R: Receiver<PublicKey = PublicKey>,
    {
        let mut channels = self.channels(votes, certificates, views);
        let mut reached = self.epochs.reached();
        let mut changes = self.epochs.changes();
        // Who is how far ahead, by their own account: an entry for each that is let in at most, and those come and go slowly.
        let mut ahead: BTreeMap<PublicKey, u64> = BTreeMap::new();
        let Some(mut running) = self.enter(first, &mut channels).await else {
            return;
        };
        loop {
            tokio::select! {
                ended = &mut running.engine => {
                    tracing::error!(epoch = running.epoch, ?ended, "consensus has ended within an epoch");
                    return;
                }
                changed = reached.changed() => {
                    let next = *reached.borrow_and_update();
                    if changed.is_err() {
                        return;
                    }
                    if next <= running.epoch {
                        continue;
                    }
                    drop(running);
                    let Some(entered) = self.enter(next, &mut channels).await else {
                        return;
                    };
                    running = entered;
                    ahead.retain(|_, theirs| *theirs > running.epoch);
                    for member in ahead.keys() {
                        self.fetch_end(running.epoch, member);
                    }
                }
                changed = self.fresh.changed(), if self.votes.kept_from().is_none() => {
                    if changed.is_err() {
                        return;
                    }
                    if !self.may_vote().await || !running.votes_lost {
                        continue;
                    }
                    let epoch = running.epoch;
                    running.engine.abort();
                    let _ = (&mut running.engine).await;
                    drop(running);
                    let Some(entered) = self.enter(epoch, &mut channels).await else {
                        return;
                    };
                    running = entered;
                }
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.let_in(running.epoch);
                }
                Some((theirs, (from, _))) = channels.elsewhere.recv() => {
                    if theirs > running.epoch {
                        self.fetch_end(running.epoch, &from);
                        ahead.insert(from, theirs);
                    }
                }
            }
        }
    }

    /// Whether its lost votes are over, by a batch that was voted for after its start; it is noted then.
    async fn may_vote(&mut self) -> bool {
        let height = *self.fresh.borrow_and_update();
        // Final by what was built on it, without a certificate of its own: one that has it follows.
        if self.floor(height).await.is_none() {
            return false;
        }
        if let Err(error) = self.votes.keep_from(height) {
            tracing::error!(%error, "that it votes again cannot be noted: it goes on without a vote");
            return false;
        }
        tracing::info!(height, "the votes that were lost are over: it votes again");
        true
    }

    async fn floor(&self, height: u64) -> Option<Finalization<Scheme, Digest>> {
        self.marshal.get_finalization(Height::new(height)).await
    }

    fn channels<S, R>(&self, votes: (S, R), certificates: (S, R), views: (S, R)) -> Channels<S>
    where
        S: Sender<PublicKey = PublicKey>,
        R: Receiver<PublicKey = PublicKey>,
    {
        let (mux, votes, elsewhere) = Muxer::builder(self.context.child("votes"), votes.0, votes.1)
            .with_backup()
            .build();
        mux.start();
        let (mux, certificates) = Muxer::new(
            self.context.child("certificates"),
            certificates.0,
            certificates.1,
        );
        mux.start();
        let (mux, views) = Muxer::new(self.context.child("views"), views.0, views.1);
        mux.start();
        Channels {
            votes,
            certificates,
            views,
            elsewhere,
        }
    }

    fn let_in(&mut self, epoch: u64) {
        if let Some(roll) = self.epochs.roll(epoch) {
            let helpers: &[Member] = if roll.signs { &[] } else { &self.helpers };
            let others = self.epochs.others(epoch);
            self.doorkeeper.let_in(&roll, helpers, &others);
        }
    }

    /// Asks a member for the end of an epoch: the certificate of its last batch, and what is before it.
    fn fetch_end(&self, epoch: u64, from: &PublicKey) {
        let last = Height::new(self.epochs.before(epoch.saturating_add(1)));
        self.marshal
            .hint_finalized(last, NonEmptyVec::new(from.clone()));
    }

    async fn enter<S: Sender<PublicKey = PublicKey>>(
        &mut self,
        epoch: u64,
        channels: &mut Channels<S>,
    ) -> Option<Running> {
        let roll = self.epochs.roll(epoch);
        // What the epoch is built on: the last batch of the one before, or the beginning of all.
        let height = Height::new(self.epochs.before(epoch));
        let before = self.marshal.get_block(height).await;
        let (Some(roll), Some(before)) = (roll, before) else {
            tracing::error!(
                epoch,
                "the batch before the epoch, or its members, are not there"
            );
            return None;
        };
        self.let_in(epoch);
        if let Some(old) = epoch.checked_sub(JOURNALS) {
            // It may never have been there.
            let _ = self.context.remove(&journal(old), None).await;
            let _ = self.context.remove(&followed(old), None).await;
        }
        let votes = registered(&mut channels.votes, epoch).await;
        let certificates = registered(&mut channels.certificates, epoch).await;
        let views = registered(&mut channels.views, epoch).await;
        let (Some(votes), Some(certificates), Some(views)) = (votes, certificates, views) else {
            tracing::error!(epoch, "the channels of the epoch cannot be had");
            return None;
        };
        let votes_lost = roll.signs && self.votes.are_lost(roll.members.len());
        let mut floor = Floor::Genesis(before.digest());
        let kept_from = self.votes.kept_from().unwrap_or_default();
        if kept_from > 0 && self.epochs.of(kept_from) == epoch {
            let Some(certificate) = self.floor(kept_from).await else {
                tracing::error!(
                    height = kept_from,
                    "the certificate above which it votes is not there; remove the member's folder and let the others send everything again"
                );
                return None;
            };
            floor = Floor::Finalized(certificate);
        }
        let (scheme, partition) = if votes_lost {
            (self.epochs.verifier(&roll), followed(epoch))
        } else {
            ((*roll.scheme).clone(), journal(epoch))
        };
        let channels = [votes, certificates, views];
        let engine = self.start(epoch, scheme, partition, floor, channels);
        self.epoch.store(epoch, Memory::Release);
        self.votes_lost.store(votes_lost, Memory::Release);
        tracing::info!(
            epoch,
            members = roll.members.len(),
            votes = roll.signs && !votes_lost,
            votes_lost,
            "an epoch begins"
        );
        Some(Running {
            epoch,
            engine,
            votes_lost,
        })
    }

    fn start<S, R>(
        &self,
        epoch: u64,
        scheme: Scheme,
        partition: String,
        floor: Floor<Scheme, Digest>,
        [votes, certificates, views]: [(S, R); 3],
    ) -> Handle<()>
    where
        S: Sender<PublicKey = PublicKey>,
        R: Receiver<PublicKey = PublicKey>,
    {
        let timing = self.timing;
        let context = self.context.child("simplex").with_attribute("epoch", epoch);
        let watch = Watch {
            faults: self.bouncer.faults.clone(),
            scheme: scheme.clone(),
            random: Arc::new(Mutex::new(context.child("faults"))),
        };
        let engine = simplex::Engine::new(
            context,
            simplex::Config {
                scheme,
                elector: RoundRobin::<Sha256>::default(),
                blocker: self.bouncer.clone(),
                automaton: self.inline.clone(),
                relay: self.inline.clone(),
                reporter: Reporters::from((self.inline.clone(), watch)),
                track_historical_votes: false,
                strategy: Sequential,
                partition,
                mailbox_size: MAILBOX,
                epoch: Epoch::new(epoch),
                floor,
                replay_buffer: BUFFER,
                write_buffer: BUFFER,
                page_cache: self.cache.clone(),
                leader_timeout: timing.leader,
                certification_timeout: timing.certification,
                timeout_retry: timing.certification,
                view_retention: KEPT_VIEWS,
                skip: SkipPolicy::Enabled {
                    timeout: ABSENT_AFTER.max(2 * timing.certification),
                    budget: SkipBudget::Participants,
                },
                fetch_timeout: non_zero(FETCH_WITHIN),
                fetch_retry_delay: FETCH_AGAIN,
                forward: ForwardPolicy::SilentVoters,
            },
        );
        engine.start(votes, certificates, views)
    }
}
