//! The authorities' revocation lists on this node: fetched, verified, kept, and held against every request.
//!
//! A list comes from a file, which is looked at every second, or from an address, which is asked every few minutes. It is taken if
//! its authority signed it, it is not of the future and not older than the one that is held. What was taken is kept in
//! `revocation/` in the node's folder, so that a node whose source is away at a start goes on with what it knew.
//!
//! Nothing here fails open: an authority without a list, or whose list is older than the operator allows, has what it
//! covers not counted (`revocation-stale`). So a source that is away, or kept away, is told in the log, in `status` and in
//! the metrics long before it matters.

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

use crate::config::{ListSource, LiveConfig, RevocationSettings};
use crate::daemon::clock_s;
use crate::server::Gate;
use crate::store::write_private;

/// The folder of the lists that were taken, in the node's folder.
const FOLDER: &str = "revocation";
/// How often sources are looked at, whether it is time to ask.
const TICK: Duration = Duration::from_secs(1);
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
    failures: u64,
    failure: Option<String>,
    looked: Option<Instant>,
    file: Option<(i64, i64, u64, u64)>,
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
        lists.look_at_files();
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
        loop {
            let look = async {
                let this = Arc::clone(&self);
                let _ = tokio::task::spawn_blocking(move || {
                    this.configure();
                    this.look_at_files();
                })
                .await;
                if let Some(client) = &client {
                    self.ask_addresses(client).await;
                }
                tokio::time::sleep(TICK).await;
            };
            tokio::select! {
                () = look => {}
                // An error means that the sender is gone, which is a stop too.
                _ = stop.wait_for(|stop| *stop) => return,
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

    /// Follows the configuration: lists of authorities that stay are kept.
    fn configure(&self) {
        let config = self.live.now();
        let mut held = self.held();
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
                let list = match same {
                    Some(position) => before.swap_remove(position).list,
                    None => self.kept(settings),
                };
                Held {
                    settings: settings.clone(),
                    list,
                    failures: 0,
                    failure: None,
                    looked: None,
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
                    // A file that is missing is looked for again, and told once.
                    let same = held.looked.is_some() && held.file == now;
                    held.file = now;
                    held.looked = Some(Instant::now());
                    (!same).then(|| (held.settings.clone(), path.clone()))
                })
                .collect()
        };
        for (settings, path) in files {
            let bytes = read_bounded(&path).map_err(|error| error.to_string());
            self.take(&settings, bytes);
        }
    }

    async fn ask_addresses(&self, client: &reqwest::Client) {
        let due: Vec<(RevocationSettings, String)> = {
            let mut held = self.held();
            held.iter_mut()
                .filter_map(|held| {
                    let ListSource::Url(url) = &held.settings.source else {
                        return None;
                    };
                    let every = Duration::from_secs(held.settings.refresh_s);
                    let due = held.looked.is_none_or(|looked| looked.elapsed() >= every);
                    due.then(|| {
                        held.looked = Some(Instant::now());
                        (held.settings.clone(), url.clone())
                    })
                })
                .collect()
        };
        let fetched = due.into_iter().map(|(settings, url)| async move {
            let bytes = fetch(client, &url).await;
            (settings, bytes)
        });
        for (settings, bytes) in futures_util::future::join_all(fetched).await {
            // Verifying and keeping a long list takes a while.
            tokio::task::block_in_place(|| self.take(&settings, bytes));
        }
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
        let outcome = verified.and_then(|(list, der)| {
            list.may_replace(held.list.as_ref(), clock_s(), CLOCK_TOLERANCE_S)
                .map_err(|error| format!("{error} ({})", error.code()))?;
            Ok((list, der))
        });
        match outcome {
            Ok((list, der)) => {
                if held.list.as_ref() != Some(&list) {
                    tracing::info!(
                        entries = list.len(),
                        next_update = list.next_update(),
                        "a revocation list was taken"
                    );
                    // Kept before it is used: what was revoked once stays revoked after a crash.
                    if let Err(error) = self.keep(settings, &der) {
                        tracing::error!(%error, "a revocation list could not be kept for the next start");
                    }
                    held.list = Some(list);
                }
                held.failure = None;
                self.publish(&all);
            }
            Err(reason) => {
                held.failures += 1;
                if held.failure.as_ref() != Some(&reason) {
                    tracing::error!(source = ?settings.source, reason, "a revocation list could not be taken: the one before holds until it is stale");
                }
                held.failure = Some(reason);
            }
        }
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
