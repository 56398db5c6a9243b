//! Documents: bodies stream in and out.

use std::io;
use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cryptonode::wire::v1::TraceParent;
use futures_util::{Stream, stream};
use serde::Deserialize;
use uuid::Uuid;

use super::views::{DocumentView, Page, PreparedView, ReceiptView, VersionView};
use super::{Api, Problem, Tenant, bounded, drain, record};
use crate::platform::{Phases, ReadReport, ReadRequest, ReadStream, WriteRequest};
use crate::record::{DatasetName, Identifier, UserName};

const MAX_PAGE: usize = 1000;
const MAX_JSON: usize = 16 * 1024;

/// Which part of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    after: Option<Identifier>,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, dataset)): Path<(String, Identifier)>,
    query: Result<Query<PageQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Page<DocumentView>>, Problem> {
    let Query(query) = query.map_err(|e| Problem::bad_request(e.body_text()))?;
    let limit = query.limit.unwrap_or(100).clamp(1, MAX_PAGE);
    let name = DatasetName { tenant, dataset };
    let page = api.platform.record().with_state(|state| {
        state.dataset(&name)?;
        let mut documents = state.documents(&name, query.after.as_ref());
        let items: Vec<_> = documents
            .by_ref()
            .take(limit)
            .map(|(name, document)| {
                DocumentView::of(
                    name,
                    document,
                    state.version(&name.version(document.latest)),
                )
            })
            .collect();
        let more = documents.next().is_some();
        let next = items
            .last()
            .filter(|_| more)
            .map(|last| last.document.to_string());
        Some(Page { items, next })
    });
    page.map(Json).ok_or_else(Problem::not_found)
}

pub(super) async fn versions(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, dataset, document)): Path<(String, Identifier, Identifier)>,
) -> Result<Json<Page<VersionView>>, Problem> {
    let name = DatasetName { tenant, dataset }.document(document);
    let items: Vec<_> = api.platform.record().with_state(|state| {
        state
            .versions(&name)
            .map(|(name, version)| VersionView::of(name, version))
            .collect()
    });
    if items.is_empty() {
        Err(Problem::not_found())
    } else {
        Ok(Json(Page { items, next: None }))
    }
}

/// What is said of a body beside it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadQuery {
    author: Identifier,
    version: Option<u64>,
}

pub(super) async fn prepare_write(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, dataset, document)): Path<(String, Identifier, Identifier)>,
    query: Result<Query<UploadQuery>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Response {
    // What is no text is no media type either: the record's own sentence refuses it.
    let content_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let mut body = request.into_body();
    let prepared = match query {
        Err(e) => Err(Problem::bad_request(e.body_text())),
        Ok(Query(query)) => {
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

pub(super) async fn discard_write(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, id)): Path<(String, Uuid)>,
) -> Result<StatusCode, Problem> {
    api.platform.discard_write(&tenant, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who reads what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadBody {
    reader: Identifier,
    version: Option<u64>,
}

pub(super) async fn prepare_read(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, dataset, document)): Path<(String, Identifier, Identifier)>,
    request: Request,
) -> Result<(StatusCode, Json<PreparedView>), Problem> {
    let bytes = bounded(request.into_body(), MAX_JSON).await?;
    let asked: ReadBody =
        serde_json::from_slice(&bytes).map_err(|e| Problem::bad_request(e.to_string()))?;
    let request = ReadRequest {
        dataset: DatasetName {
            tenant: tenant.clone(),
            dataset,
        },
        document,
        version: asked.version,
        reader: UserName {
            tenant,
            user: asked.reader,
        },
    };
    let prepared = api.platform.prepare_read(request)?;
    let view = PreparedView {
        id: prepared.id,
        transaction: prepared.transaction.to_bytes(),
    };
    Ok((StatusCode::CREATED, Json(view)))
}

pub(super) async fn commit_read(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, id)): Path<(String, Uuid)>,
    request: Request,
) -> Result<Response, Problem> {
    let trace = trace_of(request.headers());
    let signed = record::signed(request.into_body()).await?;
    let read = api.platform.commit_read(&tenant, id, signed, trace).await?;
    let content_type = read
        .content_type
        .as_deref()
        .and_then(|kind| HeaderValue::from_str(kind).ok());
    let timing = server_timing(&read.report.phases);
    let length = HeaderValue::from(read.length);
    let mut response = Body::from_stream(parts(read)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        content_type.unwrap_or_else(|| HeaderValue::from_static("application/octet-stream")),
    );
    headers.insert(header::CONTENT_LENGTH, length);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(timing) = HeaderValue::from_str(&timing) {
        headers.insert("server-timing", timing);
    }
    Ok(response)
}

/// The span that the caller does this in (W3C Trace Context). What is none is passed over, as the standard has it.
fn trace_of(headers: &HeaderMap) -> Option<TraceParent> {
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
fn parts(read: ReadStream) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some((read.parts, read.end)), async |state| {
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
