//! API keys: `Authorization: Bearer TENANT.KEY-ID.HMAC`.
//!
//! The last part is HMAC-SHA-256 (RFC 2104), under a secret that only this platform has, over the first two. So a key is bound to
//! its tenant by arithmetic: with another tenant's name in front it is no key at all, and the platform stores nothing that could be
//! stolen and used. What may change stands in a list ([`registry`]): name, scopes ([`scope`]), expiry, revocation.
//!
//! A request is let in if the MAC is right, then if the list has the key, neither expired nor revoked, then if it has the scope of the
//! route. Whoever cannot make the MAC learns nothing about which keys there are.
//!
//! A key opens the door of one tenant; what a user may do there is decided by the record, on that user's own signature. A key can be
//! bound to one user: then nobody else acts through it, and the platform signs for that one alone, if it keeps its key.
//!
//! Rotation makes a key of the same name and scopes, and lets the old one go on for a while, so that a fleet of programs can be given
//! the new one without an interruption.

mod registry;
mod scope;

use std::path::Path;

use cryptonode::randomness;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::record::Identifier;

pub use registry::{KEPT_MS, KeyRecord, MAX_KEPT, MAX_KEYS, RegistryError};
pub use scope::{NoScopes, Scope, Scopes};

use registry::{Inserted, Registry};

/// Bytes of the platform's secret.
pub const SECRET_SIZE: usize = 32;
/// Longest name of a key, in bytes.
pub const MAX_KEY_NAME: usize = 64;
/// How long the old key goes on after a rotation unless told otherwise, in seconds.
pub const DEFAULT_GRACE_S: u64 = 3_600;
const TAG: &[u8] = b"coordinator/v1/api-key";
const MAX_HEADER: usize = 1024;
const ROTATED: AuthError =
    AuthError::Terms("it was rotated or revoked already: rotate the key that took its place");

/// Why a request is not let in. Deliberately few: a caller learns no more than it needs.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// There is no key in the request.
    #[error("this needs an API key: send the header `Authorization: Bearer KEY`")]
    Missing,
    /// The key is not one that this platform made.
    #[error(
        "the API key is not valid here: check that it was copied whole, and that it was made by this coordinator"
    )]
    Invalid,
    /// Its time is over.
    #[error("the API key has expired: use the one that took its place, or have a new one made")]
    Expired,
    /// It was revoked.
    #[error("the API key was revoked: have a new one made (`coordinator key create`)")]
    Revoked,
    /// It may not be used for this.
    #[error("the API key may not be used for this: it needs the scope `{0}`")]
    Scope(Scope),
    /// It is bound to somebody else.
    #[error("this API key is for {0} alone: act as that user, or use another key")]
    User(Identifier),
    /// Nobody was named, and the key is bound to nobody.
    #[error(
        "say which user acts: add `?author=USER` (`?reader=USER` for a read), or use an API key that is bound to one"
    )]
    Author,
    /// There is no such key.
    #[error("there is no such API key")]
    Unknown,
    /// What a new key is to be cannot be.
    #[error("such a key cannot be made: {0}")]
    Terms(&'static str),
    /// The list of keys failed: nobody is let in.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl AuthError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "api-key-missing",
            Self::Invalid => "api-key-invalid",
            Self::Expired => "api-key-expired",
            Self::Revoked => "api-key-revoked",
            Self::Scope(_) => "api-key-scope",
            Self::User(_) => "api-key-user",
            Self::Author => "author-missing",
            Self::Unknown => "api-key-unknown",
            Self::Terms(_) => "api-key-terms",
            Self::Registry(_) => "api-key-list",
        }
    }
}

/// Who sent a request, as far as its API key shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The tenant that the key is bound to.
    pub tenant: String,
    /// The key's identifier, hexadecimal; it is no secret.
    pub key_id: String,
    /// What the key may be used for.
    pub scopes: Scopes,
    /// The one user who may act through it; any of the tenant's, if absent.
    pub user: Option<Identifier>,
    /// From when on it opens nothing, milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
}

impl Caller {
    /// Who acts: the user who was asked for, or the one that the key is bound to.
    ///
    /// # Errors
    /// [`AuthError::User`], [`AuthError::Author`]
    pub fn acting(&self, asked: Option<Identifier>) -> Result<Identifier, AuthError> {
        match (asked, &self.user) {
            (Some(asked), Some(bound)) if asked != *bound => Err(AuthError::User(bound.clone())),
            (Some(asked), _) => Ok(asked),
            (None, Some(bound)) => Ok(bound.clone()),
            (None, None) => Err(AuthError::Author),
        }
    }
}

