//! What the record knows of companies' own certificates.

use super::{
    super::{
        identifier::{Identifier, UserName},
        rejection::Rejection,
        root::Hash,
        signed::Author,
    },
    State,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::BTreeSet;

/// The certificate that a user is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundCertificate {
    /// SHA-256 of the certificate.
    #[serde(with = "serde_bytes")]
    pub fingerprint: Hash,
    /// Its holder's name, DER.
    #[serde(with = "serde_bytes")]
    pub subject: Vec<u8>,
    /// It and those above it, up to the one that a registered authority issued.
    pub links: Vec<CertificateLink>,
    /// Time of the block that bound it, milliseconds since the Unix epoch.
    pub bound_ms: u64,
}

/// One certificate, as revocation lists name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateLink {
    /// SHA-256 of the SubjectPublicKeyInfo of whoever issued it.
    #[serde(with = "serde_bytes")]
    pub issuer: Hash,
    /// Contents of its serial number's INTEGER.
    #[serde(with = "serde_bytes")]
    pub serial: Vec<u8>,
    /// The last second in which it is valid, since the Unix epoch.
    pub not_after_s: u64,
}

impl BoundCertificate {
    /// The last second in which it and all above it are valid, since the Unix epoch.
    #[must_use]
    pub fn not_after_s(&self) -> u64 {
        let ends = self.links.iter().map(|link| link.not_after_s);
        ends.min().unwrap_or(0)
    }
}

/// The authorities that a tenant has registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorities {
    /// They, ascending by the bytes of their certificates.
    pub authorities: Vec<RegisteredAuthority>,
    /// Who registered them.
    pub changed_by: Author,
    /// Time of the block, milliseconds since the Unix epoch.
    pub changed_ms: u64,
}

/// One authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredAuthority {
    /// Its certificate, DER.
    pub certificate: ByteBuf,
    /// SHA-256 of its SubjectPublicKeyInfo.
    #[serde(with = "serde_bytes")]
    pub key: Hash,
    /// The last second in which it is valid, since the Unix epoch.
    pub not_after_s: u64,
}

/// Which list: of which authority, for which tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RevocationsKey {
    /// The tenant.
    pub tenant: Identifier,
    /// SHA-256 of the authority's SubjectPublicKeyInfo.
    #[serde(with = "serde_bytes")]
    pub authority: Hash,
}

/// The newest list of an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    /// When it was issued, seconds since the Unix epoch.
    pub this_update_s: u64,
    /// When the next one was promised, seconds since the Unix epoch.
    pub next_update_s: u64,
    /// Its number, big-endian without leading zeros; empty if it has none.
    #[serde(with = "serde_bytes")]
    pub number: Vec<u8>,
    /// Serial numbers of the certificates that are revoked: contents of their INTEGERs.
    pub revoked: BTreeSet<ByteBuf>,
    /// Who published it.
    pub published_by: Author,
    /// Time of the block, milliseconds since the Unix epoch.
    pub published_ms: u64,
}

impl State {
    /// The authorities that a tenant has registered.
    #[must_use]
    pub fn authorities(&self, tenant: &Identifier) -> Option<&Authorities> {
        self.authorities.get(tenant)
    }

    /// The newest revocation list of an authority for a tenant.
    #[must_use]
    pub fn revocations(&self, tenant: &Identifier, authority: &Hash) -> Option<&Revocations> {
        let key = RevocationsKey {
            tenant: tenant.clone(),
            authority: *authority,
        };
        self.revocations.get(&key)
    }

    /// Whether a certificate that a user is bound to stands at this time: it and all above it are valid, the uppermost was issued by an authority
    /// that the tenant still has, and no list on the record revokes one of them. A list that is overdue counts as it is: it is for the tenant to
    /// publish the next one, and nobody else's reads stop for want of it.
    ///
    /// # Errors
    /// [`Rejection`] with the reason for which it does not.
    pub fn certificate_stands(
        &self,
        user: &UserName,
        certificate: &BoundCertificate,
        time_ms: u64,
    ) -> Result<(), Rejection> {
        let now_s = time_ms / 1000;
        let not_after_s = certificate.not_after_s();
        if now_s > not_after_s {
            return Err(Rejection::CertificateExpired {
                user: user.clone(),
                not_after_s,
            });
        }
        for link in &certificate.links {
            let serial = ByteBuf::from(link.serial.as_slice());
            if self
                .revocations(&user.tenant, &link.issuer)
                .is_some_and(|list| list.revoked.contains(&serial))
            {
                return Err(Rejection::CertificateRevoked(user.clone()));
            }
        }
        let anchored = certificate.links.last().is_some_and(|last| {
            self.authorities(&user.tenant).is_some_and(|registered| {
                registered
                    .authorities
                    .iter()
                    .any(|it| it.key == last.issuer && now_s <= it.not_after_s)
            })
        });
        if anchored {
            Ok(())
        } else {
            Err(Rejection::CertificateUnanchored(user.clone()))
        }
    }
}
