//! The program `cryptonode`; everything is in the library.

fn main() -> std::process::ExitCode {
    cryptonode::cli::run(std::env::args_os())
}
