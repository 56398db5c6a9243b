//! What a node does in ceremonies and around them: the machines of the crate `dkg` behind the product's own [`Desk`], in the order in
//! which the product's tasks drive them.
//!
//! [`Desk`]: cryptonode::ceremony::Desk

mod keys;
mod signing;

use std::collections::{BTreeMap, BTreeSet};

use cryptonode::ceremony::Step;
use cryptonode::keyring::{ActiveKey, KeyEntry};
use cryptonode::store::{Change, Table};
use cryptonode::wire::v1::{Answer, ByteBuf, Request, ResultVersion};
use dkg::{
    About, CertifiedKey, Fault, KeyCertificate, Leader, LeaderEffect, LeaderPhase, Member,
    MemberOutput, MemberStage, Message, Proposal, ResultName, Signer, SigningEffect,
    SigningSession, check_key_certificate,
};
use rand::rngs::StdRng;
use zeroize::Zeroizing;

use crate::node::{CeremonyId, Host, OVERLAP_S, PATIENCE_S, Running, held};

/// How often members that lack a new result are told of it, seconds.
const TELL_S: u64 = 5;
/// How often others are asked for newer certificates, seconds.
const ASK_S: u64 = 20;
/// How long a key's certificate may be missing before a node that did not lead asks for it, seconds.
const MISSING_S: u64 = 10;

type Identity = [u8; 32];

/// A question of a node to another.
pub struct Out {
    pub to: Identity,
    pub request: Request,
    pub why: Why,
}

/// What an answer is for.
#[derive(Debug, Clone)]
pub enum Why {
    Lead(CeremonyId),
    Sign(CeremonyId, Box<Message>),
    /// Whether it has this result.
    Tell(Identity, ResultName),
    /// It was given the certificate of this result.
    Push(ResultName),
    /// The newest certificate of this key.
    Newest(Identity),
    /// The certificate of the ceremony that made the newest result, whose own certificate and addresses these are.
    CatchUp(Identity, Box<KeyCertificate>, Vec<String>),
    Announce,
}

/// What a node remembers of what it asked.
#[derive(Default)]
pub struct Asks {
    told_at: u64,
    asked_at: u64,
    having: BTreeMap<ResultName, BTreeSet<Identity>>,
}

/// A key that came of a ceremony, with what signing its certificate takes.
pub struct Made {
    certified: CertifiedKey,
    signer: Signer,
    pub certificate: Option<Vec<u8>>,
    session: Option<SigningSession>,
    missing_since: Option<u64>,
    led: bool,
}

fn ceremony(to: Identity, message: &Message, why: Why) -> Out {
    Out {
        to,
        request: Request::Ceremony {
            message: ByteBuf::from(message.to_bytes()),
        },
        why,
    }
}

fn packed(key: &ActiveKey) -> Vec<u8> {
    let shares = key.package.public_shares().iter();
    shares.flat_map(|share| *share.as_bytes()).collect()
}

impl Host {
    /// Proposes, as its operator asked for.
    pub fn propose(&mut self, proposal: Proposal, now_ms: u64) -> Vec<Out> {
        let now = self.clock_ms(now_ms) / 1000;
        let leader = Leader::new(proposal, &self.local.identity, now).unwrap();
        let mut leader = leader.with_patience(PATIENCE_S);
        let id = leader.ceremony();
        let effects = leader.poll(now);
        let Some(running) = &mut self.running else {
            return Vec::new();
        };
        running.led.insert(id, leader);
        running.carry_out(id, effects)
    }

    /// Answers a message of a ceremony; `None` if the disk failed under it.
    pub fn ceremony(
        &mut self,
        from: &Identity,
        bytes: &[u8],
        now: u64,
        rng: &mut StdRng,
    ) -> Option<Vec<u8>> {
        let reply = match Message::from_bytes(bytes) {
            Ok(message) => self.answer(from, message, now, rng)?,
            Err(error) => Message::refusal(About::default(), &Fault::Wire(error)),
        };
        Some(reply.to_bytes())
    }

