//! Ceremonies of machines in one process, without a network or a disk.
//!
//! What measures a key generation plays one: [`Ceremony::create`], [`Ceremony::play`] with a function that carries each question to
//! its node, and, to hand the key on, [`Ceremony::reshare`] and [`Ceremony::play`] again. [`record`] keeps the questions to one member, so
//! that they can be asked again. All randomness is the caller's.

mod record;
mod reshare;

use std::collections::VecDeque;

use dkg::{
    ActivatedKey, BaseTerms, Fault, Holding, KnownIdentities, Leader, LeaderEffect, LocalNode,
    Member, MemberIdentity, MemberOutput, MemberStage, Message, Proposal, ProposalError,
    RecoveryPhrase, ResultName, Terms,
};
use rand::CryptoRng;

pub use record::{Recorded, record};
pub use reshare::To;

/// Seconds since the Unix epoch, as the machines are told.
pub const NOW: u64 = 1_800_000_000;

const POLICY: [u8; 32] = [7; 32];

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The terms make no proposal.
    #[error(transparent)]
    Proposal(#[from] ProposalError),
    /// A machine refused a message of another.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The leader blames members.
    #[error("{0}")]
    Blamed(String),
    /// Somebody has not got what it takes part for.
    #[error("not everybody has the key")]
    Incomplete,
}

/// A node with its machine of the ceremony that is played.
pub struct Node {
    /// As proposals name it.
    pub card: MemberIdentity,
    local: LocalNode,
    member: Member,
    /// The newest key that it has activated.
    key: Option<ActivatedKey>,
    /// The newest result that it knows of.
    newest: Option<ResultName>,
    /// The highest attempt on the base of the ceremony that it has confirmed.
    confirmed: u32,
}

/// A proposal, and the nodes that take part in it, in the order of their identities.
pub struct Ceremony {
    proposal: Proposal,
    known: KnownIdentities,
    nodes: Vec<Node>,
    /// The place of the node that leads.
    first: usize,
}

impl Node {
    fn new(number: usize, rng: &mut impl CryptoRng) -> Self {
        let keys = RecoveryPhrase::generate(rng).node_keys();
        let card = MemberIdentity {
            name: format!("node-{number}"),
            identity: keys.identity.verifying_key().to_bytes(),
            recovery_public: *keys.recovery_public.as_bytes(),
            address: format!("node-{number}.example:7700"),
        };
        let local = LocalNode {
            identity: keys.identity.into(),
            recovery_public: keys.recovery_public,
            policy_hash: POLICY,
        };
        Self {
            card,
            member: Member::new(local.clone()),
            local,
            key: None,
            newest: None,
            confirmed: 0,
        }
    }

    /// The machine answers the leader, and accepts whatever is proposed; what comes of it for the node's key is kept here.
    pub fn answer(
        &mut self,
        from: &[u8; 32],
        message: Message,
        rng: &mut impl CryptoRng,
    ) -> Result<MemberOutput, Fault> {
        let mut output = match self.member.base_of(&message) {
            None => self.member.handle(from, message, NOW, rng)?,
            Some(base) => {
                let held = self.key.as_ref().filter(|key| key.name == base.result);
                let holding = Holding {
                    share: held.map(|key| &key.share),
                    newest: self.newest,
                    confirmed: self.confirmed,
                };
                self.member
                    .handle_reshare(from, message, &holding, NOW, rng)?
            }
        };
        if self.member.stage() == MemberStage::Proposed {
            output = self.member.accept(NOW, rng)?;
        }
        if let Some(confirmed) = output.confirmed {
            self.confirmed = confirmed.attempt;
        }
        if let Some(retired) = &output.retired {
            self.newest = self.newest.max(Some(retired.successor));
        }
        if let Some(key) = output.activated.take() {
            self.newest = self.newest.max(Some(key.name));
            self.key = Some(key);
        }
        Ok(output)
    }
}

impl Ceremony {
    /// A key generation of new nodes. The first in the order of identities leads.
    pub fn create(
        members: u16,
        threshold: u16,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ProposalError> {
        let nodes = (1..=usize::from(members))
            .map(|number| Node::new(number, rng))
            .collect();
        Self::of(nodes, usize::from(members), threshold, None, rng)
    }

    /// The last `members` nodes are to have the key; the first of all leads.
    fn of(
        mut nodes: Vec<Node>,
        members: usize,
        threshold: u16,
        base: Option<BaseTerms>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ProposalError> {
        let old = nodes.len().saturating_sub(members);
        let of_key = nodes.iter().skip(old).map(|node| node.card.clone());
        let mut of_key: Vec<MemberIdentity> = of_key.collect();
        of_key.sort_by_key(|card| card.identity);
        nodes.sort_by_key(|node| node.card.identity);
        // As a node has them from its configuration.
        let known = KnownIdentities::of(nodes.iter().map(|node| &node.card.identity));
        for node in &mut nodes {
            node.member = Member::new(node.local.clone()).with_known(known.clone());
        }
        // A node that holds a share leads, if there is one.
        let holds = nodes.iter().position(|node| node.key.is_some());
        let first = holds.unwrap_or_default();
        let leader = nodes.get(first).map(|node| node.card.identity);
        let terms = Terms {
            threshold,
            policy_hash: POLICY,
            members: of_key,
            base,
            leader: leader.unwrap_or_default(),
            created: NOW,
            expires: NOW + 3600,
            may_be_absent: 0,
            allow_few_members: true,
            software: "ceremony".to_owned(),
        };
        Ok(Self {
            proposal: Proposal::new(terms, rng)?,
            known,
            nodes,
            first,
        })
    }

    /// Who leads.
    pub fn leader(&self) -> [u8; 32] {
        *self.proposal.leader()
    }

    /// The leader's machine.
    pub fn lead(&self) -> Result<Leader, Failed> {
        let node = self.nodes.get(self.first).ok_or(Failed::Incomplete)?;
        Ok(Leader::new(
            self.proposal.clone(),
            &node.local.identity,
            NOW,
        )?)
    }

    /// Plays it to the end. `ask` brings a question to the node at a place, and gives what the leader gets for an answer.
    pub fn play<E: From<Failed>>(
        &mut self,
        mut leader: Leader,
        mut ask: impl FnMut(usize, &mut Node, Message) -> Result<Message, E>,
    ) -> Result<(), E> {
        let mut queue: VecDeque<LeaderEffect> = leader.poll(NOW).into();
        while let Some(effect) = queue.pop_front() {
            let (to, message) = match effect {
                LeaderEffect::Send { to, message } => (to, message),
                LeaderEffect::Failed { culprits } => {
                    let faults: Vec<String> = culprits
                        .iter()
                        .map(|(member, fault)| format!("{}: {fault}", member.name))
                        .collect();
                    return Err(Failed::Blamed(faults.join("; ")).into());
                }
                _ => continue,
            };
            let place = self
                .nodes
                .binary_search_by_key(&to, |node| node.card.identity);
            let Some((place, node)) = place
                .ok()
                .and_then(|place| Some((place, self.nodes.get_mut(place)?)))
            else {
                continue;
            };
            let reply = ask(place, node, message)?;
            queue.extend(leader.handle_reply(&to, &reply, NOW));
        }
        let done = |node: &Node| node.member.stage() == MemberStage::Activated;
        if self.nodes.iter().all(done) {
            Ok(())
        } else {
            Err(Failed::Incomplete.into())
        }
    }
}
