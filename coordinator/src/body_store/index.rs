//! Which body belongs to which version: what the platform keeps for itself, because the record has only encrypted pointers, and of an
//! erased version not even those.
//!
//! A row is durable before the note about the upload goes, and goes after the body: whatever happens in between is found again at the
//! next start. What is deleted is overwritten in the file.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Note, Pointer};
use crate::record::VersionName;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS bodies (
        tenant TEXT NOT NULL,
        dataset TEXT NOT NULL,
        document TEXT NOT NULL,
        version INTEGER NOT NULL,
        pointer BLOB NOT NULL,
        PRIMARY KEY (tenant, dataset, document, version)
    ) WITHOUT ROWID;
";

/// Why the list of bodies cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the list of bodies cannot be used: {0}; put the disk in order, or restore bodies.sqlite from a backup"
)]
pub struct IndexError(#[from] rusqlite::Error);

/// The list.
pub(super) struct BodyIndex(Mutex<Connection>);

/// A body that the record knows, or knew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// The version that it is of.
    pub name: VersionName,
    /// Where it lies.
    pub pointer: Pointer,
}

impl BodyIndex {
    pub(super) fn open(path: &Path) -> Result<Self, IndexError> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "secure_delete", "ON")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, note: &Note) -> Result<(), IndexError> {
        let connection = self.connection();
        let mut insert = connection
            .prepare_cached("INSERT OR REPLACE INTO bodies VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let (tenant, dataset, document) = (&note.tenant, &note.dataset, &note.document);
        insert.execute(params![
            tenant.as_str(),
            dataset.as_str(),
            document.as_str(),
            integer(note.version),
            note.pointer.as_bytes(),
        ])?;
        Ok(())
    }

    /// At most `limit` bodies behind `after`, by name. Rows that make no sense are passed over.
    pub(super) fn after(
        &self,
        after: Option<&VersionName>,
        limit: u32,
    ) -> Result<Vec<Indexed>, IndexError> {
        let connection = self.connection();
        let mut rows = connection.prepare_cached(
            "SELECT * FROM bodies WHERE (tenant, dataset, document, version) > (?1, ?2, ?3, ?4)
             ORDER BY tenant, dataset, document, version LIMIT ?5",
        )?;
        let text = |pick: fn(&VersionName) -> &str| after.map_or("", pick);
        let found = rows.query_map(
            params![
                text(|it| it.tenant.as_str()),
                text(|it| it.dataset.as_str()),
                text(|it| it.document.as_str()),
                after.map_or(-1, |it| integer(it.version)),
                limit
            ],
            indexed,
        )?;
        Ok(found
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    /// Where the body of a version lies.
    pub(super) fn pointer_of(&self, name: &VersionName) -> Result<Option<Pointer>, IndexError> {
        let connection = self.connection();
        let mut row = connection.prepare_cached(
            "SELECT pointer FROM bodies WHERE tenant = ?1 AND dataset = ?2 AND document = ?3 AND version = ?4",
        )?;
        let names = params![
            name.tenant.as_str(),
            name.dataset.as_str(),
            name.document.as_str(),
            integer(name.version)
        ];
        let found: Option<Vec<u8>> = row.query_row(names, |row| row.get(0)).optional()?;
        Ok(found.and_then(|pointer| Pointer::from_slice(&pointer)))
    }

    pub(super) fn remove(&self, name: &VersionName) -> Result<(), IndexError> {
        self.connection()
            .prepare_cached(
                "DELETE FROM bodies WHERE tenant = ?1 AND dataset = ?2 AND document = ?3 AND version = ?4",
            )?
            .execute(params![
                name.tenant.as_str(),
                name.dataset.as_str(),
                name.document.as_str(),
                integer(name.version)
            ])?;
        Ok(())
    }
}

fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn indexed(row: &Row<'_>) -> Result<Option<Indexed>, rusqlite::Error> {
    let text = |column: usize| row.get::<_, String>(column);
    let (tenant, dataset, document) = (text(0)?, text(1)?, text(2)?);
    let (version, pointer): (i64, Vec<u8>) = (row.get(3)?, row.get(4)?);
    let read = || {
        Some(Indexed {
            name: VersionName {
                tenant: tenant.parse().ok()?,
                dataset: dataset.parse().ok()?,
                document: document.parse().ok()?,
                version: u64::try_from(version).ok()?,
            },
            pointer: Pointer::from_slice(&pointer)?,
        })
    };
    Ok(read())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn note(document: &str, version: u64) -> Note {
        let id = |name: &str| name.parse().unwrap();
        Note {
            tenant: id("acme"),
            dataset: id("designs"),
            document: id(document),
            version,
            pointer: Pointer::from_slice(&[version as u8; 16]).unwrap(),
            upload: None,
            sealed_pointer: Vec::new(),
            expires_ms: None,
        }
    }

    #[test]
    fn bodies_are_listed_in_order_until_they_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let open = || BodyIndex::open(&folder.path().join("bodies.sqlite")).unwrap();
        let index = open();
        for (document, version) in [("b", 1), ("a", 2), ("a", 1), ("a", 10)] {
            index.put(&note(document, version)).unwrap();
        }
        index.put(&note("a", 2)).unwrap();
        let names = |index: &BodyIndex, after: Option<&VersionName>, limit| {
            let found = index.after(after, limit).unwrap().into_iter();
            found
                .map(|it| format!("{}{}", it.name.document, it.name.version))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&index, None, 9), ["a1", "a2", "a10", "b1"]);
        assert_eq!(names(&index, Some(&note("a", 2).name()), 1), ["a10"]);
        let one = index.after(None, 1).unwrap();
        assert_eq!(one[0].pointer.as_bytes(), [1; 16]);
        let pointer = |index: &BodyIndex| index.pointer_of(&note("a", 10).name()).unwrap();
        assert_eq!(pointer(&index).unwrap().as_bytes(), [10; 16]);
        index.remove(&note("a", 10).name()).unwrap();
        assert_eq!(pointer(&index), None);
        assert_eq!(names(&open(), None, 9), ["a1", "a2", "b1"]);
    }
}
