//! Keys and documents that the operator has stopped giving shares of, for the time being.
//!
//! A suspension is durable before it holds, and holds before it is acknowledged; so a node that is killed at any moment comes back with
//! what it has said. Every change is in the audit log. A resumption is recorded before it holds: without an audit log
//! nothing is resumed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::admin::CommandError;
use crate::audit::{MAX_REASON, OperatorRecord};
use crate::daemon::{Node, clock_ms};
use crate::server::Gate;
use crate::store::{Change, RecordsError, Store, StoreError, Table};

/// What a suspension is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SuspensionKind {
    /// A cluster key, by Y.
    Key,
    /// A document, by the SHA-256 of its wrapped key (its write id).
    Document,
}

/// Something that is suspended, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspensionView {
    /// Key or document.
    pub kind: SuspensionKind,
    /// Y or the write id, in hexadecimal.
    pub subject: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Why, in the operator's words.
    pub reason: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    since_ms: u64,
    reason: String,
}

impl SuspensionKind {
    fn tag(self) -> u8 {
        match self {
            Self::Key => b'k',
            Self::Document => b'd',
        }
    }

    fn record_key(self, subject: &[u8; 32]) -> Vec<u8> {
        [&[self.tag()], subject.as_slice()].concat()
    }

    fn action(self, suspended: bool) -> &'static str {
        match (self, suspended) {
            (Self::Key, true) => "suspend-key",
            (Self::Key, false) => "resume-key",
            (Self::Document, true) => "suspend-document",
            (Self::Document, false) => "resume-document",
        }
    }
}

/// All that is suspended, from the store.
///
/// # Errors
/// [`RecordsError`] if a record cannot be read: a node that does not know what is suspended must not serve.
pub(crate) fn read(store: &Store) -> Result<Vec<SuspensionView>, RecordsError> {
    let unreadable = |reason: String| RecordsError::Unreadable {
        what: "a suspension",
        reason,
    };
    store
        .list(Table::Suspended)?
        .into_iter()
        .map(|(key, value)| {
            let (kind, subject) = match key.split_first() {
                Some((b'k', subject)) => (SuspensionKind::Key, subject),
                Some((b'd', subject)) => (SuspensionKind::Document, subject),
                _ => return Err(unreadable("it is of no known kind".to_owned())),
            };
            let stored: Stored =
                serde_json::from_slice(&value).map_err(|error| unreadable(error.to_string()))?;
            Ok(SuspensionView {
                kind,
                subject: hex::encode(subject),
                since_ms: stored.since_ms,
                reason: stored.reason,
            })
        })
        .collect()
}

/// Has the gate hold what the store says.
///
/// # Errors
/// As [`read`].
pub(crate) fn load(store: &Store, gate: &Gate) -> Result<(), RecordsError> {
    for suspension in read(store)? {
        let subject = decode(&suspension.subject).ok_or_else(|| RecordsError::Unreadable {
            what: "a suspension",
            reason: "its subject has another length".to_owned(),
        })?;
        set(gate, suspension.kind, subject, true);
    }
    Ok(())
}

fn decode(subject: &str) -> Option<[u8; 32]> {
    hex::decode(subject).ok()?.try_into().ok()
}

fn set(gate: &Gate, kind: SuspensionKind, subject: [u8; 32], suspended: bool) {
    gate.suspend(|all| {
        let subjects = match kind {
            SuspensionKind::Key => &mut all.keys,
            SuspensionKind::Document => &mut all.documents,
        };
        if suspended {
            subjects.insert(subject);
        } else {
            subjects.remove(&subject);
        }
    });
}

impl Node {
    /// Suspends or resumes a key or a document.
    pub(crate) async fn set_suspended(
        self: &Arc<Self>,
        kind: SuspensionKind,
        subject: [u8; 32],
        reason: String,
        suspended: bool,
    ) -> Result<SuspensionView, CommandError> {
        if reason.len() > MAX_REASON {
            let message = format!("the reason is longer than {MAX_REASON} bytes");
            return Err(CommandError::new("reason", message));
        }
        let _one_at_a_time = self.suspending.lock().await;
        let since_ms = clock_ms();
        let record = OperatorRecord {
            action: kind.action(suspended).to_owned(),
            reason: reason.clone(),
            subject,
            time_ms: since_ms,
        };
        let known = read(&self.store)
            .map_err(|error| CommandError::new("store", error.to_string()))?
            .into_iter()
            .find(|view| view.kind == kind && view.subject == hex::encode(subject));
        let view = match (suspended, known) {
            (true, Some(_)) => {
                return Err(CommandError::new(
                    "suspended-already",
                    "it is suspended already",
                ));
            }
            (false, None) => {
                let message = "it is not suspended: `cryptonode key suspended` shows what is";
                return Err(CommandError::new("not-suspended", message));
            }
            (false, Some(view)) => view,
            (true, None) => SuspensionView {
                kind,
                subject: hex::encode(subject),
                since_ms,
                reason,
            },
        };
        if suspended {
            self.store_suspension(kind, subject, Some(&view)).await?;
            set(&self.gate, kind, subject, true);
            self.audit.append_operator(record).await.map_err(|error| {
                let message = format!("it is suspended, but that could not be recorded: {error}");
                CommandError::new(error.code(), message)
            })?;
        } else {
            self.audit.append_operator(record).await.map_err(|error| {
                let message =
                    format!("it stays suspended, since the audit log takes no record: {error}");
                CommandError::new(error.code(), message)
            })?;
            self.store_suspension(kind, subject, None).await?;
            set(&self.gate, kind, subject, false);
        }
        tracing::warn!(
            subject = view.subject,
            action = kind.action(suspended),
            "by the operator's word"
        );
        Ok(view)
    }

    async fn store_suspension(
        &self,
        kind: SuspensionKind,
        subject: [u8; 32],
        view: Option<&SuspensionView>,
    ) -> Result<(), CommandError> {
        let key = kind.record_key(&subject);
        let change = match view {
            Some(view) => {
                let stored = Stored {
                    since_ms: view.since_ms,
                    reason: view.reason.clone(),
                };
                let bytes = serde_json::to_vec(&stored)
                    .map_err(|error| CommandError::new("store", error.to_string()))?;
                Change::put(Table::Suspended, &key, Zeroizing::new(bytes))
            }
            None => Change::erase(Table::Suspended, &key),
        };
        let store = Arc::clone(&self.store);
        let committed: Result<(), StoreError> =
            tokio::task::spawn_blocking(move || store.commit(&[change]))
                .await
                .map_err(|_| CommandError::new("stopping", "the node is stopping"))?;
        committed.map_err(|error| CommandError::new("store", error.to_string()))
    }
}
