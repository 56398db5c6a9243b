//! The thread that orders: makes proposals of what waits, and finds out what a quorum made of them.

use super::{
    Clock, Roster,
    member::{Command, Report},
};
use crate::record::{
    block::{MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS, Receipt},
    engine::RecordError,
    event::Event,
    peer::{Execution, Proposal, Replica},
    root::Hash,
    signed::SignedTransaction,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::sync::oneshot;

/// What the orderer is asked.
pub(super) enum Request {
    /// Put this onto the record.
    Submit {
        transaction: SignedTransaction,
        answer: Answer,
    },
    /// Have every peer give its head, all of the same block.
    Heads {
        answer: oneshot::Sender<Vec<oneshot::Receiver<String>>>,
    },
}

type Answer = oneshot::Sender<Result<Receipt, RecordError>>;
type Batch = Vec<(SignedTransaction, Answer)>;

/// The orderer.
pub(super) struct Orderer {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) members: Vec<mpsc::Sender<Command>>,
    pub(super) replicas: Vec<Arc<Replica>>,
    pub(super) roster: Arc<Roster>,
    pub(super) clock: Clock,
    pub(super) patience: Duration,
    /// Number, hash and time of the last final block.
    pub(super) tip: (u64, Hash, u64),
    pub(super) sequence: u64,
    /// What was taken from the queue and did not fit.
    pub(super) held: Option<Request>,
    /// Why nothing becomes final any more.
    pub(super) halted: Option<String>,
}

/// What the peers reported of one proposal: by block hash, or none if nothing was accepted.
type Tally = BTreeMap<Option<Hash>, Vec<usize>>;

impl Orderer {
    /// Runs until nobody can ask anything any more.
    pub(super) fn run(mut self) {
        while let Some(request) = self.held.take().or_else(|| self.requests.recv().ok()) {
            match request {
                Request::Heads { answer } => drop(answer.send(self.heads())),
                Request::Submit {
                    transaction,
                    answer,
                } => {
                    let batch = self.gather(transaction, answer);
                    match &self.halted {
                        Some(reason) => refuse(batch, reason),
                        None => self.decide(batch),
                    }
                }
            }
        }
    }

    /// Asked between blocks, so all peers are at the same one.
    fn heads(&self) -> Vec<oneshot::Receiver<String>> {
        let working = self
            .members
            .iter()
            .enumerate()
            .filter(|(member, _)| !self.roster.is_faulty(*member));
        working
            .map(|(_, commands)| {
                let (answer, answered) = oneshot::channel();
                drop(commands.send(Command::Head { answer }));
                answered
            })
            .collect()
    }

