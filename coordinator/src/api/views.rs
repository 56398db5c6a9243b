//! What the API shows, as JSON: rows of the record with their bytes in hexadecimal. The client reads the same types.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::auth::KeyRecord;
use super::page::part;
use crate::client::profile::ApiKey;
use crate::platform::{PreparedTransaction, PreparedWrite};
use crate::record::{
    BoundCertificate, ClientName, Dataset, DatasetName, Document, DocumentName, DocumentVersion,
    Encryption, Hash, Holder, Identifier, KeyWrapping, Permissions, Receipt, State, Storage, User,
    UserName, UserRole, VersionName,
};

/// How this platform and its record are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "tenant": "acme", "software": "0.1.0", "ledger": "9f1c…64 hexadecimal digits",
    "client": "72c5…64 hexadecimal digits", "peers": [{ "organisation": "alder", "height": 812 }],
    "clusters": [{ "public_key": "e2f1…64 hexadecimal digits", "epoch": 0, "threshold": 3, "nodes": ["n1", "n2", "n3", "n4", "n5"] }]
}))]
pub struct StatusView {
    /// The tenant of the API key.
    pub tenant: String,
    /// Version of the software.
    pub software: String,
    /// The ledger's id, for which transactions are signed; hexadecimal.
    pub ledger: String,
    /// The client by which this platform asks the crypto nodes: SHA-256 of the SubjectPublicKeyInfo of its TLS key, hexadecimal.
    #[serde(default)]
    pub client: String,
    /// The organisations' peers.
    pub peers: Vec<PeerView>,
    /// The clusters that datasets may use.
    pub clusters: Vec<ClusterView>,
}

/// An organisation's peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "organisation": "alder", "height": 812 }))]
pub struct PeerView {
    /// The organisation.
    pub organisation: Identifier,
    /// The last block that it has made durable.
    pub height: u64,
    /// Why it takes no part any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// A cluster of crypto nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "public_key": "e2f1…64 hexadecimal digits", "epoch": 0, "threshold": 3, "nodes": ["n1", "n2", "n3", "n4", "n5"]
}))]
pub struct ClusterView {
    /// Its public key, hexadecimal.
    pub public_key: String,
    /// The key's epoch.
    pub epoch: u64,
    /// How many nodes open a document together.
    pub threshold: u16,
    /// The nodes' names.
    pub nodes: Vec<String>,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "transaction_id": "5a0b…64 hexadecimal digits", "height": 813, "time_ms": 1_795_000_000_000_u64, "position": 2049
}))]
pub struct ReceiptView {
    /// Its id, hexadecimal.
    pub transaction_id: String,
    /// The block that it is in.
    pub height: u64,
    /// Time of that block, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Its position in the record, from 0.
    pub position: u64,
}

impl From<Receipt> for ReceiptView {
    fn from(receipt: Receipt) -> Self {
        let Receipt {
            height,
            time_ms,
            position,
            transaction_id,
            ..
        } = receipt;
        Self {
            transaction_id: hex::encode(transaction_id),
            height,
            time_ms,
            position,
        }
    }
}

/// A transaction to check, sign and commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "019a0000-0000-7000-8000-000000000001", "transaction": "a566617574686f72…"
}))]
pub struct PreparedView {
    /// Names what it belongs to at this platform: an upload, a read, a rewrap.
    pub id: Uuid,
    /// The canonical bytes of the unsigned transaction, hexadecimal.
    #[serde(with = "hex")]
    #[schema(value_type = String)]
    pub transaction: Vec<u8>,
}

impl From<PreparedTransaction> for PreparedView {
    fn from(PreparedTransaction { id, transaction }: PreparedTransaction) -> Self {
        Self {
            id,
            transaction: transaction.to_bytes(),
        }
    }
}

impl From<PreparedWrite> for PreparedView {
    fn from(prepared: PreparedWrite) -> Self {
        PreparedTransaction::from(prepared).into()
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "user": "alice", "role": "member", "public_key": "3d40…64 hexadecimal digits", "key_version": 1, "managed": false, "suspended": false
}))]
pub struct UserView {
    /// Its name.
    pub user: Identifier,
    /// Its role in the tenant.
    pub role: UserRole,
    /// Its Ed25519 key, hexadecimal.
    pub public_key: String,
    /// 1 for the first key, one more with each rotation.
    pub key_version: u64,
    /// Whether a platform keeps its key and signs for it.
    #[serde(default)]
    pub managed: bool,
    /// Whether it is suspended.
    pub suspended: bool,
    /// Milliseconds since the Unix epoch from which on it may sign nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// The certificate of its company that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateView>,
    /// Whether it may sign nothing while it is bound to none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub must_be_bound: bool,
}

