//! `latency`: the load generator. Re-executed with `cryptonode` as its first argument it is the node.

use std::ffi::OsStr;
use std::process::ExitCode;

use benches::latency::{self, Arguments};
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
    let arguments = Arguments::parse_from(own_name.into_iter().chain(rest));
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(latency::run(&arguments)),
        Err(error) => {
            anstream::eprintln!("cannot start the asynchronous runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
