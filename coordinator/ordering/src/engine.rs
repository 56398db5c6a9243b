//! A member: the library's parts put together, in a thread with a runtime of its own.

use crate::{
    Clock, Fault, Full, Judge, MAX_MEMBERS, Settings,
    application::{Orderer, Scheme},
    batch::{Batch, MAX_ITEM},
    conductor::{Conductor, FETCH_AGAIN, FETCH_WITHIN, KEPT_VIEWS},
    delivery::{Delivery, Out, PENDING, Used},
    epochs::Epochs,
    faults::{Bouncer, Faults},
    gossip,
    network::{self, Doorkeeper},
    pool::{Origin, Pool},
    time,
    votes::{CLOCKS, Votes},
};
use bytes::Bytes;
use commonware_broadcast::buffered;
use commonware_codec::{Copying, DecodeExt as _};
use commonware_consensus::marshal::{
    self, Start, core::Actor, resolver::p2p as resolver, standard::Inline,
};
use commonware_cryptography::{
    Digested, Digestible as _,
    certificate::Verifier as _,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_parallel::Sequential;
use commonware_runtime::{
    Runner as _, Spawner as _, Supervisor as _, buffer::paged::CacheRef, tokio as runtime,
};
use commonware_storage::archive::{Archive as _, Identifier, immutable};
use std::{
    num::{NonZeroU16, NonZeroU64, NonZeroUsize},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering as Memory},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

pub(crate) const MAILBOX: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
pub(crate) const BUFFER: NonZeroUsize = NonZeroUsize::new(1 << 20).unwrap();
const PAGE: NonZeroU16 = NonZeroU16::new(4096).unwrap();
const PAGES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
const SECTION: NonZeroU64 = NonZeroU64::new(4096).unwrap();
const REPAIR: NonZeroUsize = NonZeroUsize::new(16).unwrap();
/// Batches of each member that are kept until they are needed.
const KEPT_BATCHES: usize = 16;
const MIN_NAMESPACE: usize = 128;

const VOTES: u64 = 0;
const CERTIFICATES: u64 = 1;
const VIEWS: u64 = 2;
const BATCHES: u64 = 3;
const BACKFILL: u64 = 4;
const ITEMS: u64 = 5;

/// Why a member does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A key that is none.
    #[error(
        "a member's key is not a usable Ed25519 public key; compare the members' list with the others'"
    )]
    Key,
    /// Nobody, too many, listed twice, or no epoch to be in.
    #[error("an epoch has at least 2 batches and 1 to {MAX_MEMBERS} members, every one's key once")]
    Members,
    /// Too short to be told apart from other things that are signed.
    #[error("the namespace has fewer than {MIN_NAMESPACE} bytes")]
    Namespace,
    /// Waiting for nothing to propose takes longer than others wait for a proposal.
    #[error("the times do not fit together: idle < leader < certification is needed")]
    Timing,
    /// Its folder.
    #[error("{path} cannot be used: {source}")]
    Folder {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No thread.
    #[error("the system gives no thread: {0}")]
    Thread(std::io::Error),
}

/// The part that a member has at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The epoch that it is in.
    pub epoch: u64,
    /// Whether it votes there: it is one of the members, and knows all its votes. Who does not, follows.
    pub votes: bool,
    /// Whether it lost its votes: it will vote when those that it may have given are over.
    pub votes_lost: bool,
}

/// A member that runs.
pub struct Ordering {
    outbox: mpsc::UnboundedSender<Bytes>,
    pool: Arc<Pool>,
    me: Origin,
    faults: Faults,
    epochs: Epochs,
    epoch: Arc<AtomicU64>,
    votes_lost: Arc<AtomicBool>,
    running: Arc<AtomicBool>,
    stop: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl std::fmt::Debug for Ordering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ordering")
    }
}

