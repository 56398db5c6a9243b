//! The certificate of a key: who its members are, checkable from the 32 bytes of Y alone.
//!
//! A client knows Y, and perhaps members of long ago. So t of the members sign, under Y itself, the *statement* of what the
//! key is now:
//!
//! ```text
//! statement = CBOR map: epoch, result (the hash that all members confirmed, 64 bytes), attempt, members in index order
//!             (name, identity, public share, recovery key), version, threshold, public key, policy hash
//! signature = FROST(ristretto255, SHA-512) over H("cryptonode/v1/key-certificate", statement), R(32) ‖ z(32)
//! certificate = CBOR map: signature, statement (as a byte string)
//! ```
//!
//! Addresses are not in it: a node moves without a ceremony, and wherever a client finds it, its identity is what TLS
//! proves. Two certificates of one key and epoch say the same but may be signed by different members. Of two epochs the
//! higher counts, and of two attempts that both made an epoch the higher one ([`ResultName`]); each is verified under the same Y, so
//! a client that missed any number of reshares needs only the newest. What a certificate cannot show is that there is no
//! newer one.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::group::Point;
use crate::public_key_package::PublicKeyPackage;
use crate::schnorr::verify_signature_vartime;
use crate::{hash, tags};

const VERSION: u16 = 1;
/// The longest certificate, in bytes: 1,024 members with the longest names stay under it.
pub const MAX_KEY_CERTIFICATE: usize = 512 << 10;
const MAX_MEMBERS: usize = 1_024;
const MAX_NAME: usize = 64;

/// Names one result of a key: the sharing that one attempt of a ceremony made. Of two results of one key the greater
/// counts, compared by epoch, then attempt, then hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultName {
    /// 0 at the key's creation, one more with each reshare.
    pub epoch: u64,
    /// The number of the attempt that made it.
    pub attempt: u32,
    /// The hash that all its members confirmed.
    #[serde(with = "serde_bytes")]
    pub hash: [u8; 64],
}

impl ResultName {
    /// Epoch and attempt, as requests name a result: two results of one key that share them are of two ceremonies whose
    /// old members had nobody in common.
    #[must_use]
    pub fn version(&self) -> (u64, u32) {
        (self.epoch, self.attempt)
    }
}

impl fmt::Display for ResultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}, attempt {}", self.epoch, self.attempt)
    }
}

impl fmt::Debug for ResultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A member as the certificate of a key states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifiedMember {
    /// What people call it, 1 to 64 bytes, without control characters.
    pub name: String,
    /// Its Ed25519 public key, 32 bytes: what TLS proves.
    #[serde(with = "serde_bytes")]
    pub identity: [u8; 32],
    /// Y_i, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub public_share: [u8; 32],
    /// R, to which its shares are sealed, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub recovery_public: [u8; 32],
}

/// What the members sign. Whoever makes one has verified the ceremony that it comes from; read from a certificate, it is
/// behind [`KeyCertificate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatement {
    /// Epoch, attempt and hash of the result.
    pub result: ResultName,
    /// The members in index order: the first has index 1.
    pub members: Vec<CertifiedMember>,
    /// t.
    pub threshold: u16,
    /// Y, 32 bytes.
    pub public_key: [u8; 32],
    /// SHA-256 of the approval policy's canonical encoding.
    pub policy_hash: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    epoch: u64,
    #[serde(with = "serde_bytes")]
    result: [u8; 64],
    attempt: u32,
    members: Vec<CertifiedMember>,
    version: u16,
    threshold: u16,
    #[serde(with = "serde_bytes")]
    public_key: [u8; 32],
    #[serde(with = "serde_bytes")]
    policy_hash: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    #[serde(with = "serde_bytes")]
    signature: [u8; 64],
    statement: ByteBuf,
}

