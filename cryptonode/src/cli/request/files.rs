//! The files of a request, read with bounds and with sentences that name them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use reencrypt::{
    EphemeralKey, EphemeralSecret, VerifiedEphemeralKey, VerifiedWrappedKey, WrappedKey,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Failure, exit};
use crate::client::ClientIdentity;

/// The longest file that is read, in bytes: a description of the largest cluster.
const LONGEST: u64 = 4 * 1024 * 1024;

/// A read, as its reader describes it to the organisations. Nothing of it is secret.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadDescription {
    /// Of this form: 1.
    pub(super) version: u32,
    /// Y.
    #[serde(with = "hex")]
    pub(super) public_key: [u8; 32],
    /// SHA-256 of the wrapped key.
    #[serde(with = "hex")]
    pub(super) write_id: [u8; 32],
    /// The writer's label, as far as it is text.
    pub(super) label: String,
    /// X.
    #[serde(with = "hex")]
    pub(super) ephemeral_point: [u8; 32],
    /// The client's public key, DER SubjectPublicKeyInfo.
    #[serde(with = "hex")]
    pub(super) client_spki: Vec<u8>,
    /// SHA-256 of that: the client's name in audit logs.
    #[serde(with = "hex")]
    pub(super) client: [u8; 32],
}

/// A re-encrypted key: t verified shares of one result.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shares {
    /// Of this form: 1.
    pub(super) version: u32,
    /// Y.
    #[serde(with = "hex")]
    pub(super) public_key: [u8; 32],
    /// Of which result they are.
    pub(super) epoch: u64,
    /// Likewise.
    pub(super) attempt: u32,
    /// Of which wrapped key.
    #[serde(with = "hex")]
    pub(super) write_id: [u8; 32],
    /// To which ephemeral key.
    #[serde(with = "hex")]
    pub(super) ephemeral_point: [u8; 32],
    /// The shares, as the nodes encoded them.
    pub(super) shares: Vec<String>,
}

pub(super) fn file(path: &Path, code: &str, reason: impl std::fmt::Display) -> Failure {
    Failure::new(exit::FAILED, code, format!("{}: {reason}", path.display()))
}

/// The bytes of a file that may hold a secret.
pub(super) fn bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let unreadable = |error: std::io::Error| file(path, "file", error);
    let opened = File::open(path).map_err(unreadable)?;
    let length = opened.metadata().map_err(unreadable)?.len().min(LONGEST);
    // Room for all of it from the start: what grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    let read = opened.take(LONGEST + 1).read_to_end(&mut bytes);
    if read.map_err(unreadable)? as u64 > LONGEST {
        return Err(file(
            path,
            "file",
            "it is longer than any file that is read here",
        ));
    }
    Ok(bytes)
}

pub(super) fn text(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let bytes = bytes(path)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(file(path, "file", "it is not text")),
    }
}

pub(super) fn json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    serde_json::from_str(&text(path)?).map_err(|error| {
        file(
            path,
            "file",
            format_args!("it is not what it should be: {error}"),
        )
    })
}

pub(super) fn wrapped_key(path: &Path) -> Result<VerifiedWrappedKey, Failure> {
    WrappedKey::parse(&bytes(path)?)
        .and_then(|wrapped| wrapped.verify(&mut crate::randomness::system()))
        .map_err(|error| file(path, error.code(), error))
}

pub(super) fn ephemeral_secret(
    path: &Path,
    wrapped: &VerifiedWrappedKey,
) -> Result<EphemeralSecret, Failure> {
    EphemeralSecret::from_bytes(&bytes(path)?, wrapped, &mut crate::randomness::system())
        .map_err(|error| file(path, error.code(), error))
}

pub(super) fn ephemeral_key(
    path: &Path,
    wrapped: &VerifiedWrappedKey,
) -> Result<VerifiedEphemeralKey, Failure> {
    EphemeralKey::parse(&bytes(path)?)
        .and_then(|key| {
            key.verify(
                &wrapped.public_key(),
                &wrapped.write_id(),
                &mut crate::randomness::system(),
            )
        })
        .map_err(|error| file(path, error.code(), error))
}

pub(super) fn client_key(path: &Path) -> Result<ClientIdentity, Failure> {
    ClientIdentity::from_pem(&text(path)?).map_err(|error| file(path, "client-key", error))
}

/// A certificate, DER; PEM is unwrapped.
pub(super) fn certificate(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = bytes(path)?;
    if !bytes.trim_ascii_start().starts_with(b"-----BEGIN ") {
        return Ok(bytes.to_vec());
    }
    match x509_parser::pem::parse_x509_pem(bytes.trim_ascii_start()) {
        Ok((_, block)) if block.label == "CERTIFICATE" => Ok(block.contents),
        _ => Err(file(path, "approval-file", "it holds no certificate")),
    }
}
