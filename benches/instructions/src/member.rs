//! One member of a key generation: a whole ceremony is played, its questions to one member kept, and asked again.

use dkg::{
    Leader, LeaderEffect, LocalNode, Member, MemberIdentity, MemberStage, Message, Proposal,
    RecoveryPhrase, Terms,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

const NOW: u64 = 1_800_000_000;

/// The questions of a ceremony to member 2.
pub(crate) struct Recorded {
    local: LocalNode,
    leader: [u8; 32],
    questions: Vec<Message>,
}

/// Member 2, about to be asked them.
pub(crate) struct Replay {
    member: Member,
    leader: [u8; 32],
    questions: Vec<Message>,
    rng: StdRng,
}

/// Plays a ceremony. The randomness of member 2 is a generator of its own, so that it answers the same when asked again.
#[expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "everything here is of our own making, and a failure ends the count"
)]
pub(crate) fn record(members: u16, threshold: u16) -> Recorded {
    let rng = &mut StdRng::seed_from_u64(3);
    let mut nodes: Vec<(LocalNode, MemberIdentity)> = (0..members)
        .map(|place| {
            let keys = RecoveryPhrase::generate(rng).node_keys();
            let card = MemberIdentity {
                name: format!("node-{place}"),
                identity: keys.identity.verifying_key().to_bytes(),
                recovery_public: *keys.recovery_public.as_bytes(),
                address: "localhost:7700".to_owned(),
            };
            let local = LocalNode {
                identity: keys.identity,
                recovery_public: keys.recovery_public,
                policy_hash: [7; 32],
            };
            (local, card)
        })
        .collect();
    nodes.sort_by_key(|(_, card)| card.identity);
    let leader_id = nodes[0].1.identity;
    let terms = Terms {
        threshold,
        policy_hash: [7; 32],
        members: nodes.iter().map(|(_, card)| card.clone()).collect(),
        leader: leader_id,
        created: NOW,
        expires: NOW + 3600,
        may_be_absent: 0,
        base: None,
        allow_few_members: true,
        software: "bench".to_owned(),
    };
    let proposal = Proposal::new(terms, rng).expect("valid terms");
    let mut leader = Leader::new(proposal, &nodes[0].0.identity, NOW).expect("a valid proposal");
    let mut machines: Vec<(Member, StdRng)> = (0..)
        .zip(&nodes)
        .map(|(place, (local, _))| (Member::new(local.clone()), generator(place)))
        .collect();
    let mut questions = Vec::new();
    let mut queue = leader.poll(NOW);
    while !queue.is_empty() {
        for effect in std::mem::take(&mut queue) {
            let LeaderEffect::Send { to, message } = effect else {
                continue;
            };
            let place = nodes
                .iter()
                .position(|(_, card)| card.identity == to)
                .expect("a member");
            if place == 1 {
                questions.push(message.clone());
            }
            let (member, rng) = &mut machines[place];
            let output = member
                .handle(&leader_id, message, NOW, rng)
                .expect("an honest leader");
            let output = if member.stage() == MemberStage::Proposed {
                member.accept(NOW, rng).expect("a valid proposal")
            } else {
                output
            };
            queue.extend(leader.handle_reply(&to, &output.reply, NOW));
        }
    }
    assert_eq!(machines[1].0.stage(), MemberStage::Activated);
    Recorded {
        local: nodes.swap_remove(1).0,
        leader: leader_id,
        questions,
    }
}

fn generator(place: u64) -> StdRng {
    StdRng::seed_from_u64(1_000 + place)
}

impl Recorded {
    /// The member as it was before the ceremony.
    pub(crate) fn replay(&self) -> Replay {
        Replay {
            member: Member::new(self.local.clone()),
            leader: self.leader,
            questions: self.questions.clone(),
            rng: generator(1),
        }
    }
}

impl Replay {
    /// Answers everything.
    #[expect(clippy::expect_used, reason = "the questions are an honest leader's")]
    pub(crate) fn answer_all(&mut self) {
        for question in std::mem::take(&mut self.questions) {
            let (member, rng) = (&mut self.member, &mut self.rng);
            member
                .handle(&self.leader, question, NOW, rng)
                .expect("an honest leader");
            if member.stage() == MemberStage::Proposed {
                member.accept(NOW, rng).expect("a valid proposal");
            }
        }
        assert_eq!(self.member.stage(), MemberStage::Activated);
    }
}
