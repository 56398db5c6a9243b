//! The rules: what a transaction does to the state, or why it does nothing.
//!
//! [`apply`] is a pure function of the state, the block's number and time, and the transaction: no clock, no randomness, no
//! I/O. A refused transaction leaves the state as it was; every rule checks everything before it changes anything.
//!
//! # Who may do what
//!
//! | transaction | author |
//! |---|---|
//! | endorse, withdraw a change of the organisations | an organisation; the change happens with a quorum of them, or when fewer organisations make it one |
//! | register a tenant with its first administrator | an organisation |
//! | register, suspend, resume, expire a user | an administrator of the tenant, or the tenant's organisation |
//! | rotate a key | the user itself, with both keys |
//! | register a company's authorities, publish its revocation lists, bind clients | as for users |
//! | add an authority while somebody is bound, unbind an administrator | the tenant's organisation alone |
//! | bind a user to a certificate of its company | the same, or the user itself; with a signature of the certificate's key |
//! | create a dataset | any user, in its own tenant |
//! | configure a dataset, set, add, remove permissions, grant, decline, erase, wrap a version's key anew | an owner of the dataset |
//! | write documents, links | a writer or owner |
//! | read | a reader or owner |
//! | request access | any user |
//!
//! Administrators manage users and get no data by it: nobody but the user replaces its key, and a name is never used for a second
//! user, so an administrator cannot step into permissions that others have granted.
//!
//! A user whose key a platform keeps signs as `managed`, and nobody else does: so each transaction shows by itself whose hands the key was in.
//!
//! The cheap checks come first; signatures and group arithmetic when all else holds.

mod access;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod bounds_tests;
mod dataset;
mod document;
mod link;
mod organisation;
mod pki;
pub(super) mod read;
mod rewrap;
mod user;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
mod write_id_tests;

use super::{
    block::{BlockContext, MAX_BLOCK_TRANSACTIONS},
    event::Event,
    genesis::usable_key,
    identifier::{DatasetName, Identifier, UserName},
    rejection::Rejection,
    root::Hash,
    signed::{Author, MAX_TRANSACTION, MAX_TRANSACTION_LIFETIME_MS, SignedTransaction},
    state::{Dataset, Key32, State, User},
    transaction::{Role, Transaction, UserRole},
    verifier::{Full, Verifier},
};
use ed25519_dalek::VerifyingKey;

/// Ids of expired transactions that one block forgets at most: four times as many as it can bring.
const MAX_FORGOTTEN: usize = 4 * MAX_BLOCK_TRANSACTIONS;

/// Applies one transaction.
///
/// # Errors
/// [`Rejection`] with the reason; the state is then unchanged.
pub fn apply(
    state: &mut State,
    block: &BlockContext,
    transaction: &SignedTransaction,
) -> Result<Vec<Event>, Rejection> {
    apply_verified_by(state, block, transaction, &Full)
}

/// [`apply`], with somebody else to verify signatures and proofs.
pub(super) fn apply_verified_by(
    state: &mut State,
    block: &BlockContext,
    transaction: &SignedTransaction,
    verifier: &dyn Verifier,
) -> Result<Vec<Event>, Rejection> {
    let (actor, remembered) = authenticate(state, block, transaction, verifier)?;

    let mut rules = Rules {
        state,
        block,
        transaction,
        actor,
        verifier,
    };
    let events = rules.dispatch()?;
    state.unexpired.put(&mut state.tree, remembered, ());
    Ok(events)
}

/// What is checked of every transaction, whatever it asks for: whose it is, for which ledger, until when, and that it was not there before.
fn authenticate(
    state: &State,
    block: &BlockContext,
    transaction: &SignedTransaction,
    verifier: &dyn Verifier,
) -> Result<(Actor, (u64, Key32)), Rejection> {
    bounded(
        "the transaction",
        transaction.as_bytes().len(),
        MAX_TRANSACTION,
    )?;
    let content = transaction.content();
    if content.ledger != state.ledger {
        return Err(Rejection::WrongLedger {
            found: content.ledger,
            expected: state.ledger,
        });
    }
    if content.expires_ms <= block.time_ms {
        return Err(Rejection::Expired {
            expires_ms: content.expires_ms,
            time_ms: block.time_ms,
        });
    }
    if content.expires_ms - block.time_ms > MAX_TRANSACTION_LIFETIME_MS {
        let limit_ms = MAX_TRANSACTION_LIFETIME_MS;
        return Err(Rejection::ExpiresTooLate {
            expires_ms: content.expires_ms,
            limit_ms,
        });
    }
    let remembered = (content.expires_ms, Key32(transaction.id()));
    if state.unexpired.contains(&remembered) {
        return Err(Rejection::Replayed {
            id: transaction.id(),
        });
    }
    let (actor, key) = identify(state, block, &content.author)?;
    if !verifier.signature(transaction, &key) {
        return Err(Rejection::Signature {
            author: content.author.to_string(),
        });
    }
    Ok((actor, remembered))
}

