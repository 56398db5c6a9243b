//! The measures.

use crate::{
    Arguments,
    history::{GENESIS_MS, History, KEPT},
};
use coordinator::record::{
    ApprovalTerms,
    peer::{Peer, Proposal, copy_store},
};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const STORE: &str = "org.sqlite";
/// A block's share of time: so that ids of transactions are forgotten as they would be.
const BLOCK_MS: u64 = 250;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Record(String),
    #[error("there is nothing to choose from")]
    Empty,
    #[error("the record refused what was made for it: {0}")]
    Refused(String),
    #[error("the program that opens the store has failed")]
    Child,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl Failure {
    pub(crate) fn of(error: impl ToString) -> Self {
        Self::Record(error.to_string())
    }
}

/// At so many transactions.
#[derive(Debug, Clone, Serialize)]
struct Point {
    transactions: u64,
    blocks: u64,
    /// Seconds of executing and making durable, all blocks so far.
    apply_s: f64,
    /// Transactions a second since the point before.
    per_second: f64,
    disk_bytes: u64,
    memory_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    transactions: u64,
    block: u16,
    reads_of_ten: u8,
    seed: u64,
    cores: usize,
    points: Vec<Point>,
    apply_s: f64,
    disk_bytes: u64,
    disk_bytes_per_transaction: f64,
    /// Of the transactions alone.
    transaction_bytes: u64,
    backup_s: f64,
    backup_bytes: u64,
    open: Opened,
}

/// What opening took, in a process of its own.
#[derive(Debug, Serialize, Deserialize)]
struct Opened {
    seconds: f64,
    /// Of the process with the open record.
    memory_bytes: u64,
    transactions: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let temporary = tempfile::tempdir()?;
    let dir = arguments
        .dir
        .clone()
        .unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir)?;
    let store = dir.join(STORE);
    if store.exists() {
        return Err(Failure::of(format!("{} exists already", store.display())));
    }
    let mut history = History::new(arguments.seed, arguments.reads)?;
    let (points, transaction_bytes) = apply(arguments, &mut history, &store)?;
    let copy = dir.join("backup.sqlite");
    let started = Instant::now();
    let organisation = history.keys()?.organisation;
    copy_store(&store, &copy, &history.genesis, &organisation).map_err(Failure::of)?;
    let backup_s = started.elapsed().as_secs_f64();
    let backup_bytes = copy.metadata()?.len();
    std::fs::remove_file(&copy)?;
    // The memory of this process has the history too; the other one has the record alone.
    history.keep(&dir)?;
    let child = Command::new(std::env::current_exe()?)
        .args(["--open", "--dir"])
        .arg(&dir)
        .stderr(Stdio::inherit())
        .output()?;
    if !child.status.success() {
        return Err(Failure::Child);
    }
    let open: Opened = serde_json::from_slice(&child.stdout)?;
    let last = points.last().cloned().ok_or(Failure::Empty)?;
    let report = Report {
        transactions: last.transactions,
        block: arguments.block,
        reads_of_ten: arguments.reads,
        seed: arguments.seed,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        apply_s: last.apply_s,
        disk_bytes: last.disk_bytes,
        disk_bytes_per_transaction: last.disk_bytes as f64 / last.transactions as f64,
        transaction_bytes,
        points,
        backup_s,
        backup_bytes,
        open,
    };
    print(arguments, &report)?;
    if arguments.dir.is_some() && !arguments.keep {
        for file in files(&store) {
            std::fs::remove_file(file)?;
        }
        for name in KEPT {
            std::fs::remove_file(dir.join(name))?;
        }
    }
    Ok(())
}

