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
mod door;
mod key_view;
mod sealed;

pub(crate) use door::Door;

pub use crate::process::forbid_core_dumps;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin::AdminSocket;
use crate::audit::{AuditError, AuditLog, CheckpointKey};
use crate::ceremony::{Ceremonies, CeremonyError, Surroundings};
use crate::config::{Config, ConfigError, LiveConfig, PolicyFileError};
use crate::health::Page;
use crate::keyring::Keyring;
use crate::node_files::{AUDIT_FOLDER, PublicIdentity, PublicIdentityError};
use crate::probe::Probe;
use crate::process;
use crate::reload::{self, ReloadError, Reloads};
use crate::revocation::Lists;
use crate::server::{self, BindError, Clients, Counters, Gate, LiveLimits, Presenter, Serving};
use crate::service_manager;
use crate::set_back::{self, SetBackError};
use crate::store::{Folder, FolderError, Passphrase, RecordsError, Store, StoreError};
use crate::suspension;
use crate::telemetry::{Telemetry, TelemetryError};
use crate::tls::TlsIdentity;
use crate::witness::{self, Witnesses};

/// For the collector to take the last spans.
const LAST_SPANS_WITHIN: Duration = Duration::from_secs(2);

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
    /// The store is older than the audit log.
    #[error(transparent)]
    SetBack(#[from] SetBackError),
    /// The address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The exporter of spans.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
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
            Self::SetBack(_) => "store-set-back",
            Self::Bind(_) => "listen",
            Self::Telemetry(_) => "telemetry",
            Self::Ceremony(error) => error.code(),
            Self::OtherIdentity { .. } => "other-identity",
            Self::System { .. } => "system",
        }
    }
}

impl From<ReloadError> for StartError {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Config(error) => error.into(),
            ReloadError::Policy(error) => error.into(),
            ReloadError::Tls(error) => BindError::from(error).into(),
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
    /// Where its health and metrics are; `None` if they are off or the address cannot be had.
    pub health: Option<SocketAddr>,
}

impl Ready {
    /// The same for programs.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "event": "ready", "name": self.name, "listen": self.listen.to_string(), "identity": self.identity,
            "keys": self.keys, "health": self.health,
        })
    }
}

/// A folder that was taken, with a configuration that is in order: everything before the passphrase.
#[derive(Debug)]
pub struct Prepared {
    folder: Folder,
    config: Config,
    public: PublicIdentity,
    policy: Option<certs::Policy>,
    /// Which config.toml that was.
    read_as: reload::Fingerprint,
}

/// Takes the folder and reads what needs no passphrase.
///
/// # Errors
/// [`StartError`] for the first thing that is wrong.
pub fn prepare(dir: &Path) -> Result<Prepared, StartError> {
    let folder = Folder::open(dir)?;
    // The configuration's faults are told first: everything else depends on it.
    let first = Config::load(dir)?;
    let public = PublicIdentity::read(dir)?;
    let read_as = reload::fingerprint(dir, &first);
    let (config, policy) = reload::read(dir, &public.identity)?;
    Ok(Prepared {
        folder,
        config,
        public,
        policy,
        read_as,
    })
}

/// The parts of a running node, for those that carry out commands.
pub(crate) struct Node {
    pub(crate) folder: PathBuf,
    pub(crate) live: Arc<LiveConfig>,
    pub(crate) limits: LiveLimits,
    pub(crate) presenter: Presenter,
    pub(crate) counters: Arc<Counters>,
    pub(crate) probe: Arc<Probe>,
    pub(crate) page: Arc<Page>,
    pub(crate) gate: Arc<Gate>,
    /// Whether the process's memory stays out of swap, or why not.
    pub(crate) memory: Result<(), String>,
    pub(crate) store: Arc<Store>,
    /// Held while a suspension is made or lifted.
    pub(crate) suspending: tokio::sync::Mutex<()>,
    pub(crate) lists: Arc<Lists>,
    pub(crate) reloads: Mutex<Reloads>,
    pub(crate) identity: [u8; 32],
    pub(crate) listen: SocketAddr,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) telemetry: Telemetry,
    pub(crate) ceremonies: Arc<Ceremonies>,
    pub(crate) witnesses: Arc<Witnesses>,
    pub(crate) started: Instant,
}

/// Something that whoever started the node is told.
#[derive(Debug)]
pub enum Event {
    /// It has no passphrase and waits for `cryptonode unseal`.
    Sealed {
        /// The node's name.
        name: String,
        /// Where its health and metrics are; `None` if they are off or the address cannot be had.
        health: Option<SocketAddr>,
    },
    /// It serves.
    Ready(Ready),
}

