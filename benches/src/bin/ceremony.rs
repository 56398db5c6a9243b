//! `ceremony`: what a key generation costs. Re-executed with `cryptonode` as its first argument it is the node.

use std::ffi::OsStr;
use std::process::ExitCode;

use benches::ceremony::{self, Arguments};
use clap::Parser;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let own_name = words.next();
    let mut rest = words.peekable();
    if rest
        .peek()
        .is_some_and(|first| first == OsStr::new("cryptonode"))
    {
        return cryptonode::cli::run(rest);
    }
    ceremony::run(&Arguments::parse_from(own_name.into_iter().chain(rest)))
}
