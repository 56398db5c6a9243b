//! What members do that cheat.

use std::collections::BTreeMap;

use curve25519_dalek::Scalar;
use dkg::{Acceptance, Accused, Acknowledgement, Deal, Exclusion, Fault, Grounds, Leader, Message};
use reencrypt::{Point, SecretScalar};
use serde_bytes::ByteBuf;
use testkit::misbehaviour::Misbehaviour;

use super::{PATIENCE, World};
use crate::cluster::NOW;
use crate::dealer::{Dealer, encryption_secret};
use crate::false_words::{Complainant, complaint, sign_complaints};

/// The ways to cheat, of the one vocabulary.
pub const CHEATS: [Misbehaviour; 12] = [
    Misbehaviour::WrongShare,
    Misbehaviour::Equivocation,
    Misbehaviour::FalseProgress,
    Misbehaviour::Exclusion,
    Misbehaviour::Stalling,
    Misbehaviour::WithheldCertificate,
    Misbehaviour::NoAnswer,
    Misbehaviour::EndlessDeals,
    Misbehaviour::FalseSums,
    Misbehaviour::CallingBack,
    Misbehaviour::FalseRefusal,
    Misbehaviour::FalseComplaint,
];

/// More bytes than a history of a few members has anything to say in.
pub const ENDLESS: usize = 250_000;

/// A member that cheats, and what it remembers.
pub struct Cheat {
    pub how: Misbehaviour,
    /// n of its acceptance, which it does not forget.
    pub secret: Option<Scalar>,
    /// Certificates that it has kept to itself.
    withheld: Vec<Vec<u8>>,
    /// Grounds against itself that it tells everybody.
    endless: Option<Grounds>,
    /// What it has said as a leader, by whom it was said to and its kind.
    told: BTreeMap<(usize, &'static str), Message>,
    /// When it has called all back.
    called: u64,
    /// The attempt that was begun last, as it has heard of it.
    begun: Option<(u32, Vec<Acceptance>)>,
}

impl Cheat {
    fn new(how: Misbehaviour) -> Self {
        Self {
            how,
            secret: None,
            withheld: Vec::new(),
            endless: None,
            told: BTreeMap::new(),
            called: NOW,
            begun: None,
        }
    }
}

impl World {
    /// The first cheat sits behind the first leader, so that it takes over first; the others anywhere. They are fewer than t of the new members,
    /// and fewer than t_old of the old.
    pub(super) fn draw_cheats(&mut self) {
        let seats = self.players.len();
        let mut places: Vec<usize> = (1..=seats).map(|at| (self.first + at) % seats).collect();
        for at in (2..seats).rev() {
            let other = usize::try_from(self.below(at as u64)).unwrap() + 1;
            places.swap(at, other);
        }
        let mut wanted = self.weather.cheats.into_iter().flatten().peekable();
        for place in places {
            let dies = self.weather.leader_dies && place == self.first;
            if dies || !self.may_cheat_too(place) {
                continue;
            }
            let Some(how) = wanted.next() else { return };
            self.cheats.insert(place, Cheat::new(how));
            self.note(format!("{place} cheats: {how}"));
        }
        assert!(wanted.peek().is_none(), "there is a place for each cheat");
    }

    fn may_cheat_too(&self, place: usize) -> bool {
        let cheats = || self.cheats.keys().copied().chain([place]);
        let members = self.proposal.members().len();
        let new = cheats().filter(|place| *place < members).count();
        let is_old = |place: &usize| {
            let mut old = self.proposal.old_seats().iter();
            old.any(|old| usize::from(old.seat) == place + 1)
        };
        let old = cheats().filter(is_old).count();
        let old_threshold = self.proposal.base().map_or(0, dkg::Base::threshold);
        new < self.proposal.threshold().into() && (old == 0 || old < old_threshold.into())
    }

    fn cheat(&mut self, own: usize) -> &mut Cheat {
        self.cheats.get_mut(&own).unwrap()
    }

