//! Documents of users whose keys this platform keeps, in one request each: `curl -T` writes, `curl -o` reads.
//!
//! The same two flows as with signatures of the users' own, and the same rules of the record. Between its two steps the platform signs for the
//! user, after the API key's scope and the user that it is bound to were looked at. A read is on the record for ever, whoever signs it,
//! so nothing here is to be cached, and HEAD only says what the record says and reads nothing.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::{AuthError, Caller, Scope};
use super::bodies::{
    WriteQuery, answer, answer_to_body, range_of, store, trace_of, wants_trailers,
};
use super::changes::{Settled, settled, signing};
use super::conditional::{BodyWanted, IfAnother, IfSeenOrNew, Tag, wanted, with_tag};
use super::page::Asked;
use super::record::elsewhere;
use super::views::ReceiptView;
use super::{Api, Problem, Tenant, bounded};
use crate::platform::{
    CommitRead, ManagedKeyError, PlatformError, PreparedWrite, ReadRequest, now_ms,
};
use crate::record::{
    DatasetName, DocumentName, Identifier, MAX_TRANSACTION, RecordError, Rejection, Role,
    Transaction, UserName,
};

/// Puts a transaction onto the record that the platform signs for a user whose key it keeps.
///
/// The body is the canonical CBOR of `transaction` alone; ledger, nonce and expiry are the platform's. Writes and reads go by `content`. The scope that
/// the key needs depends on the transaction, as with `transactions`.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/users/{user}/transactions", tag = "record", operation_id = "submit_for_user",
    request_body(content_type = "application/octet-stream", description = "The transaction, canonical CBOR."),
    responses((status = 201, body = ReceiptView)))]
pub(super) async fn submit(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, user)): Path<(String, Identifier)>,
    request: Request,
) -> Result<Response, Problem> {
    let bytes = bounded(request.into_body(), MAX_TRANSACTION).await?;
    let transaction = Transaction::from_bytes(&bytes).map_err(|e| PlatformError::Malformed {
        reason: format!("the body is not a transaction: {e}"),
    })?;
    let needed = Scope::of(&transaction);
    if !caller.scopes.contains(needed) {
        return Err(AuthError::Scope(needed).into());
    }
    if elsewhere(&transaction, &tenant) {
        return Err(Problem::not_found());
    }
    let user = managed(&api, &caller, &tenant, Some(user))?;
    let unsigned = api.platform.prepare_change(user, transaction);
    signing(&caller, &unsigned);
    let receipt = api.platform.submit_managed(unsigned).await?;
    Ok(settled(&api, receipt))
}

/// The user for whom the platform signs, if it is one.
pub(super) fn managed(
    api: &Api,
    caller: &Caller,
    tenant: &Identifier,
    asked: Option<Identifier>,
) -> Result<UserName, Problem> {
    let user = UserName {
        tenant: tenant.clone(),
        user: caller.acting(asked)?,
    };
    let known = api
        .platform
        .record()
        .with_state(|state| state.user(&user).is_some());
    if !known {
        let unknown = Rejection::UnknownUser(user);
        return Err(PlatformError::from(RecordError::from(unknown)).into());
    }
    if !api.platform.is_managed(&user) {
        return Err(PlatformError::from(ManagedKeyError::NotManaged(user)).into());
    }
    Ok(user)
}

/// A version that is on the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "version": 3, "length": 1_048_576, "checksum": "77e0…64 hexadecimal digits",
    "receipt": { "transaction_id": "5a0b…64 hexadecimal digits", "height": 813, "time_ms": 1_795_000_000_000_u64, "position": 2049 }
}))]
pub struct WrittenView {
    /// Its number, from 1.
    pub version: u64,
    /// Bytes of plaintext.
    pub length: u64,
    /// SHA-256 over the stored body, hexadecimal.
    pub checksum: String,
    /// What became of the transaction.
    pub receipt: ReceiptView,
}

type DocumentPath = Path<(String, Identifier, Identifier)>;

/// Writes a document, or a new version of it, for a user whose key the platform keeps.
///
/// The body streams. `Content-Type` is the document's media type and public on the record. Users with keys of their own take `uploads`.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/datasets/{dataset}/documents/{document}/content", tag = "documents",
    operation_id = "write_content", params(WriteQuery, IfSeenOrNew),
    request_body(content_type = "application/octet-stream", description = "The document."),
    responses((status = 201, body = WrittenView, headers(("ETag" = String, description = "The body's, as `GET` has it.")))))]
