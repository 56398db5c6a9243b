//! Users whose keys the platform keeps: what is asked of it in their name, and how a key changes hands.
//!
//! Whoever works so trusts the platform to sign what it was asked for and nothing else. What a user signs itself is checked before, here too:
//! giving its key away is the last thing that it signs.

use reqwest::{Method, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use super::transfer::Outgoing;
use super::{Client, ClientError, GetOptions, Got, PutOptions, Written};
use crate::api::{ChangeView, ReceiptView, WrittenView};
use crate::record::{
    Author, Identifier, Transaction, UnsignedTransaction, UserRegister, UserRole, UserRotateKey,
    rotate_key,
};

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
        let request = self.request(Method::POST, &path);
        self.json(request.body(transaction.to_bytes())).await
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
        // `content` is of the own tenant alone; another document of the same name must not come in place of the one that was meant.
        if options.of_tenant.is_some_and(|of| of != self.tenant()) {
            return Err(ClientError::NoKey);
        }
        let path = content_of(dataset, document);
        let mut request = self
            .request(Method::GET, &path)
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
        self.change(&["users"], asked, |transaction| {
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
        self.change(
            &path,
            json!({ "managed": true }),
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

    /// Asks for a change in JSON. What the platform does itself, it has done; what it prepares is checked, signed and sent.
    async fn change(
        &self,
        path: &[&str],
        asked: Value,
        is_meant: impl FnOnce(&Transaction) -> bool,
    ) -> Result<ReceiptView, ClientError> {
        let name = self.user()?;
        let request = self.request(Method::POST, path);
        let request = match path {
            // The user itself acts.
            [.., "rotate"] => request,
            _ => request.query(&[("author", name.user.as_str())]),
        };
        let response = self.send(request.json(&asked)).await?;
        let status = response.status().as_u16();
        let bytes = self.bytes(response).await?;
        if status != 202 {
            return self.read_json(&bytes);
        }
        let prepared: ChangeView = self.read_json(&bytes)?;
        let unsigned =
            UnsignedTransaction::from_bytes(&prepared.transaction).map_err(|e| self.answer(&e))?;
        let differs = |what, expected: String, found: String| ClientError::NotWhatWasMeant {
            what,
            expected,
            found,
        };
        if !is_meant(&unsigned.transaction) {
            let found = unsigned.transaction.kind().to_owned();
            return Err(differs("the transaction", asked.to_string(), found));
        }
        // Ledger, author, nonce and expiry are this client's own.
        match &unsigned.author {
            Author::User(author) if *author == name => self.submit(unsigned.transaction).await,
            author => Err(differs("the author", name.to_string(), author.to_string())),
        }
    }

    fn read_json<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(bytes).map_err(|e| self.answer(&e))
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
