//! What the record knows: the rows that the transactions made, and the hash over all of them.
//!
//! Only [`super::apply`] changes a state. Rows are public to every organisation that takes part.

mod pki;
mod rows;

pub use pki::{
    Authorities, BoundCertificate, CertificateLink, Holder, RegisteredAuthority, Revocations,
    RevocationsKey,
};
pub use rows::{
    Access, AccessKey, AccessStatus, Content, Dataset, Document, DocumentVersion, LinkVersion,
    PendingChange, RecordedRead, Tenant, ThresholdKey, User,
};

use super::{
    audit::DocumentProof,
    genesis::usable_key,
    identifier::{
        ClientName, DatasetName, DocumentName, Identifier, LinkName, UserName, VersionName,
    },
    permission::Permissions,
    root::{Hash, StateTree},
    signed::{LedgerId, TransactionId},
    table::Table,
    transaction::{Organisation, Role},
};
use certs::checkpoint::NoteKey;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::ops::Bound;

pub(super) const DOCUMENTS: &str = "documents";

/// Versions of one document: so many that one transaction which erases them all does not hold up the others.
pub const MAX_VERSIONS: usize = 65_536;

/// 32 bytes as a table's key, a CBOR byte string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key32(pub(super) [u8; 32]);

impl Serialize for Key32 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// Everything that the record knows after some block.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) ledger: LedgerId,
    pub(super) tree: StateTree,
    pub(super) organisations: Table<Identifier, Organisation>,
    pub(super) pending_changes: Table<Key32, PendingChange>,
    pub(super) tenants: Table<Identifier, Tenant>,
    pub(super) users: Table<UserName, User>,
    pub(super) authorities: Table<Identifier, Authorities>,
    pub(super) revocations: Table<RevocationsKey, Revocations>,
    pub(super) clients: Table<ClientName, BoundCertificate>,
    /// How many users and clients of a tenant are bound to certificates: told from the rows, and no row itself.
    pub(super) bound: BTreeMap<Identifier, usize>,
    pub(super) datasets: Table<DatasetName, Dataset>,
    pub(super) permissions: Table<DatasetName, Permissions>,
    pub(super) access: Table<AccessKey, Access>,
    pub(super) documents: Table<DocumentName, Document>,
    pub(super) versions: Table<VersionName, DocumentVersion>,
    pub(super) links: Table<LinkName, LinkVersion>,
    pub(super) reads: Table<Key32, RecordedRead>,
    /// Every `write_id` ever recorded, erased ones too, with the transaction that brought it.
    pub(super) write_ids: Table<Key32, Key32>,
    /// Every X ever used, with the read that used it.
    pub(super) ephemeral_points: Table<Key32, Key32>,
    /// Ids of the transactions that have not expired yet, by the time when they do.
    pub(super) unexpired: Table<(u64, Key32), ()>,
    /// Number, time and parent of the last block.
    pub(super) chain: Table<(), (u64, u64, Key32)>,
}

impl State {
    /// The state before anything, not even the organisations.
    pub(super) fn empty(ledger: LedgerId) -> Self {
        Self {
            ledger,
            tree: StateTree::default(),
            organisations: Table::new("organisations"),
            pending_changes: Table::new("pending-changes"),
            tenants: Table::new("tenants"),
            users: Table::new("users"),
            authorities: Table::new("authorities"),
            revocations: Table::new("revocations"),
            clients: Table::new("clients"),
            bound: BTreeMap::new(),
            datasets: Table::new("datasets"),
            permissions: Table::new("permissions"),
            access: Table::new("access"),
            documents: Table::new(DOCUMENTS),
            versions: Table::new("versions"),
            links: Table::new("links"),
            reads: Table::new("reads"),
            write_ids: Table::new("write-ids"),
            ephemeral_points: Table::new("ephemeral-points"),
            unexpired: Table::new("unexpired"),
            chain: Table::new("chain"),
        }
    }

    /// The ledger that this is the state of.
    #[must_use]
    pub fn ledger(&self) -> &LedgerId {
        &self.ledger
    }

    /// The hash over all rows.
    #[must_use]
    pub fn root(&mut self) -> Hash {
        self.tree.root()
    }

    /// An organisation.
    #[must_use]
    pub fn organisation(&self, name: &Identifier) -> Option<&Organisation> {
        self.organisations.get(name)
    }

    /// All organisations, by name.
    pub fn organisations(&self) -> impl Iterator<Item = &Organisation> {
        self.organisations
            .iter()
            .map(|(_, organisation)| organisation)
    }

