//! Every input that was ever worth keeping, once more: the corpora, what once crashed, and the seeds.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn names_in(folder: &std::path::Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect()
}

/// Runs a target on an input; a panic is reported with the input.
fn run(target: &fuzz::Target, name: &str, bytes: &[u8]) -> fuzz::Verdict {
    catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).unwrap_or_else(|_| {
        panic!("{} panics on {name}: {}", target.name, hex::encode(bytes));
    })
}

#[test]
fn what_was_kept_and_what_once_crashed_is_survived() {
    let mut replayed = 0;
    for target in fuzz::targets() {
        for kept in ["corpus", "crashes"] {
            let folder = folder(kept).join(target.name);
            for name in names_in(&folder) {
                let bytes = std::fs::read(folder.join(&name)).unwrap();
                let _ = run(&target, &format!("{kept}/{name}"), &bytes);
                replayed += 1;
            }
        }
    }
    assert!(replayed > 300, "only {replayed} inputs are kept");
}

#[test]
fn seeds_are_what_their_names_say_and_are_kept() {
    for target in fuzz::targets() {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seed", target.name);
        for (name, bytes) in seeds {
            let verdict = run(&target, &name, &bytes);
            if name.starts_with("ok") {
                assert_eq!(verdict, Ok(()), "{} on {name}", target.name);
            }
            // Byte for byte: seeds are the same in every run, and those that are kept are those of this very code.
            let file = format!("seed-{name}");
            let kept = std::fs::read(folder("corpus").join(target.name).join(&file));
            assert!(
                kept.is_ok_and(|kept| kept == bytes),
                "{}: {file} is missing or another one: run `fuzz/run seed`",
                target.name
            );
        }
    }
}

/// Whatever operations the platform has, each is asked for as its description says, and answered.
#[test]
fn every_operation_of_the_interface_is_answered() {
    let target = fuzz::target("rest_request").unwrap();
    let operations = fuzz::operations();
    assert!(operations.len() > 60, "{}", operations.len());
    let answered = operations
        .iter()
        .filter(|(name, request)| run(&target, name, request).is_ok());
    assert!(answered.count() > 10);
}

/// No target without a corpus, and no corpus that belongs to no target.
#[test]
fn every_corpus_has_its_target() {
    let targets: BTreeSet<String> = fuzz::targets()
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    assert_eq!(names_in(&folder("corpus")), targets);
    assert!(names_in(&folder("crashes")).is_subset(&targets));
}

/// The command by which all of this is run says how, and takes nothing that it does not know.
#[test]
fn the_command_says_how_it_is_used_and_refuses_what_it_does_not_know() {
    let run = |arguments: &[&str], jobs: &str| {
        std::process::Command::new(folder("run"))
            .args(arguments)
            .env("JOBS", jobs)
            .output()
            .unwrap()
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    for help in ["--help", "-h", "help"] {
        let helped = run(&[help], "2");
        assert!(helped.status.success());
        assert!(text(&helped.stdout).starts_with("usage: fuzz/run SECONDS"));
    }
    let listed = text(&run(&["list"], "2").stdout);
    let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    assert_eq!(listed, names_in(&folder("corpus")));
    for (wrong, jobs) in [
        (&[][..], "2"),
        (&["soon"], "2"),
        (&["0"], "2"),
        (&["-5"], "2"),
        (&["1.5"], "2"),
        (&["--seconds", "5"], "2"),
        (&["5", "nothing"], "2"),
        (&["5", "message", "../src"], "2"),
        (&["seed", "more"], "2"),
        (&["5"], "many"),
    ] {
        let refused = run(wrong, jobs);
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}");
        let said = text(&refused.stderr);
        assert!(said.contains("--help"), "{wrong:?}: {said}");
    }
}

/// A few mutations of every seed in every test run, the same each time, whether or not a fuzzer is installed.
#[test]
fn mutated_seeds_are_survived() {
    for target in fuzz::targets() {
        let mut rng = StdRng::seed_from_u64(0);
        for (name, seed) in (target.seeds)().iter().take(12) {
            for _ in 0..12 {
                let mut bytes = seed.clone();
                for _ in 0..rng.random_range(1..4) {
                    if bytes.is_empty() {
                        bytes.push(rng.random());
                    }
                    let at = rng.random_range(0..bytes.len());
                    match rng.random_range(0..4) {
                        0 => bytes[at] = rng.random(),
                        1 => bytes.insert(at, rng.random()),
                        2 => drop(bytes.remove(at)),
                        _ => bytes.truncate(at),
                    }
                }
                let _ = run(&target, name, &bytes);
            }
        }
    }
}
