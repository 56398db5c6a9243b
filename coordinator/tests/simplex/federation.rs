//! Organisations with a peer process each, on loopback.

use certs::note::NoteKey;
use coordinator::folder::Folder;
use coordinator::master_key::{Passphrase, SealedMasterKey};
use coordinator::organisations;
use coordinator::peer::{
    PeerProcessError, ask::AskedPeer, run::read_token, settings::PeerSettings, setup,
};
use coordinator::platform::now_ms;
use coordinator::record::head::SignedHead;
use coordinator::record::wire::{PeerStatusView, Submitted};
use coordinator::record::{
    Author, Genesis, Identifier, SignedTransaction, TenantRegister, Transaction,
    UnsignedTransaction,
};
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testkit::ports;

const PASSPHRASE: &str = "a passphrase for tests, seen nowhere else";
const BINARY: &str = env!("CARGO_BIN_EXE_coordinator");
pub(crate) const NAMES: [&str; 7] = ["alder", "birch", "cedar", "dogwood", "elm", "fir", "ginkgo"];
/// In the dev profile, on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) fn id(name: &str) -> Identifier {
    name.parse().unwrap()
}

/// The line by which a process says that it serves; as it is if it says something else.
fn ready(child: &mut Child) -> Result<Value, String> {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    serde_json::from_str(&line).map_err(|_| line)
}

/// The URL in that line.
pub(crate) fn served_at(child: &mut Child) -> Result<String, String> {
    Ok(ready(child)?["url"].as_str().unwrap().to_owned())
}

pub(crate) struct Federation {
    pub(crate) base: tempfile::TempDir,
    pub(crate) peers: Vec<PeerProcess>,
    pub(crate) genesis: Genesis,
}

pub(crate) struct PeerProcess {
    pub(crate) name: Identifier,
    pub(crate) dir: PathBuf,
    child: Option<Child>,
    pub(crate) url: String,
    pub(crate) url_tls: String,
    operator: SigningKey,
    head: NoteKey,
    token: zeroize::Zeroizing<String>,
}

/// So many addresses that nobody else has while this program runs.
fn free_addresses(number: usize) -> Vec<SocketAddr> {
    (0..number).map(|_| ports::tcp().unwrap()).collect()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).arg("--json").stdin(Stdio::null());
    command
}

