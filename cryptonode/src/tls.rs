//! Who is at the other end of a connection (protocol section 9): TLS 1.3 in QUIC, certificates on both sides.
//!
//! **Certificates are containers of a key here.** No authority stands behind them: a node's is signed by its own
//! Ed25519 identity, and whoever calls the node has that public key from its configuration or a cluster's descriptor,
//! and compares it ([`client_config`]). Names and validity in the certificate say nothing and are not looked at; what
//! counts is the key, and that the peer signed this very handshake with it (RFC 8446, 4.4.3), which is verified on both sides.
//!
//! **A node takes any client** with an Ed25519 or P-256 key ([`server_config`]). The key authorises nothing by itself: it is
//! what approvals are bound to, and what a member of a ceremony is known by. [`peer_key`] hands it to the server,
//! for the first handshake and a resumed one alike (a session's ticket leads back to the certificate that was verified).
//!
//! **No 0-RTT**: early data can be replayed, and it precedes the proof of the client's key. Sessions are resumed with
//! a fresh key exchange only, and the key exchange is hybrid post-quantum first: X25519MLKEM768, so that what is recorded
//! today stays closed.
//!
//! The cryptography is passed to each configuration and never installed for the whole process: the process may hold
//! others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ed25519_dalek::Signer;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    SignatureScheme,
};
use zeroize::Zeroizing;

use crate::randomness;
use crate::wire::v1::ALPN;

mod over_tcp;
mod pinned;
pub use over_tcp::{
    certificate_key, client_key, is_another_server, tcp_client_config, tcp_server_config,
};
pub use pinned::PinnedKeys;

/// Longest certificate in bytes that either side takes from the other.
pub const MAX_PEER_CERTIFICATE: usize = 4 * 1024;

/// The name that clients put where TLS wants one. It is not sent and not compared: nodes are known by their keys.
pub(crate) const NODE_NAME: &str = "node.cryptonode.invalid";

/// Sessions that a server remembers, each with the client's certificate.
const REMEMBERED_SESSIONS: usize = 4_096;

/// DER of an Ed25519 SubjectPublicKeyInfo up to the key's 32 bytes (RFC 8410).
const ED25519_SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// DER of a P-256 SubjectPublicKeyInfo up to the coordinates' 64 bytes, uncompressed (RFC 5480).
const P256_SPKI: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// A key and its self-signed certificate: what one side of a connection presents.
pub struct TlsIdentity {
    certified: CertifiedKey,
    spki: Vec<u8>,
    pem: Zeroizing<String>,
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("spki", &hex::encode(&self.spki))
            .finish_non_exhaustive()
    }
}

/// Why a key cannot be used for connections.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The private key cannot be read or is of an algorithm that is not used here.
    #[error(
        "the private key cannot be used: {reason}; an Ed25519 or P-256 key in PKCS #8 is needed"
    )]
    PrivateKey {
        /// The library's reason; it contains nothing of the key.
        reason: String,
    },
    /// The certificate could not be made.
    #[error("the certificate could not be made: {reason}")]
    Certificate {
        /// The library's reason.
        reason: String,
    },
    /// The configuration was refused.
    #[error("TLS could not be set up: {reason}")]
    Configuration {
        /// The library's reason.
        reason: String,
    },
}

impl TlsIdentity {
    /// A fresh Ed25519 key.
    ///
    /// # Errors
    /// [`TlsError`] if a library refuses it.
    pub fn generate() -> Result<Self, TlsError> {
        let key = ed25519_dalek::SigningKey::from_bytes(&randomness::secret());
        Self::from_signing_key(&key)
    }

    /// A node's long-term Ed25519 identity, as a server's and a member's certificate.
    ///
    /// # Errors
    /// [`TlsError`] if a library refuses the key.
    pub fn from_signing_key(key: &ed25519_dalek::SigningKey) -> Result<Self, TlsError> {
        let encoding = |error: ed25519_dalek::pkcs8::Error| TlsError::PrivateKey {
            reason: error.to_string(),
        };
        let pkcs8 = key.to_pkcs8_der().map_err(encoding)?;
        let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(encoding)?;
        Self::new(&Ed25519Signer(key), pkcs8.as_bytes(), pem)
    }

    /// A key from PEM (`PRIVATE KEY`, PKCS #8), Ed25519 or P-256.
    ///
    /// # Errors
    /// [`TlsError::PrivateKey`] for anything else.
    pub fn from_pem(pem: &str) -> Result<Self, TlsError> {
        let private_key = |error: rcgen::Error| TlsError::PrivateKey {
            reason: error.to_string(),
        };
        let pair = Zeroizing::new(rcgen::KeyPair::from_pem(pem).map_err(private_key)?);
        Self::new(
            &*pair,
            pair.serialized_der(),
            Zeroizing::new(pem.to_owned()),
        )
    }

