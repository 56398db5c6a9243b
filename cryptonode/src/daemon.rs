//! The running node: puts store, keyring, audit log, ceremonies, server and admin socket together, and takes them apart
//! again.
//!
//! **Start**, each step refusing before anything is changed: folder taken, configuration whole, store unsealed, identity the
//! one that the public files name, every share matching its public share, audit log continuing what was signed, address bound.
//! Only then is the node ready.
//!
//! **Stop** (SIGTERM, Ctrl-C, or standard input closed): no new requests, the accepted ones are answered, the log's
//! last checkpoint is signed. A second signal stops at once, which a crash-safe node survives like any crash.

mod commands;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admin::AdminSocket;
use crate::audit::{AuditError, AuditLog, CheckpointKey};
use crate::ceremony::{Ceremonies, CeremonyError, Surroundings};
use crate::config::{Config, ConfigError, PolicyFileError, read_policy};
use crate::keyring::Keyring;
use crate::node_files::{AUDIT_FOLDER, PublicIdentity, PublicIdentityError};
use crate::server::{self, BindError, Counters, Limits, Serving};
use crate::store::{
    Folder, FolderError, Passphrase, RecordsError, Store, StoreError, audit_head_change,
};

/// Why a node does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// `config.toml`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The policy file.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    /// `identity.json`.
    #[error(transparent)]
    PublicIdentity(#[from] PublicIdentityError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in the store.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A ceremony's state.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// The public files are another node's.
    #[error(
        "identity.json in {folder} is not the identity in the sealed store: files of two nodes were mixed; restore the folder from a backup"
    )]
    OtherIdentity {
        /// The folder.
        folder: String,
    },
    /// Something else of the system.
    #[error("cannot {what}: {reason}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        reason: String,
    },
}

impl StartError {
    /// A stable code for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Folder(_) => "folder",
            Self::Config(_) => "configuration",
            Self::Policy(_) => "policy",
            Self::PublicIdentity(_) => "identity-file",
            Self::Store(_) => "store",
            Self::Records(_) => "store-record",
            Self::Audit(error) => error.code(),
            Self::Bind(_) => "listen",
            Self::Ceremony(error) => error.code(),
            Self::OtherIdentity { .. } => "other-identity",
            Self::System { .. } => "system",
        }
    }
}

/// How to run.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Stop when standard input is closed.
    pub exit_with_stdin: bool,
}

/// What is said when the node serves.
#[derive(Debug)]
pub struct Ready {
    /// The node's name.
    pub name: String,
    /// The address that it is bound to.
    pub listen: SocketAddr,
    /// Its identity in hexadecimal.
    pub identity: String,
    /// Its active keys, each Y in hexadecimal.
    pub keys: Vec<String>,
}

/// A folder that was taken, with a configuration that is in order: everything before the passphrase.
#[derive(Debug)]
pub struct Prepared {
    folder: Folder,
    config: Config,
    public: PublicIdentity,
    policy: Option<certs::Policy>,
}

/// Turns core dumps off: they would put the data key and the shares on the disk.
pub fn forbid_core_dumps() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be turned off");
    }
}

/// Takes the folder and reads what needs no passphrase.
///
/// # Errors
/// [`StartError`] for the first thing that is wrong.
pub fn prepare(dir: &Path) -> Result<Prepared, StartError> {
    let folder = Folder::open(dir)?;
    let config = Config::load(dir)?;
    let public = PublicIdentity::read(dir)?;
    let policy = match read_policy(&config.policy) {
        Ok(policy) => Some(policy),
        // Without a policy a node serves the keys that it has, and takes part in no ceremony.
        Err(PolicyFileError::Missing { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(Prepared {
        folder,
        config,
        public,
        policy,
    })
}

/// The parts of a running node, for those that carry out commands.
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) identity: [u8; 32],
    pub(crate) listen: SocketAddr,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) ceremonies: Arc<Ceremonies>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) started: Instant,
}

