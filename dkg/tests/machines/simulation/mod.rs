//! A whole cluster under a virtual clock: every node with its member, its leader when it leads, and its disk.
//!
//! One seed gives one history: messages late, lost, doubled and out of order; partitions; nodes that crash between writing and
//! sending, come back, or do not; leaders that vanish; members that cheat, fewer than t. [`World::check`] holds the invariants of
//! `docs/protocol/key-generation.md`, section 10, after every event, and [`World::check_end`] at the end; [`secrecy`] has what the cheats know
//! together. `invariants.rs` runs the seeds.

mod cheat;
mod players;
pub mod secrecy;
mod turns;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use dkg::{Leader, LeaderPhase, Member, MemberStage, Message, Proposal};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::misbehaviour::Misbehaviour;

use crate::cluster::NOW;
pub use cheat::{CHEATS, Cheat, ENDLESS};
use players::{Player, create, reshare};
use secrecy::Adversary;

pub const PATIENCE: u32 = 120;
pub const LIFETIME: u64 = 15_000;

/// What a history may hold.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Of 1,000 messages.
    pub lost: u64,
    pub doubled: u64,
    /// Of 1,000 turns of a member, each.
    pub crash_before_writing: u64,
    pub crash_before_sending: u64,
    /// The longest that a crashed node stays away, in seconds.
    pub away: u64,
    /// Partitions during the storm.
    pub partitions: u64,
    /// Whether the proposal's leader dies for good at some moment.
    pub leader_dies: bool,
    /// What the cheats do. Which members they are comes of the seed: fewer than t, and of the old members of a reshare fewer than t_old.
    pub cheats: [Option<Misbehaviour>; 2],
    /// A reshare, led by an old member that leaves, instead of a new key.
    pub reshare: bool,
    /// A fault that an invariant is to find.
    pub planted: Option<Plant>,
}

/// Faults of the software.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// A dealer deals the same polynomial in every attempt.
    SamePolynomial,
}

enum Event {
    Question {
        from: usize,
        to: usize,
        message: Message,
    },
    Answer {
        from: usize,
        to: usize,
        message: Message,
    },
    Lost {
        leader: usize,
        member: usize,
    },
    Wake(usize),
    Up(usize),
    Dies(usize),
    Split(u64),
    Heals,
}

pub struct World {
    /// By seat.
    pub players: Vec<Player>,
    pub proposal: Proposal,
    /// The place of the proposal's leader.
    pub first: usize,
    pub now: u64,
    pub rng: StdRng,
    weather: Weather,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    /// By number, as a heap does not hold what has no order.
    what: BTreeMap<u64, Event>,
    next: u64,
    /// One bit for each player: who is on the other side.
    split: u64,
    storm_ends: u64,
    /// By place.
    pub cheats: BTreeMap<usize, Cheat>,
    /// What they know together.
    pub adversary: Adversary,
    /// Certificates that anybody has made.
    pub certificates: Vec<Vec<u8>>,
    /// What happened, for a seed that fails.
    pub log: Vec<String>,
    pub led_by: Vec<usize>,
    /// Evidence that has been looked at.
    pub judged: Vec<dkg::Exclusion>,
}

