//! The record on the engine `simplex`: every organisation's peer is a process of its own, made and started with the commands that its operator would type.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use serde_json::Value;

use super::{Layout, Process, Program, SiteError, Tool};

/// What orders the record of a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RecordEngine {
    /// The platform's own process, with all organisations' peers in it
    #[default]
    Solo,
    /// The organisations' peers, each a process of its own, by Byzantine-fault-tolerant consensus
    Simplex,
}

/// The organisations' peer processes.
#[derive(Debug, Default)]
pub(super) struct Peers {
    all: Vec<Peer>,
}

/// An organisation's peer.
#[derive(Debug)]
struct Peer {
    name: String,
    folder: PathBuf,
    process: Option<Process>,
    url: String,
}

impl Peers {
    /// Makes keys for every organisation in a folder of its own, founds a ledger, and starts the peers.
    pub(super) async fn start(
        layout: &Layout,
        program: &Program,
        organisations: &[String],
        approvals: u16,
    ) -> Result<Self, SiteError> {
        let mut found = vec![
            "peer".to_owned(),
            "found".to_owned(),
            "--approvals".to_owned(),
            approvals.to_string(),
            "--out".to_owned(),
            text(&layout.exchange()),
        ];
        let addresses = free_tcp_ports(organisations.len() * 2)?;
        for (name, addresses) in organisations.iter().zip(addresses.chunks(2)) {
            let [listen, api] = addresses else { continue };
            let passphrase = layout.make_passphrase(name)?;
            let folder = layout.peer(name);
            let arguments = [
                "peer",
                "init",
                "--dir",
                &text(&folder),
                "--organisation",
                name,
                "--listen",
                &listen.to_string(),
                "--api",
                &api.to_string(),
                "--passphrase-file",
                &text(&passphrase),
            ];
            program.run(Tool::Coordinator, &arguments).await?;
            found.push(text(&folder.join("organisation.json")));
        }
        program.run(Tool::Coordinator, &found).await?;
        let mut peers = Self::default();
        for name in organisations {
            let (folder, exchange) = (text(&layout.peer(name)), text(&layout.exchange()));
            let join = ["peer", "join", "--dir", &folder, "--exchange", &exchange];
            program.run(Tool::Coordinator, &join).await?;
            peers.all.push(Peer {
                name: name.clone(),
                folder: layout.peer(name),
                process: None,
                url: String::new(),
            });
            peers.restart(layout, program, peers.all.len() - 1).await?;
        }
        Ok(peers)
    }

    /// Starts a peer that does not run, by its place in the order of the organisations.
    pub(super) async fn restart(
        &mut self,
        layout: &Layout,
        program: &Program,
        index: usize,
    ) -> Result<(), SiteError> {
        let Some(peer) = self.all.get_mut(index).filter(|it| it.process.is_none()) else {
            return Ok(());
        };
        let (folder, passphrase) = (text(&peer.folder), text(&layout.passphrase(&peer.name)));
        let run = [
            "peer",
            "run",
            "--dir",
            &folder,
            "--passphrase-file",
            &passphrase,
        ];
        let (process, ready) = program
            .start(&peer.name, Tool::Coordinator, &run, &layout.log(&peer.name))
            .await?;
        let url = ready.get("url").and_then(Value::as_str);
        peer.url = url.unwrap_or_default().to_owned();
        peer.process = Some(process);
        Ok(())
    }

    /// Ends a peer as a loss of power would.
    pub(super) async fn kill(&mut self, index: usize) -> Result<(), SiteError> {
        match self.all.get_mut(index).and_then(|peer| peer.process.take()) {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// What tells `coordinator init` where they are.
    pub(super) fn init_arguments(&self, layout: &Layout) -> Vec<String> {
        let mut arguments = vec!["--exchange".to_owned(), text(&layout.exchange())];
        for Peer {
            name, folder, url, ..
        } in &self.all
        {
            let token = text(&folder.join("token"));
            arguments.extend(["--peer".to_owned(), format!("{name},{url},{token}")]);
        }
        arguments
    }

    /// Has the first organisation register the tenant that the platform's folder was made for.
    pub(super) async fn register(
        &self,
        layout: &Layout,
        program: &Program,
        made: &Value,
    ) -> Result<(), SiteError> {
        let Some(Peer { name, folder, .. }) = self.all.first() else {
            return Ok(());
        };
        let said = |field: &str| made.get(field).and_then(Value::as_str).unwrap_or_default();
        let arguments = [
            "peer",
            "register-tenant",
            said("tenant"),
            "--dir",
            &text(folder),
            "--administrator",
            said("administrator"),
            "--public-key",
            said("administrator_public_key"),
            "--passphrase-file",
            &text(&layout.passphrase(name)),
        ];
        program.run(Tool::Coordinator, &arguments).await?;
        Ok(())
    }

    /// The processes, for those who count them.
    pub(super) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.all.iter().filter_map(|peer| peer.process.as_ref())
    }

    /// The processes, for whoever stops them.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Process> {
        let all = std::mem::take(&mut self.all).into_iter();
        all.filter_map(|peer| peer.process)
    }
}

/// Ports on loopback that nobody uses at this moment. They are all held until all are found, so that they differ.
fn free_tcp_ports(count: usize) -> Result<Vec<SocketAddr>, SiteError> {
    let listeners: Result<Vec<TcpListener>, _> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect();
    listeners
        .and_then(|listeners| listeners.iter().map(TcpListener::local_addr).collect())
        .map_err(SiteError::io("find free ports on 127.0.0.1"))
}

fn text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}
