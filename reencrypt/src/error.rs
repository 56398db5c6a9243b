//! What can be wrong with what others send, one variant per reason, with the values that show it.
//!
//! `code()` gives the stable name of a reason, for the wire and for logs. No error carries a secret.

use thiserror::Error;

/// Why 32 bytes are not an acceptable point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PointError {
    /// Not 32 bytes.
    #[error("a point is 32 bytes long, not {got}")]
    Length {
        /// How many bytes there were.
        got: usize,
    },
    /// Not the canonical encoding of an element of ristretto255 (RFC 9496 §4.3.1).
    #[error("not the canonical encoding of a ristretto255 element")]
    NotCanonical,
    /// The identity, which is refused wherever it comes from somebody else.
    #[error("the identity is not an acceptable point")]
    Identity,
}

impl PointError {
    /// The stable name of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            PointError::Length { .. } => "point-length",
            PointError::NotCanonical => "point-not-canonical",
            PointError::Identity => "point-identity",
        }
    }
}

/// Why 32 bytes are not an acceptable scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ScalarError {
    /// ℓ or more: the same scalar has a smaller encoding.
    #[error("the scalar is not reduced modulo the group order")]
    NotReduced,
    /// Zero, where a secret was expected.
    #[error("zero is not an acceptable secret scalar")]
    Zero,
}

impl ScalarError {
    /// The stable name of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ScalarError::NotReduced => "scalar-not-reduced",
            ScalarError::Zero => "scalar-zero",
        }
    }
}

/// What is wrong with an equality proof (section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProofError {
    /// Not 96 bytes.
    #[error("an equality proof is 96 bytes long, not {got}")]
    Length {
        /// How many bytes there were.
        got: usize,
    },
    /// `W1` is not an acceptable point.
    #[error("first commitment of the equality proof: {0}")]
    FirstCommitment(#[source] PointError),
    /// `W2` is not an acceptable point.
    #[error("second commitment of the equality proof: {0}")]
    SecondCommitment(#[source] PointError),
    /// `f` is not an acceptable scalar.
    #[error("response of the equality proof: {0}")]
    Response(#[source] ScalarError),
    /// It is a proof, but not of this statement.
    #[error("the equality proof does not hold")]
    False,
}

/// What is wrong with a wrapped key (section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WrappedKeyError {
    /// The first byte is not 1.
    #[error("wrapped key of version {got}, only version 1 is known")]
    Version {
        /// The first byte.
        got: u8,
    },
    /// It ends too early.
    #[error("the wrapped key needs {needed} bytes and has {got}")]
    Truncated {
        /// The least number of bytes that would do.
        needed: usize,
        /// How many bytes there were.
        got: usize,
    },
    /// It goes on after its end.
    #[error("{extra} bytes follow the end of the wrapped key")]
    Trailing {
        /// How many bytes there were too many.
        extra: usize,
    },
    /// The label says to be longer than 1,024 bytes.
    #[error("a label has at most 1024 bytes, not {got}")]
    LabelTooLong {
        /// The length that the encoding gives.
        got: usize,
    },
    /// The body says to be shorter than 64 or longer than 1,072 bytes.
    #[error("the body of a wrapped key has 64 to 1072 bytes, not {got}")]
    BodyLength {
        /// The length that the encoding gives.
        got: usize,
    },
    /// `Y` is not an acceptable point.
    #[error("public key of the wrapped key: {0}")]
    PublicKey(#[source] PointError),
    /// `U` is not an acceptable point.
    #[error("point U of the wrapped key: {0}")]
    U(#[source] PointError),
    /// `Ū` is not an acceptable point.
    #[error("shadow of U of the wrapped key: {0}")]
    ShadowU(#[source] PointError),
    /// It is encrypted under another key than the one that was expected.
    #[error("the wrapped key is encrypted under another public key")]
    OtherKey,
    /// Its proof is malformed, or does not hold: it was altered, or its writer does not know what it encrypts.
    #[error("wrapped key: {0}")]
    Proof(#[source] ProofError),
}

impl WrappedKeyError {
    /// The stable name of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            WrappedKeyError::Version { .. } => "wrapped-key-version",
            WrappedKeyError::Truncated { .. } => "wrapped-key-truncated",
            WrappedKeyError::Trailing { .. } => "wrapped-key-trailing",
            WrappedKeyError::LabelTooLong { .. } => "wrapped-key-label",
            WrappedKeyError::BodyLength { .. } => "wrapped-key-body",
            WrappedKeyError::PublicKey(_) => "wrapped-key-public-key",
            WrappedKeyError::U(_) => "wrapped-key-point",
            WrappedKeyError::ShadowU(_) => "wrapped-key-shadow",
            WrappedKeyError::OtherKey => "wrapped-key-other-key",
            WrappedKeyError::Proof(ProofError::False) => "wrapped-key-proof",
            WrappedKeyError::Proof(_) => "wrapped-key-proof-encoding",
        }
    }
}

/// Why something cannot be wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WrapError {
    /// The label is longer than 1,024 bytes.
    #[error("a label has at most 1024 bytes, not {got}")]
    LabelTooLong {
        /// Its length.
        got: usize,
    },
    /// The secret is shorter than 16 or longer than 1,024 bytes.
    #[error("a secret to be wrapped has 16 to 1024 bytes, not {got}")]
    SecretLength {
        /// Its length.
        got: usize,
    },
}

impl WrapError {
    /// The stable name of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            WrapError::LabelTooLong { .. } => "wrap-label",
            WrapError::SecretLength { .. } => "wrap-secret-length",
        }
    }
}

