//! The platform's side: it submits at the peers, and follows what a quorum of them signs.
//!
//! - Each peer is asked for its blocks, all the time and each by a task of its own. What they show is gathered by height.
//! - When a quorum has signed the same header for the next height, and any of them gave the transactions, the mirror executes the block itself. Then those who
//!   wait for a transaction in it are answered.
//! - What a quorum had made final when it started, it has before anything is answered from it: a copy that was lost is made anew from the first block on, and
//!   must not deny meanwhile what was acknowledged.
//! - A transaction is submitted at f + 1 peers, one of which is honest; at all of them if that brings nothing. It is refused when f + 1 say so.

mod gather;

pub use super::follow_peer::PeerAddress;
use super::{
    follow_peer::{RemotePeer, Unanswered},
    wire::Submitted,
};
use crate::record::{
    block::Receipt,
    engine::{ApprovalOutcome, Engine, PeerStatus, RecordError, RecordHandle, most_signed},
    genesis::Genesis,
    head::{Head, SignedHead},
    peer::{Mirror, MirrorError, Replica},
    rejection::Rejection,
    signed::{SignedTransaction, TransactionId},
};
use futures_util::{StreamExt as _, future::BoxFuture, future::join_all, stream::FuturesUnordered};
use gather::{catch_up, gather, watch_peer};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

const MAX_WAITING: usize = 16_384;
/// After this, those who wait for a transaction have it submitted at the other peers too.
const OTHERS_AFTER: Duration = Duration::from_secs(3);
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How long a start waits for the copy to be where the peers are. It begins to serve all the same, to say how it is.
const START_WITHIN: Duration = Duration::from_secs(10);

/// Settings.
#[derive(Debug, Clone, Copy)]
pub struct FollowOptions {
    /// How long a transaction may take to become final.
    pub submit_within: Duration,
    /// How long a peer may take for an approval or a head before the answer is given without it.
    pub answer_within: Duration,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            submit_within: Duration::from_secs(30),
            answer_within: Duration::from_secs(2),
        }
    }
}

/// Why the record cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The copy.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The folder.
    #[error("the record's folder cannot be used: {0}")]
    Folder(#[from] std::io::Error),
    /// Fewer peers than a quorum.
    #[error(
        "{found} peers are given, a quorum of the organisations is {needed}; give the addresses of more"
    )]
    TooFew {
        /// Peers given.
        found: usize,
        /// Peers needed.
        needed: usize,
    },
    /// The HTTP client.
    #[error("the system gives no HTTP client: {0}")]
    Client(String),
}

impl FollowError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Mirror(MirrorError::Store(error)) => error.code(),
            Self::Mirror(_) => "record-mirror",
            Self::Folder(_) => "record-folder",
            Self::TooFew { .. } => "record-too-few-peers",
            Self::Client(_) => "record-client",
        }
    }
}

type Waiting = Mutex<HashMap<TransactionId, Vec<oneshot::Sender<Receipt>>>>;

/// The engine: a copy of the record that follows the organisations' peers.
pub struct Followed {
    shared: Arc<Shared>,
    options: FollowOptions,
    tasks: Mutex<Option<JoinSet<()>>>,
}

struct Shared {
    replica: Arc<Replica>,
    peers: Vec<RemotePeer>,
    waiting: Waiting,
    statuses: Mutex<Vec<PeerStatus>>,
    /// The head of the record before its first block.
    first_head: Head,
    /// The head of the last block, signed by a quorum.
    signed_head: Mutex<Option<String>>,
    height: watch::Sender<u64>,
    /// Peers that signed something else than the quorum: for good.
    proven: Mutex<BTreeMap<usize, String>>,
    /// Why the mirror follows no more.
    halted: Mutex<Option<String>>,
    /// Whether it has come to where the peers were when it started.
    caught_up: watch::Sender<bool>,
}

