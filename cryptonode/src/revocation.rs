//! The authorities' revocation lists on this node: fetched, verified, kept, and held against every request.
//!
//! A list comes from a file, which is looked at every second, or from an address, which is asked every few minutes, each by a
//! task of its own: one that hangs delays no other. It is taken if its authority signed it, it is not of the future and not
//! older than the one that is held. What was refused is tried again every few seconds, changed or not: the reason may be
//! this node's clock or its disk. What was taken is kept in `revocation/` in the node's folder, so that a node
//! whose source is away at a start goes on with what it knew.
//!
//! Nothing here fails open. An authority without a list, or whose list is older than the operator allows, has what it
//! covers not counted (`revocation-stale`). A list that cannot be kept is used all the same, since what was revoked is
//! revoked from now on, and the older one that was kept is removed: a restart then knows no list, rather than one by which the
//! revoked would count again. So a source that is away, or kept away, and a disk that is full are told in the log, in `status`
//! and in the metrics long before it matters.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use certs::{MAX_REVOCATION_LIST, RevocationList, Revocations};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{ListSource, LiveConfig, RevocationSettings};
use crate::daemon::clock_s;
use crate::server::Gate;
use crate::store::write_private;

/// The folder of the lists that were taken, in the node's folder.
const FOLDER: &str = "revocation";
/// How often sources are looked at, whether it is time to ask.
const TICK: Duration = Duration::from_secs(1);
/// When a file is read again that was refused, or whose list could not be kept.
const READ_AGAIN: Duration = Duration::from_secs(5);
/// When an address is asked again that gave no list, if it is not to be asked sooner anyway.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// For one list to arrive.
const FETCH_WITHIN: Duration = Duration::from_secs(30);
/// How far a list's thisUpdate may be ahead of this node's clock, in seconds.
const CLOCK_TOLERANCE_S: u64 = 60;

/// One authority's list, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListView {
    /// Where it comes from.
    pub source: String,
    /// SHA-256 of the authority's SubjectPublicKeyInfo, in hexadecimal.
    pub authority: String,
    /// How many certificates it lists; `None` without a list.
    pub entries: Option<usize>,
    /// When it was issued, in seconds since the Unix epoch.
    pub this_update: Option<u64>,
    /// Until when it is good, in seconds since the Unix epoch; what the authority covers does not count after that.
    pub usable_until: Option<u64>,
    /// Whether it is good now.
    pub usable: bool,
    /// How often the source could not be read since the start.
    pub failures: u64,
    /// Why it could not be read the last time.
    pub failure: Option<String>,
}

/// The lists of all configured authorities.
pub(crate) struct Lists {
    folder: PathBuf,
    live: Arc<LiveConfig>,
    gate: Arc<Gate>,
    held: Mutex<Vec<Held>>,
}

struct Held {
    settings: RevocationSettings,
    list: Option<RevocationList>,
    /// Whether that list is on the disk.
    kept: bool,
    failures: u64,
    failure: Option<String>,
    /// When the source was last read.
    looked: Option<Instant>,
    /// A task is reading it.
    asking: bool,
    file: Option<(i64, i64, u64, u64)>,
}

impl Held {
    /// Whether the source is to be read now, if it was not for so long.
    fn is_due(&self, every: Duration) -> bool {
        !self.asking && self.looked.is_none_or(|looked| looked.elapsed() >= every)
    }
}

impl Lists {
    /// The lists that are kept or in files; addresses are asked by [`Lists::watch`].
    pub(crate) fn open(folder: &Path, live: Arc<LiveConfig>, gate: Arc<Gate>) -> Arc<Self> {
        let lists = Arc::new(Self {
            folder: folder.join(FOLDER),
            live,
            gate,
            held: Mutex::default(),
        });
        lists.configure();
        lists
    }

