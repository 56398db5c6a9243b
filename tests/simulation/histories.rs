//! The histories that are played, and the planted bugs that show that they would tell.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use crate::invariants;
use crate::plan::{Kind, Plan, SHAPES, provoking};
use crate::plants::Plant;
use crate::shrink::{all, play, report};

/// As many as continuous integration has the time for.
const USUAL: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn kept(plan: &Plan) -> Vec<usize> {
    match std::env::var("SIMULATE_KEEP") {
        Err(_) => all(plan),
        Ok(none) if none == "none" => Vec::new(),
        Ok(steps) => steps
            .split(',')
            .map(|step| step.parse().expect("SIMULATE_KEEP is a list of numbers"))
            .collect(),
    }
}

#[test]
fn the_invariants_hold_in_every_history() {
    if let Some(seed) = number("SIMULATE_SEED") {
        let plan = Plan::of(seed);
        let outcome = play(seed, &plan, &kept(&plan), None, true);
        println!("{}", outcome.log.join("\n"));
        if let Some(found) = outcome.violation {
            panic!("{} does not hold: {}", found.invariant, found.what);
        }
        return;
    }
    let first = number("SIMULATE_FROM").unwrap_or(0);
    let seeds = number("SIMULATE_SEEDS").unwrap_or(USUAL);
    let next = AtomicU64::new(first);
    let [released, opened, made] = [const { AtomicU64::new(0) }; 3];
    let failed: Mutex<Option<String>> = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds || failed.lock().unwrap().is_some() {
                        return;
                    }
                    let plan = Plan::of(seed);
                    let outcome = play(seed, &plan, &all(&plan), None, false);
                    released.fetch_add(outcome.released, Ordering::Relaxed);
                    opened.fetch_add(outcome.opened, Ordering::Relaxed);
                    made.fetch_add(outcome.made as u64, Ordering::Relaxed);
                    if let Some(found) = outcome.violation {
                        let told = report(seed, &plan, None, &found);
                        failed.lock().unwrap().get_or_insert(told);
                    }
                }
            });
        }
    });
    if let Some(told) = failed.into_inner().unwrap() {
        panic!("{told}");
    }
    let [released, opened, made] = [released, opened, made].map(AtomicU64::into_inner);
    let told = format!(
        "{seeds} histories: {released} shares given, {opened} documents opened, {made} results of ceremonies"
    );
    println!("{told}");
    assert!(opened >= seeds / 2 && made >= seeds / 8, "too little has happened: {told}");
}

/// Every planted bug is found, by its invariant, and a short history of it is told.
#[test]
fn every_invariant_finds_the_bug_that_is_planted_for_it() {
    let plants = [
        Plant::OtherResult,
        Plant::FewerOrganisations,
        Plant::LeaksShare,
        Plant::LyingDisk,
        Plant::ForgetfulPeer,
        Plant::Mute,
        Plant::AnswersFirst,
        Plant::BlamesAnybody,
    ];
    let mut found_by: Vec<&str> = Vec::new();
    for plant in plants {
        let plan = Plan {
            kind: Kind::Reads,
            shape: SHAPES[0],
            steps: provoking(plant),
            storm_ms: 8_000,
        };
        let honest = play(7, &plan, &all(&plan), None, false);
        assert_eq!(honest.violation, None, "{plant:?}: nothing is wrong without it");
        let outcome = play(7, &plan, &all(&plan), Some(plant), false);
        let violation = outcome.violation.unwrap_or_else(|| panic!("{plant:?} is not found"));
        assert_eq!(violation.invariant, invariants::finds(plant), "{plant:?}: {}", violation.what);
        found_by.push(violation.invariant);
        let told = report(7, &plan, Some(plant), &violation);
        assert!(told.contains("SIMULATE_KEEP="), "{told}");
    }
    for invariant in invariants::ALL {
        assert!(found_by.contains(&invariant), "no bug is planted for {invariant}");
    }
}