/// Runs the node until it is told to stop. Without a passphrase it waits for one first. `announce` is told when it does, and
/// when it serves.
///
/// # Errors
/// [`StartError`] if it cannot start; nothing on the disk was changed then that a start does not change.
pub async fn run(
    prepared: Prepared,
    passphrase: Option<Passphrase>,
    options: RunOptions,
    announce: impl FnMut(&Event),
) -> Result<(), StartError> {
    // Installed before anything else, so that a signal during the start is not lost.
    let mut stops = Stops::install(options)?;
    let hangup = signal(SignalKind::hangup()).map_err(|error| StartError::System {
        what: "listen for SIGHUP",
        reason: error.to_string(),
    })?;
    let door = Door::new(&prepared.config.name);
    let socket = AdminSocket::bind(prepared.folder.path()).map_err(|error| StartError::System {
        what: "open admin.sock in the node's folder",
        reason: error.to_string(),
    })?;
    let subject = Arc::clone(&door) as Arc<dyn crate::health::Subject>;
    let page = Arc::new(Page::open(prepared.config.health.listen, subject).await);
    let admin = tokio::spawn(socket.serve(Arc::clone(&door)));
    let outcome = live(
        prepared, passphrase, &door, &page, &mut stops, hangup, announce,
    )
    .await;
    admin.abort();
    let _ = admin.await;
    outcome
}

