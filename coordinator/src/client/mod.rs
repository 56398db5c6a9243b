//! The platform's client: what applications and the command line call.
//!
//! The client signs; the platform prepares. Before anything is signed it is checked to be what was asked for ([`check`]).
//! Bodies stream, in constant memory. Documents are read in two ways: opened by the platform ([`Client::get`]), or here
//! ([`Client::get_end_to_end`]), where the platform gets neither keys nor plaintext.
//!
//! There is a call for each route of the API. What changes something can be made to happen once, however often it is sent:
//!
//! ```no_run
//! # async fn example(client: coordinator::client::Client) -> Result<(), coordinator::client::ClientError> {
//! use coordinator::record::{Encryption, Storage};
//!
//! // Drawn for this one thing, and kept until it is done.
//! let once = client.once("019a0000-0000-7000-8000-000000000001")?;
//! let designs = "designs".parse().expect("a name");
//! let first = once.create_dataset(&designs, Encryption::Platform, Storage::OffChain).await?;
//! // The answer was lost, say: the same call gives the same answer.
//! let again = once.create_dataset(&designs, Encryption::Platform, Storage::OffChain).await?;
//! assert_eq!(first, again);
//! # Ok(())
//! # }
//! ```
//!
//! # A document, written and read in both ways
//!
//! `cargo run -p coordinator --example exchange`; a test runs it against a platform with its nodes.
//!
//! ```no_run
#![doc = include_str!("../../examples/exchange.rs")]
//! ```

mod audits;
mod changes;
pub mod check;
mod end_to_end;
mod error;
mod keys;
mod lists;
mod managed;
mod once;
mod owned;
mod parts;
mod platform;
pub mod profile;
pub mod profiles;
mod proven;
mod rewrap;
mod sealed;
mod transfer;
pub mod user_key;
mod users;

use std::sync::Arc;
use std::time::Duration;

use certs::checkpoint::NoteKey;
use cryptonode::randomness;
use cryptonode::wire::v1::TraceParent;
use ed25519_dalek::SigningKey;
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

pub use error::ClientError;
pub use parts::{PartsOptions, PartsSource};
pub use platform::ProblemMeaning;
pub use proven::{ProvenVersion, Verified};
pub use transfer::{GetOptions, Got, OnProgress, PutOptions, Written};

use crate::api::ReceiptView;
use crate::platform::now_ms;
use crate::record::{
    Author, Identifier, LedgerId, SignedTransaction, Transaction, UnsignedTransaction, UserName,
};

/// How long a transaction that the client makes itself may take to reach the record.
const TRANSACTION_LIFETIME_MS: u64 = 60_000;
const MAX_ANSWER: usize = 64 * 1024 * 1024;
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How often a platform that says nothing is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Earlier than the platform closes a connection that it hears nothing on.
const LET_GO_AFTER: Duration = Duration::from_secs(15);

/// A user who signs.
pub struct Signer {
    user: Identifier,
    /// None, if the platform keeps the key and signs.
    key: Option<SigningKey>,
}

impl Signer {
    /// A user of the client's tenant, with its key.
    pub fn new(user: Identifier, key: SigningKey) -> Self {
        let key = Some(key);
        Self { user, key }
    }

    /// A user of the client's tenant whose key the platform keeps: it signs, and nothing that it signs is checked here.
    pub fn managed(user: Identifier) -> Self {
        Self { user, key: None }
    }
}

/// A client of one platform, for one tenant.
pub struct Client {
    http: reqwest::Client,
    url: String,
    tenant: Identifier,
    api_key: Arc<Zeroizing<String>>,
    signer: Option<Arc<Signer>>,
    ledger: Option<LedgerId>,
    organisations: Vec<NoteKey>,
    trace: Option<TraceParent>,
    /// What makes the requests of a call happen once ([`once`]).
    once: Option<String>,
}

