//! A version's document key, wrapped anew under the cluster key that its dataset has now.
//!
//! The owner configures the dataset with the new cluster key first; later writes are under it. What was written before is wrapped anew
//! version by version, each by its owner's signature:
//!
//! 1. *A read*, as any other: the transaction `read` goes to the owner to be signed, with an ephemeral key of the platform's that was made for
//!    this alone. Each organisation approves it, the old cluster opens the document key to the platform. So the record, and the logs of the
//!    nodes, show that the platform had the key. What is under the platform's own keys needs no such read.
//! 2. *The rewrap*: the platform sees that the document key opens the version's body key, wraps it under the new cluster key, and gives
//!    the transaction `rewrap` to the owner to be signed. The body is not touched.
//!
//! Nothing is remembered between the two but in memory: whoever is interrupted begins that version again, and which versions are still to be
//! done is on the record.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::read::{self, report_of};
use super::write::wrap_for_cluster;
use super::{Platform, PlatformError, PreparedTransaction, ReadRequest};
use crate::envelope::{DocumentKey, SealedBody};
use crate::record::{
    DatasetName, DocumentVersion, Encryption, Identifier, KeyWrapping, Receipt, RecordError,
    Rejection, Rewrap, Role, SignedTransaction, Transaction, TransactionId, UnsignedTransaction,
    UserName, VersionName,
};

/// Which version is to be wrapped anew.
#[derive(Debug, Clone)]
pub struct RewrapRequest {
    /// The dataset.
    pub dataset: DatasetName,
    /// The document.
    pub document: Identifier,
    /// The version.
    pub version: u64,
    /// The owner who will sign.
    pub author: UserName,
}

/// What follows a signed step.
#[derive(Debug, Clone)]
pub enum RewrapStep {
    /// Another one to sign.
    Next(Box<PreparedTransaction>),
    /// It is on the record.
    Done(Receipt),
}

/// What waits.
pub(super) enum Waiting {
    /// For the read.
    Read(Box<read::Waiting>, UserName),
    /// For the rewrap.
    Rewrap(TransactionId),
}

impl Waiting {
    fn transaction(&self) -> TransactionId {
        match self {
            Self::Read(read, _) => read.transaction,
            Self::Rewrap(transaction) => *transaction,
        }
    }
}

impl Platform {
    /// The first step for a version.
    ///
    /// # Errors
    ///
    /// What the record would refuse in any case.
    pub async fn prepare_rewrap(
        &self,
        request: RewrapRequest,
    ) -> Result<PreparedTransaction, PlatformError> {
        let RewrapRequest {
            dataset,
            document,
            version,
            author,
        } = request;
        if !self
            .record
            .with_state(|state| state.allows(&author, &dataset, Role::Owner))
        {
            let (user, role) = (author, Role::Owner);
            return Err(RecordError::from(Rejection::NotPermitted {
                user,
                role,
                dataset,
            })
            .into());
        }
        let (waiting, transaction) = self.look_up(ReadRequest {
            dataset,
            document,
            version: Some(version),
            reader: author.clone(),
        })?;
        let tenant = waiting.name.tenant.clone();
        if waiting.threshold.is_some() {
            self.target(&waiting.name, &waiting.content.key)?;
            return self.waits(
                &tenant,
                Waiting::Read(Box::new(waiting), author),
                transaction,
            );
        }
        let key = match &waiting.content.key {
            KeyWrapping::Platform { wrapped_key } => {
                self.open_for_platform(wrapped_key, &waiting.name).await?
            }
            _ => return Err(self.not_wrapped(&waiting.name, "none")),
        };
        self.wrapped_anew(&waiting.name, &waiting.version, &key, author)
    }

