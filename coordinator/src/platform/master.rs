//! Rotation of the master key, and what follows from it: everything that is under an older master key is wrapped anew, in the
//! background, while documents are read and written.
//!
//! 1. The new key is durable and the present one; from then on nothing is wrapped under another ([`crate::key_store::KeyStore::put`] sees to
//!    it).
//! 2. Keys on the record that are wrapped under an older master key itself, from before there were version keys, are opened and kept under the
//!    present one.
//! 3. The version keys are wrapped anew, some at a time and not faster than the settings say.
//! 4. The platform's own secrets, and whatever else there is ([`UnderMasterKey`]), are wrapped anew.
//! 5. Nothing is under the older keys any more: they are destroyed.
//!
//! Each step can be broken off anywhere and done again: it does what is still to be done. As long as there is an older key, every start and
//! every sweep goes on with it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use utoipa::ToSchema;

use super::version_keys::{for_platform, legacy_id};
use super::{Platform, PlatformError, now_ms};
use crate::envelope::{version_key_context, version_key_of};
use crate::key_store::{Entry, Purpose};
use crate::master_key::{KeyId, MasterKeyError, wrapped_under};
use crate::record::VersionName;

/// Rows at once, at most.
const AT_ONCE: u32 = 256;
/// Versions of the record that are looked at without letting go of it.
const VERSIONS_AT_ONCE: usize = 1000;

/// Something else that lies wrapped under the master key.
pub trait UnderMasterKey: Send + Sync {
    /// Wraps anew what is under an older key: how many secrets. The older keys are destroyed when this returns. Done again, it does what is
    /// still to be done; nothing may come under an older key once it has begun.
    fn rewrap(&self) -> BoxFuture<'_, Result<usize, MasterKeyError>>;
}

/// A master key of the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "id": "90a55f0bb40a95d4", "made_ms": 1_795_000_000_000_u64, "present": true, "version_keys": 812 }))]
pub struct MasterKeyView {
    /// Its name, hexadecimal.
    pub id: String,
    /// When it was made, milliseconds since the Unix epoch; 0 if that was not written down.
    pub made_ms: u64,
    /// Whether everything is wrapped under it now.
    pub present: bool,
    /// How many version keys are wrapped under it.
    pub version_keys: u64,
}

/// How far the rewrapping is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "running": true, "done": 340, "total": 812, "started_ms": 1_795_000_000_000_u64 }))]
pub struct RewrapProgress {
    /// Whether it is under way.
    pub running: bool,
    /// Keys that were wrapped anew since it began, or began again.
    pub done: u64,
    /// Keys that there were to wrap then.
    pub total: u64,
    /// When it began, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// Why it ended early; it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The master keys, and how far the rewrapping is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "keys": [{ "id": "90a55f0bb40a95d4", "made_ms": 1_795_000_000_000_u64, "present": true, "version_keys": 812 }],
    "rewrap": { "running": false, "done": 812, "total": 812, "started_ms": 1_795_000_000_000_u64, "ended_ms": 1_795_000_002_000_u64 }
}))]
pub struct MasterKeysView {
    /// The keys, the present one first; the others are there until nothing is wrapped under them.
    pub keys: Vec<MasterKeyView>,
    /// How far the rewrapping is.
    pub rewrap: RewrapProgress,
}

