//! The approval policy of a key: which organisations may approve reads of it, and how many must.
//!
//! A policy is checked when it is made, so that a [`Policy`] that exists can be verified against without a second
//! thought: at least one approval is needed and no more than there are organisations; names are distinct; every issuer
//! is an authority that may sign certificates, with a key that we can verify; and no public key stands in two
//! organisations, or whoever holds it would count twice.

mod encoding;
mod error;

use core::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use crate::certificate::{Certificate, is_authority, may_sign_certificates};
use crate::oid;
use crate::printable::is_printable;
use crate::signature::{Algorithm, IssuerPublicKey};

pub use error::{IssuerDefect, PolicyError};

/// The most approvals that are looked at in one request.
pub const MAX_APPROVALS: usize = 64;
/// The most organisations of a policy: all of them may have to approve.
pub const MAX_ORGANISATIONS: usize = MAX_APPROVALS;
/// The most issuers of one organisation: the current one, and what renewal and several peers ask for.
pub const MAX_ISSUERS: usize = 8;
/// The longest name of an organisation, in characters (X.520's bound for organizationName).
pub const MAX_NAME: usize = 64;
/// The longest lifetime that a policy may allow an approval: a day.
pub const LIFETIME_RANGE_S: RangeInclusive<u32> = 1..=86_400;
/// The most clock tolerance that a policy may allow: an hour.
pub const MAX_TOLERANCE_S: u32 = 3_600;
/// Lifetime of approvals unless the policy says otherwise.
pub const DEFAULT_LIFETIME_S: u32 = 300;
/// Clock tolerance unless the policy says otherwise.
pub const DEFAULT_TOLERANCE_S: u32 = 30;

/// An organisation and the certificates of its issuers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organisation {
    /// 1 to [`MAX_NAME`] printable characters.
    pub name: String,
    /// 1 to [`MAX_ISSUERS`] DER certificates.
    pub issuers: Vec<Vec<u8>>,
}

impl Organisation {
    /// Takes the issuers as PEM, as configuration files hold them. One text may hold several certificates.
    ///
    /// # Errors
    /// [`PolicyError::Pem`] for text without a certificate or with something else in it.
    pub fn from_pem<T: AsRef<str>>(name: &str, issuers: &[T]) -> Result<Self, PolicyError> {
        let mut der = Vec::new();
        for (index, text) in issuers.iter().enumerate() {
            let error = || PolicyError::Pem {
                organisation: name.to_owned(),
                index,
            };
            let blocks = pem::parse_many(text.as_ref()).map_err(|_| error())?;
            if blocks.is_empty() || blocks.iter().any(|block| block.tag() != "CERTIFICATE") {
                return Err(error());
            }
            der.extend(blocks.into_iter().map(pem::Pem::into_contents));
        }
        Ok(Self {
            name: name.to_owned(),
            issuers: der,
        })
    }

    /// The issuers as PEM, as [`Organisation::from_pem`] takes them.
    #[must_use]
    pub fn to_pem(&self) -> Vec<String> {
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        self.issuers
            .iter()
            .map(|der| pem::encode_config(&pem::Pem::new("CERTIFICATE", der.as_slice()), config))
            .collect()
    }
}

/// What a policy is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// m: how many distinct organisations must approve.
    pub approvals_needed: u16,
    /// Who may.
    pub organisations: Vec<Organisation>,
    /// The longest notAfter − notBefore of an approval, in seconds; [`DEFAULT_LIFETIME_S`].
    pub max_lifetime_s: u32,
    /// By how much clocks may differ, in seconds, on either side; [`DEFAULT_TOLERANCE_S`].
    pub tolerance_s: u32,
}

/// A checked policy, its issuers' keys decoded.
#[derive(Clone, Debug)]
pub struct Policy {
    config: PolicyConfig,
    encoding: Vec<u8>,
    hash: [u8; 32],
    pub(crate) keys: Vec<IssuerKey>,
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.encoding == other.encoding
    }
}

impl Eq for Policy {}

/// A public key of an organisation, with the certificates that it stands in: several after a renewal.
#[derive(Clone, Debug)]
pub(crate) struct IssuerKey {
    /// Index into the organisations.
    pub(crate) organisation: usize,
    pub(crate) spki: Vec<u8>,
    pub(crate) key: IssuerPublicKey,
    pub(crate) certificates: Vec<IssuerCertificate>,
}

