//! Erasure of all that the acting user owns.

use reqwest::Method;

use super::{Client, ClientError};
use crate::api::{ErasedView, ErasuresView, NotErased, OwnedDocument, OwnedView};
use crate::record::Identifier;

impl Client {
    /// What a user owns, and the first `limit` documents of it.
    ///
    /// # Errors
    ///
    /// What the platform says.
    pub async fn owned(&self, user: &Identifier, limit: usize) -> Result<OwnedView, ClientError> {
        let request = self.request(Method::GET, &["users", user.as_str(), "owned"]);
        self.json(request.query(&[("limit", limit)])).await
    }

    /// Erases `limit` documents of all that the acting user owns. What is erased is not owned any more: call it until nothing remains. With
    /// [`Client::once`] each call needs a key of its own.
    ///
    /// # Errors
    ///
    /// What the platform or the record says, if nothing could be erased; [`ClientError::NotWhatWasMeant`] before anything else is signed.
    pub async fn erase_owned(&self, limit: usize) -> Result<ErasedView, ClientError> {
        let user = self.user()?.user;
        let path = ["users", user.as_str(), "owned", "erase"];
        let request = self.request(Method::POST, &path).query(&[("limit", limit)]);
        let response = self.send(request).await?;
        let status = response.status().as_u16();
        let bytes = self.bytes(response).await?;
        if status != 202 {
            return serde_json::from_slice(&bytes).map_err(|e| self.answer(&e));
        }
        let prepared: ErasuresView = serde_json::from_slice(&bytes).map_err(|e| self.answer(&e))?;
        let (mut erased, mut not_erased, mut first) = (Vec::new(), Vec::new(), None);
        for erasure in prepared.erasures {
            let (dataset, document) = (erasure.dataset, erasure.document);
            let asked = || format!("the erasure of {dataset}/{document}");
            let signed = self.sign_change(&erasure.change, asked, |it| {
                self.is_erasure(it, &dataset, &document, None)
            });
            match signed.await {
                Ok(_) => erased.push(OwnedDocument { dataset, document }),
                // Somebody else was faster.
                Err(ClientError::Problem { code, .. }) if code == "erased" => {
                    erased.push(OwnedDocument { dataset, document });
                }
                Err(e) if e.is_refusal() => {
                    not_erased.push(NotErased {
                        dataset,
                        document,
                        code: e.code().to_owned(),
                        detail: e.to_string(),
                    });
                    first.get_or_insert(e);
                }
                Err(e) => return Err(e),
            }
        }
        if let Some(e) = first
            && erased.is_empty()
        {
            return Err(e);
        }
        let gone = erased.len() as u64;
        Ok(ErasedView {
            erased,
            not_erased,
            remaining: prepared.remaining.saturating_sub(gone),
        })
    }
}