/// What is wrong with an ephemeral key (section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EphemeralKeyError {
    /// Not 160 bytes.
    #[error("an ephemeral key is 160 bytes long, not {got}")]
    Length {
        /// How many bytes there were.
        got: usize,
    },
    /// `X` is not an acceptable point.
    #[error("point X of the ephemeral key: {0}")]
    X(#[source] PointError),
    /// `X̄` is not an acceptable point.
    #[error("shadow of X of the ephemeral key: {0}")]
    ShadowX(#[source] PointError),
    /// Its proof is malformed, or does not hold: it was made for another wrapped key, or nobody knows its secret.
    #[error("ephemeral key: {0}")]
    Proof(#[source] ProofError),
}

impl EphemeralKeyError {
    /// The stable name of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            EphemeralKeyError::Length { .. } => "ephemeral-key-length",
            EphemeralKeyError::X(_) => "ephemeral-key-point",
            EphemeralKeyError::ShadowX(_) => "ephemeral-key-shadow",
            EphemeralKeyError::Proof(ProofError::False) => "ephemeral-key-proof",
            EphemeralKeyError::Proof(_) => "ephemeral-key-proof-encoding",
        }
    }
}

/// Why a wrapped key and an ephemeral key do not make a request (section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The wrapped key is refused.
    #[error(transparent)]
    WrappedKey(#[from] WrappedKeyError),
    /// The ephemeral key is refused.
    #[error(transparent)]
    EphemeralKey(#[from] EphemeralKeyError),
    /// The wrapped key is encrypted under another cluster key than the share's or the package's.
    #[error("the wrapped key is encrypted under another cluster key")]
    OtherKey,
    /// The ephemeral key was made for another wrapped key.
    #[error("the ephemeral key was made for another wrapped key")]
    OtherWrite,
    /// `U + X` is the identity.
    #[error("the wrapped key's point and the ephemeral key's add up to the identity")]
    IdentityBase,
}

impl RequestError {
    /// The stable name of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            RequestError::WrappedKey(error) => error.code(),
            RequestError::EphemeralKey(error) => error.code(),
            RequestError::OtherKey => "request-other-key",
            RequestError::OtherWrite => "request-other-write",
            RequestError::IdentityBase => "request-identity-base",
        }
    }
}

/// Why a node's share of the cluster key is not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyShareError {
    /// The index is 0, where the key itself would be.
    #[error("a share's index is 1 or more")]
    IndexZero,
    /// It is a share of another key than the package's.
    #[error("the share belongs to another cluster key")]
    OtherKey,
    /// It is a share of another epoch.
    #[error("the share is of epoch {share}, the key package of epoch {package}")]
    OtherEpoch {
        /// The share's.
        share: u64,
        /// The package's.
        package: u64,
    },
    /// The package has no member with this index.
    #[error("index {index} is not among the {members} members of the key package")]
    NotAMember {
        /// The share's index.
        index: u16,
        /// The package's number of members.
        members: u16,
    },
    /// `x_i·G` is not the public share `Y_i`.
    #[error("the share does not belong to the public share of index {index}")]
    OtherPublicShare {
        /// The share's index.
        index: u16,
    },
}