    /// The cheat's answer instead of the right one; `None` for none.
    pub(super) fn falsify(
        &mut self,
        from: usize,
        own: usize,
        question: &Message,
        reply: Message,
    ) -> Option<Message> {
        let cheat = self.cheat(own).how;
        let holds_it = |disk: &&Vec<u8>| disk[1] & 1 == 1;
        let disk = self.players[own].node.disk.as_ref().filter(holds_it);
        if let Some(secret) = disk.map(|disk| encryption_secret(disk)) {
            self.cheat(own).secret = Some(secret);
        }
        match (cheat, question, &reply) {
            (Misbehaviour::NoAnswer, ..) => None,
            (
                Misbehaviour::WrongShare | Misbehaviour::Equivocation | Misbehaviour::EndlessDeals,
                Message::Begin { acceptances, .. },
                Message::Dealt {
                    deal,
                    attempt,
                    ceremony,
                },
            ) if from != own => {
                let deal = self.deal_falsely(own, deal.header.index, *attempt, acceptances)?;
                Some(Message::Dealt {
                    deal: Box::new(deal),
                    attempt: *attempt,
                    ceremony: *ceremony,
                })
            }
            // It finds its own deal altered, and does not say so.
            (
                Misbehaviour::WrongShare | Misbehaviour::Equivocation | Misbehaviour::EndlessDeals,
                _,
                Message::Refused { .. },
            ) => None,
            (
                Misbehaviour::FalseProgress,
                Message::Begin {
                    acceptances,
                    attempt,
                    ceremony,
                    ..
                },
                _,
            ) if from != own && self.chance(700) => {
                let number = attempt + u32::try_from(self.below(4)).unwrap();
                let (acceptances, excluded) = self.without_somebody(acceptances.clone(), own);
                Some(Message::Begun {
                    attempt: number,
                    ceremony: *ceremony,
                    excluded,
                    acceptances,
                })
            }
            (
                Misbehaviour::FalseRefusal,
                Message::Deals { .. } | Message::Acknowledgements { .. },
                _,
            ) if from != own && self.chance(500) => {
                let mut about = question.about();
                if self.chance(200) {
                    about.attempt = Some(u32::try_from(self.below(4)).unwrap());
                }
                Some(Message::refusal(about, &Fault::FalseSums))
            }
            (Misbehaviour::FalseComplaint, ..) if from != own => {
                Some(self.complain(own, question).unwrap_or(reply))
            }
            _ => Some(reply),
        }
    }

    /// A deal of another polynomial than its own machine's: with a share that does not lie on it, or another one for everybody who asks, or
    /// one that does not end. In a reshare it begins, as it must, with the dealer's share of the base.
    fn deal_falsely(
        &mut self,
        own: usize,
        index: u16,
        attempt: u32,
        acceptances: &[Acceptance],
    ) -> Option<Deal> {
        let how = self.cheat(own).how;
        let secret = self.cheat(own).secret?;
        let base = self.players[own].base.as_ref();
        let constant = base.map(|base| *base.share.secret().expose());
        let seed = match how {
            Misbehaviour::Equivocation => self.below(1 << 32),
            _ => 1,
        };
        let proposal = &self.proposal;
        let constant = constant.filter(|_| proposal.base().is_some());
        let mut dealer = Dealer::with_constant(
            proposal,
            attempt,
            acceptances,
            index,
            secret,
            constant,
            seed,
        );
        if how == Misbehaviour::WrongShare {
            let members = proposal.members().len();
            let new = acceptances
                .iter()
                .filter(|one| usize::from(one.index) <= members);
            let own = new
                .clone()
                .position(|one| usize::from(one.index) == own + 1);
            let victim = own.map_or(0, |own| (own + 1) % new.clone().count());
            let to = u16::try_from(victim + 1).unwrap();
            let wrong = dealer.share(to) + Scalar::ONE;
            dealer.encrypt(to, wrong, &acceptances[victim].encryption_key);
        }
        if how == Misbehaviour::EndlessDeals {
            let again = dealer.commitments[1];
            dealer.commitments.resize(ENDLESS / 32, again);
        }
        let deal = dealer.finish(&self.players[own].node.local.identity);
        if how == Misbehaviour::EndlessDeals {
            self.cheat(own).endless = Some(Grounds::VoidDeal(Box::new(Accused {
                header: deal.header.clone(),
                attempt,
                acceptances: acceptances.to_vec(),
                commitments: deal.commitments.clone(),
            })));
        }
        Some(deal)
    }