/// Whether it is worth proposing at this time, as far as this state tells: what [`apply()`] checks of every transaction.
pub(super) fn may_be_submitted(
    state: &State,
    time_ms: u64,
    transaction: &SignedTransaction,
) -> Result<(), Rejection> {
    let block = BlockContext { height: 0, time_ms };
    authenticate(state, &block, transaction, &Full).map(drop)
}

/// Ends a block: forgets what the next one need not know any more, the ids that expired longest ago first, and notes where the chain stands, so that the state's root
/// covers number, time and parent of every block. Called once after the last transaction of a block.
pub(super) fn finish_block(state: &mut State, block: &BlockContext, parent: Hash) {
    let last = (block.time_ms, Key32([u8::MAX; 32]));
    let expired: Vec<_> = state
        .unexpired
        .range(..=last)
        .take(MAX_FORGOTTEN)
        .map(|(key, ())| *key)
        .collect();
    for key in expired {
        state.unexpired.delete(&mut state.tree, &key);
    }
    state.chain.put(
        &mut state.tree,
        (),
        (block.height, block.time_ms, Key32(parent)),
    );
}

/// Who acts, once the signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Actor {
    /// A user who is registered, not suspended and not expired.
    User(UserName, UserRole),
    /// An organisation on the record.
    Organisation(Identifier),
}

/// Finds the author and the key that must have signed.
fn identify(
    state: &State,
    block: &BlockContext,
    author: &Author,
) -> Result<(Actor, VerifyingKey), Rejection> {
    let unusable = Rejection::PublicKey {
        what: "the author's key",
    };
    match author {
        Author::Organisation(name) => {
            let organisation = state
                .organisation(name)
                .ok_or_else(|| Rejection::UnknownOrganisation(name.clone()))?;
            let key = usable_key(&organisation.operator_key).ok_or(unusable)?;
            Ok((Actor::Organisation(name.clone()), key))
        }
        Author::User(name) | Author::Managed(name) => {
            let user = active_user(state, name, block.time_ms)?;
            // Every signature says who keeps the key, so an auditor need not know what else is on the record.
            if user.managed != matches!(author, Author::Managed(_)) {
                return Err(Rejection::Custody {
                    user: name.clone(),
                    managed: user.managed,
                });
            }
            let key = usable_key(&user.public_key).ok_or(unusable)?;
            Ok((Actor::User(name.clone(), user.role), key))
        }
    }
}

/// The user, if it may sign at this time.
pub(super) fn active_user<'s>(
    state: &'s State,
    name: &UserName,
    time_ms: u64,
) -> Result<&'s User, Rejection> {
    let user = state
        .user(name)
        .ok_or_else(|| Rejection::UnknownUser(name.clone()))?;
    if user.suspended {
        return Err(Rejection::UserSuspended(name.clone()));
    }
    if let Some(expires_ms) = user.expires_ms.filter(|expires_ms| *expires_ms <= time_ms) {
        return Err(Rejection::UserExpired {
            user: name.clone(),
            expires_ms,
        });
    }
    let tenant = state
        .tenant(&name.tenant)
        .ok_or_else(|| Rejection::UnknownTenant(name.tenant.clone()))?;
    if state.organisation(&tenant.organisation).is_none() {
        let (tenant, organisation) = (name.tenant.clone(), tenant.organisation.clone());
        return Err(Rejection::OrphanedTenant {
            tenant,
            organisation,
        });
    }
    pki::certified(state, name, user, time_ms)?;
    Ok(user)
}

