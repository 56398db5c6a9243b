//! API keys: `Authorization: Bearer TENANT.KEY-ID.HMAC`.
//!
//! The last part is HMAC-SHA-256 (RFC 2104), under a secret that only this platform has, over the first two. So a key is bound to
//! its tenant by arithmetic: with another tenant's name in front it is no key at all. The platform keeps no list of keys to
//! look them up in, and a key in the wild is worth nothing beyond its tenant.
//!
//! A key opens the door of one tenant; what a user may do there is decided by the record, on that user's own signature.

use hmac::{Hmac, KeyInit as _, Mac as _};
use rand_core::Rng as _;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of the platform's secret.
pub const SECRET_SIZE: usize = 32;
const TAG: &[u8] = b"coordinator/v1/api-key";
const MAX_HEADER: usize = 1024;

/// Why a request is not let in. Deliberately few: a caller learns no more than it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no key in the request.
    #[error("this needs an API key: send the header `Authorization: Bearer KEY`")]
    Missing,
    /// The key is not one that this platform made.
    #[error(
        "the API key is not valid here: check that it was copied whole, and that it was made by this coordinator"
    )]
    Invalid,
}

impl AuthError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "api-key-missing",
            Self::Invalid => "api-key-invalid",
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
}

/// Makes and verifies API keys.
pub struct ApiKeys {
    secret: Zeroizing<Vec<u8>>,
}

impl ApiKeys {
    /// Takes the platform's secret, [`SECRET_SIZE`] random bytes.
    pub fn new(secret: Zeroizing<Vec<u8>>) -> Self {
        Self { secret }
    }

    /// Makes a key for a tenant.
    pub fn issue(&self, tenant: &str) -> Zeroizing<String> {
        let mut id = [0; 8];
        rand::rng().fill_bytes(&mut id);
        let id = hex::encode(id);
        let tag = Zeroizing::new(hex::encode(self.mac(tenant, &id).finalize().into_bytes()));
        Zeroizing::new(format!("{tenant}.{id}.{}", tag.as_str()))
    }

    /// Verifies the value of an `Authorization` header, in constant time where it is secret.
    pub fn verify(&self, header: Option<&[u8]>) -> Result<Caller, AuthError> {
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
        Ok(Caller {
            tenant: tenant.to_owned(),
            key_id: id.to_owned(),
        })
    }

    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn mac(&self, tenant: &str, id: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("any length is a key");
        for item in [TAG, tenant.as_bytes(), id.as_bytes()] {
            mac.update(&(item.len() as u64).to_le_bytes());
            mac.update(item);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_fit_their_tenant_and_platform_only() {
        let keys = ApiKeys::new(Zeroizing::new(vec![1; SECRET_SIZE]));
        let other = ApiKeys::new(Zeroizing::new(vec![2; SECRET_SIZE]));
        let key = keys.issue("acme.eu");
        let header = format!("Bearer {}", key.as_str());
        assert_eq!(
            keys.verify(Some(header.as_bytes())).unwrap().tenant,
            "acme.eu"
        );
        assert_eq!(
            other.verify(Some(header.as_bytes())),
            Err(AuthError::Invalid)
        );
        assert_eq!(keys.verify(None), Err(AuthError::Missing));
        for bad in [
            header.replace("acme", "umbra"),
            header.replace("acme.eu", "acme"),
            header.get(..header.len() - 1).unwrap().to_owned(),
            format!("{header}0"),
            header.replace("Bearer acme", "Bearer .acme"),
            "Bearer ".to_owned(),
            "Bearer ..".to_owned(),
        ] {
            assert_eq!(
                keys.verify(Some(bad.as_bytes())),
                Err(AuthError::Invalid),
                "{bad}"
            );
        }
        assert_eq!(
            keys.verify(Some(header.replace("Bearer", "Basic").as_bytes())),
            Err(AuthError::Missing)
        );
    }
}
