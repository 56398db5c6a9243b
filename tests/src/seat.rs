//! Somebody at a node's place on the network: at its address and with its identity. What he answers is the caller's affair.
//!
//! `faulty_node` is the one who is asked for shares; a member of a ceremony that misbehaves is made of this.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use cryptonode::config::Config;
use cryptonode::server::{Limits, bind};
use cryptonode::store::NodeIdentity;
use cryptonode::tls;
use cryptonode::wire::v1::MAX_MEMBER_REQUEST;
use quinn::Connection;

use crate::faulty_node::{FaultyNodeError, cannot};

/// What is answered to whom, by the identity that TLS established: bytes, or nothing, until the other gives up.
pub type Answers = dyn Fn([u8; 32], Vec<u8>) -> Option<Vec<u8>> + Send + Sync;

/// Takes the place of the node of this folder, which does not run, until the task is dropped. `announce` is called once, with the address,
/// when it serves. Needs a tokio runtime.
///
/// # Errors
/// [`FaultyNodeError`] if the configuration cannot be read or the address not be listened on.
pub async fn take(
    dir: &Path,
    identity: &NodeIdentity,
    answers: Arc<Answers>,
    announce: impl FnOnce(SocketAddr),
) -> Result<(), FaultyNodeError> {
    let config = Config::load(dir).map_err(cannot("read the configuration"))?;
    let endpoint = bind(config.listen, &identity.signing, &Limits::default())
        .map_err(cannot("listen at the node's address"))?;
    let address = endpoint
        .local_addr()
        .map_err(cannot("tell its own address"))?;
    announce(address);
    while let Some(incoming) = endpoint.accept().await {
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            if let Ok(connection) = incoming.await {
                serve(connection, answers).await;
            }
        });
    }
    Ok(())
}

async fn serve(connection: Connection, answers: Arc<Answers>) {
    let from = tls::peer_key(&connection).and_then(|spki| tls::ed25519_key(&spki));
    let Some(from) = from else { return };
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            let Ok(bytes) = receive.read_to_end(MAX_MEMBER_REQUEST).await else {
                return;
            };
            let done = match answers(from, bytes) {
                Some(bytes) => send.write_all(&bytes).await.is_ok() && send.finish().is_ok(),
                None => true,
            };
            if done {
                let _ = send.stopped().await;
            }
        });
    }
}
