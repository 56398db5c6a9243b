//! Erasure of all that a user owns, some documents at a time.
//!
//! What is erased is not owned any more, so the same request goes on where the one before ended, whatever broke off: until nothing remains.
//! Each document's erasure is a transaction of its own, signed by the user, as the record demands; for a user whose key this platform keeps,
//! the platform signs.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::Caller;
use super::changes::{ChangeView, Settled, signing};
use super::page::{Asked, limit};
use super::{Api, Problem, Tenant};
use crate::platform::PlatformError;
use crate::record::{
    DocumentName, Erase, Identifier, RecordError, Rejection, Transaction, UserName,
};

/// Transactions that are on their way to the record at the same time: they share blocks.
const AT_ONCE: usize = 16;

/// How much at once.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LimitQuery {
    /// Documents at most; 100 if absent, never more than 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// A document of the tenant's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "dataset": "designs", "document": "bridge" }))]
pub struct OwnedDocument {
    /// Its dataset.
    pub dataset: Identifier,
    /// Its name.
    pub document: Identifier,
}

impl From<DocumentName> for OwnedDocument {
    fn from(it: DocumentName) -> Self {
        Self {
            dataset: it.dataset,
            document: it.document,
        }
    }
}

/// What a user owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "documents": [{ "dataset": "designs", "document": "bridge" }], "count": 812 }))]
pub struct OwnedView {
    /// The first of the documents, by name.
    pub documents: Vec<OwnedDocument>,
    /// How many there are in all.
    pub count: u64,
}

/// Why not all that was to be erased is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "dataset": "designs", "document": "plan", "code": "record-busy", "detail": "too many transactions wait already; try again in a moment" }))]
pub struct NotErased {
    /// The dataset of the document.
    pub dataset: Identifier,
    /// The document.
    pub document: Identifier,
    /// The code of the problem.
    pub code: String,
    /// A sentence for people.
    pub detail: String,
}

/// What was erased, and what remains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "erased": [{ "dataset": "designs", "document": "bridge" }], "not_erased": [], "remaining": 712 }))]
pub struct ErasedView {
    /// The documents that are erased now.
    pub erased: Vec<OwnedDocument>,
    /// Those that could not be.
    pub not_erased: Vec<NotErased>,
    /// How many the user still owns: the same request goes on with them.
    pub remaining: u64,
}

/// The erasure of a document, to check and to sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "dataset": "designs", "document": "bridge",
    "change": { "transaction": "a566617574686f72…", "transaction_id": "5a0b…64 hexadecimal digits", "expires_ms": 1_795_000_120_000_u64 }
}))]
pub struct ErasureView {
    /// The dataset of the document.
    pub dataset: Identifier,
    /// The document.
    pub document: Identifier,
    /// The transaction.
    pub change: ChangeView,
}

/// Erasures to check, to sign, and to send to `transactions`, each by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "erasures": [{
        "dataset": "designs", "document": "bridge",
        "change": { "transaction": "a566617574686f72…", "transaction_id": "5a0b…64 hexadecimal digits", "expires_ms": 1_795_000_120_000_u64 }
    }],
    "remaining": 812
}))]
pub struct ErasuresView {
    /// One for each of the first documents.
    pub erasures: Vec<ErasureView>,
    /// How many documents the user owns now, these included: when these are erased, the same request goes on with the others.
    pub remaining: u64,
}

type UserPath = Path<(String, Identifier)>;

/// All that a user owns: the documents that are not erased, of the tenant's datasets that it is an owner of.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/users/{user}/owned", tag = "documents", operation_id = "list_owned",
    params(LimitQuery), responses((status = 200, body = OwnedView)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, user)): UserPath,
    Asked(query): Asked<LimitQuery>,
) -> Result<Json<OwnedView>, Problem> {
    let user = known(&api, UserName { tenant, user })?;
    let owned = owned(&api, user, limit(query.limit)).await?;
    let documents = owned.first.into_iter().map(OwnedDocument::from);
    Ok(Json(OwnedView {
        documents: documents.collect(),
        count: owned.count,
    }))
}

