//! Uploads in parts, which go on after an interruption.
//!
//! 1. An upload is *begun*: for this dataset, document and author. It has an id, a key of its own, and no bytes.
//! 2. Bytes are *sent*, from the offset on that the platform has; what it has already is passed over, so that nothing has to be known of what
//!    arrived of a broken request. They are sealed under the upload's key in pieces of 8 MiB at most, and each piece is durable before the
//!    offset moves behind it.
//! 3. The upload is *completed*: the pieces go through the write flow ([`super::write`]) as one body, whose SHA-256 must be the sender's. The
//!    transaction goes to the author to be signed, as with any other upload.
//! 4. With the commit the pieces go; until then everything can be repeated. An upload to which nobody sends for a while goes too.
//!
//! For a user whose key the platform keeps, steps 3 and 4 are one ([`managed`]).
//!
//! A body therefore lies twice in the store between steps 3 and 4. In memory there is one piece for each request.
//!
//! Everything but the bytes is in `parts.sqlite` ([`list`]), so an upload outlives the process.

mod list;
mod managed;
mod piece;
mod written;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cryptonode::randomness;
use futures_util::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use uuid::Uuid;

use super::pace::Pace;
use super::{Platform, PlatformError, PreparedWrite, WriteRequest, now_ms};
use crate::body_store::Pointer;
use crate::envelope::BodyKey;
use crate::key_store::Purpose;
use crate::record::{Identifier, VersionName};

use list::Begun;
pub(super) use list::List;
pub use list::PartsError;
pub use list::piece_pointers;
pub use managed::WrittenParts;

/// Bytes of a piece at most.
const PIECE: usize = 8 * 1024 * 1024;
/// Longest tag of an upload.
pub const MAX_TAG: usize = 128;

/// How an upload in parts is begun.
#[derive(Debug, Clone)]
pub struct BeginParts {
    /// What is to be written.
    pub write: WriteRequest,
    /// The sender's own name for it, by which it is found again; at most [`MAX_TAG`] bytes.
    pub tag: Option<String>,
}

/// How far an upload in parts is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartsStatus {
    /// Its id.
    pub id: Uuid,
    /// Bytes that are durable: where to go on.
    pub offset: u64,
    /// When it goes unless somebody sends, milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// The sender's own name for it.
    pub tag: Option<String>,
}

/// What the sender says that it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// Bytes.
    pub length: u64,
    /// SHA-256 over them.
    pub sha256: [u8; 32],
}

/// Uploads in parts.
pub(super) struct Parts {
    list: List,
    /// Those that somebody works on.
    open: Mutex<HashMap<Uuid, Arc<Open>>>,
}

/// One upload that is worked on.
struct Open {
    /// Held by whoever changes it.
    lock: tokio::sync::Mutex<()>,
    /// Counted up by whoever wants to send next: who sends now lets go. Its connection may be dead.
    next: watch::Sender<u64>,
    /// What came of the completion.
    prepared: Mutex<Option<PreparedWrite>>,
}

impl Parts {
    pub(super) fn new(list: List) -> Self {
        Self {
            list,
            open: Mutex::default(),
        }
    }

    fn open(&self, id: Uuid) -> Arc<Open> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            Arc::new(Open {
                lock: tokio::sync::Mutex::default(),
                next: watch::Sender::new(0),
                prepared: Mutex::default(),
            })
        };
        open.entry(id).or_insert_with(made).clone()
    }

    fn close(&self, id: Uuid) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&id);
    }
}