/// The rewrapping, while it runs and afterwards.
#[derive(Default)]
pub(super) struct Rewrapping {
    progress: Mutex<RewrapProgress>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Rewrapping {
    fn progress<T>(&self, work: impl FnOnce(&mut RewrapProgress) -> T) -> T {
        work(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Breaks it off.
    pub(super) fn stop(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task.take() {
            task.abort();
        }
    }
}

impl Platform {
    /// The master keys, and how far the rewrapping is.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Keys`]
    pub async fn master_keys(&self) -> Result<MasterKeysView, PlatformError> {
        let counts = self.keys.counts().await?;
        let count = |id: &KeyId| counts.iter().find(|(master, _)| master == id);
        let keys = self.master_key.keys();
        let views = keys.iter().enumerate().map(|(place, key)| MasterKeyView {
            id: hex::encode(key.id),
            made_ms: key.made_ms,
            present: place == 0,
            version_keys: count(&key.id).map_or(0, |(_, count)| *count),
        });
        Ok(MasterKeysView {
            keys: views.collect(),
            rewrap: self.rewrapping.progress(|it| it.clone()),
        })
    }

    /// Makes a new master key and begins to wrap everything anew.
    ///
    /// # Errors
    ///
    /// [`PlatformError::MasterKey`]; then nothing has changed.
    pub async fn rotate_master_key(self: &Arc<Self>) -> Result<MasterKeysView, PlatformError> {
        let made = self.master_key.rotate(now_ms()).await?;
        tracing::info!(key = %hex::encode(made.id), "a new master key; what is under older ones is wrapped anew");
        self.rewrap_if_needed();
        self.master_keys().await
    }

    /// Goes on with the rewrapping, if there is an older key and it is not under way.
    pub fn rewrap_if_needed(self: &Arc<Self>) {
        if self.master_key.keys().len() < 2 {
            return;
        }
        let mut task = self
            .rewrapping
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        self.rewrapping.progress(|it| {
            *it = RewrapProgress {
                running: true,
                started_ms: Some(now_ms()),
                ..RewrapProgress::default()
            };
        });
        let platform = self.clone();
        *task = Some(tokio::spawn(async move {
            let result = platform.rewrap_all().await;
            platform.rewrapping.progress(|it| {
                it.running = false;
                it.ended_ms = Some(now_ms());
                it.error = result.as_ref().err().map(ToString::to_string);
            });
            match result {
                Ok(()) => tracing::info!("everything is under the present master key"),
                Err(e) => tracing::error!(error = %e, "the rewrapping broke off; it goes on soon"),
            }
        }));
    }

    async fn rewrap_all(&self) -> Result<(), PlatformError> {
        while self.master_key.keys().len() > 1 {
            let present = self.master_key.id();
            let counts = self.keys.counts().await?;
            let older = counts.iter().filter(|(master, _)| *master != present);
            let older = older.map(|(_, count)| *count).sum::<u64>();
            self.rewrapping.progress(|it| it.total = it.done + older);
            self.keep_direct_wrappings(present).await?;
            self.rewrap_rows(present).await?;
            for other in &self.under_master_key {
                other.rewrap().await?;
            }
            // Nothing can come under an older key since the rotation; and of what there was nothing is left.
            let counts = self.keys.counts().await?;
            for old in self.master_key.keys().into_iter().skip(1) {
                if self.master_key.id() == present && !counts.iter().any(|(id, _)| *id == old.id) {
                    self.master_key.retire(old.id).await?;
                    tracing::info!(key = %hex::encode(old.id), "a master key is destroyed: nothing is under it any more");
                }
            }
        }
        Ok(())
    }

    /// Step 2.
    async fn keep_direct_wrappings(&self, present: KeyId) -> Result<(), PlatformError> {
        let mut after: Option<VersionName> = None;
        loop {
            let (last, found) = self.record.with_state(|state| {
                let (mut last, mut found) = (None, Vec::new());
                for (name, version) in state.all_versions(after.as_ref()).take(VERSIONS_AT_ONCE) {
                    last = Some(name.clone());
                    let wrapped = version.content.as_ref().and_then(for_platform);
                    let direct = wrapped.filter(|it| {
                        version_key_of(it).is_none() && wrapped_under(it) != Some(present)
                    });
                    found.extend(direct.map(|it| (name.clone(), it.to_vec())));
                }
                (last, found)
            });
            for (name, wrapped) in found {
                let id = legacy_id(&wrapped);
                if self.keys.get(id).await?.is_some() {
                    continue;
                }
                self.rewrapping.progress(|it| it.total += 1);
                let key = self.open_for_platform(&wrapped, &name).await?;
                self.keep(id, key.expose(), &name, Purpose::Committed)
                    .await?;
                // It may have been erased meanwhile, when there was no row yet.
                if self.is_erased(&name) {
                    self.keys.remove(vec![id], true).await?;
                }
                self.pace(1).await;
            }
            if last.is_none() {
                return Ok(());
            }
            after = last;
        }
    }

    /// Step 3.
    async fn rewrap_rows(&self, present: KeyId) -> Result<(), PlatformError> {
        let at_once = (self.limits.rewrap_s / 10).clamp(1, AT_ONCE);
        let (mut after, mut failed) = (None, None);
        loop {
            let rows = self.keys.not_under(present, after, at_once).await?;
            let Some(last) = rows.last() else {
                return failed.map_or(Ok(()), Err);
            };
            after = Some(last.id);
            if self.master_key.id() != present {
                return Ok(());
            }
            let mut renewed = Vec::with_capacity(rows.len());
            for row in rows {
                match self.renewed(row).await {
                    Ok(row) => renewed.push(row),
                    // One that does not open stands in nobody else's way.
                    Err(e) => failed = Some(e),
                }
            }
            let count = renewed.len();
            self.keys.replace(renewed).await?;
            self.pace(count).await;
        }
    }

    /// The row under the present master key, and the key that it was under.
    async fn renewed(&self, mut row: Entry) -> Result<(KeyId, Entry), PlatformError> {
        let context = version_key_context(&row.name, &row.id);
        let key = self.master_key.unwrap(&row.wrapped, &context).await?;
        row.wrapped = self.master_key.wrap(&key, &context).await?;
        let before = row.master;
        row.master = wrapped_under(&row.wrapped).unwrap_or(before);
        Ok((before, row))
    }

    /// Counts what was done, and leaves the machine to readers and writers for a while.
    async fn pace(&self, done: usize) {
        let done = u32::try_from(done).unwrap_or(u32::MAX);
        self.rewrapping.progress(|it| {
            it.done += u64::from(done);
            it.total = it.total.max(it.done);
        });
        let rate = f64::from(self.limits.rewrap_s.max(1));
        tokio::time::sleep(Duration::from_secs_f64(f64::from(done) / rate)).await;
    }
}
