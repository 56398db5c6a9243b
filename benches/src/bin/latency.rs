//! `latency`: the load generator. Re-executed with the name of a role as its first argument, it is a node or the relay.

use std::alloc::System;
use std::ffi::OsString;
use std::process::ExitCode;

use benches::latency::{self, Arguments};
use clap::Parser;
use zeroizing_alloc::ZeroAlloc;

/// What is freed is wiped, as in the programs that are shipped: what is measured is what people run.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let own_name = words.next();
    let rest: Vec<OsString> = words.collect();
    if let Some(status) = latency::run_as_role(&rest) {
        return status;
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
