//! The start: every peer rebuilds its state from its own store, those behind catch up, and the threads begin.

use super::{
    Clock, Roster, Running, Solo, SoloOptions,
    member::{self, Command},
    order::Orderer,
};
use crate::record::{
    engine::PeerStatus,
    genesis::{Genesis, quorum},
    identifier::Identifier,
    peer::{Peer, PeerError, PeerKeys, PeerOpenError, Replica, StoreError},
    root::Hash,
};
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
};

/// Requests that may wait for the orderer.
const WAITING: usize = 8192;

/// Why a record cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SoloOpenError {
    /// The folder cannot be made or locked.
    #[error("the record's folder {path} cannot be used: {reason}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// Another process has it.
    #[error("the record in {0} is in use by another process; stop that one first")]
    InUse(PathBuf),
    /// One organisation has two peers here.
    #[error("{0} has two peers in this record; give its keys once")]
    Twice(Identifier),
    /// A peer cannot be opened.
    #[error("the peer of {organisation} cannot be opened: {source}")]
    Peer {
        /// Whose.
        organisation: Identifier,
        /// Why.
        source: PeerOpenError,
    },
    /// Fewer peers than decide.
    #[error(
        "{found} peers agree on one record, {needed} are needed; give the keys of more organisations, or put their stores in order"
    )]
    TooFew {
        /// Peers that agree.
        found: usize,
        /// Peers needed.
        needed: usize,
    },
    /// The stores tell different stories, and none has a quorum of its own.
    #[error(
        "the peers' stores have different blocks and no side has a quorum; keep them all as evidence, and restore those of the organisations that you trust"
    )]
    Fork,
    /// A store could not be read while comparing.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Other keys than the record has.
    #[error(
        "the keys of {0} are not those on the record; give the peer the keys that the organisations agreed on"
    )]
    Keys(Identifier),
    /// A thread could not be started, or ended badly.
    #[error("the record's threads cannot run: {0}")]
    Thread(String),
}

impl SoloOpenError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "record-folder",
            Self::InUse(_) => "record-in-use",
            Self::Twice(_) => "record-peer-twice",
            Self::Peer {
                source: PeerOpenError::Store(error),
                ..
            }
            | Self::Store(error) => error.code(),
            Self::Peer { .. } => "record-peer",
            Self::TooFew { .. } => "record-too-few-peers",
            Self::Fork => "record-fork",
            Self::Keys(_) => "record-keys",
            Self::Thread(_) => "record-thread",
        }
    }
}

/// The name of a peer's store in the record's folder.
pub(super) fn store_name(organisation: &Identifier) -> String {
    format!("{organisation}.sqlite")
}

/// Opens stores, brings the peers together, and starts the threads.
pub(super) fn open(
    folder: &Path,
    genesis: &Genesis,
    keys: Vec<PeerKeys>,
    options: &SoloOptions,
) -> Result<Solo, SoloOpenError> {
    let lock = Arc::new(lock(folder)?);
    let mut names: Vec<_> = keys.iter().map(|keys| keys.organisation.clone()).collect();
    names.sort_unstable();
    if let Some([twice, _]) = names.windows(2).find(|pair| pair.first() == pair.last()) {
        return Err(SoloOpenError::Twice(twice.clone()));
    }
    let mut peers = open_peers(folder, genesis, keys, options)?;
    let mut forgers = BTreeMap::new();
    loop {
        match agree(&mut peers, &forgers)? {
            Agreement::Reached(faults) => return start(peers, faults, options, &lock),
            Agreement::Without(organisation, fault) => {
                forgers.insert(organisation, fault);
                // Who found it out holds half of the bad block in memory, and only a new start is clear of that.
                let keys = peers.into_iter().map(Peer::into_keys).collect();
                peers = open_peers(folder, genesis, keys, options)?;
            }
        }
    }
}

