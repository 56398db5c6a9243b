//! A peer's own store: one SQLite database, in WAL mode with `synchronous = FULL`, so that what was committed survives a
//! loss of power.
//!
//! One block is one database transaction: header, the peer's own signed head, the transactions, and an index of what they speak
//! of. Approvals that were issued are kept beside, so that none is issued twice.

mod index;
mod notes;
mod ordered;

use crate::record::{
    block::{Block, Header},
    identifier::Identifier,
    signed::{LedgerId, SignedTransaction, TransactionId},
};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};
use std::path::{Path, PathBuf};

const FORMAT: &str = "coordinator-record/1";
const SCHEMA: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE blocks (
        height INTEGER PRIMARY KEY,
        time_ms INTEGER NOT NULL,
        header BLOB NOT NULL,
        signed_head TEXT NOT NULL
    );
    CREATE TABLE transactions (
        position INTEGER PRIMARY KEY,
        height INTEGER NOT NULL,
        id BLOB NOT NULL UNIQUE,
        bytes BLOB NOT NULL
    );
    CREATE INDEX transactions_by_height ON transactions (height, position);
    CREATE TABLE subjects (subject TEXT, position INTEGER, PRIMARY KEY (subject, position)) WITHOUT ROWID;
    CREATE TABLE approvals (
        read BLOB PRIMARY KEY,
        not_after INTEGER NOT NULL,
        certificate BLOB NOT NULL
    ) WITHOUT ROWID;
";

/// Why a peer's store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite or the disk refused.
    #[error(
        "the record's store {path} cannot be used: {reason}; put the disk in order and start again"
    )]
    Database {
        /// The file.
        path: PathBuf,
        /// SQLite's reason.
        reason: String,
    },
    /// Another ledger's, another organisation's, or another format.
    #[error("{path} is the store of {found}, not of {expected}; give the right folder")]
    Other {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// The contents do not hold together.
    #[error(
        "the record's store {path} is damaged at block {height}: {reason}; nothing was changed. Move the file away as evidence and start again: the peer then gets the record from the others"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first block that does not hold.
        height: u64,
        /// What does not hold.
        reason: String,
    },
}

impl StoreError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Database { .. } => "record-store",
            Self::Other { .. } => "record-store-other",
            Self::Damaged { .. } => "record-store-damaged",
        }
    }
}

/// A block as it lies in the store: decoded, not judged.
#[derive(Debug)]
pub(super) struct StoredBlock {
    pub(super) block: Block,
    pub(super) signed_head: String,
}

/// A transaction as it lies in the store.
#[derive(Debug, Clone)]
pub(in crate::record) struct StoredTransaction {
    pub(in crate::record) position: u64,
    pub(in crate::record) height: u64,
    pub(in crate::record) time_ms: u64,
    pub(in crate::record) transaction: SignedTransaction,
}

