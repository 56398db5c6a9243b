//! The plan of a history: what happens to the world besides what it does by itself. It comes of the seed, and every step of it can be
//! left out, so that a failure can be shrunk ([`crate::shrink`]).

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
use crate::world::{Later, START_MS, World};

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
    Read { reader: usize, document: usize },
    /// With a fuse, in the middle of a write; without one, at once.
    Crash { node: usize, fuse: Option<u64>, away_ms: u64, tear: Tear, seed: u64 },
    CrashPeer { peer: usize, fuse: Option<u64>, away_ms: u64, tear: Tear, seed: u64 },
    Split { sides: u64, for_ms: u64 },
    Storm { weather: Weather, for_ms: u64 },
    Misbehave { node: usize, how: Misbehaviour },
    Revoke { reader: usize },
    Grant { reader: usize },
    Attack { node: usize, how: Attack },
    Propose { leader: usize, members: Vec<usize>, absent: u16 },
}

/// What somebody sends who has seen an honest request, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    TooFewApprovals,
    OneOrganisationTwice,
    AnothersApprovals,
    AnotherEphemeralKey,
    Replay,
    Oversized,
    Truncated,
    Flood,
}

const ATTACKS: [Attack; 8] = [
    Attack::TooFewApprovals,
    Attack::OneOrganisationTwice,
    Attack::AnothersApprovals,
    Attack::AnotherEphemeralKey,
    Attack::Replay,
    Attack::Oversized,
    Attack::Truncated,
    Attack::Flood,
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

pub const SHAPES: [Shape; 3] = [
    Shape { threshold: 2, members: 3, spare: 1 },
    Shape { threshold: 2, members: 4, spare: 1 },
    Shape { threshold: 3, members: 5, spare: 0 },
];

impl Plan {
    pub fn of(seed: u64) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed ^ 0x9a7c_15f3);
        let kind = match seed % 8 {
            0 => Kind::Create,
            1 | 2 => Kind::Reshare,
            _ => Kind::Reads,
        };
        let shape = match (kind, rng.random_range(0..4)) {
            (Kind::Reads, 0) => SHAPES[2],
            (_, 0 | 1) => SHAPES[1],
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
            steps.push((10, Step::Propose { leader, members, absent }));
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
            steps.push((begin, Step::Propose { leader, members, absent }));
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
        let split = Step::Split { sides: rng.random(), for_ms };
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
            let (reader, document) = (rng.random_range(0..READERS.len()), rng.random_range(0..DOCUMENTS));
            steps.push((at(rng), Step::Read { reader, document }));
        }
        // Whatever was before: a read in calm weather.
        steps.push((storm_ms + 500, Step::Read { reader: 1, document: 0 }));
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
                steps.push((rng.random_range(revoked..storm_ms + 1), Step::Grant { reader: 0 }));
            }
        }
        for _ in 0..rng.random_range(0..5) {
            let (node, how) = (rng.random_range(0..nodes), ATTACKS[rng.random_range(0..ATTACKS.len())]);
            steps.push((at(rng) + 1_000, Step::Attack { node, how }));
        }
    }
    steps.sort_by_key(|(at, _)| *at);
    steps
}

/// A read of a document, signed now.
pub fn making(world: &World, reader: usize, document: usize) -> Making {
    let name = READERS[reader % READERS.len()];
    let document = &world.documents[document];
    let rng = &mut rand::rng();
    let secret = EphemeralSecret::new(&document.wrapped, rng);
    let spki = spki(&format!("client of {name}"));
    let mut read = record_ledger::plain_read(&document.name);
    read.reencryption = Some(coordinator::record::Reencryption {
        write_id: document.wrapped.write_id(),
        ephemeral_key: secret.public().as_bytes().to_vec(),
        client_spki: spki.clone(),
    });
    let ledger = world.founders.genesis.id();
    Making {
        reader,
        transaction: signed(&ledger, name, Transaction::Read(read), world.now_ms),
        secret,
        wrapped: document.wrapped.clone(),
        spki,
    }
}

