//! The thread of a peer that executes what comes out of the order, decides on approvals, and looks who orders next.

use super::{judge, standing::Departure, wire::StandingView};
use crate::record::{
    identifier::Identifier,
    peer::{ApprovalRefusal, CandidateOutcome, Orderer, Orderers, Peer, PeerError},
    signed::{LedgerId, SignedTransaction, TransactionId},
};
use bytes::Bytes;
use ordering::{Clock, Delivery};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{self, AtomicU64},
        mpsc,
    },
};
use tokio::sync::{oneshot, watch};

/// Where the organisations' peers listen, as far as it is known. Asked again whenever members change.
pub type Addresses = Arc<dyn Fn() -> BTreeMap<Identifier, SocketAddr> + Send + Sync>;

/// What the thread that executes is told.
pub(super) enum Command {
    Execute(Delivery),
    Approve {
        read: TransactionId,
        answer: oneshot::Sender<Result<Vec<u8>, ApprovalRefusal>>,
    },
    Head {
        answer: oneshot::Sender<String>,
    },
    Standing {
        key: [u8; 32],
        answer: oneshot::Sender<StandingView>,
    },
}

/// SHA-256 of a transaction with its signature. The id does not cover that: a copy with a signature that does not hold has the same id, whoever leads may have it ordered
/// first, and what becomes of it says nothing about the right one.
pub(super) type CopyHash = [u8; 32];

/// Which copy this is.
pub(super) fn copy(transaction: &SignedTransaction) -> CopyHash {
    Sha256::digest(transaction.as_bytes()).into()
}

/// Who waits to hear what became of a transaction.
pub(super) type Waiting = Arc<Mutex<HashMap<CopyHash, Vec<oneshot::Sender<CandidateOutcome>>>>>;

/// Tells whoever waits for one of these copies what became of it.
fn tell(
    waiting: &Waiting,
    copies: &[CopyHash],
    outcomes: impl IntoIterator<Item = CandidateOutcome>,
) {
    let mut waiting = lock_on(waiting);
    for (copy, outcome) in copies.iter().zip(outcomes) {
        for answer in waiting.remove(copy).into_iter().flatten() {
            drop(answer.send(outcome.clone()));
        }
    }
}

/// Whose keys order, or ever did.
pub(super) type Names = Arc<Mutex<BTreeMap<[u8; 32], Identifier>>>;

/// The thread that executes.
pub(super) struct Executor {
    pub(super) ledger: LedgerId,
    pub(super) peer: Peer,
    /// Who orders, by the first epoch.
    pub(super) orderers: Orderers,
    /// Who would order if an epoch began now.
    pub(super) coming: Vec<ordering::Member>,
    pub(super) addresses: Addresses,
    pub(super) names: Names,
    pub(super) waiting: Waiting,
    pub(super) progress: watch::Sender<u64>,
    pub(super) ordered: Arc<AtomicU64>,
    pub(super) fault: Arc<Mutex<Option<String>>>,
    pub(super) clock: Clock,
}

impl Executor {
    pub(super) fn run(mut self, commands: &mpsc::Receiver<Command>) {
        while let Ok(command) = commands.recv() {
            match command {
                Command::Execute(delivery) => {
                    if let Err(error) = self.execute(delivery) {
                        tracing::error!(%error, "the peer cannot execute what was ordered, and stops");
                        lock_on(&self.fault).get_or_insert(error.to_string());
                    }
                }
                Command::Approve { read, answer } => {
                    let decided = self.peer.approve(&[read], (self.clock)()).pop();
                    let unavailable = || {
                        Err(ApprovalRefusal::Unavailable(
                            self.peer.organisation().to_string(),
                        ))
                    };
                    drop(answer.send(decided.unwrap_or_else(unavailable)));
                }
                Command::Head { answer } => drop(answer.send(self.peer.signed_head().to_owned())),
                Command::Standing { key, answer } => drop(answer.send(self.standing(&key))),
            }
        }
    }

