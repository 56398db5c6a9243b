//! A user's signing key: Ed25519, in a file of PKCS #8 PEM (RFC 8410) that only its user can read.
//!
//! It is written in the first version of PKCS #8, without the public key, because that is what common tools read; both versions are taken.

use std::path::Path;

use cryptonode::randomness;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};

use super::ClientError;
use crate::folder;

const MAX_FILE: u64 = 16 * 1024;

/// Makes a key and writes it to `path`, which must not exist.
pub fn create(path: &Path) -> Result<SigningKey, ClientError> {
    let key = generate();
    let alone = KeypairBytes {
        secret_key: key.to_bytes(),
        public_key: None,
    };
    let pem = alone
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|_| ClientError::KeyFile(path.to_owned()))?;
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        folder::create_private_dir(parent)?;
    }
    folder::write_private_new(path, pem.as_bytes())?;
    Ok(key)
}

/// Reads the key in the file at `path`.
///
/// # Errors
///
/// [`ClientError::KeyFile`] if it is no such key, [`ClientError::Folder`] if it cannot be read or others may read it.
pub fn read(path: &Path) -> Result<SigningKey, ClientError> {
    let bytes = folder::read_secret(path, MAX_FILE)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| ClientError::KeyFile(path.to_owned()))?;
    SigningKey::from_pkcs8_pem(text).map_err(|_| ClientError::KeyFile(path.to_owned()))
}

/// A key that is kept nowhere yet.
pub(crate) fn generate() -> SigningKey {
    SigningKey::from_bytes(&randomness::secret())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Both versions of PKCS #8; what is written is the first, byte for byte as openssl writes it.
    #[test]
    fn the_files_are_those_of_common_tools() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alice.pem");
        let key = create(&path).unwrap();
        let run = |arguments: &[&str]| {
            let out = std::process::Command::new("openssl")
                .args(arguments)
                .arg("-in")
                .arg(&path)
                .output()
                .unwrap();
            assert!(
                out.status.success(),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
            String::from_utf8(out.stdout).unwrap()
        };
        assert_eq!(run(&["pkey"]), std::fs::read_to_string(&path).unwrap());
        assert!(run(&["pkey", "-noout", "-text"]).contains("ED25519"));
        let with_public_key = key.to_pkcs8_pem(LineEnding::LF).unwrap();
        let second = dir.path().join("second.pem");
        folder::write_private(&second, with_public_key.as_bytes()).unwrap();
        assert_ne!(std::fs::read_to_string(&path).unwrap(), *with_public_key);
        assert_eq!(read(&second).unwrap(), key);
    }

    #[test]
    fn written_and_read_back_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys").join("alice.pem");
        let key = create(&path).unwrap();
        assert_eq!(read(&path).unwrap(), key);
        assert!(create(&path).is_err());
        assert_eq!(read(&path).unwrap(), key);
        std::fs::write(
            &path,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        )
        .unwrap();
        assert!(matches!(read(&path), Err(ClientError::KeyFile(_))));
    }
}
