//! The write flow.
//!
//! 1. The body streams in. It is encrypted in blocks as it arrives, hashed, and stored part by part; what arrives faster than
//!    it can be stored waits in the sender.
//! 2. The document key wraps the body key and encrypts the pointer; it is itself wrapped as the dataset says: under the
//!    cluster's public key with the label of this very write, or under a version key of the platform's.
//! 3. The transaction goes to its author, unsigned. Whoever wrote knows what he wrote, checks it, and signs.
//! 4. The signed transaction must be the one that was prepared; the record accepts or refuses it.
//!
//! The body goes into the transaction or into the body store, as the dataset says. If nothing is signed in
//! time, or the process dies, the body is removed. If the record stopped in the middle of a commit, nobody knows whether it will
//! be found there: then the body stays until the record tells ([`super::leftovers`]).

use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::digest;
use bytes::Bytes;
use cryptonode::randomness;
use futures_util::Stream;
use reencrypt::Point;
use uuid::Uuid;

use super::pace::Pace;
use super::{Platform, PlatformError, PreparedWrite};
use crate::body_store::{BodyStore, BodyWriter, Note, Pointer, UncommittedBody};
use crate::envelope::{BodyKey, BodySealer, DocumentKey, SealedBody};
use crate::key_store::VersionKeyId;
use crate::record::{
    Body, DatasetName, Encryption, Identifier, KeyWrapping, MAX_CONTENT_TYPE, MAX_LEDGER_BODY,
    Receipt, RecordError, Rejection, Role, SignedTransaction, State, Storage, Transaction,
    TransactionId, UnsignedTransaction, UserName, VersionName, Write, label::wrapped_key_label,
};

/// What is to be written.
#[derive(Debug, Clone)]
pub struct WriteRequest {
    /// The dataset.
    pub dataset: DatasetName,
    /// The document.
    pub document: Identifier,
    /// The version that the author expects to write; the next one if absent.
    pub version: Option<u64>,
    /// Who will sign.
    pub author: UserName,
    /// Media type; public on the record.
    pub content_type: Option<String>,
}

/// What waits.
pub(super) struct Waiting {
    transaction: TransactionId,
    pub(super) version: VersionName,
    /// When the transaction expires.
    pub(super) expires_ms: u64,
    /// Who is to sign.
    author: UserName,
    /// Absent where the body is in the transaction.
    note: Option<Note>,
    /// The version key that was made for it, where there is one.
    version_key: Option<VersionKeyId>,
}

