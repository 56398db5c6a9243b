//! From a seed that fails to the shortest history that can be found which fails in the same way: steps of the plan are left out, in
//! ever smaller groups (delta debugging), as long as the same invariant is broken; then the rest of the plan is cut short.

use std::collections::BTreeSet;

use crate::invariants::Violation;
use crate::plan::{Kind, Plan};
use crate::plants::Plant;
use crate::template;

/// How long the calm after a storm may take, milliseconds.
const CALM_MS: u64 = 90_000;
/// Histories that a shrinking may cost.
const TRIES: usize = 200;

/// How a history went.
pub struct Outcome {
    pub violation: Option<Violation>,
    pub log: Vec<String>,
    /// Shares given, and reads that came to their end.
    pub released: u64,
    pub opened: u64,
    /// Times that the power failed in the middle of a write.
    pub torn: u64,
    /// Lies of members and leaders of ceremonies.
    pub lies: u64,
    /// Results that nodes hold shares of in the end, made in this history.
    pub made: usize,
}

/// Plays the plan of a seed, with these of its steps only.
pub fn play(seed: u64, plan: &Plan, keep: &[usize], plant: Option<Plant>, told: bool) -> Outcome {
    let mut world = template::world(seed, plan, plant);
    if told {
        world.log = Some(Vec::new());
    }
    let steps = keep.iter().map(|at| plan.steps[*at].clone()).collect();
    let violation = world.play(steps, plan.storm_ms, CALM_MS).err();
    let held = world.nodes.iter().flat_map(|node| node.held());
    let made: BTreeSet<_> = held
        .map(|key| key.result)
        .filter(|result| plan.kind == Kind::Create || result.epoch > 0)
        .collect();
    Outcome {
        violation,
        log: world.log.take().unwrap_or_default(),
        released: world.monitor.released,
        opened: world.monitor.opened,
        torn: world.monitor.torn,
        lies: world.monitor.lies,
        made: made.len(),
    }
}

pub fn all(plan: &Plan) -> Vec<usize> {
    (0..plan.steps.len()).collect()
}

/// The fewest steps found with which the invariant is broken still.
pub fn shrink(seed: u64, plan: &Plan, plant: Option<Plant>, invariant: &str) -> Vec<usize> {
    let mut keep = all(plan);
    let mut tries = 0;
    let fails = |keep: &[usize], tries: &mut usize| {
        *tries += 1;
        let outcome = play(seed, plan, keep, plant, false);
        outcome
            .violation
            .is_some_and(|found| found.invariant == invariant)
    };
    let mut group = keep.len().div_ceil(2).max(1);
    while tries < TRIES {
        let mut shrunk = false;
        let mut from = 0;
        while from < keep.len() && tries < TRIES {
            let to = (from + group).min(keep.len());
            let without: Vec<usize> = [&keep[..from], &keep[to..]].concat();
            if fails(&without, &mut tries) {
                keep = without;
                shrunk = true;
            } else {
                from = to;
            }
        }
        if group == 1 && !shrunk {
            break;
        }
        group = group.div_ceil(2).max(1);
    }
    keep
}

/// What to tell of a history that failed: the seed, the steps, the log, and how to see it again.
pub fn report(seed: u64, plan: &Plan, plant: Option<Plant>, violation: &Violation) -> String {
    let keep = shrink(seed, plan, plant, violation.invariant);
    let outcome = play(seed, plan, &keep, plant, true);
    let steps: Vec<String> = keep.iter().map(usize::to_string).collect();
    let found = outcome.violation.as_ref().unwrap_or(violation);
    format!(
        "{} does not hold: {}\n{:?}, {:?}, seed {seed}, {} of {} steps are enough:\n{}\n\nagain: SIMULATE_SEED={seed} SIMULATE_KEEP={} just simulate\n",
        found.invariant,
        found.what,
        plan.kind,
        plan.shape,
        keep.len(),
        plan.steps.len(),
        outcome.log.join("\n"),
        if steps.is_empty() {
            "none".to_owned()
        } else {
            steps.join(",")
        },
    )
}
