//! A stored body on its way to a reader: verified first, then decrypted as it streams.
//!
//! Two passes, as `docs/protocol/envelope.md` section 8 says and why. The next part is fetched while the current one is
//! worked on, so at most five parts of 1 MiB are in memory, whatever the body's length.

use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use bytes::Bytes;
use subtle::ConstantTimeEq as _;
use tokio::sync::mpsc;

use super::PlatformError;
use crate::body_store::{BodyStore, Pointer};
use crate::envelope::{BodyReader, EnvelopeError, SealedBody};
use crate::record::Identifier;

/// Bytes that are fetched at once.
const PART_SIZE: u64 = 1024 * 1024;

/// Where a body's stored bytes are.
pub(super) enum Place {
    /// In the transaction itself.
    OnLedger(Bytes),
    /// In the body store.
    OffChain {
        /// The store.
        store: BodyStore,
        /// The tenant that the pointer belongs to.
        tenant: Identifier,
        /// The pointer.
        pointer: Pointer,
    },
}

/// How long was spent on what.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Times {
    pub(super) fetch: Duration,
    pub(super) checksum: Duration,
    pub(super) decrypt: Duration,
    /// When the first byte was ready to leave.
    pub(super) first: Option<Instant>,
}

/// A stored body whose size and checksum are those on the record.
pub(super) struct VerifiedBody {
    place: Place,
    body: SealedBody,
    stored: u64,
}

impl VerifiedBody {
    /// The first pass: reads and hashes the whole stored body.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::Size`] or [`EnvelopeError::Checksum`] if it is not the body on the record.
    pub(super) async fn verify(
        place: Place,
        body: SealedBody,
        stored: u64,
        times: &mut Times,
    ) -> Result<Self, PlatformError> {
        let found = match &place {
            Place::OnLedger(bytes) => bytes.len() as u64,
            Place::OffChain {
                store,
                tenant,
                pointer,
            } => store.size(tenant, pointer).await?,
        };
        if found != stored {
            return Err(EnvelopeError::Size {
                expected: stored,
                found,
            }
            .into());
        }
        let place = if stored <= PART_SIZE {
            let started = Instant::now();
            let bytes = fetch(&place, 0, stored).await?;
            times.fetch += started.elapsed();
            Place::OnLedger(bytes)
        } else {
            place
        };
        let mut parts = Parts::new(&place, stored);
        let mut hash = digest::Context::new(&digest::SHA256);
        while let Some(part) = parts.current.take() {
            let work = tokio::task::spawn_blocking(move || {
                let started = Instant::now();
                hash.update(&part);
                (hash, started.elapsed())
            });
            let (done, next) = tokio::join!(work, parts.advance(times));
            next?;
            let (returned, spent) = done?;
            hash = returned;
            times.checksum += spent;
        }
        same_checksum(hash, &body)?;
        Ok(Self {
            place,
            body,
            stored,
        })
    }

    /// The second pass: sends the plaintext in parts. `reader` decrypts; without one, where a dataset has no encryption, the
    /// hash is computed again. The last part is withheld until everything has been verified; `before_last` is called
    /// just before it is sent.
    ///
    /// # Errors
    ///
    /// The first part that is refused; nothing of it was sent.
    pub(super) async fn stream(
        self,
        reader: Option<BodyReader>,
        to: &mpsc::Sender<Bytes>,
        idle: Duration,
        times: &mut Times,
        before_last: impl FnOnce(&Times),
    ) -> Result<(), PlatformError> {
        let mut work = match reader {
            Some(reader) => Work::Decrypt(Box::new(reader)),
            None => Work::Hash(digest::Context::new(&digest::SHA256)),
        };
        let mut parts = Parts::new(&self.place, self.stored);
        let mut withheld = Bytes::new();
        while let Some(part) = parts.current.take() {
            let job = tokio::task::spawn_blocking(move || {
                let started = Instant::now();
                let out = work.take(part);
                (work, out, started.elapsed())
            });
            let (done, next) = tokio::join!(job, parts.advance(times));
            let (returned, out, spent) = done?;
            work = returned;
            match &work {
                Work::Decrypt(_) => times.decrypt += spent,
                Work::Hash(_) => times.checksum += spent,
            }
            let out = out?;
            next?;
            if out.is_empty() {
                continue;
            }
            let ready = std::mem::replace(&mut withheld, out);
            if !ready.is_empty() {
                send(to, ready, idle, times).await?;
            }
        }
        match work {
            Work::Decrypt(reader) => reader.finish()?,
            Work::Hash(hash) => same_checksum(hash, &self.body)?,
        }
        times.first.get_or_insert_with(Instant::now);
        before_last(times);
        if !withheld.is_empty() {
            send(to, withheld, idle, times).await?;
        }
        Ok(())
    }
}

