#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::fs;
use std::time::Instant;

use ed25519_dalek::SigningKey;

use super::*;
use crate::audit::head::{CHECKPOINT_FILE, read_note};
use crate::audit::segment::Tail;
use crate::audit::{AuditApproval, verify_folder};
use crate::disk::DiskFile;

fn signing() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn key() -> CheckpointKey {
    CheckpointKey::of_node("n1", &signing()).unwrap()
}

fn record(n: u64) -> AuditRecord {
    AuditRecord {
        epoch: 0,
        client: [1; 32],
        time_ms: 1_700_000_000_000 + n,
        write_id: [2; 32],
        approvals: vec![AuditApproval {
            approval_id: format!("approval-{n}"),
            organisation: "org".to_owned(),
            issuer_fingerprint: [3; 32],
        }],
        public_key: [4; 32],
        ephemeral_point: [5; 32],
    }
}

fn open(folder: &Path) -> Result<AuditLog, AuditError> {
    AuditLog::open(folder, key(), None)
}

/// Appends `count` records one after the other and closes without a checkpoint file newer than `signed`.
async fn filled(folder: &Path, count: u64) -> Vec<u8> {
    let log = open(folder).unwrap();
    for n in 0..count {
        assert_eq!(log.append(record(n)).await.unwrap().index, n);
    }
    log.close();
    fs::read(segment::path_of(folder, 0)).unwrap()
}

#[tokio::test]
async fn records_come_back_in_order_and_verify() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 5).await;
    let log = open(dir.path()).unwrap();
    assert_eq!(log.size(), 5);
    assert_eq!(log.torn_bytes(), 0);
    let read = log.read(1, 3, usize::MAX).unwrap();
    assert_eq!(read, [1, 2, 3].map(|n| record(n).to_bytes().unwrap()));
    assert!(log.read(5, 10, usize::MAX).unwrap().is_empty());
    assert_eq!(
        log.read(0, 10, 1).unwrap().len(),
        1,
        "one record is given however small the limit"
    );
    let note = log.checkpoint().await.unwrap();
    let head = read_note(&dir.path().join(CHECKPOINT_FILE), &note, &key().public).unwrap();
    assert_eq!((head.size, head.root), (5, log.head().root));
    let verified = verify_folder(
        dir.path(),
        "n1",
        signing().verifying_key().as_bytes(),
        |_, _, _| Ok(()),
    )
    .unwrap();
    assert_eq!((verified.records, verified.signed), (5, Some(5)));
}

#[tokio::test]
async fn appends_that_wait_together_share_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(open(dir.path()).unwrap());
    let all: Vec<_> = (0..500).map(|n| log.append(record(n))).collect();
    let indices: std::collections::BTreeSet<u64> = futures_util::future::join_all(all)
        .await
        .into_iter()
        .map(|committed| committed.unwrap().index)
        .collect();
    assert_eq!(indices.len(), 500);
    assert!(
        log.batches() < 500,
        "{} batches for 500 appends",
        log.batches()
    );
    drop(log);
    assert_eq!(open(dir.path()).unwrap().size(), 500);
}

#[tokio::test]
async fn a_record_is_told_when_it_was_durable_and_not_when_somebody_asked() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    let before = Instant::now();
    let append = log.append(record(0));
    // The writer takes its jobs in order: when the checkpoint is there, so is the record.
    log.checkpoint().await.unwrap();
    let asked = Instant::now();
    let committed = append.await.unwrap();
    assert_eq!(committed.index, 0);
    assert!(before <= committed.durable && committed.durable <= asked);
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_off_and_nothing_else() {
    let source = tempfile::tempdir().unwrap();
    let whole = filled(source.path(), 2).await;
    let frame = (whole.len() - segment::HEADER) / 2;
    for cut in segment::HEADER..whole.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(segment::path_of(dir.path(), 0), &whole[..cut]).unwrap();
        let log = open(dir.path()).unwrap();
        let kept = (cut - segment::HEADER) / frame;
        assert_eq!(log.size(), kept as u64, "cut at {cut}");
        assert_eq!(log.torn_bytes() as usize, (cut - segment::HEADER) % frame);
        // The log goes on where it was cut; every seventh time will do.
        if cut % 7 == 0 {
            assert_eq!(log.append(record(9)).await.unwrap().index, kept as u64);
            drop(log);
            assert_eq!(
                open(dir.path()).unwrap().size(),
                kept as u64 + 1,
                "cut at {cut}"
            );
        }
    }
}

