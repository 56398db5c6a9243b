//! What a tenant has, as the record and the platform say.

use reqwest::Method;
use serde::de::DeserializeOwned;

use super::{Client, ClientError};
use crate::api::{
    AccessView, AuthorityView, ClientsView, DatasetView, DocumentView, LinkView, Page,
    PermissionsView, ProofView, StatusView, UserView, VersionView,
};
use crate::platform::ReadReport;
use crate::record::Identifier;

impl Client {
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
        let asked = || {
            self.request(Method::GET, &["clients"])
                .query(&[("limit", "1000")])
        };
        let mut clients: ClientsView = self.json(asked()).await?;
        while let Some(after) = clients.next.take() {
            let part: ClientsView = self.json(asked().query(&[("after", after)])).await?;
            clients.items.extend(part.items);
            clients.next = part.next;
        }
        Ok(clients)
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

    /// The acting user's requests for access to a dataset of another tenant's, and what became of them.
    pub async fn shared_access_requests(
        &self,
        of_tenant: &Identifier,
        dataset: &Identifier,
    ) -> Result<Vec<AccessView>, ClientError> {
        let (of, dataset) = (of_tenant.as_str(), dataset.as_str());
        let path = ["shared", of, "datasets", dataset, "access-requests"];
        let request = self.request(Method::GET, &path);
        let request = request.query(&[("reader", self.user()?.user.as_str())]);
        let page: Page<AccessView> = self.json(request).await?;
        Ok(page.items)
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

    /// A whole list, part by part.
    pub(super) async fn all<T: DeserializeOwned>(
        &self,
        path: &[&str],
    ) -> Result<Vec<T>, ClientError> {
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
}
