//! The record: the product's own peers on their own files, and an orderer that asks them over the network.
//!
//! A peer's file is SQLite's, on the machine's disk; a crash in the middle of a write leaves of the write-ahead log's last bytes, which
//! were not synced yet, any part; one in the middle of a checkpoint the whole log, and of the pages that were on their way from it into the file any
//! sectors. The orderer is trusted with nothing (`record::engine`): it proposes until a quorum has made the
//! same block durable, tells the authors, and brings those up that lag behind.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coordinator::record::peer::{Execution, Peer, Proposal};
use coordinator::record::{ApprovalTerms, Block, SignedTransaction, TransactionId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::disk::Tear;
use crate::record_ledger::Founders;

pub type Hash = [u8; 32];

/// An organisation's peer, running or not.
pub struct PeerHost {
    pub name: String,
    path: PathBuf,
    pub peer: Option<Peer>,
    pub boots: u64,
    pub skew_ms: i64,
    /// Writes until the power goes, and what is left of the one in which it does.
    pub fuse: Option<(u64, Tear, u64)>,
    /// The last block that it has reported to be durable, with its hash.
    pub reported: (u64, Hash),
    /// Forgets its last block when it crashes: a planted bug.
    pub forgets: bool,
    /// Its files when it first started, for that.
    first: Option<[Option<Vec<u8>>; 2]>,
    /// How often it crashed in the middle of a checkpoint that had changed the file.
    pub torn_checkpoints: u64,
}

/// What is asked of a peer.
#[derive(Clone)]
pub enum PeerAsk {
    Execute(Arc<Proposal>),
    /// These blocks are final; the last one has this hash.
    Sync(Vec<Arc<Block>>, u64, Hash),
    Approve(TransactionId),
}

/// What a peer answers.
pub enum PeerReply {
    /// Its block of the proposal's height, if it has one; the codes of what it refused, if it has looked at it just now; and
    /// where it stands.
    Executed {
        block: Option<Block>,
        refused: Option<BTreeMap<TransactionId, String>>,
        height: u64,
    },
    /// Where it stands.
    At(u64),
    Approved(Result<Vec<u8>, String>),
}

const SECTOR: usize = 512;

fn siblings(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| PathBuf::from(format!("{}{suffix}", path.display())))
}

fn contents(path: &Path) -> [Option<Vec<u8>>; 2] {
    let [file, log, _] = siblings(path);
    [std::fs::read(file).ok(), std::fs::read(log).ok()]
}

