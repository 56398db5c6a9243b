//! Running the root binary and reading what it says.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use testkit::processes::{ended_within, with_path_in_command_line};

pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_threshold-exchange"))
}

pub(crate) fn run<S: AsRef<OsStr>>(arguments: &[S]) -> Output {
    program()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The JSON document that a run printed.
pub(crate) fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        panic!("no JSON document ({error}):\n{out}\n{err}")
    })
}

/// A folder for a test, and the site's folder in it, which does not exist yet.
pub(crate) fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().join("site");
    (dir, site)
}

/// A file with this content.
pub(crate) fn file(dir: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// The step of this name; of several, the first.
pub(crate) fn step<'d>(document: &'d Value, name: &str) -> &'d Value {
    let steps = document["steps"].as_array().unwrap();
    steps
        .iter()
        .find(|step| step["name"] == name)
        .unwrap_or_else(|| panic!("no step {name} in {document:#}"))
}

/// A run of the binary that goes on while the test looks.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Self {
        let mut child = program()
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Reads lines until one contains `text`, and gives that one.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).unwrap();
            assert!(read > 0, "it ended without saying {text:?}");
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended, and gives its exit status and the rest of what it said.
    pub(crate) fn finish(mut self) -> (std::process::ExitStatus, String) {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }
}

/// Waits until no process of the site in `folder` is left.
pub(crate) fn assert_nothing_left(folder: &Path) {
    for pid in with_path_in_command_line(folder) {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let ended = ended_within(pid, Duration::from_secs(30)).unwrap();
        assert!(
            ended,
            "process {pid} is left: {}",
            String::from_utf8_lossy(&line).replace('\0', " ")
        );
    }
}
