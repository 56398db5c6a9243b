//! An approval as it arrives: parsed and held to the profile, not yet verified (protocol.md section 7).
//!
//! The profile is positive: what it names must be there, in one encoding; what is critical beside it is refused; what
//! is not critical (key identifiers, as tools add them) is passed over.
//!
//! | extension | critical | extnValue |
//! |---|---|---|
//! | basicConstraints | either | `30 00`: cA FALSE |
//! | keyUsage | either | `03 02 07 80`: digitalSignature alone |
//! | extKeyUsage | yes | a sequence of `ARC.2.1` alone |
//! | `ARC.1.1` write_id | yes | `04 20` and 32 bytes |
//! | `ARC.1.2` X | yes | `04 20` and 32 bytes |
//! | `ARC.1.3` approval id | yes | UTF8String, 1 to 128 printable characters |
//!
//! RFC 5280 would read a certificate without basicConstraints as no authority's. Here the extension must be there
//! all the same: the specification lists it, and a certificate that leaves it out was not made for this purpose.
//!
//! Parsing says nothing about who signed: an [`UnverifiedApproval`] authorises nothing. Only
//! [`crate::Policy::verify`] makes an [`crate::Approved`].

use crate::certificate::{Certificate, is_authority, utf8_string};
use crate::oid::{self, Oid};
use crate::printable::is_printable;
use crate::refusal::Refusal;
use crate::signature::Algorithm;

/// The longest approval id, in characters.
pub const MAX_APPROVAL_ID: usize = 128;

/// Value of keyUsage: a BIT STRING of one bit, digitalSignature.
const DIGITAL_SIGNATURE: &[u8] = &[0x03, 0x02, 0x07, 0x80];

/// A certificate of the profile whose signature nobody has verified.
#[derive(Clone, Debug)]
pub struct UnverifiedApproval<'a> {
    pub(crate) certificate: Certificate<'a>,
    pub(crate) algorithm: Algorithm,
    write_id: [u8; 32],
    ephemeral_point: [u8; 32],
    approval_id: &'a str,
}

impl<'a> UnverifiedApproval<'a> {
    /// Reads a DER certificate and holds it to the profile.
    ///
    /// # Errors
    /// [`Refusal`]: the size and structure, then the algorithm, then the extensions.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let certificate = Certificate::read(bytes)?;
        let algorithm =
            Algorithm::from_identifier(certificate.algorithm).ok_or(Refusal::SignatureAlgorithm)?;

        const PROFILE: [Oid<'static>; 6] = [
            oid::BASIC_CONSTRAINTS,
            oid::KEY_USAGE,
            oid::EXTENDED_KEY_USAGE,
            oid::WRITE_ID,
            oid::EPHEMERAL_POINT,
            oid::APPROVAL_ID,
        ];
        if let Some(unknown) = certificate
            .extensions
            .iter()
            .find(|e| e.critical && !PROFILE.contains(&e.oid))
        {
            return Err(Refusal::UnknownCriticalExtension {
                oid: unknown.oid.to_string(),
            });
        }

        let basic_constraints = value(&certificate, oid::BASIC_CONSTRAINTS, "basicConstraints")?;
        match is_authority(basic_constraints) {
            Some(false) => {}
            Some(true) => return Err(Refusal::IsAuthority),
            None => {
                return Err(Refusal::ExtensionValue {
                    extension: "basicConstraints",
                });
            }
        }
        if value(&certificate, oid::KEY_USAGE, "keyUsage")? != DIGITAL_SIGNATURE {
            return Err(Refusal::ExtensionValue {
                extension: "keyUsage",
            });
        }
        if !is_approval_usage(critical_value(
            &certificate,
            oid::EXTENDED_KEY_USAGE,
            "extKeyUsage",
        )?) {
            return Err(Refusal::ExtensionValue {
                extension: "extKeyUsage",
            });
        }
        let write_id = octets(&certificate, oid::WRITE_ID, "write_id")?;
        let ephemeral_point = octets(&certificate, oid::EPHEMERAL_POINT, "ephemeral point")?;
        let approval_id = utf8_string(critical_value(
            &certificate,
            oid::APPROVAL_ID,
            "approval id",
        )?)
        .ok_or(Refusal::ExtensionValue {
            extension: "approval id",
        })?;
        if !is_printable(approval_id, MAX_APPROVAL_ID) {
            return Err(Refusal::ApprovalId);
        }
        if certificate.not_after < certificate.not_before {
            return Err(Refusal::ReversedValidity);
        }
        Ok(Self {
            certificate,
            algorithm,
            write_id,
            ephemeral_point,
            approval_id,
        })
    }

    /// The `write_id` of the wrapped key whose read it would approve.
    #[must_use]
    pub fn write_id(&self) -> &[u8; 32] {
        &self.write_id
    }

    /// The point X, encoded, that it would approve re-encryption to. Not decoded here.
    #[must_use]
    pub fn ephemeral_point(&self) -> &[u8; 32] {
        &self.ephemeral_point
    }

    /// The ledger's approval id.
    #[must_use]
    pub fn approval_id(&self) -> &'a str {
        self.approval_id
    }

    /// DER SubjectPublicKeyInfo of the client that may present it.
    #[must_use]
    pub fn client_spki(&self) -> &'a [u8] {
        self.certificate.spki
    }

    /// Seconds since the Unix epoch, inclusive.
    #[must_use]
    pub fn not_before(&self) -> u64 {
        self.certificate.not_before
    }

    /// Seconds since the Unix epoch, inclusive.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.certificate.not_after
    }
}

/// A value of the profile.
fn value<'a>(
    certificate: &Certificate<'a>,
    oid: Oid<'_>,
    name: &'static str,
) -> Result<&'a [u8], Refusal> {
    let extension = certificate
        .extension(oid)
        .ok_or(Refusal::MissingExtension { extension: name })?;
    Ok(extension.value)
}

/// A value of the profile whose extension must be critical.
fn critical_value<'a>(
    certificate: &Certificate<'a>,
    oid: Oid<'_>,
    name: &'static str,
) -> Result<&'a [u8], Refusal> {
    let extension = certificate
        .extension(oid)
        .ok_or(Refusal::MissingExtension { extension: name })?;
    if extension.critical {
        Ok(extension.value)
    } else {
        Err(Refusal::NotCritical { extension: name })
    }
}

/// A DER OCTET STRING of 32 bytes: `04 20` and the bytes, nothing else.
fn octets(
    certificate: &Certificate<'_>,
    oid: Oid<'_>,
    name: &'static str,
) -> Result<[u8; 32], Refusal> {
    critical_value(certificate, oid, name)?
        .strip_prefix(&[0x04, 0x20])
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Refusal::ExtensionValue { extension: name })
}

/// Whether an extKeyUsage has `ARC.2.1` and nothing else: `SEQUENCE { OBJECT IDENTIFIER }`.
fn is_approval_usage(value: &[u8]) -> bool {
    let contents = oid::APPROVAL_USAGE.as_contents();
    match value {
        [0x30, outer, 0x06, inner, rest @ ..] => {
            rest == contents
                && usize::from(*inner) == contents.len()
                && usize::from(*outer) == contents.len() + 2
        }
        _ => false,
    }
}
