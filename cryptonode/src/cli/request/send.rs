//! `cryptonode request send`: the nodes are asked, and each one's part is told.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reencrypt::{Opening, SecretBytes};
use serde_json::{Value, json};

use super::super::output::field;
use super::files;
use super::{ClusterArguments, Failure, Output, cluster, exit, offline};
use crate::client::handover::Shares;
use crate::client::{Client, ClientOptions, ClusterError, Collected, NodeOutcome, Outcome};
use crate::store::write_private;
use crate::wire::v1::TraceParent;

/// Arguments of `send`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Send {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// The wrapped key.
    #[arg(long, value_name = "FILE")]
    wrapped_key: PathBuf,
    /// The client's TLS key, to which the approvals are bound.
    #[arg(long, value_name = "FILE")]
    client_key: PathBuf,
    /// The ephemeral secret that `prepare` made: the key is opened.
    #[arg(long, value_name = "FILE", required_unless_present = "ephemeral_key")]
    ephemeral_secret: Option<PathBuf>,
    /// Instead: its public half. The re-encrypted key is for whoever has the secret.
    #[arg(long, value_name = "FILE", conflicts_with = "ephemeral_secret")]
    ephemeral_key: Option<PathBuf>,
    /// An approval (a certificate, DER or PEM); one for each organisation.
    #[arg(long = "approval", value_name = "FILE", required = true)]
    approvals: Vec<PathBuf>,
    /// Where the key goes (mode 0600), or the re-encrypted key (JSON). It must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Verify every share as it comes, instead of only when together they do not open.
    #[arg(long)]
    verify: bool,
    /// Ask another node as well when one takes longer than this, and than three times what it took of late.
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    hedge_after_ms: u64,
    /// Ask another node only when one fails, and never because it is slow.
    #[arg(long, conflicts_with = "hedge_after_ms")]
    no_hedging: bool,
    /// For a connection to a node.
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    connect_timeout_ms: u64,
    /// For a node's answer.
    #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    request_timeout_ms: u64,
    /// For everything.
    #[arg(long, value_name = "MS", default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    deadline_ms: u64,
    /// The span that this is done in (W3C Trace Context): the nodes' spans are below it.
    #[arg(long, value_name = "TRACEPARENT", env = "TRACEPARENT")]
    traceparent: Option<String>,
}

/// What the nodes' answers came to.
enum Got {
    Key(SecretBytes),
    Shares(Shares),
}

