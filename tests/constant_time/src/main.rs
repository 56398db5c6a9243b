//! Constant time, shown in two ways.
//!
//! **Under valgrind** (`constant-time check NAME`, as `tests/constant_time/run` does it): the secrets of an operation are
//! marked as undefined memory, as A. Langley's ctgrind does. Memcheck then follows what is computed from them, and reports every
//! branch and every memory address that depends on it. What an operation may give away (a public point, a verdict) is
//! marked as defined again where it leaves. The program that is checked is the release build, on the code path that the
//! processor under valgrind has: AVX2.
//!
//! **By measuring** (`constant-time measure NAME`), on the processor as it is, with AVX-512 if it has it: two classes of
//! inputs in random order, and Welch's t-test over the times (dudect: Reparaz, Balasch, Verbauwhede, DATE 2017).
//!
//! Each way has an operation that is variable in time on purpose, and must be found out. Under valgrind a leak is planted before
//! every check besides (`planted`): what does not find that is no check, and says so.
//!
//! | exit status of `check` | |
//! |---|---|
//! | 0 | no place depends on a secret |
//! | 1 | some do |
//! | 3 | the check is blind |
//! | any other | the operation itself has failed |
#![allow(clippy::print_stdout, reason = "a tool for tests")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure of the check"
)]

mod marks;
mod operations;
mod planted;
mod timing;

use std::process::ExitCode;

/// Exit status of a check that does not find what was planted for it.
const BLIND: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["list"] => {
            for (name, _) in operations::all() {
                println!("{name}");
            }
            ExitCode::SUCCESS
        }
        ["check", name] => {
            assert!(marks::under_valgrind(), "run it under valgrind");
            let unseen = planted::unseen();
            if !unseen.is_empty() {
                println!(
                    "{name}: the check is blind, it does not see {}",
                    unseen.join(" and ")
                );
                return ExitCode::from(BLIND);
            }
            let all = operations::all();
            let operation = all.iter().find(|(known, _)| known == name);
            let (_, run) = operation.expect("`constant-time list` has the names");
            let before = marks::errors();
            run();
            let found = marks::errors() - before;
            println!("{name}: {found} places depend on a secret");
            ExitCode::from(u8::from(found > 0))
        }
        ["measure"] => timing::measure_all(),
        _ => {
            eprintln!("constant-time list | check NAME (under valgrind) | measure");
            ExitCode::from(2)
        }
    }
}
