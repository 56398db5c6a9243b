//! The latency and the throughput of re-encryption, of a whole cluster of real processes.
//!
//! One *request* is one read as the cluster's client sees it, in four phases:
//!
//! 1. *ephemeral key*: X and its proof are made.
//! 2. *approvals*: m organisations issue their certificates. In production that happens at the ledger's peers.
//! 3. *answers*: from the request's leaving until t nodes have answered. Each has verified the approvals and both proofs, computed its
//!    share and the share's proof, and has its audit record on the disk.
//! 4. *opening*: what remains of the client's `open`: the request encoded, x_c·Y, the shares combined, the payload decrypted.
//!
//! **Closed loop** (`--concurrency`): so many callers, each sending its next request when the last one is done. It finds what
//! the cluster can do, and hides what a user would wait: a cluster that stalls is asked nothing while it stalls (*coordinated omission*).
//! **Open loop** (`--rate`): requests start when their time has come, whatever became of those before, and latency counts from
//! that moment. Only the second says what users see at a given load.
//!
//! Percentiles are exact (nearest rank over all requests), never interpolated. Each run is reported, not only the
//! best: on a shared machine their spread is the error bar.

mod arguments;
mod distribution;
mod environment;
mod experiment;
mod load;
mod outcome;
mod process_time;
mod report;
mod running;
mod workload;

use std::process::ExitCode;

pub use arguments::Arguments;

/// Runs the experiment and prints its report. The exit status is 0 only if every request was answered.
pub async fn run(arguments: &Arguments) -> ExitCode {
    let result = tokio::select! {
        result = experiment::run(arguments) => result,
        () = threshold_exchange::site::interruption() => Err(outcome::Failure::Interrupted),
    };
    report::print(arguments, &result)
}
