//! One node's machine for one ceremony.
//!
//! # Steps
//!
//! | step | what the member holds | leaves it by |
//! |---|---|---|
//! | proposed | the proposal | its operator's [`Member::accept`] or [`Member::reject`] |
//! | accepted | n, the secret of its encryption key | `begin`, with everybody's acceptance |
//! | dealt | n, its own deal's bytes (the polynomial is already gone) | `deals` |
//! | deals-wanted | n, the digests of all deals, the sums that do not fit | `whole-deals` |
//! | acknowledged | n, x_j, the digests of all deals, the sums | `acknowledgements`, all about the same set |
//! | complained | n, its complaints | nothing: the attempt fails by name |
//! | confirmed | n, x_j as pending, its confirmation | `certificate`, with everybody's confirmation |
//! | activated | nothing secret: x_j has been handed over | |
//! | closed | nothing secret | |
//!
//! # Restart, repetition, order
//!
//! Every change of step is returned as the whole state to write, *before* the answer may leave. After a crash the
//! machine is restored from what was written last; the leader asks again, and the same question gets the same bytes. A
//! question from an earlier step is answered as it was then. A question from a later step is refused (`out-of-step`), and
//! changes nothing. A different question about a step that is done is refused with the evidence of who signed two things.
//!
//! # Another attempt
//!
//! When an attempt fails by somebody's fault, the leader begins the next without that member, if the proposal lets members be
//! absent. From the step at which it is, the member deals anew. A result that it has confirmed is not thrown away by that: its
//! share is kept beside the new attempt, since a certificate of it may exist and come out at any time. Whichever certificate
//! comes is activated. Attempts only ever go up.
//!
//! # Another leader
//!
//! A member answers questions of any member. When its leader is gone it lets another begin attempts, and takes over itself when it
//! is its turn; the file `member/lead.rs` has the rule. Asked about an attempt that it is not in, it answers with the `begin` of its
//! own, and with the certificate when it has activated one, so that whoever leads without knowing catches up.
//!
//! # A reshare
//!
//! t_old of the old members deal; everybody else answers `begin` without a deal. An old member that leaves holds no share: it goes
//! from dealt to confirmed by `hand-over`, and to activated by the certificate, which retires its base. What the node holds
//! of the base, and the highest attempt on it that it has confirmed, come with each message ([`Holding`]) and are not kept here; a
//! confirmation gives the new number out, to be written together with the state. When the key has been handed on to a greater result, and
//! the overlap with that is over, the driver lets the member forget what it has confirmed below it ([`Member::forget_below`]).
//!
//! # Giving up
//!
//! Up to `acknowledged` the member gives up when the proposal expires, when its leader calls it off or when its own
//! operator does, and then erases n and x_j. Once it has *confirmed*, the key may exist, so it keeps its pending share
//! until it sees the certificate, whatever anyone says; in a reshare, until a greater result of the key has taken its place.

mod checks;
mod decision;
mod evidence;
mod hand_over;
mod lead;
mod overtaken;
mod stage;
mod state;
mod steps;

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use rand_core::CryptoRng;
use reencrypt::{KeyShare, Point, PublicKeyPackage};
use zeroize::Zeroizing;

use crate::base::{Base, BaseName, ConfirmedAttempt, Holding, ResultName, RetiredKey};
use crate::certificate::CertifiedKey;
use crate::exclusion::Exclusion;
use crate::fault::Fault;
use crate::leader::DEFAULT_PATIENCE_S;
use crate::proposal::{KnownIdentities, MemberIdentity, Proposal};
use crate::wire_v1::Message;
use crate::{signature, tags};

use hand_over::HandOver;
pub use lead::Waits;
pub(crate) use lead::{Inheritance, STANDSTILL};
use stage::{Running, Stage};
pub use state::StateError;
use steps::{AllAcknowledged, Begin};

/// What the machine needs to know of its own node. A clone shares the identity's secret and copies none.
#[derive(Clone)]
pub struct LocalNode {
    /// The node's long-term identity, one for all of its machines. Zeroized when the last of them is dropped.
    pub identity: Arc<SigningKey>,
    /// R, to which the node's share is sealed.
    pub recovery_public: Point,
    /// SHA-256 of the approval policy that the node's operator configured.
    pub policy_hash: [u8; 32],
}

