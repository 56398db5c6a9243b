//! The files of a request, read with bounds and with sentences that name them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use reencrypt::{
    EphemeralKey, EphemeralSecret, VerifiedEphemeralKey, VerifiedWrappedKey, WrappedKey,
};
use zeroize::Zeroizing;

use super::{Failure, exit};
use crate::client::ClientIdentity;
use crate::client::handover::HandoverError;

/// The longest file that is read, in bytes: a description of the largest cluster.
const LONGEST: u64 = 4 * 1024 * 1024;

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

/// What is read from a file by its own rules.
pub(super) fn handed_over<T>(
    path: &Path,
    read: impl FnOnce(&str) -> Result<T, HandoverError>,
) -> Result<T, Failure> {
    read(&text(path)?).map_err(|error| file(path, error.code(), error))
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