fn lock_on<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Followed {
    /// Opens the copy in a folder and follows these peers.
    ///
    /// # Errors
    /// [`FollowError`]
    pub async fn open(
        folder: &Path,
        genesis: Genesis,
        peers: Vec<PeerAddress>,
        options: FollowOptions,
    ) -> Result<RecordHandle, FollowError> {
        std::fs::create_dir_all(folder)?;
        let (path, beginning) = (folder.join("mirror.sqlite"), genesis.clone());
        let opened = tokio::task::spawn_blocking(move || Mirror::open(&path, &beginning)).await;
        let mirror = opened.map_err(|error| FollowError::Client(error.to_string()))??;
        let (found, needed) = (
            peers.len(),
            mirror.replica().with_state(|state| state.quorum()),
        );
        if found < needed {
            return Err(FollowError::TooFew { found, needed });
        }
        let remote = peers.into_iter().map(|address| {
            let (replica, name) = (mirror.replica(), address.organisation.clone());
            let recorded =
                move || replica.with_state(|state| state.organisation(&name).map(|it| it.head_key));
            RemotePeer::new(address, recorded)
        });
        let peers: Vec<_> = remote
            .collect::<Result<_, _>>()
            .map_err(FollowError::Client)?;
        let status = |peer: &RemotePeer| PeerStatus {
            organisation: peer.name().clone(),
            height: 0,
            fault: Some("it has not answered yet".to_owned()),
        };
        let shared = Arc::new(Shared {
            replica: mirror.replica(),
            statuses: Mutex::new(peers.iter().map(status).collect()),
            peers,
            waiting: Mutex::default(),
            first_head: mirror.first_head(),
            signed_head: Mutex::new(mirror.signed_head().map(str::to_owned)),
            height: watch::channel(mirror.tip().0).0,
            proven: Mutex::default(),
            halted: Mutex::new(None),
            caught_up: watch::channel(false).0,
        });
        let (seen, gathered) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        for peer in 0..shared.peers.len() {
            tasks.spawn(watch_peer(shared.clone(), peer, seen.clone()));
        }
        tasks.spawn(gather(shared.clone(), mirror, gathered));
        tasks.spawn(catch_up(shared.clone(), options.answer_within));
        let mut caught_up = shared.caught_up.subscribe();
        let caught_up = caught_up.wait_for(|it| *it);
        if tokio::time::timeout(START_WITHIN, caught_up).await.is_err() {
            tracing::warn!(
                "the copy of the record is not yet where the peers are: nothing is answered from it until then"
            );
        }
        let engine = Self {
            shared,
            options,
            tasks: Mutex::new(Some(tasks)),
        };
        Ok(RecordHandle::new(Arc::new(engine), genesis))
    }
}

impl Shared {
    /// Peers of which one at least is honest, if no more than f are not.
    fn one_honest(&self) -> usize {
        let (n, quorum) = self
            .replica
            .with_state(|state| (state.organisations().count(), state.quorum()));
        (n - quorum + 1).min(self.peers.len())
    }

    fn note(&self, peer: usize, change: impl FnOnce(&mut PeerStatus)) {
        if let Some(status) = lock_on(&self.statuses).get_mut(peer) {
            change(status);
        }
    }

    /// A peer signed something else than the quorum did.
    fn prove(&self, peer: usize, height: u64) {
        let fault = format!("it signed another head than the others after block {height}");
        let organisation = self.peers.get(peer).map(|it| it.name().as_str());
        tracing::error!(organisation, fault);
        lock_on(&self.proven).insert(peer, fault.clone());
        self.note(peer, |status| status.fault = Some(fault));
    }

    fn halt(&self, reason: String) {
        tracing::error!(reason, "the record cannot be followed any further");
        lock_on(&self.halted).get_or_insert(reason);
        lock_on(&self.waiting).clear();
    }
}

/// Submits at the peers until the block with it is here, or enough of them refuse it.
async fn submit(
    shared: Arc<Shared>,
    transaction: SignedTransaction,
    within: Duration,
) -> Result<Receipt, RecordError> {
    let id = transaction.id();
    let halted = |reason: String| RecordError::Halted { reason };
    if let Some(reason) = lock_on(&shared.halted).clone() {
        return Err(halted(reason));
    }
    let (answer, mut answered) = oneshot::channel();
    {
        let mut waiting = lock_on(&shared.waiting);
        waiting.retain(|_, answers| answers.iter().any(|it| !it.is_closed()));
        if waiting.len() >= MAX_WAITING {
            return Err(RecordError::Busy);
        }
        waiting.entry(id).or_default().push(answer);
    }
    if shared.replica.transaction(&id)?.is_some() {
        return Err(Rejection::Replayed { id }.into());
    }
    let one_honest = shared.one_honest();
    let mut asked = 0;
    let mut refusals: Vec<(String, String)> = Vec::new();
    let mut answers = FuturesUnordered::new();
    let others = tokio::time::sleep(OTHERS_AFTER);
    let deadline = tokio::time::sleep(within);
    tokio::pin!(others, deadline);
    let mut wanted = one_honest;
    loop {
        while asked < wanted.min(shared.peers.len()) {
            let (shared, transaction, peer) = (shared.clone(), transaction.clone(), asked);
            answers.push(async move {
                match shared.peers.get(peer) {
                    Some(remote) => remote.submit(&transaction, within).await,
                    None => Err(Unanswered::Nothing("there is no such peer".to_owned())),
                }
            });
            asked += 1;
        }
        tokio::select! {
            receipt = &mut answered => {
                return receipt.map_err(|_| match lock_on(&shared.halted).clone() {
                    Some(reason) => halted(reason),
                    None => RecordError::Closing,
                });
            }
            Some(answer) = answers.next() => match answer {
                Ok(Submitted::Recorded { .. }) => {}
                Ok(Submitted::Refused { code, message }) => {
                    refusals.push((code, message));
                    if let Some((code, message)) = enough(&refusals, one_honest) {
                        return Err(RecordError::Refused { code, message });
                    }
                }
                Err(_) => wanted += 1,
            },
            () = &mut others, if wanted < shared.peers.len() => wanted = shared.peers.len(),
            () = &mut deadline => {
                return Err(halted(format!("fewer than a quorum of the organisations' peers made it final within {within:?}")));
            }
        }
    }
}

