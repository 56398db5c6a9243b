//! How a document stood at a moment that the asker chose: its row in the state, under the same signed head as a transaction of the asker's own.
//!
//! A head has no time that its signers vouch for, and an old one is as true as the newest. Whoever has just put a transaction of his
//! own onto the record knows that a head with it under it was signed after that.

use super::{InclusionProof, ProofFileError};
use crate::record::{
    head::Head,
    identifier::DocumentName,
    root::Hash,
    signed::TransactionId,
    state::{DOCUMENTS, Document},
    table,
};

/// Most hashes beside a path in the state tree.
const MAX_PATH: usize = 256;

/// A document's row, and its path in the state tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentProof {
    /// The row.
    pub document: Document,
    /// The hashes beside its path, from the root down.
    pub path: Vec<Hash>,
}

impl DocumentProof {
    /// Holds it against a head's state.
    ///
    /// # Errors
    /// [`ProofFileError::State`] if the document does not stand so there.
    pub fn verify(&self, name: &DocumentName, head: &Head) -> Result<(), ProofFileError> {
        let fits = self.path.len() <= MAX_PATH;
        if fits && table::root_over(DOCUMENTS, name, &self.document, &self.path) == head.state_root
        {
            return Ok(());
        }
        Err(ProofFileError::State)
    }
}

/// That a transaction is on the record, and how a document stands there: both under one head.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The head, signed by a quorum of the organisations: a C2SP signed note.
    pub signed_head: String,
    /// The transaction.
    pub transaction: TransactionId,
    /// Its place.
    pub inclusion: InclusionProof,
    /// The document.
    pub document: DocumentProof,
}
