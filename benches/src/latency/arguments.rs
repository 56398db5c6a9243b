//! The command line of `latency`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use super::outcome::Failure;

const EXAMPLES: &str = "\
Examples:
  latency                                            3 of 5, one request after the other
  latency --concurrency 32 --requests 5000           as much as 32 callers get through
  latency --rate 800 --requests 5000                 what users see at 800 requests a second
  latency --members 43 --threshold 22 --repetitions 3 --json";

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
    /// Of the open loop's random arrivals. Keys, nonces and proofs are always drawn by the system
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
    /// Wrapped keys that the requests go over, in turns [default: one for each request]
    #[arg(long, value_name = "COUNT")]
    pub documents: Option<u32>,
    /// Make ephemeral keys and approvals before the clock starts: what remains is the cluster's work and the opening
    #[arg(long)]
    pub ahead: bool,
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
