//! X.509 v3 certificates as bytes: the strict reading that approvals and issuers share (RFC 5280 section 4.1).
//!
//! What must be true of every certificate is checked here; what an approval or an issuer must look like besides is in
//! [`crate::approval`] and [`crate::policy`]. A certificate has exactly one encoding for us: DER (X.690) with minimal
//! lengths, nothing after the end of any field, no absent-or-default ambiguity. A signature covers `tbsCertificate`
//! alone, so the rest (the outer header, the second algorithm identifier, the bit string's count of unused bits)
//! would be free for anybody to change if a reader were lenient about it.
//!
//! Names are read for their form only, so that what we accept common tools can read; nothing is decided by them.

use der::asn1::{AnyRef, BitStringRef, GeneralizedTime, UtcTime};
use der::{Decode, Encode, Header, Reader, SliceReader, Tag, TagNumber, Tagged};

use crate::oid::Oid;

/// The longest certificate that is looked at, in bytes: protocol.md section 7.
pub const MAX_CERTIFICATE: usize = 4096;
/// The most extensions a certificate may have. The profile has six; tools add two or three.
pub const MAX_EXTENSIONS: usize = 32;
/// The longest serial number, in bytes (RFC 5280 section 4.1.2.2).
const MAX_SERIAL: usize = 20;

/// Why bytes are no certificate for us, whatever it is meant for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Longer than [`MAX_CERTIFICATE`].
    #[error("it is {length} bytes long; at most {MAX_CERTIFICATE} are accepted")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Not DER, or not the structure of RFC 5280.
    #[error("its {part} is not valid DER of an X.509 certificate")]
    Malformed {
        /// The part that could not be read, by its name in RFC 5280.
        part: &'static str,
    },
    /// Something follows the certificate.
    #[error("{count} bytes follow after its end")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// Not version 3.
    #[error("it is not an X.509 version 3 certificate")]
    Version,
    /// The algorithm outside the signed part is not the one inside.
    #[error("it names one signature algorithm in its signed part and another outside")]
    AlgorithmMismatch,
    /// An extension stands there twice.
    #[error("extension {oid} is repeated")]
    RepeatedExtension {
        /// Its object identifier, dotted.
        oid: String,
    },
    /// More than [`MAX_EXTENSIONS`] extensions.
    #[error("it has more than {MAX_EXTENSIONS} extensions")]
    TooManyExtensions,
}

impl CertificateError {
    /// Stable code of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "certificate-too-long",
            Self::Malformed { .. } => "certificate-malformed",
            Self::TrailingBytes { .. } => "certificate-trailing-bytes",
            Self::Version => "certificate-version",
            Self::AlgorithmMismatch => "certificate-algorithm-mismatch",
            Self::RepeatedExtension { .. } => "certificate-repeated-extension",
            Self::TooManyExtensions => "certificate-too-many-extensions",
        }
    }
}

/// An extension, its value not yet looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extension<'a> {
    pub(crate) oid: Oid<'a>,
    pub(crate) critical: bool,
    /// Contents of extnValue.
    pub(crate) value: &'a [u8],
}

/// A certificate's parts, borrowed from its bytes. Nothing is verified.
#[derive(Clone, Debug)]
pub(crate) struct Certificate<'a> {
    /// What the signature covers: tbsCertificate with its header.
    pub(crate) signed_part: &'a [u8],
    /// AlgorithmIdentifier, the same inside and outside.
    pub(crate) algorithm: &'a [u8],
    pub(crate) signature: &'a [u8],
    /// Contents of the serial number's INTEGER.
    pub(crate) serial: &'a [u8],
    /// Name, whole.
    pub(crate) issuer: &'a [u8],
    /// Seconds since the Unix epoch, inclusive.
    pub(crate) not_before: u64,
    /// Seconds since the Unix epoch, inclusive.
    pub(crate) not_after: u64,
    /// Name, whole.
    pub(crate) subject: &'a [u8],
    /// SubjectPublicKeyInfo, whole.
    pub(crate) spki: &'a [u8],
    pub(crate) extensions: Vec<Extension<'a>>,
}

/// One element of DER: its tag, its contents, and both together with the header.
pub(crate) struct Element<'a> {
    pub(crate) tag: Tag,
    pub(crate) contents: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// Reads the elements of a sequence, naming the part that fails.
