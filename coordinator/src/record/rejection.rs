//! Why the record refuses a transaction: one variant a reason, each with a stable code and a sentence.

use super::{
    identifier::{DatasetName, DocumentName, Identifier, LinkName, UserName, VersionName},
    state::Holder,
    transaction::Role,
};

/// Why a transaction was refused. A refused transaction changes nothing and is not on the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    // Every transaction.
    /// Made for another ledger.
    #[error("the transaction is for ledger {found}, this one is {expected}; make it for this ledger and sign again", found = hex::encode(found), expected = hex::encode(expected))]
    WrongLedger {
        /// The ledger in the transaction.
        found: [u8; 32],
        /// This ledger.
        expected: [u8; 32],
    },
    /// Too late.
    #[error(
        "the transaction expired at {expires_ms} ms, the record's time is {time_ms} ms; sign a new one (and set the clock, if it was made just now)"
    )]
    Expired {
        /// When it expired.
        expires_ms: u64,
        /// Time of the block.
        time_ms: u64,
    },
    /// Expires too far in the future, so that its id would have to be remembered for too long.
    #[error(
        "the transaction would be valid until {expires_ms} ms, more than {limit_ms} ms after the record's time; sign one that expires earlier"
    )]
    ExpiresTooLate {
        /// When it would expire.
        expires_ms: u64,
        /// How far ahead is allowed.
        limit_ms: u64,
    },
    /// Already on the record.
    #[error(
        "transaction {} is already on the record; it was done, do not send it again",
        hex::encode(id)
    )]
    Replayed {
        /// Its id.
        id: [u8; 32],
    },
    /// The author's key did not make the signature.
    #[error(
        "the signature is not that of {author}'s present key: sign the transaction's bytes as they are, with the key that the record has for it"
    )]
    Signature {
        /// The author as named in the transaction.
        author: String,
    },
    /// This kind of transaction is not for this kind of author.
    #[error("a transaction `{kind}` must be signed by {needed}")]
    WrongAuthor {
        /// The kind of transaction.
        kind: &'static str,
        /// Who may sign it.
        needed: &'static str,
    },
    /// A field is larger than the record takes.
    #[error("{what} has {found} bytes or entries, the limit is {limit}: make it shorter")]
    TooLarge {
        /// The field.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The size allowed.
        limit: usize,
    },
    /// Not an Ed25519 key, or one of small order.
    #[error("{what} is not a usable Ed25519 public key; generate a new key pair")]
    PublicKey {
        /// Whose key.
        what: &'static str,
    },

    // Organisations.
    /// No such organisation.
    #[error("there is no organisation {0} on the record")]
    UnknownOrganisation(Identifier),
    /// The name is taken.
    #[error("there already is an organisation {0}")]
    OrganisationExists(Identifier),
    /// The change would make the organisations unusable.
    #[error("the change of the organisations is not possible: {reason}")]
    OrganisationChange {
        /// Why.
        reason: String,
    },
    /// Endorsed before.
    #[error("{0} has already endorsed this change")]
    AlreadyEndorsed(Identifier),
    /// Nothing to take back.
    #[error("{0} has not endorsed such a change")]
    NotEndorsed(Identifier),
    /// Too many undecided changes of one organisation.
    #[error("{organisation} has endorsed {limit} changes that are not decided; withdraw one first")]
    TooManyEndorsements {
        /// The organisation.
        organisation: Identifier,
        /// How many are allowed.
        limit: usize,
    },

    // Tenants and users.
    /// No such tenant.
    #[error("there is no tenant {0}; an organisation registers it first")]
    UnknownTenant(Identifier),
    /// The name is taken.
    #[error("there already is a tenant {0}; choose another name")]
    TenantExists(Identifier),
    /// The tenant's organisation has left, so nobody answers for the tenant.
    #[error(
        "tenant {tenant} belongs to organisation {organisation}, which is no longer on the record"
    )]
    OrphanedTenant {
        /// The tenant.
        tenant: Identifier,
        /// Its organisation.
        organisation: Identifier,
    },
    /// No such user.
    #[error("there is no user {0}; an administrator of the tenant registers it first")]
    UnknownUser(UserName),
    /// The name is taken, perhaps by a user who has expired.
    #[error("there already is a user {0}; names are never used twice")]
    UserExists(UserName),
    /// Suspended.
    #[error("user {0} is suspended; an administrator of the tenant can resume it")]
    UserSuspended(UserName),
    /// To be resumed, but not suspended.
    #[error("user {0} is not suspended")]
    UserNotSuspended(UserName),
    /// Expired.
    #[error(
        "user {user} expired at {expires_ms} ms; an administrator of the tenant can set a later time"
    )]
    UserExpired {
        /// The user.
        user: UserName,
        /// When.
        expires_ms: u64,
    },
    /// A signature in the name of another keeper of the key.
    #[error(
        "the key of {user} is {}: the transaction must name its author so",
        if *managed { "kept by a platform (`managed`)" } else { "the user's own (`user`)" }
    )]
    Custody {
        /// The user.
        user: UserName,
        /// Whether a platform keeps its key.
        managed: bool,
    },
    /// Not one who manages the tenant's users.
    #[error(
        "{author} does not manage the users of tenant {tenant}: its administrators do, and the organisation that registered it"
    )]
    NotAdministrator {
        /// The author.
        author: String,
        /// The tenant.
        tenant: Identifier,
    },
    /// Administrators do not lock themselves out.
    #[error("{0} cannot suspend or expire itself; another administrator can")]
    OwnAccount(UserName),
    /// The new key did not sign that it takes over.
    #[error("the new key did not sign its rotation; sign the rotation statement with the new key")]
    RotationProof,
    /// The new key is the old one.
    #[error("the new key is the present one")]
    KeyUnchanged,

    // Companies' certificates.
    /// The tenant stands by no authority.
    #[error("tenant {0} has registered no authority of its own; register one first")]
    UnknownAuthorities(Identifier),
    /// A list of authorities that is not ascending, or has one twice.
    #[error("the authorities must be given in ascending order of their bytes, each once")]
    AuthoritiesNotSorted,
    /// A chain that leads to no registered authority, or cannot be used.
    #[error("the certificates cannot be used: {reason}")]
    CertificateChain {
        /// Why.
        reason: String,
    },
    /// The certificate's key did not sign that it stands for the user or the client.
    #[error(
        "the certificate's key did not sign for this user or client; sign the binding statement with its present key in it"
    )]
    CertificateProof,
    /// A renewal in another name.
    #[error(
        "{0} cannot bind itself to a certificate in another name than the present one's; an administrator of the tenant can"
    )]
    CertificateSubject(UserName),
    /// To be unbound, but not bound.
    #[error("{0} is bound to no certificate")]
    CertificateUnbound(Holder),
    /// One that must be bound, and is not.
    #[error(
        "{0} must be bound to a certificate of its company, and is bound to none; an administrator of the tenant can bind it"
    )]
    CertificateMissing(Holder),
    /// The certificate, or one above it, is revoked.
    #[error(
        "the certificate of {0} is revoked; an administrator of the tenant can bind it to another one"
    )]
    CertificateRevoked(Holder),
    /// The certificate, or one above it, has expired.
    #[error(
        "the certificate of {holder}, or one above it, expired at {not_after_s} s; an administrator of the tenant can bind it to another one"
    )]
    CertificateExpired {
        /// Whose.
        holder: Holder,
        /// Its last second, since the Unix epoch.
        not_after_s: u64,
    },
    /// The authority above the certificate is not the tenant's any more.
    #[error(
        "the certificate of {0} is under no authority that the tenant stands by any more; an administrator of the tenant can bind it to another one"
    )]
    CertificateUnanchored(Holder),
    /// What would lead out of the company's PKI.
    #[error(
        "{what} is not for tenant {tenant}'s administrators, who are to stay under its company's authorities: the operator of organisation {organisation}, which answers for the tenant, does it"
    )]
    OrganisationDecides {
        /// What was tried.
        what: &'static str,
        /// The tenant.
        tenant: Identifier,
        /// The organisation that answers for it.
        organisation: Identifier,
    },
    /// A revocation list that is not taken.
    #[error("the revocation list is not taken: {reason}")]
    RevocationList {
        /// Why.
        reason: String,
    },

    // Datasets and permissions.
    /// No such dataset.
    #[error("there is no dataset {0}; check the name, and see which there are")]
    UnknownDataset(DatasetName),
    /// The name is taken.
    #[error("there already is a dataset {0}; choose another name")]
    DatasetExists(DatasetName),
    /// Not the author's tenant.
    #[error("{user} is not of tenant {tenant}, and only its own users create datasets in it")]
    OtherTenant {
        /// The author.
        user: UserName,
        /// The tenant.
        tenant: Identifier,
    },
    /// The dataset's cluster key is no point of the group.
    #[error("the cluster key of the dataset is not valid: {reason}")]
    ClusterKey {
        /// Why.
        reason: String,
    },
    /// Not the version that comes next.
    #[error(
        "{what} has version {current}; the next is {expected}, the transaction says {found}: look at the present one and sign again"
    )]
    Version {
        /// Of what.
        what: &'static str,
        /// The present version.
        current: u64,
        /// The one that comes next.
        expected: u64,
        /// The one in the transaction.
        found: u64,
    },
    /// The permission is missing.
    #[error("{user} may not act as {} of {dataset}; an owner of the dataset can grant it", role.name())]
    NotPermitted {
        /// The author.
        user: UserName,
        /// The role needed.
        role: Role,
        /// The dataset.
        dataset: DatasetName,
    },
    /// Nothing would change.
    #[error("the permissions of {dataset} would not change: {user} {} {}", if *.present { "already is" } else { "is not" }, role.name())]
    PermissionUnchanged {
        /// The dataset.
        dataset: DatasetName,
        /// The user.
        user: UserName,
        /// The role.
        role: Role,
        /// Whether the user has the role.
        present: bool,
    },
    /// A list of users that is not ascending, or has one twice.
    #[error("the users of a role must be given in ascending order, each once")]
    UsersNotSorted,
    /// There must be an owner.
    #[error("{0} would have no owner; name another owner first")]
    LastOwner(DatasetName),
    /// There is an undecided request already.
    #[error("{user} has already asked for this role in {dataset}; its owners have not decided yet")]
    AccessPending {
        /// Who asks.
        user: UserName,
        /// The dataset.
        dataset: DatasetName,
    },
    /// Nothing to decide.
    #[error(
        "there is no open request {} of {user} for {dataset}; see which there are, and what became of it",
        hex::encode(request)
    )]
    UnknownAccessRequest {
        /// Who should have asked.
        user: UserName,
        /// The dataset.
        dataset: DatasetName,
        /// The request that was to be decided.
        request: [u8; 32],
    },

    // Documents.
    /// No such document.
    #[error("there is no document {0}; check the name, and see which there are")]
    UnknownDocument(DocumentName),
    /// No such version.
    #[error("there is no version {0}; see which the document has")]
    UnknownVersion(VersionName),
    /// Erased.
    #[error("{0} is erased, and nothing brings it back")]
    Erased(String),
    /// A media type with other characters, or empty.
    #[error("a content type is printable ASCII without spaces at its ends")]
    ContentType,
    /// The keys of the write are not wrapped as the dataset says.
    #[error(
        "dataset {dataset} has encryption `{configured}`, the write has `{found}`; prepare it anew, or configure the dataset first"
    )]
    EncryptionMismatch {
        /// The dataset.
        dataset: DatasetName,
        /// What the dataset has.
        configured: &'static str,
        /// What the write has.
        found: &'static str,
    },
    /// The body of the write is not where the dataset says.
    #[error(
        "dataset {dataset} keeps its bodies `{configured}`, the write has its body `{found}`; prepare it anew"
    )]
    StorageMismatch {
        /// The dataset.
        dataset: DatasetName,
        /// What the dataset has.
        configured: &'static str,
        /// What the write has.
        found: &'static str,
    },
    /// A field is missing, or there where it should not be.
    #[error("{what} must {} in this write", if *.present { "be empty" } else { "not be empty" })]
    Presence {
        /// The field.
        what: &'static str,
        /// Whether it is there.
        present: bool,
    },
    /// The body in the transaction has another SHA-256.
    #[error("the checksum is not that of the body in the transaction")]
    Checksum,
    /// The body in the transaction has another length.
    #[error("the length {declared} is not that of the body in the transaction, {found}")]
    Length {
        /// The length in the transaction.
        declared: u64,
        /// The length found.
        found: u64,
    },

    // Wrapped keys (protocol sections 3 and 7).
    /// Not an encoding of section 3.
    #[error("the wrapped key is malformed: {reason}")]
    WrappedKey {
        /// Why.
        reason: String,
    },
    /// Under another cluster's key.
    #[error("the wrapped key is under cluster key {found}, the dataset's is {expected}", found = hex::encode(found), expected = hex::encode(expected))]
    WrappedKeyCluster {
        /// Y of the wrapped key.
        found: [u8; 32],
        /// Y of the dataset.
        expected: [u8; 32],
    },
    /// The label names another write.
    #[error(
        "the label of the wrapped key is not that of {version} by {writer}: the key was made for another write"
    )]
    WrappedKeyLabel {
        /// What is written.
        version: VersionName,
        /// Who writes.
        writer: UserName,
    },
    /// The equality proof is false.
    #[error("the proof of the wrapped key is false: it was altered, or made from somebody else's")]
    WrappedKeyProof,
    /// The same wrapped key is on the record already.
    #[error(
        "wrapped key {} is already on the record; wrap a fresh key for each write",
        hex::encode(write_id)
    )]
    WriteIdKnown {
        /// The wrapped key's `write_id`.
        write_id: [u8; 32],
    },

    /// The version has another wrapped key than the one to be replaced.
    #[error(
        "{version} has another wrapped key by now than {}: look at it again",
        hex::encode(found)
    )]
    KeyReplaced {
        /// The version.
        version: VersionName,
        /// The wrapped key in the transaction.
        found: [u8; 32],
    },

    // Reads (protocol sections 4 and 7).
    /// A read of a version under a cluster key says what it is re-encrypted to, and no other does.
    #[error("{version} {}", if *.needed { "is under a cluster key: the read must name an ephemeral key and a client" } else { "is not under a cluster key: the read must not name an ephemeral key" })]
    Reencryption {
        /// The version.
        version: VersionName,
        /// Whether it is under a cluster key.
        needed: bool,
    },
    /// The read names another wrapped key than the version has.
    #[error("write_id {} is not that of {version}", hex::encode(found))]
    WriteId {
        /// The version.
        version: VersionName,
        /// The `write_id` in the read.
        found: [u8; 32],
    },
    /// Not an encoding of section 4.
    #[error("the ephemeral key is malformed: {reason}")]
    EphemeralKey {
        /// Why.
        reason: String,
    },
    /// The equality proof is false.
    #[error("the proof of the ephemeral key is false: make one for this very version")]
    EphemeralKeyProof,
    /// X was used by another read.
    #[error(
        "ephemeral key {} was used before; make a fresh one for each read",
        hex::encode(point)
    )]
    EphemeralKeyUsed {
        /// X.
        point: [u8; 32],
    },
    /// Not a SubjectPublicKeyInfo.
    #[error("the client's key is not a SubjectPublicKeyInfo in DER")]
    ClientKey,

    // Links.
    /// No such link.
    #[error("there is no link {0}")]
    UnknownLink(LinkName),
    /// A link from a version to itself.
    #[error("a link leads from one version to another")]
    LinkToItself,
}

