//! Why bytes are no message of version 1.

/// Why bytes are not a message, or a message has no encoding within the bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The whole message is longer than its kind allows.
    #[error("a message of more than {limit} bytes is not allowed here")]
    TooLong {
        /// The bound in bytes.
        limit: usize,
    },
    /// The bytes end before the message does.
    #[error("the message ends too early")]
    Truncated,
    /// Not CBOR.
    #[error("the message is not CBOR at byte {offset}")]
    NotCbor {
        /// Where decoding stopped.
        offset: usize,
    },
    /// CBOR, but no message of this version: another type, an unknown or missing field, a list too long.
    #[error("not a message of this version: {reason}")]
    Shape {
        /// The decoder's reason, shortened, without control characters.
        reason: String,
    },
    /// A message of this version in another than its one encoding, or with bytes after it.
    #[error("the message is not in its one encoding, or bytes follow it")]
    NotCanonical,
    /// A field is longer or shorter than it may be.
    #[error("field {field} has {length} bytes, and {bound} are allowed")]
    FieldLength {
        /// The field.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The bound in bytes.
        bound: usize,
    },
    /// A refusal's code or message has characters that are not allowed there.
    #[error("field {field} has characters that are not allowed")]
    FieldText {
        /// The field.
        field: &'static str,
    },
}

impl WireError {
    /// A stable code for peers and operators.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "message-too-long",
            Self::Truncated => "message-truncated",
            Self::NotCbor { .. } => "message-not-cbor",
            Self::Shape { .. } => "message-shape",
            Self::NotCanonical => "message-not-canonical",
            Self::FieldLength { .. } => "field-length",
            Self::FieldText { .. } => "field-text",
        }
    }
}
