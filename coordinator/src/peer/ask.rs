//! Asking a running peer: the other side of [`super::api`], for the command line and for tools.

use super::PeerProcessError;
use crate::record::{
    PeerAccess, SignedTransaction, TransactionId, another_answers,
    audit::{AuditQuery, AuditView, whole_answer},
    wire::{BlockView, BlocksView, ErrorView, MemberView, PeerStatusView, StandingView, Submitted},
};
use reqwest::{Client, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use std::time::Duration;
use zeroize::Zeroizing;

const WITHIN: Duration = Duration::from_secs(60);

/// A running peer, as software that may ask it sees it. Cheap to clone.
#[derive(Clone)]
pub struct AskedPeer {
    client: Client,
    url: String,
    access: PeerAccess,
}

fn unreachable(error: reqwest::Error) -> PeerProcessError {
    PeerProcessError::Refused {
        code: "platform-unreachable".to_owned(),
        message: format!("the peer does not answer: {error}; start it, or give --url"),
    }
}

impl AskedPeer {
    /// The peer on this machine whose API answers there, and wants to be shown this token.
    ///
    /// # Errors
    /// [`PeerProcessError::Refused`], if the system gives no HTTP client.
    pub fn new(url: impl Into<String>, token: Zeroizing<String>) -> Result<Self, PeerProcessError> {
        Self::reached(url, PeerAccess::Token(token))
    }

    /// The peer that is reached so. Over TLS it has one of the keys that are known of it.
    ///
    /// # Errors
    /// [`PeerProcessError::Refused`], if the system gives no HTTP client.
    pub fn reached(url: impl Into<String>, access: PeerAccess) -> Result<Self, PeerProcessError> {
        let builder = Client::builder().timeout(WITHIN);
        let client = access.client(builder, || None);
        let client = client.map_err(|message| PeerProcessError::Refused {
            code: "system".to_owned(),
            message: format!("the system gives no HTTP client: {message}"),
        })?;
        let url = url.into();
        Ok(Self {
            client,
            url,
            access,
        })
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

    /// Its approval of a recorded read, DER.
    ///
    /// # Errors
    /// [`PeerProcessError::Refused`] with the peer's reason.
    pub async fn approve(&self, read: &TransactionId) -> Result<Vec<u8>, PeerProcessError> {
        let url = format!("{}/v1/approvals/{}", self.url, hex::encode(read));
        let response = self.send(self.client.post(url)).await?;
        Ok(response.bytes().await.map_err(unreachable)?.to_vec())
    }

    /// Which place the key has that is shown over TLS. Any peer may be asked that.
    ///
    /// # Errors
    /// [`PeerProcessError::Refused`]
    pub async fn standing(&self) -> Result<StandingView, PeerProcessError> {
        let request = self.client.get(format!("{}/v1/standing", self.url));
        json(self.send(request).await?).await
    }

    /// The organisations on the record, with their peers' keys.
    ///
    /// # Errors
    /// [`PeerProcessError::Refused`]
    pub async fn members(&self) -> Result<Vec<MemberView>, PeerProcessError> {
        let request = self.client.get(format!("{}/v1/members", self.url));
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

    /// What its copy of the record says, all parts together, every row proven under the head that it signed last; at most `limit` rows.
    ///
    /// # Errors
    /// [`PeerProcessError::Refused`]
    pub async fn audit(
        &self,
        query: &AuditQuery,
        limit: usize,
    ) -> Result<AuditView, PeerProcessError> {
        let url = format!("{}/v1/audit", self.url);
        let part = async |query: AuditQuery| {
            json(self.send(self.client.get(&url).query(&query)).await?).await
        };
        whole_answer(query, limit, part).await
    }

    /// The head after one of its blocks, as it signed it.
    ///
    /// # Errors
    /// [`PeerProcessError::Refused`]
    pub async fn head_of_size(&self, size: u64) -> Result<Option<String>, PeerProcessError> {
        // Blocks are numbered by height and have one transaction at least: the one that ends at `size` is at most the size-th.
        let (mut low, mut high) = (1, size.max(1));
        while low <= high {
            let middle = low + (high - low) / 2;
            let url = format!("{}/v1/blocks?from={middle}", self.url);
            let view: BlocksView = json(self.send(self.client.get(url)).await?).await?;
            let headers: Vec<_> = view.blocks.iter().filter_map(BlockView::header).collect();
            let (first, last) = match (headers.first(), headers.last()) {
                (Some(first), Some(last)) => (first, last),
                _ if middle == 1 => return Ok(None),
                _ => {
                    high = middle - 1;
                    continue;
                }
            };
            if size < first.size {
                high = middle.saturating_sub(1);
            } else if size > last.size {
                low = last.height + 1;
            } else {
                let found = view
                    .blocks
                    .into_iter()
                    .find(|block| block.header().is_some_and(|header| header.size == size));
                return Ok(found.map(|block| block.signed_head));
            }
        }
        Ok(None)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, PeerProcessError> {
        let failed = |error| match another_answers(&error, &self.url) {
            Some(ErrorView { code, message }) => PeerProcessError::Refused { code, message },
            None => unreachable(error),
        };
        let request = self.access.authorise(request);
        let response = request.send().await.map_err(failed)?;
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
