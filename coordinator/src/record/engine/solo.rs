//! The engine for one machine and one owner: one process orders, and every organisation's peer is a thread of its own
//! with a store, a state and keys of its own.
//!
//! 1. One thread orders. It takes whatever waits, up to a block's bounds, and proposes it to all peers at once: under load
//!    the price of durability is shared (group commit), and a lone transaction waits for nobody.
//! 2. Every peer executes the proposal, makes the block durable, and reports its hash.
//! 3. When a quorum has reported the same, the block is final: authors are answered. The rest are waited for, but not longer than
//!    [`SoloOptions::patience`], before the next block is proposed.
//! 4. A peer that fails, is late, or reports something else is faulty: it is named ([`PeerStatus::fault`]), left out, and
//!    gets the record from the others at the next start. Without a quorum the record stops; nothing more becomes final, and
//!    the process ends with a failure, so that its service manager starts it again.
//!
//! At start the peers are brought to one height: the longest chain with which a quorum agrees, whose blocks those behind execute and
//! verify themselves. A crash between two peers' commits therefore loses nothing that was answered. A peer whose blocks do not
//! hold is left out, and the others agree without it; so is one that cannot write what it should take over.
//!
//! The orderer can delay transactions and choose times. It can do nothing else to the record; but all peers being here, whoever
//! owns the machine owns all their keys. Several owners need an engine between machines.

mod member;
mod order;
mod start;

pub use start::SoloOpenError;

use super::{ApprovalOutcome, Engine, PeerStatus, RecordError, RecordHandle, most_signed};
use crate::record::{
    block::Receipt,
    genesis::Genesis,
    identifier::Identifier,
    peer::{ApprovalRefusal, ApprovalTerms, PeerKeys, Replica, StoreError},
    signed::{SignedTransaction, TransactionId},
};
use futures_util::future::{BoxFuture, join_all};
use member::Command;
use order::Request;
use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::JoinHandle,
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// Milliseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Settings.
#[derive(Clone)]
pub struct SoloOptions {
    /// How the peers approve.
    pub approvals: ApprovalTerms,
    /// The clock of blocks and peers.
    pub clock: Clock,
    /// How long a peer may take for one block before it is left out.
    pub patience: Duration,
    /// How long a peer may take for an approval or a head before the answer is given without it.
    pub answer_within: Duration,
}

impl Default for SoloOptions {
    fn default() -> Self {
        Self {
            approvals: ApprovalTerms::default(),
            clock: Arc::new(system_clock),
            patience: Duration::from_secs(10),
            answer_within: Duration::from_secs(2),
        }
    }
}

impl std::fmt::Debug for SoloOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (approvals, patience) = (&self.approvals, &self.patience);
        f.debug_struct("SoloOptions")
            .field("approvals", approvals)
            .field("patience", patience)
            .finish_non_exhaustive()
    }
}

fn system_clock() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The engine.
pub struct Solo {
    roster: Arc<Roster>,
    replicas: Vec<Arc<Replica>>,
    answer_within: Duration,
    running: Mutex<Option<Running>>,
}

/// What there is while it runs. Dropping it lets the threads end, each after what it has in hand.
struct Running {
    requests: mpsc::SyncSender<Request>,
    members: Vec<mpsc::Sender<Command>>,
    threads: Vec<JoinHandle<()>>,
}

impl Solo {
    /// Opens the record in a folder, with these peers, and makes what is missing. One process at a time has a folder.
    ///
    /// # Errors
    /// [`SoloOpenError`], if the folder is in use, a store does not hold together, keys are not those on the record, or too few
    /// peers agree.
    pub async fn open(
        folder: &Path,
        genesis: Genesis,
        peers: Vec<PeerKeys>,
        options: SoloOptions,
    ) -> Result<RecordHandle, SoloOpenError> {
        let folder = folder.to_owned();
        let opening = tokio::task::spawn_blocking(move || {
            let engine = start::open(&folder, &genesis, peers, &options)?;
            Ok(RecordHandle::new(Arc::new(engine), genesis))
        });
        opening
            .await
            .map_err(|error| SoloOpenError::Thread(error.to_string()))?
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a request to the orderer.
    fn request(&self, request: Request) -> Result<(), RecordError> {
        let running = self.running();
        let requests = running
            .as_ref()
            .map(|running| &running.requests)
            .ok_or(RecordError::Closing)?;
        requests.try_send(request).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => RecordError::Busy,
            mpsc::TrySendError::Disconnected(_) => RecordError::Closing,
        })
    }

    fn ask_for_approval(
        &self,
        member: usize,
        read: TransactionId,
    ) -> Option<oneshot::Receiver<member::Approved>> {
        if self.roster.is_faulty(member) {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        self.running()
            .as_ref()?
            .members
            .get(member)?
            .send(Command::Approve { read, answer })
            .ok()?;
        Some(answered)
    }
}