#[tokio::test]
async fn a_header_torn_at_any_byte_is_written_again() {
    for cut in 0..segment::HEADER {
        let dir = tempfile::tempdir().unwrap();
        fs::write(segment::path_of(dir.path(), 0), vec![b'c'; cut]).unwrap();
        let log = open(dir.path()).unwrap();
        assert_eq!(log.append(record(0)).await.unwrap().index, 0);
        drop(log);
        assert_eq!(open(dir.path()).unwrap().size(), 1);
    }
}

#[tokio::test]
async fn an_acknowledged_tail_that_is_missing_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let whole = filled(dir.path(), 3).await;
    let path = segment::path_of(dir.path(), 0);
    for cut in segment::HEADER..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(
            matches!(
                open(dir.path()),
                Err(AuditError::RolledBack { signed: 3, .. })
            ),
            "cut at {cut}"
        );
        assert_eq!(
            fs::read(&path).unwrap(),
            &whole[..cut],
            "a refusal changes nothing"
        );
    }
}

#[tokio::test]
async fn every_flipped_byte_in_front_of_the_last_batch_is_refused() {
    let source = tempfile::tempdir().unwrap();
    let whole = filled(source.path(), 3).await;
    let frame = (whole.len() - segment::HEADER) / 3;
    // No checkpoint beside it: the frames alone must tell a torn write from damage.
    for at in 0..whole.len() - frame {
        let dir = tempfile::tempdir().unwrap();
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        let path = segment::path_of(dir.path(), 0);
        fs::write(&path, &damaged).unwrap();
        assert!(
            matches!(open(dir.path()), Err(AuditError::Corrupt { .. })),
            "byte {at}"
        );
        assert_eq!(
            fs::read(&path).unwrap(),
            damaged,
            "a refusal changes nothing"
        );
    }
}

#[tokio::test]
async fn zeros_that_a_crash_left_behind_the_last_frame_are_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let whole = filled(dir.path(), 3).await;
    let path = segment::path_of(dir.path(), 0);
    let log = open(dir.path()).unwrap();
    log.append(record(3)).await.unwrap();
    // The log is open: this is what a kill at this moment leaves.
    let killed = fs::read(&path).unwrap();
    assert!(killed.len() > whole.len() + 100_000 && killed.ends_with(&[0; 100_000]));
    let identity = signing().verifying_key().to_bytes();
    let verified = verify_folder(dir.path(), "n1", &identity, |_, _, _| Ok(())).unwrap();
    assert_eq!((verified.records, verified.unfinished), (4, 0));
    log.close();
    let closed = fs::read(&path).unwrap();
    assert!(killed.starts_with(&closed) && closed.last() != Some(&0));

    // Killed between two frames, and in the middle of writing one over the zeros.
    for torn in [0, 7, 40] {
        let mut bytes = killed.clone();
        for (place, byte) in bytes[closed.len()..]
            .iter_mut()
            .zip(&whole[segment::HEADER..][..torn])
        {
            *place = *byte;
        }
        fs::write(&path, &bytes).unwrap();
        let log = open(dir.path()).unwrap();
        assert_eq!(log.size(), 4);
        assert!(log.torn_bytes() as usize <= torn && (torn == 0) == (log.torn_bytes() == 0));
        log.close();
        assert_eq!(fs::read(&path).unwrap(), closed);
    }
    // Zeros in front of a frame are damage as before.
    let mut bytes = closed.clone();
    let frame = (whole.len() - segment::HEADER) / 3;
    bytes[segment::HEADER..][..frame].fill(0);
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(
        open(dir.path()),
        Err(AuditError::Corrupt { index: 0, .. })
    ));
}

