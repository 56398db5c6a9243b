//! Hostile input: a target for every decoder, and for every machine that takes what a peer sends.
//!
//! A target is a function of bytes that says what became of them: accepted, or refused with a code. Whatever the bytes, it
//! must come back, and what it accepts must hold: one encoding for each value, no effect of what is refused, nobody
//! blamed but the sender. A target that finds otherwise panics, which is what a fuzzer looks for.
//!
//! ```text
//! fuzz/run 5                 all targets, 5 seconds each, from the kept corpora: what CI does
//! fuzz/run 300 message       one target for five minutes; what is new goes to fuzz/corpus/message
//! cargo test -p fuzz         replays the corpora, and everything that once crashed (fuzz/crashes)
//! fuzz-corpus verdict NAME   says what a target thinks of inputs, for comparison with other implementations
//! ```
//!
//! The fuzzer is libFuzzer, on the stable compiler: our own crates are instrumented by LLVM's coverage pass, the libraries
//! below them are shared with the ordinary build (`fuzz/instrument`). All of it is safe Rust, so no address sanitizer is asked for,
//! and no nightly compiler.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic is how a target says that it has found something"
)]

mod ceremonies;
mod certificates;
mod chains;
#[path = "../../dkg/tests/machines/cluster.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a part of the key generation's own simulated cluster is used"
)]
mod cluster;
mod der;
mod edits;
mod files;
mod folders;
mod handed;
mod headers;
mod keys;
mod logs;
mod moments;
mod node;
mod platform;
mod proofs;
mod race;
mod record;
mod reshares;
mod rest;
mod revocations;
mod scheme;
mod signing;
#[path = "../../dkg/tests/machines/world.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a part of the key generation's own simulated world is used"
)]
mod world;

pub use certificates::make_fixtures;
pub use rest::operations;

/// What became of an input: accepted, or refused with this code.
pub type Verdict = Result<(), String>;

/// One target.
pub struct Target {
    /// Its name, and that of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]) -> Verdict,
    /// Inputs to begin with, each with a name. Those whose name begins with `ok` are accepted.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
}

/// All targets.
#[must_use]
pub fn targets() -> Vec<Target> {
    [
        scheme::targets(),
        certificates::targets(),
        ceremonies::targets(),
        reshares::targets(),
        signing::targets(),
        node::targets(),
        logs::targets(),
        platform::targets(),
        headers::targets(),
        files::targets(),
        folders::targets(),
        rest::targets(),
        record::targets(),
        revocations::targets(),
        chains::targets(),
        proofs::targets(),
        handed::targets(),
        race::targets(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The target with this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    targets().into_iter().find(|target| target.name == name)
}

/// Refused with this code.
fn refused<T>(code: impl ToString) -> Result<T, String> {
    Err(code.to_string())
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "not-utf-8".to_owned())
}
