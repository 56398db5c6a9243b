//! The index of what transactions speak of, and what is found by it.
//!
//! It is made of the transactions alone and is under no root. A store whose index was made by an earlier release, which knew fewer subjects, has
//! it made anew when it is opened.
//!
//! A withdrawal names the change that it takes back by its hash, so changes are found by that as well, under `change:HASH`; this is no subject that anybody asks for.

use super::{Store, StoreError, StoredTransaction, integer, raw};
use crate::record::{
    audit::subjects_with,
    signed::SignedTransaction,
    transaction::{OrganisationChange, Transaction},
};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::ops::Range;

const KEY: &str = "index";
/// One more whenever [`Store::index`] knows more subjects.
const VERSION: &[u8] = b"3";

fn of_change(id: &[u8; 32]) -> String {
    format!("change:{}", hex::encode(id))
}

pub(super) fn note(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .execute(
            "INSERT OR REPLACE INTO meta VALUES (?1, ?2)",
            params![KEY, VERSION],
        )
        .map(drop)
}

impl Store {
    /// Makes the index anew, if it is of an earlier release.
    pub(super) fn bring_index_up_to_date(&self) -> Result<(), StoreError> {
        let sql = |error| self.database(error);
        let found: Option<Vec<u8>> = self
            .connection
            .query_row("SELECT value FROM meta WHERE key = ?1", [KEY], |row| {
                row.get(0)
            })
            .optional()
            .map_err(sql)?;
        if found.as_deref() == Some(VERSION) {
            return Ok(());
        }
        let transaction = self.connection.unchecked_transaction().map_err(sql)?;
        {
            let mut rows = transaction
                .prepare("SELECT position, bytes FROM transactions ORDER BY position")
                .map_err(sql)?;
            let mut rows = rows.query([]).map_err(sql)?;
            while let Some(row) = rows.next().map_err(sql)? {
                let position: u64 = row.get(0).map_err(|error| self.unreadable(0, error))?;
                let bytes: Vec<u8> = row.get(1).map_err(|error| self.unreadable(0, error))?;
                // What is no transaction is found out, with its block, when the blocks are replayed.
                let Ok(signed) = SignedTransaction::from_bytes(&bytes) else {
                    continue;
                };
                self.index(position, &signed)?;
            }
        }
        note(&transaction).map_err(sql)?;
        transaction.commit().map_err(sql)
    }

    /// Notes what a transaction speaks of. Those before it are in the index.
    pub(super) fn index(
        &self,
        position: u64,
        signed: &SignedTransaction,
    ) -> Result<(), StoreError> {
        let sql = |error| self.database(error);
        let mut insert = self
            .connection
            .prepare_cached("INSERT OR IGNORE INTO subjects VALUES (?1, ?2)")
            .map_err(sql)?;
        let withdrawn = self.withdrawn_by(signed)?;
        let subjects = subjects_with(signed, withdrawn.as_ref());
        let change = match signed.transaction() {
            Transaction::OrganisationEndorse(it) => Some(of_change(&it.change.id())),
            _ => None,
        };
        for subject in subjects.iter().map(ToString::to_string).chain(change) {
            insert
                .execute(params![subject, integer(position)])
                .map_err(sql)?;
        }
        Ok(())
    }

    /// What a withdrawal takes back: it names it by its hash, and somebody has endorsed it before.
    pub(in crate::record) fn withdrawn_by(
        &self,
        signed: &SignedTransaction,
    ) -> Result<Option<OrganisationChange>, StoreError> {
        let Transaction::OrganisationWithdraw(it) = signed.transaction() else {
            return Ok(None);
        };
        let endorsed = self.select(Some(&of_change(&it.change)), 0..u64::MAX, 1)?;
        Ok(endorsed
            .iter()
            .find_map(|row| match row.transaction.transaction() {
                Transaction::OrganisationEndorse(it) => Some(it.change.clone()),
                _ => None,
            }))
    }

    /// Transactions at these positions, in order: those of one subject, or all.
    pub(in crate::record) fn select(
        &self,
        subject: Option<&str>,
        positions: Range<u64>,
        limit: usize,
    ) -> Result<Vec<StoredTransaction>, StoreError> {
        const ALL: &str = "SELECT t.position, t.height, b.time_ms, t.bytes
             FROM transactions t JOIN blocks b USING (height)
             WHERE ?1 IS NULL AND t.position >= ?2 AND t.position < ?3 ORDER BY t.position LIMIT ?4";
        const OF_SUBJECT: &str = "SELECT t.position, t.height, b.time_ms, t.bytes
             FROM subjects s JOIN transactions t USING (position) JOIN blocks b USING (height)
             WHERE s.subject = ?1 AND s.position >= ?2 AND s.position < ?3 ORDER BY s.position LIMIT ?4";
        let sql = |error| self.database(error);
        let query = if subject.is_some() { OF_SUBJECT } else { ALL };
        let mut statement = self.connection.prepare_cached(query).map_err(sql)?;
        let limit = integer(limit as u64);
        let rows = statement
            .query_map(
                params![
                    subject,
                    integer(positions.start),
                    integer(positions.end),
                    limit
                ],
                raw,
            )
            .map_err(sql)?;
        rows.map(|row| self.decode(row.map_err(sql)?)).collect()
    }

    /// The positions of the transactions in blocks from one time to another, both included. Times never run backwards from block to block.
    pub(in crate::record) fn positions(
        &self,
        time_ms: (u64, u64),
    ) -> Result<Range<u64>, StoreError> {
        let start = self.first_position_from(time_ms.0)?;
        let end = match time_ms.1.checked_add(1) {
            Some(after) => self.first_position_from(after)?,
            None => u64::MAX,
        };
        Ok(start..end)
    }

    /// The position of the first transaction in a block of this time or a later one.
    fn first_position_from(&self, time_ms: u64) -> Result<u64, StoreError> {
        let sql = |error| self.database(error);
        let (mut low, mut high) = (1, self.height()? + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let found: Option<u64> = self
                .connection
                .prepare_cached("SELECT time_ms FROM blocks WHERE height = ?1")
                .and_then(|mut it| it.query_row([integer(middle)], |row| row.get(0)).optional())
                .map_err(sql)?;
            if found.is_some_and(|found| found < time_ms) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let position: Option<u64> = self
            .connection
            .prepare_cached("SELECT min(position) FROM transactions WHERE height = ?1")
            .and_then(|mut it| it.query_row([integer(low)], |row| row.get(0)))
            .map_err(sql)?;
        Ok(position.unwrap_or(u64::MAX))
    }
}
