//! The file of sealed master keys: a JSON object, whose one encoding is what [`serde_json`] prints for it.
//!
//! Version 2, which is written:
//!
//! 1. Argon2id (RFC 9106) makes a key of the passphrase and a random salt; cost parameters are in the file.
//! 2. HKDF-SHA-256 makes of that key and a second salt, fresh with every writing, the key that seals this one writing. So the file can be
//!    written again without the passphrase, which the process forgets at its start.
//! 3. AES-256-GCM seals the master keys, 32 bytes each, the present one first; everything else in the file is associated data.
//!
//! Version 1 held one key, sealed under the key of step 1 itself. It is read, and replaced by the first rotation.

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::Aad;
use cryptonode::randomness;
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    ID_SIZE, MAX_KEYS, MAX_SECRET_FILE, MasterKeyError, Passphrase, SALT_SIZE, TAG_SIZE, cipher,
    zero_nonce,
};
use crate::folder;

const KEY_SIZE: usize = 32;
const FILE_TAG: &[u8] = b"coordinator/v1/master-key-file";
const SEAL_INFO: &[u8] = b"coordinator/v1/master-key-file-seal";

/// RFC 9106's second recommendation: 64 MiB, three passes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
/// More than this a damaged or hostile file shall not make us allocate.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 64;

/// A master key's bytes. On the heap, so that nothing that moves leaves copies behind.
pub(super) type KeyBytes = Box<Zeroizing<[u8; KEY_SIZE]>>;

/// A key as it lies in the file.
pub(super) struct Stored {
    pub(super) key: KeyBytes,
    pub(super) made_ms: u64,
}

/// What the passphrase makes: seals the file, and nothing else.
pub(super) struct FileKey {
    memory_kib: u32,
    passes: u32,
    salt: [u8; SALT_SIZE],
    key: KeyBytes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(with = "hex")]
    id: [u8; ID_SIZE],
    made_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u8,
    kdf: String,
    memory_kib: u32,
    passes: u32,
    #[serde(with = "hex")]
    salt: [u8; SALT_SIZE],
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional")]
    seal_salt: Option<[u8; SALT_SIZE]>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Entry>,
    #[serde(with = "hex")]
    sealed: Vec<u8>,
}

/// Hexadecimal that may be absent.
mod optional {
    use super::SALT_SIZE;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        value: &Option<[u8; SALT_SIZE]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&value.map(hex::encode).unwrap_or_default())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<[u8; SALT_SIZE]>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut salt = [0; SALT_SIZE];
        hex::decode_to_slice(text, &mut salt).map_err(serde::de::Error::custom)?;
        Ok(Some(salt))
    }
}

impl File {
    /// Everything that is not sealed.
    fn context(&self) -> Vec<u8> {
        let mut context = [FILE_TAG, &[self.version]].concat();
        context.extend_from_slice(&self.memory_kib.to_le_bytes());
        context.extend_from_slice(&self.passes.to_le_bytes());
        context.extend_from_slice(&self.salt);
        context.extend_from_slice(self.seal_salt.as_ref().map_or(&[], |salt| salt.as_slice()));
        for entry in &self.keys {
            context.extend_from_slice(&entry.id);
            context.extend_from_slice(&entry.made_ms.to_le_bytes());
        }
        context
    }

    /// Whether it is of a version that is known, and asks for no more than it may.
    fn is_sound(&self) -> bool {
        let keys = match (self.version, self.seal_salt) {
            (1, None) if self.keys.is_empty() => 1,
            (2, Some(_)) => self.keys.len(),
            _ => return false,
        };
        self.kdf == "argon2id"
            && (8..=MAX_MEMORY_KIB).contains(&self.memory_kib)
            && (1..=MAX_PASSES).contains(&self.passes)
            && (1..=MAX_KEYS).contains(&keys)
            && self.sealed.len() == keys * KEY_SIZE + TAG_SIZE
    }
}

impl FileKey {
    /// A key of the passphrase and a fresh salt.
    pub(super) fn new(passphrase: &Passphrase) -> Result<Self, MasterKeyError> {
        Self::derive(passphrase, MEMORY_KIB, PASSES, randomness::public())
    }

    fn derive(
        passphrase: &Passphrase,
        memory_kib: u32,
        passes: u32,
        salt: [u8; SALT_SIZE],
    ) -> Result<Self, MasterKeyError> {
        let params = Params::new(memory_kib, passes, 1, Some(KEY_SIZE))
            .map_err(|_| MasterKeyError::Cipher)?;
        let mut key: KeyBytes = Box::new(Zeroizing::new([0; KEY_SIZE]));
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(&passphrase.0, &salt, key.as_mut_slice())
            .map_err(|_| MasterKeyError::Cipher)?;
        Ok(Self {
            memory_kib,
            passes,
            salt,
            key,
        })
    }

