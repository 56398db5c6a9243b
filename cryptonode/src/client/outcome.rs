//! What each node did, and why a cluster gave no result: in plain words, for the person who wanted to read something.

use std::fmt;

use serde::Serialize;

use super::call_error::CallError;

/// What one node did in one operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeOutcome {
    /// Its index in the cluster.
    pub index: u16,
    /// Its name in the descriptor.
    pub name: String,
    /// What it did.
    #[serde(flatten)]
    pub what: Outcome,
    /// From the moment it was asked to its answer, or to the moment when it no longer mattered, in milliseconds; absent
    /// if it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub millis: Option<f64>,
}

/// What a node did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Outcome {
    /// It sent a share that was used.
    Answered,
    /// It refused; code and sentence are its own (untrusted text, without control characters).
    Refused {
        /// The stable code.
        code: String,
        /// The sentence.
        message: String,
    },
    /// It is alive, and did not answer in time.
    TimedOut {
        /// What was waited for.
        reason: String,
    },
    /// It could not be reached, or the connection broke.
    Unreachable {
        /// Why.
        reason: String,
    },
    /// It sent a share that is not true.
    Cheated {
        /// What is wrong with it.
        reason: String,
    },
    /// Another failure: another identity at its address, an answer that cannot be read.
    Failed {
        /// The stable code ([`CallError::code`]).
        code: String,
        /// Why.
        reason: String,
    },
    /// It was asked, and enough others answered before it did.
    Overtaken,
    /// It was not asked: others were enough.
    NotAsked,
}

impl Outcome {
    pub(super) fn of_error(error: &CallError) -> Self {
        let reason = error.to_string();
        match error {
            CallError::TimedOut { .. } => Self::TimedOut { reason },
            error if error.is_unreachable() => Self::Unreachable { reason },
            error => Self::Failed {
                code: error.code().to_owned(),
                reason,
            },
        }
    }
}

impl fmt::Display for NodeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.name)?;
        match &self.what {
            Outcome::Answered => write!(f, "answered"),
            Outcome::Refused { code, message } => write!(f, "refused ({code}): {message}"),
            Outcome::TimedOut { reason } => write!(f, "was too slow: {reason}"),
            Outcome::Unreachable { reason } => write!(f, "is unreachable: {reason}"),
            Outcome::Cheated { reason } => write!(f, "sent a false share: {reason}"),
            Outcome::Failed { reason, .. } => write!(f, "failed: {reason}"),
            Outcome::Overtaken => write!(f, "was overtaken by others"),
            Outcome::NotAsked => write!(f, "was not asked"),
        }
    }
}

/// Why a cluster gave no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClusterError {
    /// Fewer than t nodes gave a good share.
    #[error(
        "{answered} of {members} nodes answered, {needed} are needed{}",
        reasons(nodes)
    )]
    TooFewAnswers {
        /// Nodes whose share was good, or not found to be bad.
        answered: usize,
        /// n.
        members: usize,
        /// t.
        needed: usize,
        /// What each of the others did.
        nodes: Vec<NodeOutcome>,
    },
    /// t verified shares do not open the wrapped key.
    #[error(
        "the wrapped key is not valid: its writer made it so that no one can open it; no node is to blame"
    )]
    InvalidWrappedKey,
    /// The wrapped key is for another cluster key.
    #[error(
        "the wrapped key was made for the key {wrapped}, and this cluster holds the key {cluster}: use the descriptor of the other cluster"
    )]
    OtherKey {
        /// The wrapped key's Y in hexadecimal.
        wrapped: String,
        /// The cluster's Y in hexadecimal.
        cluster: String,
    },
    /// As many reads are going on as may: no node was asked.
    #[error(
        "{most} reads are going on already, more than that would only wait for one another: try again in a moment"
    )]
    Busy {
        /// [`super::ClientOptions::reads_at_once`].
        most: usize,
    },
    /// The request cannot be sent.
    #[error("the request cannot be sent: {reason}")]
    Request {
        /// Why.
        reason: String,
    },
}

impl ClusterError {
    /// A stable code for peers, operators and scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooFewAnswers { .. } => "too-few-answers",
            Self::InvalidWrappedKey => "invalid-wrapped-key",
            Self::OtherKey { .. } => "other-key",
            Self::Busy { .. } => "busy",
            Self::Request { .. } => "request",
        }
    }
}

fn reasons(nodes: &[NodeOutcome]) -> String {
    nodes.iter().fold(String::new(), |mut text, node| {
        text.push_str(if text.is_empty() { ": " } else { "; " });
        text.push_str(&node.to_string());
        text
    })
}
