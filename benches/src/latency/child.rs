//! Child processes beside the nodes: this very program in another role.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use threshold_exchange::site::SiteError;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::outcome::Failure;

/// How long a child may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to stop before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// A child that runs. It stops when its standard input ends, and is killed when this is dropped.
pub(super) struct Child {
    child: tokio::process::Child,
    /// Held open, and nothing written.
    _stdin: Option<tokio::process::ChildStdin>,
}

impl Child {
    /// Starts a role and waits until it has said so many times, a line each, that it is ready.
    pub(super) async fn start(
        role: &str,
        arguments: &[OsString],
        log: &Path,
        ready: usize,
    ) -> Result<Self, Failure> {
        let program =
            std::env::current_exe().map_err(SiteError::io("find this program's own file"))?;
        let log_file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(SiteError::io(format!("open the log {}", log.display())))?;
        let mut child = Command::new(program)
            .arg(role)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .map_err(SiteError::io(format!("start {role}")))?;
        let stdin = child.stdin.take();
        let lines = child
            .stdout
            .take()
            .map(|stdout| BufReader::new(stdout).lines());
        let waiting = async {
            let mut lines = lines?;
            for _ in 0..ready {
                lines.next_line().await.ok()??;
            }
            Some(())
        };
        match tokio::time::timeout(READY_WITHIN, waiting).await {
            Ok(Some(())) => Ok(Self {
                child,
                _stdin: stdin,
            }),
            _ => Err(Failure::Role {
                role: role.to_owned(),
                log: log.display().to_string(),
            }),
        }
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks it to stop, and kills it if it does not.
    pub(super) async fn stop(mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may have ended by itself: waiting tells.
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP_WITHIN, self.child.wait())
            .await
            .is_err()
        {
            let _ = self.child.kill().await;
        }
    }
}
