//! The world: everybody, one clock, one queue of events, and a plan of what goes wrong.
//!
//! One seed and one plan give one history. Everything that happens is an event at a virtual moment: a message arrives, a timer goes
//! off, the power fails. After every event the invariants are held ([`crate::invariants`]).

mod actors;
mod conduct;
mod dealing;
mod messages;

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator::record::{SignedTransaction, quorum};
use cryptonode::wire::v1::{Answer, ByteBuf, MAX_SHARE_ANSWER, Request};
use dkg::Proposal;
use rand::SeedableRng;
use rand::rngs::StdRng;
use testkit::falsify::Truth;
use testkit::misbehaviour::Misbehaviour;

use crate::ceremonies::{Out, Why};
use crate::disk::Tear;
use crate::invariants::{Monitor, Violation};
use crate::ledger::{Orderer, PeerAsk, PeerHost, PeerReply, Receipt};
use crate::network::{CALM, Network, Place, mix};
use crate::node::{Caller, Handled, Host};
use crate::plan::Step;
use crate::plants::Plant;
use crate::reader::{ANSWER_MS, Act, Round, Run, Stage, View};
use crate::record_ledger::{Founders, GENESIS_MS};

pub use dealing::{DEALINGS, LEADINGS};

/// How often a node does what it does by itself, milliseconds.
const WAKE_MS: u64 = 1_000;
const ORDERER_MS: u64 = 300;
const TICK_MS: u64 = 100;
/// How long an audit batch gathers, milliseconds.
const BATCH_MS: u64 = 2;
/// When every history begins.
pub const START_MS: u64 = GENESIS_MS + 3_600_000;

/// A question that has no answer yet.
struct Call {
    from: Place,
    /// The asker's boots, if it can crash.
    boots: u64,
    asker: Asker,
}

enum Asker {
    Node {
        at: usize,
        to: [u8; 32],
        why: Why,
    },
    Orderer {
        peer: usize,
    },
    Submit {
        run: usize,
    },
    Approval {
        run: usize,
        peer: usize,
    },
    /// A share of the result that the read was at, or a certificate.
    Member {
        run: usize,
        to: [u8; 32],
        round: Option<Round>,
    },
    /// Somebody who wants to see what he gets.
    Attacker,
}

#[derive(Clone)]
enum Payload {
    Node(Caller, Arc<Vec<u8>>),
    Peer(PeerAsk),
    Submit(SignedTransaction),
}

enum Reply {
    Node(Vec<u8>),
    Peer(PeerReply),
    Receipt(Receipt),
}

enum Event {
    Step(usize),
    Arrive {
        call: u64,
        to: Place,
        payload: Payload,
    },
    Answered {
        call: u64,
        reply: Reply,
    },
    Expired(u64),
    Wake(usize),
    WakeOrderer,
    Tick(usize),
    Commit(usize),
    Boot(Place, Tear, u64),
    Heal,
    Clear,
    Calm,
}

/// A document on the record.
#[derive(Clone)]
pub struct Document {
    pub name: coordinator::record::VersionName,
    pub wrapped: reencrypt::VerifiedWrappedKey,
    pub secret: Vec<u8>,
}

/// A request for a share that waits for its record.
pub struct Asked {
    pub caller: Caller,
    pub request: Request,
    pub clock_ms: u64,
}

pub struct World {
    pub now_ms: u64,
    pub rng: StdRng,
    pub network: Network,
    pub nodes: Vec<Host>,
    pub peers: Vec<PeerHost>,
    pub founders: &'static Founders,
    pub documents: Vec<Document>,
    pub view: Option<View>,
    pub runs: Vec<Run>,
    pub monitor: Monitor,
    pub threshold: usize,
    pub approvals_needed: usize,
    pub calm_since: Option<u64>,
    pub calm_at: u64,
    pub plan: Vec<(u64, Step)>,
    /// Who is told of the clock's truth; for plants.
    pub plant: Option<Plant>,
    orderer: Option<Orderer>,
    pub asked: BTreeMap<u64, Asked>,
    /// Requests for shares that were seen, for those who replay them.
    pub seen: Vec<(Caller, Arc<Vec<u8>>)>,
    events: BTreeMap<(u64, u64), Event>,
    next: u64,
    calls: BTreeMap<u64, Call>,
    /// Times at which a peer's or node's power comes back are drawn from here.
    pub log: Option<Vec<String>>,
    /// Its files; gone with it.
    pub folder: Option<tempfile::TempDir>,
    pub proposed: Vec<[u8; 16]>,
    /// What those who complain without a cause were told to deal with, by node and ceremony.
    begun: BTreeMap<(usize, [u8; 16]), (u32, Vec<dkg::Acceptance>)>,
    /// Since when leaders that will call back have kept silent, by node and member.
    silent: BTreeMap<(usize, [u8; 32]), u64>,
}

