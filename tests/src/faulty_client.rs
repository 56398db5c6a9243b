//! A client that misbehaves, by the names of the one vocabulary: it has a TLS key of its own, and sends what no honest client does.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cryptonode::client::ClientIdentity;
use cryptonode::tls::client_config;
use cryptonode::wire::v1::{Answer, MAX_REQUEST, MAX_SHARE_ANSWER};
use quinn::{ClientConfig, Connection, Endpoint, TransportConfig, VarInt};

use crate::misbehaviour::Misbehaviour;

/// How long a slow reader rests between two pieces, and how many bytes a piece has.
const SLOW: (Duration, u32) = (Duration::from_millis(20), 64);

/// Why it cannot do its mischief, in the words of whatever refused.
#[derive(Debug, thiserror::Error)]
#[error("the faulty client cannot {what}: {reason}")]
pub struct FaultyClientError {
    what: &'static str,
    reason: String,
}

fn cannot<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> FaultyClientError {
    move |reason| FaultyClientError {
        what,
        reason: reason.to_string(),
    }
}

/// Somebody at one of this machine's addresses who talks to one node.
pub struct FaultyClient {
    endpoint: Endpoint,
    config: ClientConfig,
    node: SocketAddr,
    misbehaviour: Misbehaviour,
}

impl FaultyClient {
    /// Nothing is sent yet. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`FaultyClientError`], also if this is nothing that a client does.
    pub fn new(
        from: IpAddr,
        (node, identity): (SocketAddr, &[u8; 32]),
        misbehaviour: Misbehaviour,
    ) -> Result<Self, FaultyClientError> {
        if !misbehaviour.concerns().clients {
            let reason = format!("{misbehaviour} is nothing that a client does");
            return Err(cannot("begin")(reason));
        }
        let own = ClientIdentity::generate().map_err(cannot("make a key"))?;
        let tls = client_config(&own, identity).map_err(cannot("use its key"))?;
        let mut config = ClientConfig::new(Arc::new(tls));
        if misbehaviour == Misbehaviour::SlowReader {
            let mut transport = TransportConfig::default();
            transport.stream_receive_window(VarInt::from_u32(SLOW.1));
            config.transport_config(Arc::new(transport));
        }
        let endpoint = Endpoint::client(SocketAddr::new(from, 0));
        Ok(Self {
            endpoint: endpoint.map_err(cannot("have a socket"))?,
            config,
            node,
            misbehaviour,
        })
    }

    async fn connect(&self) -> Result<Connection, FaultyClientError> {
        let config = self.config.clone();
        let connecting = self.endpoint.connect_with(config, self.node, "any.name");
        let connecting = connecting.map_err(cannot("connect"))?;
        connecting.await.map_err(cannot("connect"))
    }

    /// Sends a request that it has seen, or what it makes of it.
    ///
    /// # Errors
    /// [`FaultyClientError`] if no answer comes back.
    pub async fn send(&self, request: &[u8]) -> Result<Answer, FaultyClientError> {
        let connection = self.connect().await?;
        let (mut send, mut receive) = connection.open_bi().await.map_err(cannot("ask"))?;
        let slow = self.misbehaviour == Misbehaviour::SlowReader;
        let bytes = self.misbehaviour.frame(request.to_vec(), MAX_REQUEST);
        let piece = if slow { SLOW.1 as usize } else { bytes.len() };
        for part in bytes.chunks(piece.max(1)) {
            // Who is refused early is not listened to any further, and hears why.
            if send.write_all(part).await.is_err() {
                break;
            }
            if slow {
                tokio::time::sleep(SLOW.0).await;
            }
        }
        let _ = send.finish();
        let mut answer = Vec::new();
        while let Some(part) = receive
            .read_chunk(piece.max(1), true)
            .await
            .map_err(cannot("hear an answer"))?
        {
            answer.extend_from_slice(&part.bytes);
            if answer.len() > MAX_SHARE_ANSWER {
                break;
            }
            if slow {
                tokio::time::sleep(SLOW.0).await;
            }
        }
        Answer::from_bytes(&answer).map_err(cannot("read the answer"))
    }

    /// Opens connections until the node takes no more, or so many, and asks nothing on them.
    pub async fn flood(&self, most: usize) -> Vec<Connection> {
        let mut open = Vec::new();
        while open.len() < most {
            match self.connect().await {
                Ok(connection) => open.push(connection),
                Err(_) => break,
            }
        }
        open
    }
}
