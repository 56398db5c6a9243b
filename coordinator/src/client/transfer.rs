//! Documents to and from the platform.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _};
use reqwest::{Body, Method, Response};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

use super::check::{Meant, Sent};
use super::proven::Verified;
use super::{Client, ClientError};
use crate::api::{PreparedView, ReceiptView};
use crate::platform::{ByteRange, ReadReport, now_ms};
use crate::record::{DocumentName, Identifier, UnsignedTransaction};

/// Bytes read from a source at once.
const PART_SIZE: usize = 256 * 1024;

/// Called with the bytes moved since the last call.
pub type OnProgress = Box<dyn Fn(u64) + Send + Sync>;

/// How a document is written.
#[derive(Default)]
pub struct PutOptions {
    /// The version that the writer expects to write; refused if another one comes next.
    pub version: Option<u64>,
    /// Media type; public on the record.
    pub content_type: Option<String>,
    /// Called as bytes leave.
    pub on_progress: Option<OnProgress>,
}

/// What of a document is read.
#[derive(Default)]
pub struct GetOptions<'o> {
    /// The version; the latest if absent.
    pub version: Option<u64>,
    /// Which bytes; all if absent.
    pub range: Option<ByteRange>,
    /// The tenant that the dataset belongs to; the client's own if absent.
    pub of_tenant: Option<&'o Identifier>,
    /// In an end-to-end read: ask the crypto nodes from here, and not through the platform.
    pub ask_nodes: bool,
    /// The TLS key (PEM) to ask them with: that of a client which its company has bound to a certificate. One that is drawn for this read, if absent.
    pub client_key: Option<&'o str>,
    /// Called once, with the number of bytes that will come.
    pub on_length: Option<&'o OnProgress>,
    /// Called as bytes arrive.
    pub on_progress: Option<&'o OnProgress>,
}

/// A document that is on the record.
#[derive(Debug, Clone, Serialize)]
pub struct Written {
    /// The version.
    pub version: u64,
    /// Bytes of plaintext.
    pub length: u64,
    /// SHA-256 over the plaintext, hexadecimal.
    pub sha256: String,
    /// SHA-256 over the stored body, hexadecimal.
    pub checksum: String,
    /// The transaction.
    pub receipt: ReceiptView,
}

/// A document that was read.
#[derive(Debug, Clone, Serialize)]
pub struct Got {
    /// The version.
    pub version: u64,
    /// Bytes that arrived.
    pub length: u64,
    /// SHA-256 over what arrived, hexadecimal.
    pub sha256: String,
    /// What happened, if the platform still told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<ReadReport>,
    /// What was verified against the record, if the document was opened here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
}

#[derive(Default)]
pub(super) struct Counted {
    pub(super) length: u64,
    digest: Sha256,
}

impl Counted {
    pub(super) fn take(&mut self, part: &[u8]) {
        self.length += part.len() as u64;
        self.digest.update(part);
    }

    /// Of what was taken, hexadecimal.
    pub(super) fn sha256(self) -> String {
        hex::encode(self.digest.finalize())
    }
}

/// A document on its way out.
pub(super) struct Outgoing {
    counted: Arc<Mutex<Counted>>,
    failure: Arc<Mutex<Option<std::io::Error>>>,
}

impl Outgoing {
    /// A body that is counted and hashed as it leaves.
    pub(super) fn of(
        source: impl AsyncRead + Send + 'static,
        on_progress: Option<OnProgress>,
    ) -> (Self, Body) {
        let counted = Arc::new(Mutex::new(Counted::default()));
        let failure: Arc<Mutex<Option<std::io::Error>>> = Arc::default();
        let (count, failed) = (counted.clone(), failure.clone());
        let body = ReaderStream::with_capacity(source, PART_SIZE)
            .inspect_ok(move |part| {
                let mut counted = count.lock().unwrap_or_else(PoisonError::into_inner);
                counted.take(part);
                if let Some(on_progress) = &on_progress {
                    on_progress(part.len() as u64);
                }
            })
            .map_err(move |e| {
                let told = std::io::Error::new(e.kind(), e.to_string());
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
                told
            });
        (Self { counted, failure }, Body::wrap_stream(body))
    }

