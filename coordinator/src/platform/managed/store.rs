//! The kept keys' file: SQLite, each key sealed. What is deleted is overwritten, and the journal cut off.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

use crate::master_key::{KeyId, wrapped_under};
use crate::record::UserName;

/// Keys of one tenant that the record has not taken over, and their predecessors: those of two hours.
const MAX_NEW: i64 = 1_000;
const NEW_FOR_MS: u64 = 2 * 3_600_000;
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS managed_keys (
        tenant TEXT NOT NULL,
        user TEXT NOT NULL,
        public_key BLOB NOT NULL,
        sealed BLOB NOT NULL,
        made_ms INTEGER NOT NULL,
        PRIMARY KEY (tenant, user, public_key)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS managed_keys_by_time ON managed_keys (tenant, made_ms);
";

/// Which key: a user's, by its public half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::platform) struct KeyName {
    pub(in crate::platform) user: UserName,
    pub(in crate::platform) public_key: [u8; 32],
}

/// A key as it is kept.
#[derive(Clone)]
pub(in crate::platform) struct KeptKey {
    pub(in crate::platform) name: KeyName,
    /// The private half under the master key.
    pub(in crate::platform) sealed: Vec<u8>,
    /// When it was made, milliseconds since the Unix epoch.
    pub(in crate::platform) made_ms: u64,
}

/// What became of a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It is durable.
    Done,
    /// Its tenant has made too many of late.
    TooMany,
    /// It is under a master key of before: seal it again.
    Outdated,
}

pub(super) struct Store(Mutex<Connection>);

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self, rusqlite::Error> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "secure_delete", "ON")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a key, unless its tenant has made too many of late, or it is sealed under a master key that is not the present one any more: the
    /// rewrapping may have passed here already. `present` is asked while nobody else can look at the keys.
    pub(super) fn insert(
        &self,
        kept: &KeptKey,
        present: impl FnOnce() -> KeyId,
    ) -> Result<Inserted, rusqlite::Error> {
        let mut connection = self.connection();
        if wrapped_under(&kept.sealed) != Some(present()) {
            return Ok(Inserted::Outdated);
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let tenant = kept.name.user.tenant.as_str();
        let since = integer(kept.made_ms.saturating_sub(NEW_FOR_MS));
        let new: i64 = transaction.query_row(
            "SELECT count(*) FROM managed_keys WHERE tenant = ?1 AND made_ms >= ?2",
            params![tenant, since],
            |row| row.get(0),
        )?;
        if new >= MAX_NEW {
            return Ok(Inserted::TooMany);
        }
        transaction.execute(
            "INSERT INTO managed_keys (tenant, user, public_key, sealed, made_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                tenant,
                kept.name.user.user.as_str(),
                kept.name.public_key,
                kept.sealed,
                integer(kept.made_ms)
            ],
        )?;
        transaction.commit()?;
        Ok(Inserted::Done)
    }

    /// A key, if it is kept.
    pub(super) fn get(&self, name: &KeyName) -> Result<Option<KeptKey>, rusqlite::Error> {
        self.connection()
            .prepare_cached(
                "SELECT * FROM managed_keys WHERE tenant = ?1 AND user = ?2 AND public_key = ?3",
            )?
            .query_row(
                params![
                    name.user.tenant.as_str(),
                    name.user.user.as_str(),
                    name.public_key
                ],
                kept,
            )
            .optional()
    }

    /// Keys behind `after`, by name.
    pub(super) fn after(
        &self,
        after: Option<&KeyName>,
        limit: u32,
    ) -> Result<Vec<KeptKey>, rusqlite::Error> {
        let connection = self.connection();
        let mut rows = connection.prepare_cached(
            "SELECT * FROM managed_keys WHERE (tenant, user, public_key) > (?1, ?2, ?3)
             ORDER BY tenant, user, public_key LIMIT ?4",
        )?;
        let (tenant, user) = match after {
            Some(name) => (name.user.tenant.as_str(), name.user.user.as_str()),
            None => ("", ""),
        };
        let public_key: &[u8] = after.map_or(&[], |name| &name.public_key);
        let found = rows.query_map(params![tenant, user, public_key, limit], kept)?;
        found.collect()
    }

    /// Puts another sealing of a key in the place of the one before, if the key is still kept.
    pub(super) fn replace(&self, kept: &KeptKey) -> Result<(), rusqlite::Error> {
        let KeptKey { name, sealed, .. } = kept;
        self.connection().execute(
            "UPDATE managed_keys SET sealed = ?4 WHERE tenant = ?1 AND user = ?2 AND public_key = ?3",
            params![name.user.tenant.as_str(), name.user.user.as_str(), name.public_key, sealed],
        )?;
        Ok(())
    }

    /// Destroys keys; how many of them were kept.
    pub(super) fn destroy(&self, names: &[KeyName]) -> Result<usize, rusqlite::Error> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut destroyed = 0;
        for name in names {
            destroyed += transaction.execute(
                "DELETE FROM managed_keys WHERE tenant = ?1 AND user = ?2 AND public_key = ?3",
                params![
                    name.user.tenant.as_str(),
                    name.user.user.as_str(),
                    name.public_key
                ],
            )?;
        }
        transaction.commit()?;
        if destroyed > 0 {
            // The journal still has the pages from before.
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        Ok(destroyed)
    }
}

/// SQLite's integers are signed; times beyond them never come.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn kept(row: &Row<'_>) -> Result<KeptKey, rusqlite::Error> {
    let name = |column: &str| {
        let text: String = row.get(column)?;
        text.parse().map_err(|e: crate::record::IdentifierError| {
            rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e))
        })
    };
    let user = UserName {
        tenant: name("tenant")?,
        user: name("user")?,
    };
    Ok(KeptKey {
        name: KeyName {
            user,
            public_key: row.get("public_key")?,
        },
        sealed: row.get("sealed")?,
        made_ms: u64::try_from(row.get::<_, i64>("made_ms")?).unwrap_or(0),
    })
}
