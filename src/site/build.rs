//! Building a site step by step, and breaking and mending it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use cryptonode::client::ClusterDescriptor;
use serde_json::Value;

use super::peers::{OrganisationPeer, RecordEngine};
use super::{Layout, Machine, Node, Process, Program, SiteError, Tool};

/// What a site consists of.
#[derive(Clone, Copy, Debug)]
pub struct SitePlan {
    /// Crypto nodes, n.
    pub nodes: u16,
    /// How many of them re-encrypt together, t.
    pub threshold: u16,
    /// Organisations that run the golden record.
    pub organisations: u16,
    /// How many of them must approve a read, m.
    pub approvals: u16,
}

impl Default for SitePlan {
    fn default() -> Self {
        Self {
            nodes: 5,
            threshold: 3,
            organisations: 4,
            approvals: 3,
        }
    }
}

impl SitePlan {
    /// The organisations' names.
    pub fn organisation_names(&self) -> Vec<String> {
        const NAMES: [&str; 8] = [
            "alder", "birch", "cedar", "dogwood", "elm", "fir", "gorse", "hazel",
        ];
        (0..usize::from(self.organisations))
            .map(|i| {
                NAMES.get(i).map_or_else(
                    || format!("organisation-{}", i + 1),
                    |name| (*name).to_owned(),
                )
            })
            .collect()
    }
}

/// A site and its processes. Dropping it kills them; [`Site::stop`] stops them in order.
#[derive(Debug)]
pub struct Site {
    pub(super) layout: Layout,
    pub(super) program: Program,
    pub(super) plan: SitePlan,
    pub(super) nodes: Vec<Node>,
    platform: Option<Process>,
    url: String,
    platform_log: Option<Value>,
    pub(super) fronts: Vec<SocketAddr>,
    pub(super) machines: BTreeMap<String, Machine>,
    pub(super) engine: RecordEngine,
    pub(super) epoch_batches: Option<u32>,
    pub(super) peers: Vec<OrganisationPeer>,
}

impl Site {
    /// A site in its folder, with nothing running yet.
    pub fn new(layout: Layout, program: Program, plan: SitePlan) -> Self {
        Self {
            layout,
            program,
            plan,
            nodes: Vec::new(),
            platform: None,
            url: String::new(),
            platform_log: None,
            fronts: Vec::new(),
            machines: BTreeMap::new(),
            engine: RecordEngine::default(),
            epoch_batches: None,
            peers: Vec::new(),
        }
    }

    /// Starts processes on machines of their own, by the processes' names (`node-1`, …, `platform`); all others here.
    #[must_use]
    pub fn on(mut self, machines: BTreeMap<String, Machine>) -> Self {
        self.machines = machines;
        self
    }

    pub(super) fn program_of(&self, process: &str) -> Program {
        match self.machines.get(process) {
            Some(machine) => self.program.on(machine),
            None => self.program.clone(),
        }
    }

    /// Has the record ordered by another engine.
    #[must_use]
    pub fn ordered_by(mut self, engine: RecordEngine) -> Self {
        self.engine = engine;
        self
    }

    /// Has the order of a ledger of peers change its members after so many batches.
    #[must_use]
    pub fn with_epochs_of(mut self, batches: u32) -> Self {
        self.epoch_batches = Some(batches);
        self
    }

    /// Puts these addresses on the nodes' cards instead of their own, in the order of their names: something in front of
    /// each node, that passes on what comes.
    #[must_use]
    pub fn behind(mut self, fronts: Vec<SocketAddr>) -> Self {
        self.fronts = fronts;
        self
    }

    /// Where its files are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The executable behind it.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// What it consists of.
    pub fn plan(&self) -> &SitePlan {
        &self.plan
    }

    /// Its nodes, in the order of their names.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Where the platform answers, once it runs.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What `coordinator init` said of the files it made.
    pub fn platform_files(&self) -> Option<&Value> {
        self.platform_log.as_ref()
    }

