//! The rows on the disk.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Entry, Purpose, Put, VersionKeyId};
use crate::master_key::KeyId;
use crate::record::{DocumentName, VersionName};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS keys (
        id BLOB PRIMARY KEY,
        tenant TEXT NOT NULL,
        dataset TEXT NOT NULL,
        document TEXT NOT NULL,
        version INTEGER NOT NULL,
        purpose INTEGER NOT NULL,
        master BLOB NOT NULL,
        wrapped BLOB NOT NULL,
        made_ms INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS by_name ON keys (tenant, dataset, document, version);
    CREATE INDEX IF NOT EXISTS by_master ON keys (master, id);
";
const COLUMNS: &str = "id, tenant, dataset, document, version, purpose, master, wrapped, made_ms";

/// Why the version keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// The database failed.
    #[error(
        "the version keys cannot be used: {0}; put the disk in order, or restore keys.sqlite from a backup"
    )]
    Database(String),
    /// A row makes no sense.
    #[error("keys.sqlite is damaged: restore it from a backup")]
    Damaged,
    /// The work was broken off.
    #[error("the version keys cannot be used: the work was broken off; try again")]
    Broken,
}

impl KeyStoreError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Database(_) | Self::Broken => "key-store",
            Self::Damaged => "key-store-damaged",
        }
    }

    /// The same, for another one who waits.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Database(reason) => Self::Database(reason.clone()),
            Self::Damaged => Self::Damaged,
            Self::Broken => Self::Broken,
        }
    }
}

impl From<rusqlite::Error> for KeyStoreError {
    fn from(e: rusqlite::Error) -> Self {
        Self::Database(e.to_string())
    }
}

pub(super) struct Rows(Connection);

