//! Which uploads in parts there are, and which pieces of each: in SQLite, so that they outlive the process.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use crate::body_store::Pointer;
use crate::platform::PlatformError;
use crate::record::{DatasetName, Identifier, UserName, VersionName};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS uploads (
        id BLOB PRIMARY KEY,
        tenant TEXT NOT NULL,
        dataset TEXT NOT NULL,
        document TEXT NOT NULL,
        version INTEGER,
        author TEXT NOT NULL,
        content_type TEXT,
        tag TEXT,
        expires_ms INTEGER NOT NULL,
        prepared BLOB
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS uploads_of_tenant ON uploads (tenant, id);
    CREATE INDEX IF NOT EXISTS uploads_expire ON uploads (expires_ms);
    CREATE INDEX IF NOT EXISTS uploads_prepared ON uploads (prepared);
    CREATE TABLE IF NOT EXISTS pieces (
        pointer BLOB PRIMARY KEY,
        tenant TEXT NOT NULL,
        upload BLOB NOT NULL,
        start INTEGER NOT NULL,
        length INTEGER NOT NULL,
        stored INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS pieces_of_upload ON pieces (upload, start);
    CREATE INDEX IF NOT EXISTS pieces_of_tenant ON pieces (tenant, length);
";
const UPLOAD: &str =
    "id, tenant, dataset, document, version, author, content_type, tag, expires_ms";

/// Why an upload in parts cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// The database failed.
    #[error(
        "the list of uploads in parts cannot be used: {0}; put the disk in order, or remove parts.sqlite: then they begin again"
    )]
    Database(String),
    /// A row or a piece makes no sense.
    #[error("an upload in parts is damaged: begin it again")]
    Damaged,
    /// The tag is too long.
    #[error("the tag of an upload has {} bytes at most", super::MAX_TAG)]
    Tag,
    /// The tenant has too many of them.
    #[error(
        "the tenant has {limit} uploads in parts already: complete or discard some, or have `limits.tenant_parts` raised"
    )]
    TooMany {
        /// The limit.
        limit: u32,
    },
    /// The tenant's uploads are too large together.
    #[error(
        "the tenant's uploads in parts have {limit} bytes already: complete or discard some, or have `limits.tenant_parts_bytes` raised"
    )]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Bytes are missing before these.
    #[error("{have} bytes have arrived, these begin at {from}: send those from {have} on")]
    Gap {
        /// Bytes that have arrived.
        have: u64,
        /// Where the new ones begin.
        from: u64,
    },
    /// Another request took over.
    #[error("another request sends to this upload by now: ask how far it is")]
    Overtaken,
    /// It is not complete.
    #[error("{have} bytes have arrived, the body has {length}: send the rest first")]
    Length {
        /// Bytes that have arrived.
        have: u64,
        /// Bytes that the sender speaks of.
        length: u64,
    },
    /// What became of it is not known.
    #[error("whether this upload is on the record already is not known yet: ask again in a moment")]
    Pending,
    /// It is not what was sent.
    #[error("what arrived has another SHA-256 than what was sent: discard it and begin again")]
    Differs,
}

impl PartsError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Database(_) => "parts-list",
            Self::Damaged => "parts-damaged",
            Self::Tag => "parts-tag",
            Self::TooMany { .. } => "parts-too-many",
            Self::TooLarge { .. } => "parts-too-large",
            Self::Gap { .. } => "parts-gap",
            Self::Overtaken => "parts-overtaken",
            Self::Length { .. } => "parts-incomplete",
            Self::Pending => "parts-pending",
            Self::Differs => "parts-differ",
        }
    }
}

impl From<rusqlite::Error> for PartsError {
    fn from(e: rusqlite::Error) -> Self {
        Self::Database(e.to_string())
    }
}