impl World {
    fn make_run(&mut self, reader: usize, document: usize) -> Option<Run> {
        let making = making(self, reader, document);
        let bound = (
            making.wrapped.write_id(),
            *making.secret.public().point().as_bytes(),
            making.spki.clone(),
        );
        self.monitor.reads.insert(making.transaction.id(), bound);
        Some(Run::new(making, self.view.clone()?, self.now_ms))
    }

    /// The same read once more.
    pub fn renewed(&mut self, number: usize) -> Option<Run> {
        let (reader, write_id) = (self.runs[number].reader, self.runs[number].wrapped.write_id());
        let mut documents = self.documents.iter();
        let document = documents.position(|one| one.wrapped.write_id() == write_id)?;
        let (begun, clear, view) = {
            let old = &self.runs[number];
            (old.begun_ms, old.clear_since, old.view.clone())
        };
        let mut fresh = self.make_run(reader, document)?;
        fresh.follow(view);
        (fresh.begun_ms, fresh.clear_since) = (begun, clear);
        fresh.attempt = self.runs[number].attempt + 1;
        Some(fresh)
    }

    pub fn carry_out(&mut self, step: Step) {
        match step {
            Step::Read { reader, document } => {
                if let Some(run) = self.make_run(reader, document) {
                    self.begin(run);
                }
            }
            Step::Crash { node, fuse, away_ms, tear, seed } => match fuse {
                Some(fuse) if self.nodes[node].running.is_some() => {
                    self.monitor.fuses.insert(node, (away_ms, tear, seed));
                    self.nodes[node].disk.set_fuse(fuse);
                }
                _ => self.crash_node(node, away_ms, tear, seed),
            },
            Step::CrashPeer { peer, fuse, away_ms, tear, seed } => match fuse {
                Some(fuse) if self.peers[peer].peer.is_some() => {
                    self.monitor.peer_away_ms.insert(peer, away_ms);
                    self.peers[peer].fuse = Some((fuse, tear, seed));
                }
                _ => self.crash_peer(peer, away_ms),
            },
            Step::Split { sides, for_ms } => {
                self.network.split = Some(sides);
                self.later(for_ms, Later::Heal);
            }
            Step::Storm { weather, for_ms } => {
                self.network.weather = weather;
                self.later(for_ms, Later::Clear);
            }
            Step::Misbehave { node, how } => {
                if let Misbehaviour::WrongClock(ahead_s) = how {
                    self.nodes[node].skew_ms = ahead_s * 1000;
                }
                self.nodes[node].conduct = Some(how);
            }
            Step::Revoke { reader } => {
                self.change(revoke("acme/data", Role::Reader, READERS[reader]));
            }
            Step::Grant { reader } => {
                self.change(grant("acme/data", Role::Reader, READERS[reader]));
            }
            Step::Attack { node, how } => self.carry_out_attack(node, how),
            Step::Propose { leader, members, absent } => self.carry_out_proposal(leader, &members, absent),
        }
    }

    fn change(&mut self, transaction: Transaction) {
        let ledger = self.founders.genesis.id();
        let signed = signed(&ledger, "acme/ann", transaction, self.now_ms);
        self.submit(signed);
    }