    fn answer(
        &mut self,
        from: &Identity,
        message: Message,
        now: u64,
        rng: &mut StdRng,
    ) -> Option<Message> {
        let (local, own) = (self.local.clone(), self.identity());
        let running = self.running.as_mut()?;
        let about = message.about();
        let Some(id) = about.ceremony else {
            return Some(Message::refusal(About::default(), &Fault::OtherCeremony));
        };
        if matches!(
            message,
            Message::Commit { .. } | Message::Sign { .. } | Message::KeyCertificate { .. }
        ) {
            return running.sign(&own, from, id, &message, now, rng);
        }
        let proposed = matches!(message, Message::Propose { .. });
        let mut machine = match running.seats.remove(&id) {
            Some(machine) => machine,
            None if proposed => Member::new(local).with_patience(PATIENCE_S),
            None => return Some(Message::refusal(about, &Fault::OtherCeremony)),
        };
        let before = machine.stage();
        let stepped = running
            .desk
            .handle(&mut machine, from, message, now, rng)
            .and_then(|output| {
                if proposed && machine.stage() == MemberStage::Proposed {
                    return machine.accept(now, rng);
                }
                Ok(output)
            });
        match stepped {
            Ok(output) => running.settle(id, machine, before, output, now),
            Err(fault) => {
                if machine.stage() != MemberStage::New {
                    running.seats.insert(id, machine);
                }
                Some(Message::refusal(about, &fault))
            }
        }
    }

    /// What the node does by itself.
    pub fn wake(&mut self, now_ms: u64, rng: &mut StdRng) -> Vec<Out> {
        let now = self.clock_ms(now_ms) / 1000;
        let own = self.identity();
        let Some(running) = &mut self.running else {
            return Vec::new();
        };
        running.expire(now);
        let mut outs = running.lead_on(&own, now);
        outs.extend(running.certify(&own, now, rng));
        running.erase_due(now);
        outs.extend(running.tell(&own, now));
        outs.extend(running.ask_fellows(&own, now));
        if running.journal.size() > 0 {
            // Nobody waits for this checkpoint.
            let _ = running.journal.sign();
        }
        outs
    }

    /// An answer came, or none will.
    pub fn heard(
        &mut self,
        from: Identity,
        why: Why,
        answer: Option<Answer>,
        now_ms: u64,
        rng: &mut StdRng,
    ) -> Vec<Out> {
        let now = self.clock_ms(now_ms) / 1000;
        let own = self.identity();
        let Some(running) = &mut self.running else {
            return Vec::new();
        };
        let message = match &answer {
            Some(Answer::Ceremony { message }) => Message::from_bytes(message).ok(),
            _ => None,
        };
        match why {
            Why::Lead(id) => {
                let Some(leader) = running.led.get_mut(&id) else {
                    return Vec::new();
                };
                let mut effects = match message {
                    Some(reply) => leader.handle_reply(&from, &reply, now),
                    None => {
                        leader.unreachable(&from, now);
                        Vec::new()
                    }
                };
                effects.extend(leader.poll(now));
                running.carry_out(id, effects)
            }
            Why::Sign(id, question) => {
                let made = running.made.get_mut(&id);
                let Some(session) = made.and_then(|made| made.session.as_mut()) else {
                    return Vec::new();
                };
                let effects = match message {
                    Some(reply) => session.handle_reply(&from, &question, &reply, now, rng),
                    None => session.unreachable(&from, &question, now, rng),
                };
                running.signing(&own, id, effects, now)
            }
            Why::Tell(key, result) => {
                if let Some(Answer::Status { keys, .. }) = answer {
                    let version = ResultVersion::from(&result);
                    let has = keys.iter().any(|status| {
                        let found = ResultVersion {
                            epoch: status.epoch,
                            attempt: status.attempt,
                        };
                        status.public_key == key && found >= version
                    });
                    if has {
                        running.asks.having.entry(result).or_default().insert(from);
                        return Vec::new();
                    }
                    return running.push(&key, &result, from).into_iter().collect();
                }
                Vec::new()
            }
            Why::Push(result) => {
                if matches!(message, Some(Message::Activated { .. })) {
                    running.asks.having.entry(result).or_default().insert(from);
                }
                Vec::new()
            }
            Why::Newest(key) => match answer {
                Some(Answer::KeyCertificate {
                    addresses,
                    certificate,
                }) => match KeyCertificate::verify(&certificate, &key) {
                    Ok(certificate) => {
                        running.heard_of(&own, from, &key, &certificate, &addresses, now)
                    }
                    Err(_) => Vec::new(),
                },
                _ => Vec::new(),
            },
            Why::CatchUp(key, newest, addresses) => {
                let mut reply = None;
                if let Some(Answer::Key { certificate, .. }) = answer
                    && let Ok(certified) = dkg::verify_reshare(&certificate, &key)
                {
                    let message = Message::Certificate {
                        ceremony: certified.proposal().id(),
                        certificate,
                        public_shares: ByteBuf::new(),
                    };
                    reply = self.answer(&own, message, now, rng);
                }
                // Refused: it was left out of the attempt that came to an end.
                if let (Some(running), Some(Message::Refused { .. })) = (&self.running, &reply) {
                    running.learn(&own, &key, &newest, &addresses, now);
                }
                Vec::new()
            }
            Why::Announce => Vec::new(),
        }
    }
}

