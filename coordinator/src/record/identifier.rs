//! Names on the record: 1 to 128 bytes of ASCII letters, digits, `.`, `_`, `-`, beginning with a letter or digit.
//!
//! So a name needs no escaping in a path, a certificate or a log, and no two names look alike by way of Unicode. Names
//! are public to every organisation: personal data does not belong into them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// A name on the record. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier(Arc<str>);

/// Why a text is no [`Identifier`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// Empty, or longer than [`Identifier::MAX_LENGTH`].
    #[error(
        "a name has 1 to {} characters, this one has {found}",
        Identifier::MAX_LENGTH
    )]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// A character that no name has.
    #[error(
        "a name has letters, digits, '.', '_' and '-' only, and begins with a letter or digit; {found:?} at position {position} is not allowed"
    )]
    Character {
        /// The character.
        found: char,
        /// Its byte offset.
        position: usize,
    },
}

impl Identifier {
    /// Bytes of the longest name.
    pub const MAX_LENGTH: usize = 128;

    /// Checks a name.
    ///
    /// # Errors
    /// [`IdentifierError`] if it is empty, too long, or has a character that no name has.
    pub fn new(name: &str) -> Result<Self, IdentifierError> {
        if name.is_empty() || name.len() > Self::MAX_LENGTH {
            return Err(IdentifierError::Length { found: name.len() });
        }
        let allowed = |(position, c): &(usize, char)| {
            c.is_ascii_alphanumeric() || (*position > 0 && matches!(c, '.' | '_' | '-'))
        };
        if let Some((position, found)) = name.char_indices().find(|at| !allowed(at)) {
            return Err(IdentifierError::Character { found, position });
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Identifier {
    type Err = IdentifierError;

    fn from_str(name: &str) -> Result<Self, IdentifierError> {
        Self::new(name)
    }
}

impl TryFrom<&str> for Identifier {
    type Error = IdentifierError;

    fn try_from(name: &str) -> Result<Self, IdentifierError> {
        Self::new(name)
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Identifier {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Identifier {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for Identifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Identifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::new(&name).map_err(de::Error::custom)
    }
}

/// A user of a tenant: what permissions and authorship refer to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UserName {
    /// The tenant that registered the user.
    pub tenant: Identifier,
    /// The user within the tenant.
    pub user: Identifier,
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.user)
    }
}

/// Why a text is no [`UserName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserNameError {
    /// No tenant, or no user.
    #[error("a user is TENANT/USER")]
    Form,
    /// The tenant's or the user's name.
    #[error(transparent)]
    Name(#[from] IdentifierError),
}

/// `TENANT/USER`, as [`fmt::Display`] writes it.
impl FromStr for UserName {
    type Err = UserNameError;

    fn from_str(text: &str) -> Result<Self, UserNameError> {
        let (tenant, user) = text.split_once('/').ok_or(UserNameError::Form)?;
        Ok(Self {
            tenant: tenant.parse()?,
            user: user.parse()?,
        })
    }
}

/// A client by which a tenant's users read: what asks the crypto nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientName {
    /// The tenant.
    pub tenant: Identifier,
    /// SHA-256 of the SubjectPublicKeyInfo of its TLS key.
    #[serde(with = "serde_bytes")]
    pub client: [u8; 32],
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, client } = self;
        write!(f, "client {} of tenant {tenant}", hex::encode(client))
    }
}

/// A dataset of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DatasetName {
    /// The tenant that the dataset belongs to.
    pub tenant: Identifier,
    /// The dataset within the tenant.
    pub dataset: Identifier,
}

impl DatasetName {
    /// The name of a document in this dataset.
    #[must_use]
    pub fn document(&self, document: Identifier) -> DocumentName {
        DocumentName {
            tenant: self.tenant.clone(),
            dataset: self.dataset.clone(),
            document,
        }
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.dataset)
    }
}

/// A document of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DocumentName {
    /// The tenant.
    pub tenant: Identifier,
    /// The dataset within the tenant.
    pub dataset: Identifier,
    /// The document within the dataset.
    pub document: Identifier,
}

impl DocumentName {
    /// The dataset that the document is in.
    #[must_use]
    pub fn dataset_name(&self) -> DatasetName {
        DatasetName {
            tenant: self.tenant.clone(),
            dataset: self.dataset.clone(),
        }
    }

    /// The name of one version.
    #[must_use]
    pub fn version(&self, version: u64) -> VersionName {
        VersionName {
            tenant: self.tenant.clone(),
            dataset: self.dataset.clone(),
            document: self.document.clone(),
            version,
        }
    }
}

impl fmt::Display for DocumentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.dataset, self.document)
    }
}

/// One version of a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VersionName {
    /// The tenant.
    pub tenant: Identifier,
    /// The dataset within the tenant.
    pub dataset: Identifier,
    /// The document within the dataset.
    pub document: Identifier,
    /// The version, from 1.
    pub version: u64,
}

impl VersionName {
    /// The dataset that the version is in.
    #[must_use]
    pub fn dataset_name(&self) -> DatasetName {
        DatasetName {
            tenant: self.tenant.clone(),
            dataset: self.dataset.clone(),
        }
    }

    /// The document that this is a version of.
    #[must_use]
    pub fn document_name(&self) -> DocumentName {
        self.dataset_name().document(self.document.clone())
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}@{}",
            self.tenant, self.dataset, self.document, self.version
        )
    }
}

/// A link, which lies in a dataset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkName {
    /// The tenant.
    pub tenant: Identifier,
    /// The dataset whose writers may change the link.
    pub dataset: Identifier,
    /// The link within the dataset.
    pub link: Identifier,
}

impl LinkName {
    /// The dataset that the link is in.
    #[must_use]
    pub fn dataset_name(&self) -> DatasetName {
        DatasetName {
            tenant: self.tenant.clone(),
            dataset: self.dataset.clone(),
        }
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.dataset, self.link)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_user_is_its_tenant_and_its_name() {
        let alice: UserName = "acme/alice".parse().unwrap();
        assert_eq!(alice.to_string(), "acme/alice");
        assert_eq!("alice".parse::<UserName>(), Err(UserNameError::Form));
        for text in ["/alice", "acme/", "acme/alice/x", "ac me/alice"] {
            let refused = text.parse::<UserName>();
            assert!(matches!(refused, Err(UserNameError::Name(_))), "{text}");
        }
    }

    #[test]
    fn names_are_bounded() {
        assert!(Identifier::new("a").is_ok() && Identifier::new("0.b_c-D").is_ok());
        assert!(Identifier::new(&"x".repeat(128)).is_ok());
        assert_eq!(
            Identifier::new(&"x".repeat(129)),
            Err(IdentifierError::Length { found: 129 })
        );
        assert_eq!(
            Identifier::new(""),
            Err(IdentifierError::Length { found: 0 })
        );
        for (name, position) in [
            (".a", 0),
            ("-a", 0),
            ("a/b", 1),
            ("a b", 1),
            ("aé", 1),
            ("a\0", 1),
        ] {
            assert!(
                matches!(Identifier::new(name), Err(IdentifierError::Character { position: p, .. }) if p == position)
            );
        }
    }
}
