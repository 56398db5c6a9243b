//! A log that is read while it is written: what has come since one looked last.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::segment::{self, FRAME_HEAD, HEADER, disk};
use super::{AuditEntry, AuditError, MAX_RECORD};

/// How much is read at a time; one frame fits.
const PIECE: usize = 4 * (FRAME_HEAD + MAX_RECORD);

/// A place in a folder of segments.
#[derive(Debug)]
pub struct Follower {
    folder: PathBuf,
    /// Number of the segment's first record.
    segment: u64,
    /// Where the next frame begins.
    offset: u64,
    /// The next record's number.
    next: u64,
}

impl Follower {
    /// At the log's beginning.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            segment: 0,
            offset: HEADER as u64,
            next: 0,
        }
    }

    /// Gives the whole records behind the place to `visit`, and moves behind them. What is not whole yet is left for the next time.
    ///
    /// # Errors
    /// [`AuditError::Disk`] if a file cannot be read; [`AuditError::Corrupt`] for a whole frame without a record in it.
    pub fn poll(&mut self, mut visit: impl FnMut(u64, AuditEntry)) -> Result<(), AuditError> {
        loop {
            let path = segment::path_of(&self.folder, self.segment);
            let file = match File::open(&path) {
                Ok(file) => file,
                // A node that never ran has no log yet.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.next == 0 => {
                    return Ok(());
                }
                Err(error) => return Err(disk("open", &path, &error)),
            };
            while self.read_piece(&file, &path, &mut visit)? {}
            // A segment is finished before the next one is made.
            let following = segment::path_of(&self.folder, self.next);
            if self.next == self.segment || !following.exists() {
                return Ok(());
            }
            self.segment = self.next;
            self.offset = HEADER as u64;
        }
    }

    /// Whether there was a whole frame.
    fn read_piece(
        &mut self,
        file: &File,
        path: &Path,
        visit: &mut impl FnMut(u64, AuditEntry),
    ) -> Result<bool, AuditError> {
        let mut piece = vec![0; PIECE];
        let read = file
            .read_at(&mut piece, self.offset)
            .map_err(|error| disk("read", path, &error))?;
        let mut rest = piece.get(..read).unwrap_or_default();
        let mut found = false;
        while let Some(record) = segment::record_of(rest, self.next) {
            let entry = AuditEntry::from_bytes(record).map_err(|error| AuditError::Corrupt {
                path: path.to_owned(),
                index: self.next,
                offset: self.offset,
                reason: error.to_string(),
            })?;
            visit(self.next, entry);
            found = true;
            let length = FRAME_HEAD + record.len();
            rest = rest.get(length..).unwrap_or_default();
            self.offset += length as u64;
            self.next += 1;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::super::OperatorRecord;
    use super::*;

    fn record(n: u64) -> Vec<u8> {
        let record = OperatorRecord {
            action: "suspend-key".to_owned(),
            reason: format!("reason {n}"),
            subject: [7; 32],
            time_ms: n,
        };
        record.to_bytes().unwrap()
    }

    fn segment(first: u64, records: std::ops::Range<u64>) -> Vec<u8> {
        let mut bytes = [b"cnaudit1".as_slice(), &first.to_le_bytes()].concat();
        for n in records {
            segment::put_frame(&mut bytes, n, n, &record(n));
        }
        bytes
    }

    fn poll(log: &mut Follower) -> Vec<u64> {
        let mut seen = Vec::new();
        log.poll(|index, entry| {
            assert_eq!(
                entry.as_json()["time_ms"],
                index,
                "record and number belong together"
            );
            seen.push(index);
        })
        .unwrap();
        seen
    }

    #[test]
    fn records_are_seen_once_and_whole_across_segments() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Follower::new(dir.path());
        assert!(poll(&mut log).is_empty(), "there is no log yet");
        let path = segment::path_of(dir.path(), 0);
        let padded = |bytes: &[u8]| [bytes, &[0; 5_000]].concat();
        std::fs::write(&path, padded(&segment(0, 0..3))).unwrap();
        assert_eq!(poll(&mut log), [0, 1, 2]);
        assert!(poll(&mut log).is_empty());
        // Half of the next frame is no record.
        let (before, whole) = (segment(0, 0..3).len(), segment(0, 0..5));
        std::fs::write(&path, padded(&whole[..before + 40])).unwrap();
        assert!(poll(&mut log).is_empty());
        std::fs::write(&path, &whole).unwrap();
        std::fs::write(segment::path_of(dir.path(), 5), segment(5, 5..7)).unwrap();
        assert_eq!(poll(&mut log), [3, 4, 5, 6]);
    }
}