    /// Watches sources and configuration until `stop`.
    pub(crate) async fn watch(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let client = reqwest::Client::builder()
            .timeout(FETCH_WITHIN)
            .redirect(reqwest::redirect::Policy::limited(3))
            .user_agent(concat!("cryptonode/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = match client {
            Ok(client) => Some(client),
            Err(error) => {
                tracing::error!(%error, "revocation lists cannot be fetched from addresses");
                None
            }
        };
        let mut asking = JoinSet::new();
        loop {
            let look = async {
                let this = Arc::clone(&self);
                let _ = tokio::task::spawn_blocking(move || this.look_at_files()).await;
                tokio::time::sleep(TICK).await;
            };
            tokio::select! {
                () = look => {}
                // An error means that the sender is gone, which is a stop too.
                _ = stop.wait_for(|stop| *stop) => return,
            }
            while asking.try_join_next().is_some() {}
            let Some(client) = &client else { continue };
            for (settings, url) in self.due_addresses() {
                let (this, client) = (Arc::clone(&self), client.clone());
                asking.spawn(async move {
                    let bytes = fetch(&client, &url).await;
                    // Verifying and keeping a long list takes a while.
                    tokio::task::block_in_place(|| this.take(&settings, bytes));
                });
            }
        }
    }

    /// All lists as they are now.
    pub(crate) fn view(&self) -> Vec<ListView> {
        let now = clock_s();
        self.held()
            .iter()
            .map(|held| {
                let until = held
                    .list
                    .as_ref()
                    .map(|list| list.next_update().saturating_add(held.settings.max_stale_s));
                ListView {
                    source: match &held.settings.source {
                        ListSource::File(path) => path.display().to_string(),
                        ListSource::Url(url) => url.clone(),
                    },
                    authority: hex::encode(Sha256::digest(held.settings.authority.spki())),
                    entries: held.list.as_ref().map(RevocationList::len),
                    this_update: held.list.as_ref().map(RevocationList::this_update),
                    usable_until: until,
                    usable: until.is_some_and(|until| now <= until),
                    failures: held.failures,
                    failure: held.failure.clone(),
                }
            })
            .collect()
    }

    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the configuration, which holds from here on: lists of authorities that stay are kept, files are read.
    pub(crate) fn configure(&self) {
        self.follow();
        self.look_at_files();
    }

    fn follow(&self) {
        let mut held = self.held();
        // Read under the lock: of two that follow at a time, the last one has the newest.
        let config = self.live.now();
        if held.len() == config.revocation.len()
            && held
                .iter()
                .zip(&config.revocation)
                .all(|(held, settings)| held.settings == *settings)
        {
            return;
        }
        let mut before = std::mem::take(&mut *held);
        *held = config
            .revocation
            .iter()
            .map(|settings| {
                let same = before
                    .iter()
                    .position(|old| old.settings.authority.spki() == settings.authority.spki());
                let (list, kept) = match same {
                    Some(position) => {
                        let old = before.swap_remove(position);
                        (old.list, old.kept)
                    }
                    None => {
                        let list = self.kept(settings);
                        let kept = list.is_some();
                        (list, kept)
                    }
                };
                Held {
                    settings: settings.clone(),
                    list,
                    kept,
                    failures: 0,
                    failure: None,
                    looked: None,
                    asking: false,
                    file: None,
                }
            })
            .collect();
        self.publish(&held);
    }

    /// Hands what holds to the server.
    fn publish(&self, held: &[Held]) {
        let mut revocations = Revocations::default();
        for held in held {
            // Beyond the bound the configuration is refused.
            revocations.add(
                held.settings.authority.clone(),
                held.list.clone(),
                held.settings.max_stale_s,
            );
        }
        self.gate.set_revocations(revocations);
    }

    fn path(&self, settings: &RevocationSettings) -> PathBuf {
        let name = hex::encode(Sha256::digest(settings.authority.spki()));
        self.folder.join(format!("{name}.crl"))
    }

    /// The list that was taken in an earlier life, if it still verifies.
    fn kept(&self, settings: &RevocationSettings) -> Option<RevocationList> {
        let path = self.path(settings);
        let bytes = read_bounded(&path).ok()?;
        match RevocationList::verify(&bytes, &settings.authority) {
            Ok(list) => Some(list),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a kept revocation list cannot be used");
                None
            }
        }
    }

    fn look_at_files(&self) {
        let files: Vec<(RevocationSettings, PathBuf)> = {
            let mut held = self.held();
            held.iter_mut()
                .filter_map(|held| {
                    let ListSource::File(path) = &held.settings.source else {
                        return None;
                    };
                    let now = fingerprint(path);
                    let changed = held.looked.is_none() || held.file != now;
                    // A file that is missing is told once, and found when it comes.
                    let again = held.failure.is_some() && now.is_some() && held.is_due(READ_AGAIN);
                    if !changed && !again {
                        return None;
                    }
                    held.file = now;
                    held.looked = Some(Instant::now());
                    Some((held.settings.clone(), path.clone()))
                })
                .collect()
        };
        for (settings, path) in files {
            let bytes = read_bounded(&path).map_err(|error| error.to_string());
            self.take(&settings, bytes);
        }
    }