/// A key whose MAC is right, and of which nothing else is known yet.
pub struct Genuine {
    tenant: String,
    id: String,
}

/// What a new key is to be.
#[derive(Debug, Clone)]
pub struct KeyTerms {
    /// The tenant that it opens.
    pub tenant: String,
    /// What people call it, at most [`MAX_KEY_NAME`] bytes without control characters.
    pub name: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// The one user who may act through it; any of the tenant's, if absent.
    pub user: Option<Identifier>,
    /// From when on it opens nothing, milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
}

/// A key that was just made: the only time that it is shown.
pub struct IssuedKey {
    /// What is known of it.
    pub record: KeyRecord,
    /// The key.
    pub key: Zeroizing<String>,
}

/// Makes, verifies, lists and revokes API keys.
pub struct ApiKeys {
    secret: Zeroizing<Vec<u8>>,
    registry: Registry,
}

impl ApiKeys {
    /// Takes the platform's secret, [`SECRET_SIZE`] random bytes, and the file with the list.
    ///
    /// # Errors
    /// [`RegistryError`]
    pub fn open(secret: Zeroizing<Vec<u8>>, list: &Path) -> Result<Self, RegistryError> {
        let registry = Registry::open(list)?;
        Ok(Self { secret, registry })
    }

    /// Makes a key; it is durable when this returns.
    ///
    /// # Errors
    /// [`AuthError::Terms`], [`AuthError::Registry`]
    pub fn issue(&self, terms: KeyTerms, now_ms: u64) -> Result<IssuedKey, AuthError> {
        self.make(terms, now_ms, None)
    }

