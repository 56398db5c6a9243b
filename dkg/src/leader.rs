//! The leader's machine: asks every member, relays what they say, keeps time.
//!
//! The leader is trusted with nothing. Whatever it relays is signed by its author and verified by each member; it verifies
//! everything too, so that a culprit is named as soon as it speaks. Its own node takes part as a member like the others: a
//! [`LeaderEffect::Send`] to its own identity is handed to its own [`crate::Member`].
//!
//! # Rounds
//!
//! | phase | asks | until every member has answered |
//! |---|---|---|
//! | accepting | `propose` | `accepted`; `pending` is asked again, `rejected` fails |
//! | dealing | `begin` | `dealt`, verified; `ready` from whoever is no dealer |
//! | acknowledging | `deals`; `whole-deals` of whoever answers `deals-wanted` | `acknowledged`; `complained` is judged, and fails the attempt |
//! | confirming | `acknowledgements`; `hand-over` of an old member that leaves; `whole-deals` of whoever has been made to doubt them | `confirmed` for the very result that the leader computes itself |
//! | activating | `certificate` | `activated`; from here on nothing fails, the leader only asks on |
//!
//! In a reshare everybody with a seat is asked, new members and old ones; only the new ones acknowledge.
//!
//! # Members left out
//!
//! A proposal may let some members be absent. Then an attempt that fails by somebody's fault, or in which somebody keeps silent for
//! longer than the leader's patience, is followed by the next without that member; whoever has declined, or has not decided
//! when half of the proposal's time has passed, is left out from the start; an old member that the proposal names as absent, as soon as
//! all others have accepted and the patience is over. Each is named with its grounds ([`Exclusion`]), and
//! the evidence goes to all members. A leader cannot leave out itself; its successor can.
//!
//! # Restart, and another leader
//!
//! The state is written at the end of each round, before anything of the next is sent. A restored leader asks the open
//! round's question again; members answer as before. When a leader is gone for good, another member goes on
//! ([`Leader::take_over`]): nothing that a leader knows is known to it alone, except a certificate in the moment in which it is made, and then
//! the members hold their shares until somebody brings it out.

mod absence;
mod deals;
mod progress;
mod questions;
mod refusals;
mod rounds;
mod state;
mod succession;

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use reencrypt::Point;

use crate::exclusion::Exclusion;
use crate::fault::Fault;
use crate::member::StateError;
use crate::proposal::{MemberIdentity, Proposal, SignedProposal};
use crate::wire_v1::Message;
use crate::{signature, tags};

pub use progress::{LeaderPhase, LeaderProgress, Waiting, WaitingFor};
use questions::Asked;
use rounds::{Phase, Step};
use succession::Learned;

/// The most questions that are out at one time. Bounds the memory for the deals of large ceremonies.
pub const MAX_IN_FLIGHT: usize = 32;
/// How long a member may keep silent in a step before it is left out, unless told otherwise, in seconds.
pub const DEFAULT_PATIENCE_S: u32 = 300;

/// How often members that have nothing to answer hear of their leader at least, in seconds.
const PING_S: u64 = 20;

/// The leader's machine for one ceremony. See the module's head.
pub struct Leader {
    proposal: Proposal,
    /// The proposal with the members that are asked now; `peers` and the rounds have their order.
    roster: Proposal,
    exclusions: Vec<Exclusion>,
    /// How long a member may keep silent in a step when it can be left out, in seconds.
    patience_s: u32,
    /// When the open round began, as far as this process knows.
    round_since: Option<u64>,
    whole_deals: bool,
    told: usize,
    signed: SignedProposal,
    /// The seat in the proposal of the member that leads here.
    own: u16,
    /// Signed when the leader is made, so that the identity's key need not stay here. Only the proposal's leader has it.
    abandon: Option<[u8; 64]>,
    phase: Phase,
    peers: Vec<Peer>,
    /// Whose fault it is that no other attempt follows, with the evidence.
    accused: Vec<Exclusion>,
    /// The parameters of the attempt in which each member says that it is, if it is not this leader's.
    reports: BTreeMap<u16, [u8; 64]>,
    /// How often the attempt's number has been raised for a member's sake.
    raised_by: BTreeMap<u16, usize>,
    /// Refusals of the proposal, by seat, and since when there are any.
    refused: BTreeMap<u16, Fault>,
    refused_since: Option<u64>,
    /// When members that have answered are to hear of the leader again.
    next_ping: Option<u64>,
    /// Others may have gone on without this leader: it asks all whether they have.
    may_be_behind: bool,
    unwritten: bool,
    unreported: bool,
}

/// How the question to one member stands.
#[derive(Debug, Clone, Default)]
struct Peer {
    in_flight: bool,
    /// Not to be asked before, seconds since the Unix epoch.
    not_before: u64,
    /// How many times in a row it gave no useful answer.
    tries: u32,
    last: Option<WaitingFor>,
}

