//! The cluster under test: organisations whose keys this process holds, and nodes that are processes of their own.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use certs::{DEFAULT_LIFETIME_S, DEFAULT_TOLERANCE_S, Issuer};
use cryptonode::client::{Client, ClientIdentity, ClientOptions, ClusterDescriptor};
use indicatif::ProgressBar;
use threshold_exchange::site::{Layout, Program, Site, SiteError, SitePlan};

use super::Arguments;
use super::outcome::Failure;
use super::process_time::Usage;

/// How long the organisations' own certificates are valid, in seconds.
const YEAR: u64 = 365 * 86_400;

/// A cluster that serves.
pub(super) struct Running {
    site: Site,
    pub(super) issuers: Vec<Issuer>,
}

impl Running {
    /// Starts the nodes and has them generate a key, as their operators would.
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
        progress.set_message("making the organisations' keys");
        let issuers = issuers(arguments, &plan)?;
        write_policy(layout, &plan, &issuers)?;
        let mut site = Site::new(layout.clone(), program, plan);
        progress.set_message(format!("making {} nodes", plan.nodes));
        site.init_nodes().await?;
        progress.set_message(format!("starting {} nodes", plan.nodes));
        site.start_nodes().await?;
        progress.set_message("generating the key");
        site.generate_key().await?;
        Ok(Self { site, issuers })
    }

    /// A client with warm connections to all nodes.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        let path = self.site.layout().cluster();
        let text =
            fs::read_to_string(&path).map_err(SiteError::io(format!("read {}", path.display())))?;
        let cluster = ClusterDescriptor::from_json(&text)
            .and_then(|descriptor| descriptor.check())
            .map_err(|error| Failure::Client(error.to_string()))?;
        let identity =
            ClientIdentity::generate().map_err(|error| Failure::Client(error.to_string()))?;
        let client = Client::new(cluster, identity, ClientOptions::default())
            .map_err(|error| Failure::Client(error.to_string()))?;
        for (name, connected) in client.connect().await {
            connected.map_err(|error| Failure::Client(format!("{name}: {error}")))?;
        }
        Ok(client)
    }

    /// What each node has used of the processors, in the order of their names.
    pub(super) fn usage(&self) -> Vec<(String, Usage)> {
        self.site
            .nodes()
            .iter()
            .enumerate()
            .map(|(index, node)| {
                let usage = self
                    .site
                    .node_pid(index)
                    .map(Usage::of_process)
                    .unwrap_or_default();
                (node.name.clone(), usage)
            })
            .collect()
    }

    /// Stops every node.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        self.site.stop().await?;
        Ok(())
    }
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
