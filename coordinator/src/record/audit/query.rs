//! Queries: what the record says about something, each row with its proof.

use crate::record::{
    identifier::{DatasetName, DocumentName, Identifier, LinkName, UserName, VersionName},
    peer::{StoreError, StoredTransaction},
    root::Hash,
    signed::{Author, SignedTransaction},
    transaction::Transaction,
};
use certs::merkle::{ProofError, leaf_hash, verify_inclusion};

/// Rows that one query returns at most.
const MAX_ROWS: usize = 1000;

/// What a transaction speaks of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// An organisation.
    Organisation(Identifier),
    /// A tenant, with all its users, datasets and documents.
    Tenant(Identifier),
    /// A user: what it signed, and what was done about it.
    User(UserName),
    /// A dataset, with all its documents and permissions.
    Dataset(DatasetName),
    /// A document, with all its versions, reads and links.
    Document(DocumentName),
    /// A link.
    Link(LinkName),
}

impl Subject {
    /// The subject in the store's index.
    pub(in crate::record) fn key(&self) -> String {
        match self {
            Self::Organisation(name) => format!("organisation:{name}"),
            Self::Tenant(name) => format!("tenant:{name}"),
            Self::User(name) => format!("user:{name}"),
            Self::Dataset(name) => format!("dataset:{name}"),
            Self::Document(name) => format!("document:{name}"),
            Self::Link(name) => format!("link:{name}"),
        }
    }
}

/// Which transactions.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Those that speak of this; all, if absent.
    pub subject: Option<Subject>,
    /// Those of these kinds ([`Transaction::kind`]); all, if empty.
    pub kinds: Vec<String>,
    /// Those in blocks from this time on, milliseconds since the Unix epoch.
    pub from_ms: Option<u64>,
    /// Those in blocks up to this time, this one included.
    pub until_ms: Option<u64>,
    /// Those from this position of the record on: one more than the last row's, for the next page.
    pub from_position: u64,
    /// How many at most; 1,000 if 0 or more.
    pub limit: usize,
}

impl Query {
    /// The matching transactions, fetched by pieces with `select(subject, from position, time, limit)`.
    pub(in crate::record) fn run(
        &self,
        select: impl Fn(
            Option<&str>,
            u64,
            (u64, u64),
            usize,
        ) -> Result<Vec<StoredTransaction>, StoreError>,
    ) -> Result<Vec<StoredTransaction>, StoreError> {
        let limit = if self.limit == 0 {
            MAX_ROWS
        } else {
            self.limit.min(MAX_ROWS)
        };
        let subject = self.subject.as_ref().map(Subject::key);
        let time = (self.from_ms.unwrap_or(0), self.until_ms.unwrap_or(u64::MAX));
        let (mut rows, mut from) = (Vec::new(), self.from_position);
        while rows.len() < limit {
            let piece = select(subject.as_deref(), from, time, limit)?;
            let (fetched, last) = (piece.len(), piece.last().map(|row| row.position));
            rows.extend(piece.into_iter().filter(|row| self.wants(&row.transaction)));
            match last {
                Some(last) if fetched == limit => from = last + 1,
                _ => break,
            }
        }
        rows.truncate(limit);
        Ok(rows)
    }

    fn wants(&self, transaction: &SignedTransaction) -> bool {
        self.kinds.is_empty()
            || self
                .kinds
                .iter()
                .any(|kind| kind == transaction.transaction().kind())
    }
}

/// Proof that a transaction is on the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// Its position.
    pub position: u64,
    /// Number of transactions of the tree that the proof is of.
    pub size: u64,
    /// The path (RFC 9162 section 2.1.3).
    pub path: Vec<Hash>,
}