impl Platform {
    /// Step 1.
    ///
    /// # Errors
    ///
    /// What the record would refuse in any case; [`PlatformError::Parts`] beyond the tenant's limits.
    pub async fn begin_parts(&self, begin: BeginParts) -> Result<PartsStatus, PlatformError> {
        let BeginParts { write, tag } = begin;
        if tag.as_ref().is_some_and(|it| it.len() > MAX_TAG) {
            return Err(PartsError::Tag.into());
        }
        let (name, ..) = self.check_write(&write)?;
        let (id, key) = (Uuid::now_v7(), BodyKey::generate(&mut randomness::system()));
        let expires_ms = self.parts_expire();
        let begun = Begun {
            id,
            tenant: name.tenant.clone(),
            dataset: name.dataset.clone(),
            document: name.document.clone(),
            // The version that is written is the next one when it is completed, unless the author asked for a certain one.
            version: write.version,
            author: write.author.clone(),
            content_type: write.content_type,
            tag: tag.clone(),
            expires_ms,
        };
        let limit = self.limits.tenant_parts;
        self.parts.list.begin(begun, limit).await?;
        if let Err(e) = self
            .keep(
                id.into_bytes(),
                key.expose(),
                &key_name(&name),
                Purpose::Parts,
            )
            .await
        {
            let _ = self.parts.list.remove(id).await;
            return Err(e);
        }
        Ok(PartsStatus {
            id,
            offset: 0,
            expires_ms,
            tag,
        })
    }

    /// How far an upload is.
    ///
    /// # Errors
    ///
    /// [`PlatformError::NotWaiting`] if there is none of that id.
    pub async fn parts_status(
        &self,
        tenant: &Identifier,
        id: Uuid,
    ) -> Result<PartsStatus, PlatformError> {
        let begun = self.begun(tenant, id).await?;
        let offset = self.parts.list.offset(id).await?;
        Ok(status(begun, offset))
    }

    /// The tenant's uploads in parts, or one user's; those with this tag alone if one is given.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Parts`]
    pub async fn parts_of(
        &self,
        tenant: &Identifier,
        user: Option<&Identifier>,
        tag: Option<String>,
    ) -> Result<Vec<PartsStatus>, PlatformError> {
        let found = self.parts.list.of_tenant(tenant.clone(), tag).await?;
        let views = found
            .into_iter()
            .filter(|(begun, _)| user.is_none_or(|user| *user == begun.author.user))
            .map(|(begun, offset)| status(begun, offset));
        Ok(views.collect())
    }

