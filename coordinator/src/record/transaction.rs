//! The vocabulary of the record: everything that anybody may ask it to do.
//!
//! A transaction is data only. Who may do what is in [`super::apply`], how it is signed in [`super::signed`], and its bytes
//! in `docs/protocol/golden-record.md`.

mod documents;
mod pki;

pub use documents::{Body, Erase, KeyWrapping, Link, Read, Reencryption, Rewrap, Write};
pub use pki::{
    Certification, ClientCertify, MAX_AUTHORITIES, MAX_CHAIN, MAX_REVOCATION_LIST,
    RevocationsPublish, TenantAuthorities, UserCertify,
};

use super::canonical::{self, DecodeError};
use super::identifier::{Identifier, UserName};
use super::signed::MAX_TRANSACTION;
use serde::{Deserialize, Serialize};

/// Bytes of the longest stored body on the record: 2 KiB of plaintext, and 64 bytes for the envelope around it.
pub const MAX_LEDGER_BODY: usize = 2048 + 64;
/// Bytes of the longest encrypted pointer to a body off the ledger.
pub const MAX_POINTER: usize = 512;
/// Bytes of the longest wrapped body key with its metadata.
pub const MAX_WRAPPED_DEK1: usize = 4352;
/// Bytes of the longest document key wrapped by a platform's master key.
pub const MAX_PLATFORM_KEY: usize = 512;
/// Bytes of the longest wrapped key under a cluster key (protocol section 3).
pub const MAX_WRAPPED_KEY: usize = reencrypt::MAX_WRAPPED_KEY;
/// Bytes of an ephemeral key (protocol section 4).
pub const EPHEMERAL_KEY_LENGTH: usize = 160;
/// Bytes of the longest SubjectPublicKeyInfo of a client, DER.
pub const MAX_CLIENT_SPKI: usize = 600;
/// Bytes of the longest content type.
pub const MAX_CONTENT_TYPE: usize = 128;
/// Users in one role of one dataset.
pub const MAX_ROLE_USERS: usize = 256;
/// Certificates of one organisation's approval CA.
pub const MAX_ISSUERS: usize = 4;

/// One thing asked of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transaction {
    /// An organisation's consent to a change of the organisations. The change happens with the last consent needed.
    OrganisationEndorse(OrganisationEndorse),
    /// An organisation takes back its consent to a change that has not happened yet.
    OrganisationWithdraw(OrganisationWithdraw),
    /// An organisation registers a tenant and its first administrator.
    TenantRegister(TenantRegister),
    /// A user is registered.
    UserRegister(UserRegister),
    /// A user exchanges its own key.
    UserRotateKey(UserRotateKey),
    /// A user may sign nothing until it is resumed.
    UserSuspend(UserName),
    /// A suspended user may sign again.
    UserResume(UserName),
    /// From when on a user may sign nothing any more.
    UserExpire(UserExpire),
    /// The authorities of a tenant's own public-key infrastructure.
    TenantAuthorities(TenantAuthorities),
    /// A user is bound to a certificate of its company's, or to none any more.
    UserCertify(UserCertify),
    /// A client, by whose TLS key users read, is bound to a certificate of its company's, or to none any more.
    ClientCertify(ClientCertify),
    /// A revocation list of a company's authority.
    RevocationsPublish(RevocationsPublish),
    /// A dataset is created; its author becomes its owner.
    DatasetCreate(DatasetCreate),
    /// A dataset's configuration for later writes.
    DatasetConfigure(DatasetConfigure),
    /// The users of one role of a dataset, as a whole.
    PermissionSet(PermissionSet),
    /// One more user in a role of a dataset.
    PermissionAdd(PermissionEntry),
    /// One user less in a role of a dataset.
    PermissionRemove(PermissionEntry),
    /// A user asks for a role in a dataset.
    AccessRequest(AccessRequest),
    /// An owner grants what was asked.
    AccessGrant(AccessDecision),
    /// An owner declines what was asked.
    AccessDecline(AccessDecision),
    /// A document, or a new version of it.
    Write(Write),
    /// A link between versions of documents, or a new version of it.
    Link(Link),
    /// A read of one version.
    Read(Read),
    /// A document, or one version of it, is erased.
    Erase(Erase),
    /// The document key of one version is wrapped anew, under the cluster key that the dataset has now.
    Rewrap(Rewrap),
}

