//! `ceremony`: what a key generation costs. Re-executed with `cryptonode` as its first argument it is the node.

use std::alloc::System;
use std::ffi::OsStr;
use std::process::ExitCode;

use benches::ceremony::{self, Arguments};
use clap::Parser;
use zeroizing_alloc::ZeroAlloc;

/// What is freed is wiped, as in the programs that are shipped: what is measured is what people run.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

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
