//! The latency and the throughput of re-encryption, of a whole cluster of real processes.
//!
//! One *request* is one read as the cluster's client sees it, in four phases:
//!
//! 1. *ephemeral key*: X and its proof are made.
//! 2. *approvals*: m organisations issue their certificates. In production that happens at the ledger's peers.
//! 3. *answers*: from the first node's being asked until the answer that is enough, whoever had to be asked meanwhile in another's place. Each of t nodes has verified the approvals and both proofs, computed its
//!    share and the share's proof, and has its audit record on the disk.
//! 4. *opening*: what remains of the client's `open`: the request encoded, x_c·Y, the shares combined, the payload decrypted.
//!
//! The nodes time their own phases (`node_phases`), and *network* is what is left of a call when the node's part is taken off:
//! the way there and back, QUIC on both sides, and the wait for a processor. It is given only if both means are of the same requests. After each run, *probes* ask all n nodes and take the
//! reader's work apart (`probe`); after all runs, connections are made anew (`connections`).
//!
//! **Closed loop** (`--concurrency`): so many callers, each sending its next request when the last one is done. It finds what
//! the cluster can do, and hides what a user would wait: a cluster that stalls is asked nothing while it stalls (*coordinated omission*).
//! **Open loop** (`--rate`): requests start when their time has come, whatever became of those before, and latency counts from
//! that moment. Only the second says what users see at a given load. Its throughput is what is done while requests come; what fails counts in its
//! percentiles as never done.
//!
//! **The network** is this machine's loopback, or the relay of `testkit` between all parties, a process of its own. The key is
//! generated before it begins to delay and lose.
//!
//! **Faulty nodes** hold a true node's identity, share and address, and are processes of `testkit`'s: the product has no
//! switch that makes it lie. They take their node's place before the client's first connection, so that a run shows the state
//! that the client has settled into during the warm-up; `--warm-up 0` shows how it gets there.
//!
//! Percentiles are exact (nearest rank over all requests), never interpolated; those of the nodes' phases are exact to
//! 3 %. Each run is reported, not only the best: on a shared machine their spread is the error bar. The fields of the
//! JSON document are listed in `benches/README.md`.

mod account;
mod arguments;
mod child;
mod connections;
mod distribution;
mod environment;
mod experiment;
mod faults;
mod flood;
mod load;
mod network;
mod node_phases;
mod node_settings;
mod outcome;
mod probe;
mod process_time;
mod records;
mod report;
mod roles;
mod running;
mod workload;

use std::process::ExitCode;

pub use arguments::Arguments;
pub use roles::run as run_as_role;

/// Runs the experiment and prints its report. The exit status is 0 only if every request was answered.
pub async fn run(arguments: &Arguments) -> ExitCode {
    let result = tokio::select! {
        result = experiment::run(arguments) => result,
        () = threshold_exchange::site::interruption() => Err(outcome::Failure::Interrupted),
    };
    report::print(arguments, &result)
}
