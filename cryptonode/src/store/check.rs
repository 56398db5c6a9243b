//! The check of the whole store on a copy in memory, before the file itself is opened.

use std::cell::Cell;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Once;

use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, StorageBackend};

use super::seal::{DataKey, Header};
use crate::disk::Disk;

use super::{
    HEADER, HEADER_KEY, Passphrase, StoreError, Table, header_error, sealed_entries, unseal,
};

/// Largest store that is read, in bytes: far above what any node holds.
const MAX_STORE: u64 = 1 << 30;

/// Verifies the file at `path` without writing to it: redb's checksums, the header, the passphrase, every record.
pub(super) fn check_copy(
    files: &dyn Disk,
    path: &Path,
    keys: &Path,
    passphrase: &Passphrase,
) -> Result<DataKey, StoreError> {
    let disk = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::Missing {
            path: path.to_owned(),
        },
        _ => StoreError::Disk {
            what: "read",
            path: path.to_owned(),
            reason: error.to_string(),
        },
    };
    let corrupt = |reason: String| StoreError::Corrupt {
        path: path.to_owned(),
        reason,
    };
    let length = files.length(path).map_err(|error| disk(&error))?;
    if length == 0 || length > MAX_STORE {
        return Err(corrupt(format!(
            "its length of {length} bytes is impossible"
        )));
    }
    let bytes = files.read(path).map_err(|error| disk(&error))?;
    // redb states some of its invariants by panicking; on a damaged file that is an answer like any other.
    let database = quietly(|| open_copy(&bytes))
        .unwrap_or_else(|| Err("its pages contradict each other".to_owned()))
        .map_err(corrupt)?;
    let header = quietly(|| read_header(&database))
        .unwrap_or_else(|| Err("its pages contradict each other".to_owned()))
        .map_err(corrupt)?;
    let key = header
        .open(passphrase)
        .map_err(|error| header_error(path, error))?;
    for table in Table::ALL {
        let entries =
            quietly(|| sealed_entries(&database, table).map_err(|error| error.to_string()))
                .unwrap_or_else(|| Err("its pages contradict each other".to_owned()))
                .map_err(corrupt)?;
        for (record, sealed) in entries {
            unseal(files, path, keys, &key, table, &record, &sealed)?;
        }
    }
    Ok(key)
}

fn open_copy(bytes: &[u8]) -> Result<Database, String> {
    let backend = InMemoryBackend::new();
    backend
        .set_len(bytes.len() as u64)
        .map_err(|error| error.to_string())?;
    backend.write(0, bytes).map_err(|error| error.to_string())?;
    let mut database = Database::builder()
        .set_cache_size(4 * 1024 * 1024)
        .create_with_backend(backend)
        .map_err(|error| error.to_string())?;
    match database.check_integrity() {
        Ok(true) => Ok(database),
        Ok(false) => Err("its checksums do not hold".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn read_header(database: &Database) -> Result<Header, String> {
    let read = || -> Result<Option<Vec<u8>>, redb::Error> {
        let transaction = database.begin_read()?;
        let table = transaction.open_table(HEADER)?;
        Ok(table.get(HEADER_KEY)?.map(|guard| guard.value().to_vec()))
    };
    let bytes = read()
        .map_err(|error| error.to_string())?
        .ok_or("it has no header")?;
    serde_json::from_slice(&bytes).map_err(|error| format!("its header cannot be read: {error}"))
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; `None` if it panicked, without the message that a panic prints.
fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                previous(info);
            }
        }));
    });
    QUIET.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    result.ok()
}
