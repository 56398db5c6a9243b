//! The nodes of a history, and what is proposed to them.

use std::collections::BTreeMap;

use dkg::{
    ActivatedKey, Fault, Holding, Leader, Member, MemberOutput, Message, Proposal, ResultName,
    Terms,
};
use rand::rngs::StdRng;

use super::{LIFETIME, PATIENCE};
use crate::cluster::{NOW, Node, terms};

pub struct Player {
    pub node: Node,
    pub leader: Option<Leader>,
    pub(super) leader_disk: Option<Vec<u8>>,
    /// By the parameters of their attempts: two attempts may have one number.
    pub keys: BTreeMap<[u8; 64], ActivatedKey>,
    pub(super) up: bool,
    pub dead: bool,
    pub(super) wake_at: u64,
    /// In a reshare, what the node holds of the base, and knows and has promised.
    pub(super) base: Option<ActivatedKey>,
    pub(super) newest: Option<ResultName>,
    pub(super) confirmed: u32,
}

impl Player {
    fn new(mut node: Node, base: Option<ActivatedKey>) -> Self {
        node.member = Member::new(node.local.clone()).with_patience(PATIENCE);
        Self {
            node,
            leader: None,
            leader_disk: None,
            keys: BTreeMap::new(),
            up: true,
            dead: false,
            wake_at: u64::MAX,
            base,
            newest: None,
            confirmed: 0,
        }
    }

    pub fn leader_disk(&self) -> &Option<Vec<u8>> {
        &self.leader_disk
    }

    /// A machine of this node answers, with what the node holds of the base.
    pub fn ask(
        &self,
        member: &mut Member,
        from: &[u8; 32],
        message: Message,
        now: u64,
        rng: &mut StdRng,
    ) -> Result<MemberOutput, Fault> {
        let Some(base) = member.base_of(&message) else {
            return member.handle(from, message, now, rng);
        };
        let held = self.base.as_ref().filter(|key| key.name == base.result);
        let holding = Holding {
            share: held.map(|key| &key.share),
            newest: self.newest,
            confirmed: self.confirmed,
        };
        member.handle_reshare(from, message, &holding, now, rng)
    }
}

/// Two of four, or three of five, hold a key. Two of them leave, one of whom leads, and two or three others come.
pub(super) fn reshare(seed: u64, threshold: u16, rng: &mut StdRng) -> (Vec<Player>, Proposal) {
    let mut before = crate::world::World::new(seed);
    let (old, new): (&[&str], &[&str]) = match threshold {
        3 => (&["a", "b", "c", "d", "g"], &["c", "d", "e", "f", "g", "h"]),
        _ => (&["a", "b", "c", "d"], &["c", "d", "e", "f"]),
    };
    let base = before.create(threshold, old);
    let mut terms = before.reshare(&base, threshold, new);
    terms.leader = before.nodes["a"].identity();
    terms.may_be_absent = 1;
    (terms.created, terms.expires) = (NOW, NOW + LIFETIME);
    let leaving = before.old_indices(&terms, &["a", "b"]);
    if let Some(base) = &mut terms.base {
        base.old_may_be_absent = leaving;
    }
    let proposal = Proposal::new(terms, rng).unwrap();
    let players = proposal
        .seats()
        .iter()
        .map(|seat| {
            let mut node = before.nodes.remove(&seat.name).unwrap();
            let share = node.keys.remove(&base);
            let node = Node {
                phrase: node.phrase,
                member: Member::new(node.local.clone()),
                local: node.local,
                card: node.card,
                disk: None,
                key: None,
                former: Vec::new(),
                activations: 0,
            };
            Player::new(node, share)
        })
        .collect();
    (players, proposal)
}

pub(super) fn create(
    seed: u64,
    threshold: u16,
    members: usize,
    absent: u16,
    rng: &mut StdRng,
) -> (Vec<Player>, Proposal) {
    let mut nodes: Vec<Node> = (0..members)
        .map(|place| Node::new(&format!("n{place}"), seed * 100 + place as u64))
        .collect();
    nodes.sort_by_key(|node| node.card.identity);
    let terms = Terms {
        may_be_absent: absent,
        expires: NOW + LIFETIME,
        ..terms(threshold, &nodes)
    };
    let proposal = Proposal::new(terms, rng).unwrap();
    let players = nodes
        .into_iter()
        .map(|node| Player::new(node, None))
        .collect();
    (players, proposal)
}
