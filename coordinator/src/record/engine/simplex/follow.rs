//! The platform's side: it submits at the peers, and follows what a quorum of them signs.
//!
//! - Each peer is asked for its blocks, all the time and each by a task of its own. What they show is gathered by height.
//! - When a quorum has signed the same header for the next height, and any of them gave the transactions, the mirror executes the block itself. Then those who
//!   wait for a transaction in it are answered.
//! - What a quorum had made final when it started, it has before anything is answered from it: a copy that was lost is made anew from the first block on, and
//!   must not deny meanwhile what was acknowledged.
//! - A transaction is submitted at f + 1 peers, one of which is honest; at all of them if that brings nothing. It is refused when f + 1 say so.

pub use super::follow_peer::PeerAddress;
use super::{
    follow_peer::{HOLD, RemotePeer, Unanswered},
    wire::{BlockView, Submitted},
};
use crate::record::{
    block::{Block, Header, Receipt},
    engine::{ApprovalOutcome, Engine, PeerStatus, RecordError, RecordHandle, most_signed},
    genesis::Genesis,
    head::{self, Head, SignedHead},
    peer::{Mirror, MirrorError, Replica},
    rejection::Rejection,
    root::Hash,
    signed::{SignedTransaction, TransactionId},
};
use certs::checkpoint::NoteKey;
use futures_util::{StreamExt as _, future::BoxFuture, future::join_all, stream::FuturesUnordered};
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

/// Blocks beyond the mirror's last one that are gathered.
const AHEAD: u64 = 256;
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

