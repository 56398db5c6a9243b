//! The corpora and what the targets think of inputs.
//!
//! ```text
//! fuzz-corpus list                names of all targets
//! fuzz-corpus seed FOLDER         writes each target's seeds to FOLDER/TARGET
//! fuzz-corpus fixtures FOLDER     makes the keys and certificates anew that the seeds are made with
//! fuzz-corpus verdict TARGET      reads inputs, one line of hexadecimal each, and answers `ok` or a code, a line each
//! ```
#![allow(clippy::print_stdout, reason = "a tool for tests and scripts")]

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["list"] => {
            fuzz::targets()
                .iter()
                .for_each(|target| println!("{}", target.name));
            Ok(())
        }
        ["seed", folder] => seed(Path::new(folder)),
        ["fixtures", folder] => fuzz::make_fixtures(Path::new(folder)),
        ["verdict", name] => verdicts(name),
        _ => {
            eprintln!("fuzz-corpus list | seed FOLDER | fixtures FOLDER | verdict TARGET");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fuzz-corpus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn seed(folder: &Path) -> std::io::Result<()> {
    for target in fuzz::targets() {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (name, bytes) in (target.seeds)() {
            std::fs::write(folder.join(format!("seed-{name}")), bytes)?;
        }
    }
    Ok(())
}

fn verdicts(name: &str) -> std::io::Result<()> {
    let target = fuzz::target(name).ok_or(std::io::ErrorKind::NotFound)?;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let bytes = hex::decode(line?.trim()).map_err(|_| std::io::ErrorKind::InvalidInput)?;
        match (target.run)(&bytes) {
            Ok(()) => writeln!(out, "ok")?,
            Err(code) => writeln!(out, "{}", code.replace('\n', " "))?,
        }
        out.flush()?;
    }
    Ok(())
}
