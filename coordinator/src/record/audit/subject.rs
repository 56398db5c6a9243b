//! What a transaction speaks of: by this it is found again.
//!
//! As text a subject is `KIND:NAME`, with the tenant first in the name: `document:acme/designs/bridge`, `permission:acme/designs`,
//! `user:acme/alice`, `tenant:acme`. The same text is the subject in a store's index.

use crate::record::{
    identifier::{DatasetName, DocumentName, Identifier, LinkName, UserName, VersionName},
    signed::{Author, SignedTransaction},
    transaction::{OrganisationChange, Transaction},
};
use std::{fmt, str::FromStr};

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
    /// The permissions of a dataset: its creation with the first owner, every change, and every request for access.
    Permission(DatasetName),
    /// A document, with all its versions, reads and links.
    Document(DocumentName),
    /// A link.
    Link(LinkName),
}

impl Subject {
    /// The tenant that it belongs to; an organisation belongs to none.
    #[must_use]
    pub fn tenant(&self) -> Option<&Identifier> {
        match self {
            Self::Organisation(_) => None,
            Self::Tenant(name) => Some(name),
            Self::User(name) => Some(&name.tenant),
            Self::Dataset(name) | Self::Permission(name) => Some(&name.tenant),
            Self::Document(name) => Some(&name.tenant),
            Self::Link(name) => Some(&name.tenant),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organisation(name) => write!(f, "organisation:{name}"),
            Self::Tenant(name) => write!(f, "tenant:{name}"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Dataset(name) => write!(f, "dataset:{name}"),
            Self::Permission(name) => write!(f, "permission:{name}"),
            Self::Document(name) => write!(f, "document:{name}"),
            Self::Link(name) => write!(f, "link:{name}"),
        }
    }
}

/// A text that names no subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names nothing on a record: give organisation:O, tenant:T, user:T/U, dataset:T/D, permission:T/D, document:T/D/N or link:T/D/L"
)]
pub struct SubjectError(pub String);

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let wrong = || SubjectError(text.chars().take(200).collect());
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        let names: Vec<Identifier> = name
            .split('/')
            .map(|part| Identifier::new(part).map_err(|_| wrong()))
            .collect::<Result<_, _>>()?;
        let dataset = |tenant: &Identifier, dataset: &Identifier| DatasetName {
            tenant: tenant.clone(),
            dataset: dataset.clone(),
        };
        match (kind, names.as_slice()) {
            ("organisation", [name]) => Ok(Self::Organisation(name.clone())),
            ("tenant", [name]) => Ok(Self::Tenant(name.clone())),
            ("user", [tenant, user]) => Ok(Self::User(user_name(tenant, user))),
            ("dataset", [tenant, name]) => Ok(Self::Dataset(dataset(tenant, name))),
            ("permission", [tenant, name]) => Ok(Self::Permission(dataset(tenant, name))),
            ("document", [tenant, name, document]) => Ok(Self::Document(
                dataset(tenant, name).document(document.clone()),
            )),
            ("link", [tenant, name, link]) => Ok(Self::Link(LinkName {
                tenant: tenant.clone(),
                dataset: name.clone(),
                link: link.clone(),
            })),
            _ => Err(wrong()),
        }
    }
}

/// Everything that a transaction speaks of, ascending, each once, with what it withdrew, which it names by a hash alone: a withdrawal speaks of the
/// organisation that the change is about. A change with another hash says nothing.
#[must_use]
pub fn subjects_with(
    transaction: &SignedTransaction,
    withdrawn: Option<&OrganisationChange>,
) -> Vec<Subject> {
    let mut found = subjects_of(transaction);
    if let (Transaction::OrganisationWithdraw(it), Some(change)) =
        (transaction.transaction(), withdrawn)
        && it.change == change.id()
    {
        found.push(Subject::Organisation(change.organisation().clone()));
        found.sort_unstable();
        found.dedup();
    }
    found
}

/// Everything that a transaction names, ascending, each once.
#[must_use]
pub fn subjects_of(transaction: &SignedTransaction) -> Vec<Subject> {
    let mut found = Vec::new();
    match transaction.author() {
        Author::Organisation(name) => found.push(Subject::Organisation(name.clone())),
        Author::User(name) | Author::Managed(name) => user(&mut found, name),
    }
    match transaction.transaction() {
        Transaction::OrganisationEndorse(it) => {
            found.push(Subject::Organisation(it.change.organisation().clone()));
        }
        Transaction::OrganisationWithdraw(_) | Transaction::UserRotateKey(_) => {}
        Transaction::TenantRegister(it) => {
            user(&mut found, &user_name(&it.tenant, &it.administrator))
        }
        Transaction::UserRegister(it) => user(&mut found, &user_name(&it.tenant, &it.user)),
        Transaction::UserSuspend(name) | Transaction::UserResume(name) => user(&mut found, name),
        Transaction::TenantAuthorities(it) => found.push(Subject::Tenant(it.tenant.clone())),
        Transaction::ClientCertify(it) => found.push(Subject::Tenant(it.tenant.clone())),
        Transaction::RevocationsPublish(it) => found.push(Subject::Tenant(it.tenant.clone())),
        Transaction::UserCertify(it) => user(&mut found, &it.name()),
        Transaction::UserExpire(it) => user(&mut found, &user_name(&it.tenant, &it.user)),
        Transaction::DatasetCreate(it) => permission(&mut found, &it.tenant, &it.dataset),
        Transaction::DatasetConfigure(it) => dataset(&mut found, &it.tenant, &it.dataset),
        Transaction::PermissionSet(it) => {
            permission(&mut found, &it.tenant, &it.dataset);
            it.users.iter().for_each(|name| user(&mut found, name));
        }
        Transaction::PermissionAdd(it) | Transaction::PermissionRemove(it) => {
            permission(&mut found, &it.tenant, &it.dataset);
            user(&mut found, &it.user);
        }
        Transaction::AccessRequest(it) => permission(&mut found, &it.tenant, &it.dataset),
        Transaction::AccessGrant(it) | Transaction::AccessDecline(it) => {
            permission(&mut found, &it.tenant, &it.dataset);
            user(&mut found, &it.user);
        }
        Transaction::Write(it) => document(&mut found, &it.name()),
        Transaction::Read(it) => document(&mut found, &it.name()),
        Transaction::Rewrap(it) => document(&mut found, &it.name()),
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

fn permission(found: &mut Vec<Subject>, tenant: &Identifier, name: &Identifier) {
    dataset(found, tenant, name);
    found.push(Subject::Permission(DatasetName {
        tenant: tenant.clone(),
        dataset: name.clone(),
    }));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_subject_has_one_text() {
        for text in [
            "organisation:alder",
            "tenant:acme",
            "user:acme/alice",
            "dataset:acme/designs",
            "permission:acme/designs",
            "document:acme/designs/bridge",
            "link:acme/designs/origin",
        ] {
            let subject: Subject = text.parse().unwrap();
            assert_eq!(subject.to_string(), text);
            assert_eq!(
                subject.tenant().is_none(),
                text.starts_with("organisation:")
            );
        }
        for text in [
            "",
            "tenant",
            "tenant:",
            "tenant:acme/x",
            "user:alice",
            "Document:a/b/c",
            "document:a/b",
            "document:a/b/c/d",
            "link:a//c",
        ] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }
}
