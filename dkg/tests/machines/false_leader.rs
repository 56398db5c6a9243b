//! A leader that carries out any attempt it likes with whom it likes, written from `docs/protocol/key-generation.md`.

use dkg::{Acceptance, Deal, Message, Proposal};

use crate::dealer::{excerpt, sums, weighted_sums};
use crate::world::World;

/// The certificate as the page has it.
#[derive(serde::Serialize)]
struct Certificate {
    #[serde(with = "serde_bytes")]
    set: Vec<u8>,
    sums: serde_bytes::ByteBuf,
    epoch: u64,
    absent: Vec<u16>,
    attempt: u32,
    version: u16,
    proposal: serde_bytes::ByteBuf,
    qualified: Vec<u16>,
    confirmations: Vec<dkg::Confirmation>,
    encryption_keys: serde_bytes::ByteBuf,
}

/// Holds what everybody answered to its proposal.
pub struct FalseLeader {
    pub proposal: Proposal,
    accepted: Vec<Acceptance>,
}

impl FalseLeader {
    pub fn new(world: &mut World, proposal: Proposal) -> Self {
        let leader = world.name_of(proposal.leader());
        let signed = proposal.sign(&world.nodes[&leader].local.identity).unwrap();
        let seats = proposal.seats().to_vec();
        let accepted = seats.iter().map(|seat| {
            let question = Message::Propose {
                proposal: signed.clone(),
            };
            match world.ask(&proposal, &seat.name, &question) {
                Message::Accepted { acceptance, .. } => acceptance,
                other => panic!("{other:?}"),
            }
        });
        Self {
            accepted: accepted.collect(),
            proposal,
        }
    }

    pub fn begin(&self, attempt: u32, without: &[u16]) -> Message {
        let excluded = without.iter().map(|member| dkg::Exclusion {
            member: *member,
            grounds: dkg::Grounds::Silent,
        });
        Message::Begin {
            attempt,
            ceremony: self.proposal.id(),
            excluded: excluded.collect(),
            acceptances: self.present(without),
        }
    }

    fn present(&self, without: &[u16]) -> Vec<Acceptance> {
        let there = self
            .accepted
            .iter()
            .filter(|one| !without.contains(&one.index));
        there.cloned().collect()
    }

    /// The certificate of an attempt without some, which nobody has been shown yet.
    pub fn attempt(&self, world: &mut World, attempt: u32, without: &[u16]) -> Vec<u8> {
        let (proposal, ceremony) = (&self.proposal, self.proposal.id());
        let name = |seat: u16| proposal.member(seat).unwrap().name.clone();
        let present = self.present(without);
        let mut deals: Vec<Deal> = Vec::new();
        for one in &present {
            match world.ask(proposal, &name(one.index), &self.begin(attempt, without)) {
                Message::Dealt { deal, .. } => deals.push(*deal),
                other => assert!(matches!(other, Message::Ready { .. }), "{other:?}"),
            }
        }
        deals.sort_by_key(|deal| deal.header.index);
        let sums = match proposal.base() {
            None => sums(&deals),
            Some(_) => weighted_sums(&deals),
        };
        let (new, leaving): (Vec<_>, Vec<_>) = (1u16..)
            .zip(&present)
            .partition(|(_, one)| usize::from(one.index) <= proposal.members().len());
        let mut acknowledgements = Vec::new();
        for (to, one) in &new {
            let question = Message::Deals {
                sums: sums.clone(),
                deals: deals.iter().map(|deal| excerpt(deal, *to)).collect(),
                attempt,
                ceremony,
            };
            match world.ask(proposal, &name(one.index), &question) {
                Message::Acknowledged {
                    acknowledgement, ..
                } => acknowledgements.push(acknowledgement),
                other => panic!("{other:?}"),
            }
        }
        let mut confirmations = Vec::new();
        for (_, one) in new.iter().chain(&leaving) {
            let is_new = usize::from(one.index) <= proposal.members().len();
            let acknowledgements = acknowledgements.clone();
            let question = if is_new {
                Message::Acknowledgements {
                    attempt,
                    ceremony,
                    acknowledgements,
                }
            } else {
                Message::HandOver {
                    sums: sums.clone(),
                    attempt,
                    ceremony,
                    acknowledgements,
                }
            };
            match world.ask(proposal, &name(one.index), &question) {
                Message::Confirmed { confirmation, .. } => confirmations.push(confirmation),
                other => panic!("{other:?}"),
            }
        }
        let keys: Vec<u8> = present.iter().flat_map(|one| one.encryption_key).collect();
        let certificate = Certificate {
            set: acknowledgements[0].set.to_vec(),
            sums,
            epoch: proposal.epoch(),
            absent: without.to_vec(),
            attempt,
            version: 1,
            proposal: serde_bytes::ByteBuf::from(proposal.to_bytes()),
            qualified: deals.iter().map(|deal| deal.header.index).collect(),
            confirmations,
            encryption_keys: serde_bytes::ByteBuf::from(keys),
        };
        let mut bytes = Vec::new();
        ciborium::into_writer(&certificate, &mut bytes).unwrap();
        bytes
    }

    pub fn show(&self, world: &mut World, certificate: &[u8], name: &str) {
        let question = Message::Certificate {
            public_shares: serde_bytes::ByteBuf::new(),
            ceremony: self.proposal.id(),
            certificate: serde_bytes::ByteBuf::from(certificate.to_vec()),
        };
        let answer = world.ask(&self.proposal, name, &question);
        assert!(matches!(answer, Message::Activated { .. }), "{answer:?}");
    }
}