impl Client {
    /// A client of the platform at `url`, such as `http://127.0.0.1:7710`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Url`], [`ClientError::ApiKey`], or [`ClientError::Answer`] if the HTTP client cannot be made.
    pub fn new(url: &str, tenant: Identifier, api_key: String) -> Result<Self, ClientError> {
        let url = url.trim_end_matches('/').to_owned();
        let wrong = |reason: String| ClientError::Url {
            url: url.clone(),
            reason,
        };
        let parsed = reqwest::Url::parse(&url).map_err(|e| wrong(e.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(wrong("it is neither http nor https".into()));
        }
        if api_key.is_empty() || !api_key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ClientError::ApiKey);
        }
        // No proxy: the platform is on this machine, or behind a name that the user chose. No redirects either: this API
        // knows none, and a key is for the one who was named.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .tcp_keepalive(KEEP_ALIVE)
            .pool_idle_timeout(LET_GO_AFTER)
            .build();
        let http = http.map_err(|e| ClientError::Answer {
            url: url.clone(),
            reason: e.to_string(),
        })?;
        Ok(Self {
            http,
            url,
            tenant,
            api_key: Arc::new(Zeroizing::new(api_key)),
            signer: None,
            ledger: None,
            organisations: Vec::new(),
            trace: None,
            once: None,
        })
    }

    /// Whose signature goes under what follows.
    pub fn sign_as(&mut self, signer: Signer) {
        self.signer = Some(Arc::new(signer));
    }

    /// Pins the ledger: nothing is signed for another one. Otherwise the platform is believed the first time.
    pub fn pin_ledger(&mut self, ledger: LedgerId) {
        self.ledger = Some(ledger);
    }

    /// What follows is done in this span, which the caller records: the platform's spans are below it.
    pub fn in_trace(&mut self, trace: TraceParent) {
        self.trace = Some(trace);
    }

    /// The tenant.
    pub fn tenant(&self) -> &Identifier {
        &self.tenant
    }

    /// The user who signs.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoUser`]
    pub fn user(&self) -> Result<UserName, ClientError> {
        let signer = self.signer.as_ref().ok_or(ClientError::NoUser)?;
        Ok(UserName {
            tenant: self.tenant.clone(),
            user: signer.user.clone(),
        })
    }

    /// The key of a user who signs by itself.
    fn own_key(&self) -> Result<&SigningKey, ClientError> {
        let signer = self.signer.as_deref().ok_or(ClientError::NoUser)?;
        signer.key.as_ref().ok_or(ClientError::NoKey)
    }

    /// Signs a transaction as the user and puts it onto the record.
    pub async fn submit(&self, transaction: Transaction) -> Result<ReceiptView, ClientError> {
        if self.is_managed() {
            return self.submit_managed(&transaction).await;
        }
        let author = Author::User(self.user()?);
        self.submit_as(author, self.own_key()?, transaction).await
    }

    /// Signs a transaction as anybody, an organisation for example, and puts it onto the record.
    pub async fn submit_as(
        &self,
        author: Author,
        key: &SigningKey,
        transaction: Transaction,
    ) -> Result<ReceiptView, ClientError> {
        let ledger = self.ledger().await?;
        let expires_ms = now_ms().saturating_add(TRANSACTION_LIFETIME_MS);
        let unsigned = UnsignedTransaction {
            ledger,
            author,
            nonce: randomness::public(),
            expires_ms,
            transaction,
        };
        self.send_signed(unsigned.sign(key)).await
    }

    /// Puts a signed transaction onto the record.
    async fn send_signed(&self, signed: SignedTransaction) -> Result<ReceiptView, ClientError> {
        let what = signed.transaction().to_bytes();
        let request = self.request_of(Method::POST, &["transactions"], &what);
        self.json(request.body(signed.as_bytes().to_vec())).await
    }

    /// The ledger's id: the pinned one, or what the platform says.
    pub async fn ledger(&self) -> Result<LedgerId, ClientError> {
        if let Some(ledger) = self.ledger {
            return Ok(ledger);
        }
        let status = self.status().await?;
        let mut ledger = [0; 32];
        hex::decode_to_slice(&status.ledger, &mut ledger).map_err(|e| self.answer(&e))?;
        Ok(ledger)
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.request_of(method, path, &[])
    }

    /// The same where one call sends several to one path, which differ by `what`.
    fn request_of(&self, method: Method, path: &[&str], what: &[u8]) -> RequestBuilder {
        // Names need no escaping: they have letters, digits, '.', '_' and '-' only.
        let path = format!("/v1/tenants/{}/{}", self.tenant, path.join("/"));
        self.request_with(self.api_key.as_str(), method, &path, what)
    }

    /// A request of an operator's, below `/v1/operator/`.
    fn operators(&self, operator_key: &str, method: Method, path: &str) -> RequestBuilder {
        self.request_with(operator_key, method, &format!("/v1/operator/{path}"), &[])
    }

    fn request_with(&self, key: &str, method: Method, path: &str, what: &[u8]) -> RequestBuilder {
        let once = self.once_for(&method, path, what);
        let request = self.http.request(method, format!("{}{path}", self.url));
        let request = request.bearer_auth(key);
        match once {
            Some(once) => request.header(once::HEADER, once),
            None => request,
        }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        let bytes = self.bytes(response).await?;
        serde_json::from_slice(&bytes).map_err(|e| self.answer(&e))
    }

    async fn bytes(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|e| self.answer(&e))? {
            bytes.extend_from_slice(&part);
            if bytes.len() > MAX_ANSWER {
                return Err(self.answer(&"the answer is far too long"));
            }
        }
        Ok(bytes)
    }

    /// Sends a request; problems become errors.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = self.send_any(request).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.problem(response).await)
        }
    }

    /// Sends a request; the answer, whatever it is.
    async fn send_any(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let unreachable = |e: reqwest::Error| {
            let reason = innermost(&e);
            if e.is_builder() {
                return ClientError::Request { reason };
            }
            let url = self.url.clone();
            ClientError::Unreachable { url, reason }
        };
        let request = match &self.trace {
            Some(trace) => request.header("traceparent", trace.to_string()),
            None => request,
        };
        request.send().await.map_err(unreachable)
    }

    async fn problem(&self, response: Response) -> ClientError {
        #[derive(serde::Deserialize)]
        struct Problem {
            code: String,
            detail: String,
            more: Option<serde_json::Value>,
            request_id: Option<String>,
        }
        let status = response.status().as_u16();
        let bytes = self.bytes(response).await.unwrap_or_default();
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(Problem {
                code,
                detail,
                more,
                request_id,
            }) => ClientError::Problem {
                status,
                code,
                detail,
                more,
                request_id,
            },
            Err(_) => self.answer(&format!("status {status} without a reason")),
        }
    }

    fn answer(&self, reason: &impl ToString) -> ClientError {
        ClientError::Answer {
            url: self.url.clone(),
            reason: reason.to_string(),
        }
    }
}

/// The last cause of an error: the one that says something.
fn innermost(e: &dyn std::error::Error) -> String {
    let mut current = e;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}
