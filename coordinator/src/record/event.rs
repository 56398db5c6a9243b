//! What a transaction did.

use super::{
    identifier::{DatasetName, DocumentName, Identifier, LinkName, UserName, VersionName},
    state::AccessStatus,
    transaction::Role,
};
use serde::Serialize;

/// One effect of an accepted transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
#[allow(
    missing_docs,
    reason = "the fields are the names of what the variant speaks of"
)]
pub enum Event {
    /// A change of the organisations was endorsed; so many are still needed.
    ChangeEndorsed {
        organisation: Identifier,
        missing: usize,
    },
    /// An endorsement was taken back.
    ChangeWithdrawn { organisation: Identifier },
    /// An organisation takes part from the next block on.
    OrganisationAdmitted { organisation: Identifier },
    /// An organisation takes part no more.
    OrganisationRemoved { organisation: Identifier },
    /// An organisation has new keys.
    OrganisationRekeyed { organisation: Identifier },
    /// A tenant is registered.
    TenantRegistered { tenant: Identifier },
    /// A user is registered.
    UserRegistered { user: UserName },
    /// A user has a new key.
    UserKeyRotated { user: UserName, key_version: u64 },
    /// A user is suspended.
    UserSuspended { user: UserName },
    /// A user is resumed.
    UserResumed { user: UserName },
    /// A user's expiry is set.
    UserExpirySet {
        user: UserName,
        expires_ms: Option<u64>,
    },
    /// A tenant stands by so many authorities of its own.
    AuthoritiesRegistered { tenant: Identifier, count: usize },
    /// A user is bound to the certificate with this fingerprint, or to none.
    UserCertified {
        user: UserName,
        certificate: Option<String>,
    },
    /// The client with this key is bound to the certificate with this fingerprint, or to none.
    ClientCertified {
        tenant: Identifier,
        client: String,
        certificate: Option<String>,
    },
    /// A revocation list of this authority, with so many certificates, is on the record.
    RevocationsPublished {
        tenant: Identifier,
        authority: String,
        revoked: usize,
    },
    /// A dataset has a configuration.
    DatasetConfigured { dataset: DatasetName, version: u64 },
    /// A dataset has new permissions.
    PermissionsChanged { dataset: DatasetName, version: u64 },
    /// A request for access was made or decided.
    AccessChanged {
        dataset: DatasetName,
        user: UserName,
        role: Role,
        status: AccessStatus,
    },
    /// A version is on the record.
    Written { version: VersionName },
    /// A link is on the record.
    Linked { link: LinkName, version: u64 },
    /// A read is on the record: its peers may be asked for approvals.
    ReadRecorded {
        version: VersionName,
        approval_id: String,
    },
    /// A version's document key is wrapped anew, under this cluster key.
    Rewrapped {
        version: VersionName,
        public_key: String,
    },
    /// A document, or one version of it, is erased.
    Erased {
        document: DocumentName,
        version: Option<u64>,
    },
}
