//! This node as a member: one machine for each ceremony, its state durable before each reply.

mod view;

use std::sync::{Arc, Mutex};

use dkg::{About, Fault, LocalNode, Member, MemberOutput, MemberStage, Message};

use super::certify::Made;
use super::desk::Step;
use super::forgetting::may_be_made_up_for;
use super::policy::restore;
use super::{Ceremonies, CeremonyError, CeremonyId, Surroundings, is_decided, lock};
use crate::audit::OperatorRecord;
use crate::daemon::{clock_ms, clock_s};
use crate::set_back;
use crate::store::Table;

/// Most ceremonies that may be open here at a time: each costs a record, and only members can propose one.
const MAX_OPEN: usize = 64;
/// Most ceremonies of one proposer that are remembered at a time, decided ones among them.
const MAX_OF_ONE: usize = 256;

/// This node's place in one ceremony.
pub(super) struct Seat {
    /// `None` after a write that failed: what the disk then has is read again before anything else is answered.
    machine: Mutex<Option<Member>>,
    /// The policy of a proposal that is not durable yet.
    policy: Option<certs::Policy>,
}

impl Seat {
    pub(super) fn new(machine: Member) -> Self {
        Self {
            machine: Mutex::new(Some(machine)),
            policy: None,
        }
    }

    fn is_open(&self) -> bool {
        lock(&self.machine)
            .as_ref()
            .is_some_and(|machine| !is_decided(machine.stage()))
    }

    fn is_reshare(&self, message: &Message) -> bool {
        let machine = lock(&self.machine);
        // One that must be read from the disk again may be of any kind.
        machine
            .as_ref()
            .is_none_or(|machine| machine.base_of(message).is_some())
    }

    /// Whether it is decided, nothing of it may still be needed, and its time is over.
    pub(super) fn is_over(&self, is_over: impl Fn(u64) -> bool) -> bool {
        let machine = lock(&self.machine);
        machine.as_ref().is_some_and(|machine| {
            let expires = machine.proposal().map_or(0, dkg::Proposal::expires);
            is_decided(machine.stage()) && !machine.holds_secrets() && is_over(expires)
        })
    }

    /// Whether it was proposed by this member.
    fn is_proposed_by(&self, identity: &[u8; 32]) -> bool {
        let machine = lock(&self.machine);
        let proposal = machine.as_ref().and_then(Member::proposal);
        proposal.is_some_and(|proposal| proposal.leader() == identity)
    }

    /// SHA-256 of the policy that is proposed.
    pub(super) fn policy_hash(&self) -> Option<[u8; 32]> {
        let machine = lock(&self.machine);
        let proposal = machine.as_ref().and_then(Member::proposal);
        proposal.map(|proposal| *proposal.policy_hash())
    }

    /// Whether what has come of the ceremony may still be news here.
    pub(super) fn may_be_made_up_for(&self) -> bool {
        let machine = lock(&self.machine);
        // One that must be read from the disk again may be anywhere.
        machine
            .as_ref()
            .is_none_or(|machine| may_be_made_up_for(machine.stage(), machine.holds_secrets()))
    }

    /// Whether it is about the shares of this key.
    pub(super) fn is_reshare_of(&self, public_key: &[u8; 32]) -> bool {
        let machine = lock(&self.machine);
        machine
            .as_ref()
            .and_then(|machine| machine.proposal()?.base().map(dkg::Base::name))
            .is_some_and(|base| base.public_key == *public_key)
    }

    /// Works with the machine in a way that changes nothing that must outlive a restart.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Member) -> T) -> Option<T> {
        lock(&self.machine).as_mut().map(work)
    }

    pub(super) fn stage(&self) -> Option<MemberStage> {
        lock(&self.machine).as_ref().map(Member::stage)
    }
}

impl Ceremonies {
    pub(super) fn seat(&self, id: &CeremonyId) -> Result<Arc<Seat>, CeremonyError> {
        let seat = lock(&self.seats).get(id).cloned();
        seat.ok_or_else(|| CeremonyError::NoSuchCeremony {
            id: hex::encode(id),
        })
    }

