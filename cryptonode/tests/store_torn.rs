//! The store after a write that a crash tore, after damage to the last write, and after SIGKILL at any moment: it has what it
//! answered, or says what is wrong.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use cryptonode::store::{Change, Cost, Passphrase, STORE_FILE, Store, StoreError, Table};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use zeroize::Zeroizing;

const CHEAP: Cost = Cost {
    memory_kib: 8,
    passes: 1,
    lanes: 1,
};
/// Set in the process that is killed: the folder of its store.
const VICTIM: &str = "STORE_TORN_VICTIM";
/// The byte of redb's header with the bit that says which of its two slots holds.
const LAST_COMMIT: usize = 9;
const KEYS: [&[u8]; 3] = [b"a", b"b", b"c"];

fn passphrase() -> Passphrase {
    Passphrase::new("correct horse").unwrap()
}

fn put(key: &[u8], value: &[u8]) -> Change {
    Change::put(Table::Policy, key, Zeroizing::new(value.to_vec()))
}

fn contents(store: &Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let entries = store.list(Table::Policy).unwrap();
    entries
        .into_iter()
        .map(|(key, value)| (key, value.to_vec()))
        .collect()
}

/// A store before and after its last commit: the bytes and the contents.
struct LastWrite {
    before: Vec<u8>,
    after: Vec<u8>,
    was: BTreeMap<Vec<u8>, Vec<u8>>,
    is: BTreeMap<Vec<u8>, Vec<u8>>,
    folder: tempfile::TempDir,
}

fn last_write() -> LastWrite {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(STORE_FILE);
    Store::create(folder.path(), &passphrase(), CHEAP, &[put(b"a", &[1; 900])]).unwrap();
    let store = Store::open(folder.path(), &passphrase()).unwrap();
    store
        .commit(&[put(b"b", b"before"), put(b"c", &[2; 300])])
        .unwrap();
    // The file as it is while the node runs: a killed process closes nothing.
    let (before, was) = (fs::read(&path).unwrap(), contents(&store));
    store
        .commit(&[put(b"b", b"after"), Change::erase(Table::Policy, b"c")])
        .unwrap();
    let (after, is) = (fs::read(&path).unwrap(), contents(&store));
    drop(store);
    assert_ne!(was, is);
    LastWrite {
        before,
        after,
        was,
        is,
        folder,
    }
}

enum Found {
    Before,
    After,
    Told,
}

impl LastWrite {
    fn open(&self, bytes: &[u8], what: &str) -> Found {
        let path = self.folder.path().join(STORE_FILE);
        fs::write(&path, bytes).unwrap();
        match Store::open(self.folder.path(), &passphrase()) {
            Ok(store) => {
                let found = contents(&store);
                if found == self.is {
                    Found::After
                } else if found == self.was {
                    Found::Before
                } else {
                    panic!("{what}: neither before nor after: {found:?}");
                }
            }
            Err(
                StoreError::Corrupt { .. }
                | StoreError::OtherVersion { .. }
                | StoreError::WrongPassphrase { .. },
            ) => {
                assert_eq!(
                    fs::read(&path).unwrap(),
                    bytes,
                    "{what}: a refused file is left alone"
                );
                Found::Told
            }
            Err(other) => panic!("{what}: {other}"),
        }
    }

    /// Bytes of the file that the last commit changed.
    fn changed(&self) -> Vec<usize> {
        let old = |at: usize| self.before.get(at).copied().unwrap_or(0);
        (0..self.after.len())
            .filter(|at| self.after[*at] != old(*at))
            .collect()
    }
}

/// About so many of the positions, spread over all of them; another choice at every seed.
fn sample(positions: &[usize], about: usize, seed: u64) -> Vec<usize> {
    let stride = positions.len().div_ceil(about).max(1);
    let start = usize::try_from(seed).unwrap_or(0) % stride;
    positions
        .iter()
        .copied()
        .skip(start)
        .step_by(stride)
        .collect()
}

fn seed() -> u64 {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random::<u64>);
    println!("SEED={seed}");
    seed
}

