//! Rewrapping: document keys of a dataset under its present cluster key, and the platform's master keys.

use reqwest::Method;
use serde_json::json;

use super::check::Meant;
use super::{Client, ClientError};
use crate::api::{PendingRewrapView, PreparedView, ReceiptView, RewrapStepView, RewrapView};
use crate::platform::{MasterKeysView, now_ms};
use crate::record::{Identifier, Transaction, UnsignedTransaction};

impl Client {
    /// What of a dataset is not under its present cluster key, a part of it: that behind `after`.
    pub async fn pending_rewraps(
        &self,
        dataset: &Identifier,
        after: Option<&PendingRewrapView>,
    ) -> Result<RewrapView, ClientError> {
        let path = ["datasets", dataset.as_str(), "rewraps"];
        let mut request = self.request(Method::GET, &path);
        if let Some(after) = after {
            let version = after.version.to_string();
            request = request.query(&[
                ("after_document", after.document.as_str()),
                ("after_version", &version),
            ]);
        }
        self.json(request).await
    }

    /// Wraps the document key of one version anew, under `cluster`, which must be the dataset's cluster key: checks and signs what the platform
    /// prepares, step by step. For a managed user the platform signs, and to whom it wraps is not checked here.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotWhatWasMeant`] before anything is signed; otherwise what the platform, the record, the organisations or the crypto nodes
    /// say.
    pub async fn rewrap(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        version: u64,
        cluster: &[u8; 32],
    ) -> Result<ReceiptView, ClientError> {
        let author = self.user()?;
        let path = [
            "datasets",
            dataset.as_str(),
            "documents",
            document.as_str(),
            "rewraps",
        ];
        let asked = json!({ "author": author.user, "version": version });
        let request = self.request(Method::POST, &path).json(&asked);
        if self.is_managed() {
            let step: RewrapStepView = self.json(request).await?;
            let missing = || self.answer(&"a rewrap that is not on the record");
            return step.receipt.ok_or_else(missing);
        }
        let key = self.own_key()?;
        let ledger = self.ledger().await?;
        let mut prepared: PreparedView = self.json(request).await?;
        loop {
            let unsigned = UnsignedTransaction::from_bytes(&prepared.transaction)
                .map_err(|e| self.answer(&e))?;
            let meant = Meant {
                ledger: Some(ledger),
                author: &author,
                tenant: self.tenant(),
                dataset,
                document,
                version: Some(version),
                now_ms: now_ms(),
            };
            let is_read = matches!(unsigned.transaction, Transaction::Read(_));
            if is_read {
                meant.check_read(&unsigned)?;
            } else {
                meant.check_rewrap(&unsigned, cluster)?;
            }
            let signed = unsigned.sign(key);
            let id = prepared.id.to_string();
            let commit = self.request(Method::POST, &["rewraps", &id]);
            let step: RewrapStepView = self.json(commit.body(signed.as_bytes().to_vec())).await?;
            match (step.next, step.receipt) {
                // One read, and no more.
                (Some(next), _) if is_read => prepared = next,
                (_, Some(receipt)) if !is_read => return Ok(receipt),
                _ => return Err(self.answer(&"a step that does not follow from the one before")),
            }
        }
    }

    /// The platform's master keys; `operator_key` is an operator's API key.
    pub async fn master_keys(&self, operator_key: &str) -> Result<MasterKeysView, ClientError> {
        self.json(self.operators(operator_key, Method::GET, "master-keys"))
            .await
    }

    /// Makes a new master key; what is under older ones is wrapped anew in the background.
    pub async fn rotate_master_key(
        &self,
        operator_key: &str,
    ) -> Result<MasterKeysView, ClientError> {
        self.json(self.operators(operator_key, Method::POST, "master-keys"))
            .await
    }
}
