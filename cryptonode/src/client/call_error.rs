//! Why a call had no answer, in words for the operator of the calling side.

use std::time::Duration;

use quinn::{ConnectionError, ReadError, ReadToEndError, TransportErrorCode};

use crate::wire::v1::{WireError, presentable};

/// TLS alert `access_denied`, which our own check of the pinned key raises (RFC 8446, 6.2).
const ACCESS_DENIED: u8 = 49;

/// Why a call had no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// No connection came about.
    #[error("it cannot be reached at {address}: {reason}")]
    Unreachable {
        /// `host:port`.
        address: String,
        /// What happened.
        reason: String,
    },
    /// Connected, and then not a single packet came.
    #[error("it sent nothing for {} ms, not even an acknowledgement", after.as_millis())]
    Silent {
        /// How long it was waited for.
        after: Duration,
    },
    /// Alive, but there was no answer in time.
    #[error("it did not answer within {} ms", after.as_millis())]
    TimedOut {
        /// How long it was waited for.
        after: Duration,
    },
    /// Another key than the pinned one is at that address.
    #[error(
        "the node at {address} holds another identity key than the one expected: check the address, or ask its operator"
    )]
    WrongIdentity {
        /// `host:port`.
        address: String,
    },
    /// The connection ended before the answer was complete.
    #[error("the connection ended before the answer: {reason}")]
    Lost {
        /// What happened.
        reason: String,
    },
    /// The node closed the connection on purpose.
    #[error("it closed the connection: {reason}")]
    Closed {
        /// The reason that it gave; untrusted text.
        reason: String,
    },
    /// The node's answer is longer than any answer to this request.
    #[error("its answer is longer than {limit} bytes")]
    AnswerTooLong {
        /// The bound in bytes.
        limit: usize,
    },
    /// What came is no answer of this protocol's version.
    #[error("its answer cannot be read: {0}")]
    Answer(WireError),
    /// An answer to another question.
    #[error("it answered with {found:?} to a request for {expected:?}")]
    OtherAnswer {
        /// The kind asked for.
        expected: &'static str,
        /// The kind that came.
        found: &'static str,
    },
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent: {0}")]
    Request(WireError),
    /// The caller's own identity cannot be used.
    #[error("{reason}")]
    Identity {
        /// Why.
        reason: String,
    },
    /// The program is stopping.
    #[error("the program is stopping")]
    Stopped,
}

impl CallError {
    /// A stable code for operators and scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "node-unreachable",
            Self::Silent { .. } => "node-silent",
            Self::TimedOut { .. } => "node-timeout",
            Self::WrongIdentity { .. } => "node-identity",
            Self::Lost { .. } => "connection-lost",
            Self::Closed { .. } => "connection-closed",
            Self::AnswerTooLong { .. } => "answer-too-long",
            Self::Answer(error) => error.code(),
            Self::OtherAnswer { .. } => "answer-kind",
            Self::Request(error) => error.code(),
            Self::Identity { .. } => "own-identity",
            Self::Stopped => "stopped",
        }
    }

    /// Whether the node was not there at all, as opposed to slow or wrong.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Silent { .. }
                | Self::Lost { .. }
                | Self::Closed { .. }
        )
    }

    pub(super) fn from_handshake(address: &str, error: &ConnectionError) -> Self {
        let address = address.to_owned();
        match error {
            // Raised here, by our own verifier; the same alert from the other side comes as ConnectionClosed.
            ConnectionError::TransportError(error)
                if error.code == TransportErrorCode::crypto(ACCESS_DENIED) =>
            {
                Self::WrongIdentity { address }
            }
            ConnectionError::ConnectionClosed(close)
                if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
            {
                Self::Unreachable {
                    address,
                    reason: "it takes no more connections now".to_owned(),
                }
            }
            other => Self::Unreachable {
                address,
                reason: presentable(&other.to_string(), 200),
            },
        }
    }

    pub(super) fn from_connection(error: ConnectionError) -> Self {
        let reason = presentable(&error.to_string(), 200);
        match error {
            ConnectionError::Reset | ConnectionError::TimedOut | ConnectionError::LocallyClosed => {
                Self::Lost { reason }
            }
            _ => Self::Closed { reason },
        }
    }

    pub(super) fn from_read(error: ReadToEndError, limit: usize) -> Self {
        match error {
            ReadToEndError::TooLong => Self::AnswerTooLong { limit },
            ReadToEndError::Read(ReadError::ConnectionLost(error)) => Self::from_connection(error),
            ReadToEndError::Read(error) => Self::Closed {
                reason: presentable(&error.to_string(), 200),
            },
        }
    }
}
