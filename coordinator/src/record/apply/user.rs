//! Users: registered and managed by their tenant, keys rotated by themselves.

use super::{Actor, Rules, check_key};
use crate::record::{
    event::Event,
    identifier::{Identifier, UserName},
    rejection::Rejection,
    signed::rotation_statement,
    state::User,
    transaction::{UserExpire, UserRegister, UserRole, UserRotateKey},
};

impl Rules<'_> {
    pub(super) fn user_register(&mut self, it: &UserRegister) -> Result<Vec<Event>, Rejection> {
        self.manages(&it.tenant)?;
        let user = UserName {
            tenant: it.tenant.clone(),
            user: it.user.clone(),
        };
        if self.state.user(&user).is_some() {
            return Err(Rejection::UserExists(user));
        }
        check_key("the user's key", &it.public_key)?;

        // Whoever is bound to a certificate makes nobody who manages users and is not: that would be a way out of the company's PKI.
        let by_bound = match &self.actor {
            Actor::User(author, _) => self.state.user(author).is_some_and(User::is_bound),
            Actor::Organisation(_) => false,
        };
        let row = User {
            public_key: it.public_key,
            key_version: 1,
            role: it.role,
            suspended: false,
            expires_ms: it.expires_ms,
            certificate: None,
            must_be_bound: by_bound && it.role == UserRole::Administrator,
            managed: it.managed,
            registered_ms: self.block.time_ms,
        };
        self.put_user(user.clone(), row);
        Ok(vec![Event::UserRegistered { user }])
    }

    pub(super) fn user_rotate_key(&mut self, it: &UserRotateKey) -> Result<Vec<Event>, Rejection> {
        let name = self.user()?;
        let mut user = self.known_user(&name)?;
        if user.public_key == it.public_key {
            return Err(Rejection::KeyUnchanged);
        }
        let key = check_key("the new key", &it.public_key)?;
        let statement = rotation_statement(&self.state.ledger, &name, &it.public_key);
        if !self.verifier.statement(&statement, &it.proof, &key) {
            return Err(Rejection::RotationProof);
        }

        user.public_key = it.public_key;
        user.managed = it.managed;
        user.key_version += 1;
        let key_version = user.key_version;
        self.put_user(name.clone(), user);
        Ok(vec![Event::UserKeyRotated {
            user: name,
            key_version,
        }])
    }

    pub(super) fn user_suspend(&mut self, name: &UserName) -> Result<Vec<Event>, Rejection> {
        self.manages(&name.tenant)?;
        self.not_itself(name)?;
        let mut user = self.known_user(name)?;
        if user.suspended {
            return Err(Rejection::UserSuspended(name.clone()));
        }
        user.suspended = true;
        self.put_user(name.clone(), user);
        Ok(vec![Event::UserSuspended { user: name.clone() }])
    }

    pub(super) fn user_resume(&mut self, name: &UserName) -> Result<Vec<Event>, Rejection> {
        self.manages(&name.tenant)?;
        let mut user = self.known_user(name)?;
        if !user.suspended {
            return Err(Rejection::UserNotSuspended(name.clone()));
        }
        user.suspended = false;
        self.put_user(name.clone(), user);
        Ok(vec![Event::UserResumed { user: name.clone() }])
    }

    pub(super) fn user_expire(&mut self, it: &UserExpire) -> Result<Vec<Event>, Rejection> {
        self.manages(&it.tenant)?;
        let name = UserName {
            tenant: it.tenant.clone(),
            user: it.user.clone(),
        };
        self.not_itself(&name)?;
        let mut user = self.known_user(&name)?;
        user.expires_ms = it.expires_ms;
        self.put_user(name.clone(), user);
        Ok(vec![Event::UserExpirySet {
            user: name,
            expires_ms: it.expires_ms,
        }])
    }

    /// The author must be an administrator of the tenant, or the organisation that registered it.
    pub(super) fn manages(&self, tenant: &Identifier) -> Result<(), Rejection> {
        let row = self
            .state
            .tenant(tenant)
            .ok_or_else(|| Rejection::UnknownTenant(tenant.clone()))?;
        let manages = match &self.actor {
            Actor::User(name, role) => name.tenant == *tenant && *role == UserRole::Administrator,
            Actor::Organisation(name) => row.organisation == *name,
        };
        if !manages {
            let author = self.transaction.author().to_string();
            return Err(Rejection::NotAdministrator {
                author,
                tenant: tenant.clone(),
            });
        }
        Ok(())
    }

    pub(super) fn not_itself(&self, name: &UserName) -> Result<(), Rejection> {
        match &self.actor {
            Actor::User(author, _) if author == name => Err(Rejection::OwnAccount(name.clone())),
            _ => Ok(()),
        }
    }

    pub(super) fn known_user(&self, name: &UserName) -> Result<User, Rejection> {
        self.state
            .user(name)
            .cloned()
            .ok_or_else(|| Rejection::UnknownUser(name.clone()))
    }

    pub(super) fn put_user(&mut self, name: UserName, user: User) {
        self.state.put_user(name, user);
    }
}
