//! The rows that the record consists of, each as its organisations hash and sign it.

use super::{
    super::{
        identifier::{DatasetName, Identifier, UserName, VersionName},
        signed::TransactionId,
        transaction::{
            Body, Encryption, KeyWrapping, OrganisationChange, Reencryption, Role, Storage,
            UserRole, is_false,
        },
    },
    pki::BoundCertificate,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// The organisation that registered it and answers for it.
    pub organisation: Identifier,
    /// Time of its block, milliseconds since the Unix epoch.
    pub registered_ms: u64,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its present Ed25519 key.
    #[serde(with = "serde_bytes")]
    pub public_key: [u8; 32],
    /// 1 for the first key, one more with each rotation.
    pub key_version: u64,
    /// What it may do in its tenant.
    pub role: UserRole,
    /// Whether it is suspended now.
    pub suspended: bool,
    /// Milliseconds since the Unix epoch from which on it may sign nothing; never, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// The certificate of its company that it is bound to, if it is: when that does not stand any more, it may sign nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<BoundCertificate>,
    /// Whether it may sign nothing before it is bound to one: an administrator whom one that is bound has registered.
    #[serde(default, skip_serializing_if = "is_false")]
    pub must_be_bound: bool,
    /// Whether a platform keeps its present key: then it signs as [`Author::Managed`](super::signed::Author::Managed), and otherwise never.
    #[serde(default, skip_serializing_if = "is_false")]
    pub managed: bool,
    /// Time of its block, milliseconds since the Unix epoch.
    pub registered_ms: u64,
}

impl User {
    /// Whether it is bound to a certificate of its company, standing or not.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.certificate.is_some()
    }
}

/// A dataset's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// 1 when created, one more with each configuration.
    pub version: u64,
    /// How document keys are wrapped in writes.
    pub encryption: Encryption,
    /// Where bodies are stored in writes.
    pub storage: Storage,
    /// Who made this version.
    pub changed_by: UserName,
    /// Time of its block, milliseconds since the Unix epoch.
    pub changed_ms: u64,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The latest version, from 1.
    pub latest: u64,
    /// Whether the document is erased as a whole.
    pub erased: bool,
    /// Time of the latest change, milliseconds since the Unix epoch.
    pub changed_ms: u64,
}

/// One version of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentVersion {
    /// Who wrote it.
    pub writer: UserName,
    /// Time of its block, milliseconds since the Unix epoch.
    pub written_ms: u64,
    /// The transaction that wrote it.
    #[serde(with = "serde_bytes")]
    pub transaction: TransactionId,
    /// Media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Bytes of the plaintext.
    pub length: u64,
    /// SHA-256 over the stored body.
    #[serde(with = "serde_bytes")]
    pub checksum: [u8; 32],
    /// How to get at the content; absent when the version is erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

impl DocumentVersion {
    /// Whether the version is erased.
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.content.is_none()
    }
}

/// What a reader needs of a version, and what an erasure removes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// DEK1 and metadata wrapped under DEK2; empty where there is no encryption.
    #[serde(with = "serde_bytes")]
    pub wrapped_dek1: Vec<u8>,
    /// DEK2, wrapped.
    pub key: KeyWrapping,
    /// Where the stored body is.
    pub body: Body,
    /// For a version under a cluster key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<ThresholdKey>,
}

/// Which key of which cluster a version is under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThresholdKey {
    /// SHA-256 of the wrapped key (protocol section 3).
    #[serde(with = "serde_bytes")]
    pub write_id: [u8; 32],
    /// The cluster's key `Y`.
    #[serde(with = "serde_bytes")]
    pub public_key: [u8; 32],
}

/// A link between versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkVersion {
    /// 1 when created, one more with each update.
    pub version: u64,
    /// Where it starts.
    pub from: VersionName,
    /// Where it leads.
    pub to: VersionName,
    /// What it means.
    pub relation: Identifier,
    /// Who made this version.
    pub author: UserName,
    /// The transaction that made it.
    #[serde(with = "serde_bytes")]
    pub transaction: TransactionId,
    /// Time of its block, milliseconds since the Unix epoch.
    pub changed_ms: u64,
}

/// A read on the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedRead {
    /// Who reads.
    pub reader: UserName,
    /// Which of the reader's keys signed it: [`User::key_version`] at that time.
    pub key_version: u64,
    /// What is read.
    pub name: VersionName,
    /// Block that recorded it.
    pub height: u64,
    /// Time of that block, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// For a version under a cluster key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reencryption: Option<Reencryption>,
}

/// Which request for access: one user asks once at a time for one role in one dataset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccessKey {
    /// The dataset.
    pub dataset: DatasetName,
    /// Who asked.
    pub user: UserName,
    /// For which role.
    pub role: Role,
}

/// The latest request for access of one user to one role of one dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The transaction that asked.
    #[serde(with = "serde_bytes")]
    pub request: TransactionId,
    /// Time of its block, milliseconds since the Unix epoch.
    pub requested_ms: u64,
    /// What became of it.
    pub status: AccessStatus,
}

/// What became of a request for access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessStatus {
    /// Nobody has decided yet.
    Open,
    /// Granted by this owner.
    Granted(UserName),
    /// Declined by this owner.
    Declined(UserName),
}

/// A change of the organisations that some have endorsed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingChange {
    /// The change.
    pub change: OrganisationChange,
    /// Who has endorsed it.
    pub endorsed_by: BTreeSet<Identifier>,
}