impl Running {
    /// The ceremonies of the keys that are held, for their certificates.
    pub fn remember_keys(&mut self) -> Result<(), String> {
        let entries = self.desk.keyring.entries();
        for key in entries.iter().filter_map(|entry| entry.current()) {
            self.remember(key)?;
        }
        let led: Vec<CeremonyId> = self.led.keys().copied().collect();
        for id in led {
            if let Some(seat) = self.seats.get_mut(&id)
                && self.led[&id].progress().phase != LeaderPhase::StoodAside
            {
                seat.take_lead(0);
            }
        }
        Ok(())
    }

    fn remember(&mut self, key: &ActiveKey) -> Result<(), String> {
        let pinned: Vec<Identity> = key.members.iter().map(|member| member.identity).collect();
        let certified = dkg::read_own_certificate(&key.certificate, &pinned)
            .map_err(|error| error.to_string())?;
        let id = certified.proposal().id();
        let certificate = self
            .desk
            .store
            .get(Table::KeyCertificate, &id)
            .map_err(|error| error.to_string())?;
        let led = self.led.contains_key(&id);
        self.made.insert(
            id,
            Made {
                certified,
                signer: Signer::new(),
                certificate: certificate.map(|bytes| bytes.to_vec()),
                session: None,
                missing_since: None,
                led,
            },
        );
        Ok(())
    }

    fn settle(
        &mut self,
        id: CeremonyId,
        machine: Member,
        before: MemberStage,
        output: MemberOutput,
        now: u64,
    ) -> Option<Message> {
        let policy = self.desk.policy.clone();
        let step = Step {
            id: &id,
            machine: &machine,
            before,
            policy: policy.as_ref(),
            output,
        };
        let advanced = self.desk.settle(step, now, OVERLAP_S).ok()?;
        self.seats.insert(id, machine);
        if let Some(key) = advanced.key {
            self.remember(&key).unwrap();
        }
        Some(advanced.reply)
    }

    fn expire(&mut self, now: u64) {
        let ids: Vec<CeremonyId> = self.seats.keys().copied().collect();
        for id in ids {
            let Some(mut machine) = self.seats.remove(&id) else {
                continue;
            };
            let before = machine.stage();
            match machine.expire(now) {
                None => drop(self.seats.insert(id, machine)),
                persist => {
                    let output = MemberOutput {
                        persist,
                        ..MemberOutput::repeat(Message::Abandoned { ceremony: id })
                    };
                    self.settle(id, machine, before, output, now);
                }
            }
        }
    }

    fn lead_on(&mut self, own: &Identity, now: u64) -> Vec<Out> {
        let mut outs = Vec::new();
        let ids: Vec<CeremonyId> = self.seats.keys().copied().collect();
        for id in ids {
            let Some(seat) = self.seats.get_mut(&id) else {
                continue;
            };
            let elsewhere = seat.led_by().is_some_and(|leader| leader.identity != *own);
            let stood_aside = |leader: &Leader| leader.progress().phase == LeaderPhase::StoodAside;
            if elsewhere && let Some(leader) = self.led.get_mut(&id) {
                let effects = leader.stand_aside();
                outs.extend(self.carry_out(id, effects));
            }
            let leads = self.led.get(&id).is_some_and(|leader| !stood_aside(leader));
            let Some(seat) = self.seats.get_mut(&id) else {
                continue;
            };
            let turn = seat.takes_over_at(now).is_some_and(|turn| now >= turn);
            if !leads
                && turn
                && let Ok(leader) = Leader::take_over(seat, now)
            {
                self.led.insert(id, leader.with_patience(PATIENCE_S));
            }
        }
        let led: Vec<CeremonyId> = self.led.keys().copied().collect();
        for id in led {
            let effects = self.led.get_mut(&id).map(|leader| leader.poll(now));
            outs.extend(self.carry_out(id, effects.unwrap_or_default()));
        }
        outs
    }

    /// A leader whose disk has failed says nothing more.
    fn carry_out(&mut self, id: CeremonyId, effects: Vec<LeaderEffect>) -> Vec<Out> {
        let mut outs = Vec::new();
        for effect in effects {
            match effect {
                LeaderEffect::Persist(state) => {
                    let put = Change::put(Table::Leading, &id, Zeroizing::new(state));
                    if self.desk.store.commit(&[put]).is_err() {
                        return outs;
                    }
                }
                LeaderEffect::Send { to, message } => {
                    outs.push(ceremony(to, &message, Why::Lead(id)));
                }
                LeaderEffect::Completed { .. }
                | LeaderEffect::Certified { .. }
                | LeaderEffect::Excluded { .. }
                | LeaderEffect::Failed { .. } => {}
            }
        }
        outs
    }
}
