//! What uploads left behind whose transaction may or may not be on the record: bodies with a note, and version keys.
//!
//! Only the record says which of them stay, and the platform's copy of it may be older than what was acknowledged: it was lost and is made
//! anew, or the organisations' peers cannot be reached. So nothing goes before the copy has caught up. And a transaction that was on its way
//! when the process died may become final afterwards: its body goes only when the record's own time is past its expiry, for then every block
//! that it could be in is here. Nobody's clock decides, and no waiting time is guessed.
//!
//! A record that this process orders alone knows everything when it is open: there all is decided at the start.

use std::sync::{Mutex, MutexGuard};

use super::{Platform, PlatformError, locked, write};
use crate::body_store::{Fate, Note};
use crate::record::{Body, MAX_TRANSACTION_LIFETIME_MS, State};

/// What is still to be decided.
#[derive(Default)]
pub(super) struct Leftovers(Mutex<Open>);

#[derive(Default)]
struct Open {
    /// What an earlier process left.
    notes: Vec<Note>,
    /// What this one submitted, and heard no outcome of.
    uploads: Vec<write::Waiting>,
    /// Whether the version keys that were made before this process are still to be looked at.
    keys: bool,
}

impl Leftovers {
    pub(super) fn of(notes: Vec<Note>) -> Self {
        Self(Mutex::new(Open {
            notes,
            uploads: Vec::new(),
            keys: true,
        }))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        locked(&self.0)
    }
}

impl Platform {
    /// Decides what can be decided.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Keys`]; what is left is tried again.
    pub(super) async fn settle_leftovers(&self) -> Result<(), PlatformError> {
        if self.record.is_catching_up() {
            return Ok(());
        }
        let uploads = std::mem::take(&mut self.leftovers.open().uploads);
        for waiting in uploads {
            if self.may_still_come(&waiting) {
                self.leftovers.open().uploads.push(waiting);
            } else {
                self.give_up(waiting).await;
            }
        }
        let notes = std::mem::take(&mut self.leftovers.open().notes);
        let (removed, open) = self.bodies.settle(notes, |note| self.fate(note)).await;
        self.leftovers.open().notes.extend(open);
        if removed > 0 {
            tracing::info!(
                removed,
                "removed bodies that were stored and never committed"
            );
        }
        if self.leftovers.open().keys {
            self.settle_all().await?;
            self.leftovers.open().keys = false;
        }
        Ok(())
    }

    /// Keeps what was submitted, and may come onto the record although nobody said so.
    pub(super) fn leave_open(&self, waiting: write::Waiting) {
        // A record that has stopped in this process tells with the next start.
        if !self.record.orders_alone() {
            self.leftovers.open().uploads.push(waiting);
        }
    }

    fn may_still_come(&self, waiting: &write::Waiting) -> bool {
        self.record.with_state(|state| {
            state.version(&waiting.version).is_none() && state.time_ms() < waiting.expires_ms
        })
    }

    /// What the record says of the upload of an earlier process.
    fn fate(&self, note: &Note) -> Fate {
        let alone = self.record.orders_alone();
        // Notes from before the expiry stood in them are older than this process.
        let unknown = || self.started_ms.saturating_add(MAX_TRANSACTION_LIFETIME_MS);
        let expires_ms = note.expires_ms.unwrap_or_else(unknown);
        self.record
            .with_state(|state| fate(state, note, expires_ms, alone))
    }
}

fn fate(state: &State, note: &Note, expires_ms: u64, alone: bool) -> Fate {
    if note.sealed_pointer.is_empty() {
        // There was no transaction yet.
        return Fate::Never;
    }
    match state.version(&note.name()) {
        Some(version) => match version.content.as_ref().map(|content| &content.body) {
            Some(Body::OffChain { pointer }) if *pointer == note.sealed_pointer => Fate::Committed,
            // Erased since, or another write's: no version is ever written twice.
            _ => Fate::Never,
        },
        None if alone || state.time_ms() >= expires_ms => Fate::Never,
        None => Fate::Open,
    }
}
