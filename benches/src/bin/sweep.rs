//! `sweep`: experiments. Re-executed it is an instrument (`sweep instrument latency …`), and of these the nodes.

use std::alloc::System;
use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use benches::{ceremony, latency, read, record, sweep};
use clap::Parser;
use zeroizing_alloc::ZeroAlloc;

/// What is freed is wiped, as in the programs that are shipped: what is measured is what people run.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let own_name = words.next();
    let mut rest: Vec<OsString> = words.collect();
    if let Some(status) = latency::run_as_role(&rest) {
        return status;
    }
    if let Some(status) = record::run_as_member(&rest) {
        return status;
    }
    match rest.first().and_then(|first| first.to_str()) {
        Some("coordinator") => threshold_exchange::cli::run(own_name.into_iter().chain(rest)),
        Some(sweep::INSTRUMENT) => {
            // The sweep that started us may be killed: then this ends as by Ctrl-C, and stops its nodes.
            let _ = rustix::process::set_parent_process_death_signal(Some(
                rustix::process::Signal::INT,
            ));
            rest.remove(0);
            instrument(rest)
        }
        _ => {
            let arguments = sweep::Arguments::parse_from(own_name.into_iter().chain(rest));
            on_runtime(sweep::run(&arguments))
        }
    }
}

fn instrument(words: Vec<OsString>) -> ExitCode {
    match words.first().and_then(|name| OsStr::to_str(name)) {
        Some("latency") => {
            let arguments = latency::Arguments::parse_from(words);
            on_runtime(async move { latency::run(&arguments).await })
        }
        Some("ceremony") => ceremony::run(&ceremony::Arguments::parse_from(words)),
        Some("read") => {
            let arguments = read::Arguments::parse_from(words);
            on_runtime(async move { read::run(&arguments).await })
        }
        Some("record") => {
            let arguments = record::Arguments::parse_from(words);
            on_runtime(async move { record::run(&arguments).await })
        }
        Some("peers") => sweep::become_peers(words.get(1..).unwrap_or_default()),
        other => {
            let other = other.unwrap_or_default();
            anstream::eprintln!(
                "there is no instrument {other:?}; there are latency, read, ceremony, record and peers"
            );
            ExitCode::from(2)
        }
    }
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
