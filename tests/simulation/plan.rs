//! The plan of a history: what happens to the world besides what it does by itself. It comes of the seed, and every step of it can be
//! left out, so that a failure can be shrunk ([`crate::shrink`]).

mod acts;

use coordinator::record::{Role, Transaction};
use cryptonode::wire::v1::{ByteBuf, MAX_REQUEST, Request};
use dkg::{BaseTerms, Proposal, Terms};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reencrypt::{EphemeralSecret, VerifiedWrappedKey};
use testkit::misbehaviour::Misbehaviour;

use crate::disk::Tear;
use crate::network::Weather;
use crate::node::Caller;
use crate::plants::Plant;
use crate::reader::{Making, Run};
use crate::record_ledger::{self, grant, revoke, signed, spki};
use crate::world::{DEALINGS, LEADINGS, Later, World};

/// What a history is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reads of a key that is there.
    Reads,
    /// Reads while the key is reshared.
    Reshare,
    /// A key is made.
    Create,
}

/// A world's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    pub threshold: u16,
    /// Members of the key.
    pub members: usize,
    /// Nodes beside them, that may become members.
    pub spare: usize,
}

#[derive(Debug, Clone)]
pub enum Step {
    Read {
        reader: usize,
        document: usize,
    },
    /// With a fuse, in the middle of a write; without one, at once.
    Crash {
        node: usize,
        fuse: Option<u64>,
        away_ms: u64,
        tear: Tear,
        seed: u64,
    },
    CrashPeer {
        peer: usize,
        fuse: Option<u64>,
        away_ms: u64,
        tear: Tear,
        seed: u64,
    },
    Split {
        sides: u64,
        for_ms: u64,
    },
    Storm {
        weather: Weather,
        for_ms: u64,
    },
    Misbehave {
        node: usize,
        how: Misbehaviour,
    },
    Revoke {
        reader: usize,
    },
    Grant {
        reader: usize,
    },
    Attack {
        node: usize,
        how: Attack,
    },
    Propose {
        leader: usize,
        members: Vec<usize>,
        absent: u16,
    },
}

/// What somebody sends who has seen an honest request, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    TooFewApprovals,
    OneOrganisationTwice,
    AnothersApprovals,
    AnotherEphemeralKey,
    /// What any client does, of the vocabulary.
    As(Misbehaviour),
}

pub const ATTACKS: [Attack; 8] = [
    Attack::TooFewApprovals,
    Attack::OneOrganisationTwice,
    Attack::AnothersApprovals,
    Attack::AnotherEphemeralKey,
    Attack::As(Misbehaviour::Replay),
    Attack::As(Misbehaviour::OversizedFrame),
    Attack::As(Misbehaviour::TruncatedFrame),
    Attack::As(Misbehaviour::ConnectionFlood),
];

/// What nodes do, of the vocabulary, in a history.
pub const CONDUCTS: [Misbehaviour; 12] = [
    Misbehaviour::WrongShare,
    Misbehaviour::WrongProof,
    Misbehaviour::Equivocation,
    Misbehaviour::NoAnswer,
    Misbehaviour::Replay,
    Misbehaviour::OtherEpoch,
    Misbehaviour::StaleCertificate,
    Misbehaviour::OversizedFrame,
    Misbehaviour::TruncatedFrame,
    Misbehaviour::SlowReader,
    Misbehaviour::Refusal,
    Misbehaviour::WrongClock(600),
];

pub const READERS: [&str; 2] = ["acme/eve", "acme/ann"];
pub const DOCUMENTS: usize = 2;
pub const PEERS: usize = 4;

/// What a seed stands for.
pub struct Plan {
    pub kind: Kind,
    pub shape: Shape,
    pub steps: Vec<(u64, Step)>,
    pub storm_ms: u64,
}

pub const SHAPES: [Shape; 4] = [
    Shape {
        threshold: 2,
        members: 3,
        spare: 1,
    },
    Shape {
        threshold: 2,
        members: 4,
        spare: 1,
    },
    Shape {
        threshold: 3,
        members: 5,
        spare: 0,
    },
    // Ceremonies with two that cheat: one may be absent beside them.
    Shape {
        threshold: 3,
        members: 6,
        spare: 1,
    },
];

