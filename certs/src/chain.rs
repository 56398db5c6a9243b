//! Certificates of a company's own public-key infrastructure: a path from the certificate of a person or a machine to an authority that the
//! company has registered (RFC 5280 section 6), and the proof that somebody has the certificate's key.
//!
//! Everybody who checks a path must come to the same result, for a record depends on it. So there is one order of the certificates, the
//! given one, and no search for another; time is an argument; and what is not understood is refused:
//!
//! 1. 1 to [`MAX_CHAIN`] certificates, the holder's first, each issued by the next (name byte for byte, signature), the last one by an anchor.
//! 2. Each is read as strictly as an approval ([`crate::CertificateError`]) and is within its validity.
//! 3. The holder's is no authority; key usage, if there, has digitalSignature; extended key usage, if there, has clientAuth or any.
//! 4. The others have cA, keyCertSign, a path length that suffices, and no name constraints. Extended key usage as above.
//! 5. No critical extension but basicConstraints, keyUsage, extKeyUsage, and the holder's subjectAltName.
//!
//! Keys: Ed25519, ECDSA on P-256 with SHA-256 and on P-384 with SHA-384, and RSA of 2,048 to 8,192 bits, PKCS#1 v1.5 with SHA-256, SHA-384 or SHA-512.
//!
//! Revocation is not looked at here: a [`ChainLink`] has what a revocation list names.

mod key;

use der::asn1::BitStringRef;
use der::{Decode as _, Tag};
use rcgen::SigningKey as _;
use sha2::{Digest as _, Sha256};

use crate::certificate::{
    Certificate, CertificateError, Fields, is_authority, may_sign_certificates, may_sign_lists,
};
use crate::oid::{self, Oid};
use crate::revocation::{RevocationError, RevocationList};
use crate::signature::KeyDefect;
use key::ChainKey;

/// Certificates of a path at most, the anchor not counted.
pub const MAX_CHAIN: usize = 4;
/// Bytes of the longest proof of possession: an RSA signature of 8,192 bits.
pub const MAX_PROOF: usize = 1024;

/// Why a chain is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// None, or too many.
    #[error(
        "it has {found} certificates; 1 to {MAX_CHAIN} are accepted, the registered authority's left out"
    )]
    Length {
        /// How many.
        found: usize,
    },
    /// One that cannot be read.
    #[error("certificate {index}: {source}")]
    Certificate {
        /// Its place, from 0.
        index: usize,
        /// Why.
        source: CertificateError,
    },
    /// One with a key that is not supported.
    #[error(
        "certificate {index}: {reason}; Ed25519, P-256, P-384 and RSA from 2048 bits are supported"
    )]
    Key {
        /// Its place, from 0.
        index: usize,
        /// What is wrong with the key.
        reason: KeyDefect,
    },
    /// A constraint that is not understood, or cannot be kept.
    #[error("certificate {index} has the extension {oid}, which is not understood here")]
    Extension {
        /// Its place, from 0.
        index: usize,
        /// The object identifier, dotted.
        oid: String,
    },
    /// Not made for this.
    #[error("certificate {index} {reason}")]
    Usage {
        /// Its place, from 0.
        index: usize,
        /// What it may not.
        reason: &'static str,
    },
    /// Not valid at this time.
    #[error("certificate {index} is valid from {not_before} to {not_after} seconds, not at {now}")]
    Validity {
        /// Its place, from 0.
        index: usize,
        /// Seconds since the Unix epoch.
        not_before: u64,
        /// Seconds since the Unix epoch.
        not_after: u64,
        /// The time of the check.
        now: u64,
    },
    /// Not issued by the next one.
    #[error("certificate {index} was not issued by the one behind it")]
    NotIssued {
        /// Its place, from 0.
        index: usize,
    },
    /// Not issued by any anchor.
    #[error("the last certificate was issued by none of the registered authorities")]
    NoAnchor,
}

/// What a revocation list says something about: one certificate of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainLink {
    /// SHA-256 of the SubjectPublicKeyInfo of whoever issued it.
    pub issuer: [u8; 32],
    /// Contents of the serial number's INTEGER.
    pub serial: Vec<u8>,
    /// Seconds since the Unix epoch, inclusive.
    pub not_after: u64,
}

/// An authority of a company: a certificate that may issue others.
#[derive(Clone, Debug)]
pub struct PkiAuthority {
    subject: Vec<u8>,
    key: ChainKey,
    key_hash: [u8; 32],
    not_before: u64,
    not_after: u64,
    path_length: Option<u64>,
    may_sign_lists: bool,
}

