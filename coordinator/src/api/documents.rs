//! Documents: lists of them, their writes and their reads.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::auth::Caller;
use super::bodies::{
    WriteQuery, answer, answer_to_body, range_of, store, trace_of, wants_trailers,
};
use super::conditional::{IfSeenOrNew, Tag, tagged, with_tag};
use super::page::{Asked, NumberPageQuery, PageQuery, limit, part};
use super::views::{DocumentView, Page, PreparedView, ReceiptView, VersionView};
use super::{Api, Problem, Tenant, json, record};
use crate::platform::{CommitRead, EndToEndRequest, ReadReport, ReadRequest};
use crate::record::{DatasetName, DocumentName, Identifier, Transaction, UserName};

const MAX_JSON: usize = 16 * 1024;

/// The documents of a dataset, by name.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/datasets/{dataset}/documents", tag = "documents",
    operation_id = "list_documents", params(PageQuery), responses((status = 200, body = Page<DocumentView>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, dataset)): Path<(String, Identifier)>,
    Asked(query): Asked<PageQuery>,
) -> Result<Json<Page<DocumentView>>, Problem> {
    let name = DatasetName { tenant, dataset };
    let page = api.platform.record().with_state(|state| {
        state.dataset(&name)?;
        let documents = state.documents(&name, query.after.as_ref());
        let views = documents.map(|(name, document)| {
            let latest = state.version(&name.version(document.latest));
            DocumentView::of(name, document, latest)
        });
        let cursor = |view: &DocumentView| view.document.to_string();
        Some(part(views, limit(query.limit), cursor))
    });
    page.map(Json).ok_or_else(Problem::not_found)
}

/// The versions of a document, from the first.
///
/// `after` is the number of the last version that is known. The `ETag` names the document's state: `If-Match` with it makes an upload
/// fail if somebody else wrote or erased meanwhile.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/datasets/{dataset}/documents/{document}", tag = "documents",
    operation_id = "list_versions", params(NumberPageQuery),
    responses((status = 200, body = Page<VersionView>, headers(("ETag" = String, description = "The document's state.")))))]
pub(super) async fn versions(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, dataset, document)): Path<(String, Identifier, Identifier)>,
    Asked(query): Asked<NumberPageQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = DatasetName { tenant, dataset }.document(document);
    let found = api.platform.record().with_state(|state| {
        let tag = Tag::of_document(state, &name)?;
        let versions = state.versions(&name, query.after);
        let views = versions.map(|(name, version)| VersionView::of(name, version));
        let cursor = |view: &VersionView| view.version.to_string();
        let page = part(views, limit(query.limit), cursor);
        Some((tag, page))
    });
    let (tag, page) = found.ok_or_else(Problem::not_found)?;
    Ok(tagged(&tag, &headers, Json(page)))
}

/// Stores a body for a document, or a new version of it, and prepares the transaction that its author is to sign.
///
/// The body streams; it has no name before the signed transaction is sent to `uploads/{id}`, and is removed if that does not happen
/// in time. `Content-Type` is the document's media type and public on the record.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/datasets/{dataset}/documents/{document}/uploads", tag = "documents",
    operation_id = "prepare_upload", params(WriteQuery, IfSeenOrNew),
    request_body(content_type = "application/octet-stream", description = "The document."),
    responses((status = 201, body = PreparedView)))]
pub(super) async fn prepare_write(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, dataset, document)): Path<(String, Identifier, Identifier)>,
    query: Result<Asked<WriteQuery>, Problem>,
    request: Request,
) -> Response {
    let name = DatasetName {
        tenant: tenant.clone(),
        dataset,
    };
    let author = |asked| {
        let user = caller.acting(asked)?;
        Ok(UserName { tenant, user })
    };
    let (prepared, rest) = store(&api, name.document(document), query, author, request).await;
    let created = prepared.map(|it| (StatusCode::CREATED, Json(PreparedView::from(it))));
    answer_to_body(created, rest).await
}

/// Puts a prepared upload onto the record, with its author's signature.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/uploads/{id}", tag = "documents", operation_id = "commit_upload",
    request_body(content_type = "application/octet-stream", description = "The signed transaction, canonical CBOR."),
    responses((status = 201, body = ReceiptView, headers(("ETag" = String, description = "The body's, as `content` has it.")))))]
pub(super) async fn commit_write(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, Uuid)>,
    request: Request,
) -> Result<Response, Problem> {
    let signed = record::signed(&caller, request.into_body()).await?;
    let tag = match signed.transaction() {
        Transaction::Write(it) => Some(Tag::of_body(it.version, &hex::encode(it.checksum))),
        _ => None,
    };
    let receipt = api.platform.commit_write(&tenant, id, signed).await?;
    let view = (StatusCode::CREATED, Json(ReceiptView::from(receipt)));
    Ok(with_tag(tag.as_ref(), view))
}

/// Gives up a prepared upload; its body is removed.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/uploads/{id}", tag = "documents", operation_id = "discard_upload",
    responses((status = 204, description = "It is given up.")))]
