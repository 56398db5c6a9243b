//! Version keys: what opens a version under platform encryption, apart from what is on the record.
//!
//! | on the record | in [`crate::key_store`] |
//! |---|---|
//! | document key under a version key, which it names | that version key, under the master key |
//! | document key under the master key (from before there were version keys) | nothing, or since a rotation the document key under a later master key, named after the wrapped key |
//!
//! Where a dataset is not encrypted, the key of the pointer is kept in the same way.

use cryptonode::randomness;

use super::{Platform, PlatformError, now_ms};
use crate::envelope::{
    DocumentKey, VERSION_KEY_ID_SIZE, VersionKey, document_key_context, hash_items,
    version_key_context, version_key_of,
};
use crate::key_store::{Entry, Purpose, Put, VersionKeyId};
use crate::master_key::wrapped_under;
use crate::record::{Body, Content, DocumentName, DocumentVersion, KeyWrapping, VersionName};

const LEGACY_TAG: &str = "coordinator/v1/wrapped-under-master-key";
/// How long after it was made a key of what is not on the record is kept: far longer than a transaction is valid.
const NEVER_COMMITTED_MS: u64 = 86_400_000;
/// Rows that are looked at together.
const AT_ONCE: u32 = 500;

impl Platform {
    /// Wraps a document key under a version key of its own, which is durable when this returns.
    pub(super) async fn wrap_by_version_key(
        &self,
        key: &DocumentKey,
        name: &VersionName,
    ) -> Result<(Vec<u8>, VersionKeyId), PlatformError> {
        let rng = &mut randomness::system();
        let (id, version_key) = (randomness::public(), VersionKey::generate(rng));
        let wrapped = version_key.wrap_document_key(&id, key, name, rng)?;
        self.keep(id, version_key.expose(), name, Purpose::Prepared)
            .await?;
        Ok((wrapped, id))
    }

    /// Keeps a key wrapped under the present master key.
    pub(super) async fn keep(
        &self,
        id: VersionKeyId,
        key: &[u8],
        name: &VersionName,
        purpose: Purpose,
    ) -> Result<(), PlatformError> {
        let context = version_key_context(name, &id);
        loop {
            let wrapped = self.master_key.wrap(key, &context).await?;
            let master = wrapped_under(&wrapped).ok_or_else(unreadable)?;
            let entry = Entry {
                id,
                name: name.clone(),
                purpose,
                master,
                wrapped,
                made_ms: now_ms(),
            };
            let keeper = self.master_key.clone();
            // A rotation may have come in between.
            if self.keys.put(entry, move || keeper.id()).await? == Put::Done {
                return Ok(());
            }
        }
    }

    /// Opens a key that [`Platform::keep`] kept.
    pub(super) async fn kept(
        &self,
        id: VersionKeyId,
        name: &VersionName,
    ) -> Result<crate::master_key::Secret, PlatformError> {
        // It may be retired between the two steps; then the row is under its successor.
        let mut tried = None;
        loop {
            let missing = || PlatformError::NoVersionKey {
                version: name.to_string(),
            };
            let entry = self.keys.get(id).await?.ok_or_else(missing)?;
            let context = version_key_context(name, &id);
            match self.master_key.unwrap(&entry.wrapped, &context).await {
                Ok(key) => return Ok(key),
                Err(e) if tried == Some(entry.master) => return Err(e.into()),
                Err(_) => tried = Some(entry.master),
            }
        }
    }

    /// Opens a document key that is wrapped for the platform, whichever way.
    pub(super) async fn open_for_platform(
        &self,
        wrapped: &[u8],
        name: &VersionName,
    ) -> Result<DocumentKey, PlatformError> {
        if let Some(id) = version_key_of(wrapped) {
            let key = self.kept(id, name).await?;
            let key = VersionKey::from_slice(&key).ok_or_else(unreadable)?;
            return Ok(key.unwrap_document_key(wrapped, name)?);
        }
        let direct = self
            .master_key
            .unwrap(wrapped, &document_key_context(name))
            .await;
        let key = match direct {
            Ok(key) => key,
            // Its master key is retired: then its successor is kept.
            Err(e) => match self.kept(legacy_id(wrapped), name).await {
                Err(PlatformError::NoVersionKey { .. }) => return Err(e.into()),
                kept => kept?,
            },
        };
        DocumentKey::from_slice(&key).ok_or_else(unreadable)
    }

