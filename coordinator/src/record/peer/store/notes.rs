//! Numbers that a peer keeps beside its blocks.

use super::{Store, StoreError, integer};
use rusqlite::{Connection, OptionalExtension as _, params};

impl Store {
    /// A number under this name.
    pub(in crate::record::peer) fn note(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let value: Option<Vec<u8>> = self
            .connection
            .prepare_cached("SELECT value FROM meta WHERE key = ?1")
            .and_then(|mut it| it.query_row([name], |row| row.get(0)).optional())
            .map_err(|error| self.database(error))?;
        value
            .map(|bytes| {
                let bytes = bytes
                    .try_into()
                    .map_err(|_| self.damaged(0, format!("its note `{name}` is not a number")))?;
                Ok(u64::from_be_bytes(bytes))
            })
            .transpose()
    }

    /// Puts numbers under their names; durable when it returns.
    pub(in crate::record::peer) fn put_notes(
        &self,
        notes: &[(&str, u64)],
    ) -> Result<(), StoreError> {
        let sql = |error| self.database(error);
        let transaction = self.connection.unchecked_transaction().map_err(sql)?;
        put(&transaction, notes).map_err(sql)?;
        transaction.commit().map_err(sql)
    }

    /// Remembers approvals, and what is noted with them; durable when it returns.
    pub(in crate::record::peer) fn remember(
        &self,
        issued: &[(crate::record::signed::TransactionId, u64, Vec<u8>)],
        notes: &[(&str, u64)],
    ) -> Result<(), StoreError> {
        let sql = |error| self.database(error);
        let transaction = self.connection.unchecked_transaction().map_err(sql)?;
        for (read, not_after, certificate) in issued {
            transaction
                .prepare_cached("INSERT INTO approvals VALUES (?1, ?2, ?3)")
                .and_then(|mut insert| {
                    insert.execute(params![read.as_slice(), integer(*not_after), certificate])
                })
                .map_err(sql)?;
        }
        put(&transaction, notes).map_err(sql)?;
        transaction.commit().map_err(sql)
    }

    /// Gives all certificates that were issued, ascending by their read, until `take` says no; and the last block, as it was at that moment.
    pub(in crate::record::peer) fn approvals_in_order(
        &self,
        mut take: impl FnMut(Vec<u8>) -> bool,
    ) -> Result<u64, StoreError> {
        let sql = |error| self.database(error);
        // One read transaction: approvals and block are of one moment.
        let snapshot = self.connection.unchecked_transaction().map_err(sql)?;
        let block = self.height()?;
        {
            let mut all = snapshot
                .prepare_cached("SELECT certificate FROM approvals ORDER BY read")
                .map_err(sql)?;
            let mut rows = all.query([]).map_err(sql)?;
            while let Some(row) = rows.next().map_err(sql)? {
                if !take(row.get(0).map_err(sql)?) {
                    break;
                }
            }
        }
        Ok(block)
    }
}

fn put(connection: &Connection, notes: &[(&str, u64)]) -> rusqlite::Result<()> {
    for (name, number) in notes {
        connection
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?
            .execute(params![name, number.to_be_bytes().as_slice()])?;
    }
    Ok(())
}