#[test]
fn a_flipped_bit_of_the_last_write_loses_nothing_unseen() {
    let write = last_write();
    let seed = seed();
    let changed = write.changed();
    // The file's own header decides which commit is the last one: every changed byte of it.
    let header: Vec<usize> = changed.iter().copied().filter(|at| *at < 512).collect();
    let mut told = 0;
    for at in header.into_iter().chain(sample(&changed, 250, seed)) {
        for bit in [0x01, 0x80] {
            let mut bytes = write.after.clone();
            bytes[at] ^= bit;
            match write.open(&bytes, &format!("bit {bit:02x} of byte {at}")) {
                Found::After => {}
                Found::Told => told += 1,
                // One bit says which of the last two commits holds: what the store's documentation says of it.
                Found::Before if at == LAST_COMMIT => {}
                Found::Before => {
                    panic!("byte {at}: an acknowledged commit is lost, and nothing says so")
                }
            }
        }
    }
    assert!(told > 0);
}

#[test]
fn a_file_cut_in_the_last_write_is_told() {
    let write = last_write();
    let positions: Vec<usize> = (0..write.after.len()).collect();
    for at in sample(&positions, 150, seed()) {
        match write.open(&write.after[..at], &format!("cut at byte {at}")) {
            Found::Told => {}
            Found::After => {}
            Found::Before => panic!("cut at byte {at}: an acknowledged commit is lost"),
        }
    }
}

#[test]
fn a_torn_write_is_all_or_nothing_or_told() {
    let write = last_write();
    let sectors = write.after.len().div_ceil(512);
    let mut rng = StdRng::seed_from_u64(seed());
    let mut opened = 0;
    for round in 0..200 {
        // Some sectors of the last write have reached the disk, and others have not.
        let share = rng.random_range(0.0..1.0);
        let mut bytes = write.before.clone();
        bytes.resize(write.after.len(), 0);
        for sector in 0..sectors {
            let from = sector * 512;
            let to = (from + 512).min(write.after.len());
            if rng.random_bool(share) {
                bytes[from..to].copy_from_slice(&write.after[from..to]);
            }
        }
        match write.open(&bytes, &format!("torn write {round}")) {
            Found::Before | Found::After => opened += 1,
            Found::Told => {}
        }
    }
    assert!(
        opened > 0,
        "a torn write that never opens would mean that every crash ends a node"
    );
}

/// The process that is killed: it counts, commits each number, and says so.
#[test]
fn victim() {
    let Some(folder) = std::env::var_os(VICTIM) else {
        return;
    };
    let store = Store::open(Path::new(&folder), &passphrase()).unwrap();
    let value = store.get(Table::Policy, b"count").unwrap();
    let mut count = value.map_or(0, |value| u64::from_le_bytes(value[..].try_into().unwrap()));
    loop {
        count += 1;
        let changes: Vec<Change> = KEYS
            .iter()
            .map(|key| put(key, &count.to_le_bytes().repeat(50)))
            .chain([put(b"count", &count.to_le_bytes())])
            .collect();
        store.commit(&changes).unwrap();
        println!("committed {count}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn a_killed_process_has_committed_what_it_said() {
    let folder = tempfile::tempdir().unwrap();
    Store::create(folder.path(), &passphrase(), CHEAP, &[]).unwrap();
    let mut rng = StdRng::seed_from_u64(seed());
    let mut last = 0;
    for _ in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--nocapture"])
            .env(VICTIM, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = rng.random_range(1..20);
        let mut said = 0;
        while said < wanted {
            let line = lines.next().unwrap().unwrap();
            // The test runner begins the first line.
            if let Some((_, number)) = line.split_once("committed ") {
                last = number.parse().unwrap();
                said += 1;
            }
        }
        // Somewhere in the next commit, or between two.
        for _ in 0..rng.random_range(0..50_000) {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some((_, number)) = line.split_once("committed ") {
                last = number.parse().unwrap();
            }
        }
        let store = Store::open(folder.path(), &passphrase()).unwrap();
        let value = store.get(Table::Policy, b"count").unwrap().unwrap();
        let count = u64::from_le_bytes(value[..].try_into().unwrap());
        assert!(
            count == last || count == last + 1,
            "it said {last} and has {count}"
        );
        for key in KEYS {
            let value = store.get(Table::Policy, key).unwrap().unwrap();
            assert_eq!(
                value[..],
                count.to_le_bytes().repeat(50),
                "all of one commit"
            );
        }
        last = count;
    }
}
