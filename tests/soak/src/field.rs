//! The site under test with its machines, and what its keepers do: the service manager, and the operator by the book.
//!
//! **The service manager** does what `deploy/` has it do, and nothing else: it starts again what has ended, and a node
//! whose `/healthz` says that only a restart helps. **The operator** does what the documentation tells him, and each time
//! is counted: restores a damaged node's store from the backup, moves a damaged copy of the record away, makes nodes and peers for lost
//! ones, proposes reshares, endorses new keys.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptonode::admin::{self, Command, NodeStatus};
use cryptonode::client::{ClientIdentity, PeerOptions, call};
use cryptonode::wire::v1::{Answer, Request};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use threshold_exchange::site::{Site, SiteError, Tool};

use crate::history::History;
use crate::intruder::now_s;
use crate::lab::Lab;
use crate::plan::THRESHOLD;
use crate::workload::World;

/// How long everything may take to be well again. Generous: the machine may be busy with other things.
const WELL_WITHIN: Duration = Duration::from_secs(240);
/// How often those are asked who are not well yet.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How long a node may take for an answer to its operator.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// The site and everything about it.
pub(crate) struct Field {
    /// Its processes.
    pub(crate) site: Site,
    /// Its machines.
    pub(crate) lab: Lab,
    /// Its users.
    pub(crate) world: Arc<World>,
    /// Who sits where: places in [`Site::nodes`].
    pub(crate) seats: Vec<usize>,
    /// Nodes that were replaced.
    pub(crate) retired: Vec<usize>,
    /// The same of peers, by the places of their organisations: places in [`Site::peers`].
    pub(crate) desks: Vec<usize>,
    /// Peers that were replaced, the last one last.
    pub(crate) retired_peers: Vec<usize>,
    /// Organisations whose peers do not know any more how they voted.
    pub(crate) forgetful: BTreeSet<String>,
    /// Organisations whose peers lost their stores, and since when: for some time they approve nothing that is new.
    pub(crate) set_back: BTreeMap<usize, Instant>,
    /// The cluster's description as it was before any reshare.
    pub(crate) first_cluster: PathBuf,
    /// For each node that was replaced, a description of the cluster that it was in.
    pub(crate) described_in: BTreeMap<usize, PathBuf>,
    /// What the service manager did, by what it was.
    pub(crate) restarts: BTreeMap<String, u64>,
    /// What the operator did, by what it was.
    pub(crate) operator: BTreeMap<&'static str, u64>,
    /// How long it took to be well again after each episode, in milliseconds.
    pub(crate) recoveries: Vec<u64>,
}

/// A short form of an error, for the history.
pub(crate) fn words(error: &SiteError) -> String {
    error.to_string()
}

impl Field {
    /// The history.
    pub(crate) fn history(&self) -> &Arc<History> {
        &self.world.history
    }

    /// The place of the node in a seat.
    pub(crate) fn at(&self, seat: usize) -> usize {
        self.seats.get(seat).copied().unwrap_or_default()
    }

    /// The name of the node in a seat, which its machine has too.
    pub(crate) fn name(&self, seat: usize) -> String {
        self.site
            .nodes()
            .get(self.at(seat))
            .map(|node| node.name.clone())
            .unwrap_or_default()
    }

    /// The folder of the node in a seat.
    pub(crate) fn folder(&self, seat: usize) -> PathBuf {
        self.site
            .nodes()
            .get(self.at(seat))
            .map(|node| node.folder.clone())
            .unwrap_or_default()
    }

