//! `coordinator run`: the record's peers, the platform and its API in one process.
//!
//! Start: lock the folder, open the master key, open the record, remove orphaned bodies, listen, say so. Stop, on SIGTERM,
//! Ctrl-C or the end of standard input: take no more requests, finish those that run (for a while), then close the record. It
//! ends with a failure when the record has stopped for good, as with a full disk: then only a new start helps.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cryptonode::client::ClientOptions;
use cryptonode::telemetry::{Telemetry, TelemetryError};
use futures_util::future::BoxFuture;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use serde::Serialize;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::api::{self, Answers, AnswersError};
use crate::body_store::{BodyStore, BodyStoreError};
use crate::client::profile::Profile;
use crate::config::{BodiesConfig, Config};
use crate::folder::{Folder, FolderLock};
use crate::key_store::KeyStore;
use crate::master_key::{MasterKeyError, Passphrase, SealedMasterKey};
use crate::platform::{
    Clusters, ManagedKeys, Parts, Platform, PlatformError, Tracing, UnderMasterKey,
};
use crate::record::RecordHandle;
use crate::setup::{self, CLUSTER_CLIENT, SetupError};

/// How often what waited too long is given up.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How long requests that run may take to end once the process is to stop.
const STOP_WITHIN: Duration = Duration::from_secs(6);

/// What the key is for that seals remembered answers.
const IDEMPOTENCY: &str = "coordinator/v1/idempotency-key";

/// How often the record is asked whether it has stopped for good.
const LOOK_AFTER_RECORD_EVERY: Duration = Duration::from_secs(1);
/// How long answers under way may take when it has.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// A reason for which the process does not run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The address cannot be had.
    #[error(
        "cannot listen on {address}: {source}; choose another `listen` in coordinator.toml, or stop what uses it"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The system's signals or sockets failed.
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
    /// Folder, keys or record.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The platform.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The exporter of spans.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The body store.
    #[error(transparent)]
    Bodies(#[from] BodyStoreError),
    /// The list of Idempotency-Keys.
    #[error(transparent)]
    Answers(#[from] AnswersError),
    /// The record has stopped for good in this process.
    #[error(
        "the record has stopped: {reason}; put in order what is named, and start again: what was acknowledged is there"
    )]
    Halted {
        /// Why.
        reason: String,
    },
}

impl DaemonError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> String {
        match self {
            Self::Listen { .. } => "listen".to_owned(),
            Self::System(_) => "system".to_owned(),
            Self::Setup(e) => e.code(),
            Self::Platform(e) => e.code(),
            Self::Telemetry(_) => "telemetry".to_owned(),
            Self::Bodies(e) => e.code().to_owned(),
            Self::Answers(_) => "idempotency-store".to_owned(),
            Self::Halted { .. } => "record-halted".to_owned(),
        }
    }
}

/// How to run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Listen here instead of where the settings say.
    pub listen: Option<SocketAddr>,
    /// Bodies lie in this bucket instead of where the settings say.
    pub bodies: Option<String>,
    /// Stop when standard input ends.
    pub exit_with_stdin: bool,
}

/// What is said once it serves.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    /// `ready`.
    pub event: &'static str,
    /// Where the API answers.
    pub url: String,
    /// The folder.
    pub dir: PathBuf,
    /// The ledger's id, hexadecimal.
    pub ledger: String,
    /// The process.
    pub pid: u32,
}

/// A folder that is locked for this process, with settings that are right.
pub struct Prepared {
    folder: Folder,
    config: Config,
    _lock: FolderLock,
}

/// Keeps secrets out of core dumps and from other processes of this user.
pub fn harden() {
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Locks the folder and reads the settings, before anybody is asked for a passphrase.
pub fn prepare(dir: &std::path::Path) -> Result<Prepared, DaemonError> {
    let folder = Folder::open(dir).map_err(SetupError::from)?;
    let lock = folder.lock().map_err(SetupError::from)?;
    let config = Config::read(&folder.config()).map_err(SetupError::from)?;
    Ok(Prepared {
        folder,
        config,
        _lock: lock,
    })
}

/// Runs until it is told to stop. The passphrase is wiped as soon as the master key is open.
pub async fn run(
    prepared: Prepared,
    passphrase: Passphrase,
    options: RunOptions,
    announce: impl FnOnce(&Ready),
) -> Result<(), DaemonError> {
    let Prepared {
        folder,
        mut config,
        _lock,
    } = prepared;
    if let Some(url) = options.bodies {
        config.bodies = BodiesConfig {
            url: Some(url),
            bucket: None,
            prefix: None,
            ..config.bodies
        };
    }
    let stop = stop_signal(options.exit_with_stdin)?;
    let address = options.listen.unwrap_or(config.listen);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| DaemonError::Listen { address, source })?;
    let url = format!("http://{}", listener.local_addr()?);

    let master = Arc::new(
        SealedMasterKey::open(&folder.master_key(), &passphrase).map_err(SetupError::from)?,
    );
    drop(passphrase);
    let keys = setup::api_keys(&folder, &master)?;
    let answers = Answers::open(&folder.answers(), &keys.derive(IDEMPOTENCY))?;
    let genesis = setup::read_genesis(&folder)?;
    let record = setup::open_record(&folder, &master, genesis, &config.record).await?;
    let platform = match start_platform(&folder, &config, master, record.clone()).await {
        Ok(platform) => platform,
        Err(e) => {
            record.close().await;
            return Err(e);
        }
    };
    if let Err(e) = Profile::set_url(&folder.client_profile(), &url) {
        tracing::warn!(error = %e, "the profile in the folder keeps its old URL");
    }
    let router = api::router(platform.clone(), keys, answers, &config.limits);
    let ledger = hex::encode(record.ledger());
    tracing::info!(url, ledger, "serving");
    announce(&Ready {
        event: "ready",
        url,
        dir: folder.root().to_owned(),
        ledger,
        pid: std::process::id(),
    });

    let sweeper = tokio::spawn(sweep(platform.clone(), stop.clone()));
    let taken_within = Duration::from_secs(config.limits.idle_s);
    let outcome = tokio::select! {
        () = api::serve(listener, router, taken_within, stopped(stop.clone())) => Ok(()),
        () = late(stop) => {
            tracing::warn!("requests that did not end in time were cut off");
            Ok(())
        }
        reason = halted(&record) => {
            sweeper.abort();
            Err(DaemonError::Halted { reason })
        }
    };
    let _ = sweeper.await;
    platform.close().await;
    record.close().await;
    tracing::info!("stopped");
    outcome
}

