//! Writing a document in parts: what the platform has is not sent again, after a cut connection, a restart of the platform, or another run of
//! this program.
//!
//! The source is read piece by piece; a piece that does not arrive is sent again, from where on the platform says. Whoever gives the upload a
//! tag finds it again with the next call: then the source is read from its beginning, for its hash, and sent from the offset on.

use std::time::Duration;

use reqwest::{Method, header};
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use uuid::Uuid;

use super::check::Sent;
use super::{Client, ClientError, OnProgress, Written};
use crate::api::{Page, PartsView, PreparedView, WrittenView};
use crate::record::Identifier;

/// Bytes of a request.
const PIECE: usize = 8 * 1024 * 1024;
/// Attempts without a byte of progress before it is given up.
const ATTEMPTS: u32 = 8;
/// How long to wait after the first of them; twice as long after each.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// How a document is written in parts.
#[derive(Default)]
pub struct PartsOptions {
    /// The version that the writer expects to write; refused if another one comes next.
    pub version: Option<u64>,
    /// Media type; public on the record.
    pub content_type: Option<String>,
    /// A name of the source's own, by which a later call goes on with this upload; at most 128 bytes. It must not stay the same when the source
    /// changes.
    pub tag: Option<String>,
    /// Called with bytes that the platform has, those that it had before included.
    pub on_progress: Option<OnProgress>,
}

/// What is written in parts.
pub trait PartsSource: AsyncRead + Send + Unpin {}
impl<T: AsyncRead + Send + Unpin> PartsSource for T {}

impl Client {
    /// Writes a document in parts: goes on with an upload of this tag if there is one, checks what the platform prepared, signs, and commits.
    ///
    /// # Errors
    ///
    /// As [`Client::put`]. After an error that is no refusal the same call goes on where this one ended.
    pub async fn put_in_parts(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        mut source: impl PartsSource,
        options: PartsOptions,
    ) -> Result<Written, ClientError> {
        let begun = match self.begun(&options.tag).await? {
            Some(begun) => begun,
            None => self.begin_parts(dataset, document, &options).await?,
        };
        let id = begun.id;
        let (mut place, mut digest, mut have) = (0_u64, Sha256::new(), begun.offset);
        let mut piece = vec![0; PIECE];
        loop {
            let length = fill(&mut source, &mut piece).await?;
            let bytes = piece.get(..length).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            digest.update(bytes);
            have = self.deliver(id, place, bytes, have).await?;
            place += length as u64;
            if let Some(on_progress) = &options.on_progress {
                on_progress(length as u64);
            }
        }
        let sha256: [u8; 32] = digest.finalize().into();
        let whole = json!({ "length": place, "sha256": hex::encode(sha256) });
        if self.is_managed() {
            let written: WrittenView = self.complete(id, "content", &whole).await?;
            return Ok(Written {
                version: written.version,
                length: place,
                sha256: hex::encode(sha256),
                checksum: written.checksum,
                receipt: written.receipt,
            });
        }
        let prepared: PreparedView = self.complete(id, "complete", &whole).await?;
        let sent = Sent {
            length: place,
            digest: sha256,
            content_type: options.content_type.as_deref(),
        };
        self.sign_and_commit(dataset, document, options.version, &prepared, &sent)
            .await
    }

    /// The upload of this tag, if there is one.
    async fn begun(&self, tag: &Option<String>) -> Result<Option<PartsView>, ClientError> {
        let Some(tag) = tag else {
            return Ok(None);
        };
        Ok(self.parts(Some(tag)).await?.into_iter().next_back())
    }

    /// The uploads in parts that are not complete, the oldest first; those of one tag, if it is named.
    ///
    /// # Errors
    ///
    /// What the platform says.
    pub async fn parts(&self, tag: Option<&str>) -> Result<Vec<PartsView>, ClientError> {
        let mut request = self.request(Method::GET, &["parts"]);
        if let Some(tag) = tag {
            request = request.query(&[("tag", tag)]);
        }
        let found: Page<PartsView> = self.json(request).await?;
        Ok(found.items)
    }

    /// How far an upload in parts is.
    ///
    /// # Errors
    ///
    /// What the platform says.
    pub async fn parts_status(&self, upload: Uuid) -> Result<PartsView, ClientError> {
        self.json(self.request(Method::GET, &["parts", &upload.to_string()]))
            .await
    }

