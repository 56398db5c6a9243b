//! A range of a stored body: only the blocks that it touches are fetched, and each is verified before a byte of it is released.
//!
//! What that means against a reader who kept the body key and reaches the store is in `docs/protocol/envelope.md` section 8.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Fingerprints, PART_SIZE, Place, PlatformError, Times, VerifiedBody, fetch, send};
use crate::envelope::{
    BLOCK_SIZE, BodyKey, BodyOpener, EnvelopeError, HEADER_SIZE, block_range, encrypted_length,
};
use crate::record::VersionName;

/// Blocks that are fetched at once.
const BLOCKS_AT_ONCE: u64 = PART_SIZE / BLOCK_SIZE as u64;

/// A range of an encrypted body, whose first blocks are verified.
pub(in crate::platform) struct SealedPart {
    place: Place,
    opener: Arc<BodyOpener>,
    length: u64,
    range: Range<u64>,
    /// Plaintext that is ready to leave.
    ready: Bytes,
    /// The block that is fetched next.
    next: u64,
}

impl SealedPart {
    /// Fetches and verifies as many blocks of `range` as are worked on at once. `range` is not empty, and within `length`.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::Size`] if the stored body is not as long as on the record; [`EnvelopeError::Header`] or
    /// [`EnvelopeError::Block`] if it was altered there.
    pub(in crate::platform) async fn open(
        place: Place,
        key: &BodyKey,
        name: &VersionName,
        length: u64,
        range: Range<u64>,
        times: &mut Times,
    ) -> Result<Self, PlatformError> {
        let (expected, found) = (encrypted_length(length), place.size().await?);
        if found != expected {
            return Err(EnvelopeError::Size { expected, found }.into());
        }
        let started = Instant::now();
        let header = fetch(&place, 0, HEADER_SIZE as u64).await?;
        times.fetch += started.elapsed();
        let header = header
            .as_ref()
            .try_into()
            .map_err(|_| EnvelopeError::Header)?;
        let opener = Arc::new(BodyOpener::new(key, name, header, length)?);
        let next = range.start / BLOCK_SIZE as u64;
        let mut part = Self {
            place,
            opener,
            length,
            range,
            ready: Bytes::new(),
            next,
        };
        part.ready = part.advance(times).await?.unwrap_or_default();
        Ok(part)
    }

    /// The plaintext of the next blocks, cut to the range; `None` behind the last.
    async fn advance(&mut self, times: &mut Times) -> Result<Option<Bytes>, PlatformError> {
        let block = BLOCK_SIZE as u64;
        let behind = self.range.end.div_ceil(block);
        let (first, last) = (
            self.next,
            behind.min(self.next.saturating_add(BLOCKS_AT_ONCE)),
        );
        if first >= last {
            return Ok(None);
        }
        let refused = |index| EnvelopeError::Block { index };
        let at = |index| block_range(index, self.length).ok_or_else(|| refused(index));
        let (start, end) = (at(first)?.start, at(last - 1)?.end);
        let started = Instant::now();
        let sealed = fetch(&self.place, start, end).await?;
        times.fetch += started.elapsed();
        let (opener, length) = (self.opener.clone(), self.length);
        let work = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let mut out = Vec::with_capacity(sealed.len());
            for index in first..last {
                let range = block_range(index, length).ok_or(EnvelopeError::Block { index })?;
                let from = usize::try_from(range.start - start).unwrap_or(usize::MAX);
                let to = usize::try_from(range.end - start).unwrap_or(usize::MAX);
                let block = sealed.get(from..to).ok_or(EnvelopeError::Block { index })?;
                opener.open_block(index, block, &mut out)?;
            }
            Ok::<_, EnvelopeError>((Bytes::from(out), started.elapsed()))
        });
        let (opened, spent) = work.await??;
        times.decrypt += spent;
        self.next = last;
        Ok(Some(cut(&opened, first * block, &self.range)))
    }

    /// Sends the range in parts, each verified; the last is withheld until all have been. `before_last` is called before it is sent.
    ///
    /// # Errors
    ///
    /// The first block that is refused; nothing of it was sent.
    pub(in crate::platform) async fn stream(
        mut self,
        to: &mpsc::Sender<Bytes>,
        idle: Duration,
        times: &mut Times,
        before_last: impl FnOnce(&Times),
    ) -> Result<(), PlatformError> {
        while let Some(next) = self.advance(times).await? {
            send(to, std::mem::replace(&mut self.ready, next), idle, times).await?;
        }
        times.first.get_or_insert_with(Instant::now);
        before_last(times);
        send(to, self.ready, idle, times).await
    }
}

impl VerifiedBody {
    /// Sends a range of a body that is not encrypted, out of the parts that were verified.
    ///
    /// # Errors
    ///
    /// A part that is not the one that was verified; nothing of it was sent.
    pub(in crate::platform) async fn stream_range(
        self,
        range: Range<u64>,
        to: &mpsc::Sender<Bytes>,
        idle: Duration,
        times: &mut Times,
        before_last: impl FnOnce(&Times),
    ) -> Result<(), PlatformError> {
        let fingerprints: Arc<Fingerprints> = Arc::new(self.fingerprints);
        let mut ready = Bytes::new();
        for index in range.start / PART_SIZE..range.end.div_ceil(PART_SIZE) {
            let start = index * PART_SIZE;
            let started = Instant::now();
            let part = fetch(&self.place, start, (start + PART_SIZE).min(self.stored)).await?;
            times.fetch += started.elapsed();
            let known = fingerprints.clone();
            let work = tokio::task::spawn_blocking(move || {
                let started = Instant::now();
                // The first pass began with an empty part ([`super::Parts::new`]).
                let place = usize::try_from(index + 1).unwrap_or(usize::MAX);
                known.check(place, &part)?;
                Ok::<_, EnvelopeError>((part, started.elapsed()))
            });
            let (part, spent) = work.await??;
            times.checksum += spent;
            let next = cut(&part, start, &range);
            let before = std::mem::replace(&mut ready, next);
            if !before.is_empty() {
                send(to, before, idle, times).await?;
            }
        }
        times.first.get_or_insert_with(Instant::now);
        before_last(times);
        send(to, ready, idle, times).await
    }
}

/// What of `bytes`, which begin at `start` of the document, lies in `range`.
fn cut(bytes: &Bytes, start: u64, range: &Range<u64>) -> Bytes {
    let place = |at: u64| {
        let place = usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
        place.min(bytes.len())
    };
    bytes.slice(place(range.start)..place(range.end).max(place(range.start)))
}
