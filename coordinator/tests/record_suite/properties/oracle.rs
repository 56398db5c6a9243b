//! What may happen, told once more and as simply as can be.

use super::DELTA;
use crate::ledger::*;
use coordinator::record::{
    Author, DatasetName, Identifier, LedgerId, OrganisationChange, Role, SignedTransaction,
    Transaction, TransactionId, UserName,
};
use ed25519_dalek::{Signature, VerifyingKey};
use std::collections::{BTreeMap, BTreeSet};

/// It sees accepted transactions, and nothing of the state.
#[derive(Default)]
pub(super) struct Oracle {
    suspended: BTreeSet<UserName>,
    expired: BTreeSet<UserName>,
    users: BTreeSet<UserName>,
    /// Who registered each tenant.
    tenants: BTreeMap<Identifier, Identifier>,
    roles: BTreeMap<DatasetName, BTreeSet<(Role, UserName)>>,
    /// The seeds of the keys that users have rotated to.
    seeds: BTreeMap<UserName, String>,
    pub(super) ledger: LedgerId,
    pub(super) accepted: Vec<SignedTransaction>,
    seen: BTreeSet<TransactionId>,
    /// Who endorsed what is not decided.
    endorsed: BTreeMap<[u8; 32], BTreeSet<Identifier>>,
    pub(super) delta_is_in: bool,
    /// Who is bound to a certificate.
    bound: BTreeSet<UserName>,
    /// Tenants that stand by the company.
    anchored: BTreeSet<Identifier>,
}

impl Oracle {
    /// It has seen nothing of this ledger yet.
    pub(super) fn of(ledger: LedgerId) -> Self {
        Self {
            ledger,
            ..Self::default()
        }
    }

    /// The seed of the key with which this author signs.
    pub(super) fn seed(&self, author: &Author) -> String {
        match author {
            Author::Organisation(name) => format!("operator {name}"),
            Author::User(name) | Author::Managed(name) => {
                let first = || format!("{}/{}", name.tenant, name.user);
                self.seeds.get(name).cloned().unwrap_or_else(first)
            }
        }
    }

    fn signed_by_its_author(&self, signed: &SignedTransaction) -> bool {
        let key = VerifyingKey::from_bytes(&public(&self.seed(signed.author()))).unwrap();
        let signature = Signature::from_bytes(signed.signature());
        let statement = signed.content().statement();
        key.verify_strict(&statement, &signature).is_ok()
    }

    /// The change that is possible now.
    pub(super) fn change(&self) -> OrganisationChange {
        match self.delta_is_in {
            true => OrganisationChange::Remove(id("delta")),
            false => OrganisationChange::Admit(organisation("delta", &DELTA)),
        }
    }

    fn has(&self, who: &UserName, dataset: &DatasetName, role: Role) -> bool {
        let roles = self.roles.get(dataset);
        roles.is_some_and(|roles| {
            roles.contains(&(role, who.clone())) || roles.contains(&(Role::Owner, who.clone()))
        })
    }

    pub(super) fn permits(&self, signed: &SignedTransaction) -> bool {
        if self.seen.contains(&signed.id()) || !self.signed_by_its_author(signed) {
            return false;
        }
        let who = match signed.author() {
            Author::User(who) | Author::Managed(who) => who,
            // An organisation manages the users of the tenants that it registered, and nothing that is in them.
            Author::Organisation(name) => {
                let tenant = match signed.transaction() {
                    Transaction::TenantRegister(_) => return true,
                    Transaction::UserRegister(it) => &it.tenant,
                    Transaction::UserSuspend(it) | Transaction::UserResume(it) => &it.tenant,
                    Transaction::UserExpire(it) => &it.tenant,
                    Transaction::TenantAuthorities(it) => &it.tenant,
                    Transaction::UserCertify(it) => &it.tenant,
                    Transaction::RevocationsPublish(it) => &it.tenant,
                    Transaction::OrganisationEndorse(it) => {
                        let before = self.endorsed.get(&it.change.id());
                        return it.change == self.change()
                            && before.is_none_or(|by| !by.contains(name));
                    }
                    Transaction::OrganisationWithdraw(it) => {
                        let before = self.endorsed.get(&it.change);
                        return before.is_some_and(|by| by.contains(name));
                    }
                    _ => return false,
                };
                return self.tenants.get(tenant) == Some(name);
            }
        };
        let inactive = self.suspended.contains(who) || self.expired.contains(who);
        if inactive || !self.users.contains(who) {
            return false;
        }
        let at = |tenant: &_, dataset: &_| DatasetName {
            tenant: Clone::clone(tenant),
            dataset: Clone::clone(dataset),
        };
        let manages = |tenant: &Identifier| who.user.as_str() == "root" && who.tenant == *tenant;
        match signed.transaction() {
            Transaction::OrganisationEndorse(_) | Transaction::OrganisationWithdraw(_) => false,
            Transaction::UserRotateKey(_) => true,
            // Somebody who is bound stays under the authorities that there are.
            Transaction::TenantAuthorities(it) => {
                let bound = self.bound.iter().any(|name| name.tenant == it.tenant);
                let adds = !it.authorities.is_empty() && !self.anchored.contains(&it.tenant);
                manages(&it.tenant) && !(bound && adds)
            }
            Transaction::RevocationsPublish(it) => manages(&it.tenant),
            Transaction::UserCertify(it) => match &it.certificate {
                Some(_) => manages(&it.tenant) || it.name() == *who,
                None => {
                    let administrator = it.user.as_str() == "root";
                    manages(&it.tenant) && it.name() != *who && !administrator
                }
            },
            Transaction::UserRegister(it) => who.user.as_str() == "root" && who.tenant == it.tenant,
            Transaction::UserSuspend(it) | Transaction::UserResume(it) => {
                who.user.as_str() == "root" && who.tenant == it.tenant
            }
            Transaction::UserExpire(it) => who.user.as_str() == "root" && who.tenant == it.tenant,
            Transaction::DatasetCreate(it) => who.tenant == it.tenant,
            Transaction::DatasetConfigure(it) => {
                self.has(who, &at(&it.tenant, &it.dataset), Role::Owner)
            }
            // Anybody may ask.
            Transaction::AccessRequest(_) => true,
            Transaction::AccessGrant(it) | Transaction::AccessDecline(it) => {
                self.has(who, &at(&it.tenant, &it.dataset), Role::Owner)
            }
            Transaction::PermissionAdd(it) | Transaction::PermissionRemove(it) => {
                self.has(who, &at(&it.tenant, &it.dataset), Role::Owner)
            }
            Transaction::PermissionSet(it) => {
                self.has(who, &at(&it.tenant, &it.dataset), Role::Owner)
            }
            Transaction::Write(it) => self.has(who, &at(&it.tenant, &it.dataset), Role::Writer),
            Transaction::Link(it) => self.has(who, &at(&it.tenant, &it.dataset), Role::Writer),
            Transaction::Read(it) => self.has(who, &at(&it.tenant, &it.dataset), Role::Reader),
            Transaction::Erase(it) => self.has(who, &at(&it.tenant, &it.dataset), Role::Owner),
            Transaction::Rewrap(it) => self.has(who, &at(&it.tenant, &it.dataset), Role::Owner),
            other => panic!("{} is not attempted", other.kind()),
        }
    }

