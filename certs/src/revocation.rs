//! Revocation lists: what an authority has taken back (RFC 5280 section 5).
//!
//! An approval lives for minutes, so that mostly it is its issuer that has to be taken back, or every approval of a moment. A list
//! is signed by an [`Authority`] that the operator names. It covers two things: the approvals that this authority
//! issued itself, by their serial numbers, and the issuers' certificates that it signed, its own among them.
//!
//! Only complete lists are read: one that covers a part of the certificates (issuing distribution point, delta) says so in a
//! critical extension, and every critical extension is refused. A list has to say when the next one comes; some time after that,
//! which the operator sets, it is stale, and what it covers does not count any more. Without that, whoever keeps new lists
//! from a node would have it accept what was revoked.

use std::collections::BTreeSet;

use der::Tag;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use time::OffsetDateTime;

use crate::certificate::{
    Certificate, CertificateError, Fields, context, read_algorithm, read_bit_string,
    read_extension, read_name, read_time,
};
use crate::issuer::{Issuer, IssuerError};
use crate::oid;
use crate::policy::{IssuerDefect, read_issuer};
use crate::signature::{Algorithm, IssuerPublicKey};

/// The longest list that is looked at, in bytes.
pub const MAX_REVOCATION_LIST: usize = 16 * 1024 * 1024;
/// The most certificates in a list.
pub const MAX_REVOKED: usize = 400_000;
/// Longest number of a list, in bytes (RFC 5280 section 5.2.3).
const MAX_NUMBER: usize = 20;

/// Why bytes are no revocation list of an authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    /// Longer than [`MAX_REVOCATION_LIST`].
    #[error("the revocation list is {length} bytes long; at most {MAX_REVOCATION_LIST} are read")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Not DER, or not the structure of RFC 5280.
    #[error("the revocation list cannot be read: {0}")]
    Malformed(#[from] CertificateError),
    /// Not version 2.
    #[error("it is not an X.509 version 2 revocation list")]
    Version,
    /// More than [`MAX_REVOKED`] certificates.
    #[error("it lists more than {MAX_REVOKED} certificates")]
    TooMany,
    /// A critical extension: it is a part of a list, or about other authorities.
    #[error("it has the critical extension {oid}: only complete lists of one authority are read")]
    CriticalExtension {
        /// Its object identifier, dotted.
        oid: String,
    },
    /// It does not say when the next one comes.
    #[error("it does not say when the next list comes (nextUpdate)")]
    NoNextUpdate,
    /// Another name than the authority's.
    #[error("it is a list of another authority")]
    OtherAuthority,
    /// Not signed by the authority.
    #[error("its signature is not the authority's")]
    Signature,
    /// The certificate cannot be an authority's.
    #[error("the authority's certificate cannot be used: {0}")]
    Authority(#[from] IssuerDefect),
    /// The authority may not sign lists.
    #[error("the authority's certificate does not let it sign revocation lists (keyUsage cRLSign)")]
    NoListSigning,
    /// Issued after now.
    #[error(
        "it is of a time that has not come yet ({this_update}): one of the two clocks is wrong"
    )]
    FromTheFuture {
        /// thisUpdate, seconds since the Unix epoch.
        this_update: u64,
    },
    /// Older than the list that is held.
    #[error("it is older than the list that is held already: somebody offers an old one")]
    Older,
}

impl RevocationError {
    /// A stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "revocation-list-too-long",
            Self::Malformed(_) => "revocation-list-malformed",
            Self::Version => "revocation-list-version",
            Self::TooMany => "revocation-list-too-many",
            Self::CriticalExtension { .. } => "revocation-list-critical-extension",
            Self::NoNextUpdate => "revocation-list-no-next-update",
            Self::OtherAuthority => "revocation-list-other-authority",
            Self::Signature => "revocation-list-signature",
            Self::Authority(_) => "revocation-authority",
            Self::NoListSigning => "revocation-authority-may-not-sign",
            Self::FromTheFuture { .. } => "revocation-list-future",
            Self::Older => "revocation-list-older",
        }
    }
}

/// Who signs a list: a certificate that the operator trusts for it.
#[derive(Clone, Debug)]
pub struct Authority {
    pub(crate) key: IssuerPublicKey,
    pub(crate) spki: Vec<u8>,
    pub(crate) subject: Vec<u8>,
}

impl Authority {
    /// Reads an authority's certificate, DER.
    ///
    /// # Errors
    /// [`RevocationError::Authority`] or [`RevocationError::NoListSigning`] if it cannot sign lists.
    pub fn from_der(der: &[u8]) -> Result<Self, RevocationError> {
        let (spki, key, issuer) = read_issuer(der)?;
        let certificate = Certificate::read(der)?;
        let may_sign = certificate
            .extension(oid::KEY_USAGE)
            .and_then(|usage| crate::certificate::may_sign_lists(usage.value));
        if may_sign != Some(true) {
            return Err(RevocationError::NoListSigning);
        }
        Ok(Self {
            key,
            spki,
            subject: issuer.subject,
        })
    }