fn apply(
    arguments: &Arguments,
    history: &mut History,
    store: &Path,
) -> Result<(Vec<Point>, u64), Failure> {
    let open = |keys| Peer::open(store, &history.genesis, keys, ApprovalTerms::default());
    let mut peer = open(history.keys()?).map_err(Failure::of)?;
    let every = arguments
        .every
        .unwrap_or(arguments.transactions / 10)
        .max(1);
    let mut points: Vec<Point> = Vec::new();
    let mut spent = Duration::ZERO;
    let (mut done, mut blocks, mut bytes) = (0_u64, 0_u64, 0_u64);
    let mut founding = history.founding()?.into_iter().peekable();
    while done < arguments.transactions {
        let time_ms = GENESIS_MS + (blocks + 1) * BLOCK_MS;
        let room = (arguments.transactions - done).min(arguments.block.into());
        let mut candidates = Vec::new();
        while (candidates.len() as u64) < room {
            candidates.push(match founding.next() {
                Some(first) => first,
                None if founding.peek().is_none() && blocks > 0 => history.next(time_ms)?,
                // What is made in the first block may be written and read in the next.
                None => break,
            });
        }
        bytes += candidates
            .iter()
            .map(|it| it.as_bytes().len() as u64)
            .sum::<u64>();
        let number = candidates.len() as u64;
        let (height, parent, _) = peer.tip();
        let proposal = Proposal {
            height: height + 1,
            parent,
            time_ms,
            candidates,
        };
        let started = Instant::now();
        let executed = peer.execute(&proposal).map_err(Failure::of)?;
        spent += started.elapsed();
        if let Some(Err(rejection)) = executed.outcomes.iter().find(|it| it.is_err()) {
            return Err(Failure::Refused(rejection.to_string()));
        }
        done += number;
        blocks += 1;
        let before = points.last();
        if done >= before.map_or(0, |it| it.transactions) + every || done == arguments.transactions
        {
            let apply_s = spent.as_secs_f64();
            let (count, seconds) = before.map_or((done, apply_s), |it| {
                (done - it.transactions, apply_s - it.apply_s)
            });
            let point = Point {
                transactions: done,
                blocks,
                apply_s,
                per_second: count as f64 / seconds,
                disk_bytes: size(store),
                memory_bytes: memory(),
            };
            if !arguments.json {
                line(&point);
            }
            points.push(point);
        }
    }
    Ok((points, bytes))
}

pub(crate) fn open(arguments: &Arguments) -> Result<(), Failure> {
    let dir = arguments.dir.clone().ok_or(Failure::Empty)?;
    let (genesis, keys) = History::kept(&dir)?;
    let started = Instant::now();
    let peer = Peer::open(&dir.join(STORE), &genesis, keys, ApprovalTerms::default())
        .map_err(Failure::of)?;
    let opened = Opened {
        seconds: started.elapsed().as_secs_f64(),
        memory_bytes: memory(),
        transactions: peer.replica().header().map_or(0, |header| header.size),
    };
    anstream::println!("{}", serde_json::to_string(&opened)?);
    Ok(())
}

/// The store, and what SQLite keeps beside it.
fn files(store: &Path) -> Vec<PathBuf> {
    ["", "-wal", "-shm"]
        .into_iter()
        .map(|end| PathBuf::from(format!("{}{end}", store.display())))
        .filter(|file| file.exists())
        .collect()
}

fn size(store: &Path) -> u64 {
    let length = |file: &PathBuf| file.metadata().map_or(0, |it| it.len());
    files(store).iter().map(length).sum()
}

/// Resident bytes of this process.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

const MIB: f64 = 1024.0 * 1024.0;

fn line(point: &Point) {
    anstream::println!(
        "{:>9} transactions {:>8.1} s {:>8.0}/s {:>8.0} MiB on disk {:>8.0} MiB in memory",
        point.transactions,
        point.apply_s,
        point.per_second,
        point.disk_bytes as f64 / MIB,
        point.memory_bytes as f64 / MIB,
    );
}

fn print(arguments: &Arguments, report: &Report) -> Result<(), Failure> {
    if arguments.json {
        anstream::println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    anstream::println!(
        "applied in {:.1} s; {:.0} bytes on disk a transaction, {:.0} of them its own",
        report.apply_s,
        report.disk_bytes_per_transaction,
        report.transaction_bytes as f64 / report.transactions as f64,
    );
    anstream::println!(
        "opened in {:.1} s, {:.0} MiB in memory; backed up in {:.1} s, {:.0} MiB",
        report.open.seconds,
        report.open.memory_bytes as f64 / MIB,
        report.backup_s,
        report.backup_bytes as f64 / MIB,
    );
    Ok(())
}
