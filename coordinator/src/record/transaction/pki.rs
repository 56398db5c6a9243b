//! What is asked about companies' own certificates.

use super::super::identifier::{ClientName, Identifier, UserName};
use super::is_false;
use certs::chain;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Authorities that one tenant has registered.
pub const MAX_AUTHORITIES: usize = 8;
/// Certificates of a chain, the registered authority's not counted.
pub const MAX_CHAIN: usize = chain::MAX_CHAIN;
/// Bytes of the longest revocation list on the record: some 1,700 certificates.
pub const MAX_REVOCATION_LIST: usize = 64 * 1024;

/// See [`super::Transaction::TenantAuthorities`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantAuthorities {
    /// The tenant.
    pub tenant: Identifier,
    /// Certificates (DER) of all authorities whose holders may be bound to users of the tenant, ascending by bytes, each once; none takes them all back.
    pub authorities: Vec<ByteBuf>,
    /// Whether reads of the tenant's users go to bound clients alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bound_clients: bool,
}

/// See [`super::Transaction::UserCertify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserCertify {
    /// The tenant.
    pub tenant: Identifier,
    /// The user.
    pub user: Identifier,
    /// The certificate; if absent, the user is bound to none any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certification>,
}

impl UserCertify {
    /// The user.
    #[must_use]
    pub fn name(&self) -> UserName {
        UserName {
            tenant: self.tenant.clone(),
            user: self.user.clone(),
        }
    }
}

/// See [`super::Transaction::ClientCertify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCertify {
    /// The tenant whose users read by it.
    pub tenant: Identifier,
    /// The client: SHA-256 of the SubjectPublicKeyInfo that it shows to crypto nodes, and that reads name.
    #[serde(with = "serde_bytes")]
    pub client: [u8; 32],
    /// The certificate; if absent, the client is bound to none any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certification>,
}

impl ClientCertify {
    /// The client.
    #[must_use]
    pub fn name(&self) -> ClientName {
        ClientName {
            tenant: self.tenant.clone(),
            client: self.client,
        }
    }
}

/// A certificate, and that its holder agrees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certification {
    /// Certificates (DER), the holder's first, up to one that a registered authority issued.
    pub chain: Vec<ByteBuf>,
    /// The holder's signature over [`super::super::signed::certificate_statement`], for a client over [`super::super::signed::client_statement`].
    #[serde(with = "serde_bytes")]
    pub proof: Vec<u8>,
}

/// See [`super::Transaction::RevocationsPublish`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationsPublish {
    /// The tenant.
    pub tenant: Identifier,
    /// Certificates (DER) of authorities, that of the list first, up to one that a registered authority issued; none if a registered authority signed the list.
    pub chain: Vec<ByteBuf>,
    /// The list (DER), complete, at most [`MAX_REVOCATION_LIST`] bytes.
    #[serde(with = "serde_bytes")]
    pub list: Vec<u8>,
}
