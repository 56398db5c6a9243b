//! Changes of the organisations, and what an organisation's operator does alone.
//!
//! A change names the whole new entry and happens with the endorsement that completes a quorum of the organisations as they are
//! then, or with the departure that makes the endorsements there are one; nobody, not even the organisation concerned, changes its keys alone.

use super::{Rules, check_key};
use crate::record::{
    event::Event,
    genesis::check_organisations,
    identifier::Identifier,
    identifier::UserName,
    rejection::Rejection,
    state::{Key32, PendingChange, Tenant, User},
    transaction::{
        Organisation, OrganisationChange, OrganisationEndorse, OrganisationWithdraw,
        TenantRegister, UserRole,
    },
};
use std::collections::BTreeSet;

/// Undecided changes that one organisation may have endorsed.
const MAX_ENDORSEMENTS: usize = 16;

impl Rules<'_> {
    pub(super) fn organisation_endorse(
        &mut self,
        it: &OrganisationEndorse,
    ) -> Result<Vec<Event>, Rejection> {
        let organisation = self.organisation()?;
        let id = Key32(it.change.id());
        let mut endorsed_by = self
            .state
            .pending_changes
            .get(&id)
            .map_or_else(BTreeSet::new, |pending| pending.endorsed_by.clone());
        if !endorsed_by.insert(organisation.clone()) {
            return Err(Rejection::AlreadyEndorsed(organisation));
        }
        let undecided = self
            .state
            .pending_changes()
            .filter(|(_, change)| change.endorsed_by.contains(&organisation));
        if undecided.count() >= MAX_ENDORSEMENTS {
            return Err(Rejection::TooManyEndorsements {
                organisation,
                limit: MAX_ENDORSEMENTS,
            });
        }
        self.check_change(&it.change)?;

        let missing = self.state.quorum().saturating_sub(endorsed_by.len());
        let mut events = vec![Event::ChangeEndorsed {
            organisation,
            missing,
        }];
        let state = &mut *self.state;
        if missing > 0 {
            let pending = PendingChange {
                change: it.change.clone(),
                endorsed_by,
            };
            state.pending_changes.put(&mut state.tree, id, pending);
        } else {
            state.pending_changes.delete(&mut state.tree, &id);
            events.push(self.change_organisations(&it.change));
            self.change_what_is_decided(&mut events);
        }
        Ok(events)
    }

    pub(super) fn organisation_withdraw(
        &mut self,
        it: &OrganisationWithdraw,
    ) -> Result<Vec<Event>, Rejection> {
        let organisation = self.organisation()?;
        let id = Key32(it.change);
        let pending = self
            .state
            .pending_changes
            .get(&id)
            .filter(|it| it.endorsed_by.contains(&organisation));
        let Some(mut pending) = pending.cloned() else {
            return Err(Rejection::NotEndorsed(organisation));
        };
        pending.endorsed_by.remove(&organisation);
        self.put_pending(id, pending);
        Ok(vec![Event::ChangeWithdrawn { organisation }])
    }

    pub(super) fn tenant_register(&mut self, it: &TenantRegister) -> Result<Vec<Event>, Rejection> {
        let organisation = self.organisation()?;
        if self.state.tenant(&it.tenant).is_some() {
            return Err(Rejection::TenantExists(it.tenant.clone()));
        }
        check_key("the administrator's key", &it.public_key)?;

        let registered_ms = self.block.time_ms;
        let administrator = UserName {
            tenant: it.tenant.clone(),
            user: it.administrator.clone(),
        };
        let user = User {
            public_key: it.public_key,
            key_version: 1,
            role: UserRole::Administrator,
            suspended: false,
            expires_ms: None,
            certificate: None,
            must_be_bound: false,
            managed: false,
            registered_ms,
        };
        let state = &mut *self.state;
        state.tenants.put(
            &mut state.tree,
            it.tenant.clone(),
            Tenant {
                organisation,
                registered_ms,
            },
        );
        state.put_user(administrator.clone(), user);
        let tenant = it.tenant.clone();
        Ok(vec![
            Event::TenantRegistered { tenant },
            Event::UserRegistered {
                user: administrator,
            },
        ])
    }

    /// Whether the organisations would be able to go on after the change.
    fn check_change(&self, change: &OrganisationChange) -> Result<(), Rejection> {
        let mut after: Vec<Organisation> = self.state.organisations().cloned().collect();
        let present = |name: &Identifier| self.state.organisation(name).is_some();
        match change {
            OrganisationChange::Admit(new) if present(&new.name) => {
                return Err(Rejection::OrganisationExists(new.name.clone()));
            }
            OrganisationChange::Rekey(Organisation { name, .. })
            | OrganisationChange::Remove(name)
                if !present(name) =>
            {
                return Err(Rejection::UnknownOrganisation(name.clone()));
            }
            OrganisationChange::Admit(new) => after.push(new.clone()),
            OrganisationChange::Remove(name) => after.retain(|old| old.name != *name),
            OrganisationChange::Rekey(new) => {
                after.retain(|old| old.name != new.name);
                after.push(new.clone());
            }
        }
        check_organisations(&after).map_err(|error| Rejection::OrganisationChange {
            reason: error.to_string(),
        })
    }

    fn change_organisations(&mut self, change: &OrganisationChange) -> Event {
        let state = &mut *self.state;
        match change {
            OrganisationChange::Admit(new) => {
                state
                    .organisations
                    .put(&mut state.tree, new.name.clone(), new.clone());
                Event::OrganisationAdmitted {
                    organisation: new.name.clone(),
                }
            }
            OrganisationChange::Rekey(new) => {
                state
                    .organisations
                    .put(&mut state.tree, new.name.clone(), new.clone());
                // Keys are exchanged because others may have them: what these consented to is to be looked at again.
                self.drop_endorsements(&new.name);
                Event::OrganisationRekeyed {
                    organisation: new.name.clone(),
                }
            }
            OrganisationChange::Remove(name) => {
                state.organisations.delete(&mut state.tree, name);
                // Who has left decides nothing any more.
                self.drop_endorsements(name);
                Event::OrganisationRemoved {
                    organisation: name.clone(),
                }
            }
        }
    }

    /// The quorum of fewer organisations is smaller: what is endorsed by one already happens now too, one after another in the order of their ids. A change that
    /// is not possible as the organisations are then stays undecided.
    fn change_what_is_decided(&mut self, events: &mut Vec<Event>) {
        loop {
            let quorum = self.state.quorum();
            let decided = self
                .state
                .pending_changes()
                .find(|(_, it)| {
                    it.endorsed_by.len() >= quorum && self.check_change(&it.change).is_ok()
                })
                .map(|(id, it)| (Key32(*id), it.change.clone()));
            let Some((id, change)) = decided else {
                return;
            };
            let state = &mut *self.state;
            state.pending_changes.delete(&mut state.tree, &id);
            events.push(self.change_organisations(&change));
        }
    }

    fn drop_endorsements(&mut self, name: &Identifier) {
        let endorsed: Vec<_> = self
            .state
            .pending_changes()
            .filter(|(_, pending)| pending.endorsed_by.contains(name))
            .map(|(id, pending)| (Key32(*id), pending.clone()))
            .collect();
        for (id, mut pending) in endorsed {
            pending.endorsed_by.remove(name);
            self.put_pending(id, pending);
        }
    }

    fn put_pending(&mut self, id: Key32, pending: PendingChange) {
        let state = &mut *self.state;
        if pending.endorsed_by.is_empty() {
            state.pending_changes.delete(&mut state.tree, &id);
        } else {
            state.pending_changes.put(&mut state.tree, id, pending);
        }
    }
}
