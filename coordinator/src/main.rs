//! The binary `coordinator`; everything is in the library, so that the workspace's own binary can be it too.

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// What is freed is wiped, whoever used it: a library's buffer, a list that has grown, a future that is over.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> std::process::ExitCode {
    coordinator::cli::run(std::env::args_os())
}
