//! A whole cluster under a virtual clock: every node with its member, its leader when it leads, and its disk.
//!
//! One seed gives one history: messages late, lost, doubled and out of order; partitions; nodes that crash between writing and
//! sending, come back, or do not; leaders that vanish; a member that cheats. [`World::check`] holds the invariants of
//! `docs/protocol/key-generation.md`, section 10, after every event, and [`World::check_end`] at the end. `invariants.rs` runs the seeds.

mod cheat;
mod players;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use dkg::{Leader, LeaderEffect, LeaderPhase, Member, MemberStage, Message, Proposal};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::misbehaviour::Misbehaviour;

use crate::cluster::NOW;
pub use cheat::{CHEATS, ENDLESS};
use players::{Player, create, reshare};

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
    pub cheat: Option<Misbehaviour>,
    /// A reshare, led by an old member that leaves, instead of a new key.
    pub reshare: bool,
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
    /// What the cheat has kept to itself.
    pub withheld: Vec<Vec<u8>>,
    /// Grounds against itself that the cheat tells everybody.
    endless: Option<dkg::Grounds>,
    /// n of the cheat's acceptance, which it does not forget.
    secret: Option<curve25519_dalek::Scalar>,
    /// What the cheat has said as a leader, by whom it was said to and its kind.
    told: BTreeMap<(usize, &'static str), Message>,
    /// When the cheat has called all back.
    called: u64,
    /// Certificates that anybody has made.
    pub certificates: Vec<Vec<u8>>,
    /// What happened, for a seed that fails.
    pub log: Vec<String>,
    pub led_by: Vec<usize>,
    /// The attempt that was begun last, as the cheat has heard of it.
    pub begun: Option<(u32, Vec<dkg::Acceptance>)>,
    /// Evidence that has been looked at.
    pub judged: Vec<dkg::Exclusion>,
}

impl World {
    pub fn new(seed: u64, threshold: u16, members: usize, absent: u16, weather: Weather) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let (players, proposal) = if weather.reshare {
            reshare(seed, &mut rng)
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
            withheld: Vec::new(),
            endless: None,
            secret: None,
            told: BTreeMap::new(),
            called: NOW,
            certificates: Vec::new(),
            log: Vec::new(),
            led_by: Vec::new(),
            begun: None,
            judged: Vec::new(),
        };
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

    pub fn cheat(&self) -> Option<usize> {
        // The cheat stands second, so that it takes over first.
        self.weather
            .cheat
            .map(|_| (self.first + 1) % self.players.len())
    }

