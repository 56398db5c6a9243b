//! The users, who know nothing of faults: they write, read, are let in and put out, and try what they may not.
//!
//! Each follows a seeded sequence of its own and waits a little between operations. An operation that fails is one that
//! fails; nothing is hidden by trying again. What is checked at once:
//!
//! - what is read is what was acknowledged, byte for byte, and the latest version is not older than the last acknowledged;
//! - who was let in is not refused, once that was acknowledged;
//! - who was put out reads nothing any more, from the first read on that begins after that was acknowledged;
//! - a stranger reads nothing, and a node that is asked without approvals, or with those of a false authority, gives nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coordinator::client::{Client, ClientError, PutOptions};
use coordinator::record::{Identifier, PermissionEntry, Role, Transaction};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use threshold_exchange::site::Exchange;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::history::{History, Outcome};
use crate::intruder;
use crate::promises::{Promise, Promises, content, digest};

/// How long a user waits for one answer before it counts as none.
const PATIENCE: Duration = Duration::from_secs(120);
/// The code of an operation that was given up.
const GIVEN_UP: &str = "no-answer-in-time";

/// How many users there are, and how long they wait between operations, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Those who write.
    pub(crate) writers: usize,
    /// Those who read.
    pub(crate) readers: usize,
    /// Those who are let in and put out.
    pub(crate) guests: usize,
    /// Between two operations of one user.
    pub(crate) pause_ms: u64,
}

/// What all users share.
pub(crate) struct World {
    /// The platform's people.
    pub(crate) exchange: Exchange,
    /// What was acknowledged.
    pub(crate) promises: Promises,
    /// What happened.
    pub(crate) history: Arc<History>,
}

/// The users at work.
pub(crate) struct Workload {
    stop: watch::Sender<bool>,
    users: JoinSet<()>,
}

impl Workload {
    /// Starts them.
    ///
    /// # Errors
    /// If the guests cannot be registered, or the cluster's description does not hold.
    pub(crate) async fn start(
        world: &Arc<World>,
        seed: u64,
        load: Load,
        cluster: &std::path::Path,
    ) -> Result<Self, String> {
        let (stop, stopped) = watch::channel(false);
        let mut users = JoinSet::new();
        let mut number = 0;
        let mut next = || {
            number += 1;
            User {
                world: world.clone(),
                rng: StdRng::seed_from_u64(seed ^ (number << 32)),
                stopped: stopped.clone(),
                pause_ms: load.pause_ms,
            }
        };
        for writer in 0..load.writers {
            users.spawn(next().write(writer));
        }
        for _ in 0..load.readers {
            users.spawn(next().read());
        }
        for guest in 0..load.guests {
            let name = format!("guest-{guest}");
            let client = world.exchange.register(&name).await;
            let client = client.map_err(|error| error.to_string())?;
            users.spawn(next().come_and_go(name, client));
        }
        users.spawn(next().pry());
        let intruder = intruder::Intruder::new(cluster)?;
        users.spawn(next().intrude(intruder));
        Ok(Self { stop, users })
    }

    /// Lets everybody finish what is under way, and waits for that.
    ///
    /// # Errors
    /// If one of them has panicked.
    pub(crate) async fn stop(mut self) -> Result<(), String> {
        let _ = self.stop.send(true);
        while let Some(ended) = self.users.join_next().await {
            ended.map_err(|error| format!("a user ended badly: {error}"))?;
        }
        Ok(())
    }
}

