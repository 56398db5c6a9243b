//! Requests for access: a user asks, an owner grants or declines.

use super::{Rules, bounded};
use crate::record::{
    event::Event,
    identifier::DatasetName,
    rejection::Rejection,
    state::{Access, AccessKey, AccessStatus},
    transaction::{AccessDecision, AccessRequest, MAX_ROLE_USERS},
};

impl Rules<'_> {
    pub(super) fn access_request(&mut self, it: &AccessRequest) -> Result<Vec<Event>, Rejection> {
        let user = self.user()?;
        let dataset = DatasetName {
            tenant: it.tenant.clone(),
            dataset: it.dataset.clone(),
        };
        let permissions = self
            .state
            .permissions(&dataset)
            .ok_or_else(|| Rejection::UnknownDataset(dataset.clone()))?;
        if permissions.allows(&user, it.role) {
            return Err(Rejection::PermissionUnchanged {
                dataset,
                user,
                role: it.role,
                present: true,
            });
        }
        let key = AccessKey {
            dataset: dataset.clone(),
            user: user.clone(),
            role: it.role,
        };
        if self
            .state
            .access
            .get(&key)
            .is_some_and(|access| access.status == AccessStatus::Open)
        {
            return Err(Rejection::AccessPending { user, dataset });
        }

        let access = Access {
            request: self.transaction.id(),
            requested_ms: self.block.time_ms,
            status: AccessStatus::Open,
        };
        self.state.access.put(&mut self.state.tree, key, access);
        Ok(vec![Event::AccessChanged {
            dataset,
            user,
            role: it.role,
            status: AccessStatus::Open,
        }])
    }

    pub(super) fn access_decide(
        &mut self,
        it: &AccessDecision,
        grant: bool,
    ) -> Result<Vec<Event>, Rejection> {
        let dataset = DatasetName {
            tenant: it.tenant.clone(),
            dataset: it.dataset.clone(),
        };
        let (owner, mut permissions) = self.owned_permissions(&dataset)?;
        let key = AccessKey {
            dataset: dataset.clone(),
            user: it.user.clone(),
            role: it.role,
        };
        let open =
            |access: &&Access| access.request == it.request && access.status == AccessStatus::Open;
        let Some(mut access) = self.state.access.get(&key).filter(open).cloned() else {
            let (user, request) = (it.user.clone(), it.request);
            return Err(Rejection::UnknownAccessRequest {
                user,
                dataset,
                request,
            });
        };

        let mut events = Vec::new();
        access.status = AccessStatus::Declined(owner.clone());
        if grant {
            access.status = AccessStatus::Granted(owner.clone());
            bounded(
                "the list of users",
                permissions.members(it.role).len() + 1,
                MAX_ROLE_USERS,
            )?;
            // An owner may have added the user meanwhile: then there is nothing left to change.
            if permissions.members_mut(it.role).insert(it.user.clone()) {
                events = self.put_permissions(dataset.clone(), permissions)?;
            }
        }
        let status = access.status.clone();
        self.state.access.put(&mut self.state.tree, key, access);
        events.push(Event::AccessChanged {
            dataset,
            user: it.user.clone(),
            role: it.role,
            status,
        });
        Ok(events)
    }
}
