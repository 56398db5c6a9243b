//! What a node does in ceremonies and around them: the machines of the crate `dkg` behind the product's own [`Desk`], in the order in
//! which the product's tasks drive them.
//!
//! [`Desk`]: cryptonode::ceremony::Desk

use std::collections::{BTreeMap, BTreeSet};

use cryptonode::keyring::{ActiveKey, KeyEntry};
use cryptonode::store::{Change, Table};
use cryptonode::wire::v1::{Answer, ByteBuf, Request, ResultVersion};
use dkg::{
    CertifiedKey, Fault, KeyCertificate, Leader, LeaderEffect, LeaderPhase, Member, MemberOutput,
    MemberStage, Message, Proposal, ResultName, Signer, SigningEffect, SigningSession,
    check_key_certificate,
};
use rand::rngs::StdRng;
use zeroize::Zeroizing;

use crate::node::{CeremonyId, Host, OVERLAP_S, PATIENCE_S, Running};

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
            Err(error) => Message::refusal(None, &Fault::Wire(error)),
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
        let Some(id) = message.ceremony() else {
            return Some(Message::refusal(None, &Fault::OtherCeremony));
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
            None => return Some(Message::refusal(Some(id), &Fault::OtherCeremony)),
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
                Some(Message::refusal(Some(id), &fault))
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
                    Ok(certificate) => running.heard_of(&own, from, &key, &certificate, &addresses, now),
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
        let advanced = self
            .desk
            .settle(&id, &machine, before, output, now, OVERLAP_S)
            .ok()?;
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

    fn sign(
        &mut self,
        own: &Identity,
        from: &Identity,
        id: CeremonyId,
        message: &Message,
        now: u64,
        rng: &mut StdRng,
    ) -> Option<Message> {
        let Some(made) = self.made.get_mut(&id) else {
            return Some(Message::refusal(Some(id), &Fault::OtherCeremony));
        };
        if let Message::KeyCertificate { certificate, .. } = message {
            if check_key_certificate(certificate, &made.certified).is_err() {
                return Some(Message::refusal(Some(id), &Fault::OtherCeremony));
            }
            self.keep(own, id, certificate, now)?;
            return Some(Message::Kept { ceremony: id });
        }
        let held = self.desk.keyring.iter().find(|key| key.package == *made.certified.package());
        let answer = held.ok_or(Fault::OtherCeremony).and_then(|key| {
            let certificate = made.certificate.as_deref();
            made.signer
                .handle(from, message, &key.share, &made.certified, certificate, rng)
        });
        Some(answer.unwrap_or_else(|fault| Message::refusal(Some(id), &fault)))
    }

    /// Makes a verified certificate of a key durable, and shows it.
    fn keep(&mut self, own: &Identity, id: CeremonyId, certificate: &[u8], now: u64) -> Option<()> {
        let made = self.made.get_mut(&id)?;
        if made.certificate.is_some() {
            return Some(());
        }
        let bytes = Zeroizing::new(certificate.to_vec());
        self.desk
            .store
            .commit(&[Change::put(Table::KeyCertificate, &id, bytes)])
            .ok()?;
        made.certificate = Some(certificate.to_vec());
        made.session = None;
        let public_key = *made.certified.public_key().as_bytes();
        let members = made.certified.members().iter();
        let addresses: Vec<String> = members.map(|member| member.address.clone()).collect();
        let verified = KeyCertificate::verify(certificate, &public_key).unwrap();
        self.desk
            .change_key(&public_key, |entry| {
                entry.learn(&verified, &addresses, own, now, u64::MAX)
            })
            .ok()?;
        Some(())
    }

    fn certify(&mut self, own: &Identity, now: u64, rng: &mut StdRng) -> Vec<Out> {
        let mut outs = Vec::new();
        let ids: Vec<CeremonyId> = self.made.keys().copied().collect();
        for id in ids {
            let held: Vec<_> = self.desk.keyring.all();
            let made = self.made.get_mut(&id).unwrap();
            let superseded = !held.iter().any(|key| key.package == *made.certified.package());
            if made.certificate.is_some() || superseded {
                continue;
            }
            let since = *made.missing_since.get_or_insert(now);
            if made.session.is_none() && (made.led || now >= since + MISSING_S) {
                made.session = Some(SigningSession::new(made.certified.clone(), rng));
            }
            if let Some(session) = &mut made.session {
                let effects = session.poll(now, rng);
                outs.extend(self.signing(own, id, effects, now));
            }
        }
        outs
    }

    fn signing(
        &mut self,
        own: &Identity,
        id: CeremonyId,
        effects: Vec<SigningEffect>,
        now: u64,
    ) -> Vec<Out> {
        let mut outs = Vec::new();
        for effect in effects {
            match effect {
                SigningEffect::Send { to, message } => {
                    let why = Why::Sign(id, Box::new(message.clone()));
                    outs.push(ceremony(to, &message, why));
                }
                SigningEffect::Signed { certificate } => {
                    if self.keep(own, id, &certificate, now).is_none() {
                        return outs;
                    }
                    let made = &self.made[&id];
                    let told = SigningSession::announcement(&made.certified, &certificate);
                    let others = made.certified.members().iter();
                    outs.extend(
                        others
                            .filter(|member| member.identity != *own)
                            .map(|member| ceremony(member.identity, &told, Why::Announce)),
                    );
                }
            }
        }
        outs
    }

    fn erase_due(&mut self, now: u64) {
        for entry in self.desk.keyring.entries() {
            let due = entry.state().overlap.is_some_and(|overlap| now >= overlap.end());
            if due {
                let key = *entry.public_key();
                let _ = self.desk.change_key(&key, |entry| entry.erase_due(now));
            }
        }
    }

    fn tell(&mut self, own: &Identity, now: u64) -> Vec<Out> {
        if now < self.asks.told_at + TELL_S {
            return Vec::new();
        }
        self.asks.told_at = now;
        let mut outs = Vec::new();
        for entry in self.desk.keyring.entries() {
            let overlap = entry.state().overlap.filter(|overlap| overlap.ends.is_none());
            let Some(overlap) = overlap else { continue };
            let (key, successor) = (*entry.public_key(), overlap.successor);
            let members = members_of(&entry, &successor);
            if members.is_empty() {
                continue;
            }
            let having = self.asks.having.entry(successor).or_default().clone();
            let missing = members.iter().filter(|one| *one != own && !having.contains(*one));
            let missing: Vec<Identity> = missing.copied().collect();
            for to in &missing {
                outs.push(Out {
                    to: *to,
                    request: Request::Status {},
                    why: Why::Tell(key, successor),
                });
            }
            if let Some(previous) = entry.previous().filter(|_| entry.current().is_some()) {
                for member in &previous.members {
                    let to = member.identity;
                    if !members.contains(&to) && !having.contains(&to) {
                        outs.extend(self.push(&key, &successor, to));
                    }
                }
            }
            if missing.is_empty() {
                let ends = now + OVERLAP_S;
                let _ = self.desk.change_key(&key, |entry| entry.set_end(&successor, ends));
            }
        }
        outs
    }

    fn push(&self, key: &Identity, successor: &ResultName, to: Identity) -> Option<Out> {
        let entry = self.desk.keyring.entry(key)?;
        let current = entry.current().filter(|key| key.result == *successor)?;
        let made = self.made.iter();
        let (id, _) = made
            .into_iter()
            .find(|(_, made)| *made.certified.package() == current.package)?;
        let message = Message::Certificate {
            ceremony: *id,
            certificate: ByteBuf::from(current.certificate.clone()),
            public_shares: ByteBuf::from(packed(current)),
        };
        Some(ceremony(to, &message, Why::Push(*successor)))
    }

    fn ask_fellows(&mut self, own: &Identity, now: u64) -> Vec<Out> {
        if now < self.asks.asked_at + ASK_S {
            return Vec::new();
        }
        self.asks.asked_at = now;
        let mut outs = Vec::new();
        for entry in self.desk.keyring.entries() {
            let key = *entry.public_key();
            let shares = entry.current().into_iter().chain(entry.previous());
            let mut fellows: BTreeSet<Identity> = shares
                .flat_map(|share| share.members.iter().map(|member| member.identity))
                .collect();
            if let Some(newest) = &entry.state().newest {
                fellows.extend(newest.certificate.members().iter().map(|one| one.identity));
            }
            fellows.remove(own);
            outs.extend(fellows.into_iter().map(|to| Out {
                to,
                request: Request::KeyCertificate { public_key: key },
                why: Why::Newest(key),
            }));
        }
        outs
    }

    /// Takes notice of a certificate that was verified under Y.
    fn heard_of(
        &mut self,
        own: &Identity,
        from: Identity,
        key: &Identity,
        certificate: &KeyCertificate,
        addresses: &[String],
        now: u64,
    ) -> Vec<Out> {
        let name = certificate.name();
        let Some(entry) = self.desk.keyring.entry(key) else {
            return Vec::new();
        };
        if entry.newest_heard_of().is_some_and(|known| known > name) {
            return Vec::new();
        }
        let is_open = |seat: &Member| {
            let base = seat.proposal().and_then(|proposal| proposal.base().map(dkg::Base::name));
            base.is_some_and(|base| base.public_key == *key)
                && matches!(
                    seat.stage(),
                    MemberStage::Dealt
                        | MemberStage::Acknowledged
                        | MemberStage::Complained
                        | MemberStage::Confirmed
                )
        };
        let behind = entry.newest_known().is_none_or(|known| known < name);
        if behind && self.seats.values().any(is_open) {
            // The ceremony that made it is still open here: it is not missed yet.
            return vec![Out {
                to: from,
                request: Request::Key { public_key: *key },
                why: Why::CatchUp(*key, Box::new(certificate.clone()), addresses.to_vec()),
            }];
        }
        self.learn(own, key, certificate, addresses, now);
        Vec::new()
    }

    fn learn(
        &self,
        own: &Identity,
        key: &Identity,
        certificate: &KeyCertificate,
        addresses: &[String],
        now: u64,
    ) {
        let _ = self.desk.change_key(key, |entry| {
            entry.learn(certificate, addresses, own, now, now + OVERLAP_S)
        });
    }
}

/// The members of a result that this node knows of.
fn members_of(entry: &KeyEntry, result: &ResultName) -> BTreeSet<Identity> {
    if let Some(current) = entry.current().filter(|key| key.result == *result) {
        return current.members.iter().map(|member| member.identity).collect();
    }
    match &entry.state().newest {
        Some(newest) if newest.certificate.name() == *result => {
            let members = newest.certificate.members().iter();
            members.map(|member| member.identity).collect()
        }
        _ => BTreeSet::new(),
    }
}