impl World {
    pub fn new(seed: u64, nodes: Vec<Host>, founders: &'static Founders) -> Self {
        Self {
            now_ms: START_MS,
            rng: StdRng::seed_from_u64(seed),
            network: Network::new(seed),
            nodes,
            peers: Vec::new(),
            founders,
            documents: Vec::new(),
            view: None,
            runs: Vec::new(),
            monitor: Monitor::default(),
            threshold: 0,
            approvals_needed: 0,
            calm_since: None,
            calm_at: START_MS,
            plan: Vec::new(),
            plant: None,
            orderer: None,
            asked: BTreeMap::new(),
            seen: Vec::new(),
            events: BTreeMap::new(),
            next: 0,
            calls: BTreeMap::new(),
            log: None,
            folder: None,
            proposed: Vec::new(),
            begun: BTreeMap::new(),
            silent: BTreeMap::new(),
        }
    }

    /// Gives it a record, with peers whose files are in its folder.
    pub fn with_record(&mut self, peers: Vec<PeerHost>, orderer: Orderer) {
        self.peers = peers;
        self.orderer = Some(orderer);
    }

    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            let ms = self.now_ms - START_MS;
            log.push(format!("{:>4}.{:03} {}", ms / 1000, ms % 1000, what()));
        }
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.next += 1;
        self.events.insert((at, self.next), event);
    }

    /// Plays the plan, and then calm weather until everything is settled or `calm_ms` are over.
    pub fn play(
        &mut self,
        plan: Vec<(u64, Step)>,
        storm_ms: u64,
        calm_ms: u64,
    ) -> Result<(), Violation> {
        self.calm_at = START_MS + storm_ms;
        for at in 0..self.nodes.len() {
            self.boot_node(at)?;
        }
        for at in 0..self.peers.len() {
            self.boot_peer(at)?;
        }
        for (number, (at, _)) in plan.iter().enumerate() {
            self.schedule(START_MS + at, Event::Step(number));
        }
        self.plan = plan;
        self.schedule(self.calm_at, Event::Calm);
        if self.orderer.is_some() {
            self.schedule(START_MS, Event::WakeOrderer);
        }
        let end = self.calm_at + calm_ms;
        while let Some((&(at, _), _)) = self.events.first_key_value() {
            if at > end || (at > self.calm_at + 1_000 && self.is_settled()) {
                break;
            }
            let Some((_, event)) = self.events.pop_first() else {
                break;
            };
            self.now_ms = self.now_ms.max(at);
            self.happen(event)?;
            self.check()?;
        }
        self.check_end()
    }

    fn is_settled(&self) -> bool {
        self.runs.iter().all(Run::is_over) && self.ceremonies_are_over()
    }

    fn ceremonies_are_over(&self) -> bool {
        self.proposed.iter().all(|id| {
            let honest = self.nodes.iter().filter(|node| node.is_honest());
            honest
                .filter_map(|node| node.running.as_ref())
                .all(|running| {
                    running.seats.get(id).is_none_or(|seat| {
                        matches!(
                            seat.stage(),
                            dkg::MemberStage::Activated | dkg::MemberStage::Closed
                        )
                    })
                })
        })
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Step(number) => {
                let step = self.plan[number].1.clone();
                self.note(|| format!("[{number}] {step:?}"));
                self.carry_out(step);
            }
            Event::Arrive { call, to, payload } => self.arrive(call, to, payload)?,
            Event::Answered { call, reply } => self.answered(call, Some(reply))?,
            Event::Expired(call) => self.answered(call, None)?,
            Event::Wake(at) => {
                let (now, boots) = (self.now_ms, self.nodes[at].boots);
                if self.nodes[at].running.is_some() {
                    let outs = self.nodes[at].wake(now, &mut self.rng);
                    self.look_after(at)?;
                    self.send_all(at, boots, outs);
                }
                self.schedule(now + WAKE_MS, Event::Wake(at));
            }
            Event::WakeOrderer => {
                self.wake_orderer();
                self.schedule(self.now_ms + ORDERER_MS, Event::WakeOrderer);
            }
            Event::Tick(run) => {
                if !self.runs[run].is_over() {
                    self.tick(run);
                    self.schedule(self.now_ms + TICK_MS, Event::Tick(run));
                }
            }
            Event::Commit(at) => self.commit(at)?,
            Event::Boot(Place::Node(at), tear, seed) if self.nodes[at].running.is_none() => {
                self.nodes[at].disk.restore(tear, seed);
                if seed.is_multiple_of(3) {
                    // It is not over yet: the power fails again while it starts, or soon after.
                    let fuse = mix(seed) % 40;
                    self.nodes[at].disk.set_fuse(fuse);
                    self.monitor
                        .fuses
                        .insert(at, (700, tear, seed.wrapping_add(1)));
                }
                self.boot_node(at)?;
            }
            Event::Boot(Place::Peer(at), ..) if self.peers[at].peer.is_none() => {
                self.boot_peer(at)?;
            }
            Event::Boot(..) => {}
            Event::Heal => {
                self.network.split = None;
                self.note(|| "the partition is healed".to_owned());
            }
            Event::Clear => {
                self.network.weather = CALM;
                self.note(|| "the weather is fair again".to_owned());
            }
            Event::Calm => {
                self.network.calm();
                self.calm_since = Some(self.now_ms);
                self.note(|| "the storm is over".to_owned());
                for run in &mut self.runs {
                    run.clear_since = self.now_ms;
                }
            }
        }
        Ok(())
    }

    // ---- nodes

    fn boot_node(&mut self, at: usize) -> Result<(), Violation> {
        self.note(|| format!("node {at} starts"));
        let booted = self.nodes[at].boot();
        if self.nodes[at].disk.is_off() {
            self.note(|| format!("node {at} loses its power while it starts"));
            self.monitor.torn += 1;
            let (away_ms, tear, seed) =
                self.monitor
                    .fuses
                    .remove(&at)
                    .unwrap_or((500, Tear::Torn, 0));
            self.nodes[at].kill();
            let back = self.now_ms + away_ms;
            self.schedule(back, Event::Boot(Place::Node(at), tear, seed));
            return Ok(());
        }
        self.nodes[at].corrupt();
        self.monitor.node_booted(&self.nodes[at], at, booted)?;
        self.look_after(at)?;
        if self.nodes[at].boots == 1 {
            // Not all in one moment.
            self.schedule(self.now_ms + 10 * at as u64, Event::Wake(at));
        }
        Ok(())
    }

    /// Whether the power went in what the node has just done, and what has changed in it.
    fn look_after(&mut self, at: usize) -> Result<(), Violation> {
        if self.nodes[at].running.is_some() && self.nodes[at].disk.is_off() {
            let Some((away_ms, tear, seed)) = self.monitor.fuses.remove(&at) else {
                return Ok(());
            };
            self.nodes[at].kill();
            self.monitor.torn += 1;
            self.note(|| format!("node {at} loses its power in the middle of a write ({tear:?})"));
            let back = self.now_ms + away_ms;
            self.schedule(back, Event::Boot(Place::Node(at), tear, seed));
            return Ok(());
        }
        let threshold = self.threshold;
        self.monitor.node_changed(&self.nodes[at], at, threshold)
    }

    pub fn crash_node(&mut self, at: usize, away_ms: u64, tear: Tear, seed: u64) {
        if self.nodes[at].running.is_none() {
            return;
        }
        self.nodes[at].kill();
        self.monitor.fuses.remove(&at);
        let back = self.now_ms + away_ms;
        self.schedule(back, Event::Boot(Place::Node(at), tear, seed));
    }

    fn send_all(&mut self, at: usize, boots: u64, outs: Vec<Out>) {
        if self.nodes[at].boots != boots || self.nodes[at].running.is_none() {
            return;
        }
        for Out { to, request, why } in outs {
            let place = self.nodes.iter().position(|node| node.identity() == to);
            let Some(place) = place else { continue };
            let Some(request) = self.lead_falsely(at, to, request) else {
                continue;
            };
            let caller = Caller {
                spki: self.nodes[at].identity().to_vec(),
                member: Some(self.nodes[at].identity()),
            };
            let Ok(bytes) = request.to_bytes() else {
                continue;
            };
            let asker = Asker::Node { at, to, why };
            let payload = Payload::Node(caller, Arc::new(bytes));
            self.send(Place::Node(at), Place::Node(place), boots, asker, payload);
        }
    }

    /// A ceremony is proposed.
    pub fn propose(&mut self, at: usize, proposal: Proposal) {
        self.proposed.push(proposal.id());
        let (now, boots) = (self.now_ms, self.nodes[at].boots);
        let outs = self.nodes[at].propose(proposal, now);
        self.send_all(at, boots, outs);
    }

    fn commit(&mut self, at: usize) -> Result<(), Violation> {
        let released = self.nodes[at].commit();
        let clock_ms = self.nodes[at].clock_ms(self.now_ms);
        for one in released {
            let Some(asked) = self.asked.remove(&one.call) else {
                continue;
            };
            let answer = self.misbehave(at, one.answer, Some(&asked.request));
            if let Answer::Share { .. } = &answer {
                let node = &self.nodes[at];
                self.monitor
                    .released(node, at, &asked, &one.record, self.approvals_needed)?;
                self.note(|| format!("node {at} gives a share, at {clock_ms}"));
            }
            self.reply_bytes(at, one.call, answer);
        }
        self.look_after(at)
    }

    /// Somebody sends a request that ought to be refused, or what is no request.
    pub fn attack(&mut self, node: usize, caller: Caller, bytes: Vec<u8>) {
        let payload = Payload::Node(caller, Arc::new(bytes));
        self.send(
            Place::Reader(15),
            Place::Node(node),
            0,
            Asker::Attacker,
            payload,
        );
    }

    pub fn later(&mut self, after_ms: u64, what: Later) {
        let at = self.now_ms + after_ms;
        let event = match what {
            Later::Heal => Event::Heal,
            Later::Clear => Event::Clear,
        };
        self.schedule(at, event);
    }
}

/// What ends by itself.
pub enum Later {
    Heal,
    Clear,
}
