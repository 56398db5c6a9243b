//! The platform's client: what applications and the command line call.
//!
//! The client signs; the platform prepares. Before anything is signed it is checked to be what was asked for ([`check`]).
//! Bodies stream, in constant memory. Documents are read in two ways: opened by the platform ([`Client::get`]), or here
//! ([`Client::get_end_to_end`]), where the platform gets neither keys nor plaintext.
//!
//! # A document, written and read in both ways
//!
//! `cargo run -p coordinator --example exchange`; a test runs it against a platform with its nodes.
//!
//! ```no_run
#![doc = include_str!("../../examples/exchange.rs")]
//! ```

mod audits;
pub mod check;
mod end_to_end;
mod error;
mod managed;
mod parts;
pub mod profile;
pub mod profiles;
mod proven;
mod rewrap;
mod sealed;
mod transfer;
pub mod user_key;

use std::time::Duration;

use certs::checkpoint::NoteKey;
use cryptonode::randomness;
use cryptonode::wire::v1::TraceParent;
use ed25519_dalek::SigningKey;
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde_json::json;
use zeroize::Zeroizing;

pub use error::ClientError;
pub use parts::{PartsOptions, PartsSource};
pub use proven::{ProvenVersion, Verified};
pub use transfer::{GetOptions, Got, OnProgress, PutOptions, Written};