/// A path that holds: made by [`verify_chain`] and in no other way.
#[derive(Clone, Debug)]
pub struct VerifiedChain {
    links: Vec<ChainLink>,
    key: ChainKey,
    subject: Vec<u8>,
    fingerprint: [u8; 32],
}

const NAME_CONSTRAINTS: &str = "2.5.29.30";
const SUBJECT_ALT_NAME: &str = "2.5.29.17";
/// clientAuth, 1.3.6.1.5.5.7.3.2, and anyExtendedKeyUsage, 2.5.29.37.0, with their headers.
const CLIENT_AUTH: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
const ANY_USAGE: &[u8] = &[0x06, 0x04, 0x55, 0x1d, 0x25, 0x00];

impl PkiAuthority {
    /// Reads the certificate of an authority, DER. Its own signature is not looked at: it is trusted because it is registered.
    ///
    /// # Errors
    /// [`ChainError`] with index 0 if it may issue nothing.
    pub fn from_der(der: &[u8]) -> Result<Self, ChainError> {
        let certificate = Certificate::read(der)
            .map_err(|source| ChainError::Certificate { index: 0, source })?;
        Self::read(&certificate, 0)
    }

    fn read(certificate: &Certificate<'_>, index: usize) -> Result<Self, ChainError> {
        let usage = |reason| ChainError::Usage { index, reason };
        refuse_constraints(certificate, index, false)?;
        let constraints = certificate.extension(oid::BASIC_CONSTRAINTS);
        if constraints.and_then(|it| is_authority(it.value)) != Some(true) {
            return Err(usage("is no authority's (basicConstraints)"));
        }
        let key_usage = certificate.extension(oid::KEY_USAGE);
        if key_usage.and_then(|it| may_sign_certificates(it.value)) != Some(true) {
            return Err(usage("may not issue certificates (keyUsage keyCertSign)"));
        }
        if !serves_clients(certificate) {
            return Err(usage("may not issue to clients (extKeyUsage)"));
        }
        let key = ChainKey::from_spki(certificate.spki)
            .map_err(|reason| ChainError::Key { index, reason })?;
        Ok(Self {
            subject: certificate.subject.to_vec(),
            key,
            key_hash: Sha256::digest(certificate.spki).into(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            path_length: constraints.and_then(|it| path_length(it.value)),
            may_sign_lists: key_usage.and_then(|it| may_sign_lists(it.value)) == Some(true),
        })
    }

    /// SHA-256 of its SubjectPublicKeyInfo: authorities of one key are one.
    #[must_use]
    pub fn key_hash(&self) -> [u8; 32] {
        self.key_hash
    }

    /// Until when it is valid: seconds since the Unix epoch, inclusive.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    /// A revocation list, DER, if this authority signed it.
    ///
    /// # Errors
    /// [`RevocationError`] for the first thing that does not hold.
    pub fn revocation_list(&self, der: &[u8]) -> Result<RevocationList, RevocationError> {
        if !self.may_sign_lists {
            return Err(RevocationError::NoListSigning);
        }
        RevocationList::verify_with(der, &self.subject, |algorithm, message, signature| {
            self.key.verifies_vartime(algorithm, message, signature)
        })
    }

    fn issued(&self, certificate: &Certificate<'_>) -> bool {
        certificate.issuer == self.subject
            && self.key.verifies_vartime(
                certificate.algorithm,
                certificate.signed_part,
                certificate.signature,
            )
    }

    /// Whether so many authorities may stand between it and the holder.
    fn reaches(&self, between: usize) -> bool {
        self.path_length
            .is_none_or(|most| u64::try_from(between).is_ok_and(|between| between <= most))
    }
}

impl VerifiedChain {
    /// The certificates, the holder's first.
    #[must_use]
    pub fn links(&self) -> &[ChainLink] {
        &self.links
    }

