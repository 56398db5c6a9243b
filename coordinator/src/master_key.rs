//! The platform's master key: wraps what opens the documents of datasets with platform encryption, and the platform's own
//! secrets (the organisations' keys that it keeps, the API's secret, its key towards the crypto nodes).
//!
//! It is behind the trait [`MasterKey`], so that a key management service can take its place. The one implementation here,
//! [`SealedMasterKey`], keeps its keys in a file, sealed under a passphrase.
//!
//! Rotation makes a new key, under which everything is wrapped from then on. The keys before it stay, to unwrap what is wrapped
//! under them, until somebody has wrapped all of that anew ([`crate::platform`] does, in the background) and retires them.
//!
//! What is wrapped says under which key: [`wrapped_under`].

mod file;
mod sealed;

use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, Nonce, UnboundKey};
use futures_util::future::BoxFuture;
use zeroize::Zeroizing;

use crate::folder::{self, FolderError};

pub use sealed::SealedMasterKey;

/// Bytes of a master key's name.
pub const ID_SIZE: usize = 8;
/// Master keys that are kept at the same time, the present one included.
pub const MAX_KEYS: usize = 16;
const FORMAT: u8 = 1;
const SALT_SIZE: usize = 32;
const TAG_SIZE: usize = 16;
const MAX_SECRET_FILE: u64 = 64 * 1024;

/// Names a master key.
pub type KeyId = [u8; ID_SIZE];

/// A reason for which the master key, or something under it, does not open.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The passphrase does not fit the file, or the file was altered; the two cannot be told apart.
    #[error(
        "the passphrase does not open {0}: check that it is the one that this folder was made with"
    )]
    WrongPassphrase(String),
    /// The file is not a sealed master key.
    #[error("{0} is damaged: restore it from a backup")]
    Damaged(String),
    /// A passphrase file that is empty or far too long.
    #[error("the passphrase in {0} is empty: put a passphrase on its first line")]
    NoPassphrase(String),
    /// The wrapped secret belongs to another master key.
    #[error(
        "this was wrapped under the master key {found}, which is not here; the present one is {own}: put the master.key of that time back"
    )]
    OtherKey {
        /// Identifier of the key that it was wrapped under, hexadecimal.
        found: String,
        /// Identifier of the present key, hexadecimal.
        own: String,
    },
    /// Too many keys are still in use.
    #[error(
        "{MAX_KEYS} master keys are still in use: let `coordinator rewrap platform` end before the next rotation"
    )]
    TooMany,
    /// The key is the present one, or there is none of that name.
    #[error("the master key {0} cannot be retired: it is the present one, or not here")]
    NotRetirable(String),
    /// The wrapped secret was altered or belongs to another context.
    #[error("a key that the master key wraps was altered or belongs to something else")]
    Refused,
    /// The cipher or key derivation failed.
    #[error("the system's cryptographic library failed")]
    Cipher,
    /// A file could not be read or written.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Something that is under the master key could not be wrapped anew; what was, stays so.
    #[error(
        "{what} are not all under the new master key yet, and the old one stays until they are: {reason}"
    )]
    NotRewrapped {
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl MasterKeyError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::WrongPassphrase(_) => "passphrase-wrong",
            Self::Damaged(_) => "master-key-damaged",
            Self::NoPassphrase(_) => "passphrase-empty",
            Self::OtherKey { .. } => "master-key-other",
            Self::Refused => "master-key-refused",
            Self::Cipher => "master-key-cipher",
            Self::TooMany => "master-key-too-many",
            Self::NotRetirable(_) => "master-key-not-retirable",
            Self::Folder(e) => e.code(),
            Self::NotRewrapped { .. } => "master-key-not-rewrapped",
        }
    }
}

/// A passphrase, wiped when dropped.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// The first line of a file, without its line end.
    pub fn from_file(path: &Path) -> Result<Self, MasterKeyError> {
        let bytes = folder::read_limited(path, MAX_SECRET_FILE)?;
        let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Err(MasterKeyError::NoPassphrase(path.display().to_string()));
        }
        Ok(Self(Zeroizing::new(line.to_vec())))
    }

    /// A passphrase that was typed.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.as_bytes().to_vec()))
    }
}

/// A master key, as far as it is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name.
    pub id: KeyId,
    /// When it was made, milliseconds since the Unix epoch; 0 if its file is from before that was written down.
    pub made_ms: u64,
}

/// Wraps and unwraps secrets under keys that do not leave their keeper. `context` is authenticated and must be the
/// same both times.
///
/// What [`MasterKey::wrap`] gives begins with the byte 1 and the key's name, for [`wrapped_under`]; the rest is the keeper's affair.
pub trait MasterKey: Send + Sync {
    /// The keys that are here, the present one first.
    fn keys(&self) -> Vec<KeyInfo>;
    /// Names the present key.
    fn id(&self) -> KeyId;
    /// Wraps a secret under the present key.
    fn wrap<'a>(
        &'a self,
        secret: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, MasterKeyError>>;
    /// Unwraps what [`MasterKey::wrap`] made under the same context, whichever of the keys was the present one then.
    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<Secret, MasterKeyError>>;
    /// Makes a new key, which is durable when this returns, and the present one from then on. The others stay.
    fn rotate(&self, now_ms: u64) -> BoxFuture<'_, Result<KeyInfo, MasterKeyError>>;
    /// Destroys a key that is not the present one. What is still wrapped under it is lost.
    fn retire(&self, id: KeyId) -> BoxFuture<'_, Result<(), MasterKeyError>>;
}

/// The key that something is wrapped under; `None` if it is nothing that a master key wrapped.
#[must_use]
pub fn wrapped_under(wrapped: &[u8]) -> Option<KeyId> {
    let (format, rest) = wrapped.split_first()?;
    (*format == FORMAT).then(|| rest.first_chunk().copied())?
}

/// An unwrapped secret, wiped when dropped.
pub type Secret = Zeroizing<Vec<u8>>;

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, MasterKeyError> {
    Ok(LessSafeKey::new(
        UnboundKey::new(&AES_256_GCM, key).map_err(|_| MasterKeyError::Cipher)?,
    ))
}

/// Every key here encrypts one message.
fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_passphrase_is_the_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        std::fs::write(&path, "one two\r\nthree\n").unwrap();
        assert_eq!(
            Passphrase::from_file(&path).unwrap().0.as_slice(),
            b"one two"
        );
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(
            Passphrase::from_file(&path),
            Err(MasterKeyError::NoPassphrase(_))
        ));
    }
}