pub(super) fn send(command: &Send, output: &mut Output) -> Result<(), Failure> {
    let trace = match command.traceparent.as_deref() {
        None => None,
        Some(text) => Some(TraceParent::from_header(text).ok_or_else(|| {
            let message = format!("--traceparent {text:?} is none: 00-TRACE-SPAN-FLAGS");
            Failure::new(exit::USAGE, "traceparent", message)
        })?),
    };
    if command.out.exists() {
        // Said before anybody is asked: the answer would be lost.
        return Err(files::file(&command.out, "out", "it exists already"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::FAILED, "runtime", error.to_string()))?;
    let (result, nodes, epoch) = runtime.block_on(ask(command, trace))?;
    let lines: Vec<String> = nodes.iter().map(line).collect();
    let diagnoses: Vec<Value> = nodes.iter().map(diagnosis).collect();
    let got = match result {
        Ok(got) => got,
        Err(failure) => {
            let error = json!({ "code": failure.code, "message": failure.message });
            output.result(&json!({ "error": error, "nodes": diagnoses }), &lines)?;
            return Err(failure.told());
        }
    };
    let (what, bytes, contents) = match got {
        Got::Key(key) => ("opened", key.len(), key),
        Got::Shares(shares) => {
            let text = serde_json::to_vec_pretty(&shares).map_err(std::io::Error::from)?;
            ("re-encrypted", text.len(), SecretBytes::new(text))
        }
    };
    write_private(&command.out, contents.expose(), false)?;
    let value = json!({
        "result": what, "bytes": bytes, "out": command.out, "epoch": epoch, "nodes": diagnoses,
    });
    let mut lines = lines;
    lines.push(field(
        what,
        format!("{bytes} bytes in {}", command.out.display()),
    ));
    output.result(&value, &lines)
}

type Asked = (Result<Got, Failure>, Vec<NodeOutcome>, u64);

async fn ask(command: &Send, trace: Option<TraceParent>) -> Result<Asked, Failure> {
    let cluster = cluster::reachable(&command.cluster)?;
    let wrapped = files::wrapped_key(&command.wrapped_key)?;
    let identity = files::client_key(&command.client_key)?;
    let approvals = command.approvals.iter();
    let approvals = approvals
        .map(|path| files::certificate(path))
        .collect::<Result<Vec<_>, _>>()?;
    let deadline = Duration::from_millis(command.deadline_ms);
    let options = ClientOptions {
        connect_timeout: Duration::from_millis(command.connect_timeout_ms),
        request_timeout: Duration::from_millis(command.request_timeout_ms),
        hedge_after: if command.no_hedging {
            deadline
        } else {
            Duration::from_millis(command.hedge_after_ms)
        },
        deadline,
        ..ClientOptions::default()
    };
    let client = Client::new(cluster, identity, options)
        .map_err(|error| Failure::new(exit::FAILED, "client-key", error.to_string()))?;
    let secret = match &command.ephemeral_secret {
        Some(path) => Some(files::ephemeral_secret(path, &wrapped)?),
        None => None,
    };
    let asked = match (secret, &command.ephemeral_key) {
        (Some(secret), _) if !command.verify => {
            let opened = client.open_in(trace, wrapped, secret, approvals).await;
            let result = opened.result.map(Got::Key).map_err(no_result);
            (result, opened.nodes)
        }
        (Some(secret), _) => {
            let collected = client
                .collect_shares_in(trace, &wrapped, secret.public(), approvals)
                .await;
            let result = collected.result.map_err(no_result).and_then(|shares| {
                let package = collected.cluster.package().clone();
                let opening = Opening::new(wrapped, secret, package)
                    .map_err(|error| Failure::new(exit::FAILED, error.code(), error.to_string()))?;
                offline::combine(opening, &shares).map(Got::Key)
            });
            (result, collected.nodes)
        }
        (None, Some(path)) => {
            let key = files::ephemeral_key(path, &wrapped)?;
            let Collected {
                result,
                cluster,
                nodes,
                ..
            } = client
                .collect_shares_in(trace, &wrapped, &key, approvals)
                .await;
            let version = cluster.descriptor().version_of_result();
            let shares = result.map_err(no_result).map(|shares| {
                Got::Shares(Shares {
                    version: 1,
                    public_key: *cluster.package().public_key().as_bytes(),
                    epoch: version.epoch,
                    attempt: version.attempt,
                    write_id: wrapped.write_id(),
                    ephemeral_point: *key.point().as_bytes(),
                    shares: shares.iter().map(hex::encode).collect(),
                })
            });
            (shares, nodes)
        }
        // The command line demands one of the two.
        (None, None) => {
            let message = "give --ephemeral-secret or --ephemeral-key";
            return Err(Failure::new(exit::USAGE, "ephemeral-key", message));
        }
    };
    let epoch = client.cluster().descriptor().epoch;
    client.close().await;
    Ok((asked.0, asked.1, epoch))
}

fn no_result(error: ClusterError) -> Failure {
    // Each node's reason is told on a line of its own.
    let message = match &error {
        ClusterError::TooFewAnswers {
            answered,
            members,
            needed,
            ..
        } => format!("{answered} of {members} nodes answered, {needed} are needed"),
        other => other.to_string(),
    };
    Failure::new(exit::CLUSTER, error.code(), message)
}

/// What to do about a node that gave no share.
fn advice(what: &Outcome) -> Option<&'static str> {
    match what {
        Outcome::Unreachable { .. } => {
            Some("check that the node runs, and that UDP reaches it at this address")
        }
        Outcome::TimedOut { .. } => {
            Some("look at the node's load and its clock, or give it more time")
        }
        Outcome::Cheated { .. } => {
            Some("tell its operator: the node or its share is not what it should be")
        }
        Outcome::Refused { code, .. } => match code.as_str() {
            "not-enough-approvals" => {
                Some("ask the organisations for approvals of this very read, by this client")
            }
            "busy" | "rate-limited" => Some("try again in a while"),
            "unknown-key" => {
                Some("the node does not hold this key: check the cluster's description")
            }
            "client-denied" | "client-not-listed" => Some("ask its operator to take this client"),
            _ => None,
        },
        Outcome::Failed { .. } => Some("compare the cluster's description with the operators'"),
        Outcome::Answered | Outcome::Overtaken | Outcome::NotAsked => None,
    }
}

fn line(node: &NodeOutcome) -> String {
    let took = node
        .millis
        .map_or_else(String::new, |ms| format!(" ({ms:.1} ms)"));
    let advice = advice(&node.what).map_or_else(String::new, |advice| format!("; {advice}"));
    format!("{node}{took}{advice}")
}

fn diagnosis(node: &NodeOutcome) -> Value {
    let mut value = serde_json::to_value(node).unwrap_or_default();
    if let (Some(fields), Some(advice)) = (value.as_object_mut(), advice(&node.what)) {
        fields.insert("advice".to_owned(), advice.into());
    }
    value
}
