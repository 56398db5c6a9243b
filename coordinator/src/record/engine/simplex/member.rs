//! An organisation's peer that takes part in the order: one thread executes what comes out, and decides on approvals.

use super::{
    executor::{
        Addresses, Command, CopyHash, Executor, Names, Waiting, copy, lock_on, members, name,
    },
    judge::RecordJudge,
    wire::{AccusedView, BlockView, MAX_BLOCKS, StandingView, Submitted},
};
use crate::record::{
    block::MAX_BLOCK_BYTES,
    engine::RecordError,
    genesis::Genesis,
    identifier::Identifier,
    peer::{
        ApprovalRefusal, ApprovalTerms, FresherLists, Peer, PeerKeys, PeerOpenError, Replica,
        StoreError,
    },
    signed::{SignedTransaction, TransactionId},
};
use bytes::Bytes;
use ordering::{Clock, Ordering, Settings, StartError, Timing};
use std::{
    collections::BTreeMap,
    fs::File,
    net::SocketAddr,
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{self, AtomicU64},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{oneshot, watch};
use zeroize::Zeroizing;

/// Submitters that may wait at the same time.
const MAX_WAITING: usize = 16_384;
/// What is signed in the order of one ledger begins with this. With the ledger's id in hexadecimal it has more than 128 bytes, see `ordering`.
const NAMESPACE: &str =
    "coordinator/v1/the order of the golden record among its peers, of the ledger with the id ";

/// Epochs of a ledger whose members never change.
const ONE_EPOCH: NonZeroU64 = NonZeroU64::new(1 << 62).unwrap();

/// Settings of a member.
#[derive(Clone)]
pub struct MemberOptions {
    /// How it approves.
    pub approvals: ApprovalTerms,
    /// Its clock.
    pub clock: Clock,
    /// How long the members wait for each other.
    pub timing: Timing,
    /// How long a submitter waits.
    pub answer_within: Duration,
    /// What it knows of revoked certificates besides the record.
    pub revocations: Option<Arc<FresherLists>>,
    /// Peers that order now, as somebody said: a newcomer calls them, for those of the genesis may all have left. They are believed nothing, what they send is certified from
    /// the genesis on.
    pub helpers: Vec<(Identifier, [u8; 32])>,
    /// The file that says that its keys never voted, made with them: see [`ordering::Settings::never_voted`].
    pub never_voted: PathBuf,
}

impl std::fmt::Debug for MemberOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberOptions")
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

impl Default for MemberOptions {
    fn default() -> Self {
        Self {
            approvals: ApprovalTerms::default(),
            clock: Arc::new(crate::platform::now_ms),
            timing: Timing::default(),
            answer_within: Duration::from_secs(30),
            revocations: None,
            helpers: Vec::new(),
            never_voted: PathBuf::new(),
        }
    }
}

/// Why a member does not start.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The folder cannot be made or locked.
    #[error("the peer's folder {path} cannot be used: {reason}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The peer cannot be opened.
    #[error(transparent)]
    Peer(#[from] PeerOpenError),
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The order.
    #[error(transparent)]
    Order(#[from] StartError),
    /// No thread.
    #[error("the system gives no thread: {0}")]
    Thread(std::io::Error),
}

impl MemberError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "record-folder",
            Self::Peer(PeerOpenError::Store(error)) | Self::Store(error) => error.code(),
            Self::Peer(_) => "record-peer",
            Self::Order(_) => "peer-order",
            Self::Thread(_) => "record-thread",
        }
    }
}

/// How a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its last block.
    pub height: u64,
    /// The last batch that it executed.
    pub ordered: u64,
    /// The epoch that it is in.
    pub epoch: u64,
    /// Whether it votes there.
    pub votes: bool,
    /// Whether it does not because it lost its votes.
    pub votes_lost: bool,
    /// Why it takes no part any more.
    pub fault: Option<String>,
}

