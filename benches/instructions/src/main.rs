//! Counts the instructions of the hot functions and holds them to a committed baseline.
//!
//! Time on a shared machine says little about a change of a few per cent; the number of instructions says it exactly, on any
//! machine, in seconds. `instructions check` runs each [operation](operations) once under valgrind's callgrind, which counts what is
//! executed inside [`region::measured`], and compares with `baseline/PLATFORM.toml`. All randomness is seeded, so that
//! the same code gives the same count every time, but for some hundredths of a per cent that where things lie in memory makes.
//!
//! What it does not see: valgrind has no AVX-512, so the count is that of the AVX2 code; caches, the disk, the network,
//! and other processes count nothing. A baseline is of one architecture, one set of vector instructions and one compiler.
//!
//! Callgrind is called as it is. Its Rust harness, gungraun (iai-callgrind before), wants a runner of exactly its own
//! version installed and keeps baselines in the build folder; here a baseline is a small file that a review sees change.

mod baseline;
mod callgrind;
mod cluster;
mod member;
mod operations;
mod region;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use baseline::Baseline;

/// Instruction counts of the hot functions, held to a committed baseline. Needs valgrind.
#[derive(Parser, Debug)]
#[command(name = "instructions", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Count, compare with the baseline, and fail if an operation needs over 5 % more
    Check {
        /// Write the counts as the new baseline instead
        #[arg(long)]
        write: bool,
        /// Only these operations
        #[arg(value_name = "OPERATION")]
        only: Vec<String>,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Run one operation: what callgrind is given
    #[command(hide = true)]
    Run {
        /// Its name
        operation: String,
    },
    /// Say what code the processor that is seen here gets
    #[command(hide = true)]
    Platform,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { operation } => match operations::run(&operation) {
            true => ExitCode::SUCCESS,
            false => {
                anstream::eprintln!("there is no operation {operation}");
                ExitCode::from(2)
            }
        },
        Command::Platform => {
            anstream::println!("{}", callgrind::platform());
            ExitCode::SUCCESS
        }
        Command::Check { write, only, json } => match check(write, &only, json) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(failure) => {
                anstream::eprintln!("{failure}");
                ExitCode::from(2)
            }
        },
    }
}

/// Whether no operation needs more than it may.
fn check(write: bool, only: &[String], json: bool) -> Result<bool, baseline::Failure> {
    let names: Vec<&str> = operations::NAMES
        .iter()
        .copied()
        .filter(|name| only.is_empty() || only.iter().any(|wanted| wanted == name))
        .collect();
    if let Some(unknown) = only
        .iter()
        .find(|wanted| !operations::NAMES.contains(&wanted.as_str()))
    {
        return Err(baseline::Failure::Operation {
            name: unknown.clone(),
            known: operations::NAMES.join(", "),
        });
    }
    let platform = callgrind::platform_under_valgrind()?;
    let counts = callgrind::count_all(&names)?;
    if write {
        let path = baseline::write(&platform, &counts)?;
        anstream::println!("{} operations written to {}", counts.len(), path.display());
        return Ok(true);
    }
    let comparison = Baseline::read(&platform)?.compare(&counts);
    if json {
        anstream::println!("{}", comparison.json());
    } else {
        anstream::print!("{}", comparison.text());
    }
    Ok(comparison.passes())
}