impl Transaction {
    /// Decodes the canonical encoding, at most [`MAX_TRANSACTION`] bytes.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        canonical::from_bytes(bytes, MAX_TRANSACTION)
    }

    /// The canonical encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self)
    }

    /// A stable name of the kind, as in the encoding.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OrganisationEndorse(_) => "organisation-endorse",
            Self::OrganisationWithdraw(_) => "organisation-withdraw",
            Self::TenantRegister(_) => "tenant-register",
            Self::UserRegister(_) => "user-register",
            Self::UserRotateKey(_) => "user-rotate-key",
            Self::UserSuspend(_) => "user-suspend",
            Self::UserResume(_) => "user-resume",
            Self::UserExpire(_) => "user-expire",
            Self::TenantAuthorities(_) => "tenant-authorities",
            Self::UserCertify(_) => "user-certify",
            Self::ClientCertify(_) => "client-certify",
            Self::RevocationsPublish(_) => "revocations-publish",
            Self::DatasetCreate(_) => "dataset-create",
            Self::DatasetConfigure(_) => "dataset-configure",
            Self::PermissionSet(_) => "permission-set",
            Self::PermissionAdd(_) => "permission-add",
            Self::PermissionRemove(_) => "permission-remove",
            Self::AccessRequest(_) => "access-request",
            Self::AccessGrant(_) => "access-grant",
            Self::AccessDecline(_) => "access-decline",
            Self::Write(_) => "write",
            Self::Link(_) => "link",
            Self::Read(_) => "read",
            Self::Erase(_) => "erase",
            Self::Rewrap(_) => "rewrap",
        }
    }
}

/// An organisation and its peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organisation {
    /// Its name, unique on the record also in lower case, at most 64 characters: as an approval policy asks.
    pub name: Identifier,
    /// Ed25519 key that signs what the organisation itself does: tenants, consents.
    #[serde(with = "serde_bytes")]
    pub operator_key: [u8; 32],
    /// Ed25519 key by which its peer signs heads.
    #[serde(with = "serde_bytes")]
    pub head_key: [u8; 32],
    /// Certificates of its peer's approval CA, DER, 1 to [`MAX_ISSUERS`].
    pub issuers: Vec<serde_bytes::ByteBuf>,
}

/// A change of the organisations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrganisationChange {
    /// A new organisation takes part.
    Admit(Organisation),
    /// An organisation leaves. Its tenants and their users may sign nothing any more; what they wrote stays.
    Remove(Identifier),
    /// An organisation gets new keys.
    Rekey(Organisation),
}

impl OrganisationChange {
    /// The organisation that it is about.
    #[must_use]
    pub fn organisation(&self) -> &Identifier {
        match self {
            Self::Admit(it) | Self::Rekey(it) => &it.name,
            Self::Remove(name) => name,
        }
    }

    /// The canonical encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self)
    }

    /// Decodes the canonical encoding, at most [`MAX_TRANSACTION`] bytes.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        canonical::from_bytes(bytes, MAX_TRANSACTION)
    }

    /// What a withdrawal names the change by: SHA-256 over its canonical encoding under a tag of its own.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        super::hash::tagged(super::hash::CHANGE, self)
    }
}

/// See [`Transaction::OrganisationEndorse`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganisationEndorse {
    /// The whole change, so that everybody consents to the same.
    pub change: OrganisationChange,
}

/// See [`Transaction::OrganisationWithdraw`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganisationWithdraw {
    /// [`OrganisationChange::id`].
    #[serde(with = "serde_bytes")]
    pub change: [u8; 32],
}

/// See [`Transaction::TenantRegister`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRegister {
    /// The tenant's name, unique on the record.
    pub tenant: Identifier,
    /// Its first administrator.
    pub administrator: Identifier,
    /// The administrator's Ed25519 key.
    #[serde(with = "serde_bytes")]
    pub public_key: [u8; 32],
}

/// What a user may do in its tenant, apart from datasets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserRole {
    /// Registers, suspends, resumes and expires users of the tenant. Gives no access to any dataset.
    Administrator,
    /// Creates datasets and uses those it has permission for.
    Member,
}

