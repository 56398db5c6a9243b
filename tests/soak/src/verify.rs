//! The checks at the end: everything acknowledged is read back, and the logs of all are held against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cryptonode::audit::read_exported;
use cryptonode::client::ClusterDescriptor;
use serde::Serialize;
use serde_json::{Value, json};
use threshold_exchange::site::Tool;
use tokio::task::JoinSet;

use crate::faults::OTHERS_SERVE;
use crate::field::{Field, SHARES_OF_A_READ};
use crate::history::History;
use crate::promises::Promise;
use crate::workload::World;

/// Documents that are read back at the same time.
const AT_ONCE: usize = 6;
/// How often one is tried; nothing is in trouble any more.
const TRIES: u32 = 5;

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Found {
    /// Versions that were acknowledged.
    pub(crate) acknowledged: usize,
    /// Of these, those that were read back with the right bytes.
    pub(crate) read_back: usize,
    /// Reads that were answered.
    pub(crate) answered_reads: usize,
    /// Shares in the logs of all nodes.
    pub(crate) shares: usize,
    /// Reads on the record.
    pub(crate) reads_on_record: u64,
    /// Transactions on the record.
    pub(crate) transactions: u64,
    /// Organisations' peers that have this very record.
    pub(crate) peers: usize,
    /// Organisations that signed its head.
    pub(crate) signed_by: usize,
    /// Nodes whose logs were verified, those that were replaced included.
    pub(crate) node_logs: usize,
    /// Epoch of the key.
    pub(crate) epoch: u64,
}

fn number(document: &Value, field: &str) -> u64 {
    document
        .get(field)
        .and_then(Value::as_u64)
        .unwrap_or_default()
}

/// Reads everything back that was acknowledged.
pub(crate) async fn everything_is_there(world: &Arc<World>, found: &mut Found) {
    let mut left = world.promises.all();
    found.acknowledged = left.len();
    let mut reading = JoinSet::new();
    let mut read = |outcome: Option<Result<bool, tokio::task::JoinError>>| {
        found.read_back += usize::from(matches!(outcome, Some(Ok(true))));
    };
    while let Some(promise) = left.pop() {
        if reading.len() >= AT_ONCE {
            read(reading.join_next().await);
        }
        reading.spawn(read_back(world.clone(), promise));
    }
    while let Some(outcome) = reading.join_next().await {
        read(Some(outcome));
    }
    if found.read_back < found.acknowledged {
        let seen = format!(
            "{} of {} could be read back",
            found.read_back, found.acknowledged
        );
        world
            .history
            .violated("what was acknowledged is there, byte for byte", seen);
    }
}

/// While the platform was in no trouble itself, whatever happened to nodes and peers, nearly all that was asked was done. On a quiet
/// machine it is all; a machine that is busy with other things has deadlines pass.
pub(crate) fn served_throughout(history: &History) {
    const OF_USERS: [&str; 5] = ["write", "read", "read-latest", "grant", "revoke"];
    const PERCENT: u64 = 95;
    for (operation, sums) in history.sums() {
        let (as_due, all) = sums.served;
        if OF_USERS.contains(&operation) && as_due * 100 < all * PERCENT {
            let seen = format!("{operation}: {as_due} of {all} while the platform was well");
            history.violated(OTHERS_SERVE, seen);
        }
    }
}

async fn read_back(world: Arc<World>, promise: Promise) -> bool {
    for attempt in 0..TRIES {
        if world.read_back("read-back", &promise).await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(500) * (attempt + 1)).await;
    }
    false
}