    /// Makes the organisations' keys, their approval CAs, the genesis of the record, and the nodes' approval policy.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub async fn init_platform(&mut self) -> Result<(), SiteError> {
        let passphrase = self.layout.make_passphrase("platform")?;
        let mut arguments = vec![
            "init".to_owned(),
            "--dir".to_owned(),
            text(&self.layout.platform()),
            "--passphrase-file".to_owned(),
            text(&passphrase),
            "--listen".to_owned(),
            "127.0.0.1:0".to_owned(),
        ];
        let (names, approvals) = (self.plan.organisation_names(), self.plan.approvals);
        if self.engine == RecordEngine::Simplex {
            self.found_record().await?;
            self.start_peers().await?;
            arguments.extend(self.where_peers_answer());
        } else {
            arguments.extend(["--approvals".to_owned(), approvals.to_string()]);
            for name in names {
                arguments.extend(["--organisation".to_owned(), name]);
            }
        }
        let made = self.program.run(Tool::Coordinator, &arguments).await?;
        self.register_tenant(&made).await?;
        self.platform_log = Some(made);
        Ok(())
    }

    /// Starts every node that does not run.
    ///
    /// # Errors
    /// As [`Program::start`].
    pub async fn start_nodes(&mut self) -> Result<(), SiteError> {
        for index in 0..self.nodes.len() {
            self.start_node(index).await?;
        }
        Ok(())
    }

    /// Starts one node, by its place in [`Site::nodes`], unless it runs. No such node: nothing happens.
    ///
    /// # Errors
    /// As [`Program::start`].
    pub async fn start_node(&mut self, index: usize) -> Result<(), SiteError> {
        let name = self.nodes.get(index).map(|node| node.name.as_str());
        let program = self.program_of(name.unwrap_or_default());
        let Some(node) = self
            .nodes
            .get_mut(index)
            .filter(|node| node.process.is_none())
        else {
            return Ok(());
        };
        let passphrase = self.layout.passphrase(&node.name);
        let arguments = [
            "run",
            "--dir",
            &text(&node.folder),
            "--passphrase-file",
            &text(&passphrase),
        ];
        let log = self.layout.log(&node.name);
        let (process, _) = program
            .start(&node.name, Tool::Cryptonode, &arguments, &log)
            .await?;
        node.process = Some(process);
        Ok(())
    }

    /// Ends one node as a loss of power would. No such node: nothing happens.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub async fn kill_node(&mut self, index: usize) -> Result<(), SiteError> {
        match self
            .nodes
            .get_mut(index)
            .and_then(|node| node.process.take())
        {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Whether a node was started and has ended by itself; it counts as not running from then on.
    pub fn node_has_ended(&mut self, index: usize) -> bool {
        let node = self.nodes.get_mut(index);
        ended(node.map(|node| &mut node.process))
    }

    /// The same for the platform.
    pub fn platform_has_ended(&mut self) -> bool {
        ended(Some(&mut self.platform))
    }

    /// The process number of the platform, if it runs.
    pub fn platform_pid(&self) -> Option<u32> {
        self.platform.as_ref()?.pid()
    }

    /// The process number of a node that runs.
    pub fn node_pid(&self, index: usize) -> Option<u32> {
        self.nodes.get(index)?.process.as_ref()?.pid()
    }

    /// Has the first node lead the key generation, waits until all have activated their shares, and exports the cluster's
    /// description. Returns what `cryptonode ceremony propose --wait` said.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub async fn generate_key(&mut self) -> Result<Value, SiteError> {
        self.generate_key_with(&[]).await
    }

    /// [`Site::generate_key`] with more options of `cryptonode ceremony propose`.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub async fn generate_key_with(&mut self, options: &[&str]) -> Result<Value, SiteError> {
        let folder = self
            .nodes
            .first()
            .map(|node| text(&node.folder))
            .unwrap_or_default();
        let threshold = self.plan.threshold.to_string();
        let mut propose = vec![
            "ceremony",
            "propose",
            "--dir",
            &folder,
            "--threshold",
            &threshold,
            "--wait",
        ];
        propose.extend(options);
        let result = self.program.run(Tool::Cryptonode, &propose).await?;
        let export = [
            "key",
            "export",
            "--dir",
            &folder,
            "--out",
            &text(&self.layout.cluster()),
        ];
        self.program.run(Tool::Cryptonode, &export).await?;
        Ok(result)
    }

    /// Has the first node lead the handing on of the key, to the members that it has or to those named, and waits until all of them have
    /// activated their new shares. The threshold stays; with `few` it may be over half of the members. Returns what `cryptonode ceremony propose --wait` said.
    ///
    /// # Errors
    /// As [`Program::run`], and if there is no key yet.
    pub async fn hand_key_on(
        &mut self,
        to: Option<&[String]>,
        few: bool,
    ) -> Result<Value, SiteError> {
        let folder = self
            .nodes
            .first()
            .map(|node| text(&node.folder))
            .unwrap_or_default();
        let key = hex::encode(self.public_key()?);
        let mut propose = vec![
            "ceremony".to_owned(),
            "propose".to_owned(),
            "--dir".to_owned(),
            folder,
            "--reshare".to_owned(),
            key,
            "--wait".to_owned(),
        ];
        if let Some(names) = to {
            propose.extend(["--members".to_owned(), names.join(",")]);
        }
        if few {
            propose.push("--allow-few-members".to_owned());
        }
        self.program.run(Tool::Cryptonode, &propose).await
    }

    /// Tells the platform of the cluster and starts it, with the golden record's peers in it.
    ///
    /// # Errors
    /// As [`Program::run`] and [`Program::start`].
    pub async fn start_platform(&mut self) -> Result<(), SiteError> {
        let folder = text(&self.layout.platform());
        let cluster = text(&self.layout.cluster());
        self.program
            .run(
                Tool::Coordinator,
                &["cluster", "add", "--dir", &folder, &cluster],
            )
            .await?;
        self.restart_platform().await
    }

    /// Starts the platform, which knows its cluster already, unless it runs: at the address that it had, if it ran before.
    ///
    /// # Errors
    /// As [`Program::start`].
    pub async fn restart_platform(&mut self) -> Result<(), SiteError> {
        if self.platform.is_some() {
            return Ok(());
        }
        let folder = text(&self.layout.platform());
        let passphrase = text(&self.layout.passphrase("platform"));
        let mut arguments = vec!["run", "--dir", &folder, "--passphrase-file", &passphrase];
        if let Some(address) = self.url.strip_prefix("http://") {
            arguments.extend(["--listen", address]);
        }
        let log = self.layout.log("platform");
        let (process, ready) = self
            .program_of("platform")
            .start("platform", Tool::Coordinator, &arguments, &log)
            .await?;
        self.platform = Some(process);
        self.url = ready
            .get("url")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        Ok(())
    }

    /// The cluster's public key Y, from its exported description.
    ///
    /// # Errors
    /// [`SiteError::Io`] or [`SiteError::Unexpected`] if the description is not there or does not hold together.
    pub fn public_key(&self) -> Result<[u8; 32], SiteError> {
        let path = self.layout.cluster();
        let text = std::fs::read_to_string(&path)
            .map_err(SiteError::io(format!("read {}", path.display())))?;
        let cluster = ClusterDescriptor::from_json(&text)
            .and_then(|descriptor| descriptor.check())
            .map_err(|error| SiteError::Unexpected(format!("{}: {error}", path.display())))?;
        Ok(*cluster.package().public_key().as_bytes())
    }

    /// The process numbers of all that runs.
    pub fn pids(&self) -> Vec<u32> {
        let nodes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        self.platform
            .iter()
            .chain(self.peers.iter().filter_map(|peer| peer.process.as_ref()))
            .chain(nodes)
            .filter_map(Process::pid)
            .collect()
    }

    /// Kills the platform as a loss of power would.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub async fn kill_platform(&mut self) -> Result<(), SiteError> {
        match self.platform.take() {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Stops everything in order, the platform first, so that nothing that was accepted is cut off. Returns the names of
    /// those that had to be killed because they did not stop.
    ///
    /// # Errors
    /// As [`Process::stop`]; the others are stopped all the same.
    pub async fn stop(&mut self) -> Result<Vec<String>, SiteError> {
        let mut killed = Vec::new();
        let mut first_error = None;
        let processes = self
            .platform
            .take()
            .into_iter()
            .chain(self.peers.iter_mut().filter_map(|it| it.process.take()))
            .chain(self.nodes.iter_mut().filter_map(|n| n.process.take()));
        for process in processes.collect::<Vec<_>>() {
            let name = process.name().to_owned();
            match process.stop().await {
                Ok(Some(_)) => {}
                Ok(None) => killed.push(name),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(killed), Err)
    }
}

/// Whether a process was there and has ended. Then it is taken away.
pub(super) fn ended(process: Option<&mut Option<Process>>) -> bool {
    let Some(process) = process else { return false };
    let ended = process.as_mut().is_some_and(Process::has_ended);
    if ended {
        *process = None;
    }
    ended
}

pub(super) fn text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}
