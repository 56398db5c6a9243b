//! The root binary: `demo`, `up`, and the two command lines that it re-executes itself as.

use std::alloc::System;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// What is freed is wiped, whoever used it: a library's buffer, a list that has grown, a future that is over.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    threshold_exchange::cli::run(std::env::args_os())
}
