//! Keys that can be destroyed: one small file for each erasable record.
//!
//! The file holds a random key, sealed under the store's data key. It is durable before the first record sealed with
//! it, and is overwritten in place before it is removed.

use std::io;
use std::path::{Path, PathBuf};

use super::seal::{DataKey, Place};
use crate::disk::Disk;

/// The folder of these files, in the node's folder.
pub(super) const FOLDER: &str = "erasable";
const TABLE: &str = "erasable-key";

fn path_of(folder: &Path, record: &[u8]) -> PathBuf {
    folder.join(format!("{}.key", hex::encode(record)))
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// The key of a record that is there.
pub(super) fn key_for_reading(
    files: &dyn Disk,
    folder: &Path,
    data_key: &DataKey,
    record: &[u8],
) -> io::Result<DataKey> {
    let sealed = files.read(&path_of(folder, record))?;
    let place = Place {
        table: TABLE,
        key: record,
    };
    data_key
        .open(&place, &sealed)
        .and_then(|bytes| DataKey::from_bytes(&bytes))
        .ok_or_else(|| invalid("the file was altered"))
}

/// The key of a record that is written: made, durably, if it is the first time.
pub(super) fn key_for_writing(
    files: &dyn Disk,
    folder: &Path,
    data_key: &DataKey,
    record: &[u8],
) -> io::Result<DataKey> {
    match key_for_reading(files, folder, data_key, record) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let key = DataKey::random();
    let place = Place {
        table: TABLE,
        key: record,
    };
    let sealed = data_key
        .seal(&place, key.expose())
        .ok_or_else(|| invalid("the key cannot be sealed"))?;
    files.make_folder(folder)?;
    files.replace(&path_of(folder, record), &sealed)?;
    // The folder's own name must survive a crash too.
    if let Some(parent) = folder.parent() {
        files.sync_folder(parent)?;
    }
    Ok(key)
}

/// Overwrites and removes the key of a record; it is no fault if there is none.
pub(super) fn destroy(files: &dyn Disk, folder: &Path, record: &[u8]) -> io::Result<()> {
    destroy_file(files, &path_of(folder, record))?;
    match files.sync_folder(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn destroy_file(files: &dyn Disk, path: &Path) -> io::Result<()> {
    let file = match files.open(path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let length = usize::try_from(files.length(path)?)
        .unwrap_or(usize::MAX)
        .min(4096);
    file.write_all_at(&vec![0; length], 0)?;
    file.sync_all()?;
    drop(file);
    files.remove(path)
}

/// Destroys every key whose record is not among `records`.
pub(super) fn destroy_all_but(
    files: &dyn Disk,
    folder: &Path,
    records: &[Vec<u8>],
) -> io::Result<()> {
    let kept: Vec<PathBuf> = records
        .iter()
        .map(|record| path_of(folder, record))
        .collect();
    let entries = match files.list(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for path in entries.iter().filter(|path| !kept.contains(path)) {
        destroy_file(files, path)?;
    }
    Ok(())
}
