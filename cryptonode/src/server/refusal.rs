//! Why a request is not carried out: one typed reason each, with a stable code and a sentence for whoever asked.
//!
//! Refusals leave the node. They say nothing that the client could not know: no secret, no path, no other client.

use std::fmt::Write as _;
use std::time::Duration;

use crate::wire::v1::{Answer, MAX_MESSAGE, WireError, presentable};

/// Why a request is not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// The bytes are no request of this version.
    #[error("{0}")]
    Message(#[from] WireError),
    /// The request did not arrive in time.
    #[error("the request did not arrive completely within {} ms: send it at once and finish the stream", after.as_millis())]
    RequestTimeout {
        /// The time allowed.
        after: Duration,
    },
    /// A bound is reached; trying again is worth it.
    #[error("the node has more to do than it takes on at a time: try again in {} ms, or ask another node", retry_after.as_millis())]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The client asks more often than the operator lets it.
    #[error("this client asks more often than this node's operator lets it: try again in {} ms", retry_after.as_millis())]
    RateLimited {
        /// When to try again.
        retry_after: Duration,
    },
    /// The operator has withdrawn this client's key.
    #[error(
        "this node's operator has denied this client's key: use another key, or ask the operator why"
    )]
    ClientDenied,
    /// The operator gives no shares of this key for the time being.
    #[error("this node's operator has suspended this key: ask another node, or the operator why")]
    KeySuspended,
    /// The operator gives no shares for this document for the time being.
    #[error("this node's operator has suspended this document: ask the operator why")]
    DocumentSuspended,
    /// The node is stopping.
    #[error("the node is stopping: ask another node")]
    Stopping,
    /// The key's certificate is not signed yet.
    #[error(
        "the certificate of the key {public_key} is not signed yet: ask again in a while, or ask another member"
    )]
    NoCertificate {
        /// Y in hexadecimal.
        public_key: String,
    },
    /// The operator admits listed clients only.
    #[error(
        "this node serves listed clients only, and this client's key is not on its operator's list"
    )]
    ClientNotListed,
    /// No share of this key, or of this result of it, here.
    #[error(transparent)]
    Key(#[from] crate::keyring::KeyRefusal),
    /// Fewer approvals than distinct organisations needed: none of them needs to be looked at.
    #[error(
        "the request carries {given} approvals, and approvals of {needed} organisations are needed"
    )]
    TooFewApprovals {
        /// Approvals in the request.
        given: usize,
        /// m.
        needed: u16,
    },
    /// Not enough approvals count.
    #[error("{}", approvals_sentence(.0))]
    Approvals(#[from] certs::Refused),
    /// A point or a proof of the request does not hold.
    #[error("{0}")]
    Request(#[from] reencrypt::RequestError),
    /// The audit record could not be made durable.
    #[error(
        "the node cannot write its audit log now, and gives no share without it: ask another node and tell its operator"
    )]
    AuditUnavailable,
    /// Only members of a ceremony may send its messages.
    #[error(
        "only members that this node's operator configured may take part in its ceremonies, and this client's key is none of theirs"
    )]
    NotAMember,
    /// No such policy here.
    #[error("this node knows of no approval policy {hash}: ask the member that proposes it")]
    UnknownPolicy {
        /// SHA-256 of it, in hexadecimal.
        hash: String,
    },
    /// The ceremony refused, or the node has none.
    #[error("{message}")]
    Ceremony {
        /// Stable code.
        code: &'static str,
        /// Why.
        message: String,
    },
    /// A witness does not weigh an offer, or the log has nothing to show.
    #[error("{message}")]
    Witness {
        /// Stable code.
        code: &'static str,
        /// Why.
        message: String,
    },
    /// Something that the node should be able to do failed.
    #[error("the node could not carry out the request: {what}; tell its operator")]
    Internal {
        /// What failed, without details of the node.
        what: &'static str,
    },
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Message(error) => error.code(),
            Self::RequestTimeout { .. } => "request-timeout",
            Self::Busy { .. } => "busy",
            Self::RateLimited { .. } => "rate-limited",
            Self::ClientDenied => "client-denied",
            Self::KeySuspended => "key-suspended",
            Self::DocumentSuspended => "document-suspended",
            Self::Stopping => "stopping",
            Self::NoCertificate { .. } => "no-key-certificate",
            Self::ClientNotListed => "client-not-listed",
            Self::Key(refusal) => refusal.code(),
            Self::TooFewApprovals { .. } => "not-enough-approvals",
            Self::Approvals(refused) => refused.code(),
            Self::Request(error) => error.code(),
            Self::Ceremony { code, .. } | Self::Witness { code, .. } => code,
            Self::AuditUnavailable => "audit-unavailable",
            Self::NotAMember => "not-a-member",
            Self::UnknownPolicy { .. } => "unknown-policy",
            Self::Internal { .. } => "internal",
        }
    }

    /// When to try again, in milliseconds; `None` if that is of no use.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Busy { retry_after } | Self::RateLimited { retry_after } => {
                Some(u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX))
            }
            _ => None,
        }
    }

    /// The refusal as the client gets it.
    #[must_use]
    pub fn to_answer(&self) -> Answer {
        Answer::Refused {
            code: self.code().to_owned(),
            message: presentable(&self.to_string(), MAX_MESSAGE),
            retry_after_ms: self.retry_after_ms(),
        }
    }
}

/// Each approval's reason with its code, so that a program can tell an expired approval from a stolen one.
fn approvals_sentence(refused: &certs::Refused) -> String {
    let mut text = format!(
        "{} of the {} organisations needed approved this read",
        refused.counted, refused.needed
    );
    if !refused.organisations.is_empty() {
        let _ = write!(text, " ({})", refused.organisations.join(", "));
    }
    for (index, reason) in &refused.reasons {
        let _ = write!(
            text,
            "; approval {index} does not count ({}): {reason}",
            reason.code()
        );
    }
    text
}
