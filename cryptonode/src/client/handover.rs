//! The files that go from hand to hand when a read is made from the shell: what a reader shows to the organisations, and the re-encrypted key that whoever
//! asked the nodes gives to the reader. Either may come from somebody who means harm, so each is read with one form, and held against the
//! rest of the read before it is used.

use reencrypt::{Point, VerifiedWrappedKey};
use serde::{Deserialize, Serialize};

/// The form of both files.
const VERSION: u32 = 1;

/// Why a file is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// Not a file of that form.
    #[error("it is not what it should be: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// A form of another version.
    #[error(
        "its version is {found}, not {VERSION}: it was written by another version of this program"
    )]
    Version {
        /// That of the file.
        found: u32,
    },
    /// The shares are of another read.
    #[error("its shares are of another read, by their {what}: give the files of one read")]
    OtherRead {
        /// What differs.
        what: &'static str,
    },
}

impl HandoverError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } | Self::Version { .. } => "file",
            Self::OtherRead { .. } => "other-read",
        }
    }
}

fn malformed(reason: impl ToString) -> HandoverError {
    HandoverError::Malformed {
        reason: reason.to_string(),
    }
}

fn of_this_version(found: u32) -> Result<(), HandoverError> {
    match found {
        VERSION => Ok(()),
        found => Err(HandoverError::Version { found }),
    }
}

/// A read, as its reader describes it to the organisations. Nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadDescription {
    /// Of this form: 1.
    pub version: u32,
    /// Y.
    #[serde(with = "hex")]
    pub public_key: [u8; 32],
    /// SHA-256 of the wrapped key.
    #[serde(with = "hex")]
    pub write_id: [u8; 32],
    /// The writer's label, as far as it is text.
    pub label: String,
    /// X.
    #[serde(with = "hex")]
    pub ephemeral_point: [u8; 32],
    /// The client's public key, DER SubjectPublicKeyInfo.
    #[serde(with = "hex")]
    pub client_spki: Vec<u8>,
    /// SHA-256 of that: the client's name in audit logs.
    #[serde(with = "hex")]
    pub client: [u8; 32],
}

impl ReadDescription {
    /// Reads one from a file.
    ///
    /// # Errors
    /// [`HandoverError`]
    pub fn from_json(text: &str) -> Result<Self, HandoverError> {
        let read: Self = serde_json::from_str(text).map_err(malformed)?;
        of_this_version(read.version)?;
        Ok(read)
    }
}

/// A re-encrypted key: t verified shares of one result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// Of this form: 1.
    pub version: u32,
    /// Y.
    #[serde(with = "hex")]
    pub public_key: [u8; 32],
    /// Of which result they are.
    pub epoch: u64,
    /// Likewise.
    pub attempt: u32,
    /// Of which wrapped key.
    #[serde(with = "hex")]
    pub write_id: [u8; 32],
    /// To which ephemeral key.
    #[serde(with = "hex")]
    pub ephemeral_point: [u8; 32],
    /// The shares, as the nodes encoded them.
    pub shares: Vec<String>,
}

impl Shares {
    /// Reads one from a file.
    ///
    /// # Errors
    /// [`HandoverError`]
    pub fn from_json(text: &str) -> Result<Self, HandoverError> {
        let shares: Self = serde_json::from_str(text).map_err(malformed)?;
        of_this_version(shares.version)?;
        Ok(shares)
    }

    /// The shares, if they are said to be of this read: whoever mixes the files of two must not take the nodes for cheats.
    ///
    /// # Errors
    /// [`HandoverError::OtherRead`], [`HandoverError::Malformed`]
    pub fn of_read(
        &self,
        wrapped: &VerifiedWrappedKey,
        ephemeral_point: &Point,
    ) -> Result<Vec<Vec<u8>>, HandoverError> {
        let differs = [
            (
                "cluster's key",
                self.public_key != *wrapped.public_key().as_bytes(),
            ),
            ("wrapped key", self.write_id != wrapped.write_id()),
            (
                "ephemeral key",
                self.ephemeral_point != *ephemeral_point.as_bytes(),
            ),
        ];
        if let Some((what, _)) = differs.into_iter().find(|(_, differs)| *differs) {
            return Err(HandoverError::OtherRead { what });
        }
        let decoded = self.shares.iter().map(hex::decode);
        decoded.collect::<Result<_, _>>().map_err(malformed)
    }
}
