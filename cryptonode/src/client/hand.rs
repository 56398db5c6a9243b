//! Whom to ask next: the decisions of a race, without its sockets and clocks.
//!
//! At every moment as many nodes are *in hand* as answers are missing: asked, and not yet overdue. A node that fails
//! leaves the hand at once, a slow one when its hedging delay is over (it may still answer, and then counts), and the
//! next in the order takes its place. So a healthy read asks exactly t nodes, a dead node costs one hedging delay, and a
//! refusal nothing but its round trip. For every two nodes that were of no use one more than needed is in hand, or nodes that
//! stall one after the other would use up the deadline: so the hand grows, and their delays overlap.
//!
//! [`Client`](super::Client) drives it over QUIC, and the simulation of the whole system under its virtual clock: the moments come from
//! whoever drives it, and nodes are the numbers of their places.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::call_error::CallError;
use super::outcome::Outcome;
use crate::wire::v1::{Answer, ResultVersion};

/// A node that is busy is asked this many times at most.
const MOST_TRIES: u8 = 3;
/// Longest time that a node may ask to be left alone for.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Where a node stands in a race.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// It was not asked.
    Waiting,
    /// It was asked, and has not answered.
    Asked {
        /// When.
        since: Instant,
        /// Whether another is asked in its place.
        overdue: bool,
    },
    /// It has answered, or will not.
    Over {
        /// What it did.
        outcome: Outcome,
        /// How long it took.
        took: Duration,
    },
}

impl Turn {
    /// It was asked, and another had to be asked in its place.
    fn was_of_no_use(&self) -> bool {
        match self {
            Self::Waiting => false,
            Self::Asked { overdue, .. } => *overdue,
            Self::Over { outcome, .. } => *outcome != Outcome::Answered,
        }
    }
}

/// What an answer to a request for a share means.
#[derive(Debug)]
pub enum Heard {
    /// A share, which may be false.
    Share {
        /// Its encoding.
        share: Vec<u8>,
        /// The newest result that the node knows of, if it says so.
        newest: Option<ResultVersion>,
    },
    /// Nothing that could be combined.
    Nothing {
        /// What the node did.
        outcome: Outcome,
        /// For how long it wants to be left alone if it is busy.
        pause: Option<Duration>,
    },
}

impl From<Result<Answer, CallError>> for Heard {
    fn from(result: Result<Answer, CallError>) -> Self {
        let failed = |error: &CallError| Self::Nothing {
            outcome: Outcome::of_error(error),
            pause: None,
        };
        match result {
            Ok(Answer::Share { share, newest }) => Self::Share {
                share: share.into_vec(),
                newest,
            },
            Ok(Answer::Refused {
                code,
                message,
                retry_after_ms,
            }) => Self::Nothing {
                outcome: Outcome::Refused { code, message },
                pause: retry_after_ms.map(|ms| Duration::from_millis(ms).min(LONGEST_PAUSE)),
            },
            Ok(other) => failed(&CallError::OtherAnswer {
                expected: "share",
                found: other.name(),
            }),
            Err(error) => failed(&error),
        }
    }
}

/// One race among the nodes of a cluster for as many good answers as are needed.
#[derive(Debug)]
pub struct Hand {
    /// Who is to be asked, in this order.
    queue: VecDeque<usize>,
    /// Busy nodes, and when each may be asked again.
    resting: Vec<(Instant, usize)>,
    nodes: Vec<Turn>,
    tries: Vec<u8>,
    missing: usize,
}

impl Hand {
    /// A race for `needed` answers. `order` has each of the numbers below its length once.
    #[must_use]
    pub fn new(order: Vec<usize>, needed: usize) -> Self {
        Self {
            nodes: vec![Turn::Waiting; order.len()],
            tries: vec![0; order.len()],
            queue: order.into(),
            resting: Vec::new(),
            missing: needed,
        }
    }

