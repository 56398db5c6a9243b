//! Segment files: frames that a crash can tear only at the end, and what damage in them means.
//!
//! ```text
//! audit/00000000000000000000.log      named by the number of its first record
//!   header:  "cnaudit1"(8) ‖ LE64(first record)
//!   frame:   LE32(length) ‖ LE64(index) ‖ LE64(batch) ‖ checksum(8) ‖ record
//! ```
//!
//! `batch` is the index of the first record that was written in the same `write`; the checksum is the head of SHA-256
//! over the 20 bytes before it and the record. It finds accidents; against intent there are the signed checkpoints.
//!
//! **Zeros in advance.** While a segment is written, zeros lie behind its last frame ([`PADDING`]), and frames are written
//! over them: then `fdatasync` has only the data to bring to the disk and no longer file, and need not wait for the file system's
//! journal, which all files share. They are laid out when half of them is used up and the waiting appends are answered; an append
//! that finds no room all the same does it itself. A segment that is finished or closed ends with its last frame.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{AuditError, MAX_RECORD};
use crate::disk::{Disk, DiskFile};

const MAGIC: &[u8; 8] = b"cnaudit1";
/// Bytes of a segment's header.
pub(super) const HEADER: usize = 16;
/// Bytes of a frame's head, in front of the record.
pub(super) const FRAME_HEAD: usize = 28;
/// How many zeros are laid out in advance.
const PADDING: u64 = 256 * 1024;
/// A segment that has reached this many bytes is followed by another.
pub(super) const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Where a record lies: the segment's position in the folder, and the byte at which the record (not its frame) begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Location {
    pub(super) segment: u32,
    pub(super) offset: u64,
    pub(super) length: u32,
}

/// What a scan of the whole folder found.
#[derive(Debug)]
pub(super) struct Scanned {
    /// The segment files in order.
    pub(super) segments: Vec<PathBuf>,
    /// Number of whole records.
    pub(super) records: u64,
    /// Bytes of the last segment that are in order.
    pub(super) last_length: u64,
    /// Bytes behind them that a crash tore; no record in them was acknowledged.
    pub(super) torn: u64,
}

/// The path of the segment that begins with record `first`.
pub(super) fn path_of(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.log"))
}