enum Work {
    Decrypt(Box<BodyReader>),
    Hash(digest::Context),
}

impl Work {
    fn take(&mut self, part: Bytes) -> Result<Bytes, EnvelopeError> {
        match self {
            Self::Decrypt(reader) => {
                let mut out = Vec::with_capacity(part.len() + crate::envelope::BLOCK_SIZE);
                reader.push(&part, &mut out)?;
                Ok(out.into())
            }
            Self::Hash(hash) => {
                hash.update(&part);
                Ok(part)
            }
        }
    }
}

/// The parts of a stored body, one after the other.
struct Parts<'p> {
    place: &'p Place,
    /// What is worked on next; `None` behind the last part.
    current: Option<Bytes>,
    offset: u64,
    stored: u64,
}

impl<'p> Parts<'p> {
    fn new(place: &'p Place, stored: u64) -> Self {
        // The loop starts with an empty part, while whose processing the first one is fetched.
        Self {
            place,
            current: Some(Bytes::new()),
            offset: 0,
            stored,
        }
    }

    async fn advance(&mut self, times: &mut Times) -> Result<(), PlatformError> {
        if self.offset >= self.stored {
            return Ok(());
        }
        let end = (self.offset + PART_SIZE).min(self.stored);
        let started = Instant::now();
        let part = fetch(self.place, self.offset, end).await?;
        times.fetch += started.elapsed();
        self.current = Some(part);
        self.offset = end;
        Ok(())
    }
}

async fn fetch(place: &Place, start: u64, end: u64) -> Result<Bytes, PlatformError> {
    if start == end {
        return Ok(Bytes::new());
    }
    let part = match place {
        Place::OnLedger(bytes) => {
            let (from, to) = (usize::try_from(start).ok(), usize::try_from(end).ok());
            from.zip(to)
                .filter(|(_, to)| *to <= bytes.len())
                .map(|(from, to)| bytes.slice(from..to))
                .unwrap_or_default()
        }
        Place::OffChain {
            store,
            tenant,
            pointer,
        } => store.read(tenant, pointer, start..end).await?,
    };
    if part.len() as u64 != end - start {
        return Err(EnvelopeError::Size {
            expected: end,
            found: start + part.len() as u64,
        }
        .into());
    }
    Ok(part)
}

async fn send(
    to: &mpsc::Sender<Bytes>,
    part: Bytes,
    idle: Duration,
    times: &mut Times,
) -> Result<(), PlatformError> {
    times.first.get_or_insert_with(Instant::now);
    match tokio::time::timeout(idle, to.send(part)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(PlatformError::ReaderGone),
        Err(_) => Err(PlatformError::Idle),
    }
}