pub(crate) struct Fields<'a>(SliceReader<'a>);

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8], part: &'static str) -> Result<Self, CertificateError> {
        SliceReader::new(bytes)
            .map(Self)
            .map_err(|_| CertificateError::Malformed { part })
    }

    pub(crate) fn next(&mut self, part: &'static str) -> Result<Element<'a>, CertificateError> {
        self.read_element()
            .ok_or(CertificateError::Malformed { part })
    }

    fn read_element(&mut self) -> Option<Element<'a>> {
        let header = Header::peek(&self.0).ok()?;
        // Decoding refuses longer forms, so the header has the length of its encoding.
        let header_length = header.encoded_len().ok()?;
        let whole = self
            .0
            .read_slice((header_length + header.length()).ok()?)
            .ok()?;
        let contents = whole.get(usize::try_from(header_length).ok()?..)?;
        Some(Element {
            tag: header.tag(),
            contents,
            whole,
        })
    }

    pub(crate) fn expect(
        &mut self,
        tag: Tag,
        part: &'static str,
    ) -> Result<Element<'a>, CertificateError> {
        let element = self.next(part)?;
        if element.tag == tag {
            Ok(element)
        } else {
            Err(CertificateError::Malformed { part })
        }
    }

    /// The tag of the next element, if there is one.
    pub(crate) fn peek_tag(&self) -> Option<Tag> {
        Header::peek(&self.0).ok().map(|header| header.tag())
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    pub(crate) fn finish(self, part: &'static str) -> Result<(), CertificateError> {
        if self.is_finished() {
            Ok(())
        } else {
            Err(CertificateError::Malformed { part })
        }
    }
}

pub(crate) const fn context(number: u32) -> Tag {
    Tag::ContextSpecific {
        constructed: true,
        number: TagNumber(number),
    }
}

impl<'a> Certificate<'a> {
    /// Reads a certificate that fills `bytes` exactly.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, CertificateError> {
        if bytes.len() > MAX_CERTIFICATE {
            return Err(CertificateError::TooLong {
                length: bytes.len(),
            });
        }
        let mut outermost = Fields::new(bytes, "Certificate")?;
        let certificate = outermost.expect(Tag::Sequence, "Certificate")?;
        if !outermost.is_finished() {
            return Err(CertificateError::TrailingBytes {
                count: bytes.len() - certificate.whole.len(),
            });
        }

        let mut fields = Fields::new(certificate.contents, "Certificate")?;
        let signed_part = fields.expect(Tag::Sequence, "tbsCertificate")?;
        let outer_algorithm = read_algorithm(&mut fields, "signatureAlgorithm")?;
        let signature = read_bit_string(
            &fields.expect(Tag::BitString, "signatureValue")?,
            "signatureValue",
        )?;
        fields.finish("Certificate")?;

        let mut fields = Fields::new(signed_part.contents, "tbsCertificate")?;
        read_version(&mut fields)?;
        let serial = read_serial(&mut fields)?;
        let algorithm = read_algorithm(&mut fields, "signature")?;
        if algorithm != outer_algorithm {
            return Err(CertificateError::AlgorithmMismatch);
        }
        let issuer = read_name(&mut fields, "issuer")?;
        let (not_before, not_after) = read_validity(&mut fields)?;
        let subject = read_name(&mut fields, "subject")?;
        let spki = read_spki(&mut fields)?;
        let extensions = read_extensions(&mut fields)?;
        fields.finish("tbsCertificate")?;

        Ok(Self {
            signed_part: signed_part.whole,
            algorithm,
            signature,
            serial,
            issuer,
            not_before,
            not_after,
            subject,
            spki,
            extensions,
        })
    }

    pub(crate) fn extension(&self, oid: Oid<'_>) -> Option<&Extension<'a>> {
        self.extensions
            .iter()
            .find(|extension| extension.oid == oid)
    }
}

/// The SubjectPublicKeyInfo of any X.509 certificate, whole: what an approval is bound to.
///
/// For the certificate that a TLS client presents: its handshake proves the key, so the certificate is read only as far
/// as the key stands in it, and may be of any version or profile.
///
/// # Errors
/// Bytes that are no certificate as far as the key.
pub fn subject_public_key_info(certificate: &[u8]) -> Result<&[u8], CertificateError> {
    let outermost =
        Fields::new(certificate, "Certificate")?.expect(Tag::Sequence, "Certificate")?;
    let signed_part =
        Fields::new(outermost.contents, "Certificate")?.expect(Tag::Sequence, "tbsCertificate")?;
    let mut fields = Fields::new(signed_part.contents, "tbsCertificate")?;
    if fields.next("version")?.tag == context(0) {
        fields.expect(Tag::Integer, "serialNumber")?;
    }
    for part in ["signature", "issuer", "validity", "subject"] {
        fields.expect(Tag::Sequence, part)?;
    }
    read_spki(&mut fields)
}

/// `Version`: explicit, and v3, which is the integer 2.
fn read_version(fields: &mut Fields<'_>) -> Result<(), CertificateError> {
    let version = fields.next("version")?;
    if version.tag == context(0) && version.contents == [0x02, 0x01, 0x02] {
        Ok(())
    } else {
        Err(CertificateError::Version)
    }
}

