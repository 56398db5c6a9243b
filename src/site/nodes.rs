//! The nodes of a site: their folders, their cards, and who knows whom.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;

use super::build::text;
use super::ports::free_udp_ports;
use super::{Process, Site, SiteError, Tool};

/// One crypto node of a site.
#[derive(Debug)]
pub struct Node {
    /// Its name, `node-1` and so on.
    pub name: String,
    /// Where it serves.
    pub address: SocketAddr,
    /// Its folder.
    pub folder: PathBuf,
    pub(super) process: Option<Process>,
}

impl Node {
    /// Whether its process runs, as far as we started and did not end it.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }
}

impl Site {
    /// Makes the nodes' folders and identities, introduces them to each other, and gives them the approval policy.
    ///
    /// # Errors
    /// As [`Program::run`](super::Program::run).
    pub async fn init_nodes(&mut self) -> Result<(), SiteError> {
        let ports = free_udp_ports(self.plan.nodes.into())?;
        let mut cards = Vec::new();
        for (number, free) in (1..=self.plan.nodes).zip(ports) {
            cards.push(self.init_node(&format!("node-{number}"), free).await?);
        }
        let leader = identity_of(cards.first());
        for node in &self.nodes {
            self.introduce(node, &cards).await?;
            self.set_policy(node).await?;
            accept_proposals_of(&leader, &node.folder.join("config.toml"))?;
        }
        Ok(())
    }

    /// Makes one more node, by the next name, and introduces it and the others to each other. It takes part in nothing until
    /// it is started and a ceremony names it. Returns its place in [`Site::nodes`].
    ///
    /// # Errors
    /// As [`Program::run`](super::Program::run).
    pub async fn add_node(&mut self) -> Result<usize, SiteError> {
        let index = self.nodes.len();
        let free = free_udp_ports(1)?
            .pop()
            .ok_or_else(|| SiteError::Unexpected("no free port".to_owned()))?;
        let own = self.init_node(&format!("node-{}", index + 1), free).await?;
        let mut cards = Vec::new();
        for node in self.nodes.get(..index).unwrap_or_default() {
            self.introduce(node, std::slice::from_ref(&own)).await?;
            cards.push(self.card(node).await?);
        }
        let leader = identity_of(cards.first());
        if let Some(node) = self.nodes.get(index) {
            self.introduce(node, &cards).await?;
            self.set_policy(node).await?;
            accept_proposals_of(&leader, &node.folder.join("config.toml"))?;
        }
        Ok(index)
    }

    /// Makes a node's folder and identity, and returns its card. `free` is its address, unless its machine has one.
    async fn init_node(&mut self, name: &str, free: SocketAddr) -> Result<String, SiteError> {
        let machine = self.machines.get(name);
        let address = machine.and_then(|machine| machine.address).unwrap_or(free);
        let advertised = self.fronts.get(self.nodes.len()).copied();
        let folder = self.layout.node(name);
        let passphrase = self.layout.make_passphrase(name)?;
        let phrase = self.layout.secrets().join(format!("{name}.phrase"));
        let init = [
            "init",
            "--dir",
            &text(&folder),
            "--name",
            name,
            "--listen",
            &address.to_string(),
            "--advertise",
            &advertised.unwrap_or(address).to_string(),
            "--passphrase-file",
            &text(&passphrase),
            "--phrase-out",
            &text(&phrase),
        ];
        self.program.run(Tool::Cryptonode, &init).await?;
        let node = Node {
            name: name.to_owned(),
            address,
            folder,
            process: None,
        };
        let card = self.card(&node).await?;
        self.nodes.push(node);
        Ok(card)
    }

    async fn card(&self, node: &Node) -> Result<String, SiteError> {
        let arguments = ["card", "--dir", &text(&node.folder)];
        let card = self.program.run(Tool::Cryptonode, &arguments).await?;
        Ok(card.to_string())
    }

    /// Gives a node these members' cards.
    async fn introduce(&self, node: &Node, cards: &[String]) -> Result<(), SiteError> {
        let folder = text(&node.folder);
        let mut introduce: Vec<&str> = vec!["member", "add", "--dir", &folder];
        introduce.extend(cards.iter().map(String::as_str));
        self.program.run(Tool::Cryptonode, &introduce).await?;
        Ok(())
    }

    async fn set_policy(&self, node: &Node) -> Result<(), SiteError> {
        let policy = text(&self.layout.platform().join("policy.toml"));
        let arguments = ["policy", "set", "--dir", &text(&node.folder), &policy];
        self.program.run(Tool::Cryptonode, &arguments).await?;
        Ok(())
    }
}

/// The identity on a card.
fn identity_of(card: Option<&String>) -> String {
    let card = card.and_then(|card| serde_json::from_str::<Value>(card).ok());
    let identity = card.as_ref().and_then(|card| card.get("identity"));
    identity
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
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