pub(super) async fn discard_write(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, Uuid)>,
) -> Result<StatusCode, Problem> {
    let user = caller.user.as_ref();
    api.platform.discard_write_of(&tenant, user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who reads what.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "reader": "bob", "version": 3 }))]
pub(super) struct ReadBody {
    /// The user who will sign. If absent, the one that the API key is bound to.
    reader: Option<Identifier>,
    /// The version; the latest if absent.
    version: Option<u64>,
    /// For a reader who opens the document itself: its ephemeral key for this read with the proof, 160 bytes, hexadecimal. The read is
    /// then sent to `reads/{id}/shares`.
    ephemeral_key: Option<String>,
    /// The reader's key towards the crypto nodes (DER SubjectPublicKeyInfo, hexadecimal), if it asks them itself; without it the platform
    /// asks them, and passes on what they answer.
    client_spki: Option<String>,
}

/// Prepares a read: the transaction that its reader is to sign.
///
/// With an `ephemeral_key` the read is end to end: the platform passes on what it cannot open.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/datasets/{dataset}/documents/{document}/reads", tag = "documents",
    operation_id = "prepare_read", request_body = ReadBody, responses((status = 201, body = PreparedView)))]
pub(super) async fn prepare_read(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, dataset, document)): Path<(String, Identifier, Identifier)>,
    request: Request,
) -> Result<(StatusCode, Json<PreparedView>), Problem> {
    let asked: ReadBody = json(request.into_body(), MAX_JSON).await?;
    let dataset = DatasetName {
        tenant: tenant.clone(),
        dataset,
    };
    asked.prepare(&api, &caller, tenant, dataset.document(document))
}

impl ReadBody {
    /// Prepares the read of a document, of any tenant, for a user of this one.
    pub(super) fn prepare(
        self,
        api: &Api,
        caller: &Caller,
        tenant: Identifier,
        of: DocumentName,
    ) -> Result<(StatusCode, Json<PreparedView>), Problem> {
        let read = ReadRequest {
            dataset: of.dataset_name(),
            document: of.document,
            version: self.version,
            reader: UserName {
                tenant,
                user: caller.acting(self.reader)?,
            },
        };
        let bytes = |what: &str, text: String| {
            hex::decode(text)
                .map_err(|e| Problem::bad_request(format!("`{what}` is not hexadecimal: {e}")))
        };
        let client_spki = self.client_spki.map(|text| bytes("client_spki", text));
        let prepared = match self.ephemeral_key {
            None if client_spki.is_some() => {
                let detail = "a `client_spki` goes with an `ephemeral_key`";
                return Err(Problem::bad_request(detail));
            }
            None => api.platform.prepare_read(read)?,
            Some(text) => api.platform.prepare_end_to_end(EndToEndRequest {
                read,
                ephemeral_key: bytes("ephemeral_key", text)?,
                client_spki: client_spki.transpose()?,
            })?,
        };
        Ok((StatusCode::CREATED, Json(prepared.into())))
    }
}

/// Puts a prepared read onto the record, and streams the document.
///
/// Nothing is sent before the record, the organisations and, with threshold encryption, the crypto nodes have agreed, and nothing of
/// a block that does not verify. An answer that breaks off is no document: `reads/{id}` says why.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/reads/{id}", tag = "documents", operation_id = "commit_read",
    params(
        ("Range" = Option<String>, Header, description = "One range of bytes, such as `bytes=0-1023`, `bytes=1024-` or `bytes=-100`."),
        ("TE" = Option<String>, Header, description = "`trailers`: the answer is chunked, and ends with a `Server-Timing` of the whole read.")),
    request_body(content_type = "application/octet-stream", description = "The signed transaction, canonical CBOR."),
    responses(
        (status = 200, description = "The document.", content_type = "application/octet-stream", headers(
            ("Server-Timing" = String, description = "What the read's phases took, as far as it was known before the first byte."),
            ("x-read-id" = String, description = "Names the read: `reads/{id}` tells of it."),
            ("ETag" = String, description = "The body's: of this version for ever."),
            ("Accept-Ranges" = String, description = "`bytes`."))),
        (status = 206, description = "The bytes that were asked for.", content_type = "application/octet-stream",
            headers(("Content-Range" = String, description = "Which bytes of how many."))),
        (status = 416, description = "The document has no such bytes; `Content-Range` has its length.")))]
pub(super) async fn commit_read(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, Uuid)>,
    request: Request,
) -> Result<Response, Problem> {
    let trace = trace_of(request.headers());
    let range = range_of(request.headers());
    let trailers = wants_trailers(request.headers());
    let signed = record::signed(&caller, request.into_body()).await?;
    let commit = CommitRead {
        signed,
        range: range?,
        trace,
    };
    let read = api.platform.commit_read(&tenant, id, commit).await?;
    Ok(answer(read, trailers))
}

/// What happened in a read: its phases, the organisations, the crypto nodes.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/reads/{id}", tag = "documents", operation_id = "read_report",
    responses((status = 200, body = ReadReport)))]
pub(super) async fn report(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, Uuid)>,
) -> Result<Json<ReadReport>, Problem> {
    api.platform
        .report(&tenant, caller.user.as_ref(), id)
        .map(Json)
        .ok_or_else(Problem::not_found)
}