    /// Answers a message. What the sender has done wrong is part of the answer; an error is this node's own.
    /// `offered` is the policy that a proposal was found to need ([`CeremonyError::PolicyMissing`]).
    pub(super) fn answer(
        &self,
        from: &[u8; 32],
        message: &[u8],
        offered: Option<certs::Policy>,
    ) -> Result<Vec<u8>, CeremonyError> {
        let message = match Message::from_bytes(message) {
            Ok(message) => message,
            Err(error) => {
                return Ok(Message::refusal(About::default(), &Fault::Wire(error)).to_bytes());
            }
        };
        self.answer_with(from, message, offered)
            .map(|reply| reply.to_bytes())
    }

    /// [`Ceremonies::answer`] without the bytes: how the leader speaks to the member in its own process.
    pub(super) fn answer_message(
        &self,
        from: &[u8; 32],
        message: Message,
    ) -> Result<Message, CeremonyError> {
        self.answer_with(from, message, None)
    }

    fn answer_with(
        &self,
        from: &[u8; 32],
        message: Message,
        offered: Option<certs::Policy>,
    ) -> Result<Message, CeremonyError> {
        let about = message.about();
        let Some(id) = about.ceremony else {
            return Ok(Message::refusal(about, &Fault::OtherCeremony));
        };
        if let Err(error) = self.remembers() {
            return Ok(refusal(about, &error));
        }
        if let Some(answer) = self.answer_signing(from, &message) {
            return answer;
        }
        let seat = match self.seat(&id) {
            Ok(seat) => seat,
            Err(_) if !matches!(message, Message::Propose { .. }) => {
                let answer = self.answer_of_made(from, &message);
                let unknown = || Message::refusal(about, &Fault::OtherCeremony);
                return Ok(answer.unwrap_or_else(unknown));
            }
            Err(_) => match self.new_seat(from, &id, &message, offered) {
                Ok(seat) => seat,
                Err(error @ CeremonyError::PolicyMissing(_)) => return Err(error),
                Err(error) => return Ok(refusal(about, &error)),
            },
        };
        let proposed = matches!(message, Message::Propose { .. });
        let kind = message.name();
        // What one ceremony confirms on a base, another must see; and no policy is removed before its ceremony is there.
        let alone = proposed || seat.is_reshare(&message);
        let _one = alone.then(|| lock(&self.resharing));
        let outcome = self.advance(&id, &seat, |machine| {
            let output = self.desk.handle(
                machine,
                from,
                message,
                clock_s(),
                &mut crate::randomness::system(),
            )?;
            if proposed
                && machine.stage() == MemberStage::Proposed
                && self.accepts_by_itself(machine)
            {
                return machine.accept(clock_s(), &mut crate::randomness::system());
            }
            Ok(output)
        });
        // A proposal that was refused leaves no place behind; one that was taken at the same moment keeps its own.
        let mut seats = lock(&self.seats);
        if seat.stage() == Some(MemberStage::New) {
            seats.remove(&id);
        } else {
            seats.entry(id).or_insert(seat);
            self.note_arrival(id);
        }
        drop(seats);
        match outcome {
            Ok(reply) => Ok(reply),
            Err(CeremonyError::Fault(fault)) => {
                tracing::warn!(ceremony = %hex::encode(id), message = kind, code = fault.code(), "refused: {fault}");
                Ok(Message::refusal(about, &fault))
            }
            Err(error) => Err(error),
        }
    }

