//! Asking a running peer: the other side of [`super::api`], for the command line and for tools.

use super::PeerProcessError;
use crate::record::{
    SignedTransaction,
    wire::{ErrorView, PeerStatusView, Submitted},
};
use reqwest::{Client, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use std::time::Duration;
use zeroize::Zeroizing;

const WITHIN: Duration = Duration::from_secs(60);

/// A running peer, as its own organisation's software sees it. Cheap to clone.
#[derive(Clone)]
pub struct AskedPeer {
    client: Client,
    url: String,
    token: Zeroizing<String>,
}

fn unreachable(error: reqwest::Error) -> PeerProcessError {
    PeerProcessError::Refused {
        code: "platform-unreachable".to_owned(),
        message: format!("the peer does not answer: {error}; start it, or give --url"),
    }
}

impl AskedPeer {
    /// The peer whose API answers there, and wants to be shown this token.
    ///
    /// # Errors
    /// [`PeerProcessError::Refused`], if the system gives no HTTP client.
    pub fn new(url: impl Into<String>, token: Zeroizing<String>) -> Result<Self, PeerProcessError> {
        let client = Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .timeout(WITHIN)
            .build()
            .map_err(unreachable)?;
        let url = url.into();
        Ok(Self { client, url, token })
    }

    /// How it is.
    ///
    /// # Errors
    /// [`PeerProcessError::Refused`]
    pub async fn status(&self) -> Result<PeerStatusView, PeerProcessError> {
        let request = self.client.get(format!("{}/v1/status", self.url));
        json(self.send(request).await?).await
    }

    /// Submits a transaction, and says what became of it.
    ///
    /// # Errors
    /// [`PeerProcessError::Refused`]
    pub async fn submit(
        &self,
        transaction: &SignedTransaction,
    ) -> Result<Submitted, PeerProcessError> {
        let request = self.client.post(format!("{}/v1/transactions", self.url));
        let request = request.body(transaction.as_bytes().to_vec());
        json(self.send(request).await?).await
    }

    /// The head that it signed last: a C2SP signed note.
    ///
    /// # Errors
    /// [`PeerProcessError::Refused`]
    pub async fn signed_head(&self) -> Result<String, PeerProcessError> {
        let request = self.client.get(format!("{}/v1/head", self.url));
        self.send(request).await?.text().await.map_err(unreachable)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, PeerProcessError> {
        let request = request.bearer_auth(self.token.as_str());
        let response = request.send().await.map_err(unreachable)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let ErrorView { code, message } = json(response).await?;
        Err(PeerProcessError::Refused { code, message })
    }
}

async fn json<T: DeserializeOwned>(response: Response) -> Result<T, PeerProcessError> {
    response.json().await.map_err(unreachable)
}
