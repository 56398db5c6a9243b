//! The issuing side: an organisation's certificate authority, which its ledger peer holds.
//!
//! A peer that approves a read issues a certificate of the profile (see [`crate::approval`]) for a few minutes, bound to
//! the wrapped key, the ephemeral key and the client. The authority signs approvals directly; mostly it is its own root.
//!
//! An authority may also come from elsewhere (OpenSSL, a hardware token's export): [`Issuer::from_pem`] holds it to
//! everything that a policy asks of an issuer, and to what this issuer can do with it, before it is used.

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa,
    KeyUsagePurpose, PublicKeyData, SerialNumber, SigningKey, SubjectPublicKeyInfo,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::approval::{MAX_APPROVAL_ID, UnverifiedApproval};
use crate::certificate::Certificate;
use crate::oid;
use crate::policy::{IssuerDefect, MAX_NAME, read_issuer};
use crate::printable::is_printable;
use crate::refusal::Refusal;
use crate::signature::{Algorithm, IssuerPublicKey};

/// What an approval says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// SHA-256 of the wrapped key whose read is approved.
    pub write_id: [u8; 32],
    /// X, encoded: the ephemeral point that it may be re-encrypted to.
    pub ephemeral_point: [u8; 32],
    /// The ledger's name for this approval: 1 to [`MAX_APPROVAL_ID`] printable characters.
    pub approval_id: String,
    /// DER SubjectPublicKeyInfo of the client that may present it.
    pub client_spki: Vec<u8>,
    /// Seconds since the Unix epoch, inclusive.
    pub not_before: u64,
    /// Seconds since the Unix epoch, inclusive.
    pub not_after: u64,
}

/// Why an authority cannot be made or loaded, or an approval cannot be issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// A name that is empty, too long or not printable.
    #[error("the organisation's name must be 1 to {MAX_NAME} printable characters")]
    Name,
    /// The end is not after the beginning, or beyond the year 9999.
    #[error("the validity must end after it begins, and before the year 10000")]
    Validity,
    /// The certificate's PEM is none, or holds no certificate.
    #[error("the certificate file must hold one PEM block CERTIFICATE")]
    CertificatePem,
    /// The key's PEM is none, or is encrypted, or of another kind.
    #[error("the key file must hold one unencrypted PEM private key, Ed25519 or P-256")]
    KeyPem,
    /// The certificate cannot be an issuer's.
    #[error("the certificate cannot issue approvals: {0}")]
    Certificate(#[from] IssuerDefect),
    /// The key is not the certificate's.
    #[error("the private key does not belong to the certificate")]
    OtherKey,
    /// The authority's name has a form that cannot be reproduced in what it issues.
    #[error(
        "the certificate's subject has a form that is not supported: use one value for each kind of attribute"
    )]
    SubjectForm,
    /// An approval id that is empty, too long or not printable.
    #[error("the approval id must be 1 to {MAX_APPROVAL_ID} printable characters")]
    ApprovalId,
    /// A client key that cannot be put into a certificate.
    #[error("the client's public key is not a SubjectPublicKeyInfo of a supported kind")]
    ClientKey,
    /// The system gave no randomness, or the library refused.
    #[error("the certificate could not be made: {0}")]
    Library(String),
    /// What was issued would be refused by every verifier.
    #[error("the certificate that was made would be refused: {0}")]
    Unusable(Refusal),
}

impl IssuerError {
    /// Stable code of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name => "issuer-name",
            Self::Validity => "issuer-validity",
            Self::CertificatePem => "issuer-certificate-pem",
            Self::KeyPem => "issuer-key-pem",
            Self::Certificate(defect) => defect.code(),
            Self::OtherKey => "issuer-other-key",
            Self::SubjectForm => "issuer-subject-form",
            Self::ApprovalId => "approval-id",
            Self::ClientKey => "approval-client-key",
            Self::Library(_) => "issuer-library",
            Self::Unusable(reason) => reason.code(),
        }
    }
}

impl From<rcgen::Error> for IssuerError {
    fn from(error: rcgen::Error) -> Self {
        Self::Library(error.to_string())
    }
}

impl From<aws_lc_rs::error::Unspecified> for IssuerError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Library("the system's random generator or key generation failed".to_owned())
    }
}

/// An organisation's certificate authority, with its private key.
pub struct Issuer {
    pub(crate) authority: rcgen::Issuer<'static, AuthorityKey>,
    certificate: Vec<u8>,
    key_pem: Zeroizing<String>,
}

impl core::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Issuer")
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

