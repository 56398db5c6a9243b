//! `growth`: what a golden record of many transactions takes.
//!
//! A peer executes blocks of real transactions, as many as are asked for: signed users' writes of documents under a cluster key and reads of them, with wrapped and
//! ephemeral keys whose proofs are verified, every block durable before the next. Transactions are made beforehand, block by block, and that is not counted.
//!
//! Measured: the time to apply, the size on disk, the memory of the process that holds the record, the time to open a store and rebuild the state from it, and the time
//! of a backup. Opening is done by a process of its own, as after a restart.

mod history;
mod measure;

use clap::Parser;
use std::{path::PathBuf, process::ExitCode};

/// What a golden record of many transactions takes: time to apply, size on disk, memory, time to open.
#[derive(Parser, Clone, Debug)]
#[command(name = "growth", version)]
struct Arguments {
    /// Transactions on the record at the end
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    transactions: u64,
    /// Transactions in a block, at most 1024
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    block: u16,
    /// Of ten transactions on documents, how many are reads; the rest are writes
    #[arg(long, default_value_t = 7, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=9))]
    reads: u8,
    /// Print a line of the same measures at each so many transactions [default: a tenth]
    #[arg(long, value_name = "N")]
    every: Option<u64>,
    /// The folder of the store, which is removed at the end unless --keep [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave the store in place
    #[arg(long, requires = "dir")]
    keep: bool,
    /// Of everything random, so that a run can be repeated
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Open the store in --dir and say what that took; the program calls itself so
    #[arg(long, hide = true, requires = "dir")]
    open: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = if arguments.open {
        measure::open(&arguments)
    } else {
        measure::run(&arguments)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            anstream::eprintln!("growth: {failure}");
            ExitCode::FAILURE
        }
    }
}