/// Runs the node until it is told to stop. `announce` is called once, when it serves.
///
/// # Errors
/// [`StartError`] if it cannot start; nothing on the disk was changed then that a start does not change.
pub async fn run(
    prepared: Prepared,
    passphrase: &Passphrase,
    options: RunOptions,
    announce: impl FnOnce(&Ready),
) -> Result<(), StartError> {
    let Prepared {
        folder,
        config,
        public,
        policy,
    } = prepared;
    // Installed before anything else, so that a signal during the start is not lost.
    let mut stops = Stops::install(options)?;
    let store = Arc::new(tokio::task::block_in_place(|| {
        Store::open(folder.path(), passphrase)
    })?);
    let identity = store.identity()?;
    if PublicIdentity::of(&identity) != public {
        return Err(StartError::OtherIdentity {
            folder: folder.path().display().to_string(),
        });
    }
    let keyring = Arc::new(Keyring::new());
    for key in store.active_keys()? {
        keyring.insert(key).map_err(RecordsError::from)?;
    }
    let checkpoint_key = CheckpointKey::of_node(&config.name, &identity.signing)?;
    let known = store.audit_head()?;
    let audit = Arc::new(AuditLog::open(
        &folder.file(AUDIT_FOLDER),
        checkpoint_key,
        known.as_ref(),
    )?);
    if audit.torn_bytes() > 0 {
        tracing::warn!(
            bytes = audit.torn_bytes(),
            "cut off the end of the audit log that a crash had torn; none of it was acknowledged"
        );
    }
    store.commit(&[audit_head_change(&audit.head())])?;
    let limits = limits_of(&config);
    let endpoint = server::bind(config.listen, &identity.signing, &limits)?;
    let listen = endpoint.local_addr().map_err(|error| StartError::System {
        what: "tell the bound address",
        reason: error.to_string(),
    })?;
    let ceremonies = Ceremonies::open(Surroundings {
        own: public.member(&config),
        signing: identity.signing.clone(),
        policy,
        config: config.clone(),
        store: Arc::clone(&store),
        keyring: Arc::clone(&keyring),
        restored: store.is_restored()?,
    })?;
    let socket = AdminSocket::bind(folder.path()).map_err(|error| StartError::System {
        what: "open admin.sock in the node's folder",
        reason: error.to_string(),
    })?;
    let counters = Arc::new(Counters::default());
    let node = Arc::new(Node {
        identity: public.identity,
        listen,
        keyring: Arc::clone(&keyring),
        audit: Arc::clone(&audit),
        ceremonies: Arc::clone(&ceremonies),
        counters: Arc::clone(&counters),
        started: Instant::now(),
        config,
    });
    let (stop, mut stopped) = watch::channel(false);
    let serving = Arc::new(Serving {
        identity: public.identity,
        keyring: Arc::clone(&keyring),
        audit: Arc::clone(&audit) as Arc<dyn server::AuditSink>,
        ceremony: Arc::new(Arc::clone(&ceremonies)),
        clients: None,
        clock_ms,
        counters,
    });
    let server = tokio::spawn(server::serve(endpoint, serving, limits, async move {
        // An error means that the sender is gone, which is a stop too.
        let _ = stopped.wait_for(|stop| *stop).await;
    }));
    let admin = tokio::spawn(socket.serve(Arc::clone(&node)));
    ceremonies.resume();
    announce(&Ready {
        name: node.config.name.clone(),
        listen,
        identity: hex::encode(public.identity),
        keys: keyring
            .iter()
            .map(|key| hex::encode(key.package.public_key().as_bytes()))
            .collect(),
    });
    tracing::info!(%listen, keys = keyring.len(), "ready");

    let reason = stops.wait().await;
    tracing::info!(reason, "stopping");
    let _ = stop.send(true);
    let orderly = async {
        ceremonies.stop().await;
        let _ = server.await;
    };
    tokio::select! {
        () = orderly => {}
        reason = stops.wait() => tracing::warn!(reason, "stopping at once"),
    }
    admin.abort();
    let _ = admin.await;
    tokio::task::block_in_place(|| audit.close());
    store.commit(&[audit_head_change(&audit.head())])?;
    tracing::info!("stopped");
    Ok(())
}

fn limits_of(config: &Config) -> Limits {
    Limits {
        connections: usize::try_from(config.limits.connections).unwrap_or(usize::MAX),
        requests: usize::try_from(config.limits.requests_in_flight).unwrap_or(usize::MAX),
        request: Duration::from_millis(config.limits.request_timeout_ms),
        ..Limits::default()
    }
}

/// The system's clock, in milliseconds since the Unix epoch; 0 before it.
pub(crate) fn clock_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

/// The system's clock, in seconds since the Unix epoch.
pub(crate) fn clock_s() -> u64 {
    clock_ms() / 1000
}

/// What can tell the node to stop.
struct Stops {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    stdin: Option<tokio::sync::oneshot::Receiver<()>>,
}

impl Stops {
    fn install(options: RunOptions) -> Result<Self, StartError> {
        let system = |error: std::io::Error| StartError::System {
            what: "listen for signals",
            reason: error.to_string(),
        };
        let stdin = options.exit_with_stdin.then(|| {
            let (closed, receiver) = tokio::sync::oneshot::channel();
            // A thread that nothing waits for: the process may end while it reads.
            std::thread::spawn(move || {
                let mut stdin = std::io::stdin().lock();
                let _ = std::io::copy(&mut stdin, &mut std::io::sink());
                let _ = closed.send(());
            });
            receiver
        });
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(system)?,
            interrupt: signal(SignalKind::interrupt()).map_err(system)?,
            stdin,
        })
    }

    /// Resolves at each stop anew; a closed standard input counts once.
    async fn wait(&mut self) -> &'static str {
        let stdin = async {
            match self.stdin.as_mut() {
                Some(stdin) => drop(stdin.await),
                None => std::future::pending().await,
            }
        };
        let reason = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = stdin => "standard input was closed",
        };
        if reason == "standard input was closed" {
            self.stdin = None;
        }
        reason
    }
}
