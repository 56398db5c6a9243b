//! The life of a peer's process.

use super::{
    PeerProcessError,
    api::{self, PeerApi},
    clients::Clients,
    farewell::Asker,
    revocation,
    settings::PeerSettings,
    setup,
};
use crate::{
    api::{TAKEN_WITHIN, serve, serve_tls},
    daemon,
    folder::{self, Folder},
    master_key::{Passphrase, SealedMasterKey},
    organisations,
    record::{Addresses, FresherLists, Member, MemberOptions, PEER_PROTOCOL},
};
use cryptonode::tls::{TlsIdentity, tcp_server_config};
use serde::Serialize;
use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

const MAX_TOKEN: u64 = 256;
/// How long the answers under way may take when it has no place any more.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What is said once it serves.
#[derive(Debug, Clone, Serialize)]
pub struct PeerReady {
    /// `ready`.
    pub event: &'static str,
    /// Whose peer it is.
    pub organisation: String,
    /// Where its API answers.
    pub url: String,
    /// Where it answers software elsewhere, over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_tls: Option<String>,
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
    let listener = bind(settings.api).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let remote = match settings.api_tls {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let at = remote.as_ref().map(TcpListener::local_addr).transpose()?;
    let url_tls = at.map(|at| format!("https://{at}"));
    let token = read_token(&folder)?;

    let master = SealedMasterKey::open(&folder.master_key(), &passphrase)?;
    drop(passphrase);
    let keys = organisations::peer(&folder, &master, &settings.organisation)?;
    drop(master);
    if keys.head_key.verifying_key().to_bytes() != setup::own_organisation(&folder)?.head_key {
        return Err(PeerProcessError::KeyDiffers(setup::organisation_file(
            &folder,
        )));
    }
    let identity = TlsIdentity::from_signing_key(&keys.head_key)?;
    let tls = tcp_server_config(&identity, PEER_PROTOCOL)?;
    let known = last_known(folder.clone(), settings.clone());
    let asker = Asker {
        identity: Arc::new(identity),
        key: keys.head_key.verifying_key().to_bytes(),
        apis: {
            let known = known.clone();
            Box::new(move || known().apis)
        },
    };
    let ledger = hex::encode(genesis.id());
    let wrong = |reason| PeerProcessError::Settings {
        path: folder.peer_settings(),
        reason,
    };
    let sources = revocation::sources(&settings.revocation, folder.root()).map_err(wrong)?;
    let lists = Arc::new(FresherLists::default());
    let _watching = revocation::watch(sources, &lists);
    let options = MemberOptions {
        revocations: Some(lists),
        helpers: settings
            .helpers
            .iter()
            .map(|(name, key)| (name.clone(), key.0))
            .collect(),
        timing: (&settings.timing).into(),
        never_voted: folder.never_voted(),
        ..MemberOptions::default()
    };
    let starting = tokio::task::spawn_blocking({
        let (record, listen) = (folder.record(), settings.listen);
        let addresses: Addresses = Arc::new(move || known().members);
        let genesis = genesis.clone();
        move || Member::start(&record, &genesis, keys, listen, addresses, &options)
    });
    let member = starting.await.map_err(std::io::Error::other)??;
    let api = Arc::new(PeerApi {
        member,
        ledger: ledger.clone(),
        token,
        clients: Clients::new(folder, &settings),
    });
    tracing::info!(url, url_tls, ledger, listen = %settings.listen, "serving");
    announce(&PeerReady {
        event: "ready",
        organisation: settings.organisation.to_string(),
        url,
        url_tls,
        listen: settings.listen,
        ledger,
        pid: std::process::id(),
    });
    let own = serve(
        listener,
        api::router(api.clone()),
        TAKEN_WITHIN,
        daemon::stopped(stop.clone()),
    );
    let stopping = daemon::stopped(stop.clone());
    let others = async {
        if let Some(remote) = remote {
            serve_tls(remote, tls, api::remote_router(api.clone()), stopping).await;
        }
    };
    let departed = async {
        let (departure, by) = asker.departed(&api.member, &genesis).await;
        let removed = PeerProcessError::Removed {
            organisation: departure.organisation,
            epoch: departure.epoch,
            by,
        };
        tracing::error!(code = removed.code(), "{removed}");
        api.member.retire(removed.to_string());
        tokio::time::sleep(LAST_ANSWERS).await;
        removed
    };
    let mut ended = Ok(());
    tokio::select! {
        ((), ()) = async { tokio::join!(own, others) } => {}
        removed = departed => ended = Err(removed),
        () = daemon::late(stop) => tracing::warn!("requests that did not end in time were cut off"),
    }
    // The threads of the order have a runtime of their own: they are joined where waiting is allowed.
    let closed = tokio::task::spawn_blocking(move || api.member.close());
    closed.await.map_err(std::io::Error::other)?;
    tracing::info!("stopped");
    ended
}

async fn bind(address: SocketAddr) -> Result<TcpListener, PeerProcessError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| PeerProcessError::Listen { address, source })
}

/// The settings in peer.toml, as they stand there whenever they are asked for; as they stood before if they cannot be read then.
fn last_known(
    folder: Folder,
    at_start: PeerSettings,
) -> Arc<dyn Fn() -> PeerSettings + Send + Sync> {
    let last = Mutex::new(at_start);
    Arc::new(move || {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        match PeerSettings::read(&folder) {
            Ok(settings) => *last = settings,
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
