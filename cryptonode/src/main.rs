//! The program `cryptonode`; everything is in the library.

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// What is freed is wiped, whoever used it: a library's buffer, a list that has grown, a future that is over.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> std::process::ExitCode {
    cryptonode::cli::run(std::env::args_os())
}
