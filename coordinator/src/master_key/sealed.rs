//! Master keys in a file ([`super::file`]), sealed under a passphrase.
//!
//! Each wrapping draws a 32-byte salt and derives a key of its own from the master key by HKDF-SHA-256, so the number of
//! wrappings is not limited by the nonce. Encoding: `0x01 ‖ key id(8) ‖ salt(32) ‖ ciphertext ‖ tag(16)`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aws_lc_rs::aead::{Aad, LessSafeKey};
use cryptonode::randomness;
use futures_util::future::BoxFuture;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::file::{self, FileKey, KeyBytes};
use super::{
    FORMAT, KeyId, KeyInfo, MAX_KEYS, MAX_SECRET_FILE, MasterKey, MasterKeyError, Passphrase,
    SALT_SIZE, Secret, cipher, wrapped_under, zero_nonce,
};
use crate::folder;
use crate::platform::now_ms;

const WRAP_INFO: &[u8] = b"coordinator/v1/master-key-wrap";
const ID_INFO: &[u8] = b"coordinator/v1/master-key-id";
const SEALED: &str = "sealed";

struct Key {
    info: KeyInfo,
    key: KeyBytes,
}

impl Key {
    fn new(key: KeyBytes, made_ms: u64) -> Result<Arc<Self>, MasterKeyError> {
        let mut id = KeyId::default();
        Hkdf::<Sha256>::new(None, key.as_slice())
            .expand(ID_INFO, &mut id)
            .map_err(|_| MasterKeyError::Cipher)?;
        let info = KeyInfo { id, made_ms };
        Ok(Arc::new(Self { info, key }))
    }

    fn one_time_cipher(&self, salt: &[u8]) -> Result<LessSafeKey, MasterKeyError> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(salt), self.key.as_slice())
            .expand(WRAP_INFO, key.as_mut())
            .map_err(|_| MasterKeyError::Cipher)?;
        cipher(&key)
    }
}

/// Master keys in a file, sealed under a passphrase.
pub struct SealedMasterKey {
    path: PathBuf,
    /// One change of the file at a time.
    file: Mutex<FileKey>,
    /// The present key, and those before it.
    keys: RwLock<(Arc<Key>, Vec<Arc<Key>>)>,
}

impl SealedMasterKey {
    /// Draws a new key and writes it to `path`, which must not exist.
    pub fn create(path: &Path, passphrase: &Passphrase) -> Result<Self, MasterKeyError> {
        let key = Key::new(fresh(), now_ms())?;
        let made = Self {
            path: path.to_owned(),
            file: Mutex::new(FileKey::new(passphrase)?),
            keys: RwLock::new((key, Vec::new())),
        };
        let text = {
            let (present, others) = made.held();
            let file = made.file.lock().unwrap_or_else(PoisonError::into_inner);
            text(&file, &present, &others)?
        };
        folder::write_private_new(path, &text)?;
        Ok(made)
    }