    /// The addresses that it is time to ask, each to be asked once.
    fn due_addresses(&self) -> Vec<(RevocationSettings, String)> {
        let mut held = self.held();
        held.iter_mut()
            .filter_map(|held| {
                let ListSource::Url(url) = &held.settings.source else {
                    return None;
                };
                let every = Duration::from_secs(held.settings.refresh_s);
                let due = held.is_due(match &held.failure {
                    Some(_) => every.min(ASK_AGAIN),
                    None => every,
                });
                let asked = due.then(|| (held.settings.clone(), url.clone()));
                if asked.is_some() {
                    held.looked = Some(Instant::now());
                    held.asking = true;
                }
                asked
            })
            .collect()
    }

    /// Takes a list that came from its source, or says why not.
    fn take(&self, settings: &RevocationSettings, bytes: Result<Vec<u8>, String>) {
        let verified = bytes.and_then(|bytes| {
            let der = der_of(bytes)?;
            let list = RevocationList::verify(&der, &settings.authority);
            let list = list.map_err(|error| format!("{error} ({})", error.code()))?;
            Ok((list, der))
        });
        let mut all = self.held();
        let Some(held) = all.iter_mut().find(|held| held.settings == *settings) else {
            return;
        };
        held.asking = false;
        let outcome = verified.and_then(|(list, der)| {
            list.may_replace(held.list.as_ref(), clock_s(), CLOCK_TOLERANCE_S)
                .map_err(|error| format!("{error} ({})", error.code()))?;
            Ok((list, der))
        });
        let mut changed = false;
        let outcome = outcome.and_then(|(list, der)| {
            if held.list.as_ref() != Some(&list) {
                tracing::info!(
                    entries = list.len(),
                    next_update = list.next_update(),
                    "a revocation list was taken"
                );
                held.list = Some(list);
                held.kept = false;
                changed = true;
            }
            // Before it is used: what was revoked once stays revoked after a crash.
            if !held.kept {
                self.keep(settings, &der)
                    .map_err(|reason| self.forget(settings, &reason))?;
                held.kept = true;
            }
            Ok(())
        });
        match outcome {
            Ok(()) => held.failure = None,
            Err(reason) => {
                held.failures += 1;
                if held.failure.as_ref() != Some(&reason) {
                    tracing::error!(source = ?settings.source, reason, "a revocation list is not in order");
                }
                held.failure = Some(reason);
            }
        }
        if changed {
            self.publish(&all);
        }
    }

    /// The older list goes, since the newer one cannot be kept: a restart without any list lets nothing count.
    fn forget(&self, settings: &RevocationSettings, reason: &str) -> String {
        let gone = |error: &std::io::Error| {
            matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            )
        };
        let removed = match fs::remove_file(self.path(settings)) {
            Ok(()) => fs::File::open(&self.folder).and_then(|folder| folder.sync_all()),
            Err(error) if gone(&error) => Ok(()),
            Err(error) => Err(error),
        };
        let then = match removed {
            Ok(()) => {
                "after a restart nothing of this authority counts until its list is read again"
                    .to_owned()
            }
            Err(error) => format!(
                "the older one could not be removed ({error}), and a restart would go back to it"
            ),
        };
        format!(
            "the list is in use and cannot be kept ({reason}): {then}; look after the node's disk; it is tried again by itself"
        )
    }

    fn keep(&self, settings: &RevocationSettings, der: &[u8]) -> Result<(), String> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|error| error.to_string())?;
        write_private(&self.path(settings), der, true).map_err(|error| error.to_string())
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(2 * MAX_REVOCATION_LIST as u64)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The list's DER; PEM is unwrapped.
fn der_of(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    const BEGIN: &[u8] = b"-----BEGIN X509 CRL-----";
    if !bytes.trim_ascii_start().starts_with(BEGIN) {
        return Ok(bytes);
    }
    let block = certs::revocation_list_from_pem(&bytes);
    block.map_err(|error| error.to_string())
}

async fn fetch(client: &reqwest::Client, url: &str) -> Result<Vec<u8>, String> {
    let answer = client
        .get(url)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status);
    let mut answer = answer.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| error.to_string())? {
        if bytes.len() + chunk.len() > 2 * MAX_REVOCATION_LIST {
            return Err("it is longer than any list that is read".to_owned());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// What changes when a file is written or replaced.
fn fingerprint(path: &Path) -> Option<(i64, i64, u64, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.mtime(), file.mtime_nsec(), file.size(), file.ino()))
}