    /// Whether the source could be read to its end.
    pub(super) fn read(&self) -> Result<(), ClientError> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.take() {
            None => Ok(()),
            Some(source) => Err(ClientError::Io {
                action: "read the document".into(),
                source,
            }),
        }
    }

    /// How many bytes left, and their digest.
    pub(super) fn sent(&self) -> (u64, [u8; 32]) {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        (counted.length, counted.digest.clone().finalize().into())
    }
}

impl Client {
    /// Writes a document: sends it, checks what the platform prepared, signs, and commits.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotWhatWasMeant`] before anything is signed; otherwise what the platform or the source says.
    pub async fn put(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        source: impl AsyncRead + Send + 'static,
        options: PutOptions,
    ) -> Result<Written, ClientError> {
        if self.is_managed() {
            return self.put_managed(dataset, document, source, options).await;
        }
        let author = self.user()?;
        let (outgoing, body) = Outgoing::of(source, options.on_progress);
        let path = [
            "datasets",
            dataset.as_str(),
            "documents",
            document.as_str(),
            "uploads",
        ];
        let mut request = self
            .request(Method::POST, &path)
            .query(&[("author", author.user.as_str())]);
        if let Some(version) = options.version {
            request = request.query(&[("version", version)]);
        }
        if let Some(content_type) = &options.content_type {
            request = request.header(reqwest::header::CONTENT_TYPE, content_type);
        }
        let prepared = self.json::<PreparedView>(request.body(body)).await;
        outgoing.read()?;
        let prepared = prepared?;
        let (length, digest) = outgoing.sent();
        let sent = Sent {
            length,
            digest,
            content_type: options.content_type.as_deref(),
        };
        self.sign_and_commit(dataset, document, options.version, &prepared, &sent)
            .await
    }

    /// Checks what the platform prepared for what was sent, signs it, and puts it onto the record.
    pub(super) async fn sign_and_commit(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        version: Option<u64>,
        prepared: &PreparedView,
        sent: &Sent<'_>,
    ) -> Result<Written, ClientError> {
        let (author, key) = (self.user()?, self.own_key()?);
        let unsigned =
            UnsignedTransaction::from_bytes(&prepared.transaction).map_err(|e| self.answer(&e))?;
        let meant = Meant {
            ledger: Some(self.ledger().await?),
            author: &author,
            tenant: self.tenant(),
            dataset,
            document,
            version,
            now_ms: now_ms(),
        };
        let upload = prepared.id.to_string();
        let (version, checksum) = match meant.check_write(&unsigned, sent) {
            Ok(write) => (write.version, hex::encode(write.checksum)),
            Err(e) => {
                self.give_up(&upload).await;
                return Err(e);
            }
        };
        let signed = unsigned.sign(key);
        let commit = self
            .request(Method::POST, &["uploads", &upload])
            .body(signed.as_bytes().to_vec());
        let receipt = match self.json(commit).await {
            Ok(receipt) => receipt,
            Err(e) => {
                if e.is_refusal() {
                    self.give_up(&upload).await;
                }
                return Err(e);
            }
        };
        Ok(Written {
            version,
            length: sent.length,
            sha256: hex::encode(sent.digest),
            checksum,
            receipt,
        })
    }

    /// The body of an upload is of no use to anybody; if this fails too, the platform gives it up in time.
    async fn give_up(&self, upload: &str) {
        let _ = self
            .send(self.request(Method::DELETE, &["uploads", upload]))
            .await;
    }

