//! A client that knows its server by the server's key.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::{
    TlsError, TlsIdentity, alone, configuration, ed25519_spki, handshake_signature, no_tls12,
    provider, spki_of,
};

/// The Ed25519 keys that a server may have, as they are known at the moment of the handshake.
pub type PinnedKeys = Arc<dyn Fn() -> Vec<[u8; 32]> + Send + Sync>;

/// The configuration of a client that presents `identity`, for one protocol (ALPN). Whether sessions are resumed is the caller's to say.
pub(super) fn client_tls(
    identity: &TlsIdentity,
    pinned: PinnedKeys,
    protocol: &[u8],
) -> Result<rustls::ClientConfig, TlsError> {
    let provider = provider();
    let verifier = PinnedServer {
        pinned,
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(configuration)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified.clone())));
    config.alpn_protocols = vec![protocol.to_vec()];
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(config)
}

/// Why a client does not go on.
pub(super) fn another_server() -> Error {
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

/// Accepts a server with one of the keys.
struct PinnedServer {
    pinned: PinnedKeys,
    algorithms: WebPkiSupportedAlgorithms,
}

impl std::fmt::Debug for PinnedServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PinnedServer")
    }
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        alone(intermediates)?;
        let shown = spki_of(end_entity)?;
        let pinned = (self.pinned)();
        if pinned.iter().any(|key| ed25519_spki(key) == shown) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(another_server())
        }
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
        vec![SignatureScheme::ED25519]
    }
}
