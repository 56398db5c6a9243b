//! Whole key generations of machines in one process, with an account for each member and for the leader.

use std::collections::{BTreeMap, HashMap, VecDeque};

use dkg::{
    Leader, LeaderEffect, LocalNode, Member, MemberIdentity, MemberStage, Message, Proposal,
    RecoveryPhrase, Terms,
};
use indicatif::ProgressBar;
use rand::SeedableRng;
use rand::rngs::StdRng;
use reencrypt::SecretScalar;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::arguments::Paths;
use super::{Arguments, Failure, frost};

/// Seconds since the Unix epoch, as the machines are told.
const NOW: u64 = 1_800_000_000;

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

/// What one key generation took.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cost {
    /// Of the median member.
    pub(super) member_cpu_ms: f64,
    /// The same member's, by the message that it answered.
    pub(super) member_cpu_ms_by_step: BTreeMap<&'static str, f64>,
    /// Sent and received by one member.
    pub(super) bytes_per_member: usize,
    pub(super) bytes_received: usize,
    pub(super) bytes_sent: usize,
    /// The longest state that a member writes.
    pub(super) state_bytes: usize,
    /// Of the leader's machine, for all members together, without its own node's part as a member.
    pub(super) leader_cpu_ms: f64,
}

/// What one member has used.
#[derive(Clone, Debug, Default)]
struct Account {
    by_step: BTreeMap<&'static str, f64>,
    received: usize,
    sent: usize,
    state: usize,
}

impl Account {
    fn cpu_ms(&self) -> f64 {
        self.by_step.values().sum()
    }
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
            let cost = ceremony(members, threshold, name == "whole", seed)?;
            if best
                .as_ref()
                .is_none_or(|best| cost.member_cpu_ms < best.member_cpu_ms)
            {
                best = Some(cost);
            }
        }
        paths.extend(best.map(|cost| (name, cost)));
    }
    let mut frost_core_member_cpu_ms = None;
    if !arguments.without_frost {
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

/// One member's machine and its account.
struct Seat {
    member: Member,
    account: Account,
}

fn ceremony(members: u16, threshold: u16, whole: bool, seed: u64) -> Result<Cost, Failure> {
    let failed = |fault: dkg::Fault| Failure::Ceremony(fault.to_string());
    let rng = &mut StdRng::seed_from_u64(seed);
    let (mut cards, mut seats, mut identities) = (Vec::new(), HashMap::new(), HashMap::new());
    for number in 1..=members {
        let keys = RecoveryPhrase::generate(rng).node_keys();
        let identity = keys.identity.verifying_key().to_bytes();
        cards.push(MemberIdentity {
            name: format!("node-{number}"),
            identity,
            recovery_public: *keys.recovery_public.as_bytes(),
            address: format!("node-{number}.example:7700"),
        });
        identities.insert(identity, keys.identity.clone());
        let member = Member::new(LocalNode {
            identity: keys.identity,
            recovery_public: keys.recovery_public,
            policy_hash: [7; 32],
        });
        let account = Account::default();
        seats.insert(identity, Seat { member, account });
    }
    let leader_id = cards.first().map(|card| card.identity).unwrap_or_default();
    let proposal = Proposal::new(
        Terms {
            threshold,
            policy_hash: [7; 32],
            members: cards,
            base: None,
            leader: leader_id,
            created: NOW,
            expires: NOW + 3600,
            may_be_absent: 0,
            allow_few_members: true,
            software: "ceremony".to_owned(),
        },
        rng,
    )
    .map_err(|error| Failure::Ceremony(error.to_string()))?;
    let Some(leader_key) = identities.get(&leader_id) else {
        return Err(Failure::Ceremony("no leader".to_owned()));
    };
    let mut leader = Leader::new(proposal, leader_key, NOW).map_err(failed)?;
    if whole {
        leader = leader.with_whole_deals();
    }
    let mut leader_ms = 0.0;
    let clock = |ms: &mut f64, from: f64| {
        let now = thread_cpu_ms();
        *ms += now - from;
        now
    };
    let mut queue: VecDeque<LeaderEffect> = leader.poll(NOW).into();
    while let Some(effect) = queue.pop_front() {
        let (to, message) = match effect {
            LeaderEffect::Send { to, message } => (to, message),
            LeaderEffect::Failed { culprits } => {
                let faults: Vec<String> = culprits
                    .iter()
                    .map(|(member, fault)| format!("{}: {fault}", member.name))
                    .collect();
                return Err(Failure::Ceremony(faults.join("; ")));
            }
            _ => continue,
        };
        let started = thread_cpu_ms();
        let (question, step) = (message.to_bytes(), message.name());
        drop(message);
        let started = clock(&mut leader_ms, started);
        let Some(seat) = seats.get_mut(&to) else {
            continue;
        };
        let answer = seat.answer(&leader_id, &question, rng)?;
        let mut member_ms = 0.0;
        let started = clock(&mut member_ms, started);
        *seat.account.by_step.entry(step).or_default() += member_ms;
        let reply =
            Message::from_bytes(&answer).map_err(|error| Failure::Ceremony(error.to_string()))?;
        queue.extend(leader.handle_reply(&to, &reply, NOW));
        clock(&mut leader_ms, started);
    }
    if seats
        .values()
        .any(|seat| seat.member.stage() != MemberStage::Activated)
    {
        return Err(Failure::Ceremony("not everybody has the key".to_owned()));
    }
    seats.remove(&leader_id);
    let mut accounts: Vec<Account> = seats.into_values().map(|seat| seat.account).collect();
    accounts.sort_by(|a, b| a.cpu_ms().total_cmp(&b.cpu_ms()));
    let middle = accounts.len() / 2;
    let account = accounts
        .into_iter()
        .nth(middle)
        .ok_or_else(|| Failure::Ceremony("no member but the leader".to_owned()))?;
    Ok(Cost {
        member_cpu_ms: account.cpu_ms(),
        bytes_per_member: account.received + account.sent,
        bytes_received: account.received,
        bytes_sent: account.sent,
        state_bytes: account.state,
        member_cpu_ms_by_step: account.by_step,
        leader_cpu_ms: leader_ms,
    })
}

impl Seat {
    /// From a question's bytes to the answer's bytes.
    fn answer(
        &mut self,
        from: &[u8; 32],
        question: &[u8],
        rng: &mut StdRng,
    ) -> Result<Vec<u8>, Failure> {
        let failed = |fault: dkg::Fault| Failure::Ceremony(fault.to_string());
        let message =
            Message::from_bytes(question).map_err(|error| Failure::Ceremony(error.to_string()))?;
        let mut output = self
            .member
            .handle(from, message, NOW, rng)
            .map_err(failed)?;
        if self.member.stage() == MemberStage::Proposed {
            output = self.member.accept(NOW, rng).map_err(failed)?;
        }
        let answer = output.reply.to_bytes();
        let state = output.persist.map_or(0, |state| state.len());
        let account = &mut self.account;
        account.received += question.len();
        account.sent += answer.len();
        account.state = account.state.max(state);
        Ok(answer)
    }
}