/// The certificate that a user or a client is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "fingerprint": "c3d0…64 hexadecimal digits", "not_after_s": 1_826_000_000_u64 }))]
pub struct CertificateView {
    /// SHA-256 of it, hexadecimal.
    pub fingerprint: String,
    /// The last second in which it and all above it are valid, since the Unix epoch.
    pub not_after_s: u64,
    /// Why it does not stand now, if it does not: a stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl CertificateView {
    fn of(state: &State, holder: &Holder, bound: &BoundCertificate, now_ms: u64) -> Self {
        let stands = state.certificate_stands(holder, bound, now_ms);
        Self {
            fingerprint: hex::encode(bound.fingerprint),
            not_after_s: bound.not_after_s(),
            fault: stands.err().map(|fault| fault.code().to_owned()),
        }
    }
}

/// The clients by which the tenant's users read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "bound_clients": true,
    "items": [{ "client": "72c5…64 hexadecimal digits", "certificate": { "fingerprint": "c3d0…64 hexadecimal digits", "not_after_s": 1_826_000_000_u64 } }]
}))]
pub struct ClientsView {
    /// Whether reads of the tenant's users go to the clients in this list alone.
    pub bound_clients: bool,
    /// Those that are bound to a certificate, a part of them.
    pub items: Vec<ClientView>,
    /// What to give as `after` for the next part; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A client that is bound to a certificate of the tenant's company.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "client": "72c5…64 hexadecimal digits", "certificate": { "fingerprint": "c3d0…64 hexadecimal digits", "not_after_s": 1_826_000_000_u64 } }))]
pub struct ClientView {
    /// SHA-256 of the SubjectPublicKeyInfo of its TLS key, hexadecimal.
    pub client: String,
    /// Its certificate.
    pub certificate: CertificateView,
}

impl ClientsView {
    /// The next `limit` of them behind `after`.
    pub(super) fn of(
        state: &State,
        tenant: &Identifier,
        after: Option<&Hash>,
        limit: usize,
        now_ms: u64,
    ) -> Self {
        let view = |(name, bound): (&ClientName, &BoundCertificate)| ClientView {
            client: hex::encode(name.client),
            certificate: CertificateView::of(state, &Holder::Client(name.clone()), bound, now_ms),
        };
        let authorities = state.authorities(tenant);
        let clients = state.clients(tenant, after).map(view);
        let Page { items, next } = part(clients, limit, |view| view.client.clone());
        Self {
            bound_clients: authorities.is_some_and(|it| it.bound_clients),
            items,
            next,
        }
    }
}

/// An authority that the tenant has registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "key": "81aa…64 hexadecimal digits", "certificate": "3082…hexadecimal", "not_after_s": 1_900_000_000_u64,
    "revocations": { "this_update_s": 1_795_000_000_u64, "next_update_s": 1_795_600_000_u64, "revoked": 2 }
}))]
pub struct AuthorityView {
    /// SHA-256 of its SubjectPublicKeyInfo, hexadecimal.
    pub key: String,
    /// Its certificate, DER, hexadecimal.
    pub certificate: String,
    /// The last second in which it is valid, since the Unix epoch.
    pub not_after_s: u64,
    /// Its newest revocation list on the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations: Option<RevocationsView>,
}

/// A revocation list on the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "this_update_s": 1_795_000_000_u64, "next_update_s": 1_795_600_000_u64, "revoked": 2 }))]
pub struct RevocationsView {
    /// When it was issued, seconds since the Unix epoch.
    pub this_update_s: u64,
    /// When the next one was promised, seconds since the Unix epoch.
    pub next_update_s: u64,
    /// How many certificates it revokes.
    pub revoked: usize,
}

impl AuthorityView {
    pub(super) fn all(state: &State, tenant: &Identifier) -> Vec<Self> {
        let registered = state.authorities(tenant).into_iter();
        registered
            .flat_map(|row| &row.authorities)
            .map(|authority| Self {
                key: hex::encode(authority.key),
                certificate: hex::encode(&authority.certificate),
                not_after_s: authority.not_after_s,
                revocations: state.revocations(tenant, &authority.key).map(|list| {
                    RevocationsView {
                        this_update_s: list.this_update_s,
                        next_update_s: list.next_update_s,
                        revoked: list.revoked.len(),
                    }
                }),
            })
            .collect()
    }
}

impl UserView {
    pub(super) fn of(state: &State, name: &UserName, user: &User, now_ms: u64) -> Self {
        let holder = Holder::User(name.clone());
        let certificate = user.certificate.as_ref();
        Self {
            certificate: certificate.map(|it| CertificateView::of(state, &holder, it, now_ms)),
            must_be_bound: user.must_be_bound,
            user: name.user.clone(),
            role: user.role,
            public_key: hex::encode(user.public_key),
            key_version: user.key_version,
            managed: user.managed,
            suspended: user.suspended,
            expires_ms: user.expires_ms,
        }
    }
}