impl Issuer {
    /// Makes a self-signed authority for an organisation, valid from `not_before` to `not_after` (seconds since the Unix
    /// epoch, inclusive).
    ///
    /// # Errors
    /// [`IssuerError::Name`], [`IssuerError::Validity`], or the system's refusal.
    pub fn generate(
        organisation: &str,
        algorithm: Algorithm,
        not_before: u64,
        not_after: u64,
    ) -> Result<Self, IssuerError> {
        if !is_printable(organisation, MAX_NAME) {
            return Err(IssuerError::Name);
        }
        let (key, key_pem) = AuthorityKey::generate(algorithm)?;
        let mut params = parameters(not_before, not_after)?;
        params
            .distinguished_name
            .push(DnType::OrganizationName, organisation);
        params
            .distinguished_name
            .push(DnType::CommonName, "approval authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.der().to_vec();
        read_issuer(&certificate)?;
        Ok(Self {
            authority: rcgen::Issuer::new(params, key),
            certificate,
            key_pem,
        })
    }

    /// Loads an authority: one certificate, and its private key unencrypted (PKCS #8, or SEC 1 for P-256).
    ///
    /// # Errors
    /// Anything that would keep its approvals from being counted, its own expiry excepted.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, IssuerError> {
        let certificate = match pem::parse_many(certificate_pem)
            .map_err(|_| IssuerError::CertificatePem)?
            .as_slice()
        {
            [block] if block.tag() == "CERTIFICATE" => block.contents().to_vec(),
            _ => return Err(IssuerError::CertificatePem),
        };
        let (spki, _, _) = read_issuer(&certificate)?;
        let key = AuthorityKey::from_pem(key_pem)?;
        if key.subject_public_key_info() != spki {
            return Err(IssuerError::OtherKey);
        }
        let der = certificate.as_slice().into();
        let authority =
            rcgen::Issuer::from_ca_cert_der(&der, key).map_err(|_| IssuerError::SubjectForm)?;
        let issuer = Self {
            authority,
            certificate,
            key_pem: Zeroizing::new(key_pem.to_owned()),
        };
        issuer.check_by_issuing(spki)?;
        Ok(issuer)
    }

    /// The authority's certificate, DER: what a policy lists.
    #[must_use]
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        pem::encode_config(
            &pem::Pem::new("CERTIFICATE", self.certificate.clone()),
            pem_style(),
        )
    }

    /// The private key, PEM: a secret.
    #[must_use]
    pub fn key_pem(&self) -> Zeroizing<String> {
        self.key_pem.clone()
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.authority.key().algorithm
    }

    /// Issues an approval: a DER certificate of the profile with a random serial number.
    ///
    /// Whether the read may be approved is the caller's to know, and how long: a policy's maximum lifetime is not known
    /// here.
    ///
    /// # Errors
    /// [`IssuerError`] for what no certificate of the profile can say.
    pub fn issue(&self, approval: &Approval) -> Result<Vec<u8>, IssuerError> {
        if !is_printable(&approval.approval_id, MAX_APPROVAL_ID) {
            return Err(IssuerError::ApprovalId);
        }
        let client = SubjectPublicKeyInfo::from_der(&approval.client_spki)
            .map_err(|_| IssuerError::ClientKey)?;
        let mut params = parameters(approval.not_before, approval.not_after)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "approval");
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.custom_extensions = vec![
            critical(&oid::EXTENDED_KEY_USAGE_ARCS, approval_usage()),
            critical(&oid::WRITE_ID_ARCS, element(0x04, &approval.write_id)),
            critical(
                &oid::EPHEMERAL_POINT_ARCS,
                element(0x04, &approval.ephemeral_point),
            ),
            critical(
                &oid::APPROVAL_ID_ARCS,
                element(0x0c, approval.approval_id.as_bytes()),
            ),
        ];
        let der = params.signed_by(&client, &self.authority)?.der().to_vec();
        // What leaves here is what every verifier will read: the profile, and the client's key in its very bytes.
        let issued = UnverifiedApproval::parse(&der).map_err(IssuerError::Unusable)?;
        if issued.client_spki() != approval.client_spki {
            return Err(IssuerError::ClientKey);
        }
        Ok(der)
    }

    /// Issues an approval of nothing for its own key and throws it away, to see that it bears the authority's name.
    fn check_by_issuing(&self, own_spki: Vec<u8>) -> Result<(), IssuerError> {
        let own = Certificate::read(&self.certificate).map_err(IssuerDefect::from)?;
        let trial = self.issue(&Approval {
            write_id: [0; 32],
            ephemeral_point: [0; 32],
            approval_id: "trial".to_owned(),
            client_spki: own_spki,
            not_before: own.not_before,
            not_after: own.not_before.saturating_add(1),
        })?;
        let issued = Certificate::read(&trial).map_err(IssuerDefect::from)?;
        let key = IssuerPublicKey::from_spki(own.spki).map_err(IssuerDefect::from)?;
        if !key.verifies_vartime(issued.signed_part, issued.signature) {
            return Err(IssuerError::OtherKey);
        }
        if issued.issuer == own.subject {
            Ok(())
        } else {
            Err(IssuerError::SubjectForm)
        }
    }
}