pub(super) async fn write(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, dataset, document)): DocumentPath,
    query: Result<Asked<WriteQuery>, Problem>,
    request: Request,
) -> Response {
    let name = DatasetName {
        tenant: tenant.clone(),
        dataset,
    };
    let author = |asked| managed(&api, &caller, &tenant, asked);
    let (prepared, rest) = store(&api, name.document(document), query, author, request).await;
    let written = match prepared {
        Ok(prepared) => commit(&api, &caller, &tenant, prepared).await,
        Err(problem) => Err(problem),
    };
    let created = written.map(|view| {
        let tag = Tag::of_body(view.version, &view.checksum);
        let view = (StatusCode::CREATED, Extension(Settled), Json(view));
        with_tag(Some(&tag), view)
    });
    answer_to_body(created, rest).await
}

async fn commit(
    api: &Api,
    caller: &Caller,
    tenant: &Identifier,
    prepared: PreparedWrite,
) -> Result<WrittenView, Problem> {
    let PreparedWrite {
        id,
        transaction,
        name,
        length,
        checksum,
    } = prepared;
    signing(caller, &transaction);
    let committed = match api.platform.sign_managed(transaction).await {
        Ok(signed) => api.platform.commit_write(tenant, id, signed).await,
        Err(e) => Err(e),
    };
    match committed {
        Ok(receipt) => Ok(WrittenView {
            version: name.version,
            length,
            checksum: hex::encode(checksum),
            receipt: receipt.into(),
        }),
        Err(e) => {
            // Nobody else can sign it. If it is on the record all the same, it stays.
            let _ = api.platform.discard_write(tenant, id).await;
            Err(e.into())
        }
    }
}

/// What is read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadQuery {
    /// The managed user who reads. If absent, the one that the API key is bound to.
    #[param(value_type = Option<String>, example = "carol")]
    reader: Option<Identifier>,
    /// The version; the latest if absent.
    version: Option<u64>,
}

/// Reads a document for a user whose key the platform keeps, and streams it.
///
/// The read is on the record before a byte of the document leaves. An answer that breaks off is no document: `reads/{id}` of `x-read-id` says
/// why. With the `ETag` of an earlier one in `If-None-Match` nothing is read, and nothing comes onto the record, unless there is another body now.
/// Users with keys of their own take `reads`.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/datasets/{dataset}/documents/{document}/content", tag = "documents",
    operation_id = "read_content", params(ReadQuery, IfAnother),
    responses(
        (status = 200, description = "The document.", content_type = "application/octet-stream", headers(
            ("Server-Timing" = String, description = "What the read's phases took."),
            ("x-read-id" = String, description = "Names the read: `reads/{id}` tells of it."),
            ("ETag" = String, description = "The body's: of this version for ever."),
            ("Accept-Ranges" = String, description = "`bytes`."))),
        (status = 206, description = "The bytes that were asked for.", content_type = "application/octet-stream",
            headers(("Content-Range" = String, description = "Which bytes of how many."))),
        (status = 304, description = "It is the body of `If-None-Match`."),
        (status = 416, description = "The document has no such bytes; `Content-Range` has its length.")))]
pub(super) async fn read(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, dataset, document)): DocumentPath,
    Asked(query): Asked<ReadQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let name = DocumentName {
        tenant: tenant.clone(),
        dataset,
        document,
    };
    if request.method() == Method::HEAD {
        return head(&api, &name, query.version, request.headers());
    }
    content(&api, &caller, &tenant, name, query, request.headers()).await
}

/// The same of another tenant's document, which is open to a user of this one whose key the platform keeps.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/shared/{of_tenant}/datasets/{dataset}/documents/{document}/content", tag = "documents",
    operation_id = "read_shared_content", params(ReadQuery, IfAnother),
    responses(
        (status = 200, description = "The document.", content_type = "application/octet-stream", headers(
            ("Server-Timing" = String, description = "What the read's phases took."),
            ("x-read-id" = String, description = "Names the read: `reads/{id}` of the reader's tenant tells of it."),
            ("ETag" = String, description = "The body's: of this version for ever."),
            ("Accept-Ranges" = String, description = "`bytes`."))),
        (status = 206, description = "The bytes that were asked for.", content_type = "application/octet-stream",
            headers(("Content-Range" = String, description = "Which bytes of how many."))),
        (status = 304, description = "It is the body of `If-None-Match`."),
        (status = 416, description = "The document has no such bytes; `Content-Range` has its length.")))]
