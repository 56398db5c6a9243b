//! A member: the library's parts put together, in a thread with a runtime of its own.

use crate::{
    Clock, Fault, Full, Judge, Settings,
    application::{Orderer, Scheme},
    batch::{Batch, MAX_ITEM},
    faults::{Faults, Watch},
    gossip, network,
    pool::Pool,
};
use bytes::Bytes;
use commonware_actor::Feedback;
use commonware_broadcast::buffered;
use commonware_codec::{Copying, DecodeExt as _};
use commonware_consensus::{
    Heightable as _, Reporter, Reporters,
    marshal::{self, Start, Update, core::Actor, resolver::p2p as resolver, standard::Inline},
    simplex::{self, Floor, ForwardPolicy, SkipBudget, SkipPolicy, elector::RoundRobin},
    types::{Epoch, FixedEpocher, ViewDelta},
};
use commonware_cryptography::{
    Digested, Digestible as _,
    certificate::{ConstantProvider, Verifier as _},
    ed25519::{PrivateKey, PublicKey},
};
use commonware_parallel::Sequential;
use commonware_runtime::{
    Runner as _, Spawner as _, Supervisor as _, buffer::paged::CacheRef, tokio as runtime,
};
use commonware_storage::archive::{Archive as _, Identifier, immutable};
use commonware_utils::{Acknowledgement as _, acknowledgement::Exact, ordered::Set};
use std::{
    collections::HashMap,
    num::{NonZeroU16, NonZeroU64, NonZeroUsize},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering as Memory},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

const MAILBOX: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
const BUFFER: NonZeroUsize = NonZeroUsize::new(1 << 20).unwrap();
const PAGE: NonZeroU16 = NonZeroU16::new(4096).unwrap();
const PAGES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
const SECTION: NonZeroU64 = NonZeroU64::new(4096).unwrap();
/// Batches that may wait for the caller.
const PENDING: NonZeroUsize = NonZeroUsize::new(16).unwrap();
const REPAIR: NonZeroUsize = NonZeroUsize::new(16).unwrap();
const KEPT_VIEWS: u64 = 256;
/// Batches of each member that are kept until they are needed.
const KEPT_BATCHES: usize = 16;
const FETCH_WITHIN: Duration = Duration::from_secs(1);
const FETCH_AGAIN: Duration = Duration::from_millis(100);
/// A leader from whom nothing was heard for so long is not waited for.
const ABSENT_AFTER: Duration = Duration::from_secs(8);
/// All heights are of one epoch, until members can change.
const EPOCH_LENGTH: NonZeroU64 = NonZeroU64::new(1 << 62).unwrap();
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
    /// Listed twice, or not at all.
    #[error("this member must be among the members, and every member's key must be there once")]
    Members,
    /// Too short to be told apart from other things that are signed.
    #[error("the namespace has fewer than {MIN_NAMESPACE} bytes")]
    Namespace,
    /// Waiting for nothing to propose takes longer than others wait for a proposal.
    #[error("the times do not fit together: idle < leader < certification is needed")]
    Timing,
    /// No thread.
    #[error("the system gives no thread: {0}")]
    Thread(std::io::Error),
}

/// A batch that is final.
#[derive(Debug)]
pub struct Delivery {
    /// Its height; the one before was delivered before.
    pub height: u64,
    /// Its time, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What is in it.
    pub items: Vec<Bytes>,
    done: Option<Exact>,
    forget: Forget,
}

#[derive(Clone)]
struct Forget {
    pool: Arc<Pool>,
    delivered: Arc<AtomicU64>,
}

impl std::fmt::Debug for Forget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Forget")
    }
}

impl Delivery {
    /// Says that it was made use of, durably. One that is dropped instead stops the member: it cannot go on without.
    pub fn done(self) {
        self.forget.pool.forget(&self.items);
        self.forget.delivered.store(self.height, Memory::Release);
        if let Some(done) = self.done {
            done.acknowledge();
        }
    }
}