/// A dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "dataset": "designs", "version": 1, "encryption": "threshold", "cluster": "e2f1…64 hexadecimal digits", "storage": "off-chain",
    "permissions": { "version": 2, "owners": ["acme/alice"], "writers": [], "readers": ["umbra/bob"] }
}))]
pub struct DatasetView {
    /// Its name.
    pub dataset: Identifier,
    /// Version of its configuration.
    pub version: u64,
    /// `none`, `platform` or `threshold`.
    pub encryption: String,
    /// With threshold encryption, the cluster's public key, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Where bodies are stored.
    pub storage: Storage,
    /// Who may do what.
    pub permissions: PermissionsView,
}

impl DatasetView {
    pub(super) fn of(
        name: &DatasetName,
        dataset: &Dataset,
        permissions: Option<&Permissions>,
    ) -> Self {
        let (encryption, cluster) = match dataset.encryption {
            Encryption::None => ("none", None),
            Encryption::Platform => ("platform", None),
            Encryption::Threshold { public_key } => ("threshold", Some(hex::encode(public_key))),
        };
        Self {
            dataset: name.dataset.clone(),
            version: dataset.version,
            encryption: encryption.to_owned(),
            cluster,
            storage: dataset.storage,
            permissions: permissions.map(PermissionsView::of).unwrap_or_default(),
        }
    }
}

/// Who may do what with a dataset; users are `tenant/user`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "version": 2, "owners": ["acme/alice"], "writers": [], "readers": ["umbra/bob"]
}))]
pub struct PermissionsView {
    /// One more with each change.
    pub version: u64,
    /// Who may do everything.
    pub owners: Vec<String>,
    /// Who may write.
    pub writers: Vec<String>,
    /// Who may read.
    pub readers: Vec<String>,
}

impl PermissionsView {
    pub(super) fn of(permissions: &Permissions) -> Self {
        let names = |users: &std::collections::BTreeSet<UserName>| {
            users.iter().map(ToString::to_string).collect()
        };
        Self {
            version: permissions.version,
            owners: names(&permissions.owners),
            writers: names(&permissions.writers),
            readers: names(&permissions.readers),
        }
    }
}

/// A document in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "document": "bridge", "latest": 3, "erased": false, "length": 1_048_576, "changed_ms": 1_795_000_000_000_u64
}))]
pub struct DocumentView {
    /// Its name.
    pub document: Identifier,
    /// Its latest version.
    pub latest: u64,
    /// Whether it is erased as a whole.
    pub erased: bool,
    /// Bytes of the latest version.
    pub length: u64,
    /// Time of the latest change, milliseconds since the Unix epoch.
    pub changed_ms: u64,
}

impl DocumentView {
    pub(super) fn of(
        name: &DocumentName,
        document: &Document,
        latest: Option<&DocumentVersion>,
    ) -> Self {
        Self {
            document: name.document.clone(),
            latest: document.latest,
            erased: document.erased,
            length: latest.map_or(0, |version| version.length),
            changed_ms: document.changed_ms,
        }
    }
}

/// One version of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "version": 3, "writer": "acme/alice", "written_ms": 1_795_000_000_000_u64, "transaction_id": "5a0b…64 hexadecimal digits",
    "content_type": "application/pdf", "length": 1_048_576, "checksum": "77e0…64 hexadecimal digits", "encryption": "threshold"
}))]
pub struct VersionView {
    /// Its number, from 1.
    pub version: u64,
    /// Who wrote it, `tenant/user`.
    pub writer: String,
    /// Time of its block, milliseconds since the Unix epoch.
    pub written_ms: u64,
    /// The transaction that wrote it, hexadecimal.
    pub transaction_id: String,
    /// Media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Bytes of plaintext.
    pub length: u64,
    /// SHA-256 over the stored body, hexadecimal.
    pub checksum: String,
    /// `none`, `platform`, `threshold`, or `erased`.
    pub encryption: String,
}

impl VersionView {
    pub(super) fn of(name: &VersionName, version: &DocumentVersion) -> Self {
        let encryption = match version.content.as_ref().map(|content| &content.key) {
            None => "erased",
            Some(KeyWrapping::None) => "none",
            Some(KeyWrapping::Platform { .. }) => "platform",
            Some(KeyWrapping::Threshold { .. }) => "threshold",
        };
        Self {
            version: name.version,
            writer: version.writer.to_string(),
            written_ms: version.written_ms,
            transaction_id: hex::encode(version.transaction),
            content_type: version.content_type.clone(),
            length: version.length,
            checksum: hex::encode(version.checksum),
            encryption: encryption.to_owned(),
        }
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to give as `after` for the next part; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A key that was just made.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct IssuedKeyView {
    /// What is known of it.
    #[serde(flatten)]
    pub record: KeyRecord,
    /// The key, shown this once.
    #[schema(value_type = String)]
    pub api_key: ApiKey,
}
