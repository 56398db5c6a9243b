//! Whole key generations of machines in one process, with an account for each member and for the leader.

use std::collections::BTreeMap;

use ceremonies::{Ceremony, Failed, Node};
use dkg::Message;
use indicatif::ProgressBar;
use rand::SeedableRng;
use rand::rngs::StdRng;
use reencrypt::SecretScalar;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::arguments::Paths;
use super::{Arguments, Failure, frost};

/// What was measured for one n and t.
#[derive(Debug, Serialize)]
pub(super) struct Size {
    pub(super) members: u16,
    pub(super) threshold: u16,
    pub(super) paths: BTreeMap<&'static str, Cost>,
    /// Parts 1 to 3 of one participant.
    pub(super) frost_core_member_cpu_ms: Option<f64>,
    /// One multiplication of a point by a secret, with its encoding, at the same time on the same machine: what else runs there slows both down.
    pub(super) multiplication_us: f64,
}

/// What one key generation, or the handing on of one, took.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cost {
    /// Of the median member.
    #[serde(flatten)]
    pub(super) member: Used,
    /// In a reshare members have different work: of the median member of each role.
    pub(super) by_role: BTreeMap<&'static str, Used>,
    /// Of the leader's machine, for all members together, without its own node's part as a member.
    pub(super) leader_cpu_ms: f64,
}

/// What one member used.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Used {
    /// Among so many.
    #[serde(skip)]
    pub(super) members: usize,
    pub(super) member_cpu_ms: f64,
    /// By the message that it answered.
    pub(super) member_cpu_ms_by_step: BTreeMap<&'static str, f64>,
    /// Sent and received.
    pub(super) bytes_per_member: usize,
    pub(super) bytes_received: usize,
    pub(super) bytes_sent: usize,
    /// The longest state that it writes.
    pub(super) state_bytes: usize,
}

/// The account of one member.
#[derive(Clone, Debug, Default)]
struct Account {
    by_step: BTreeMap<&'static str, f64>,
    received: usize,
    sent: usize,
    state: usize,
    deals: bool,
    receives: bool,
}

/// Milliseconds that this thread has spent on a processor.
pub(super) fn thread_cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// Measures every size that was asked for.
pub(super) fn run(arguments: &Arguments) -> Result<Vec<Size>, Failure> {
    let progress = if arguments.json {
        ProgressBar::hidden()
    } else {
        ProgressBar::new_spinner()
    };
    progress.enable_steady_tick(std::time::Duration::from_millis(120));
    let sizes = arguments
        .sizes()
        .into_iter()
        .map(|(members, threshold)| size(arguments, members, threshold, &progress))
        .collect();
    progress.finish_and_clear();
    sizes
}

fn size(
    arguments: &Arguments,
    members: u16,
    threshold: u16,
    progress: &ProgressBar,
) -> Result<Size, Failure> {
    let wanted = [
        (
            "summed",
            matches!(arguments.path, Paths::Summed | Paths::Both),
        ),
        (
            "whole",
            matches!(arguments.path, Paths::Whole | Paths::Both),
        ),
    ];
    let mut paths = BTreeMap::new();
    for (name, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
        let mut best: Option<Cost> = None;
        for repetition in 0..arguments.repetitions {
            progress.set_message(format!("{threshold} of {members}, {name} deals"));
            let seed = arguments.seed.wrapping_add(u64::from(repetition));
            let cost = ceremony(arguments, (members, threshold), name == "whole", seed)?;
            if best
                .as_ref()
                .is_none_or(|best| cost.member.member_cpu_ms < best.member.member_cpu_ms)
            {
                best = Some(cost);
            }
        }
        paths.extend(best.map(|cost| (name, cost)));
    }
    let mut frost_core_member_cpu_ms = None;
    // It has no reshare.
    if !arguments.without_frost && arguments.reshare.is_none() {
        for repetition in 0..arguments.repetitions {
            progress.set_message(format!("{threshold} of {members}, frost-core"));
            let seed = arguments.seed.wrapping_add(u64::from(repetition));
            let cost = frost::member_cpu_ms(members, threshold, seed)?;
            let best = frost_core_member_cpu_ms.unwrap_or(f64::INFINITY);
            frost_core_member_cpu_ms = Some(cost.min(best));
        }
    }
    Ok(Size {
        members,
        threshold,
        paths,
        frost_core_member_cpu_ms,
        multiplication_us: multiplication_us(arguments.seed),
    })
}

/// The unit in which the limit of a key generation is counted, as a mean of many.
fn multiplication_us(seed: u64) -> f64 {
    const COUNT: u32 = 2000;
    let rng = &mut StdRng::seed_from_u64(seed);
    let (secret, point) = (
        SecretScalar::random(rng),
        SecretScalar::random(rng).public(),
    );
    let started = thread_cpu_ms();
    for _ in 0..COUNT {
        std::hint::black_box(secret.diffie_hellman(std::hint::black_box(&point)));
    }
    (thread_cpu_ms() - started) * 1e3 / f64::from(COUNT)
}

/// A whole ceremony from nothing; of a reshare only the handing on is accounted for.
fn ceremony(
    arguments: &Arguments,
    (members, threshold): (u16, u16),
    whole: bool,
    seed: u64,
) -> Result<Cost, Failure> {
    let rng = &mut StdRng::seed_from_u64(seed);
    let create = Ceremony::create(members, threshold, rng).map_err(Failed::from)?;
    let Some(reshare) = arguments.reshare else {
        return accounted(create, whole, rng).map(|(_, cost)| cost);
    };
    let (made, _) = accounted(create, false, rng)?;
    let public_key = made.public_key().ok_or(Failed::Incomplete)?;
    let (handed_on, cost) = accounted(made.reshare(reshare.to(), threshold, rng)?, whole, rng)?;
    if handed_on.is_of(&public_key) {
        Ok(cost)
    } else {
        Err(Failed::Incomplete.into())
    }
}

