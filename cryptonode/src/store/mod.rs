//! The sealed store: what only this node may read, in one redb file.
//!
//! **Sealing.** Every record is authenticated and encrypted for its place (`seal`). The file alone gives away how many records there
//! are, how long they are, and public names.
//!
//! **Durability.** A commit is one transaction, durable (two-phase, fsync) when [`Store::commit`] returns. A kill or a
//! loss of power at any moment leaves the state before or after it.
//!
//! **Damage.** Before the file is opened for writing, a copy of it in memory is opened, checked as a whole, and every
//! record unsealed. So a wrong passphrase, a torn or altered file and a store of another version are told apart while the file on the
//! disk is still untouched; redb's own repair, which may go back to an earlier commit, never runs on a damaged file. Two things no
//! check of one file can see: an older copy of the whole file, and a flip of the one bit that says which of the last two commits
//! holds. The first is found when the store is held against the audit log ([`crate::set_back`]), and an older copy of the whole folder by the
//! other members; who can do the second is stopped by the disk's own protection or not at all.
//!
//! **Erasure.** A copy-on-write file keeps old pages until they are used again. The secrets of an undecided ceremony
//! (n_j and what follows from it, the polynomials) must not outlive it, nor a share its epoch. So each such record has a key of its own in a small file
//! beside the store, which is overwritten and removed when the record is erased ([`Table::Ceremony`], [`Table::Key`]). On a medium that remaps blocks the
//! old bytes may survive out of reach of any program: use an encrypted disk below.

mod check;
mod erasable;
mod folder;
mod key_records;
mod passphrase;
mod records;
mod seal;
mod unsealing;

pub use folder::{Folder, FolderError, write_private, write_private_folder};
pub use key_records::{entry_changes, key_change};
pub use passphrase::{Passphrase, PassphraseError};
pub use records::{
    NodeIdentity, RecordsError, audit_head_change, opened_change, policy_change, restored_change,
};
pub use seal::Cost;
pub use unsealing::{
    PassphraseCommand, PassphraseFile, PassphraseSource, SystemdCredential, Terminal, first_of,
};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use zeroize::Zeroizing;

use crate::disk::{Disk, SystemDisk};
use seal::{DataKey, Header, HeaderError, Place};

/// The store's file in the node's folder.
pub const STORE_FILE: &str = "store.redb";
const HEADER: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("header");
const HEADER_KEY: &str = "header";

/// The kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// The identity's seed, and what belongs to it; one record.
    Identity,
    /// This node's shares of keys, by Y and result: erasable.
    Key,
    /// What is known of keys besides: the newest certificate, the overlap, the history, by Y.
    KeyState,
    /// State of ceremonies in which this node is a member, by ceremony id: erasable.
    Ceremony,
    /// State of ceremonies that this node leads, by ceremony id.
    Leading,
    /// State of decided ceremonies in which this node was a member, without secrets, by ceremony id.
    Decided,
    /// Certificates of keys, signed under Y, by ceremony id.
    KeyCertificate,
    /// There if the node was restored from its phrase; one record.
    Restored,
    /// Policies that ceremonies are held under, by hash.
    Policy,
    /// The audit log's head as last seen; one record.
    AuditHead,
    /// Keys and documents that are given no shares for the time being.
    Suspended,
    /// What this node, as a witness, has seen of others' audit logs, by identity.
    Witnessed,
    /// How often store and audit log were opened and closed together; one record.
    Opened,
}