impl World {
    /// Waits for an answer, but not for ever. An error is its code; what it says is in the history.
    async fn patiently<T>(
        &self,
        asked: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, String> {
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let code = error.code().to_owned();
                if code != "not-permitted" {
                    let said = json!({ "code": code, "said": error.to_string() });
                    self.history.note("said", said);
                }
                Err(code)
            }
            Err(_) => Err(GIVEN_UP.to_owned()),
        }
    }

    /// Reads as somebody; the bytes, if the platform gives any.
    async fn get(
        &self,
        client: &Client,
        document: &str,
        version: Option<u64>,
    ) -> Result<(u64, Vec<u8>), String> {
        let name: Identifier = document
            .parse()
            .map_err(|_| "no name of a document".to_owned())?;
        let mut bytes = Vec::new();
        let got = client.get(self.exchange.dataset(), &name, version, &mut bytes, None);
        let got = self.patiently(got).await?;
        if let Some(report) = got.report {
            self.promises.read(report.transaction_id);
        }
        Ok((got.version, bytes))
    }

    /// Reads what was acknowledged, and holds it against that. Whether it was read.
    pub(crate) async fn read_back(&self, operation: &'static str, promise: &Promise) -> bool {
        let begun = Instant::now();
        let subject = format!("{}/{}", promise.document, promise.version);
        let reader = self.exchange.reader();
        let read = self.get(reader, &promise.document, Some(promise.version));
        let outcome = match read.await {
            Ok((version, bytes)) => {
                if version != promise.version
                    || bytes.len() as u64 != promise.length
                    || digest(&bytes) != promise.sha256
                {
                    let seen = format!("{subject} came back with other bytes");
                    self.history
                        .violated("what was acknowledged is there, byte for byte", seen);
                }
                Outcome::Done
            }
            Err(code) => {
                if code.starts_with("unknown-") || code == "not-found" || code == "body-missing" {
                    let seen = format!("{subject}: {code}");
                    self.history
                        .violated("what was acknowledged is there, byte for byte", seen);
                }
                Outcome::Failed(code)
            }
        };
        self.history.ended(operation, &subject, begun, &outcome);
        outcome == Outcome::Done
    }

    /// Writes a document, and remembers what was acknowledged. Whether it was.
    pub(crate) async fn write(
        &self,
        operation: &'static str,
        document: &str,
        bytes: Vec<u8>,
    ) -> bool {
        let begun = Instant::now();
        let Ok(name) = document.parse::<Identifier>() else {
            return false;
        };
        let (length, sha256) = (bytes.len() as u64, digest(&bytes));
        let writer = self.exchange.writer();
        let source = std::io::Cursor::new(bytes);
        let put = writer.put(
            self.exchange.dataset(),
            &name,
            source,
            PutOptions::default(),
        );
        let outcome = match self.patiently(put).await {
            Ok(written) => {
                if written.sha256 != sha256 || written.length != length {
                    let seen = format!("{document}: another digest was acknowledged");
                    self.history
                        .violated("what was acknowledged is there, byte for byte", seen);
                }
                self.promises.written(Promise {
                    document: document.to_owned(),
                    version: written.version,
                    length,
                    sha256,
                });
                Outcome::Done
            }
            Err(code) => Outcome::Failed(code),
        };
        self.history.ended(operation, document, begun, &outcome);
        outcome == Outcome::Done
    }
}

struct User {
    world: Arc<World>,
    rng: StdRng,
    stopped: watch::Receiver<bool>,
    pause_ms: u64,
}

impl User {
    /// Waits between two operations. False once it is time to go.
    async fn goes_on(&mut self) -> bool {
        let pause = self.rng.random_range(self.pause_ms / 2..=self.pause_ms * 2);
        let pause = Duration::from_millis(pause);
        tokio::select! {
            _ = self.stopped.wait_for(|stopped| *stopped) => false,
            () = tokio::time::sleep(pause) => true,
        }
    }

    /// Writes new documents, and new versions of older ones of its own.
    async fn write(mut self, writer: usize) {
        let mut documents = 0_u32;
        while self.goes_on().await {
            if documents == 0 || self.rng.random_bool(0.7) {
                documents += 1;
            }
            let document = format!("w{writer}-{}", self.rng.random_range(1..=documents));
            let bytes = content(&mut self.rng);
            self.world.write("write", &document, bytes).await;
        }
    }

    async fn read(mut self) {
        while self.goes_on().await {
            let Some(promise) = self.world.promises.any(&mut self.rng) else {
                continue;
            };
            if self.rng.random_bool(0.8) {
                self.world.read_back("read", &promise).await;
            } else {
                self.read_latest(&promise.document).await;
            }
        }
    }

    /// The latest version may be one whose acknowledgement was lost, but none older than what was acknowledged.
    async fn read_latest(&self, document: &str) {
        let (begun, world) = (Instant::now(), &self.world);
        let at_least = world.promises.latest(document).unwrap_or_default();
        let outcome = match world.get(world.exchange.reader(), document, None).await {
            Ok((version, _)) => {
                if version < at_least {
                    let seen =
                        format!("{document}: version {version} after {at_least} was acknowledged");
                    world
                        .history
                        .violated("nothing acknowledged is taken back", seen);
                }
                Outcome::Done
            }
            Err(code) => Outcome::Failed(code),
        };
        world
            .history
            .ended("read-latest", document, begun, &outcome);
    }

