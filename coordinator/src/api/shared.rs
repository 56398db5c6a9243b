//! What belongs to another tenant and was opened to a user of this one: read through the user's own tenant, by its own key.
//!
//! A dataset's owner may let in users of any tenant. They see of the dataset what they may read, and of others' datasets nothing: whoever
//! is no reader gets the answer for what does not exist. The record, the organisations and the nodes decide by the signature, as always.
//!
//! Whoever knows the name of a dataset may ask for access to it, with a signature that stays on the record; the owner grants or declines. So by
//! asking one learns whether there is such a dataset, and its owner learns who asked.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::{AccessBody, AccessView};
use super::auth::{AuthError, Caller};
use super::changes::{AuthorQuery, ChangeView, prepared};
use super::conditional::{Tag, tagged};
use super::documents::ReadBody;
use super::end_to_end::proof_of;
use super::page::{Asked, limit, part};
use super::views::{DocumentView, Page, PreparedView, ReceiptView, VersionView};
use super::{Api, Problem, ProofView, Tenant, json};
use crate::record::{
    AccessRequest, DatasetName, DocumentName, Identifier, Role, State as RecordState, Transaction,
    UserName,
};

const MAX_JSON: usize = 16 * 1024;

/// Who looks, and from where on.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SharedQuery {
    /// The user of this tenant to whom the dataset is open. If absent, the one that the API key is bound to.
    #[param(value_type = Option<String>, example = "bob")]
    reader: Option<Identifier>,
    /// Items at most; 100 if absent, never more than 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the part before.
    after: Option<String>,
}

/// Who looks, as far as the API key is for that user.
fn acting(
    caller: &Caller,
    tenant: Identifier,
    asked: Option<Identifier>,
) -> Result<UserName, AuthError> {
    let user = caller.acting(asked)?;
    Ok(UserName { tenant, user })
}

/// Whether a user may read in a dataset, as far as it is there.
fn open_to(state: &RecordState, reader: &UserName, of: &DatasetName) -> bool {
    state.allows(reader, of, Role::Reader)
}

type SharedDataset = Path<(String, Identifier, Identifier)>;
type SharedDocument = Path<(String, Identifier, Identifier, Identifier)>;

/// The documents of another tenant's dataset that is open to a user of this one, by name.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/shared/{of_tenant}/datasets/{dataset}/documents", tag = "documents",
    operation_id = "list_shared_documents", params(SharedQuery), responses((status = 200, body = Page<DocumentView>)))]
pub(super) async fn documents(
    State(api): State<Arc<Api>>,
    Extension(Tenant(own)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, tenant, dataset)): SharedDataset,
    Asked(query): Asked<SharedQuery>,
) -> Result<Json<Page<DocumentView>>, Problem> {
    let reader = acting(&caller, own, query.reader)?;
    let name = DatasetName { tenant, dataset };
    let after = query.after.as_deref().map(str::parse).transpose();
    let after = after.map_err(|_| Problem::bad_request("`after` is no document's name"))?;
    let page = api.platform.record().with_state(|state| {
        if !open_to(state, &reader, &name) {
            return None;
        }
        let documents = state.documents(&name, after.as_ref());
        let views = documents.map(|(name, document)| {
            let latest = state.version(&name.version(document.latest));
            DocumentView::of(name, document, latest)
        });
        let cursor = |view: &DocumentView| view.document.to_string();
        Some(part(views, limit(query.limit), cursor))
    });
    page.map(Json).ok_or_else(Problem::not_found)
}

/// The versions of such a document, from the first.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/shared/{of_tenant}/datasets/{dataset}/documents/{document}", tag = "documents",
    operation_id = "list_shared_versions", params(SharedQuery),
    responses((status = 200, body = Page<VersionView>, headers(("ETag" = String, description = "The document's state.")))))]