impl Ordering {
    /// Has an item ordered. It comes out as part of a [`Delivery`], unless all members' pools lose it, or nobody finds it well-formed.
    ///
    /// # Errors
    /// [`Full`]: too much waits already, or it is longer than any item may be.
    pub fn submit(&self, item: Bytes) -> Result<(), Full> {
        if item.is_empty() || item.len() > MAX_ITEM {
            return Err(Full);
        }
        if self.pool.offer(item.clone(), self.me)? {
            let _ = self.outbox.send(item);
        }
        Ok(())
    }

    /// Who is proven to have broken the rules.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.faults.list()
    }

    /// Which part it has.
    #[must_use]
    pub fn part(&self) -> Part {
        let epoch = self.epoch.load(Memory::Acquire);
        let member = self.epochs.roll(epoch).is_some_and(|roll| roll.signs);
        let votes_lost = self.votes_lost.load(Memory::Acquire);
        Part {
            epoch,
            votes: member && !votes_lost,
            votes_lost,
        }
    }

    /// Whether it still runs. It stops when its disk fails, or when a delivery was dropped.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.load(Memory::Acquire)
    }

    /// Stops it; returns when nothing of it runs any more.
    pub fn close(&self) {
        let stop = self
            .stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((stop, thread)) = stop {
            let _ = stop.send(());
            if thread.join().is_err() {
                tracing::error!("the thread that orders has panicked");
            }
        }
    }
}

impl Drop for Ordering {
    fn drop(&mut self) {
        self.close();
    }
}

/// Starts a member. `secret` is the seed of its Ed25519 key; batches come out at the receiver.
///
/// # Errors
/// [`StartError`]. What fails later stops the member: see [`Ordering::is_running`].
pub fn start(
    settings: Settings,
    secret: Zeroizing<[u8; 32]>,
    judge: Arc<dyn Judge>,
    clock: Clock,
) -> Result<(Ordering, mpsc::Receiver<Delivery>), StartError> {
    if settings.namespace.len() < MIN_NAMESPACE {
        return Err(StartError::Namespace);
    }
    let timing = settings.timing;
    if timing.idle >= timing.leader || timing.leader >= timing.certification {
        return Err(StartError::Timing);
    }
    let key = PrivateKey::decode(Copying(secret.as_slice())).map_err(|_| StartError::Key)?;
    drop(secret);
    let own = commonware_cryptography::Signer::public_key(&key);
    let mut me = Origin::default();
    me.copy_from_slice(own.as_ref());
    let epochs = Epochs::new(
        &settings.namespace,
        key.clone(),
        settings.epoch_length,
        &settings.members,
        settings.coming.clone(),
        settings.delivered,
    )?;

    let votes = Votes::open(&settings.folder, &settings.never_voted).map_err(|source| {
        StartError::Folder {
            path: settings.folder.clone(),
            source,
        }
    })?;
    let fresh_ms = (clock)()
        .saturating_add(time::millis(timing.ahead))
        .saturating_add(time::millis(CLOCKS));
    let votes_lost = Arc::new(AtomicBool::new(votes.kept_from().is_none()));

    let pool = Arc::new(Pool::new());
    let delivered = Arc::new(AtomicU64::new(settings.delivered));
    let (outbox, told) = mpsc::unbounded_channel();
    let (deliveries, delivered_to) = mpsc::channel(4 * PENDING.get());
    let (stop, stopped) = oneshot::channel();
    let faults = Faults::default();
    let running = Arc::new(AtomicBool::new(true));
    let epoch = Arc::new(AtomicU64::new(0));
    let parts = Parts {
        key,
        own,
        me,
        epochs: epochs.clone(),
        epoch: epoch.clone(),
        votes,
        votes_lost: votes_lost.clone(),
        orderer: Orderer {
            pool: pool.clone(),
            judge,
            clock,
            timing,
            delivered: delivered.clone(),
        },
        out: Out {
            after: settings.delivered,
            deliveries,
            fresh_ms,
            fresh: Arc::new(watch::channel(0).0),
            used: Used {
                pool: pool.clone(),
                delivered,
                epochs: epochs.clone(),
            },
        },
        told,
        faults: faults.clone(),
        settings,
    };
    let alive = running.clone();
    let thread = std::thread::Builder::new()
        .name("ordering".to_owned())
        .spawn(move || {
            let _alive = Alive(alive);
            let config = runtime::Config::new()
                .with_storage_directory(parts.settings.folder.clone())
                .with_worker_threads(2)
                .with_tcp_nodelay(Some(true));
            runtime::Runner::new(config).start(|context| run(context, parts, stopped));
        })
        .map_err(StartError::Thread)?;
    let ordering = Ordering {
        outbox,
        pool,
        me,
        faults,
        epochs,
        epoch,
        votes_lost,
        running,
        stop: Mutex::new(Some((stop, thread))),
    };
    Ok((ordering, delivered_to))
}

