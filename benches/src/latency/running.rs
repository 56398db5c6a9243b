//! The cluster under test: organisations whose keys this process holds, and nodes that are processes of their own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use certs::{DEFAULT_LIFETIME_S, DEFAULT_TOLERANCE_S, Issuer};
use cryptonode::client::{Client, ClientIdentity, ClientOptions, Cluster, ClusterDescriptor};
use cryptonode::node_files::AUDIT_FOLDER;
use indicatif::ProgressBar;
use tempfile::TempDir;
use testkit::misbehaviour::Misbehaviour;
use testkit::relay::{Network, RelayProcess, Statistics, node};
use threshold_exchange::site::{Layout, Node, Program, Site, SiteError, SitePlan};

use super::Arguments;
use super::arguments::{AuditPlace, Processes};
use super::child::Child;
use super::faults::{self, Faults};
use super::network;
use super::node_settings;
use super::outcome::Failure;
use super::process_time::Usage;
use super::roles;

/// A file system in memory, on any Linux.
const MEMORY: &str = "/dev/shm";

/// How long the organisations' own certificates are valid, in seconds.
const YEAR: u64 = 365 * 86_400;

/// A cluster that serves, and what lies around it.
pub(super) struct Running {
    site: Site,
    pub(super) issuers: Vec<Issuer>,
    options: ClientOptions,
    relay: Option<RelayProcess>,
    pub(super) network: Option<Network>,
    pub(super) faults: Faults,
    faulty: BTreeMap<u16, Child>,
    /// The members' indices by name: they are in the order of their identities, not of their numbers.
    indices: BTreeMap<String, u16>,
    /// All nodes, if they are in one process.
    together: Option<Child>,
    /// Where the audit logs are, if not in the nodes' folders.
    _audit: Option<TempDir>,
}

impl Running {
    /// Starts the nodes and has them generate a key, as their operators would; then the network and the faults begin.
    pub(super) async fn start(
        arguments: &Arguments,
        layout: &Layout,
        progress: &ProgressBar,
    ) -> Result<Self, Failure> {
        let program = match &arguments.program {
            Some(path) => Program::at(path, &arguments.log),
            None => Program::current(&arguments.log)?,
        };
        let plan = SitePlan {
            nodes: arguments.members,
            threshold: arguments.threshold,
            organisations: arguments.approvals,
            approvals: arguments.approvals,
        };
        let faults = faults::place(&arguments.faults, arguments.members)?;
        let network = network::network(arguments)?;
        progress.set_message("making the organisations' keys");
        let issuers = issuers(arguments, &plan)?;
        write_policy(layout, &plan, &issuers)?;
        let relay = match &network {
            Some(_) => Some(network::start(arguments)?),
            None => None,
        };
        let mut site = Site::new(layout.clone(), program, plan);
        if let Some(relay) = &relay {
            site = site.behind(relay.fronts().to_vec());
        }
        progress.set_message(format!("making {} nodes", plan.nodes));
        site.init_nodes().await?;
        node_settings::write(&site, arguments)?;
        let audit = match arguments.audit {
            AuditPlace::Disk => None,
            AuditPlace::Tmpfs => Some(audit_in_memory(&site)?),
        };
        let mut running = Self {
            site,
            issuers,
            options: options(arguments),
            relay,
            network,
            faults,
            faulty: BTreeMap::new(),
            indices: BTreeMap::new(),
            together: None,
            _audit: audit,
        };
        progress.set_message(format!("starting {} nodes", plan.nodes));
        match arguments.processes {
            Processes::Many => running.site.start_nodes().await?,
            Processes::One => running.start_together().await?,
        }
        running.introduce_to_relay()?;
        progress.set_message("generating the key");
        running.site.generate_key().await?;
        running.indices = running
            .cluster()?
            .members()
            .iter()
            .map(|member| (member.name.clone(), member.index))
            .collect();
        progress.set_message("making nodes fail");
        running.begin_faults().await?;
        if let (Some(relay), Some(network)) = (&mut running.relay, &running.network) {
            relay.network(network.clone())?;
            relay.statistics()?;
        }
        Ok(running)
    }

