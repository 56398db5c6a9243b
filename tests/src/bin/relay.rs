//! The relay as a program: its configuration and orders on standard input, its answers on standard output, a line of JSON each.

use std::process::ExitCode;

fn main() -> ExitCode {
    match testkit::relay::serve(std::io::stdin(), std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("relay: {error}");
            ExitCode::FAILURE
        }
    }
}