    /// Removes what is kept for versions of a document that are erased, or wrapped in another way since.
    pub(super) async fn shred(&self, name: &DocumentName) -> Result<(), PlatformError> {
        self.keys.flush().await?;
        let rows = self.keys.of_document(name.clone()).await?;
        self.settle(rows, true).await
    }

    /// Asks the record about all rows from before this process: those of what was not committed for a day, or is erased, go. The record must
    /// have caught up.
    pub(super) async fn settle_all(&self) -> Result<(), PlatformError> {
        let mut after = None;
        loop {
            let rows = self.keys.after(after, AT_ONCE).await?;
            let Some(last) = rows.last() else {
                return self.keys.flush().await.map_err(Into::into);
            };
            after = Some(last.id);
            let earlier = rows
                .into_iter()
                .filter(|row| row.made_ms < self.started_ms)
                .collect();
            self.settle(earlier, false).await?;
        }
    }

    /// `running`: what is not on the record may still come.
    async fn settle(&self, rows: Vec<Entry>, running: bool) -> Result<(), PlatformError> {
        let mut gone = Vec::new();
        for row in rows {
            if row.purpose == Purpose::Parts {
                continue;
            }
            let (on_record, record_ms) = self.record.with_state(|state| {
                let content = |it: &DocumentVersion| it.content.as_ref().map(version_key_id);
                (state.version(&row.name).map(content), state.time_ms())
            });
            if on_record == Some(Some(Some(row.id))) {
                if row.purpose == Purpose::Prepared {
                    self.keys.committed(row.id);
                }
                continue;
            }
            // Others may bring a transaction onto the record at any time before its expiry; the record's own time says when that is over.
            let time_ms = match self.record.orders_alone() {
                true => now_ms(),
                false => record_ms,
            };
            let old = row.made_ms.saturating_add(NEVER_COMMITTED_MS) < time_ms;
            let over = match on_record {
                // Erased.
                Some(None) => true,
                // Wrapped in another way since, or the version is another write's.
                Some(Some(_)) => row.purpose == Purpose::Committed || !running,
                // It may be on the record, and not be seen from here yet.
                None => row.purpose == Purpose::Prepared && !running && old,
            };
            if over {
                gone.push(row.id);
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        tracing::info!(
            removed = gone.len(),
            "destroyed version keys of what is erased or was never committed"
        );
        Ok(self.keys.remove(gone, true).await?)
    }
}

/// What keeps the key of this content openable for the platform, if anything does.
pub(super) fn version_key_id(content: &Content) -> Option<VersionKeyId> {
    let wrapped = for_platform(content)?;
    Some(version_key_of(wrapped).unwrap_or_else(|| legacy_id(wrapped)))
}

/// The document key that is wrapped for the platform: that of the version, or that of its pointer.
pub(super) fn for_platform(content: &Content) -> Option<&[u8]> {
    match (&content.key, &content.body) {
        (KeyWrapping::Platform { wrapped_key }, _) => Some(wrapped_key),
        (KeyWrapping::None, Body::OffChain { pointer }) => split_pointer(pointer).map(|it| it.0),
        _ => None,
    }
}

/// Without encryption, a pointer has its own wrapped key in front.
pub(super) fn split_pointer(pointer: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = pointer.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
}

/// Names what is kept in place of a key that is wrapped under the master key itself.
pub(super) fn legacy_id(wrapped: &[u8]) -> VersionKeyId {
    let mut id = [0; VERSION_KEY_ID_SIZE];
    let hash = hash_items(LEGACY_TAG, &[wrapped]);
    id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    id
}

fn unreadable() -> PlatformError {
    PlatformError::WrappedKey {
        reason: "it does not hold a document key".into(),
    }
}