    /// The holder's name, DER.
    #[must_use]
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// SHA-256 of the holder's certificate.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Whether the holder's key signed this statement: Ed25519, ECDSA in DER with SHA-256 (P-256) or SHA-384 (P-384), or RSA PKCS#1 v1.5 with SHA-256.
    #[must_use]
    pub fn is_signed(&self, statement: &[u8], proof: &[u8]) -> bool {
        proof.len() <= MAX_PROOF && self.key.states(statement, proof)
    }
}

/// Holds a chain against the anchors at the time `now`, in seconds since the Unix epoch.
///
/// # Errors
/// [`ChainError`] for the first thing that does not hold.
pub fn verify_chain(
    chain: &[&[u8]],
    anchors: &[PkiAuthority],
    now: u64,
) -> Result<VerifiedChain, ChainError> {
    let certificates = read_chain(chain, now)?;
    let (Some(holder), Some(der)) = (certificates.first(), chain.first()) else {
        return Err(ChainError::Length { found: 0 });
    };
    let usage = |reason| ChainError::Usage { index: 0, reason };
    refuse_constraints(holder, 0, true)?;
    if let Some(constraints) = holder.extension(oid::BASIC_CONSTRAINTS)
        && is_authority(constraints.value) != Some(false)
    {
        return Err(usage("is an authority's, not a holder's"));
    }
    if let Some(key_usage) = holder.extension(oid::KEY_USAGE)
        && may_sign(key_usage.value) != Some(true)
    {
        return Err(usage("may not sign (keyUsage digitalSignature)"));
    }
    if !serves_clients(holder) {
        return Err(usage("is not for clients (extKeyUsage clientAuth)"));
    }
    let key =
        ChainKey::from_spki(holder.spki).map_err(|reason| ChainError::Key { index: 0, reason })?;
    let authorities = certificates
        .iter()
        .enumerate()
        .skip(1)
        .map(|(index, certificate)| PkiAuthority::read(certificate, index))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(VerifiedChain {
        links: walk(&certificates, &authorities, anchors, 0, now)?,
        key,
        subject: holder.subject.to_vec(),
        fingerprint: Sha256::digest(der).into(),
    })
}

/// The authority at the beginning of a chain of authorities that leads to an anchor, such as one that signs a revocation list.
///
/// # Errors
/// [`ChainError`] for the first thing that does not hold.
pub fn verify_authority(
    chain: &[&[u8]],
    anchors: &[PkiAuthority],
    now: u64,
) -> Result<PkiAuthority, ChainError> {
    let certificates = read_chain(chain, now)?;
    let mut authorities = certificates
        .iter()
        .enumerate()
        .map(|(index, certificate)| PkiAuthority::read(certificate, index))
        .collect::<Result<Vec<_>, _>>()?;
    let above = authorities.get(1..).unwrap_or_default();
    walk(&certificates, above, anchors, 1, now)?;
    if authorities.is_empty() {
        return Err(ChainError::Length { found: 0 });
    }
    Ok(authorities.swap_remove(0))
}

/// Reads the certificates; all of them are valid now.
fn read_chain<'a>(chain: &[&'a [u8]], now: u64) -> Result<Vec<Certificate<'a>>, ChainError> {
    if chain.is_empty() || chain.len() > MAX_CHAIN {
        return Err(ChainError::Length { found: chain.len() });
    }
    let mut certificates = Vec::with_capacity(chain.len());
    for (index, der) in chain.iter().enumerate() {
        let certificate =
            Certificate::read(der).map_err(|source| ChainError::Certificate { index, source })?;
        let (not_before, not_after) = (certificate.not_before, certificate.not_after);
        if !(not_before..=not_after).contains(&now) {
            return Err(ChainError::Validity {
                index,
                not_before,
                not_after,
                now,
            });
        }
        certificates.push(certificate);
    }
    Ok(certificates)
}

