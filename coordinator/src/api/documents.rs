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
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::auth::Caller;
use super::conditional::{Tag, may_change, tagged};
use super::page::{Asked, NumberPageQuery, PageQuery, limit, part};
use super::views::{DocumentView, Page, PreparedView, ReceiptView, VersionView};
use super::{Api, Problem, Tenant, drain, json, managed, record};
use crate::platform::{
    ByteRange, CommitRead, EndToEndRequest, NoRange, Phases, ReadReport, ReadRequest, ReadStream,
    WriteRequest,
};
use crate::record::{DatasetName, DocumentName, Identifier, UserName};

const MAX_JSON: usize = 16 * 1024;
const SERVER_TIMING: &str = "server-timing";

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
    /// The user who will sign. If absent, the one that the API key is bound to.
    #[param(value_type = Option<String>, example = "alice")]
    author: Option<Identifier>,
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
    Extension(caller): Extension<Caller>,
    Path((_, dataset, document)): Path<(String, Identifier, Identifier)>,
    query: Result<Asked<UploadQuery>, Problem>,
    request: Request,
) -> Response {
    let content_type = media_type(request.headers());
    let name = DatasetName {
        tenant: tenant.clone(),
        dataset: dataset.clone(),
    };
    let name = name.document(document.clone());
    let record = api.platform.record();
    let present = record.with_state(|state| state.document(&name).map(Tag::of_document));
    let fresh = may_change(request.headers(), present.as_ref());
    let mut body = request.into_body();
    let author = query.and_then(|Asked(query)| {
        fresh?;
        Ok((query.version, caller.acting(query.author)?))
    });
    let prepared = match author {
        Err(problem) => Err(problem),
        Ok((version, author)) => {
            let request = WriteRequest {
                dataset: DatasetName {
                    tenant: tenant.clone(),
                    dataset,
                },
                document,
                version,
                author: UserName {
                    tenant,
                    user: author,
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
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, Uuid)>,
    request: Request,
) -> Result<(StatusCode, Json<ReceiptView>), Problem> {
    let signed = record::signed(request.into_body()).await?;
    managed::bound(&caller, signed.author())?;
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
    params(
        ("Range" = Option<String>, Header, description = "One range of bytes, such as `bytes=0-1023`, `bytes=1024-` or `bytes=-100`."),
        ("TE" = Option<String>, Header, description = "`trailers`: the answer is chunked, and ends with a `Server-Timing` of the whole read.")),
    request_body(content_type = "application/octet-stream", description = "The signed transaction, canonical CBOR."),
    responses(
        (status = 200, description = "The document.", content_type = "application/octet-stream", headers(
            ("Server-Timing" = String, description = "What the read's phases took, as far as it was known before the first byte."),
            ("x-read-id" = String, description = "Names the read: `reads/{id}` tells of it."),
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
    let signed = record::signed(request.into_body()).await?;
    managed::bound(&caller, signed.author())?;
    let commit = CommitRead {
        signed,
        range: range?,
        trace,
    };
    let read = api.platform.commit_read(&tenant, id, commit).await?;
    Ok(answer(read, trailers))
}

/// The document as an answer. With `trailers` its length is not said beforehand, and the times of the whole read come behind it.
pub(super) fn answer(read: ReadStream, trailers: bool) -> Response {
    let content_type = read
        .content_type
        .as_deref()
        .and_then(|kind| HeaderValue::from_str(kind).ok());
    let timing = server_timing(&read.report);
    let range = read.range.clone();
    let bytes = range.as_ref().map_or(read.length, |it| it.end - it.start);
    let (length, whole) = (HeaderValue::from(bytes), read.length);
    let read_id = HeaderValue::from_str(&read.report.read_id.to_string());
    let mut response = Body::new(StreamBody::new(frames(read, trailers))).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        content_type.unwrap_or_else(|| HeaderValue::from_static("application/octet-stream")),
    );
    if trailers {
        headers.insert(header::TRAILER, HeaderValue::from_static(SERVER_TIMING));
    } else {
        headers.insert(header::CONTENT_LENGTH, length);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(timing) = HeaderValue::from_str(&timing) {
        headers.insert(SERVER_TIMING, timing);
    }
    if let Ok(read_id) = read_id {
        headers.insert("x-read-id", read_id);
    }
    if let Some(range) = range {
        is_part(&mut response, &range, whole);
    }
    response
}

/// The media type of what is sent. What is no text is none either: the record's own sentence refuses it.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Whether the caller takes fields behind a body (RFC 9110 section 6.5).
pub(super) fn wants_trailers(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TE).iter();
    let words = lines.filter_map(|line| line.to_str().ok());
    words
        .flat_map(|line| line.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case("trailers"))
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

/// The phases of a read as `Server-Timing` (W3C). Before a long document has left, what it took to decrypt and in all is not known, and not said.
fn server_timing(report: &ReadReport) -> String {
    let Phases {
        record_ms,
        approvals_ms,
        cluster_ms,
        master_key_ms,
        fetch_ms,
        checksum_ms,
        decrypt_ms,
        first_byte_ms,
        total_ms,
    } = &report.phases;
    let mut text = format!("permission;dur={record_ms}");
    for (name, ms) in [
        ("approvals", approvals_ms),
        ("reencryption", cluster_ms),
        ("master-key", master_key_ms),
    ] {
        if *ms > 0.0 {
            text.push_str(&format!(", {name};dur={ms}"));
        }
    }
    text.push_str(&format!(
        ", fetch;dur={fetch_ms}, checksum;dur={checksum_ms}"
    ));
    if report.outcome == "complete" {
        text.push_str(&format!(", decrypt;dur={decrypt_ms}, total;dur={total_ms}"));
    } else {
        text.push_str(&format!(", first-byte;dur={first_byte_ms}"));
    }
    text
}

/// The parts of a document; an error breaks off the answer, so that nobody takes a part for the whole.
fn frames(mut read: ReadStream, trailers: bool) -> impl Stream<Item = io::Result<Frame<Bytes>>> {
    let first = read.first.take();
    let rest = stream::unfold(Some(read), move |read| async move {
        let mut read = read?;
        if let Some(part) = read.parts.recv().await {
            return Some((Ok(Frame::data(part)), Some(read)));
        }
        match (&mut read.end).await {
            Ok(Ok(())) if trailers => times(&read).map(|times| (Ok(times), None)),
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some((Err(io::Error::other(e)), None)),
            Err(e) => Some((Err(io::Error::other(e)), None)),
        }
    });
    let first = first.map(|part| Ok(Frame::data(part)));
    stream::StreamExt::chain(stream::iter(first), rest)
}

/// The times of the whole read, behind it.
fn times(read: &ReadStream) -> Option<Frame<Bytes>> {
    let report = read.reports.get(read.report.read_id)?;
    let value = HeaderValue::from_str(&server_timing(&report)).ok()?;
    let mut fields = HeaderMap::new();
    fields.insert(SERVER_TIMING, value);
    Some(Frame::trailers(fields))
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
