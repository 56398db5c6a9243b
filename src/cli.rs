//! The root command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::site::{RecordEngine, Tool};
use crate::{demo, up};

const EXAMPLES: &str = "\
Examples:
  threshold-exchange demo README.md                the whole idea, on a file of your own
  threshold-exchange demo --dir site --keep *.pdf  and keep everything to look at
  threshold-exchange up --dir site                 start the same and stay
  threshold-exchange cryptonode --help             the crypto node and its operator's commands
  threshold-exchange coordinator --help            the platform and its users' commands";

/// Threshold re-encryption with a key that nobody holds, and the data exchange on it.
///
/// A cluster of crypto nodes generates a key together; documents are encrypted under it; a ledger of several organisations
/// approves each single read; and any three of five nodes then re-encrypt one document's key to one reader, without any of
/// them seeing it.
#[derive(Parser)]
#[command(name = "threshold-exchange", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a whole site, write and read your files, break it and mend it, and tell what happened
    Demo(DemoArguments),
    /// Start a whole site and stay, telling what to type next
    Up(UpArguments),
    /// The crypto node and its operator's commands
    #[command(disable_help_flag = true)]
    Cryptonode(Passed),
    /// The platform, the golden record, and their users' commands
    #[command(disable_help_flag = true)]
    Coordinator(Passed),
}

/// Arguments of `demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArguments {
    /// The files to write, to read back and to compare; any size
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    /// Leave the folder in place when done
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON document at the end instead of the story
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `up`.
#[derive(Args, Clone, Debug)]
pub struct UpArguments {
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    /// Leave the folder in place when stopped
    #[arg(long)]
    pub keep: bool,
    /// Print one line of JSON when everything serves, instead of the story
    #[arg(long)]
    pub json: bool,
}

/// Where a site lives and how much its processes log.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlaceArguments {
    /// The folder for everything: a new or an empty one [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// How much the processes write to their logs: error, warn, info, debug, trace, or directives such as `quinn=debug`
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log: String,
    /// What orders the golden record
    #[arg(long, value_enum, value_name = "ENGINE", default_value_t)]
    pub(crate) engine: RecordEngine,
}

#[derive(Args)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
    arguments: Vec<OsString>,
}

/// Runs the command line and gives its exit status: 0 only if everything that was asked for was done.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Cli::parse_from(arguments).command {
        Command::Demo(arguments) => on_runtime(demo::run(arguments)),
        Command::Up(arguments) => on_runtime(up::run(arguments)),
        Command::Cryptonode(Passed { arguments }) => {
            cryptonode::cli::run(with_name(Tool::Cryptonode, arguments))
        }
        Command::Coordinator(Passed { arguments }) => {
            coordinator::cli::run(with_name(Tool::Coordinator, arguments))
        }
    }
}

fn with_name(tool: Tool, arguments: Vec<OsString>) -> Vec<OsString> {
    std::iter::once(OsString::from(tool.name()))
        .chain(arguments)
        .collect()
}

fn on_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            anstream::eprintln!("cannot start the asynchronous runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
