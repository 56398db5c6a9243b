//! What the record says, and its proofs.

use std::path::Path;

use reqwest::Method;

use super::transfer::{Counted, beside, publish};
use super::{Client, ClientError, OnProgress};
use crate::api::{ConsistencyView, ProofView};
use crate::record::TransactionId;
use crate::record::audit::{AuditQuery, AuditView, whole_answer};

impl Client {
    /// The record's head, signed by the organisations' peers: a C2SP signed note.
    pub async fn checkpoint(&self) -> Result<String, ClientError> {
        let response = self
            .send(self.request(Method::GET, &["audit", "checkpoint"]))
            .await?;
        let bytes = self.bytes(response).await?;
        String::from_utf8(bytes).map_err(|e| self.answer(&e))
    }

    /// What the record says about something of the tenant's, all parts together, every row with its proof under one signed head; at most
    /// `limit` rows. Believed is what [`AuditView::verify`] has verified. Needs the scope `audit`.
    pub async fn audit(&self, query: &AuditQuery, limit: usize) -> Result<AuditView, ClientError> {
        let part = async |query: AuditQuery| {
            let request = self.request(Method::GET, &["audit", "rows"]);
            self.json(request.query(&query)).await
        };
        whole_answer(query, limit, part).await
    }

    /// The same about anything on the record, organisations too. Needs an operator's API key.
    pub async fn audit_all(
        &self,
        operator_key: &str,
        query: &AuditQuery,
        limit: usize,
    ) -> Result<AuditView, ClientError> {
        let part = async |query: AuditQuery| {
            let request = self.operators(operator_key, Method::GET, "audit/rows");
            self.json(request.query(&query)).await
        };
        whole_answer(query, limit, part).await
    }

    /// Proof that a transaction of the tenant's is on the record. Needs the scope `audit`.
    pub async fn prove(&self, transaction: &TransactionId) -> Result<ProofView, ClientError> {
        let id = hex::encode(transaction);
        let path = ["audit", "transactions", &id, "proof"];
        self.json(self.request(Method::GET, &path)).await
    }

    /// Proof that the record continues a head of `old` transactions, and its newest head. Needs the scope `audit`.
    pub async fn prove_consistency(&self, old: u64) -> Result<ConsistencyView, ClientError> {
        let request = self.request(Method::GET, &["audit", "consistency"]);
        self.json(request.query(&[("old", old)])).await
    }

    /// Fetches the whole record with its signed head into a file; `operator_key` is an operator's API key. `on_length` is called once, with the
    /// number of bytes that will come, and `on_progress` as they arrive.
    ///
    /// # Errors
    ///
    /// What the platform says, or the file.
    pub async fn export(
        &self,
        operator_key: &str,
        path: &Path,
        on_length: Option<&OnProgress>,
        on_progress: Option<&OnProgress>,
    ) -> Result<u64, ClientError> {
        let request = self.operators(operator_key, Method::GET, "audit/export");
        let response = self.send(request).await?;
        if let (Some(on_length), Some(length)) = (on_length, response.content_length()) {
            on_length(length);
        }
        let (temporary, mut file) = beside(path)?;
        let mut counted = Counted::default();
        self.receive(response, &mut file, &mut counted, on_progress)
            .await?;
        publish(temporary, &file, path).await?;
        Ok(counted.length)
    }
}