    /// Opens the keys in the file at `path`.
    pub fn open(path: &Path, passphrase: &Passphrase) -> Result<Self, MasterKeyError> {
        let (file, stored) = file::open(path, passphrase)?;
        let mut keys = stored.into_iter().map(|it| Key::new(it.key, it.made_ms));
        let damaged = || MasterKeyError::Damaged(path.display().to_string());
        let present = keys.next().ok_or_else(damaged)??;
        let others = keys.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(file),
            keys: RwLock::new((present, others)),
        })
    }

    fn held(&self) -> (Arc<Key>, Vec<Arc<Key>>) {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes other keys of those that are held: durable first, then in use.
    fn change<T>(
        &self,
        change: impl FnOnce(
            Arc<Key>,
            Vec<Arc<Key>>,
        ) -> Result<(Arc<Key>, Vec<Arc<Key>>, T), MasterKeyError>,
    ) -> Result<T, MasterKeyError> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (present, others) = self.held();
        let (present, others, made) = change(present, others)?;
        folder::write_private(&self.path, &text(&file, &present, &others)?)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = (present, others);
        Ok(made)
    }

    fn wrap_now(&self, secret: &[u8], context: &[u8]) -> Result<Vec<u8>, MasterKeyError> {
        let (present, _) = self.held();
        let salt: [u8; SALT_SIZE] = randomness::public();
        let mut sealed = Zeroizing::new(secret.to_vec());
        let tag = present
            .one_time_cipher(&salt)?
            .seal_in_place_separate_tag(zero_nonce(), Aad::from(context), &mut sealed)
            .map_err(|_| MasterKeyError::Cipher)?;
        Ok([
            &[FORMAT],
            &present.info.id[..],
            &salt,
            &sealed,
            tag.as_ref(),
        ]
        .concat())
    }

    fn unwrap_now(&self, wrapped: &[u8], context: &[u8]) -> Result<Secret, MasterKeyError> {
        let id = wrapped_under(wrapped).ok_or(MasterKeyError::Refused)?;
        let parts = wrapped
            .get(1 + id.len()..)
            .and_then(<[u8]>::split_first_chunk::<SALT_SIZE>);
        let (salt, sealed) = parts.ok_or(MasterKeyError::Refused)?;
        let (present, others) = self.held();
        let key = std::iter::once(&present)
            .chain(&others)
            .find(|key| key.info.id == id)
            .ok_or_else(|| MasterKeyError::OtherKey {
                found: hex::encode(id),
                own: hex::encode(present.info.id),
            })?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let opened =
            key.one_time_cipher(salt)?
                .open_in_place(zero_nonce(), Aad::from(context), &mut buffer);
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
        self.open_sealed(&wrapped, path, what)
    }

    fn open_sealed(
        &self,
        wrapped: &[u8],
        path: &Path,
        what: &str,
    ) -> Result<Secret, MasterKeyError> {
        self.unwrap_now(wrapped, file_context(what).as_bytes())
            .map_err(|e| match e {
                MasterKeyError::Refused => MasterKeyError::Damaged(path.display().to_string()),
                other => other,
            })
    }

    /// Seals those files of a folder anew, `NAME.sealed` each, that are under an older key; how many they were. Each file is the old one or
    /// the new one at any moment, so this can be broken off and done again.
    pub fn reseal(&self, dir: &Path) -> Result<usize, MasterKeyError> {
        let mut done = 0;
        for path in sealed_files(dir)? {
            let wrapped = folder::read_secret(&path, MAX_SECRET_FILE)?;
            if wrapped_under(&wrapped) == Some(self.id()) {
                continue;
            }
            let what = path.file_stem().and_then(|it| it.to_str());
            let what = what.unwrap_or_default();
            let secret = self.open_sealed(&wrapped, &path, what)?;
            self.write_sealed(&path, what, &secret)?;
            done += 1;
        }
        Ok(done)
    }
}

