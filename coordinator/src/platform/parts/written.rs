//! Uploads that the platform itself put onto the record. Each is remembered for as long as an upload would be: whoever missed the answer asks
//! again and gets it, and nothing is written twice, whatever broke off when.

use rusqlite::{OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::Whole;
use super::list::{List, PartsError, integer};
use crate::record::{Identifier, TransactionId, UserName, VersionName};

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS written (
        upload BLOB PRIMARY KEY,
        tenant TEXT NOT NULL,
        dataset TEXT NOT NULL,
        document TEXT NOT NULL,
        version INTEGER NOT NULL,
        author TEXT NOT NULL,
        length INTEGER NOT NULL,
        sha256 BLOB NOT NULL,
        transaction_id BLOB NOT NULL,
        transaction_expires_ms INTEGER NOT NULL,
        expires_ms INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS written_expire ON written (expires_ms);
";

/// The transaction that was signed for an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) upload: Uuid,
    /// What it writes.
    pub(super) name: VersionName,
    pub(super) author: UserName,
    /// What the sender said that it sent.
    pub(super) whole: Whole,
    pub(super) transaction: TransactionId,
    pub(super) transaction_expires_ms: u64,
}

impl List {
    /// Remembers, before it is on its way, what was signed for an upload; in place of what was before.
    pub(super) async fn signed(&self, it: Signed, expires_ms: u64) -> Result<(), PartsError> {
        self.with(move |connection| {
            connection.execute(
                "INSERT OR REPLACE INTO written VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    it.upload.into_bytes(),
                    it.name.tenant.as_str(),
                    it.name.dataset.as_str(),
                    it.name.document.as_str(),
                    integer(it.name.version),
                    it.author.user.as_str(),
                    integer(it.whole.length),
                    it.whole.sha256,
                    it.transaction,
                    integer(it.transaction_expires_ms),
                    integer(expires_ms),
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// What was signed for an upload, if it is remembered.
    pub(super) async fn signed_for(
        &self,
        tenant: Identifier,
        upload: Uuid,
    ) -> Result<Option<Signed>, PartsError> {
        self.with(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT tenant, dataset, document, version, author, length, sha256, transaction_id, transaction_expires_ms
                 FROM written WHERE upload = ?1 AND tenant = ?2",
            )?;
            let found = select.query_row(params![upload.into_bytes(), tenant.as_str()], |row| {
                Ok(signed(upload, row))
            });
            match found.optional()? {
                Some(read) => Ok(Some(read.map_err(|_| PartsError::Damaged)?)),
                None => Ok(None),
            }
        })
        .await
    }

    /// It never comes onto the record.
    pub(super) async fn forget_signed(&self, upload: Uuid) -> Result<(), PartsError> {
        self.with(move |connection| {
            let sql = "DELETE FROM written WHERE upload = ?1";
            connection.execute(sql, [upload.into_bytes()])?;
            Ok(())
        })
        .await
    }

    pub(super) async fn forget_written(&self, now_ms: u64) -> Result<(), PartsError> {
        self.with(move |connection| {
            let sql = "DELETE FROM written WHERE expires_ms <= ?1";
            connection.execute(sql, [integer(now_ms)])?;
            Ok(())
        })
        .await
    }
}

fn signed(upload: Uuid, row: &Row<'_>) -> Result<Signed, Box<dyn std::error::Error>> {
    let text = |column: usize| row.get::<_, String>(column);
    let number = |column: usize| -> Result<u64, Box<dyn std::error::Error>> {
        Ok(u64::try_from(row.get::<_, i64>(column)?)?)
    };
    let tenant: Identifier = text(0)?.parse()?;
    Ok(Signed {
        upload,
        author: UserName {
            tenant: tenant.clone(),
            user: text(4)?.parse()?,
        },
        name: VersionName {
            tenant,
            dataset: text(1)?.parse()?,
            document: text(2)?.parse()?,
            version: number(3)?,
        },
        whole: Whole {
            length: number(5)?,
            sha256: row.get(6)?,
        },
        transaction: row.get(7)?,
        transaction_expires_ms: number(8)?,
    })
}
