//! The certificate of a key: who its members are, checkable from the 32 bytes of Y alone.
//!
//! The ceremony's certificate ([`crate::CertifiedKey`]) convinces whoever knows the members. A client knows only Y. So t of the
//! members sign, under Y itself ([`crate::frost`]), the *statement* of what the key is now:
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
//! higher counts, and of two attempts that both made an epoch the higher one; each is verified under the same Y, so a client that
//! missed any number of reshares needs only the newest. What a certificate cannot show is that there is no newer one.

use reencrypt::{Point, PublicKeyPackage};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::base::ResultName;
use crate::certificate::CertifiedKey;
use crate::proposal::{MAX_MEMBERS, MAX_NAME};
use crate::wire_v1::{self, MAX_CERTIFICATE, WireError};
use crate::{frost, tags};

const VERSION: u16 = 1;

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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// A certificate of a key that has been verified under its Y.
#[derive(Debug, Clone)]
pub struct KeyCertificate {
    statement: Statement,
    package: PublicKeyPackage,
    bytes: Vec<u8>,
}

/// Why a certificate of a key is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyCertificateError {
    /// Not a certificate in its one encoding.
    #[error("the certificate of the key cannot be read: {0}")]
    Encoding(#[from] WireError),
    /// Of another version.
    #[error("the certificate of the key is of version {0}, which this version does not read")]
    Version(u16),
    /// Of another key.
    #[error("the certificate is one of another key, {}", crate::hex::encode(found))]
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
    /// Not signed under Y.
    #[error(
        "the certificate is not signed by the holders of the key: nothing that it says can be believed"
    )]
    Signature,
}

impl KeyCertificateError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Encoding(error) => error.code(),
            Self::Version(_) => "key-certificate-version",
            Self::OtherKey { .. } => "key-certificate-other-key",
            Self::Inconsistent { .. } => "key-certificate-inconsistent",
            Self::Name { .. } => "key-certificate-name",
            Self::Signature => "key-certificate-signature",
        }
    }
}

/// What the members of a certified key sign: the bytes of the statement, and their hash.
pub(crate) struct ToSign {
    statement: Vec<u8>,
    pub(crate) message: [u8; 64],
}

impl ToSign {
    pub(crate) fn of(key: &CertifiedKey) -> Self {
        let members = key
            .members()
            .iter()
            .zip(key.package().public_shares())
            .map(|(member, share)| CertifiedMember {
                name: member.name.clone(),
                identity: member.identity,
                public_share: *share.as_bytes(),
                recovery_public: member.recovery_public,
            })
            .collect();
        let statement = wire_v1::encode(&Statement {
            epoch: key.epoch(),
            result: key.result_hash(),
            attempt: key.attempt(),
            members,
            version: VERSION,
            threshold: key.package().threshold(),
            public_key: *key.public_key().as_bytes(),
            policy_hash: *key.policy_hash(),
        });
        Self {
            message: message(&statement),
            statement,
        }
    }

    /// The certificate's bytes.
    pub(crate) fn with_signature(&self, signature: [u8; 64]) -> Vec<u8> {
        wire_v1::encode(&Signed {
            signature,
            statement: ByteBuf::from(self.statement.clone()),
        })
    }
}

fn message(statement: &[u8]) -> [u8; 64] {
    reencrypt::hash(tags::KEY_CERTIFICATE, &[statement])
}

/// By their bytes.
impl PartialEq for KeyCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for KeyCertificate {}

impl KeyCertificate {
    /// Verifies a certificate of the key named by the 32 bytes Y, of which nothing else need be known.
    ///
    /// # Errors
    /// [`KeyCertificateError`] for the first thing that is wrong.
    pub fn verify(bytes: &[u8], public_key: &[u8; 32]) -> Result<Self, KeyCertificateError> {
        let signed: Signed = wire_v1::decode(bytes, MAX_CERTIFICATE)?;
        let statement: Statement = wire_v1::decode(&signed.statement, MAX_CERTIFICATE)?;
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
        if !frost::verify_vartime(&key, &message(&signed.statement), &signed.signature) {
            return Err(KeyCertificateError::Signature);
        }
        if statement.members.len() > MAX_MEMBERS {
            return Err(inconsistent(format!("{} members", statement.members.len())));
        }
        for (index, member) in (1..).zip(&statement.members) {
            let name = &member.name;
            if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
                return Err(KeyCertificateError::Name { member: index });
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
            statement,
            package,
            bytes: bytes.to_vec(),
        })
    }

    /// Verifies a certificate under the Y that it names itself. Whoever relies on it compares that with the Y that it means.
    ///
    /// # Errors
    /// [`KeyCertificateError`] for the first thing that is wrong.
    pub fn verify_any(bytes: &[u8]) -> Result<Self, KeyCertificateError> {
        let signed: Signed = wire_v1::decode(bytes, MAX_CERTIFICATE)?;
        let statement: Statement = wire_v1::decode(&signed.statement, MAX_CERTIFICATE)?;
        Self::verify(bytes, &statement.public_key)
    }

    /// Whether it states exactly what this ceremony's certificate shows.
    pub(crate) fn is_of(&self, key: &CertifiedKey) -> bool {
        ToSign::of(key).statement == wire_v1::encode(&self.statement)
    }

    /// Y, epoch, threshold, and every member's public share.
    pub fn package(&self) -> &PublicKeyPackage {
        &self.package
    }

    /// The members in index order: the first has index 1.
    pub fn members(&self) -> &[CertifiedMember] {
        &self.statement.members
    }

    /// SHA-256 of the approval policy of the key.
    pub fn policy_hash(&self) -> &[u8; 32] {
        &self.statement.policy_hash
    }

    /// Epoch and attempt: of two certificates of one key, the greater pair counts.
    pub fn version(&self) -> (u64, u32) {
        (self.statement.epoch, self.statement.attempt)
    }

    /// The name of the result that it states.
    pub fn name(&self) -> ResultName {
        ResultName {
            epoch: self.statement.epoch,
            attempt: self.statement.attempt,
            hash: self.statement.result,
        }
    }

    /// The hash that all members confirmed in the ceremony, 64 bytes.
    pub fn result_hash(&self) -> &[u8; 64] {
        &self.statement.result
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}
