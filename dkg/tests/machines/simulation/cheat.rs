//! What the one member does that cheats.

use curve25519_dalek::Scalar;
use dkg::{Accused, Exclusion, Fault, Grounds, Leader, Message};
use reencrypt::{Point, SecretScalar};
use serde_bytes::ByteBuf;
use testkit::misbehaviour::Misbehaviour;

use super::{PATIENCE, World};
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

impl World {
    /// The cheat's answer instead of the right one; `None` for none.
    pub(super) fn falsify(
        &mut self,
        from: usize,
        own: usize,
        question: &Message,
        reply: Message,
    ) -> Option<Message> {
        let cheat = self.weather.cheat?;
        let index = u16::try_from(own + 1).unwrap();
        let holds_it = |disk: &&Vec<u8>| disk[1] & 1 == 1;
        if let Some(disk) = self.players[own].node.disk.as_ref().filter(holds_it) {
            self.secret = Some(encryption_secret(disk));
        }
        match (cheat, question) {
            (Misbehaviour::NoAnswer, _) => None,
            (
                Misbehaviour::WrongShare | Misbehaviour::Equivocation | Misbehaviour::EndlessDeals,
                Message::Begin {
                    acceptances,
                    attempt: 1,
                    ceremony,
                    ..
                },
            ) if acceptances.len() == self.players.len() && from != own => {
                let seed = if cheat == Misbehaviour::Equivocation {
                    self.below(1 << 32)
                } else {
                    1
                };
                let secret = self.secret.unwrap();
                let mut dealer = Dealer::new(&self.proposal, acceptances, index, secret, seed);
                if cheat == Misbehaviour::WrongShare {
                    let wrong = dealer.share(index + 1) + Scalar::ONE;
                    let key = &acceptances[own + 1].encryption_key;
                    dealer.encrypt(index + 1, wrong, key);
                }
                if cheat == Misbehaviour::EndlessDeals {
                    let again = dealer.commitments[1];
                    dealer.commitments.resize(ENDLESS / 32, again);
                }
                let deal = dealer.finish(&self.players[own].node.local.identity);
                self.endless = (cheat == Misbehaviour::EndlessDeals).then(|| {
                    Grounds::VoidDeal(Box::new(Accused {
                        header: deal.header.clone(),
                        attempt: 1,
                        acceptances: acceptances.clone(),
                        commitments: deal.commitments.clone(),
                    }))
                });
                Some(Message::Dealt {
                    deal: Box::new(deal),
                    attempt: 1,
                    ceremony: *ceremony,
                })
            }
            // It finds its own deal altered, and does not say so.
            (
                Misbehaviour::WrongShare | Misbehaviour::Equivocation | Misbehaviour::EndlessDeals,
                _,
            ) if matches!(reply, Message::Refused { .. }) => None,
            (
                Misbehaviour::FalseProgress,
                Message::Begin {
                    acceptances,
                    attempt,
                    ceremony,
                    ..
                },
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
            ) if from != own && self.chance(500) => {
                let mut about = question.about();
                if self.chance(200) {
                    about.attempt = Some(u32::try_from(self.below(4)).unwrap());
                }
                Some(Message::refusal(about, &Fault::FalseSums))
            }
            (Misbehaviour::FalseComplaint, _) if from != own => {
                Some(self.complain(own, question).unwrap_or(reply))
            }
            _ => Some(reply),
        }
    }

    /// It asks for the whole deals, and complains of a dealer that has dealt well.
    fn complain(&mut self, own: usize, question: &Message) -> Option<Message> {
        match question {
            Message::Begin {
                acceptances,
                attempt,
                ..
            } => {
                self.begun = Some((*attempt, acceptances.clone()));
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
                let (_, acceptances) = self.begun.as_ref().filter(|(it, _)| it == attempt)?;
                let params = crate::dealer::params(&self.proposal, *attempt, acceptances);
                let index = u16::try_from(own + 1).unwrap();
                let own_acceptance = acceptances.iter().find(|one| one.index == index)?;
                let author = Complainant {
                    index,
                    identity: &self.players[own].node.local.identity,
                    encryption_key: Point::from_bytes(&own_acceptance.encryption_key).ok()?,
                };
                let victim = deals.iter().position(|deal| deal.header.index != index)?;
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
        match (self.weather.cheat, &message) {
            (
                Some(Misbehaviour::Exclusion),
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
            (
                Some(Misbehaviour::Stalling),
                Message::Deals { .. } | Message::Acknowledgements { .. },
            ) if to != own => {
                let stall = Message::Leading {
                    waiting: Vec::new(),
                    attempt: message.attempt().unwrap(),
                    ceremony: message.ceremony().unwrap(),
                };
                self.send(own, to, stall);
            }
            (Some(Misbehaviour::FalseSums), Message::Deals { .. } | Message::WholeDeals { .. }) => {
                let mut message = message;
                if let Message::Deals { sums, .. } = &mut message
                    && to != own
                {
                    sums.reverse();
                }
                self.told.insert((to, message.name()), message.clone());
                self.send(own, to, message);
            }
            (Some(Misbehaviour::FalseSums), Message::Acknowledgements { .. }) if to != own => {}
            (Some(Misbehaviour::CallingBack), _) if to != own => {}
            _ => self.send(own, to, message),
        }
    }

    pub(super) fn withholds(&self) -> bool {
        self.weather.cheat == Some(Misbehaviour::WithheldCertificate) && self.withheld.is_empty()
    }

    /// Now and then, out of turn.
    pub(super) fn scheme(&mut self, own: usize) {
        let (cheat, now_and_then) = (self.weather.cheat, self.chance(30));
        match cheat {
            Some(Misbehaviour::WithheldCertificate)
                if !self.withheld.is_empty() && now_and_then =>
            {
                let certificate = self.withheld[0].clone();
                let to = usize::try_from(self.below(self.players.len() as u64)).unwrap();
                let message = Message::Certificate {
                    ceremony: self.proposal.id(),
                    public_shares: ByteBuf::new(),
                    certificate: ByteBuf::from(certificate),
                };
                self.note(format!("{own} brings the certificate out to {to}"));
                self.send(own, to, message);
            }
            Some(Misbehaviour::EndlessDeals) if now_and_then => {
                let to = usize::try_from(self.below(self.players.len() as u64)).unwrap();
                if let Some(grounds) = self.endless.clone() {
                    let member = u16::try_from(own + 1).unwrap();
                    let message = Message::Notice {
                        ceremony: self.proposal.id(),
                        excluded: vec![Exclusion { member, grounds }],
                    };
                    self.send(own, to, message);
                }
            }
            Some(Misbehaviour::FalseSums) if !self.told.is_empty() && self.chance(300) => {
                let place = usize::try_from(self.below(self.told.len() as u64)).unwrap();
                let ((to, _), message) = self.told.iter().nth(place).unwrap();
                let (to, message) = (*to, message.clone());
                self.send(own, to, message);
            }
            Some(Misbehaviour::CallingBack)
                if self.now >= self.called + u64::from(PATIENCE) + 5
                    && self.players[own].node.member.attempt().is_some() =>
            {
                self.called = self.now;
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
            Some(
                Misbehaviour::Exclusion
                | Misbehaviour::Stalling
                | Misbehaviour::WithheldCertificate
                | Misbehaviour::FalseSums,
            ) if self.players[own].leader.is_none()
                && self.players[own].node.member.attempt().is_some()
                && self.withheld.is_empty() =>
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
