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
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn keys(folder: &tempfile::TempDir, secret: u8) -> ApiKeys {
        let secret = Zeroizing::new(vec![secret; SECRET_SIZE]);
        ApiKeys::open(secret, &folder.path().join("api-keys.sqlite")).unwrap()
    }

    fn terms(tenant: &str, expires_ms: Option<u64>) -> KeyTerms {
        KeyTerms {
            tenant: tenant.to_owned(),
            name: "ci".to_owned(),
            scopes: Scopes::all(),
            user: None,
            expires_ms,
        }
    }

    fn code(keys: &ApiKeys, header: &str, now_ms: u64) -> &'static str {
        keys.verify(Some(header.as_bytes()), now_ms)
            .map_or_else(|error| error.code(), |_| "ok")
    }

    #[test]
    fn keys_fit_their_tenant_and_platform_only() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (keys(&folder, 1), keys(&folder, 2));
        let issued = own.issue(terms("acme.eu", None), NOW).unwrap();
        let header = format!("Bearer {}", issued.key.as_str());
        let caller = own.verify(Some(header.as_bytes()), NOW).unwrap();
        assert_eq!(caller.tenant, "acme.eu");
        assert_eq!(code(&other, &header, NOW), "api-key-invalid");
        assert_eq!(own.verify(None, NOW).unwrap_err().code(), "api-key-missing");
        for bad in [
            header.replace("acme", "umbra"),
            header.replace("acme.eu", "acme"),
            header.get(..header.len() - 1).unwrap().to_owned(),
            format!("{header}0"),
            header.replace("Bearer acme", "Bearer .acme"),
            "Bearer ".to_owned(),
            "Bearer ..".to_owned(),
        ] {
            assert_eq!(code(&own, &bad, NOW), "api-key-invalid", "{bad}");
        }
        assert_eq!(
            code(&own, &header.replace("Bearer", "Basic"), NOW),
            "api-key-missing"
        );
    }

    #[test]
    fn keys_end_by_time_rotation_and_revocation() {
        let folder = tempfile::tempdir().unwrap();
        let own = keys(&folder, 1);
        let first = own.issue(terms("acme", Some(NOW + 10_000)), NOW).unwrap();
        let first_header = format!("Bearer {}", first.key.as_str());
        assert_eq!(code(&own, &first_header, NOW + 9_999), "ok");
        assert_eq!(code(&own, &first_header, NOW + 10_000), "api-key-expired");

        let later = NOW + 1_000;
        let second = own
            .rotate("acme", &first.record.id, 2, None, later)
            .unwrap();
        assert_eq!(second.record.expires_ms, Some(later + 10_000));
        assert_eq!(second.record.scopes, first.record.scopes);
        let second_header = format!("Bearer {}", second.key.as_str());
        assert_eq!(code(&own, &first_header, later + 1_999), "ok");
        assert_eq!(code(&own, &first_header, later + 2_000), "api-key-expired");
        assert_eq!(code(&own, &second_header, later + 2_000), "ok");

        // Another process revokes it; this one sees it at once, and after a restart too.
        let id = &second.record.id;
        keys(&folder, 1).revoke("acme", id, later).unwrap();
        assert_eq!(code(&own, &second_header, later), "api-key-revoked");
        assert_eq!(
            code(&keys(&folder, 1), &second_header, later),
            "api-key-revoked"
        );
        let again = own.revoke("acme", id, later + 5).unwrap();
        assert_eq!(again.revoked_ms, Some(later), "the first time counts");

        let list = own.list("acme", None, usize::MAX).unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].replaced_by.as_ref(), Some(id));
        let rest = own.list("acme", Some(&list[0].id), usize::MAX).unwrap();
        assert_eq!(rest, list[1..]);
        assert!(own.list("umbra", None, 1).unwrap().is_empty());
        for (tenant, id) in [("umbra", id.as_str()), ("acme", "0000000000000000")] {
            let unknown = own.revoke(tenant, id, later).unwrap_err();
            assert_eq!(unknown.code(), "api-key-unknown");
        }
        assert!(
            own.rotate("acme", id, 2, None, later).is_err(),
            "it is revoked"
        );
        let again = own.rotate("acme", &first.record.id, 2, None, later).err();
        let code = again.map(|error| error.code());
        assert_eq!(code, Some("api-key-terms"), "it was rotated");
    }

    #[test]
    fn keys_that_are_over_take_no_room_and_go_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let own = keys(&folder, 1);
        let first = own.issue(terms("acme", None), NOW).unwrap();
        let full = |state: &str| {
            let list = rusqlite::Connection::open(folder.path().join("api-keys.sqlite")).unwrap();
            let rows = format!(
                "DELETE FROM api_keys WHERE name = 'full';
                 WITH RECURSIVE number(n) AS (VALUES (2) UNION ALL SELECT n + 1 FROM number WHERE n < {MAX_KEYS})
                 INSERT INTO api_keys (id, tenant, name, scopes, created_ms, expires_ms, revoked_ms)
                 SELECT printf('%016x', n), 'acme', 'full', 'read', {NOW}, {state} FROM number"
            );
            list.execute_batch(&rows).unwrap();
        };
        let made = |now_ms| {
            own.issue(terms("acme", None), now_ms)
                .map(|made| made.record.id)
        };
        for in_use in ["NULL, NULL".to_owned(), format!("{}, NULL", NOW + 2)] {
            full(&in_use);
            assert_eq!(made(NOW + 1).unwrap_err().code(), "api-key-terms");
            assert!(
                own.rotate("acme", &first.record.id, 2, None, NOW + 1)
                    .is_err()
            );
        }
        for over in [format!("NULL, {NOW}"), format!("{NOW}, NULL")] {
            full(&over);
            made(NOW + 1).unwrap();
            let count = own.list("acme", None, usize::MAX).unwrap().len() as u64;
            assert!(count > MAX_KEYS);
            assert_eq!(own.list("acme", None, 3).unwrap().len(), 3);
        }
        let kept = |now_ms| {
            made(now_ms).unwrap();
            let list = own.list("acme", None, usize::MAX).unwrap();
            list.iter().filter(|key| key.name == "full").count()
        };
        assert!(kept(NOW + KEPT_MS - 1) > 0);
        assert_eq!(kept(NOW + KEPT_MS), 0);
    }

    #[test]
    fn making_and_revoking_keys_does_not_fill_the_list() {
        let folder = tempfile::tempdir().unwrap();
        let own = keys(&folder, 1);
        let other = own.issue(terms("umbra", None), NOW).unwrap();
        own.revoke("umbra", &other.record.id, NOW).unwrap();
        let list = rusqlite::Connection::open(folder.path().join("api-keys.sqlite")).unwrap();
        let rows = format!(
            "WITH RECURSIVE number(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM number WHERE n < {MAX_KEPT})
             INSERT INTO api_keys (id, tenant, name, scopes, created_ms, expires_ms, revoked_ms)
             SELECT printf('%016x', n), 'acme', 'over', 'read', {NOW}, iif(n % 2, {NOW} + n, NULL), iif(n % 2, NULL, {NOW} + n) FROM number"
        );
        list.execute_batch(&rows).unwrap();
        let mut now_ms = NOW + MAX_KEPT;
        for round in 1..=3_u64 {
            now_ms += 1;
            let made = own.issue(terms("acme", None), now_ms).unwrap();
            own.revoke("acme", &made.record.id, now_ms).unwrap();
            let all = own.list("acme", None, usize::MAX).unwrap();
            // The one that has just ended is counted with the next one that is made.
            assert_eq!(all.len() as u64, MAX_KEPT + 1, "{round}");
            let oldest = format!("{:016x}", round.saturating_sub(1));
            assert!(
                all.iter().all(|key| key.id != oldest),
                "who ended first goes"
            );
            let next = format!("{round:016x}");
            assert!(all.iter().any(|key| key.id == next));
            let header = format!("Bearer {}", made.key.as_str());
            assert_eq!(code(&own, &header, now_ms), "api-key-revoked");
        }
        assert_eq!(own.list("umbra", None, usize::MAX).unwrap().len(), 1);
    }

    #[test]
    fn a_key_that_is_bound_to_a_user_is_that_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        let own = keys(&folder, 1);
        let terms = KeyTerms {
            user: Some("carol".parse().unwrap()),
            ..terms("acme", None)
        };
        let first = own.issue(terms, NOW).unwrap();
        // Its successor is bound as well, and another process knows it too.
        let second = own.rotate("acme", &first.record.id, 2, None, NOW).unwrap();
        let header = format!("Bearer {}", second.key.as_str());
        let caller = keys(&folder, 1)
            .verify(Some(header.as_bytes()), NOW)
            .unwrap();
        let name = |text: &str| Some(text.parse::<Identifier>().unwrap());
        assert_eq!(caller.user, name("carol"));
        assert_eq!(caller.acting(None).ok(), name("carol"));
        assert_eq!(caller.acting(name("carol")).ok(), name("carol"));
        let refused = caller.acting(name("alice")).unwrap_err();
        assert_eq!(refused.code(), "api-key-user");
        let free = Caller {
            user: None,
            ..caller
        };
        assert_eq!(free.acting(name("alice")).ok(), name("alice"));
        assert_eq!(free.acting(None).unwrap_err().code(), "author-missing");
    }

    #[test]
    fn a_list_from_before_keys_were_bound_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let issued = keys(&folder, 1).issue(terms("acme", None), NOW).unwrap();
        let list = rusqlite::Connection::open(folder.path().join("api-keys.sqlite")).unwrap();
        list.execute_batch("ALTER TABLE api_keys DROP COLUMN user")
            .unwrap();
        drop(list);
        let header = format!("Bearer {}", issued.key.as_str());
        assert_eq!(code(&keys(&folder, 1), &header, NOW), "ok");
    }

    #[test]
    fn a_true_key_that_is_not_on_the_list_opens_nothing() {
        let (folder, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let issued = keys(&folder, 1).issue(terms("acme", None), NOW).unwrap();
        let header = format!("Bearer {}", issued.key.as_str());
        assert_eq!(code(&keys(&empty, 1), &header, NOW), "api-key-invalid");
    }

    #[test]
    fn impossible_terms_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let own = keys(&folder, 1);
        for name in ["", "a\nb", &"x".repeat(65)] {
            let name = name.to_owned();
            let terms = KeyTerms {
                name,
                ..terms("acme", None)
            };
            assert!(own.issue(terms, NOW).is_err());
        }
        assert!(own.issue(terms("acme", Some(NOW)), NOW).is_err());
        assert!(own.list("acme", None, usize::MAX).unwrap().is_empty());
    }
}
