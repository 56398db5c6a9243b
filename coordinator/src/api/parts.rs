//! Uploads in parts, which go on after an interruption.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::auth::Caller;
use super::bodies::answer_to_body;
use super::conditional::{IfSeenOrNew, next_version};
use super::page::Asked;
use super::views::{Page, PreparedView};
use super::{Api, Problem, Tenant, json};
use crate::platform::{BeginParts, PartsStatus, PlatformError, Whole, WriteRequest};
use crate::record::{DatasetName, DocumentName, Identifier, UserName};

const MAX_JSON: usize = 4 * 1024;

/// An upload in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "019a0000-0000-7000-8000-000000000001", "offset": 1_073_741_824, "expires_ms": 1_795_000_000_000_u64, "tag": "film.mov"
}))]
pub struct PartsView {
    /// Names the upload at this platform.
    pub id: Uuid,
    /// Bytes that have arrived and are durable: where to go on.
    pub offset: u64,
    /// When it is given up unless somebody sends to it, milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// The sender's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

impl From<PartsStatus> for PartsView {
    fn from(it: PartsStatus) -> Self {
        let PartsStatus {
            id,
            offset,
            expires_ms,
            tag,
        } = it;
        Self {
            id,
            offset,
            expires_ms,
            tag,
        }
    }
}

/// What is to be uploaded in parts.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "author": "alice", "content_type": "video/quicktime", "tag": "film.mov" }))]
pub(super) struct PartsBody {
    /// The user who will sign. If absent, the one that the API key is bound to.
    author: Option<Identifier>,
    /// The version that must come next; refused if it is another.
    version: Option<u64>,
    /// The document's media type; public on the record.
    content_type: Option<String>,
    /// A name of the sender's own, by which it finds the upload again; at most 128 bytes.
    tag: Option<String>,
}

/// Begins an upload in parts, of a document or a new version of it. With `If-Match` or `If-None-Match` it is of the version that comes next now, and of no other.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/datasets/{dataset}/documents/{document}/parts", tag = "documents",
    operation_id = "begin_parts", params(IfSeenOrNew), request_body = PartsBody, responses((status = 201, body = PartsView)))]
pub(super) async fn begin(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, dataset, document)): Path<(String, Identifier, Identifier)>,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, Json<PartsView>), Problem> {
    let asked: PartsBody = json(request.into_body(), MAX_JSON).await?;
    let dataset = DatasetName {
        tenant: tenant.clone(),
        dataset,
    };
    let name = dataset.document(document.clone());
    let next = next_version(&headers, api.platform.record(), &name)?;
    let begin = BeginParts {
        write: WriteRequest {
            dataset,
            document,
            version: asked.version.or(next),
            author: UserName {
                tenant,
                user: caller.acting(asked.author)?,
            },
            content_type: asked.content_type,
        },
        tag: asked.tag,
    };
    let begun = api.platform.begin_parts(begin).await?;
    Ok((StatusCode::CREATED, Json(begun.into())))
}

/// Which uploads.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TagQuery {
    /// Those with this tag alone.
    tag: Option<String>,
}

/// Which document an upload is of, and whose, if it is there for the caller: with a key that is bound to a user, that user's alone are.
pub(super) async fn own(
    api: &Api,
    tenant: &Identifier,
    caller: &Caller,
    id: Uuid,
) -> Result<(DocumentName, UserName), Problem> {
    let (document, author) = api.platform.parts_author(tenant, id).await?;
    match &caller.user {
        Some(bound) if *bound != author.user => Err(PlatformError::NotWaiting.into()),
        _ => Ok((document, author)),
    }
}

/// The tenant's uploads in parts that are not complete, the oldest first; those of its user with an API key that is bound to one.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/parts", tag = "documents", operation_id = "list_parts", params(TagQuery),
    responses((status = 200, body = Page<PartsView>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<TagQuery>,
) -> Result<Json<Page<PartsView>>, Problem> {
    let user = caller.user.as_ref();
    let found = api.platform.parts_of(&tenant, user, query.tag).await?;
    let items = found.into_iter().map(PartsView::from).collect();
    // There are no more of them than the tenant may have.
    Ok(Json(Page { items, next: None }))
}

/// How far an upload is.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/parts/{id}", tag = "documents", operation_id = "parts_status",
    responses((status = 200, body = PartsView)))]
pub(super) async fn status(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, Uuid)>,
) -> Result<Json<PartsView>, Problem> {
    own(&api, &tenant, &caller, id).await?;
    Ok(Json(api.platform.parts_status(&tenant, id).await?.into()))
}

/// Where the bytes of a request belong.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OffsetQuery {
    /// The place of the first byte in the document.
    offset: u64,
}

/// Sends bytes of an upload, as many as one likes.
///
/// What the platform has already is passed over, so the same request can be repeated. What arrives of a request that breaks off is kept:
/// `GET` says from where on to send. A request that comes while another one sends takes over from it.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/parts/{id}", tag = "documents", operation_id = "send_part", params(OffsetQuery),
    request_body(content_type = "application/octet-stream", description = "The bytes from `offset` on."),
    responses((status = 200, body = PartsView)))]
pub(super) async fn send(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, Uuid)>,
    query: Result<Asked<OffsetQuery>, Problem>,
    request: Request,
) -> Response {
    let mut parts = request.into_body().into_data_stream();
    let asked = match query {
        Ok(Asked(query)) => own(&api, &tenant, &caller, id).await.map(|_| query),
        Err(problem) => Err(problem),
    };
    let sent = match asked {
        Err(problem) => Err(problem),
        Ok(query) => {
            let sent = api
                .platform
                .send_parts(&tenant, id, query.offset, &mut parts);
            sent.await.map_err(Problem::from)
        }
    };
    let sent = sent.map(|status| Json(PartsView::from(status)));
    answer_to_body(sent, Body::from_stream(parts)).await
}

/// What was sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "length": 1_073_741_824, "sha256": "77e0…64 hexadecimal digits" }))]
pub(super) struct WholeBody {
    /// Bytes of the document.
    length: u64,
    /// SHA-256 over them, hexadecimal.
    #[serde(with = "hex")]
    #[schema(value_type = String)]
    sha256: [u8; 32],
}

impl From<WholeBody> for Whole {
    fn from(WholeBody { length, sha256 }: WholeBody) -> Self {
        Self { length, sha256 }
    }
}

/// Completes an upload, and prepares the transaction that its author is to sign.
///
/// It is then as any other upload: the signed transaction goes to `uploads/{id}`, with the `id` of this answer. Done again before that, it
/// gives the same answer.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/parts/{id}/complete", tag = "documents", operation_id = "complete_parts",
    params(IfSeenOrNew), request_body = WholeBody, responses((status = 201, body = PreparedView)))]
pub(super) async fn complete(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, Uuid)>,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, Json<PreparedView>), Problem> {
    let whole = Whole::from(json::<WholeBody>(request.into_body(), MAX_JSON).await?);
    let (document, _) = own(&api, &tenant, &caller, id).await?;
    let next = next_version(&headers, api.platform.record(), &document)?;
    let prepared = api.platform.complete_parts(&tenant, id, whole, next);
    let prepared = prepared.await?;
    Ok((StatusCode::CREATED, Json(prepared.into())))
}

/// Gives up an upload in parts; what there is of it is removed.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/parts/{id}", tag = "documents", operation_id = "discard_parts",
    responses((status = 204, description = "It is given up.")))]
pub(super) async fn discard(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, Uuid)>,
) -> Result<StatusCode, Problem> {
    own(&api, &tenant, &caller, id).await?;
    api.platform.discard_parts(&tenant, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