    /// Whether another node is to be asked now.
    pub fn wants_another(&mut self, now: Instant) -> bool {
        let queue = &mut self.queue;
        self.resting.retain(|&(when, node)| {
            let still = when > now;
            if !still {
                queue.push_back(node);
            }
            still
        });
        let in_hand = self.count(|it| matches!(it, Turn::Asked { overdue: false, .. }));
        let useless = self.count(Turn::was_of_no_use);
        in_hand < self.missing + useless / 2 && !self.queue.is_empty()
    }

    /// Whether the next one is asked beside as many as are missing: because some of those are slow.
    #[must_use]
    pub fn is_hedging(&self) -> bool {
        self.in_flight() >= self.missing
    }

    /// Takes the next node, which is asked now. `down` says of a node whether it could not be reached a moment ago: such a one is
    /// asked beside the others, not in the place of one. It may be back, and waiting to find out would cost a hedging
    /// delay for each that is not.
    pub fn ask(&mut self, now: Instant, down: impl Fn(usize) -> bool) -> Option<usize> {
        let node = self.queue.pop_front()?;
        let (turn, tries) = (self.nodes.get_mut(node)?, self.tries.get_mut(node)?);
        *turn = Turn::Asked {
            since: now,
            overdue: down(node),
        };
        *tries += 1;
        Some(node)
    }

