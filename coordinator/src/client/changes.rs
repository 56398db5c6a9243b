//! Changes of datasets, permissions, links and documents, one call each.
//!
//! A change is asked for in JSON. For a user whose key the platform keeps it is done then; for another one the platform prepares the transaction, which
//! is held against what was asked for, signed, and sent back. So the versions that a change follows are the platform's to look up, and the record
//! refuses what did not come next.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::check::{check_frame, differs};
use super::{Client, ClientError};
use crate::api::{ChangeView, EndView, ReceiptView};
use crate::platform::now_ms;
use crate::record::{
    DatasetName, Encryption, Identifier, Role, Storage, Transaction, TransactionId,
    UnsignedTransaction, UserName, VersionName,
};

/// A change that is asked for.
pub(super) struct Change<'c> {
    method: Method,
    path: &'c [&'c str],
    body: Option<Value>,
    version: Option<u64>,
    /// Whether the user in the path acts, and is not to be named again.
    of_itself: bool,
}

impl<'c> Change<'c> {
    pub(super) fn new(method: Method, path: &'c [&'c str]) -> Self {
        Self {
            method,
            path,
            body: None,
            version: None,
            of_itself: false,
        }
    }

    pub(super) fn of_itself(method: Method, path: &'c [&'c str]) -> Self {
        let of_itself = true;
        Self {
            of_itself,
            ..Self::new(method, path)
        }
    }

    pub(super) fn with(self, body: Value) -> Self {
        let body = Some(body);
        Self { body, ..self }
    }

    fn request(&self, client: &Client, author: &Identifier) -> RequestBuilder {
        let mut request = client.request(self.method.clone(), self.path);
        if !self.of_itself {
            request = request.query(&[("author", author.as_str())]);
        }
        if let Some(version) = self.version {
            request = request.query(&[("version", version)]);
        }
        match &self.body {
            Some(body) => request.json(body),
            None => request,
        }
    }

    /// What was asked, for people.
    fn told(&self) -> String {
        let body = self.body.as_ref().map(Value::to_string);
        let path = self.path.join("/");
        format!("{} {path} {}", self.method, body.unwrap_or_default())
    }
}

impl Client {
    /// Asks for a change. What the platform does itself, it has done; what it prepares is checked, signed and sent.
    pub(super) async fn change(
        &self,
        change: Change<'_>,
        is_meant: impl FnOnce(&Transaction) -> bool,
    ) -> Result<ReceiptView, ClientError> {
        let author = self.user()?;
        let response = self.send(change.request(self, &author.user)).await?;
        let status = response.status().as_u16();
        let bytes = self.bytes(response).await?;
        if status != 202 {
            return serde_json::from_slice(&bytes).map_err(|e| self.answer(&e));
        }
        let prepared: ChangeView = serde_json::from_slice(&bytes).map_err(|e| self.answer(&e))?;
        self.sign_change(&prepared, || change.told(), is_meant)
            .await
    }

    /// Signs a prepared change that is what was meant, and puts it onto the record.
    pub(super) async fn sign_change(
        &self,
        prepared: &ChangeView,
        asked: impl FnOnce() -> String,
        is_meant: impl FnOnce(&Transaction) -> bool,
    ) -> Result<ReceiptView, ClientError> {
        let (author, key) = (self.user()?, self.own_key()?);
        let unsigned =
            UnsignedTransaction::from_bytes(&prepared.transaction).map_err(|e| self.answer(&e))?;
        if !is_meant(&unsigned.transaction) {
            let found = unsigned.transaction.kind();
            return Err(differs("the transaction", &asked(), found));
        }
        let ledger = self.ledger().await?;
        check_frame(&unsigned, Some(&ledger), &author, now_ms())?;
        self.send_signed(unsigned.sign(key)).await
    }

    fn named(&self, dataset: &Identifier) -> DatasetName {
        DatasetName {
            tenant: self.tenant().clone(),
            dataset: dataset.clone(),
        }
    }

