//! A sealed body on its way to a reader who opens it: passed on as it lies there.
//!
//! Nothing of it is verified but its size: the reader holds it against the record, and nobody else could in its place.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{PART_SIZE, Place, PlatformError, Times, fetch, send};
use crate::envelope::EnvelopeError;

/// A stored body, or a range of it, of which the first bytes are here.
pub(in crate::platform) struct Relay {
    place: Place,
    first: Bytes,
    /// What comes after those.
    rest: Range<u64>,
}

impl Relay {
    /// Fetches the first part of `range`, which is within `stored` bytes.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::Size`] if another number of bytes lies there, and what the store says.
    pub(in crate::platform) async fn open(
        place: Place,
        stored: u64,
        range: Range<u64>,
    ) -> Result<Self, PlatformError> {
        let (expected, found) = (stored, place.size().await?);
        if found != expected {
            return Err(EnvelopeError::Size { expected, found }.into());
        }
        let end = range.start.saturating_add(PART_SIZE).min(range.end);
        let first = fetch(&place, range.start, end).await?;
        Ok(Self {
            place,
            first,
            rest: end..range.end,
        })
    }

    /// Sends it. While a part is being sent the next one is fetched, so at most three parts are in memory.
    ///
    /// # Errors
    ///
    /// What the store says, or that the reader is gone or too slow.
    pub(in crate::platform) async fn stream(
        self,
        to: &mpsc::Sender<Bytes>,
        idle: Duration,
    ) -> Result<(), PlatformError> {
        let mut times = Times::default();
        let (mut part, mut at) = (self.first, self.rest.start);
        while at < self.rest.end {
            let end = at.saturating_add(PART_SIZE).min(self.rest.end);
            let ready = std::mem::take(&mut part);
            let (sent, next) = tokio::join!(
                send(to, ready, idle, &mut times),
                fetch(&self.place, at, end)
            );
            sent?;
            (part, at) = (next?, end);
        }
        send(to, part, idle, &mut times).await
    }
}