/// Plays a ceremony. What the members do not use of this thread's time is the leader's.
fn accounted(
    mut ceremony: Ceremony,
    whole: bool,
    rng: &mut StdRng,
) -> Result<(Ceremony, Cost), Failure> {
    let mut machine = ceremony.lead()?;
    if whole {
        machine = machine.with_whole_deals();
    }
    let leader = ceremony.leader();
    let mut accounts: BTreeMap<usize, Account> = BTreeMap::new();
    let mut own = None;
    let started = thread_cpu_ms();
    ceremony.play(machine, |place, node, message| {
        let (question, step) = (message.to_bytes(), message.name());
        drop(message);
        if node.card.identity == leader {
            own = Some(place);
        }
        let account = accounts.entry(place).or_default();
        let answer = account.answer(node, &leader, step, &question, rng)?;
        Message::from_bytes(&answer).map_err(|error| Failure::Ceremony(error.to_string()))
    })?;
    let all = thread_cpu_ms() - started;
    let of_members: f64 = accounts.values().map(Account::cpu_ms).sum();
    if let Some(own) = own {
        accounts.remove(&own);
    }
    let accounts: Vec<Account> = accounts.into_values().collect();
    let mut by_role: BTreeMap<&'static str, Vec<Account>> = BTreeMap::new();
    for account in &accounts {
        let of_role = by_role.entry(account.role()).or_default();
        of_role.push(account.clone());
    }
    let by_role: BTreeMap<_, _> = by_role
        .into_iter()
        .filter_map(|(role, accounts)| Some((role, Used::median(accounts)?)))
        .collect();
    let member = Used::median(accounts)
        .ok_or_else(|| Failure::Ceremony("no member but the leader".to_owned()))?;
    let cost = Cost {
        member,
        by_role,
        leader_cpu_ms: all - of_members,
    };
    Ok((ceremony, cost))
}

impl Account {
    fn cpu_ms(&self) -> f64 {
        self.by_step.values().sum()
    }

    /// From a question's bytes to the answer's bytes.
    fn answer(
        &mut self,
        node: &mut Node,
        from: &[u8; 32],
        step: &'static str,
        question: &[u8],
        rng: &mut StdRng,
    ) -> Result<Vec<u8>, Failure> {
        let started = thread_cpu_ms();
        let message =
            Message::from_bytes(question).map_err(|error| Failure::Ceremony(error.to_string()))?;
        let output = node.answer(from, message, rng).map_err(Failed::from)?;
        let answer = output.reply.to_bytes();
        let state = output.persist.map_or(0, |state| state.len());
        self.deals |= matches!(output.reply, Message::Dealt { .. });
        self.receives |= matches!(output.reply, Message::Acknowledged { .. });
        self.received += question.len();
        self.sent += answer.len();
        self.state = self.state.max(state);
        *self.by_step.entry(step).or_default() += thread_cpu_ms() - started;
        Ok(answer)
    }

    /// What it did: in a create all do both.
    fn role(&self) -> &'static str {
        match (self.deals, self.receives) {
            (true, true) => "dealer and receiver",
            (true, false) => "dealer",
            (false, true) => "receiver",
            (false, false) => "witness",
        }
    }
}

impl Used {
    /// That of the median account.
    fn median(mut accounts: Vec<Account>) -> Option<Self> {
        accounts.sort_by(|a, b| a.cpu_ms().total_cmp(&b.cpu_ms()));
        let members = accounts.len();
        let account = accounts.into_iter().nth(members / 2)?;
        Some(Self {
            members,
            member_cpu_ms: account.cpu_ms(),
            bytes_per_member: account.received + account.sent,
            bytes_received: account.received,
            bytes_sent: account.sent,
            state_bytes: account.state,
            member_cpu_ms_by_step: account.by_step,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        missing_docs
    )]
    use clap::Parser;

    use super::*;

    fn measured(words: &str) -> Size {
        let words =
            format!("ceremony --members 5 --threshold 3 --without-frost --repetitions 1 {words}");
        let arguments = Arguments::parse_from(words.split_whitespace());
        arguments.check().unwrap();
        run(&arguments).unwrap().remove(0)
    }

    /// Which roles there are with how many members, without the leader's own node, a dealer.
    fn roles(cost: &Cost) -> Vec<(&'static str, usize)> {
        let roles = cost.by_role.iter();
        roles.map(|(role, used)| (*role, used.members)).collect()
    }

    #[test]
    fn each_role_of_a_reshare_has_its_account() {
        let create = measured("");
        let all = [("dealer and receiver", 4)];
        assert!(create.paths.values().all(|cost| roles(cost) == all));
        let same = measured("--reshare same");
        let others = measured("--reshare others");
        for path in ["summed", "whole"] {
            assert_eq!(
                roles(&same.paths[path]),
                [("dealer and receiver", 2), ("receiver", 2)]
            );
            assert_eq!(
                roles(&others.paths[path]),
                [("dealer", 2), ("receiver", 5), ("witness", 2)]
            );
            let by_role = &others.paths[path].by_role;
            // Who leaves is sent no deals.
            assert!(
                !by_role["dealer"]
                    .member_cpu_ms_by_step
                    .contains_key("deals")
            );
            assert!(
                by_role["dealer"]
                    .member_cpu_ms_by_step
                    .contains_key("hand-over")
            );
            assert!(by_role["receiver"].bytes_received > by_role["witness"].bytes_received);
            for used in by_role.values() {
                assert!(used.member_cpu_ms > 0.0 && used.state_bytes > 0 && used.bytes_sent > 0);
            }
        }
    }
}