    /// A machine for a proposal that this node hears of for the first time, after the checks that are the operator's.
    fn new_seat(
        &self,
        from: &[u8; 32],
        id: &CeremonyId,
        message: &Message,
        offered: Option<certs::Policy>,
    ) -> Result<Arc<Seat>, CeremonyError> {
        let Message::Propose { proposal } = message else {
            return Err(Fault::OtherCeremony.into());
        };
        let live = self.around.live.now();
        let proposal = dkg::Proposal::from_bytes_knowing(&proposal.proposal, &live.identities)?;
        for member in proposal.members() {
            let known = self.known(&member.identity);
            if known.is_none_or(|known| known.recovery_public != member.recovery_public) {
                return Err(CeremonyError::UnknownMember {
                    name: member.name.clone(),
                    identity: hex::encode(member.identity),
                });
            }
        }
        self.check_room(&proposal)?;
        let policy = self.policy_of_proposal(&proposal, from, offered)?;
        let local = LocalNode {
            policy_hash: policy.hash(),
            ..self.local.clone()
        };
        let machine = Member::new(local)
            .with_patience(live.ceremony.patience_s)
            .with_known(live.identities.clone());
        let mut seats = lock(&self.seats);
        let open = seats.values().filter(|seat| seat.is_open()).count();
        if open >= MAX_OPEN {
            return Err(CeremonyError::TooMany { open });
        }
        let of_one = |seat: &&Arc<Seat>| seat.is_proposed_by(proposal.leader());
        let remembered = seats.values().filter(of_one).count();
        if remembered >= MAX_OF_ONE {
            return Err(CeremonyError::TooManyOfOne { remembered });
        }
        let seat = seats.entry(*id).or_insert_with(|| {
            Arc::new(Seat {
                policy: Some(policy),
                ..Seat::new(machine)
            })
        });
        Ok(Arc::clone(seat))
    }

    /// Whether this node could take a result of the reshare without erasing an earlier share before its time.
    fn check_room(&self, proposal: &dkg::Proposal) -> Result<(), CeremonyError> {
        let base = proposal.base().map(dkg::Base::name);
        let entry = base.and_then(|base| self.around.keyring.entry(&base.public_key));
        match entry.and_then(|entry| entry.is_full_until()) {
            Some(until) => Err(CeremonyError::EpochsFull { until }),
            None => Ok(()),
        }
    }

    fn accepts_by_itself(&self, machine: &Member) -> bool {
        machine.proposal().is_some_and(|proposal| {
            let leader = proposal.leader();
            let config = self.around.live.now();
            *leader == self.around.own.identity
                || config.ceremony.accept_from.contains(leader) && !self.changes_policy(proposal)
        })
    }

    /// Lets the machine take one step, makes its state durable, and only then hands out the reply.
    pub(super) fn advance(
        &self,
        id: &CeremonyId,
        seat: &Seat,
        step: impl FnOnce(&mut Member) -> Result<MemberOutput, Fault>,
    ) -> Result<Message, CeremonyError> {
        let mut place = lock(&seat.machine);
        let mut machine = match place.take() {
            Some(machine) => machine,
            None => self.reread(id, seat.policy.as_ref())?,
        };
        let (before, waited) = (machine.stage(), waited_for(&machine));
        let output = match step(&mut machine) {
            Ok(output) => output,
            Err(fault) => {
                // A refused message has changed nothing.
                *place = Some(machine);
                return Err(fault.into());
            }
        };
        let confirms = matches!(output.reply, Message::Confirmed { .. });
        let confirms_anew = confirms && output.persist.is_some();
        if let Some(confirmed) = output.confirmed.filter(|_| confirms_anew) {
            self.log_confirmation(id, &confirmed)?;
        }
        // On an error the machine is dropped: it has gone ahead of the disk, and nobody has heard of it.
        let overlap_s = self.around.live.now().ceremony.overlap_s;
        let step = Step {
            id,
            machine: &machine,
            before,
            policy: seat.policy.as_ref(),
            output,
        };
        let advanced = self.desk.settle(step, clock_s(), overlap_s)?;
        if confirms {
            self.count_confirmation(confirms_anew)?;
        }
        let (stage, waits) = (machine.stage(), waited_for(&machine));
        // Before anybody can see that the member has activated.
        if let Some(certified) = advanced.certified {
            let (id, made) = Made::now(certified);
            lock(&self.made).insert(id, Arc::new(made));
        }
        *place = Some(machine);
        drop(place);
        if let Some(fault) = advanced.notice {
            tracing::warn!(ceremony = %hex::encode(id), code = fault.code(), "done nevertheless: {fault}");
        }
        if let Some(key) = advanced.key {
            tracing::info!(ceremony = %hex::encode(id), key = ?key, "activated: this node serves the key");
        }
        if stage != before {
            tracing::info!(ceremony = %hex::encode(id), from = before.name(), to = stage.name(), "ceremony");
        }
        if stage != before || waits != waited {
            self.notify();
        }
        Ok(advanced.reply)
    }