impl Rows {
    pub(super) fn open(path: &Path) -> Result<Self, KeyStoreError> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "secure_delete", "ON")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(connection))
    }

    pub(super) fn put(
        &mut self,
        entries: &[Entry],
        present: &KeyId,
    ) -> Result<Vec<Put>, KeyStoreError> {
        let transaction = self.0.transaction()?;
        let mut puts = Vec::with_capacity(entries.len());
        {
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO keys VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            for entry in entries {
                if entry.master != *present {
                    puts.push(Put::Outdated);
                    continue;
                }
                let name = &entry.name;
                insert.execute(params![
                    entry.id,
                    name.tenant.as_str(),
                    name.dataset.as_str(),
                    name.document.as_str(),
                    integer(name.version),
                    number(entry.purpose),
                    entry.master,
                    entry.wrapped,
                    integer(entry.made_ms),
                ])?;
                puts.push(Put::Done);
            }
        }
        transaction.commit()?;
        Ok(puts)
    }

    pub(super) fn get(&self, id: &VersionKeyId) -> Result<Option<Entry>, KeyStoreError> {
        let mut select = self
            .0
            .prepare_cached(&format!("SELECT {COLUMNS} FROM keys WHERE id = ?1"))?;
        let found = select.query_row([id.as_slice()], raw).optional()?;
        found.map(Entry::try_from).transpose()
    }

    pub(super) fn mark(&mut self, ids: &[VersionKeyId]) -> Result<(), KeyStoreError> {
        let transaction = self.0.transaction()?;
        {
            let mut update =
                transaction.prepare_cached("UPDATE keys SET purpose = ?2 WHERE id = ?1")?;
            for id in ids {
                update.execute(params![id, number(Purpose::Committed)])?;
            }
        }
        Ok(transaction.commit()?)
    }

    pub(super) fn remove(
        &mut self,
        ids: &[VersionKeyId],
        shred: bool,
    ) -> Result<(), KeyStoreError> {
        let transaction = self.0.transaction()?;
        {
            let mut delete = transaction.prepare_cached("DELETE FROM keys WHERE id = ?1")?;
            for id in ids {
                delete.execute([id.as_slice()])?;
            }
        }
        transaction.commit()?;
        if shred {
            // The log still has the rows as they were: it is copied into the file, where they are overwritten, and emptied.
            let done = self
                .0
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                    row.get::<_, i64>(0)
                })?;
            if done != 0 {
                let reason = "somebody else holds keys.sqlite open".to_owned();
                return Err(KeyStoreError::Database(reason));
            }
        }
        Ok(())
    }

    pub(super) fn of_document(&self, name: &DocumentName) -> Result<Vec<Entry>, KeyStoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM keys WHERE tenant = ?1 AND dataset = ?2 AND document = ?3 ORDER BY version"
        );
        let names = [&name.tenant, &name.dataset, &name.document].map(|it| it.as_str());
        self.entries(&sql, &names)
    }

    pub(super) fn after(
        &self,
        after: Option<&VersionKeyId>,
        limit: u32,
    ) -> Result<Vec<Entry>, KeyStoreError> {
        let sql = format!("SELECT {COLUMNS} FROM keys WHERE id > ?1 ORDER BY id LIMIT ?2");
        self.entries(&sql, &[&behind(after) as &dyn rusqlite::ToSql, &limit])
    }

    pub(super) fn not_under(
        &self,
        master: &KeyId,
        after: Option<&VersionKeyId>,
        limit: u32,
    ) -> Result<Vec<Entry>, KeyStoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM keys WHERE master <> ?1 AND id > ?2 ORDER BY id LIMIT ?3"
        );
        let found: [&dyn rusqlite::ToSql; 3] = [&master.as_slice(), &behind(after), &limit];
        self.entries(&sql, &found)
    }

    pub(super) fn counts(&self) -> Result<Vec<(KeyId, u64)>, KeyStoreError> {
        let mut select = self
            .0
            .prepare_cached("SELECT master, COUNT(*) FROM keys GROUP BY master ORDER BY master")?;
        let rows = select.query_map([], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?))
        })?;
        let mut counts = Vec::new();
        for row in rows {
            let (master, count) = row?;
            let master = master.try_into().map_err(|_| KeyStoreError::Damaged)?;
            counts.push((master, u64::try_from(count).unwrap_or(0)));
        }
        Ok(counts)
    }

    pub(super) fn replace(&mut self, entries: &[(KeyId, Entry)]) -> Result<(), KeyStoreError> {
        let transaction = self.0.transaction()?;
        {
            let mut update = transaction.prepare_cached(
                "UPDATE keys SET master = ?3, wrapped = ?4 WHERE id = ?1 AND master = ?2",
            )?;
            for (before, entry) in entries {
                update.execute(params![entry.id, before, entry.master, entry.wrapped])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn entries(
        &self,
        sql: &str,
        parameters: &[impl rusqlite::ToSql],
    ) -> Result<Vec<Entry>, KeyStoreError> {
        let mut select = self.0.prepare_cached(sql)?;
        let found = select.query_map(rusqlite::params_from_iter(parameters), raw)?;
        found
            .map(|row| row.map_err(KeyStoreError::from)?.try_into())
            .collect()
    }
}

/// The columns of a row as they are.
struct RawEntry {
    id: Vec<u8>,
    names: [String; 3],
    version: i64,
    purpose: i64,
    master: Vec<u8>,
    wrapped: Vec<u8>,
    made_ms: i64,
}

fn raw(row: &Row<'_>) -> Result<RawEntry, rusqlite::Error> {
    Ok(RawEntry {
        id: row.get(0)?,
        names: [row.get(1)?, row.get(2)?, row.get(3)?],
        version: row.get(4)?,
        purpose: row.get(5)?,
        master: row.get(6)?,
        wrapped: row.get(7)?,
        made_ms: row.get(8)?,
    })
}

impl TryFrom<RawEntry> for Entry {
    type Error = KeyStoreError;

    fn try_from(raw: RawEntry) -> Result<Self, KeyStoreError> {
        let [tenant, dataset, document] = raw.names;
        let read = || {
            Some(Self {
                id: raw.id.try_into().ok()?,
                name: VersionName {
                    tenant: tenant.parse().ok()?,
                    dataset: dataset.parse().ok()?,
                    document: document.parse().ok()?,
                    version: u64::try_from(raw.version).ok()?,
                },
                purpose: match raw.purpose {
                    0 => Purpose::Prepared,
                    1 => Purpose::Committed,
                    2 => Purpose::Parts,
                    _ => return None,
                },
                master: raw.master.try_into().ok()?,
                wrapped: raw.wrapped,
                made_ms: u64::try_from(raw.made_ms).ok()?,
            })
        };
        read().ok_or(KeyStoreError::Damaged)
    }
}

fn number(purpose: Purpose) -> i64 {
    match purpose {
        Purpose::Prepared => 0,
        Purpose::Committed => 1,
        Purpose::Parts => 2,
    }
}

/// An empty name sorts before all others.
fn behind(after: Option<&VersionKeyId>) -> Vec<u8> {
    after.map_or_else(Vec::new, |id| id.to_vec())
}

fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