impl Field {
    /// Verifies the record and every node's log, and holds them against each other and against what the readers saw.
    ///
    /// # Errors
    /// If a log cannot be had, does not verify, or does not fit.
    pub(crate) async fn logs_agree(&mut self, found: &mut Found) -> Result<(), String> {
        let layout = self.site.layout().clone();
        let (export, keys) = (layout.record_export(), layout.verifiers());
        let exported = self.world.exchange.export(&export).await;
        exported.map_err(|error| error.to_string())?;
        let verify = ["audit".as_ref(), "verify".as_ref(), export.as_os_str()];
        let verify = [&verify[..], &["--keys".as_ref(), keys.as_os_str()]].concat();
        let report = self.coordinator(&verify).await?;
        found.transactions = number(&report, "transactions");
        let signed = report.get("signed_by").and_then(Value::as_array);
        found.signed_by = signed.map_or(0, Vec::len);
        found.peers = self.peers_agree(found.transactions).await?;

        let last_cluster = layout.root().join("cluster-at-the-end.json");
        let made = self.export_cluster(&last_cluster).await;
        made.map_err(|error| error.to_string())?;
        found.epoch = self.key().await?.2;
        let mut shared_by: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        let everyone: Vec<usize> = self.seats.iter().chain(&self.retired).copied().collect();
        for index in everyone {
            let Some(node) = self.site.nodes().get(index) else {
                continue;
            };
            let log = layout.node_log(&node.name);
            let name = node.name.clone();
            let words = ["audit".as_ref(), "export".as_ref(), "--dir".as_ref()];
            let words = [&words[..], &[node.folder.as_os_str()]].concat();
            let words = [&words[..], &["--out".as_ref(), log.as_os_str()]].concat();
            let exported = self.site.program().run(Tool::Cryptonode, &words).await;
            exported.map_err(|error| format!("{name}: {error}"))?;
            // Nodes that were replaced are in an older description.
            let cluster = self.described_in.get(&index).unwrap_or(&last_cluster);
            let approved = approvals_in(&log, cluster, &name)?;
            found.node_logs += 1;
            found.shares += approved.len();
            for read in approved {
                shared_by.entry(read).or_default().insert(index);
            }
            let report = self.reconcile(&export, &keys, cluster, &log).await?;
            found.reads_on_record = number(&report, "reads");
        }
        let answered = self.world.promises.reads();
        found.answered_reads = answered.len();
        for read in answered {
            let nodes = shared_by.get(&read).map_or(0, BTreeSet::len);
            if nodes < SHARES_OF_A_READ {
                let seen =
                    format!("read {read} was answered, and {nodes} nodes have logged a share");
                self.history()
                    .violated("every share that was given is in a log", seen);
            }
        }
        Ok(())
    }

    async fn reconcile(
        &self,
        export: &Path,
        keys: &Path,
        cluster: &Path,
        log: &Path,
    ) -> Result<Value, String> {
        let approvals = self.site.plan().approvals.to_string();
        let [export, keys, cluster, log] =
            [export, keys, cluster, log].map(|path| path.display().to_string());
        let arguments = [
            "audit",
            "reconcile",
            &export,
            "--keys",
            &keys,
            "--cluster",
            &cluster,
            "--approvals",
            &approvals,
            "--node-log",
            &log,
        ];
        self.coordinator(&arguments).await
    }

    async fn coordinator<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: &[S],
    ) -> Result<Value, String> {
        let ran = self.site.program().run(Tool::Coordinator, arguments).await;
        ran.map_err(|error| error.to_string())
    }
}

/// The ids of the reads for which a node's verified log has a share, one for each share.
fn approvals_in(log: &Path, cluster: &Path, name: &str) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(cluster).map_err(|error| error.to_string())?;
    let descriptor = ClusterDescriptor::from_json(&text).map_err(|error| error.to_string())?;
    let member = descriptor.members.iter().find(|it| it.name == name);
    let identity = member.map(|it| it.identity);
    let identity = identity.ok_or_else(|| format!("{name} is not in {}", cluster.display()))?;
    let file = File::open(log).map_err(|error| error.to_string())?;
    let log = read_exported(BufReader::new(file), &[(name, identity)])
        .map_err(|error| format!("the log of {name}: {error}"))?;
    Ok(log
        .records
        .iter()
        .filter_map(|record| Some(record.approvals.first()?.approval_id.clone()))
        .collect())
}

/// What was found, for the history.
pub(crate) fn as_json(found: &Found) -> Value {
    json!(found)
}
