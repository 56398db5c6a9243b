//! What a platform says of itself to anybody: no API key is needed.

use serde::{Deserialize, Serialize};

use super::{Client, ClientError};
use crate::api::HealthView;

/// What a code of a problem means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemMeaning {
    /// The code.
    pub code: String,
    /// The HTTP status that it usually comes with.
    pub status: u16,
    /// What it means.
    pub meaning: String,
}

impl Client {
    /// Whether the platform's record takes transactions.
    ///
    /// # Errors
    ///
    /// If the platform cannot be reached, or does not answer as one does.
    pub async fn health(&self) -> Result<HealthView, ClientError> {
        let request = self.http.get(format!("{}/healthz", self.url));
        // One that is not well says so with a status of its own.
        let response = self.send_any(request).await?;
        let bytes = self.bytes(response).await?;
        serde_json::from_slice(&bytes).map_err(|e| self.answer(&e))
    }

    /// What a code of a problem means.
    ///
    /// # Errors
    ///
    /// [`ClientError::Problem`] with the code `not-found` if there is none.
    pub async fn problem_meaning(&self, code: &str) -> Result<ProblemMeaning, ClientError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if code.is_empty() || !code.bytes().all(plain) {
            let reason = "a code has letters, digits and hyphens only".to_owned();
            return Err(ClientError::Request { reason });
        }
        let url = format!("{}/problems/{code}", self.url);
        self.json(self.http.get(url)).await
    }

    /// The description of the platform's API, OpenAPI 3.1.
    ///
    /// # Errors
    ///
    /// If the platform cannot be reached, or does not answer as one does.
    pub async fn description(&self) -> Result<serde_json::Value, ClientError> {
        let url = format!("{}/v1/openapi.json", self.url);
        self.json(self.http.get(url)).await
    }
}
