//! The platform's master key: wraps the document keys of datasets with platform encryption, and the platform's own
//! secrets (the organisations' keys that it keeps, the API's secret, its key towards the crypto nodes).
//!
//! It is behind the trait [`MasterKey`], so that a key management service can take its place. The one implementation
//! here keeps a random key in a file, sealed under a passphrase:
//!
//! 1. Argon2id (RFC 9106) makes a key of the passphrase and a random salt; cost parameters are in the file.
//! 2. AES-256-GCM under that key seals 32 random bytes; salt and parameters are associated data.
//! 3. Each wrapping draws a 32-byte salt and derives a key of its own from the master key by HKDF-SHA-256, so the
//!    number of wrappings is not limited by the nonce. Encoding: `0x01 ‖ key id(8) ‖ salt(32) ‖ ciphertext ‖ tag(16)`.

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use cryptonode::randomness;
use futures_util::future::BoxFuture;
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::folder::{self, FolderError};

const FORMAT: u8 = 1;
const ID_SIZE: usize = 8;
const SALT_SIZE: usize = 32;
const TAG_SIZE: usize = 16;
const MAX_SECRET_FILE: u64 = 64 * 1024;
const FILE_TAG: &[u8] = b"coordinator/v1/master-key-file";
const WRAP_INFO: &[u8] = b"coordinator/v1/master-key-wrap";
const ID_INFO: &[u8] = b"coordinator/v1/master-key-id";

/// RFC 9106's second recommendation: 64 MiB, three passes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
/// More than this a damaged or hostile file shall not make us allocate.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 64;

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
    #[error("this was wrapped under another master key ({found}), this one is {own}")]
    OtherKey {
        /// Identifier of the key that it was wrapped under, hexadecimal.
        found: String,
        /// Identifier of this key, hexadecimal.
        own: String,
    },
    /// The wrapped secret was altered or belongs to another context.
    #[error("a key that the master key wraps was altered or belongs to something else")]
    Refused,
    /// The cipher or key derivation failed.
    #[error("the system's cryptographic library failed")]
    Cipher,
    /// A file could not be read or written.
    #[error(transparent)]
    Folder(#[from] FolderError),
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
            Self::Folder(e) => e.code(),
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

/// Wraps and unwraps secrets under a key that does not leave its keeper. `context` is authenticated and must be the
/// same both times.
pub trait MasterKey: Send + Sync {
    /// Names the key; stands in what it wraps.
    fn id(&self) -> [u8; ID_SIZE];
    /// Wraps a secret.
    fn wrap<'a>(
        &'a self,
        secret: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, MasterKeyError>>;
    /// Unwraps what [`MasterKey::wrap`] made under the same context.
    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<Secret, MasterKeyError>>;
}

/// An unwrapped secret, wiped when dropped.
pub type Secret = Zeroizing<Vec<u8>>;

/// The file of a sealed master key. Its one encoding is what [`serde_json`] prints for it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u8,
    kdf: String,
    memory_kib: u32,
    passes: u32,
    #[serde(with = "hex")]
    salt: [u8; SALT_SIZE],
    #[serde(with = "hex")]
    sealed: Vec<u8>,
}

impl File {
    fn cipher(&self, passphrase: &Passphrase) -> Result<LessSafeKey, MasterKeyError> {
        let params = Params::new(self.memory_kib, self.passes, 1, Some(32))
            .map_err(|_| MasterKeyError::Cipher)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(&passphrase.0, &self.salt, key.as_mut())
            .map_err(|_| MasterKeyError::Cipher)?;
        cipher(&key)
    }

    fn context(&self) -> Vec<u8> {
        let (memory, passes) = (self.memory_kib.to_le_bytes(), self.passes.to_le_bytes());
        [FILE_TAG, &[self.version], &memory, &passes, &self.salt].concat()
    }
}

/// A master key in a file, sealed under a passphrase.
pub struct SealedMasterKey {
    key: Box<Zeroizing<[u8; 32]>>,
    id: [u8; ID_SIZE],
}