impl Rejection {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::WrongLedger { .. } => "wrong-ledger",
            Self::Expired { .. } => "expired",
            Self::ExpiresTooLate { .. } => "expires-too-late",
            Self::Replayed { .. } => "replayed",
            Self::Signature { .. } => "signature",
            Self::WrongAuthor { .. } => "wrong-author",
            Self::TooLarge { .. } => "too-large",
            Self::PublicKey { .. } => "public-key",
            Self::UnknownOrganisation(_) => "unknown-organisation",
            Self::OrganisationExists(_) => "organisation-exists",
            Self::OrganisationChange { .. } => "organisation-change",
            Self::AlreadyEndorsed(_) => "already-endorsed",
            Self::NotEndorsed(_) => "not-endorsed",
            Self::TooManyEndorsements { .. } => "too-many-endorsements",
            Self::UnknownTenant(_) => "unknown-tenant",
            Self::TenantExists(_) => "tenant-exists",
            Self::OrphanedTenant { .. } => "orphaned-tenant",
            Self::UnknownUser(_) => "unknown-user",
            Self::UserExists(_) => "user-exists",
            Self::UserSuspended(_) => "user-suspended",
            Self::UserNotSuspended(_) => "user-not-suspended",
            Self::UserExpired { .. } => "user-expired",
            Self::Custody { .. } => "key-custody",
            Self::NotAdministrator { .. } => "not-administrator",
            Self::OwnAccount(_) => "own-account",
            Self::RotationProof => "rotation-proof",
            Self::KeyUnchanged => "key-unchanged",
            Self::UnknownAuthorities(_) => "unknown-authorities",
            Self::AuthoritiesNotSorted => "authorities-not-sorted",
            Self::CertificateChain { .. } => "certificate-chain",
            Self::CertificateProof => "certificate-proof",
            Self::CertificateSubject(_) => "certificate-subject",
            Self::CertificateUnbound(_) => "certificate-unbound",
            Self::CertificateMissing(_) => "certificate-missing",
            Self::OrganisationDecides { .. } => "organisation-decides",
            Self::CertificateRevoked(_) => "certificate-revoked",
            Self::CertificateExpired { .. } => "certificate-expired",
            Self::CertificateUnanchored(_) => "certificate-unanchored",
            Self::RevocationList { .. } => "revocation-list",
            Self::UnknownDataset(_) => "unknown-dataset",
            Self::DatasetExists(_) => "dataset-exists",
            Self::OtherTenant { .. } => "other-tenant",
            Self::ClusterKey { .. } => "cluster-key",
            Self::Version { .. } => "version",
            Self::NotPermitted { .. } => "not-permitted",
            Self::PermissionUnchanged { .. } => "permission-unchanged",
            Self::UsersNotSorted => "users-not-sorted",
            Self::LastOwner(_) => "last-owner",
            Self::AccessPending { .. } => "access-pending",
            Self::UnknownAccessRequest { .. } => "unknown-access-request",
            Self::UnknownDocument(_) => "unknown-document",
            Self::UnknownVersion(_) => "unknown-version",
            Self::Erased(_) => "erased",
            Self::ContentType => "content-type",
            Self::EncryptionMismatch { .. } => "encryption-mismatch",
            Self::StorageMismatch { .. } => "storage-mismatch",
            Self::Presence { .. } => "presence",
            Self::Checksum => "checksum",
            Self::Length { .. } => "length",
            Self::WrappedKey { .. } => "wrapped-key",
            Self::WrappedKeyCluster { .. } => "wrapped-key-cluster",
            Self::WrappedKeyLabel { .. } => "wrapped-key-label",
            Self::WrappedKeyProof => "wrapped-key-proof",
            Self::WriteIdKnown { .. } => "write-id-known",
            Self::KeyReplaced { .. } => "key-replaced",
            Self::Reencryption { .. } => "reencryption",
            Self::WriteId { .. } => "write-id",
            Self::EphemeralKey { .. } => "ephemeral-key",
            Self::EphemeralKeyProof => "ephemeral-key-proof",
            Self::EphemeralKeyUsed { .. } => "ephemeral-key-used",
            Self::ClientKey => "client-key",
            Self::UnknownLink(_) => "unknown-link",
            Self::LinkToItself => "link-to-itself",
        }
    }
}