impl Table {
    const ALL: [Self; 13] = [
        Self::Identity,
        Self::Key,
        Self::KeyState,
        Self::Ceremony,
        Self::Leading,
        Self::Decided,
        Self::KeyCertificate,
        Self::Restored,
        Self::Policy,
        Self::AuditHead,
        Self::Suspended,
        Self::Witnessed,
        Self::Opened,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Key => "key",
            Self::KeyState => "key-state",
            Self::Ceremony => "ceremony",
            Self::Leading => "leading",
            Self::Decided => "decided",
            Self::KeyCertificate => "key-certificate",
            Self::Restored => "restored",
            Self::Policy => "policy",
            Self::AuditHead => "audit-head",
            Self::Suspended => "suspended",
            Self::Witnessed => "witnessed",
            Self::Opened => "opened",
        }
    }

    fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.name())
    }

    fn erasable(self) -> bool {
        matches!(self, Self::Ceremony | Self::Key)
    }
}

/// One change of a transaction.
#[derive(Debug)]
pub enum Change {
    /// Writes a record, in place of an earlier one.
    Put {
        /// Kind of record.
        table: Table,
        /// Its key, in the clear.
        key: Vec<u8>,
        /// What is sealed; its Debug is hidden by the redacting wrapper.
        value: Plain,
    },
    /// Erases a record.
    Erase {
        /// Kind of record.
        table: Table,
        /// Its key.
        key: Vec<u8>,
    },
}

impl Change {
    /// [`Change::Put`].
    #[must_use]
    pub fn put(table: Table, key: &[u8], value: Zeroizing<Vec<u8>>) -> Self {
        Self::Put {
            table,
            key: key.to_vec(),
            value: Plain(value),
        }
    }

    /// [`Change::Erase`].
    #[must_use]
    pub fn erase(table: Table, key: &[u8]) -> Self {
        Self::Erase {
            table,
            key: key.to_vec(),
        }
    }
}

/// Plaintext of a record on its way into the store.
pub struct Plain(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plain({} bytes)", self.0.len())
    }
}

/// A record as it comes out of the store: key and plaintext.
pub type Entry = (Vec<u8>, Zeroizing<Vec<u8>>);

/// Why the store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The passphrase does not open it.
    #[error(
        "wrong passphrase for {path}: the store stays sealed, nothing was changed; give the passphrase that `cryptonode init` was given"
    )]
    WrongPassphrase {
        /// The store's file.
        path: PathBuf,
    },
    /// There is no file.
    #[error("the store {path} is missing: restore it from a backup")]
    Missing {
        /// The store's file.
        path: PathBuf,
    },
    /// The file is there already.
    #[error("the store {path} is there already: nothing was changed")]
    Exists {
        /// The store's file.
        path: PathBuf,
    },
    /// It is not what this node wrote.
    #[error(
        "the store {path} is damaged ({reason}): nothing was changed; keep the file, and restore the folder from a backup"
    )]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What does not hold.
        reason: String,
    },
    /// Another version wrote it.
    #[error(
        "the store {path} has format {version}, and this program reads format 1: start the version that wrote it"
    )]
    OtherVersion {
        /// The store's file.
        path: PathBuf,
        /// Its format.
        version: u16,
    },
    /// The system refused.
    #[error("cannot {what} {path}: {reason}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// Not enough memory for the passphrase's cost.
    #[error(
        "not enough memory to derive the store's key: free some, the store asks for what its header says"
    )]
    OutOfMemory,
}