#[derive(Clone, Debug)]
pub(crate) struct IssuerCertificate {
    pub(crate) subject: Vec<u8>,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) fingerprint: [u8; 32],
    /// Contents of the serial number's INTEGER.
    pub(crate) serial: Vec<u8>,
    /// All of it.
    pub(crate) der: Vec<u8>,
}

impl Policy {
    /// Checks a configuration and decodes its issuers.
    ///
    /// Whether an issuer is within its validity is not asked here: that depends on when it signs, and is asked then.
    ///
    /// # Errors
    /// [`PolicyError`] says what to change.
    pub fn new(mut config: PolicyConfig) -> Result<Self, PolicyError> {
        check_numbers(&config)?;
        check_names(&config.organisations)?;
        let mut keys: Vec<IssuerKey> = Vec::new();
        // In the caller's order, so that errors count as the configuration does; canonical order comes after.
        for (number, organisation) in config.organisations.iter().enumerate() {
            check_issuers(organisation)?;
            for (index, der) in organisation.issuers.iter().enumerate() {
                add_issuer(&mut keys, &config.organisations, number, der).map_err(|failure| {
                    match failure {
                        AddFailure::SharedWith(first) => PolicyError::SharedKey {
                            first,
                            second: organisation.name.clone(),
                        },
                        AddFailure::Defect(defect) => PolicyError::Issuer {
                            organisation: organisation.name.clone(),
                            index,
                            defect,
                        },
                    }
                })?;
            }
        }

        let names: Vec<String> = config
            .organisations
            .iter()
            .map(|o| o.name.clone())
            .collect();
        config
            .organisations
            .sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        for organisation in &mut config.organisations {
            organisation.issuers.sort();
        }
        for key in &mut keys {
            let name = names.get(key.organisation);
            let sorted = config
                .organisations
                .iter()
                .position(|o| Some(&o.name) == name);
            key.organisation = sorted.unwrap_or(key.organisation);
        }
        let encoding = encoding::encode(&config);
        let hash = Sha256::digest(&encoding).into();
        Ok(Self {
            config,
            encoding,
            hash,
            keys,
        })
    }

    /// SHA-256 of the canonical encoding: part of the key generation.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The canonical encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encoding.clone()
    }

    /// Decodes a canonical encoding, and checks the policy as [`Policy::new`] does.
    ///
    /// # Errors
    /// [`PolicyError::Encoding`] for bytes that are not canonical, otherwise as [`Policy::new`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PolicyError> {
        let config = encoding::decode(bytes).ok_or(PolicyError::Encoding)?;
        let policy = Self::new(config)?;
        if policy.encoding == bytes {
            Ok(policy)
        } else {
            Err(PolicyError::Encoding)
        }
    }

    /// m: how many distinct organisations must approve.
    #[must_use]
    pub fn approvals_needed(&self) -> u16 {
        self.config.approvals_needed
    }

    /// The organisations, in canonical order.
    #[must_use]
    pub fn organisations(&self) -> &[Organisation] {
        &self.config.organisations
    }

    /// The longest lifetime of an approval, in seconds.
    #[must_use]
    pub fn max_lifetime_s(&self) -> u32 {
        self.config.max_lifetime_s
    }

    /// The clock tolerance on either side, in seconds.
    #[must_use]
    pub fn tolerance_s(&self) -> u32 {
        self.config.tolerance_s
    }

    /// Every issuer: organisation, validity and fingerprint, for people who watch what will expire.
    pub fn issuers(&self) -> impl Iterator<Item = IssuerSummary<'_>> {
        self.keys.iter().flat_map(move |key| {
            key.certificates
                .iter()
                .map(move |certificate| IssuerSummary {
                    organisation: self.organisation_name(key.organisation),
                    algorithm: key.key.algorithm(),
                    not_before: certificate.not_before,
                    not_after: certificate.not_after,
                    fingerprint: certificate.fingerprint,
                })
        })
    }

    pub(crate) fn organisation_name(&self, index: usize) -> &str {
        self.config
            .organisations
            .get(index)
            .map_or("", |organisation| organisation.name.as_str())
    }
}

/// One issuer certificate of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuerSummary<'a> {
    /// The organisation's name.
    pub organisation: &'a str,
    /// The algorithm that it signs with.
    pub algorithm: Algorithm,
    /// Seconds since the Unix epoch, inclusive.
    pub not_before: u64,
    /// Seconds since the Unix epoch, inclusive.
    pub not_after: u64,
    /// SHA-256 of the DER certificate.
    pub fingerprint: [u8; 32],
}

