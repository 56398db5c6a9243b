//! The public files of a node's folder: what can be read without the passphrase.

use std::fs;
use std::path::{Path, PathBuf};

use dkg::MemberIdentity;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::store::{FolderError, NodeIdentity, write_private};

/// The file with the public identity.
pub const IDENTITY_FILE: &str = "identity.json";
/// The folder of the audit log.
pub const AUDIT_FOLDER: &str = "audit";

/// The public halves of a node's keys. Made by `init`; the daemon holds it against the sealed ones at every start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicIdentity {
    /// The Ed25519 identity.
    #[serde(with = "hex::serde")]
    pub identity: [u8; 32],
    /// R.
    #[serde(with = "hex::serde")]
    pub recovery_public: [u8; 32],
}

/// Why the public identity cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {reason}; it is made by `cryptonode init`, restore it from a backup")]
pub struct PublicIdentityError {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub reason: String,
}

impl PublicIdentity {
    /// The public halves of `identity`.
    #[must_use]
    pub fn of(identity: &NodeIdentity) -> Self {
        Self {
            identity: identity.public(),
            recovery_public: identity.recovery_public,
        }
    }

    /// Reads it from a node's folder.
    ///
    /// # Errors
    /// [`PublicIdentityError`] if it is missing or not what `init` wrote.
    pub fn read(folder: &Path) -> Result<Self, PublicIdentityError> {
        let path = folder.join(IDENTITY_FILE);
        let text = fs::read_to_string(&path).map_err(|error| PublicIdentityError {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        serde_json::from_str(&text).map_err(|error| PublicIdentityError {
            path,
            reason: error.to_string(),
        })
    }

    /// Writes it into a new node's folder.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn write(&self, folder: &Path) -> Result<(), FolderError> {
        // Two hexadecimal strings always serialise.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        write_private(&folder.join(IDENTITY_FILE), text.as_bytes(), false)
    }

    /// The node as the others know it.
    #[must_use]
    pub fn member(&self, config: &Config) -> MemberIdentity {
        MemberIdentity {
            name: config.name.clone(),
            identity: self.identity,
            recovery_public: self.recovery_public,
            address: config.advertise.clone(),
        }
    }
}
