//! Keys that can be destroyed: one small file for each erasable record.
//!
//! The file holds a random key, sealed under the store's data key. It is durable before the first record sealed with
//! it, and is overwritten in place before it is removed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::seal::{DataKey, Place};

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
    folder: &Path,
    data_key: &DataKey,
    record: &[u8],
) -> io::Result<DataKey> {
    let sealed = fs::read(path_of(folder, record))?;
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
    folder: &Path,
    data_key: &DataKey,
    record: &[u8],
) -> io::Result<DataKey> {
    match key_for_reading(folder, data_key, record) {
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
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&sealed)?;
    file.as_file().sync_all()?;
    file.persist(path_of(folder, record))
        .map_err(|error| error.error)?;
    File::open(folder)?.sync_all()?;
    // The folder's own name must survive a crash too.
    if let Some(parent) = folder.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(key)
}

/// Overwrites and removes the key of a record; it is no fault if there is none.
pub(super) fn destroy(folder: &Path, record: &[u8]) -> io::Result<()> {
    destroy_file(&path_of(folder, record))?;
    match File::open(folder) {
        Ok(folder) => folder.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn destroy_file(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let length = usize::try_from(file.metadata()?.len())
        .unwrap_or(usize::MAX)
        .min(4096);
    file.write_all(&vec![0; length])?;
    file.sync_all()?;
    fs::remove_file(path)
}

/// Destroys every key whose record is not among `records`.
pub(super) fn destroy_all_but(folder: &Path, records: &[Vec<u8>]) -> io::Result<()> {
    let kept: Vec<PathBuf> = records
        .iter()
        .map(|record| path_of(folder, record))
        .collect();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if !kept.contains(&path) {
            destroy_file(&path)?;
        }
    }
    Ok(())
}
