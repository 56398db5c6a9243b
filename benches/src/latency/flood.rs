//! One client that floods, while another is measured: `--flood`.
//!
//! The flood is a process of its own, with a key of its own, that sends one good request over and over to every node, from so many
//! callers at once, and looks at no answer. A node has all of its work to do each time: approvals, proofs, share, audit record. The
//! process runs at the lowest priority, so that it takes as little of this machine's processors from the nodes and from
//! the measured client as a client elsewhere would; what the nodes take to answer it stays.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use cryptonode::client::{ClientIdentity, ClusterDescriptor, Dialer, Peer, PeerOptions};
use cryptonode::wire::v1::{Answer, Request};
use serde::{Deserialize, Serialize};
use threshold_exchange::site::SiteError;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::Arguments;
use super::child::Child;
use super::outcome::Failure;
use super::roles::FLOOD;
use super::workload::Workload;

/// What became of the flood's requests.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Flooded {
    /// Callers, each with one request under way at each node in turn.
    pub(super) callers: u16,
    /// How long it lasted.
    pub(super) seconds: f64,
    /// Requests by outcome: `share`, a refusal's code, or the code of a failure.
    pub(super) outcomes: BTreeMap<String, u64>,
}

impl Flooded {
    /// Requests a second, and how many of them got a share.
    pub(super) fn rates(&self) -> (f64, f64) {
        let all: u64 = self.outcomes.values().sum();
        let shares = self.outcomes.get("share").copied().unwrap_or(0);
        let seconds = self.seconds.max(f64::MIN_POSITIVE);
        (all as f64 / seconds, shares as f64 / seconds)
    }
}

/// A flood that goes on.
pub(super) struct Flood {
    child: Child,
    result: PathBuf,
}

impl Flood {
    /// Starts it, if the arguments ask for one; its files go into `folder`.
    pub(super) async fn start(
        arguments: &Arguments,
        workload: &Workload,
        cluster: &Path,
        folder: &Path,
    ) -> Result<Option<Self>, Failure> {
        if arguments.flood == 0 {
            return Ok(None);
        }
        let identity =
            ClientIdentity::generate().map_err(|error| Failure::Client(error.to_string()))?;
        let request = workload.request_of(identity.spki())?;
        let bytes = request
            .to_bytes()
            .map_err(|error| Failure::Client(error.to_string()))?;
        let (key, asked, result) = (
            folder.join("flood.pem"),
            folder.join("flood.request"),
            folder.join("flood.json"),
        );
        fs::write(&key, identity.to_pem())
            .and_then(|()| fs::write(&asked, bytes))
            .map_err(SiteError::io(format!("write to {}", folder.display())))?;
        let words: [OsString; 5] = [
            cluster.into(),
            key.into(),
            asked.into(),
            arguments.flood.to_string().into(),
            result.clone().into(),
        ];
        let child = Child::start(FLOOD, &words, &folder.join("flood.log"), 1).await?;
        Ok(Some(Self { child, result }))
    }

    /// Ends it, and tells what it did.
    pub(super) async fn stop(self) -> Result<Flooded, Failure> {
        self.child.stop().await;
        let read = fs::read_to_string(&self.result)
            .map_err(SiteError::io(format!("read {}", self.result.display())))?;
        serde_json::from_str(&read).map_err(|error| Failure::Client(error.to_string()))
    }
}

/// The flood itself: cluster, key, request, number of callers, where the result goes. Until SIGTERM or the end of standard input.
pub(super) async fn run(words: &[OsString], ready: fn()) -> Result<(), String> {
    let [cluster, key, request, callers, result] = words else {
        return Err("give a cluster, a key, a request, a number of callers and a file".to_owned());
    };
    // It may already run at that priority.
    let _ = rustix::process::nice(19);
    let read = |path: &OsString| fs::read(path).map_err(|error| error.to_string());
    let text = |path: &OsString| fs::read_to_string(path).map_err(|error| error.to_string());
    let cluster =
        ClusterDescriptor::from_json(&text(cluster)?).map_err(|error| error.to_string())?;
    let identity = ClientIdentity::from_pem(&text(key)?).map_err(|error| error.to_string())?;
    let request = Request::from_bytes(&read(request)?).map_err(|error| error.to_string())?;
    let callers: u16 = callers
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or("the number of callers is none")?;
    let dialer = Dialer::new(identity, PeerOptions::default());
    let peers = cluster
        .members
        .iter()
        .map(|member| dialer.peer(&member.address, &member.identity))
        .collect::<Result<Vec<Peer>, _>>()
        .map_err(|error| error.to_string())?;
    for peer in &peers {
        peer.connect().await.map_err(|error| error.to_string())?;
    }
    let (peers, request) = (Arc::new(peers), Arc::new(request));
    let outcomes: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let since = Instant::now();
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (peers, request) = (Arc::clone(&peers), Arc::clone(&request));
        let outcomes = Arc::clone(&outcomes);
        tasks.spawn(async move {
            for peer in peers.iter().cycle().skip(usize::from(caller)) {
                let outcome = match peer.call(&request).await {
                    Ok(Answer::Refused { code, .. }) => code,
                    Ok(answer) => answer.name().to_owned(),
                    Err(error) => error.code().to_owned(),
                };
                let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                *outcomes.entry(outcome).or_default() += 1;
            }
        });
    }
    ready();
    let stdin = tokio::task::spawn_blocking(|| {
        std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())
    });
    tokio::select! {
        _ = terminate.recv() => {}
        _ = stdin => {}
    }
    let flooded = Flooded {
        callers,
        seconds: since.elapsed().as_secs_f64(),
        outcomes: outcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone(),
    };
    let text = serde_json::to_string(&flooded).map_err(|error| error.to_string())?;
    fs::write(result, text).map_err(|error| error.to_string())
}