/// One transaction on its way through the rules.
struct Rules<'a> {
    state: &'a mut State,
    block: &'a BlockContext,
    transaction: &'a SignedTransaction,
    actor: Actor,
    verifier: &'a dyn Verifier,
}

impl Rules<'_> {
    fn dispatch(&mut self) -> Result<Vec<Event>, Rejection> {
        let transaction = self.transaction;
        match transaction.transaction() {
            Transaction::OrganisationEndorse(it) => self.organisation_endorse(it),
            Transaction::OrganisationWithdraw(it) => self.organisation_withdraw(it),
            Transaction::TenantRegister(it) => self.tenant_register(it),
            Transaction::UserRegister(it) => self.user_register(it),
            Transaction::UserRotateKey(it) => self.user_rotate_key(it),
            Transaction::UserSuspend(it) => self.user_suspend(it),
            Transaction::UserResume(it) => self.user_resume(it),
            Transaction::UserExpire(it) => self.user_expire(it),
            Transaction::TenantAuthorities(it) => self.tenant_authorities(it),
            Transaction::UserCertify(it) => self.user_certify(it),
            Transaction::ClientCertify(it) => self.client_certify(it),
            Transaction::RevocationsPublish(it) => self.revocations_publish(it),
            Transaction::DatasetCreate(it) => self.dataset_create(it),
            Transaction::DatasetConfigure(it) => self.dataset_configure(it),
            Transaction::PermissionSet(it) => self.permission_set(it),
            Transaction::PermissionAdd(it) => self.permission_change(it, true),
            Transaction::PermissionRemove(it) => self.permission_change(it, false),
            Transaction::AccessRequest(it) => self.access_request(it),
            Transaction::AccessGrant(it) => self.access_decide(it, true),
            Transaction::AccessDecline(it) => self.access_decide(it, false),
            Transaction::Write(it) => self.write(it),
            Transaction::Link(it) => self.link(it),
            Transaction::Read(it) => self.read(it),
            Transaction::Erase(it) => self.erase(it),
            Transaction::Rewrap(it) => self.rewrap(it),
        }
    }

    /// The author, who must be a user.
    fn user(&self) -> Result<UserName, Rejection> {
        match &self.actor {
            Actor::User(name, _) => Ok(name.clone()),
            Actor::Organisation(_) => Err(self.wrong_author("a user")),
        }
    }

    /// The author, who must be an organisation.
    fn organisation(&self) -> Result<Identifier, Rejection> {
        match &self.actor {
            Actor::Organisation(name) => Ok(name.clone()),
            Actor::User(..) => Err(self.wrong_author("an organisation's operator")),
        }
    }

    fn wrong_author(&self, needed: &'static str) -> Rejection {
        Rejection::WrongAuthor {
            kind: self.transaction.transaction().kind(),
            needed,
        }
    }

    /// The dataset, and the author, who must be a user who may do there what `role` may.
    fn permitted(&self, name: &DatasetName, role: Role) -> Result<(UserName, &Dataset), Rejection> {
        let user = self.user()?;
        let dataset = self
            .state
            .dataset(name)
            .ok_or_else(|| Rejection::UnknownDataset(name.clone()))?;
        if !self.state.allows(&user, name, role) {
            return Err(Rejection::NotPermitted {
                user,
                role,
                dataset: name.clone(),
            });
        }
        Ok((user, dataset))
    }
}

/// Refuses what is larger than `limit`.
fn bounded(what: &'static str, found: usize, limit: usize) -> Result<(), Rejection> {
    if found > limit {
        return Err(Rejection::TooLarge { what, found, limit });
    }
    Ok(())
}

/// Refuses any version but the one after `current`.
fn next_version(what: &'static str, current: u64, found: u64) -> Result<(), Rejection> {
    match current.checked_add(1) {
        Some(expected) if expected == found => Ok(()),
        expected => {
            let expected = expected.unwrap_or(u64::MAX);
            Err(Rejection::Version {
                what,
                current,
                expected,
                found,
            })
        }
    }
}

/// Refuses keys that no signature can be held against.
fn check_key(what: &'static str, key: &[u8; 32]) -> Result<VerifyingKey, Rejection> {
    usable_key(key).ok_or(Rejection::PublicKey { what })
}