#[tokio::test]
async fn a_hole_inside_the_last_batch_is_a_torn_write() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bytes, mut batch) = (filled(dir.path(), 2).await, Vec::new());
    fs::remove_file(dir.path().join(CHECKPOINT_FILE)).unwrap();
    for n in 2..5 {
        segment::put_frame(&mut batch, n, 2, &record(n).to_bytes().unwrap());
    }
    batch[40] ^= 1; // the first of three frames that were written together never reached the disk whole
    bytes.extend_from_slice(&batch);
    fs::write(segment::path_of(dir.path(), 0), &bytes).unwrap();
    let log = open(dir.path()).unwrap();
    assert_eq!(log.size(), 2);
    assert_eq!(log.torn_bytes() as usize, batch.len());
}

#[tokio::test]
async fn an_older_copy_is_noticed_by_the_remembered_head() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 2).await;
    let (old_log, old_note) = (
        fs::read(segment::path_of(dir.path(), 0)).unwrap(),
        fs::read(dir.path().join(CHECKPOINT_FILE)).unwrap(),
    );
    let log = open(dir.path()).unwrap();
    log.append(record(2)).await.unwrap();
    let head = log.head();
    drop(log);
    fs::write(segment::path_of(dir.path(), 0), old_log).unwrap();
    fs::write(dir.path().join(CHECKPOINT_FILE), old_note).unwrap();
    let refused = AuditLog::open(dir.path(), key(), Some(&head)).unwrap_err();
    assert!(
        matches!(
            refused,
            AuditError::RolledBack {
                signed: 3,
                found: 2,
                ..
            }
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn a_rewritten_record_and_a_foreign_checkpoint_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 2).await;
    // Another history of the same length, well framed: only the signature tells.
    let other = tempfile::tempdir().unwrap();
    let log = open(other.path()).unwrap();
    log.append(record(8)).await.unwrap();
    log.append(record(9)).await.unwrap();
    drop(log);
    fs::copy(
        segment::path_of(other.path(), 0),
        segment::path_of(dir.path(), 0),
    )
    .unwrap();
    assert!(matches!(
        open(dir.path()),
        Err(AuditError::RolledBack { .. })
    ));
    let stranger = CheckpointKey::of_node("n1", &SigningKey::from_bytes(&[8; 32])).unwrap();
    assert!(matches!(
        AuditLog::open(other.path(), stranger, None),
        Err(AuditError::BadCheckpoint { .. })
    ));
}

struct FullDisk;

impl Tail for FullDisk {
    fn append(&mut self, _: &[u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::StorageFull.into())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn writer_on(folder: &Path, tail: Box<dyn Tail>) -> Writer {
    let mut journal = Journal::open(Arc::new(SystemDisk), folder, key(), None).unwrap();
    journal.tail = tail;
    Writer::new(journal, Arc::default(), Arc::default()).unwrap()
}

#[tokio::test]
async fn a_disk_that_fails_closes_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer_on(dir.path(), Box::new(FullDisk));
    let durable = Arc::clone(&writer.journal().durable);
    for _ in 0..2 {
        let (answer, answered) = oneshot::channel();
        writer.commit(vec![(record(0).to_bytes().unwrap(), answer)]);
        assert_eq!(answered.await.unwrap().unwrap_err().code(), "audit-disk");
        writer.journal().tail = Box::new(segment::create(&SystemDisk, dir.path(), 7).unwrap().1);
    }
    assert!(writer.journal().sign().is_err());
    assert_eq!(lock(&durable).tree.size(), 0);
}

/// A disk on which a checkpoint is not written before it is told to go on.
struct SlowNotes(Mutex<std::sync::mpsc::Receiver<()>>);

impl Disk for SlowNotes {
    fn make_folder(&self, path: &Path) -> std::io::Result<()> {
        SystemDisk.make_folder(path)
    }

