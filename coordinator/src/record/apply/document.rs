//! Documents: writes and erasures.
//!
//! # What a write under a cluster key must show (protocol section 7)
//!
//! A wrapped key can be copied word for word from one document into another, whose readers would then open the first. So the record
//! takes one only if, in this order,
//!
//! 1. it is under the dataset's own cluster key,
//! 2. its label names this very tenant, dataset, document, version and writer,
//! 3. its `write_id` has never been on the record, and
//! 4. its proof holds: whoever made it knows what it opens, and nobody altered it since.

use super::{Rules, bounded, next_version};
use crate::record::{
    event::Event,
    identifier::{UserName, VersionName},
    label::wrapped_key_label,
    rejection::Rejection,
    state::{Content, Dataset, Document, DocumentVersion, Key32, MAX_VERSIONS, ThresholdKey},
    transaction::{
        Body, Encryption, Erase, KeyWrapping, MAX_CONTENT_TYPE, MAX_LEDGER_BODY, MAX_PLATFORM_KEY,
        MAX_POINTER, MAX_WRAPPED_DEK1, MAX_WRAPPED_KEY, Role, Storage, Write,
    },
};
use reencrypt::{Point, ProofError, WrappedKey, WrappedKeyError};
use sha2::{Digest as _, Sha256};

impl Rules<'_> {
    pub(super) fn write(&mut self, it: &Write) -> Result<Vec<Event>, Rejection> {
        check_sizes(it)?;
        let name = it.name();
        let (writer, dataset) = self.permitted(&name.dataset_name(), Role::Writer)?;
        let document = self.state.document(&name.document_name());
        if document.is_some_and(|document| document.erased) {
            return Err(Rejection::Erased(name.document_name().to_string()));
        }
        next_version(
            "the document",
            document.map_or(0, |document| document.latest),
            it.version,
        )?;
        let found = usize::try_from(it.version).unwrap_or(usize::MAX);
        bounded("the document's versions", found, MAX_VERSIONS)?;
        check_content_type(it.content_type.as_deref())?;
        check_body(it, dataset)?;
        let threshold = self.check_key_wrapping(it, dataset, &writer)?;

        let written_ms = self.block.time_ms;
        let transaction = self.transaction.id();
        let version = DocumentVersion {
            writer,
            written_ms,
            transaction,
            content_type: it.content_type.clone(),
            length: it.length,
            checksum: it.checksum,
            content: Some(Content {
                wrapped_dek1: it.wrapped_dek1.clone(),
                key: it.key.clone(),
                body: it.body.clone(),
                threshold,
            }),
        };
        let document = Document {
            latest: it.version,
            erased: false,
            changed_ms: written_ms,
        };
        let state = &mut *self.state;
        if let Some(key) = threshold {
            state
                .write_ids
                .put(&mut state.tree, Key32(key.write_id), Key32(transaction));
        }
        state
            .documents
            .put(&mut state.tree, name.document_name(), document);
        state.versions.put(&mut state.tree, name.clone(), version);
        Ok(vec![Event::Written { version: name }])
    }

    /// Whether the document key is wrapped as the dataset says, and for this very write.
    fn check_key_wrapping(
        &self,
        it: &Write,
        dataset: &Dataset,
        writer: &UserName,
    ) -> Result<Option<ThresholdKey>, Rejection> {
        match (&dataset.encryption, &it.key) {
            (Encryption::None, KeyWrapping::None) => {
                present("wrapped_dek1", &it.wrapped_dek1, false)?;
                Ok(None)
            }
            (Encryption::Platform, KeyWrapping::Platform { wrapped_key }) => {
                present("wrapped_dek1", &it.wrapped_dek1, true)?;
                present("the wrapped key", wrapped_key, true)?;
                Ok(None)
            }
            (Encryption::Threshold { public_key }, KeyWrapping::Threshold { wrapped_key }) => {
                present("wrapped_dek1", &it.wrapped_dek1, true)?;
                self.check_wrapped_key(&it.name(), public_key, wrapped_key, writer)
                    .map(Some)
            }
            (configured, found) => Err(Rejection::EncryptionMismatch {
                dataset: it.name().dataset_name(),
                configured: encryption_name(configured),
                found: wrapping_name(found),
            }),
        }
    }

    /// Whether it is a fresh key under this cluster key for this version by this writer, with a true proof.
    pub(super) fn check_wrapped_key(
        &self,
        version: &VersionName,
        public_key: &[u8; 32],
        wrapped_key: &[u8],
        writer: &UserName,
    ) -> Result<ThresholdKey, Rejection> {
        let malformed = |error: WrappedKeyError| Rejection::WrappedKey {
            reason: error.to_string(),
        };
        let found = *WrappedKey::peek_public_key(wrapped_key).map_err(malformed)?;
        if found != *public_key {
            return Err(Rejection::WrappedKeyCluster {
                found,
                expected: *public_key,
            });
        }
        let cluster = Point::from_bytes(public_key).map_err(|error| Rejection::ClusterKey {
            reason: error.to_string(),
        })?;
        let wrapped = WrappedKey::parse_under(wrapped_key, &cluster).map_err(malformed)?;
        if wrapped.label() != wrapped_key_label(version, writer) {
            return Err(Rejection::WrappedKeyLabel {
                version: version.clone(),
                writer: writer.clone(),
            });
        }
        let write_id = wrapped.write_id();
        if self.state.write_ids.contains(&Key32(write_id)) {
            return Err(Rejection::WriteIdKnown { write_id });
        }
        self.verifier
            .wrapped_key(self.transaction, &wrapped)
            .map_err(|error| match error {
                WrappedKeyError::Proof(ProofError::False) => Rejection::WrappedKeyProof,
                other => malformed(other),
            })?;
        Ok(ThresholdKey {
            write_id,
            public_key: *public_key,
        })
    }

    pub(super) fn erase(&mut self, it: &Erase) -> Result<Vec<Event>, Rejection> {
        let name = it.name();
        self.permitted(&name.dataset_name(), Role::Owner)?;
        let document = self.state.document(&name).cloned();
        let mut document = document.ok_or_else(|| Rejection::UnknownDocument(name.clone()))?;
        if document.erased {
            return Err(Rejection::Erased(name.to_string()));
        }
        let versions = match it.version {
            None => (1..=document.latest)
                .map(|version| name.version(version))
                .collect(),
            Some(version) => {
                let version = name.version(version);
                let row = self
                    .state
                    .version(&version)
                    .ok_or_else(|| Rejection::UnknownVersion(version.clone()))?;
                if row.is_erased() {
                    return Err(Rejection::Erased(version.to_string()));
                }
                vec![version]
            }
        };

        let state = &mut *self.state;
        for version in versions {
            if let Some(mut row) = state
                .versions
                .get(&version)
                .filter(|row| !row.is_erased())
                .cloned()
            {
                row.content = None;
                state.versions.put(&mut state.tree, version, row);
            }
        }
        document.erased = it.version.is_none();
        document.changed_ms = self.block.time_ms;
        state.documents.put(&mut state.tree, name.clone(), document);
        Ok(vec![Event::Erased {
            document: name,
            version: it.version,
        }])
    }
}