pub(super) fn disk(what: &'static str, path: &Path, error: &io::Error) -> AuditError {
    AuditError::Disk {
        what,
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// The whole frame of one record.
pub(super) fn put_frame(out: &mut Vec<u8>, index: u64, batch: u64, record: &[u8]) {
    let start = out.len();
    // Records are at most MAX_RECORD bytes, so the length fits.
    out.extend_from_slice(
        &u32::try_from(record.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&batch.to_le_bytes());
    let checksum = checksum(out.get(start..).unwrap_or_default(), record);
    out.extend_from_slice(&checksum);
    out.extend_from_slice(record);
}

fn checksum(head: &[u8], record: &[u8]) -> [u8; 8] {
    let digest = Sha256::new()
        .chain_update(head)
        .chain_update(record)
        .finalize();
    let mut short = [0; 8];
    short.copy_from_slice(digest.get(..8).unwrap_or(&[0; 8]));
    short
}

struct Frame<'a> {
    index: u64,
    batch: u64,
    record: &'a [u8],
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..at + 8)?
        .try_into()
        .ok()
        .map(u64::from_le_bytes)
}

/// Reads the frame at the head of `bytes`, or says what is wrong with it.
fn frame(bytes: &[u8]) -> Result<Frame<'_>, &'static str> {
    const CUT: &str = "the frame is cut off";
    let length = bytes
        .get(..4)
        .and_then(|b| b.try_into().ok())
        .map(u32::from_le_bytes)
        .ok_or(CUT)?;
    let length = usize::try_from(length).map_err(|_| "the length is impossible")?;
    if length == 0 || length > MAX_RECORD {
        return Err("the length is impossible");
    }
    let index = u64_at(bytes, 4).ok_or(CUT)?;
    let batch = u64_at(bytes, 12).ok_or(CUT)?;
    let stored = bytes.get(20..FRAME_HEAD).ok_or(CUT)?;
    let record = bytes.get(FRAME_HEAD..FRAME_HEAD + length).ok_or(CUT)?;
    if checksum(bytes.get(..20).ok_or(CUT)?, record) != stored {
        return Err("the checksum is wrong");
    }
    Ok(Frame {
        index,
        batch,
        record,
    })
}

/// The record of the whole frame at the head of `bytes`, if it is the one with this number.
pub(super) fn record_of(bytes: &[u8], index: u64) -> Option<&[u8]> {
    let found = frame(bytes).ok()?;
    (found.index == index).then_some(found.record)
}

/// Whether behind the damage at record `index` there is a frame of a later batch. If so, the batch of the damaged
/// record was durable once, and its damage is not the work of a crash.
fn later_batch_behind(bytes: &[u8], index: u64) -> bool {
    // No frame begins in the zeros that were laid out: its numbers would be 0.
    (1..data_length(bytes)).any(|at| {
        let Some(rest) = bytes.get(at..) else {
            return false;
        };
        // The two numbers are looked at first: the checksum is computed for likely frames only.
        let (Some(i), Some(b)) = (u64_at(rest, 4), u64_at(rest, 12)) else {
            return false;
        };
        b > index && b <= i && i - index < 1 << 32 && frame(rest).is_ok()
    })
}

/// How many bytes there are before the zeros at the end.
fn data_length(bytes: &[u8]) -> usize {
    let mut data = bytes;
    while let Some(rest) = data.strip_suffix(&[0; 4096]) {
        data = rest;
    }
    let last = data.iter().rposition(|byte| *byte != 0);
    last.map_or(0, |at| at + 1)
}

/// What a crash left, without the zeros that were laid out for later frames. Fewer than a frame's head may be the data's own.
fn without_padding(bytes: &[u8]) -> &[u8] {
    let data = data_length(bytes);
    if bytes.len() - data < FRAME_HEAD {
        return bytes;
    }
    bytes.get(..data).unwrap_or(bytes)
}

/// Reads all segments of `folder` in order, gives every whole record to `visit`, and classifies what lies behind the
/// last one.
///
/// # Errors
/// [`AuditError::Corrupt`] for damage that no crash explains, [`AuditError::Disk`] if a file cannot be read, and what
/// `visit` returns.
///
/// Somebody may be writing meanwhile, and a file is read in pieces: what stands in front may have been read before it was written,
/// and what stands behind it afterwards. So damage is judged only when it is still there in a second reading. That is enough,
/// because a batch is written when the one before it is whole.
pub(super) fn scan(
    files: &dyn Disk,
    folder: &Path,
    visit: impl FnMut(u64, Location, &[u8]) -> Result<(), AuditError>,
) -> Result<Scanned, AuditError> {
    scan_by(files, folder, |path| files.read(path), visit)
}

fn scan_by(
    files: &dyn Disk,
    folder: &Path,
    mut read: impl FnMut(&Path) -> io::Result<Vec<u8>>,
    mut visit: impl FnMut(u64, Location, &[u8]) -> Result<(), AuditError>,
) -> Result<Scanned, AuditError> {
    let segments = segments_of(files, folder)?;
    let mut scanned = Scanned {
        segments,
        records: 0,
        last_length: 0,
        torn: 0,
    };
    let count = scanned.segments.len();
    for (position, path) in scanned.segments.iter().enumerate() {
        let is_last = position + 1 == count;
        let mut read = || read(path).map_err(|error| disk("read", path, &error));
        let mut bytes = read()?;
        // Where damage was seen last.
        let mut suspected = None;
        let corrupt = |index: u64, offset: u64, reason: &str| AuditError::Corrupt {
            path: path.clone(),
            index,
            offset,
            reason: reason.to_owned(),
        };
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&scanned.records.to_le_bytes());
        if *path != path_of(folder, scanned.records) {
            return Err(corrupt(
                scanned.records,
                0,
                "a segment file is missing or misnamed",
            ));
        }
        if bytes.get(..HEADER) != Some(header.as_slice()) {
            // A segment is created with its header alone, so a torn header has nothing behind it.
            if is_last && bytes.len() <= HEADER {
                scanned.last_length = 0;
                scanned.torn = bytes.len() as u64;
                break;
            }
            return Err(corrupt(scanned.records, 0, "the segment's header is wrong"));
        }
        let mut offset = HEADER;
        while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
            let index = scanned.records;
            let reason = match frame(rest) {
                Ok(frame) if frame.index == index && frame.batch <= index => {
                    let location = Location {
                        segment: u32::try_from(position).unwrap_or(u32::MAX),
                        offset: (offset + FRAME_HEAD) as u64,
                        length: u32::try_from(frame.record.len()).unwrap_or(u32::MAX),
                    };
                    visit(index, location, frame.record)?;
                    scanned.records += 1;
                    offset += FRAME_HEAD + frame.record.len();
                    continue;
                }
                Ok(_) => {
                    return Err(corrupt(
                        index,
                        offset as u64,
                        "the frame belongs to another place",
                    ));
                }
                Err(reason) => reason,
            };
            if !is_last || later_batch_behind(rest, index) {
                if suspected == Some(offset) {
                    return Err(corrupt(index, offset as u64, reason));
                }
                suspected = Some(offset);
                bytes = read()?;
                continue;
            }
            scanned.torn = without_padding(rest).len() as u64;
            break;
        }
        scanned.last_length = offset as u64;
    }
    Ok(scanned)
}

