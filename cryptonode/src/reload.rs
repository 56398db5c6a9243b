//! A changed configuration, taken by the running node: as a whole or not at all.
//!
//! On SIGHUP, on `cryptonode reload`, and by itself when the file has changed and then stayed the same for a moment. A file with an
//! error changes nothing: the sentence with the line goes to the log, to `status` and to the metrics, and the node goes on
//! with what it has. Some settings are taken only at a start; a change of one of them is not an error, and is named until
//! the restart.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use crate::config::{
    CONFIG_FILE, Config, ConfigError, IssuedCertificate, PolicyFileError, read_policy,
};
use crate::daemon::{Node, clock_s};
use crate::tls::{self, TlsError};
use crate::{log_level, service_manager};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The sections that have changed and hold now.
    pub changed: Vec<String>,
    /// The settings that have changed in the file and are taken at the next start.
    pub restart_needed: Vec<String>,
}

/// Reloads so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reloads {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// When the configuration that holds was read, in seconds since the Unix epoch.
    pub(crate) read_at_s: u64,
    /// Why the file that is there now is not taken.
    pub(crate) failure: Option<String>,
    pub(crate) restart_needed: Vec<String>,
}

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// `config.toml`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The policy file.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    /// The certificate cannot be presented.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Reads and checks configuration and policy of the node `identity` in `folder`.
///
/// # Errors
/// [`ReloadError`] for the first thing that is wrong.
pub fn read(
    folder: &Path,
    identity: &[u8; 32],
) -> Result<(Config, Option<certs::Policy>), ReloadError> {
    let config = Config::load(folder)?;
    let own = |member: &&dkg::MemberIdentity| member.identity == *identity;
    if let Some(member) = config.members.iter().find(own) {
        let reason = format!("the member {} is this node itself; remove it", member.name);
        return Err(ReloadError::Config(ConfigError::Value {
            path: folder.join(CONFIG_FILE),
            key: "members".to_owned(),
            reason,
        }));
    }
    let fits = |certificate: &&IssuedCertificate| certificate.spki == tls::ed25519_spki(identity);
    if let Some(certificate) = config.certificate.as_ref().filter(|one| !fits(one)) {
        let reason = format!(
            "{} is not for this node's identity key: have the authority sign what `cryptonode certificate request` writes",
            certificate.path.display()
        );
        return Err(ReloadError::Config(ConfigError::Value {
            path: folder.join(CONFIG_FILE),
            key: "tls.certificate".to_owned(),
            reason,
        }));
    }
    let policy = match read_policy(&config.policy) {
        Ok(policy) => Some(policy),
        // A node that has no policy yet can run; it cannot take part in a ceremony.
        Err(PolicyFileError::Missing { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    Ok((config, policy))
}

impl Node {
    /// Takes the configuration that is in the folder now.
    ///
    /// # Errors
    /// [`ReloadError`]: then everything is as it was.
    pub(crate) fn reload(&self) -> Result<Reloaded, ReloadError> {
        service_manager::reloading();
        let outcome = read(&self.folder, &self.identity).and_then(|(config, _)| {
            // Whatever can fail does so before anything is taken.
            let changed = config.certificate != self.live.now().certificate;
            let certificate = config.certificate.as_ref().map(|one| one.der.as_slice());
            let present = changed
                .then(|| self.presenter.prepare(certificate, &self.limits.now()))
                .transpose()?;
            let done = self.take(config);
            if let Some(prepared) = present {
                self.presenter.present(prepared);
            }
            Ok(done)
        });
        let mut reloads = self.reloads();
        match &outcome {
            Ok(done) => {
                reloads.succeeded += 1;
                reloads.read_at_s = clock_s();
                reloads.failure = None;
                reloads.restart_needed.clone_from(&done.restart_needed);
                tracing::info!(
                    changed = done.changed.join(", "),
                    restart_needed = done.restart_needed.join(", "),
                    "the configuration was read again"
                );
            }
            Err(error) => {
                reloads.failed += 1;
                reloads.failure = Some(error.to_string());
                tracing::error!(%error, "the configuration was not taken: the node goes on with the one that it has");
            }
        }
        drop(reloads);
        service_manager::ready("serving");
        outcome
    }

    /// Puts a checked configuration in place of the one that holds.
    fn take(&self, mut new: Config) -> Reloaded {
        let old = self.live.now();
        let mut done = Reloaded::default();
        {
            let mut at_start = |name: &str, differs: bool| {
                if differs {
                    done.restart_needed.push(name.to_owned());
                }
            };
            at_start("name", new.name != old.name);
            at_start("listen", new.listen != old.listen);
            at_start("advertise", new.advertise != old.advertise);
            at_start("policy", new.policy != old.policy);
            at_start("health.listen", new.health.listen != old.health.listen);
            at_start("telemetry", new.telemetry != old.telemetry);
            let (limits, before) = (&new.limits, &old.limits);
            at_start(
                "limits.requests_per_connection",
                limits.requests_per_connection != before.requests_per_connection,
            );
            at_start(
                "limits.idle_timeout_ms",
                limits.idle_timeout_ms != before.idle_timeout_ms,
            );
            at_start(
                "limits.compute_at_once",
                limits.compute_at_once != before.compute_at_once,
            );
        }
        // What is taken at a start stays what it is, so that `status` says what holds.
        new.name.clone_from(&old.name);
        new.listen = old.listen;
        new.advertise.clone_from(&old.advertise);
        new.policy.clone_from(&old.policy);
        new.health.listen = old.health.listen;
        new.telemetry.clone_from(&old.telemetry);
        new.limits.requests_per_connection = old.limits.requests_per_connection;
        new.limits.idle_timeout_ms = old.limits.idle_timeout_ms;
        new.limits.compute_at_once = old.limits.compute_at_once;
        for (name, differs) in [
            ("members", new.members != old.members),
            ("ceremony", new.ceremony != old.ceremony),
            ("limits", new.limits != old.limits),
            ("clients", new.clients != old.clients),
            ("health", new.health != old.health),
            ("log", new.log != old.log),
            ("revocation", new.revocation != old.revocation),
            ("witness", new.witness != old.witness),
            ("tls", new.certificate != old.certificate),
        ] {
            if differs {
                done.changed.push(name.to_owned());
            }
        }
        self.limits.replace(new.limits.limits());
        self.gate.clients.replace(new.clients.clone());
        if new.log != old.log {
            log_level::set(&new.log.level);
        }
        self.live.replace(new);
        // At once: an authority that was added must not be without effect until a source is looked at.
        self.lists.configure();
        done
    }
}

/// Reloads on SIGHUP and when the file is another than `taken`, until `stop`.
pub(crate) async fn watch(
    node: Arc<Node>,
    mut taken: Fingerprint,
    mut hangup: Signal,
    mut stop: watch::Receiver<bool>,
) {
    let mut before = taken;
    loop {
        let reload = tokio::select! {
            // An error means that the sender is gone, which is a stop too.
            _ = stop.wait_for(|stop| *stop) => return,
            _ = hangup.recv() => true,
            () = tokio::time::sleep(LOOK) => {
                let now = fingerprint(&node.folder, &node.live.now());
                // An editor may write the file in pieces: it is read when it has stayed the same for a moment.
                let changed = now != taken && now == before;
                before = now;
                changed
            }
        };
        if reload {
            taken = fingerprint(&node.folder, &node.live.now());
            let node = Arc::clone(&node);
            // Its outcome is in the log and in the status.
            let _ = tokio::task::spawn_blocking(move || drop(node.reload())).await;
        }
    }
}

/// What changes when a file is written or replaced; `None` while there is none.
type OfFile = Option<(i64, i64, u64, u64)>;

/// Of config.toml and the certificate that it names.
pub(crate) type Fingerprint = [OfFile; 2];

/// Those of the files of which `config` was made.
pub(crate) fn fingerprint(folder: &Path, config: &Config) -> Fingerprint {
    let of = |path: &Path| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.mtime(), file.mtime_nsec(), file.size(), file.ino()))
    };
    let certificate = config.certificate.as_ref();
    [
        of(&folder.join(CONFIG_FILE)),
        certificate.and_then(|certificate| of(&certificate.path)),
    ]
}
