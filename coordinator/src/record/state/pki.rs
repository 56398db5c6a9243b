//! What the record knows of companies' own certificates.

use super::{
    super::{
        identifier::{ClientName, Identifier, UserName},
        rejection::Rejection,
        root::Hash,
        signed::Author,
        transaction::is_false,
    },
    State, User,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeSet, fmt, ops::Bound};

/// Who is bound to a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A user, who signs nothing without it.
    User(UserName),
    /// A client, towards whose key nothing is re-encrypted without it.
    Client(ClientName),
}

impl Holder {
    /// Whose authorities its certificate is under.
    #[must_use]
    pub fn tenant(&self) -> &Identifier {
        match self {
            Self::User(name) => &name.tenant,
            Self::Client(name) => &name.tenant,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => name.fmt(f),
            Self::Client(name) => name.fmt(f),
        }
    }
}

/// The certificate that a user or a client is bound to.
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
    /// Whether reads of the tenant's users go to bound clients alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bound_clients: bool,
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

    /// The certificate that a client is bound to, if it is.
    #[must_use]
    pub fn client(&self, name: &ClientName) -> Option<&BoundCertificate> {
        self.clients.get(name)
    }

    /// The clients of a tenant that are bound to certificates, by their keys.
    pub fn clients(
        &self,
        tenant: &Identifier,
        after: Option<&Hash>,
    ) -> impl Iterator<Item = (&ClientName, &BoundCertificate)> {
        let named = |client| ClientName {
            tenant: tenant.clone(),
            client,
        };
        let from = match after {
            Some(client) => Bound::Excluded(named(*client)),
            None => Bound::Included(named([0; 32])),
        };
        let tenant = tenant.clone();
        self.clients
            .range((from, Bound::Unbounded))
            .take_while(move |(name, _)| name.tenant == tenant)
    }

    /// Whether somebody of the tenant, a user or a client, is bound to a certificate, standing or not.
    #[must_use]
    pub fn is_under_pki(&self, tenant: &Identifier) -> bool {
        self.bound.contains_key(tenant)
    }

    pub(in crate::record) fn put_user(&mut self, name: UserName, user: User) {
        let before = self.users.get(&name).is_some_and(User::is_bound);
        self.count_bound(&name.tenant, before, user.is_bound());
        self.users.put(&mut self.tree, name, user);
    }

    pub(in crate::record) fn put_client(&mut self, name: ClientName, bound: BoundCertificate) {
        self.count_bound(&name.tenant, self.clients.contains(&name), true);
        self.clients.put(&mut self.tree, name, bound);
    }

    /// Whether there was one.
    pub(in crate::record) fn delete_client(&mut self, name: &ClientName) -> bool {
        let was_there = self.clients.contains(name);
        if was_there {
            self.count_bound(&name.tenant, true, false);
            self.clients.delete(&mut self.tree, name);
        }
        was_there
    }

    fn count_bound(&mut self, tenant: &Identifier, before: bool, after: bool) {
        let count = self.bound.get(tenant).copied().unwrap_or(0);
        let count = (count + usize::from(after)).saturating_sub(usize::from(before));
        if count == 0 {
            self.bound.remove(tenant);
        } else {
            self.bound.insert(tenant.clone(), count);
        }
    }

    /// Whether users of the tenant may read by the client with this TLS key at this time: it is bound to a certificate that stands, which is given; or
    /// it is bound to none, and the tenant does not ask for it.
    ///
    /// # Errors
    /// [`Rejection`] with the reason for which they may not.
    pub fn client_stands(
        &self,
        tenant: &Identifier,
        spki: &[u8],
        time_ms: u64,
    ) -> Result<Option<(ClientName, &BoundCertificate)>, Rejection> {
        let name = ClientName {
            tenant: tenant.clone(),
            client: Sha256::digest(spki).into(),
        };
        match self.clients.get(&name) {
            Some(bound) => {
                self.certificate_stands(&Holder::Client(name.clone()), bound, time_ms)?;
                Ok(Some((name, bound)))
            }
            None if self.authorities(tenant).is_some_and(|it| it.bound_clients) => {
                Err(Rejection::CertificateMissing(Holder::Client(name)))
            }
            None => Ok(None),
        }
    }

    /// Whether a certificate that somebody is bound to stands at this time: it and all above it are valid, the uppermost was issued by an authority
    /// that the tenant still has, and no list on the record revokes one of them. A list that is overdue counts as it is: it is for the tenant to
    /// publish the next one, and nobody else's reads stop for want of it.
    ///
    /// # Errors
    /// [`Rejection`] with the reason for which it does not.
    pub fn certificate_stands(
        &self,
        holder: &Holder,
        certificate: &BoundCertificate,
        time_ms: u64,
    ) -> Result<(), Rejection> {
        let now_s = time_ms / 1000;
        let not_after_s = certificate.not_after_s();
        if now_s > not_after_s {
            return Err(Rejection::CertificateExpired {
                holder: holder.clone(),
                not_after_s,
            });
        }
        for link in &certificate.links {
            let serial = ByteBuf::from(link.serial.as_slice());
            if self
                .revocations(holder.tenant(), &link.issuer)
                .is_some_and(|list| list.revoked.contains(&serial))
            {
                return Err(Rejection::CertificateRevoked(holder.clone()));
            }
        }
        let anchored = certificate.links.last().is_some_and(|last| {
            self.authorities(holder.tenant()).is_some_and(|registered| {
                registered
                    .authorities
                    .iter()
                    .any(|it| it.key == last.issuer && now_s <= it.not_after_s)
            })
        });
        if anchored {
            Ok(())
        } else {
            Err(Rejection::CertificateUnanchored(holder.clone()))
        }
    }
}