impl KeyStatement {
    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(&Statement {
            epoch: self.result.epoch,
            result: self.result.hash,
            attempt: self.result.attempt,
            members: self.members.clone(),
            version: VERSION,
            threshold: self.threshold,
            public_key: self.public_key,
            policy_hash: self.policy_hash,
        })
    }

    /// What is signed under Y: the hash of the statement's bytes.
    #[must_use]
    pub fn message(statement: &[u8]) -> [u8; 64] {
        hash(tags::KEY_CERTIFICATE, &[statement])
    }

    /// The certificate's bytes: the statement's, with a signature of R ‖ z over [`Self::message`].
    #[must_use]
    pub fn with_signature(statement: &[u8], signature: [u8; 64]) -> Vec<u8> {
        encode(&Signed {
            signature,
            statement: ByteBuf::from(statement),
        })
    }
}

/// A certificate of a key that has been verified under its Y.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCertificate {
    statement: KeyStatement,
    package: PublicKeyPackage,
    bytes: Vec<u8>,
}

/// Why a certificate of a key is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyCertificateError {
    /// Longer than a certificate may be.
    #[error(
        "the certificate of the key has {length} bytes, and at most {MAX_KEY_CERTIFICATE} are allowed"
    )]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// No certificate.
    #[error("the certificate of the key cannot be read: {0}")]
    Malformed(String),
    /// Readable, but not in its one encoding.
    #[error("the certificate of the key is not in its one encoding")]
    NotCanonical,
    /// Of another version.
    #[error("the certificate of the key is of version {0}, which this version does not read")]
    Version(u16),
    /// Of another key.
    #[error("the certificate is one of another key, {}", hexadecimal(found))]
    OtherKey {
        /// Its Y.
        found: [u8; 32],
    },
    /// The members' keys are not points on one polynomial under Y, or too many or too few.
    #[error("the keys in the certificate do not belong together: {reason}")]
    Inconsistent {
        /// What does not hold.
        reason: String,
    },
    /// A name that cannot be shown.
    #[error(
        "member {member} of the certificate has a name that is empty, too long or cannot be shown"
    )]
    Name {
        /// The member's index.
        member: u16,
    },
    /// Two members with one identity.
    #[error("member {member} of the certificate has the identity of one before it")]
    Twice {
        /// The second one's index.
        member: u16,
    },
    /// Not signed under Y.
    #[error(
        "the certificate is not signed by the holders of the key: nothing that it says can be believed"
    )]
    Signature,
}

impl KeyCertificateError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "key-certificate-too-long",
            Self::Malformed(_) => "key-certificate-malformed",
            Self::NotCanonical => "key-certificate-not-canonical",
            Self::Version(_) => "key-certificate-version",
            Self::OtherKey { .. } => "key-certificate-other-key",
            Self::Inconsistent { .. } => "key-certificate-inconsistent",
            Self::Name { .. } => "key-certificate-name",
            Self::Twice { .. } => "key-certificate-member-twice",
            Self::Signature => "key-certificate-signature",
        }
    }
}