/// An upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::platform) struct Begun {
    pub(super) id: Uuid,
    pub(super) tenant: Identifier,
    pub(super) dataset: Identifier,
    pub(super) document: Identifier,
    pub(super) version: Option<u64>,
    pub(super) author: UserName,
    pub(super) content_type: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) expires_ms: u64,
}

impl Begun {
    /// The document, as version 0.
    pub(super) fn name(&self) -> VersionName {
        let dataset = DatasetName {
            tenant: self.tenant.clone(),
            dataset: self.dataset.clone(),
        };
        dataset.document(self.document.clone()).version(0)
    }
}

/// Some bytes of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::platform) struct Piece {
    pub(super) upload: Uuid,
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) pointer: Pointer,
}

/// The list.
#[derive(Clone)]
pub(in crate::platform) struct List(Arc<Mutex<Connection>>);

impl List {
    pub(in crate::platform) fn open(path: &Path) -> Result<Self, PartsError> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        connection.execute_batch(super::written::SCHEMA)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, PartsError> + Send + 'static,
    ) -> Result<T, PartsError> {
        let connection = self.0.clone();
        let done = tokio::task::spawn_blocking(move || {
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let broken = |_| PartsError::Database("the work was broken off".to_owned());
        done.await.map_err(broken)?
    }

    pub(super) async fn begin(&self, it: Begun, limit: u32) -> Result<(), PartsError> {
        self.with(move |connection| {
            let transaction = connection.transaction()?;
            let count: u32 = transaction.query_row(
                "SELECT COUNT(*) FROM uploads WHERE tenant = ?1",
                [it.tenant.as_str()],
                |row| row.get(0),
            )?;
            if count >= limit {
                return Err(PartsError::TooMany { limit });
            }
            transaction.execute(
                &format!(
                    "INSERT INTO uploads ({UPLOAD}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
                ),
                params![
                    it.id.into_bytes(),
                    it.tenant.as_str(),
                    it.dataset.as_str(),
                    it.document.as_str(),
                    it.version.map(integer),
                    it.author.user.as_str(),
                    it.content_type,
                    it.tag,
                    integer(it.expires_ms),
                ],
            )?;
            Ok(transaction.commit()?)
        })
        .await
    }

    pub(super) async fn get(&self, id: Uuid) -> Result<Option<Begun>, PartsError> {
        self.one("id = ?1", id).await
    }

    /// The upload that was completed to this one.
    pub(super) async fn of_prepared(&self, prepared: Uuid) -> Result<Option<Begun>, PartsError> {
        self.one("prepared = ?1", prepared).await
    }

    async fn one(&self, which: &'static str, id: Uuid) -> Result<Option<Begun>, PartsError> {
        self.with(move |connection| {
            let sql = format!("SELECT {UPLOAD} FROM uploads WHERE {which}");
            let mut select = connection.prepare_cached(&sql)?;
            let found = select.query_row([id.into_bytes()], raw).optional()?;
            found.map(Begun::try_from).transpose()
        })
        .await
    }

    /// A tenant's uploads that have not expired, the oldest first, and how far each is.
    pub(super) async fn of_tenant(
        &self,
        tenant: Identifier,
        tag: Option<String>,
    ) -> Result<Vec<(Begun, u64)>, PartsError> {
        self.with(move |connection| {
            let sql = format!(
                "SELECT {UPLOAD} FROM uploads WHERE tenant = ?1 AND (?2 IS NULL OR tag = ?2) ORDER BY id"
            );
            let mut select = connection.prepare_cached(&sql)?;
            let rows = select.query_map(params![tenant.as_str(), tag], raw)?;
            let mut found = Vec::new();
            for row in rows {
                let begun = Begun::try_from(row?)?;
                let offset = offset(connection, begun.id)?;
                found.push((begun, offset));
            }
            Ok(found)
        })
        .await
    }

    pub(super) async fn expired(&self, now_ms: u64) -> Result<Vec<Begun>, PartsError> {
        self.with(move |connection| {
            let sql = format!("SELECT {UPLOAD} FROM uploads WHERE expires_ms <= ?1");
            let mut select = connection.prepare_cached(&sql)?;
            let rows = select.query_map([integer(now_ms)], raw)?;
            rows.map(|row| Begun::try_from(row?)).collect()
        })
        .await
    }

    pub(super) async fn touch(&self, id: Uuid, expires_ms: u64) -> Result<(), PartsError> {
        self.with(move |connection| {
            let sql = "UPDATE uploads SET expires_ms = ?2 WHERE id = ?1";
            connection.execute(sql, params![id.into_bytes(), integer(expires_ms)])?;
            Ok(())
        })
        .await
    }

    pub(super) async fn prepared(&self, id: Uuid, prepared: Uuid) -> Result<(), PartsError> {
        self.with(move |connection| {
            let sql = "UPDATE uploads SET prepared = ?2 WHERE id = ?1";
            connection.execute(sql, [id.into_bytes(), prepared.into_bytes()])?;
            Ok(())
        })
        .await
    }

    /// Removes an upload whose pieces are gone.
    pub(super) async fn remove(&self, id: Uuid) -> Result<(), PartsError> {
        self.with(move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute("DELETE FROM pieces WHERE upload = ?1", [id.into_bytes()])?;
            transaction.execute("DELETE FROM uploads WHERE id = ?1", [id.into_bytes()])?;
            Ok(transaction.commit()?)
        })
        .await
    }

    /// Bytes that are stored without a gap.
    pub(super) async fn offset(&self, id: Uuid) -> Result<u64, PartsError> {
        self.with(move |connection| offset(connection, id)).await
    }

    /// A piece is about to be stored.
    pub(super) async fn storing(
        &self,
        piece: Piece,
        tenant: Identifier,
        limit: u64,
    ) -> Result<(), PartsError> {
        self.with(move |connection| {
            let transaction = connection.transaction()?;
            let sum: i64 = transaction.query_row(
                "SELECT COALESCE(SUM(length), 0) FROM pieces WHERE tenant = ?1",
                [tenant.as_str()],
                |row| row.get(0),
            )?;
            if number(sum)?.saturating_add(piece.length) > limit {
                return Err(PartsError::TooLarge { limit });
            }
            transaction.execute(
                "INSERT INTO pieces VALUES (?1, ?2, ?3, ?4, ?5, 0)",
                params![
                    piece.pointer.as_bytes(),
                    tenant.as_str(),
                    piece.upload.into_bytes(),
                    integer(piece.start),
                    integer(piece.length),
                ],
            )?;
            Ok(transaction.commit()?)
        })
        .await
    }

    /// It is stored.
    pub(super) async fn stored(&self, pointer: Pointer) -> Result<(), PartsError> {
        self.with(move |connection| {
            let sql = "UPDATE pieces SET stored = 1 WHERE pointer = ?1";
            connection.execute(sql, [pointer.as_bytes()])?;
            Ok(())
        })
        .await
    }

    pub(super) async fn remove_piece(&self, pointer: Pointer) -> Result<(), PartsError> {
        self.with(move |connection| {
            let sql = "DELETE FROM pieces WHERE pointer = ?1";
            connection.execute(sql, [pointer.as_bytes()])?;
            Ok(())
        })
        .await
    }

    /// The pieces of an upload that are stored, in order; they follow one another.
    pub(super) async fn pieces(&self, id: Uuid) -> Result<Vec<Piece>, PartsError> {
        let mut next = 0;
        let found = self.all_pieces(id).await?.into_iter();
        found
            .map(|piece| {
                let follows = piece.start == next;
                next = piece.start.saturating_add(piece.length);
                follows.then_some(piece).ok_or(PartsError::Damaged)
            })
            .collect()
    }

    /// All pieces of an upload.
    pub(super) async fn all_pieces(&self, id: Uuid) -> Result<Vec<Piece>, PartsError> {
        self.with(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT pointer, tenant, upload, start, length FROM pieces WHERE upload = ?1 ORDER BY start",
            )?;
            let rows = select.query_map([id.into_bytes()], raw_piece)?;
            rows.map(|row| Ok(piece(row?)?.1)).collect()
        })
        .await
    }

    /// Pieces that were being stored.
    pub(super) async fn unfinished(&self) -> Result<Vec<(Identifier, Piece)>, PartsError> {
        self.with(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT pointer, tenant, upload, start, length FROM pieces WHERE stored = 0",
            )?;
            let rows = select.query_map([], raw_piece)?;
            rows.map(|row| piece(row?)).collect()
        })
        .await
    }
}

