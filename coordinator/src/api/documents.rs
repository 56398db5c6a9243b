//! Documents: bodies stream in and out.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cryptonode::wire::v1::TraceParent;
use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::conditional::{Tag, may_change, tagged};
use super::page::{Asked, NumberPageQuery, PageQuery, limit, part};
use super::views::{DocumentView, Page, PreparedView, ReceiptView, VersionView};
use super::{Api, Problem, Tenant, drain, json, record};
use crate::platform::{
    ByteRange, CommitRead, EndToEndRequest, NoRange, Phases, PlatformError, ReadReport,
    ReadRequest, WriteRequest,
};
use crate::record::{DatasetName, DocumentName, Identifier, UserName};

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
        let document = state.document(&name)?;
        let versions = state.versions(&name, query.after);
        let views = versions.map(|(name, version)| VersionView::of(name, version));
        let cursor = |view: &VersionView| view.version.to_string();
        let page = part(views, limit(query.limit), cursor);
        Some((Tag::of_document(document), page))
    });
    let (tag, page) = found.ok_or_else(Problem::not_found)?;
    Ok(tagged(&tag, &headers, Json(page)))
}

/// What is said of a body beside it.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UploadQuery {
    /// The user who will sign.
    #[param(value_type = String, example = "alice")]
    author: Identifier,
    /// The version that must come next; refused if it is another.
    version: Option<u64>,
}

/// Stores a body for a document, or a new version of it, and prepares the transaction that its author is to sign.
///
/// The body streams; it has no name before the signed transaction is sent to `uploads/{id}`, and is removed if that does not happen
/// in time. `Content-Type` is the document's media type and public on the record.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/datasets/{dataset}/documents/{document}/uploads", tag = "documents",
    operation_id = "prepare_upload", params(UploadQuery,
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the document that the new version comes after."),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is no such document yet.")),
    request_body(content_type = "application/octet-stream", description = "The document."),
    responses((status = 201, body = PreparedView)))]
pub(super) async fn prepare_write(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, dataset, document)): Path<(String, Identifier, Identifier)>,
    query: Result<Asked<UploadQuery>, Problem>,
    request: Request,
) -> Response {
    // What is no text is no media type either: the record's own sentence refuses it.
    let content_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let name = DatasetName {
        tenant: tenant.clone(),
        dataset: dataset.clone(),
    };
    let name = name.document(document.clone());
    let record = api.platform.record();
    let present = record.with_state(|state| state.document(&name).map(Tag::of_document));
    let fresh = may_change(request.headers(), present.as_ref());
    let mut body = request.into_body();
    let prepared = match query.and_then(|Asked(query)| fresh.map(|()| query)) {
        Err(problem) => Err(problem),
        Ok(query) => {
            let request = WriteRequest {
                dataset: DatasetName {
                    tenant: tenant.clone(),
                    dataset,
                },
                document,
                version: query.version,
                author: UserName {
                    tenant,
                    user: query.author,
                },
                content_type,
            };
            let mut parts = body.into_data_stream();
            let prepared = api.platform.prepare_write(request, &mut parts).await;
            body = Body::from_stream(parts);
            prepared.map_err(Problem::from)
        }
    };
    let mut answer = match prepared {
        Ok(prepared) => {
            let view = PreparedView {
                id: prepared.id,
                transaction: prepared.transaction.to_bytes(),
            };
            (StatusCode::CREATED, Json(view)).into_response()
        }
        Err(problem) => {
            drain(body).await;
            problem.into_response()
        }
    };
    // The connection's buffer has the end of the body in it, and is wiped with the connection.
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(header::CONNECTION, close);
    answer
}

/// Puts a prepared upload onto the record, with its author's signature.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/uploads/{id}", tag = "documents", operation_id = "commit_upload",
    request_body(content_type = "application/octet-stream", description = "The signed transaction, canonical CBOR."),
    responses((status = 201, body = ReceiptView)))]
pub(super) async fn commit_write(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, id)): Path<(String, Uuid)>,
    request: Request,
) -> Result<(StatusCode, Json<ReceiptView>), Problem> {
    let signed = record::signed(request.into_body()).await?;
    let receipt = api.platform.commit_write(&tenant, id, signed).await?;
    Ok((StatusCode::CREATED, Json(receipt.into())))
}

/// Gives up a prepared upload; its body is removed.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/uploads/{id}", tag = "documents", operation_id = "discard_upload",
    responses((status = 204, description = "It is given up.")))]
pub(super) async fn discard_write(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, id)): Path<(String, Uuid)>,
) -> Result<StatusCode, Problem> {
    api.platform.discard_write(&tenant, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who reads what.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "reader": "bob", "version": 3 }))]
pub(super) struct ReadBody {
    /// The user who will sign.
    reader: Identifier,
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
    Path((_, dataset, document)): Path<(String, Identifier, Identifier)>,
    request: Request,
) -> Result<(StatusCode, Json<PreparedView>), Problem> {
    let asked: ReadBody = json(request.into_body(), MAX_JSON).await?;
    let dataset = DatasetName {
        tenant: tenant.clone(),
        dataset,
    };
    asked.prepare(&api, tenant, dataset.document(document))
}