/// One node's machine for one ceremony. See the module's head.
pub struct Member {
    node: LocalNode,
    running: Option<Running>,
    /// How long the leader may keep silent before another takes over, in seconds.
    patience_s: u32,
    known: KnownIdentities,
}

/// Where a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberStage {
    /// No proposal yet.
    New,
    /// Its operator has to decide.
    Proposed,
    /// Takes part; waits for the others.
    Accepted,
    /// Has dealt; waits for the others' deals.
    Dealt,
    /// Its share does not fit the sums; it has asked for the whole deals to see why.
    DealsWanted,
    /// Has shown that a dealer cheated; the attempt comes to nothing.
    Complained,
    /// All its shares are right; waits for the others to say so.
    Acknowledged,
    /// Holds its share as pending; waits for the certificate.
    Confirmed,
    /// The key exists and this member serves it.
    Activated,
    /// Rejected, expired or called off.
    Closed,
}

impl MemberStage {
    /// A stable name for programs and people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Proposed => "proposed",
            Self::Accepted => "accepted",
            Self::Dealt => "dealt",
            Self::DealsWanted => "deals-wanted",
            Self::Complained => "complained",
            Self::Acknowledged => "acknowledged",
            Self::Confirmed => "confirmed",
            Self::Activated => "activated",
            Self::Closed => "closed",
        }
    }
}

/// What the driver does next, in this order: write everything but `reply` durably, in one transaction; then send `reply`.
pub struct MemberOutput {
    /// The whole state of the machine, secrets included: to be sealed before it is written. `None` if nothing changed.
    pub persist: Option<Zeroizing<Vec<u8>>>,
    /// The answer.
    pub reply: Message,
    /// The key that this member now serves. Given once; after it the state holds no secret.
    pub activated: Option<ActivatedKey>,
    /// The attempt on a base that this member has confirmed with this answer.
    pub confirmed: Option<ConfirmedAttempt>,
    /// The base that this member has handed on. Given once, to every old member of the attempt: with `activated` to those that
    /// stay, alone to those that leave.
    pub retired: Option<RetiredKey>,
    /// What somebody has done wrong without effect; for the operator's log. It is not kept.
    pub notice: Option<Fault>,
}

/// A key of which this node holds a share.
#[derive(Debug)]
pub struct ActivatedKey {
    /// This node's share.
    pub share: KeyShare,
    /// Y, the threshold, and every member's public share.
    pub package: PublicKeyPackage,
    /// The members in index order: the first has index 1.
    pub members: Vec<MemberIdentity>,
    /// SHA-256 of the approval policy that everybody agreed to.
    pub policy_hash: [u8; 32],
    /// Which result of the key it is: of two, the greater is followed.
    pub name: ResultName,
    /// The certificate's canonical bytes, for [`crate::verify_certificate`].
    pub certificate: Vec<u8>,
    /// The same as this member has verified it: to verify it again costs O(n·t) group operations, since nobody gives the public shares then.
    pub certified: CertifiedKey,
}

impl MemberOutput {
    /// An answer that changes nothing.
    pub fn repeat(reply: Message) -> Self {
        Self {
            persist: None,
            reply,
            activated: None,
            confirmed: None,
            retired: None,
            notice: None,
        }
    }
}

impl Member {
    /// A machine that waits for a proposal.
    pub fn new(node: LocalNode) -> Self {
        Self {
            node,
            running: None,
            patience_s: DEFAULT_PATIENCE_S,
            known: KnownIdentities::default(),
        }
    }

    /// The machine as it was when `state` was last handed out to be written.
    pub fn restore(node: LocalNode, state: &[u8]) -> Result<Self, StateError> {
        let running = state::decode(&node, state)?;
        Ok(Self {
            node,
            running: Some(running),
            patience_s: DEFAULT_PATIENCE_S,
            known: KnownIdentities::default(),
        })
    }

    /// Sets for how many seconds a leader may keep silent before another member takes over.
    #[must_use]
    pub fn with_patience(mut self, seconds: u32) -> Self {
        self.patience_s = seconds;
        self
    }

    /// Lets it use identities that its node has decoded before, when it is shown a proposal.
    #[must_use]
    pub fn with_known(mut self, known: KnownIdentities) -> Self {
        self.known = known;
        self
    }