pub(crate) fn success(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Federation {
    /// Founded, with keys and addresses; no peer runs.
    pub(crate) fn found(number: usize) -> Self {
        Self::found_with(number, 512)
    }

    /// The same, with epochs of so many batches.
    pub(crate) fn found_with(number: usize, epoch_batches: u32) -> Self {
        let base = tempfile::tempdir().unwrap();
        let passphrase = base.path().join("passphrase");
        std::fs::write(&passphrase, format!("{PASSPHRASE}\n")).unwrap();
        let exchange = base.path().join("exchange");
        let majority = (number / 2 + 1).to_string();
        let mut found = command(&["peer", "found", "--approvals", &majority]);
        found.args(["--epoch-batches", &epoch_batches.to_string()]);
        found.arg("--out").arg(&exchange);
        let mut dirs = Vec::new();
        for (name, addresses) in NAMES.iter().zip(free_addresses(3 * number).chunks(3)) {
            let dir = init(base.path(), name, name, addresses);
            found.arg(dir.join("organisation.json"));
            dirs.push((id(name), dir));
        }
        success(&mut found);
        let peers = dirs
            .into_iter()
            .map(|(name, dir)| join(base.path(), name, dir, &[]))
            .collect();
        let genesis = setup::read_genesis(&exchange.join("genesis.cbor")).unwrap();
        Self {
            base,
            peers,
            genesis,
        }
    }

    /// A newcomer's peer, which has joined and does not run; its place among the peers. Nobody has admitted it yet.
    pub(crate) fn newcomer(&mut self) -> usize {
        let name = NAMES[self.peers.len()];
        let dir = init(self.base.path(), name, name, &free_addresses(3));
        let peer = join(self.base.path(), id(name), dir, &["--newcomer"]);
        self.peers.push(peer);
        self.peers.len() - 1
    }

    /// The same for a newcomer that is told by this peer who takes part now.
    pub(crate) fn newcomer_helped_by(&mut self, helper: usize) -> usize {
        let name = NAMES[self.peers.len()];
        let file = self.base.path().join("members-now.json");
        let mut members = command(&["peer", "members", "--url", &self.peers[helper].url]);
        members.arg("--dir").arg(&self.peers[helper].dir);
        success(members.arg("--out").arg(&file));
        let dir = init(self.base.path(), name, name, &free_addresses(3));
        let helped = ["--newcomer", "--members", file.to_str().unwrap()];
        let peer = join(self.base.path(), id(name), dir, &helped);
        self.peers.push(peer);
        self.peers.len() - 1
    }

    /// A peer with new keys for the organisation of another; its place among the peers.
    pub(crate) fn successor(&mut self, of: usize) -> usize {
        let name = self.peers[of].name.clone();
        let folder = format!("{name}-new");
        let dir = init(self.base.path(), &folder, name.as_str(), &free_addresses(3));
        let peer = join(self.base.path(), name, dir, &["--newcomer"]);
        self.peers.push(peer);
        self.peers.len() - 1
    }

    /// A second peer with a peer's keys, elsewhere; its place among the peers, and where it listens.
    pub(crate) fn twin(&mut self, of: usize) -> (usize, SocketAddr) {
        let one = &self.peers[of];
        let dir = self.base.path().join(format!("{}-again", one.name));
        copy(&one.dir, &dir);
        let addresses = free_addresses(3);
        let folder = Folder::open_peer(&dir).unwrap();
        let mut settings = PeerSettings::read(&folder).unwrap();
        settings.listen = addresses[0];
        settings.api = addresses[1];
        settings.api_tls = Some(addresses[2]);
        settings.write(&folder).unwrap();
        let twin = PeerProcess {
            name: one.name.clone(),
            dir,
            child: None,
            url: String::new(),
            url_tls: String::new(),
            operator: one.operator.clone(),
            head: one.head.clone(),
            token: one.token.clone(),
        };
        self.peers.push(twin);
        (self.peers.len() - 1, addresses[0])
    }

    /// Has these organisations endorse a change, with the operator's command.
    pub(crate) fn endorse(&self, by: &[usize], change: &[&str]) {
        for peer in by {
            let process = &self.peers[*peer];
            let mut endorse = command(&["peer", "endorse"]);
            endorse.args(change).args(["--url", &process.url]);
            endorse.arg("--dir").arg(&process.dir);
            endorse.arg("--passphrase-file");
            success(endorse.arg(self.base.path().join("passphrase")));
        }
    }

    /// Waits until what a peer says of itself is so.
    pub(crate) async fn until(
        &self,
        peer: usize,
        holds: impl Fn(&PeerStatusView) -> bool,
    ) -> PeerStatusView {
        let started = Instant::now();
        loop {
            let status = self.status(peer).await;
            if holds(&status) {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "{status:?}; {}", self.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The same, and all run.
    pub(crate) fn start(number: usize) -> Self {
        let mut federation = Self::found(number);
        for peer in 0..number {
            federation.run(peer);
        }
        federation
    }

    pub(crate) fn log_file(&self, peer: usize) -> PathBuf {
        self.base.path().join(format!(
            "{}.log",
            self.peers[peer].dir.file_name().unwrap().display()
        ))
    }

    /// Everything that the peers said, for a test that failed.
    pub(crate) fn logs(&self) -> String {
        let log = |peer| std::fs::read_to_string(self.log_file(peer)).unwrap_or_default();
        (0..self.peers.len())
            .map(|peer| format!("--- {}\n{}", self.peers[peer].name, log(peer)))
            .collect()
    }

    /// Starts a peer's process and waits until it says that it serves.
    pub(crate) fn run(&mut self, peer: usize) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file(peer))
            .unwrap();
        let process = &mut self.peers[peer];
        let mut run = command(&["peer", "run", "--exit-with-stdin"]);
        run.arg("--dir").arg(&process.dir);
        run.arg("--passphrase-file")
            .arg(self.base.path().join("passphrase"));
        if let Ok(level) = std::env::var("SIMPLEX_TEST_LOG") {
            run.env("COORDINATOR_LOG", level);
        }
        let mut child = run
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let ready = ready(&mut child);
        process.child = Some(child);
        let ready = ready.unwrap_or_else(|line| panic!("no ready line: {line:?}; {}", self.logs()));
        let url = |name: &str| ready[name].as_str().unwrap().to_owned();
        (self.peers[peer].url, self.peers[peer].url_tls) = (url("url"), url("url_tls"));
    }

    /// Waits until a peer has ended of itself, and says with which status.
    pub(crate) fn ended(&mut self, peer: usize) -> Option<i32> {
        let started = Instant::now();
        loop {
            let child = self.peers[peer].child.as_mut().unwrap();
            if let Some(status) = child.try_wait().unwrap() {
                self.peers[peer].child = None;
                return status.code();
            }
            assert!(started.elapsed() < PATIENCE, "{}", self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A command about a peer's folder.
    pub(crate) fn peer_command(&self, peer: usize, arguments: &[&str]) -> Command {
        let mut command = command(&["peer"]);
        command.args(arguments).arg("--dir");
        command.arg(&self.peers[peer].dir);
        command
    }

    /// Ends a peer as a loss of power would.
    pub(crate) fn kill(&mut self, peer: usize) {
        let mut child = self.peers[peer].child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Has a stopped peer vote at its next start, whatever it lost.
    pub(crate) fn vote_anew(&self, peer: usize) {
        let mut anew = command(&["peer", "vote-anew"]);
        success(anew.arg("--dir").arg(&self.peers[peer].dir));
    }

    /// Stops a peer in order.
    pub(crate) fn stop(&mut self, peer: usize) {
        let mut child = self.peers[peer].child.take().unwrap();
        drop(child.stdin.take());
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.logs());
    }

    /// A tenant's registration, signed by the organisation of `peer`.
    pub(crate) fn registration(&self, peer: usize, tenant: &str) -> SignedTransaction {
        let administrator = SigningKey::from_bytes(&rand::random());
        let unsigned = UnsignedTransaction {
            ledger: self.genesis.id(),
            author: Author::Organisation(self.peers[peer].name.clone()),
            nonce: rand::random(),
            expires_ms: now_ms() + 600_000,
            transaction: Transaction::TenantRegister(TenantRegister {
                tenant: id(tenant),
                administrator: id("admin"),
                public_key: administrator.verifying_key().to_bytes(),
            }),
        };
        unsigned.sign(&self.peers[peer].operator)
    }

    pub(crate) fn asked(&self, peer: usize) -> AskedPeer {
        let process = &self.peers[peer];
        AskedPeer::new(process.url.as_str(), process.token.clone()).unwrap()
    }

    /// Submits at a peer and waits for what becomes of it.
    pub(crate) async fn submit(&self, peer: usize, transaction: &SignedTransaction) -> Submitted {
        let begun = Instant::now();
        loop {
            match self.asked(peer).submit(transaction).await {
                Ok(submitted) => return submitted,
                // Not ordered in the time that a submitter waits: the same once more is found if it came out meanwhile.
                Err(PeerProcessError::Refused { code, .. })
                    if code == "record-halted" && begun.elapsed() < PATIENCE => {}
                Err(error) => panic!("{error}; {}", self.logs()),
            }
        }
    }

    pub(crate) async fn status(&self, peer: usize) -> PeerStatusView {
        self.asked(peer).status().await.unwrap()
    }

    /// Waits until these peers have executed as many blocks, and says what their heads say: all the same, each signed by its own organisation.
    pub(crate) async fn agree(&self, peers: &[usize], height: u64) -> String {
        let started = Instant::now();
        for peer in peers {
            while self.status(*peer).await.height < height {
                assert!(started.elapsed() < PATIENCE, "{}", self.logs());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let keys: Vec<_> = peers
            .iter()
            .map(|peer| self.peers[*peer].head.clone())
            .collect();
        let mut notes = Vec::new();
        for peer in peers {
            let note = self.asked(*peer).signed_head().await.unwrap();
            let own = keys
                .iter()
                .filter(|key| key.name() == self.peers[*peer].name.as_str())
                .cloned()
                .collect::<Vec<_>>();
            SignedHead::parse(&note).unwrap().verify(&own, 1).unwrap();
            notes.push(note);
        }
        let merged =
            coordinator::record::head::merge(notes.iter().map(String::as_str), &keys).unwrap();
        let signed = SignedHead::parse(&merged).unwrap();
        assert_eq!(signed.signers(&keys).unwrap().len(), peers.len());
        signed.claimed().to_text().unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    let mut private = std::fs::DirBuilder::new();
    private.mode(0o700).create(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A peer's folder with keys.
fn init(base: &Path, folder: &str, name: &str, addresses: &[SocketAddr]) -> PathBuf {
    let dir = base.join(folder);
    let [listen, api, tls] = [0, 1, 2].map(|it| addresses[it].to_string());
    let mut init = command(&["peer", "init", "--organisation", name]);
    init.args(["--listen", &listen, "--api", &api, "--api-tls", &tls]);
    // One of them signs approvals with the other algorithm.
    init.args((name == "birch").then_some("--approvals-key=p256"));
    init.arg("--dir").arg(&dir);
    success(init.arg("--passphrase-file").arg(base.join("passphrase")));
    dir
}

/// Takes the ledger's beginning into it.
fn join(base: &Path, name: Identifier, dir: PathBuf, how: &[&str]) -> PeerProcess {
    let mut join = command(&["peer", "join"]);
    join.args(how);
    let exchange = base.join("exchange");
    success(join.arg("--dir").arg(&dir).arg("--exchange").arg(exchange));
    let folder = Folder::open_peer(&dir).unwrap();
    let public = std::fs::read_to_string(dir.join("organisation.json")).unwrap();
    let public: Value = serde_json::from_str(&public).unwrap();
    let mut head = [0; 32];
    hex::decode_to_slice(public["head_key"].as_str().unwrap(), &mut head).unwrap();
    let head = VerifyingKey::from_bytes(&head).unwrap();
    PeerProcess {
        token: read_token(&folder).unwrap(),
        operator: signing_key(&folder, &name, "operator"),
        head: NoteKey::new(name.as_str(), head).unwrap(),
        name,
        dir,
        child: None,
        url: String::new(),
        url_tls: String::new(),
    }
}

fn signing_key(folder: &Folder, name: &Identifier, what: &'static str) -> SigningKey {
    let opened = SealedMasterKey::open(&folder.master_key(), &Passphrase::new(PASSPHRASE));
    organisations::signing_key(folder, &opened.unwrap(), name, what).unwrap()
}

impl PeerProcess {
    /// A key of its organisation, for tests in which that one is at fault.
    pub(crate) fn key(&self, what: &'static str) -> SigningKey {
        signing_key(&Folder::open_peer(&self.dir).unwrap(), &self.name, what)
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