    fn list(&self, folder: &Path) -> std::io::Result<Vec<PathBuf>> {
        SystemDisk.list(folder)
    }

    fn length(&self, path: &Path) -> std::io::Result<u64> {
        SystemDisk.length(path)
    }

    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        SystemDisk.read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        SystemDisk.read_at(path, offset, buffer)
    }

    fn open(&self, path: &Path, create: bool) -> std::io::Result<Box<dyn DiskFile>> {
        SystemDisk.open(path, create)
    }

    fn replace(&self, path: &Path, contents: &[u8]) -> std::io::Result<()> {
        let _ = self.0.lock().unwrap().recv();
        SystemDisk.replace(path, contents)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        SystemDisk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> std::io::Result<()> {
        SystemDisk.sync_folder(folder)
    }

    fn database(&self, path: &Path) -> Result<redb::Database, redb::DatabaseError> {
        SystemDisk.database(path)
    }
}

#[tokio::test]
async fn records_do_not_wait_for_a_checkpoint_that_is_being_written() {
    let dir = tempfile::tempdir().unwrap();
    let (go_on, wait) = mpsc::channel();
    let files = Arc::new(SlowNotes(Mutex::new(wait)));
    let log = AuditLog::open_on(files, dir.path(), key(), None).unwrap();
    assert_eq!(log.append(record(0)).await.unwrap().index, 0);
    let mut asked = Box::pin(log.checkpoint());
    assert!(futures_util::FutureExt::now_or_never(asked.as_mut()).is_none());
    for n in 1..20 {
        assert_eq!(log.append(record(n)).await.unwrap().index, n);
    }
    assert!(futures_util::FutureExt::now_or_never(asked.as_mut()).is_none());
    assert_eq!(log.last_checkpoint(), None, "it is not durable");
    drop(go_on);
    let size_of = |note: &str| -> u64 { note.lines().nth(1).unwrap().parse().unwrap() };
    assert!(size_of(&asked.await.unwrap()) >= 1);
    assert_eq!(size_of(&log.checkpoint().await.unwrap()), 20);
    log.close();
    drop(log);
    assert_eq!(open(dir.path()).unwrap().size(), 20);
}

/// A disk that stands still until it is told to go on.
struct StuckDisk(std::sync::mpsc::Receiver<()>);

impl Tail for StuckDisk {
    fn append(&mut self, _: &[u8]) -> std::io::Result<()> {
        let _ = self.0.recv();
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_a_disk_that_stands_still_cannot_take_is_shed() {
    let dir = tempfile::tempdir().unwrap();
    let (go_on, wait) = mpsc::channel();
    let mut writer = writer_on(dir.path(), Box::new(StuckDisk(wait)));
    let durable = Arc::clone(&writer.journal().durable);
    lock(&durable).signed_size = Some(0);
    let (jobs, queue) = mpsc::sync_channel(MAX_QUEUE);
    let handle = std::thread::spawn(move || writer.run(&queue));
    let log = AuditLog {
        jobs,
        files: Arc::new(SystemDisk),
        durable,
        batches: Arc::default(),
        failed: Arc::default(),
        folder: dir.path().to_owned(),
        origin: key().origin().to_owned(),
        torn: 0,
        said: Said::default(),
        worded: std::sync::atomic::AtomicU64::default(),
        writer: Mutex::new(Some(handle)),
    };
    // The writer may have taken one batch out of the queue before it stood still.
    let mut waiting = Vec::new();
    let refused = loop {
        let mut append = Box::pin(log.append(record(waiting.len() as u64)));
        match futures_util::FutureExt::now_or_never(append.as_mut()) {
            None => waiting.push(append),
            Some(outcome) => break outcome.unwrap_err(),
        }
        assert!(waiting.len() <= 3 * MAX_QUEUE, "the queue has no end");
    };
    assert!(matches!(refused, AuditError::Busy) && refused.code() == "busy");
    assert!(waiting.len() >= MAX_QUEUE);
    assert_eq!(log.checkpoint().await.unwrap_err().code(), "busy");
    assert!(log.health().is_ok(), "a slow disk is no broken one");
    drop(go_on);
    let taken = waiting.len() as u64;
    let indices = futures_util::future::join_all(waiting).await;
    let indices = indices
        .into_iter()
        .map(|committed| committed.unwrap().index);
    assert!((0..taken).eq(indices));
    assert_eq!(log.append(record(0)).await.unwrap().index, taken);
}

#[tokio::test]
async fn a_head_that_the_log_does_not_continue_closes_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    for n in 0..3 {
        log.append(record(n)).await.unwrap();
    }
    let head = log.head();
    log.hold_against(&head).unwrap();
    log.append(record(3)).await.unwrap();
    log.hold_against(&head).unwrap();
    let other = Checkpoint {
        root: [9; 32],
        ..head.clone()
    };
    let longer = Checkpoint { size: 9, ..head };
    assert_eq!(
        log.hold_against(&other).unwrap_err().code(),
        "audit-rolled-back"
    );
    assert!(log.hold_against(&longer).is_err());
    let refused = log.append(record(4)).await.unwrap_err();
    assert!(refused.to_string().contains("was set back"), "{refused}");
    assert!(log.checkpoint().await.is_err() && log.health().is_err());
}

#[tokio::test]
async fn a_cosigned_checkpoint_is_kept_and_held_against_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    log.append(record(0)).await.unwrap();
    let note = log.checkpoint().await.unwrap();
    assert_eq!(log.cosigned(), None);
    log.keep_cosigned(&note).unwrap();
    log.close();
    assert_eq!(open(dir.path()).unwrap().cosigned(), Some(note));
    // Whoever cuts the log and its checkpoint forgets this one.
    fs::remove_file(segment::path_of(dir.path(), 0)).unwrap();
    fs::remove_file(dir.path().join(CHECKPOINT_FILE)).unwrap();
    assert!(matches!(
        open(dir.path()),
        Err(AuditError::RolledBack { .. })
    ));
    fs::write(dir.path().join(COSIGNED_FILE), "cut off").unwrap();
    let refused = open(dir.path()).unwrap_err();
    assert!(refused.to_string().contains("cosigned"), "{refused}");
}

#[test]
fn a_record_has_one_encoding_in_core_deterministic_form() {
    let bytes = record(1).to_bytes().unwrap();
    assert_eq!(AuditRecord::from_bytes(&bytes).unwrap(), record(1));
    let value: ciborium::Value = ciborium::from_reader(bytes.as_slice()).unwrap();
    let keys: Vec<String> = value
        .as_map()
        .unwrap()
        .iter()
        .map(|(key, _)| key.as_text().unwrap().to_owned())
        .collect();
    let mut sorted = keys.clone();
    sorted.sort_by_key(|key| (key.len(), key.clone()));
    assert_eq!(keys, sorted, "RFC 8949 section 4.2.1");
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(AuditRecord::from_bytes(&longer).is_err());
    // The same map with its first two entries exchanged.
    let mut entries = value.into_map().unwrap();
    entries.swap(0, 1);
    let mut swapped = Vec::new();
    ciborium::into_writer(&ciborium::Value::Map(entries), &mut swapped).unwrap();
    assert_eq!(
        AuditRecord::from_bytes(&swapped),
        Err(crate::audit::RecordError::NotCanonical)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn what_durability_costs() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let log = Arc::new(open(dir.path()).unwrap());
    let begin = Instant::now();
    for n in 0..500 {
        log.append(record(n)).await.unwrap();
    }
    let alone = begin.elapsed() / 500;
    let begin = Instant::now();
    let all: Vec<_> = (0..64)
        .map(|n| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                for m in 0..100 {
                    log.append(record(n * 100 + m)).await.unwrap();
                }
            })
        })
        .collect();
    futures_util::future::join_all(all).await;
    let rate = 6400.0 / begin.elapsed().as_secs_f64();
    eprintln!(
        "one after the other: {alone:?} each; 64 at a time: {rate:.0}/s, {} batches",
        log.batches()
    );
}
