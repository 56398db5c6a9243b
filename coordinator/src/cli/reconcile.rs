//! `audit reconcile`: the record held against the crypto nodes' logs, and against what the organisations approved.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;
use cryptonode::audit::{AuditRecord, read_exported};
use cryptonode::client::{Cluster, ClusterDescriptor};
use serde::Serialize;

use super::audit::verified;
use super::output::field;
use super::{Failure, Output, exit};
use crate::folder;
use crate::record::audit::{Outcome, Reconciliation, reconcile, verify_approvals};

const MAX_DESCRIPTOR: u64 = 16 * 1024 * 1024;

/// Arguments of `audit reconcile`.
#[derive(Debug, Args)]
#[command(after_help = "\
Get the nodes' logs from their operators (`cryptonode audit export --dir DIR --out n1.jsonl`), what was approved from the \
organisations (`coordinator audit approvals --dir A --out approvals`), and the record's export last. Each log is verified under the \
node's identity in cluster.json, each file of approvals under its organisation's keys on the record; then every share must have its read \
on the record and approvals that were issued, of enough organisations, and every approval has its outcome.
The exit status is 0 only if everything fits.

Example:
  coordinator audit reconcile record.export --keys D/verifiers.txt \\
    --cluster cluster.json --approvals 3 --node-log n1.jsonl \\
    --approvals-of approvals/alder.approvals")]
pub(super) struct Reconcile {
    /// The record's export.
    #[arg(value_name = "FILE")]
    export: PathBuf,
    /// File with the organisations' verifier keys, one in each line, got from the organisations themselves.
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// The cluster's description, which names the nodes and their identities.
    #[arg(long, value_name = "FILE")]
    cluster: PathBuf,
    /// How many organisations the key's policy asks for.
    #[arg(long, value_name = "M")]
    approvals: u16,
    /// By how many seconds the clocks of nodes and record may differ.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    tolerance_s: u64,
    /// A node's exported log; give several.
    #[arg(long = "node-log", value_name = "FILE", required = true)]
    node_logs: Vec<PathBuf>,
    /// What an organisation approved, from `audit approvals`; give several.
    #[arg(long = "approvals-of", value_name = "FILE")]
    approvals_of: Vec<PathBuf>,
}

pub(super) fn run(command: &Reconcile, output: &Output) -> Result<(), Failure> {
    let record = verified(&command.export, &command.keys)?;
    let cluster = read_cluster(&command.cluster)?;
    let logs = command
        .node_logs
        .iter()
        .map(|path| read_log(path, &cluster))
        .collect::<Result<Vec<_>, _>>()?;
    let unsigned: u64 = logs.iter().map(|log| log.unsigned).sum();
    let logs: Vec<(String, Vec<AuditRecord>)> = logs
        .into_iter()
        .map(|log| (log.name, log.records))
        .collect();
    let tolerance_ms = command.tolerance_s.saturating_mul(1000);
    let issued = command
        .approvals_of
        .iter()
        .map(|path| verify_approvals(path, &record, tolerance_ms))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Failure::new(exit::DAMAGED, e.code(), e.to_string()))?;
    let needed = command.approvals.into();
    let reconciliation = reconcile(&record, &logs, &issued, needed, tolerance_ms);
    let report = Report {
        reconciliation: &reconciliation,
        unsigned,
    };
    let with = |outcome| reconciliation.with_outcome(outcome);
    let mut lines = vec![
        field("shares released", reconciliation.shares),
        field("of these under no signed checkpoint yet", unsigned),
        field("reads on the record", reconciliation.reads),
        field(
            "reads without a share here",
            reconciliation.reads_without_shares.len(),
        ),
        field("approvals issued", reconciliation.approvals.len()),
        field("of these used", with(Outcome::Used)),
        field("of these expired without use", with(Outcome::Unused)),
        field(
            "of these still valid when they were written out",
            with(Outcome::Open),
        ),
    ];
    if !reconciliation.without_files.is_empty() {
        let names = reconciliation.without_files.iter();
        let names: Vec<&str> = names.map(|it| it.as_str()).collect();
        lines.push(field("approvals not here, of", names.join(", ")));
    }
    lines.extend(reconciliation.false_approvals.iter().map(|it| {
        format!(
            "{}: approval {}: {}",
            it.organisation, it.approval_id, it.fault
        )
    }));
    lines.extend(
        reconciliation
            .discrepancies
            .iter()
            .map(|it| format!("{}: record {} of its log: {}", it.node, it.index, it.kind)),
    );
    if !reconciliation.holds() {
        output.result(&report, &lines)?;
        let count = reconciliation.discrepancies.len() + reconciliation.false_approvals.len();
        let message = format!(
            "{count} things do not fit: take the logs as evidence to the nodes' operators and the organisations"
        );
        return Err(Failure::new(exit::DAMAGED, "discrepancies", message));
    }
    lines.push(if reconciliation.without_files.is_empty() {
        "every share has its approved read, and every approval its outcome".to_owned()
    } else {
        "every share has its approved read".to_owned()
    });
    output.result(&report, &lines)
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    reconciliation: &'a Reconciliation,
    /// Shares that no signed checkpoint covers yet.
    unsigned: u64,
}

fn read_cluster(path: &Path) -> Result<Cluster, Failure> {
    let wrong = |reason: String| {
        let message = format!(
            "{} is not a cluster's description: {reason}",
            path.display()
        );
        Failure::new(exit::CONFIGURATION, "cluster", message)
    };
    let bytes = folder::read_limited(path, MAX_DESCRIPTOR)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| wrong(error.to_string()))?;
    ClusterDescriptor::from_json(text)
        .and_then(|it| it.check())
        .map_err(|error| wrong(error.to_string()))
}

/// Reads a log, and whose it is: the member's by whose identity it is signed.
fn read_log(path: &Path, cluster: &Cluster) -> Result<NodeLog, Failure> {
    let members = &cluster.descriptor().members;
    let nodes: Vec<(&str, [u8; 32])> = members
        .iter()
        .map(|it| (it.name.as_str(), it.identity))
        .collect();
    let file = File::open(path).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        Failure::new(exit::CONFIGURATION, "node-log-file", message)
    })?;
    let log = read_exported(BufReader::new(file), &nodes).map_err(|error| {
        let message = format!(
            "{} is not the log of a node of this cluster: {error}",
            path.display()
        );
        Failure::new(exit::DAMAGED, error.code(), message)
    })?;
    let name = members.get(log.node).map(|member| member.name.clone());
    Ok(NodeLog {
        name: name.unwrap_or_default(),
        unsigned: (log.records.len() as u64).saturating_sub(log.signed),
        records: log.records,
    })
}

struct NodeLog {
    name: String,
    records: Vec<AuditRecord>,
    /// Records of its last moment, under no checkpoint.
    unsigned: u64,
}
