//! The relay as a child process, from the side of whoever started it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::carrier::{Config, Order, Ready, Statistics};
use super::network::Network;

/// Why a relay cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// It could not be started, or it ended.
    #[error("the relay: {0}")]
    Io(#[from] io::Error),
    /// It answered something else.
    #[error("the relay answered something unexpected: {0}")]
    Answer(#[from] serde_json::Error),
}

/// A relay that runs. It ends when this is dropped, or whoever holds it dies: its standard input ends then.
#[derive(Debug)]
pub struct RelayProcess {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    fronts: Vec<SocketAddr>,
}

impl RelayProcess {
    /// Starts `command`, which must end up in [`super::serve`] on its standard input and output.
    ///
    /// # Errors
    /// [`RelayError`].
    pub fn start(command: &mut Command, config: &Config) -> Result<Self, RelayError> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let gone = || io::Error::other("it has no standard input and output");
        let orders = child.stdin.take().ok_or_else(gone)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(gone)?);
        let mut relay = Self {
            child,
            orders,
            answers,
            fronts: Vec::new(),
        };
        let ready: Ready = relay.ask(config)?;
        relay.fronts = ready.fronts;
        Ok(relay)
    }

    /// Where the parties are reached, in their order.
    #[must_use]
    pub fn fronts(&self) -> &[SocketAddr] {
        &self.fronts
    }

    /// The relay's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells where a party really listens.
    ///
    /// # Errors
    /// [`RelayError`].
    pub fn target(&mut self, party: &str, address: SocketAddr) -> Result<(), RelayError> {
        let party = party.to_owned();
        self.ask::<Option<Statistics>>(&Order::Target { party, address })
            .map(drop)
    }

    /// Tells which process a party is.
    ///
    /// # Errors
    /// [`RelayError`].
    pub fn process(&mut self, party: &str, pid: u32) -> Result<(), RelayError> {
        let party = party.to_owned();
        self.ask::<Option<Statistics>>(&Order::Process { party, pid })
            .map(drop)
    }

    /// Changes the network.
    ///
    /// # Errors
    /// [`RelayError`].
    pub fn network(&mut self, network: Network) -> Result<(), RelayError> {
        self.ask::<Option<Statistics>>(&Order::Network(network))
            .map(drop)
    }

    /// What the relay did since this was last asked.
    ///
    /// # Errors
    /// [`RelayError`].
    pub fn statistics(&mut self) -> Result<Statistics, RelayError> {
        let statistics: Option<Statistics> = self.ask(&Order::Statistics)?;
        Ok(statistics.unwrap_or_default())
    }

    fn ask<A: DeserializeOwned>(&mut self, order: &impl Serialize) -> Result<A, RelayError> {
        let mut line = serde_json::to_string(order)?;
        line.push('\n');
        self.orders.write_all(line.as_bytes())?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            return Err(io::Error::other("it has ended").into());
        }
        Ok(serde_json::from_str(&answer)?)
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