/// What the driver does, in the order given.
#[derive(Debug)]
pub enum LeaderEffect {
    /// Write this durably before the effects that follow. It holds no secret.
    Persist(Vec<u8>),
    /// Ask a member, and report with [`Leader::handle_reply`] or [`Leader::unreachable`].
    Send {
        /// The member's identity.
        to: [u8; 32],
        /// The question.
        message: Message,
    },
    /// A member is left out from here on.
    Excluded {
        /// The member.
        member: MemberIdentity,
        /// Why.
        exclusion: Exclusion,
    },
    /// All members have confirmed: the key exists. They are now told to activate it.
    Certified {
        /// The certificate's canonical bytes.
        certificate: Vec<u8>,
    },
    /// All members have activated the key, or know that it has been handed on since. Given again by a restored leader.
    Completed {
        /// The certificate's canonical bytes.
        certificate: Vec<u8>,
        /// Y.
        public_key: Point,
    },
    /// No key comes of this proposal. Given again by a restored leader. Members are told to abandon it.
    Failed {
        /// Who, and why. Empty if the leader's operator called it off.
        culprits: Vec<(MemberIdentity, Fault)>,
    },
}

impl Leader {
    /// A leader for a proposal. `identity` must be that of the proposal's leader.
    ///
    /// # Errors
    /// [`Fault::Proposal`] with another identity, [`Fault::Expired`] if the proposal has expired.
    pub fn new(proposal: Proposal, identity: &SigningKey, now: u64) -> Result<Self, Fault> {
        let expires = proposal.expires();
        if now >= expires {
            return Err(Fault::Expired { expires, now });
        }
        let signed = proposal.sign(identity)?;
        let abandon = signature::sign(identity, tags::ABANDON, &[proposal.hash()]);
        let phase = Phase::first(proposal.seats().len());
        let own = proposal
            .index_of(proposal.leader())
            .ok_or(Fault::NotListed)?;
        Ok(Self::of(proposal, signed, own, Some(abandon), phase))
    }

    fn of(
        proposal: Proposal,
        signed: SignedProposal,
        own: u16,
        abandon: Option<[u8; 64]>,
        phase: Phase,
    ) -> Self {
        let roster = phase
            .attempt()
            .map_or_else(|| proposal.clone(), |attempt| attempt.roster.clone());
        Self {
            peers: vec![Peer::default(); roster.seats().len()],
            roster,
            proposal,
            exclusions: Vec::new(),
            patience_s: DEFAULT_PATIENCE_S,
            round_since: None,
            whole_deals: false,
            told: 0,
            signed,
            own,
            abandon,
            phase,
            accused: Vec::new(),
            reports: BTreeMap::new(),
            raised_by: BTreeMap::new(),
            refused: BTreeMap::new(),
            refused_since: None,
            next_ping: None,
            may_be_behind: false,
            unwritten: true,
            unreported: true,
        }
    }

    /// Sets for how many seconds a member may keep silent in a step before it is left out, if the proposal allows it.
    #[must_use]
    pub fn with_patience(mut self, seconds: u32) -> Self {
        self.patience_s = seconds;
        self
    }

    /// Gives everybody the whole deals at once, which costs each member O(n·t) group operations instead of O(n + t): for
    /// measurements. A restored leader sends the sums again.
    #[must_use]
    pub fn with_whole_deals(mut self) -> Self {
        self.whole_deals = true;
        self
    }

    /// Who is left out, in the order in which it happened, and why.
    pub fn exclusions(&self) -> &[Exclusion] {
        &self.exclusions
    }

    /// Whose fault it is that no other attempt follows, with the evidence.
    pub fn accused(&self) -> &[Exclusion] {
        &self.accused
    }

    /// The number of the attempt that goes on, until its result is certified.
    pub fn attempt(&self) -> Option<u32> {
        self.phase.attempt().map(|attempt| attempt.number)
    }

    /// Who is left out, in the proposal's order.
    fn excluded(&self) -> Vec<Exclusion> {
        let mut excluded = self.exclusions.clone();
        excluded.sort_by_key(|exclusion| exclusion.member);
        excluded
    }

    /// The leader as it was when `state` was last handed out to be written.
    pub fn restore(state: &[u8]) -> Result<Self, StateError> {
        state::decode(state)
    }

    /// What is proposed.
    pub fn proposal(&self) -> &Proposal {
        &self.proposal
    }

    /// The ceremony's id.
    pub fn ceremony(&self) -> [u8; 16] {
        self.proposal.id()
    }