    /// The private key as PEM (`PRIVATE KEY`, PKCS #8): a secret.
    #[must_use]
    pub fn to_pem(&self) -> &str {
        &self.pem
    }

    /// The public key, DER SubjectPublicKeyInfo: what approvals are bound to.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The certificate, DER.
    #[must_use]
    pub fn certificate_der(&self) -> &[u8] {
        self.certified
            .cert
            .first()
            .map_or(&[], |certificate| certificate.as_ref())
    }

    /// The same key with a certificate that somebody else has issued for it.
    ///
    /// # Errors
    /// [`TlsError::Certificate`] if it is for another key.
    pub fn presenting(mut self, certificate: &[u8]) -> Result<Self, TlsError> {
        let certificate = CertificateDer::from(certificate.to_vec());
        let wrong = |reason: String| TlsError::Certificate { reason };
        let spki = spki_of(&certificate).map_err(|error| wrong(error.to_string()))?;
        if spki != self.spki {
            return Err(wrong("it is for another key".to_owned()));
        }
        self.certified = CertifiedKey::new(vec![certificate], Arc::clone(&self.certified.key));
        Ok(self)
    }

    fn new(
        signer: &impl rcgen::SigningKey,
        pkcs8: &[u8],
        pem: Zeroizing<String>,
    ) -> Result<Self, TlsError> {
        let refused = |error: rcgen::Error| TlsError::Certificate {
            reason: error.to_string(),
        };
        let mut parameters =
            rcgen::CertificateParams::new(vec![NODE_NAME.to_owned()]).map_err(refused)?;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, "cryptonode");
        let certificate = parameters.self_signed(signer).map_err(refused)?;
        let certificate = certificate.der().clone();
        let private_key = |error: Error| TlsError::PrivateKey {
            reason: error.to_string(),
        };
        let spki = spki_of(&certificate).map_err(private_key)?;
        let pkcs8 = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8));
        let key = aws_lc_rs::sign::any_supported_type(&pkcs8).map_err(private_key)?;
        Ok(Self {
            certified: CertifiedKey::new(vec![certificate], key),
            spki,
            pem,
        })
    }
}

/// What an authority is to sign so that [`TlsIdentity::presenting`] takes it: PKCS #10, PEM.
///
/// # Errors
/// [`TlsError::Certificate`] if the library refuses it.
pub fn certificate_request(
    key: &ed25519_dalek::SigningKey,
    name: &str,
    host: &str,
) -> Result<String, TlsError> {
    let refused = |error: rcgen::Error| TlsError::Certificate {
        reason: error.to_string(),
    };
    let mut parameters = rcgen::CertificateParams::new(vec![host.to_owned()]).map_err(refused)?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let request = parameters.serialize_request(&Ed25519Signer(key));
    request.and_then(|request| request.pem()).map_err(refused)
}

/// Signs a certificate without a copy of the key.
struct Ed25519Signer<'a>(&'a ed25519_dalek::SigningKey);

impl rcgen::PublicKeyData for Ed25519Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_ref().as_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for Ed25519Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).to_vec())
    }
}

/// The configuration of a node: presents `identity`, demands a certificate of the client.
///
/// # Errors
/// [`TlsError::Configuration`] if the library refuses it.
pub fn server_config(identity: &TlsIdentity) -> Result<QuicServerConfig, TlsError> {
    QuicServerConfig::try_from(server_tls(identity)?).map_err(|error| TlsError::Configuration {
        reason: error.to_string(),
    })
}

fn server_tls(identity: &TlsIdentity) -> Result<rustls::ServerConfig, TlsError> {
    let provider = provider();
    let verifier = AnyClient {
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(configuration)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified.clone())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    config.send_tls13_tickets = 1;
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(REMEMBERED_SESSIONS);
    Ok(config)
}

/// The configuration of a client for one node: presents `identity`, and goes on only if the node holds the Ed25519 key
/// `pinned`. Sessions are remembered in it, so that each node needs its own.
///
/// # Errors
/// [`TlsError::Configuration`] if the library refuses it.
pub fn client_config(
    identity: &TlsIdentity,
    pinned: &[u8; 32],
) -> Result<QuicClientConfig, TlsError> {
    counted_client_config(identity, pinned, Arc::default())
}

/// The same, and counts the handshakes in which the node showed its certificate: those that took no session up again.
pub(crate) fn counted_client_config(
    identity: &TlsIdentity,
    pinned: &[u8; 32],
    full: Arc<AtomicU64>,
) -> Result<QuicClientConfig, TlsError> {
    let config = node_tls(identity, pinned, full)?;
    QuicClientConfig::try_from(config).map_err(|error| TlsError::Configuration {
        reason: error.to_string(),
    })
}

