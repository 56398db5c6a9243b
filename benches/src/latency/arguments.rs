//! The command line of `latency`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use super::faults::FaultArgument;
use super::outcome::Failure;

const EXAMPLES: &str = "\
Examples:
  latency                                            3 of 5, one request after the other
  latency --concurrency 32 --requests 5000           as much as 32 callers get through
  latency --rate 800 --requests 5000                 what users see at 800 requests a second
  latency --members 43 --threshold 22 --repetitions 3 --json
  latency --network atlantic --loss 1                nodes on both sides of the Atlantic, one datagram in 100 lost
  latency --fault crashed --fault wrong-share        one node down, one that lies
  latency --rate 50 --flood 64 --client-rate 300     what one client that floods does to another
  latency --combination verified --audit tmpfs       every share verified, the audit log in memory";

/// Latency and throughput of threshold re-encryption, measured on a cluster of real processes on this machine.
///
/// It starts the nodes, has them generate a key, sends the requests, prints what they took, and stops everything.
#[derive(Parser, Clone, Debug)]
#[command(name = "latency", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// Crypto nodes, n
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub members: u16,
    /// How many of them re-encrypt together, t
    #[arg(long, default_value_t = 3, value_name = "T")]
    pub threshold: u16,
    /// Organisations, all of which approve each request
    #[arg(long, default_value_t = 2, value_name = "M")]
    pub approvals: u16,
    /// What the organisations sign with
    #[arg(long, value_enum, default_value_t = SignatureAlgorithm::Ed25519)]
    pub algorithm: SignatureAlgorithm,
    /// Requests in each run
    #[arg(long, default_value_t = 500, value_name = "COUNT")]
    pub requests: u32,
    /// Requests before each run that are not counted
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub warm_up: u32,
    /// Runs, on the same cluster and key
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    pub repetitions: u32,
    /// Closed loop: callers, each of which has one request under way at any time
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    pub concurrency: u16,
    /// Open loop instead: requests a second, started at their time, whatever became of those before
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "concurrency")]
    pub rate: Option<f64>,
    /// How the open loop's requests are spaced
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub arrivals: Arrivals,
    /// Of the open loop's random arrivals and of the relay's chances. Keys, nonces and proofs are always drawn by the system
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
    /// The first run's number. Each run's arrivals are drawn from the seed and its number: the sweep gives the repetition's
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub first_run: u32,
    /// Wrapped keys that the requests go over, in turns [default: one for each request]
    #[arg(long, value_name = "COUNT")]
    pub documents: Option<u32>,
    /// Make ephemeral keys and approvals before the clock starts: what remains is the cluster's work and the opening
    #[arg(long)]
    pub ahead: bool,
    /// Bytes that each wrapped key holds
    #[arg(long, default_value_t = 32, value_name = "BYTES")]
    pub payload: u16,
    /// Combine the first t shares and verify them only if that does not open, or verify each as it comes
    #[arg(long, value_enum, default_value_t = Combination::Optimistic)]
    pub combination: Combination,
    /// Ask another node when one takes longer than this, and than three times what it took of late
    #[arg(long, default_value_t = 50, value_name = "MS")]
    pub hedge_after: u32,
    /// Never ask another node because one is slow: only when one fails
    #[arg(long, conflicts_with = "hedge_after")]
    pub no_hedging: bool,
    /// Where the nodes' audit logs are. They are always synced: on tmpfs, in memory, that costs nothing and promises nothing
    #[arg(long, value_enum, default_value_t = AuditPlace::Disk)]
    pub audit: AuditPlace,
    /// The network between the parties: lan, region, europe, atlantic, world, or a file in the form of
    /// tests/src/relay/networks.toml [default: this machine's loopback, without a relay]
    #[arg(long, value_name = "NAME|FILE")]
    pub network: Option<String>,
    /// The round trip between all parties, in milliseconds; with --network, between those at one place
    #[arg(long, value_name = "MS")]
    pub round_trip: Option<f64>,
    /// Mean of the jitter in each direction, in milliseconds, exponentially distributed, beside the network's own
    #[arg(long, value_name = "MS")]
    pub jitter: Option<f64>,
    /// Datagrams lost in each direction, in percent
    #[arg(long, value_name = "PERCENT")]
    pub loss: Option<f64>,
    /// Datagrams overtaken by later ones, in percent
    #[arg(long, value_name = "PERCENT")]
    pub reorder: Option<f64>,
    /// Bandwidth of each direction between two parties, in megabits a second
    #[arg(long, value_name = "MBIT")]
    pub bandwidth: Option<f64>,
    /// A faulty node: crashed, no-answer, late=MS, refusal, wrong-share, wrong-proof, slow-cpu=TIMES; for a node of choice
    /// @NUMBER behind it, otherwise the highest numbers. May be repeated
    #[arg(long = "fault", value_name = "WHAT[@NODE]")]
    pub faults: Vec<FaultArgument>,
    /// Another client floods the nodes meanwhile, from so many callers at once: what is left for the one that is measured
    #[arg(long, default_value_t = 0, value_name = "CALLERS")]
    pub flood: u16,
    /// Requests a second that each node takes of one client; 0 is no bound, as a node comes
    #[arg(long, default_value_t = 0, value_name = "PER_SECOND")]
    pub client_rate: u32,
    /// The nodes neither look whether the others are there nor cosign one another's logs, as they otherwise do all the time: of many
    /// nodes on one machine that is n² connections, and what is to be measured is what requests cost
    #[arg(long)]
    pub unwatched: bool,
    /// Each node in a process of its own, or all in one; the client is always apart
    #[arg(long, value_enum, default_value_t = Processes::Many)]
    pub processes: Processes,
    /// Requests after each run that are sent to all nodes, one at a time: for the times to the t-th and to the n-th answer, and
    /// for the parts of the reader's work
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    pub probes: u32,
    /// How often connections are made anew to each node, after the runs: for their cost cold, resumed and warm
    #[arg(long, default_value_t = 5, value_name = "COUNT")]
    pub handshakes: u32,
    /// Write a line of JSON for each request to this file
    #[arg(long, value_name = "FILE")]
    pub records: Option<PathBuf>,
    /// The nodes' executable, called as `PROGRAM cryptonode …`: another version, say [default: this very program]
    #[arg(long, value_name = "PROGRAM")]
    pub program: Option<PathBuf>,
    /// The folder of the nodes' files, on the disk whose durability counts: a new or an empty one [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Leave the folder in place when done
    #[arg(long)]
    pub keep: bool,
    /// How much the nodes write to their logs: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: String,
    /// Print one JSON document instead of the tables
    #[arg(long)]
    pub json: bool,
}

