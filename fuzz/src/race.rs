//! A reader among nodes: whom it asks and how often, what it makes of what they send, and that it comes to an end. The machines are the client's own
//! ([`Hand`], [`Opening`]); the input says who answers what and when.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use cryptonode::client::{CallError, Hand, Heard, Outcome};
use cryptonode::wire::v1::{Answer, ByteBuf};
use reencrypt::{EphemeralSecret, Opening, Progress, VerifiedWrappedKey, wrap};

use crate::keys::{Sharing, rng};
use crate::{Target, Verdict, refused};

/// Nodes, of which two are enough.
const NODES: usize = 3;
/// A node that is busy is asked so many times at most.
const MOST_TRIES: u8 = 3;
const HEDGE: Duration = Duration::from_millis(50);
const SECRET: &[u8] = &[8; 32];
/// Steps that are taken of an input.
const STEPS: usize = 64;

pub(crate) fn targets() -> Vec<Target> {
    vec![Target {
        name: "race",
        run: race,
        seeds: || {
            vec![
                ("ok-two-honest".to_owned(), vec![0, 0, 0, 0]),
                ("ok-a-liar".to_owned(), vec![2, 9, 0, 0, 0, 0]),
                (
                    "ok-a-true-share-with-a-false-proof".to_owned(),
                    vec![2, 70, 0, 0, 0, 0],
                ),
                ("ok-anothers-share".to_owned(), vec![3, 1, 0, 0, 0, 0]),
                ("ok-busy".to_owned(), vec![4, 1, 4, 1, 6, 201, 0, 0, 0, 0]),
                ("ok-slow".to_owned(), vec![6, 10, 7, 0, 0, 2, 0, 0]),
                ("nobody".to_owned(), vec![5, 0, 5, 0, 5, 0]),
                ("busy-for-ever".to_owned(), [4, 1, 6, 255].repeat(20)),
            ]
        },
    }]
}

struct Read {
    sharing: Sharing,
    wrapped: VerifiedWrappedKey,
    /// Each node's honest answer.
    shares: Vec<Vec<u8>>,
}

impl Read {
    fn ephemeral(wrapped: &VerifiedWrappedKey) -> EphemeralSecret {
        EphemeralSecret::new(wrapped, &mut rng(11))
    }
}

static READ: LazyLock<Read> = LazyLock::new(|| {
    let sharing = Sharing::new();
    let wrapped = wrap(&sharing.y, b"a race", SECRET, &mut rng(10)).unwrap();
    let ephemeral = Read::ephemeral(&wrapped);
    let shares = sharing.shares.iter().map(|share| {
        let share = share.reencrypt(&wrapped, ephemeral.public(), &mut rng(12));
        share.unwrap().to_bytes().to_vec()
    });
    let shares = shares.collect();
    Read {
        sharing,
        wrapped,
        shares,
    }
});

/// One read.
struct Race {
    hand: Hand,
    opening: Opening,
    now: Instant,
    asked: BTreeSet<usize>,
    tries: [u8; NODES],
    /// Who has sent what is not its own honest share, and who has sent that.
    liars: BTreeSet<usize>,
    honest: BTreeSet<usize>,
}

impl Race {
    fn new() -> Self {
        let read = &*READ;
        let (ephemeral, package) = (Read::ephemeral(&read.wrapped), &read.sharing.package);
        let opening = Opening::new(read.wrapped.clone(), ephemeral, package.clone());
        Self {
            hand: Hand::new((0..NODES).collect(), 2),
            opening: opening.unwrap(),
            now: Instant::now(),
            asked: BTreeSet::new(),
            tries: [0; NODES],
            liars: BTreeSet::new(),
            honest: BTreeSet::new(),
        }
    }

    fn ask(&mut self) {
        while self.hand.wants_another(self.now) {
            let Some(node) = self.hand.ask(self.now, |_| false) else {
                return;
            };
            assert!(self.asked.insert(node), "{node} is asked twice at a time");
            self.tries[node] += 1;
            assert!(self.tries[node] <= MOST_TRIES, "{node} is asked for ever");
        }
    }

