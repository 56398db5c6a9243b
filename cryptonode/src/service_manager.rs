//! What the service manager is told (systemd's notify protocol). Without one, nothing is said to anybody.

use std::time::Duration;

use sd_notify::NotifyState;

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// The node is up: it serves, or it waits for its passphrase.
pub(crate) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] says when that is over.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "there is no monotonic clock"),
    }
}

/// The node is stopping.
pub(crate) fn stopping() {
    notify(&[
        NotifyState::Stopping,
        NotifyState::Status("stopping: finishing what was accepted"),
    ]);
}

/// Tells the watchdog that the node is alive, for ever, if the service manager asked for it. `alive` is awaited before each
/// sign: a node that hangs there is started anew.
pub(crate) async fn watchdog<F: Future<Output = bool>>(alive: impl Fn() -> F) {
    let Some(within) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let every = (within / 3).max(Duration::from_millis(10));
    loop {
        if alive().await {
            notify(&[NotifyState::Watchdog]);
        }
        tokio::time::sleep(every).await;
    }
}