/// A peer that takes part. Dropping it stops it.
pub struct Member {
    organisation: Identifier,
    replica: Arc<Replica>,
    names: Names,
    ordering: Ordering,
    waiting: Waiting,
    commands: Mutex<Option<mpsc::Sender<Command>>>,
    height: watch::Receiver<u64>,
    ordered: Arc<AtomicU64>,
    fault: Arc<Mutex<Option<String>>>,
    answer_within: Duration,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Member({})", self.organisation)
    }
}

impl Member {
    /// Opens a peer in its folder and starts to order with the others; it listens at `listen`. Its organisation need not be on the record yet: it follows until it is.
    ///
    /// # Errors
    /// [`MemberError`]
    pub fn start(
        folder: &Path,
        genesis: &Genesis,
        keys: PeerKeys,
        listen: SocketAddr,
        addresses: Addresses,
        options: &MemberOptions,
    ) -> Result<Self, MemberError> {
        let lock = lock(folder)?;
        let organisation = keys.organisation.clone();
        let secret = Zeroizing::new(keys.head_key.to_bytes());
        let mut peer = Peer::open(
            &folder.join(format!("{organisation}.sqlite")),
            genesis,
            keys,
            options.approvals,
        )?;
        if peer.keys_on_record() == Some(false) {
            // They may be the newer ones: this copy of the record may be behind.
            tracing::warn!(%organisation, "the record, as far as it is here, has other keys for this organisation: until it has these, the peer follows and does not vote");
        }
        peer.finalise_own();
        peer.starts((options.clock)())?;
        peer.catch_up_to((options.clock)());
        if let Some(lists) = &options.revocations {
            peer.consult(lists.clone());
        }
        let epoch_length = epoch_length(genesis);
        let delivered = peer.ordered()?;
        let mut orderers = peer.orderers(genesis)?;
        let epoch = delivered.saturating_add(1) / epoch_length;
        if delivered.saturating_add(1) % epoch_length == 0 {
            // It stopped between the last batch of an epoch and noting what follows from it.
            peer.begin_epoch(&mut orderers, epoch)?;
        }
        let replica = peer.replica();
        let ledger = genesis.id();
        let now = addresses();
        let settings = Settings {
            namespace: format!("{NAMESPACE}{}", hex::encode(ledger)).into_bytes(),
            genesis_ms: genesis.time_ms,
            epoch_length,
            members: orderers
                .range(..=epoch)
                .map(|(first, orderers)| (*first, members(orderers, &now)))
                .collect(),
            coming: members(&peer.orderers_now(), &now),
            helpers: helpers(&options.helpers, &now),
            listen,
            folder: folder.join("order"),
            never_voted: options.never_voted.clone(),
            delivered,
            timing: options.timing,
        };
        let names = Names::default();
        for orderers in orderers.values().chain([&peer.orderers_now()]) {
            name(&names, orderers);
        }
        let judge = Arc::new(RecordJudge {
            ledger,
            replica: replica.clone(),
            clock: options.clock.clone(),
        });
        let coming = settings.coming.clone();
        let (ordering, mut deliveries) =
            ordering::start(settings, secret, judge, options.clock.clone())?;

        let (commands, told) = mpsc::channel();
        let (progress, height) = watch::channel(peer.tip().0);
        let waiting = Waiting::default();
        let ordered = Arc::new(AtomicU64::new(delivered));
        let fault = Arc::new(Mutex::new(None));
        let executor = Executor {
            ledger,
            coming,
            orderers,
            addresses,
            names: names.clone(),
            peer,
            waiting: waiting.clone(),
            progress,
            ordered: ordered.clone(),
            fault: fault.clone(),
            clock: options.clock.clone(),
        };
        let execute = spawn(format!("record-{organisation}"), move || {
            executor.run(&told);
            drop(lock);
        })?;
        let forward = commands.clone();
        let take = spawn("record-batches".to_owned(), move || {
            while let Some(delivery) = deliveries.blocking_recv() {
                if forward.send(Command::Execute(delivery)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self {
            organisation,
            replica,
            names,
            ordering,
            waiting,
            commands: Mutex::new(Some(commands)),
            height,
            ordered,
            fault,
            answer_within: options.answer_within,
            threads: Mutex::new(vec![take, execute]),
        })
    }

    /// Whose it is.
    #[must_use]
    pub fn organisation(&self) -> &Identifier {
        &self.organisation
    }

    /// Its copy of the record.
    #[must_use]
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// Has a transaction ordered, and says what became of it.
    ///
    /// # Errors
    /// [`RecordError::Busy`], or [`RecordError::Halted`] if it does not come out in time: whether it will is open, and its id tells.
    pub async fn submit(&self, transaction: SignedTransaction) -> Result<Submitted, RecordError> {
        let (id, copy) = (transaction.id(), copy(&transaction));
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = lock_on(&self.waiting);
            if waiting.len() >= MAX_WAITING {
                waiting.retain(|_, answers| answers.iter().any(|it| !it.is_closed()));
                if waiting.len() >= MAX_WAITING {
                    return Err(RecordError::Busy);
                }
            }
            waiting.entry(copy).or_default().push(answer);
        }
        // Asked after the answer is waited for, so that one that comes out in between is not missed.
        if let Some((position, _)) = self.replica.transaction(&id)? {
            // Whoever else waits for it is answered by the thread that executed it.
            drop(answered);
            forget(&self.waiting, &copy);
            let height = self.replica.height_of(&id)?.unwrap_or_default();
            return Ok(Submitted::Recorded { height, position });
        }
        let bytes = Bytes::copy_from_slice(transaction.as_bytes());
        self.ordering.submit(bytes).map_err(|_| RecordError::Busy)?;
        match tokio::time::timeout(self.answer_within, answered).await {
            Ok(Ok(Ok((position, _)))) => {
                let height = self.replica.height_of(&id)?.unwrap_or_default();
                Ok(Submitted::Recorded { height, position })
            }
            Ok(Ok(Err(rejection))) => Ok(Submitted::Refused {
                code: rejection.code().to_owned(),
                message: rejection.to_string(),
            }),
            Ok(Err(_)) => Err(RecordError::Closing),
            Err(_) => Err(RecordError::Halted {
                reason: format!(
                    "the transaction was not ordered within {:?}: fewer than a quorum of the organisations' peers work, or they cannot reach each other",
                    self.answer_within
                ),
            }),
        }
    }

    /// Decides on the approval of a read.
    ///
    /// # Errors
    /// [`ApprovalRefusal`]
    pub async fn approve(&self, read: TransactionId) -> Result<Vec<u8>, ApprovalRefusal> {
        let unavailable = || ApprovalRefusal::Unavailable(self.organisation.to_string());
        let (answer, answered) = oneshot::channel();
        self.tell(Command::Approve { read, answer })
            .ok_or_else(unavailable)?;
        answered.await.unwrap_or_else(|_| Err(unavailable()))
    }

    /// The head that it signed last.
    pub async fn signed_head(&self) -> Option<String> {
        let (answer, answered) = oneshot::channel();
        self.tell(Command::Head { answer })?;
        answered.await.ok()
    }

    /// Which place a key has in the order.
    pub async fn standing(&self, key: [u8; 32]) -> Option<StandingView> {
        let (answer, answered) = oneshot::channel();
        self.tell(Command::Standing { key, answer })?;
        answered.await.ok()
    }

    /// Says from now on that it takes no part any more, and why.
    pub fn retire(&self, reason: String) {
        lock_on(&self.fault).get_or_insert(reason);
    }

    /// The blocks from `from` on, as soon as there is one, at most until `patience` is over.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn blocks(
        &self,
        from: u64,
        transactions: bool,
        patience: Duration,
    ) -> Result<Vec<BlockView>, StoreError> {
        let mut height = self.height.clone();
        let reached = height.wait_for(|height| *height >= from.max(1));
        let last = match tokio::time::timeout(patience, reached).await {
            Ok(Ok(last)) => *last,
            _ => return Ok(Vec::new()),
        };
        let (replica, from) = (self.replica.clone(), from.max(1));
        let reading = tokio::task::spawn_blocking(move || {
            let (mut views, mut bytes) = (Vec::new(), 0);
            for number in (from..=last).take(MAX_BLOCKS) {
                let Some((block, signed_head)) = replica.signed_block(number)? else {
                    break;
                };
                let length = |it: &SignedTransaction| it.as_bytes().len();
                bytes += block.transactions.iter().map(length).sum::<usize>();
                // One block always fits into an answer, however large.
                if transactions && bytes > MAX_BLOCK_BYTES && !views.is_empty() {
                    break;
                }
                views.push(BlockView::new(&block, signed_head, transactions));
            }
            Ok(views)
        });
        reading.await.unwrap_or_else(|_| Ok(Vec::new()))
    }

    /// Waits until it has more blocks than this; says whether it has.
    pub async fn wait_beyond(&self, height: u64, patience: Duration) -> bool {
        let mut reached = self.height.clone();
        let reached = reached.wait_for(|it| *it > height);
        tokio::time::timeout(patience, reached)
            .await
            .is_ok_and(|it| it.is_ok())
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> MemberStatus {
        let fault = lock_on(&self.fault).clone();
        let ended = || {
            (!self.ordering.is_running()).then(|| {
                "its part in the order has ended; look at its log and start it again".to_owned()
            })
        };
        let part = self.ordering.part();
        MemberStatus {
            epoch: part.epoch,
            votes: part.votes,
            votes_lost: part.votes_lost,
            height: *self.height.borrow(),
            ordered: self.ordered.load(atomic::Ordering::Acquire),
            fault: fault.or_else(ended),
        }
    }

    /// The members of whose faults it has proof.
    #[must_use]
    pub fn accused(&self) -> Vec<AccusedView> {
        let faults = self.ordering.faults().into_iter();
        let names = lock_on(&self.names);
        faults
            .filter_map(|fault| {
                Some(AccusedView {
                    organisation: names.get(&fault.member)?.clone(),
                    fault: fault.what.to_owned(),
                })
            })
            .collect()
    }

    /// Stops it, and closes its store.
    pub fn close(&self) {
        self.ordering.close();
        lock_on(&self.commands).take();
        for thread in std::mem::take(&mut *lock_on(&self.threads)) {
            if thread.join().is_err() {
                tracing::error!("a thread of the peer has panicked");
            }
        }
    }

    fn tell(&self, command: Command) -> Option<()> {
        lock_on(&self.commands).as_ref()?.send(command).ok()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.close();
    }
}

/// Drops those who wait for this no more.
fn forget(waiting: &Waiting, copy: &CopyHash) {
    let mut waiting = lock_on(waiting);
    if let Some(answers) = waiting.get_mut(copy) {
        answers.retain(|it| !it.is_closed());
        if answers.is_empty() {
            waiting.remove(copy);
        }
    }
}

fn epoch_length(genesis: &Genesis) -> NonZeroU64 {
    let batches = genesis.epoch_batches.map(u64::from);
    batches.and_then(NonZeroU64::new).unwrap_or(ONE_EPOCH)
}

/// Those who help a newcomer, with the addresses that are known.
fn helpers(
    helpers: &[(Identifier, [u8; 32])],
    addresses: &BTreeMap<Identifier, SocketAddr>,
) -> Vec<ordering::Member> {
    let helper = |(organisation, key): &(Identifier, [u8; 32])| ordering::Member {
        key: *key,
        address: addresses.get(organisation).copied(),
    };
    helpers.iter().map(helper).collect()
}

/// One process at a time has a folder.
fn lock(folder: &Path) -> Result<File, MemberError> {
    let failed = |reason: String| MemberError::Folder {
        path: folder.to_owned(),
        reason,
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))
        .map_err(|error| failed(error.to_string()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
        |error| {
            failed(format!(
                "another process uses it ({error}); stop that one first"
            ))
        },
    )?;
    Ok(file)
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, MemberError> {
    std::thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(MemberError::Thread)
}
