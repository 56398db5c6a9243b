//! Datasets, their configuration, and their permissions.

use super::{Rules, bounded, next_version};
use crate::record::{
    event::Event,
    identifier::{DatasetName, UserName},
    permission::Permissions,
    rejection::Rejection,
    state::Dataset,
    transaction::{
        DatasetConfigure, DatasetCreate, Encryption, MAX_ROLE_USERS, PermissionEntry,
        PermissionSet, Role,
    },
};
use reencrypt::Point;

impl Rules<'_> {
    pub(super) fn dataset_create(&mut self, it: &DatasetCreate) -> Result<Vec<Event>, Rejection> {
        let user = self.user()?;
        if user.tenant != it.tenant {
            return Err(Rejection::OtherTenant {
                user,
                tenant: it.tenant.clone(),
            });
        }
        let name = DatasetName {
            tenant: it.tenant.clone(),
            dataset: it.dataset.clone(),
        };
        if self.state.dataset(&name).is_some() {
            return Err(Rejection::DatasetExists(name));
        }
        check_encryption(&it.encryption)?;

        let dataset = Dataset {
            version: 1,
            encryption: it.encryption,
            storage: it.storage,
            changed_by: user.clone(),
            changed_ms: self.block.time_ms,
        };
        let by = self.transaction.author().clone();
        let permissions = Permissions::of_creator(user, by, self.block.time_ms);
        let state = &mut *self.state;
        state.datasets.put(&mut state.tree, name.clone(), dataset);
        state
            .permissions
            .put(&mut state.tree, name.clone(), permissions);
        Ok(vec![
            Event::DatasetConfigured {
                dataset: name.clone(),
                version: 1,
            },
            Event::PermissionsChanged {
                dataset: name,
                version: 1,
            },
        ])
    }

    pub(super) fn dataset_configure(
        &mut self,
        it: &DatasetConfigure,
    ) -> Result<Vec<Event>, Rejection> {
        let name = DatasetName {
            tenant: it.tenant.clone(),
            dataset: it.dataset.clone(),
        };
        let (user, present) = self.permitted(&name, Role::Owner)?;
        next_version("the dataset's configuration", present.version, it.version)?;
        check_encryption(&it.encryption)?;

        let dataset = Dataset {
            version: it.version,
            encryption: it.encryption,
            storage: it.storage,
            changed_by: user,
            changed_ms: self.block.time_ms,
        };
        self.state
            .datasets
            .put(&mut self.state.tree, name.clone(), dataset);
        Ok(vec![Event::DatasetConfigured {
            dataset: name,
            version: it.version,
        }])
    }

    pub(super) fn permission_set(&mut self, it: &PermissionSet) -> Result<Vec<Event>, Rejection> {
        let name = DatasetName {
            tenant: it.tenant.clone(),
            dataset: it.dataset.clone(),
        };
        let (_, mut permissions) = self.owned_permissions(&name)?;
        bounded("the list of users", it.users.len(), MAX_ROLE_USERS)?;
        if !it.users.is_sorted_by(|a, b| a < b) {
            return Err(Rejection::UsersNotSorted);
        }
        next_version("the dataset's permissions", permissions.version, it.version)?;
        for user in &it.users {
            self.registered(user)?;
        }
        *permissions.members_mut(it.role) = it.users.iter().cloned().collect();
        self.put_permissions(name, permissions)
    }

    pub(super) fn permission_change(
        &mut self,
        it: &PermissionEntry,
        add: bool,
    ) -> Result<Vec<Event>, Rejection> {
        let name = DatasetName {
            tenant: it.tenant.clone(),
            dataset: it.dataset.clone(),
        };
        let (_, mut permissions) = self.owned_permissions(&name)?;
        if add {
            self.registered(&it.user)?;
            bounded(
                "the list of users",
                permissions.members(it.role).len() + 1,
                MAX_ROLE_USERS,
            )?;
        }
        let members = permissions.members_mut(it.role);
        let changed = if add {
            members.insert(it.user.clone())
        } else {
            members.remove(&it.user)
        };
        if !changed {
            let (user, role) = (it.user.clone(), it.role);
            return Err(Rejection::PermissionUnchanged {
                dataset: name,
                user,
                role,
                present: add,
            });
        }
        self.put_permissions(name, permissions)
    }

    /// The permissions, and the author, who must be an owner.
    pub(super) fn owned_permissions(
        &self,
        name: &DatasetName,
    ) -> Result<(UserName, Permissions), Rejection> {
        let (author, _) = self.permitted(name, Role::Owner)?;
        let permissions = self.state.permissions(name).cloned();
        Ok((
            author,
            permissions.ok_or_else(|| Rejection::UnknownDataset(name.clone()))?,
        ))
    }

    /// Puts changed permissions as the next version, with whoever signed, and whose hands the key was in. The last check, and then the change.
    pub(super) fn put_permissions(
        &mut self,
        name: DatasetName,
        mut permissions: Permissions,
    ) -> Result<Vec<Event>, Rejection> {
        if permissions.owners.is_empty() {
            return Err(Rejection::LastOwner(name));
        }
        permissions.version += 1;
        permissions.changed_by = self.transaction.author().clone();
        permissions.changed_ms = self.block.time_ms;
        let version = permissions.version;
        self.state
            .permissions
            .put(&mut self.state.tree, name.clone(), permissions);
        Ok(vec![Event::PermissionsChanged {
            dataset: name,
            version,
        }])
    }

    fn registered(&self, user: &UserName) -> Result<(), Rejection> {
        self.state
            .user(user)
            .map(|_| ())
            .ok_or_else(|| Rejection::UnknownUser(user.clone()))
    }
}

fn check_encryption(encryption: &Encryption) -> Result<(), Rejection> {
    if let Encryption::Threshold { public_key } = encryption {
        Point::from_bytes(public_key).map_err(|error| Rejection::ClusterKey {
            reason: error.to_string(),
        })?;
    }
    Ok(())
}
