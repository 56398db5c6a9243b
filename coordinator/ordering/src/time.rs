//! A clock that is set back.
//!
//! The library waits until times of day: for a leader, for votes, until it calls a peer again. If the system's clock is set back by an
//! hour, what it waits for comes an hour late, and stays late when the clock is right again. A member that goes on like that is there and
//! does nothing, so it ends, says why, and is started again; nothing is lost by that. Forward is harmless: then all that was waited for has come.

use std::time::{Duration, Instant, SystemTime};

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// So much is no harm: every wait has a bound that is longer.
const HARMLESS: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Both clocks at one moment: the system's, and the one that nobody sets.
#[derive(Clone, Copy)]
struct Moment(SystemTime, Instant);

impl Moment {
    fn now() -> Self {
        Self(SystemTime::now(), Instant::now())
    }

    /// By how much the system's clock was set back since an earlier moment, if that is more than is harmless.
    fn set_back_since(self, earlier: Self) -> Option<Duration> {
        let passed = self.1.saturating_duration_since(earlier.1);
        let due = earlier.0.checked_add(passed)?;
        let behind = due.duration_since(self.0).ok();
        behind.filter(|by| *by > HARMLESS)
    }
}

/// Resolves when the system's clock was set back, and says by how much.
pub(crate) async fn set_back() -> Duration {
    let mut last = Moment::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = Moment::now();
        if let Some(by) = now.set_back_since(last) {
            return by;
        }
        last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_is_set_back_is_noticed() {
        let start = Moment::now();
        let hour = Duration::from_secs(3_600);
        let passed = Duration::from_secs(1);
        let set = |to: SystemTime| Moment(to, start.1 + passed).set_back_since(start);
        assert_eq!(set(start.0 + passed), None);
        assert_eq!(set(start.0 + passed + hour), None);
        assert_eq!(set(start.0 + passed - HARMLESS), None);
        assert_eq!(set(start.0 + passed - hour), Some(hour));
    }
}