impl Plan {
    pub fn of(seed: u64) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed ^ 0x9a7c_15f3);
        let kind = match seed % 8 {
            0 => Kind::Create,
            1 | 2 => Kind::Reshare,
            _ => Kind::Reads,
        };
        let shape = match (kind, rng.random_range(0..8)) {
            (Kind::Reads, 0 | 1) => SHAPES[2],
            // They cost the most.
            (Kind::Create | Kind::Reshare, 0) => SHAPES[3],
            (_, 0..4) => SHAPES[1],
            _ => SHAPES[0],
        };
        let storm_ms = match kind {
            Kind::Reads => rng.random_range(2_000..20_000),
            _ => rng.random_range(10_000..60_000),
        };
        Self {
            steps: steps(rng, kind, shape, storm_ms),
            kind,
            shape,
            storm_ms,
        }
    }
}

fn steps(rng: &mut StdRng, kind: Kind, shape: Shape, storm_ms: u64) -> Vec<(u64, Step)> {
    let nodes = shape.members + shape.spare;
    let mut steps = Vec::new();
    let at = |rng: &mut StdRng| rng.random_range(0..storm_ms);
    // Fewer than t, and never so many that the rest are no quorum.
    let faulty = usize::from(shape.threshold - 1).min(shape.members - usize::from(shape.threshold));
    for number in 0..rng.random_range(0..=faulty) {
        let how = CONDUCTS[rng.random_range(0..CONDUCTS.len())];
        let node = (number + rng.random_range(0..shape.members)) % shape.members;
        let already = |(_, step): &(u64, Step)| matches!(step, Step::Misbehave { node: other, .. } if *other == node);
        if !steps.iter().any(already) {
            steps.push((at(rng) / 2, Step::Misbehave { node, how }));
        }
    }
    match kind {
        Kind::Reads => {}
        Kind::Create => {
            let members: Vec<usize> = (0..shape.members).collect();
            let leader = rng.random_range(0..members.len());
            let absent = rng.random_range(0..=1);
            for _ in 0..faulty {
                steps.extend(dealing(rng, &steps, (leader, shape.members), faulty));
            }
            steps.push((
                10,
                Step::Propose {
                    leader,
                    members,
                    absent,
                },
            ));
        }
        Kind::Reshare => {
            // One leaves, and a spare one takes its place; or all stay.
            let mut members: Vec<usize> = (0..shape.members).collect();
            if shape.spare > 0 && rng.random_bool(0.6) {
                let leaves = rng.random_range(0..members.len());
                members[leaves] = shape.members;
            }
            let leader = members[rng.random_range(0..members.len())];
            let begin = at(rng) / 4;
            let absent = rng.random_range(0..=1);
            for _ in 0..faulty {
                steps.extend(dealing(rng, &steps, (leader, shape.members), faulty));
            }
            steps.push((
                begin,
                Step::Propose {
                    leader,
                    members,
                    absent,
                },
            ));
        }
    }
    let crashes = if kind == Kind::Reads { 4 } else { 6 };
    for _ in 0..rng.random_range(0..crashes) {
        let fuse = rng.random_bool(0.7).then(|| rng.random_range(0..60));
        let tear = [Tear::Kept, Tear::Lost, Tear::Torn, Tear::Torn][rng.random_range(0..4)];
        steps.push((
            at(rng),
            Step::Crash {
                node: rng.random_range(0..nodes),
                fuse,
                away_ms: rng.random_range(10..10_000),
                tear,
                seed: rng.random(),
            },
        ));
    }
    for _ in 0..rng.random_range(0..3) {
        let for_ms = rng.random_range(500..8_000);
        let split = Step::Split {
            sides: rng.random(),
            for_ms,
        };
        let weather = Weather {
            lost: rng.random_range(0..300),
            doubled: rng.random_range(0..200),
            delay_ms: rng.random_range(5..1_500),
        };
        let storm = Step::Storm { weather, for_ms };
        let step = if rng.random_bool(0.5) { split } else { storm };
        steps.push((at(rng), step));
    }
    if kind != Kind::Create {
        for _ in 0..rng.random_range(1..4) {
            let (reader, document) = (
                rng.random_range(0..READERS.len()),
                rng.random_range(0..DOCUMENTS),
            );
            steps.push((at(rng), Step::Read { reader, document }));
        }
        // Whatever was before: a read in calm weather.
        steps.push((
            storm_ms + 500,
            Step::Read {
                reader: 1,
                document: 0,
            },
        ));
        for _ in 0..rng.random_range(0..3) {
            let tear = [Tear::Kept, Tear::Lost, Tear::Torn][rng.random_range(0..3)];
            steps.push((
                at(rng),
                Step::CrashPeer {
                    peer: rng.random_range(0..PEERS),
                    fuse: rng.random_bool(0.7).then(|| rng.random_range(0..3)),
                    away_ms: rng.random_range(10..6_000),
                    tear,
                    seed: rng.random(),
                },
            ));
        }
        if rng.random_bool(0.2) {
            let revoked = at(rng);
            steps.push((revoked, Step::Revoke { reader: 0 }));
            if rng.random_bool(0.5) {
                steps.push((
                    rng.random_range(revoked..storm_ms + 1),
                    Step::Grant { reader: 0 },
                ));
            }
        }
        for _ in 0..rng.random_range(0..5) {
            let (node, how) = (
                rng.random_range(0..nodes),
                ATTACKS[rng.random_range(0..ATTACKS.len())],
            );
            steps.push((at(rng) + 1_000, Step::Attack { node, how }));
        }
    }
    steps.sort_by_key(|(at, _)| *at);
    steps
}

