//! The operator's door to a running node: a Unix socket in the node's folder.
//!
//! Whoever may open `admin.sock` (mode 0600, in a folder of mode 0700) may command the node: the file system decides, and
//! nothing of this is ever on the network.

mod client;
mod key_health;
mod protocol;
mod server;

pub use client::{AdminError, request, unseal};
pub use key_health::{IssuerHealth, KeyHealth};
pub use protocol::{
    AuditStatus, Command, EpochView, ExportedKey, KeyPolicy, KeyView, Line, MAX_COMMAND, MAX_LINE,
    NodeStatus,
};
pub(crate) use server::{AdminSocket, CommandError, Commands};

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// The socket's file in the node's folder.
pub const SOCKET_FILE: &str = "admin.sock";
/// Longest path that a socket's address has room for on Linux, in bytes.
const MAX_SOCKET_PATH: usize = 107;

/// The socket's path in a form that fits an address, however long the folder's path is: the guard keeps it valid.
fn socket_path(folder: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let path = folder.join(SOCKET_FILE);
    if path.as_os_str().len() <= MAX_SOCKET_PATH {
        return Ok((path, None));
    }
    let guard = File::open(folder)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", guard.as_raw_fd())).join(SOCKET_FILE);
    Ok((path, Some(guard)))
}
