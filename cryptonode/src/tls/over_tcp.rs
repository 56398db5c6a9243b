//! The same over TCP: for software that speaks HTTP with an organisation's peer.
//!
//! A server takes any client with an Ed25519 or P-256 key, so that one that is not on its list can be told so in words, and knows it by that key
//! afterwards ([`client_key`]). A client goes on only with a server that holds one of the Ed25519 keys which it has for it at that moment
//! ([`PinnedKeys`]). No session is resumed: a ticket would outlive a key that was exchanged.

use std::error::Error as StdError;
use std::sync::Arc;

use rustls::Error;
use rustls::pki_types::CertificateDer;

use super::pinned::{PinnedKeys, another_server, client_tls};
use super::{TlsError, TlsIdentity, ed25519_key, server_tls, spki_of};

/// The configuration of a server that presents `identity` and demands a certificate of the client, for one protocol (ALPN).
///
/// # Errors
/// [`TlsError::Configuration`] if the library refuses it.
pub fn tcp_server_config(
    identity: &TlsIdentity,
    protocol: &[u8],
) -> Result<rustls::ServerConfig, TlsError> {
    let mut config = server_tls(identity)?;
    config.alpn_protocols = vec![protocol.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

/// The configuration of a client that presents `identity`, for one protocol (ALPN).
///
/// # Errors
/// [`TlsError::Configuration`] if the library refuses it.
pub fn tcp_client_config(
    identity: &TlsIdentity,
    pinned: PinnedKeys,
    protocol: &[u8],
) -> Result<rustls::ClientConfig, TlsError> {
    let mut config = client_tls(identity, pinned, protocol)?;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// The Ed25519 key that the client of a finished handshake proved to hold; `None` for a P-256 key.
#[must_use]
pub fn client_key(connection: &rustls::ServerConnection) -> Option<[u8; 32]> {
    let certificate = connection.peer_certificates()?.first()?;
    ed25519_key(&spki_of(certificate).ok()?)
}

/// The Ed25519 key of a certificate, DER.
///
/// # Errors
/// [`TlsError::Certificate`] if it is none, or for a key of another kind.
pub fn certificate_key(certificate: &[u8]) -> Result<[u8; 32], TlsError> {
    let wrong = |reason: String| TlsError::Certificate { reason };
    let spki = spki_of(&CertificateDer::from(certificate.to_vec()))
        .map_err(|error| wrong(error.to_string()))?;
    ed25519_key(&spki).ok_or_else(|| wrong("its key is not an Ed25519 key".to_owned()))
}

/// Whether a connection failed because the server holds none of the pinned keys.
#[must_use]
pub fn is_another_server(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<Error>() {
            return *found == another_server();
        }
        // What an I/O error was made of is not its source, but inside.
        let inside = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;

    use ed25519_dalek::SigningKey;
    use rustls::pki_types::ServerName;
    use rustls::{CertificateError, ClientConnection, ServerConnection};

    use super::*;

    /// Both sides' configurations, and the server's connection once its handshake is over; or the client's reason.
    fn shake_hands(
        server: &Arc<rustls::ServerConfig>,
        client: &Arc<rustls::ClientConfig>,
    ) -> Result<ServerConnection, Error> {
        let name = ServerName::try_from("192.0.2.1").unwrap();
        let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        while client.wants_write() || server.wants_write() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets()?;
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(server)
    }

    #[test]
    fn a_client_goes_on_with_the_pinned_keys_as_they_are_now_and_is_known_by_its_own() {
        let (old, new) = (
            SigningKey::from_bytes(&[1; 32]),
            SigningKey::from_bytes(&[2; 32]),
        );
        let own = SigningKey::from_bytes(&[3; 32]);
        let pins = Arc::new(Mutex::new(vec![old.verifying_key().to_bytes()]));
        let identity = TlsIdentity::from_signing_key(&own).unwrap();
        let read = pins.clone();
        let pinned: PinnedKeys = Arc::new(move || read.lock().unwrap().clone());
        let client = Arc::new(tcp_client_config(&identity, pinned, b"http/1.1").unwrap());
        let server = |key: &SigningKey| {
            let identity = TlsIdentity::from_signing_key(key).unwrap();
            Arc::new(tcp_server_config(&identity, b"http/1.1").unwrap())
        };

        let connected = shake_hands(&server(&old), &client).unwrap();
        assert_eq!(client_key(&connected), Some(own.verifying_key().to_bytes()));
        let refused = shake_hands(&server(&new), &client).unwrap_err();
        assert_eq!(refused, another_server());
        // The key is exchanged: the old one counts no more, also not by way of a session of before.
        *pins.lock().unwrap() = vec![new.verifying_key().to_bytes()];
        shake_hands(&server(&new), &client).unwrap();
        assert!(shake_hands(&server(&old), &client).is_err());
        assert_eq!(
            certificate_key(identity.certificate_der()).unwrap(),
            own.verifying_key().to_bytes()
        );
    }

    #[test]
    fn the_reason_is_found_below_the_errors_of_others() {
        let below = std::io::Error::other(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            another_server(),
        ));
        assert!(is_another_server(&below));
        assert!(!is_another_server(&std::io::Error::other("reset")));
        let other = Error::InvalidCertificate(CertificateError::BadEncoding);
        assert!(!is_another_server(&std::io::Error::other(other)));
    }
}