/// Says so when the thread has ended, however it ended.
struct Alive(Arc<AtomicBool>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(false, Memory::Release);
    }
}

struct Parts {
    key: PrivateKey,
    own: PublicKey,
    me: Origin,
    epochs: Epochs,
    epoch: Arc<AtomicU64>,
    votes: Votes,
    votes_lost: Arc<AtomicBool>,
    orderer: Orderer,
    out: Out,
    told: mpsc::UnboundedReceiver<Bytes>,
    faults: Faults,
    settings: Settings,
}

async fn run(context: runtime::Context, parts: Parts, mut stopped: oneshot::Receiver<()>) {
    let Parts {
        key,
        own,
        me,
        epochs,
        epoch,
        votes: own_votes,
        votes_lost,
        orderer,
        mut out,
        told,
        faults,
        settings,
    } = parts;
    let (mut network, oracle) = network::network(&context, &settings, key);
    let votes = network.register(VOTES, network::quota(512));
    let certificates = network.register(CERTIFICATES, network::quota(512));
    let views = network.register(VIEWS, network::quota(128));
    let batches = network.register(BATCHES, network::quota(128));
    let backfill = network.register(BACKFILL, network::quota(128));
    let (items_out, items_in) = network.register(ITEMS, network::quota(512));
    let mut network = network.start();

    let cache = CacheRef::new(PAGE, PAGES);
    let genesis = Batch::genesis(&settings.namespace, settings.genesis_ms);
    let beginning = genesis.digest();
    let bouncer = Bouncer {
        oracle: oracle.clone(),
        faults,
    };
    let backfill = resolver::init(
        context.child("backfill"),
        resolver::Config {
            public_key: own.clone(),
            peer_provider: oracle.clone(),
            blocker: bouncer.clone(),
            mailbox_size: MAILBOX,
            fetch_timeout: non_zero(FETCH_WITHIN),
            fetch_retry_delay: FETCH_AGAIN,
            priority_requests: false,
            priority_responses: false,
        },
        backfill,
    );
    let (broadcast, buffer) = buffered::Engine::new(
        context.child("broadcast"),
        buffered::Config {
            public_key: own,
            mailbox_size: MAILBOX,
            deque_size: KEPT_BATCHES,
            priority: true,
            codec_config: (),
            peer_provider: oracle.clone(),
            strategy: Sequential,
        },
    );
    let _broadcast = broadcast.start(batches);
    let finalizations = immutable::Archive::init(
        context.child("finalizations"),
        archive(
            "finalizations",
            cache.clone(),
            Scheme::certificate_codec_config_unbounded(),
        ),
    )
    .await;
    // Shared, as marshal holds them.
    let blocks = immutable::Archive::<_, _, Arc<Batch>>::init(
        context.child("batches"),
        archive("batches", cache.clone(), ()),
    )
    .await;
    let (Ok(finalizations), Ok(blocks)) = (finalizations, blocks) else {
        tracing::error!(folder = %settings.folder.display(), "what was ordered cannot be read; restore the folder, or remove it and let the others send everything again");
        return;
    };
    // What the caller has lost comes out again; marshal may have been told that it was made use of.
    loop {
        let height = out.after + 1;
        match blocks.get(Identifier::Index(height)).await {
            Ok(Some(batch)) => out.replay(&batch).await,
            Ok(None) => break,
            Err(error) => {
                tracing::error!(height, %error, "a batch cannot be read; remove the member's folder and let the others send everything again");
                return;
            }
        }
    }
    // The caller executes what came out again, and with it says who the members are: nothing can be verified of an epoch before.
    tokio::select! {
        _ = &mut stopped => return,
        () = epochs.until_known(epochs.of(out.after.saturating_add(1))) => {}
    }
    let (actor, mailbox, _) = Actor::init(
        context.child("marshal"),
        finalizations,
        blocks,
        marshal::Config {
            provider: epochs.clone(),
            epocher: epochs.epocher(),
            start: Start::Genesis(Digested::precomputed(genesis, beginning)),
            partition_prefix: "marshal".to_owned(),
            mailbox_size: MAILBOX,
            view_retention: KEPT_VIEWS,
            prunable_items_per_section: SECTION,
            page_cache: cache.clone(),
            replay_buffer: BUFFER,
            key_write_buffer: BUFFER,
            value_write_buffer: BUFFER,
            block_codec_config: (),
            max_repair: REPAIR,
            max_pending_acks: PENDING,
            strategy: Sequential,
        },
    )
    .await;
    let fresh = out.fresh.subscribe();
    let mut marshal = actor.start(out, buffer, backfill);

    // Marshal's own mark may be behind what the caller has, or missing with its folder.
    let processed = mailbox.get_processed().await;
    let processed = processed.map_or(0, |it| it.height().get());
    let first = epochs
        .of(processed.saturating_add(1))
        .max(*epochs.reached().borrow());
    let inline = Inline::new(
        context.child("batches"),
        orderer.clone(),
        mailbox.clone(),
        epochs.epocher(),
    );
    let conductor = Conductor {
        context: context.child("epochs"),
        epochs,
        marshal: mailbox,
        inline,
        doorkeeper: Doorkeeper::new(oracle),
        helpers: settings.helpers,
        bouncer,
        timing: settings.timing,
        cache,
        epoch,
        votes: own_votes,
        votes_lost,
        fresh,
    };
    let conducting = conductor.run(first, votes, certificates, views);

    let (pool, judge) = (orderer.pool.clone(), orderer.judge.clone());
    let telling = gossip::tell(told, pool.clone(), me, items_out);
    let _tell = context.child("tell").spawn(|_| telling);
    let _hear = context
        .child("hear")
        .spawn(|_| gossip::hear(pool, judge, items_in));
    tokio::select! {
        _ = stopped => return,
        by = time::set_back() => {
            tracing::error!(?by, "the system's clock was set back, and all that this member waits for is as far away: start it again");
            return;
        }
        () = conducting => {}
        _ = &mut marshal => {}
        _ = &mut network => {}
    }
    tracing::error!(
        "a part of the ordering has ended; look at what it said before, and start again"
    );
}

pub(crate) fn non_zero(time: Duration) -> commonware_utils::NonZeroDuration {
    commonware_utils::NZDuration!(time)
}

fn archive<C>(name: &str, cache: CacheRef, codec_config: C) -> immutable::Config<C> {
    immutable::Config {
        metadata_partition: format!("{name}-metadata"),
        freezer_table_partition: format!("{name}-table"),
        freezer_table_initial_size: 1 << 12,
        freezer_table_resize_frequency: 4,
        freezer_table_resize_chunk_size: 1 << 12,
        freezer_key_partition: format!("{name}-keys"),
        freezer_key_page_cache: cache,
        freezer_value_partition: format!("{name}-values"),
        freezer_value_target_size: 1 << 28,
        freezer_value_compression: None,
        ordinal_partition: format!("{name}-heights"),
        items_per_section: SECTION,
        codec_config,
        replay_buffer: BUFFER,
        freezer_key_write_buffer: BUFFER,
        freezer_value_write_buffer: BUFFER,
        ordinal_write_buffer: BUFFER,
    }
}