    /// Gives up an upload that was prepared and will not be signed; its body is removed. The platform gives it up in time, too.
    ///
    /// # Errors
    ///
    /// What the platform says; with the code `not-prepared` if it is not there.
    pub async fn discard_upload(&self, upload: uuid::Uuid) -> Result<(), ClientError> {
        let path = ["uploads", &upload.to_string()];
        self.send(self.request(Method::DELETE, &path)).await?;
        Ok(())
    }

    /// Reads a document into `destination`, the latest version if none is named.
    ///
    /// # Errors
    ///
    /// What the platform, the record, the organisations or the nodes say; [`ClientError::BrokenOff`] if it ended early, and
    /// [`ClientError::Altered`] if it is not what the record says, as far as that can be seen from here: the length, and where
    /// nothing is encrypted the checksum.
    pub async fn get(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        version: Option<u64>,
        destination: &mut (impl AsyncWrite + Unpin),
        on_progress: Option<&OnProgress>,
    ) -> Result<Got, ClientError> {
        let options = GetOptions {
            version,
            on_progress,
            ..GetOptions::default()
        };
        self.get_with(dataset, document, options, destination).await
    }

    /// The same, of certain bytes of a document too.
    ///
    /// # Errors
    ///
    /// As [`Client::get`]; if the document has none of those bytes, [`ClientError::Problem`] with the code `range-not-satisfiable`.
    pub async fn get_with(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        options: GetOptions<'_>,
        destination: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Got, ClientError> {
        if self.is_managed() {
            return self
                .get_managed(dataset, document, options, destination)
                .await;
        }
        let name = self.document_name(dataset, document, &options);
        let GetOptions { version, range, .. } = options;
        let (reader, key) = (self.user()?, self.own_key()?);
        let ledger = self.ledger().await?;
        let path = self.document_path(&name);
        let path = [path.as_str(), "reads"];
        let asked = json!({ "reader": reader.user, "version": version });
        let prepared: PreparedView = self
            .json(self.request(Method::POST, &path).json(&asked))
            .await?;
        let unsigned =
            UnsignedTransaction::from_bytes(&prepared.transaction).map_err(|e| self.answer(&e))?;
        let meant = Meant {
            ledger: Some(ledger),
            author: &reader,
            tenant: &name.tenant,
            dataset,
            document,
            version,
            now_ms: now_ms(),
        };
        let version = meant.check_read(&unsigned)?.version;
        let signed = unsigned.sign(key);
        let read = prepared.id.to_string();
        let commit = self
            .request(Method::POST, &["reads", &read])
            .body(signed.as_bytes().to_vec());
        let commit = match range {
            Some(range) => commit.header(reqwest::header::RANGE, range.header()),
            None => commit,
        };
        let response = self.send(commit).await?;
        let options = GetOptions {
            version: Some(version),
            ..options
        };
        self.arriving(response, prepared.id, options, destination)
            .await
    }

    /// Takes a document in and holds it against the report of its read.
    pub(super) async fn arriving(
        &self,
        response: Response,
        read: uuid::Uuid,
        options: GetOptions<'_>,
        destination: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Got, ClientError> {
        let GetOptions {
            version,
            range,
            on_length,
            on_progress,
            ..
        } = options;
        let expected = response
            .content_length()
            .ok_or_else(|| self.answer(&"a document without a length"))?;
        if let Some(on_length) = on_length {
            on_length(expected);
        }

        let mut counted = Counted::default();
        let received = self
            .receive(response, destination, &mut counted, on_progress)
            .await;
        // The report says why a document broke off.
        let report = self.read_report(read).await;
        let broken = |reason: String| ClientError::BrokenOff {
            received: counted.length,
            expected,
            reason,
        };
        match received {
            Err(ClientError::Answer { reason, .. }) => {
                return Err(broken(report.map_or(reason, |report| report.outcome)));
            }
            Err(e) => return Err(e),
            Ok(()) if counted.length != expected => {
                return Err(broken("the connection was closed".into()));
            }
            Ok(()) => {}
        }
        let report = report.ok();
        let sha256 = counted.sha256();
        if let Some(report) = &report {
            as_recorded(report, range, expected, &sha256)?;
        }
        let version = version.or_else(|| report.as_ref().map(|report| report.version));
        Ok(Got {
            version: version.unwrap_or_default(),
            length: expected,
            sha256,
            report,
            verified: None,
        })
    }

    /// The document that is meant.
    pub(super) fn document_name(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        options: &GetOptions<'_>,
    ) -> DocumentName {
        DocumentName {
            tenant: options.of_tenant.unwrap_or(self.tenant()).clone(),
            dataset: dataset.clone(),
            document: document.clone(),
        }
    }

    /// Where it is, below the client's own tenant.
    pub(super) fn document_path(&self, name: &DocumentName) -> String {
        let DocumentName {
            tenant,
            dataset,
            document,
        } = name;
        let within = format!("datasets/{dataset}/documents/{document}");
        if tenant == self.tenant() {
            within
        } else {
            format!("shared/{tenant}/{within}")
        }
    }

    /// Reads a document into a file, which appears under its name when it is complete; an older file stays until then.
    ///
    /// # Errors
    ///
    /// As [`Client::get`]; nothing is left behind.
    pub async fn get_to_file(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        options: GetOptions<'_>,
        path: &Path,
    ) -> Result<Got, ClientError> {
        let (temporary, mut file) = beside(path)?;
        let got = self.get_with(dataset, document, options, &mut file).await?;
        publish(temporary, &file, path).await?;
        Ok(got)
    }

    /// Takes an answer in as it comes.
    pub(super) async fn receive(
        &self,
        response: Response,
        destination: &mut (impl AsyncWrite + Unpin),
        counted: &mut Counted,
        on_progress: Option<&OnProgress>,
    ) -> Result<(), ClientError> {
        let failed = |source| ClientError::Io {
            action: "write the document".into(),
            source,
        };
        let mut parts = response.bytes_stream();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|e| self.answer(&super::innermost(&e)))?;
            destination.write_all(&part).await.map_err(failed)?;
            counted.take(&part);
            if let Some(on_progress) = on_progress {
                on_progress(part.len() as u64);
            }
        }
        destination.flush().await.map_err(failed)
    }
}