impl SealedMasterKey {
    /// Draws a new key and writes it to `path`, which must not exist.
    pub fn create(path: &Path, passphrase: &Passphrase) -> Result<Self, MasterKeyError> {
        let key = randomness::secret::<32>();
        let mut file = File {
            version: FORMAT,
            kdf: "argon2id".into(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            salt: randomness::public(),
            sealed: Vec::new(),
        };
        let mut sealed = key.to_vec();
        file.cipher(passphrase)?
            .seal_in_place_append_tag(zero_nonce(), Aad::from(file.context()), &mut sealed)
            .map_err(|_| MasterKeyError::Cipher)?;
        file.sealed = sealed;
        let text = serde_json::to_vec_pretty(&file).map_err(|_| MasterKeyError::Cipher)?;
        folder::write_private_new(path, &text)?;
        Self::new(key)
    }

    /// Opens the key in the file at `path`.
    pub fn open(path: &Path, passphrase: &Passphrase) -> Result<Self, MasterKeyError> {
        let name = || path.display().to_string();
        let text = folder::read_secret(path, MAX_SECRET_FILE)?;
        let mut file: File =
            serde_json::from_slice(&text).map_err(|_| MasterKeyError::Damaged(name()))?;
        let in_bounds = (8..=MAX_MEMORY_KIB).contains(&file.memory_kib)
            && (1..=MAX_PASSES).contains(&file.passes);
        if file.version != FORMAT
            || file.kdf != "argon2id"
            || !in_bounds
            || file.sealed.len() != 32 + TAG_SIZE
        {
            return Err(MasterKeyError::Damaged(name()));
        }
        let (cipher, context) = (file.cipher(passphrase)?, file.context());
        let opened = cipher
            .open_in_place(zero_nonce(), Aad::from(context), &mut file.sealed)
            .map_err(|_| MasterKeyError::WrongPassphrase(name()))?;
        let mut key = Box::new(Zeroizing::new([0; 32]));
        key.copy_from_slice(opened);
        zeroize::Zeroize::zeroize(&mut file.sealed);
        Self::new(key)
    }

    fn new(key: Box<Zeroizing<[u8; 32]>>) -> Result<Self, MasterKeyError> {
        let mut id = [0; ID_SIZE];
        Hkdf::<Sha256>::new(None, key.as_slice())
            .expand(ID_INFO, &mut id)
            .map_err(|_| MasterKeyError::Cipher)?;
        Ok(Self { key, id })
    }

    fn one_time_cipher(&self, salt: &[u8]) -> Result<LessSafeKey, MasterKeyError> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(salt), self.key.as_slice())
            .expand(WRAP_INFO, key.as_mut())
            .map_err(|_| MasterKeyError::Cipher)?;
        cipher(&key)
    }

    fn wrap_now(&self, secret: &[u8], context: &[u8]) -> Result<Vec<u8>, MasterKeyError> {
        let salt: [u8; SALT_SIZE] = randomness::public();
        let mut sealed = Zeroizing::new(secret.to_vec());
        let tag = self
            .one_time_cipher(&salt)?
            .seal_in_place_separate_tag(zero_nonce(), Aad::from(context), &mut sealed)
            .map_err(|_| MasterKeyError::Cipher)?;
        Ok([&[FORMAT], &self.id[..], &salt, &sealed, tag.as_ref()].concat())
    }

    fn unwrap_now(&self, wrapped: &[u8], context: &[u8]) -> Result<Secret, MasterKeyError> {
        let parts = wrapped.split_first().and_then(|(format, rest)| {
            let (id, rest) = rest.split_first_chunk::<ID_SIZE>()?;
            let (salt, sealed) = rest.split_first_chunk::<SALT_SIZE>()?;
            (*format == FORMAT).then_some((id, salt, sealed))
        });
        let (id, salt, sealed) = parts.ok_or(MasterKeyError::Refused)?;
        if *id != self.id {
            return Err(MasterKeyError::OtherKey {
                found: hex::encode(id),
                own: hex::encode(self.id),
            });
        }
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let opened = self.one_time_cipher(salt)?.open_in_place(
            zero_nonce(),
            Aad::from(context),
            &mut buffer,
        );
        let length = opened.map_err(|_| MasterKeyError::Refused)?.len();
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Seals a secret of the platform's own into a file; `what` says which one it is, so that files cannot be exchanged.
    pub fn write_sealed(
        &self,
        path: &Path,
        what: &str,
        secret: &[u8],
    ) -> Result<(), MasterKeyError> {
        let wrapped = self.wrap_now(secret, file_context(what).as_bytes())?;
        Ok(folder::write_private(path, &wrapped)?)
    }

    /// Opens what [`SealedMasterKey::write_sealed`] wrote.
    pub fn read_sealed(&self, path: &Path, what: &str) -> Result<Secret, MasterKeyError> {
        let wrapped = folder::read_secret(path, MAX_SECRET_FILE)?;
        self.unwrap_now(&wrapped, file_context(what).as_bytes())
            .map_err(|e| match e {
                MasterKeyError::Refused => MasterKeyError::Damaged(path.display().to_string()),
                other => other,
            })
    }
}

impl MasterKey for SealedMasterKey {
    fn id(&self) -> [u8; ID_SIZE] {
        self.id
    }

    fn wrap<'a>(
        &'a self,
        secret: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, MasterKeyError>> {
        Box::pin(async move { self.wrap_now(secret, context) })
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<Secret, MasterKeyError>> {
        Box::pin(async move { self.unwrap_now(wrapped, context) })
    }
}

fn file_context(what: &str) -> String {
    format!("coordinator/v1/sealed-file/{what}")
}

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
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn opens_with_its_passphrase_only_and_survives_no_alteration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let made = SealedMasterKey::create(&path, &Passphrase::new("correct horse")).unwrap();
        let again = SealedMasterKey::open(&path, &Passphrase::new("correct horse")).unwrap();
        assert_eq!(made.id(), again.id());
        assert!(matches!(
            SealedMasterKey::open(&path, &Passphrase::new("correct hors")),
            Err(MasterKeyError::WrongPassphrase(_))
        ));
        assert!(SealedMasterKey::create(&path, &Passphrase::new("other")).is_err());

        let wrapped = made.wrap_now(b"secret", b"here").unwrap();
        assert_eq!(
            again.unwrap_now(&wrapped, b"here").unwrap().as_slice(),
            b"secret"
        );
        assert!(matches!(
            again.unwrap_now(&wrapped, b"there"),
            Err(MasterKeyError::Refused)
        ));
        for i in 0..wrapped.len() {
            let mut altered = wrapped.clone();
            altered[i] ^= 1;
            assert!(again.unwrap_now(&altered, b"here").is_err());
            assert!(again.unwrap_now(&wrapped[..i], b"here").is_err());
        }

        let text = std::fs::read_to_string(&path).unwrap();
        folder::write_private(
            &path,
            text.replace("\"passes\": 3", "\"passes\": 3000000000")
                .as_bytes(),
        )
        .unwrap();
        let result = SealedMasterKey::open(&path, &Passphrase::new("correct horse"));
        assert!(matches!(result, Err(MasterKeyError::Damaged(_))));
    }

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
