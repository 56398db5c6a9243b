//! Who is let in: certificates, pinned keys, and what is negotiated.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod network_harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cryptonode::client::{CallError, ClientIdentity, Dialer, PeerOptions};
use cryptonode::server::Limits;
use cryptonode::tls::{self, ed25519_key, ed25519_spki};
use cryptonode::wire::v1::{ALPN, Answer, Request};
use network_harness::*;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

/// A verifier that takes everything, and counts: what these tests are about is the server.
#[derive(Debug, Default)]
struct Anything {
    verified: Arc<AtomicU64>,
}

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verified.fetch_add(1, Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ED25519,
            SignatureScheme::ECDSA_NISTP256_SHA256,
        ]
    }
}

/// A client put together by hand: its certificate chain and key, or none; its protocols.
fn by_hand(
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    alpn: &[u8],
) -> quinn::ClientConfig {
    by_hand_with(Anything::default(), identity, alpn)
}

fn by_hand_with(
    verifier: Anything,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    alpn: &[u8],
) -> quinn::ClientConfig {
    let builder =
        rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
}

fn self_signed(
    algorithm: &'static rcgen::SignatureAlgorithm,
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let certificate = rcgen::CertificateParams::new(vec![])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    (
        vec![certificate.der().clone()],
        PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    )
}

/// Connects and asks for the status. In TLS 1.3 a client learns only afterwards that its certificate was refused.
async fn ask(node: &Node, config: quinn::ClientConfig) -> Result<Answer, String> {
    let endpoint = quinn::Endpoint::client(loopback()).unwrap();
    let connection = endpoint
        .connect_with(config, node.address, "a.name")
        .unwrap()
        .await
        .map_err(|error| error.to_string())?;
    let (mut send, mut receive) = connection
        .open_bi()
        .await
        .map_err(|error| error.to_string())?;
    send.write_all(&Request::Status {}.to_bytes().unwrap())
        .await
        .map_err(|error| error.to_string())?;
    let _ = send.finish();
    let bytes = receive
        .read_to_end(1 << 20)
        .await
        .map_err(|_| format!("{:?}", connection.close_reason()))?;
    Ok(Answer::from_bytes(&bytes).unwrap())
}

fn node() -> Node {
    Node::start(&Material::new(1, 1, 1), 1, loopback(), Limits::default())
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let node = node();
    assert!(ask(&node, by_hand(None, ALPN)).await.is_err());
    let snapshot = node.serving.counters.snapshot();
    assert_eq!(
        (
            snapshot.connections,
            snapshot.handshakes_failed,
            snapshot.other_answers
        ),
        (0, 1, 0)
    );
}

#[tokio::test]
async fn any_ed25519_or_p256_key_is_let_in_and_nothing_else() {
    let node = node();
    for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P256_SHA256] {
        let answer = ask(&node, by_hand(Some(self_signed(algorithm)), ALPN)).await;
        assert!(matches!(answer, Ok(Answer::Status { .. })), "{answer:?}");
    }
    assert!(
        ask(
            &node,
            by_hand(Some(self_signed(&rcgen::PKCS_ECDSA_P384_SHA384)), ALPN)
        )
        .await
        .is_err()
    );
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_of_no_use() {
    let node = node();
    let (owner, _) = self_signed(&rcgen::PKCS_ED25519);
    let (_, thief) = self_signed(&rcgen::PKCS_ED25519);
    // The library's builder would notice that they do not fit, so the signer is put in beside it.
    let key = aws_lc_rs::sign::any_supported_type(&thief).unwrap();
    let certified = rustls::sign::CertifiedKey::new(owner, key);
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything::default()))
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    assert!(ask(&node, config).await.is_err());
    assert_eq!(node.serving.counters.snapshot().connections, 0);
}

#[tokio::test]
async fn chains_and_oversized_certificates_are_refused() {
    let node = node();
    let (mut chain, key) = self_signed(&rcgen::PKCS_ED25519);
    chain.push(chain[0].clone());
    assert!(ask(&node, by_hand(Some((chain, key)), ALPN)).await.is_err());
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let names: Vec<String> = (0..200)
        .map(|n| format!("a-rather-long-name-number-{n}.example"))
        .collect();
    let certificate = rcgen::CertificateParams::new(names)
        .unwrap()
        .self_signed(&key)
        .unwrap();
    assert!(certificate.der().len() > tls::MAX_PEER_CERTIFICATE);
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    assert!(
        ask(
            &node,
            by_hand(Some((vec![certificate.der().clone()], key)), ALPN)
        )
        .await
        .is_err()
    );
    assert_eq!(node.serving.counters.snapshot().connections, 0);
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let node = node();
    assert!(
        ask(
            &node,
            by_hand(Some(self_signed(&rcgen::PKCS_ED25519)), b"cryptonode/2")
        )
        .await
        .is_err()
    );
}

