//! The UDP socket and QUIC's own bounds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{
    ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, TokioRuntime, TransportConfig,
    VarInt,
};
use sha2::{Digest, Sha256};

use super::limits::Limits;
use crate::randomness;
use crate::tls::{self, TlsError, TlsIdentity};
use crate::wire::v1::MAX_REQUEST;

/// Why the node cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken or not of this machine.
    #[error(
        "cannot listen on {address} (UDP): {reason}; choose another address in config.toml, or stop what uses it"
    )]
    Socket {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The identity cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Opens the socket and makes the endpoint that [`super::serve`] serves on. Needs a tokio runtime.
///
/// The key for stateless resets (RFC 9000, 10.3) is derived from the identity, so that a node that was restarted can tell its
/// old connections that they are gone, and clients come back at once instead of waiting for a timeout.
///
/// # Errors
/// [`BindError`] if the address cannot be listened on or the identity cannot be used for TLS.
pub fn bind(
    address: SocketAddr,
    identity: &ed25519_dalek::SigningKey,
    limits: &Limits,
) -> Result<Endpoint, BindError> {
    Ok(Presenter::bind(address, identity, None, limits)?.endpoint)
}

/// What a running node presents to whoever connects.
pub(crate) struct Presenter {
    endpoint: Endpoint,
    identity: ed25519_dalek::SigningKey,
}

impl Presenter {
    /// Opens the socket as [`bind`] does, with a certificate that somebody else has issued, if there is one.
    pub(crate) fn bind(
        address: SocketAddr,
        identity: &ed25519_dalek::SigningKey,
        certificate: Option<&[u8]>,
        limits: &Limits,
    ) -> Result<Self, BindError> {
        let config = configuration(identity, certificate, limits)?;
        let socket = |reason| BindError::Socket { address, reason };
        let udp = std::net::UdpSocket::bind(address).map_err(socket)?;
        let endpoint = Endpoint::new(
            endpoint_config(identity),
            Some(config),
            udp,
            Arc::new(TokioRuntime),
        )
        .map_err(socket)?;
        Ok(Self {
            endpoint,
            identity: identity.clone(),
        })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Everything for presenting another certificate, or why not.
    pub(crate) fn prepare(
        &self,
        certificate: Option<&[u8]>,
        limits: &Limits,
    ) -> Result<quinn::ServerConfig, TlsError> {
        configuration(&self.identity, certificate, limits)
    }

    /// Presents it from the next connection on. Those that are open stay.
    pub(crate) fn present(&self, prepared: quinn::ServerConfig) {
        self.endpoint.set_server_config(Some(prepared));
    }

    /// What an authority is to sign.
    pub(crate) fn certificate_request(&self, name: &str, host: &str) -> Result<String, TlsError> {
        tls::certificate_request(&self.identity, name, host)
    }
}

fn configuration(
    identity: &ed25519_dalek::SigningKey,
    certificate: Option<&[u8]>,
    limits: &Limits,
) -> Result<quinn::ServerConfig, TlsError> {
    let own = TlsIdentity::from_signing_key(identity)?;
    let presented = match certificate {
        Some(certificate) => own.presenting(certificate)?,
        None => own,
    };
    let crypto = tls::server_config(&presented)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport(limits)));
    // What waits to be accepted: a small multiple of the handshakes that may go on, with room for a ClientHello each.
    config.max_incoming(4 * limits.validate_above_handshakes.max(64));
    config.incoming_buffer_size(16 * 1024);
    config.incoming_buffer_size_total(8 * 1024 * 1024);
    Ok(config)
}

/// The same for the same node at every start: it must make the reset tokens that it announced for its connection ids
/// before.
fn endpoint_config(identity: &ed25519_dalek::SigningKey) -> EndpointConfig {
    let digest = Sha256::new()
        .chain_update(b"cryptonode/v1/stateless-reset")
        .chain_update(identity.as_bytes());
    let seed = zeroize::Zeroizing::new(<[u8; 32]>::from(digest.finalize()));
    let reset_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, seed.as_slice());
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config.cid_generator(|| Box::new(RandomIds));
    config
}

/// Connection ids of random bytes. QUIC's default generator puts a check value of this process into them, and drops packets with
/// ids of another process before they can be answered with a reset.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&randomness::public::<CONNECTION_ID>())
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Length of a connection id in bytes.
const CONNECTION_ID: usize = 8;

fn transport(limits: &Limits) -> TransportConfig {
    // One ordinary request fits into a stream's window and into the connection's; longer ones of members move the window on as
    // they are read. A client that opens many streams and sends on none of them costs little more than one.
    const WINDOW: u32 = MAX_REQUEST as u32;
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(limits.requests_per_connection));
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    transport.stream_receive_window(VarInt::from_u32(WINDOW));
    transport.receive_window(VarInt::from_u32(2 * WINDOW));
    transport.send_window(4 * u64::from(WINDOW));
    transport.datagram_receive_buffer_size(None);
    transport.max_idle_timeout(limits.idle.try_into().ok());
    transport
}