use crate::api::auth::{KeyRecord, Scopes};
use crate::api::{
    AccessView, AuthorityView, ClientsView, DatasetView, DocumentView, IssuedKeyView, LinkView,
    Page, PermissionsView, ProofView, ReceiptView, StatusView, UserView, VersionView,
};
use crate::platform::{ReadReport, now_ms};
use crate::record::{Author, Identifier, LedgerId, Transaction, UnsignedTransaction, UserName};

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
    api_key: Zeroizing<String>,
    signer: Option<Signer>,
    ledger: Option<LedgerId>,
    organisations: Vec<NoteKey>,
    trace: Option<TraceParent>,
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
            api_key: Zeroizing::new(api_key),
            signer: None,
            ledger: None,
            organisations: Vec::new(),
            trace: None,
        })
    }

    /// Whose signature goes under what follows.
    pub fn sign_as(&mut self, signer: Signer) {
        self.signer = Some(signer);
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
        let signer = self.signer.as_ref().ok_or(ClientError::NoUser)?;
        signer.key.as_ref().ok_or(ClientError::NoKey)
    }

    /// How the platform is.
    pub async fn status(&self) -> Result<StatusView, ClientError> {
        self.json(self.request(Method::GET, &["status"])).await
    }

    /// The tenant's users.
    pub async fn users(&self) -> Result<Vec<UserView>, ClientError> {
        self.all(&["users"]).await
    }

    /// The authorities of companies that the tenant has registered.
    pub async fn authorities(&self) -> Result<Vec<AuthorityView>, ClientError> {
        let page: Page<AuthorityView> = self
            .json(self.request(Method::GET, &["authorities"]))
            .await?;
        Ok(page.items)
    }

    /// The clients that are bound to certificates of the tenant's company.
    pub async fn clients(&self) -> Result<ClientsView, ClientError> {
        self.json(self.request(Method::GET, &["clients"])).await
    }

    /// The tenant's datasets.
    pub async fn datasets(&self) -> Result<Vec<DatasetView>, ClientError> {
        self.all(&["datasets"]).await
    }

    /// A user.
    pub async fn user_view(&self, user: &Identifier) -> Result<UserView, ClientError> {
        self.json(self.request(Method::GET, &["users", user.as_str()]))
            .await
    }

    /// One dataset.
    pub async fn dataset(&self, dataset: &Identifier) -> Result<DatasetView, ClientError> {
        self.json(self.request(Method::GET, &["datasets", dataset.as_str()]))
            .await
    }

    /// All documents of a dataset.
    pub async fn documents(&self, dataset: &Identifier) -> Result<Vec<DocumentView>, ClientError> {
        self.all(&["datasets", dataset.as_str(), "documents"]).await
    }

    /// All versions of a document.
    pub async fn versions(
        &self,
        dataset: &Identifier,
        document: &Identifier,
    ) -> Result<Vec<VersionView>, ClientError> {
        let path = ["datasets", dataset.as_str(), "documents", document.as_str()];
        self.all(&path).await
    }

    /// All documents of another tenant's dataset that is open to the client's user.
    pub async fn shared_documents(
        &self,
        of_tenant: &Identifier,
        dataset: &Identifier,
    ) -> Result<Vec<DocumentView>, ClientError> {
        let (of, dataset) = (of_tenant.as_str(), dataset.as_str());
        let path = ["shared", of, "datasets", dataset, "documents"];
        self.all_for(&path, Some(&self.user()?.user)).await
    }

    /// All versions of a document there.
    pub async fn shared_versions(
        &self,
        of_tenant: &Identifier,
        dataset: &Identifier,
        document: &Identifier,
    ) -> Result<Vec<VersionView>, ClientError> {
        let (of, dataset, document) = (of_tenant.as_str(), dataset.as_str(), document.as_str());
        let path = ["shared", of, "datasets", dataset, "documents", document];
        self.all_for(&path, Some(&self.user()?.user)).await
    }

    /// Who may do what with a dataset.
    pub async fn permissions(&self, dataset: &Identifier) -> Result<PermissionsView, ClientError> {
        let path = ["datasets", dataset.as_str(), "permissions"];
        self.json(self.request(Method::GET, &path)).await
    }

    /// The requests for access to a dataset, whatever became of them.
    pub async fn access_requests(
        &self,
        dataset: &Identifier,
    ) -> Result<Vec<AccessView>, ClientError> {
        self.all(&["datasets", dataset.as_str(), "access-requests"])
            .await
    }

    /// The links of a dataset.
    pub async fn links(&self, dataset: &Identifier) -> Result<Vec<LinkView>, ClientError> {
        self.all(&["datasets", dataset.as_str(), "links"]).await
    }

    /// A link, as it is now.
    pub async fn link(
        &self,
        dataset: &Identifier,
        link: &Identifier,
    ) -> Result<LinkView, ClientError> {
        let path = ["datasets", dataset.as_str(), "links", link.as_str()];
        self.json(self.request(Method::GET, &path)).await
    }

    /// Proof of a link, which holds without this platform.
    pub async fn prove_link(
        &self,
        dataset: &Identifier,
        link: &Identifier,
    ) -> Result<ProofView, ClientError> {
        let path = [
            "datasets",
            dataset.as_str(),
            "links",
            link.as_str(),
            "proof",
        ];
        self.json(self.request(Method::GET, &path)).await
    }

    /// What happened in a read.
    pub async fn read_report(&self, read: uuid::Uuid) -> Result<ReadReport, ClientError> {
        self.json(self.request(Method::GET, &["reads", &read.to_string()]))
            .await
    }

    /// The tenant's API keys, those that are over included. Needs the scope `keys`, like the three calls below.
    pub async fn keys(&self) -> Result<Vec<KeyRecord>, ClientError> {
        self.all(&["keys"]).await
    }

    /// Makes an API key for the tenant, at most with the scopes of the client's own, and for one user alone if one is named; the answer is the only time
    /// that it is shown.
    pub async fn create_key(
        &self,
        name: &str,
        scopes: Scopes,
        expires_in_s: Option<u64>,
        user: Option<&Identifier>,
    ) -> Result<IssuedKeyView, ClientError> {
        let body =
            json!({ "name": name, "scopes": scopes, "expires_in_s": expires_in_s, "user": user });
        self.json(self.request(Method::POST, &["keys"]).json(&body))
            .await
    }

    /// Makes a key with the terms of another, which goes on for `grace_s` seconds.
    pub async fn rotate_key(&self, id: &str, grace_s: u64) -> Result<IssuedKeyView, ClientError> {
        let request = self.request(Method::POST, &["keys", &plain(id)?, "rotate"]);
        self.json(request.json(&json!({ "grace_s": grace_s })))
            .await
    }

    /// Revokes a key: from the next request on it opens nothing.
    pub async fn revoke_key(&self, id: &str) -> Result<KeyRecord, ClientError> {
        self.json(self.request(Method::DELETE, &["keys", &plain(id)?]))
            .await
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
        let signed = unsigned.sign(key);
        self.json(
            self.request(Method::POST, &["transactions"])
                .body(signed.as_bytes().to_vec()),
        )
        .await
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
        // Names need no escaping: they have letters, digits, '.', '_' and '-' only.
        let url = format!("{}/v1/tenants/{}/{}", self.url, self.tenant, path.join("/"));
        self.http
            .request(method, url)
            .bearer_auth(self.api_key.as_str())
    }

    /// A whole list, part by part.
    async fn all<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Vec<T>, ClientError> {
        self.all_for(path, None).await
    }

    /// The same of what only a certain reader sees.
    async fn all_for<T: DeserializeOwned>(
        &self,
        path: &[&str],
        reader: Option<&Identifier>,
    ) -> Result<Vec<T>, ClientError> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut request = self.request(Method::GET, path).query(&[("limit", "1000")]);
            if let Some(reader) = reader {
                request = request.query(&[("reader", reader.as_str())]);
            }
            if let Some(after) = &after {
                request = request.query(&[("after", after)]);
            }
            let page: Page<T> = self.json(request).await?;
            all.extend(page.items);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
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
        let response = request.send().await.map_err(unreachable)?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.problem(response).await)
        }
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

/// A key's id, which a person may have typed: nothing of it may change the path.
fn plain(id: &str) -> Result<String, ClientError> {
    match id.bytes().all(|b| b.is_ascii_alphanumeric()) && !id.is_empty() {
        true => Ok(id.to_owned()),
        false => Err(ClientError::Request {
            reason: "a key's id has letters and digits only".to_owned(),
        }),
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