    /// A guest is let in, reads, is put out, and reads no more.
    async fn come_and_go(mut self, name: String, guest: Client) {
        while self.goes_on().await {
            if !self.permit("grant", &name, &guest, true).await {
                continue;
            }
            for _ in 0..self.rng.random_range(1..4_u8) {
                self.read_as_guest(&name, &guest, true).await;
            }
            // Without a word of the record nobody knows whether it holds: until it does, nothing is promised.
            while !self.permit("revoke", &name, &guest, false).await {
                if !self.goes_on().await {
                    return;
                }
            }
            for _ in 0..self.rng.random_range(1..4_u8) {
                self.read_as_guest(&name, &guest, false).await;
            }
        }
    }

    /// Lets a guest in, or puts it out. Whether that is known to hold.
    async fn permit(
        &self,
        operation: &'static str,
        name: &str,
        guest: &Client,
        allowed: bool,
    ) -> bool {
        let (begun, world) = (Instant::now(), &self.world);
        let Ok(user) = guest.user() else { return false };
        let entry = PermissionEntry {
            tenant: guest.tenant().clone(),
            dataset: world.exchange.dataset().clone(),
            role: Role::Reader,
            user,
        };
        let transaction = match allowed {
            true => Transaction::PermissionAdd(entry),
            false => Transaction::PermissionRemove(entry),
        };
        let submitted = world.exchange.writer().submit(transaction);
        let outcome = match world.patiently(submitted).await {
            Ok(_) => Outcome::Done,
            // An attempt whose acknowledgement was lost has done it.
            Err(code) if code == "permission-unchanged" => Outcome::Refused(code),
            Err(code) => Outcome::Failed(code),
        };
        world.history.ended(operation, name, begun, &outcome);
        !matches!(outcome, Outcome::Failed(_))
    }

    async fn read_as_guest(&mut self, name: &str, guest: &Client, allowed: bool) {
        let (begun, world) = (Instant::now(), self.world.clone());
        let Some(promise) = world.promises.any(&mut self.rng) else {
            return;
        };
        let read = world
            .get(guest, &promise.document, Some(promise.version))
            .await;
        let subject = format!("{}/{} by {name}", promise.document, promise.version);
        let operation = match allowed {
            true => "read-as-guest",
            false => "read-after-removal",
        };
        let outcome = match (read, allowed) {
            (Ok((_, bytes)), true) => {
                if digest(&bytes) != promise.sha256 {
                    world.history.violated(
                        "what was acknowledged is there, byte for byte",
                        subject.clone(),
                    );
                }
                Outcome::Done
            }
            (Ok(_), false) => {
                world.history.violated(
                    "a permission that was taken away opens nothing more",
                    subject.clone(),
                );
                Outcome::Done
            }
            (Err(code), false) if code == "not-permitted" => Outcome::Refused(code),
            // If it was let in, `not-permitted` is no error that one may retry, and is noticed as such.
            (Err(code), _) => Outcome::Failed(code),
        };
        world.history.ended(operation, &subject, begun, &outcome);
    }

    /// The stranger tries whatever there is.
    async fn pry(mut self) {
        while self.goes_on().await {
            let (begun, world) = (Instant::now(), self.world.clone());
            let Some(promise) = world.promises.any(&mut self.rng) else {
                continue;
            };
            let read = world.get(
                world.exchange.stranger(),
                &promise.document,
                Some(promise.version),
            );
            let outcome = match read.await {
                Ok(_) => {
                    world
                        .history
                        .violated("nobody unapproved is let in", promise.document.clone());
                    Outcome::Done
                }
                Err(code) if code == "not-permitted" => Outcome::Refused(code),
                Err(code) => Outcome::Failed(code),
            };
            world
                .history
                .ended("read-as-stranger", &promise.document, begun, &outcome);
        }
    }

    /// Nodes are asked directly, without an approval that counts.
    async fn intrude(mut self, intruder: intruder::Intruder) {
        while self.goes_on().await {
            let begun = Instant::now();
            let (node, answer) = intruder.ask(&mut self.rng).await;
            let history = &self.world.history;
            let outcome = match answer {
                intruder::Said::Share => {
                    history.violated("nobody unapproved is let in", node.clone());
                    Outcome::Done
                }
                intruder::Said::Refused(code) => Outcome::Refused(code),
                intruder::Said::Nothing(code) => Outcome::Failed(code),
            };
            history.ended("ask-node-unapproved", &node, begun, &outcome);
        }
    }
}
