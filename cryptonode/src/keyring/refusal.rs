//! Why a node gives no share of a key: with a stable code, and a sentence that says where to go.

use crate::wire::v1::ResultVersion;

/// Why a node gives no share of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// It never had one.
    #[error("this node holds no share of the key {public_key}")]
    Unknown {
        /// Y in hexadecimal.
        public_key: String,
    },
    /// The share that was asked for is erased.
    #[error(
        "the key was reshared: this node has {newest}, and what it had of {asked} is erased; ask for the key's certificate and turn to the members that it names"
    )]
    Superseded {
        /// The result that was asked for.
        asked: ResultVersion,
        /// The one that the node has.
        newest: ResultVersion,
    },
    /// A result that the node does not have.
    #[error("this node has no share of {asked}: the newest that it has is {newest}")]
    EpochUnknown {
        /// The result that was asked for.
        asked: ResultVersion,
        /// The one that the node has.
        newest: ResultVersion,
    },
    /// It was away when the key was reshared.
    #[error(
        "this node missed the ceremony that made {successor} of this key, and does not serve until a reshare brings it back; ask for the key's certificate and turn to the members that it names"
    )]
    Missed {
        /// The newest result.
        successor: ResultVersion,
    },
    /// It handed its place on.
    #[error(
        "this node is no member of this key any more, since {successor}; ask for the key's certificate and turn to the members that it names"
    )]
    Retired {
        /// The newest result.
        successor: ResultVersion,
    },
}

impl KeyRefusal {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown-key",
            Self::Superseded { .. } => "epoch-superseded",
            Self::EpochUnknown { .. } => "epoch-unknown",
            Self::Missed { .. } => "epoch-missed",
            Self::Retired { .. } => "key-retired",
        }
    }
}