    /// Whether it has come to its end.
    fn heard(&mut self, node: usize, answer: Result<Answer, CallError>) -> bool {
        self.asked.remove(&node);
        match Heard::from(answer) {
            Heard::Share { share, .. } => {
                self.hand.answered(node, self.now);
                let own = READ.shares.get(node) == Some(&share);
                let said = if own {
                    &mut self.honest
                } else {
                    &mut self.liars
                };
                said.insert(node);
                match self.opening.add(u16::try_from(node + 1).unwrap(), &share) {
                    Progress::Need(missing) => self.hand.missing(missing),
                    Progress::Opened(secret) => {
                        assert_eq!(secret.expose(), SECRET);
                        return true;
                    }
                    Progress::InvalidWrappedKey => panic!("an honest writer is blamed"),
                    Progress::Finished => panic!("it was finished before"),
                }
                assert!(self.honest.len() < 2, "two honest answers are enough");
                for culprit in self.opening.culprits() {
                    let node = usize::from(culprit.index) - 1;
                    assert!(self.liars.contains(&node), "{node} is honest and is blamed");
                    let reason = culprit.reason.to_string();
                    self.hand.found_out(node, Outcome::Cheated { reason });
                }
            }
            Heard::Nothing { outcome, pause } => {
                assert!(pause.is_none_or(|pause| pause <= Duration::from_secs(2)));
                self.hand.failed(node, outcome, pause, self.now);
            }
        }
        false
    }
}

fn share_of(share: Vec<u8>) -> Result<Answer, CallError> {
    Ok(Answer::Share {
        share: ByteBuf::from(share),
        newest: None,
    })
}

/// What a node says, by the input.
fn said(node: usize, what: u8, how: u8) -> Result<Answer, CallError> {
    let mut share = READ.shares[node].clone();
    match what {
        0 | 1 => share_of(share),
        2 => {
            let at = usize::from(how) % share.len();
            share[at] ^= 1 << (how % 8);
            share_of(share)
        }
        3 => share_of(READ.shares[(node + usize::from(how)) % NODES].clone()),
        4 => Ok(Answer::Refused {
            code: "busy".to_owned(),
            message: "later".to_owned(),
            retry_after_ms: Some(u64::from(how) << 24),
        }),
        _ => Err(CallError::TimedOut {
            after: Duration::from_millis(how.into()),
        }),
    }
}

fn race(bytes: &[u8]) -> Verdict {
    let mut race = Race::new();
    for [what, how] in bytes.as_chunks::<2>().0.iter().take(STEPS) {
        race.ask();
        let waiting = race.asked.len().max(1);
        let node = race.asked.iter().nth(usize::from(*how) % waiting).copied();
        match (what % 8, node) {
            (6, _) => race.now += Duration::from_millis(u64::from(*how) * 10),
            (7, _) => race.hand.look(race.now, |_| HEDGE),
            (what, Some(node)) => {
                if race.heard(node, said(node, what, *how)) {
                    return Ok(());
                }
            }
            (_, None) => {}
        }
        // It always knows when to look again.
        let deadline = race.now + Duration::from_secs(60);
        assert!(race.hand.wake(|_| HEDGE, deadline) <= deadline);
    }
    // From now on nobody says anything: it ends all the same.
    for _ in 0..NODES * usize::from(MOST_TRIES) + 1 {
        race.now += Duration::from_secs(2);
        race.hand.look(race.now, |_| HEDGE);
        race.ask();
        for node in std::mem::take(&mut race.asked) {
            race.heard(node, said(node, 5, 0));
        }
    }
    race.ask();
    assert!(
        race.asked.is_empty() && race.hand.is_over(),
        "it goes on for ever"
    );
    refused("too-few-answers")
}