impl InclusionProof {
    /// Holds it against a root of `size` transactions, such as that of a signed head.
    ///
    /// # Errors
    /// [`ProofError`] if the transaction is not there.
    pub fn verify(&self, transaction: &SignedTransaction, root: &Hash) -> Result<(), ProofError> {
        verify_inclusion(
            &leaf_hash(transaction.as_bytes()),
            self.position,
            self.size,
            &self.path,
            root,
        )
    }
}

/// One row of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Number of its block.
    pub height: u64,
    /// Time of its block, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The transaction, with author and signature.
    pub transaction: SignedTransaction,
    /// That it is on the record; all rows of an answer are in one tree.
    pub proof: InclusionProof,
}

/// Everything that a transaction speaks of, ascending, each once.
pub(in crate::record) fn subjects_of(transaction: &SignedTransaction) -> Vec<Subject> {
    let mut found = Vec::new();
    match transaction.author() {
        Author::Organisation(name) => found.push(Subject::Organisation(name.clone())),
        Author::User(name) => user(&mut found, name),
    }
    match transaction.transaction() {
        Transaction::OrganisationEndorse(it) => {
            use crate::record::transaction::OrganisationChange::{Admit, Rekey, Remove};
            let (Admit(crate::record::Organisation { name, .. })
            | Rekey(crate::record::Organisation { name, .. })
            | Remove(name)) = &it.change;
            found.push(Subject::Organisation(name.clone()));
        }
        Transaction::OrganisationWithdraw(_) | Transaction::UserRotateKey(_) => {}
        Transaction::TenantRegister(it) => {
            user(&mut found, &user_name(&it.tenant, &it.administrator))
        }
        Transaction::UserRegister(it) => user(&mut found, &user_name(&it.tenant, &it.user)),
        Transaction::UserSuspend(name) | Transaction::UserResume(name) => user(&mut found, name),
        Transaction::UserExpire(it) => user(&mut found, &user_name(&it.tenant, &it.user)),
        Transaction::DatasetCreate(it) => dataset(&mut found, &it.tenant, &it.dataset),
        Transaction::DatasetConfigure(it) => dataset(&mut found, &it.tenant, &it.dataset),
        Transaction::PermissionSet(it) => {
            dataset(&mut found, &it.tenant, &it.dataset);
            it.users.iter().for_each(|name| user(&mut found, name));
        }
        Transaction::PermissionAdd(it) | Transaction::PermissionRemove(it) => {
            dataset(&mut found, &it.tenant, &it.dataset);
            user(&mut found, &it.user);
        }
        Transaction::AccessRequest(it) => dataset(&mut found, &it.tenant, &it.dataset),
        Transaction::AccessGrant(it) | Transaction::AccessDecline(it) => {
            dataset(&mut found, &it.tenant, &it.dataset);
            user(&mut found, &it.user);
        }
        Transaction::Write(it) => document(&mut found, &it.name()),
        Transaction::Read(it) => document(&mut found, &it.name()),
        Transaction::Erase(it) => document(&mut found, &it.name().version(0)),
        Transaction::Link(it) => {
            dataset(&mut found, &it.tenant, &it.dataset);
            found.push(Subject::Link(it.name()));
            document(&mut found, &it.from);
            document(&mut found, &it.to);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn user_name(tenant: &Identifier, user: &Identifier) -> UserName {
    UserName {
        tenant: tenant.clone(),
        user: user.clone(),
    }
}

fn user(found: &mut Vec<Subject>, name: &UserName) {
    found.extend([
        Subject::Tenant(name.tenant.clone()),
        Subject::User(name.clone()),
    ]);
}

fn dataset(found: &mut Vec<Subject>, tenant: &Identifier, dataset: &Identifier) {
    let name = DatasetName {
        tenant: tenant.clone(),
        dataset: dataset.clone(),
    };
    found.extend([Subject::Tenant(tenant.clone()), Subject::Dataset(name)]);
}

fn document(found: &mut Vec<Subject>, version: &VersionName) {
    dataset(found, &version.tenant, &version.dataset);
    found.push(Subject::Document(version.document_name()));
}