impl PeerHost {
    pub fn new(name: &str, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            path: folder.join(format!("{name}.sqlite")),
            peer: None,
            boots: 0,
            skew_ms: 0,
            fuse: None,
            reported: (0, [0; 32]),
            forgets: false,
            first: None,
            torn_checkpoints: 0,
        }
    }

    pub fn clock_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_add_signed(self.skew_ms)
    }

    pub fn boot(&mut self, founders: &Founders) -> Result<(), String> {
        self.boots += 1;
        if self.forgets && self.first.is_none() {
            self.first = Some(contents(&self.path));
        }
        let keys = founders.peer(&self.name);
        let terms = ApprovalTerms::default();
        let peer = Peer::open(&self.path, &founders.genesis, keys, terms);
        self.peer = Some(peer.map_err(|error| error.to_string())?);
        Ok(())
    }

    pub fn at(&self) -> (u64, Hash) {
        self.peer.as_ref().map_or((0, [0; 32]), |peer| {
            let (height, hash, _) = peer.tip();
            (height, hash)
        })
    }

    /// Whether this transaction is in its own block of this height.
    pub fn has(&self, height: u64, id: &TransactionId) -> bool {
        let peer = self.peer.as_ref();
        let block = peer.and_then(|peer| peer.replica().block(height).ok().flatten());
        block.is_some_and(|block| block.transactions.iter().any(|one| one.id() == *id))
    }

    /// The process is gone; what it wrote is there.
    pub fn kill(&mut self) {
        let left = match &self.first {
            Some(first) if self.forgets => first.clone(),
            _ => contents(&self.path),
        };
        self.leave(&left);
    }

    /// Ends the process, and puts these bytes where its files were: closing a database in order would write.
    fn leave(&mut self, left: &[Option<Vec<u8>>; 2]) {
        self.peer = None;
        for path in siblings(&self.path) {
            let _ = std::fs::remove_file(path);
        }
        for (path, bytes) in siblings(&self.path).iter().zip(left) {
            if let Some(bytes) = bytes {
                std::fs::write(path, bytes).unwrap();
            }
        }
    }

    /// Does something that writes, unless the power goes in the middle of it: then it is off, with some of that write.
    fn write<T>(&mut self, work: impl FnOnce(&mut Peer) -> T) -> Option<T> {
        let blown = match &mut self.fuse {
            Some((0, tear, seed)) => Some((*tear, *seed)),
            Some((left, ..)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        let Some((tear, seed)) = blown else {
            return self.peer.as_mut().map(work);
        };
        let note = self.path.with_extension("approving");
        let (before, noted) = (contents(&self.path), std::fs::read(&note).ok());
        work(self.peer.as_mut()?);
        let after = contents(&self.path);
        self.fuse = None;
        if before[0] != after[0] || matches!(tear, Tear::Kept) {
            self.leave(&after);
            return None;
        }
        let [file, log] = after;
        let left = match (tear, seed % 2) {
            (Tear::Lost, _) => before,
            (_, 0) => [file, log.map(|log| torn(before[1].as_deref(), log, seed))],
            _ => {
                let torn = torn_checkpoint(file.as_deref(), log.as_deref(), seed);
                self.torn_checkpoints += u64::from(torn != file);
                [torn, log]
            }
        };
        self.leave(&left);
        // The note of approvals is written when the log is synced, so it has not come to it.
        match noted {
            Some(noted) => std::fs::write(&note, noted).unwrap(),
            None => drop(std::fs::remove_file(&note)),
        }
        None
    }

    /// Answers; `None` if the power went.
    pub fn ask(&mut self, ask: &PeerAsk, now_ms: u64) -> Option<PeerReply> {
        let now_ms = self.clock_ms(now_ms);
        match ask {
            PeerAsk::Execute(proposal) => {
                let executed = self.write(|peer| peer.execute(proposal).ok())?;
                self.reported = self.at();
                let replica = self.peer.as_ref()?.replica();
                Some(PeerReply::Executed {
                    block: replica.block(proposal.height).unwrap(),
                    refused: executed.map(|execution| refused(proposal, execution)),
                    height: self.reported.0,
                })
            }
            PeerAsk::Sync(blocks, height, hash) => {
                for block in blocks {
                    if block.header.height == self.at().0 + 1 {
                        let adopted =
                            self.write(|peer| peer.adopt(block).map_err(|e| e.to_string()))?;
                        if let Err(error) = adopted {
                            panic!("a final block is not taken over: {error}");
                        }
                    }
                }
                let (at, own) = self.at();
                self.reported = (at, own);
                if let Some(peer) = self.peer.as_mut().filter(|_| at >= *height) {
                    peer.finalise(*height, hash);
                }
                Some(PeerReply::At(at))
            }
            PeerAsk::Approve(read) => {
                let approved = self.write(|peer| peer.approve(&[*read], now_ms))?;
                let approved = approved.into_iter().next()?;
                Some(PeerReply::Approved(
                    approved.map_err(|refusal| refusal.code().to_owned()),
                ))
            }
        }
    }
}

fn refused(proposal: &Proposal, execution: Execution) -> BTreeMap<TransactionId, String> {
    let outcomes = proposal.candidates.iter().zip(execution.outcomes);
    outcomes
        .filter_map(|(candidate, outcome)| Some((candidate.id(), outcome.err()?)))
        .map(|(id, rejection)| (id, rejection.code().to_owned()))
        .collect()
}

/// The log before, and any part of what was added to it or changed.
fn torn(before: Option<&[u8]>, after: Vec<u8>, seed: u64) -> Vec<u8> {
    let before = before.unwrap_or_default();
    let rng = &mut StdRng::seed_from_u64(seed);
    let share = rng.random_range(0.0..1.0);
    let mut left = before.to_vec();
    let kept = rng.random_range(before.len().min(after.len())..=after.len());
    left.resize(kept.max(before.len()), 0);
    for (at, sector) in after.chunks(SECTOR).enumerate() {
        let from = at * SECTOR;
        let to = (from + sector.len()).min(left.len());
        if from < to && rng.random_bool(share) {
            left[from..to].copy_from_slice(&sector[..to - from]);
        }
    }
    left
}

/// The file in the middle of a checkpoint of this log: some sectors of the pages that the log has are in it already.
fn torn_checkpoint(file: Option<&[u8]>, log: Option<&[u8]>, seed: u64) -> Option<Vec<u8>> {
    let file = file?;
    let Some(log) = log else {
        return Some(file.to_vec());
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.sqlite");
    let [copy, copied_log, _] = siblings(&path);
    std::fs::write(copy, file).unwrap();
    std::fs::write(copied_log, log).unwrap();
    let database = rusqlite::Connection::open(&path).unwrap();
    let checkpoint = "PRAGMA wal_checkpoint(PASSIVE)";
    database.query_row(checkpoint, [], |_| Ok(())).unwrap();
    let done = std::fs::read(&path).unwrap();
    let rng = &mut StdRng::seed_from_u64(seed);
    let share = rng.random_range(0.0..1.0);
    let mut left = file.to_vec();
    for (at, sector) in done.chunks(SECTOR).enumerate() {
        let (from, to) = (at * SECTOR, at * SECTOR + sector.len());
        if left.get(from..to) != Some(sector) && rng.random_bool(share) {
            left.resize(left.len().max(to), 0);
            left[from..to].copy_from_slice(sector);
        }
    }
    Some(left)
}

/// What puts transactions in order.
pub struct Orderer {
    /// Transactions that wait, each with the calls that are to be answered.
    queue: VecDeque<(SignedTransaction, Vec<u64>)>,
    round: Option<Round>,
    /// The final blocks, from 1 on.
    pub blocks: Vec<Arc<Block>>,
    /// Number, hash and time of the last final block.
    pub tip: (u64, Hash, u64),
    /// Where each peer stands, as far as is known.
    known: BTreeMap<usize, u64>,
    /// What became of transactions that were decided.
    decided: BTreeMap<TransactionId, Result<u64, String>>,
}

struct Round {
    proposal: Arc<Proposal>,
    calls: Vec<Vec<u64>>,
    votes: BTreeMap<usize, Option<Hash>>,
    refused: BTreeMap<TransactionId, String>,
}

/// What a transaction's author is told.
pub type Receipt = Result<u64, String>;

impl Orderer {
    pub fn new(blocks: Vec<Arc<Block>>, genesis: (Hash, u64)) -> Self {
        let tip = blocks.last().map_or((0, genesis.0, genesis.1), |block| {
            (
                block.header.height,
                block.header.hash(),
                block.header.time_ms,
            )
        });
        Self {
            queue: VecDeque::new(),
            round: None,
            blocks,
            tip,
            known: BTreeMap::new(),
            decided: BTreeMap::new(),
        }
    }

    /// Takes a transaction; the answer, if it is decided already.
    pub fn submit(&mut self, call: u64, transaction: SignedTransaction) -> Option<Receipt> {
        let id = transaction.id();
        if let Some(decided) = self.decided.get(&id) {
            return Some(decided.clone());
        }
        if let Some(round) = &mut self.round
            && let Some(at) = round
                .proposal
                .candidates
                .iter()
                .position(|it| it.id() == id)
        {
            round.calls[at].push(call);
            return None;
        }
        match self.queue.iter_mut().find(|(it, _)| it.id() == id) {
            Some((_, calls)) => calls.push(call),
            None => self.queue.push_back((transaction, vec![call])),
        }
        None
    }

    /// What is to be asked now: of each peer that has not answered.
    pub fn wake(&mut self, now_ms: u64, peers: usize) -> Vec<(usize, PeerAsk)> {
        if self.round.is_none() && !self.queue.is_empty() {
            let (candidates, calls) = self.queue.drain(..).take(64).unzip();
            let proposal = Proposal {
                height: self.tip.0 + 1,
                parent: self.tip.1,
                time_ms: now_ms.max(self.tip.2),
                candidates,
            };
            self.round = Some(Round {
                proposal: Arc::new(proposal),
                calls,
                votes: BTreeMap::new(),
                refused: BTreeMap::new(),
            });
        }
        let mut asks = Vec::new();
        for peer in 0..peers {
            let at = self.known.get(&peer).copied();
            if at.is_none_or(|at| at < self.tip.0) {
                let from = usize::try_from(at.unwrap_or(0)).unwrap();
                let blocks = self.blocks.get(from..).unwrap_or_default().to_vec();
                asks.push((peer, PeerAsk::Sync(blocks, self.tip.0, self.tip.1)));
            } else if let Some(round) = &self.round
                && !round.votes.contains_key(&peer)
            {
                asks.push((peer, PeerAsk::Execute(Arc::clone(&round.proposal))));
            }
        }
        asks
    }

    /// A peer has been started anew: where it stands is to be found out.
    pub fn forget(&mut self, peer: usize) {
        self.known.remove(&peer);
        if let Some(round) = &mut self.round {
            round.votes.remove(&peer);
        }
    }

    /// A peer's answer. What authors are told now, by call, and the ids with it.
    pub fn heard(
        &mut self,
        peer: usize,
        reply: PeerReply,
        needed: usize,
    ) -> Vec<(u64, TransactionId, Receipt)> {
        match reply {
            PeerReply::At(at) => {
                self.known.insert(peer, at.min(self.tip.0));
                Vec::new()
            }
            PeerReply::Approved(_) => Vec::new(),
            PeerReply::Executed {
                block,
                refused,
                height,
            } => {
                let Some(round) = &mut self.round else {
                    return Vec::new();
                };
                let proposed = round.proposal.height;
                if block.is_none() && refused.is_none() {
                    // It lags behind.
                    self.known.insert(peer, height.min(proposed - 1));
                    return Vec::new();
                }
                let vote = block.as_ref().map(|block| block.header.hash());
                round.votes.insert(peer, vote);
                round.refused.extend(refused.unwrap_or_default());
                let agreeing = round.votes.values().filter(|other| **other == vote).count();
                if agreeing < needed {
                    return Vec::new();
                }
                self.conclude(block)
            }
        }
    }

    fn conclude(&mut self, block: Option<Block>) -> Vec<(u64, TransactionId, Receipt)> {
        let Some(round) = self.round.take() else {
            return Vec::new();
        };
        let accepted: Vec<TransactionId> = block
            .iter()
            .flat_map(|block| block.transactions.iter().map(SignedTransaction::id))
            .collect();
        let before = self.tip.0;
        if let Some(block) = block {
            let header = &block.header;
            self.tip = (header.height, header.hash(), header.time_ms);
            self.blocks.push(Arc::new(block));
        }
        for peer in round.votes.keys() {
            // They have it, and are to hear that it is final.
            self.known.insert(*peer, before);
        }
        let mut told = Vec::new();
        for (candidate, calls) in round.proposal.candidates.iter().zip(round.calls) {
            let id = candidate.id();
            let receipt = if accepted.contains(&id) {
                Ok(self.tip.0)
            } else {
                Err(round.refused.get(&id).cloned().unwrap_or_default())
            };
            self.decided.insert(id, receipt.clone());
            told.extend(calls.into_iter().map(|call| (call, id, receipt.clone())));
        }
        told
    }
}