    /// Everything that is to be done at `now`, seconds since the Unix epoch. Call it after making or restoring a leader,
    /// and whenever [`Leader::next_poll`] has come.
    pub fn poll(&mut self, now: u64) -> Vec<LeaderEffect> {
        let mut effects = Vec::new();
        if self.unwritten {
            self.persist(&mut effects);
        }
        if now >= self.proposal.expires() && self.phase.can_fail() {
            let culprits = self.silent();
            self.fail(culprits, &mut effects);
        }
        self.end_refused(now, &mut effects);
        self.ping(now, &mut effects);
        let since = *self.round_since.get_or_insert(now);
        if self.deadline(since).is_some_and(|deadline| now >= deadline) {
            let silent = self.overdue();
            // If they are too many, the leader goes on waiting until the proposal expires.
            if self.leave_out(&silent, None, now, &mut effects) {
                self.advance(now, &mut effects);
            }
        }
        self.proceed(now, &mut effects);
        effects
    }

    /// When to poll again if no reply comes before, seconds since the Unix epoch. `None` if there is nothing to wait for.
    pub fn next_poll(&self) -> Option<u64> {
        let retry = self
            .peers
            .iter()
            .zip(1u16..)
            .filter(|(peer, index)| !peer.in_flight && self.phase.waits_for(*index))
            .map(|(peer, _)| peer.not_before)
            .min();
        let expiry = self.phase.can_fail().then(|| self.proposal.expires());
        let deadline = self.round_since.and_then(|since| self.deadline(since));
        // A deadline that passes without effect, because of who is silent or how many, is not one to wake up for.
        let deadline = deadline.filter(|_| self.can_leave_out(&self.overdue()));
        let ping = self.next_ping.filter(|_| self.phase.is_going_on());
        let accepting = matches!(self.phase, Phase::Accepting(_));
        let refused = self.refused_until().filter(|_| accepting);
        [retry, expiry, deadline, ping, refused]
            .into_iter()
            .flatten()
            .min()
    }

    /// A member's answer to the question that was last sent to it.
    pub fn handle_reply(
        &mut self,
        from: &[u8; 32],
        reply: &Message,
        now: u64,
    ) -> Vec<LeaderEffect> {
        let mut effects = Vec::new();
        if let Some(learned) = self.learn(from, reply, now, &mut effects) {
            if let (Learned::AskAgain, Some(index)) = (learned, self.roster.index_of(from))
                && let Some(peer) = self.peer(index)
                && peer.in_flight
            {
                peer.in_flight = false;
                self.ask_later(index, WaitingFor::Answer, now);
            }
            self.proceed(now, &mut effects);
            return effects;
        }
        let Some(index) = self.roster.index_of(from) else {
            return effects;
        };
        let step = self.phase.answer(&self.roster, index, reply);
        if !matches!(step, Step::Stale)
            && let Some(peer) = self.peer(index)
        {
            peer.in_flight = false;
        }
        match step {
            Step::Stale => {}
            Step::Kept => {
                self.takes_back(index);
                if let Some(peer) = self.peer(index) {
                    *peer = Peer::default();
                }
            }
            Step::AskAgain(why) => self.ask_later(index, why, now),
            Step::Failed(faults) => {
                let goes_on = self.leave_out(&faults, Some(reply), now, &mut effects);
                if !goes_on && !self.refuses(index, &faults, now) {
                    self.accuse(&faults, reply);
                    let faults = self.with_refusals(faults);
                    self.fail(faults, &mut effects);
                }
            }
        }
        self.end_refused(now, &mut effects);
        self.advance(now, &mut effects);
        self.proceed(now, &mut effects);
        effects
    }

    /// Goes on to the next round if all have answered.
    fn advance(&mut self, now: u64, effects: &mut Vec<LeaderEffect>) {
        let excluded = self.excluded();
        match self.phase.advance(&self.proposal, &excluded) {
            Ok(false) => {}
            Ok(true) => {
                if let Some(attempt) = self.phase.attempt() {
                    self.roster = attempt.roster.clone();
                }
                self.peers = vec![Peer::default(); self.roster.seats().len()];
                self.round_since = Some(now);
                self.persist(effects);
                if let Phase::Activating { certificate, .. } = &self.phase {
                    effects.push(LeaderEffect::Certified {
                        certificate: certificate.clone(),
                    });
                }
            }
            Err(fault) => self.fail(vec![fault], effects),
        }
    }

    /// A member did not answer: it is asked again later, at growing intervals of up to 20 seconds.
    pub fn unreachable(&mut self, member: &[u8; 32], now: u64) {
        if let Some(index) = self.roster.index_of(member) {
            if let Some(peer) = self.peer(index) {
                peer.in_flight = false;
            }
            self.ask_later(index, WaitingFor::Reachable, now);
        }
    }