    /// Makes a dataset, which the acting user owns.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotWhatWasMeant`] before anything is signed; otherwise what the platform or the record says.
    pub async fn create_dataset(
        &self,
        dataset: &Identifier,
        encryption: Encryption,
        storage: Storage,
    ) -> Result<ReceiptView, ClientError> {
        let mut asked = configuration(encryption, storage);
        if let Some(asked) = asked.as_object_mut() {
            asked.insert("dataset".to_owned(), json!(dataset));
        }
        let change = Change::new(Method::POST, &["datasets"]).with(asked);
        let meant = self.named(dataset);
        self.change(change, |it| {
            matches!(it, Transaction::DatasetCreate(it) if it.tenant == meant.tenant && it.dataset == meant.dataset
                && it.encryption == encryption && it.storage == storage)
        })
        .await
    }

    /// Configures a dataset for later writes; what is written stays as it is.
    ///
    /// # Errors
    ///
    /// As [`Client::create_dataset`].
    pub async fn configure_dataset(
        &self,
        dataset: &Identifier,
        encryption: Encryption,
        storage: Storage,
    ) -> Result<ReceiptView, ClientError> {
        let path = ["datasets", dataset.as_str(), "configuration"];
        let change = Change::new(Method::PUT, &path).with(configuration(encryption, storage));
        let meant = self.named(dataset);
        self.change(change, |it| {
            matches!(it, Transaction::DatasetConfigure(it) if it.tenant == meant.tenant && it.dataset == meant.dataset
                && it.encryption == encryption && it.storage == storage)
        })
        .await
    }

    /// Says who has a role in a dataset: these users, of any tenant, and nobody else.
    ///
    /// # Errors
    ///
    /// As [`Client::create_dataset`].
    pub async fn set_role(
        &self,
        dataset: &Identifier,
        role: Role,
        users: &[UserName],
    ) -> Result<ReceiptView, ClientError> {
        let path = ["datasets", dataset.as_str(), "permissions", role.name()];
        let mut meant: Vec<UserName> = users.to_vec();
        meant.sort_unstable();
        let names: Vec<String> = meant.iter().map(ToString::to_string).collect();
        let change = Change::new(Method::PUT, &path).with(json!({ "users": names }));
        let name = self.named(dataset);
        self.change(change, |it| {
            matches!(it, Transaction::PermissionSet(it) if it.tenant == name.tenant && it.dataset == name.dataset
                && it.role == role && it.users == meant)
        })
        .await
    }

    /// Gives a user, of any tenant, a role in a dataset.
    ///
    /// # Errors
    ///
    /// As [`Client::create_dataset`].
    pub async fn add_to_role(
        &self,
        dataset: &Identifier,
        role: Role,
        user: &UserName,
    ) -> Result<ReceiptView, ClientError> {
        let name = self.named(dataset);
        self.entry(Method::PUT, dataset, role, user, |it| {
            matches!(it, Transaction::PermissionAdd(it) if it.tenant == name.tenant && it.dataset == name.dataset
                && it.role == role && it.user == *user)
        })
        .await
    }

    /// Takes a role in a dataset from a user.
    ///
    /// # Errors
    ///
    /// As [`Client::create_dataset`].
    pub async fn remove_from_role(
        &self,
        dataset: &Identifier,
        role: Role,
        user: &UserName,
    ) -> Result<ReceiptView, ClientError> {
        let name = self.named(dataset);
        self.entry(Method::DELETE, dataset, role, user, |it| {
            matches!(it, Transaction::PermissionRemove(it) if it.tenant == name.tenant && it.dataset == name.dataset
                && it.role == role && it.user == *user)
        })
        .await
    }

    async fn entry(
        &self,
        method: Method,
        dataset: &Identifier,
        role: Role,
        user: &UserName,
        is_meant: impl FnOnce(&Transaction) -> bool,
    ) -> Result<ReceiptView, ClientError> {
        let (of, user) = (user.tenant.as_str(), user.user.as_str());
        let dataset = dataset.as_str();
        let path = ["datasets", dataset, "permissions", role.name(), of, user];
        self.change(Change::new(method, &path), is_meant).await
    }

