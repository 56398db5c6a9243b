//! One member of a key generation: a whole ceremony is played, its questions to one member kept, and asked again.

use ceremonies::{NOW, Recorded};
use dkg::{Member, MemberStage, Message};
use rand::rngs::StdRng;

/// Member 2, about to be asked everything.
pub(crate) struct Replay {
    member: Member,
    leader: [u8; 32],
    questions: Vec<Message>,
    rng: StdRng,
}

/// Plays a ceremony.
#[expect(
    clippy::expect_used,
    reason = "everything here is of our own making, and a failure ends the count"
)]
pub(crate) fn record(members: u16, threshold: u16) -> Recorded {
    ceremonies::record(members, threshold, 3).expect("an honest ceremony")
}

impl Replay {
    /// The member as it was before the ceremony.
    pub(crate) fn of(recorded: &Recorded) -> Self {
        let questions = recorded.steps.iter();
        Self {
            member: Member::new(recorded.local.clone()).with_known(recorded.known.clone()),
            leader: recorded.leader,
            questions: questions.map(|(_, question)| question.clone()).collect(),
            rng: recorded.generator(),
        }
    }

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
