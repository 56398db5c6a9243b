//! Proofs that the record says what it says, and goes on from what it said before: for whoever has the organisations' keys and asks with another tool.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::page::Asked;
use super::{Api, Problem, Tenant};
use crate::platform::PlatformError;
use crate::record::audit::{ProofFileError, ProvenHead, ProvenRow, Subject, subjects_of};
use crate::record::head::SignedHead;
use crate::record::{RecordError, RecordHandle, TransactionId};
use certs::checkpoint::NoteKey;
use certs::log_proof::{InclusionLines, LogProofError};

/// Proof that a transaction is on the record: it holds without this platform, against the organisations' keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "transaction": "a267636f6e74656e74…", "position": 2049, "size": 2051, "path": ["9c0d…64 hexadecimal digits"],
    "checkpoint": "coordinator/acme\n2051\n…\n"
}))]
pub struct ProofView {
    /// The signed transaction, canonical bytes, hexadecimal: the leaf.
    #[serde(with = "hex")]
    #[schema(value_type = String)]
    pub transaction: Vec<u8>,
    /// Its position in the record, from 0.
    pub position: u64,
    /// Transactions of the tree that the path is of: that of the checkpoint.
    pub size: u64,
    /// The inclusion path (RFC 9162 section 2.1.3), each hash hexadecimal.
    pub path: Vec<String>,
    /// The head of that tree, signed by the organisations' peers: a C2SP tlog-checkpoint.
    pub checkpoint: String,
}

impl ProofView {
    /// The proof of a transaction under the newest head that a quorum signed.
    pub(super) async fn of(record: &RecordHandle, id: &TransactionId) -> Result<Self, Problem> {
        let proven = record.prove(*id).await.map_err(PlatformError::from)?;
        Ok(Self {
            transaction: proven.transaction.as_bytes().to_vec(),
            position: proven.proof.position,
            size: proven.proof.size,
            path: proven.proof.path.iter().map(hex::encode).collect(),
            checkpoint: proven.signed_head,
        })
    }

    /// Reads one from a file.
    ///
    /// # Errors
    /// [`ProofFileError::File`] if it is no such proof.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ProofFileError> {
        serde_json::from_slice(bytes).map_err(|_| malformed("it is not what a platform answers"))
    }

    /// Verifies it with the organisations' public keys alone. Give the keys of all of them; who gives fewer trusts those.
    ///
    /// # Errors
    /// [`ProofFileError`] for the first thing that does not hold.
    pub fn verify(&self, keys: &[NoteKey]) -> Result<(ProvenHead, ProvenRow), ProofFileError> {
        let head = ProvenHead::verify(&self.checkpoint, keys)?;
        if head.head().checkpoint.size != self.size {
            return Err(malformed(
                "its path is of another tree than the signed head",
            ));
        }
        let hash = |text: &String| {
            let mut hash = [0; 32];
            hex::decode_to_slice(text, &mut hash).map(|()| hash)
        };
        let path = self.path.iter().map(hash).collect::<Result<_, _>>();
        let row = head.row(&InclusionLines {
            extra: Some(self.transaction.clone()),
            index: self.position,
            proof: path.map_err(|_| malformed("a hash of its path is none"))?,
        })?;
        Ok((head, row))
    }
}

fn malformed(reason: &'static str) -> ProofFileError {
    LogProofError::Malformed { reason }.into()
}

/// Transactions under a head.
fn size_of(checkpoint: &str) -> Result<u64, Problem> {
    let head = SignedHead::parse(checkpoint).map_err(|e| PlatformError::Internal {
        reason: format!("the head cannot be read: {e}"),
    })?;
    Ok(head.claimed().checkpoint.size)
}

/// Proof of a transaction of the tenant's: its place in the record, and the organisations' signed head.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/audit/transactions/{transaction}/proof", tag = "audit",
    operation_id = "prove_transaction", responses((status = 200, body = ProofView)))]
pub(super) async fn inclusion(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, transaction)): Path<(String, String)>,
) -> Result<Json<ProofView>, Problem> {
    let mut id = [0; 32];
    hex::decode_to_slice(&transaction, &mut id)
        .map_err(|_| Problem::bad_request("a transaction's id has 64 hexadecimal digits"))?;
    let record = api.platform.record();
    let known = record.transaction(&id).map_err(PlatformError::from)?;
    let (_, found) = known.ok_or_else(Problem::not_found)?;
    // Another tenant's transactions do not exist.
    if !subjects_of(&found).contains(&Subject::Tenant(tenant)) {
        return Err(Problem::not_found());
    }
    Ok(Json(ProofView::of(record, &id).await?))
}

/// From where on.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConsistencyQuery {
    /// Transactions under the head that the asker kept.
    old: u64,
}

/// Proof that the record under a head begins with all of the record under an earlier one: nothing was changed or taken out in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "old": 812, "size": 2051, "path": ["9c0d…64 hexadecimal digits"], "checkpoint": "coordinator/acme\n2051\n…\n"
}))]
pub struct ConsistencyView {
    /// Transactions under the earlier head.
    pub old: u64,
    /// Transactions under the checkpoint.
    pub size: u64,
    /// The consistency path (RFC 9162 section 2.1.4), each hash hexadecimal.
    pub path: Vec<String>,
    /// The newest head, signed by a quorum of the organisations: a C2SP tlog-checkpoint.
    pub checkpoint: String,
}

/// Proof that the record continues a head that the asker kept, and the newest head.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/audit/consistency", tag = "audit", operation_id = "prove_consistency",
    params(ConsistencyQuery), responses((status = 200, body = ConsistencyView)))]
pub(super) async fn consistency(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<ConsistencyQuery>,
) -> Result<Json<ConsistencyView>, Problem> {
    let record = api.platform.record();
    let checkpoint = record.quorum_head().await.map_err(PlatformError::from)?;
    let size = size_of(&checkpoint)?;
    let beyond = |old| RecordError::BeyondSize { size, asked: old };
    if query.old > size {
        return Err(Problem::bad_request(beyond(query.old).to_string()));
    }
    let path = record.prove_consistency(query.old, size);
    let path = path.map_err(PlatformError::from)?;
    Ok(Json(ConsistencyView {
        old: query.old,
        size,
        path: path.iter().map(hex::encode).collect(),
        checkpoint,
    }))
}