    /// Reads an authority's certificate, PEM.
    ///
    /// # Errors
    /// As [`Authority::from_der`]; PEM without a certificate is malformed.
    pub fn from_pem(text: &str) -> Result<Self, RevocationError> {
        let malformed = CertificateError::Malformed { part: "PEM" };
        let block = pem::parse(text).map_err(|_| malformed.clone())?;
        if block.tag() != "CERTIFICATE" {
            return Err(malformed.into());
        }
        Self::from_der(block.contents())
    }

    /// Its key, DER SubjectPublicKeyInfo: authorities of one key are one.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }
}

/// A list that its authority signed: made by [`RevocationList::verify`] and in no other way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    this_update: u64,
    next_update: u64,
    number: Vec<u8>,
    pub(crate) revoked: BTreeSet<Box<[u8]>>,
}

impl RevocationList {
    /// Reads a list, DER, and verifies the authority's signature.
    ///
    /// # Errors
    /// [`RevocationError`] for the first thing that does not hold.
    pub fn verify(der: &[u8], authority: &Authority) -> Result<Self, RevocationError> {
        Self::verify_with(der, &authority.subject, |algorithm, message, signature| {
            Algorithm::from_identifier(algorithm) == Some(authority.key.algorithm())
                && authority.key.verifies_vartime(message, signature)
        })
    }

    /// The same, for the authority of this name, with its key's verification of a signature under an algorithm.
    pub(crate) fn verify_with(
        der: &[u8],
        subject: &[u8],
        verifies: impl FnOnce(&[u8], &[u8], &[u8]) -> bool,
    ) -> Result<Self, RevocationError> {
        if der.len() > MAX_REVOCATION_LIST {
            return Err(RevocationError::TooLong { length: der.len() });
        }
        const LIST: &str = "CertificateList";
        let mut outermost = Fields::new(der, LIST)?;
        let whole = outermost.expect(Tag::Sequence, LIST)?;
        outermost.finish(LIST)?;
        let mut fields = Fields::new(whole.contents, LIST)?;
        let signed_part = fields.expect(Tag::Sequence, "tbsCertList")?;
        let outer = read_algorithm(&mut fields, "signatureAlgorithm")?;
        let signature = fields.expect(Tag::BitString, "signatureValue")?;
        let signature = read_bit_string(&signature, "signatureValue")?;
        fields.finish(LIST)?;
        // The signature first: what follows is read only if the authority wrote it.
        if !verifies(outer, signed_part.whole, signature) {
            return Err(RevocationError::Signature);
        }
        Self::read(signed_part.contents, outer, subject)
    }

    fn read(
        signed_part: &[u8],
        outer_algorithm: &[u8],
        subject: &[u8],
    ) -> Result<Self, RevocationError> {
        const PART: &str = "tbsCertList";
        let mut fields = Fields::new(signed_part, PART)?;
        let version = fields.next("version")?;
        if version.tag != Tag::Integer || version.contents != [1] {
            return Err(RevocationError::Version);
        }
        if read_algorithm(&mut fields, "signature")? != outer_algorithm {
            return Err(CertificateError::AlgorithmMismatch.into());
        }
        if read_name(&mut fields, "issuer")? != subject {
            return Err(RevocationError::OtherAuthority);
        }
        let this_update = read_time(&mut fields, "thisUpdate")?;
        let next = fields.peek_tag();
        if !matches!(next, Some(Tag::UtcTime | Tag::GeneralizedTime)) {
            return Err(RevocationError::NoNextUpdate);
        }
        let next_update = read_time(&mut fields, "nextUpdate")?;
        let mut revoked = BTreeSet::new();
        if fields.peek_tag() == Some(Tag::Sequence) {
            const REVOKED: &str = "revokedCertificates";
            let mut entries = Fields::new(fields.next(REVOKED)?.contents, REVOKED)?;
            while !entries.is_finished() {
                let mut entry =
                    Fields::new(entries.expect(Tag::Sequence, REVOKED)?.contents, REVOKED)?;
                // Authorities have given serial numbers that RFC 5280 would not: they are compared, and never match ours.
                let serial = entry.expect(Tag::Integer, REVOKED)?.contents;
                read_time(&mut entry, REVOKED)?;
                if !entry.is_finished() {
                    let extensions = entry.expect(Tag::Sequence, REVOKED)?;
                    refuse_critical(extensions.contents)?;
                }
                entry.finish(REVOKED)?;
                if revoked.len() == MAX_REVOKED {
                    return Err(RevocationError::TooMany);
                }
                revoked.insert(serial.into());
            }
        }
        let mut number = Vec::new();
        if !fields.is_finished() {
            const EXTENSIONS: &str = "crlExtensions";
            let explicit = fields.expect(context(0), EXTENSIONS)?;
            let mut inner = Fields::new(explicit.contents, EXTENSIONS)?;
            let sequence = inner.expect(Tag::Sequence, EXTENSIONS)?;
            inner.finish(EXTENSIONS)?;
            refuse_critical(sequence.contents)?;
            number = crl_number(sequence.contents)?;
        }
        fields.finish(PART)?;
        Ok(Self {
            this_update,
            next_update,
            number,
            revoked,
        })
    }

