//! How far a ceremony is, for people and programs.

use crate::proposal::MemberIdentity;

/// How far a leader is, and for whom it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderProgress {
    /// The round.
    pub phase: LeaderPhase,
    /// The members that have not answered it, in index order.
    pub waiting: Vec<Waiting>,
}

/// A member that has not answered the open round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The member.
    pub member: MemberIdentity,
    /// What is missing.
    pub waiting_for: WaitingFor,
}

/// What is missing of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitingFor {
    /// Its turn to be asked.
    Turn,
    /// Its answer.
    Answer,
    /// Its operator's decision.
    Decision,
    /// Its being reachable again.
    Reachable,
    /// Its taking back a refusal, after the key exists already.
    Refusal {
        /// The code that it gave.
        code: String,
        /// The sentence that it gave.
        sentence: String,
    },
}

/// The rounds of a ceremony.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaderPhase {
    /// Members' operators decide.
    Accepting,
    /// Members deal.
    Dealing,
    /// Members check the deals.
    Acknowledging,
    /// Members store their shares and confirm.
    Confirming,
    /// The key exists; members activate it.
    Activating,
    /// All have activated it.
    Completed,
    /// No key comes of it.
    Failed,
    /// Another member leads.
    StoodAside,
}

impl LeaderPhase {
    /// A stable name for programs and people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepting => "accepting",
            Self::Dealing => "dealing",
            Self::Acknowledging => "acknowledging",
            Self::Confirming => "confirming",
            Self::Activating => "activating",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::StoodAside => "stood-aside",
        }
    }

    /// What a member that has not answered is waited for.
    pub(super) fn awaits(&self) -> &'static str {
        match self {
            Self::Accepting => "its acceptance was waited for",
            Self::Dealing => "its deal was waited for",
            Self::Acknowledging => "its acknowledgement was waited for",
            Self::Confirming => "its confirmation was waited for",
            Self::Activating => "its activation was waited for",
            Self::Completed | Self::Failed | Self::StoodAside => "nothing was waited for",
        }
    }
}