impl Platform {
    /// Steps 1 to 3. Needs some 16 MiB of memory, whatever the body's length.
    ///
    /// # Errors
    ///
    /// What the record would refuse in any case, before the body is read; otherwise what happens to the body.
    pub async fn prepare_write<E: std::fmt::Display>(
        &self,
        request: WriteRequest,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<PreparedWrite, PlatformError> {
        let (name, encryption, storage) = self.check_write(&request)?;
        let _turn = self.turn(&request.dataset.tenant).await?;
        let keys = (encryption != Encryption::None).then(|| {
            (
                BodyKey::generate(&mut randomness::system()),
                DocumentKey::generate(&mut randomness::system()),
            )
        });

        let sink = Sink {
            bodies: &self.bodies,
            name: &name,
            storage,
            writer: None,
            buffer: Vec::new(),
        };
        let (stored, sealed) = self
            .store(sink, keys.as_ref().map(|(body_key, _)| body_key), body)
            .await?;
        let (length, checksum) = (sealed.length, sealed.checksum);

        let mut made = NewVersionKey::default();
        let result = self
            .seal_up(
                &request,
                &name,
                encryption,
                keys,
                (stored, sealed),
                &mut made,
            )
            .await;
        let (transaction, stored) = match result {
            Ok(prepared) => prepared,
            Err(e) => {
                self.forget(made.0).await;
                return Err(e);
            }
        };
        let waiting = Waiting {
            transaction: transaction.id(),
            version: name.clone(),
            author: request.author,
            expires_ms: transaction.expires_ms,
            note: stored.and_then(UncommittedBody::into_note),
            version_key: made.0,
        };
        match self
            .uploads
            .insert(name.tenant.as_str(), waiting, Instant::now())
        {
            Ok(id) => Ok(PreparedWrite {
                id,
                transaction,
                name,
                length,
                checksum,
            }),
            Err(waiting) => {
                self.give_up(waiting).await;
                Err(PlatformError::Busy)
            }
        }
    }

    /// Steps 2 and 3: `made` gets the version key as soon as there is one.
    async fn seal_up(
        &self,
        request: &WriteRequest,
        name: &VersionName,
        encryption: Encryption,
        keys: Option<(BodyKey, DocumentKey)>,
        (stored, sealed): (Stored, SealedBody),
        made: &mut NewVersionKey,
    ) -> Result<(UnsignedTransaction, Option<UncommittedBody>), PlatformError> {
        let (wrapped_dek1, key, document_key) = match keys {
            None => (Vec::new(), KeyWrapping::None, None),
            Some((body_key, document_key)) => {
                let wrapped = document_key.wrap_body_key(
                    &body_key,
                    name,
                    &sealed,
                    &[],
                    &mut randomness::system(),
                )?;
                let key = self
                    .wrap_document_key(&document_key, encryption, name, &request.author, made)
                    .await?;
                (wrapped, key, Some(document_key))
            }
        };
        let expires_ms = self.prepared_until();
        let (body, stored) = match stored {
            Stored::OnLedger(bytes) => (Body::OnLedger(bytes), None),
            Stored::OffChain(mut stored) => {
                let pointer = self
                    .seal_pointer(document_key.as_ref(), stored.pointer(), name, &sealed, made)
                    .await?;
                stored.seal(&pointer, expires_ms).await?;
                (Body::OffChain { pointer }, Some(*stored))
            }
        };
        let write = Write {
            tenant: name.tenant.clone(),
            dataset: name.dataset.clone(),
            document: name.document.clone(),
            version: name.version,
            content_type: request.content_type.clone(),
            length: sealed.length,
            checksum: sealed.checksum,
            wrapped_dek1,
            key,
            body,
        };
        let transaction = UnsignedTransaction {
            expires_ms,
            ..self.unsigned(request.author.clone(), Transaction::Write(write))
        };
        Ok((transaction, stored))
    }

    /// Step 4. Goes on to its end even if the caller no longer waits.
    ///
    /// # Errors
    ///
    /// [`PlatformError::NotWaiting`], [`PlatformError::OtherTransaction`] or the record's refusal; after the last two the upload
    /// still waits for a right signature until its time is over, unless another write has taken its version.
    pub async fn commit_write(
        self: &Arc<Self>,
        tenant: &Identifier,
        id: Uuid,
        signed: SignedTransaction,
    ) -> Result<Receipt, PlatformError> {
        let (platform, tenant) = (self.clone(), tenant.clone());
        tokio::spawn(async move { platform.commit_write_now(&tenant, id, signed).await }).await?
    }

    async fn commit_write_now(
        &self,
        tenant: &Identifier,
        id: Uuid,
        signed: SignedTransaction,
    ) -> Result<Receipt, PlatformError> {
        let waiting = self
            .uploads
            .take(id, tenant.as_str(), Instant::now())
            .ok_or(PlatformError::NotWaiting)?;
        let result = if signed.id() == waiting.what().transaction {
            self.put_on_record(signed).await
        } else {
            Err(PlatformError::OtherTransaction)
        };
        match &result {
            Ok(_) => {
                self.settled(waiting.what()).await;
                self.parts_committed(id).await;
            }
            // It may be found on the record later: the sweeps, or a restart, then see to body and note.
            Err(e) if e.leaves_open() => self.leave_open(waiting.into_inner()),
            Err(e) if e.is_outrun() => self.give_up(waiting.into_inner()).await,
            Err(_) => self.uploads.put_back(id, waiting),
        }
        result
    }

    /// Gives up an upload that waits for its signature.
    ///
    /// # Errors
    ///
    /// [`PlatformError::NotWaiting`]
    pub async fn discard_write(&self, tenant: &Identifier, id: Uuid) -> Result<(), PlatformError> {
        self.discard_write_of(tenant, None, id).await
    }

    /// The same for a user, if one is named, whom nobody else's uploads are there for.
    ///
    /// # Errors
    ///
    /// [`PlatformError::NotWaiting`]
    pub async fn discard_write_of(
        &self,
        tenant: &Identifier,
        user: Option<&Identifier>,
        id: Uuid,
    ) -> Result<(), PlatformError> {
        let own = |waiting: &Waiting| user.is_none_or(|user| *user == waiting.author.user);
        let waiting = self
            .uploads
            .take_if(id, tenant.as_str(), Instant::now(), own)
            .ok_or(PlatformError::NotWaiting)?;
        self.give_up(waiting.into_inner()).await;
        Ok(())
    }

    /// It is on the record.
    async fn settled(&self, waiting: &Waiting) {
        if let Some(id) = waiting.version_key {
            self.keys.committed(id);
        }
        if let Some(note) = &waiting.note {
            self.bodies.committed(note).await;
        }
    }

    /// Removes the body and the version key of an upload that nobody will sign.
    pub(super) async fn give_up(&self, waiting: Waiting) {
        // What is on the record stays, whatever led here.
        let written = |state: &State| Some(state.version(&waiting.version)?.transaction);
        if self.record.with_state(written) == Some(waiting.transaction) {
            return self.settled(&waiting).await;
        }
        if let Some(note) = &waiting.note {
            self.bodies.discard(note).await;
        }
        self.forget(waiting.version_key).await;
    }

    /// Removes a version key that nothing will need.
    async fn forget(&self, id: Option<VersionKeyId>) {
        if let Some(id) = id
            && let Err(e) = self.keys.remove(vec![id], false).await
        {
            tracing::warn!(error = %e, "a version key that nothing needs stays until the next start");
        }
    }

    /// What the record would refuse in any case is refused before the body is taken.
    pub(super) fn check_write(
        &self,
        request: &WriteRequest,
    ) -> Result<(VersionName, Encryption, Storage), PlatformError> {
        if !request.content_type.as_deref().is_none_or(is_content_type) {
            return Err(RecordError::from(Rejection::ContentType).into());
        }
        let document = request.dataset.document(request.document.clone());
        let (dataset, allowed, latest) = self.record.with_state(|state| {
            let allowed = state.allows(&request.author, &request.dataset, Role::Writer);
            let latest = state.document(&document).map_or(0, |known| known.latest);
            (state.dataset(&request.dataset).cloned(), allowed, latest)
        });
        let missing = || PlatformError::NotFound {
            what: "dataset",
            name: request.dataset.dataset.to_string(),
        };
        let dataset = dataset.ok_or_else(missing)?;
        if !allowed {
            let (user, dataset) = (request.author.clone(), request.dataset.clone());
            return Err(RecordError::from(Rejection::NotPermitted {
                user,
                role: Role::Writer,
                dataset,
            })
            .into());
        }
        let expected = latest.saturating_add(1);
        if let Some(found) = request.version.filter(|version| *version != expected) {
            let rejection = Rejection::Version {
                what: "the document",
                current: latest,
                expected,
                found,
            };
            return Err(RecordError::from(rejection).into());
        }
        Ok((
            document.version(expected),
            dataset.encryption,
            dataset.storage,
        ))
    }

    /// Takes the body in and stores it.
    async fn store<E: std::fmt::Display>(
        &self,
        mut sink: Sink<'_>,
        body_key: Option<&BodyKey>,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<(Stored, SealedBody), PlatformError> {
        let mut body = std::pin::pin!(body);
        let mut sealer = match body_key {
            Some(key) => Sealer::Stream(Box::new(BodySealer::new(
                key,
                sink.name,
                &mut randomness::system(),
                &mut sink.buffer,
            )?)),
            None => Sealer::Plain(digest::Context::new(&digest::SHA256), 0),
        };
        let mut pace = Pace::new(self.limits.idle_s);
        while let Some(part) = pace.next(&mut body).await? {
            if sealer.length().saturating_add(part.len() as u64) > self.limits.body_bytes {
                return Err(PlatformError::TooLong {
                    limit: self.limits.body_bytes,
                    what: super::TOO_LONG_HERE,
                });
            }
            sealer.push(&part, &mut sink.buffer)?;
            sink.flush(false).await?;
        }
        let sealed = sealer.finish(&mut sink.buffer)?;
        Ok((sink.finish().await?, sealed))
    }

    async fn wrap_document_key(
        &self,
        key: &DocumentKey,
        encryption: Encryption,
        name: &VersionName,
        author: &UserName,
        made: &mut NewVersionKey,
    ) -> Result<KeyWrapping, PlatformError> {
        match encryption {
            Encryption::None => Ok(KeyWrapping::None),
            Encryption::Platform => {
                let (wrapped_key, id) = self.wrap_by_version_key(key, name).await?;
                made.0 = Some(id);
                Ok(KeyWrapping::Platform { wrapped_key })
            }
            Encryption::Threshold { public_key } => Ok(KeyWrapping::Threshold {
                wrapped_key: wrap_for_cluster(key, &public_key, name, author)?,
            }),
        }
    }

    /// Encrypts a pointer under the document key; without one, under a key of its own that a version key wraps.
    async fn seal_pointer(
        &self,
        key: Option<&DocumentKey>,
        pointer: Pointer,
        name: &VersionName,
        body: &SealedBody,
        made: &mut NewVersionKey,
    ) -> Result<Vec<u8>, PlatformError> {
        let pointer = pointer.as_bytes();
        if let Some(key) = key {
            return Ok(key.seal_pointer(pointer, name, body, &mut randomness::system())?);
        }
        let key = DocumentKey::generate(&mut randomness::system());
        let (wrapped, id) = self.wrap_by_version_key(&key, name).await?;
        made.0 = Some(id);
        let sealed = key.seal_pointer(pointer, name, body, &mut randomness::system())?;
        let internal = |_| PlatformError::Internal {
            reason: "a wrapped key is far too long".into(),
        };
        let length = u16::try_from(wrapped.len())
            .map_err(internal)?
            .to_le_bytes();
        Ok([&length, wrapped.as_slice(), &sealed].concat())
    }
}

/// The version key that was made for a write, once it is.
#[derive(Default)]
struct NewVersionKey(Option<VersionKeyId>);

/// Wraps a document key under a cluster's key, for the write of this version by this user.
pub(super) fn wrap_for_cluster(
    key: &DocumentKey,
    public_key: &[u8; 32],
    name: &VersionName,
    writer: &UserName,
) -> Result<Vec<u8>, PlatformError> {
    let refused = |reason: String| PlatformError::WrappedKey { reason };
    let point = Point::from_bytes(public_key).map_err(|e| refused(e.to_string()))?;
    let label = wrapped_key_label(name, writer);
    let wrapped = reencrypt::wrap(&point, &label, key.expose(), &mut randomness::system());
    Ok(wrapped
        .map_err(|e| refused(e.to_string()))?
        .as_bytes()
        .to_vec())
}

/// Whether the record takes this as a media type.
fn is_content_type(text: &str) -> bool {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    (1..=MAX_CONTENT_TYPE).contains(&text.len()) && printable && text.trim() == text
}

enum Sealer {
    Stream(Box<BodySealer>),
    Plain(digest::Context, u64),
}

impl Sealer {
    fn length(&self) -> u64 {
        match self {
            Self::Stream(sealer) => sealer.length(),
            Self::Plain(_, length) => *length,
        }
    }

    fn push(&mut self, part: &[u8], out: &mut Vec<u8>) -> Result<(), PlatformError> {
        match self {
            Self::Stream(sealer) => sealer.push(part, out)?,
            Self::Plain(hash, length) => {
                hash.update(part);
                *length = length.saturating_add(part.len() as u64);
                out.extend_from_slice(part);
            }
        }
        Ok(())
    }

    fn finish(self, out: &mut Vec<u8>) -> Result<SealedBody, PlatformError> {
        match self {
            Self::Stream(sealer) => Ok(sealer.finish(out)?),
            Self::Plain(hash, length) => {
                let mut checksum = [0; 32];
                checksum.copy_from_slice(hash.finish().as_ref());
                Ok(SealedBody { checksum, length })
            }
        }
    }
}

enum Stored {
    OnLedger(Vec<u8>),
    OffChain(Box<UncommittedBody>),
}

/// Where the sealed body goes. Nothing is stored before there is more than would fit into a transaction.
struct Sink<'p> {
    bodies: &'p BodyStore,
    name: &'p VersionName,
    storage: Storage,
    writer: Option<BodyWriter>,
    /// Sealed bytes that have not been passed on.
    buffer: Vec<u8>,
}

impl Sink<'_> {
    async fn flush(&mut self, all: bool) -> Result<(), PlatformError> {
        if self.writer.is_none() {
            if self.buffer.len() <= MAX_LEDGER_BODY && !all {
                return Ok(());
            }
            if self.storage == Storage::Ledger {
                let what = "datasets whose bodies lie on the ledger: write it to one with off-chain storage";
                return Err(PlatformError::TooLong {
                    limit: MAX_LEDGER_BODY as u64,
                    what,
                });
            }
            self.writer = Some(self.bodies.create(self.name).await?);
        }
        if let Some(writer) = &mut self.writer {
            writer.push(&self.buffer).await?;
            self.buffer.clear();
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Stored, PlatformError> {
        if self.writer.is_none()
            && self.storage == Storage::Ledger
            && self.buffer.len() <= MAX_LEDGER_BODY
        {
            return Ok(Stored::OnLedger(self.buffer));
        }
        self.flush(true).await?;
        match self.writer {
            Some(writer) => Ok(Stored::OffChain(Box::new(writer.finish().await?))),
            None => Err(PlatformError::Internal {
                reason: "a body was not stored".into(),
            }),
        }
    }
}