    /// Takes what waits already, as much as fits into one block.
    fn gather(&mut self, transaction: SignedTransaction, answer: Answer) -> Batch {
        let mut bytes = transaction.as_bytes().len();
        let mut batch = vec![(transaction, answer)];
        while batch.len() < MAX_BLOCK_TRANSACTIONS {
            match self.requests.try_recv() {
                Ok(Request::Submit {
                    transaction,
                    answer,
                }) if bytes + transaction.as_bytes().len() <= MAX_BLOCK_BYTES => {
                    bytes += transaction.as_bytes().len();
                    batch.push((transaction, answer));
                }
                Ok(other) => {
                    self.held = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        batch
    }

    fn decide(&mut self, batch: Batch) {
        let (candidates, mut answers): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let time_ms = (self.clock)().max(self.tip.2);
        let proposal = Proposal {
            height: self.tip.0 + 1,
            parent: self.tip.1,
            time_ms,
            candidates,
        };
        let proposal = Arc::new(proposal);
        let needed = self.quorum();
        let mut waiting = self.propose(&proposal);
        let mut tally = Tally::new();
        let mut decided = None;

        while !waiting.is_empty() {
            let report = match self.reports.recv_timeout(self.patience) {
                Ok(report)
                    if report.sequence == self.sequence && waiting.remove(&report.member) =>
                {
                    report
                }
                Ok(_) => continue,
                Err(_) => {
                    let late = format!(
                        "it took more than {:?} for block {}",
                        self.patience, proposal.height
                    );
                    waiting
                        .iter()
                        .for_each(|member| self.roster.accuse(*member, late.clone()));
                    break;
                }
            };
            match report.result {
                Err(error) => self.roster.accuse(report.member, error.to_string()),
                Ok(execution) => {
                    let hash = execution.block.map(|header| header.hash());
                    let same = tally.entry(hash).or_default();
                    same.push(report.member);
                    if same.len() == needed && decided.is_none() {
                        decided = Some(hash);
                        // Before the authors hear of it: whoever looks with a receipt in hand must find it there.
                        for member in same.iter().filter(|_| hash.is_some()) {
                            self.roster.reached(*member, proposal.height);
                        }
                        self.conclude(&proposal, execution, std::mem::take(&mut answers));
                    }
                }
            }
        }
        self.judge(&proposal, &tally, decided);
        if decided.is_none() {
            let reason = format!("no {needed} peers agree on block {}", proposal.height);
            tracing::error!(reason, "the record has stopped");
            for answer in answers {
                drop(answer.send(Err(RecordError::Halted {
                    reason: reason.clone(),
                })));
            }
            self.halted = Some(reason);
        }
    }

    /// Sends a proposal to every peer that takes part, and returns who they are.
    fn propose(&mut self, proposal: &Arc<Proposal>) -> BTreeSet<usize> {
        self.sequence += 1;
        let mut waiting = BTreeSet::new();
        for (member, commands) in self.members.iter().enumerate() {
            if self.roster.is_faulty(member) {
                continue;
            }
            let execute = Command::Execute {
                sequence: self.sequence,
                proposal: proposal.clone(),
            };
            match commands.send(execute) {
                Ok(()) => drop(waiting.insert(member)),
                Err(_) => self
                    .roster
                    .accuse(member, "its thread has ended".to_owned()),
            }
        }
        waiting
    }

    /// A quorum has made the same of it, durably: it is final. The peers learn it before the authors, so that whoever asks
    /// for an approval with a receipt in hand is not too early.
    fn conclude(&mut self, proposal: &Proposal, execution: Execution, answers: Vec<Answer>) {
        if let Some(header) = execution.block {
            let (height, hash) = (header.height, header.hash());
            self.tip = (height, hash, header.time_ms);
            for commands in &self.members {
                drop(commands.send(Command::Finalise { height, hash }));
            }
        }
        for event in execution
            .outcomes
            .iter()
            .flatten()
            .flat_map(|(_, events)| events)
        {
            self.retire(event);
        }
        let results = execution.outcomes.into_iter().zip(&proposal.candidates);
        for (answer, (outcome, candidate)) in answers.into_iter().zip(results) {
            let receipt = outcome.map(|(position, events)| Receipt {
                height: proposal.height,
                time_ms: proposal.time_ms,
                position,
                transaction_id: candidate.id(),
                events,
            });
            drop(answer.send(receipt.map_err(RecordError::Rejected)));
        }
    }

    /// A peer whose organisation has left, or has other keys now, has no say from the next block on.
    fn retire(&self, event: &Event) {
        match event {
            Event::OrganisationRemoved { organisation } => {
                self.roster
                    .retire(organisation, "its organisation has left the record");
            }
            Event::OrganisationRekeyed { organisation } => {
                let reason = "its organisation has new keys; start the record again with them";
                self.roster.retire(organisation, reason);
            }
            _ => {}
        }
    }

    /// Notes who is where, and who came to another result than the quorum.
    fn judge(&self, proposal: &Proposal, tally: &Tally, decided: Option<Option<Hash>>) {
        let Some(decided) = decided else { return };
        for (hash, members) in tally {
            for member in members {
                if *hash != decided {
                    let fault = format!(
                        "it came to another result than the others at block {}",
                        proposal.height
                    );
                    self.roster.accuse(*member, fault);
                } else if hash.is_some() {
                    self.roster.reached(*member, proposal.height);
                }
            }
        }
    }

    /// How many peers must agree: by the organisations on the record, whether their peers are here or not.
    fn quorum(&self) -> usize {
        let working = self
            .replicas
            .iter()
            .enumerate()
            .find(|(member, _)| !self.roster.is_faulty(*member));
        working.map_or(usize::MAX, |(_, replica)| {
            replica.with_state(|state| state.quorum())
        })
    }
}

fn refuse(batch: Batch, reason: &str) {
    for (_, answer) in batch {
        drop(answer.send(Err(RecordError::Halted {
            reason: reason.to_owned(),
        })));
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
#[path = "order_tests.rs"]
mod tests;
