//! What the running node does for its operator's command line.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Node;
use super::key_view::{MISSED, OVERLAP, SERVING, exported, view};
use crate::admin::{AuditStatus, Command, CommandError, KeyHealth, KeyPolicy, KeyView, NodeStatus};
use crate::ceremony::{CeremonyError, Wish};
use crate::health::Condition;
use crate::keyring::KeyEntry;
use crate::suspension::{self, SuspensionKind};

/// How often one who follows a ceremony is shown it anew although nothing has happened.
const SILENCE: Duration = Duration::from_secs(10);

impl From<CeremonyError> for CommandError {
    fn from(error: CeremonyError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl Node {
    /// Carries out one command; events go into `events` while it lasts.
    pub(super) fn run(
        self: Arc<Self>,
        command: Command,
        events: mpsc::Sender<Value>,
    ) -> BoxFuture<'static, Result<Value, CommandError>> {
        async move {
            let ceremonies = &self.ceremonies;
            match command {
                Command::Unseal {} => {
                    Err(CommandError::new("not-sealed", "the node is not sealed"))
                }
                Command::Status {} => to_value(&self.status()),
                Command::CeremonyPropose {
                    threshold,
                    reshare,
                    policy,
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
                        policy: policy.as_deref().map(read_policy).transpose()?,
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
                Command::CeremonyAccept { id, policy_hash } => {
                    let consent = policy_hash.as_deref().map(read_hash).transpose()?;
                    to_value(&ceremonies.accept(&id, consent).await?)
                }
                Command::KeyPolicy {
                    ceremony,
                    public_key,
                } => {
                    let report = ceremonies
                        .policy_report(ceremony.as_deref(), public_key.as_deref())
                        .await?;
                    let bytes = |policy: certs::Policy| hex::encode(policy.to_bytes());
                    to_value(&KeyPolicy {
                        public_key: report.public_key.map(hex::encode),
                        present: report.present.map(bytes),
                        proposed: report.proposed.map(bytes),
                        ceremony: report.ceremony,
                    })
                }
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
                                // That somebody has fallen silent nobody tells.
                                () = tokio::time::sleep(SILENCE) => true,
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
                Command::KeyCheck {} => {
                    let keys: Vec<KeyHealth> =
                        self.keyring.iter().map(|key| KeyHealth::of(&key)).collect();
                    to_value(&keys)
                }
                Command::Suspend {
                    kind,
                    subject,
                    reason,
                } => {
                    let subject = self.subject(kind, &subject)?;
                    to_value(&self.set_suspended(kind, subject, reason, true).await?)
                }
                Command::Resume {
                    kind,
                    subject,
                    reason,
                } => {
                    let subject = self.subject(kind, &subject)?;
                    to_value(&self.set_suspended(kind, subject, reason, false).await?)
                }
                Command::Suspended {} => {
                    let all = suspension::read(&self.store);
                    to_value(&all.map_err(|error| CommandError::new("store", error.to_string()))?)
                }
                Command::Reload {} => {
                    let node = Arc::clone(&self);
                    let done = tokio::task::spawn_blocking(move || node.reload()).await;
                    match done {
                        Ok(Ok(done)) => to_value(&done),
                        Ok(Err(error)) => {
                            Err(CommandError::new("configuration", error.to_string()))
                        }
                        Err(_) => Err(CommandError::new("stopping", "the node is stopping")),
                    }
                }
                Command::AuditCheckpoint {} => {
                    let note = self
                        .audit
                        .checkpoint()
                        .await
                        .map_err(|error| CommandError::new(error.code(), error.to_string()))?;
                    Ok(json!({ "note": note }))
                }
                Command::CertificateRequest {} => {
                    let config = self.live.now();
                    let host = config
                        .advertise
                        .rsplit_once(':')
                        .map_or(config.advertise.as_str(), |(host, _)| host);
                    let host = host.trim_matches(['[', ']']);
                    let request = self.presenter.certificate_request(&config.name, host);
                    let request = request.map_err(|error| {
                        CommandError::new("certificate-request", error.to_string())
                    })?;
                    Ok(json!({ "request": request }))
                }
                Command::AuditWitness {} => to_value(&self.witnesses.view()),
                Command::Phases {} => to_value(&self.counters.phases.snapshot()),
            }
        }
        .boxed()
    }
}

fn read_policy(text: &str) -> Result<certs::Policy, CommandError> {
    let bytes = hex::decode(text).unwrap_or_default();
    certs::Policy::from_bytes(&bytes)
        .map_err(|error| CommandError::new("policy", error.to_string()))
}

fn read_hash(text: &str) -> Result<[u8; 32], CommandError> {
    let bytes = hex::decode(text).ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| CommandError::new("policy", "a policy's hash has 64 hexadecimal digits"))
}

fn to_value(value: &impl serde::Serialize) -> Result<Value, CommandError> {
    serde_json::to_value(value).map_err(|error| {
        CommandError::new("internal", format!("the answer has no JSON form: {error}"))
    })
}

impl Node {
    pub(crate) fn keys(&self) -> Vec<KeyView> {
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

    /// What a suspension is to be about.
    fn subject(&self, kind: SuspensionKind, text: &str) -> Result<[u8; 32], CommandError> {
        match kind {
            SuspensionKind::Key => Ok(*self.key(Some(text))?.public_key()),
            SuspensionKind::Document => hex::decode(text)
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(|| {
                    let message = "a document is named by its write id, 64 hexadecimal digits: the SHA-256 of its wrapped key, as the audit log shows it";
                    CommandError::new("write-id", message)
                }),
        }
    }

    /// Why only a restart helps.
    pub(crate) fn unhealthy(&self) -> Vec<Condition> {
        let failure = self.audit.health().err();
        let failure = failure.map(|error| Condition::new("audit-unavailable", error.to_string()));
        failure.into_iter().collect()
    }

    /// Why no share is given.
    pub(crate) fn not_ready(&self) -> Vec<Condition> {
        let mut reasons = self.unhealthy();
        let keys = self.keys();
        let served = |key: &KeyView| key.state == SERVING || key.state == OVERLAP;
        if keys.is_empty() {
            reasons.push(Condition::new(
                "no-key",
                "no key is active: no ceremony has been completed on this node",
            ));
        } else if !keys.iter().any(served) {
            reasons.push(Condition::new("no-key-served", "no key is served"));
        }
        // A key that was handed on is nothing to be put right.
        let missed = keys.into_iter().filter(|key| key.state == MISSED);
        reasons.extend(
            missed
                .filter_map(|key| key.sentence)
                .map(|sentence| Condition::new("epoch-missed", sentence)),
        );
        let suspended = self.gate.suspended().keys;
        let all = self
            .keyring
            .iter()
            .all(|key| suspended.contains(key.package.public_key().as_bytes()));
        if !self.keyring.is_empty() && all {
            let message = "every key is suspended: `cryptonode key resume` gives shares again";
            reasons.push(Condition::new("suspended", message));
        }
        reasons
    }

    fn status(&self) -> NodeStatus {
        let failure = self.audit.health().err().map(|error| error.to_string());
        let not_ready: Vec<String> = self
            .not_ready()
            .into_iter()
            .map(|reason| reason.message)
            .collect();
        let config = self.live.now();
        let reloads = self.reloads().clone();
        let (health, health_failure) = match self.page.address() {
            Ok(address) => (address.map(|address| address.to_string()), None),
            Err(reason) => (None, Some(reason)),
        };
        NodeStatus {
            name: config.name.clone(),
            identity: hex::encode(self.identity),
            listen: self.listen.to_string(),
            advertise: config.advertise.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            up_s: self.started.elapsed().as_secs(),
            ready: not_ready.is_empty(),
            not_ready,
            health,
            health_failure,
            config_failure: reloads.failure,
            memory_locked: self.memory.is_ok(),
            memory_failure: self.memory.clone().err(),
            suspended: suspension::read(&self.store).unwrap_or_default(),
            revocation: self.lists.view(),
            restart_needed: reloads.restart_needed,
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
                cosigned_records: self.witnesses.view().own.cosigned_records,
                others_refused: self.witnesses.refused(),
            },
        }
    }
}