/// `CertificateSerialNumber`: positive, minimal, at most 20 bytes.
fn read_serial<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], CertificateError> {
    let serial = fields.expect(Tag::Integer, "serialNumber")?;
    let good = match serial.contents {
        [] | [0] => false,
        [0, second, ..] => second & 0x80 != 0,
        [first, ..] => first & 0x80 == 0,
    };
    if good && serial.contents.len() <= MAX_SERIAL {
        Ok(serial.contents)
    } else {
        Err(CertificateError::Malformed {
            part: "serialNumber",
        })
    }
}

/// `AlgorithmIdentifier`, whole: an object identifier and at most one element of parameters.
pub(crate) fn read_algorithm<'a>(
    fields: &mut Fields<'a>,
    part: &'static str,
) -> Result<&'a [u8], CertificateError> {
    let algorithm = fields.expect(Tag::Sequence, part)?;
    let mut inner = Fields::new(algorithm.contents, part)?;
    read_oid(&mut inner, part)?;
    if !inner.is_finished() {
        inner.next(part)?;
    }
    inner.finish(part)?;
    Ok(algorithm.whole)
}

fn read_oid<'a>(fields: &mut Fields<'a>, part: &'static str) -> Result<Oid<'a>, CertificateError> {
    Oid::from_contents(fields.expect(Tag::ObjectIdentifier, part)?.contents)
        .ok_or(CertificateError::Malformed { part })
}

/// A BIT STRING of whole bytes.
pub(crate) fn read_bit_string<'a>(
    element: &Element<'a>,
    part: &'static str,
) -> Result<&'a [u8], CertificateError> {
    BitStringRef::from_der(element.whole)
        .ok()
        .and_then(|bits| bits.as_bytes())
        .ok_or(CertificateError::Malformed { part })
}

/// `Name`, whole: a sequence of sets of type and string.
pub(crate) fn read_name<'a>(
    fields: &mut Fields<'a>,
    part: &'static str,
) -> Result<&'a [u8], CertificateError> {
    let name = fields.expect(Tag::Sequence, part)?;
    let mut sets = Fields::new(name.contents, part)?;
    while !sets.is_finished() {
        let mut attributes = Fields::new(sets.expect(Tag::Set, part)?.contents, part)?;
        // A relative distinguished name has at least one attribute.
        loop {
            let mut attribute =
                Fields::new(attributes.expect(Tag::Sequence, part)?.contents, part)?;
            read_oid(&mut attribute, part)?;
            let value = attribute.next(part)?;
            if !is_string(&value) {
                return Err(CertificateError::Malformed { part });
            }
            attribute.finish(part)?;
            if attributes.is_finished() {
                break;
            }
        }
    }
    Ok(name.whole)
}

/// The string types that names are made of (RFC 5280 section 4.1.2.4), with contents of their alphabet.
fn is_string(value: &Element<'_>) -> bool {
    match value.tag {
        Tag::Utf8String => core::str::from_utf8(value.contents).is_ok(),
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString => value.contents.is_ascii(),
        Tag::TeletexString => true,
        Tag::BmpString => value.contents.len().is_multiple_of(2),
        _ => false,
    }
}

/// `Validity`, as seconds since the Unix epoch.
fn read_validity(fields: &mut Fields<'_>) -> Result<(u64, u64), CertificateError> {
    let validity = fields.expect(Tag::Sequence, "validity")?;
    let mut times = Fields::new(validity.contents, "validity")?;
    let not_before = read_time(&mut times, "notBefore")?;
    let not_after = read_time(&mut times, "notAfter")?;
    times.finish("validity")?;
    Ok((not_before, not_after))
}

/// `Time`: UTCTime through 2049, GeneralizedTime from 2050 on, seconds given, Zulu (RFC 5280 section 4.1.2.5).
pub(crate) fn read_time(
    fields: &mut Fields<'_>,
    part: &'static str,
) -> Result<u64, CertificateError> {
    let malformed = |_| CertificateError::Malformed { part };
    let time = fields.next(part)?;
    if time.tag == Tag::UtcTime {
        return Ok(UtcTime::from_der(time.whole)
            .map_err(malformed)?
            .to_unix_duration()
            .as_secs());
    }
    let time = GeneralizedTime::from_der(time.whole).map_err(malformed)?;
    if time.to_date_time().year() <= UtcTime::MAX_YEAR {
        return Err(CertificateError::Malformed { part });
    }
    Ok(time.to_unix_duration().as_secs())
}

