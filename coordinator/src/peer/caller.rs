//! The key by which a platform is known to the peers that it asks over TLS.
//!
//! It is made with the platform, or when it is first needed, and sealed under the platform's master key. Its certificate is public, `peer-client.pem`: each peer's
//! operator is given it (`coordinator peer allow`). At every start the two are held against each other, so that a folder that was put together of two backups says
//! so at once, and not by a refusal at every peer.

use crate::{
    folder::{self, Folder, FolderError},
    master_key::{MasterKeyError, SealedMasterKey},
};
use cryptonode::tls::{TlsError, TlsIdentity, certificate_key};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const NAME: &str = "peer-client";
const MAX_CERTIFICATE: u64 = 16 * 1024;
const LABEL: &str = "CERTIFICATE";

/// Why there is no key to be known by.
#[derive(Debug, thiserror::Error)]
pub enum CallerError {
    /// A library refuses it.
    #[error("the key towards the organisations' peers cannot be used: {0}")]
    Key(#[from] TlsError),
    /// Key and certificate do not belong together.
    #[error(
        "{} is not the certificate of the key that is sealed in this folder: take both from the same backup; or remove both it and secrets/{NAME}.sealed, start again, and have every peer's operator run `coordinator peer allow` with the new one", .0.display()
    )]
    Certificate(PathBuf),
    /// A file that is no certificate.
    #[error("{} is not a PEM certificate with an Ed25519 key: {reason}", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// A file.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl CallerError {
    /// A stable name of the reason, for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Key(_) => "peer-client-key",
            Self::Certificate(_) => "peer-client-certificate",
            Self::NoCertificate { .. } => "peer-file",
            Self::MasterKey(e) => e.code(),
            Self::Folder(e) => e.code(),
        }
    }
}

/// The key of a platform's folder with its certificate; made if there is none yet.
///
/// # Errors
/// [`CallerError`]
pub fn open(folder: &Folder, master: &SealedMasterKey) -> Result<TlsIdentity, CallerError> {
    let (secret, certificate) = (folder.secret(NAME), folder.peer_client());
    if !secret.exists() && !certificate.exists() {
        let made = TlsIdentity::generate()?;
        let text = pem::encode(&pem::Pem::new(LABEL, made.certificate_der()));
        master.write_sealed(&secret, NAME, made.to_pem().as_bytes())?;
        folder::write_private(&certificate, text.as_bytes())?;
        tracing::info!(certificate = %certificate.display(), "made a key towards the organisations' peers; their operators allow it with `coordinator peer allow`");
        return Ok(made);
    }
    let sealed = master.read_sealed(&secret, NAME)?;
    let other = |_| CallerError::Certificate(certificate.clone());
    let key = Zeroizing::new(std::str::from_utf8(&sealed).map_err(other)?.to_owned());
    let identity = TlsIdentity::from_pem(&key)?;
    let shown = read_certificate(&certificate)?;
    identity
        .presenting(&shown)
        .map_err(|_| CallerError::Certificate(certificate))
}

/// A certificate's DER from its PEM file.
fn read_certificate(path: &Path) -> Result<Vec<u8>, CallerError> {
    let bytes = folder::read_limited(path, MAX_CERTIFICATE)?;
    let wrong = |reason: String| CallerError::NoCertificate {
        path: path.to_owned(),
        reason,
    };
    let read = pem::parse(&bytes[..]).map_err(|error| wrong(error.to_string()))?;
    if read.tag() != LABEL {
        return Err(wrong(format!("it is a {}", read.tag())));
    }
    Ok(read.into_contents())
}

/// The key of a certificate in a PEM file, as a peer's operator is given it.
///
/// # Errors
/// [`CallerError`]
pub fn read_key(path: &Path) -> Result<[u8; 32], CallerError> {
    certificate_key(&read_certificate(path)?).map_err(|error| CallerError::NoCertificate {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::master_key::Passphrase;

    fn platform() -> (tempfile::TempDir, Folder, SealedMasterKey) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(&dir.path().join("platform")).unwrap();
        folder::create_private_dir(&folder.secrets()).unwrap();
        let master = SealedMasterKey::create(&folder.master_key(), &Passphrase::new("one"));
        (dir, folder, master.unwrap())
    }

    #[test]
    fn it_is_made_once_and_a_certificate_of_another_key_is_refused() {
        let (_one, folder, master) = platform();
        let made = open(&folder, &master).unwrap();
        let again = open(&folder, &master).unwrap();
        assert_eq!(again.spki(), made.spki());
        assert_eq!(again.certificate_der(), made.certificate_der());
        let key = read_key(&folder.peer_client()).unwrap();
        assert!(made.spki().ends_with(&key));

        let (_two, other, others_master) = platform();
        open(&other, &others_master).unwrap();
        std::fs::copy(other.peer_client(), folder.peer_client()).unwrap();
        let error = open(&folder, &master).unwrap_err();
        assert_eq!(error.code(), "peer-client-certificate");
        assert!(error.to_string().contains("peer allow"), "{error}");
        std::fs::write(folder.peer_client(), made.to_pem()).unwrap();
        assert_eq!(open(&folder, &master).unwrap_err().code(), "peer-file");
        // One of the two is not enough: a key whose certificate was handed out is never replaced in silence.
        std::fs::remove_file(folder.peer_client()).unwrap();
        assert_eq!(open(&folder, &master).unwrap_err().code(), "file-io");
    }
}
