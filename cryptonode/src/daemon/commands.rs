//! What the running node does for its operator's command line.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Node;
use crate::admin::{
    AuditStatus, Command, CommandError, Commands, ExportedKey, KeyView, NodeStatus,
};
use crate::ceremony::{CeremonyError, Wish};
use crate::keyring::ActiveKey;
use crate::server;

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
                    members,
                    open_for_s,
                    may_be_absent,
                    patience_s,
                    allow_few_members,
                } => {
                    let wish = Wish {
                        threshold,
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
                    let key = self.key(public_key.as_deref())?;
                    to_value(&ExportedKey {
                        key: view(&key),
                        descriptor: server::descriptor(&key).to_json(),
                        certificate: hex::encode(&key.certificate),
                        key_certificate: self.ceremonies.key_certificate(&key).map(hex::encode),
                    })
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

fn view(key: &ActiveKey) -> KeyView {
    KeyView {
        public_key: hex::encode(key.package.public_key().as_bytes()),
        epoch: key.package.epoch(),
        index: key.share.index(),
        threshold: key.package.threshold(),
        members: key.members.len(),
        member_names: key
            .members
            .iter()
            .map(|member| member.name.clone())
            .collect(),
        policy_hash: hex::encode(key.policy.hash()),
        approvals_needed: key.policy.approvals_needed(),
        organisations: key
            .policy
            .organisations()
            .iter()
            .map(|organisation| organisation.name.clone())
            .collect(),
    }
}

impl Node {
    fn keys(&self) -> Vec<KeyView> {
        self.keyring.iter().map(|key| view(&key)).collect()
    }

    fn key(&self, head: Option<&str>) -> Result<Arc<ActiveKey>, CommandError> {
        let head = head.unwrap_or_default().to_lowercase();
        let mut fitting = self
            .keyring
            .iter()
            .filter(|key| hex::encode(key.package.public_key().as_bytes()).starts_with(&head));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(CommandError::new(
                "ambiguous-key",
                "several keys fit: give more digits of one, as `cryptonode key list` shows them",
            )),
            (None, _) if self.keyring.is_empty() => Err(CommandError::new(
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
        if self.keyring.is_empty() {
            not_ready
                .push("no key is active: no ceremony has been completed on this node".to_owned());
        }
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
            keys: self.keys(),
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