    /// Sends bytes of an upload in parts, which begin at `offset`; those that are there are passed over.
    ///
    /// # Errors
    ///
    /// What the platform says.
    pub async fn send_part(
        &self,
        upload: Uuid,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<PartsView, ClientError> {
        let request = self.request(Method::PUT, &["parts", &upload.to_string()]);
        let request = request.query(&[("offset", offset)]);
        let request = request.header(header::CONTENT_TYPE, "application/octet-stream");
        self.json(request.body(bytes)).await
    }

    /// Gives up an upload in parts; what there is of it is removed.
    ///
    /// # Errors
    ///
    /// What the platform says.
    pub async fn discard_parts(&self, upload: Uuid) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &["parts", &upload.to_string()]);
        self.send(request).await?;
        Ok(())
    }

    /// Begins an upload in parts of the acting user's.
    ///
    /// # Errors
    ///
    /// What the platform says.
    pub async fn begin_parts(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        options: &PartsOptions,
    ) -> Result<PartsView, ClientError> {
        let path = [
            "datasets",
            dataset.as_str(),
            "documents",
            document.as_str(),
            "parts",
        ];
        let body = json!({
            "author": self.user()?.user, "version": options.version, "content_type": options.content_type, "tag": options.tag,
        });
        self.json(self.request(Method::POST, &path).json(&body))
            .await
    }

    /// Sends those of these bytes, which begin at `place`, that the platform does not have, until it has them.
    async fn deliver(
        &self,
        id: Uuid,
        place: u64,
        bytes: &[u8],
        mut have: u64,
    ) -> Result<u64, ClientError> {
        let end = place + bytes.len() as u64;
        let (mut attempts, mut wait) = (0, FIRST_WAIT);
        while have < end {
            let passed = usize::try_from(have.saturating_sub(place)).unwrap_or(usize::MAX);
            let rest = bytes.get(passed..).unwrap_or_default();
            let now = match self.send_part(id, have.max(place), rest.to_vec()).await {
                Ok(view) => view.offset,
                Err(e) if !passes(&e) || attempts >= ATTEMPTS => return Err(e),
                Err(e) => {
                    tracing::info!(error = %e, "a part did not arrive; trying again");
                    tokio::time::sleep(wait).await;
                    (attempts, wait) = (attempts + 1, wait * 2);
                    match self.parts_status(id).await {
                        Ok(PartsView { offset, .. }) => offset,
                        Err(e) if !passes(&e) => return Err(e),
                        Err(_) => continue,
                    }
                }
            };
            if now < place {
                return Err(self.answer(&"the platform has lost a part of the upload"));
            }
            if now > have {
                (attempts, wait) = (0, FIRST_WAIT);
            }
            have = now;
        }
        Ok(have)
    }

    /// Done again, it gives what it gave before.
    async fn complete<T: DeserializeOwned>(
        &self,
        id: Uuid,
        how: &str,
        whole: &serde_json::Value,
    ) -> Result<T, ClientError> {
        let (mut attempts, mut wait) = (0, FIRST_WAIT);
        let completed = loop {
            let request = self.request(Method::POST, &["parts", &id.to_string(), how]);
            match self.json(request.json(whole)).await {
                Err(e) if passes(&e) && attempts < ATTEMPTS => {
                    tokio::time::sleep(wait).await;
                    (attempts, wait) = (attempts + 1, wait * 2);
                }
                result => break result,
            }
        };
        // The source is not what was sent before: begin again next time.
        if let Err(ClientError::Problem { code, .. }) = &completed
            && matches!(code.as_str(), "parts-differ" | "parts-incomplete")
        {
            let _ = self.discard_parts(id).await;
        }
        completed
    }
}

/// Whether the same request may well succeed a little later.
fn passes(e: &ClientError) -> bool {
    match e {
        ClientError::Unreachable { .. } | ClientError::Answer { .. } => true,
        ClientError::Problem { status, code, .. } => {
            matches!(status, 408 | 502 | 503 | 504)
                || matches!(
                    code.as_str(),
                    "rate-limited" | "upload-broken-off" | "parts-gap" | "parts-overtaken"
                )
        }
        _ => false,
    }
}

/// Reads until the buffer is full or the source ends.
async fn fill(source: &mut impl PartsSource, buffer: &mut [u8]) -> Result<usize, ClientError> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let read = source.read(rest).await.map_err(|source| ClientError::Io {
            action: "read the document".into(),
            source,
        })?;
        if read == 0 {
            break;
        }
        filled += read;
    }
    Ok(filled)
}