pub(super) async fn read_shared(
    State(api): State<Arc<Api>>,
    Extension(Tenant(own)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, tenant, dataset, document)): Path<(String, Identifier, Identifier, Identifier)>,
    Asked(query): Asked<ReadQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let name = DocumentName {
        tenant,
        dataset,
        document,
    };
    if request.method() == Method::HEAD {
        let reader = UserName {
            tenant: own,
            user: caller.acting(query.reader)?,
        };
        let dataset = name.dataset_name();
        let record = api.platform.record();
        if !record.with_state(|state| state.allows(&reader, &dataset, Role::Reader)) {
            return Err(Problem::not_found());
        }
        return head(&api, &name, query.version, request.headers());
    }
    content(&api, &caller, &own, name, query, request.headers()).await
}

/// A document, of whichever tenant, for a managed user of this one.
async fn content(
    api: &Api,
    caller: &Caller,
    own: &Identifier,
    name: DocumentName,
    query: ReadQuery,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let reader = managed(api, caller, own, query.reader)?;
    let (mut range, trace) = (range_of(headers)?, trace_of(headers));
    let trailers = wants_trailers(headers);
    let mut version = query.version;
    // Whoever may not read it gets the refusal, whatever the conditions.
    if let Some((number, tag)) = readable(api, &reader, &name, version) {
        match wanted(headers, &tag)? {
            BodyWanted::No => return Ok(with_tag(Some(&tag), not_modified())),
            BodyWanted::Whole => range = None,
            BodyWanted::AsAsked => {}
        }
        // The conditions were held against this one.
        version = Some(number);
    }
    let prepared = api.platform.prepare_read(ReadRequest {
        dataset: name.dataset_name(),
        document: name.document,
        version,
        reader,
    })?;
    signing(caller, &prepared.transaction);
    let commit = CommitRead {
        signed: api.platform.sign_managed(prepared.transaction).await?,
        range,
        trace,
    };
    let read = api.platform.commit_read(own, prepared.id, commit).await?;
    Ok(answer(read, trailers))
}

/// The version that a read would be of, if the record would accept it now.
fn readable(
    api: &Api,
    reader: &UserName,
    name: &DocumentName,
    version: Option<u64>,
) -> Option<(u64, Tag)> {
    api.platform.record().with_state(|state| {
        let number = version.unwrap_or(state.document(name)?.latest);
        let version = name.version(number);
        if !state.may_read(reader, &version, now_ms()) {
            return None;
        }
        Some((number, Tag::of_version(number, state.version(&version)?)?))
    })
}

fn not_modified() -> impl IntoResponse {
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (StatusCode::NOT_MODIFIED, headers)
}

/// What the record says of a version, without a read of it.
fn head(
    api: &Api,
    name: &DocumentName,
    version: Option<u64>,
    conditions: &HeaderMap,
) -> Result<Response, Problem> {
    let found = api.platform.record().with_state(|state| {
        let number = version.unwrap_or(state.document(name)?.latest);
        let version = state.version(&name.version(number))?;
        Some((number, version.clone()))
    });
    let (number, version) = found.ok_or_else(Problem::not_found)?;
    let Some(tag) = Tag::of_version(number, &version) else {
        let erased = Rejection::Erased(name.version(number).to_string());
        return Err(PlatformError::from(RecordError::from(erased)).into());
    };
    if wanted(conditions, &tag)? == BodyWanted::No {
        return Ok(with_tag(Some(&tag), not_modified()));
    }
    let kind = version.content_type.as_deref();
    let kind = kind.and_then(|kind| HeaderValue::from_str(kind).ok());
    let headers = [
        (
            header::CONTENT_TYPE,
            kind.unwrap_or_else(|| HeaderValue::from_static("application/octet-stream")),
        ),
        (header::CONTENT_LENGTH, HeaderValue::from(version.length)),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok(with_tag(Some(&tag), headers))
}