/// Erases all that a user owns, or prepares the erasures for it to sign: `limit` documents with each request.
///
/// Send it again until `remaining` is 0. What is erased already is passed over, so it can be broken off anywhere. For a user whose key the
/// platform keeps, the documents of the answer are erased (201); another one signs the transactions and sends them to `transactions` (202).
#[utoipa::path(post, path = "/v1/tenants/{tenant}/users/{user}/owned/erase", tag = "documents", operation_id = "erase_owned",
    params(LimitQuery), responses((status = 201, body = ErasedView), (status = 202, body = ErasuresView)))]
pub(super) async fn erase(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, user)): UserPath,
    Asked(query): Asked<LimitQuery>,
) -> Result<Response, Problem> {
    let user = caller.acting(Some(user))?;
    let user = known(&api, UserName { tenant, user })?;
    let found = owned(&api, user.clone(), limit(query.limit)).await?;
    if !api.platform.is_managed(&user) {
        let erasures = found.first.into_iter().map(|document| {
            let unsigned = api
                .platform
                .prepare_change(user.clone(), erasure(&document));
            ErasureView {
                change: ChangeView::of(&unsigned),
                dataset: document.dataset,
                document: document.document,
            }
        });
        let view = ErasuresView {
            erasures: erasures.collect(),
            remaining: found.count,
        };
        return Ok((StatusCode::ACCEPTED, Json(view)).into_response());
    }
    let mut erasing = Vec::with_capacity(found.first.len());
    for document in found.first {
        let (api, caller, user) = (&api, &caller, user.clone());
        let one = async move {
            let unsigned = api.platform.prepare_change(user, erasure(&document));
            signing(caller, &unsigned);
            (document, api.platform.submit_managed(unsigned).await)
        };
        erasing.push(one.boxed());
    }
    let mut erasing = stream::iter(erasing).buffered(AT_ONCE);
    let (mut erased, mut not_erased, mut first) = (Vec::new(), Vec::new(), None);
    while let Some((document, result)) = erasing.next().await {
        match result {
            Ok(_) => erased.push(document.into()),
            // Somebody else was faster.
            Err(PlatformError::Rejected { code, .. }) if code == "erased" => {
                erased.push(document.into());
            }
            Err(e) => {
                not_erased.push(NotErased {
                    dataset: document.dataset,
                    document: document.document,
                    code: e.code(),
                    detail: e.to_string(),
                });
                first.get_or_insert(e);
            }
        }
    }
    if let Some(e) = first
        && erased.is_empty()
    {
        // Nothing was done: whoever asks sees it by the status.
        return Err(e.into());
    }
    let view = ErasedView {
        erased,
        not_erased,
        remaining: owned(&api, user, 0).await?.count,
    };
    Ok((StatusCode::CREATED, Extension(Settled), Json(view)).into_response())
}

fn erasure(document: &DocumentName) -> Transaction {
    Transaction::Erase(Erase {
        tenant: document.tenant.clone(),
        dataset: document.dataset.clone(),
        document: document.document.clone(),
        version: None,
    })
}

/// Looks for what a user owns, away from the threads that serve.
async fn owned(api: &Api, user: UserName, limit: usize) -> Result<crate::platform::Owned, Problem> {
    let platform = api.platform.clone();
    let looked = tokio::task::spawn_blocking(move || platform.owned(&user, limit));
    Ok(looked.await.map_err(PlatformError::from)?)
}

fn known(api: &Api, user: UserName) -> Result<UserName, Problem> {
    let record = api.platform.record();
    if record.with_state(|state| state.user(&user).is_some()) {
        return Ok(user);
    }
    Err(PlatformError::from(RecordError::from(Rejection::UnknownUser(user))).into())
}