fn sealed_files(dir: &Path) -> Result<Vec<PathBuf>, MasterKeyError> {
    let unreadable = |source| folder::FolderError::Io {
        action: "read",
        path: dir.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|it| it == SEALED) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn text(file: &FileKey, present: &Key, others: &[Arc<Key>]) -> Result<Vec<u8>, MasterKeyError> {
    let keys = std::iter::once(present).chain(others.iter().map(AsRef::as_ref));
    file.seal(keys.map(|it| (it.info.id, it.info.made_ms, &it.key)))
}

fn fresh() -> KeyBytes {
    randomness::secret()
}

fn file_context(what: &str) -> String {
    format!("coordinator/v1/sealed-file/{what}")
}

impl MasterKey for SealedMasterKey {
    fn keys(&self) -> Vec<KeyInfo> {
        let (present, others) = self.held();
        let keys = std::iter::once(&present).chain(&others);
        keys.map(|key| key.info).collect()
    }

    fn id(&self) -> KeyId {
        self.held().0.info.id
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

    fn rotate(&self, now_ms: u64) -> BoxFuture<'_, Result<KeyInfo, MasterKeyError>> {
        Box::pin(async move {
            self.change(|present, mut others| {
                if others.len() + 1 >= MAX_KEYS {
                    return Err(MasterKeyError::TooMany);
                }
                let key = Key::new(fresh(), now_ms)?;
                others.insert(0, present);
                let info = key.info;
                Ok((key, others, info))
            })
        })
    }

    fn retire(&self, id: KeyId) -> BoxFuture<'_, Result<(), MasterKeyError>> {
        Box::pin(async move {
            self.change(|present, mut others| {
                let before = others.len();
                others.retain(|key| key.info.id != id);
                if others.len() == before {
                    return Err(MasterKeyError::NotRetirable(hex::encode(id)));
                }
                Ok((present, others, ()))
            })
        })
    }
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
        let refused = |from: &str, to: &str| {
            assert!(text.contains(from), "{text}");
            folder::write_private(&path, text.replace(from, to).as_bytes()).unwrap();
            SealedMasterKey::open(&path, &Passphrase::new("correct horse")).err()
        };
        let greedy = refused("\"passes\": 3", "\"passes\": 3000000000");
        assert!(matches!(greedy, Some(MasterKeyError::Damaged(_))));
        let renamed = refused("\"made_ms\": 1", "\"made_ms\": 2");
        assert!(matches!(renamed, Some(MasterKeyError::WrongPassphrase(_))));
    }

    #[tokio::test]
    async fn a_rotation_keeps_the_keys_before_until_they_are_retired() {
        let dir = tempfile::tempdir().unwrap();
        let (path, secrets) = (dir.path().join("master.key"), dir.path().join("secrets"));
        folder::create_private_dir(&secrets).unwrap();
        let passphrase = || Passphrase::new("correct horse");
        let own = SealedMasterKey::create(&path, &passphrase()).unwrap();
        let first = own.id();
        let old = own.wrap(b"old", b"here").await.unwrap();
        for name in ["one", "two"] {
            own.write_sealed(&secrets.join(format!("{name}.sealed")), name, b"sealed")
                .unwrap();
        }
        let second = own.rotate(5).await.unwrap();
        assert_eq!((own.id(), second.made_ms), (second.id, 5));
        assert_ne!(first, second.id);
        let new = own.wrap(b"new", b"here").await.unwrap();
        assert_eq!(wrapped_under(&old), Some(first));
        assert_eq!(wrapped_under(&new), Some(second.id));

        // The next start has both, in the same order.
        let again = SealedMasterKey::open(&path, &passphrase()).unwrap();
        assert_eq!(again.keys(), own.keys());
        assert_eq!(*again.unwrap(&old, b"here").await.unwrap(), b"old");
        assert_eq!(*again.unwrap(&new, b"here").await.unwrap(), b"new");
        assert_eq!(
            (
                again.reseal(&secrets).unwrap(),
                again.reseal(&secrets).unwrap()
            ),
            (2, 0)
        );

        let present = again.retire(second.id).await.unwrap_err();
        assert_eq!(present.code(), "master-key-not-retirable");
        again.retire(first).await.unwrap();
        for keys in [
            &again,
            &SealedMasterKey::open(&path, &passphrase()).unwrap(),
        ] {
            assert_eq!(keys.keys(), [second]);
            let lost = keys.unwrap(&old, b"here").await.unwrap_err();
            assert_eq!(lost.code(), "master-key-other");
            let kept = keys.read_sealed(&secrets.join("two.sealed"), "two");
            assert_eq!(*kept.unwrap(), b"sealed");
        }
        for made_ms in 0..15 {
            again.rotate(made_ms).await.unwrap();
        }
        let many = again.rotate(15).await.unwrap_err();
        assert_eq!(many.code(), "master-key-too-many");
    }
}
