//! How slowly a body may come in: whoever sends one holds one of few turns.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

use super::PlatformError;

/// Bytes a second that a body must bring on average, beyond the time that it may stand still: a sender of single bytes shall
/// not hold one of the few turns for ever.
const MIN_RATE: u64 = 4 * 1024;

/// A body that comes in, and what came of it so far.
pub(super) struct Pace {
    idle: Duration,
    started: Instant,
    received: u64,
}

impl Pace {
    /// It may stand still for `idle_s` seconds.
    pub(super) fn new(idle_s: u64) -> Self {
        Self {
            idle: Duration::from_secs(idle_s),
            started: Instant::now(),
            received: 0,
        }
    }

    /// The next part; none at the end.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Idle`] if it takes too long, [`PlatformError::Upload`] if the sender is gone.
    pub(super) async fn next<E: std::fmt::Display>(
        &mut self,
        body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> Result<Option<Bytes>, PlatformError> {
        match tokio::time::timeout(self.patience(), body.next()).await {
            Err(_) => Err(PlatformError::Idle),
            Ok(None) => Ok(None),
            Ok(Some(Err(e))) => Err(PlatformError::Upload {
                reason: e.to_string(),
            }),
            Ok(Some(Ok(part))) => {
                self.received = self.received.saturating_add(part.len() as u64);
                Ok(Some(part))
            }
        }
    }

    fn patience(&self) -> Duration {
        let slowest = Duration::from_secs(self.received / MIN_RATE).saturating_add(self.idle);
        self.idle
            .min(slowest.saturating_sub(self.started.elapsed()))
    }
}
