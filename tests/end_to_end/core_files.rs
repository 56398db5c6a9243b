//! No process leaves a core file, even where the system has raised the bound on them.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::geteuid;
use testkit::memory::{core_file_bounds, provoke_core_file};
use threshold_exchange::site::{Layout, Program, Site, SitePlan};

use super::running::{place, program};

/// Ends it as a crash would, and tells whether the system made a core file of it.
fn leaves_a_core_file(mut child: Child, folder: &Path) -> bool {
    provoke_core_file(child.id()).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(6), "{status}");
    let files = std::fs::read_dir(folder).unwrap();
    let named_core =
        |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("core");
    status.core_dumped() || files.filter_map(Result::ok).any(|entry| named_core(&entry))
}

fn start(mut command: Command, folder: &Path) -> Child {
    let mut child = command
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The first thing that it says is that it serves, and by then it has done what it does about core files.
    let mut one = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut one).unwrap();
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_leaves_a_core_file_even_if_the_bound_is_raised() {
    let (dir, place) = place();
    let executable = Program::at(env!("CARGO_BIN_EXE_threshold-exchange"), "info");
    let layout = Layout::create(&place).unwrap();
    let plan = SitePlan {
        nodes: 3,
        threshold: 2,
        ..SitePlan::default()
    };
    let mut site = Site::new(layout, executable, plan);
    site.init_platform().await.unwrap();
    site.init_nodes().await.unwrap();

    let run = |tool: &str, folder: &Path, of: &str| {
        let mut command = program();
        command.args([tool, "run", "--json", "--dir"]).arg(folder);
        let passphrase = site.layout().passphrase(of);
        command.arg("--passphrase-file").arg(passphrase);
        start(command, dir.path())
    };
    let node = run("cryptonode", &site.layout().node("node-1"), "node-1");
    let platform = run("coordinator", &site.layout().platform(), "platform");
    let none = ("0".to_owned(), "0".to_owned());
    assert_eq!(core_file_bounds(node.id()).unwrap(), none);
    assert_eq!(core_file_bounds(platform.id()).unwrap(), none);
    if !geteuid().is_root() {
        return; // only root may raise another's bound
    }
    assert!(!leaves_a_core_file(node, dir.path()), "the node");
    assert!(!leaves_a_core_file(platform, dir.path()), "the platform");

    // A process that does nothing about it leaves one, where the system makes them at all.
    let mut other = Command::new("sh");
    other.args(["-c", "echo started; while :; do read -r line; done"]);
    let makes_them = leaves_a_core_file(start(other, dir.path()), dir.path());
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    assert!(makes_them || pattern.trim() != "core", "{pattern}");
}
