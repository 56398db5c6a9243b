//! Who may do what with a dataset.
//!
//! Three roles. An owner manages the permissions and the configuration, erases, and may do what writers and readers may (it could
//! grant itself either, so a rule that says otherwise would promise nothing). A writer writes documents and links, and
//! does not read: a supplier of data need not see what others supplied. A reader reads. There is always an owner.
//!
//! Users of any tenant can have a role. Each change is a new version of the permissions with its author; the older
//! versions are in the transactions. A decision always asks the present version, also for what was written before it.

use super::{identifier::UserName, signed::Author, transaction::Role};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The present permissions of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// From 1; one more with each change.
    pub version: u64,
    /// Who may do everything.
    pub owners: BTreeSet<UserName>,
    /// Who may write.
    pub writers: BTreeSet<UserName>,
    /// Who may read.
    pub readers: BTreeSet<UserName>,
    /// Who made this version.
    pub changed_by: Author,
    /// Time of the block with the change, milliseconds since the Unix epoch.
    pub changed_ms: u64,
}

impl Permissions {
    /// The permissions of a dataset that `owner` has just created, as the author `by`.
    #[must_use]
    pub fn of_creator(owner: UserName, by: Author, time_ms: u64) -> Self {
        Self {
            version: 1,
            changed_by: by,
            owners: BTreeSet::from([owner]),
            writers: BTreeSet::new(),
            readers: BTreeSet::new(),
            changed_ms: time_ms,
        }
    }

    /// Whether `user` may do what `role` may, by that role or as an owner.
    #[must_use]
    pub fn allows(&self, user: &UserName, role: Role) -> bool {
        self.owners.contains(user) || self.members(role).contains(user)
    }

    /// Whether `user` has any role.
    #[must_use]
    pub fn knows(&self, user: &UserName) -> bool {
        Role::ALL
            .iter()
            .any(|role| self.members(*role).contains(user))
    }

    /// The users listed under `role` itself.
    #[must_use]
    pub fn members(&self, role: Role) -> &BTreeSet<UserName> {
        match role {
            Role::Owner => &self.owners,
            Role::Writer => &self.writers,
            Role::Reader => &self.readers,
        }
    }

    pub(super) fn members_mut(&mut self, role: Role) -> &mut BTreeSet<UserName> {
        match role {
            Role::Owner => &mut self.owners,
            Role::Writer => &mut self.writers,
            Role::Reader => &mut self.readers,
        }
    }
}
