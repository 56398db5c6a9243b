//! A cluster in memory: nodes with what they have written, and a leader with what it has written.

use std::collections::VecDeque;

use dkg::{
    ActivatedKey, Fault, Leader, LeaderEffect, LocalNode, Member, MemberIdentity, MemberOutput,
    MemberStage, Message, Proposal, RecoveryPhrase, Terms,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub const NOW: u64 = 1_800_000_000;
pub const POLICY: [u8; 32] = [7; 32];

pub struct Node {
    pub phrase: RecoveryPhrase,
    pub local: LocalNode,
    pub card: MemberIdentity,
    pub member: Member,
    /// What the driver has written: the machine's state and the key, together.
    pub disk: Option<Vec<u8>>,
    pub key: Option<ActivatedKey>,
    /// Those that were handed over before: each result of a create is a key of its own.
    pub former: Vec<ActivatedKey>,
    /// How often a key was handed over.
    pub activations: usize,
}

impl Node {
    pub fn new(name: &str, seed: u64) -> Self {
        let phrase = RecoveryPhrase::generate(&mut StdRng::seed_from_u64(seed));
        let keys = phrase.node_keys();
        let local = LocalNode {
            identity: keys.identity.clone().into(),
            recovery_public: keys.recovery_public,
            policy_hash: POLICY,
        };
        let card = MemberIdentity {
            name: name.to_owned(),
            identity: keys.identity.verifying_key().to_bytes(),
            recovery_public: *keys.recovery_public.as_bytes(),
            address: format!("{name}.example:7700"),
        };
        let member = Member::new(local.clone());
        Self {
            phrase,
            local,
            card,
            member,
            disk: None,
            key: None,
            former: Vec::new(),
            activations: 0,
        }
    }

    /// The machine answers, and accepts any proposal. Nothing is written yet.
    pub fn answer<R: Rng + rand::CryptoRng>(
        &mut self,
        from: &[u8; 32],
        message: Message,
        rng: &mut R,
    ) -> Result<MemberOutput, Fault> {
        let mut output = self.member.handle(from, message, NOW, rng)?;
        if self.member.stage() == MemberStage::Proposed {
            output = self.member.accept(NOW, rng)?;
        }
        Ok(output)
    }

    /// What the driver has written last.
    pub fn state(&self) -> &[u8] {
        self.disk.as_deref().unwrap()
    }

    /// The driver writes.
    pub fn write(&mut self, output: &mut MemberOutput) {
        if let Some(state) = output.persist.take() {
            self.disk = Some(state.to_vec());
        }
        if let Some(key) = output.activated.take() {
            key.share.check(&key.package).unwrap();
            self.activations += 1;
            self.former.extend(self.key.replace(key));
        }
    }

    /// A driver's whole turn.
    pub fn serve<R: Rng + rand::CryptoRng>(
        &mut self,
        from: &[u8; 32],
        message: Message,
        rng: &mut R,
    ) -> Message {
        let about = message.about();
        match self.answer(from, message, rng) {
            Ok(mut output) => {
                self.write(&mut output);
                output.reply
            }
            Err(fault) => Message::refusal(about, &fault),
        }
    }

    /// Loses everything that is not on the disk.
    pub fn crash(&mut self) {
        self.member = match &self.disk {
            Some(state) => Member::restore(self.local.clone(), state).unwrap(),
            None => Member::new(self.local.clone()),
        };
    }
}

pub struct Cluster {
    /// In index order.
    pub nodes: Vec<Node>,
    pub proposal: Proposal,
    pub leader: Leader,
    pub leader_disk: Option<Vec<u8>>,
    pub rng: StdRng,
    pub now: u64,
    pub outcome: Option<Outcome>,
}

#[derive(Debug)]
pub enum Outcome {
    Completed,
    Failed(Vec<(MemberIdentity, Fault)>),
}

impl Cluster {
    pub fn new(threshold: u16, members: usize, seed: u64) -> Self {
        Self::with_absent(threshold, members, 0, seed)
    }

    /// A cluster whose proposal lets so many members be absent.
    pub fn with_absent(threshold: u16, members: usize, absent: u16, seed: u64) -> Self {
        let mut nodes: Vec<Node> = (0..members)
            .map(|place| Node::new(&format!("node-{place}"), seed * 10_000 + place as u64))
            .collect();
        nodes.sort_by_key(|node| node.card.identity);
        let mut rng = StdRng::seed_from_u64(seed);
        let terms = Terms {
            may_be_absent: absent,
            ..terms(threshold, &nodes)
        };
        let proposal = Proposal::new(terms, &mut rng).unwrap();
        let leader = Leader::new(proposal.clone(), &nodes[0].local.identity, NOW).unwrap();
        Self {
            nodes,
            proposal,
            leader,
            leader_disk: None,
            rng,
            now: NOW,
            outcome: None,
        }
    }

    /// The same, with a leader that relays the whole deals from the start.
    pub fn with_whole_deals(mut self) -> Self {
        self.leader = self.leader.with_whole_deals();
        self
    }

    pub fn leader_id(&self) -> [u8; 32] {
        *self.proposal.leader()
    }

    pub fn index_of(&self, identity: &[u8; 32]) -> usize {
        usize::from(self.proposal.index_of(identity).unwrap()) - 1
    }

    /// The leader's driver loses everything that is not on the disk.
    pub fn crash_leader(&mut self) {
        self.leader = match &self.leader_disk {
            Some(state) => Leader::restore(state).unwrap(),
            None => Leader::new(
                self.proposal.clone(),
                &self.nodes[0].local.identity,
                self.now,
            )
            .unwrap(),
        };
    }

    /// Carries out what needs no network, and returns what is to be sent.
    pub fn carry_out(&mut self, effects: Vec<LeaderEffect>) -> Vec<([u8; 32], Message)> {
        let mut sends = Vec::new();
        for effect in effects {
            match effect {
                LeaderEffect::Persist(state) => self.leader_disk = Some(state),
                LeaderEffect::Send { to, message } => sends.push((to, message)),
                LeaderEffect::Certified { .. } | LeaderEffect::Excluded { .. } => {}
                LeaderEffect::Completed { .. } => self.outcome = Some(Outcome::Completed),
                LeaderEffect::Failed { culprits } => self.outcome = Some(Outcome::Failed(culprits)),
            }
        }
        sends
    }

    /// Runs to the end on a perfect network; `intercept` sees and may change each question and each answer.
    pub fn run_with(&mut self, mut intercept: impl FnMut(&mut Cluster, Step<'_>)) {
        let effects = self.leader.poll(self.now);
        let mut queue: VecDeque<_> = self.carry_out(effects).into();
        while let Some((to, mut message)) = queue.pop_front() {
            let place = self.index_of(&to);
            intercept(self, Step::Question(place, &mut message));
            let from = self.leader_id();
            // Everything crosses the wire.
            let message = Message::from_bytes(&message.to_bytes()).unwrap();
            let mut reply = self.nodes[place].serve(&from, message, &mut self.rng);
            intercept(self, Step::Answer(place, &mut reply));
            let reply = Message::from_bytes(&reply.to_bytes()).unwrap();
            let effects = self.leader.handle_reply(&to, &reply, self.now);
            queue.extend(self.carry_out(effects));
            if queue.is_empty() && !self.is_over() {
                self.now = self.leader.next_poll().unwrap().max(self.now);
                let effects = self.leader.poll(self.now);
                queue.extend(self.carry_out(effects));
            }
        }
    }

    /// Runs to the end; `network` sees each question and may lose its answer.
    pub fn run_lossy(
        &mut self,
        mut network: impl FnMut(&mut Cluster, usize, &Message, Message) -> Option<Message>,
    ) {
        let effects = self.leader.poll(self.now);
        let mut queue: VecDeque<_> = self.carry_out(effects).into();
        for _ in 0..20_000 {
            if self.is_over() && queue.is_empty() {
                return;
            }
            let Some((to, message)) = queue.pop_front() else {
                self.now = self.leader.next_poll().unwrap().max(self.now);
                let effects = self.leader.poll(self.now);
                queue.extend(self.carry_out(effects));
                continue;
            };
            let (place, from) = (self.index_of(&to), self.leader_id());
            let message = Message::from_bytes(&message.to_bytes()).unwrap();
            let reply = self.nodes[place].serve(&from, message.clone(), &mut self.rng);
            match network(self, place, &message, reply) {
                Some(reply) => {
                    let reply = Message::from_bytes(&reply.to_bytes()).unwrap();
                    let effects = self.leader.handle_reply(&to, &reply, self.now);
                    queue.extend(self.carry_out(effects));
                }
                None => self.leader.unreachable(&to, self.now),
            }
        }
        panic!("the ceremony does not end: {:?}", self.leader.progress());
    }

    /// Asserts that a key was made by all but these.
    pub fn assert_completed_without(&self, absent: &[usize]) {
        assert!(
            matches!(self.outcome, Some(Outcome::Completed)),
            "{:?}",
            self.outcome
        );
        self.assert_one_result();
        let pinned: Vec<[u8; 32]> = (0..self.nodes.len())
            .filter(|place| !absent.contains(place))
            .map(|place| self.nodes[place].card.identity)
            .collect();
        for (place, node) in self.nodes.iter().enumerate() {
            if absent.contains(&place) {
                assert!(node.key.is_none(), "member {place} is left out");
                continue;
            }
            assert_eq!(node.member.stage(), MemberStage::Activated);
            assert_eq!(node.activations, 1);
            let key = node.key.as_ref().unwrap();
            let certified = dkg::verify_certificate(&key.certificate, &pinned).unwrap();
            assert_eq!(certified.package(), &key.package);
            let restored = certified.recover_share(&node.phrase).unwrap();
            assert_eq!(restored.secret().to_bytes(), key.share.secret().to_bytes());
        }
    }

    pub fn run(&mut self) {
        self.run_with(|_, _| {});
    }

    pub fn is_over(&self) -> bool {
        self.outcome.is_some()
    }

    pub fn assert_completed(&self) {
        assert!(
            matches!(self.outcome, Some(Outcome::Completed)),
            "{:?}",
            self.outcome
        );
        for node in &self.nodes {
            assert_eq!(node.member.stage(), MemberStage::Activated);
            assert_eq!(node.activations, 1);
        }
        self.assert_one_result();
    }

    /// The invariant: whoever activated has the same result.
    pub fn assert_one_result(&self) {
        let mut results: Vec<_> = self
            .nodes
            .iter()
            .filter_map(|node| node.key.as_ref())
            .map(|key| key.package.public_key())
            .collect();
        results.dedup();
        assert!(
            results.len() <= 1,
            "two results of one ceremony: {results:?}"
        );
        for key in self.nodes.iter().filter_map(|node| node.key.as_ref()) {
            key.share.check(&key.package).unwrap();
        }
    }

    pub fn culprits(&self) -> Vec<(String, Fault)> {
        match &self.outcome {
            Some(Outcome::Failed(culprits)) => culprits
                .iter()
                .map(|(member, fault)| (member.name.clone(), fault.clone()))
                .collect(),
            other => panic!("the ceremony did not fail: {other:?}"),
        }
    }

    /// Asserts that the ceremony failed and that exactly this member was blamed, by this code.
    pub fn assert_failed_by(&self, place: usize, code: &str) {
        let culprits = self.culprits();
        assert!(!culprits.is_empty());
        for (name, fault) in &culprits {
            assert_eq!(
                (name, fault.code()),
                (&self.nodes[place].card.name, code),
                "{culprits:?}"
            );
        }
        assert!(self.nodes.iter().all(|node| node.key.is_none()));
    }
}

pub enum Step<'a> {
    Question(usize, &'a mut Message),
    Answer(usize, &'a mut Message),
}

pub fn terms(threshold: u16, nodes: &[Node]) -> Terms {
    Terms {
        threshold,
        policy_hash: POLICY,
        members: nodes.iter().map(|node| node.card.clone()).collect(),
        base: None,
        leader: nodes[0].card.identity,
        created: NOW,
        expires: NOW + 3600,
        may_be_absent: 0,
        allow_few_members: true,
        software: "test".to_owned(),
    }
}

pub fn propose(threshold: u16, nodes: &[Node], rng: &mut StdRng) -> Proposal {
    Proposal::new(terms(threshold, nodes), rng).unwrap()
}
