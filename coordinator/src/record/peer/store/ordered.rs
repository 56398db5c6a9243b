//! Where the peer stands in an order that comes from elsewhere: the batch that its last block was made of, written with that block.

use super::{Store, StoreError};
use rusqlite::{Connection, OptionalExtension as _, params};

const KEY: &str = "ordered";

pub(super) fn note(connection: &Connection, batch: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?
        .execute(params![KEY, batch.to_be_bytes().as_slice()])
        .map(drop)
}

impl Store {
    /// The batch of the last block; 0 before the first.
    pub(in crate::record::peer) fn ordered(&self) -> Result<u64, StoreError> {
        let value: Option<Vec<u8>> = self
            .connection
            .query_row("SELECT value FROM meta WHERE key = ?1", [KEY], |row| {
                row.get(0)
            })
            .optional()
            .map_err(|error| self.database(error))?;
        let Some(value) = value else { return Ok(0) };
        let batch = value.try_into().map_err(|_| {
            self.damaged(
                0,
                "the number of the batch that it stands at is not a number",
            )
        })?;
        Ok(u64::from_be_bytes(batch))
    }
}