    pub fn is_honest(&self, place: usize) -> bool {
        self.cheat() != Some(place)
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
            self.schedule(
                at,
                Event::Lost {
                    leader: from,
                    member: to,
                },
            );
            return;
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
        self.weather.cheat.is_none()
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

    /// A member's turn.
    fn serve(&mut self, from: usize, to: usize, message: Message) {
        if !self.can_reach(from, to) {
            self.schedule(
                self.now + 1,
                Event::Lost {
                    leader: from,
                    member: to,
                },
            );
            return;
        }
        let calm = self.is_calm();
        let message = Message::from_bytes(&message.to_bytes()).unwrap();
        let identity = self.players[from].node.card.identity;
        let question = message.clone();
        let (now, rng) = (self.now, &mut self.rng);
        let player = &mut self.players[to];
        let idle = Member::new(player.node.local.clone());
        let mut member = std::mem::replace(&mut player.node.member, idle);
        let mut outcome = player.ask(&mut member, &identity, message, now, rng);
        if member.stage() == MemberStage::Proposed {
            outcome = member.accept(now, rng);
        }
        player.node.member = member;
        let mut reply = match outcome {
            Ok(output) => {
                if !calm && self.chance(self.weather.crash_before_writing) {
                    self.crash(to);
                    self.schedule(
                        now + 3,
                        Event::Lost {
                            leader: from,
                            member: to,
                        },
                    );
                    return;
                }
                self.write(to, output)
            }
            Err(fault) => Message::refusal(question.about(), &fault),
        };
        if !calm && self.chance(self.weather.crash_before_sending) {
            self.crash(to);
            self.schedule(
                now + 3,
                Event::Lost {
                    leader: from,
                    member: to,
                },
            );
            return;
        }
        if self.cheat() == Some(to) {
            match self.falsify(from, to, &question, reply) {
                Some(other) => reply = other,
                None => {
                    self.schedule(
                        now + 5,
                        Event::Lost {
                            leader: from,
                            member: to,
                        },
                    );
                    return;
                }
            }
        }
        self.log.push(format!(
            "{:>6} {from} asks {to} `{}` {:?}: `{}` {:?}",
            now - NOW,
            question.name(),
            question.attempt(),
            reply.name(),
            reply.attempt()
        ));
        let reply = Message::from_bytes(&reply.to_bytes()).unwrap();
        let lost = !calm && self.chance(self.weather.lost);
        let at = now + self.delay();
        if lost || !self.can_reach(from, to) {
            self.schedule(
                at + 3,
                Event::Lost {
                    leader: from,
                    member: to,
                },
            );
        } else {
            self.schedule(
                at,
                Event::Answer {
                    from: to,
                    to: from,
                    message: reply,
                },
            );
        }
        self.drive(to);
    }

    /// The driver writes: what the cheat writes is nobody's business.
    pub fn write(&mut self, place: usize, mut output: dkg::MemberOutput) -> Message {
        let player = &mut self.players[place];
        if let Some(state) = output.persist.take() {
            player.node.disk = Some(state.to_vec());
        }
        if let Some(confirmed) = output.confirmed {
            assert!(player.confirmed < confirmed.attempt, "attempts only go up");
            player.confirmed = confirmed.attempt;
        }
        if let Some(retired) = output.retired.take() {
            player.newest = player.newest.max(Some(retired.successor));
        }
        if let Some(key) = output.activated.take() {
            player.newest = player.newest.max(Some(key.name));
            key.share.check(&key.package).unwrap();
            let certified = dkg::verify_certificate(
                &key.certificate,
                &key.members
                    .iter()
                    .map(|member| member.identity)
                    .collect::<Vec<_>>(),
            )
            .unwrap();
            let attempt = certified.attempt();
            if !self.certificates.contains(&key.certificate) {
                self.certificates.push(key.certificate.clone());
            }
            assert!(
                player.keys.insert(attempt, key).is_none(),
                "one attempt is activated once"
            );
            self.note(format!("{place} activates attempt {attempt}"));
        }
        output.reply
    }

    fn carry_out(&mut self, place: usize, effects: Vec<LeaderEffect>) {
        for effect in effects {
            match effect {
                LeaderEffect::Persist(state) => self.players[place].leader_disk = Some(state),
                LeaderEffect::Send { to, message } => {
                    let to = usize::from(self.proposal.index_of(&to).unwrap()) - 1;
                    if self.cheat() == Some(place) {
                        self.lead_falsely(place, to, message);
                    } else {
                        self.send(place, to, message);
                    }
                }
                LeaderEffect::Certified { certificate } => {
                    self.note(format!("{place} has the certificate"));
                    if self.cheat() == Some(place) && self.withholds() {
                        self.withheld.push(certificate);
                        self.players[place].leader = None;
                        self.players[place].leader_disk = None;
                        return;
                    }
                }
                LeaderEffect::Excluded { member, exclusion } => {
                    self.note(format!(
                        "{place} leaves out {} ({})",
                        self.proposal.index_of(&member.identity).unwrap() - 1,
                        exclusion.grounds.code()
                    ));
                }
                LeaderEffect::Failed { culprits } => {
                    let culprits: Vec<_> = culprits
                        .iter()
                        .map(|(member, fault)| (member.name.clone(), fault.to_string()))
                        .collect();
                    self.note(format!("{place} fails: {culprits:?}"));
                }
                LeaderEffect::Completed { .. } => self.note(format!("{place} completes")),
            }
        }
    }

    /// What a node's driver does by itself: it leads, takes the lead, gives way, gives up.
    fn drive(&mut self, place: usize) {
        if !self.players[place].up {
            return;
        }
        let now = self.now;
        let player = &mut self.players[place];
        if let Some(state) = player.node.member.expire(now) {
            player.node.disk = Some(state.to_vec());
        }
        let own = player.node.card.identity;
        let elsewhere = player
            .node
            .member
            .led_by()
            .is_some_and(|leader| leader.identity != own);
        if elsewhere && let Some(leader) = &mut player.leader {
            let effects = leader.stand_aside();
            if !effects.is_empty() {
                self.note(format!("{place} stands aside"));
                self.carry_out(place, effects);
            }
        }
        let player = &mut self.players[place];
        let leads = player
            .leader
            .as_ref()
            .is_some_and(|leader| leader.progress().phase != LeaderPhase::StoodAside);
        let turn = player.node.member.takes_over_at(now);
        if !leads && turn.is_some_and(|turn| now >= turn) {
            let leader = Leader::take_over(&mut player.node.member, now).unwrap();
            player.leader = Some(leader.with_patience(PATIENCE));
            player.leader_disk = None;
            self.led_by.push(place);
            self.note(format!("{place} takes over"));
        }
        let mut next = now + 1_000;
        if let Some(leader) = &mut self.players[place].leader {
            let effects = leader.poll(now);
            next = next.min(leader.next_poll().unwrap_or(next)).max(now + 1);
            self.carry_out(place, effects);
        }
        if !leads && let Some(turn) = turn {
            next = next.min(turn.max(now + 1));
        }
        if self.cheat() == Some(place) {
            self.scheme(place);
        }
        self.wake(place, next);
    }

    pub fn fail(&self, what: &str) -> ! {
        panic!("{what}\n{}", self.log.join("\n"));
    }
}