    async fn start_together(&mut self) -> Result<(), Failure> {
        let layout = self.site.layout();
        let nodes = self.site.nodes();
        let words: Vec<OsString> = nodes
            .iter()
            .flat_map(|node| [node.folder.clone(), layout.passphrase(&node.name)])
            .map(Into::into)
            .collect();
        let log = layout.log(roles::NODES);
        self.together = Some(Child::start(roles::NODES, &words, &log, nodes.len()).await?);
        Ok(())
    }

    fn introduce_to_relay(&mut self) -> Result<(), Failure> {
        let Some(relay) = &mut self.relay else {
            return Ok(());
        };
        for (index, node) in self.site.nodes().iter().enumerate() {
            relay.target(&node.name, node.address)?;
            if let Some(pid) = self.site.node_pid(index) {
                relay.process(&node.name, pid)?;
            }
        }
        Ok(())
    }

    /// Ends the nodes that are to be faulty, and puts what misbehaves in their place.
    async fn begin_faults(&mut self) -> Result<(), Failure> {
        for (&number, misbehaviour) in &self.faults {
            let index = usize::from(number) - 1;
            self.site.kill_node(index).await?;
            let Some(node) = self.site.nodes().get(index) else {
                continue;
            };
            if *misbehaviour == Misbehaviour::Crashed {
                continue;
            }
            let layout = self.site.layout();
            let words = [
                node.folder.clone().into(),
                layout.passphrase(&node.name).into(),
                misbehaviour.to_string().into(),
            ];
            let log = layout.log(&format!("{}-{}", node.name, roles::FAULTY_NODE));
            let child = Child::start(roles::FAULTY_NODE, &words, &log, 1).await?;
            self.faulty.insert(number, child);
        }
        Ok(())
    }

    /// The cluster's description, as its operators hand it out.
    fn cluster(&self) -> Result<Cluster, Failure> {
        let path = self.site.layout().cluster();
        let text =
            fs::read_to_string(&path).map_err(SiteError::io(format!("read {}", path.display())))?;
        ClusterDescriptor::from_json(&text)
            .and_then(|descriptor| descriptor.check())
            .map_err(|error| Failure::Client(error.to_string()))
    }

    /// A client that no node has seen before. It connects when it first calls.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let cluster = self.cluster()?;
        let identity =
            ClientIdentity::generate().map_err(|error| Failure::Client(error.to_string()))?;
        Client::new(cluster, identity, self.options.clone())
            .map_err(|error| Failure::Client(error.to_string()))
    }

    /// A client with warm connections to all nodes but the faulty ones, which it may or may not reach.
    pub(super) async fn warm_client(&self) -> Result<Client, Failure> {
        let client = self.client()?;
        let lossy = self.network.is_some();
        let faulty: Vec<String> = self.faults.keys().map(|number| node(*number)).collect();
        for (name, connected) in client.connect().await {
            // On a network that loses datagrams an attempt may fail; the next request makes another.
            if !faulty.contains(&name) && !lossy {
                connected.map_err(|error| Failure::Client(format!("{name}: {error}")))?;
            }
        }
        Ok(client)
    }

    /// The nodes without a fault.
    fn honest_nodes(&self) -> impl Iterator<Item = &Node> {
        (1..)
            .zip(self.site.nodes())
            .filter(|(number, _)| !self.faults.contains_key(number))
            .map(|(_, node)| node)
    }

    /// Their indices in the cluster.
    pub(super) fn honest(&self) -> Vec<u16> {
        self.honest_nodes()
            .filter_map(|node| self.index_of(&node.name))
            .collect()
    }

    /// Their folders.
    pub(super) fn honest_folders(&self) -> Vec<PathBuf> {
        self.honest_nodes()
            .map(|node| node.folder.clone())
            .collect()
    }

    /// A node's index in the cluster.
    pub(super) fn index_of(&self, name: &str) -> Option<u16> {
        self.indices.get(name).copied()
    }

    /// What each node has used of the processors, in the order of their names: nothing if it has no process of its own.
    pub(super) fn usage(&self) -> Vec<(String, Usage)> {
        (1..)
            .zip(self.site.nodes())
            .enumerate()
            .map(|(index, (number, node))| {
                let faulty = self.faulty.get(&number).and_then(Child::pid);
                let usage = self.site.node_pid(index).or(faulty);
                (
                    node.name.clone(),
                    usage.map(Usage::of_process).unwrap_or_default(),
                )
            })
            .collect()
    }

    /// What the one process of all nodes has used, if there is one.
    pub(super) fn usage_together(&self) -> Option<Usage> {
        let pid = self.together.as_ref()?.pid()?;
        Some(Usage::of_process(pid))
    }

    /// What the relay has used, if there is one.
    pub(super) fn usage_of_relay(&self) -> Option<Usage> {
        Some(Usage::of_process(self.relay.as_ref()?.pid()))
    }

    /// What the relay did since this was last asked.
    pub(super) fn relay_statistics(&mut self) -> Result<Option<Statistics>, Failure> {
        match &mut self.relay {
            Some(relay) => Ok(Some(relay.statistics()?)),
            None => Ok(None),
        }
    }

    /// Stops every process.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        for (_, child) in std::mem::take(&mut self.faulty) {
            child.stop().await;
        }
        if let Some(child) = self.together.take() {
            child.stop().await;
        }
        self.site.stop().await?;
        Ok(())
    }
}