/// Resolves when the record has stopped for good: only a new start helps, and a service manager makes one. Those who wait for
/// an answer get it first.
async fn halted(record: &RecordHandle) -> String {
    let mut every = tokio::time::interval(LOOK_AFTER_RECORD_EVERY);
    loop {
        every.tick().await;
        if let Some(reason) = record.halted() {
            tokio::time::sleep(LAST_ANSWERS).await;
            return reason;
        }
    }
}

async fn start_platform(
    folder: &Folder,
    config: &Config,
    master: Arc<SealedMasterKey>,
    record: RecordHandle,
) -> Result<Arc<Platform>, DaemonError> {
    let identity = master
        .read_sealed(&folder.secret(CLUSTER_CLIENT), CLUSTER_CLIENT)
        .map_err(SetupError::from)?;
    let damaged =
        |_| SetupError::ClusterClient("it is damaged: restore the folder from a backup".into());
    let identity = Zeroizing::new(std::str::from_utf8(&identity).map_err(damaged)?.to_owned());
    let waits = ClientOptions {
        connect_timeout: Duration::from_millis(config.cluster.connect_timeout_ms),
        request_timeout: Duration::from_millis(config.cluster.request_timeout_ms),
        hedge_after: Duration::from_millis(config.cluster.hedge_after_ms),
        ..ClientOptions::default()
    };
    let clusters = Clusters::new(folder.clusters(), identity, waits)?;
    let bodies = BodyStore::open(&config.bodies, &folder.bodies(), &folder.uploads())?
        .with_reserve(config.limits.free_bytes)
        .with_index(&folder.body_index())?;
    let managed =
        ManagedKeys::open(&folder.managed_keys(), master.clone()).map_err(PlatformError::from)?;
    let secrets = SealedSecrets {
        master: master.clone(),
        dir: folder.secrets(),
    };
    let parts = Parts {
        record,
        bodies,
        managed: managed.clone(),
        master_key: master,
        keys: KeyStore::open(&folder.key_store()).map_err(PlatformError::from)?,
        parts_list: folder.parts(),
        under_master_key: vec![Box::new(secrets), Box::new(managed)],
        clusters,
        limits: config.limits.clone(),
        tracing: Tracing {
            telemetry: match config.telemetry.collector()? {
                Some(collector) => Telemetry::start(&collector, "coordinator", "coordinator")?,
                None => Telemetry::default(),
            },
            sample_ratio: config.telemetry.sample_ratio,
        },
    };
    Ok(Platform::start(parts).await?)
}

/// The files in `secrets/`.
struct SealedSecrets {
    master: Arc<SealedMasterKey>,
    dir: PathBuf,
}

impl UnderMasterKey for SealedSecrets {
    fn rewrap(&self) -> BoxFuture<'_, Result<usize, MasterKeyError>> {
        Box::pin(async { self.master.reseal(&self.dir) })
    }
}

async fn sweep(platform: Arc<Platform>, stop: watch::Receiver<bool>) {
    let mut every = tokio::time::interval(SWEEP_EVERY);
    let stopped = stopped(stop);
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            _ = every.tick() => platform.sweep().await,
            () = &mut stopped => return,
        }
    }
}

/// Becomes true when the process is to stop.
pub(crate) fn stop_signal(exit_with_stdin: bool) -> std::io::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = end_of_stdin(), if exit_with_stdin => {}
        }
        tracing::info!("stopping");
        let _ = sender.send(true);
        // A second signal does not wait.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(1);
    });
    Ok(receiver)
}

async fn end_of_stdin() {
    let (mut stdin, mut buffer) = (tokio::io::stdin(), [0; 256]);
    while stdin.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

pub(crate) async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

pub(crate) async fn late(stop: watch::Receiver<bool>) {
    stopped(stop).await;
    tokio::time::sleep(STOP_WITHIN).await;
}