    /// It asks for the whole deals, and complains of a dealer that has dealt well.
    fn complain(&mut self, own: usize, question: &Message) -> Option<Message> {
        match question {
            Message::Begin {
                acceptances,
                attempt,
                ..
            } => {
                self.cheat(own).begun = Some((*attempt, acceptances.clone()));
                None
            }
            Message::Deals {
                attempt, ceremony, ..
            } => Some(Message::DealsWanted {
                attempt: *attempt,
                ceremony: *ceremony,
            }),
            Message::WholeDeals {
                deals,
                attempt,
                ceremony,
            } => {
                let begun = self.cheats[&own].begun.as_ref();
                let (_, acceptances) = begun.filter(|(it, _)| it == attempt)?;
                let params = crate::dealer::params(&self.proposal, *attempt, acceptances);
                let mut seats = acceptances.iter();
                let place = seats.position(|one| usize::from(one.index) == own + 1)?;
                let index = u16::try_from(place + 1).unwrap();
                let own_acceptance = &acceptances[place];
                let author = Complainant {
                    index,
                    identity: &self.players[own].node.local.identity,
                    encryption_key: Point::from_bytes(&own_acceptance.encryption_key).ok()?,
                };
                let (mut all, seats) = (deals.iter(), acceptances.len());
                let victim = all.position(|deal| {
                    let dealer = deal.header.index;
                    dealer != index && usize::from(dealer) <= seats
                })?;
                let used = SecretScalar::random(&mut self.rng);
                let known = (deals.as_slice(), acceptances.as_slice());
                let one = complaint(&params, known, victim, &author, &used, &mut self.rng);
                Some(Message::Complained {
                    attempt: *attempt,
                    ceremony: *ceremony,
                    complaints: sign_complaints(&params, deals, vec![one], &author),
                })
            }
            _ => None,
        }
    }

    fn without_somebody(
        &mut self,
        mut acceptances: Vec<dkg::Acceptance>,
        own: usize,
    ) -> (Vec<dkg::Acceptance>, Vec<Exclusion>) {
        let members = self.players.len();
        if acceptances.len() == members {
            let mut victim = usize::try_from(self.below(members as u64)).unwrap();
            if victim == own {
                victim = (victim + 1) % members;
            }
            acceptances.remove(victim);
        }
        let excluded = (1u16..)
            .take(members)
            .filter(|index| acceptances.iter().all(|one| one.index != *index))
            .map(|member| Exclusion {
                member,
                grounds: Grounds::Silent,
            })
            .collect();
        (acceptances, excluded)
    }

    /// What the cheat, as a leader, sends instead.
    pub(super) fn lead_falsely(&mut self, own: usize, to: usize, message: Message) {
        match (self.cheat(own).how, &message) {
            (
                Misbehaviour::Exclusion,
                Message::Begin {
                    acceptances,
                    attempt,
                    ceremony,
                    ..
                },
            ) if to != own && self.chance(400) => {
                let (acceptances, excluded) = self.without_somebody(acceptances.clone(), own);
                let begin = Message::Begin {
                    attempt: attempt + 1,
                    ceremony: *ceremony,
                    excluded,
                    acceptances,
                };
                self.send(own, to, begin);
            }
            (Misbehaviour::Stalling, Message::Deals { .. } | Message::Acknowledgements { .. })
                if to != own =>
            {
                let stall = Message::Leading {
                    waiting: Vec::new(),
                    attempt: message.attempt().unwrap(),
                    ceremony: message.ceremony().unwrap(),
                };
                self.send(own, to, stall);
            }
            (Misbehaviour::FalseSums, Message::Deals { .. } | Message::WholeDeals { .. }) => {
                let mut message = message;
                if let Message::Deals { sums, .. } = &mut message
                    && to != own
                {
                    sums.reverse();
                }
                let said = (to, message.name());
                self.cheat(own).told.insert(said, message.clone());
                self.send(own, to, message);
            }
            (Misbehaviour::FalseSums, Message::Acknowledgements { .. }) if to != own => {}
            (Misbehaviour::CallingBack, _) if to != own => {}
            _ => self.send(own, to, message),
        }
    }

