//! What the one member does that cheats.

use curve25519_dalek::Scalar;
use dkg::{Exclusion, Grounds, Leader, Message};
use serde_bytes::ByteBuf;

use super::{PATIENCE, World};
use crate::dealer::Dealer;

/// A way to cheat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cheat {
    /// Deals a wrong share.
    WrongShare,
    /// Deals anew for every question.
    ManyDeals,
    /// Says that it is in an attempt that nobody began.
    FalseBegun,
    /// Leads, and leaves out whom it likes.
    LeavesOut,
    /// Leads, and does nothing with the answers but keep the lead.
    Stalls,
    /// Leads, and keeps the certificate to itself for a while.
    Withholds,
    /// Never answers.
    Silent,
}

pub const CHEATS: [Cheat; 7] = [
    Cheat::WrongShare,
    Cheat::ManyDeals,
    Cheat::FalseBegun,
    Cheat::LeavesOut,
    Cheat::Stalls,
    Cheat::Withholds,
    Cheat::Silent,
];

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
        match (cheat, question) {
            (Cheat::Silent, _) => None,
            (
                Cheat::WrongShare | Cheat::ManyDeals,
                Message::Begin {
                    acceptances,
                    attempt: 1,
                    ceremony,
                    ..
                },
            ) if acceptances.len() == self.players.len() && from != own => {
                let seed = if cheat == Cheat::ManyDeals {
                    self.below(1 << 32)
                } else {
                    1
                };
                let mut dealer = Dealer::new(&self.proposal, acceptances, index, seed);
                if cheat == Cheat::WrongShare {
                    let wrong = dealer.share(index + 1) + Scalar::ONE;
                    let key = &acceptances[own + 1].encryption_key;
                    dealer.encrypt(index + 1, wrong, key);
                }
                let deal = dealer.finish(&self.players[own].node.local.identity);
                Some(Message::Dealt {
                    deal: Box::new(deal),
                    attempt: 1,
                    ceremony: *ceremony,
                })
            }
            // It finds its own deal altered, and does not say so.
            (Cheat::WrongShare | Cheat::ManyDeals, _)
                if matches!(reply, Message::Refused { .. }) =>
            {
                None
            }
            (
                Cheat::FalseBegun,
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
            _ => Some(reply),
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
                Some(Cheat::LeavesOut),
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
            (Some(Cheat::Stalls), Message::Deals { .. } | Message::Acknowledgements { .. })
                if to != own =>
            {
                let stall = Message::Leading {
                    attempt: message.attempt().unwrap(),
                    ceremony: message.ceremony().unwrap(),
                };
                self.send(own, to, stall);
            }
            _ => self.send(own, to, message),
        }
    }

    pub(super) fn withholds(&self) -> bool {
        self.weather.cheat == Some(Cheat::Withholds) && self.withheld.is_empty()
    }

    /// Now and then, out of turn.
    pub(super) fn scheme(&mut self, own: usize) {
        let (cheat, now_and_then) = (self.weather.cheat, self.chance(30));
        match cheat {
            Some(Cheat::Withholds) if !self.withheld.is_empty() && now_and_then => {
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
            // It does not wait for its turn.
            Some(Cheat::LeavesOut | Cheat::Stalls | Cheat::Withholds)
                if self.players[own].leader.is_none()
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
