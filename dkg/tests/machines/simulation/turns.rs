//! What a node does: it answers, writes, leads, takes the lead, gives way, gives up.

use dkg::{Leader, LeaderEffect, LeaderPhase, Member, MemberStage, Message};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Event, PATIENCE, Plant, World};
use crate::cluster::NOW;

impl World {
    /// A member's turn.
    pub(super) fn serve(&mut self, from: usize, to: usize, message: Message) {
        if !self.can_reach(from, to) {
            return self.lose(from, to, self.now + 1);
        }
        let calm = self.is_calm();
        let message = Message::from_bytes(&message.to_bytes()).unwrap();
        let identity = self.players[from].node.card.identity;
        let question = message.clone();
        let (now, rng) = (self.now, &mut self.rng);
        let player = &mut self.players[to];
        let idle = Member::new(player.node.local.clone());
        let mut member = std::mem::replace(&mut player.node.member, idle);
        let planted = &mut StdRng::seed_from_u64(to as u64);
        let rng = match (self.weather.planted, &question) {
            (Some(Plant::SamePolynomial), Message::Begin { .. }) => planted,
            _ => rng,
        };
        let mut outcome = player.ask(&mut member, &identity, message, now, rng);
        if member.stage() == MemberStage::Proposed {
            outcome = member.accept(now, rng);
        }
        player.node.member = member;
        let mut reply = match outcome {
            Ok(output) => {
                if !calm && self.chance(self.weather.crash_before_writing) {
                    return self.crash_in_turn(from, to);
                }
                self.write(to, output)
            }
            Err(fault) => Message::refusal(question.about(), &fault),
        };
        if !calm && self.chance(self.weather.crash_before_sending) {
            return self.crash_in_turn(from, to);
        }
        if self.is_honest(to) {
            self.overhear(to, &question, &reply);
        } else {
            match self.falsify(from, to, &question, reply) {
                Some(other) => reply = other,
                None => return self.lose(from, to, now + 5),
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
            self.lose(from, to, at + 3);
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

    /// The leader will notice that no answer comes.
    pub(super) fn lose(&mut self, leader: usize, member: usize, at: u64) {
        self.schedule(at, Event::Lost { leader, member });
    }

    /// The member crashes while it is asked.
    fn crash_in_turn(&mut self, leader: usize, member: usize) {
        self.crash(member);
        self.lose(leader, member, self.now + 3);
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
            let share = (key.share.index(), *key.share.secret().expose());
            let public_key = key.package.public_key();
            assert!(
                player.keys.insert(*certified.params(), key).is_none(),
                "one attempt is activated once"
            );
            self.note(format!("{place} activates attempt {attempt}"));
            self.hold(place, share, &public_key);
        }
        output.reply
    }

    pub(super) fn carry_out(&mut self, place: usize, effects: Vec<LeaderEffect>) {
        for effect in effects {
            match effect {
                LeaderEffect::Persist(state) => self.players[place].leader_disk = Some(state),
                LeaderEffect::Send { to, message } => {
                    let to = usize::from(self.proposal.index_of(&to).unwrap()) - 1;
                    if !self.is_honest(place) {
                        self.lead_falsely(place, to, message);
                    } else {
                        self.send(place, to, message);
                    }
                }
                LeaderEffect::Certified { certificate } => {
                    self.note(format!("{place} has the certificate"));
                    if self.withholds(place, &certificate) {
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
    pub(super) fn drive(&mut self, place: usize) {
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
        if !self.is_honest(place) {
            self.scheme(place);
        }
        self.wake(place, next);
    }
}