/// Parameters with a validity and a random serial number of 16 bytes.
fn parameters(not_before: u64, not_after: u64) -> Result<CertificateParams, IssuerError> {
    if not_before >= not_after {
        return Err(IssuerError::Validity);
    }
    let moment = |seconds: u64| {
        i64::try_from(seconds)
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .ok_or(IssuerError::Validity)
    };
    let mut serial = [0u8; 16];
    rand::fill(&mut serial)?;
    // Positive and without leading zeros, so that it is always 16 bytes long.
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = moment(not_before)?;
    params.not_after = moment(not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn critical(arcs: &[u64], value: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(arcs, value);
    extension.set_criticality(true);
    extension
}

/// A DER element. The contents here are at most 4·128 bytes of approval id, so two bytes of length are enough.
fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    let mut out = match (high, low) {
        (0, 0..=0x7f) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend(contents);
    out
}

fn approval_usage() -> Vec<u8> {
    element(0x30, &element(0x06, oid::APPROVAL_USAGE.as_contents()))
}

fn pem_style() -> pem::EncodeConfig {
    pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF)
}

/// An authority's private key. Both libraries erase it when it is dropped.
pub(crate) struct AuthorityKey {
    secret: AuthoritySecret,
    algorithm: Algorithm,
    /// As it stands in the SubjectPublicKeyInfo's bit string.
    public: Vec<u8>,
}

enum AuthoritySecret {
    Ed25519(ed25519_dalek::SigningKey),
    EcdsaP256(EcdsaKeyPair),
}

impl AuthorityKey {
    fn generate(algorithm: Algorithm) -> Result<(Self, Zeroizing<String>), IssuerError> {
        match algorithm {
            Algorithm::Ed25519 => {
                let mut seed = Zeroizing::new([0u8; 32]);
                rand::fill(seed.as_mut_slice())?;
                let key = ed25519_dalek::SigningKey::from_bytes(&seed);
                // Version 1, without the public key: OpenSSL does not read version 2.
                let pem = KeypairBytes {
                    secret_key: *seed,
                    public_key: None,
                }
                .to_pkcs8_pem(Default::default())
                .map_err(|error| IssuerError::Library(error.to_string()))?;
                Ok((Self::ed25519(key), pem))
            }
            Algorithm::EcdsaP256 => {
                let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
                let document = key.to_pkcs8v1()?;
                let block = pem::Pem::new("PRIVATE KEY", document.as_ref());
                let pem = Zeroizing::new(pem::encode_config(&block, pem_style()));
                drop(Zeroizing::new(block.into_contents()));
                Ok((Self::ecdsa_p256(key), pem))
            }
        }
    }

    fn from_pem(text: &str) -> Result<Self, IssuerError> {
        let mut keys = pem::parse_many(text)
            .map_err(|_| IssuerError::KeyPem)?
            .into_iter()
            // OpenSSL writes the curve's parameters before a SEC 1 key.
            .filter(|block| block.tag() != "EC PARAMETERS");
        let (Some(block), None) = (keys.next(), keys.next()) else {
            return Err(IssuerError::KeyPem);
        };
        if !matches!(block.tag(), "PRIVATE KEY" | "EC PRIVATE KEY") {
            return Err(IssuerError::KeyPem);
        }
        let der = Zeroizing::new(block.into_contents());
        if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_der(&der) {
            return Ok(Self::ed25519(key));
        }
        EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, &der)
            .map(Self::ecdsa_p256)
            .map_err(|_| IssuerError::KeyPem)
    }

    fn ed25519(key: ed25519_dalek::SigningKey) -> Self {
        let public = key.verifying_key().to_bytes().to_vec();
        Self {
            secret: AuthoritySecret::Ed25519(key),
            algorithm: Algorithm::Ed25519,
            public,
        }
    }

    fn ecdsa_p256(key: EcdsaKeyPair) -> Self {
        let public = key.public_key().as_ref().to_vec();
        Self {
            secret: AuthoritySecret::EcdsaP256(key),
            algorithm: Algorithm::EcdsaP256,
            public,
        }
    }
}

impl PublicKeyData for AuthorityKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.algorithm {
            Algorithm::Ed25519 => &rcgen::PKCS_ED25519,
            Algorithm::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        }
    }
}

impl SigningKey for AuthorityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match &self.secret {
            AuthoritySecret::Ed25519(key) => Ok(key.sign(message).to_bytes().to_vec()),
            AuthoritySecret::EcdsaP256(key) => key
                .sign(&rand::SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| rcgen::Error::RemoteKeyError),
        }
    }
}
