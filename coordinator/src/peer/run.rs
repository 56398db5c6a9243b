//! The life of a peer's process.

use super::{
    PeerProcessError,
    api::{self, PeerApi},
    settings::PeerSettings,
    setup,
};
use crate::{
    api::serve,
    daemon,
    folder::{self, Folder},
    master_key::{Passphrase, SealedMasterKey},
    organisations,
    record::{Addresses, Identifier, Member, MemberOptions},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

const MAX_TOKEN: u64 = 256;

/// What is said once it serves.
#[derive(Debug, Clone, Serialize)]
pub struct PeerReady {
    /// `ready`.
    pub event: &'static str,
    /// Whose peer it is.
    pub organisation: String,
    /// Where its API answers.
    pub url: String,
    /// Where the other peers connect.
    pub listen: SocketAddr,
    /// The ledger's id, hexadecimal.
    pub ledger: String,
    /// The process.
    pub pid: u32,
}

/// Runs a peer until it is told to stop.
///
/// # Errors
/// [`PeerProcessError`]
pub async fn run(
    dir: &Path,
    passphrase: Passphrase,
    exit_with_stdin: bool,
    announce: impl FnOnce(&PeerReady),
) -> Result<(), PeerProcessError> {
    let folder = Folder::open_peer(dir)?;
    let _lock = folder.lock()?;
    let settings = PeerSettings::read(&folder)?;
    if !folder.genesis().exists() {
        return Err(PeerProcessError::NotJoined);
    }
    let genesis = setup::read_genesis(&folder.genesis())?;
    let stop = daemon::stop_signal(exit_with_stdin)?;
    let address = settings.api;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| PeerProcessError::Listen { address, source })?;
    let url = format!("http://{}", listener.local_addr()?);
    let token = read_token(&folder)?;

    let master = SealedMasterKey::open(&folder.master_key(), &passphrase)?;
    drop(passphrase);
    let keys = organisations::peer(&folder, &master, &settings.organisation)?;
    drop(master);
    let ledger = hex::encode(genesis.id());
    let options = MemberOptions {
        timing: (&settings.timing).into(),
        ..MemberOptions::default()
    };
    let starting = tokio::task::spawn_blocking({
        let (record, listen) = (folder.record(), settings.listen);
        let addresses = addresses(folder.clone(), settings.members.clone());
        move || Member::start(&record, &genesis, keys, listen, addresses, &options)
    });
    let member = starting.await.map_err(std::io::Error::other)??;
    let api = Arc::new(PeerApi {
        member,
        ledger: ledger.clone(),
        token,
    });
    tracing::info!(url, ledger, listen = %settings.listen, "serving");
    announce(&PeerReady {
        event: "ready",
        organisation: settings.organisation.to_string(),
        url,
        listen: settings.listen,
        ledger,
        pid: std::process::id(),
    });
    tokio::select! {
        () = serve(listener, api::router(api.clone()), daemon::stopped(stop.clone())) => {}
        () = daemon::late(stop) => tracing::warn!("requests that did not end in time were cut off"),
    }
    // The threads of the order have a runtime of their own: they are joined where waiting is allowed.
    let closed = tokio::task::spawn_blocking(move || api.member.close());
    closed.await.map_err(std::io::Error::other)?;
    tracing::info!("stopped");
    Ok(())
}

/// The addresses in peer.toml, as they stand there whenever members change; as they stood before if it cannot be read then.
fn addresses(folder: Folder, at_start: BTreeMap<Identifier, SocketAddr>) -> Addresses {
    let last = Mutex::new(at_start);
    Arc::new(move || {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        match PeerSettings::read(&folder) {
            Ok(settings) => *last = settings.members,
            Err(error) => {
                tracing::error!(%error, "the addresses of the members stay as they were; correct peer.toml");
            }
        }
        last.clone()
    })
}

/// The token that a peer's API wants to be shown.
///
/// # Errors
/// [`PeerProcessError`]
pub fn read_token(folder: &Folder) -> Result<Zeroizing<String>, PeerProcessError> {
    read_token_file(&folder.peer_token())
}

/// The same, from a file elsewhere.
///
/// # Errors
/// [`PeerProcessError`]
pub fn read_token_file(path: &Path) -> Result<Zeroizing<String>, PeerProcessError> {
    let bytes = folder::read_secret(path, MAX_TOKEN)?;
    match std::str::from_utf8(&bytes) {
        Ok(token) if !token.trim().is_empty() => Ok(Zeroizing::new(token.trim().to_owned())),
        _ => Err(PeerProcessError::File {
            path: path.to_owned(),
            reason: "it is not a token".to_owned(),
        }),
    }
}