impl ReadBody {
    /// Prepares the read of a document, of any tenant, for a user of this one.
    pub(super) fn prepare(
        self,
        api: &Api,
        tenant: Identifier,
        of: DocumentName,
    ) -> Result<(StatusCode, Json<PreparedView>), Problem> {
        let read = ReadRequest {
            dataset: of.dataset_name(),
            document: of.document,
            version: self.version,
            reader: UserName {
                tenant,
                user: self.reader,
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
        let view = PreparedView {
            id: prepared.id,
            transaction: prepared.transaction.to_bytes(),
        };
        Ok((StatusCode::CREATED, Json(view)))
    }
}

/// Puts a prepared read onto the record, and streams the document.
///
/// Nothing is sent before the record, the organisations and, with threshold encryption, the crypto nodes have agreed, and nothing of
/// a block that does not verify. An answer that breaks off is no document: `reads/{id}` says why.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/reads/{id}", tag = "documents", operation_id = "commit_read",
    params(("Range" = Option<String>, Header, description = "One range of bytes, such as `bytes=0-1023`, `bytes=1024-` or `bytes=-100`.")),
    request_body(content_type = "application/octet-stream", description = "The signed transaction, canonical CBOR."),
    responses(
        (status = 200, description = "The document.", content_type = "application/octet-stream", headers(
            ("Server-Timing" = String, description = "What the read's phases took."),
            ("Accept-Ranges" = String, description = "`bytes`."))),
        (status = 206, description = "The bytes that were asked for.", content_type = "application/octet-stream",
            headers(("Content-Range" = String, description = "Which bytes of how many."))),
        (status = 416, description = "The document has no such bytes; `Content-Range` has its length.")))]
pub(super) async fn commit_read(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, id)): Path<(String, Uuid)>,
    request: Request,
) -> Result<Response, Problem> {
    let trace = trace_of(request.headers());
    let range = range_of(request.headers());
    let signed = record::signed(request.into_body()).await?;
    let commit = CommitRead {
        signed,
        range: range?,
        trace,
    };
    let read = api.platform.commit_read(&tenant, id, commit).await?;
    let content_type = read
        .content_type
        .as_deref()
        .and_then(|kind| HeaderValue::from_str(kind).ok());
    let timing = server_timing(&read.report.phases);
    let range = read.range.clone();
    let bytes = range.as_ref().map_or(read.length, |it| it.end - it.start);
    let (length, whole) = (HeaderValue::from(bytes), read.length);
    let mut response = Body::from_stream(parts(read.parts, read.end)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        content_type.unwrap_or_else(|| HeaderValue::from_static("application/octet-stream")),
    );
    headers.insert(header::CONTENT_LENGTH, length);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(timing) = HeaderValue::from_str(&timing) {
        headers.insert("server-timing", timing);
    }
    if let Some(range) = range {
        is_part(&mut response, &range, whole);
    }
    Ok(response)
}

/// Says of an answer which bytes of how many it has.
pub(super) fn is_part(response: &mut Response, range: &Range<u64>, whole: u64) {
    let last = range.end.saturating_sub(1);
    let told = format!("bytes {}-{last}/{whole}", range.start);
    if let Ok(told) = HeaderValue::from_str(&told) {
        response.headers_mut().insert(header::CONTENT_RANGE, told);
    }
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
}

/// Which bytes the caller wants. A unit that nobody knows is passed over, as the standard has it; a range of bytes that cannot be
/// read is refused, because a read is for ever on the record.
pub(super) fn range_of(headers: &HeaderMap) -> Result<Option<ByteRange>, Problem> {
    let Some(value) = headers.get(header::RANGE) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    if text
        .split_once('=')
        .is_some_and(|(unit, _)| unit != "bytes")
    {
        return Ok(None);
    }
    let range = text.parse();
    range
        .map(Some)
        .map_err(|e: NoRange| Problem::bad_request(e.to_string()))
}

/// The span that the caller does this in (W3C Trace Context). What is none is passed over, as the standard has it.
pub(super) fn trace_of(headers: &HeaderMap) -> Option<TraceParent> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    TraceParent::from_header(text)
}

/// The phases that are over before the first byte, as `Server-Timing`.
fn server_timing(phases: &Phases) -> String {
    let Phases {
        record_ms,
        approvals_ms,
        cluster_ms,
        fetch_ms,
        checksum_ms,
        ..
    } = phases;
    format!(
        "record;dur={record_ms}, approvals;dur={approvals_ms}, cluster;dur={cluster_ms}, fetch;dur={fetch_ms}, \
         checksum;dur={checksum_ms}"
    )
}

/// The parts of a document; an error breaks off the answer, so that nobody takes a part for the whole.
pub(super) fn parts(
    parts: Receiver<Bytes>,
    end: JoinHandle<Result<(), PlatformError>>,
) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some((parts, end)), async |state| {
        let (mut parts, end) = state?;
        if let Some(part) = parts.recv().await {
            return Some((Ok(part), Some((parts, end))));
        }
        match end.await {
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some((Err(io::Error::other(e)), None)),
            Err(e) => Some((Err(io::Error::other(e)), None)),
        }
    })
}

/// What happened in a read: its phases, the organisations, the crypto nodes.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/reads/{id}", tag = "documents", operation_id = "read_report",
    responses((status = 200, body = ReadReport)))]
pub(super) async fn report(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, id)): Path<(String, Uuid)>,
) -> Result<Json<ReadReport>, Problem> {
    api.platform
        .report(&tenant, id)
        .map(Json)
        .ok_or_else(Problem::not_found)
}
