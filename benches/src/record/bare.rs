//! The bare order: members that order bytes and do nothing with them, a process each.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use ordering::{Judge, Member, Settings, Timing};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::load::{Measured, closed_loop};

/// The word by which this program becomes a member.
pub(super) const ROLE: &str = "member";

/// Batches in an epoch, as `coordinator peer found` has it.
const EPOCH: NonZeroU64 = NonZeroU64::new(512).unwrap();

/// What a member is told first.
#[derive(Serialize, Deserialize)]
struct Told {
    number: usize,
    /// The seed of each member's key, and where the others reach it.
    members: Vec<(u8, SocketAddr)>,
    listen: SocketAddr,
    folder: PathBuf,
}

/// What it is told then, any number of times.
#[derive(Serialize, Deserialize)]
struct Load {
    clients: usize,
    bytes: usize,
    seconds: f64,
}

struct Anything;

impl Judge for Anything {
    fn well_formed(&self, _: &[u8]) -> bool {
        true
    }

    fn admissible(&self, _: &[u8]) -> bool {
        true
    }
}

fn public_key(seed: u8) -> [u8; 32] {
    ed25519_dalek::SigningKey::from_bytes(&[seed; 32])
        .verifying_key()
        .to_bytes()
}

type Waiting = Arc<Mutex<HashMap<bytes::Bytes, oneshot::Sender<()>>>>;

/// Is a member until standard input ends.
pub(super) fn run() -> ExitCode {
    match member() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn member() -> Result<(), Box<dyn std::error::Error>> {
    let mut lines = std::io::stdin().lock().lines();
    let first = lines.next().ok_or("nothing was told")??;
    let told: Told = serde_json::from_str(&first)?;
    let seed = told.members.get(told.number).ok_or("no such member")?.0;
    let members: Vec<_> = told
        .members
        .iter()
        .map(|(seed, address)| Member {
            key: public_key(*seed),
            address: Some(*address),
        })
        .collect();
    // It starts once.
    let never_voted = told.folder.with_extension("never-voted");
    std::fs::write(&never_voted, b"")?;
    let settings = Settings {
        namespace: vec![b'b'; 128],
        genesis_ms: 0,
        epoch_length: EPOCH,
        members: BTreeMap::from([(0, members.clone())]),
        coming: members.clone(),
        helpers: Vec::new(),
        listen: told.listen,
        folder: told.folder,
        never_voted,
        delivered: 0,
        timing: Timing::default(),
    };
    let clock = Arc::new(coordinator::platform::now_ms);
    let secret = Zeroizing::new([seed; 32]);
    let (ordering, mut deliveries) = ordering::start(settings, secret, Arc::new(Anything), clock)?;
    let ordering = Arc::new(ordering);
    let waiting = Waiting::default();
    let answer = waiting.clone();
    std::thread::spawn(move || {
        while let Some(delivery) = deliveries.blocking_recv() {
            let mut waiting = answer.lock().unwrap_or_else(PoisonError::into_inner);
            for item in &delivery.items {
                if let Some(answer) = waiting.remove(item) {
                    let _ = answer.send(());
                }
            }
            drop(waiting);
            delivery.done(&members);
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{{\"event\":\"ready\"}}")?;
    for line in lines {
        let load: Load = serde_json::from_str(&line?)?;
        let (ordering, waiting) = (ordering.clone(), waiting.clone());
        let submit = move |_, _| {
            let mut item = vec![0; load.bytes];
            rand::rng().fill_bytes(&mut item);
            let item = bytes::Bytes::from(item);
            let (answer, answered) = oneshot::channel();
            waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(item.clone(), answer);
            let submitted = ordering.submit(item).map_err(|error| error.to_string());
            async move {
                submitted?;
                answered.await.map_err(|error| error.to_string())
            }
        };
        let measured = runtime.block_on(closed_loop(load.clients, load.seconds, submit))?;
        writeln!(out, "{}", serde_json::to_string(&measured)?)?;
    }
    ordering.close();
    Ok(())
}

/// The members, as the driver sees them.
pub(super) struct Members {
    children: Vec<(Child, ChildStdin, Lines<BufReader<ChildStdout>>)>,
}

impl Members {
    /// Starts them; each listens at the first of its addresses, and is reached at the second.
    pub(super) async fn start(
        folder: &std::path::Path,
        addresses: &[(SocketAddr, SocketAddr)],
    ) -> Result<Self, String> {
        let members: Vec<_> = (1..)
            .zip(addresses)
            .map(|(seed, it)| (seed, it.1))
            .collect();
        let mut children = Vec::new();
        for (number, (listen, _)) in addresses.iter().enumerate() {
            let told = Told {
                number,
                members: members.clone(),
                listen: *listen,
                folder: folder.join(format!("member-{number}")),
            };
            let own = std::env::current_exe().map_err(|error| error.to_string())?;
            let mut child = Command::new(own)
                .arg(ROLE)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .map_err(|error| error.to_string())?;
            let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
                return Err("a member has no pipes".to_owned());
            };
            say(&mut stdin, &told).await?;
            let mut lines = BufReader::new(stdout).lines();
            let ready: Value = hear(&mut lines).await?;
            if ready.get("event").is_none() {
                return Err("a member did not start".to_owned());
            }
            children.push((child, stdin, lines));
        }
        Ok(Self { children })
    }

    /// Has one member submit, and measure.
    pub(super) async fn measure(
        &mut self,
        clients: usize,
        bytes: usize,
        seconds: f64,
    ) -> Result<Measured, String> {
        let (_, stdin, lines) = self.children.first_mut().ok_or("there are no members")?;
        let load = Load {
            clients,
            bytes,
            seconds,
        };
        say(stdin, &load).await?;
        hear(lines).await
    }

    pub(super) async fn stop(self) {
        for (mut child, stdin, _) in self.children {
            drop(stdin);
            let _ = child.wait().await;
        }
    }
}

async fn say<T: Serialize>(stdin: &mut ChildStdin, what: &T) -> Result<(), String> {
    let mut line = serde_json::to_vec(what).map_err(|error| error.to_string())?;
    line.push(b'\n');
    let written = stdin.write_all(&line).await;
    written.map_err(|error| error.to_string())
}

async fn hear<T: for<'de> Deserialize<'de>>(
    lines: &mut Lines<BufReader<ChildStdout>>,
) -> Result<T, String> {
    let line = lines.next_line().await.map_err(|error| error.to_string())?;
    let line = line.ok_or("a member has ended")?;
    serde_json::from_str(&line).map_err(|error| error.to_string())
}