/// The life of the node between its door's opening and its closing.
async fn live(
    prepared: Prepared,
    passphrase: Option<Passphrase>,
    door: &Arc<Door>,
    page: &Arc<Page>,
    stops: &mut Stops,
    hangup: Signal,
    mut announce: impl FnMut(&Event),
) -> Result<(), StartError> {
    let Prepared {
        folder,
        config,
        public,
        policy,
        read_as,
    } = prepared;
    crate::log_level::set(&config.log.level);
    let memory = process::lock_memory();
    if let Err(reason) = &memory {
        tracing::warn!(
            reason,
            "memory is not locked: on a machine with swap, use an encrypted one"
        );
    }
    let (store, asker) = match passphrase {
        Some(passphrase) => {
            let store = tokio::task::block_in_place(|| Store::open(folder.path(), &passphrase))?;
            (store, None)
        }
        None => {
            let event = Event::Sealed {
                name: config.name.clone(),
                health: page.address().ok().flatten(),
            };
            match sealed::wait(door, folder.path(), stops, || announce(&event)).await? {
                Some((store, asker)) => (store, Some(asker)),
                None => return Ok(()),
            }
        }
    };
    let store = Arc::new(store);
    let identity = store.identity()?;
    if PublicIdentity::of(&identity) != public {
        return Err(StartError::OtherIdentity {
            folder: folder.path().display().to_string(),
        });
    }
    let keyring = Arc::new(Keyring::new());
    for entry in store.keys()? {
        keyring.put(entry);
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
    set_back::check(folder.path(), &store, &keyring, audit.said())?;
    set_back::mark(folder.path(), &store, &audit)?;
    let limits = LiveLimits::from(config.limits.limits());
    let certificate = config.certificate.as_ref().map(|one| one.der.as_slice());
    let presenter = Presenter::bind(config.listen, &identity.signing, certificate, &limits.now())?;
    let endpoint = presenter.endpoint().clone();
    let listen = endpoint.local_addr().map_err(|error| StartError::System {
        what: "tell the bound address",
        reason: error.to_string(),
    })?;
    let live = Arc::new(LiveConfig::new(config.clone()));
    let (shown, was_shown) = watch::channel(false);
    let ceremonies = Ceremonies::open(Surroundings {
        folder: folder.path().to_owned(),
        own: public.member(&config),
        signing: Arc::new(identity.signing.clone()),
        policy,
        live: Arc::clone(&live),
        store: Arc::clone(&store),
        keyring: Arc::clone(&keyring),
        audit: Arc::clone(&audit),
        restored: store.is_restored()?,
        shown: was_shown,
    })?;
    let witnesses = Witnesses::open(witness::Surroundings {
        name: config.name.clone(),
        signing: identity.signing.clone(),
        live: Arc::clone(&live),
        store: Arc::clone(&store),
        keyring: Arc::clone(&keyring),
        audit: Arc::clone(&audit),
        restored: store.is_restored()?,
        shown,
    })?;
    let own_tls = TlsIdentity::from_signing_key(&identity.signing).map_err(BindError::from)?;
    let probe = Probe::new(
        own_tls,
        public.identity,
        Arc::clone(&live),
        Arc::clone(&keyring),
    );
    let counters = Arc::new(Counters::default());
    let gate = Arc::new(Gate::new(Clients::new(config.clients.clone())));
    suspension::load(&store, &gate)?;
    let telemetry = match &config.telemetry.endpoint {
        Some(endpoint) => Telemetry::start(endpoint, "cryptonode", &config.name)?,
        None => Telemetry::default(),
    };
    let lists = Lists::open(folder.path(), Arc::clone(&live), Arc::clone(&gate));
    let node = Arc::new(Node {
        folder: folder.path().to_owned(),
        live,
        limits: limits.clone(),
        presenter,
        counters: Arc::clone(&counters),
        probe: Arc::clone(&probe),
        page: Arc::clone(page),
        gate: Arc::clone(&gate),
        memory,
        store: Arc::clone(&store),
        suspending: tokio::sync::Mutex::default(),
        lists: Arc::clone(&lists),
        reloads: Mutex::new(Reloads {
            read_at_s: clock_s(),
            ..Reloads::default()
        }),
        identity: public.identity,
        listen,
        keyring: Arc::clone(&keyring),
        audit: Arc::clone(&audit),
        telemetry: telemetry.clone(),
        ceremonies: Arc::clone(&ceremonies),
        witnesses: Arc::clone(&witnesses),
        started: Instant::now(),
    });
    // It may have waited long for its passphrase: what was changed meanwhile holds from the first request on.
    let now_as = reload::fingerprint(&node.folder, &config);
    if now_as != read_as {
        let _ = tokio::task::block_in_place(|| node.reload());
    }
    let (stop, mut stopped) = watch::channel(false);
    let probing = tokio::spawn(probe.run(stopped.clone()));
    let revoking = tokio::spawn(lists.watch(stopped.clone()));
    let witnessing = tokio::spawn(Arc::clone(&witnesses).run(stopped.clone()));
    let reloading = tokio::spawn(reload::watch(
        Arc::clone(&node),
        now_as,
        hangup,
        stopped.clone(),
    ));
    let serving = Arc::new(Serving {
        identity: public.identity,
        software: server::SOFTWARE.to_owned(),
        keyring: Arc::clone(&keyring),
        audit: Arc::clone(&audit) as Arc<dyn server::AuditSink>,
        ceremony: Arc::new(Arc::clone(&ceremonies)),
        witness: Arc::new(Arc::clone(&witnesses)),
        gate,
        clock_ms,
        counters,
        telemetry: telemetry.clone(),
    });
    let server = tokio::spawn(server::serve(endpoint, serving, limits, async move {
        // An error means that the sender is gone, which is a stop too.
        let _ = stopped.wait_for(|stop| *stop).await;
    }));
    ceremonies.resume();
    door.open(Arc::clone(&node));
    let ready = Ready {
        name: config.name.clone(),
        listen,
        identity: hex::encode(public.identity),
        keys: keyring
            .iter()
            .map(|key| hex::encode(key.package.public_key().as_bytes()))
            .collect(),
        health: page.address().ok().flatten(),
    };
    if let Some(asker) = asker {
        // Whoever opened the node may have gone away.
        let _ = asker.send(Ok(ready.to_json()));
    }
    announce(&Event::Ready(ready));
    tracing::info!(%listen, keys = keyring.len(), "ready");
    service_manager::ready("serving");
    let alive = tokio::spawn(service_manager::watchdog(alive));

    let reason = stops.wait().await;
    tracing::info!(reason, "stopping");
    door.stopping();
    service_manager::stopping();
    let _ = stop.send(true);
    let orderly = async {
        ceremonies.stop().await;
        let _ = server.await;
        let _ = probing.await;
        let _ = reloading.await;
        let _ = revoking.await;
        let _ = witnessing.await;
        telemetry.flush(LAST_SPANS_WITHIN).await;
    };
    tokio::select! {
        () = orderly => {}
        reason = stops.wait() => tracing::warn!(reason, "stopping at once"),
    }
    alive.abort();
    tokio::task::block_in_place(|| audit.close());
    // Of a log that was set back, the head that it once had is remembered.
    if !matches!(audit.health(), Err(AuditError::RolledBack { .. })) {
        match set_back::mark(folder.path(), &store, &audit) {
            // The store remembers it, which is enough.
            Err(error @ SetBackError::File { .. }) => tracing::warn!(%error, "at the stop"),
            marked => marked?,
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// Whether the node's own threads still take work: tasks and the disk's.
async fn alive() -> bool {
    let task = tokio::spawn(async { tokio::task::spawn_blocking(|| ()).await });
    matches!(task.await, Ok(Ok(())))
}

impl Node {
    /// The reloads so far.
    pub(crate) fn reloads(&self) -> MutexGuard<'_, Reloads> {
        self.reloads.lock().unwrap_or_else(PoisonError::into_inner)
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