/// What approvals are signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SignatureAlgorithm {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on P-256 with SHA-256.
    P256,
}

impl From<SignatureAlgorithm> for certs::Algorithm {
    fn from(algorithm: SignatureAlgorithm) -> Self {
        match algorithm {
            SignatureAlgorithm::Ed25519 => Self::Ed25519,
            SignatureAlgorithm::P256 => Self::EcdsaP256,
        }
    }
}

/// The spacing of requests in the open loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Exponential gaps, as of many users who know nothing of each other.
    Poisson,
    /// Equal gaps.
    Even,
}

/// How the reader uses the shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Combination {
    /// Combine first, verify only if it does not open.
    Optimistic,
    /// Verify each, then combine.
    Verified,
}

/// Where audit logs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AuditPlace {
    /// In the nodes' folders.
    Disk,
    /// In memory, by a link from there to /dev/shm.
    Tmpfs,
}

/// How nodes are divided among processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Processes {
    /// One each.
    Many,
    /// All in one.
    One,
}

impl Arguments {
    /// Refuses numbers that make no cluster or no load.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let refuse = |sentence: String| Err(Failure::Arguments(sentence));
        let Self {
            members, threshold, ..
        } = *self;
        if threshold == 0 || threshold > members {
            return refuse(format!(
                "{threshold} of {members} nodes make no cluster: --threshold must be at least 1 and at most --members"
            ));
        }
        let organisations = u16::try_from(certs::MAX_ORGANISATIONS).unwrap_or(u16::MAX);
        if self.approvals == 0 || self.approvals > organisations {
            return refuse(format!("--approvals must be 1 to {organisations}"));
        }
        if self.requests == 0 || self.repetitions == 0 || self.concurrency == 0 {
            return refuse(
                "--requests, --repetitions and --concurrency must be at least 1".to_owned(),
            );
        }
        let bytes = reencrypt::MIN_SECRET..=reencrypt::MAX_SECRET;
        if !bytes.contains(&usize::from(self.payload)) {
            return refuse(format!(
                "--payload must be {} to {} bytes: a wrapped key holds a key, not a document",
                bytes.start(),
                bytes.end()
            ));
        }
        if self.processes == Processes::One && !self.faults.is_empty() {
            return refuse(
                "a faulty node is a process of its own: leave --processes one away with --fault"
                    .to_owned(),
            );
        }
        if self.documents == Some(0) {
            return refuse("--documents must be at least 1".to_owned());
        }
        if self
            .rate
            .is_some_and(|rate| !rate.is_finite() || rate <= 0.0)
        {
            return refuse("--rate must be a positive number of requests a second".to_owned());
        }
        Ok(())
    }
}
