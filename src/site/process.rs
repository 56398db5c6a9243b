//! Child processes: this very program, re-executed as `cryptonode` or `coordinator`.
//!
//! A long-running child says that it serves by one line of JSON on its standard output, `{"event":"ready",…}`; we wait for
//! that line and for nothing else. It gets a pipe as its standard input and stops when that pipe closes, so that it
//! never outlives us, not even when we are killed. It runs in a process group of its own, so that Ctrl-C on the terminal
//! reaches us alone and we decide the order in which things stop.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::SiteError;

/// How long a process may take until it says that it serves.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a process may take to stop before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Which of the two command lines of this program a child runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The crypto node and its operator's commands.
    Cryptonode,
    /// The platform, the golden record and their users' commands.
    Coordinator,
}

impl Tool {
    /// The first argument by which this program becomes the tool.
    pub fn name(self) -> &'static str {
        match self {
            Tool::Cryptonode => "cryptonode",
            Tool::Coordinator => "coordinator",
        }
    }
}

/// Where one process of a site runs, if not simply here: on a machine of its own, as far as one kernel can play several.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// What stands before its command, such as `ip netns exec NAME`. It must become the command, not its parent.
    pub before: Vec<OsString>,
    /// Variables of its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The address that it has there; a free port on loopback if absent.
    pub address: Option<SocketAddr>,
    /// Where its API, which is on that machine's loopback alone, is reached from here: the near end of a tunnel or a proxy.
    pub reached_at: Option<SocketAddr>,
}

/// The executable that all processes of a site are started from.
#[derive(Clone, Debug)]
pub struct Program {
    executable: PathBuf,
    /// The level of the children's logs (`info`, `debug`, `trace`, …).
    log_level: String,
    machine: Machine,
}

impl Program {
    /// This very executable.
    ///
    /// # Errors
    /// [`SiteError::Io`] if the operating system does not tell where it is.
    pub fn current(log_level: &str) -> Result<Self, SiteError> {
        let executable =
            std::env::current_exe().map_err(SiteError::io("find this program's own file"))?;
        Ok(Self {
            executable,
            log_level: log_level.to_owned(),
            machine: Machine::default(),
        })
    }

    /// The executable at a path, which must hold both command lines as this one does.
    pub fn at(executable: impl Into<PathBuf>, log_level: &str) -> Self {
        Self {
            executable: executable.into(),
            log_level: log_level.to_owned(),
            machine: Machine::default(),
        }
    }

    /// The same, started on another machine.
    #[must_use]
    pub fn on(&self, machine: &Machine) -> Self {
        Self {
            machine: machine.clone(),
            ..self.clone()
        }
    }