/// Follows the signatures up to an anchor. `authorities` are those of all certificates but the first, which is an authority itself if `first` is 1.
fn walk(
    certificates: &[Certificate<'_>],
    authorities: &[PkiAuthority],
    anchors: &[PkiAuthority],
    first: usize,
    now: u64,
) -> Result<Vec<ChainLink>, ChainError> {
    let mut links = Vec::with_capacity(certificates.len());
    for (index, certificate) in certificates.iter().enumerate() {
        let issuer = match authorities.get(index) {
            Some(issuer) if issuer.issued(certificate) => issuer,
            Some(_) => return Err(ChainError::NotIssued { index }),
            None => anchors
                .iter()
                .filter(|anchor| (anchor.not_before..=anchor.not_after).contains(&now))
                .find(|anchor| anchor.issued(certificate))
                .ok_or(ChainError::NoAnchor)?,
        };
        if !issuer.reaches(index + first) {
            return Err(ChainError::Usage {
                index: index + 1,
                reason: "does not reach as far (basicConstraints pathLenConstraint)",
            });
        }
        links.push(ChainLink {
            issuer: issuer.key_hash,
            serial: certificate.serial.to_vec(),
            not_after: certificate.not_after,
        });
    }
    Ok(links)
}

/// Refuses what restricts a certificate in a way that is not followed here.
fn refuse_constraints(
    certificate: &Certificate<'_>,
    index: usize,
    holder: bool,
) -> Result<(), ChainError> {
    let understood = |oid: Oid<'_>| {
        [
            oid::BASIC_CONSTRAINTS,
            oid::KEY_USAGE,
            oid::EXTENDED_KEY_USAGE,
        ]
        .contains(&oid)
            || (holder && oid.to_string() == SUBJECT_ALT_NAME)
    };
    let refused = certificate.extensions.iter().find(|extension| {
        (extension.critical && !understood(extension.oid))
            || extension.oid.to_string() == NAME_CONSTRAINTS
    });
    match refused {
        Some(extension) => Err(ChainError::Extension {
            index,
            oid: extension.oid.to_string(),
        }),
        None => Ok(()),
    }
}

/// Whether extended key usage, if it is there, has clientAuth or any.
fn serves_clients(certificate: &Certificate<'_>) -> bool {
    let Some(extension) = certificate.extension(oid::EXTENDED_KEY_USAGE) else {
        return true;
    };
    const PART: &str = "extKeyUsage";
    let usages = || -> Result<bool, CertificateError> {
        let mut outer = Fields::new(extension.value, PART)?;
        let contents = outer.expect(Tag::Sequence, PART)?.contents;
        outer.finish(PART)?;
        let mut fields = Fields::new(contents, PART)?;
        let mut found = false;
        while !fields.is_finished() {
            let usage = fields.expect(Tag::ObjectIdentifier, PART)?.whole;
            found |= usage == CLIENT_AUTH || usage == ANY_USAGE;
        }
        Ok(found)
    };
    usages().unwrap_or(false)
}

/// Whether a `KeyUsage` extension has the bit `digitalSignature`, which is number 0. `None`: it is not DER.
fn may_sign(key_usage: &[u8]) -> Option<bool> {
    let bits = BitStringRef::from_der(key_usage).ok()?;
    bits.raw_bytes().first().map(|first| first & 0x80 != 0)
}

/// The path length of a `BasicConstraints` extension that was found to be an authority's. One that does not fit 64 bits bounds nothing.
fn path_length(basic_constraints: &[u8]) -> Option<u64> {
    const PART: &str = "basicConstraints";
    let mut outer = Fields::new(basic_constraints, PART).ok()?;
    let contents = outer.expect(Tag::Sequence, PART).ok()?.contents;
    let mut fields = Fields::new(contents, PART).ok()?;
    fields.expect(Tag::Boolean, PART).ok()?;
    let integer = fields.expect(Tag::Integer, PART).ok()?.contents;
    (integer.len() <= 8).then(|| {
        integer
            .iter()
            .fold(0_u64, |length, byte| length << 8 | u64::from(*byte))
    })
}

/// Signs a statement with a key in PEM (PKCS#8), as [`VerifiedChain::is_signed`] wants it. For keys in files; whoever has a card or a
/// module signs there.
///
/// # Errors
/// [`ChainError::Key`] if it is no key, or not of a supported kind.
pub fn sign_statement(key_pem: &str, statement: &[u8]) -> Result<Vec<u8>, ChainError> {
    let unsupported = ChainError::Key {
        index: 0,
        reason: KeyDefect::Unsupported,
    };
    let key = rcgen::KeyPair::from_pem(key_pem).map_err(|_| unsupported.clone())?;
    key.sign(statement).map_err(|_| unsupported)
}

/// The certificates in a PEM file, DER, in their order.
///
/// # Errors
/// [`CertificateError::Malformed`] for a file without a certificate, or with something else.
pub fn certificates_from_pem(text: &[u8]) -> Result<Vec<Vec<u8>>, CertificateError> {
    let malformed = CertificateError::Malformed { part: "PEM" };
    let blocks = pem::parse_many(text).map_err(|_| malformed.clone())?;
    if blocks.is_empty() || blocks.iter().any(|block| block.tag() != "CERTIFICATE") {
        return Err(malformed);
    }
    Ok(blocks.into_iter().map(pem::Pem::into_contents).collect())
}