/// Where all pieces of the list in this file lie.
///
/// # Errors
///
/// [`PartsError`]
pub fn piece_pointers(path: &Path) -> Result<HashSet<Pointer>, PlatformError> {
    let list = List::open(path)?;
    let connection = list.0.lock().unwrap_or_else(PoisonError::into_inner);
    let read = || {
        let mut select = connection.prepare("SELECT pointer FROM pieces")?;
        let rows = select.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        rows.map(|row| Pointer::from_slice(&row?).ok_or(PartsError::Damaged))
            .collect::<Result<_, PartsError>>()
    };
    Ok(read()?)
}

fn offset(connection: &Connection, id: Uuid) -> Result<u64, PartsError> {
    let sum: i64 = connection.query_row(
        "SELECT COALESCE(SUM(length), 0) FROM pieces WHERE upload = ?1 AND stored = 1",
        [id.into_bytes()],
        |row| row.get(0),
    )?;
    number(sum)
}

struct RawBegun {
    id: Vec<u8>,
    names: [String; 3],
    version: Option<i64>,
    author: String,
    content_type: Option<String>,
    tag: Option<String>,
    expires_ms: i64,
}

fn raw(row: &Row<'_>) -> Result<RawBegun, rusqlite::Error> {
    Ok(RawBegun {
        id: row.get(0)?,
        names: [row.get(1)?, row.get(2)?, row.get(3)?],
        version: row.get(4)?,
        author: row.get(5)?,
        content_type: row.get(6)?,
        tag: row.get(7)?,
        expires_ms: row.get(8)?,
    })
}

