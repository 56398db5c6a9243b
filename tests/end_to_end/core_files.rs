//! No process leaves a core file, by its bound on them and by being no process that is dumped at all.

use std::io::Read as _;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::geteuid;
use testkit::memory::{core_file_bounds, is_dumpable};
use threshold_exchange::site::{Layout, Program, RecordEngine, Site, SitePlan};

use super::running::place;

/// Whom processes are started as if the test runs as root: of a process of root the second cannot be told.
const NOBODY: u32 = 65_534;

/// A process that is ended when it is dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(mut command: Command) -> Started {
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // The first thing that it says is that it serves, and by then it has done what it does about core files.
    let mut one = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut one).unwrap();
    Started(child)
}

fn give_away(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap();
        entries.for_each(|entry| give_away(&entry.unwrap().path()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_can_leave_a_core_file() {
    let (dir, place) = place();
    let executable = dir.path().join("threshold-exchange");
    std::fs::copy(env!("CARGO_BIN_EXE_threshold-exchange"), &executable).unwrap();
    let layout = Layout::create(&place).unwrap();
    let plan = SitePlan {
        nodes: 3,
        threshold: 2,
        ..SitePlan::default()
    };
    let mut site = Site::new(layout, Program::at(&executable, "info"), plan);
    site.init_platform().await.unwrap();
    site.init_nodes().await.unwrap();
    // A record of organisations that run their peers themselves. One of them alone serves too, though it decides nothing.
    let layout = Layout::create(&dir.path().join("organisations")).unwrap();
    let program = Program::at(&executable, "info");
    let mut federation = Site::new(layout, program, plan).ordered_by(RecordEngine::Simplex);
    federation.found_record().await.unwrap();
    if geteuid().is_root() {
        give_away(dir.path());
    }

    let run = |site: &Site, tool: &[&str], folder: &Path, of: &str| {
        let mut command = Command::new(&executable);
        command.args(tool).args(["--json", "--dir"]).arg(folder);
        let passphrase = site.layout().passphrase(of);
        command.arg("--passphrase-file").arg(passphrase);
        start(command)
    };
    let (own, peer) = (site.layout(), &federation.peers()[0]);
    let node = run(&site, &["cryptonode", "run"], &own.node("node-1"), "node-1");
    let platform = run(&site, &["coordinator", "run"], &own.platform(), "platform");
    let tool = ["coordinator", "peer", "run"];
    let peer = run(&federation, &tool, &peer.folder, &peer.name);
    let none = ("0".to_owned(), "0".to_owned());
    for (name, Started(child)) in [("node", &node), ("platform", &platform), ("peer", &peer)] {
        assert_eq!(core_file_bounds(child.id()).unwrap(), none, "{name}");
        assert_eq!(is_dumpable(child.id()).unwrap(), Some(false), "{name}");
    }
    // A process that does nothing about it is one that is dumped.
    let mut other = Command::new("sh");
    other.args(["-c", "echo started; read -r line"]);
    let Started(other) = &start(other);
    assert_eq!(is_dumpable(other.id()).unwrap(), Some(true));
}