    /// Makes a key with the terms of another, which goes on for `grace_s` seconds at most. The new one lives as long as the old one was
    /// to live, and not beyond `end_ms`: whoever opens nothing then gives nobody more.
    ///
    /// # Errors
    /// [`AuthError::Unknown`]; [`AuthError::Expired`], [`AuthError::Revoked`] of a key that opens nothing any more;
    /// [`AuthError::Registry`]
    pub fn rotate(
        &self,
        tenant: &str,
        id: &str,
        grace_s: u64,
        end_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<IssuedKey, AuthError> {
        let old = self.registry.get(tenant, id)?.ok_or(AuthError::Unknown)?;
        in_use(&old, now_ms)?;
        if old.replaced_by.is_some() {
            return Err(ROTATED);
        }
        let as_long = old
            .expires_ms
            .map(|end| now_ms.saturating_add(end.saturating_sub(old.created_ms)));
        let expires_ms = [as_long, end_ms].into_iter().flatten().min();
        let terms = KeyTerms {
            tenant: old.tenant,
            name: old.name,
            scopes: old.scopes,
            user: old.user,
            expires_ms,
        };
        let ends_ms = now_ms.saturating_add(grace_s.saturating_mul(1000));
        self.make(terms, now_ms, Some((id, ends_ms)))
    }

    /// Revokes a key: from the next request on it opens nothing.
    ///
    /// # Errors
    /// [`AuthError::Unknown`], [`AuthError::Registry`]
    pub fn revoke(&self, tenant: &str, id: &str, now_ms: u64) -> Result<KeyRecord, AuthError> {
        self.registry
            .revoke(tenant, id, now_ms)?
            .ok_or(AuthError::Unknown)
    }

    /// What is known of a tenant's key.
    ///
    /// # Errors
    /// [`AuthError::Unknown`], [`AuthError::Registry`]
    pub fn get(&self, tenant: &str, id: &str) -> Result<KeyRecord, AuthError> {
        self.registry.get(tenant, id)?.ok_or(AuthError::Unknown)
    }

    /// The first `limit` of a tenant's keys after the one with the id `after`, the oldest first. Those that are over stay on the list
    /// until the first key that is made [`KEPT_MS`] later, the last [`MAX_KEPT`] of them.
    ///
    /// # Errors
    /// [`AuthError::Registry`]
    pub fn list(
        &self,
        tenant: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<KeyRecord>, AuthError> {
        Ok(self.registry.list(tenant, after, limit)?)
    }

    /// A key for another purpose, which follows from the platform's secret and tells nothing of it.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let mut mac = self.keyed();
        mac.update(purpose.as_bytes());
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    fn make(
        &self,
        terms: KeyTerms,
        now_ms: u64,
        replaces: Option<(&str, u64)>,
    ) -> Result<IssuedKey, AuthError> {
        let name = terms.name;
        if name.is_empty() || name.len() > MAX_KEY_NAME || name.chars().any(char::is_control) {
            return Err(AuthError::Terms(
                "its name has 1 to 64 bytes and no control characters",
            ));
        }
        if terms.expires_ms.is_some_and(|end| end <= now_ms) {
            return Err(AuthError::Terms("it would have expired already"));
        }
        let id: [u8; 8] = randomness::public();
        let record = KeyRecord {
            id: hex::encode(id),
            tenant: terms.tenant,
            name,
            scopes: terms.scopes,
            user: terms.user,
            created_ms: now_ms,
            expires_ms: terms.expires_ms,
            revoked_ms: None,
            replaced_by: None,
        };
        match self.registry.insert(&record, replaces)? {
            Inserted::Yes => {}
            Inserted::TooMany => {
                return Err(AuthError::Terms(
                    "the tenant has 1000 keys in use: revoke those that nobody needs",
                ));
            }
            Inserted::Overtaken => return Err(ROTATED),
        }
        let tag = self.mac(&record.tenant, &record.id).finalize();
        let tag = Zeroizing::new(hex::encode(tag.into_bytes()));
        let key = Zeroizing::new(format!("{}.{}.{}", record.tenant, record.id, tag.as_str()));
        Ok(IssuedKey { record, key })
    }

    /// Verifies the value of an `Authorization` header, in constant time where it is secret.
    ///
    /// # Errors
    /// [`AuthError`]; everything but the first two is told to holders of a true key only.
    pub fn verify(&self, header: Option<&[u8]>, now_ms: u64) -> Result<Caller, AuthError> {
        self.admit(&self.check(header)?, now_ms)
    }

    /// The first half of [`ApiKeys::verify`]: arithmetic alone.
    ///
    /// # Errors
    /// [`AuthError::Missing`], [`AuthError::Invalid`]
    pub fn check(&self, header: Option<&[u8]>) -> Result<Genuine, AuthError> {
        let header = header.ok_or(AuthError::Missing)?;
        if header.len() > MAX_HEADER {
            return Err(AuthError::Invalid);
        }
        let header = std::str::from_utf8(header).map_err(|_| AuthError::Invalid)?;
        let (scheme, key) = header.split_once(' ').ok_or(AuthError::Missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(AuthError::Missing);
        }
        let mut parts = key.trim().rsplitn(3, '.');
        let (Some(tag), Some(id), Some(tenant)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(AuthError::Invalid);
        };
        let mut decoded = Zeroizing::new([0; 32]);
        hex::decode_to_slice(tag, decoded.as_mut()).map_err(|_| AuthError::Invalid)?;
        self.mac(tenant, id)
            .verify_slice(decoded.as_ref())
            .map_err(|_| AuthError::Invalid)?;
        Ok(Genuine {
            tenant: tenant.to_owned(),
            id: id.to_owned(),
        })
    }

    /// The second half: what the list says, which lies on a disk.
    ///
    /// # Errors
    /// [`AuthError`]
    pub fn admit(&self, key: &Genuine, now_ms: u64) -> Result<Caller, AuthError> {
        let Genuine { tenant, id } = key;
        // A true key that is not on the list was made before the list was restored from a backup.
        let record = self.registry.get(tenant, id)?.ok_or(AuthError::Invalid)?;
        in_use(&record, now_ms)?;
        Ok(Caller {
            tenant: record.tenant,
            key_id: record.id,
            scopes: record.scopes,
            user: record.user,
            expires_ms: record.expires_ms,
        })
    }

    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn keyed(&self) -> Hmac<Sha256> {
        Hmac::<Sha256>::new_from_slice(&self.secret).expect("any length is a key")
    }

    /// The tag of an API key. Its items carry their lengths, so that no other purpose ([`ApiKeys::derive`]) has the same message: the
    /// first eight bytes of a purpose are text, those of a length are not.
    fn mac(&self, tenant: &str, id: &str) -> Hmac<Sha256> {
        let mut mac = self.keyed();
        for item in [TAG, tenant.as_bytes(), id.as_bytes()] {
            mac.update(&(item.len() as u64).to_le_bytes());
            mac.update(item);
        }
        mac
    }
}

fn in_use(record: &KeyRecord, now_ms: u64) -> Result<(), AuthError> {
    if record.revoked_ms.is_some() {
        return Err(AuthError::Revoked);
    }
    if record.expires_ms.is_some_and(|end| end <= now_ms) {
        return Err(AuthError::Expired);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
