//! How a peer's API is reached.
//!
//! - On the peer's own machine: plain HTTP over loopback, and the token in the peer's folder.
//! - From elsewhere: TLS 1.3 with a key on either side, and no token. The peer shows the key by which it signs heads: the one that the record has for its organisation, so
//!   that new keys count as soon as whoever asks has the block with them, or one that was given besides. The peer knows who asks by their key.

use super::wire::ErrorView;
use cryptonode::tls::{self, PinnedKeys, TlsIdentity};
use reqwest::{Client, ClientBuilder, RequestBuilder, redirect::Policy};
use std::sync::Arc;
use zeroize::Zeroizing;

/// What is spoken over TLS (ALPN).
pub(crate) const PROTOCOL: &[u8] = b"http/1.1";

/// What a peer is shown, and what is asked of it.
#[derive(Clone)]
pub enum PeerAccess {
    /// Plain HTTP: what it wants to be shown.
    Token(Zeroizing<String>),
    /// TLS.
    Keys {
        /// Who asks.
        identity: Arc<TlsIdentity>,
        /// Keys that the peer may have, besides the one that the record has.
        known: Vec<[u8; 32]>,
    },
}

impl std::fmt::Debug for PeerAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token",
            Self::Keys { .. } => "Keys",
        })
    }
}

impl PeerAccess {
    /// A client for one peer. `recorded` says which key the record has for the organisation at that moment.
    pub(crate) fn client(
        &self,
        builder: ClientBuilder,
        recorded: impl Fn() -> Option<[u8; 32]> + Send + Sync + 'static,
    ) -> Result<Client, String> {
        let builder = match self {
            Self::Token(_) => builder,
            Self::Keys { identity, known } => {
                let known = known.clone();
                let pinned: PinnedKeys =
                    Arc::new(move || known.iter().copied().chain(recorded()).collect());
                let config = tls::tcp_client_config(identity, pinned, PROTOCOL)
                    .map_err(|error| error.to_string())?;
                builder.https_only(true).tls_backend_preconfigured(config)
            }
        };
        let builder = builder.no_proxy().redirect(Policy::none());
        let built = builder.tcp_nodelay(true).build();
        built.map_err(|error| error.to_string())
    }

    /// The request with what is shown besides the key.
    pub(crate) fn authorise(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Token(token) => request.bearer_auth(token.as_str()),
            Self::Keys { .. } => request,
        }
    }
}

/// What it means when a request failed because another answers there than the peer; nothing for other failures.
pub(crate) fn another_answers(error: &reqwest::Error, url: &str) -> Option<ErrorView> {
    tls::is_another_server(error).then(|| ErrorView {
        code: "peer-certificate".to_owned(),
        message: format!(
            "whoever answers at {url} shows another key than the one that the record has for this organisation's peer: if the organisation was given new keys of which this copy of the record does not know yet, give the new one as `key`; if not, it is not its peer, and nothing was said to it"
        ),
    })
}
