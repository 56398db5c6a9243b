//! Why an envelope does not open.

/// A reason for which an envelope, or a part of one, is refused. None of them carries a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The body starts with something else than a header of this format.
    #[error(
        "the stored body does not start with a known header, so it was damaged or replaced: restore it from a backup"
    )]
    Header,
    /// A block's tag does not fit: it was altered, moved, or belongs to another body or another key.
    #[error(
        "block {index} of the stored body is not authentic: it was altered, moved or replaced; restore it from a backup"
    )]
    Block {
        /// Its index, from 0.
        index: u64,
    },
    /// The stored body has another size than a body of the recorded length.
    #[error(
        "the stored body has {found} bytes instead of {expected}: it was cut off or extended; restore it from a backup"
    )]
    Size {
        /// Bytes that a body of the recorded length takes.
        expected: u64,
        /// Bytes that were found, as far as it was read.
        found: u64,
    },
    /// SHA-256 over the stored body differs from what the record says.
    #[error(
        "the stored body's checksum is not the one on the record: it was damaged or replaced; restore it from a backup"
    )]
    Checksum,
    /// The wrapped body key does not open under this document key, name, length and checksum.
    #[error("the wrapped key does not belong to this version with this length and checksum")]
    WrappedBodyKey,
    /// The wrapped document key does not open under this version key and name.
    #[error("the wrapped document key does not belong to this version")]
    DocumentKey,
    /// The encrypted pointer does not open under this document key, name and checksum.
    #[error("the pointer to the body does not belong to this version")]
    Pointer,
    /// A body longer than the format can hold.
    #[error("the body is longer than the {MAX} bytes that one document can have", MAX = super::MAX_BODY)]
    TooLong,
    /// Metadata or a pointer longer than allowed.
    #[error("{what} has {found} bytes, {limit} are allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The system's cipher or its source of randomness failed.
    #[error("the cipher or the system's random generator failed")]
    Cipher,
}

impl EnvelopeError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Header => "envelope-header",
            Self::Block { .. } => "envelope-block",
            Self::Size { .. } => "envelope-size",
            Self::Checksum => "envelope-checksum",
            Self::WrappedBodyKey => "envelope-wrapped-key",
            Self::DocumentKey => "envelope-document-key",
            Self::Pointer => "envelope-pointer",
            Self::TooLong => "envelope-too-long",
            Self::TooLarge { .. } => "envelope-too-large",
            Self::Cipher => "envelope-cipher",
        }
    }
}
