//! Where the peer stands in an order that comes from elsewhere: the batch that its last block was made of, written with that block; and who orders from which epoch on.

use super::{Store, StoreError};
use rusqlite::{Connection, OptionalExtension as _, params};

const KEY: &str = "ordered";
/// Followed by the first epoch, in as many digits for all.
const MEMBERS: &str = "members/";

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

    /// Who orders from an epoch on. Durable when it returns.
    pub(in crate::record::peer) fn note_members(
        &self,
        epoch: u64,
        members: &[u8],
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")
            .and_then(|mut insert| {
                insert.execute(params![format!("{MEMBERS}{epoch:020}"), members])
            })
            .map(drop)
            .map_err(|error| self.database(error))
    }

    /// Who orders, by the first epoch; without those of epoch 0, who are in the genesis.
    pub(in crate::record::peer) fn members(&self) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let rows = || -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
            self.connection
                .prepare_cached("SELECT key, value FROM meta WHERE substr(key, 1, ?1) = ?2")?
                .query_map(params![MEMBERS.len(), MEMBERS], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?
                .collect()
        };
        let rows = rows().map_err(|error| self.database(error))?;
        let row = |(key, value): (String, Vec<u8>)| {
            let epoch = key.get(MEMBERS.len()..).and_then(|it| it.parse().ok());
            let epoch = epoch.ok_or_else(|| self.damaged(0, "an epoch is not a number"))?;
            Ok((epoch, value))
        };
        rows.into_iter().map(row).collect()
    }
}
