//! A stored body on its way to a reader: verified first, then decrypted as it streams.
//!
//! Two passes, as `docs/protocol/envelope.md` section 8 says and why. The next part is fetched while the current one is
//! worked on, so at most five parts of 1 MiB are in memory, and 16 bytes for each part: how the second pass knows it again.

mod opened;
mod part;
mod relay;

use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use bytes::Bytes;
use cryptonode::randomness;
use subtle::ConstantTimeEq as _;
use tokio::sync::mpsc;

use super::PlatformError;
use crate::body_store::{BodyStore, Pointer};
use crate::envelope::{BodyReader, EnvelopeError, SealedBody};
use crate::record::Identifier;

pub(super) use opened::{Opened, verified};
use part::SealedPart;
pub(super) use relay::Relay;

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

impl Place {
    /// Bytes that lie there.
    async fn size(&self) -> Result<u64, PlatformError> {
        Ok(match self {
            Self::OnLedger(bytes) => bytes.len() as u64,
            Self::OffChain {
                store,
                tenant,
                pointer,
            } => store.size(tenant, pointer).await?,
        })
    }
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
    stored: u64,
    fingerprints: Fingerprints,
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
        let found = place.size().await?;
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
        let mut fingerprints = Fingerprints::new(&place)?;
        while let Some(part) = parts.current.take() {
            let work = tokio::task::spawn_blocking(move || {
                let started = Instant::now();
                hash.update(&part);
                let taken = fingerprints.take(&part);
                (hash, fingerprints, taken, started.elapsed())
            });
            let (done, next) = tokio::join!(work, parts.advance(times));
            next?;
            let (returned, known, taken, spent) = done?;
            taken?;
            (hash, fingerprints) = (returned, known);
            times.checksum += spent;
        }
        same_checksum(hash, &body)?;
        Ok(Self {
            place,
            stored,
            fingerprints,
        })
    }

    /// The second pass: sends the plaintext in parts. `reader` decrypts; there is none where a dataset has no encryption. A part
    /// that is not the one that was verified is refused. The last part is withheld until everything has been verified;
    /// `before_last` is called just before it is sent.
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
        let mut work = Work {
            reader,
            fingerprints: self.fingerprints,
            index: 0,
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
            if work.reader.is_some() {
                times.decrypt += spent;
            } else {
                times.checksum += spent;
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
        if let Some(reader) = work.reader {
            reader.finish()?;
        }
        times.first.get_or_insert_with(Instant::now);
        before_last(times);
        if !withheld.is_empty() {
            send(to, withheld, idle, times).await?;
        }
        Ok(())
    }
}

struct Work {
    reader: Option<BodyReader>,
    fingerprints: Fingerprints,
    /// Parts so far.
    index: usize,
}

impl Work {
    fn take(&mut self, part: Bytes) -> Result<Bytes, EnvelopeError> {
        self.fingerprints.check(self.index, &part)?;
        self.index += 1;
        let Some(reader) = &mut self.reader else {
            return Ok(part);
        };
        let mut out = Vec::with_capacity(part.len() + crate::envelope::BLOCK_SIZE);
        reader.push(&part, &mut out)?;
        Ok(out.into())
    }
}

/// By what the second pass knows each part again: its GMAC under a key that is drawn for one read and forgotten with it.
///
/// Without it, whoever knows the body key and reaches the store could exchange the body between the passes. Tags of the blocks
/// do not help against him, for whoever knows a GCM key finds as many messages for a tag as he likes. Both passes use the
/// same nonces; that is harmless, for nobody ever sees a fingerprint.
struct Fingerprints {
    /// Absent where both passes go over the same memory.
    key: Option<LessSafeKey>,
    seen: Vec<[u8; 16]>,
}

impl Fingerprints {
    fn new(place: &Place) -> Result<Self, EnvelopeError> {
        let key = randomness::secret::<32>();
        let cipher =
            UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| EnvelopeError::Cipher)?;
        Ok(Self {
            key: matches!(place, Place::OffChain { .. }).then(|| LessSafeKey::new(cipher)),
            seen: Vec::new(),
        })
    }

    fn of(key: &LessSafeKey, index: usize, part: &[u8]) -> Result<[u8; 16], EnvelopeError> {
        let mut nonce = [0; 12];
        let (_, counter) = nonce.split_at_mut(4);
        counter.copy_from_slice(&(index as u64).to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(part), &mut []);
        let tag = tag.map_err(|_| EnvelopeError::Cipher)?;
        tag.as_ref().try_into().map_err(|_| EnvelopeError::Cipher)
    }

    fn take(&mut self, part: &[u8]) -> Result<(), EnvelopeError> {
        if let Some(key) = &self.key {
            self.seen.push(Self::of(key, self.seen.len(), part)?);
        }
        Ok(())
    }

    fn check(&self, index: usize, part: &[u8]) -> Result<(), EnvelopeError> {
        let Some(key) = &self.key else { return Ok(()) };
        let seen = self.seen.get(index).ok_or(EnvelopeError::Checksum)?;
        let same: bool = seen.ct_eq(&Self::of(key, index, part)?).into();
        if same {
            Ok(())
        } else {
            Err(EnvelopeError::Checksum)
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
mod tests;
