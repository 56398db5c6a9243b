//! Document keys that are wrapped anew under another cluster key, version by version, each with its owner's signature.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::auth::Caller;
use super::changes::{Settled, signing};
use super::page::{Asked, limit};
use super::views::{PreparedView, ReceiptView};
use super::{Api, Problem, Tenant, json, record};
use crate::platform::{PlatformError, PreparedTransaction, RewrapRequest, RewrapStep};
use crate::record::{
    Author, DatasetName, DocumentVersion, Encryption, Identifier, KeyWrapping, RecordHandle,
    Transaction, UserName,
};

const MAX_JSON: usize = 4 * 1024;
/// Versions that are looked at without letting go of the record.
const AT_ONCE: usize = 1000;

/// A version that is not under the dataset's present cluster key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "document": "bridge", "version": 3, "encryption": "threshold", "cluster": "e2f1…64 hexadecimal digits" }))]
pub struct PendingRewrapView {
    /// The document.
    pub document: Identifier,
    /// The version.
    pub version: u64,
    /// What its document key is under: `threshold` or `platform`.
    pub encryption: String,
    /// With `threshold`, the cluster's public key, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

/// How far a dataset is on its way to its present cluster key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "cluster": "77aa…64 hexadecimal digits", "total": 812, "done": 340,
    "pending": [{ "document": "bridge", "version": 3, "encryption": "threshold", "cluster": "e2f1…64 hexadecimal digits" }]
}))]
pub struct RewrapView {
    /// The dataset's cluster key, hexadecimal; absent if it has none, and then nothing is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Versions with a key, that are not erased. Counted for the first part of the list alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Those of them that are under the dataset's cluster key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// The others, a part of them: the next part comes after the last one.
    pub pending: Vec<PendingRewrapView>,
}

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PendingQuery {
    /// The document of the last version that is known.
    #[param(value_type = Option<String>)]
    after_document: Option<Identifier>,
    /// That version.
    after_version: Option<u64>,
    /// How many at most.
    limit: Option<usize>,
}

/// What of a dataset is not under its present cluster key.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/datasets/{dataset}/rewraps", tag = "datasets", operation_id = "list_rewraps",
    params(PendingQuery), responses((status = 200, body = RewrapView)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, dataset)): Path<(String, Identifier)>,
    Asked(query): Asked<PendingQuery>,
) -> Result<Json<RewrapView>, Problem> {
    let name = DatasetName { tenant, dataset };
    let platform = api.platform.clone();
    let look = move || pending(platform.record(), &name, query);
    let looked = tokio::task::spawn_blocking(look).await;
    let view = looked.map_err(PlatformError::from)?;
    view.map(Json).ok_or_else(Problem::not_found)
}

/// A part of the list, and for the first part the whole count, away from the threads that serve. Nobody waits for the record longer than
/// [`AT_ONCE`] versions take; what changes meanwhile is counted as it was or as it is.
fn pending(record: &RecordHandle, name: &DatasetName, query: PendingQuery) -> Option<RewrapView> {
    let encryption = record.with_state(|state| state.dataset(name).map(|it| it.encryption))?;
    let mut view = RewrapView {
        cluster: None,
        total: None,
        done: None,
        pending: Vec::new(),
    };
    let Encryption::Threshold { public_key } = encryption else {
        return Some(view);
    };
    let (first, most) = (query.after_document.is_none(), limit(query.limit));
    let (mut total, mut done) = (0_u64, 0_u64);
    let mut after = query.after_document.map(|it| {
        name.document(it)
            .version(query.after_version.unwrap_or(u64::MAX))
    });
    loop {
        let (mut looked_at, mut last) = (0, None);
        record.with_state(|state| {
            for (version, row) in state.versions_of(name, after.as_ref()).take(AT_ONCE) {
                looked_at += 1;
                last = Some(version.clone());
                let Some(found) = pending_of(row, &public_key) else {
                    continue;
                };
                total += 1;
                match found {
                    Pending::No => done += 1,
                    Pending::Under(encryption, cluster) if view.pending.len() < most => {
                        view.pending.push(PendingRewrapView {
                            document: version.document.clone(),
                            version: version.version,
                            encryption: encryption.to_owned(),
                            cluster,
                        });
                    }
                    // The rest is counted, or of no interest.
                    Pending::Under(..) => {}
                }
            }
        });
        let enough = !first && view.pending.len() >= most;
        if looked_at < AT_ONCE || enough {
            break;
        }
        after = last;
    }
    view.cluster = Some(hex::encode(public_key));
    view.total = first.then_some(total);
    view.done = first.then_some(done);
    Some(view)
}