impl KeyCertificate {
    /// Verifies a certificate of the key named by the 32 bytes Y, of which nothing else need be known.
    ///
    /// # Errors
    /// [`KeyCertificateError`] for the first thing that is wrong.
    pub fn verify(bytes: &[u8], public_key: &[u8; 32]) -> Result<Self, KeyCertificateError> {
        let signed: Signed = decode(bytes)?;
        let statement: Statement = decode(&signed.statement)?;
        if statement.version != VERSION {
            return Err(KeyCertificateError::Version(statement.version));
        }
        if statement.public_key != *public_key {
            return Err(KeyCertificateError::OtherKey {
                found: statement.public_key,
            });
        }
        let inconsistent = |reason: String| KeyCertificateError::Inconsistent { reason };
        let key = Point::from_bytes(public_key).map_err(|error| inconsistent(error.to_string()))?;
        // Before anything that it says is looked at more closely.
        let message = KeyStatement::message(&signed.statement);
        if !verify_signature_vartime(&key, &message, &signed.signature) {
            return Err(KeyCertificateError::Signature);
        }
        if statement.members.len() > MAX_MEMBERS {
            return Err(inconsistent(format!("{} members", statement.members.len())));
        }
        let mut identities = std::collections::HashSet::new();
        for (index, member) in (1..).zip(&statement.members) {
            let name = &member.name;
            if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
                return Err(KeyCertificateError::Name { member: index });
            }
            if !identities.insert(member.identity) {
                return Err(KeyCertificateError::Twice { member: index });
            }
        }
        let shares = statement
            .members
            .iter()
            .map(|member| Point::from_bytes(&member.public_share))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| inconsistent(error.to_string()))?;
        let package = PublicKeyPackage::new(key, statement.epoch, statement.threshold, shares)
            .map_err(|error| inconsistent(error.to_string()))?;
        Ok(Self {
            statement: KeyStatement {
                result: ResultName {
                    epoch: statement.epoch,
                    attempt: statement.attempt,
                    hash: statement.result,
                },
                members: statement.members,
                threshold: statement.threshold,
                public_key: statement.public_key,
                policy_hash: statement.policy_hash,
            },
            package,
            bytes: bytes.to_vec(),
        })
    }

    /// Verifies a certificate under the Y that it names itself. Whoever relies on it compares that with the Y that it means.
    ///
    /// # Errors
    /// [`KeyCertificateError`] for the first thing that is wrong.
    pub fn verify_any(bytes: &[u8]) -> Result<Self, KeyCertificateError> {
        let signed: Signed = decode(bytes)?;
        let statement: Statement = decode(&signed.statement)?;
        Self::verify(bytes, &statement.public_key)
    }

    /// All that the members signed.
    #[must_use]
    pub fn statement(&self) -> &KeyStatement {
        &self.statement
    }

    /// Y, epoch, threshold, and every member's public share.
    #[must_use]
    pub fn package(&self) -> &PublicKeyPackage {
        &self.package
    }

    /// The members in index order: the first has index 1.
    #[must_use]
    pub fn members(&self) -> &[CertifiedMember] {
        &self.statement.members
    }

    /// SHA-256 of the approval policy of the key.
    #[must_use]
    pub fn policy_hash(&self) -> &[u8; 32] {
        &self.statement.policy_hash
    }

    /// The result that it is about.
    #[must_use]
    pub fn result(&self) -> &ResultName {
        &self.statement.result
    }

    /// The name of the result that it is about.
    #[must_use]
    pub fn name(&self) -> ResultName {
        self.statement.result
    }

    /// Epoch and attempt: of two certificates of one key, the greater pair counts.
    #[must_use]
    pub fn version(&self) -> (u64, u32) {
        self.statement.result.version()
    }

    /// The hash that all members confirmed in the ceremony, 64 bytes.
    #[must_use]
    pub fn result_hash(&self) -> &[u8; 64] {
        &self.statement.result.hash
    }

    /// The canonical bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The canonical CBOR of a value (RFC 8949, section 4.2.1): fields are declared in the order of their encoded keys.
fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    #[allow(
        clippy::expect_used,
        reason = "writing into memory cannot fail, and the types here have no maps or floats"
    )]
    ciborium::into_writer(value, &mut bytes).expect("CBOR into memory");
    bytes
}

fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, KeyCertificateError> {
    let length = bytes.len();
    if length > MAX_KEY_CERTIFICATE {
        return Err(KeyCertificateError::TooLong { length });
    }
    // It nests four deep.
    let value: T = ciborium::de::from_reader_with_recursion_limit(bytes, 16).map_err(|error| {
        let reason = error.to_string();
        KeyCertificateError::Malformed(reason.chars().take(200).collect())
    })?;
    if encode(&value) != bytes {
        return Err(KeyCertificateError::NotCanonical);
    }
    Ok(value)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