fn same_checksum(hash: digest::Context, body: &SealedBody) -> Result<(), EnvelopeError> {
    let same: bool = hash.finish().as_ref().ct_eq(&body.checksum).into();
    if same {
        Ok(())
    } else {
        Err(EnvelopeError::Checksum)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::envelope::{BodyKey, BodySealer, encrypted_length};
    use crate::record::VersionName;

    fn id(name: &str) -> Identifier {
        Identifier::new(name).unwrap()
    }

    fn name() -> VersionName {
        VersionName {
            tenant: id("acme"),
            dataset: id("designs"),
            document: id("bridge"),
            version: 1,
        }
    }

    struct Case {
        _dir: tempfile::TempDir,
        store: BodyStore,
        pointer: Pointer,
        file: std::path::PathBuf,
        body: SealedBody,
        stored: u64,
        plain: Vec<u8>,
        key: Option<BodyKey>,
    }

    impl Case {
        async fn new(length: usize, encrypted: bool) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store =
                BodyStore::local(&dir.path().join("bodies"), &dir.path().join("uploads")).unwrap();
            let plain: Vec<u8> = (0..length).map(|i| (i * 7 + i / 256) as u8).collect();
            let key = encrypted.then(|| BodyKey::generate(&mut rand::rng()));
            let mut sealed = Vec::new();
            let body = if let Some(key) = &key {
                let mut sealer =
                    BodySealer::new(key, &name(), &mut rand::rng(), &mut sealed).unwrap();
                sealer.push(&plain, &mut sealed).unwrap();
                sealer.finish(&mut sealed).unwrap()
            } else {
                sealed.clone_from(&plain);
                let checksum = digest::digest(&digest::SHA256, &plain)
                    .as_ref()
                    .try_into()
                    .unwrap();
                SealedBody {
                    checksum,
                    length: length as u64,
                }
            };
            let mut writer = store.create(&name()).await.unwrap();
            writer.push(&sealed).await.unwrap();
            let note = writer.finish().await.unwrap().into_note().unwrap();
            let tenant = std::fs::read_dir(dir.path().join("bodies"))
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .path();
            let file = std::fs::read_dir(tenant)
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .path();
            let stored = if encrypted {
                encrypted_length(body.length)
            } else {
                body.length
            };
            Self {
                _dir: dir,
                store,
                pointer: note.pointer,
                file,
                body,
                stored,
                plain,
                key,
            }
        }

        fn place(&self) -> Place {
            Place::OffChain {
                store: self.store.clone(),
                tenant: id("acme"),
                pointer: self.pointer,
            }
        }

        async fn verify(&self) -> Result<VerifiedBody, PlatformError> {
            VerifiedBody::verify(self.place(), self.body, self.stored, &mut Times::default()).await
        }

        /// What reached the reader, and how it ended.
        async fn stream(&self, verified: VerifiedBody) -> (Vec<u8>, Result<(), PlatformError>) {
            let key = self
                .key
                .as_ref()
                .map(|k| BodyKey::from_slice(k.expose()).unwrap());
            let reader = key.map(|key| BodyReader::new(key, name(), self.body.length));
            let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
            let collect = tokio::spawn(async move {
                let mut out = Vec::new();
                while let Some(part) = receiver.recv().await {
                    out.extend_from_slice(&part);
                }
                out
            });
            let idle = Duration::from_secs(60);
            let end = verified
                .stream(reader, &sender, idle, &mut Times::default(), |_| {})
                .await;
            drop(sender);
            (collect.await.unwrap(), end)
        }
    }

    #[tokio::test]
    async fn whole_bodies_of_all_sizes_arrive() {
        for length in [0, 1, 100_000, 1_000_000, (1 << 20) + 1, 3_500_000] {
            for encrypted in [true, false] {
                if length == 0 && !encrypted {
                    continue; // goes onto the ledger, never into the store
                }
                let case = Case::new(length, encrypted).await;
                let (out, end) = case.stream(case.verify().await.unwrap()).await;
                assert!(end.is_ok(), "{length} {encrypted}");
                assert!(out == case.plain);
            }
        }
    }

    #[tokio::test]
    async fn a_body_altered_in_the_store_is_refused_before_its_first_byte() {
        for encrypted in [true, false] {
            let case = Case::new(3_000_000, encrypted).await;
            let original = std::fs::read(&case.file).unwrap();
            let mut altered = original.clone();
            altered[2_500_000] ^= 1;
            std::fs::write(&case.file, &altered).unwrap();
            assert!(matches!(
                case.verify().await,
                Err(PlatformError::Envelope(EnvelopeError::Checksum))
            ));
            std::fs::write(&case.file, &original[..2_999_999]).unwrap();
            assert!(matches!(
                case.verify().await,
                Err(PlatformError::Envelope(EnvelopeError::Size { .. }))
            ));
            std::fs::remove_file(&case.file).unwrap();
            assert!(matches!(case.verify().await, Err(PlatformError::Body(_))));
        }
    }

    #[tokio::test]
    async fn a_body_altered_between_the_passes_releases_nothing_of_what_was_altered() {
        for encrypted in [true, false] {
            let case = Case::new(3_000_000, encrypted).await;
            let verified = case.verify().await.unwrap();
            let mut altered = std::fs::read(&case.file).unwrap();
            let at = if encrypted { 1_500_000 } else { 2_999_000 };
            altered[at] ^= 1;
            std::fs::write(&case.file, &altered).unwrap();
            let (out, end) = case.stream(verified).await;
            assert!(matches!(end, Err(PlatformError::Envelope(_))));
            assert!(case.plain.starts_with(&out) && out.len() < at);
        }
    }
}