enum Pending {
    No,
    Under(&'static str, Option<String>),
}

/// Nothing, if it has no key.
fn pending_of(row: &DocumentVersion, present: &[u8; 32]) -> Option<Pending> {
    let content = row.content.as_ref()?;
    match (&content.key, content.threshold) {
        (KeyWrapping::None, _) => None,
        (_, Some(key)) if key.public_key == *present => Some(Pending::No),
        (_, Some(key)) => Some(Pending::Under(
            "threshold",
            Some(hex::encode(key.public_key)),
        )),
        (_, None) => Some(Pending::Under("platform", None)),
    }
}

/// Which version, and who signs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "author": "alice", "version": 3 }))]
pub(super) struct RewrapBody {
    /// The owner who will sign. If absent, the one that the API key is bound to.
    author: Option<Identifier>,
    /// The version.
    version: u64,
}

/// Prepares the rewrap of a version under the dataset's present cluster key: the first transaction for its owner to sign.
///
/// Under a cluster key that is a read, which the organisations approve as any other; under the platform's keys it is the rewrap itself. For an owner
/// whose key the platform keeps, it signs both, and the answer (200) comes when the rewrap is on the record.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/datasets/{dataset}/documents/{document}/rewraps", tag = "documents",
    operation_id = "prepare_rewrap", request_body = RewrapBody, responses((status = 201, body = PreparedView, description = "The first step, to sign."),
    (status = 200, body = RewrapStepView, description = "It is done, for a managed user.")))]
pub(super) async fn prepare(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, dataset, document)): Path<(String, Identifier, Identifier)>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: RewrapBody = json(request.into_body(), MAX_JSON).await?;
    let request = RewrapRequest {
        dataset: DatasetName {
            tenant: tenant.clone(),
            dataset,
        },
        document,
        version: asked.version,
        author: UserName {
            tenant,
            user: caller.acting(asked.author)?,
        },
    };
    let tenant = request.dataset.tenant.clone();
    let mut prepared = api.platform.prepare_rewrap(request).await?;
    if !matches!(prepared.transaction.author, Author::Managed(_)) {
        let view = Json(PreparedView::from(prepared));
        return Ok((StatusCode::CREATED, view).into_response());
    }
    loop {
        let PreparedTransaction { id, transaction } = prepared;
        signing(&caller, &transaction);
        let is_last = matches!(transaction.transaction, Transaction::Rewrap(_));
        let signed = api.platform.sign_managed(transaction).await?;
        prepared = match api.platform.commit_rewrap(&tenant, id, signed).await? {
            RewrapStep::Next(next) if !is_last => *next,
            step => {
                let view = Json(RewrapStepView::from(step));
                return Ok((StatusCode::OK, Extension(Settled), view).into_response());
            }
        };
    }
}

/// What follows a signed step of a rewrap: the next one to sign, or that it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "next": { "id": "019a0000-0000-7000-8000-000000000001", "transaction": "a566617574686f72…" } }))]
pub struct RewrapStepView {
    /// What is to be signed next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<PreparedView>,
    /// The rewrap is on the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptView>,
}

impl From<RewrapStep> for RewrapStepView {
    fn from(step: RewrapStep) -> Self {
        let (next, receipt) = match step {
            RewrapStep::Next(prepared) => (Some((*prepared).into()), None),
            RewrapStep::Done(receipt) => (None, Some(receipt.into())),
        };
        Self { next, receipt }
    }
}

/// Puts a signed step of a rewrap onto the record, and does what follows.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/rewraps/{id}", tag = "documents", operation_id = "commit_rewrap",
    request_body(content_type = "application/octet-stream", description = "The signed transaction, canonical CBOR."),
    responses((status = 200, body = RewrapStepView)))]
pub(super) async fn commit(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, Uuid)>,
    request: Request,
) -> Result<Response, Problem> {
    let signed = record::signed(&caller, request.into_body()).await?;
    let step = api.platform.commit_rewrap(&tenant, id, signed).await?;
    let is_done = matches!(step, RewrapStep::Done(_));
    let view = Json(RewrapStepView::from(step));
    Ok(match is_done {
        true => (Extension(Settled), view).into_response(),
        false => view.into_response(),
    })
}