impl World {
    pub fn new(seed: u64, threshold: u16, members: usize, absent: u16, weather: Weather) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let (players, proposal) = if weather.reshare {
            reshare(seed, threshold, &mut rng)
        } else {
            create(seed, threshold, members, absent, &mut rng)
        };
        let first = usize::from(proposal.index_of(proposal.leader()).unwrap()) - 1;
        let storm_ends = NOW + 100 + rng.next_u64() % 3_000;
        let mut world = Self {
            first,
            players,
            proposal,
            now: NOW,
            rng,
            weather,
            events: BinaryHeap::new(),
            what: BTreeMap::new(),
            next: 0,
            split: 0,
            storm_ends,
            cheats: BTreeMap::new(),
            adversary: Adversary::default(),
            certificates: Vec::new(),
            log: Vec::new(),
            led_by: Vec::new(),
            judged: Vec::new(),
        };
        world.draw_cheats();
        world.begin_adversary();
        let identity = world.players[first].node.local.identity.clone();
        let leader = Leader::new(world.proposal.clone(), &identity, NOW).unwrap();
        world.players[first].leader = Some(leader.with_patience(PATIENCE));
        world.led_by.push(first);
        for place in 0..world.players.len() {
            world.wake(place, NOW);
        }
        if weather.leader_dies {
            // Most of what matters happens in the first seconds of a history.
            let moment = if world.chance(700) {
                40
            } else {
                storm_ends - NOW
            };
            let at = NOW + world.below(moment);
            world.schedule(at, Event::Dies(first));
        }
        for _ in 0..weather.partitions {
            let at = NOW + world.below(storm_ends - NOW);
            let sides = world.rng.next_u64() | 1 << 63;
            world.schedule(at, Event::Split(sides));
            let healed = at + world.below(900);
            world.schedule(healed, Event::Heals);
        }
        world
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit.max(1)
    }

    /// Of 1,000.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    fn is_calm(&self) -> bool {
        self.now >= self.storm_ends
    }

    pub fn is_honest(&self, place: usize) -> bool {
        !self.cheats.contains_key(&place)
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.next += 1;
        // Messages of one moment come in any order.
        let order = (self.rng.next_u64() << 24) | (self.next & 0xff_ffff);
        self.what.insert(order, event);
        self.events.push(Reverse((at, order)));
    }

    fn wake(&mut self, place: usize, at: u64) {
        let player = &mut self.players[place];
        if at < player.wake_at {
            player.wake_at = at;
            self.schedule(at, Event::Wake(place));
        }
    }

    pub fn note(&mut self, what: String) {
        self.log.push(format!("{:>6} {what}", self.now - NOW));
    }

    fn can_reach(&self, one: usize, other: usize) -> bool {
        (self.split >> one) & 1 == (self.split >> other) & 1
            && self.players[one].up
            && self.players[other].up
    }

    fn delay(&mut self) -> u64 {
        if !self.is_calm() && self.chance(50) {
            self.below(40)
        } else {
            self.below(3)
        }
    }

    pub fn send(&mut self, from: usize, to: usize, message: Message) {
        let lost = !self.is_calm() && self.chance(self.weather.lost);
        if lost || !self.can_reach(from, to) {
            let at = self.now + 1 + self.below(5);
            return self.lose(from, to, at);
        }
        if !self.is_calm() && self.chance(self.weather.doubled) {
            let at = self.now + self.below(60);
            let message = message.clone();
            self.schedule(at, Event::Question { from, to, message });
        }
        let at = self.now + self.delay();
        self.schedule(at, Event::Question { from, to, message });
    }

    /// Runs to the end of the proposal and beyond, or until nothing is left to happen.
    pub fn run(&mut self) {
        for _ in 0..200_000 {
            let Some(Reverse((at, order))) = self.events.pop() else {
                return;
            };
            let event = self.what.remove(&order).unwrap();
            self.now = self.now.max(at);
            if self.now > NOW + LIFETIME + 5_000 || self.is_over() {
                return;
            }
            self.happen(event);
            self.check();
        }
        panic!("the history does not end");
    }

    /// All honest members that live have a key, and nobody asks for anything any more.
    fn is_over(&self) -> bool {
        self.cheats.is_empty()
            && self.players.iter().all(|player| {
                player.dead || player.node.member.stage() == MemberStage::Activated && player.up
            })
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake(place) => {
                if self.players[place].wake_at <= self.now {
                    self.players[place].wake_at = u64::MAX;
                }
                self.drive(place);
            }
            Event::Up(place) if !self.players[place].dead => {
                let now = self.now;
                let player = &mut self.players[place];
                player.up = true;
                let leads = player
                    .leader
                    .as_ref()
                    .is_some_and(|leader| leader.progress().phase != LeaderPhase::StoodAside);
                if leads {
                    player.node.member.take_lead(now);
                }
                self.note(format!("{place} is back"));
                self.drive(place);
            }
            Event::Up(_) => {}
            Event::Dies(place) => {
                self.note(format!("{place} dies"));
                self.players[place].dead = true;
                self.players[place].up = false;
            }
            Event::Split(sides) => {
                self.split = sides;
                self.note(format!("split {:b}", sides & 0xff));
            }
            Event::Heals => {
                self.split = 0;
                self.note("healed".to_owned());
            }
            Event::Question { from, to, message } => self.serve(from, to, message),
            Event::Answer { from, to, message } => {
                if !self.players[to].up {
                    return;
                }
                let identity = self.players[from].node.card.identity;
                let now = self.now;
                let effects = match &mut self.players[to].leader {
                    Some(leader) => leader.handle_reply(&identity, &message, now),
                    None => return,
                };
                if !self.is_honest(to) {
                    self.hurry(to, from, &message);
                }
                self.carry_out(to, effects);
                self.drive(to);
            }
            Event::Lost { leader, member } => {
                let identity = self.players[member].node.card.identity;
                let now = self.now;
                if let Some(leader) = &mut self.players[leader].leader {
                    leader.unreachable(&identity, now);
                }
                self.drive(leader);
            }
        }
    }

    fn crash(&mut self, place: usize) {
        let away = if self.weather.away == 0 {
            1
        } else {
            1 + self.below(self.weather.away)
        };
        self.note(format!("{place} crashes for {away}"));
        let player = &mut self.players[place];
        player.node.crash();
        let member = std::mem::replace(
            &mut player.node.member,
            Member::new(player.node.local.clone()),
        );
        player.node.member = member.with_patience(PATIENCE);
        player.wake_at = u64::MAX;
        player.leader = player
            .leader_disk
            .as_ref()
            .map(|state| Leader::restore(state).unwrap());
        player.up = false;
        let at = self.now + away;
        self.schedule(at, Event::Up(place));
    }

    pub fn fail(&self, what: &str) -> ! {
        panic!("{what}\n{}", self.log.join("\n"));
    }
}