    /// The member that leads, as far as this one knows: the proposal's leader, or whoever took over from it.
    pub fn led_by(&self) -> Option<&MemberIdentity> {
        let running = self.running.as_ref()?;
        running.proposal.member(running.watch.leader())
    }

    /// For whom this member waits, as far as it knows. `None` if it is decided here, or this node leads.
    pub fn waits(&self) -> Option<Waits<'_>> {
        self.running.as_ref()?.waits()
    }

    /// When it is this member's turn to take over the lead ([`crate::Leader::take_over`]) if nothing is heard of its leader until
    /// then, seconds since the Unix epoch. `None` unless it takes part and has not seen the end. Counting begins when this is asked
    /// for the first time, or with the leader's first question.
    pub fn takes_over_at(&mut self, now: u64) -> Option<u64> {
        let patience_s = self.patience_s;
        self.running.as_mut()?.turn(now, patience_s)
    }

    /// This node leads from now on: it takes over, or goes on after a restart. Other members hear of it by its questions.
    pub fn take_lead(&mut self, now: u64) {
        if let Some(running) = &mut self.running {
            running.watch.take(running.index, now);
        }
    }

    /// What this member begins with if it leads from now on, with the call to abandon if it is the proposal's leader.
    pub(crate) fn inherits(&self) -> Option<(Inheritance, Option<[u8; 64]>)> {
        let running = self.running.as_ref()?;
        let identity = &self.node.identity;
        let abandon = (identity.verifying_key().as_bytes() == running.proposal.leader())
            .then(|| signature::sign(identity, tags::ABANDON, &[running.proposal.hash()]));
        Some((running.inheritance(), abandon))
    }

    /// Evidence against members that this one has been told without another attempt; verified, except for the words of a leader
    /// that has called the ceremony off.
    pub fn accused(&self) -> &[Exclusion] {
        self.running
            .as_ref()
            .map_or(&[], |running| &running.accused)
    }

    /// Where this member is.
    pub fn stage(&self) -> MemberStage {
        self.running
            .as_ref()
            .map_or(MemberStage::New, |running| running.stage.public())
    }

    /// The proposal, once one has been made.
    pub fn proposal(&self) -> Option<&Proposal> {
        self.running.as_ref().map(|running| &running.proposal)
    }

    /// The ceremony's id, once a proposal has been made.
    pub fn ceremony(&self) -> Option<[u8; 16]> {
        self.proposal().map(Proposal::id)
    }

    /// Why the ceremony is closed here, if it is.
    pub fn closed_because(&self) -> Option<&str> {
        match &self.running.as_ref()?.stage {
            Stage::Closed { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// Whether its state holds any secret: those of an open ceremony, or the share of a result whose certificate may still come.
    pub fn holds_secrets(&self) -> bool {
        self.running.as_ref().is_some_and(|running| {
            let secrets = &running.secrets;
            secrets.encryption.is_some() || secrets.share.is_some() || !secrets.pending.is_empty()
        })
    }

    /// Who takes no part in the attempt that this member is at, and why, as its leader said; evidence has been verified.
    pub fn exclusions(&self) -> &[Exclusion] {
        self.running
            .as_ref()
            .map_or(&[], |running| &running.exclusions)
    }

    /// The number of the attempt that this member is at, if one has begun.
    pub fn attempt(&self) -> Option<u32> {
        Some(self.running.as_ref()?.attempt.as_ref()?.number)
    }

    /// What tells that attempt from every other one, also from one of the same number ([`crate::CertifiedKey::params`]).
    pub fn attempt_params(&self) -> Option<&[u8; 64]> {
        Some(&self.running.as_ref()?.attempt.as_ref()?.params)
    }

    /// The base of the reshare that a message is about: of this ceremony, or of the one that the message proposes. `None` for a
    /// create. The driver looks up what it holds of it, for [`Member::handle_reshare`].
    pub fn base_of(&self, message: &Message) -> Option<BaseName> {
        if let Some(proposal) = self.proposal() {
            return proposal.base().map(Base::name);
        }
        let Message::Propose { proposal } = message else {
            return None;
        };
        Some(Proposal::base_in(&proposal.proposal)?.name())
    }

    /// Answers one message of a create from the member whose identity TLS established. `now` in seconds since the Unix epoch.
    ///
    /// # Errors
    /// The fault, when the message is refused and nothing has changed; the driver answers with [`Message::refusal`].
    /// [`Fault::BaseUnknown`] if it belongs to a reshare.
    pub fn handle<R: CryptoRng>(
        &mut self,
        from: &[u8; 32],
        message: Message,
        now: u64,
        rng: &mut R,
    ) -> Result<MemberOutput, Fault> {
        self.answer(from, message, None, now, rng)
    }

    /// As [`Member::handle`], for a reshare, with what this node holds of its base: see [`Member::base_of`].
    ///
    /// # Errors
    /// The fault, when the message is refused and nothing has changed; the driver answers with [`Message::refusal`].
    pub fn handle_reshare<R: CryptoRng>(
        &mut self,
        from: &[u8; 32],
        message: Message,
        holding: &Holding<'_>,
        now: u64,
        rng: &mut R,
    ) -> Result<MemberOutput, Fault> {
        self.answer(from, message, Some(holding), now, rng)
    }

    fn answer<R: CryptoRng>(
        &mut self,
        from: &[u8; 32],
        message: Message,
        holding: Option<&Holding<'_>>,
        now: u64,
        rng: &mut R,
    ) -> Result<MemberOutput, Fault> {
        if let Message::Propose { proposal } = message {
            return self.propose(from, proposal, holding, now);
        }
        let patience_s = self.patience_s;
        let running = self
            .running
            .as_mut()
            .filter(|running| message.ceremony() == Some(running.proposal.id()))
            .ok_or(Fault::OtherCeremony)?;
        let Some(asks) = running.proposal.index_of(from) else {
            return Err(Fault::Stranger { from: *from });
        };
        if let Some(output) = running.expire(now) {
            return Ok(output);
        }
        // Evidence and calls are no sign that their author leads.
        let leads = match &message {
            Message::Abandon { .. } | Message::Notice { .. } => false,
            _ => running.is_led_by(asks, now, patience_s),
        };
        let output = match message {
            Message::Begin {
                attempt,
                acceptances,
                excluded,
                ..
            } => {
                let begin = Begin {
                    number: attempt,
                    acceptances,
                    excluded,
                    by_leader: leads,
                };
                running.begin(&self.node, begin, holding, rng)
            }
            Message::Deals {
                attempt,
                deals,
                sums,
                ..
            } => running.check_sums(&self.node, attempt, (&deals, &sums), leads, rng),
            Message::WholeDeals { attempt, deals, .. } => {
                running.check_whole_deals(&self.node, attempt, &deals, rng)
            }
            Message::Acknowledgements {
                attempt,
                acknowledgements,
                ..
            } => {
                let asked = AllAcknowledged {
                    number: attempt,
                    acknowledgements,
                    by_leader: leads,
                };
                running.confirm(&self.node, &asked, holding, rng)
            }
            Message::HandOver {
                attempt,
                sums,
                acknowledgements,
                ..
            } => {
                let asked = HandOver {
                    number: attempt,
                    sums,
                    acknowledgements,
                    by_leader: leads,
                };
                running.hand_over(&self.node, asked, holding)
            }
            Message::Certificate {
                certificate,
                public_shares,
                ..
            } => running.activate(certificate.into_vec(), &public_shares, holding, rng),
            Message::Abandon {
                signature,
                excluded,
                ..
            } => running.abandon(&signature, excluded),
            Message::Notice { excluded, .. } => Ok(running.note(excluded)),
            Message::Leading {
                attempt, waiting, ..
            } => {
                if leads {
                    running.note_waiting(waiting);
                }
                Ok(running.follow(attempt))
            }
            other => Err(running.out_of_step(other.name())),
        };
        let output = match output {
            Err(fault) => running.with_evidence(fault)?,
            Ok(output) => output,
        };
        if leads && output.persist.is_some() {
            running.watch.led_on(now);
        }
        Ok(output)
    }

    /// Gives up if the proposal has expired and nothing was confirmed; if something was, n_j goes. Returns the state to write.
    /// The driver calls it from time to time, for ceremonies that nobody asks about any more.
    pub fn expire(&mut self, now: u64) -> Option<Zeroizing<Vec<u8>>> {
        let running = self.running.as_mut()?;
        let changed = running.expire(now).and_then(|output| output.persist);
        // Another attempt does not follow, and whoever has confirmed needs no more than its share.
        if now >= running.proposal.expires() && running.erase_encryption() {
            return Some(state::encode(running));
        }
        changed
    }
}