fn options(arguments: &Arguments) -> ClientOptions {
    let options = ClientOptions::default();
    ClientOptions {
        hedge_after: if arguments.no_hedging {
            options.deadline
        } else {
            Duration::from_millis(arguments.hedge_after.into())
        },
        ..options
    }
}

/// Moves the audit logs of nodes that have not started yet into memory.
fn audit_in_memory(site: &Site) -> Result<TempDir, Failure> {
    let io = |what: &str| SiteError::io(format!("{what} in {MEMORY}"));
    let folder = tempfile::Builder::new()
        .prefix("threshold-exchange-audit-")
        .tempdir_in(MEMORY)
        .map_err(io("make a folder"))?;
    for node in site.nodes() {
        let log = folder.path().join(&node.name);
        fs::create_dir(&log).map_err(io("make a folder"))?;
        let link = node.folder.join(AUDIT_FOLDER);
        std::os::unix::fs::symlink(&log, &link)
            .map_err(SiteError::io(format!("link {}", link.display())))?;
    }
    Ok(folder)
}

/// The system's clock, in seconds since the Unix epoch.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn issuers(arguments: &Arguments, plan: &SitePlan) -> Result<Vec<Issuer>, Failure> {
    let algorithm = arguments.algorithm.into();
    plan.organisation_names()
        .iter()
        .map(|name| Ok(Issuer::generate(name, algorithm, now() - 60, now() + YEAR)?))
        .collect()
}

/// The policy file that the operators get: all organisations must approve.
fn write_policy(layout: &Layout, plan: &SitePlan, issuers: &[Issuer]) -> Result<(), SiteError> {
    let mut policy = format!(
        "approvals_needed = {}\nmax_lifetime_s = {DEFAULT_LIFETIME_S}\ntolerance_s = {DEFAULT_TOLERANCE_S}\n",
        plan.approvals
    );
    for (name, issuer) in plan.organisation_names().iter().zip(issuers) {
        policy.push_str(&format!(
            "\n[[organisations]]\nname = \"{name}\"\nissuers = ['''\n{}''']\n",
            issuer.certificate_pem()
        ));
    }
    let folder = layout.platform();
    let write = |path: &Path| fs::create_dir_all(&folder).and_then(|()| fs::write(path, policy));
    let path = folder.join("policy.toml");
    write(&path).map_err(SiteError::io(format!("write {}", path.display())))
}
