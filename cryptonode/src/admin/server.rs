//! The node's side of the socket.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::{Command, Line, MAX_COMMAND, SOCKET_FILE, socket_path};
use crate::store::{Passphrase, PassphraseError};

/// Longest passphrase with its line's end, in bytes.
const MAX_PASSPHRASE_LINE: usize = 4_098;

/// Why a command is not carried out: a stable code and a sentence.
#[derive(Debug, Clone)]
pub(crate) struct CommandError {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl CommandError {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

/// What carries commands out.
pub(crate) trait Commands: Send + Sync + 'static {
    /// Carries out one command; events go into `events` while it lasts.
    fn run(
        self: Arc<Self>,
        command: Command,
        events: mpsc::Sender<Value>,
    ) -> BoxFuture<'static, Result<Value, CommandError>>;

    /// Opens a sealed node.
    fn unseal(
        self: Arc<Self>,
        passphrase: Passphrase,
    ) -> BoxFuture<'static, Result<Value, CommandError>>;
}

/// The bound socket; removed from the folder when it is dropped.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Binds `admin.sock` in `folder`. Whoever calls holds the folder's lock, so that a socket that is there is a
    /// crashed node's.
    pub(crate) fn bind(folder: &Path) -> io::Result<Self> {
        let path = folder.join(SOCKET_FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (address, _guard) = socket_path(folder)?;
        let listener = UnixListener::bind(address)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Serves commands for ever; ends when its task is aborted.
    pub(crate) async fn serve(self, commands: Arc<impl Commands>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let commands = Arc::clone(&commands);
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, commands).await {
                            tracing::debug!(%error, "a command's connection ended early");
                        }
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others must get some first.
                    tracing::warn!(%error, "the admin socket takes no connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn converse(stream: UnixStream, commands: Arc<impl Commands>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(MAX_COMMAND as u64));
    reader.read_line(&mut line).await?;
    let command = match serde_json::from_str::<Command>(&line) {
        Ok(command) => command,
        Err(error) => {
            let message = format!(
                "the running node does not know this command ({error}): restart it with this version"
            );
            return send(
                &mut write,
                &Line::Error {
                    code: "unknown-command".to_owned(),
                    message,
                },
            )
            .await;
        }
    };
    if command == (Command::Unseal {}) {
        send(&mut write, &Line::Event(Value::from("passphrase"))).await?;
        // The client waits for that event: nothing of the passphrase has gone through the reader's buffer.
        let mut raw = reader.into_inner().into_inner();
        let last = match read_passphrase(&mut raw).await? {
            Ok(passphrase) => match commands.unseal(passphrase).await {
                Ok(result) => Line::Result(result),
                Err(CommandError { code, message }) => Line::Error { code, message },
            },
            Err(error) => Line::Error {
                code: "passphrase".to_owned(),
                message: error.to_string(),
            },
        };
        return send(&mut write, &last).await;
    }
    let (events, mut waiting) = mpsc::channel(16);
    let mut work = commands.run(command, events);
    let outcome = loop {
        tokio::select! {
            biased;
            Some(event) = waiting.recv() => send(&mut write, &Line::Event(event)).await?,
            outcome = &mut work => break outcome,
        }
    };
    while let Ok(event) = waiting.try_recv() {
        send(&mut write, &Line::Event(event)).await?;
    }
    let last = match outcome {
        Ok(result) => Line::Result(result),
        Err(CommandError { code, message }) => Line::Error { code, message },
    };
    send(&mut write, &last).await
}

/// One line, in memory that is wiped.
async fn read_passphrase(
    read: &mut (impl AsyncReadExt + Unpin),
) -> io::Result<Result<Passphrase, PassphraseError>> {
    let mut line = Zeroizing::new([0; MAX_PASSPHRASE_LINE]);
    let mut length = 0;
    while let Some(room) = line.get_mut(length..).filter(|room| !room.is_empty()) {
        let read = read.read(room).await?;
        length += read;
        let complete = line.get(..length).is_some_and(|read| read.contains(&b'\n'));
        if read == 0 || complete {
            break;
        }
    }
    let text = line.get(..length).unwrap_or_default();
    let text =
        std::str::from_utf8(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Passphrase::new(text))
}

async fn send(write: &mut (impl AsyncWriteExt + Unpin), line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    write.write_all(text.as_bytes()).await?;
    write.flush().await
}
