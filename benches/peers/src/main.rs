//! This project's operations beside those of others, in one run on one machine.
//!
//! Two comparisons, each between things that do the same for the same purpose, though not with the same guarantees:
//!
//! - [`reencryption`]: this project's `reencrypt` beside `umbral-pre` (Umbral on secp256k1). Both give a threshold of
//!   verifiable fragments. Umbral's proxies hold a fragment made by the owner for one recipient; here the nodes hold
//!   shares of a key that nobody has, and each read has an ephemeral key with a proof of its own.
//! - [`key_generation`]: one member's work in this project's key generation beside frost-core's `keys::dkg`, both on
//!   ristretto255. Ours also checks complaints' material, Merkle paths and signatures of every deal, and seals the share.
//!
//! All implementations take turns, sample by sample, so that a busy moment of the machine hits all of them. Each sample is the mean
//! of as many calls as fill some milliseconds. This is an instrument of `sweep`: one line of JSON a sample.

mod key_generation;
mod reencryption;
mod samples;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// This project's operations beside those of others, in one run.
#[derive(Parser, Debug)]
#[command(name = "peers", version)]
struct Arguments {
    /// Nodes, n
    #[arg(long, default_value_t = 5, value_name = "N")]
    members: u16,
    /// How many of them are needed, t
    #[arg(long, default_value_t = 3, value_name = "T")]
    threshold: u16,
    /// What is compared
    #[arg(long, value_enum, default_value_t = What::Reencryption)]
    what: What,
    /// Samples of each operation
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    samples: u32,
    /// Write a line of JSON for each sample to this file
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Print one JSON document instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// Re-encryption, beside umbral-pre
    Reencryption,
    /// Key generation, beside frost-core
    KeyGeneration,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (n, t) = (arguments.members, arguments.threshold);
    if t < 2 || t > n || arguments.samples == 0 {
        eprintln!("--threshold must be 2 to --members, and --samples at least 1");
        return ExitCode::from(2);
    }
    let operations = match arguments.what {
        What::Reencryption => reencryption::operations(n, t),
        What::KeyGeneration => key_generation::operations(n, t),
    };
    let samples = samples::take(operations, arguments.samples);
    if let Some(path) = &arguments.records
        && let Err(error) = samples.write(path)
    {
        eprintln!("cannot write {}: {error}", path.display());
        return ExitCode::from(2);
    }
    if arguments.json {
        println!("{}", samples.document());
    } else {
        print!("{}", samples.text());
    }
    ExitCode::SUCCESS
}
