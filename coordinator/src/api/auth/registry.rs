//! Which API keys there are: a small SQLite file in the platform's folder.
//!
//! It holds no secret: a key's last part is a MAC over its tenant and id, which is computed again when it is shown. What is
//! here is what can change: name, scopes, expiry, revocation. Every request looks its key up here, so a key that is revoked, by
//! whichever process, opens nothing from the next request on.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use super::scope::Scopes;
use crate::record::Identifier;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS api_keys (
        id TEXT PRIMARY KEY,
        tenant TEXT NOT NULL,
        name TEXT NOT NULL,
        scopes TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        expires_ms INTEGER,
        revoked_ms INTEGER,
        replaced_by TEXT,
        user TEXT
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS api_keys_by_tenant ON api_keys (tenant, created_ms);
";
/// Most keys of one tenant that are in use.
pub const MAX_KEYS: u64 = 1_000;
/// How long a key that expired or was revoked stays on the list, in milliseconds: 90 days.
pub const KEPT_MS: u64 = 90 * 24 * 60 * 60 * 1000;
/// Most keys of one tenant that stay on the list after their end; those that ended first go before their time.
pub const MAX_KEPT: u64 = 1_000;

/// What is known of a key. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "id": "0011223344556677", "tenant": "acme", "name": "reports", "scopes": ["read"], "created_ms": 1_795_000_000_000_u64
}))]
pub struct KeyRecord {
    /// The key's identifier: 16 hexadecimal digits, no secret.
    pub id: String,
    /// The tenant that it opens.
    pub tenant: String,
    /// What people call it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// The one user who may act through it; any of the tenant's, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Identifier>,
    /// When it was made.
    pub created_ms: u64,
    /// From when on it opens nothing; never, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<u64>,
    /// The key that took its place in a rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<String>,
}