impl Engine for Solo {
    fn submit(
        &self,
        transaction: SignedTransaction,
    ) -> BoxFuture<'static, Result<Receipt, RecordError>> {
        let (answer, answered) = oneshot::channel();
        let sent = self.request(Request::Submit {
            transaction,
            answer,
        });
        Box::pin(async move {
            sent?;
            answered.await.unwrap_or(Err(RecordError::Closing))
        })
    }

    fn approvals(&self, read: TransactionId) -> BoxFuture<'static, Vec<ApprovalOutcome>> {
        let names = self.roster.names();
        let asked: Vec<(Identifier, Option<_>)> = names
            .into_iter()
            .enumerate()
            .map(|(member, organisation)| (organisation, self.ask_for_approval(member, read)))
            .collect();
        let within = self.answer_within;
        Box::pin(join_all(asked.into_iter().map(
            move |(organisation, answered)| async move {
                let answer = match answered {
                    Some(answered) => timeout(within, answered).await.ok().and_then(Result::ok),
                    None => None,
                };
                let unavailable = || Err(ApprovalRefusal::Unavailable(organisation.to_string()));
                let result = answer.unwrap_or_else(unavailable);
                ApprovalOutcome {
                    organisation,
                    result,
                }
            },
        )))
    }

    fn checkpoint(&self) -> BoxFuture<'static, Result<String, RecordError>> {
        let (answer, answered) = oneshot::channel();
        let sent = self.request(Request::Heads { answer });
        let within = self.answer_within;
        let keys = self
            .replica()
            .with_state(|state| state.head_keys().collect::<Vec<_>>());
        Box::pin(async move {
            sent?;
            let heads = answered.await.map_err(|_| RecordError::Closing)?;
            let heads = heads.into_iter().map(|head| timeout(within, head));
            let notes = join_all(heads).await.into_iter().flatten().flatten();
            let notes: Vec<String> = notes.collect();
            most_signed(&notes, &keys).ok_or_else(|| RecordError::Halted {
                reason: "no peer signs a head".to_owned(),
            })
        })
    }

    fn heads_at(&self, height: u64) -> Result<Vec<String>, StoreError> {
        let mut notes = Vec::new();
        for replica in &self.replicas {
            // A store that cannot be read leaves its signature out, as one whose peer is away does.
            match replica.signed_block(height) {
                Ok(block) => notes.extend(block.map(|(_, note)| note)),
                Err(error) => tracing::warn!(%error, height, "a signature is left out"),
            }
        }
        Ok(notes)
    }

    fn replica(&self) -> Arc<Replica> {
        let foremost = self.roster.foremost().and_then(|at| self.replicas.get(at));
        #[allow(
            clippy::expect_used,
            reason = "there is no engine without peers: opening one is refused"
        )]
        let any = foremost
            .or(self.replicas.first())
            .expect("an engine has peers");
        any.clone()
    }

    fn peers(&self) -> Vec<PeerStatus> {
        self.roster.statuses()
    }

    fn halted(&self) -> Option<String> {
        let needed = self.replica().with_state(|state| state.quorum());
        let faults: Vec<String> = self
            .roster
            .statuses()
            .into_iter()
            .filter_map(|it| Some(format!("{}: {}", it.organisation, it.fault?)))
            .collect();
        let working = self.replicas.len().saturating_sub(faults.len());
        (working < needed).then(|| {
            format!(
                "{working} of the {needed} peers that decide are left ({})",
                faults.join("; ")
            )
        })
    }

    fn orders_alone(&self) -> bool {
        true
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let running = self.running().take();
        Box::pin(async move {
            let Some(Running {
                requests,
                members,
                threads,
            }) = running
            else {
                return;
            };
            drop((requests, members));
            let joined = tokio::task::spawn_blocking(move || {
                for thread in threads {
                    if thread.join().is_err() {
                        tracing::error!("a thread of the record has panicked");
                    }
                }
            });
            if joined.await.is_err() {
                tracing::error!("the record's threads could not be joined");
            }
        })
    }
}

/// How the peers are, for everybody who asks.
pub(super) struct Roster(Mutex<Vec<PeerStatus>>);

impl Roster {
    fn new(statuses: Vec<PeerStatus>) -> Self {
        Self(Mutex::new(statuses))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PeerStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn statuses(&self) -> Vec<PeerStatus> {
        self.lock().clone()
    }

    fn names(&self) -> Vec<Identifier> {
        self.lock()
            .iter()
            .map(|status| status.organisation.clone())
            .collect()
    }

    fn is_faulty(&self, member: usize) -> bool {
        self.lock()
            .get(member)
            .is_none_or(|status| status.fault.is_some())
    }

    /// The peer that has executed the most blocks, of those that take part; the first of several.
    fn foremost(&self) -> Option<usize> {
        let statuses = self.lock();
        let working = statuses
            .iter()
            .enumerate()
            .filter(|(_, it)| it.fault.is_none());
        working
            .min_by_key(|(_, it)| std::cmp::Reverse(it.height))
            .map(|(member, _)| member)
    }

    fn reached(&self, member: usize, height: u64) {
        if let Some(status) = self.lock().get_mut(member) {
            status.height = height;
        }
    }

    /// Takes the peer of an organisation out, through no fault of its own.
    fn retire(&self, organisation: &Identifier, reason: &str) {
        for status in self
            .lock()
            .iter_mut()
            .filter(|status| status.organisation == *organisation)
        {
            tracing::warn!(%organisation, reason, "a peer of the record takes part no more");
            status.fault.get_or_insert_with(|| reason.to_owned());
        }
    }

    /// Takes a peer out, for good.
    fn accuse(&self, member: usize, fault: String) {
        if let Some(status) = self.lock().get_mut(member) {
            tracing::error!(organisation = %status.organisation, fault, "a peer of the record is faulty and left out");
            status.fault.get_or_insert(fault);
        }
    }
}