    fn command(&self, tool: Tool, arguments: &[OsString]) -> Command {
        let mut command = match self.machine.before.split_first() {
            None => Command::new(&self.executable),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.executable);
                command
            }
        };
        command
            .arg(tool.name())
            .args(arguments)
            .envs(
                self.machine
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .env("CRYPTONODE_LOG", &self.log_level)
            .env("COORDINATOR_LOG", &self.log_level)
            .env_remove("RUST_LOG")
            .kill_on_drop(true)
            .process_group(0);
        command
    }

    /// Runs one command of a tool to its end, with `--json`, and returns the JSON document it printed.
    ///
    /// # Errors
    /// [`SiteError::Command`] with the command's own words if it fails; [`SiteError::Io`] if it cannot be started.
    pub async fn run<S: AsRef<OsStr>>(
        &self,
        tool: Tool,
        arguments: &[S],
    ) -> Result<Value, SiteError> {
        let mut arguments: Vec<OsString> =
            arguments.iter().map(|a| a.as_ref().to_owned()).collect();
        arguments.push("--json".into());
        let shown = shown(tool, &arguments);
        let output = self
            .command(tool, &arguments)
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(SiteError::io(format!("start `{shown}`")))?;
        if !output.status.success() {
            return Err(SiteError::Command {
                command: shown,
                status: output.status.to_string(),
                said: last_words(&output.stderr, &output.stdout),
            });
        }
        // A command that waits prints an event a line, and its result last.
        let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(&output.stdout)
            .into_iter()
            .collect();
        let reason = match values {
            Ok(mut values) => match values.pop() {
                Some(result) => return Ok(result),
                None => "it printed nothing".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        Err(SiteError::Output {
            command: shown,
            reason,
        })
    }

    /// Starts a process that stays, and waits until it says that it serves.
    ///
    /// # Errors
    /// [`SiteError::NotReady`] with the end of its log if it stops or says nothing in time.
    pub async fn start<S: AsRef<OsStr>>(
        &self,
        name: &str,
        tool: Tool,
        arguments: &[S],
        log: &Path,
    ) -> Result<(Process, Value), SiteError> {
        let mut arguments: Vec<OsString> =
            arguments.iter().map(|a| a.as_ref().to_owned()).collect();
        arguments.push("--exit-with-stdin".into());
        arguments.push("--json".into());
        let log_file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(SiteError::io(format!("open the log {}", log.display())))?;
        let mut child = self
            .command(tool, &arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .map_err(SiteError::io(format!("start {name}")))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let mut process = Process {
            name: name.to_owned(),
            child,
            stdin,
            log: log.to_owned(),
        };
        let mut lines = match stdout {
            Some(stdout) => BufReader::new(stdout),
            None => return Err(process.not_ready("it has no standard output").await),
        };
        match tokio::time::timeout(READY_WITHIN, ready_line(&mut lines)).await {
            Ok(Ok(Some(ready))) => {
                // What it prints later is nobody's; reading it keeps the pipe from filling.
                tokio::spawn(
                    async move { tokio::io::copy(&mut lines, &mut tokio::io::sink()).await },
                );
                Ok((process, ready))
            }
            Ok(Ok(None)) => Err(process.not_ready("it stopped").await),
            Ok(Err(error)) => Err(process.not_ready(&error.to_string()).await),
            Err(_) => Err(process
                .not_ready("it did not say within a minute that it serves")
                .await),
        }
    }
}

async fn ready_line(lines: &mut BufReader<ChildStdout>) -> std::io::Result<Option<Value>> {
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        if let Ok(value) = serde_json::from_str::<Value>(&line)
            && value.get("event").and_then(Value::as_str) == Some("ready")
        {
            return Ok(Some(value));
        }
    }
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// What the site calls it, such as `node-3`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operating system's number of the process; none once it has ended and been waited for.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// Ends it at once, as a loss of power would (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// [`SiteError::Io`] if the operating system refuses.
    pub async fn kill(mut self) -> Result<(), SiteError> {
        self.child
            .kill()
            .await
            .map_err(SiteError::io(format!("kill {}", self.name)))
    }

    /// Asks it to stop (SIGTERM), waits, and kills it only if it does not.
    ///
    /// # Errors
    /// [`SiteError::Io`] if the operating system refuses.
    pub async fn stop(mut self) -> Result<Option<ExitStatus>, SiteError> {
        if let Some(pid) = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
        {
            // It may have ended by itself a moment ago: waiting tells.
            let _ = kill_process(pid, Signal::TERM);
        }
        match tokio::time::timeout(STOP_WITHIN, self.child.wait()).await {
            Ok(status) => status
                .map(Some)
                .map_err(SiteError::io(format!("wait for {}", self.name))),
            Err(_) => {
                self.child
                    .kill()
                    .await
                    .map_err(SiteError::io(format!("kill {}", self.name)))?;
                Ok(None)
            }
        }
    }

    async fn not_ready(&mut self, reason: &str) -> SiteError {
        let _ = self.child.kill().await;
        drop(self.stdin.take());
        let said = std::fs::read(&self.log)
            .map(|log| last_words(&log, b""))
            .unwrap_or_default();
        SiteError::NotReady {
            name: self.name.clone(),
            reason: reason.to_owned(),
            said,
            log: self.log.clone(),
        }
    }
}

/// The end of what a command said: enough to know why, not a whole log.
fn last_words(stderr: &[u8], stdout: &[u8]) -> String {
    let source = if stderr.trim_ascii().is_empty() {
        stdout
    } else {
        stderr
    };
    let text = String::from_utf8_lossy(source);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines
        .get(lines.len().saturating_sub(6)..)
        .unwrap_or_default()
        .join("\n")
}

fn shown(tool: Tool, arguments: &[OsString]) -> String {
    let mut text = tool.name().to_owned();
    for argument in arguments {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}
