//! Building a site step by step, and breaking and mending it.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;

use cryptonode::client::ClusterDescriptor;
use serde_json::Value;

use super::{Layout, Process, Program, SiteError, Tool};

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

/// One crypto node of a site.
#[derive(Debug)]
pub struct Node {
    /// Its name, `node-1` and so on.
    pub name: String,
    /// Where it serves.
    pub address: SocketAddr,
    /// Its folder.
    pub folder: PathBuf,
    process: Option<Process>,
}

impl Node {
    /// Whether its process runs, as far as we started and did not end it.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }
}

/// A site and its processes. Dropping it kills them; [`Site::stop`] stops them in order.
#[derive(Debug)]
pub struct Site {
    layout: Layout,
    program: Program,
    plan: SitePlan,
    nodes: Vec<Node>,
    platform: Option<Process>,
    url: String,
    platform_log: Option<Value>,
    fronts: Vec<SocketAddr>,
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
        }
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
            "--approvals".to_owned(),
            self.plan.approvals.to_string(),
        ];
        for name in self.plan.organisation_names() {
            arguments.push("--organisation".to_owned());
            arguments.push(name);
        }
        self.platform_log = Some(self.program.run(Tool::Coordinator, &arguments).await?);
        Ok(())
    }

    /// Makes the nodes' folders and identities, introduces them to each other, and gives them the approval policy.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub async fn init_nodes(&mut self) -> Result<(), SiteError> {
        let ports = free_udp_ports(self.plan.nodes)?;
        let policy = self.layout.platform().join("policy.toml");
        let mut nodes = Vec::new();
        let mut cards = Vec::new();
        for (number, address) in (1..=self.plan.nodes).zip(ports) {
            let name = format!("node-{number}");
            let folder = self.layout.node(&name);
            let passphrase = self.layout.make_passphrase(&name)?;
            let phrase = self.layout.secrets().join(format!("{name}.phrase"));
            let advertised = self.fronts.get(nodes.len()).copied().unwrap_or(address);
            let init = [
                "init",
                "--dir",
                &text(&folder),
                "--name",
                &name,
                "--listen",
                &address.to_string(),
                "--advertise",
                &advertised.to_string(),
                "--passphrase-file",
                &text(&passphrase),
                "--phrase-out",
                &text(&phrase),
            ];
            self.program.run(Tool::Cryptonode, &init).await?;
            cards.push(
                self.program
                    .run(Tool::Cryptonode, &["card", "--dir", &text(&folder)])
                    .await?
                    .to_string(),
            );
            nodes.push(Node {
                name,
                address,
                folder,
                process: None,
            });
        }
        let leader = cards
            .first()
            .and_then(|card| serde_json::from_str::<Value>(card).ok());
        let leader = leader
            .as_ref()
            .and_then(|card| card.get("identity"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        for node in &nodes {
            let folder = text(&node.folder);
            let mut introduce: Vec<&str> = vec!["member", "add", "--dir", &folder];
            introduce.extend(cards.iter().map(String::as_str));
            self.program.run(Tool::Cryptonode, &introduce).await?;
            self.program
                .run(
                    Tool::Cryptonode,
                    &["policy", "set", "--dir", &folder, &text(&policy)],
                )
                .await?;
            accept_proposals_of(leader, &node.folder.join("config.toml"))?;
        }
        self.nodes = nodes;
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
        let (process, _) = self
            .program
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
        let passphrase = text(&self.layout.passphrase("platform"));
        let arguments = ["run", "--dir", &folder, "--passphrase-file", &passphrase];
        let log = self.layout.log("platform");
        let (process, ready) = self
            .program
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

/// What an operator does with an editor who need not be asked about this member's proposals.
fn accept_proposals_of(identity: &str, config: &std::path::Path) -> Result<(), SiteError> {
    let shown = config.display();
    let text = std::fs::read_to_string(config).map_err(SiteError::io(format!("read {shown}")))?;
    let edited = text.replacen(
        "\naccept_from = []\n",
        &format!("\naccept_from = [\"{identity}\"]\n"),
        1,
    );
    if edited == text {
        return Err(SiteError::Unexpected(format!(
            "{shown} has no empty accept_from"
        )));
    }
    std::fs::write(config, edited).map_err(SiteError::io(format!("write {shown}")))
}

/// Ports on loopback that nobody uses at this moment. They are all held until all are found, so that they differ. None is of the range from which
/// the system serves outgoing sockets: one of those could get the port of a node that is down, and the node could not come back.
fn free_udp_ports(count: u16) -> Result<Vec<SocketAddr>, SiteError> {
    const FIRST: u16 = 10_000;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let below = range
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|below| *below > FIRST)
        .unwrap_or(32_768);
    let mut sockets = Vec::new();
    let mut failure = None;
    // Many more tries than taken ports can use up.
    for _ in 0..1_000 * u32::from(count) {
        if sockets.len() == usize::from(count) {
            break;
        }
        match UdpSocket::bind(("127.0.0.1", rand::random_range(FIRST..below))) {
            Ok(socket) => sockets.push(socket),
            Err(error) => failure = Some(error),
        }
    }
    let found: Result<Vec<SocketAddr>, _> = sockets.iter().map(UdpSocket::local_addr).collect();
    match (found, failure) {
        (Ok(found), _) if found.len() == usize::from(count) => Ok(found),
        (Err(error), _) | (Ok(_), Some(error)) => {
            Err(SiteError::io("find free ports on 127.0.0.1")(error))
        }
        (Ok(_), None) => Err(SiteError::Unexpected(
            "no free ports on 127.0.0.1".to_owned(),
        )),
    }
}

fn text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}