/// Whether what arrived is what the record says.
fn as_recorded(
    report: &ReadReport,
    range: Option<ByteRange>,
    received: u64,
    sha256: &str,
) -> Result<(), ClientError> {
    let asked = match range {
        Some(range) => range.within(report.length).unwrap_or(0..0),
        None => 0..report.length,
    };
    let expected = asked.end - asked.start;
    if expected != received {
        return Err(ClientError::BrokenOff {
            received,
            expected,
            reason: "the record says that it is longer or shorter".into(),
        });
    }
    let whole = expected == report.length;
    if whole && report.encryption == "none" && report.checksum != sha256 {
        return Err(ClientError::Altered {
            expected: report.checksum.clone(),
            found: sha256.to_owned(),
        });
    }
    Ok(())
}

/// A temporary file in the folder of `path`, which is removed when it is dropped.
pub(super) fn beside(path: &Path) -> Result<(NamedTempFile, File), ClientError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |source| ClientError::Io {
        action: format!("write {}", path.display()),
        source,
    };
    // Nobody should read in vain: a read is for ever on the record.
    if path.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    let temporary = NamedTempFile::new_in(parent).map_err(failed)?;
    let file = File::from_std(temporary.reopen().map_err(failed)?);
    Ok((temporary, file))
}

/// Makes a temporary file durable and gives it its name.
pub(super) async fn publish(
    temporary: NamedTempFile,
    file: &File,
    path: &Path,
) -> Result<(), ClientError> {
    let failed = |source| ClientError::Io {
        action: format!("write {}", path.display()),
        source,
    };
    file.sync_all().await.map_err(failed)?;
    temporary.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}