    fn carry_out_attack(&mut self, node: usize, how: Attack) {
        let stranger = Caller {
            spki: spki("a stranger"),
            member: None,
        };
        let Some((caller, bytes)) = self.seen.last().cloned() else {
            let bytes = vec![0; if how == Attack::Oversized { MAX_REQUEST + 1 } else { 100 }];
            return self.attack(node, stranger, bytes);
        };
        let Ok(Request::Reencrypt { result, mut approvals, wrapped_key, mut ephemeral_key }) =
            Request::from_bytes(&bytes)
        else {
            return;
        };
        let mut sender = caller;
        match how {
            Attack::TooFewApprovals => approvals.truncate(self.approvals_needed - 1),
            Attack::OneOrganisationTwice => {
                approvals.truncate(self.approvals_needed - 1);
                approvals.extend(approvals.first().cloned());
            }
            Attack::AnothersApprovals => sender = stranger,
            Attack::AnotherEphemeralKey => {
                let wrapped = reencrypt::WrappedKey::parse(&wrapped_key).ok();
                let rng = &mut rand::rng();
                let wrapped: Option<VerifiedWrappedKey> = wrapped.and_then(|it| it.verify(rng).ok());
                let Some(wrapped) = wrapped else { return };
                let own = EphemeralSecret::new(&wrapped, rng);
                ephemeral_key = ByteBuf::from(own.public().as_bytes().to_vec());
            }
            Attack::Replay => {}
            Attack::Oversized => {
                let mut bytes = bytes.to_vec();
                bytes.resize(MAX_REQUEST + 1, 0);
                return self.attack(node, sender, bytes);
            }
            Attack::Truncated => {
                return self.attack(node, sender, bytes[..bytes.len() / 2].to_vec());
            }
            Attack::Flood => {
                for length in 0..20 {
                    self.attack(node, stranger.clone(), vec![0xbf; length]);
                }
                return;
            }
        }
        let request = Request::Reencrypt { result, approvals, wrapped_key, ephemeral_key };
        if let Ok(bytes) = request.to_bytes() {
            self.attack(node, sender, bytes);
        }
    }

    fn carry_out_proposal(&mut self, leader: usize, members: &[usize], absent: u16) {
        if self.nodes[leader].running.is_none() {
            return;
        }
        let now = self.nodes[leader].clock_ms(self.now_ms) / 1000;
        let entry = self.view.as_ref().and_then(|view| {
            let key = view.package.public_key();
            let mut nodes = self.nodes.iter().filter_map(|node| node.running.as_ref());
            nodes.find_map(|running| running.desk.keyring.entry(key.as_bytes())?.state().newest.clone())
        });
        let base = entry.map(|newest| BaseTerms {
            addresses: newest.addresses.clone(),
            certificate: newest.certificate.as_bytes().to_vec(),
            old_may_be_absent: Vec::new(),
            attempts_after: 0,
        });
        let cards = members.iter().map(|at| self.nodes[*at].card.clone());
        let terms = Terms {
            threshold: u16::try_from(self.threshold).unwrap(),
            policy_hash: self.nodes[leader].policy.hash(),
            members: cards.collect(),
            base,
            leader: self.nodes[leader].identity(),
            created: now,
            expires: now + 240,
            may_be_absent: absent,
            allow_few_members: true,
            software: "simulated".to_owned(),
        };
        if let Ok(proposal) = Proposal::new(terms, &mut self.rng) {
            self.propose(leader, proposal);
        }
    }
}

/// For histories that a test writes by hand.
pub fn at(ms: u64, step: Step) -> (u64, Step) {
    debug_assert!(START_MS > 0);
    (ms, step)
}

/// A plan in which the planted bug would show.
pub fn provoking(plant: Plant) -> Vec<(u64, Step)> {
    let read = |ms, reader| at(ms, Step::Read { reader, document: 0 });
    let mut steps = vec![read(10, 0), read(2_000, 1), read(6_000, 0)];
    match plant {
        Plant::LyingDisk => steps.push(at(
            4_000,
            Step::Crash { node: 0, fuse: None, away_ms: 500, tear: Tear::Lost, seed: 1 },
        )),
        Plant::ForgetfulPeer => steps.push(at(
            4_000,
            Step::CrashPeer { peer: 0, fuse: None, away_ms: 500, tear: Tear::Kept, seed: 1 },
        )),
        Plant::FewerOrganisations => steps.extend(
            (0..4).map(|at_node| at(5_000 + at_node, Step::Attack { node: 0, how: Attack::TooFewApprovals })),
        ),
        Plant::BlamesAnybody => steps.push(at(1, Step::Misbehave { node: 1, how: Misbehaviour::WrongShare })),
        _ => {}
    }
    steps.sort_by_key(|(at, _)| *at);
    steps
}
