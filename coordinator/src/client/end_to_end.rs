//! Reads that are opened here (`docs/protocol/end-to-end-read.md`): the platform passes on what it cannot open, and is believed in nothing.
//!
//! 1. The version's write, proven to be on the record ([`ProvenVersion`]).
//! 2. An ephemeral key for this read alone. The platform prepares the transaction `read`; it is signed if it names this version, this
//!    wrapped key and this ephemeral key.
//! 3. The nodes' shares, passed on by the platform or asked for from here, open the document key: the wrapped key commits to it, so no
//!    other comes out, whoever made the shares.
//!    If the latest version was asked for, the same answer proves that it was this one when the read came onto the record.
//! 4. The document key opens the body key, which is bound to name, length and checksum, and the pointer.
//! 5. The sealed body, held against the checksum that its author signed and decrypted block by block ([`super::sealed`]).
//!
//! What it gives the platform to know: who reads which version when, as in every read, and where the body lies.

use std::path::Path;

use certs::checkpoint::NoteKey;
use cryptonode::client::{ClientIdentity, ClientOptions};
use cryptonode::randomness;
use reencrypt::{EphemeralSecret, Opening, Progress, SecretBytes, VerifiedWrappedKey};
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWrite;

use super::check::Meant;
use super::proven::ProvenVersion;
use super::sealed::Sealed;
use super::transfer::{Counted, beside, publish};
use super::{Client, ClientError, GetOptions, Got};
use crate::api::{PreparedView, ProofView, SharesView};
use crate::envelope::DocumentKey;
use crate::platform::now_ms;
use crate::record::{Body, DocumentName, Identifier, SignedTransaction, UnsignedTransaction};

/// How often the latest version is looked for while others write.
const TRIES: usize = 3;

/// A version that can be decrypted here.
struct Opened {
    version: ProvenVersion,
    sealed: Sealed,
    read: uuid::Uuid,
}

impl Client {
    /// Pins the organisations' keys by which end-to-end reads are checked against the record: the lines of `verifiers.txt`, got from the
    /// organisations themselves.
    pub fn pin_organisations(&mut self, keys: Vec<NoteKey>) {
        self.organisations = keys;
    }