    /// Nobody is asked, and nobody is left to ask.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.in_flight() == 0 && self.queue.is_empty() && self.resting.is_empty()
    }

    /// A node has sent a share. How long it took.
    pub fn answered(&mut self, node: usize, now: Instant) -> Duration {
        self.over(node, Outcome::Answered, now)
    }

    /// A node has sent nothing of use. A busy one is asked again after the pause that it wants, a few times. How long it took.
    pub fn failed(
        &mut self,
        node: usize,
        outcome: Outcome,
        pause: Option<Duration>,
        now: Instant,
    ) -> Duration {
        let tries = self.tries.get(node).copied().unwrap_or(MOST_TRIES);
        if let Some(pause) = pause.filter(|_| tries < MOST_TRIES) {
            self.resting.push((now + pause, node));
        }
        self.over(node, outcome, now)
    }

    /// So many more good answers are needed.
    pub fn missing(&mut self, more: usize) {
        self.missing = more;
    }

    /// A share that was taken turned out to be of no use. Whether that is news.
    pub fn found_out(&mut self, node: usize, what: Outcome) -> bool {
        match self.nodes.get_mut(node) {
            Some(Turn::Over { outcome, .. }) if *outcome == Outcome::Answered => {
                *outcome = what;
                true
            }
            _ => false,
        }
    }

    /// Another is to be asked in the place of each that takes longer than `hedge_after` says of it.
    pub fn look(&mut self, now: Instant, hedge_after: impl Fn(usize) -> Duration) {
        for (node, turn) in self.nodes.iter_mut().enumerate() {
            if let Turn::Asked { since, overdue } = turn {
                *overdue = *overdue || now >= *since + hedge_after(node);
            }
        }
    }

    /// When there is something to do though nobody answers, at `deadline` at the latest.
    pub fn wake(&self, hedge_after: impl Fn(usize) -> Duration, deadline: Instant) -> Instant {
        let nodes = self.nodes.iter().enumerate();
        let hedges = nodes.filter_map(|(node, turn)| match turn {
            Turn::Asked {
                since,
                overdue: false,
            } => Some(*since + hedge_after(node)),
            _ => None,
        });
        hedges
            .chain(self.resting.iter().map(|&(when, _)| when))
            .fold(deadline, Instant::min)
    }

    /// Where each node stands.
    #[must_use]
    pub fn nodes(&self) -> &[Turn] {
        &self.nodes
    }

    fn in_flight(&self) -> usize {
        self.count(|it| matches!(it, Turn::Asked { .. }))
    }

    fn count(&self, what: impl Fn(&Turn) -> bool) -> usize {
        self.nodes.iter().filter(|turn| what(turn)).count()
    }

    fn over(&mut self, node: usize, outcome: Outcome, now: Instant) -> Duration {
        let Some(turn) = self.nodes.get_mut(node) else {
            return Duration::ZERO;
        };
        let took = match turn {
            Turn::Asked { since, .. } => now.saturating_duration_since(*since),
            Turn::Waiting | Turn::Over { .. } => Duration::ZERO,
        };
        *turn = Turn::Over { outcome, took };
        took
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HEDGE: Duration = Duration::from_millis(100);

    /// Asks as many as are wanted.
    fn ask_all(hand: &mut Hand, now: Instant) -> Vec<usize> {
        std::iter::from_fn(|| hand.wants_another(now).then(|| hand.ask(now, |_| false))?).collect()
    }

    fn unreachable() -> Outcome {
        Outcome::Unreachable {
            reason: "a test".to_owned(),
        }
    }

    #[test]
    fn as_many_as_are_missing_are_asked_and_no_more() {
        let now = Instant::now();
        let mut hand = Hand::new(vec![4, 2, 0, 1, 3], 3);
        assert_eq!(ask_all(&mut hand, now), [4, 2, 0]);
        for (node, missing) in [(4, 2), (0, 1)] {
            hand.answered(node, now);
            hand.missing(missing);
            assert_eq!(ask_all(&mut hand, now), []);
        }
    }

    #[test]
    fn who_fails_is_replaced_at_once_and_who_is_slow_after_its_delay() {
        let begin = Instant::now();
        let mut hand = Hand::new((0..5).collect(), 2);
        ask_all(&mut hand, begin);
        hand.failed(0, unreachable(), None, begin);
        assert_eq!(ask_all(&mut hand, begin), [2]);
        let hedge_after = |_| HEDGE;
        assert_eq!(hand.wake(hedge_after, begin + 2 * HEDGE), begin + HEDGE);
        hand.look(begin + HEDGE / 2, hedge_after);
        assert_eq!(ask_all(&mut hand, begin + HEDGE / 2), []);
        // Both are slow: three were of no use by now, so that one more is asked than is missing.
        hand.look(begin + HEDGE, hedge_after);
        assert!(hand.is_hedging());
        assert_eq!(ask_all(&mut hand, begin + HEDGE), [3, 4]);
        hand.answered(1, begin + HEDGE);
        hand.missing(1);
        assert!(!hand.is_over());
    }

    #[test]
    fn who_is_down_is_asked_beside_the_others() {
        let now = Instant::now();
        let mut hand = Hand::new(vec![0, 1, 2], 2);
        let mut asked = Vec::new();
        while hand.wants_another(now) {
            asked.extend(hand.ask(now, |node| node == 0));
        }
        assert_eq!(asked, [0, 1, 2]);
    }

    #[test]
    fn a_busy_node_is_asked_again_after_its_pause_but_not_for_ever() {
        let mut now = Instant::now();
        let busy = || Outcome::Refused {
            code: "busy".to_owned(),
            message: String::new(),
        };
        let mut hand = Hand::new(vec![0], 1);
        for _ in 0..MOST_TRIES {
            assert_eq!(ask_all(&mut hand, now), [0]);
            hand.failed(0, busy(), Some(HEDGE), now);
            assert_eq!(ask_all(&mut hand, now), []);
            now += HEDGE;
        }
        assert!(hand.is_over());
    }

    #[test]
    fn a_share_that_was_found_out_counts_as_of_no_use() {
        let now = Instant::now();
        let mut hand = Hand::new(vec![0, 1, 2], 1);
        ask_all(&mut hand, now);
        hand.answered(0, now);
        assert!(hand.found_out(0, unreachable()));
        assert!(!hand.found_out(0, unreachable()) && !hand.found_out(1, unreachable()));
        assert_eq!(ask_all(&mut hand, now), [1]);
    }
}
