//! The binary `coordinator`; everything is in the library, so that the workspace's own binary can be it too.

fn main() -> std::process::ExitCode {
    coordinator::cli::run(std::env::args_os())
}
