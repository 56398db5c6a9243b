//! The command line of `ceremony`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use super::Failure;

const EXAMPLES: &str = "\
Examples:
  ceremony                                         64 members, both paths, beside frost-core
  ceremony --members 64 --threshold 43 --json      for programs
  ceremony --members 64 --reshare others           the key is handed on to 64 others
  ceremony --sweep                                 5 to 256 members with t = 2n/3 + 1
  ceremony --members 64 --real                     64 processes on this machine, over QUIC
  ceremony --members 16 --real --reshare others    16 processes hand their key on to 16 others";

/// The sizes of a sweep.
const SWEEP: [u16; 6] = [5, 16, 32, 64, 128, 256];

/// What a key generation costs: one member's processor time and bytes, the leader's, and frost-core's for comparison.
///
/// Everything runs in this process, unless --real is given: then every member is a process of its own.
#[derive(Parser, Clone, Debug)]
#[command(name = "ceremony", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// Members, n
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub members: u16,
    /// How many of them use the key together, t [default: 2n/3 rounded down, and one]
    #[arg(long, value_name = "T")]
    pub threshold: Option<u16>,
    /// 5, 16, 32, 64, 128 and 256 members, one after the other
    #[arg(long, conflicts_with_all = ["members", "threshold", "real"])]
    pub sweep: bool,
    /// Hand the key on when it is made, and account for that alone: to the same members, or to as many others. The threshold stays
    #[arg(long, value_enum, value_name = "TO")]
    pub reshare: Option<Reshare>,
    /// How members check the deals
    #[arg(long, value_enum, default_value_t = Paths::Both)]
    pub path: Paths,
    /// Key generations of each kind; the fastest counts, since others' work on the machine only ever adds
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    pub repetitions: u32,
    /// Of all randomness, so that a run can be repeated. Not of --real
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
    /// Leave frost-core out, which takes the longest by far in large clusters
    #[arg(long)]
    pub without_frost: bool,
    /// Run every member as a process of its own, over QUIC, and report what passes on the clock
    #[arg(long, conflicts_with_all = ["path", "repetitions", "seed", "without_frost"])]
    pub real: bool,
    /// With --real: the folder of the nodes' files, a new or an empty one [default: a temporary one]
    #[arg(long, value_name = "DIR", requires = "real")]
    pub dir: Option<PathBuf>,
    /// With --real: leave the folder in place when done
    #[arg(long, requires = "real")]
    pub keep: bool,
    /// Write a line of JSON for each account to this file
    #[arg(long, value_name = "FILE")]
    pub records: Option<PathBuf>,
    /// Print one JSON document instead of the table
    #[arg(long)]
    pub json: bool,
}

/// To whom a key is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Reshare {
    /// Its members get new shares.
    Same,
    /// All its members leave, and as many others come.
    Others,
}

impl Reshare {
    pub(super) fn to(self) -> ceremonies::To {
        match self {
            Self::Same => ceremonies::To::Same,
            Self::Others => ceremonies::To::Others,
        }
    }
}

/// Which ways of checking the deals are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Paths {
    /// The sum of all deals is checked: O(n + t).
    Summed,
    /// Every deal is checked: O(n·t).
    Whole,
    /// One after the other.
    Both,
}

impl Arguments {
    /// Each n with its t.
    pub(super) fn sizes(&self) -> Vec<(u16, u16)> {
        let default = |members: u16| {
            let threshold = u32::from(members) * 2 / 3 + 1;
            u16::try_from(threshold).unwrap_or(members)
        };
        if self.sweep {
            return SWEEP.map(|members| (members, default(members))).to_vec();
        }
        let threshold = self.threshold.unwrap_or_else(|| default(self.members));
        vec![(self.members, threshold)]
    }

    /// Refuses numbers that make no cluster.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let most = u16::try_from(dkg::MAX_MEMBERS).unwrap_or(u16::MAX);
        for (members, threshold) in self.sizes() {
            if members < 2 || members > most {
                return Err(Failure::Arguments(format!(
                    "--members must be 2 to {most}, and is {members}"
                )));
            }
            if threshold < 2 || threshold > members {
                return Err(Failure::Arguments(format!(
                    "--threshold must be 2 to {members}, and is {threshold}"
                )));
            }
        }
        if self.repetitions == 0 {
            return Err(Failure::Arguments(
                "--repetitions must be at least 1".to_owned(),
            ));
        }
        Ok(())
    }
}
