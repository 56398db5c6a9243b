//! `cryptonode doctor`: looks at everything that an operator would look at, and says what to do.
//!
//! It needs no running node, and asks one that runs. It changes nothing. Each [`Finding`] has a stable name and one of four
//! states, so that scripts can tell a full disk from a clock that is wrong.

mod local;
mod members;

use std::path::Path;

use serde::Serialize;

use crate::admin::{self, AdminError, Command, KeyHealth, NodeStatus};
use crate::config::Config;
use crate::node_files::PublicIdentity;
use crate::store::Passphrase;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// In order.
    Ok,
    /// In order now, and not for long, or not all of it.
    Warning,
    /// Not in order.
    Failed,
    /// Could not be looked at.
    Skipped,
}

/// What one check found.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The check's stable name, such as `disk`.
    pub check: &'static str,
    /// What was looked at, such as a member's name; empty if there is only one of it.
    pub about: String,
    /// How it is.
    pub state: State,
    /// A sentence that says what was found and what to do.
    pub message: String,
}

/// Collects findings.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: &'static str, about: &str, state: State, message: impl Into<String>) {
        self.0.push(Finding {
            check,
            about: about.to_owned(),
            state,
            message: message.into(),
        });
    }

    fn ok(&mut self, check: &'static str, about: &str, message: impl Into<String>) {
        self.add(check, about, State::Ok, message);
    }

    fn warn(&mut self, check: &'static str, about: &str, message: impl Into<String>) {
        self.add(check, about, State::Warning, message);
    }

    fn fail(&mut self, check: &'static str, about: &str, message: impl Into<String>) {
        self.add(check, about, State::Failed, message);
    }

    fn skip(&mut self, check: &'static str, about: &str, message: impl Into<String>) {
        self.add(check, about, State::Skipped, message);
    }
}

/// The node that runs in the folder, if one does.
enum Running {
    Yes(Box<NodeStatus>),
    /// It runs, and waits for its passphrase or starts.
    Closed,
    No,
}

/// Looks at the node in `folder`. With `passphrase`, a node that does not run has its shares checked too.
pub async fn examine(folder: &Path, passphrase: Option<&Passphrase>) -> Vec<Finding> {
    let mut findings = Findings::default();
    local::folder(&mut findings, folder);
    local::disk(&mut findings, folder);
    let Some((config, identity, policy)) = local::configuration(&mut findings, folder) else {
        return findings.0;
    };
    let running = running(&mut findings, folder);
    local::ports(&mut findings, &config, &identity, &running).await;
    let keys = match &running {
        Running::Yes(_) => from_node(&mut findings, folder),
        Running::Closed => {
            findings.skip(
                "share",
                "",
                "the node is sealed: open it with `cryptonode unseal`, then ask again",
            );
            None
        }
        Running::No => local::keys(&mut findings, folder, passphrase),
    };
    if let Some(keys) = &keys {
        local::shares(&mut findings, keys);
    }
    let keys = keys.unwrap_or_default();
    local::issuers(&mut findings, policy.as_ref(), &keys);
    local::certificate(&mut findings, &config);
    local::revocation(&mut findings, &config, &running);
    let tolerance_s = policy.as_ref().map_or(30, certs::Policy::tolerance_s);
    members::examine(&mut findings, &config, &identity, &keys, tolerance_s).await;
    findings.0
}

fn running(findings: &mut Findings, folder: &Path) -> Running {
    let answer = admin::request(folder, &Command::Status {}, |_| {});
    match answer.map(serde_json::from_value::<NodeStatus>) {
        Ok(Ok(status)) => {
            if status.ready {
                let message = format!(
                    "version {}, up for {} s, ready",
                    status.version, status.up_s
                );
                findings.ok("node", "", message);
            } else {
                findings.fail(
                    "node",
                    "",
                    format!(
                        "it runs and gives no shares: {}",
                        status.not_ready.join("; ")
                    ),
                );
            }
            if let Some(failure) = &status.config_failure {
                findings.fail(
                    "reload",
                    "",
                    format!("config.toml was not taken: {failure}"),
                );
            }
            Running::Yes(Box::new(status))
        }
        Ok(Err(error)) => {
            let message =
                format!("it runs another version than this command ({error}): restart it");
            findings.warn("node", "", message);
            Running::Closed
        }
        Err(AdminError::NotRunning { .. }) => {
            findings.warn(
                "node",
                "",
                "it does not run: start it with `cryptonode run`",
            );
            Running::No
        }
        Err(error) => {
            findings.fail("node", "", error.to_string());
            Running::Closed
        }
    }
}

fn from_node(findings: &mut Findings, folder: &Path) -> Option<Vec<KeyHealth>> {
    let answer = admin::request(folder, &Command::KeyCheck {}, |_| {})
        .map_err(|error| error.to_string())
        .and_then(|value| serde_json::from_value(value).map_err(|error| error.to_string()));
    match answer {
        Ok(keys) => Some(keys),
        Err(reason) => {
            findings.fail(
                "share",
                "",
                format!("the node cannot check its shares: {reason}"),
            );
            None
        }
    }
}

/// The parts that every check of a configured node needs.
type Configured = (Config, PublicIdentity, Option<certs::Policy>);