    /// Asks for a role in a dataset, of the client's own tenant or of another one, for the acting user itself.
    ///
    /// # Errors
    ///
    /// As [`Client::create_dataset`].
    pub async fn ask_for_access(
        &self,
        of_tenant: Option<&Identifier>,
        dataset: &Identifier,
        role: Role,
    ) -> Result<ReceiptView, ClientError> {
        let of = of_tenant.unwrap_or(self.tenant());
        let own = ["datasets", dataset.as_str(), "access-requests"];
        let path = ["shared", of.as_str(), own[0], own[1], own[2]];
        let path = match of == self.tenant() {
            true => &own[..],
            false => &path[..],
        };
        let change = Change::new(Method::POST, path).with(json!({ "role": role }));
        self.change(change, |it| {
            matches!(it, Transaction::AccessRequest(it) if it.tenant == *of && it.dataset == *dataset && it.role == role)
        })
        .await
    }

    /// Grants a request for access, by the transaction that asked.
    ///
    /// # Errors
    ///
    /// As [`Client::create_dataset`].
    pub async fn grant_access(
        &self,
        dataset: &Identifier,
        request: &TransactionId,
    ) -> Result<ReceiptView, ClientError> {
        let name = self.named(dataset);
        self.decide_access(dataset, request, "grant", |it| {
            matches!(it, Transaction::AccessGrant(it) if it.tenant == name.tenant && it.dataset == name.dataset && it.request == *request)
        })
        .await
    }

    /// Declines a request for access.
    ///
    /// # Errors
    ///
    /// As [`Client::create_dataset`].
    pub async fn decline_access(
        &self,
        dataset: &Identifier,
        request: &TransactionId,
    ) -> Result<ReceiptView, ClientError> {
        let name = self.named(dataset);
        self.decide_access(dataset, request, "decline", |it| {
            matches!(it, Transaction::AccessDecline(it) if it.tenant == name.tenant && it.dataset == name.dataset && it.request == *request)
        })
        .await
    }

    async fn decide_access(
        &self,
        dataset: &Identifier,
        request: &TransactionId,
        decision: &str,
        is_meant: impl FnOnce(&Transaction) -> bool,
    ) -> Result<ReceiptView, ClientError> {
        let (dataset, id) = (dataset.as_str(), hex::encode(request));
        let path = ["datasets", dataset, "access-requests", &id, decision];
        self.change(Change::new(Method::POST, &path), is_meant)
            .await
    }

    /// Makes a link between two versions of documents, or the next version of one.
    ///
    /// # Errors
    ///
    /// As [`Client::create_dataset`].
    pub async fn put_link(
        &self,
        dataset: &Identifier,
        link: &Identifier,
        from: &VersionName,
        to: &VersionName,
        relation: &Identifier,
    ) -> Result<ReceiptView, ClientError> {
        let path = ["datasets", dataset.as_str(), "links", link.as_str()];
        let asked =
            json!({ "from": EndView::of(from), "to": EndView::of(to), "relation": relation });
        let change = Change::new(Method::PUT, &path).with(asked);
        let name = self.named(dataset);
        self.change(change, |it| {
            matches!(it, Transaction::Link(it) if it.tenant == name.tenant && it.dataset == name.dataset && it.link == *link
                && it.from == *from && it.to == *to && it.relation == *relation)
        })
        .await
    }

    /// Erases a document, or one version of it.
    ///
    /// # Errors
    ///
    /// As [`Client::create_dataset`].
    pub async fn erase(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        version: Option<u64>,
    ) -> Result<ReceiptView, ClientError> {
        let path = ["datasets", dataset.as_str(), "documents", document.as_str()];
        let change = Change {
            version,
            ..Change::new(Method::DELETE, &path)
        };
        self.change(change, |it| self.is_erasure(it, dataset, document, version))
            .await
    }

    /// Whether this transaction erases just that.
    pub(super) fn is_erasure(
        &self,
        transaction: &Transaction,
        dataset: &Identifier,
        document: &Identifier,
        version: Option<u64>,
    ) -> bool {
        matches!(transaction, Transaction::Erase(it) if it.tenant == *self.tenant() && it.dataset == *dataset
            && it.document == *document && it.version == version)
    }
}

fn configuration(encryption: Encryption, storage: Storage) -> Value {
    match encryption {
        Encryption::None => json!({ "encryption": "none", "storage": storage }),
        Encryption::Platform => json!({ "encryption": "platform", "storage": storage }),
        Encryption::Threshold { public_key } => {
            json!({ "encryption": "threshold", "cluster": hex::encode(public_key), "storage": storage })
        }
    }
}