/// A member that runs.
pub struct Ordering {
    outbox: mpsc::UnboundedSender<Bytes>,
    pool: Arc<Pool>,
    me: usize,
    faults: Faults,
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
    let members: Vec<_> = settings
        .members
        .iter()
        .map(|member| Ok((network::public_key(member)?, *member)))
        .collect::<Result<_, StartError>>()?;
    let keys: Set<PublicKey> = members
        .iter()
        .map(|(key, _)| key.clone())
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| StartError::Members)?;
    let scheme = Scheme::signer(&settings.namespace, keys.clone(), key.clone())
        .ok_or(StartError::Members)?;
    let own = commonware_cryptography::Signer::public_key(&key);
    let me = keys.position(&own).ok_or(StartError::Members)?;

    let pool = Arc::new(Pool::new());
    let delivered = Arc::new(AtomicU64::new(settings.delivered));
    let (outbox, told) = mpsc::unbounded_channel();
    let (deliveries, delivered_to) = mpsc::channel(4 * PENDING.get());
    let (stop, stopped) = oneshot::channel();
    let faults = Faults::default();
    let running = Arc::new(AtomicBool::new(true));
    let parts = Parts {
        key,
        own,
        keys,
        me,
        members,
        scheme,
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
            forget: Forget {
                pool: pool.clone(),
                delivered,
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
    keys: Set<PublicKey>,
    me: usize,
    members: Vec<(PublicKey, crate::Member)>,
    scheme: Scheme,
    orderer: Orderer,
    out: Out,
    told: mpsc::UnboundedReceiver<Bytes>,
    faults: Faults,
    settings: Settings,
}

/// Takes final batches from marshal and gives them to the caller.
#[derive(Clone)]
struct Out {
    /// What is not above this the caller has already.
    after: u64,
    deliveries: mpsc::Sender<Delivery>,
    forget: Forget,
}

impl Out {
    /// Gives the caller the next batch from this member's own archive, and leaves room for as many as marshal gives at once.
    async fn replay(&mut self, batch: &Batch) {
        if let Ok(room) = self.deliveries.reserve_many(PENDING.get() + 1).await {
            drop(room);
            self.deliver(batch, None);
        }
        self.after = batch.height().get();
    }

    fn deliver(&self, batch: &Batch, done: Option<Exact>) -> Feedback {
        let height = batch.height().get();
        if height <= self.after || height == 0 {
            if let Some(done) = done {
                done.acknowledge();
            }
            return Feedback::Ok;
        }
        let delivery = Delivery {
            height,
            time_ms: batch.time_ms,
            items: batch.items.clone(),
            done,
            forget: self.forget.clone(),
        };
        match self.deliveries.try_send(delivery) {
            Ok(()) => Feedback::Ok,
            Err(_) => Feedback::Closed,
        }
    }
}

impl Reporter for Out {
    type Activity = Update<Batch>;

    fn report(&mut self, update: Update<Batch>) -> Feedback {
        match update {
            Update::Tip(..) => Feedback::Ok,
            Update::Block(batch, done) => self.deliver(batch.inner(), Some(done)),
        }
    }
}

async fn run(context: runtime::Context, parts: Parts, stopped: oneshot::Receiver<()>) {
    let Parts {
        key,
        own,
        keys,
        me,
        members,
        scheme,
        orderer,
        mut out,
        told,
        faults,
        settings,
    } = parts;
    let timing = settings.timing;
    let (mut network, oracle) = network::network(&context, &settings, key, &members);
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
    let backfill = resolver::init(
        context.child("backfill"),
        resolver::Config {
            public_key: own.clone(),
            peer_provider: oracle.clone(),
            blocker: oracle.clone(),
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
    let epochs = FixedEpocher::new(EPOCH_LENGTH);
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
    let (actor, mailbox, _) = Actor::init(
        context.child("marshal"),
        finalizations,
        blocks,
        marshal::Config {
            provider: ConstantProvider::<_, Epoch>::new(scheme.clone()),
            epocher: epochs.clone(),
            start: Start::Genesis(Digested::precomputed(genesis, beginning)),
            partition_prefix: "marshal".to_owned(),
            mailbox_size: MAILBOX,
            view_retention: ViewDelta::new(KEPT_VIEWS),
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
    let mut marshal = actor.start(out, buffer, backfill);

    let inline = Inline::new(context.child("batches"), orderer.clone(), mailbox, epochs);
    let watch = Watch {
        faults,
        scheme: scheme.clone(),
        random: Arc::new(Mutex::new(context.child("faults"))),
    };
    let engine = simplex::Engine::new(
        context.child("simplex"),
        simplex::Config {
            scheme,
            elector: RoundRobin::<commonware_cryptography::Sha256>::default(),
            blocker: oracle,
            automaton: inline.clone(),
            relay: inline.clone(),
            reporter: Reporters::from((inline, watch)),
            track_historical_votes: false,
            strategy: Sequential,
            partition: "votes".to_owned(),
            mailbox_size: MAILBOX,
            epoch: Epoch::zero(),
            floor: Floor::Genesis(beginning),
            replay_buffer: BUFFER,
            write_buffer: BUFFER,
            page_cache: cache,
            leader_timeout: timing.leader,
            certification_timeout: timing.certification,
            timeout_retry: timing.certification,
            view_retention: ViewDelta::new(KEPT_VIEWS),
            skip: SkipPolicy::Enabled {
                timeout: ABSENT_AFTER.max(2 * timing.certification),
                budget: SkipBudget::Participants,
            },
            fetch_timeout: non_zero(FETCH_WITHIN),
            fetch_retry_delay: FETCH_AGAIN,
            forward: ForwardPolicy::SilentVoters,
        },
    );
    let mut engine = engine.start(votes, certificates, views);

    let places: HashMap<_, _> = keys.iter().cloned().zip(0..).collect();
    let (pool, judge) = (orderer.pool.clone(), orderer.judge.clone());
    let telling = gossip::tell(told, pool.clone(), me, items_out);
    let _tell = context.child("tell").spawn(|_| telling);
    let _hear = context
        .child("hear")
        .spawn(|_| gossip::hear(pool, judge, places, items_in));
    tokio::select! {
        _ = stopped => return,
        _ = &mut engine => {}
        _ = &mut marshal => {}
        _ = &mut network => {}
    }
    tracing::error!(
        "a part of the ordering has ended; look at what it said before, and start again"
    );
}

fn non_zero(time: Duration) -> commonware_utils::NonZeroDuration {
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