/// See [`Transaction::UserRegister`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRegister {
    /// The tenant.
    pub tenant: Identifier,
    /// The user's name, unique in the tenant for ever.
    pub user: Identifier,
    /// The user's Ed25519 key.
    #[serde(with = "serde_bytes")]
    pub public_key: [u8; 32],
    /// What it may do in the tenant.
    pub role: UserRole,
    /// Milliseconds since the Unix epoch from which on it may sign nothing; never, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Whether a platform keeps the key and signs for the user.
    #[serde(default, skip_serializing_if = "is_false")]
    pub managed: bool,
}

/// What is left out of an encoding.
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

/// See [`Transaction::UserRotateKey`]. The user is the author, who signs with the old key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRotateKey {
    /// The new Ed25519 key.
    #[serde(with = "serde_bytes")]
    pub public_key: [u8; 32],
    /// The new key's signature over [`super::signed::rotation_statement`]: whoever mistypes a key is not locked out.
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 64],
    /// Whether a platform keeps the new key: so a user gives its key into a platform's hands, or takes it out of them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub managed: bool,
}

/// See [`Transaction::UserExpire`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserExpire {
    /// The tenant.
    pub tenant: Identifier,
    /// The user.
    pub user: Identifier,
    /// Milliseconds since the Unix epoch, a time already past to expire at once; never, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

/// How the document keys of a dataset are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// Nothing is encrypted.
    None,
    /// Under the platform's master key.
    Platform,
    /// Under a cluster's key: no one party can open what is written.
    Threshold {
        /// `Y`, a canonical ristretto255 point.
        #[serde(with = "serde_bytes")]
        public_key: [u8; 32],
    },
}

/// Where the bodies of a dataset are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// In the transaction, at most [`MAX_LEDGER_BODY`] bytes.
    Ledger,
    /// Anywhere else, under an encrypted pointer.
    OffChain,
}

/// See [`Transaction::DatasetCreate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetCreate {
    /// The author's own tenant.
    pub tenant: Identifier,
    /// The dataset's name, unique in the tenant for ever.
    pub dataset: Identifier,
    /// How document keys are wrapped.
    pub encryption: Encryption,
    /// Where bodies are stored.
    pub storage: Storage,
}

/// See [`Transaction::DatasetConfigure`]. What is already written stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetConfigure {
    /// The tenant.
    pub tenant: Identifier,
    /// The dataset.
    pub dataset: Identifier,
    /// The configuration's version, the present one plus 1.
    pub version: u64,
    /// How document keys are wrapped from now on.
    pub encryption: Encryption,
    /// Where bodies are stored from now on.
    pub storage: Storage,
}

/// What a user may do with a dataset. An owner may do what writers and readers may; a writer may not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Manages permissions and configuration, erases, writes, reads.
    Owner,
    /// Writes documents and links.
    Writer,
    /// Reads.
    Reader,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Owner, Self::Writer, Self::Reader];

    /// Its name in the API, in sentences and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Writer => "writer",
            Self::Reader => "reader",
        }
    }
}

/// See [`Transaction::PermissionSet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionSet {
    /// The tenant.
    pub tenant: Identifier,
    /// The dataset.
    pub dataset: Identifier,
    /// The permissions' version, the present one plus 1: nobody overwrites a change that it has not seen.
    pub version: u64,
    /// The role.
    pub role: Role,
    /// All its users, ascending, each once; at most [`MAX_ROLE_USERS`], for owners at least one.
    pub users: Vec<UserName>,
}

/// See [`Transaction::PermissionAdd`] and [`Transaction::PermissionRemove`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionEntry {
    /// The tenant.
    pub tenant: Identifier,
    /// The dataset.
    pub dataset: Identifier,
    /// The role.
    pub role: Role,
    /// The user, of any tenant.
    pub user: UserName,
}

/// See [`Transaction::AccessRequest`]. The author asks for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRequest {
    /// The tenant.
    pub tenant: Identifier,
    /// The dataset.
    pub dataset: Identifier,
    /// The role asked for.
    pub role: Role,
}

/// See [`Transaction::AccessGrant`] and [`Transaction::AccessDecline`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessDecision {
    /// The tenant.
    pub tenant: Identifier,
    /// The dataset.
    pub dataset: Identifier,
    /// The role asked for.
    pub role: Role,
    /// Who asked.
    pub user: UserName,
    /// Id of the transaction that asked, so that the decision is of this request and of no later one.
    #[serde(with = "serde_bytes")]
    pub request: [u8; 32],
}
