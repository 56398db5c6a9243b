//! The sealed stage: the node is up, holds no secret, and waits for its passphrase.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::{Door, StartError, Stops};
use crate::admin::CommandError;
use crate::service_manager;
use crate::store::{Passphrase, Store, StoreError};

/// Told what came of a passphrase: what the node says when it serves, or why it stays sealed.
pub(super) type Asker = oneshot::Sender<Result<Value, CommandError>>;

/// A passphrase that somebody gave.
pub(super) struct Attempt {
    pub(super) passphrase: Passphrase,
    pub(super) asker: Asker,
}

/// Waits until a passphrase opens the store; `None` if the node is told to stop before. One attempt at a time: each costs the
/// memory and the time that the store's key asks for. `announce` is called once a passphrase can be given.
pub(super) async fn wait(
    door: &Arc<Door>,
    folder: &Path,
    stops: &mut Stops,
    announce: impl FnOnce(),
) -> Result<Option<(Store, Asker)>, StartError> {
    let (attempts, mut queue) = mpsc::channel(1);
    door.seal(attempts);
    announce();
    tracing::info!("sealed: open it with `cryptonode unseal`");
    service_manager::ready("sealed: waiting for `cryptonode unseal`");
    loop {
        let attempt = tokio::select! {
            reason = stops.wait() => {
                tracing::info!(reason, "stopping; the node was sealed");
                service_manager::stopping();
                return Ok(None);
            }
            attempt = queue.recv() => attempt,
        };
        let Some(Attempt { passphrase, asker }) = attempt else {
            // The door is open for as long as the node lives.
            return Ok(None);
        };
        match tokio::task::block_in_place(|| Store::open(folder, &passphrase)) {
            Ok(store) => {
                door.starting();
                tracing::info!("unsealed");
                return Ok(Some((store, asker)));
            }
            Err(error @ (StoreError::WrongPassphrase { .. } | StoreError::OutOfMemory)) => {
                let wrong = matches!(error, StoreError::WrongPassphrase { .. });
                let code = if wrong {
                    "wrong-passphrase"
                } else {
                    "out-of-memory"
                };
                tracing::warn!(code, "the node stays sealed");
                let _ = asker.send(Err(CommandError::new(code, error.to_string())));
            }
            Err(error) => {
                let _ = asker.send(Err(CommandError::new("store", error.to_string())));
                return Err(error.into());
            }
        }
    }
}