    /// When it was issued, in seconds since the Unix epoch.
    #[must_use]
    pub fn this_update(&self) -> u64 {
        self.this_update
    }

    /// When the next one is promised, in seconds since the Unix epoch.
    #[must_use]
    pub fn next_update(&self) -> u64 {
        self.next_update
    }

    /// Its number, big-endian without leading zeros; empty if it has none.
    #[must_use]
    pub fn number(&self) -> &[u8] {
        &self.number
    }

    /// The serial numbers of the certificates that it lists: contents of their INTEGERs, ascending by bytes.
    pub fn serials(&self) -> impl Iterator<Item = &[u8]> {
        self.revoked.iter().map(AsRef::as_ref)
    }

    /// How many certificates it lists.
    #[must_use]
    pub fn len(&self) -> usize {
        self.revoked.len()
    }

    /// Whether it lists none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.revoked.is_empty()
    }

    /// Whether it may take the place of `held` at the moment `now`: not of the future, and not older.
    ///
    /// # Errors
    /// [`RevocationError::FromTheFuture`] or [`RevocationError::Older`].
    pub fn may_replace(
        &self,
        held: Option<&Self>,
        now: u64,
        tolerance_s: u64,
    ) -> Result<(), RevocationError> {
        if self.this_update > now.saturating_add(tolerance_s) {
            return Err(RevocationError::FromTheFuture {
                this_update: self.this_update,
            });
        }
        let older = held.is_some_and(|held| {
            self.this_update < held.this_update
                || (!self.number.is_empty()
                    && (self.number.len(), &self.number) < (held.number.len(), &held.number))
        });
        if older {
            return Err(RevocationError::Older);
        }
        Ok(())
    }
}

fn refuse_critical(extensions: &[u8]) -> Result<(), RevocationError> {
    const PART: &str = "extensions";
    let mut items = Fields::new(extensions, PART)?;
    while !items.is_finished() {
        let extension = read_extension(&items.expect(Tag::Sequence, PART)?)?;
        if extension.critical {
            return Err(RevocationError::CriticalExtension {
                oid: extension.oid.to_string(),
            });
        }
    }
    Ok(())
}

/// The contents of the CRL number without leading zeros; empty if the list has none.
fn crl_number(extensions: &[u8]) -> Result<Vec<u8>, RevocationError> {
    const PART: &str = "cRLNumber";
    let malformed = CertificateError::Malformed { part: PART };
    let mut items = Fields::new(extensions, PART)?;
    let mut number = Vec::new();
    while !items.is_finished() {
        let extension = read_extension(&items.expect(Tag::Sequence, PART)?)?;
        if extension.oid == oid::CRL_NUMBER {
            let mut value = Fields::new(extension.value, PART)?;
            let integer = value.expect(Tag::Integer, PART)?;
            value.finish(PART)?;
            if integer.contents.len() > MAX_NUMBER
                || integer
                    .contents
                    .first()
                    .is_none_or(|first| first & 0x80 != 0)
            {
                return Err(malformed.into());
            }
            let zeros = integer
                .contents
                .iter()
                .take_while(|byte| **byte == 0)
                .count();
            number = integer.contents.get(zeros..).unwrap_or_default().to_vec();
        }
    }
    Ok(number)
}

/// The serial number of a certificate, DER: the contents of its INTEGER, as lists name it.
///
/// # Errors
/// Bytes that are no certificate for us.
pub fn serial_number(certificate: &[u8]) -> Result<&[u8], CertificateError> {
    Ok(Certificate::read(certificate)?.serial)
}

/// The DER of a list in PEM (`X509 CRL`).
///
/// # Errors
/// [`RevocationError::Malformed`] for anything else.
pub fn revocation_list_from_pem(text: &[u8]) -> Result<Vec<u8>, RevocationError> {
    match pem::parse(text) {
        Ok(block) if block.tag() == "X509 CRL" => Ok(block.into_contents()),
        _ => Err(CertificateError::Malformed { part: "PEM" }.into()),
    }
}

impl Issuer {
    /// A revocation list of this authority, DER: the certificates with these serial numbers, from `this_update` on, to be replaced
    /// by `next_update` (seconds since the Unix epoch). `number` grows from list to list.
    ///
    /// # Errors
    /// [`IssuerError::Validity`] for times that no list can say, or the library's refusal.
    pub fn revocation_list(
        &self,
        serials: &[&[u8]],
        number: u64,
        this_update: u64,
        next_update: u64,
    ) -> Result<Vec<u8>, IssuerError> {
        let time = |seconds: u64| {
            i64::try_from(seconds)
                .ok()
                .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
                .ok_or(IssuerError::Validity)
        };
        let this = time(this_update)?;
        let list = CertificateRevocationListParams {
            this_update: this,
            next_update: time(next_update)?,
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: serials
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(serial),
                    revocation_time: this,
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.authority)?.der().to_vec())
    }
}

#[cfg(test)]
#[path = "revocation_tests.rs"]
mod tests;