/// The open store of a running node.
pub struct Store {
    files: Arc<dyn Disk>,
    path: PathBuf,
    keys: PathBuf,
    database: Database,
    key: DataKey,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Makes the store of a new node in `folder`, with its first records. The file has its name only when it is complete.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is one already; [`StoreError::Disk`].
    pub fn create(
        folder: &Path,
        passphrase: &Passphrase,
        cost: Cost,
        first: &[Change],
    ) -> Result<(), StoreError> {
        let path = folder.join(STORE_FILE);
        let disk = |what, reason: String| StoreError::Disk {
            what,
            path: path.clone(),
            reason,
        };
        if path.exists() {
            return Err(StoreError::Exists { path });
        }
        let (header, key) =
            Header::create(passphrase, cost).map_err(|error| header_error(&path, error))?;
        let header =
            serde_json::to_vec(&header).map_err(|error| disk("write", error.to_string()))?;
        // A named temporary file has mode 0600.
        let temporary = tempfile::NamedTempFile::new_in(folder)
            .map_err(|error| disk("create", error.to_string()))?;
        let database = Database::builder()
            .create_file(
                temporary
                    .reopen()
                    .map_err(|error| disk("create", error.to_string()))?,
            )
            .map_err(|error| disk("create", error.to_string()))?;
        let write = || -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            transaction
                .open_table(HEADER)?
                .insert(HEADER_KEY, header.as_slice())?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| disk("write", error.to_string()))?;
        let store = Self {
            files: Arc::new(SystemDisk),
            keys: folder.join(erasable::FOLDER),
            path: path.clone(),
            database,
            key,
        };
        store.commit(first)?;
        drop(store);
        temporary
            .as_file()
            .sync_all()
            .map_err(|error| disk("sync", error.to_string()))?;
        temporary
            .persist_noclobber(&path)
            .map_err(|error| disk("name", error.error.to_string()))?;
        std::fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| disk("sync the folder of", error.to_string()))
    }

    /// Opens the store in `folder`, after a check of all of it.
    ///
    /// # Errors
    /// [`StoreError::WrongPassphrase`], [`StoreError::Corrupt`] and the rest; the file on the disk is then untouched.
    pub fn open(folder: &Path, passphrase: &Passphrase) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(SystemDisk), folder, passphrase)
    }

    /// [`Store::open`], on any disk.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(
        files: Arc<dyn Disk>,
        folder: &Path,
        passphrase: &Passphrase,
    ) -> Result<Self, StoreError> {
        let path = folder.join(STORE_FILE);
        let keys = folder.join(erasable::FOLDER);
        let key = check::check_copy(&*files, &path, &keys, passphrase)?;
        let database = files.database(&path).map_err(|error| match error {
            redb::DatabaseError::Storage(redb::StorageError::Io(reason)) => StoreError::Disk {
                what: "open",
                path: path.clone(),
                reason: reason.to_string(),
            },
            other => StoreError::Corrupt {
                path: path.clone(),
                reason: other.to_string(),
            },
        })?;
        let store = Self {
            files,
            path,
            keys,
            database,
            key,
        };
        store.destroy_orphaned_keys()?;
        Ok(store)
    }

    /// One record.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it does not unseal, [`StoreError::Disk`] if it cannot be read.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let transaction = self.database.begin_read()?;
            let opened = match transaction.open_table(table.definition()) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                other => other?,
            };
            Ok(opened.get(key)?.map(|guard| guard.value().to_vec()))
        };
        match read().map_err(|error| self.disk("read", &error))? {
            Some(sealed) => self.unseal(table, key, &sealed).map(Some),
            None => Ok(None),
        }
    }

    /// All records of a table, in the order of their keys.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn list(&self, table: Table) -> Result<Vec<Entry>, StoreError> {
        sealed_entries(&self.database, table)
            .map_err(|error| self.disk("read", &error))?
            .into_iter()
            .map(|(key, sealed)| {
                let plain = self.unseal(table, &key, &sealed)?;
                Ok((key, plain))
            })
            .collect()
    }

    /// The names of a table's records.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn names(&self, table: Table) -> Result<Vec<Vec<u8>>, StoreError> {
        let entries =
            sealed_entries(&self.database, table).map_err(|error| self.disk("read", &error))?;
        Ok(entries.into_iter().map(|(name, _)| name).collect())
    }

    /// Makes all changes in one transaction, durable when this returns. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError::Disk`]: then none of the changes was made.
    pub fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut sealed = Vec::with_capacity(changes.len());
        for change in changes {
            sealed.push(match change {
                Change::Put { table, key, value } => {
                    let place = Place {
                        table: table.name(),
                        key,
                    };
                    let bytes = if table.erasable() {
                        erasable::key_for_writing(&*self.files, &self.keys, &self.key, key)
                            .map_err(|error| self.disk("write a record's key beside", &error))?
                            .seal(&place, &value.0)
                    } else {
                        self.key.seal(&place, &value.0)
                    };
                    (
                        *table,
                        key,
                        Some(
                            bytes
                                .ok_or_else(|| self.disk("seal a record in", &"it is too long"))?,
                        ),
                    )
                }
                Change::Erase { table, key } => (*table, key, None),
            });
        }
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_two_phase_commit(true);
            for (table, key, bytes) in &sealed {
                let mut opened = transaction.open_table(table.definition())?;
                match bytes {
                    Some(bytes) => drop(opened.insert(key.as_slice(), bytes.as_slice())?),
                    None => drop(opened.remove(key.as_slice())?),
                }
            }
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| self.disk("write", &error))?;
        for (table, key, bytes) in &sealed {
            if table.erasable()
                && bytes.is_none()
                && let Err(error) = erasable::destroy(&*self.files, &self.keys, key)
            {
                // The changes are made. The key is an orphan now, and the next start tries again.
                tracing::error!(%error, "the key of an erased record could not be destroyed");
            }
        }
        Ok(())
    }

    /// A crash between the commit of an erasure and the destruction of the key leaves a key without a record.
    fn destroy_orphaned_keys(&self) -> Result<(), StoreError> {
        let mut records: Vec<Vec<u8>> = Vec::new();
        for table in Table::ALL.into_iter().filter(|table| table.erasable()) {
            let entries =
                sealed_entries(&self.database, table).map_err(|error| self.disk("read", &error))?;
            records.extend(entries.into_iter().map(|(key, _)| key));
        }
        erasable::destroy_all_but(&*self.files, &self.keys, &records)
            .map_err(|error| self.disk("erase old keys beside", &error))
    }

    fn unseal(
        &self,
        table: Table,
        key: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        unseal(
            &*self.files,
            &self.path,
            &self.keys,
            &self.key,
            table,
            key,
            sealed,
        )
    }

    fn disk(&self, what: &'static str, reason: &dyn std::fmt::Display) -> StoreError {
        StoreError::Disk {
            what,
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }
}