/// Why the registry cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the list of API keys cannot be used: {0}; put the disk in order, or restore api-keys.sqlite from a backup"
)]
pub struct RegistryError(#[from] rusqlite::Error);

/// What became of a new key.
pub(super) enum Inserted {
    /// It is on the list.
    Yes,
    /// Its tenant has as many as it may.
    TooMany,
    /// The key whose place it was to take has been revoked or replaced.
    Overtaken,
}

/// The list of keys. Several processes may have it open.
pub(super) struct Registry(Mutex<Connection>);

impl Registry {
    /// Opens the list, or begins one.
    pub(super) fn open(path: &Path) -> Result<Self, RegistryError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        with_users(&mut connection)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key of this tenant with this id.
    pub(super) fn get(&self, tenant: &str, id: &str) -> Result<Option<KeyRecord>, RegistryError> {
        Ok(self
            .connection()
            .prepare_cached("SELECT * FROM api_keys WHERE id = ?1 AND tenant = ?2")?
            .query_row([id, tenant], record)
            .optional()?)
    }

    /// A tenant's keys, the oldest first, `limit` at most; those after the one with the id `after`, if there is such a key.
    pub(super) fn list(
        &self,
        tenant: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<KeyRecord>, RegistryError> {
        let connection = self.connection();
        let mut rows = connection.prepare_cached(
            "SELECT * FROM api_keys WHERE tenant = ?1 AND (?2 IS NULL OR (created_ms, id) >
             (SELECT created_ms, id FROM api_keys WHERE tenant = ?1 AND id = ?2)) ORDER BY created_ms, id LIMIT ?3",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let records = rows.query_map(params![tenant, after, limit], record)?;
        Ok(records.collect::<Result<_, _>>()?)
    }

    /// Puts a key in, unless its tenant has [`MAX_KEYS`] in use. If it takes the place of another, that one ends at `ends_ms` at the
    /// latest; it must not have been revoked or replaced meanwhile. Keys that have been over for [`KEPT_MS`] go, and of the others that are over
    /// all but the last [`MAX_KEPT`]: whoever makes keys and revokes them fills no disk.
    pub(super) fn insert(
        &self,
        key: &KeyRecord,
        replaces: Option<(&str, u64)>,
    ) -> Result<Inserted, RegistryError> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let now_ms = integer(key.created_ms);
        transaction.execute(
            "DELETE FROM api_keys WHERE tenant = ?1 AND min(coalesce(revoked_ms, expires_ms), coalesce(expires_ms, revoked_ms)) <= ?2",
            params![key.tenant, integer(key.created_ms.saturating_sub(KEPT_MS))],
        )?;
        transaction.execute(
            "DELETE FROM api_keys WHERE id IN (
                SELECT id FROM api_keys WHERE tenant = ?1 AND (revoked_ms IS NOT NULL OR expires_ms <= ?2)
                ORDER BY min(coalesce(revoked_ms, expires_ms), coalesce(expires_ms, revoked_ms)) DESC, id LIMIT -1 OFFSET ?3)",
            params![key.tenant, now_ms, integer(MAX_KEPT)],
        )?;
        let count: i64 = transaction.query_row(
            "SELECT count(*) FROM api_keys WHERE tenant = ?1 AND revoked_ms IS NULL AND coalesce(expires_ms > ?2, TRUE)",
            params![key.tenant, now_ms],
            |row| row.get(0),
        )?;
        if u64::try_from(count).unwrap_or(u64::MAX) >= MAX_KEYS {
            return Ok(Inserted::TooMany);
        }
        transaction.execute(
            "INSERT INTO api_keys (id, tenant, name, scopes, created_ms, expires_ms, user) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                key.id,
                key.tenant,
                key.name,
                key.scopes.to_string(),
                now_ms,
                key.expires_ms.map(integer),
                key.user.as_ref().map(Identifier::as_str)
            ],
        )?;
        if let Some((old, ends_ms)) = replaces {
            let replaced = transaction.execute(
                "UPDATE api_keys SET replaced_by = ?1, expires_ms = min(coalesce(expires_ms, ?2), ?2)
                 WHERE id = ?3 AND tenant = ?4 AND revoked_ms IS NULL AND replaced_by IS NULL",
                params![key.id, integer(ends_ms), old, key.tenant],
            )?;
            if replaced != 1 {
                return Ok(Inserted::Overtaken);
            }
        }
        transaction.commit()?;
        Ok(Inserted::Yes)
    }

    /// Revokes a key for good; the record of it, if there is such a key. Doing it again changes nothing.
    pub(super) fn revoke(
        &self,
        tenant: &str,
        id: &str,
        now_ms: u64,
    ) -> Result<Option<KeyRecord>, RegistryError> {
        self.connection().execute(
            "UPDATE api_keys SET revoked_ms = ?1 WHERE id = ?2 AND tenant = ?3 AND revoked_ms IS NULL",
            params![integer(now_ms), id, tenant],
        )?;
        self.get(tenant, id)
    }
}

/// SQLite's integers are signed; times beyond them never come.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Lists from before keys could be bound to users get the column.
fn with_users(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let known: i64 = transaction.query_row(
        "SELECT count(*) FROM pragma_table_info('api_keys') WHERE name = 'user'",
        [],
        |row| row.get(0),
    )?;
    if known == 0 {
        transaction.execute("ALTER TABLE api_keys ADD COLUMN user TEXT", [])?;
    }
    transaction.commit()
}

fn record(row: &Row<'_>) -> Result<KeyRecord, rusqlite::Error> {
    let time = |column: &str| -> Result<Option<u64>, rusqlite::Error> {
        Ok(row
            .get::<_, Option<i64>>(column)?
            .map(|it| u64::try_from(it).unwrap_or(0)))
    };
    let scopes: String = row.get("scopes")?;
    let user: Option<String> = row.get("user")?;
    let user = user.map(|user| user.parse()).transpose();
    Ok(KeyRecord {
        id: row.get("id")?,
        tenant: row.get("tenant")?,
        name: row.get("name")?,
        scopes: scopes.parse().map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(
                3,
                rusqlite::types::Type::Text,
                Box::new(error),
            )
        })?,
        user: user.map_err(|error: crate::record::IdentifierError| {
            rusqlite::Error::FromSqlConversionFailure(
                8,
                rusqlite::types::Type::Text,
                Box::new(error),
            )
        })?,
        created_ms: time("created_ms")?.unwrap_or(0),
        expires_ms: time("expires_ms")?,
        revoked_ms: time("revoked_ms")?,
        replaced_by: row.get("replaced_by")?,
    })
}
