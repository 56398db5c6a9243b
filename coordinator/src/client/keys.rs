//! The tenant's API keys.

use reqwest::Method;
use serde_json::json;

use super::{Client, ClientError};
use crate::api::IssuedKeyView;
use crate::api::auth::{KeyRecord, Scopes};
use crate::record::Identifier;

impl Client {
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
