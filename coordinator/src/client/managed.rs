//! Users whose keys the platform keeps: what is asked of it in their name, and how a key changes hands.
//!
//! Whoever works so trusts the platform to sign what it was asked for and nothing else. What a user signs itself is checked before, here too:
//! giving its key away is the last thing that it signs.

use reqwest::{Method, header};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};

use super::changes::Change;
use super::transfer::Outgoing;
use super::{Client, ClientError, GetOptions, Got, PutOptions, Written};
use crate::api::{ReceiptView, WrittenView};
use crate::record::{Identifier, Transaction, UserRegister, UserRole, UserRotateKey, rotate_key};

impl Client {
    /// Whether the user who acts leaves its signatures to the platform.
    pub(super) fn is_managed(&self) -> bool {
        self.signer.as_ref().is_some_and(|it| it.key.is_none())
    }

    pub(super) async fn submit_managed(
        &self,
        transaction: &Transaction,
    ) -> Result<ReceiptView, ClientError> {
        let user = self.user()?.user;
        let path = ["users", user.as_str(), "transactions"];
        let bytes = transaction.to_bytes();
        let request = self.request_of(Method::POST, &path, &bytes);
        self.json(request.body(bytes)).await
    }

    pub(super) async fn put_managed(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        source: impl AsyncRead + Send + 'static,
        options: PutOptions,
    ) -> Result<Written, ClientError> {
        let user = self.user()?.user;
        let path = content_of(dataset, document);
        let mut request = self
            .request(Method::PUT, &path)
            .query(&[("author", user.as_str())]);
        if let Some(version) = options.version {
            request = request.query(&[("version", version)]);
        }
        if let Some(content_type) = &options.content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let (outgoing, body) = Outgoing::of(source, options.on_progress);
        let written = self.json::<WrittenView>(request.body(body)).await;
        outgoing.read()?;
        let written = written?;
        let (length, digest) = outgoing.sent();
        if written.length != length {
            return Err(ClientError::NotWhatWasMeant {
                what: "the length",
                expected: length.to_string(),
                found: written.length.to_string(),
            });
        }
        Ok(Written {
            version: written.version,
            length,
            sha256: hex::encode(digest),
            checksum: written.checksum,
            receipt: written.receipt,
        })
    }

    pub(super) async fn get_managed(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        options: GetOptions<'_>,
        destination: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Got, ClientError> {
        let user = self.user()?.user;
        let path = self.document_path(&self.document_name(dataset, document, &options));
        let mut request = self
            .request(Method::GET, &[path.as_str(), "content"])
            .query(&[("reader", user.as_str())]);
        if let Some(version) = options.version {
            request = request.query(&[("version", version)]);
        }
        if let Some(range) = options.range {
            request = request.header(header::RANGE, range.header());
        }
        let response = self.send(request).await?;
        let read = response.headers().get("x-read-id");
        let read = read.and_then(|it| it.to_str().ok()?.parse().ok());
        let read = read.ok_or_else(|| self.answer(&"a read without an id"))?;
        self.arriving(response, read, options, destination).await
    }

    /// Registers a user whose key the platform makes and keeps; an administrator acts.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotWhatWasMeant`] before anything is signed; otherwise what the platform says.
    pub async fn add_managed_user(
        &self,
        user: &Identifier,
        role: UserRole,
        expires_ms: Option<u64>,
    ) -> Result<ReceiptView, ClientError> {
        let asked =
            json!({ "user": user, "managed": true, "role": role, "expires_ms": expires_ms });
        let change = Change::new(Method::POST, &["users"]).with(asked);
        self.change(change, |transaction| {
            // The key is the platform's choice; all else is not.
            let meant = |public_key| UserRegister {
                tenant: self.tenant().clone(),
                user: user.clone(),
                public_key,
                role,
                expires_ms,
                managed: true,
            };
            matches!(transaction, Transaction::UserRegister(it) if *it == meant(it.public_key))
        })
        .await
    }

    /// Exchanges the acting user's key for one that the platform makes and keeps.
    ///
    /// # Errors
    ///
    /// As [`Client::add_managed_user`].
    pub async fn give_key_away(&self) -> Result<ReceiptView, ClientError> {
        let user = self.user()?.user;
        let path = ["users", user.as_str(), "rotate"];
        let change = Change::of_itself(Method::POST, &path).with(json!({ "managed": true }));
        self.change(
            change,
            |transaction| matches!(transaction, Transaction::UserRotateKey(it) if it.managed),
        )
        .await
    }

    /// Exchanges the acting user's key for one of its own, whoever kept the one before.
    ///
    /// # Errors
    ///
    /// As [`Client::submit`].
    pub async fn take_key(
        &self,
        new_key: &ed25519_dalek::SigningKey,
    ) -> Result<ReceiptView, ClientError> {
        let (ledger, name) = (self.ledger().await?, self.user()?);
        let rotation = rotate_key(&ledger, &name, new_key);
        let Transaction::UserRotateKey(UserRotateKey {
            public_key, proof, ..
        }) = &rotation
        else {
            return Err(self.answer(&"a rotation that is none"));
        };
        if !self.is_managed() {
            return self.submit(rotation).await;
        }
        let path = ["users", name.user.as_str(), "rotate"];
        let asked = json!({ "public_key": hex::encode(public_key), "proof": hex::encode(proof) });
        let request = self.request(Method::POST, &path).json(&asked);
        self.json(request).await
    }
}

fn content_of<'n>(dataset: &'n Identifier, document: &'n Identifier) -> [&'n str; 5] {
    [
        "datasets",
        dataset.as_str(),
        "documents",
        document.as_str(),
        "content",
    ]
}
