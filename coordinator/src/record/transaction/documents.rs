//! What is asked about documents: writes, links, reads, erasures, rewraps.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::identifier::{DocumentName, Identifier, LinkName, VersionName};

/// How the document key (DEK2) of one version is wrapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyWrapping {
    /// There is no key: the body is stored as it is.
    None,
    /// Under the platform's master key; the record does not look inside.
    Platform {
        /// The platform's format, at most [`super::MAX_PLATFORM_KEY`] bytes.
        #[serde(with = "serde_bytes")]
        wrapped_key: Vec<u8>,
    },
    /// Under the dataset's cluster key.
    Threshold {
        /// Encoding of protocol section 3, labelled with [`crate::record::label::wrapped_key_label`].
        #[serde(with = "serde_bytes")]
        wrapped_key: Vec<u8>,
    },
}

/// Where the stored body is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// Here: the stored bytes, at most [`super::MAX_LEDGER_BODY`].
    OnLedger(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Elsewhere.
    OffChain {
        /// Where, encrypted unless the dataset is not; at most [`super::MAX_POINTER`] bytes.
        #[serde(with = "serde_bytes")]
        pointer: Vec<u8>,
    },
}

/// See [`super::Transaction::Write`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The tenant.
    pub tenant: Identifier,
    /// The dataset.
    pub dataset: Identifier,
    /// The document.
    pub document: Identifier,
    /// 1 for a new document, else its latest version plus 1.
    pub version: u64,
    /// Media type, printable ASCII of at most [`super::MAX_CONTENT_TYPE`] bytes. Public: leave it out where it tells too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Bytes of the plaintext.
    pub length: u64,
    /// SHA-256 over the stored body, which is the encrypted one where there is encryption.
    #[serde(with = "serde_bytes")]
    pub checksum: [u8; 32],
    /// DEK1 and metadata wrapped under DEK2, at most [`super::MAX_WRAPPED_DEK1`] bytes; empty where there is no encryption.
    #[serde(with = "serde_bytes")]
    pub wrapped_dek1: Vec<u8>,
    /// DEK2, wrapped.
    pub key: KeyWrapping,
    /// Where the stored body is.
    pub body: Body,
}

impl Write {
    /// The version that is written.
    #[must_use]
    pub fn name(&self) -> VersionName {
        VersionName {
            tenant: self.tenant.clone(),
            dataset: self.dataset.clone(),
            document: self.document.clone(),
            version: self.version,
        }
    }
}

/// See [`super::Transaction::Link`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The tenant.
    pub tenant: Identifier,
    /// The dataset that the link lies in: its writers create and change it.
    pub dataset: Identifier,
    /// The link.
    pub link: Identifier,
    /// 1 for a new link, else its version plus 1.
    pub version: u64,
    /// Where it starts.
    pub from: VersionName,
    /// Where it leads.
    pub to: VersionName,
    /// What it means, such as `derived-from`.
    pub relation: Identifier,
}

impl Link {
    /// The link that is written.
    #[must_use]
    pub fn name(&self) -> LinkName {
        LinkName {
            tenant: self.tenant.clone(),
            dataset: self.dataset.clone(),
            link: self.link.clone(),
        }
    }
}

/// What a read is re-encrypted to, and who may present the approvals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reencryption {
    /// `write_id` of the version's wrapped key.
    #[serde(with = "serde_bytes")]
    pub write_id: [u8; 32],
    /// Encoding of protocol section 4, [`super::EPHEMERAL_KEY_LENGTH`] bytes, made for this read alone.
    #[serde(with = "serde_bytes")]
    pub ephemeral_key: Vec<u8>,
    /// SubjectPublicKeyInfo (DER) of the TLS key of the client that asks the crypto nodes.
    #[serde(with = "serde_bytes")]
    pub client_spki: Vec<u8>,
}

/// See [`super::Transaction::Read`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The tenant.
    pub tenant: Identifier,
    /// The dataset.
    pub dataset: Identifier,
    /// The document.
    pub document: Identifier,
    /// The version.
    pub version: u64,
    /// For a version under a cluster key, and for no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reencryption: Option<Reencryption>,
}

impl Read {
    /// The version that is read.
    #[must_use]
    pub fn name(&self) -> VersionName {
        VersionName {
            tenant: self.tenant.clone(),
            dataset: self.dataset.clone(),
            document: self.document.clone(),
            version: self.version,
        }
    }
}

/// See [`super::Transaction::Erase`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erase {
    /// The tenant.
    pub tenant: Identifier,
    /// The dataset.
    pub dataset: Identifier,
    /// The document.
    pub document: Identifier,
    /// The one version; if absent, all of them, and no further version can be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

impl Erase {
    /// The document.
    #[must_use]
    pub fn name(&self) -> DocumentName {
        DocumentName {
            tenant: self.tenant.clone(),
            dataset: self.dataset.clone(),
            document: self.document.clone(),
        }
    }
}

/// See [`super::Transaction::Rewrap`]. Body, checksum, length and history stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrap {
    /// The tenant.
    pub tenant: Identifier,
    /// The dataset.
    pub dataset: Identifier,
    /// The document.
    pub document: Identifier,
    /// The version.
    pub version: u64,
    /// SHA-256 of the wrapped key that this one takes the place of, under a cluster key its `write_id`: nobody replaces what it has not
    /// seen.
    #[serde(with = "serde_bytes")]
    pub replaces: [u8; 32],
    /// Encoding of protocol section 3 under the dataset's cluster key, labelled with [`crate::record::label::wrapped_key_label`] of the version and of
    /// the user who wrote it.
    #[serde(with = "serde_bytes")]
    pub wrapped_key: Vec<u8>,
}

impl Rewrap {
    /// The version.
    #[must_use]
    pub fn name(&self) -> VersionName {
        VersionName {
            tenant: self.tenant.clone(),
            dataset: self.dataset.clone(),
            document: self.document.clone(),
            version: self.version,
        }
    }
}

impl KeyWrapping {
    /// What [`Rewrap::replaces`] names it by; `None` if there is no key.
    #[must_use]
    pub fn digest(&self) -> Option<[u8; 32]> {
        match self {
            Self::None => None,
            Self::Platform { wrapped_key } | Self::Threshold { wrapped_key } => {
                Some(Sha256::digest(wrapped_key).into())
            }
        }
    }
}