    /// Step 2: takes what comes as the bytes from `from` on, and says where it got to. What arrived before an error is kept.
    ///
    /// # Errors
    ///
    /// [`PartsError::Gap`] if bytes before `from` are missing; [`PartsError::Overtaken`] if somebody else sends by now; otherwise what happens
    /// to a body.
    pub async fn send_parts<E: std::fmt::Display>(
        &self,
        tenant: &Identifier,
        id: Uuid,
        from: u64,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<PartsStatus, PlatformError> {
        let begun = self.begun(tenant, id).await?;
        let _turn = self.turn(tenant).await?;
        let open = self.parts.open(id);
        let mut own = 0;
        open.next.send_modify(|next| {
            *next += 1;
            own = *next;
        });
        let mut next = open.next.subscribe();
        let _lock = open.lock.lock().await;
        let have = self.parts.list.offset(id).await?;
        if from > have {
            return Err(PartsError::Gap { have, from }.into());
        }
        let key = self.parts_key(&begun).await?;
        let mut taker = piece::Taker::new(self, &begun, &key, have);
        let mut skip = have - from;
        let mut body = std::pin::pin!(body);
        let mut pace = Pace::new(self.limits.idle_s);
        let result = loop {
            let part = tokio::select! {
                // Whoever comes later takes over.
                () = overtaken(&mut next, own) => break Err(PartsError::Overtaken.into()),
                part = pace.next(&mut body) => part,
            };
            let part = match part {
                Err(e) => break Err(e),
                Ok(None) => break Ok(()),
                Ok(Some(part)) => part,
            };
            let passed = skip.min(part.len() as u64);
            skip -= passed;
            let fresh = usize::try_from(passed).ok().and_then(|at| part.get(at..));
            if let Err(e) = taker.push(fresh.unwrap_or_default()).await {
                break Err(e);
            }
        };
        // What arrived counts, however it ended.
        let offset = match (taker.finish().await, result) {
            (Ok(offset), Ok(())) => offset,
            (_, Err(e)) | (Err(e), Ok(())) => return Err(e),
        };
        let expires_ms = self.parts_expire();
        self.parts.list.touch(id, expires_ms).await?;
        Ok(PartsStatus {
            id,
            offset,
            expires_ms,
            tag: begun.tag,
        })
    }

    /// Step 3, as the version `next` if one is named. Goes on to its end even if the caller no longer waits; done again, it gives what it gave before.
    ///
    /// # Errors
    ///
    /// [`PartsError::Differs`] if what arrived is not what was sent; otherwise as [`Platform::prepare_write`].
    pub async fn complete_parts(
        self: &Arc<Self>,
        tenant: &Identifier,
        id: Uuid,
        whole: Whole,
        next: Option<u64>,
    ) -> Result<PreparedWrite, PlatformError> {
        let (platform, tenant) = (self.clone(), tenant.clone());
        let completed = async move { platform.complete_parts_now(&tenant, id, whole, next).await };
        tokio::spawn(completed).await?
    }

    async fn complete_parts_now(
        self: &Arc<Self>,
        tenant: &Identifier,
        id: Uuid,
        whole: Whole,
        next: Option<u64>,
    ) -> Result<PreparedWrite, PlatformError> {
        let begun = self.begun(tenant, id).await?;
        let open = self.parts.open(id);
        let _lock = open.lock.lock().await;
        self.complete_locked(&begun, &open, whole, next).await
    }

    /// The same, for whoever holds the lock.
    async fn complete_locked(
        &self,
        begun: &Begun,
        open: &Open,
        whole: Whole,
        next: Option<u64>,
    ) -> Result<PreparedWrite, PlatformError> {
        let id = begun.id;
        let known = |prepared: &Mutex<Option<PreparedWrite>>| {
            let prepared = prepared.lock().unwrap_or_else(PoisonError::into_inner);
            prepared.clone()
        };
        if let Some(prepared) = known(&open.prepared)
            && self.uploads.has(prepared.id)
            && next.is_none_or(|next| next == prepared.name.version)
        {
            return Ok(prepared);
        }
        let have = self.parts.list.offset(id).await?;
        if have != whole.length {
            let missing = PartsError::Length {
                have,
                length: whole.length,
            };
            return Err(missing.into());
        }
        // Longer than the work takes, whatever its length: the sweep leaves it alone meanwhile, for the lock is held.
        let key = self.parts_key(begun).await?;
        let pieces = self.parts.list.pieces(id).await?;
        let request = WriteRequest {
            dataset: begun.name().dataset_name(),
            document: begun.document.clone(),
            version: begun.version.or(next),
            author: begun.author.clone(),
            content_type: begun.content_type.clone(),
        };
        let hash = Arc::new(Mutex::new(Sha256::new()));
        let hashing = hash.clone();
        let body = piece::stream(self.bodies.clone(), begun.clone(), key, pieces).inspect(
            move |part: &Result<Bytes, PlatformError>| {
                if let Ok(part) = part {
                    let mut hash = hashing.lock().unwrap_or_else(PoisonError::into_inner);
                    hash.update(part);
                }
            },
        );
        let prepared = self.prepare_write(request, body).await?;
        let found: [u8; 32] = {
            let hash = hash.lock().unwrap_or_else(PoisonError::into_inner);
            hash.clone().finalize().into()
        };
        if found != whole.sha256 {
            let _ = self.discard_write(&begun.tenant, prepared.id).await;
            return Err(PartsError::Differs.into());
        }
        let expires_ms = self.parts_expire();
        self.parts.list.touch(id, expires_ms).await?;
        self.parts.list.prepared(id, prepared.id).await?;
        *open.prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some(prepared.clone());
        Ok(prepared)
    }

    /// Gives up an upload: what there is of it goes.
    ///
    /// # Errors
    ///
    /// [`PlatformError::NotWaiting`], [`PlatformError::Body`] if something stays; then it is tried again.
    pub async fn discard_parts(&self, tenant: &Identifier, id: Uuid) -> Result<(), PlatformError> {
        let begun = self.begun(tenant, id).await?;
        let open = self.parts.open(id);
        open.next.send_modify(|next| *next += 1);
        let _lock = open.lock.lock().await;
        self.remove_parts(&begun).await
    }

    /// The upload that was completed to this one is on the record: its pieces go.
    pub(super) async fn parts_committed(&self, upload: Uuid) {
        let done = async {
            if let Some(begun) = self.parts.list.of_prepared(upload).await? {
                self.remove_parts(&begun).await?;
            }
            Ok::<(), PlatformError>(())
        };
        if let Err(e) = done.await {
            tracing::warn!(error = %e, "the parts of a committed upload go later");
        }
    }

    /// Removes uploads to which nobody has sent for too long, and pieces that were not completely stored.
    pub(super) async fn remove_old_parts(&self) -> Result<usize, PlatformError> {
        self.parts.list.forget_written(now_ms()).await?;
        let mut removed = 0;
        for begun in self.parts.list.expired(now_ms()).await? {
            let open = self.parts.open(begun.id);
            // Somebody works on it after all.
            let Ok(_lock) = open.lock.try_lock() else {
                continue;
            };
            self.remove_parts(&begun).await?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes what an earlier process was storing when it died. Must run before anything is sent.
    pub(super) async fn remove_unfinished_pieces(&self) -> Result<(), PlatformError> {
        for (tenant, piece) in self.parts.list.unfinished().await? {
            self.bodies.remove_piece(&tenant, &piece.pointer).await?;
            self.parts.list.remove_piece(piece.pointer).await?;
        }
        Ok(())
    }

    async fn remove_parts(&self, begun: &Begun) -> Result<(), PlatformError> {
        for piece in self.parts.list.all_pieces(begun.id).await? {
            self.bodies
                .remove_piece(&begun.tenant, &piece.pointer)
                .await?;
        }
        self.keys.remove(vec![begun.id.into_bytes()], false).await?;
        self.parts.list.remove(begun.id).await?;
        self.parts.close(begun.id);
        Ok(())
    }

    async fn begun(&self, tenant: &Identifier, id: Uuid) -> Result<Begun, PlatformError> {
        let found = self.parts.list.get(id).await?;
        let own = found.filter(|it| it.tenant == *tenant && it.expires_ms > now_ms());
        own.ok_or(PlatformError::NotWaiting)
    }

    async fn parts_key(&self, begun: &Begun) -> Result<BodyKey, PlatformError> {
        let name = key_name(&begun.name());
        let key = self.kept(begun.id.into_bytes(), &name).await?;
        BodyKey::from_slice(&key).ok_or_else(|| PartsError::Damaged.into())
    }

    fn parts_expire(&self) -> u64 {
        now_ms().saturating_add(self.limits.parts_s.saturating_mul(1000))
    }
}

/// Resolves when somebody else wants to send.
async fn overtaken(next: &mut watch::Receiver<u64>, own: u64) {
    let _ = next.wait_for(|next| *next != own).await;
}

/// What the key of an upload is bound to: no version has the number 0.
fn key_name(name: &VersionName) -> VersionName {
    VersionName {
        version: 0,
        ..name.clone()
    }
}

fn status(begun: Begun, offset: u64) -> PartsStatus {
    PartsStatus {
        id: begun.id,
        offset,
        expires_ms: begun.expires_ms,
        tag: begun.tag,
    }
}

/// Names where a piece lies.
fn fresh_pointer() -> Pointer {
    Pointer::from_bytes(randomness::public())
}
