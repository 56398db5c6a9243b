//! The root binary: `demo`, `up`, and the two command lines that it re-executes itself as.

use std::process::ExitCode;

fn main() -> ExitCode {
    threshold_exchange::cli::run(std::env::args_os())
}