fn segments_of(files: &dyn Disk, folder: &Path) -> Result<Vec<PathBuf>, AuditError> {
    let mut segments = files
        .list(folder)
        .map_err(|error| disk("list", folder, &error))?;
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.sort();
    Ok(segments)
}

/// The open end of the last segment.
pub(super) trait Tail: Send {
    /// Appends `bytes`, all of them.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything appended is durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Makes room for later frames, if it is scarce, so that an append need not.
    fn lay_out(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// Nothing more will be appended.
    fn finish(&mut self) -> io::Result<()>;
}

/// The last segment's file, with zeros behind its last frame.
pub(super) struct OpenSegment {
    file: Box<dyn DiskFile>,
    /// Where the next frame goes.
    end: u64,
    /// The file's length.
    padded: u64,
}

impl OpenSegment {
    /// Lays out zeros until there is room up to `end`, durably: what is written over them changes the file's data alone.
    fn make_room(&mut self, end: u64) -> io::Result<()> {
        while self.padded < end {
            let zeros = vec![0; usize::try_from(PADDING).unwrap_or(0)];
            self.file.write_all_at(&zeros, self.padded)?;
            self.file.sync_all()?;
            self.padded += PADDING;
        }
        Ok(())
    }
}

impl Tail for OpenSegment {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.end + bytes.len() as u64;
        self.make_room(end)?;
        self.file.write_all_at(bytes, self.end)?;
        self.end = end;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn lay_out(&mut self) -> io::Result<()> {
        if self.padded - self.end < PADDING / 2 {
            self.make_room(self.padded + PADDING)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.padded = self.end;
        self.file.sync_all()
    }
}

/// Creates the segment that begins with record `first`, durably, and opens its end.
pub(super) fn create(
    files: &dyn Disk,
    folder: &Path,
    first: u64,
) -> Result<(PathBuf, OpenSegment), AuditError> {
    let path = path_of(folder, first);
    let file = files
        .open(&path, true)
        .map_err(|error| disk("create", &path, &error))?;
    // What a crash left of an earlier try at this segment has no record in it.
    file.set_len(0)
        .map_err(|error| disk("create", &path, &error))?;
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&first.to_le_bytes());
    file.write_all_at(&header, 0)
        .and_then(|()| file.sync_all())
        .map_err(|error| disk("write", &path, &error))?;
    files
        .sync_folder(folder)
        .map_err(|error| disk("sync", folder, &error))?;
    let end = HEADER as u64;
    let segment = OpenSegment {
        file,
        end,
        padded: end,
    };
    Ok((path, segment))
}

/// Opens the end of the last segment, after cutting off what a crash tore, and zeros that it left.
pub(super) fn open_tail(
    files: &dyn Disk,
    folder: &Path,
    scanned: &Scanned,
) -> Result<Option<OpenSegment>, AuditError> {
    let Some(path) = scanned.segments.last() else {
        return Ok(None);
    };
    if scanned.last_length < HEADER as u64 {
        return create(files, folder, scanned.records).map(|(_, segment)| Some(segment));
    }
    let file = files
        .open(path, false)
        .map_err(|error| disk("open", path, &error))?;
    let mut segment = OpenSegment {
        file,
        end: scanned.last_length,
        padded: scanned.last_length,
    };
    segment
        .finish()
        .map_err(|error| disk("truncate", path, &error))?;
    Ok(Some(segment))
}

/// Reads one record back.
pub(super) fn read_at(
    files: &dyn Disk,
    path: &Path,
    location: Location,
) -> Result<Vec<u8>, AuditError> {
    let mut record = vec![0; location.length as usize];
    files
        .read_at(path, location.offset, &mut record)
        .map_err(|error| disk("read", path, &error))?;
    Ok(record)
}

/// Reads a small file, if it is there: at most `limit` bytes of it.
pub(super) fn read_small(
    files: &dyn Disk,
    path: &Path,
    limit: u64,
) -> Result<Option<String>, AuditError> {
    let failed = |error: &io::Error| disk("read", path, error);
    let length = match files.length(path) {
        Ok(length) => usize::try_from(length.min(limit)).unwrap_or(usize::MAX),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let mut bytes = vec![0; length];
    files
        .read_at(path, 0, &mut bytes)
        .map_err(|error| failed(&error))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text"));
    text.map(Some).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::disk::SystemDisk;

    /// A file that only remembers what it was asked for.
    struct Noted(Arc<Mutex<Vec<&'static str>>>);

    impl DiskFile for Noted {
        fn write_all_at(&self, bytes: &[u8], _: u64) -> io::Result<()> {
            let zeros = bytes.iter().all(|byte| *byte == 0);
            self.0
                .lock()
                .unwrap()
                .push(if zeros { "zeros" } else { "frames" });
            Ok(())
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            self.0.lock().unwrap().push("data");
            Ok(())
        }

        fn sync_all(&self) -> io::Result<()> {
            self.0.lock().unwrap().push("all");
            Ok(())
        }
    }

    #[test]
    fn an_append_finds_the_room_that_was_laid_out_behind_the_one_before() {
        let asked = Arc::default();
        let mut segment = OpenSegment {
            file: Box::new(Noted(Arc::clone(&asked))),
            end: HEADER as u64,
            padded: HEADER as u64,
        };
        let mut batch = |bytes: u64, laid_out: bool| {
            segment.append(&vec![7; bytes as usize]).unwrap();
            segment.sync().unwrap();
            if laid_out {
                segment.lay_out().unwrap();
            }
            assert!(segment.end <= segment.padded);
            std::mem::take(&mut *asked.lock().unwrap())
        };
        let quick = ["frames", "data"];
        let first = batch(1_000, true);
        assert_eq!(first, ["zeros", "all", "frames", "data"]);
        // Less than half is used: nothing is to do.
        assert_eq!(batch(1_000, true), quick);
        for _ in 0..20 {
            let asked = batch(PADDING / 4, true);
            assert_eq!(asked[..2], quick, "an append waited for room");
        }
        // Who never lays out pays for it in an append, and loses nothing.
        let asked: Vec<_> = (0..4).flat_map(|_| batch(PADDING / 2, false)).collect();
        assert!(asked.contains(&"zeros"));
    }

    /// A reader of the file in pieces may have the second batch whole, and the first one as it was before it was written.
    #[test]
    fn damage_that_a_second_reading_does_not_find_is_a_write_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let mut whole = [MAGIC.as_slice(), &0_u64.to_le_bytes()].concat();
        let mut ends = Vec::new();
        for batch in 0..3 {
            put_frame(&mut whole, batch, batch, &[7; 100]);
            ends.push(whole.len());
        }
        std::fs::write(path_of(dir.path(), 0), &whole).unwrap();
        let scanned_by = |readings: &[Vec<u8>]| {
            let mut readings = readings.iter();
            let mut seen = 0;
            let scanned = scan_by(
                &SystemDisk,
                dir.path(),
                |_| Ok(readings.next().unwrap().clone()),
                |_, _, _| {
                    seen += 1;
                    Ok(())
                },
            );
            (scanned.map(|scanned| (scanned.records, scanned.torn)), seen)
        };
        for (from, to) in [(ends[0], ends[1]), (ends[0] + 50, ends[1] - 1)] {
            let mut torn = whole.clone();
            torn[from..to].fill(0);
            let (found, seen) = scanned_by(&[torn.clone(), whole.clone()]);
            assert_eq!((found.unwrap(), seen), ((3, 0), 3), "each record once");
            // Still there: no write explains it.
            let (found, _) = scanned_by(&[torn.clone(), torn]);
            assert!(matches!(found, Err(AuditError::Corrupt { index: 1, .. })));
        }
        // The second reading has its own gap, further on.
        let mut first = whole.clone();
        first[HEADER..ends[0]].fill(0);
        let mut second = whole.clone();
        second[ends[0]..ends[1]].fill(0);
        let (found, seen) = scanned_by(&[first, second, whole.clone()]);
        assert_eq!((found.unwrap(), seen), ((3, 0), 3));
    }
}
