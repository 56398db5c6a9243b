//! Asking enough nodes at once, and others as soon as one is slow, refuses, fails or cheats.
//!
//! Whom to ask, and when, is decided by [`Hand`]; here are the calls, the clock, and what the nodes' records learn of it. Asking in
//! addition to slow nodes is bounded over all reads of a client (`load`). The race ends when the collector has enough, when
//! nobody is left to ask, or at the deadline.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reencrypt::{Culprit, PublicKeyPackage};

use super::cluster::ClientOptions;
use super::hand::{Hand, Heard, Turn};
use super::load::Load;
use super::outcome::{NodeOutcome, Outcome};
use super::view::Member;
use crate::wire::v1::{MAX_SHARE_ANSWER, ResultVersion};

/// Shortest time until a read that may not ask further nodes looks again whether it may.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// Longest hedging delay, whatever a node's record.
const LONGEST_HEDGE: Duration = Duration::from_millis(500);

/// What takes the shares.
pub(super) trait Collector {
    /// The requests are on their way: the time for what needs no answer.
    fn prepare(&mut self) {}
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

/// What came of a race.
pub(super) struct Raced {
    /// What each member did, in index order.
    pub(super) nodes: Vec<NodeOutcome>,
    /// When the answer came with which the collector was finished; none if it was not.
    pub(super) decided: Option<Instant>,
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
) -> Raced {
    let mut decided = None;
    let mut hand = Hand::new(order, needed);
    let mut asked = FuturesUnordered::new();
    let mut prepared = false;
    let is_down = |node: usize| members.get(node).is_some_and(|it| it.peer().is_down());
    let hedge_after = |node: usize| {
        let member = members.get(node);
        member.map_or(LONGEST_HEDGE, |member| hedge_after(member, options))
    };

    loop {
        let now = Instant::now();
        let mut held_back = false;
        while hand.wants_another(now) {
            let in_flight = if hand.is_hedging() {
                match load.hedge(members.len()) {
                    Some(hedge) => hedge,
                    None => {
                        held_back = true;
                        break;
                    }
                }
            } else {
                load.call()
            };
            let Some((node, member)) = hand
                .ask(now, is_down)
                .and_then(|node| Some((node, members.get(node)?)))
            else {
                continue;
            };
            asked.push(async move {
                let answer = member.peer().call_encoded(request, MAX_SHARE_ANSWER).await;
                drop(in_flight);
                (node, answer)
            });
        }
        if hand.is_over() {
            break;
        }

        let mut wake = hand.wake(hedge_after, deadline);
        if held_back {
            wake = wake.min(now + options.hedge_after.max(SHORTEST_PAUSE));
        }
        tokio::select! {
            biased;
            Some((node, result)) = asked.next() => {
                let Some(member) = members.get(node) else { continue };
                let now = Instant::now();
                match Heard::from(result) {
                    Heard::Share { share, newest } => {
                        if let Some(newest) = newest {
                            collector.heard_of(newest);
                        }
                        member.standing().answered(hand.answered(node, now), now);
                        let progress = collector.add(member.index(), &share);
                        blame(members, &mut hand, collector.culprits(), now);
                        match progress {
                            Progress::Missing(more) => hand.missing(more),
                            Progress::Finished => {
                                decided = Some(now);
                                break;
                            }
                        }
                    }
                    Heard::Nothing { outcome, pause } => {
                        // Whether a refusal says something of the node shows when the others have answered.
                        let refused = matches!(outcome, Outcome::Refused { .. });
                        let took = hand.failed(node, outcome, pause, now);
                        if !refused {
                            member.standing().kept_waiting(took, now);
                        }
                    }
                }
            }
            // By now each call was polled above: its request lies with its connection, whose own task sends it in this pause.
            () = tokio::task::yield_now(), if !prepared => {
                collector.prepare();
                prepared = true;
            }
            () = tokio::time::sleep_until(wake.into()) => {
                let now = Instant::now();
                if now >= deadline {
                    break;
                }
                hand.look(now, hedge_after);
            }
        }
    }
    let timed_out = Instant::now() >= deadline;
    let nodes = members
        .iter()
        .zip(hand.nodes())
        .map(|(member, turn)| {
            let refused = matches!(
                turn,
                Turn::Over {
                    outcome: Outcome::Refused { .. },
                    ..
                }
            );
            if let (true, Some(decided)) = (refused, decided) {
                member.standing().refused(decided);
            }
            finish(member, turn, timed_out, options)
        })
        .collect();
    Raced { nodes, decided }
}

/// Names those whose shares were of no use. A share of another epoch is no cheating: the cluster was reshared, and this
/// client's descriptor or that node is behind.
fn blame(members: &[Member], hand: &mut Hand, culprits: &[Culprit], now: Instant) {
    for Culprit { index, reason } in culprits {
        let mut places = members.iter().enumerate();
        let Some((node, member)) = places.find(|(_, member)| member.index() == *index) else {
            continue;
        };
        let cheated = reason.is_misbehaviour();
        let what = if cheated {
            Outcome::Cheated {
                reason: reason.to_string(),
            }
        } else {
            Outcome::Failed {
                code: reason.code().to_owned(),
                reason: reason.to_string(),
            }
        };
        if hand.found_out(node, what) && cheated {
            member.standing().cheated(now);
        }
    }
}

fn finish(member: &Member, turn: &Turn, timed_out: bool, options: &ClientOptions) -> NodeOutcome {
    let (what, took) = match turn {
        Turn::Waiting => (Outcome::NotAsked, None),
        Turn::Over { outcome, took } => (outcome.clone(), Some(*took)),
        Turn::Asked { since, .. } => {
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