    /// A signed step.
    ///
    /// # Errors
    ///
    /// [`PlatformError::NotWaiting`], [`PlatformError::OtherTransaction`]; for a read what can go wrong with one; or the record's refusal. A
    /// step that failed is used up, unless it was signed wrongly.
    pub async fn commit_rewrap(
        self: &Arc<Self>,
        tenant: &Identifier,
        id: Uuid,
        signed: SignedTransaction,
    ) -> Result<RewrapStep, PlatformError> {
        let waiting = self
            .rewraps
            .take(id, tenant.as_str(), Instant::now())
            .ok_or(PlatformError::NotWaiting)?;
        if signed.id() != waiting.what().transaction() {
            self.rewraps.put_back(id, waiting);
            return Err(PlatformError::OtherTransaction);
        }
        match waiting.into_inner() {
            Waiting::Rewrap(_) => Ok(RewrapStep::Done(self.submit(signed).await?)),
            Waiting::Read(read, author) => {
                let _turn = self.turn(tenant).await?;
                let mut report = report_of(id, &read, None);
                let read::Waiting {
                    transaction,
                    name,
                    version,
                    threshold,
                    ..
                } = *read;
                let threshold = threshold.ok_or_else(|| self.not_wrapped(&name, "none"))?;
                self.put_on_record(signed).await?;
                let approvals = self.approvals(transaction, &mut report).await?;
                let key = self.ask_cluster(threshold, approvals, None, &mut report);
                let key = key.await?;
                self.wrapped_anew(&name, &version, &key, author)
                    .map(|next| RewrapStep::Next(Box::new(next)))
            }
        }
    }

    /// Step 2.
    fn wrapped_anew(
        &self,
        name: &VersionName,
        version: &DocumentVersion,
        key: &DocumentKey,
        author: UserName,
    ) -> Result<PreparedTransaction, PlatformError> {
        let content = version.content.as_ref();
        let content = content.ok_or_else(|| self.not_wrapped(name, "erased"))?;
        // What does not open the body is not wrapped: the wrapped key that is there might still.
        let body = SealedBody {
            checksum: version.checksum,
            length: version.length,
        };
        key.unwrap_body_key(&content.wrapped_dek1, name, &body)?;
        let public_key = self.target(name, &content.key)?;
        let replaces = content.key.digest();
        let rewrap = Rewrap {
            tenant: name.tenant.clone(),
            dataset: name.dataset.clone(),
            document: name.document.clone(),
            version: name.version,
            replaces: replaces.ok_or_else(|| self.not_wrapped(name, "none"))?,
            wrapped_key: wrap_for_cluster(key, &public_key, name, &version.writer)?,
        };
        let transaction = self.unsigned(author, Transaction::Rewrap(rewrap));
        let waiting = Waiting::Rewrap(transaction.id());
        self.waits(&name.tenant, waiting, transaction)
    }

    fn waits(
        &self,
        tenant: &Identifier,
        waiting: Waiting,
        transaction: UnsignedTransaction,
    ) -> Result<PreparedTransaction, PlatformError> {
        let inserted = self
            .rewraps
            .insert(tenant.as_str(), waiting, Instant::now());
        let id = inserted.map_err(|_| PlatformError::Busy)?;
        Ok(PreparedTransaction { id, transaction })
    }

    /// The cluster key that the dataset has now.
    fn target(&self, name: &VersionName, key: &KeyWrapping) -> Result<[u8; 32], PlatformError> {
        let dataset = name.dataset_name();
        let configured = self
            .record
            .with_state(|state| state.dataset(&dataset).map(|it| it.encryption));
        match configured {
            Some(Encryption::Threshold { public_key }) => Ok(public_key),
            _ => Err(self.not_wrapped(
                name,
                match key {
                    KeyWrapping::Platform { .. } => "platform",
                    KeyWrapping::Threshold { .. } => "threshold",
                    KeyWrapping::None => "none",
                },
            )),
        }
    }

    /// The record's own refusal of what cannot be wrapped under a cluster key.
    fn not_wrapped(&self, name: &VersionName, found: &'static str) -> PlatformError {
        let dataset = name.dataset_name();
        let configured =
            self.record.with_state(
                |state| match state.dataset(&dataset).map(|it| it.encryption) {
                    Some(Encryption::Threshold { .. }) => "threshold",
                    Some(Encryption::Platform) => "platform",
                    _ => "none",
                },
            );
        RecordError::from(Rejection::EncryptionMismatch {
            dataset,
            configured,
            found,
        })
        .into()
    }
}
