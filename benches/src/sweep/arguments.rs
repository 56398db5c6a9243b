//! The command line of `sweep`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  sweep --list                                            the ready experiments
  sweep run latency-members --out results/members         measure, as long as it takes; report.html is in the folder
  sweep run latency-members --out try --quick             the same in a few minutes, to see that it works
  sweep run latency-members --out wan --only preset=wan   some of the points
  sweep run mine.toml --out results/mine                  an experiment of your own
  sweep report results/members                            write the report again";

/// Experiments on clusters of real processes, from a file to a report that can be cited.
///
/// An experiment is a TOML file: what to measure, at which points, how often, which plots. A sweep that was stopped, by
/// whatever, goes on with the points that are missing when the same command is given again.
#[derive(Parser, Debug)]
#[command(name = "sweep", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Arguments {
    /// List the ready experiments
    #[arg(long)]
    pub list: bool,
    /// Print one JSON document at the end instead of sentences
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What a sweep can be asked to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Measure every point that is missing, then write summary.csv and report.html
    Run(RunArguments),
    /// Write summary.csv and report.html again, from the records
    Report {
        /// The folder of a sweep
        dir: PathBuf,
    },
    /// Read an experiment and show its points, without measuring
    Check {
        /// A ready experiment's name, or a file
        experiment: String,
        /// As `run --quick` would
        #[arg(long)]
        quick: bool,
    },
}

/// Arguments of `sweep run`.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// A ready experiment's name, or a file
    pub experiment: String,
    /// The folder of the results: a new one, or one of this experiment, to go on with it
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Only the points with these settings, such as members=64 or members=64,preset=wan; may be repeated
    #[arg(long, value_name = "SETTINGS")]
    pub only: Vec<String>,
    /// Fewer requests and points, as the experiment says: to see that it works, not to cite
    #[arg(long)]
    pub quick: bool,
    /// Go on in a folder that was begun with another build; the report names both
    #[arg(long)]
    pub mix_builds: bool,
}
