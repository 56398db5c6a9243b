//! Nodes that live through several ceremonies of one key, each with what its driver keeps: machines, shares by result, and for each
//! base the highest attempt that it has confirmed.

use std::collections::{BTreeMap, VecDeque};

use curve25519_dalek::{RistrettoPoint, Scalar};
use dkg::{
    ActivatedKey, BaseTerms, CertifiedKey, Exclusion, Fault, Holding, KeyCertificate, Leader,
    LeaderEffect, LocalNode, Member, MemberIdentity, MemberOutput, MemberStage, Message, Proposal,
    RecoveryPhrase, ResultName, RetiredKey, Signer, SigningEffect, SigningSession, Terms,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::cluster::{NOW, POLICY};

/// A node over its whole life.
pub struct Node {
    pub phrase: RecoveryPhrase,
    pub local: LocalNode,
    pub card: MemberIdentity,
    machines: BTreeMap<[u8; 16], Member>,
    pub disks: BTreeMap<[u8; 16], Vec<u8>>,
    pub keys: BTreeMap<ResultName, ActivatedKey>,
    /// The highest attempt confirmed, by the base's hash.
    pub records: BTreeMap<[u8; 64], u32>,
    pub newest: Option<ResultName>,
    pub retired: Vec<RetiredKey>,
    /// Got its shares back by its phrase, and has forgotten what it promised.
    pub restored: bool,
}

/// One ceremony, as its leader's driver sees it.
pub struct Run {
    pub proposal: Proposal,
    pub leader: Leader,
    pub disk: Option<Vec<u8>>,
    pub certificate: Option<Vec<u8>>,
    pub completed: bool,
    pub culprits: Option<Vec<(MemberIdentity, Fault)>>,
    pub exclusions: Vec<Exclusion>,
    /// Its leader's process dies after so many turns, and is started again.
    pub dies_after: Option<usize>,
}

/// What passes between the leader and a node.
pub enum Event<'a> {
    Question(&'a mut Message),
    /// To the question; `None` is lost.
    Answer(&'a Message, &'a mut Option<Message>),
}

pub struct World {
    pub nodes: BTreeMap<String, Node>,
    pub rng: StdRng,
    pub now: u64,
    /// Every state that was ever written, with its ceremony.
    pub written: Vec<([u8; 16], Vec<u8>)>,
}

impl Node {
    fn new(name: &str, seed: u64) -> Self {
        let seeded = crate::cluster::Node::new(name, seed);
        Self {
            phrase: seeded.phrase,
            local: seeded.local,
            card: seeded.card,
            machines: BTreeMap::new(),
            disks: BTreeMap::new(),
            keys: BTreeMap::new(),
            records: BTreeMap::new(),
            newest: None,
            retired: Vec::new(),
            restored: false,
        }
    }

    pub fn identity(&self) -> [u8; 32] {
        self.card.identity
    }

    pub fn machine(&self, ceremony: &[u8; 16]) -> &Member {
        &self.machines[ceremony]
    }

    pub fn machine_mut(&mut self, ceremony: &[u8; 16]) -> Option<&mut Member> {
        self.machines.get_mut(ceremony)
    }

    /// Loses what is not on its disk.
    pub fn crash(&mut self) {
        self.machines.clear();
    }

    /// A driver's whole turn.
    pub fn serve(
        &mut self,
        from: &[u8; 32],
        message: Message,
        now: u64,
        rng: &mut StdRng,
    ) -> Message {
        let (id, about) = (message.ceremony().unwrap(), message.about());
        if self.restored {
            return Message::Refused {
                code: "restored-node".to_owned(),
                attempt: 0,
                culprit: 0,
                ceremony: id,
                sentence: "restored".to_owned(),
            };
        }
        let mut machine = match (self.machines.remove(&id), self.disks.get(&id)) {
            (Some(machine), _) => machine,
            (None, Some(state)) => Member::restore(self.local.clone(), state).unwrap(),
            (None, None) => Member::new(self.local.clone()),
        };
        let answer = self.turn(&mut machine, from, message, now, rng);
        let reply = match answer {
            Ok(output) => self.write(id, output),
            Err(fault) => Message::refusal(about, &fault),
        };
        if machine.stage() != MemberStage::New {
            self.machines.insert(id, machine);
        }
        reply
    }

    fn turn(
        &self,
        machine: &mut Member,
        from: &[u8; 32],
        message: Message,
        now: u64,
        rng: &mut StdRng,
    ) -> Result<MemberOutput, Fault> {
        let output = match machine.base_of(&message) {
            None => machine.handle(from, message, now, rng)?,
            Some(base) => {
                let holding = Holding {
                    share: self.keys.get(&base.result).map(|key| &key.share),
                    newest: self.newest,
                    confirmed: self
                        .records
                        .get(&base.result.hash)
                        .copied()
                        .unwrap_or_default(),
                };
                machine.handle_reshare(from, message, &holding, now, rng)?
            }
        };
        if machine.stage() == MemberStage::Proposed {
            return machine.accept(now, rng);
        }
        Ok(output)
    }

    fn write(&mut self, id: [u8; 16], output: MemberOutput) -> Message {
        if let Some(state) = output.persist {
            self.disks.insert(id, state.to_vec());
        }
        if let Some(confirmed) = output.confirmed {
            let record = self.records.entry(confirmed.base.result.hash).or_default();
            assert!(*record < confirmed.attempt, "attempts only go up");
            *record = confirmed.attempt;
        }
        if let Some(retired) = output.retired {
            self.newest = self.newest.max(Some(retired.successor));
            self.retired.push(retired);
        }
        if let Some(key) = output.activated {
            key.share.check(&key.package).unwrap();
            self.newest = self.newest.max(Some(key.name));
            assert!(self.keys.insert(key.name, key).is_none());
        }
        output.reply
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            nodes: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed),
            now: NOW,
            written: Vec::new(),
        }
    }

    /// Nodes of these names, made if they are not there, in the order given.
    pub fn cards(&mut self, names: &[&str]) -> Vec<MemberIdentity> {
        names
            .iter()
            .map(|name| {
                let seed = self.rng.next_u64();
                let node = self
                    .nodes
                    .entry((*name).to_owned())
                    .or_insert_with(|| Node::new(name, seed));
                node.card.clone()
            })
            .collect()
    }

    pub fn name_of(&self, identity: &[u8; 32]) -> String {
        let named = self
            .nodes
            .iter()
            .find(|(_, node)| node.identity() == *identity);
        named.unwrap().0.clone()
    }

    pub fn terms(&mut self, threshold: u16, names: &[&str]) -> Terms {
        let members = self.cards(names);
        Terms {
            threshold,
            policy_hash: POLICY,
            leader: members[0].identity,
            members,
            base: None,
            created: self.now,
            expires: self.now + 3600,
            may_be_absent: 0,
            allow_few_members: true,
            software: "test".to_owned(),
        }
    }

    /// Makes a key.
    pub fn create(&mut self, threshold: u16, names: &[&str]) -> ResultName {
        let terms = self.terms(threshold, names);
        let mut run = self.propose(terms);
        self.run(&mut run, |_, _, _| {});
        self.certified(&run).name()
    }

    pub fn propose(&mut self, terms: Terms) -> Run {
        let leader = terms.leader;
        let proposal = Proposal::new(terms, &mut self.rng).unwrap();
        self.lead(proposal, &leader)
    }

    pub fn lead(&mut self, proposal: Proposal, leader: &[u8; 32]) -> Run {
        let name = self.name_of(leader);
        let identity = self.nodes[&name].local.identity.clone();
        Run {
            leader: Leader::new(proposal.clone(), &identity, self.now).unwrap(),
            proposal,
            disk: None,
            certificate: None,
            completed: false,
            culprits: None,
            exclusions: Vec::new(),
            dies_after: None,
        }
    }

    /// The members of a result sign its certificate under Y.
    pub fn certify(&mut self, result: &ResultName) -> Vec<u8> {
        let holders: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.keys.contains_key(result) && !node.restored)
            .map(|(name, _)| name.clone())
            .collect();
        let key = &self.nodes[&holders[0]].keys[result];
        let pinned: Vec<[u8; 32]> = key.members.iter().map(|member| member.identity).collect();
        let certified = dkg::verify_certificate(&key.certificate, &pinned).unwrap();
        let mut signers: BTreeMap<String, Signer> = BTreeMap::new();
        let mut session = SigningSession::new(certified.clone(), &mut self.rng);
        let from = self.nodes[&holders[0]].identity();
        let mut now = self.now;
        let mut queue: VecDeque<SigningEffect> = session.poll(now, &mut self.rng).into();
        loop {
            let Some(effect) = queue.pop_front() else {
                now = session.next_poll().unwrap().max(now);
                queue.extend(session.poll(now, &mut self.rng));
                continue;
            };
            match effect {
                SigningEffect::Signed { certificate } => return certificate,
                SigningEffect::Send { to, message } => {
                    let name = self.name_of(&to);
                    let share = self.nodes[&name].keys.get(result).map(|key| &key.share);
                    let effects = match share.filter(|_| holders.contains(&name)) {
                        Some(share) => {
                            let signer = signers.entry(name).or_default();
                            let reply = signer
                                .handle(&from, &message, share, &certified, None, &mut self.rng)
                                .unwrap();
                            session.handle_reply(&to, &message, &reply, now, &mut self.rng)
                        }
                        None => session.unreachable(&to, &message, now, &mut self.rng),
                    };
                    queue.extend(effects);
                }
            }
        }
    }

    /// Terms of a reshare of a result to these.
    pub fn reshare(&mut self, base: &ResultName, threshold: u16, names: &[&str]) -> Terms {
        let certificate = self.certify(base);
        let members = KeyCertificate::verify_any(&certificate)
            .unwrap()
            .members()
            .len();
        Terms {
            base: Some(BaseTerms {
                certificate,
                addresses: vec!["old.example:7700".to_owned(); members],
                old_may_be_absent: Vec::new(),
                attempts_after: 0,
            }),
            ..self.terms(threshold, names)
        }
    }

    /// The indices in a base of nodes of these names.
    pub fn old_indices(&self, terms: &Terms, names: &[&str]) -> Vec<u16> {
        let base = terms.base.as_ref().unwrap();
        let certificate = KeyCertificate::verify_any(&base.certificate).unwrap();
        let mut indices: Vec<u16> = names
            .iter()
            .map(|name| {
                let identity = self.nodes[*name].identity();
                let place = certificate
                    .members()
                    .iter()
                    .position(|member| member.identity == identity);
                u16::try_from(place.unwrap() + 1).unwrap()
            })
            .collect();
        indices.sort_unstable();
        indices
    }

    /// Runs a ceremony until it is over.
    pub fn run(&mut self, run: &mut Run, network: impl FnMut(&mut World, &str, Event<'_>)) {
        self.run_for(30_000, run, network);
        assert!(
            run.is_over(),
            "it does not end: {:?}",
            run.leader.progress()
        );
    }

    /// Runs a ceremony until it is over, or so many turns have passed.
    pub fn run_for(
        &mut self,
        turns: usize,
        run: &mut Run,
        mut network: impl FnMut(&mut World, &str, Event<'_>),
    ) {
        let mut queue = VecDeque::new();
        let effects = run.leader.poll(self.now);
        queue.extend(run.carry_out(effects));
        for turn in 0..turns {
            if run.dies_after == Some(turn) {
                run.leader = Leader::restore(run.disk.as_ref().unwrap()).unwrap();
                queue.clear();
                let effects = run.leader.poll(self.now);
                queue.extend(run.carry_out(effects));
            }
            let Some((to, mut message)) = queue.pop_front() else {
                if run.is_over() {
                    return;
                }
                self.now = run.leader.next_poll().unwrap().max(self.now);
                let effects = run.leader.poll(self.now);
                queue.extend(run.carry_out(effects));
                continue;
            };
            let name = self.name_of(&to);
            network(self, &name, Event::Question(&mut message));
            let mut reply = Some(self.ask(&run.proposal, &name, &message));
            network(self, &name, Event::Answer(&message, &mut reply));
            let effects = match reply {
                Some(reply) => {
                    let reply = Message::from_bytes(&reply.to_bytes()).unwrap();
                    run.leader.handle_reply(&to, &reply, self.now)
                }
                None => {
                    run.leader.unreachable(&to, self.now);
                    Vec::new()
                }
            };
            queue.extend(run.carry_out(effects));
        }
    }

    /// The leader's node asks a node; everything crosses the wire.
    pub fn ask(&mut self, proposal: &Proposal, name: &str, message: &Message) -> Message {
        self.ask_from(proposal.leader(), proposal, name, message)
    }

    /// Any node asks another.
    pub fn ask_from(
        &mut self,
        from: &[u8; 32],
        proposal: &Proposal,
        name: &str,
        message: &Message,
    ) -> Message {
        let message = Message::from_bytes(&message.to_bytes()).unwrap();
        let node = self.nodes.get_mut(name).unwrap();
        let reply = node.serve(from, message, self.now, &mut self.rng);
        let id = proposal.id();
        self.written
            .extend(node.disks.get(&id).map(|state| (id, state.clone())));
        reply
    }

    pub fn certified(&self, run: &Run) -> CertifiedKey {
        assert!(
            run.completed,
            "{:?}: {:?}",
            run.leader.progress(),
            run.culprits
        );
        self.verified(run.certificate.as_ref().unwrap())
    }

    pub fn verified(&self, certificate: &[u8]) -> CertifiedKey {
        let holders = self.nodes.values().flat_map(|node| node.keys.values());
        let y = holders.map(|key| key.package.public_key()).next().unwrap();
        dkg::verify_reshare(certificate, y.as_bytes())
            .or_else(|_| {
                let key = holders_of(self, certificate);
                dkg::verify_certificate(certificate, &key)
            })
            .unwrap()
    }

    /// The shares of a result, by index.
    pub fn shares(&self, result: &ResultName) -> Vec<(u16, Scalar)> {
        let mut shares: Vec<(u16, Scalar)> = self
            .nodes
            .values()
            .filter_map(|node| node.keys.get(result))
            .map(|key| (key.share.index(), *key.share.secret().expose()))
            .collect();
        shares.sort_by_key(|(index, _)| *index);
        shares
    }

    /// The secret of a result, from its first t shares; fewer do not open it.
    pub fn secret(&self, result: &ResultName) -> Scalar {
        let key = self.nodes.values().find_map(|node| node.keys.get(result));
        let package = &key.unwrap().package;
        let shares = self.shares(result);
        let threshold = usize::from(package.threshold());
        let secret = interpolate(&shares[..threshold]);
        assert_eq!(
            RistrettoPoint::mul_base(&secret),
            *package.public_key().as_ristretto()
        );
        assert_eq!(interpolate(&shares[shares.len() - threshold..]), secret);
        if threshold > 1 {
            assert_ne!(interpolate(&shares[..threshold - 1]), secret);
        }
        secret
    }
}

fn holders_of(world: &World, certificate: &[u8]) -> Vec<[u8; 32]> {
    let of = world
        .nodes
        .values()
        .flat_map(|node| node.keys.values())
        .find(|key| key.certificate == certificate);
    let members = &of.unwrap().members;
    members.iter().map(|member| member.identity).collect()
}

impl Run {
    pub fn id(&self) -> [u8; 16] {
        self.proposal.id()
    }

    pub fn is_over(&self) -> bool {
        self.completed || self.culprits.is_some()
    }

    pub fn carry_out(&mut self, effects: Vec<LeaderEffect>) -> Vec<([u8; 32], Message)> {
        let mut sends = Vec::new();
        for effect in effects {
            match effect {
                LeaderEffect::Persist(state) => self.disk = Some(state),
                LeaderEffect::Send { to, message } => sends.push((to, message)),
                LeaderEffect::Excluded { exclusion, .. } => self.exclusions.push(exclusion),
                LeaderEffect::Certified { certificate } => self.certificate = Some(certificate),
                LeaderEffect::Completed { certificate, .. } => {
                    self.certificate = Some(certificate);
                    self.completed = true;
                }
                LeaderEffect::Failed { culprits } => self.culprits = Some(culprits),
            }
        }
        sends
    }

    /// Asserts that it failed, and that exactly this one was blamed by this code.
    pub fn assert_failed_by(&self, name: &str, code: &str) {
        let culprits = self.culprits.as_ref().unwrap();
        assert!(!culprits.is_empty());
        for (member, fault) in culprits {
            let told = match fault {
                Fault::Refused { code, .. } | Fault::Recorded { code, .. } => code.as_str(),
                other => other.code(),
            };
            assert_eq!((member.name.as_str(), told), (name, code), "{culprits:?}");
        }
    }
}

/// The value at 0 of the polynomial through these points: the oracle, by the formula.
pub fn interpolate(points: &[(u16, Scalar)]) -> Scalar {
    points
        .iter()
        .map(|(i, value)| {
            let weight: Scalar = points
                .iter()
                .filter(|(k, _)| k != i)
                .map(|(k, _)| {
                    let (i, k) = (Scalar::from(*i), Scalar::from(*k));
                    k * (k - i).invert()
                })
                .product();
            weight * value
        })
        .sum()
}
