//! `[tls]`: a certificate over the node's identity key that an authority of its operator has issued.
//!
//! Members and clients know a node by its key, and look at nothing else in a certificate. But networks are watched by others, who have an
//! inventory of certificates and ask whose an endpoint's is and until when; for them the node presents one that they know, in place
//! of the one that it makes itself.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::tls::MAX_PEER_CERTIFICATE;

const KEY: &str = "tls.certificate";
/// PEM is longer than what it holds, and text may stand in front.
const MAX_FILE: u64 = 4 * MAX_PEER_CERTIFICATE as u64;

/// `[tls]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTls {
    certificate: Option<PathBuf>,
}

/// A certificate that somebody else has issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The file.
    pub path: PathBuf,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Its key, DER SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// Until when it is valid, in seconds since the Unix epoch.
    pub not_after: u64,
}

impl RawTls {
    /// The certificate, if one is named, or the key that is wrong and why.
    pub(super) fn check(
        &self,
        folder: &Path,
    ) -> Result<Option<IssuedCertificate>, (&'static str, String)> {
        let Some(path) = self.certificate.as_ref().map(|path| folder.join(path)) else {
            return Ok(None);
        };
        let wrong = |reason: String| (KEY, format!("{}: {reason}", path.display()));
        let length = fs::metadata(&path)
            .map_err(|error| wrong(error.to_string()))?
            .len();
        if length > MAX_FILE {
            return Err(wrong("it is too long for one certificate".to_owned()));
        }
        let text = fs::read(&path).map_err(|error| wrong(error.to_string()))?;
        let no_certificate = || wrong("it is no certificate in PEM".to_owned());
        let (behind, block) =
            x509_parser::pem::parse_x509_pem(&text).map_err(|_| no_certificate())?;
        if block.label != "CERTIFICATE" {
            return Err(no_certificate());
        }
        if behind.windows(11).any(|bytes| bytes == b"-----BEGIN ") {
            let reason = "there is more than one certificate in it: the node presents one, without its authority's";
            return Err(wrong(reason.to_owned()));
        }
        if block.contents.len() > MAX_PEER_CERTIFICATE {
            let reason = format!("peers take at most {MAX_PEER_CERTIFICATE} bytes");
            return Err(wrong(reason));
        }
        let (_, certificate) =
            X509Certificate::from_der(&block.contents).map_err(|_| no_certificate())?;
        let spki = certificate.public_key().raw.to_vec();
        let not_after = certificate.validity().not_after.timestamp();
        Ok(Some(IssuedCertificate {
            spki,
            not_after: u64::try_from(not_after).unwrap_or(0),
            der: block.contents,
            path,
        }))
    }
}