impl KeyShareError {
    /// The stable name of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            KeyShareError::IndexZero => "key-share-index-zero",
            KeyShareError::OtherKey => "key-share-other-key",
            KeyShareError::OtherEpoch { .. } => "key-share-other-epoch",
            KeyShareError::NotAMember { .. } => "key-share-not-a-member",
            KeyShareError::OtherPublicShare { .. } => "key-share-other-public-share",
        }
    }
}

/// What is wrong with a node's share of a re-encryption (sections 5 and 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ShareError {
    /// Not 138 bytes.
    #[error("a share is 138 bytes long, not {got}")]
    Length {
        /// How many bytes there were.
        got: usize,
    },
    /// The index is 0, where the key itself would be.
    #[error("a share's index is 1 or more")]
    IndexZero,
    /// `D_i` is not an acceptable point.
    #[error("point D of the share: {0}")]
    D(#[source] PointError),
    /// The cluster has no member with this index.
    #[error("index {index} is not among the {members} members")]
    NotAMember {
        /// The share's index.
        index: u16,
        /// The number of members.
        members: u16,
    },
    /// The node answered under another member's index.
    #[error("the share claims index {got}, its sender is {expected}")]
    OtherIndex {
        /// The sender's index.
        expected: u16,
        /// The index in the share.
        got: u16,
    },
    /// The node answered from another epoch: after a reshare an honest node does so too.
    #[error("the share is of epoch {got}, epoch {expected} was expected")]
    OtherEpoch {
        /// The epoch of the key package.
        expected: u64,
        /// The epoch in the share.
        got: u64,
    },
    /// Its proof is malformed, or does not hold: the node computed something else.
    #[error("share: {0}")]
    Proof(#[source] ProofError),
    /// What the share is held against does not fit together: not the node's doing.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl ShareError {
    /// The stable name of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ShareError::Length { .. } => "share-length",
            ShareError::IndexZero => "share-index-zero",
            ShareError::D(_) => "share-point",
            ShareError::NotAMember { .. } => "share-not-a-member",
            ShareError::OtherIndex { .. } => "share-other-index",
            ShareError::OtherEpoch { .. } => "share-other-epoch",
            ShareError::Proof(ProofError::False) => "share-proof",
            ShareError::Proof(_) => "share-proof-encoding",
            ShareError::Request(error) => error.code(),
        }
    }

    /// Whether an honest node never answers so. `false` for another epoch, which a reshare explains, and for a request
    /// that the collector put together wrongly.
    #[must_use]
    pub fn is_misbehaviour(&self) -> bool {
        !matches!(self, ShareError::OtherEpoch { .. } | ShareError::Request(_))
    }
}

/// What is wrong with a public key package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PublicKeyPackageError {
    /// More public shares than indices.
    #[error("a cluster has at most 65535 members, not {got}")]
    TooManyMembers {
        /// How many public shares there were.
        got: usize,
    },
    /// Not 1 ≤ t ≤ n.
    #[error("a threshold of {threshold} among {members} members is impossible")]
    Threshold {
        /// t.
        threshold: u16,
        /// n.
        members: u16,
    },
    /// The public shares and the public key do not lie on one polynomial of degree t − 1.
    #[error("the public shares are not a sharing of the public key with threshold {threshold}")]
    NotASharing {
        /// t.
        threshold: u16,
    },
}

impl PublicKeyPackageError {
    /// The stable name of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            PublicKeyPackageError::TooManyMembers { .. } => "package-too-many-members",
            PublicKeyPackageError::Threshold { .. } => "package-threshold",
            PublicKeyPackageError::NotASharing { .. } => "package-not-a-sharing",
        }
    }
}

/// Why there are no Lagrange coefficients for some indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InterpolationError {
    /// The index 0, where the secret itself is.
    #[error("an index is 1 or more")]
    IndexZero,
    /// One index twice.
    #[error("index {0} occurs more than once")]
    Duplicate(u16),
}

impl InterpolationError {
    /// The stable name of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            InterpolationError::IndexZero => "interpolation-index-zero",
            InterpolationError::Duplicate(_) => "interpolation-duplicate-index",
        }
    }
}