impl TryFrom<RawBegun> for Begun {
    type Error = PartsError;

    fn try_from(raw: RawBegun) -> Result<Self, PartsError> {
        let [tenant, dataset, document] = raw.names;
        let read = || {
            let tenant: Identifier = tenant.parse().ok()?;
            Some(Self {
                id: Uuid::from_slice(&raw.id).ok()?,
                author: UserName {
                    tenant: tenant.clone(),
                    user: raw.author.parse().ok()?,
                },
                tenant,
                dataset: dataset.parse().ok()?,
                document: document.parse().ok()?,
                version: raw.version.map(u64::try_from).transpose().ok()?,
                content_type: raw.content_type,
                tag: raw.tag,
                expires_ms: u64::try_from(raw.expires_ms).ok()?,
            })
        };
        read().ok_or(PartsError::Damaged)
    }
}

type RawPiece = (Vec<u8>, String, Vec<u8>, i64, i64);

fn raw_piece(row: &Row<'_>) -> Result<RawPiece, rusqlite::Error> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
    ))
}

fn piece(
    (pointer, tenant, upload, start, length): RawPiece,
) -> Result<(Identifier, Piece), PartsError> {
    let read = || {
        let piece = Piece {
            upload: Uuid::from_slice(&upload).ok()?,
            start: u64::try_from(start).ok()?,
            length: u64::try_from(length).ok()?,
            pointer: Pointer::from_slice(&pointer)?,
        };
        Some((tenant.parse().ok()?, piece))
    };
    read().ok_or(PartsError::Damaged)
}

fn number(value: i64) -> Result<u64, PartsError> {
    u64::try_from(value).map_err(|_| PartsError::Damaged)
}

pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
