//! The thread of one peer: does what it is told, in the order in which it is told.

use crate::record::{
    peer::{ApprovalRefusal, Execution, Peer, PeerError, Proposal},
    root::Hash,
    signed::TransactionId,
};
use std::sync::{Arc, mpsc};
use tokio::sync::oneshot;

/// An approval, DER, or why there is none.
pub(super) type Approved = Result<Vec<u8>, ApprovalRefusal>;

/// What a peer is told.
pub(super) enum Command {
    /// Execute this, and report under this number.
    Execute {
        sequence: u64,
        proposal: Arc<Proposal>,
    },
    /// This block is final.
    Finalise { height: u64, hash: Hash },
    /// Decide on an approval.
    Approve {
        read: TransactionId,
        answer: oneshot::Sender<Approved>,
    },
    /// Give the head that was signed last.
    Head { answer: oneshot::Sender<String> },
}

/// What a peer reports of a proposal.
pub(super) struct Report {
    pub(super) member: usize,
    pub(super) sequence: u64,
    pub(super) result: Result<Execution, PeerError>,
}

/// Runs until nobody can tell it anything any more.
pub(super) fn run(
    member: usize,
    mut peer: Peer,
    commands: &mpsc::Receiver<Command>,
    reports: &mpsc::Sender<Report>,
    clock: &super::Clock,
) {
    let mut held = None;
    while let Some(command) = held.take().or_else(|| commands.recv().ok()) {
        match command {
            Command::Execute { sequence, proposal } => {
                let result = peer.execute(&proposal);
                // Nobody listens any more when the orderer has ended: the block is durable all the same.
                drop(reports.send(Report {
                    member,
                    sequence,
                    result,
                }));
            }
            Command::Finalise { height, hash } => peer.finalise(height, &hash),
            Command::Approve { read, answer } => {
                let (mut reads, mut answers) = (vec![read], vec![answer]);
                held = more_approvals(commands, &mut reads, &mut answers);
                for (answer, decision) in answers.into_iter().zip(peer.approve(&reads, clock())) {
                    drop(answer.send(decision));
                }
            }
            Command::Head { answer } => drop(answer.send(peer.signed_head().to_owned())),
        }
    }
}

/// Takes the approvals that wait already, to make them durable together; returns the first other command.
fn more_approvals(
    commands: &mpsc::Receiver<Command>,
    reads: &mut Vec<TransactionId>,
    answers: &mut Vec<oneshot::Sender<Approved>>,
) -> Option<Command> {
    const TOGETHER: usize = 256;
    while reads.len() < TOGETHER {
        match commands.try_recv() {
            Ok(Command::Approve { read, answer }) => {
                reads.push(read);
                answers.push(answer);
            }
            Ok(other) => return Some(other),
            Err(_) => return None,
        }
    }
    None
}