    /// Sends a signal to a process that runs.
    pub(crate) fn signal(&self, pid: Option<u32>, signal: Signal) {
        let pid = pid.and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// The operator did something.
    pub(crate) fn by_hand(&mut self, what: &'static str) {
        *self.operator.entry(what).or_default() += 1;
        self.history().note("operator", json!(what));
    }

    pub(crate) fn restarted(&mut self, who: &str, why: &str) {
        let entry = format!("{who}: {why}");
        self.history().note("service-manager", json!(entry));
        *self.restarts.entry(why.to_owned()).or_default() += 1;
    }

    /// What the node in a seat says of itself.
    async fn status(&self, seat: usize) -> Result<NodeStatus, String> {
        let folder = self.folder(seat);
        let asked = tokio::task::spawn_blocking(move || {
            admin::request(&folder, &Command::Status {}, |_| {}).map_err(|error| error.to_string())
        });
        let answer = tokio::time::timeout(ANSWER_WITHIN, asked)
            .await
            .map_err(|_| "it does not answer".to_owned())?
            .map_err(|error| error.to_string())??;
        serde_json::from_value(answer).map_err(|error| error.to_string())
    }

    /// Waits until the node in a seat shows a time that differs from the true one by so many seconds.
    ///
    /// # Errors
    /// If it does not: then nothing can be made to fail by its clock.
    pub(crate) async fn until_clock_differs(
        &self,
        seat: usize,
        seconds: i64,
    ) -> Result<(), String> {
        let own = self.status(seat).await?;
        let mut identity = [0; 32];
        hex::decode_to_slice(&own.identity, &mut identity).map_err(|error| error.to_string())?;
        let begun = Instant::now();
        let mut differs = None;
        while begun.elapsed() < ANSWER_WITHIN {
            let key = ClientIdentity::generate().map_err(|error| error.to_string())?;
            let options = PeerOptions::default();
            let asked = call(key, &own.advertise, &identity, &Request::Status {}, options);
            if let Ok(Answer::Status { time_ms, .. }) = asked.await {
                let shown = i64::try_from(time_ms / 1000).unwrap_or(i64::MAX);
                let ahead = shown.saturating_sub_unsigned(now_s());
                if (ahead - seconds).abs() <= 5 {
                    return Ok(());
                }
                differs = Some(ahead);
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        Err(format!(
            "the clock of {} should differ by {seconds} s and differs by {differs:?}",
            own.name
        ))
    }

    /// Looks after the node in a seat as the service manager does. Why it is not well, if it is not.
    async fn tend_node(&mut self, seat: usize) -> Option<String> {
        let (index, name) = (self.at(seat), self.name(seat));
        let ended = self.site.node_has_ended(index);
        let running = self.site.nodes().get(index).is_some_and(|n| n.is_running());
        if ended || !running {
            let why = if ended {
                "it had ended by itself"
            } else {
                "it was killed"
            };
            self.restarted(&name, why);
            if let Err(error) = self.site.start_node(index).await {
                return Some(format!("{name}: {error}"));
            }
        }
        match self.status(seat).await {
            Err(reason) => Some(format!("{name}: {reason}")),
            Ok(status) if status.audit.failure.is_some() => {
                // /healthz says 503 then, and the liveness probe has it started again.
                self.restarted(&name, "its audit log was closed after a failed write");
                if let Err(error) = self.site.kill_node(index).await {
                    return Some(words(&error));
                }
                Some(format!("{name}: restarted"))
            }
            Ok(status) if !status.ready => Some(format!("{name}: {}", status.not_ready.join("; "))),
            Ok(_) => None,
        }
    }

    async fn tend_platform(&mut self) -> Option<String> {
        let ended = self.site.platform_has_ended();
        if self.site.platform_pid().is_none() {
            let why = if ended {
                "it had ended by itself"
            } else {
                "it was killed"
            };
            self.restarted("platform", why);
            if let Err(error) = self.site.restart_platform().await {
                return Some(format!("platform: {error}"));
            }
        }
        let asked = self.world.exchange.writer().status();
        let status = match tokio::time::timeout(ANSWER_WITHIN, asked).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return Some(format!("platform: {error}")),
            Err(_) => return Some("platform: no answer".to_owned()),
        };
        let faults: Vec<String> = status
            .peers
            .iter()
            .filter_map(|peer| Some(format!("{}: {}", peer.organisation, peer.fault.as_ref()?)))
            .collect();
        if faults.is_empty() {
            return None;
        }
        // If its copy of the record has stopped it ends by itself, and is started again then.
        Some(format!("platform: {}", faults.join("; ")))
    }

    /// Waits until every node is ready, every peer takes part, and a document can be written and read.
    ///
    /// # Errors
    /// What is not well after a long time.
    pub(crate) async fn until_well(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        let mut last = String::new();
        let mut goal = None;
        loop {
            let mut ill = Vec::new();
            for seat in 0..self.seats.len() {
                ill.extend(self.tend_node(seat).await);
            }
            ill.extend(self.tend_peers(&mut goal).await);
            ill.extend(self.tend_platform().await);
            if ill.is_empty() {
                if self.canary().await {
                    let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.recoveries.push(took);
                    return Ok(());
                }
                ill.push("no document can be written and read".to_owned());
            }
            let now = ill.join(" | ");
            if now != last {
                self.history().note("not-well", json!(now));
                last = now;
            }
            if begun.elapsed() > WELL_WITHIN {
                return Err(last);
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Writes a document and reads it back.
    async fn canary(&self) -> bool {
        let document = format!("canary-{}", self.history().now_ms());
        let bytes = format!("{document} sings").into_bytes();
        if !self.world.write("canary", &document, bytes).await {
            return false;
        }
        let all = self.world.promises.all();
        let Some(promise) = all.iter().rfind(|promise| promise.document == document) else {
            return false;
        };
        self.world.read_back("canary", promise).await
    }

    /// The platform serves although nodes are in trouble: within the time, and with the faults as they are.
    pub(crate) async fn serves_meanwhile(&self, within: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if self.canary().await {
                return true;
            }
        }
        false
    }

    /// The key as the leader sees it now.
    pub(crate) async fn key(&self) -> Result<(String, Vec<String>, u64), String> {
        let status = self.status(0).await?;
        let key = status.keys.first().ok_or("the leader has no key")?;
        Ok((key.public_key.clone(), key.member_names.clone(), key.epoch))
    }

    /// What the first node is to be told for a reshare: with `lost` and its successor, if somebody is to be replaced.
    pub(crate) async fn reshare_arguments(
        &self,
        replaced: Option<(&str, &str)>,
    ) -> Result<Vec<String>, String> {
        let (key, members, _) = self.key().await?;
        let folder = self.folder(0).display().to_string();
        let mut arguments: Vec<String> = ["ceremony", "propose", "--dir", &folder, "--reshare"]
            .map(str::to_owned)
            .to_vec();
        arguments.push(key);
        if let Some((lost, successor)) = replaced {
            let members: Vec<&str> = members
                .iter()
                .map(|name| if name == lost { successor } else { name })
                .collect();
            arguments.extend(["--absent".to_owned(), lost.to_owned()]);
            arguments.extend(["--members".to_owned(), members.join(",")]);
            arguments.extend(["--patience-s".to_owned(), "10".to_owned()]);
        }
        arguments.push("--wait".to_owned());
        Ok(arguments)
    }

    /// Writes the cluster's description as it is now.
    ///
    /// # Errors
    /// As `cryptonode key export`.
    pub(crate) async fn export_cluster(&self, file: &Path) -> Result<Value, SiteError> {
        let (folder, file) = (
            self.folder(0).display().to_string(),
            file.display().to_string(),
        );
        let arguments = ["key", "export", "--dir", &folder, "--out", &file];
        self.site.program().run(Tool::Cryptonode, &arguments).await
    }

    /// Kills whoever runs, so that the disks can be taken away, and brings what is on them into ordinary folders.
    pub(crate) async fn close(&mut self) -> Result<(), String> {
        for seat in 0..self.seats.len() {
            self.signal(self.site.node_pid(self.at(seat)), Signal::CONT);
        }
        for peer in &self.desks {
            self.signal(self.site.peer_pid(*peer), Signal::CONT);
        }
        self.signal(self.site.platform_pid(), Signal::CONT);
        let stopped = self.site.stop().await.map_err(|error| words(&error));
        let moved = self.lab.take_disks_away();
        if let Ok(killed) = &stopped
            && !killed.is_empty()
        {
            let seen = format!("{} had to be killed", killed.join(", "));
            self.history()
                .violated("everything stops when it is told to", seen);
        }
        stopped.map(drop).and(moved)
    }
}

/// Nodes that must have logged a share of a read that was answered.
pub(crate) const SHARES_OF_A_READ: usize = THRESHOLD;
