//! The record on the engine `simplex`: every organisation's peer is a process of its own, made and started with the commands that its operator would type.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde_json::Value;

use super::build::{ended, text};
use super::ports::free_tcp_ports;
use super::{Process, Site, SiteError, Tool};

/// Where the API of a peer answers that has a machine of its own: on that machine's loopback.
const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7730);

/// What orders the record of a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RecordEngine {
    /// The platform's own process, with all organisations' peers in it
    #[default]
    Solo,
    /// The organisations' peers, each a process of its own, by Byzantine-fault-tolerant consensus
    Simplex,
}

/// The peer of an organisation, where it is a process of its own.
#[derive(Debug)]
pub struct OrganisationPeer {
    /// The name of its process: its organisation's, or another one if it came in the place of an earlier peer.
    pub name: String,
    /// Whose it is.
    pub organisation: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Where its API answers, as seen from here.
    pub url: String,
    pub(super) process: Option<Process>,
}

impl OrganisationPeer {
    /// Whether its process runs, as far as we started and did not end it.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// What its organisation tells the others: its keys, the certificate of its approval authority, its address.
    pub fn public_file(&self) -> PathBuf {
        self.folder.join("organisation.json")
    }

    /// The file with what its API wants to be shown.
    pub fn token_file(&self) -> PathBuf {
        self.folder.join("token")
    }
}

impl Site {
    /// Makes every organisation's peer with keys of its own, and has them found a ledger and join it, unless that was done.
    /// None of them runs yet.
    ///
    /// # Errors
    /// As [`Program::run`](super::Program::run).
    pub async fn found_record(&mut self) -> Result<(), SiteError> {
        if !self.peers.is_empty() {
            return Ok(());
        }
        let names = self.plan.organisation_names();
        let addresses = free_tcp_ports(names.len() * 2)?;
        let mut found = vec![
            "peer".to_owned(),
            "found".to_owned(),
            "--approvals".to_owned(),
            self.plan.approvals.to_string(),
            "--out".to_owned(),
            text(&self.layout.exchange()),
        ];
        if usize::from(self.plan.approvals) <= names.len() / 2 {
            found.push("--minority-may-approve".to_owned());
        }
        if let Some(batches) = self.epoch_batches {
            found.extend(["--epoch-batches".to_owned(), batches.to_string()]);
        }
        for (name, addresses) in names.iter().zip(addresses.chunks(2)) {
            let made = self.init_peer(name, name, addresses).await?;
            found.push(text(&made.public_file()));
            self.peers.push(made);
        }
        self.program.run(Tool::Coordinator, &found).await?;
        for peer in &self.peers {
            self.join(peer, false).await?;
        }
        Ok(())
    }

    /// Makes one more peer with new keys, in the name of an organisation that has one, and has it join the ledger as a newcomer. It
    /// takes part in nothing until it is started and the others endorse it. Returns its place in [`Site::peers`].
    ///
    /// # Errors
    /// As [`Program::run`](super::Program::run).
    pub async fn add_peer(&mut self, name: &str, organisation: &str) -> Result<usize, SiteError> {
        let free = free_tcp_ports(2)?;
        let made = self.init_peer(name, organisation, &free).await?;
        self.join(&made, true).await?;
        self.peers.push(made);
        Ok(self.peers.len() - 1)
    }

    /// `free` are its addresses, unless its machine has one.
    async fn init_peer(
        &self,
        name: &str,
        organisation: &str,
        free: &[SocketAddr],
    ) -> Result<OrganisationPeer, SiteError> {
        let [listen, api] = free else {
            return Err(SiteError::Unexpected("too few free ports".to_owned()));
        };
        let machine = self.machines.get(name);
        let own = machine.and_then(|machine| machine.address);
        let (listen, api) = own.map_or((*listen, *api), |own| (own, API));
        let reached_at = machine.and_then(|machine| machine.reached_at);
        let (folder, passphrase) = (self.layout.peer(name), self.layout.make_passphrase(name)?);
        let arguments = [
            "peer",
            "init",
            "--dir",
            &text(&folder),
            "--organisation",
            organisation,
            "--listen",
            &listen.to_string(),
            "--api",
            &api.to_string(),
            "--passphrase-file",
            &text(&passphrase),
        ];
        self.program.run(Tool::Coordinator, &arguments).await?;
        Ok(OrganisationPeer {
            name: name.to_owned(),
            organisation: organisation.to_owned(),
            folder,
            url: format!("http://{}", reached_at.unwrap_or(api)),
            process: None,
        })
    }