    /// The keys by which the organisations sign heads.
    pub fn head_keys(&self) -> impl Iterator<Item = NoteKey> {
        self.organisations().filter_map(|organisation| {
            NoteKey::new(
                organisation.name.as_str(),
                usable_key(&organisation.head_key)?,
            )
            .ok()
        })
    }

    /// Changes of the organisations that wait for more endorsements, by id.
    pub fn pending_changes(&self) -> impl Iterator<Item = (&[u8; 32], &PendingChange)> {
        self.pending_changes
            .iter()
            .map(|(id, change)| (&id.0, change))
    }

    /// How many organisations decide: n − ⌊(n−1)/3⌋ of n, so that any two such sets share an honest one if less than
    /// a third is faulty.
    #[must_use]
    pub fn quorum(&self) -> usize {
        super::genesis::quorum(self.organisations.len())
    }

    /// A tenant.
    #[must_use]
    pub fn tenant(&self, name: &Identifier) -> Option<&Tenant> {
        self.tenants.get(name)
    }

    /// Time of the last block, milliseconds since the Unix epoch; 0 before the first.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.chain.get(&()).map_or(0, |(_, time_ms, _)| *time_ms)
    }

    /// A user.
    #[must_use]
    pub fn user(&self, name: &UserName) -> Option<&User> {
        self.users.get(name)
    }

    /// The users of a tenant after `after`, by name.
    pub fn users(
        &self,
        tenant: &Identifier,
        after: Option<&Identifier>,
    ) -> impl Iterator<Item = (&UserName, &User)> {
        let first = UserName {
            tenant: tenant.clone(),
            user: after.cloned().unwrap_or_else(first_name),
        };
        let (skip, tenant) = (after.is_some().then(|| first.clone()), tenant.clone());
        self.users
            .range(first..)
            .take_while(move |(name, _)| name.tenant == tenant)
            .filter(move |(name, _)| skip.as_ref() != Some(name))
    }

    /// A dataset's configuration.
    #[must_use]
    pub fn dataset(&self, name: &DatasetName) -> Option<&Dataset> {
        self.datasets.get(name)
    }

    /// The datasets of a tenant after `after`, by name.
    pub fn datasets(
        &self,
        tenant: &Identifier,
        after: Option<&Identifier>,
    ) -> impl Iterator<Item = (&DatasetName, &Dataset)> {
        let first = DatasetName {
            tenant: tenant.clone(),
            dataset: after.cloned().unwrap_or_else(first_name),
        };
        let (skip, tenant) = (after.is_some().then(|| first.clone()), tenant.clone());
        self.datasets
            .range(first..)
            .take_while(move |(name, _)| name.tenant == tenant)
            .filter(move |(name, _)| skip.as_ref() != Some(name))
    }

    /// A dataset's permissions.
    #[must_use]
    pub fn permissions(&self, name: &DatasetName) -> Option<&Permissions> {
        self.permissions.get(name)
    }

    /// Whether `user` may do what `role` may with the dataset.
    #[must_use]
    pub fn allows(&self, user: &UserName, dataset: &DatasetName, role: Role) -> bool {
        self.permissions
            .get(dataset)
            .is_some_and(|permissions| permissions.allows(user, role))
    }

    /// The requests for access to a dataset after `after`, by user and role.
    pub fn access(
        &self,
        dataset: &DatasetName,
        after: Option<&AccessKey>,
    ) -> impl Iterator<Item = (&AccessKey, &Access)> {
        let first = after.cloned().unwrap_or_else(|| AccessKey {
            dataset: dataset.clone(),
            user: UserName {
                tenant: first_name(),
                user: first_name(),
            },
            role: Role::Owner,
        });
        let (skip, dataset) = (after.cloned(), dataset.clone());
        self.access
            .range(first..)
            .take_while(move |(key, _)| key.dataset == dataset)
            .filter(move |(key, _)| skip.as_ref() != Some(key))
    }

    /// The requests of one user for access to a dataset: the latest for each role.
    pub fn access_of(
        &self,
        dataset: &DatasetName,
        user: &UserName,
    ) -> impl Iterator<Item = (&AccessKey, &Access)> {
        let of_role = |role| AccessKey {
            dataset: dataset.clone(),
            user: user.clone(),
            role,
        };
        self.access
            .range(of_role(Role::Owner)..=of_role(Role::Reader))
    }

    /// A document.
    #[must_use]
    pub fn document(&self, name: &DocumentName) -> Option<&Document> {
        self.documents.get(name)
    }

    /// How a document stands, with its proof under the state's root; none if it is not there, or the root is being computed.
    #[must_use]
    pub fn prove_document(&self, name: &DocumentName) -> Option<DocumentProof> {
        let (document, path) = self.documents.prove(&self.tree, name)?;
        Some(DocumentProof {
            document: document.clone(),
            path,
        })
    }

    /// The documents of a dataset after `after`, by name.
    pub fn documents(
        &self,
        dataset: &DatasetName,
        after: Option<&Identifier>,
    ) -> impl Iterator<Item = (&DocumentName, &Document)> {
        let first = dataset.document(after.cloned().unwrap_or_else(first_name));
        let skip = after.is_some().then(|| first.clone());
        let of_dataset = {
            let dataset = dataset.clone();
            move |name: &DocumentName| {
                name.tenant == dataset.tenant && name.dataset == dataset.dataset
            }
        };
        self.documents
            .range(first..)
            .take_while(move |(name, _)| of_dataset(name))
            .filter(move |(name, _)| skip.as_ref() != Some(name))
    }

    /// One version of a document.
    #[must_use]
    pub fn version(&self, name: &VersionName) -> Option<&DocumentVersion> {
        self.versions.get(name)
    }

    /// The versions of a document after `after`, in order.
    pub fn versions(
        &self,
        document: &DocumentName,
        after: Option<u64>,
    ) -> impl Iterator<Item = (&VersionName, &DocumentVersion)> {
        let first = after.map_or(0, |after| after.saturating_add(1));
        self.versions
            .range(document.version(first)..=document.version(u64::MAX))
    }

    /// All versions of a dataset's documents after `after`, by name.
    pub fn versions_of(
        &self,
        dataset: &DatasetName,
        after: Option<&VersionName>,
    ) -> impl Iterator<Item = (&VersionName, &DocumentVersion)> {
        let from = match after {
            Some(name) => Bound::Excluded(name.clone()),
            None => Bound::Included(dataset.document(first_name()).version(0)),
        };
        let dataset = dataset.clone();
        self.versions
            .range((from, Bound::Unbounded))
            .take_while(move |(name, _)| {
                name.tenant == dataset.tenant && name.dataset == dataset.dataset
            })
    }

    /// A link.
    #[must_use]
    pub fn link(&self, name: &LinkName) -> Option<&LinkVersion> {
        self.links.get(name)
    }

    /// The links of a dataset after `after`, by name.
    pub fn links(
        &self,
        dataset: &DatasetName,
        after: Option<&Identifier>,
    ) -> impl Iterator<Item = (&LinkName, &LinkVersion)> {
        let first = LinkName {
            tenant: dataset.tenant.clone(),
            dataset: dataset.dataset.clone(),
            link: after.cloned().unwrap_or_else(first_name),
        };
        let (skip, dataset) = (after.is_some().then(|| first.clone()), dataset.clone());
        self.links
            .range(first..)
            .take_while(move |(name, _)| {
                name.tenant == dataset.tenant && name.dataset == dataset.dataset
            })
            .filter(move |(name, _)| skip.as_ref() != Some(name))
    }

    /// The cluster key that a read was under; `None` if it was under none, or the version is erased or wrapped anew since.
    #[must_use]
    pub fn cluster_key_of(&self, read: &RecordedRead) -> Option<[u8; 32]> {
        let key = self.version(&read.name)?.content.as_ref()?.threshold?;
        let asked = read.reencryption.as_ref()?;
        (key.write_id == asked.write_id).then_some(key.public_key)
    }

    /// All versions of all documents after `after`, by name.
    pub fn all_versions(
        &self,
        after: Option<&VersionName>,
    ) -> impl Iterator<Item = (&VersionName, &DocumentVersion)> {
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
        self.versions.range((from, Bound::Unbounded))
    }

    /// All reads of what is under a cluster key, by the ids of their transactions.
    pub fn threshold_reads(&self) -> impl Iterator<Item = (&TransactionId, &RecordedRead)> {
        let reads = self
            .reads
            .iter()
            .filter(|(_, read)| read.reencryption.is_some());
        reads.map(|(id, read)| (&id.0, read))
    }

    /// A read, by the id of its transaction.
    #[must_use]
    pub fn read(&self, id: &TransactionId) -> Option<&RecordedRead> {
        self.reads.get(&Key32(*id))
    }
}

/// Sorts before or at every name.
fn first_name() -> Identifier {
    #[allow(clippy::expect_used, reason = "a constant that is a name")]
    Identifier::new("0").expect("a name")
}