#[tokio::test]
async fn a_client_that_names_no_protocol_is_refused() {
    let node = node();
    let (chain, key) = self_signed(&rcgen::PKCS_ED25519);
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything::default()))
            .with_client_auth_cert(chain, key)
            .unwrap();
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    assert!(ask(&node, config).await.is_err());
    assert_eq!(node.serving.counters.snapshot().connections, 0);
}

#[tokio::test]
async fn the_client_refuses_another_identity() {
    let node = node();
    let dialer = Dialer::new(ClientIdentity::generate().unwrap(), PeerOptions::default());
    let peer = dialer.peer(&node.address.to_string(), &[9; 32]).unwrap();
    let error = peer.call(&Request::Status {}).await.unwrap_err();
    assert!(matches!(error, CallError::WrongIdentity { .. }), "{error}");
    assert_eq!(error.code(), "node-identity");
}

#[tokio::test]
async fn a_resumed_session_has_the_same_client_key() {
    let material = Material::new(1, 1, 1);
    let node = Node::start(&material, 1, loopback(), Limits::default());
    let verified = Arc::new(AtomicU64::new(0));
    let (chain, key) = self_signed(&rcgen::PKCS_ED25519);
    let spki = certs::subject_public_key_info(&chain[0]).unwrap().to_vec();
    let verifier = Anything {
        verified: Arc::clone(&verified),
    };
    let config = by_hand_with(verifier, Some((chain, key)), ALPN);
    let endpoint = quinn::Endpoint::client(loopback()).unwrap();
    for _ in 0..2 {
        let connection = endpoint
            .connect_with(config.clone(), node.address, "a.name")
            .unwrap()
            .await
            .unwrap();
        // Approvals are bound to the key of the first handshake, and are good in the resumed one.
        let read = Read::new(&material.public_key);
        let request = read
            .request(&material.approve(&read, &spki, &[0]))
            .to_bytes()
            .unwrap();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&request).await.unwrap();
        send.finish().unwrap();
        let answer = Answer::from_bytes(&receive.read_to_end(4096).await.unwrap()).unwrap();
        assert!(matches!(answer, Answer::Share { .. }), "{answer:?}");
        connection.close(0_u32.into(), b"");
    }
    assert_eq!(
        verified.load(Ordering::Relaxed),
        1,
        "the second handshake was resumed"
    );
}

#[tokio::test]
async fn there_is_no_early_data_even_for_a_resumed_session() {
    let node = node();
    let identity = ClientIdentity::generate().unwrap();
    let config = tls::client_config(&identity, &node.identity.verifying_key().to_bytes()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(config));
    let endpoint = quinn::Endpoint::client(loopback()).unwrap();
    for _ in 0..3 {
        let connecting = endpoint
            .connect_with(config.clone(), node.address, "a.name")
            .unwrap();
        let connection = connecting
            .into_0rtt()
            .map(|_| ())
            .expect_err("no keys for early data")
            .await
            .unwrap();
        assert_eq!(
            tls::peer_key(&connection).unwrap(),
            ed25519_spki(&node.identity.verifying_key().to_bytes())
        );
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&Request::Status {}.to_bytes().unwrap())
            .await
            .unwrap();
        send.finish().unwrap();
        receive.read_to_end(4096).await.unwrap();
    }
}

#[test]
fn identities_are_stable_and_keep_their_key() {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let identity = ClientIdentity::from_signing_key(&key).unwrap();
    assert_eq!(
        ed25519_key(identity.spki()).unwrap(),
        key.verifying_key().to_bytes()
    );
    let again = ClientIdentity::from_pem(identity.to_pem()).unwrap();
    assert_eq!(again.spki(), identity.spki());
    let p256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let identity = ClientIdentity::from_pem(&p256.serialize_pem()).unwrap();
    assert!(ed25519_key(identity.spki()).is_none());
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert!(ClientIdentity::from_pem(&p384.serialize_pem()).is_err());
    assert!(ClientIdentity::from_pem("no key").is_err());
    assert!(!format!("{:?}", ClientIdentity::from_signing_key(&key).unwrap()).contains("pem"));
}