/// An open store. The peer has one that writes; queries have one that only reads.
#[derive(Debug)]
pub(in crate::record) struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens the store, or makes an empty one.
    pub(super) fn open(
        path: &Path,
        ledger: &LedgerId,
        organisation: &Identifier,
    ) -> Result<Self, StoreError> {
        let connection = Connection::open(path).map_err(|error| database(path, &error))?;
        let store = Self {
            connection,
            path: path.to_owned(),
        };
        store.prepare(ledger, organisation)?;
        Ok(store)
    }

    /// Opens a second connection that only reads. In WAL mode it waits for nobody.
    pub(super) fn open_reader(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(|error| database(path, &error))?;
        Ok(Self {
            connection,
            path: path.to_owned(),
        })
    }

    fn prepare(&self, ledger: &LedgerId, organisation: &Identifier) -> Result<(), StoreError> {
        let sql = |error| self.database(error);
        // synchronous = FULL also in WAL mode: a commit returns when it is on the disk.
        self.connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
            .map_err(sql)?;
        self.check_durability()?;
        self.connection.set_prepared_statement_cache_capacity(32);
        let tables: u64 = self
            .connection
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE type = 'table'",
                [],
                |row| row.get(0),
            )
            .map_err(sql)?;
        if tables == 0 {
            let transaction = self.connection.unchecked_transaction().map_err(sql)?;
            transaction.execute_batch(SCHEMA).map_err(sql)?;
            index::note(&transaction).map_err(sql)?;
            for (key, value) in &owner(ledger, organisation) {
                transaction
                    .execute("INSERT INTO meta VALUES (?1, ?2)", params![key, value])
                    .map_err(sql)?;
            }
            transaction.commit().map_err(sql)?;
        }
        self.check_owner(ledger, organisation)?;
        self.bring_index_up_to_date()
    }

    /// Refuses another ledger's store, another organisation's, or one of another format.
    pub(super) fn check_owner(
        &self,
        ledger: &LedgerId,
        organisation: &Identifier,
    ) -> Result<(), StoreError> {
        let sql = |error| self.database(error);
        for (key, expected) in &owner(ledger, organisation) {
            let found: Option<Vec<u8>> = self
                .connection
                .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
                    row.get(0)
                })
                .optional()
                .map_err(sql)?;
            if found.as_ref() != Some(expected) {
                let show = |value: &[u8]| match std::str::from_utf8(value) {
                    Ok(text) if *key != "ledger" => format!("{key} {text}"),
                    _ => format!("{key} {}", hex::encode(value)),
                };
                let found = found.map_or_else(|| format!("no {key}"), |value| show(&value));
                return Err(StoreError::Other {
                    path: self.path.clone(),
                    found,
                    expected: show(expected),
                });
            }
        }
        Ok(())
    }

    /// SQLite keeps the old mode without an error where it cannot have the new one: on a file system without shared memory, say.
    fn check_durability(&self) -> Result<(), StoreError> {
        let pragma = |name: &str| {
            self.connection
                .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
                .map_err(|error| self.database(error))
        };
        let (mode, synchronous) = (pragma("journal_mode")?, pragma("synchronous")?);
        if mode == "wal".to_owned().into() && synchronous == 2.into() {
            return Ok(());
        }
        let reason = format!(
            "it must be in WAL mode with full synchronisation, and is in mode {mode:?} with {synchronous:?}; use a local file system"
        );
        Err(StoreError::Database {
            path: self.path.clone(),
            reason,
        })
    }

    /// Writes one state of the store into a new file.
    pub(super) fn copy_into(&self, to: &Path) -> Result<(), StoreError> {
        let text = to.to_str().ok_or_else(|| StoreError::Database {
            path: to.to_owned(),
            reason: "its name is not text".to_owned(),
        })?;
        self.connection
            .execute("VACUUM INTO ?1", [text])
            .map(drop)
            .map_err(|error| self.database(error))
    }

    /// Has SQLite look whether the file is whole.
    pub(super) fn check_whole(&self) -> Result<(), StoreError> {
        let found: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| self.database(error))?;
        if found == "ok" {
            return Ok(());
        }
        Err(self.damaged(0, found))
    }

    /// Closes it in order: everything is in the one file then.
    pub(super) fn close(self) -> Result<(), StoreError> {
        let path = self.path;
        self.connection
            .close()
            .map_err(|(_, error)| database(&path, &error))
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Height of the last block, 0 if there is none.
    pub(super) fn height(&self) -> Result<u64, StoreError> {
        self.connection
            .query_row("SELECT coalesce(max(height), 0) FROM blocks", [], |row| {
                row.get(0)
            })
            .map_err(|error| self.database(error))
    }

    /// How many transactions lie in the store, whether they belong to a block or not.
    pub(super) fn transaction_count(&self) -> Result<u64, StoreError> {
        self.connection
            .query_row("SELECT count(*) FROM transactions", [], |row| row.get(0))
            .map_err(|error| self.database(error))
    }

    /// Writes one block, and which batch of the order it came from; durable when it returns.
    pub(super) fn append(
        &self,
        block: &Block,
        signed_head: &str,
        ordered: Option<u64>,
    ) -> Result<(), StoreError> {
        let sql = |error| self.database(error);
        let header = &block.header;
        let transaction = self.connection.unchecked_transaction().map_err(sql)?;
        {
            let mut blocks = transaction
                .prepare_cached("INSERT INTO blocks VALUES (?1, ?2, ?3, ?4)")
                .map_err(sql)?;
            blocks
                .execute(params![
                    integer(header.height),
                    integer(header.time_ms),
                    header.to_bytes(),
                    signed_head
                ])
                .map_err(sql)?;
            let mut transactions = transaction
                .prepare_cached("INSERT INTO transactions VALUES (?1, ?2, ?3, ?4)")
                .map_err(sql)?;
            for (position, signed) in (block.first_position()..).zip(&block.transactions) {
                transactions
                    .execute(params![
                        integer(position),
                        integer(header.height),
                        signed.id().as_slice(),
                        signed.as_bytes()
                    ])
                    .map_err(sql)?;
                self.index(position, signed)?;
            }
        }
        if let Some(batch) = ordered {
            ordered::note(&transaction, batch).map_err(sql)?;
        }
        transaction.commit().map_err(sql)
    }

    /// One block.
    pub(super) fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError> {
        let sql = |error| self.database(error);
        let row: Option<(Vec<u8>, String, u64)> = self
            .connection
            .prepare_cached("SELECT header, signed_head, time_ms FROM blocks WHERE height = ?1")
            .map_err(sql)?
            .query_row([integer(height)], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
            .map_err(|error| self.unreadable(height, error))?;
        let Some((header, signed_head, time_ms)) = row else {
            return Ok(None);
        };
        let header =
            Header::from_bytes(&header).map_err(|error| self.damaged(height, error.to_string()))?;
        if header.time_ms != time_ms {
            return Err(self.damaged(height, "the time beside the block is not the block's"));
        }
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT position, id, bytes FROM transactions WHERE height = ?1 ORDER BY position",
            )
            .map_err(sql)?;
        let rows = statement
            .query_map([integer(height)], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .map_err(sql)?;
        let mut transactions = Vec::new();
        let mut positions = Vec::new();
        for row in rows {
            let (position, id, bytes): (u64, Vec<u8>, Vec<u8>) =
                row.map_err(|error| self.unreadable(height, error))?;
            let transaction = SignedTransaction::from_bytes(&bytes)
                .map_err(|error| self.damaged(height, error.to_string()))?;
            if transaction.id() != id.as_slice() {
                return Err(self.damaged(
                    height,
                    "the id beside a transaction is not the transaction's",
                ));
            }
            positions.push(position);
            transactions.push(transaction);
        }
        let block = Block {
            header,
            transactions,
        };
        if !positions
            .iter()
            .copied()
            .eq((block.first_position()..).take(positions.len()))
        {
            return Err(self.damaged(height, "the transactions are not where the header says"));
        }
        Ok(Some(StoredBlock { block, signed_head }))
    }

    /// A transaction by its id.
    pub(in crate::record) fn transaction(
        &self,
        id: &TransactionId,
    ) -> Result<Option<StoredTransaction>, StoreError> {
        self.connection
            .prepare_cached(
                "SELECT t.position, t.height, b.time_ms, t.bytes FROM transactions t JOIN blocks b USING (height)
                 WHERE t.id = ?1",
            )
            .and_then(|mut statement| statement.query_row([id.as_slice()], raw).optional())
            .map_err(|error| self.database(error))?
            .map(|row| self.decode(row))
            .transpose()
    }

    /// The approval that was issued for a read, and until when it is valid (seconds).
    pub(super) fn approval(
        &self,
        read: &TransactionId,
    ) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.connection
            .prepare_cached("SELECT not_after, certificate FROM approvals WHERE read = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([read.as_slice()], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
            })
            .map_err(|error| self.database(error))
    }

    /// Says that block `height` does not hold.
    pub(super) fn damaged(&self, height: u64, reason: impl Into<String>) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            height,
            reason: reason.into(),
        }
    }

    fn decode(&self, row: RawTransaction) -> Result<StoredTransaction, StoreError> {
        let RawTransaction {
            position,
            height,
            time_ms,
            bytes,
        } = row;
        let transaction = SignedTransaction::from_bytes(&bytes)
            .map_err(|error| self.damaged(height, error.to_string()))?;
        Ok(StoredTransaction {
            position,
            height,
            time_ms,
            transaction,
        })
    }

    fn database(&self, error: rusqlite::Error) -> StoreError {
        database(&self.path, &error)
    }

    /// A value of another type than we write is damage, not a refusal of the disk.
    fn unreadable(&self, height: u64, error: rusqlite::Error) -> StoreError {
        match error {
            rusqlite::Error::SqliteFailure(..) => self.database(error),
            other => self.damaged(height, other.to_string()),
        }
    }
}

/// Whose a store is.
fn owner(ledger: &LedgerId, organisation: &Identifier) -> [(&'static str, Vec<u8>); 3] {
    [
        ("format", FORMAT.as_bytes().to_vec()),
        ("ledger", ledger.to_vec()),
        ("organisation", organisation.as_str().as_bytes().to_vec()),
    ]
}

struct RawTransaction {
    position: u64,
    height: u64,
    time_ms: u64,
    bytes: Vec<u8>,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<RawTransaction> {
    Ok(RawTransaction {
        position: row.get(0)?,
        height: row.get(1)?,
        time_ms: row.get(2)?,
        bytes: row.get(3)?,
    })
}

/// SQLite's integers have 63 bits; ours that reach it are counters and times far below that, and bounds of spans of time.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn database(path: &Path, error: &rusqlite::Error) -> StoreError {
    StoreError::Database {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
