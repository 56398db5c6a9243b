//! From a seed that fails to the shortest history that can be found which fails in the same way.
//!
//! Things are left out in ever smaller groups (delta debugging) as long as the failure stays: first steps of the plan; then, of all that
//! bad weather and partitions have done, single messages, so that in the end nobody's message is late or lost for nothing; then steps again,
//! for storms and partitions themselves have become idle. What is left is a [`History`]: a text of a line for each step and each message,
//! which plays the same again.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::network::{Fared, Letter};
use crate::plan::{Kind, Plan};
use crate::plants::Plant;
use crate::template;

/// How long the calm after a storm may take, milliseconds.
const CALM_MS: u64 = 90_000;
/// Histories that a shrinking may cost, each time that things are left out.
const TRIES: usize = 200;

/// How a history went.
pub struct Outcome {
    pub violation: Option<crate::invariants::Violation>,
    pub log: Vec<String>,
    /// The messages that fared otherwise than in calm weather; in a history that is told.
    pub fared: Fared,
    /// Shares given, and reads that came to their end.
    pub released: u64,
    pub opened: u64,
    /// Times that the power failed in the middle of a write.
    pub torn: u64,
    /// Lies of members and leaders of ceremonies.
    pub lies: u64,
    /// Times that a peer crashed in the middle of a checkpoint.
    pub torn_checkpoints: u64,
    /// Results that nodes hold shares of in the end, made in this history.
    pub made: usize,
}

/// A history that can be played again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    pub seed: u64,
    /// The steps of the seed's plan that are taken.
    pub steps: Vec<usize>,
    /// The only messages that do not fare as in calm weather; without it, weather and partitions decide.
    pub messages: Option<Fared>,
}

impl History {
    /// All that the seed's plan has.
    pub fn whole(seed: u64, plan: &Plan) -> Self {
        Self {
            seed,
            steps: (0..plan.steps.len()).collect(),
            messages: None,
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        for step in &self.steps {
            writeln!(f, "step {step}")?;
        }
        let Some(messages) = &self.messages else {
            return writeln!(f, "messages as the weather has it");
        };
        for ((from, to, number), arrives) in messages {
            let after: Vec<String> = arrives.iter().map(u64::to_string).collect();
            let fate = match after.is_empty() {
                true => "lost".to_owned(),
                false => format!("after {} ms", after.join(",")),
            };
            writeln!(f, "message {from} {to} {number} {fate}")?;
        }
        Ok(())
    }
}

impl FromStr for History {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut seed, mut steps) = (None, Vec::new());
        let mut messages = Some(Fared::new());
        let number = |word: &str| {
            word.parse::<u64>()
                .map_err(|_| format!("{word} is no number"))
        };
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [] | ["#", ..] => {}
                ["seed", it] => seed = Some(number(it)?),
                ["step", it] => steps.push(usize::try_from(number(it)?).unwrap_or(usize::MAX)),
                ["messages", ..] => messages = None,
                ["message", from, to, at, fate @ ..] => {
                    let letter: Letter = (from.parse()?, to.parse()?, number(at)?);
                    let arrives = match fate {
                        ["lost"] => Vec::new(),
                        ["after", times, "ms"] => {
                            times.split(',').map(number).collect::<Result<_, _>>()?
                        }
                        _ => return Err(format!("{line}: no fate of a message")),
                    };
                    messages.get_or_insert_default().insert(letter, arrives);
                }
                _ => return Err(format!("{line}: no line of a history")),
            }
        }
        Ok(Self {
            seed: seed.ok_or("it has no seed")?,
            steps,
            messages,
        })
    }
}

/// Plays a history of this plan.
pub fn play(history: &History, plan: &Plan, plant: Option<Plant>, told: bool) -> Outcome {
    let mut world = template::world(history.seed, plan, plant);
    if told {
        (world.log, world.network.told) = (Some(Vec::new()), Some(Fared::new()));
    }
    if let Some(messages) = &history.messages {
        world.network.follow(messages.clone());
    }
    let steps = history.steps.iter();
    let steps = steps
        .filter_map(|at| plan.steps.get(*at).cloned())
        .collect();
    let violation = world.play(steps, plan.storm_ms, CALM_MS).err();
    let held = world.nodes.iter().flat_map(|node| node.held());
    let made: BTreeSet<_> = held
        .map(|key| key.result)
        .filter(|result| plan.kind == Kind::Create || result.epoch > 0)
        .collect();
    Outcome {
        violation,
        log: world.log.take().unwrap_or_default(),
        fared: world.network.told.take().unwrap_or_default(),
        released: world.monitor.released,
        opened: world.monitor.opened,
        torn: world.monitor.torn,
        lies: world.monitor.lies,
        torn_checkpoints: world.peers.iter().map(|peer| peer.torn_checkpoints).sum(),
        made: made.len(),
    }
}

/// The fewest of these with which it fails still.
fn fewest<T: Clone>(all: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let (mut keep, mut tries) = (all.to_vec(), 0);
    let mut group = keep.len().div_ceil(2).max(1);
    while tries < TRIES && !keep.is_empty() {
        let mut shrunk = false;
        let mut from = 0;
        while from < keep.len() && tries < TRIES {
            let to = (from + group).min(keep.len());
            let without: Vec<T> = [&keep[..from], &keep[to..]].concat();
            tries += 1;
            if fails(&without) {
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

/// The shortest history found that fails as this one does.
pub fn shortest(
    whole: &History,
    plan: &Plan,
    plant: Option<Plant>,
    fails: &dyn Fn(&Outcome) -> bool,
) -> History {
    let mut found = whole.clone();
    found.steps = fewest(&found.steps, |steps| {
        let tried = History {
            steps: steps.to_vec(),
            ..whole.clone()
        };
        fails(&play(&tried, plan, plant, true))
    });
    if found.messages.is_none() {
        let all = play(&found, plan, plant, true).fared;
        let tried = History {
            messages: Some(all),
            ..found.clone()
        };
        if !fails(&play(&tried, plan, plant, true)) {
            return found;
        }
        found = tried;
    }
    let messages: Vec<(Letter, Vec<u64>)> = found
        .messages
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    let messages = fewest(&messages, |messages| {
        let tried = History {
            messages: Some(messages.iter().cloned().collect()),
            ..found.clone()
        };
        fails(&play(&tried, plan, plant, true))
    });
    found.messages = Some(messages.into_iter().collect());
    found.steps = fewest(&found.steps.clone(), |steps| {
        let tried = History {
            steps: steps.to_vec(),
            ..found.clone()
        };
        fails(&play(&tried, plan, plant, true))
    });
    found
}

/// What to tell of a history that failed: what is broken, the shortest history found in which it is, and what happens in that one.
pub fn report(
    whole: &History,
    plan: &Plan,
    plant: Option<Plant>,
    invariant: &str,
) -> (History, String) {
    let same = |outcome: &Outcome| {
        let found = outcome.violation.as_ref();
        found.is_some_and(|found| found.invariant == invariant)
    };
    let found = shortest(whole, plan, plant, &same);
    let outcome = play(&found, plan, plant, true);
    let what = outcome.violation.map(|it| it.what).unwrap_or_default();
    let told = format!(
        "{invariant} does not hold: {what}\n{:?}, {:?}, seed {}, {} of {} steps are enough:\n{}\n\n{found}",
        plan.kind,
        plan.shape,
        found.seed,
        found.steps.len(),
        whole.steps.len(),
        outcome.log.join("\n"),
    );
    (found, told)
}