    /// The leader's operator calls the ceremony off. Too late once the key exists; then nothing happens.
    pub fn abort(&mut self, now: u64) -> Vec<LeaderEffect> {
        let mut effects = Vec::new();
        if self.phase.can_fail() {
            self.fail(Vec::new(), &mut effects);
            self.proceed(now, &mut effects);
        }
        effects
    }

    /// How far it is, and for whom it waits.
    pub fn progress(&self) -> LeaderProgress {
        let waiting = self
            .roster
            .seats()
            .iter()
            .zip(1u16..)
            .zip(&self.peers)
            .filter(|((_, index), _)| self.phase.waits_for(*index) && !self.phase.has_failed())
            .map(|((member, _), peer)| Waiting {
                member: member.clone(),
                waiting_for: match (&peer.last, peer.in_flight) {
                    (Some(last), _) => last.clone(),
                    (None, true) => WaitingFor::Answer,
                    (None, false) => WaitingFor::Turn,
                },
            })
            .collect();
        LeaderProgress {
            phase: self.phase.public(),
            waiting,
        }
    }

    fn peer(&mut self, index: u16) -> Option<&mut Peer> {
        usize::from(index)
            .checked_sub(1)
            .and_then(|place| self.peers.get_mut(place))
    }

    fn ask_later(&mut self, index: u16, why: WaitingFor, now: u64) {
        // A member that is asked seldom would think that its leader is gone.
        let most = self.ping_every();
        if let Some(peer) = self.peer(index) {
            let seconds = 1u64.checked_shl(peer.tries).unwrap_or(u64::MAX).min(most);
            peer.not_before = now.saturating_add(seconds);
            peer.tries = peer.tries.saturating_add(1).min(8);
            peer.last = Some(why);
        }
    }

    fn persist(&mut self, effects: &mut Vec<LeaderEffect>) {
        effects.push(LeaderEffect::Persist(state::encode(self)));
        self.unwritten = false;
    }

    fn fail(&mut self, faults: Vec<Fault>, effects: &mut Vec<LeaderEffect>) {
        if self.phase.can_fail() {
            let faults = faults
                .into_iter()
                .map(|fault| self.in_proposal(fault))
                .collect();
            self.roster = self.proposal.clone();
            self.phase = Phase::failed(faults, self.proposal.seats().len());
            self.peers = vec![Peer::default(); self.proposal.seats().len()];
            self.unreported = true;
            self.persist(effects);
        }
    }

    /// All that have not answered the open round.
    fn silent(&self) -> Vec<Fault> {
        let waiting_for = self.phase.public().awaits();
        (1u16..)
            .zip(&self.peers)
            .filter(|(member, _)| self.phase.waits_for(*member))
            .map(|(member, _)| Fault::Silent {
                member,
                waiting_for,
            })
            .collect()
    }

    /// Reports the outcome once, and asks whoever is due.
    fn proceed(&mut self, now: u64, effects: &mut Vec<LeaderEffect>) {
        for exclusion in self.exclusions.iter().skip(self.told) {
            effects.extend(self.proposal.member(exclusion.member).map(|member| {
                LeaderEffect::Excluded {
                    member: member.clone(),
                    exclusion: exclusion.clone(),
                }
            }));
        }
        self.told = self.exclusions.len();
        if std::mem::take(&mut self.unreported) {
            match &self.phase {
                Phase::Completed {
                    certificate,
                    public_key,
                } => effects.push(LeaderEffect::Completed {
                    certificate: certificate.clone(),
                    public_key: *public_key,
                }),
                Phase::Failed { faults, .. } => {
                    // What cannot be blamed on anybody else is this leader's own.
                    let culprit = |fault: &Fault| {
                        let member = self.proposal.member(fault.culprit().unwrap_or(self.own))?;
                        Some((member.clone(), fault.clone()))
                    };
                    effects.push(LeaderEffect::Failed {
                        culprits: faults.iter().filter_map(culprit).collect(),
                    });
                }
                _ => self.unreported = true,
            }
        }
        let excluded = self.excluded();
        let mut in_flight = self.peers.iter().filter(|peer| peer.in_flight).count();
        for ((place, member), index) in self.roster.seats().iter().enumerate().zip(1u16..) {
            let Some(peer) = self.peers.get_mut(place) else {
                break;
            };
            if in_flight >= MAX_IN_FLIGHT
                || peer.in_flight
                || peer.not_before > now
                || !self.phase.waits_for(index)
            {
                continue;
            }
            let asked = Asked {
                signed: &self.signed,
                abandon: self.abandon.as_ref(),
                exclusions: &excluded,
                accused: &self.accused,
                whole_deals: self.whole_deals,
            };
            let Some(message) = self.phase.question(&asked, self.proposal.id(), index) else {
                continue;
            };
            peer.in_flight = true;
            in_flight += 1;
            effects.push(LeaderEffect::Send {
                to: member.identity,
                message,
            });
        }
    }
}
