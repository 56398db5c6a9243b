//! A platform over organisations' peers elsewhere: it follows what a quorum signs, and goes on when one of them fails.

use super::federation::{Federation, id, served_at, success};
use super::liar::Liar;
use coordinator::record::wire::Submitted;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_coordinator");

pub(crate) struct Platform {
    pub(crate) dir: PathBuf,
    child: Child,
    pub(crate) url: String,
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Platform {
    /// Made for the federation's record, with its tenant registered at the first peer; it runs.
    pub(crate) fn start(federation: &Federation) -> Self {
        let urls: Vec<_> = federation.peers.iter().map(|it| it.url.clone()).collect();
        Self::start_at(federation, &urls)
    }

    /// The same, with the peers' APIs elsewhere than where they are.
    pub(crate) fn start_at(federation: &Federation, urls: &[String]) -> Self {
        let dir = federation.base.path().join("platform");
        let mut init = Command::new(BINARY);
        init.args(["--json", "init", "--listen", "127.0.0.1:0", "--dir"])
            .arg(&dir)
            .arg("--exchange")
            .arg(federation.base.path().join("exchange"))
            .arg("--passphrase-file")
            .arg(federation.base.path().join("passphrase"));
        for (peer, url) in federation.peers.iter().zip(urls) {
            // Over TLS no token is shown.
            let token = match url.starts_with("https://") {
                true => String::new(),
                false => format!(",{}", peer.dir.join("token").display()),
            };
            init.arg("--peer")
                .arg(format!("{},{url}{token}", peer.name));
        }
        let made = success(&mut init);
        let majority = federation.genesis.organisations.len() / 2 + 1;
        assert_eq!(made["approvals_needed"], majority);
        let mut register = Command::new(BINARY);
        register
            .args(["--json", "peer", "register-tenant"])
            .arg(made["tenant"].as_str().unwrap())
            .args(["--administrator", made["administrator"].as_str().unwrap()])
            .args([
                "--public-key",
                made["administrator_public_key"].as_str().unwrap(),
            ])
            .args(["--url", &federation.peers[0].url, "--dir"])
            .arg(&federation.peers[0].dir)
            .arg("--passphrase-file")
            .arg(federation.base.path().join("passphrase"));
        let registered: Submitted = serde_json::from_value(success(&mut register)).unwrap();
        assert!(matches!(registered, Submitted::Recorded { .. }));
        let (child, url) = Self::run(federation, &dir);
        Self { dir, child, url }
    }

    /// Stops it in order.
    pub(crate) fn stop(&mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }

    /// Ends it as a loss of power would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, with what is in its folder now.
    pub(crate) fn start_again(&mut self, federation: &Federation) {
        (self.child, self.url) = Self::run(federation, &self.dir);
    }

    /// The command that runs it.
    pub(crate) fn run_command(&self, federation: &Federation) -> Command {
        run_command(federation, &self.dir)
    }

    fn run(federation: &Federation, dir: &Path) -> (Child, String) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(federation.base.path().join("platform.log"))
            .unwrap();
        let mut child = run_command(federation, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let url = served_at(&mut child).unwrap_or_else(|line| {
            let log = std::fs::read_to_string(federation.base.path().join("platform.log"));
            panic!("no ready line: {line:?}; {log:?} {}", federation.logs())
        });
        (child, url)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .arg("--json")
            .env("COORDINATOR_PROFILE", self.dir.join("client.toml"))
            .stdin(Stdio::null());
        command
    }

    /// Tries again while the platform's copy of the record is not where the peers are, as it says one should.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Value {
        let started = std::time::Instant::now();
        loop {
            let output = self.command(arguments).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() {
                return serde_json::from_slice(&output.stdout).unwrap();
            }
            let behind = said.contains("this copy of the record does not have all yet");
            let waited = started.elapsed() > std::time::Duration::from_secs(90);
            assert!(behind && !waited, "{said}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

fn run_command(federation: &Federation, dir: &Path) -> Command {
    let mut run = Command::new(BINARY);
    run.args(["--json", "run", "--exit-with-stdin", "--dir"])
        .arg(dir)
        .arg("--passphrase-file")
        .arg(federation.base.path().join("passphrase"));
    run
}

#[test]
fn documents_are_written_read_and_audited_with_one_peer_down() {
    let mut federation = Federation::start(4);
    let mut platform = Platform::start(&federation);
    assert!(platform.url.starts_with("http://127.0.0.1:"));
    let base = federation.base.path().to_owned();
    let file = |name: &str| base.join(name);
    let (text, copy) = (file("text"), file("copy"));
    std::fs::write(&text, "what was written").unwrap();
    let (text, copy) = (text.to_str().unwrap(), copy.to_str().unwrap());

    platform.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    platform.cli(&["put", "designs", "bridge", text]);
    platform.cli(&["get", "designs", "bridge", "-o", copy]);
    assert_eq!(std::fs::read(copy).unwrap(), b"what was written");

    // The rules' refusals come from the peers, with their code.
    let again = platform
        .command(&["dataset", "create", "designs", "--encryption", "platform"])
        .output()
        .unwrap();
    assert!(!again.status.success());
    let said = String::from_utf8_lossy(&again.stderr).into_owned()
        + &String::from_utf8_lossy(&again.stdout);
    assert!(said.contains("dataset-exists"), "{said}");

    // The peer that the platform asks first dies: it goes on, and says so.
    federation.kill(0);
    platform.cli(&["put", "designs", "tunnel", text]);
    std::fs::remove_file(copy).unwrap();
    platform.cli(&["get", "designs", "tunnel", "-o", copy]);
    let status = platform.cli(&["status"]);
    let peers = status["peers"].as_array().unwrap();
    let faulty: Vec<_> = peers.iter().filter(|it| !it["fault"].is_null()).collect();
    assert_eq!(faulty.len(), 1, "{status}");
    assert_eq!(faulty[0]["organisation"], id("alder").as_str());

    // The platform ends as by a loss of power and comes back with all that it had.
    platform.child.kill().unwrap();
    platform.child.wait().unwrap();
    platform.start_again(&federation);
    std::fs::remove_file(copy).unwrap();
    platform.cli(&["get", "designs", "bridge", "-o", copy]);

    // The export replays from the genesis, and a quorum signed its head.
    let export = file("record.export");
    let export = export.to_str().unwrap();
    platform.cli(&["audit", "export", "--out", export]);
    let verifiers = platform.dir.join("verifiers.txt");
    let verifiers = verifiers.to_str().unwrap();
    let verified = platform.cli(&["audit", "verify", export, "--keys", verifiers]);
    let signers = verified["signed_by"].as_array().unwrap();
    assert!(signers.len() >= 3, "{verified}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peer_that_lies_about_everything_changes_nothing_and_is_named() {
    let federation = Federation::start(4);
    let mut urls: Vec<_> = federation.peers.iter().map(|it| it.url.clone()).collect();
    // The one that the platform asks first.
    urls[0] = Liar::in_front_of(&federation.peers[0], federation.genesis.origin()).await;
    let platform = tokio::task::spawn_blocking(move || {
        let platform = Platform::start_at(&federation, &urls);
        let text = federation_file(&federation, "text");
        std::fs::write(&text, "what was written").unwrap();
        platform.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
        platform.cli(&["put", "designs", "bridge", text.to_str().unwrap()]);
        let copy = federation_file(&federation, "copy");
        platform.cli(&["get", "designs", "bridge", "-o", copy.to_str().unwrap()]);
        assert_eq!(std::fs::read(copy).unwrap(), b"what was written");
        let started = std::time::Instant::now();
        let status = loop {
            let status = platform.cli(&["status"]);
            let alder = &status["peers"].as_array().unwrap()[0];
            assert_eq!(alder["organisation"], "alder");
            let fault = alder["fault"].as_str().unwrap_or_default();
            if fault.contains("another head") {
                break status;
            }
            assert!(started.elapsed().as_secs() < 60, "{status}");
        };
        for other in &status["peers"].as_array().unwrap()[1..] {
            assert!(other["fault"].is_null(), "{status}");
        }
    });
    platform.await.unwrap();
}

fn federation_file(federation: &Federation, name: &str) -> PathBuf {
    federation.base.path().join(name)
}
