//! The command line's side of the socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Command, Line, MAX_LINE, socket_path};
use crate::store::Passphrase;

/// Why a command to the running node failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No node is running in the folder.
    #[error("no node is running in {folder}: start it with `cryptonode run --dir {folder}`")]
    NotRunning {
        /// The folder.
        folder: PathBuf,
    },
    /// The socket failed.
    #[error("the node in {folder} did not answer: {reason}")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The node said no.
    #[error("{message}")]
    Refused {
        /// A stable code.
        code: String,
        /// The node's sentence.
        message: String,
    },
}

impl AdminError {
    /// A stable code for scripts.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::NotRunning { .. } => "not-running",
            Self::Io { .. } => "admin-socket",
            Self::Refused { code, .. } => code,
        }
    }
}

fn failed(folder: &Path) -> impl Fn(String) -> AdminError + '_ {
    |reason| AdminError::Io {
        folder: folder.to_owned(),
        reason,
    }
}

fn connect(folder: &Path) -> Result<UnixStream, AdminError> {
    let failed = failed(folder);
    let not_running = || AdminError::NotRunning {
        folder: folder.to_owned(),
    };
    let (path, _guard) = socket_path(folder).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => not_running(),
        _ => failed(error.to_string()),
    })?;
    UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => not_running(),
        _ => failed(error.to_string()),
    })
}

/// Opens the sealed node that runs in `folder`, and returns what it says once it serves.
///
/// # Errors
/// [`AdminError`] if no node runs there, if it is not sealed, or if it stays so.
pub fn unseal(folder: &Path, passphrase: &Passphrase) -> Result<Value, AdminError> {
    let failed = failed(folder);
    let mut stream = connect(folder)?;
    let io = |error: io::Error| failed(error.to_string());
    let mut line =
        serde_json::to_string(&Command::Unseal {}).map_err(|error| failed(error.to_string()))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(io)?;
    let mut reader = BufReader::new(stream.try_clone().map_err(io)?);
    loop {
        match read_line(&mut reader, folder)? {
            Line::Event(_) => {
                stream.write_all(passphrase.expose()).map_err(io)?;
                stream.write_all(b"\n").map_err(io)?;
            }
            Line::Result(result) => return Ok(result),
            Line::Error { code, message } => return Err(AdminError::Refused { code, message }),
        }
    }
}

fn read_line(reader: &mut BufReader<UnixStream>, folder: &Path) -> Result<Line, AdminError> {
    let failed = failed(folder);
    let mut line = String::new();
    let read = reader
        .take(MAX_LINE as u64)
        .read_line(&mut line)
        .map_err(|error| failed(error.to_string()))?;
    if read == 0 {
        return Err(failed("it stopped before it was done".to_owned()));
    }
    serde_json::from_str(&line).map_err(|error| failed(error.to_string()))
}

/// Sends a command to the node that runs in `folder`, gives its events to `on_event`, and returns its result.
///
/// # Errors
/// [`AdminError`] if no node runs there, or if it does not carry the command out.
pub fn request(
    folder: &Path,
    command: &Command,
    mut on_event: impl FnMut(&Value),
) -> Result<Value, AdminError> {
    let failed = failed(folder);
    let mut stream = connect(folder)?;
    let mut line = serde_json::to_string(command).map_err(|error| failed(error.to_string()))?;
    line.push('\n');
    stream
        .write_all(line.as_bytes())
        .map_err(|error| failed(error.to_string()))?;
    let mut reader = BufReader::new(stream);
    loop {
        match read_line(&mut reader, folder)? {
            Line::Event(event) => on_event(&event),
            Line::Result(result) => return Ok(result),
            Line::Error { code, message } => return Err(AdminError::Refused { code, message }),
        }
    }
}