    async fn join(&self, peer: &OrganisationPeer, newcomer: bool) -> Result<(), SiteError> {
        let (folder, exchange) = (text(&peer.folder), text(&self.layout.exchange()));
        let mut join = vec!["peer", "join", "--dir", &folder, "--exchange", &exchange];
        join.extend(newcomer.then_some("--newcomer"));
        self.program.run(Tool::Coordinator, &join).await?;
        Ok(())
    }

    /// The organisations' peers that are processes of their own, in the order in which they were made.
    pub fn peers(&self) -> &[OrganisationPeer] {
        &self.peers
    }

    /// Starts every peer that does not run.
    ///
    /// # Errors
    /// As [`Program::start`](super::Program::start).
    pub async fn start_peers(&mut self) -> Result<(), SiteError> {
        for index in 0..self.peers.len() {
            self.start_peer(index).await?;
        }
        Ok(())
    }

    /// Starts one peer, by its place in [`Site::peers`], unless it runs. No such peer: nothing happens.
    ///
    /// # Errors
    /// As [`Program::start`](super::Program::start).
    pub async fn start_peer(&mut self, index: usize) -> Result<(), SiteError> {
        let name = self.peers.get(index).map(|peer| peer.name.as_str());
        let program = self.program_of(name.unwrap_or_default());
        let Some(peer) = self
            .peers
            .get_mut(index)
            .filter(|peer| peer.process.is_none())
        else {
            return Ok(());
        };
        let passphrase = text(&self.layout.passphrase(&peer.name));
        let folder = text(&peer.folder);
        let run = [
            "peer",
            "run",
            "--dir",
            &folder,
            "--passphrase-file",
            &passphrase,
        ];
        let log = self.layout.log(&peer.name);
        let started = program.start(&peer.name, Tool::Coordinator, &run, &log);
        peer.process = Some(started.await?.0);
        Ok(())
    }

    /// Ends one peer as a loss of power would. No such peer: nothing happens.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub async fn kill_peer(&mut self, index: usize) -> Result<(), SiteError> {
        let peer = self.peers.get_mut(index);
        match peer.and_then(|peer| peer.process.take()) {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Whether a peer was started and has ended by itself; it counts as not running from then on.
    pub fn peer_has_ended(&mut self, index: usize) -> bool {
        let peer = self.peers.get_mut(index);
        ended(peer.map(|peer| &mut peer.process))
    }

    /// The process number of a peer that runs.
    pub fn peer_pid(&self, index: usize) -> Option<u32> {
        self.peers.get(index)?.process.as_ref()?.pid()
    }

    /// Has the organisation of a peer that runs endorse a change, such as `["--rekey", FILE]`.
    ///
    /// # Errors
    /// As [`Program::run`](super::Program::run).
    pub async fn endorse(&self, index: usize, change: &[&str]) -> Result<(), SiteError> {
        let Some(peer) = self.peers.get(index) else {
            return Ok(());
        };
        self.as_operator(peer, "endorse", change).await
    }

    /// One of the commands that an organisation's operator signs.
    async fn as_operator(
        &self,
        peer: &OrganisationPeer,
        command: &str,
        arguments: &[&str],
    ) -> Result<(), SiteError> {
        let (folder, passphrase) = (text(&peer.folder), self.layout.passphrase(&peer.name));
        let passphrase = text(&passphrase);
        let mut words = vec!["peer", command, "--dir", &folder, "--url", &peer.url];
        words.extend(["--passphrase-file", &passphrase]);
        words.extend(arguments);
        self.program.run(Tool::Coordinator, &words).await?;
        Ok(())
    }

    /// What tells `coordinator init` where the peers are.
    pub(super) fn where_peers_answer(&self) -> Vec<String> {
        let mut arguments = vec!["--exchange".to_owned(), text(&self.layout.exchange())];
        for peer in &self.peers {
            let token = text(&peer.token_file());
            let place = format!("{},{},{token}", peer.organisation, peer.url);
            arguments.extend(["--peer".to_owned(), place]);
        }
        arguments
    }

    /// Has the first organisation register the tenant that the platform's folder was made for, if its peer is one of these.
    pub(super) async fn register_tenant(&self, made: &Value) -> Result<(), SiteError> {
        let Some(peer) = self.peers.first() else {
            return Ok(());
        };
        let said = |field: &str| made.get(field).and_then(Value::as_str).unwrap_or_default();
        let arguments = [
            "--administrator",
            said("administrator"),
            "--public-key",
            said("administrator_public_key"),
            said("tenant"),
        ];
        self.as_operator(peer, "register-tenant", &arguments).await
    }
}