pub(super) async fn versions(
    State(api): State<Arc<Api>>,
    Extension(Tenant(own)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, tenant, dataset, document)): SharedDocument,
    Asked(query): Asked<SharedQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let reader = acting(&caller, own, query.reader)?;
    let dataset = DatasetName { tenant, dataset };
    let after = query.after.as_deref().map(str::parse::<u64>).transpose();
    let after = after.map_err(|_| Problem::bad_request("`after` is no version's number"))?;
    let name = dataset.document(document);
    let found = api.platform.record().with_state(|state| {
        if !open_to(state, &reader, &dataset) {
            return None;
        }
        let tag = Tag::of_document(state, &name)?;
        let versions = state.versions(&name, after);
        let views = versions.map(|(name, version)| VersionView::of(name, version));
        let cursor = |view: &VersionView| view.version.to_string();
        Some((tag, part(views, limit(query.limit), cursor)))
    });
    let (tag, page) = found.ok_or_else(Problem::not_found)?;
    Ok(tagged(&tag, &headers, Json(page)))
}

/// Prepares a read of such a document: the transaction that its reader is to sign. It goes on at `reads/{id}` of the reader's tenant.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/shared/{of_tenant}/datasets/{dataset}/documents/{document}/reads", tag = "documents",
    operation_id = "prepare_shared_read", request_body = ReadBody, responses((status = 201, body = PreparedView)))]
pub(super) async fn prepare_read(
    State(api): State<Arc<Api>>,
    Extension(Tenant(own)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, tenant, dataset, document)): SharedDocument,
    request: Request,
) -> Result<(StatusCode, Json<PreparedView>), Problem> {
    let asked: ReadBody = json(request.into_body(), MAX_JSON).await?;
    let of = DocumentName {
        tenant,
        dataset,
        document,
    };
    asked.prepare(&api, &caller, own, of)
}

/// Proof of a version of such a document.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/shared/{of_tenant}/datasets/{dataset}/documents/{document}/versions/{version}/proof",
    tag = "documents", operation_id = "prove_shared_version", params(ReaderQuery), responses((status = 200, body = ProofView)))]
pub(super) async fn prove(
    State(api): State<Arc<Api>>,
    Extension(Tenant(own)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, tenant, dataset, document, version)): Path<(
        String,
        Identifier,
        Identifier,
        Identifier,
        String,
    )>,
    Asked(query): Asked<ReaderQuery>,
) -> Result<Json<ProofView>, Problem> {
    let reader = acting(&caller, own, query.reader)?;
    let dataset = DatasetName { tenant, dataset };
    let open = |state: &RecordState| open_to(state, &reader, &dataset);
    if !api.platform.record().with_state(open) {
        return Err(Problem::not_found());
    }
    proof_of(&api, &dataset.document(document), &version).await
}

/// Who looks.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReaderQuery {
    /// The user of this tenant to whom the dataset is open. If absent, the one that the API key is bound to.
    #[param(value_type = Option<String>, example = "bob")]
    reader: Option<Identifier>,
}

/// Prepares a request for access to another tenant's dataset: the author asks for itself, and an owner of the dataset grants or declines.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/shared/{of_tenant}/datasets/{dataset}/access-requests", tag = "datasets",
    operation_id = "prepare_shared_access_request", params(AuthorQuery), request_body = AccessBody,
    responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn ask(
    State(api): State<Arc<Api>>,
    Extension(Tenant(own)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, tenant, dataset)): SharedDataset,
    Asked(query): Asked<AuthorQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let AccessBody { role } = json(request.into_body(), MAX_JSON).await?;
    let transaction = Transaction::AccessRequest(AccessRequest {
        tenant,
        dataset,
        role,
    });
    prepared(&api, &caller, &own, query.author, transaction).await
}

/// The requests of one user for access to another tenant's dataset, and what became of them: the latest for each role.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/shared/{of_tenant}/datasets/{dataset}/access-requests", tag = "datasets",
    operation_id = "list_shared_access_requests", params(ReaderQuery), responses((status = 200, body = Page<AccessView>)))]
pub(super) async fn asked(
    State(api): State<Arc<Api>>,
    Extension(Tenant(own)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, tenant, dataset)): SharedDataset,
    Asked(query): Asked<ReaderQuery>,
) -> Result<Json<Page<AccessView>>, Problem> {
    let user = acting(&caller, own, query.reader)?;
    let name = DatasetName { tenant, dataset };
    let items = api.platform.record().with_state(|state| {
        let requests = state.access_of(&name, &user);
        let views = requests.map(|(key, access)| AccessView::of(key, access));
        views.collect()
    });
    Ok(Json(Page { items, next: None }))
}