fn node_tls(
    identity: &TlsIdentity,
    pinned: &[u8; 32],
    full: Arc<AtomicU64>,
) -> Result<rustls::ClientConfig, TlsError> {
    let pinned = *pinned;
    let keys = move || {
        full.fetch_add(1, Ordering::Relaxed);
        vec![pinned]
    };
    let mut config = pinned::client_tls(identity, Arc::new(keys), ALPN)?;
    config.resumption = rustls::client::Resumption::in_memory_sessions(4);
    Ok(config)
}

fn configuration(error: Error) -> TlsError {
    TlsError::Configuration {
        reason: error.to_string(),
    }
}

/// The public key that the peer of an established connection proved to hold, DER SubjectPublicKeyInfo. `None` if it
/// presented none, which the configurations above do not let happen.
#[must_use]
pub fn peer_key(connection: &quinn::Connection) -> Option<Vec<u8>> {
    let chain = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    spki_of(chain.first()?).ok()
}

/// The 32 bytes of an Ed25519 key from its SubjectPublicKeyInfo; `None` for another algorithm.
#[must_use]
pub fn ed25519_key(spki: &[u8]) -> Option<[u8; 32]> {
    spki.strip_prefix(ED25519_SPKI.as_slice())?.try_into().ok()
}

/// SubjectPublicKeyInfo, DER, of an Ed25519 key.
#[must_use]
pub fn ed25519_spki(key: &[u8; 32]) -> Vec<u8> {
    [ED25519_SPKI.as_slice(), key].concat()
}

/// TLS 1.3 with one provider for the whole crate: the hybrid key exchange before the classical ones.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![
        aws_lc_rs::kx_group::X25519MLKEM768,
        aws_lc_rs::kx_group::X25519,
        aws_lc_rs::kx_group::SECP256R1,
    ];
    Arc::new(provider)
}

/// The key of a certificate, once its size, form and algorithm are acceptable.
fn spki_of(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, Error> {
    if certificate.len() > MAX_PEER_CERTIFICATE {
        return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
    }
    let spki = ParsedCertificate::try_from(certificate)?
        .subject_public_key_info()
        .to_vec();
    let ed25519 = ed25519_key(&spki).is_some();
    let p256 = spki
        .strip_prefix(P256_SPKI.as_slice())
        .is_some_and(|coordinates| coordinates.len() == 64);
    if ed25519 || p256 {
        Ok(spki)
    } else {
        Err(Error::PeerIncompatible(
            PeerIncompatible::NoSignatureSchemesInCommon,
        ))
    }
}

fn alone(intermediates: &[CertificateDer<'_>]) -> Result<(), Error> {
    // There is no authority to lead to; certificates that nobody reads would only be stored with the session.
    if intermediates.is_empty() {
        Ok(())
    } else {
        Err(Error::InvalidCertificate(CertificateError::BadEncoding))
    }
}

const SCHEMES: [SignatureScheme; 2] = [
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
];

fn handshake_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    if !SCHEMES.contains(&signed.scheme) {
        return Err(Error::PeerIncompatible(
            PeerIncompatible::NoSignatureSchemesInCommon,
        ));
    }
    verify_tls13_signature(message, certificate, signed, algorithms)
}

fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
}

/// Accepts every client that can sign with its certificate's key.
#[derive(Debug)]
struct AnyClient {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        alone(intermediates)?;
        spki_of(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        handshake_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustls::{ClientConnection, HandshakeKind, ServerConnection};

    use rustls::pki_types::ServerName;

    use super::*;

    /// Carries bytes between the two until neither has any for the other.
    fn shake_hands(client: &mut ClientConnection, server: &mut ServerConnection) {
        while client.wants_write() || server.wants_write() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets().unwrap();
        }
    }

    #[test]
    fn a_client_that_comes_back_resumes_its_session_and_is_known_by_its_key() {
        let node_key = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
        let node = TlsIdentity::from_signing_key(&node_key).unwrap();
        let identity = TlsIdentity::generate().unwrap();
        let server = Arc::new(server_tls(&node).unwrap());
        let pinned = node_key.verifying_key().to_bytes();
        let full = Arc::new(AtomicU64::new(0));
        let client = Arc::new(node_tls(&identity, &pinned, Arc::clone(&full)).unwrap());
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let name = ServerName::try_from(NODE_NAME).unwrap();
            let mut client = ClientConnection::new(Arc::clone(&client), name).unwrap();
            let mut server = ServerConnection::new(Arc::clone(&server)).unwrap();
            shake_hands(&mut client, &mut server);
            assert_eq!(client.handshake_kind(), Some(expected));
            assert_eq!(server.handshake_kind(), Some(expected));
            let shown = server.peer_certificates().and_then(<[_]>::first).unwrap();
            assert_eq!(spki_of(shown).unwrap(), identity.spki());
        }
        assert_eq!(full.load(Ordering::Relaxed), 1);
    }
}
