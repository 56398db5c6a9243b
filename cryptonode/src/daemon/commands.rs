//! What the running node does for its operator's command line.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Node;
use super::key_view::{MISSED, OVERLAP, SERVING, exported, view};
use crate::admin::{AuditStatus, Command, CommandError, Commands, KeyView, NodeStatus};
use crate::ceremony::{CeremonyError, Wish};
use crate::keyring::KeyEntry;

impl From<CeremonyError> for CommandError {
    fn from(error: CeremonyError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl Commands for Node {
    fn run(
        self: Arc<Self>,
        command: Command,
        events: mpsc::Sender<Value>,
    ) -> BoxFuture<'static, Result<Value, CommandError>> {
        async move {
            let ceremonies = &self.ceremonies;
            match command {
                Command::Status {} => to_value(&self.status()),
                Command::CeremonyPropose {
                    threshold,
                    reshare,
                    absent,
                    after_attempt,
                    members,
                    open_for_s,
                    may_be_absent,
                    patience_s,
                    allow_few_members,
                } => {
                    let wish = Wish {
                        threshold,
                        reshare,
                        absent,
                        after_attempt,
                        members,
                        open_for_s,
                        may_be_absent,
                        patience_s,
                        allow_few_members,
                    };
                    to_value(&ceremonies.propose(wish).await?)
                }
                Command::CeremonyList {} => to_value(&ceremonies.list()),
                Command::CeremonyAccept { id } => to_value(&ceremonies.accept(&id).await?),
                Command::CeremonyReject { id, reason } => {
                    to_value(&ceremonies.reject(&id, &reason).await?)
                }
                Command::CeremonyAbort { id } => to_value(&ceremonies.abort(&id).await?),
                Command::CeremonyStatus { id, wait } => {
                    let mut changes = ceremonies.changes();
                    let mut view = ceremonies.view(id.as_deref())?;
                    while wait && !view.decided {
                        if events.send(to_value(&view)?).await.is_err() {
                            break;
                        }
                        let before = view.clone();
                        while view == before {
                            let going_on = tokio::select! {
                                changed = changes.changed() => changed.is_ok(),
                                () = ceremonies.stopped() => false,
                            };
                            if !going_on {
                                return Err(CeremonyError::Stopping.into());
                            }
                            view = ceremonies.view(Some(&before.id))?;
                        }
                    }
                    to_value(&view)
                }
                Command::KeyList {} => to_value(&self.keys()),
                Command::KeyExport { public_key } => {
                    let entry = self.key(public_key.as_deref())?;
                    to_value(&exported(&entry)?)
                }
                Command::AuditCheckpoint {} => {
                    let note = self
                        .audit
                        .checkpoint()
                        .await
                        .map_err(|error| CommandError::new(error.code(), error.to_string()))?;
                    Ok(json!({ "note": note }))
                }
                Command::Phases {} => to_value(&self.counters.phases.snapshot()),
            }
        }
        .boxed()
    }
}

fn to_value(value: &impl serde::Serialize) -> Result<Value, CommandError> {
    serde_json::to_value(value).map_err(|error| {
        CommandError::new("internal", format!("the answer has no JSON form: {error}"))
    })
}

impl Node {
    fn keys(&self) -> Vec<KeyView> {
        let entries = self.keyring.entries();
        entries.iter().filter_map(|entry| view(entry)).collect()
    }

    fn key(&self, head: Option<&str>) -> Result<Arc<KeyEntry>, CommandError> {
        let head = head.unwrap_or_default().to_lowercase();
        let mut fitting = self
            .keyring
            .entries()
            .into_iter()
            .filter(|entry| view(entry).is_some())
            .filter(|entry| hex::encode(entry.public_key()).starts_with(&head));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(CommandError::new(
                "ambiguous-key",
                "several keys fit: give more digits of one, as `cryptonode key list` shows them",
            )),
            (None, _) if self.keys().is_empty() => Err(CommandError::new(
                "no-key",
                "this node has no key yet: make one with `cryptonode ceremony propose` on one of the members",
            )),
            (None, _) => Err(CommandError::new(
                "unknown-key",
                "no key fits: `cryptonode key list` shows those of this node",
            )),
        }
    }

    fn status(&self) -> NodeStatus {
        let failure = self.audit.health().err().map(|error| error.to_string());
        let mut not_ready: Vec<String> = failure.iter().cloned().collect();
        let keys = self.keys();
        let served = |key: &KeyView| key.state == SERVING || key.state == OVERLAP;
        if keys.is_empty() {
            not_ready
                .push("no key is active: no ceremony has been completed on this node".to_owned());
        } else if !keys.iter().any(served) {
            not_ready.push("no key is served".to_owned());
        }
        // A key that was handed on is nothing to be put right.
        let missed = keys.iter().filter(|key| key.state == MISSED);
        not_ready.extend(missed.filter_map(|key| key.sentence.clone()));
        NodeStatus {
            name: self.config.name.clone(),
            identity: hex::encode(self.identity),
            listen: self.listen.to_string(),
            advertise: self.config.advertise.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            up_s: self.started.elapsed().as_secs(),
            ready: not_ready.is_empty(),
            not_ready,
            restored: self.ceremonies.is_restored(),
            keys,
            ceremonies: self
                .ceremonies
                .list()
                .into_iter()
                .filter(|ceremony| !ceremony.decided)
                .collect(),
            audit: AuditStatus {
                origin: self.audit.origin().to_owned(),
                records: self.audit.size(),
                failure,
                torn_bytes: self.audit.torn_bytes(),
            },
        }
    }
}