/// A member deals, or the one that leads leads, as it should not, if one more may: old members of a reshare among them, fewer than t in all.
fn dealing(
    rng: &mut StdRng,
    steps: &[(u64, Step)],
    (leader, members): (usize, usize),
    faulty: usize,
) -> Option<(u64, Step)> {
    let all = [DEALINGS.as_slice(), LEADINGS.as_slice()].concat();
    let how = all[rng.random_range(0..all.len())];
    let other = rng.random_range(1..members);
    let node = if LEADINGS.contains(&how) {
        leader
    } else {
        // A leader's own deal is its own affair.
        (leader + other) % members
    };
    let misbehaving = steps.iter().filter_map(|(_, step)| match step {
        Step::Misbehave { node, .. } => Some(*node),
        _ => None,
    });
    let others: Vec<usize> = misbehaving.collect();
    let may = others.len() < faulty && !others.contains(&node) && rng.random_bool(0.6);
    may.then_some((0, Step::Misbehave { node, how }))
}

fn at(ms: u64, step: Step) -> (u64, Step) {
    (ms, step)
}

/// A plan in which the planted bug would show.
pub fn provoking(plant: Plant) -> Vec<(u64, Step)> {
    let read = |ms, reader| {
        at(
            ms,
            Step::Read {
                reader,
                document: 0,
            },
        )
    };
    let mut steps = vec![read(10, 0), read(2_000, 1), read(6_000, 0)];
    match plant {
        Plant::LyingDisk => steps.push(at(
            4_000,
            Step::Crash {
                node: 0,
                fuse: None,
                away_ms: 500,
                tear: Tear::Lost,
                seed: 1,
            },
        )),
        Plant::ForgetfulPeer => steps.push(at(
            4_000,
            Step::CrashPeer {
                peer: 0,
                fuse: None,
                away_ms: 500,
                tear: Tear::Kept,
                seed: 1,
            },
        )),
        Plant::FewerOrganisations => steps.extend((0..4).map(|at_node| {
            at(
                5_000 + at_node,
                Step::Attack {
                    node: 0,
                    how: Attack::TooFewApprovals,
                },
            )
        })),
        Plant::BlamesAnybody => steps.push(at(
            1,
            Step::Misbehave {
                node: 1,
                how: Misbehaviour::WrongShare,
            },
        )),
        _ => {}
    }
    steps.sort_by_key(|(at, _)| *at);
    steps
}