/// The head of an empty record, if a quorum signs that it is empty.
async fn signed_first_head(shared: &Shared, within: Duration) -> Option<String> {
    let heads = join_all(shared.peers.iter().map(|peer| peer.head(within))).await;
    let notes: Vec<String> = heads.into_iter().flatten().collect();
    let (keys, quorum) = shared
        .replica
        .with_state(|state| (state.head_keys().collect::<Vec<_>>(), state.quorum()));
    let note = most_signed(&notes, &keys)?;
    let signed = SignedHead::parse(&note).ok()?.verify(&keys, quorum).ok()?;
    (signed == shared.first_head).then_some(note)
}

/// The refusal that so many gave.
fn enough(refusals: &[(String, String)], needed: usize) -> Option<(String, String)> {
    let given = |code: &str| refusals.iter().filter(|(it, _)| it == code).count();
    refusals
        .iter()
        .find(|(code, _)| given(code) >= needed)
        .cloned()
}

impl Engine for Followed {
    fn submit(
        &self,
        transaction: SignedTransaction,
    ) -> BoxFuture<'static, Result<Receipt, RecordError>> {
        let within = self.options.submit_within;
        Box::pin(submit(self.shared.clone(), transaction, within))
    }

    fn approvals(&self, read: TransactionId) -> BoxFuture<'static, Vec<ApprovalOutcome>> {
        let (shared, within) = (self.shared.clone(), self.options.answer_within);
        Box::pin(async move {
            let asked = shared.peers.iter().map(|peer| async move {
                ApprovalOutcome {
                    organisation: peer.name().clone(),
                    result: peer.approve(&read, within).await,
                }
            });
            join_all(asked).await
        })
    }

    fn checkpoint(&self) -> BoxFuture<'static, Result<String, RecordError>> {
        let (shared, options) = (self.shared.clone(), self.options);
        Box::pin(async move {
            let mut height = shared.height.subscribe();
            let deadline = tokio::time::sleep(options.submit_within);
            tokio::pin!(deadline);
            loop {
                if let Some(note) = lock_on(&shared.signed_head).clone() {
                    return Ok(note);
                }
                if let Some(reason) = lock_on(&shared.halted).clone() {
                    return Err(RecordError::Halted { reason });
                }
                // This copy has nothing yet. Either there is nothing, or the peers' first blocks are on their way here.
                if let Some(note) = signed_first_head(&shared, options.answer_within).await {
                    return Ok(note);
                }
                tokio::select! {
                    _ = height.changed() => {}
                    () = tokio::time::sleep(AGAIN_AFTER) => {}
                    () = &mut deadline => {
                        let within = options.submit_within;
                        return Err(RecordError::Halted {
                            reason: format!("fewer than a quorum of the organisations' peers showed a head within {within:?}"),
                        });
                    }
                }
            }
        })
    }

    fn replica(&self) -> Arc<Replica> {
        self.shared.replica.clone()
    }

    fn peers(&self) -> Vec<PeerStatus> {
        lock_on(&self.shared.statuses).clone()
    }

    fn is_catching_up(&self) -> bool {
        !*self.shared.caught_up.borrow()
    }

    /// The copy cannot be written, or does not come to what a quorum signed: what is in memory is good for nothing more.
    fn halted(&self) -> Option<String> {
        lock_on(&self.shared.halted).clone()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let tasks = lock_on(&self.tasks).take();
        Box::pin(async move {
            if let Some(mut tasks) = tasks {
                tasks.shutdown().await;
            }
        })
    }
}