    /// Reads a document and decrypts it here; the platform has neither its keys nor its plaintext. Nothing is released before the
    /// whole sealed body was held against the record; until then it lies, sealed, in a temporary file. Of a range, the blocks are verified
    /// by their tags (`docs/protocol/envelope.md` section 8).
    ///
    /// # Errors
    ///
    /// [`ClientError::NoVerifiers`] without [`Client::pin_organisations`]; [`ClientError::NotEndToEnd`] for what is under no cluster's
    /// key; [`ClientError::NotProven`], [`ClientError::NotWhatWasMeant`], [`ClientError::Shares`] or [`ClientError::Envelope`] if
    /// anything is not what the record says; otherwise as [`Client::get`].
    pub async fn get_end_to_end(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        options: GetOptions<'_>,
        destination: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Got, ClientError> {
        let opened = self.open(dataset, document, &options).await?;
        let mut counted = Counted::default();
        let sealed = &opened.sealed;
        match options
            .range
            .map(|range| range.within(opened.version.write().length))
        {
            Some(Some(range)) => {
                sealed
                    .range(self, range, destination, &mut counted, options.on_progress)
                    .await?;
            }
            _ => {
                sealed
                    .checked(self, destination, &mut counted, options.on_progress)
                    .await?;
            }
        }
        Ok(self.got(opened, counted).await)
    }

    /// Reads a document end to end into a file, which appears under its name when it is complete and verified; an older file stays until
    /// then.
    ///
    /// # Errors
    ///
    /// As [`Client::get_end_to_end`]; nothing is left behind.
    pub async fn get_end_to_end_to_file(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        options: GetOptions<'_>,
        path: &Path,
    ) -> Result<Got, ClientError> {
        let (temporary, mut file) = beside(path)?;
        let got = if options.range.is_some() {
            self.get_end_to_end(dataset, document, options, &mut file)
                .await?
        } else {
            let opened = self.open(dataset, document, &options).await?;
            let mut counted = Counted::default();
            // Nobody sees the file before the checksum is known to be right.
            opened
                .sealed
                .unreleased(self, &mut file, &mut counted, options.on_progress)
                .await?;
            self.got(opened, counted).await
        };
        publish(temporary, &file, path).await?;
        Ok(got)
    }

    /// The proof of a version, verified.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoVerifiers`], [`ClientError::NotProven`], [`ClientError::NotWhatWasMeant`], or what the platform says.
    pub async fn prove_version(
        &self,
        document: &DocumentName,
        version: Option<u64>,
    ) -> Result<ProvenVersion, ClientError> {
        if self.organisations.is_empty() {
            return Err(ClientError::NoVerifiers);
        }
        let number = version.map_or_else(|| "latest".to_owned(), |number| number.to_string());
        let path = self.document_path(document);
        let path = [path.as_str(), "versions", &number, "proof"];
        let mut request = self.request(Method::GET, &path);
        if document.tenant != *self.tenant() {
            request = request.query(&[("reader", self.user()?.user.as_str())]);
        }
        let proof: ProofView = self.json(request).await?;
        let proven = ProvenVersion::verify(&proof, &self.organisations, document, version)?;
        if let Some(pinned) = self.ledger {
            super::check::same(
                "the ledger",
                &hex::encode(pinned),
                &hex::encode(proven.ledger()),
            )?;
        }
        Ok(proven)
    }

    /// Steps 1 to 4; anew if the version was the latest when it was looked for, and was not any more when the read came onto the record.
    async fn open(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        options: &GetOptions<'_>,
    ) -> Result<Opened, ClientError> {
        for _ in 1..TRIES {
            match self.open_once(dataset, document, options).await {
                Err(ClientError::NotLatest { .. }) => {}
                other => return other,
            }
        }
        self.open_once(dataset, document, options).await
    }

    async fn open_once(
        &self,
        dataset: &Identifier,
        document: &Identifier,
        options: &GetOptions<'_>,
    ) -> Result<Opened, ClientError> {
        let document = self.document_name(dataset, document, options);
        let version = self.prove_version(&document, options.version).await?;
        let length = version.write().length;
        if options
            .range
            .is_some_and(|range| range.within(length).is_none())
        {
            return Err(ClientError::Range { length });
        }
        let wrapped = version.wrapped_key()?;
        let ephemeral = EphemeralSecret::new(&wrapped, &mut randomness::system());
        // Drawn for this read, if the tenant does not ask for a client that it knows: the nodes see somebody whom they never saw before.
        let identity = || match options.client_key {
            Some(pem) => ClientIdentity::from_pem(pem),
            None => ClientIdentity::generate(),
        };
        let own = options.ask_nodes.then(identity).transpose();
        let own = own.map_err(|e| ClientError::Io {
            action: "have a key towards the crypto nodes".into(),
            source: std::io::Error::other(e),
        })?;
        let (read, signed) = self
            .prepare(&version, &wrapped, &ephemeral, own.as_ref())
            .await?;
        let answer: SharesView = self
            .json(
                self.request(Method::POST, &["reads", &read.to_string(), "shares"])
                    .body(signed.as_bytes().to_vec()),
            )
            .await?;
        if options.version.is_none() {
            let name = || version.name().to_string();
            let standing = answer.standing.as_ref();
            let standing =
                standing.ok_or_else(|| ClientError::LatestNotProven { version: name() })?;
            version.is_latest(standing, &signed, &self.organisations)?;
        }
        let secret = match own {
            None => open_with(&answer, wrapped, ephemeral)?,
            Some(identity) => ask_nodes(&answer, identity, wrapped, ephemeral).await?,
        };
        let document_key = DocumentKey::from_slice(secret.expose());
        let key = document_key.ok_or_else(|| ClientError::Shares {
            reason: "what was wrapped is no document key".to_owned(),
        })?;

        let (name, body, write) = (version.name(), version.body(), version.write());
        let body_key = key.unwrap_body_key(&write.wrapped_dek1, name, &body)?;
        let stored = match &write.body {
            Body::OnLedger(bytes) => super::sealed::Stored::OnRecord(bytes.clone()),
            Body::OffChain { pointer } => super::sealed::Stored::AtPlatform {
                read: hex::encode(signed.id()),
                pointer: hex::encode(key.open_pointer(pointer, name, &body)?),
            },
        };
        let sealed = Sealed::new(stored, body_key.body_key, name.clone(), body);
        Ok(Opened {
            version,
            sealed,
            read,
        })
    }

    /// Step 2: the transaction, checked and signed.
    async fn prepare(
        &self,
        version: &ProvenVersion,
        wrapped: &VerifiedWrappedKey,
        ephemeral: &EphemeralSecret,
        own: Option<&ClientIdentity>,
    ) -> Result<(uuid::Uuid, SignedTransaction), ClientError> {
        let (reader, key) = (self.user()?, self.own_key()?);
        let name = version.name();
        let asked = json!({
            "reader": reader.user, "version": name.version,
            "ephemeral_key": hex::encode(ephemeral.public().as_bytes()),
            "client_spki": own.map(|identity| hex::encode(identity.spki())),
        });
        let path = self.document_path(&name.document_name());
        let request = self.request(Method::POST, &[path.as_str(), "reads"]);
        let prepared: PreparedView = self.json(request.json(&asked)).await?;
        let unsigned =
            UnsignedTransaction::from_bytes(&prepared.transaction).map_err(|e| self.answer(&e))?;
        let meant = Meant {
            ledger: Some(version.ledger()),
            author: &reader,
            tenant: &name.tenant,
            dataset: &name.dataset,
            document: &name.document,
            version: Some(name.version),
            now_ms: now_ms(),
        };
        meant.check_end_to_end_read(&unsigned, wrapped, ephemeral.public(), own)?;
        Ok((prepared.id, unsigned.sign(key)))
    }

    async fn got(&self, opened: Opened, counted: Counted) -> Got {
        let Opened { version, read, .. } = opened;
        Got {
            version: version.name().version,
            length: counted.length,
            sha256: counted.sha256(),
            report: self.read_report(read).await.ok(),
            verified: Some(version.verified().clone()),
        }
    }
}

/// Step 3, with the shares that the platform passed on.
fn open_with(
    answer: &SharesView,
    wrapped: VerifiedWrappedKey,
    ephemeral: EphemeralSecret,
) -> Result<SecretBytes, ClientError> {
    let refused = |reason: String| ClientError::Shares { reason };
    let cluster = cluster(answer)?;
    let opening = Opening::new(wrapped, ephemeral, cluster.package().clone());
    let mut opening = opening.map_err(|e| refused(e.to_string()))?;
    for share in &answer.shares {
        // The first two bytes say whose it is, little-endian; the opening holds that against the proof.
        let index = share
            .0
            .first_chunk()
            .map_or(0, |it| u16::from_le_bytes(*it));
        match opening.add(index, &share.0) {
            Progress::Opened(secret) => return Ok(secret),
            Progress::InvalidWrappedKey => {
                let reason = "its writer made it so that nobody can open it";
                return Err(refused(reason.to_owned()));
            }
            Progress::Need(_) | Progress::Finished => {}
        }
    }
    let needed = cluster.package().threshold();
    let mut reason = format!(
        "{} came, {needed} good ones are needed",
        answer.shares.len()
    );
    for culprit in opening.culprits() {
        reason = format!("{reason}; node {}: {}", culprit.index, culprit.reason);
    }
    Err(refused(reason))
}

/// Step 3, from the nodes themselves.
async fn ask_nodes(
    answer: &SharesView,
    identity: ClientIdentity,
    wrapped: VerifiedWrappedKey,
    ephemeral: EphemeralSecret,
) -> Result<SecretBytes, ClientError> {
    let refused = |reason: String| ClientError::Shares { reason };
    let approvals = answer.approvals.iter().map(|it| it.0.clone()).collect();
    let nodes =
        cryptonode::client::Client::new(cluster(answer)?, identity, ClientOptions::default());
    let nodes = nodes.map_err(|e| refused(e.to_string()))?;
    let opened = nodes.open(wrapped, ephemeral, approvals).await;
    nodes.close().await;
    opened.result.map_err(|e| refused(e.to_string()))
}

fn cluster(answer: &SharesView) -> Result<cryptonode::client::Cluster, ClientError> {
    let refused = |reason: String| ClientError::Shares { reason };
    let descriptor = answer.cluster.descriptor();
    let descriptor =
        descriptor.ok_or_else(|| refused("the cluster's description cannot be read".to_owned()))?;
    descriptor.check().map_err(|e| refused(e.to_string()))
}
