//! Erased versions: their version keys are destroyed, and their bodies removed from the store.
//!
//! The record decides what is erased; here only what it has forgotten is removed: a body whose version has no content on the record any
//! more. An erasure through this platform removes its bodies at once; what could not be removed then is tried again with
//! every sweep, and a start goes through all bodies, so that neither a crash nor an erasure through another platform leaves one behind.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::{Platform, PlatformError};
use crate::body_store::Indexed;
use crate::record::{DocumentName, VersionName};

/// Bodies that are looked at at once.
const AT_ONCE: u32 = 1000;

/// Documents whose bodies are still to be removed.
#[derive(Debug, Default)]
pub(super) struct Due(Mutex<BTreeSet<DocumentName>>);

impl Due {
    fn put(&self, name: DocumentName) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name);
    }

    fn take(&self) -> BTreeSet<DocumentName> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Platform {
    /// Removes the bodies of a document's erased versions, now or with a later sweep.
    pub(super) async fn remove_erased(&self, name: DocumentName) {
        let first = Some(name.version(0));
        let within = |body: &Indexed| body.name.document_name() == name;
        // The keys first: without them a body that stays is of no use.
        let shredded = self.shred(&name).await;
        let removed = self.remove_from(first, within).await.map(drop);
        if let Err(e) = shredded.and(removed) {
            tracing::error!(error = %e, "keys or bodies of an erased document stay; they are removed later");
            self.erased.put(name);
        }
    }

    /// Tries again what could not be removed.
    pub(super) async fn remove_due(&self) {
        for name in self.erased.take() {
            self.remove_erased(name).await;
        }
    }

    /// Removes the bodies of all erased versions.
    pub(super) async fn remove_all_erased(&self) -> Result<(), PlatformError> {
        let removed = self.remove_from(None, |_| true).await?;
        if removed > 0 {
            tracing::info!(removed, "removed bodies of erased versions");
        }
        Ok(())
    }

    /// Goes through the bodies behind `after` while they are `within`; how many were removed.
    async fn remove_from(
        &self,
        mut after: Option<VersionName>,
        within: impl Fn(&Indexed) -> bool,
    ) -> Result<usize, PlatformError> {
        let mut removed = 0;
        loop {
            let bodies = self.bodies.indexed(after, AT_ONCE).await?;
            let Some(last) = bodies.last().map(|body| body.name.clone()) else {
                return Ok(removed);
            };
            for body in bodies {
                if !within(&body) {
                    return Ok(removed);
                }
                if self.is_erased(&body.name) {
                    self.bodies.erase(body).await?;
                    removed += 1;
                }
            }
            after = Some(last);
        }
    }

    /// Whether the record has the version, and its content no more.
    pub(super) fn is_erased(&self, name: &VersionName) -> bool {
        let version = |erased: &crate::record::State| erased.version(name).map(|it| it.is_erased());
        self.record.with_state(version) == Some(true)
    }
}