fn check_numbers(config: &PolicyConfig) -> Result<(), PolicyError> {
    let count = config.organisations.len();
    if config.approvals_needed == 0 {
        return Err(PolicyError::NoApprovalsNeeded);
    }
    if count > MAX_ORGANISATIONS {
        return Err(PolicyError::TooManyOrganisations { count });
    }
    if usize::from(config.approvals_needed) > count {
        return Err(PolicyError::TooManyNeeded {
            needed: config.approvals_needed,
            organisations: count,
        });
    }
    if !LIFETIME_RANGE_S.contains(&config.max_lifetime_s) {
        return Err(PolicyError::Lifetime {
            seconds: config.max_lifetime_s,
        });
    }
    if config.tolerance_s > MAX_TOLERANCE_S {
        return Err(PolicyError::Tolerance {
            seconds: config.tolerance_s,
        });
    }
    Ok(())
}

fn check_names(organisations: &[Organisation]) -> Result<(), PolicyError> {
    let mut seen = std::collections::BTreeSet::new();
    for (index, Organisation { name, .. }) in organisations.iter().enumerate() {
        if !is_printable(name, MAX_NAME) {
            return Err(PolicyError::Name { index });
        }
        if !seen.insert(name.to_lowercase()) {
            return Err(PolicyError::DuplicateName { name: name.clone() });
        }
    }
    Ok(())
}

fn check_issuers(organisation: &Organisation) -> Result<(), PolicyError> {
    let name = || organisation.name.clone();
    let count = organisation.issuers.len();
    if count == 0 {
        return Err(PolicyError::NoIssuer {
            organisation: name(),
        });
    }
    if count > MAX_ISSUERS {
        return Err(PolicyError::TooManyIssuers {
            organisation: name(),
            count,
        });
    }
    let mut seen = std::collections::BTreeSet::new();
    for (index, der) in organisation.issuers.iter().enumerate() {
        if !seen.insert(der) {
            return Err(PolicyError::DuplicateIssuer {
                organisation: name(),
                index,
            });
        }
    }
    Ok(())
}

enum AddFailure {
    /// The key stands in this other organisation.
    SharedWith(String),
    Defect(IssuerDefect),
}

fn add_issuer(
    keys: &mut Vec<IssuerKey>,
    organisations: &[Organisation],
    organisation: usize,
    der: &[u8],
) -> Result<(), AddFailure> {
    let (spki, key, certificate) = read_issuer(der).map_err(AddFailure::Defect)?;
    match keys.iter_mut().find(|known| known.spki == spki) {
        Some(known) if known.organisation == organisation => known.certificates.push(certificate),
        Some(known) => {
            let name = organisations
                .get(known.organisation)
                .map_or_else(String::new, |o| o.name.clone());
            return Err(AddFailure::SharedWith(name));
        }
        None => keys.push(IssuerKey {
            organisation,
            spki,
            key,
            certificates: vec![certificate],
        }),
    }
    Ok(())
}

/// Holds a certificate to what an issuer's must be.
pub(crate) fn read_issuer(
    der: &[u8],
) -> Result<(Vec<u8>, IssuerPublicKey, IssuerCertificate), IssuerDefect> {
    let certificate = Certificate::read(der)?;
    let understood = [oid::BASIC_CONSTRAINTS, oid::KEY_USAGE];
    if let Some(unknown) = certificate
        .extensions
        .iter()
        .find(|e| e.critical && !understood.contains(&e.oid))
    {
        return Err(IssuerDefect::UnknownCriticalExtension {
            oid: unknown.oid.to_string(),
        });
    }
    if certificate
        .extension(oid::BASIC_CONSTRAINTS)
        .and_then(|e| is_authority(e.value))
        != Some(true)
    {
        return Err(IssuerDefect::NotAuthority);
    }
    if certificate
        .extension(oid::KEY_USAGE)
        .and_then(|e| may_sign_certificates(e.value))
        != Some(true)
    {
        return Err(IssuerDefect::NoCertificateSigning);
    }
    if certificate.not_after < certificate.not_before {
        return Err(IssuerDefect::ReversedValidity);
    }
    let key = IssuerPublicKey::from_spki(certificate.spki)?;
    let issuer = IssuerCertificate {
        subject: certificate.subject.to_vec(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        fingerprint: Sha256::digest(der).into(),
        serial: certificate.serial.to_vec(),
        der: der.to_vec(),
    };
    Ok((certificate.spki.to_vec(), key, issuer))
}