    pub(super) fn learn(&mut self, signed: &SignedTransaction) {
        let at = |tenant: &_, dataset: &_| DatasetName {
            tenant: Clone::clone(tenant),
            dataset: Clone::clone(dataset),
        };
        self.seen.insert(signed.id());
        self.accepted.push(signed.clone());
        match (signed.transaction(), signed.author()) {
            (Transaction::UserRotateKey(it), Author::User(who)) => {
                let new = (0..=u8::MAX).map(|number| rotated(who, number));
                let new = new.into_iter().find(|seed| public(seed) == it.public_key);
                self.seeds.insert(who.clone(), new.unwrap());
            }
            (Transaction::OrganisationEndorse(it), Author::Organisation(name)) => {
                // Three of three, and three of four.
                const QUORUM: usize = 3;
                let change = it.change.id();
                let by = self.endorsed.entry(change).or_default();
                by.insert(name.clone());
                if by.len() == QUORUM {
                    self.endorsed.remove(&change);
                    self.delta_is_in = !self.delta_is_in;
                }
            }
            (Transaction::OrganisationWithdraw(it), Author::Organisation(name)) => {
                self.endorsed.get_mut(&it.change).unwrap().remove(name);
            }
            (Transaction::TenantRegister(it), author) => {
                if let Author::Organisation(name) = author {
                    self.tenants.insert(it.tenant.clone(), name.clone());
                }
                self.users.insert(UserName {
                    tenant: it.tenant.clone(),
                    user: it.administrator.clone(),
                });
            }
            (Transaction::UserRegister(it), _) => {
                self.users.insert(UserName {
                    tenant: it.tenant.clone(),
                    user: it.user.clone(),
                });
            }
            (Transaction::UserCertify(it), _) => {
                if it.certificate.is_some() {
                    self.bound.insert(it.name());
                } else {
                    self.bound.remove(&it.name());
                }
            }
            (Transaction::TenantAuthorities(it), _) => {
                if it.authorities.is_empty() {
                    self.anchored.remove(&it.tenant);
                } else {
                    self.anchored.insert(it.tenant.clone());
                }
            }
            (Transaction::UserSuspend(it), _) => drop(self.suspended.insert(it.clone())),
            (Transaction::UserResume(it), _) => drop(self.suspended.remove(it)),
            (Transaction::UserExpire(it), _) => {
                let user = UserName {
                    tenant: it.tenant.clone(),
                    user: it.user.clone(),
                };
                if it.expires_ms.is_some() {
                    self.expired.insert(user);
                } else {
                    self.expired.remove(&user);
                }
            }
            (Transaction::AccessGrant(it), _) => {
                let roles = self.roles.get_mut(&at(&it.tenant, &it.dataset)).unwrap();
                roles.insert((it.role, it.user.clone()));
            }
            (Transaction::DatasetCreate(it), Author::User(who)) => {
                let owner = BTreeSet::from([(Role::Owner, who.clone())]);
                self.roles.insert(at(&it.tenant, &it.dataset), owner);
            }
            (Transaction::PermissionAdd(it), _) => {
                self.roles
                    .get_mut(&at(&it.tenant, &it.dataset))
                    .unwrap()
                    .insert((it.role, it.user.clone()));
            }
            (Transaction::PermissionRemove(it), _) => {
                self.roles
                    .get_mut(&at(&it.tenant, &it.dataset))
                    .unwrap()
                    .remove(&(it.role, it.user.clone()));
            }
            (Transaction::PermissionSet(it), _) => {
                let roles = self.roles.get_mut(&at(&it.tenant, &it.dataset)).unwrap();
                roles.retain(|(role, _)| *role != it.role);
                roles.extend(it.users.iter().map(|user| (it.role, user.clone())));
            }
            _ => {}
        }
    }
}

/// The seed of a key to which a user rotates.
pub(super) fn rotated(who: &UserName, number: u8) -> String {
    format!("{}/{} {number}", who.tenant, who.user)
}
