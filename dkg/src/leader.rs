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
//! | dealing | `begin` | `dealt`, verified |
//! | acknowledging | `deals` | `acknowledged`; `complained` is judged, and fails the attempt |
//! | confirming | `acknowledgements` | `confirmed` for the very result that the leader computes itself |
//! | activating | `certificate` | `activated`; from here on nothing fails, the leader only asks on |
//!
//! # Restart
//!
//! The state is written at the end of each round, before anything of the next is sent. A restored leader asks the open
//! round's question again; members answer as before. A leader that is gone for good strands no secret: members give up
//! when the proposal expires, unless they have confirmed.

mod progress;
mod rounds;
mod state;

use ed25519_dalek::SigningKey;
use reencrypt::Point;

use crate::fault::Fault;
use crate::member::StateError;
use crate::proposal::{MemberIdentity, Proposal, SignedProposal};
use crate::wire_v1::Message;
use crate::{signature, tags};

pub use progress::{LeaderPhase, LeaderProgress, Waiting, WaitingFor};
use rounds::{Phase, Step};

/// The most questions that are out at one time. Bounds the memory for the deals of large ceremonies.
pub const MAX_IN_FLIGHT: usize = 32;

/// The leader's machine for one ceremony. See the module's head.
pub struct Leader {
    proposal: Proposal,
    signed: SignedProposal,
    /// Signed when the leader is made, so that the identity's key need not stay here.
    abandon: [u8; 64],
    phase: Phase,
    peers: Vec<Peer>,
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
    /// All members have confirmed: the key exists. They are now told to activate it.
    Certified {
        /// The certificate's canonical bytes.
        certificate: Vec<u8>,
    },
    /// All members have activated the key. Given again by a restored leader.
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
        let members = proposal.members().len();
        let phase = Phase::first(members);
        Ok(Self::in_phase(proposal, signed, abandon, phase, true))
    }

    /// The leader as it was when `state` was last handed out to be written.
    pub fn restore(state: &[u8]) -> Result<Self, StateError> {
        state::decode(state)
    }

    fn in_phase(
        proposal: Proposal,
        signed: SignedProposal,
        abandon: [u8; 64],
        phase: Phase,
        unwritten: bool,
    ) -> Self {
        let peers = vec![Peer::default(); proposal.members().len()];
        Self {
            proposal,
            signed,
            abandon,
            phase,
            peers,
            unwritten,
            unreported: true,
        }
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
        [retry, expiry].into_iter().flatten().min()
    }

    /// A member's answer to the question that was last sent to it.
    pub fn handle_reply(
        &mut self,
        from: &[u8; 32],
        reply: &Message,
        now: u64,
    ) -> Vec<LeaderEffect> {
        let mut effects = Vec::new();
        let Some(index) = self.proposal.index_of(from) else {
            return effects;
        };
        let step = self.phase.answer(&self.proposal, index, reply);
        if !matches!(step, Step::Stale)
            && let Some(peer) = self.peer(index)
        {
            peer.in_flight = false;
        }
        match step {
            Step::Stale => {}
            Step::Kept => {
                if let Some(peer) = self.peer(index) {
                    *peer = Peer::default();
                }
            }
            Step::AskAgain(why) => self.ask_later(index, why, now),
            Step::Failed(faults) => self.fail(faults, &mut effects),
        }
        match self.phase.advance(&self.proposal) {
            Ok(false) => {}
            Ok(true) => {
                self.peers.fill(Peer::default());
                self.persist(&mut effects);
                if let Phase::Activating { certificate, .. } = &self.phase {
                    effects.push(LeaderEffect::Certified {
                        certificate: certificate.clone(),
                    });
                }
            }
            Err(fault) => self.fail(vec![fault], &mut effects),
        }
        self.proceed(now, &mut effects);
        effects
    }

    /// A member did not answer: it is asked again later, at growing intervals of up to 30 seconds.
    pub fn unreachable(&mut self, member: &[u8; 32], now: u64) {
        if let Some(index) = self.proposal.index_of(member) {
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
            .proposal
            .members()
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
        if let Some(peer) = self.peer(index) {
            let seconds = 1u64.checked_shl(peer.tries).unwrap_or(u64::MAX).min(30);
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
            self.phase = Phase::failed(faults, self.proposal.members().len());
            self.peers.fill(Peer::default());
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
                    let own = self.proposal.index_of(self.proposal.leader());
                    let culprit = |fault: &Fault| {
                        let member = self.proposal.member(fault.culprit().or(own)?)?;
                        Some((member.clone(), fault.clone()))
                    };
                    effects.push(LeaderEffect::Failed {
                        culprits: faults.iter().filter_map(culprit).collect(),
                    });
                }
                _ => self.unreported = true,
            }
        }
        let mut in_flight = self.peers.iter().filter(|peer| peer.in_flight).count();
        for ((place, member), index) in self.proposal.members().iter().enumerate().zip(1u16..) {
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
            let Some(message) =
                self.phase
                    .question(&self.signed, self.proposal.id(), &self.abandon, index)
            else {
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
