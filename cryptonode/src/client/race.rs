//! Asking enough nodes at once, and others as soon as one is slow, refuses, fails or cheats.
//!
//! At every moment as many nodes are *in hand* as answers are missing: asked, and not yet overdue. A node that fails
//! leaves the hand at once, a slow one when its hedging delay is over (it may still answer, and then counts), and the
//! next in the order takes its place. So a healthy read asks exactly t nodes, a dead node costs one hedging delay, and a
//! refusal nothing but its round trip. For every two nodes that were of no use one more than needed is in hand, or nodes that
//! stall one after the other would use up the deadline: so the hand grows, and their delays overlap. Asking in addition to slow nodes is bounded over all reads of a client
//! (`load`). The race ends when the collector has enough, when nobody is left to ask, or at
//! the deadline.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reencrypt::{Culprit, PublicKeyPackage};

use super::call_error::CallError;
use super::cluster::ClientOptions;
use super::load::Load;
use super::outcome::{NodeOutcome, Outcome};
use super::view::Member;
use crate::wire::v1::{Answer, MAX_SHARE_ANSWER, ResultVersion};

/// A node that is busy is asked this many times at most.
const MOST_TRIES: u8 = 3;
/// Longest time that a node may ask to be left alone for.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Shortest time until a read that may not ask further nodes looks again whether it may.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// Longest hedging delay, whatever a node's record.
const LONGEST_HEDGE: Duration = Duration::from_millis(500);

/// What takes the shares.
pub(super) trait Collector {
    /// Takes a share that came from the member with this index.
    fn add(&mut self, index: u16, share: &[u8]) -> Progress;
    /// Forgets all shares: from now on they come from members of another result of the key.
    fn restart(&mut self, package: &PublicKeyPackage);
    /// Whether there is a result, for better or worse.
    fn is_finished(&self) -> bool;
    /// A node knows of a newer result.
    fn heard_of(&mut self, newest: ResultVersion);
    /// Members whose shares turned out to be of no use so far, with what is wrong.
    fn culprits(&self) -> &[Culprit];
}

/// How far a collector is.
pub(super) enum Progress {
    /// This many more good shares are needed.
    Missing(usize),
    /// No more are needed, for better or worse.
    Finished,
}

/// Where a node stands in this race.
enum Run {
    Waiting,
    Asked { since: Instant, overdue: bool },
    Over { outcome: Outcome, took: Duration },
}

impl Run {
    /// It was asked, and another had to be asked in its place.
    fn was_of_no_use(&self) -> bool {
        match self {
            Self::Waiting => false,
            Self::Asked { overdue, .. } => *overdue,
            Self::Over { outcome, .. } => *outcome != Outcome::Answered,
        }
    }
}

/// Runs the race until the collector is finished or nobody is left, and says what each member did.
pub(super) async fn race<C: Collector>(
    members: &[Member],
    order: Vec<usize>,
    request: &[u8],
    needed: usize,
    (options, load): (&ClientOptions, &Load),
    deadline: Instant,
    collector: &mut C,
) -> Vec<NodeOutcome> {
    let mut queue = VecDeque::from(order);
    let mut resting: Vec<(Instant, usize)> = Vec::new();
    let mut runs: Vec<Run> = members.iter().map(|_| Run::Waiting).collect();
    let mut tries = vec![0_u8; members.len()];
    let mut asked = FuturesUnordered::new();
    let mut missing = needed;

    loop {
        let now = Instant::now();
        resting.retain(|&(when, node)| {
            let still = when > now;
            if !still {
                queue.push_back(node);
            }
            still
        });
        let mut in_hand = runs
            .iter()
            .filter(|run| matches!(run, Run::Asked { overdue: false, .. }))
            .count();
        let useless = runs.iter().filter(|run| run.was_of_no_use()).count();
        let mut held_back = false;
        while in_hand < missing + useless / 2 && !queue.is_empty() {
            let in_flight = if asked.len() < missing {
                load.call()
            } else if let Some(hedge) = load.hedge(members.len()) {
                hedge
            } else {
                held_back = true;
                break;
            };
            let Some(node) = queue.pop_front() else { break };
            let (Some(member), Some(run), Some(tried)) =
                (members.get(node), runs.get_mut(node), tries.get_mut(node))
            else {
                continue;
            };
            // One that could not be reached a moment ago is asked beside the others, not in the place of one: it may be
            // back, and waiting to find out would cost a hedging delay for each that is not.
            let down = member.peer().is_down();
            *run = Run::Asked {
                since: now,
                overdue: down,
            };
            *tried += 1;
            in_hand += usize::from(!down);
            asked.push(async move {
                let answer = member.peer().call_encoded(request, MAX_SHARE_ANSWER).await;
                drop(in_flight);
                (node, answer)
            });
        }
        if asked.is_empty() && queue.is_empty() && resting.is_empty() {
            break;
        }

        let mut wake = next_wake(members, &runs, &resting, deadline, options);
        if held_back {
            wake = wake.min(now + options.hedge_after.max(SHORTEST_PAUSE));
        }
        tokio::select! {
            biased;
            Some((node, result)) = asked.next() => {
                let (Some(member), Some(run), Some(&tried)) = (members.get(node), runs.get_mut(node), tries.get(node))
                else { continue };
                let now = Instant::now();
                let took = match run {
                    Run::Asked { since, .. } => now - *since,
                    Run::Waiting | Run::Over { .. } => Duration::ZERO,
                };
                let (outcome, rest) = judge(result, collector);
                match outcome {
                    Ok(share) => {
                        member.standing().answered(took, now);
                        *run = Run::Over { outcome: Outcome::Answered, took };
                        let progress = collector.add(member.index(), &share);
                        blame(members, &mut runs, collector.culprits(), now);
                        match progress {
                            Progress::Missing(more) => missing = more,
                            Progress::Finished => break,
                        }
                    }
                    Err(outcome) => {
                        if !matches!(outcome, Outcome::Refused { .. }) {
                            member.standing().kept_waiting(took, now);
                        }
                        *run = Run::Over { outcome, took };
                        if let Some(pause) = rest.filter(|_| tried < MOST_TRIES) {
                            resting.push((now + pause, node));
                        }
                    }
                }
            }
            () = tokio::time::sleep_until(wake.into()) => {
                let now = Instant::now();
                if now >= deadline {
                    break;
                }
                for (member, run) in members.iter().zip(&mut runs) {
                    if let Run::Asked { since, overdue } = run {
                        *overdue = *overdue || now >= *since + hedge_after(member, options);
                    }
                }
            }
        }
    }
    let timed_out = Instant::now() >= deadline;
    members
        .iter()
        .zip(runs)
        .map(|(member, run)| finish(member, run, timed_out, options))
        .collect()
}