fn header_error(path: &Path, error: HeaderError) -> StoreError {
    let path = path.to_owned();
    match error {
        HeaderError::Damaged(reason) => StoreError::Corrupt {
            path,
            reason: reason.to_owned(),
        },
        HeaderError::OtherVersion(version) => StoreError::OtherVersion { path, version },
        HeaderError::WrongPassphrase => StoreError::WrongPassphrase { path },
        HeaderError::OutOfMemory => StoreError::OutOfMemory,
    }
}

/// A record as the file has it: key and sealed bytes.
type SealedEntry = (Vec<u8>, Vec<u8>);

fn sealed_entries(database: &Database, table: Table) -> Result<Vec<SealedEntry>, redb::Error> {
    let transaction = database.begin_read()?;
    let opened = match transaction.open_table(table.definition()) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        other => other?,
    };
    let mut entries = Vec::new();
    for entry in opened.iter()? {
        let (key, value) = entry?;
        entries.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(entries)
}

fn unseal(
    files: &dyn Disk,
    path: &Path,
    keys: &Path,
    data_key: &DataKey,
    table: Table,
    key: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let place = Place {
        table: table.name(),
        key,
    };
    let corrupt = |reason: String| StoreError::Corrupt {
        path: path.to_owned(),
        reason,
    };
    let plain = if table.erasable() {
        let own = erasable::key_for_reading(files, keys, data_key, key).map_err(|error| {
            corrupt(format!(
                "the key of record {} of the table {}: {error}",
                hex::encode(key),
                table.name()
            ))
        })?;
        own.open(&place, sealed)
    } else {
        data_key.open(&place, sealed)
    };
    plain.ok_or_else(|| {
        corrupt(format!(
            "a record of the table {} was altered",
            table.name()
        ))
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