    fn seal_key(&self, seal_salt: &[u8]) -> Result<Zeroizing<[u8; KEY_SIZE]>, MasterKeyError> {
        let mut key = Zeroizing::new([0; KEY_SIZE]);
        Hkdf::<Sha256>::new(Some(seal_salt), self.key.as_slice())
            .expand(SEAL_INFO, key.as_mut())
            .map_err(|_| MasterKeyError::Cipher)?;
        Ok(key)
    }

    /// The text of the file with these keys, each with its name.
    pub(super) fn seal<'k>(
        &self,
        keys: impl Iterator<Item = ([u8; ID_SIZE], u64, &'k KeyBytes)>,
    ) -> Result<Vec<u8>, MasterKeyError> {
        let seal_salt: [u8; SALT_SIZE] = randomness::public();
        let mut file = File {
            version: 2,
            kdf: "argon2id".into(),
            memory_kib: self.memory_kib,
            passes: self.passes,
            salt: self.salt,
            seal_salt: Some(seal_salt),
            keys: Vec::new(),
            sealed: Vec::new(),
        };
        // Room for all at once: a buffer that grows leaves copies behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(MAX_KEYS * KEY_SIZE + TAG_SIZE));
        for (id, made_ms, key) in keys {
            file.keys.push(Entry { id, made_ms });
            plain.extend_from_slice(key.as_slice());
        }
        let tag = cipher(&*self.seal_key(&seal_salt)?)?
            .seal_in_place_separate_tag(zero_nonce(), Aad::from(file.context()), &mut plain)
            .map_err(|_| MasterKeyError::Cipher)?;
        file.sealed = [plain.as_slice(), tag.as_ref()].concat();
        serde_json::to_vec_pretty(&file).map_err(|_| MasterKeyError::Cipher)
    }
}

/// Opens the file at `path`: its keys, the present one first, and what seals it anew.
pub(super) fn open(
    path: &Path,
    passphrase: &Passphrase,
) -> Result<(FileKey, Vec<Stored>), MasterKeyError> {
    let name = || path.display().to_string();
    let text = folder::read_secret(path, MAX_SECRET_FILE)?;
    let mut file: File =
        serde_json::from_slice(&text).map_err(|_| MasterKeyError::Damaged(name()))?;
    if !file.is_sound() {
        return Err(MasterKeyError::Damaged(name()));
    }
    let key = FileKey::derive(passphrase, file.memory_kib, file.passes, file.salt)?;
    let cipher = match &file.seal_salt {
        None => cipher(&key.key)?,
        Some(seal_salt) => cipher(&*key.seal_key(seal_salt)?)?,
    };
    let context = file.context();
    let opened = cipher
        .open_in_place(zero_nonce(), Aad::from(context), &mut file.sealed)
        .map_err(|_| MasterKeyError::WrongPassphrase(name()))?;
    let mut made = file.keys.iter().map(|entry| entry.made_ms);
    let mut keys = Vec::new();
    for bytes in opened.chunks_exact(KEY_SIZE) {
        let mut key: KeyBytes = Box::new(Zeroizing::new([0; KEY_SIZE]));
        key.copy_from_slice(bytes);
        let made_ms = made.next().unwrap_or(0);
        keys.push(Stored { key, made_ms });
    }
    file.sealed.zeroize();
    Ok((key, keys))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A file as version 1 wrote it.
    #[test]
    fn a_file_of_the_first_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let passphrase = Passphrase::new("correct horse");
        let salt = [7; SALT_SIZE];
        let key = FileKey::derive(&passphrase, 64, 1, salt).unwrap();
        let mut file = File {
            version: 1,
            kdf: "argon2id".into(),
            memory_kib: 64,
            passes: 1,
            salt,
            seal_salt: None,
            keys: Vec::new(),
            sealed: vec![9; KEY_SIZE],
        };
        let context = file.context();
        let mut sealed = file.sealed.clone();
        cipher(&key.key)
            .unwrap()
            .seal_in_place_append_tag(zero_nonce(), Aad::from(context), &mut sealed)
            .unwrap();
        file.sealed = sealed;
        let text = serde_json::to_string(&file).unwrap();
        assert!(!text.contains("keys") && !text.contains("seal_salt"));
        folder::write_private(&path, text.as_bytes()).unwrap();
        let (_, keys) = open(&path, &passphrase).unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys.first().unwrap().key.as_slice(), [9; KEY_SIZE]);
    }
}
