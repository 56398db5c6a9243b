//! One organisation's peer, as the platform sees it over HTTP. Nothing that it says is believed for its own sake.

use super::access::{PeerAccess, another_answers};
use super::wire::{BlockView, BlocksView, ErrorView, MAX_BLOCKS, PeerStatusView, Submitted};
use crate::record::{
    identifier::Identifier,
    peer::ApprovalRefusal,
    signed::{SignedTransaction, TransactionId},
};
use reqwest::{Client, Response};
use std::time::Duration;

/// Where a peer's process answers.
#[derive(Clone)]
pub struct PeerAddress {
    /// Whose it is.
    pub organisation: Identifier,
    /// Its URL, without a slash at the end.
    pub url: String,
    /// How it is reached.
    pub access: PeerAccess,
}

impl std::fmt::Debug for PeerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PeerAddress({} at {})", self.organisation, self.url)
    }
}

/// Bytes of an approval, at most.
const MAX_APPROVAL: usize = 16 * 1024;
const MAX_NOTE: usize = 16 * 1024;
/// Bytes of an answer with blocks: as hexadecimal, and several.
const MAX_BLOCKS_ANSWER: usize = 64 * 1024 * 1024;
const MAX_SMALL_ANSWER: usize = 64 * 1024;
/// How long a peer holds a question for blocks that do not exist yet.
pub(super) const HOLD: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// Why a peer gave no answer.
#[derive(Debug, Clone)]
pub(super) enum Unanswered {
    /// It said why.
    Said(ErrorView),
    /// Nothing that can be used came.
    Nothing(String),
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Said(error) => write!(f, "{} ({})", error.message, error.code),
            Self::Nothing(reason) => f.write_str(reason),
        }
    }
}

/// A peer that is somewhere else.
#[derive(Debug)]
pub(super) struct RemotePeer {
    pub(super) address: PeerAddress,
    client: Client,
}

impl RemotePeer {
    /// `recorded` says which key the record has for the organisation at that moment.
    pub(super) fn new(
        address: PeerAddress,
        recorded: impl Fn() -> Option<[u8; 32]> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let builder = Client::builder().connect_timeout(CONNECT_WITHIN);
        let client = address.access.client(builder, recorded)?;
        Ok(Self { address, client })
    }

    pub(super) fn name(&self) -> &Identifier {
        &self.address.organisation
    }

    /// The blocks from one on, as soon as there is one.
    pub(super) async fn blocks(
        &self,
        from: u64,
        transactions: bool,
    ) -> Result<Vec<BlockView>, Unanswered> {
        let hold = HOLD.as_millis();
        let url = format!(
            "{}/v1/blocks?from={from}&transactions={transactions}&wait_ms={hold}",
            self.address.url
        );
        let answer = self.get(&url, HOLD * 2, MAX_BLOCKS_ANSWER).await?;
        let view: BlocksView = serde_json::from_slice(&answer)
            .map_err(|error| Unanswered::Nothing(format!("its blocks are no blocks: {error}")))?;
        if view.blocks.len() > MAX_BLOCKS {
            return Err(Unanswered::Nothing("it gives too many blocks".to_owned()));
        }
        Ok(view.blocks)
    }

    /// Its last block.
    pub(super) async fn height(&self, within: Duration) -> Result<u64, Unanswered> {
        let url = format!("{}/v1/status", self.address.url);
        let answer = self.get(&url, within, MAX_SMALL_ANSWER).await?;
        let view: PeerStatusView = serde_json::from_slice(&answer)
            .map_err(|error| Unanswered::Nothing(format!("its status is none: {error}")))?;
        Ok(view.height)
    }

    /// The head that it signed last.
    pub(super) async fn head(&self, within: Duration) -> Result<String, Unanswered> {
        let url = format!("{}/v1/head", self.address.url);
        let answer = self.get(&url, within, MAX_NOTE).await?;
        String::from_utf8(answer).map_err(|_| Unanswered::Nothing("its head is no text".to_owned()))
    }

    /// Submits a transaction and waits for what becomes of it.
    pub(super) async fn submit(
        &self,
        transaction: &SignedTransaction,
        within: Duration,
    ) -> Result<Submitted, Unanswered> {
        let url = format!("{}/v1/transactions", self.address.url);
        let request = self.client.post(url).body(transaction.as_bytes().to_vec());
        let answer = self.send(request, within, MAX_SMALL_ANSWER).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| Unanswered::Nothing(format!("its answer is none: {error}")))
    }

    /// Asks for its approval of a read.
    pub(super) async fn approve(
        &self,
        read: &TransactionId,
        within: Duration,
    ) -> Result<Vec<u8>, ApprovalRefusal> {
        let url = format!("{}/v1/approvals/{}", self.address.url, hex::encode(read));
        match self.send(self.client.post(url), within, MAX_APPROVAL).await {
            Ok(certificate) => Ok(certificate),
            Err(Unanswered::Said(ErrorView { code, message })) => {
                Err(ApprovalRefusal::Elsewhere { code, message })
            }
            Err(Unanswered::Nothing(_)) => {
                Err(ApprovalRefusal::Unavailable(self.name().to_string()))
            }
        }
    }

    async fn get(&self, url: &str, within: Duration, limit: usize) -> Result<Vec<u8>, Unanswered> {
        self.send(self.client.get(url), within, limit).await
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        within: Duration,
        limit: usize,
    ) -> Result<Vec<u8>, Unanswered> {
        let failed = |error: reqwest::Error| match another_answers(&error, &self.address.url) {
            Some(view) => Unanswered::Said(view),
            None => Unanswered::Nothing(format!("it does not answer: {error}")),
        };
        let request = self.address.access.authorise(request).timeout(within);
        let mut response = request.send().await.map_err(failed)?;
        let success = response.status().is_success();
        let limit = if success { limit } else { MAX_SMALL_ANSWER };
        let body = read(&mut response, limit).await?;
        if success {
            return Ok(body);
        }
        Err(match serde_json::from_slice(&body) {
            Ok(error) => Unanswered::Said(error),
            Err(_) => Unanswered::Nothing(format!("it answers with {}", response.status())),
        })
    }
}

/// At most so many bytes are ever held.
async fn read(response: &mut Response, limit: usize) -> Result<Vec<u8>, Unanswered> {
    let mut body = Vec::new();
    loop {
        let chunk = response
            .chunk()
            .await
            .map_err(|error| Unanswered::Nothing(format!("its answer breaks off: {error}")))?;
        let Some(chunk) = chunk else { return Ok(body) };
        if body.len() + chunk.len() > limit {
            return Err(Unanswered::Nothing("its answer is too long".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
}
