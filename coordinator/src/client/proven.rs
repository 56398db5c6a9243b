//! What a reader who trusts no platform knows of a version: what its write says, once it is proven to be on the record.
//!
//! 1. A quorum of the organisations whose keys were given signed the head, and the write is under it, for the ledger that the head is of.
//!    The record takes a write only with its author's signature and permission, and each version of a document once.
//! 2. It is the write of the document, and of the version if one was asked for.
//! 3. It is under a cluster's key, the wrapped key's proof holds, and its label names this very write: so what the nodes re-encrypt is
//!    this version's key and no other's.
//!
//! Which version is the latest, such a proof does not say. That is proven when the read is on the record ([`ProvenVersion::is_latest`]): the document's
//! row in the state stands under the same head as the reader's own read, so the head is no older than that.

use certs::checkpoint::NoteKey;
use certs::log_proof::InclusionLines;
use cryptonode::randomness;
use reencrypt::{VerifiedWrappedKey, WrappedKey};
use serde::Serialize;

use super::ClientError;
use super::check::{differs, same};
use crate::api::{ProofView, StandingView};
use crate::envelope::SealedBody;
use crate::record::audit::ProvenHead;
use crate::record::{
    Author, DocumentName, KeyWrapping, LedgerId, SignedTransaction, Transaction, UserName,
    VersionName, Write, label::wrapped_key_label,
};

/// What was verified of a version, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Who wrote the version, `tenant/user`.
    pub writer: String,
    /// The transaction that wrote it, hexadecimal.
    pub transaction_id: String,
    /// Its position on the record, from 0.
    pub position: u64,
    /// Number of transactions under the head that proves it.
    pub size: u64,
    /// The organisations that signed the head.
    pub signed_by: Vec<String>,
    /// SHA-256 over the sealed body, hexadecimal.
    pub checksum: String,
}

/// A version whose write is on the record: made by [`ProvenVersion::verify`] and in no other way.
#[derive(Debug)]
pub struct ProvenVersion {
    name: VersionName,
    writer: UserName,
    write: Write,
    ledger: LedgerId,
    verified: Verified,
}

impl ProvenVersion {
    /// Verifies a proof against the organisations' keys. Give the keys of all of them; who gives fewer trusts those.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotProven`]; [`ClientError::NotWhatWasMeant`] if what is proven is something else.
    pub fn verify(
        proof: &ProofView,
        keys: &[NoteKey],
        document: &DocumentName,
        version: Option<u64>,
    ) -> Result<Self, ClientError> {
        let (head, row) = proof.verify(keys).map_err(ClientError::NotProven)?;
        let transaction = row.transaction();
        let Transaction::Write(write) = transaction.transaction() else {
            let found = transaction.transaction().kind();
            return Err(differs("the transaction", "write", found));
        };
        let Author::User(writer) = transaction.author() else {
            let found = transaction.author().to_string();
            return Err(differs("the author", "a user", &found));
        };
        let name = write.name();
        same("the document", document, &name.document_name())?;
        if let Some(version) = &version {
            same("the version", version, &name.version)?;
        }
        let verified = Verified {
            writer: writer.to_string(),
            transaction_id: hex::encode(transaction.id()),
            position: row.position(),
            size: head.head().checkpoint.size,
            signed_by: head.signed_by().to_vec(),
            checksum: hex::encode(write.checksum),
        };
        Ok(Self {
            name,
            writer: writer.clone(),
            ledger: transaction.content().ledger,
            write: write.clone(),
            verified,
        })
    }

    /// The version.
    #[must_use]
    pub fn name(&self) -> &VersionName {
        &self.name
    }

    /// The ledger that it is on.
    #[must_use]
    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// What its author signed.
    #[must_use]
    pub fn write(&self) -> &Write {
        &self.write
    }

    /// Verifies that it was the latest version when `read` came onto the record.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotProven`]; [`ClientError::NotLatest`] if there is a later one.
    pub fn is_latest(
        &self,
        standing: &StandingView,
        read: &SignedTransaction,
        keys: &[NoteKey],
    ) -> Result<(), ClientError> {
        let head =
            ProvenHead::verify(&standing.checkpoint, keys).map_err(ClientError::NotProven)?;
        let lines = InclusionLines {
            extra: Some(read.as_bytes().to_vec()),
            index: standing.position,
            proof: standing.path.iter().map(|hash| hash.0).collect(),
        };
        head.row(&lines).map_err(ClientError::NotProven)?;
        let document = standing.document();
        document
            .verify(&self.name.document_name(), head.head())
            .map_err(ClientError::NotProven)?;
        if document.document.latest == self.name.version {
            return Ok(());
        }
        Err(ClientError::NotLatest {
            version: self.name.to_string(),
            latest: document.document.latest,
        })
    }

    /// The same for people.
    #[must_use]
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// What the sealed body must be.
    #[must_use]
    pub fn body(&self) -> SealedBody {
        SealedBody {
            checksum: self.write.checksum,
            length: self.write.length,
        }
    }

    /// The document key as it is wrapped under the cluster's key, verified to be of this very write.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotEndToEnd`] if it is under none; [`ClientError::NotWhatWasMeant`] if it is not of this write.
    pub fn wrapped_key(&self) -> Result<VerifiedWrappedKey, ClientError> {
        let KeyWrapping::Threshold { wrapped_key } = &self.write.key else {
            return Err(ClientError::NotEndToEnd {
                version: self.name.to_string(),
            });
        };
        let wrapped = WrappedKey::parse(wrapped_key)
            .and_then(|wrapped| wrapped.verify(&mut randomness::system()));
        let wrapped = wrapped.map_err(|e| differs("the wrapped key", "valid", &e.to_string()))?;
        let label = wrapped_key_label(&self.name, &self.writer);
        same(
            "the wrapped key's label",
            &hex::encode(label),
            &hex::encode(wrapped.label()),
        )?;
        Ok(wrapped)
    }
}