/// `SubjectPublicKeyInfo`, whole.
fn read_spki<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], CertificateError> {
    const PART: &str = "subjectPublicKeyInfo";
    let spki = fields.expect(Tag::Sequence, PART)?;
    let mut inner = Fields::new(spki.contents, PART)?;
    read_algorithm(&mut inner, PART)?;
    read_bit_string(&inner.expect(Tag::BitString, PART)?, PART)?;
    inner.finish(PART)?;
    Ok(spki.whole)
}

/// `[3] Extensions`. The unique identifiers that may precede them are refused: no authority may issue them (RFC 5280
/// section 4.1.2.8). A certificate without extensions has an empty list here and fails every profile.
fn read_extensions<'a>(fields: &mut Fields<'a>) -> Result<Vec<Extension<'a>>, CertificateError> {
    const PART: &str = "extensions";
    let mut extensions: Vec<Extension<'a>> = Vec::with_capacity(10);
    if fields.is_finished() {
        return Ok(extensions);
    }
    let explicit = fields.expect(context(3), PART)?;
    let mut inner = Fields::new(explicit.contents, PART)?;
    let sequence = inner.expect(Tag::Sequence, PART)?;
    inner.finish(PART)?;

    let mut items = Fields::new(sequence.contents, PART)?;
    while !items.is_finished() {
        let extension = read_extension(&items.expect(Tag::Sequence, PART)?)?;
        if extensions.iter().any(|other| other.oid == extension.oid) {
            return Err(CertificateError::RepeatedExtension {
                oid: extension.oid.to_string(),
            });
        }
        if extensions.len() == MAX_EXTENSIONS {
            return Err(CertificateError::TooManyExtensions);
        }
        extensions.push(extension);
    }
    if extensions.is_empty() {
        return Err(CertificateError::Malformed { part: PART });
    }
    Ok(extensions)
}

pub(crate) fn read_extension<'a>(element: &Element<'a>) -> Result<Extension<'a>, CertificateError> {
    const PART: &str = "extensions";
    let mut fields = Fields::new(element.contents, PART)?;
    let oid = read_oid(&mut fields, PART)?;
    let mut value = fields.next(PART)?;
    let critical = value.tag == Tag::Boolean;
    if critical {
        // FALSE is the default, and DER omits defaults: TRUE is all that may stand here.
        if value.contents != [0xff] {
            return Err(CertificateError::Malformed { part: PART });
        }
        value = fields.next(PART)?;
    }
    if value.tag != Tag::OctetString {
        return Err(CertificateError::Malformed { part: PART });
    }
    fields.finish(PART)?;
    Ok(Extension {
        oid,
        critical,
        value: value.contents,
    })
}

/// The contents octets of a UTF8String that fills `der` exactly.
pub(crate) fn utf8_string(der: &[u8]) -> Option<&str> {
    let any = AnyRef::from_der(der).ok()?;
    (any.tag() == Tag::Utf8String)
        .then(|| core::str::from_utf8(any.value()).ok())
        .flatten()
}

/// Whether a `BasicConstraints` extension says that the certificate is an authority's. `None`: it is not DER.
pub(crate) fn is_authority(basic_constraints: &[u8]) -> Option<bool> {
    const PART: &str = "basicConstraints";
    let mut outer = Fields::new(basic_constraints, PART).ok()?;
    let sequence = outer.expect(Tag::Sequence, PART).ok()?;
    outer.finish(PART).ok()?;
    let mut fields = Fields::new(sequence.contents, PART).ok()?;
    if fields.is_finished() {
        return Some(false);
    }
    // cA FALSE is the default and not written; pathLenConstraint stands only beside cA TRUE (RFC 5280 section 4.2.1.9).
    if fields.expect(Tag::Boolean, PART).ok()?.contents != [0xff] {
        return None;
    }
    if !fields.is_finished() {
        let length = fields.expect(Tag::Integer, PART).ok()?;
        if !matches!(length.contents, [0..=0x7f] | [0, 0x80..=0xff]) {
            return None;
        }
    }
    fields.finish(PART).ok()?;
    Some(true)
}

/// Whether a `KeyUsage` extension has the bit `keyCertSign`, which is number 5. `None`: it is not DER.
pub(crate) fn may_sign_certificates(key_usage: &[u8]) -> Option<bool> {
    let bits = BitStringRef::from_der(key_usage).ok()?;
    bits.raw_bytes().first().map(|first| first & 0x04 != 0)
}

/// Whether a `KeyUsage` extension has the bit `cRLSign`, which is number 6. `None`: it is not DER.
pub(crate) fn may_sign_lists(key_usage: &[u8]) -> Option<bool> {
    let bits = BitStringRef::from_der(key_usage).ok()?;
    bits.raw_bytes().first().map(|first| first & 0x02 != 0)
}