    /// Has the audit log remember that an attempt on a base is about to be confirmed, before anything else does: an older copy of the whole folder then has
    /// a shorter log than the other members have seen.
    fn log_confirmation(
        &self,
        id: &CeremonyId,
        confirmed: &dkg::ConfirmedAttempt,
    ) -> Result<(), CeremonyError> {
        let record = OperatorRecord {
            action: "confirm-reshare".to_owned(),
            reason: format!(
                "ceremony {}, attempt {}, of epoch {}",
                hex::encode(id),
                confirmed.attempt,
                confirmed.base.result.epoch
            ),
            subject: confirmed.base.public_key,
            time_ms: clock_ms(),
        };
        let appended = self.around.audit.append_word(&record);
        appended.map(drop).map_err(CeremonyError::Audit)
    }

    /// Has the node's folder remember a confirmation, so that no older store is asked to confirm again.
    fn count_confirmation(&self, is_new: bool) -> Result<(), CeremonyError> {
        let mut uncounted = lock(&self.uncounted);
        *uncounted |= is_new;
        if *uncounted {
            let Surroundings { folder, store, .. } = &self.around;
            set_back::mark_confirmation(folder, store)?;
            *uncounted = false;
        }
        Ok(())
    }

    /// The machine as the disk has it, after a write of which it is not known whether it succeeded.
    fn reread(
        &self,
        id: &CeremonyId,
        policy: Option<&certs::Policy>,
    ) -> Result<Member, CeremonyError> {
        let Surroundings { store, live, .. } = &self.around;
        for table in [Table::Ceremony, Table::Decided] {
            if let Some(state) = store.get(table, id)? {
                return restore(&self.around, &self.local, id, &state);
            }
        }
        let local = LocalNode {
            policy_hash: policy.map_or(self.local.policy_hash, certs::Policy::hash),
            ..self.local.clone()
        };
        Ok(Member::new(local).with_patience(live.now().ceremony.patience_s))
    }

    /// Gives up what has expired.
    pub(super) fn expire_all(&self) {
        let seats: Vec<(CeremonyId, Arc<Seat>)> = lock(&self.seats)
            .iter()
            .map(|(id, seat)| (*id, Arc::clone(seat)))
            .collect();
        for (id, seat) in seats.into_iter().filter(|(_, seat)| seat.is_open()) {
            let expired = self.advance(&id, &seat, |machine| {
                let persist = machine.expire(clock_s());
                Ok(MemberOutput {
                    persist,
                    ..MemberOutput::repeat(Message::Abandoned { ceremony: id })
                })
            });
            if let Err(error) = expired {
                tracing::warn!(ceremony = %hex::encode(id), %error, "an expired ceremony could not be closed");
            }
        }
    }
}

/// Who leads, and for whom it says that it waits.
fn waited_for(machine: &Member) -> Option<Vec<[u8; 32]>> {
    let waits = machine.waits()?;
    let all = std::iter::once(waits.leader).chain(waits.told);
    Some(all.map(|member| member.identity).collect())
}

/// The answer that tells the leader what this node's operator has to do.
fn refusal(about: About, error: &CeremonyError) -> Message {
    let ceremony = about.ceremony.unwrap_or_default();
    tracing::warn!(ceremony = %hex::encode(ceremony), code = error.code(), "refused: {error}");
    let sentence: String = error
        .to_string()
        .chars()
        .take(dkg::wire_v1::MAX_SENTENCE / 4)
        .collect();
    Message::Refused {
        ceremony,
        attempt: about.attempt.unwrap_or_default(),
        code: error.code().to_owned(),
        sentence,
        culprit: 0,
    }
}