fn check_sizes(it: &Write) -> Result<(), Rejection> {
    bounded("wrapped_dek1", it.wrapped_dek1.len(), MAX_WRAPPED_DEK1)?;
    match &it.key {
        KeyWrapping::None => {}
        KeyWrapping::Platform { wrapped_key } => {
            bounded("the wrapped key", wrapped_key.len(), MAX_PLATFORM_KEY)?
        }
        KeyWrapping::Threshold { wrapped_key } => {
            bounded("the wrapped key", wrapped_key.len(), MAX_WRAPPED_KEY)?
        }
    }
    match &it.body {
        Body::OnLedger(bytes) => bounded("the body", bytes.len(), MAX_LEDGER_BODY),
        Body::OffChain { pointer } => bounded("the pointer", pointer.len(), MAX_POINTER),
    }
}

fn check_content_type(content_type: Option<&str>) -> Result<(), Rejection> {
    let Some(text) = content_type else {
        return Ok(());
    };
    bounded("the content type", text.len(), MAX_CONTENT_TYPE)?;
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if text.is_empty() || text.trim() != text || !printable {
        return Err(Rejection::ContentType);
    }
    Ok(())
}

/// Whether the body is where the dataset says, and is what length and checksum say as far as it can be seen.
fn check_body(it: &Write, dataset: &Dataset) -> Result<(), Rejection> {
    match (dataset.storage, &it.body) {
        (Storage::OffChain, Body::OffChain { pointer }) => present("the pointer", pointer, true),
        (Storage::Ledger, Body::OnLedger(bytes)) => {
            if <[u8; 32]>::from(Sha256::digest(bytes)) != it.checksum {
                return Err(Rejection::Checksum);
            }
            let found = bytes.len() as u64;
            if dataset.encryption == Encryption::None && it.length != found {
                return Err(Rejection::Length {
                    declared: it.length,
                    found,
                });
            }
            Ok(())
        }
        (configured, found) => Err(Rejection::StorageMismatch {
            dataset: it.name().dataset_name(),
            configured: match configured {
                Storage::Ledger => "ledger",
                Storage::OffChain => "off-chain",
            },
            found: match found {
                Body::OnLedger(_) => "ledger",
                Body::OffChain { .. } => "off-chain",
            },
        }),
    }
}

fn present(what: &'static str, bytes: &[u8], wanted: bool) -> Result<(), Rejection> {
    if bytes.is_empty() == wanted {
        return Err(Rejection::Presence {
            what,
            present: !wanted,
        });
    }
    Ok(())
}

pub(super) fn encryption_name(encryption: &Encryption) -> &'static str {
    match encryption {
        Encryption::None => "none",
        Encryption::Platform => "platform",
        Encryption::Threshold { .. } => "threshold",
    }
}

pub(super) fn wrapping_name(key: &KeyWrapping) -> &'static str {
    match key {
        KeyWrapping::None => "none",
        KeyWrapping::Platform { .. } => "platform",
        KeyWrapping::Threshold { .. } => "threshold",
    }
}