    /// Whoever acknowledges to a leader that lies is to confirm at once, under acknowledgements of the others that it makes up.
    pub(super) fn hurry(&mut self, own: usize, to: usize, answer: &Message) {
        let Message::Acknowledged {
            attempt,
            ceremony,
            acknowledgement,
        } = answer
        else {
            return;
        };
        if self.cheat(own).how != Misbehaviour::FalseSums || to == own || !self.chance(500) {
            return;
        }
        let members = self.proposal.members().len();
        let left_out = self.players[own].node.member.exclusions().iter();
        let absent = left_out.filter(|out| usize::from(out.member) <= members);
        let indices = (1u16..).take(members - absent.count());
        let acknowledgements = indices.map(|index| {
            let made_up = Acknowledgement {
                set: acknowledgement.set,
                index,
                signature: [0; 64],
            };
            match index == acknowledgement.index {
                true => acknowledgement.clone(),
                false => made_up,
            }
        });
        let message = Message::Acknowledgements {
            attempt: *attempt,
            ceremony: *ceremony,
            acknowledgements: acknowledgements.collect(),
        };
        self.send(own, to, message);
    }

    /// Whether it keeps this certificate to itself: the first that it has.
    pub(super) fn withholds(&mut self, own: usize, certificate: &[u8]) -> bool {
        let Some(cheat) = self.cheats.get_mut(&own) else {
            return false;
        };
        let first = cheat.how == Misbehaviour::WithheldCertificate && cheat.withheld.is_empty();
        if first {
            cheat.withheld.push(certificate.to_vec());
        }
        first
    }

    /// Now and then, out of turn.
    pub(super) fn scheme(&mut self, own: usize) {
        let now_and_then = self.chance(30);
        let cheat = &self.cheats[&own];
        let (how, withheld) = (cheat.how, cheat.withheld.first().cloned());
        let told = cheat.told.len();
        match how {
            Misbehaviour::WithheldCertificate if withheld.is_some() && now_and_then => {
                let to = usize::try_from(self.below(self.players.len() as u64)).unwrap();
                let message = Message::Certificate {
                    ceremony: self.proposal.id(),
                    public_shares: ByteBuf::new(),
                    certificate: ByteBuf::from(withheld.unwrap()),
                };
                self.note(format!("{own} brings the certificate out to {to}"));
                self.send(own, to, message);
            }
            Misbehaviour::EndlessDeals if now_and_then => {
                let to = usize::try_from(self.below(self.players.len() as u64)).unwrap();
                if let Some(grounds) = self.cheats[&own].endless.clone() {
                    let member = u16::try_from(own + 1).unwrap();
                    let message = Message::Notice {
                        ceremony: self.proposal.id(),
                        excluded: vec![Exclusion { member, grounds }],
                    };
                    self.send(own, to, message);
                }
            }
            Misbehaviour::FalseSums if told > 0 && self.chance(300) => {
                let place = usize::try_from(self.below(told as u64)).unwrap();
                let ((to, _), message) = self.cheats[&own].told.iter().nth(place).unwrap();
                let (to, message) = (*to, message.clone());
                self.send(own, to, message);
            }
            Misbehaviour::CallingBack
                if self.now >= self.cheats[&own].called + u64::from(PATIENCE) + 5
                    && self.players[own].node.member.attempt().is_some() =>
            {
                self.cheat(own).called = self.now;
                for to in (0..self.players.len()).filter(|to| *to != own) {
                    let attempt = self.players[to].node.member.attempt();
                    let message = Message::Leading {
                        waiting: Vec::new(),
                        attempt: attempt.unwrap_or_default(),
                        ceremony: self.proposal.id(),
                    };
                    self.send(own, to, message);
                }
            }
            // It does not wait for its turn.
            Misbehaviour::Exclusion
            | Misbehaviour::Stalling
            | Misbehaviour::WithheldCertificate
            | Misbehaviour::FalseSums
                if self.players[own].leader.is_none()
                    && self.players[own].node.member.attempt().is_some()
                    && withheld.is_none() =>
            {
                let leader =
                    Leader::take_over(&mut self.players[own].node.member, self.now).unwrap();
                self.players[own].leader = Some(leader.with_patience(PATIENCE));
                self.led_by.push(own);
                self.note(format!("{own} pushes in"));
            }
            _ => {}
        }
    }
}