    /// Which place a key has in the order, by what is executed here.
    fn standing(&self, key: &[u8; 32]) -> StandingView {
        let now = self.peer.orderers_now();
        if let Some(departure) = Departure::of(key, &self.orderers, &now) {
            return match self.peer.sign_departure(&departure) {
                Ok(note) => StandingView::Departed {
                    epoch: departure.epoch,
                    note,
                },
                Err(error) => {
                    tracing::error!(%error, "a peer that left cannot be told so");
                    StandingView::Unknown
                }
            };
        }
        let rolls = self.orderers.values().map(Vec::as_slice);
        let known = rolls.chain([now.as_slice()]).flatten();
        match known.into_iter().any(|orderer| orderer.key == *key) {
            true => StandingView::Member,
            false => StandingView::Unknown,
        }
    }

    /// An error drops the delivery, which ends this member's part in the order: it must not go on without that batch.
    fn execute(&mut self, delivery: Delivery) -> Result<(), PeerError> {
        let decode = |item: &Bytes| judge::transaction(&self.ledger, item);
        let candidates: Vec<_> = delivery.items.iter().filter_map(decode).collect();
        let copies: Vec<_> = candidates.iter().map(copy).collect();
        if !candidates.is_empty() {
            let (batch, time_ms) = (delivery.height, delivery.time_ms);
            let outcomes = self.peer.execute_batch(batch, time_ms, candidates)?;
            self.progress.send_replace(self.peer.tip().0);
            tell(&self.waiting, &copies, outcomes);
        }
        self.peer.has_come_to(delivery.time_ms);
        self.ordered
            .store(delivery.height, atomic::Ordering::Release);
        self.follow_members(delivery.begins())?;
        delivery.done(&self.coming);
        Ok(())
    }

    /// Looks who is to order next: after every change of the organisations, and when an epoch begins, for then it counts.
    fn follow_members(&mut self, begins: Option<u64>) -> Result<(), PeerError> {
        let now = self.peer.orderers_now();
        let known = self.coming.iter().map(|member| &member.key);
        if begins.is_none() && now.iter().map(|orderer| &orderer.key).eq(known) {
            return Ok(());
        }
        if let Some(epoch) = begins {
            self.peer.begin_epoch(&mut self.orderers, epoch)?;
        }
        name(&self.names, &now);
        self.coming = members(&now, &(self.addresses)());
        Ok(())
    }
}

/// Those who order, with the addresses that are known. One without is waited for until it calls.
pub(super) fn members(
    orderers: &[Orderer],
    addresses: &BTreeMap<Identifier, SocketAddr>,
) -> Vec<ordering::Member> {
    let member = |orderer: &Orderer| ordering::Member {
        key: orderer.key,
        address: addresses.get(&orderer.organisation).copied(),
    };
    orderers.iter().map(member).collect()
}

/// Notes whose keys these are.
pub(super) fn name(names: &Names, orderers: &[Orderer]) {
    let mut names = lock_on(names);
    for orderer in orderers {
        names.insert(orderer.key, orderer.organisation.clone());
    }
}

pub(super) fn lock_on<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::record::{Author, Erase, Rejection, Transaction, UnsignedTransaction, UserName};

    fn right() -> SignedTransaction {
        let name = || "some".parse::<Identifier>().unwrap();
        let unsigned = UnsignedTransaction {
            ledger: [1; 32],
            author: Author::User(UserName {
                tenant: name(),
                user: name(),
            }),
            nonce: [2; 16],
            expires_ms: 3,
            transaction: Transaction::Erase(Erase {
                tenant: name(),
                dataset: name(),
                document: name(),
                version: None,
            }),
        };
        unsigned.sign(&SigningKey::from_bytes(&[4; 32]))
    }

    /// Whoever leads takes a transaction of the pool, breaks its signature, and has the copy ordered first.
    #[test]
    fn what_became_of_a_bad_copy_is_not_told_to_who_waits_for_the_right_one() {
        let right = right();
        let forged = SignedTransaction::from_parts(right.content().clone(), [5; 64]);
        assert_eq!(right.id(), forged.id());
        let waiting = Waiting::default();
        let (answer, mut answered) = oneshot::channel();
        lock_on(&waiting).insert(copy(&right), vec![answer]);

        let refused = Rejection::Signature {
            author: right.author().to_string(),
        };
        tell(&waiting, &[copy(&forged)], [Err(refused)]);
        assert!(answered.try_recv().is_err(), "it waits on");
        tell(&waiting, &[copy(&right)], [Ok((9, Vec::new()))]);
        assert_eq!(answered.try_recv().unwrap().unwrap().0, 9);
    }
}