/// What one peer showed.
struct Seen {
    peer: usize,
    view: BlockView,
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

/// Waits until the copy has what was final when it started. Of a quorum of peers f + 1 have whatever was, so the height that f + 1 of those that answer have
/// reached is enough, and one that lies delays nothing.
async fn catch_up(shared: Arc<Shared>, within: Duration) {
    let mut height = shared.height.subscribe();
    loop {
        let (n, quorum) = shared
            .replica
            .with_state(|state| (state.organisations().count(), state.quorum()));
        let asked = join_all(shared.peers.iter().map(|peer| peer.height(within)));
        let mut heights: Vec<u64> = asked.await.into_iter().flatten().collect();
        heights.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(goal) = heights.get(n - quorum).filter(|_| heights.len() >= quorum) {
            let reached = height.wait_for(|height| height >= goal);
            if reached.await.is_ok() {
                shared.caught_up.send_replace(true);
            }
            return;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Asks one peer for its blocks, for ever.
async fn watch_peer(shared: Arc<Shared>, peer: usize, seen: mpsc::Sender<Seen>) {
    let Some(remote) = shared.peers.get(peer) else {
        return;
    };
    let mut height = shared.height.subscribe();
    let mut shown = 0;
    loop {
        let own = *height.borrow_and_update();
        // Gathered is only what is near: a peer that is far ahead, or says so, waits.
        if shown > own + AHEAD {
            if height.changed().await.is_err() {
                return;
            }
            continue;
        }
        let from = own.max(shown) + 1;
        let transactions = peer < shared.one_honest();
        match remote.blocks(from, transactions).await {
            Ok(views) => {
                shared.note(peer, |status| {
                    status.fault = lock_on(&shared.proven).get(&peer).cloned()
                });
                for (number, view) in (from..).zip(views) {
                    if view.header().is_none_or(|header| header.height != number) {
                        let fault = "it shows blocks that are none".to_owned();
                        shared.note(peer, |status| status.fault = Some(fault));
                        tokio::time::sleep(HOLD).await;
                        break;
                    }
                    shown = number;
                    shared.note(peer, |status| status.height = number);
                    if seen.send(Seen { peer, view }).await.is_err() {
                        return;
                    }
                }
            }
            Err(reason) => {
                shared.note(peer, |status| status.fault = Some(reason.to_string()));
                tokio::time::sleep(AGAIN_AFTER).await;
                // It may have been set back: what it shows again does no harm.
                shown = 0;
            }
        }
    }
}

/// What the peers showed of one height.
type Shown = BTreeMap<usize, BlockView>;

/// Takes over block after block.
async fn gather(shared: Arc<Shared>, mut mirror: Mirror, mut seen: mpsc::Receiver<Seen>) {
    let mut gathered: BTreeMap<u64, Shown> = BTreeMap::new();
    while let Some(Seen { peer, view }) = seen.recv().await {
        let Some(header) = view.header() else {
            continue;
        };
        let tip = mirror.tip().0;
        if header.height <= tip {
            compare_late(&shared, &mirror, peer, &view, &header);
        } else if header.height <= tip + 2 * AHEAD {
            gathered
                .entry(header.height)
                .or_default()
                .insert(peer, view);
        }
        loop {
            let next = mirror.tip().0 + 1;
            let Some(shown) = gathered.get(&next) else {
                break;
            };
            let Some((header, note)) = agreed(&shared, &mirror, shown) else {
                break;
            };
            let Some(block) = block_of(&shared, shown, &header).await else {
                break;
            };
            let taken = tokio::task::spawn_blocking(move || {
                let events = mirror.follow(&block, &note);
                (mirror, block, note, events)
            });
            let Ok((back, block, note, events)) = taken.await else {
                return shared.halt("the mirror has panicked".to_owned());
            };
            mirror = back;
            let events = match events {
                Ok(events) => events,
                Err(error) => return shared.halt(error.to_string()),
            };
            gathered = gathered.split_off(&(next + 1));
            *lock_on(&shared.signed_head) = Some(note);
            shared.height.send_replace(next);
            answer(&shared, &block, events);
        }
    }
}

/// A header, and who signed the head that it makes, with what note.
type Side<'a> = (Header, Vec<(usize, &'a str)>);

/// The header that a quorum signed, with their signatures in one note. Who signed another one is named.
fn agreed(shared: &Shared, mirror: &Mirror, shown: &Shown) -> Option<(Header, String)> {
    let (keys, quorum) = shared
        .replica
        .with_state(|state| (state.head_keys().collect::<Vec<_>>(), state.quorum()));
    let mut sides: HashMap<Hash, Side<'_>> = HashMap::new();
    for (peer, view) in shown {
        let Some(header) = view.header() else {
            continue;
        };
        if signed_by(shared, *peer, &view.signed_head, &keys)
            .is_some_and(|head| head == mirror.head_of(&header))
        {
            let side = sides.entry(header.hash()).or_insert((header, Vec::new()));
            side.1.push((*peer, &view.signed_head));
        } else {
            let fault = format!(
                "it shows block {} with a head that it did not sign",
                header.height
            );
            shared.note(*peer, |status| status.fault = Some(fault));
        }
    }
    let (header, signers) = sides
        .values()
        .find(|(_, signers)| signers.len() >= quorum)?;
    let others = sides.values().filter(|(other, _)| other != header);
    for (peer, _) in others.flat_map(|(_, signers)| signers) {
        shared.prove(*peer, header.height);
    }
    let note = head::merge(signers.iter().map(|(_, note)| *note), &keys).ok()?;
    Some((*header, note))
}

/// Holds what comes after the quorum has agreed against what it agreed on.
fn compare_late(shared: &Shared, mirror: &Mirror, peer: usize, view: &BlockView, header: &Header) {
    let own = shared.replica.block(header.height).ok().flatten();
    if own.is_none_or(|own| own.header == *header) {
        return;
    }
    let keys: Vec<NoteKey> = shared
        .replica
        .with_state(|state| state.head_keys().collect());
    if signed_by(shared, peer, &view.signed_head, &keys)
        .is_some_and(|head| head == mirror.head_of(header))
    {
        shared.prove(peer, header.height);
    }
}

/// What a peer's note says, if its own organisation signed it, and so long as nobody else's signature is needed for that.
fn signed_by(shared: &Shared, peer: usize, note: &str, keys: &[NoteKey]) -> Option<head::Head> {
    let name = shared.peers.get(peer)?.name();
    let own: Vec<NoteKey> = keys
        .iter()
        .filter(|key| key.name() == name.as_str())
        .cloned()
        .collect();
    SignedHead::parse(note).ok()?.verify(&own, 1).ok()
}

/// The block under this header: from what was shown, or from whoever showed the header.
async fn block_of(shared: &Shared, shown: &Shown, header: &Header) -> Option<Block> {
    let same = || {
        shown
            .iter()
            .filter(|(_, view)| view.header().as_ref() == Some(header))
    };
    if let Some(block) = same().find_map(|(_, view)| view.block()) {
        return Some(block);
    }
    for (peer, _) in same() {
        let asked = shared.peers.get(*peer)?.blocks(header.height, true).await;
        let first = asked.ok().and_then(|views| views.into_iter().next());
        if let Some(block) = first
            .and_then(|view| view.block())
            .filter(|block| block.header == *header)
        {
            return Some(block);
        }
    }
    None
}

fn answer(shared: &Shared, block: &Block, events: Vec<Vec<crate::record::Event>>) {
    let mut waiting = lock_on(&shared.waiting);
    let done = (block.first_position()..)
        .zip(&block.transactions)
        .zip(events);
    for ((position, transaction), events) in done {
        let receipt = Receipt {
            height: block.header.height,
            time_ms: block.header.time_ms,
            position,
            transaction_id: transaction.id(),
            events,
        };
        for answer in waiting.remove(&transaction.id()).into_iter().flatten() {
            drop(answer.send(receipt.clone()));
        }
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