/// What an answer means: a share or an outcome, and for how long the node wants to be left alone if it is busy.
fn judge<C: Collector>(
    result: Result<Answer, CallError>,
    collector: &mut C,
) -> (Result<Vec<u8>, Outcome>, Option<Duration>) {
    match result {
        Ok(Answer::Share { share, newest }) => {
            if let Some(newest) = newest {
                collector.heard_of(newest);
            }
            (Ok(share.into_vec()), None)
        }
        Ok(Answer::Refused {
            code,
            message,
            retry_after_ms,
        }) => {
            let rest = retry_after_ms.map(|ms| Duration::from_millis(ms).min(LONGEST_PAUSE));
            (Err(Outcome::Refused { code, message }), rest)
        }
        Ok(other) => {
            let error = CallError::OtherAnswer {
                expected: "share",
                found: other.name(),
            };
            (Err(Outcome::of_error(&error)), None)
        }
        Err(error) => (Err(Outcome::of_error(&error)), None),
    }
}

/// Names those whose shares were of no use. A share of another epoch is no cheating: the cluster was reshared, and this
/// client's descriptor or that node is behind.
fn blame(members: &[Member], runs: &mut [Run], culprits: &[Culprit], now: Instant) {
    for culprit in culprits {
        for (member, run) in members
            .iter()
            .zip(runs.iter_mut())
            .filter(|(member, _)| member.index() == culprit.index)
        {
            let Run::Over { outcome, .. } = run else {
                continue;
            };
            if *outcome != Outcome::Answered {
                continue;
            }
            let reason = culprit.reason.to_string();
            *outcome = if culprit.reason.is_misbehaviour() {
                member.standing().cheated(now);
                Outcome::Cheated { reason }
            } else {
                Outcome::Failed {
                    code: culprit.reason.code().to_owned(),
                    reason,
                }
            };
        }
    }
}

fn finish(member: &Member, run: Run, timed_out: bool, options: &ClientOptions) -> NodeOutcome {
    let (what, took) = match run {
        Run::Waiting => (Outcome::NotAsked, None),
        Run::Over { outcome, took } => (outcome, Some(took)),
        Run::Asked { since, .. } => {
            let (now, waited) = (Instant::now(), since.elapsed());
            member.standing().kept_waiting(waited, now);
            if timed_out {
                let reason = format!(
                    "the whole operation may take {} ms",
                    options.deadline.as_millis()
                );
                (Outcome::TimedOut { reason }, Some(waited))
            } else {
                (Outcome::Overtaken, Some(waited))
            }
        }
    };
    let millis = took.map(|took| took.as_secs_f64() * 1e3);
    NodeOutcome {
        index: member.index(),
        name: member.name().to_owned(),
        what,
        millis,
    }
}

/// How long a node may take before another is asked as well: three times what it took of late, at least the
/// configured delay; four times that delay for a node that has yet to be connected.
fn hedge_after(member: &Member, options: &ClientOptions) -> Duration {
    let usual = member
        .standing()
        .latency()
        .map_or(4 * options.hedge_after, |usual| 3 * usual);
    usual
        .max(options.hedge_after)
        .min(LONGEST_HEDGE.max(options.hedge_after))
}

fn next_wake(
    members: &[Member],
    runs: &[Run],
    resting: &[(Instant, usize)],
    deadline: Instant,
    options: &ClientOptions,
) -> Instant {
    let hedges = members
        .iter()
        .zip(runs)
        .filter_map(|(member, run)| match run {
            Run::Asked {
                since,
                overdue: false,
            } => Some(*since + hedge_after(member, options)),
            _ => None,
        });
    hedges
        .chain(resting.iter().map(|&(when, _)| when))
        .fold(deadline, Instant::min)
}