/// One process at a time: the lock goes with the last thread that holds it, also if the process is killed.
fn lock(folder: &Path) -> Result<File, SoloOpenError> {
    let failed = |error: std::io::Error| SoloOpenError::Folder {
        path: folder.to_owned(),
        reason: error.to_string(),
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))
        .map_err(failed)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SoloOpenError::InUse(folder.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

fn open_peers(
    folder: &Path,
    genesis: &Genesis,
    keys: Vec<PeerKeys>,
    options: &SoloOptions,
) -> Result<Vec<Peer>, SoloOpenError> {
    thread::scope(|scope| {
        let opening: Vec<_> = keys
            .into_iter()
            .map(|keys| {
                let path = folder.join(store_name(&keys.organisation));
                scope.spawn(move || {
                    let organisation = keys.organisation.clone();
                    let opened = Peer::open(&path, genesis, keys, options.approvals);
                    let mut peer = opened.map_err(|source| SoloOpenError::Peer {
                        organisation,
                        source,
                    })?;
                    peer.starts((options.clock)())?;
                    Ok(peer)
                })
            })
            .collect();
        opening
            .into_iter()
            .map(|peer| peer.join().map_err(panicked)?)
            .collect()
    })
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> SoloOpenError {
    SoloOpenError::Thread("a peer's thread has panicked".to_owned())
}

/// How an attempt to bring the peers together ended.
enum Agreement {
    /// They are; for each peer what is wrong with it.
    Reached(Vec<Option<String>>),
    /// This organisation's store has blocks that do not hold: the others are to agree without it.
    Without(Identifier, String),
}

/// Brings all peers that can to the block that a quorum stands for. `forgers` have no say.
fn agree(
    peers: &mut [Peer],
    forgers: &BTreeMap<Identifier, String>,
) -> Result<Agreement, SoloOpenError> {
    let trusted: Vec<bool> = peers
        .iter()
        .map(|peer| !forgers.contains_key(peer.organisation()))
        .collect();
    let trusted = |peer: usize| trusted.get(peer) == Some(&true);
    let tips: Vec<(u64, Hash)> = peers
        .iter()
        .map(|peer| (peer.tip().0, peer.tip().1))
        .collect();
    // Whose chains are beginnings of whose.
    let mut beginnings = Vec::with_capacity(peers.len());
    for leader in peers.iter() {
        let mut of_leader = Vec::with_capacity(peers.len());
        for (height, hash) in &tips {
            of_leader.push(leader.block_hash(*height)?.as_ref() == Some(hash));
        }
        beginnings.push(of_leader);
    }
    let backing = |leader: &usize| {
        beginnings.get(*leader).map_or(0, |of| {
            (0..)
                .zip(of)
                .filter(|(peer, it)| **it && trusted(*peer))
                .count()
        })
    };
    let needed = |leader: &usize| {
        peers.get(*leader).map_or(usize::MAX, |peer| {
            peer.replica().with_state(|state| state.quorum())
        })
    };
    let backed: Vec<usize> = (0..peers.len())
        .filter(|leader| trusted(*leader) && backing(leader) >= needed(leader))
        .collect();
    let Some(leader) = backed
        .iter()
        .copied()
        .max_by_key(|leader| tips.get(*leader).map(|tip| tip.0))
    else {
        let best = (0..peers.len())
            .filter(|leader| trusted(*leader))
            .max_by_key(backing);
        let found = best.as_ref().map_or(0, backing);
        let needed = best.as_ref().map_or(quorum(1), needed);
        return Err(if peers.len() - forgers.len() >= needed {
            SoloOpenError::Fork
        } else {
            SoloOpenError::TooFew { found, needed }
        });
    };
    let of_leader = beginnings.get(leader).cloned().unwrap_or_default();
    // Two sides that both count empty stores as theirs are no agreement.
    if backed
        .iter()
        .any(|other| of_leader.get(*other) != Some(&true))
    {
        return Err(SoloOpenError::Fork);
    }

    let (replica, height, from) = match peers.get(leader) {
        Some(peer) => (peer.replica(), peer.tip().0, peer.organisation().clone()),
        None => return Err(SoloOpenError::Fork),
    };
    let mut faults = Vec::with_capacity(peers.len());
    for (peer, agrees) in peers.iter_mut().zip(of_leader) {
        if let Some(fault) = forgers.get(peer.organisation()) {
            faults.push(Some(fault.clone()));
            continue;
        }
        if !agrees {
            faults.push(Some(
                "its store has other blocks than those of the quorum".to_owned(),
            ));
            continue;
        }
        match catch_up(peer, &replica, height)? {
            None => {}
            Some(error @ PeerError::Refused { .. }) => {
                let fault = format!(
                    "its store has blocks that do not hold; keep it as evidence and give the peer an empty one ({error})"
                );
                return Ok(Agreement::Without(from, fault));
            }
            Some(error) => {
                faults.push(Some(format!(
                    "it could not take over the others' blocks: {error}"
                )));
                continue;
            }
        }
        match peer.keys_on_record() {
            Some(true) => faults.push(None),
            Some(false) => return Err(SoloOpenError::Keys(peer.organisation().clone())),
            None => faults.push(Some(
                "its organisation is not on the record (any more)".to_owned(),
            )),
        }
        let (height, hash, _) = peer.tip();
        peer.finalise(height, &hash);
    }
    let found = faults.iter().filter(|fault| fault.is_none()).count();
    let needed = replica.with_state(|state| state.quorum());
    if found < needed {
        return Err(SoloOpenError::TooFew { found, needed });
    }
    Ok(Agreement::Reached(faults))
}

/// Has a peer execute the blocks that it lacks, up to this one; `Some` says why it cannot.
fn catch_up(
    peer: &mut Peer,
    from: &Replica,
    height: u64,
) -> Result<Option<PeerError>, SoloOpenError> {
    for number in peer.tip().0 + 1..=height {
        let block = from.block(number)?.ok_or(SoloOpenError::Fork)?;
        if let Err(error) = peer.adopt(&block) {
            return Ok(Some(error));
        }
    }
    Ok(None)
}

fn start(
    peers: Vec<Peer>,
    faults: Vec<Option<String>>,
    options: &SoloOptions,
    lock: &Arc<File>,
) -> Result<Solo, SoloOpenError> {
    let statuses: Vec<PeerStatus> = peers
        .iter()
        .zip(faults)
        .map(|(peer, fault)| PeerStatus {
            organisation: peer.organisation().clone(),
            height: peer.tip().0,
            fault,
        })
        .collect();
    let working = statuses.iter().position(|status| status.fault.is_none());
    let tip = working
        .and_then(|at| peers.get(at))
        .map(Peer::tip)
        .ok_or(SoloOpenError::Fork)?;
    for status in statuses.iter().filter(|status| status.fault.is_some()) {
        tracing::error!(organisation = %status.organisation, fault = status.fault, "a peer of the record is left out");
    }
    let roster = Arc::new(Roster::new(statuses));
    let replicas: Vec<_> = peers.iter().map(Peer::replica).collect();

    let (report, reports) = mpsc::channel();
    let mut threads = Vec::with_capacity(peers.len() + 1);
    let mut members = Vec::with_capacity(peers.len());
    for (member, peer) in peers.into_iter().enumerate() {
        let (commands, told) = mpsc::channel();
        members.push(commands);
        threads.push(start_member(
            member,
            peer,
            told,
            report.clone(),
            options.clock.clone(),
            lock.clone(),
        )?);
    }
    let (requests, asked) = mpsc::sync_channel(WAITING);
    let orderer = Orderer {
        requests: asked,
        reports,
        members: members.clone(),
        replicas: replicas.clone(),
        roster: roster.clone(),
        clock: options.clock.clone(),
        patience: options.patience,
        tip,
        sequence: 0,
        held: None,
        halted: None,
    };
    let held = lock.clone();
    threads.push(spawn("record-order".to_owned(), move || {
        orderer.run();
        drop(held);
    })?);
    let running = Mutex::new(Some(Running {
        requests,
        members,
        threads,
    }));
    Ok(Solo {
        roster,
        replicas,
        answer_within: options.answer_within,
        running,
    })
}

fn start_member(
    member: usize,
    peer: Peer,
    told: mpsc::Receiver<Command>,
    report: mpsc::Sender<member::Report>,
    clock: Clock,
    lock: Arc<File>,
) -> Result<JoinHandle<()>, SoloOpenError> {
    spawn(format!("record-{}", peer.organisation()), move || {
        member::run(member, peer, &told, &report, &clock);
        drop(lock);
    })
}

fn spawn(
    name: String,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, SoloOpenError> {
    thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(|error| SoloOpenError::Thread(error.to_string()))
}
