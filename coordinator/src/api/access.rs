//! Permissions as they are, and requests for access: a user asks, an owner grants or declines.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::Caller;
use super::changes::{AuthorQuery, ChangeView, prepared};
use super::conditional::{Tag, tagged};
use super::page::{Asked, limit, part};
use super::views::{Page, PermissionsView, ReceiptView};
use super::{Api, Problem, Tenant, json};
use crate::record::{
    Access, AccessDecision, AccessKey, AccessRequest, AccessStatus, DatasetName, Identifier, Role,
    Transaction,
};

const MAX_JSON: usize = 4 * 1024;

/// Who may do what with a dataset.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/datasets/{dataset}/permissions", tag = "datasets", operation_id = "get_permissions",
    responses((status = 200, body = PermissionsView, headers(("ETag" = String, description = "Their version.")))))]
pub(super) async fn permissions(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, dataset)): Path<(String, Identifier)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = DatasetName { tenant, dataset };
    let found = api.platform.record().with_state(|state| {
        let permissions = state.permissions(&name)?;
        Some((
            Tag::of_permissions(permissions),
            PermissionsView::of(permissions),
        ))
    });
    let (tag, view) = found.ok_or_else(Problem::not_found)?;
    Ok(tagged(&tag, &headers, Json(view)))
}

/// A request for access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "request": "5a0b…64 hexadecimal digits", "user": "acme/bob", "role": "reader", "requested_ms": 1_795_000_000_000_u64, "status": "open"
}))]
pub struct AccessView {
    /// The transaction that asked, hexadecimal: what a decision names.
    pub request: String,
    /// Who asked, `tenant/user`.
    pub user: String,
    /// For which role.
    pub role: Role,
    /// Time of its block, milliseconds since the Unix epoch.
    pub requested_ms: u64,
    /// `open`, `granted` or `declined`.
    pub status: String,
    /// The owner who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
}

impl AccessView {
    pub(super) fn of(key: &AccessKey, access: &Access) -> Self {
        let (status, decided_by) = match &access.status {
            AccessStatus::Open => ("open", None),
            AccessStatus::Granted(owner) => ("granted", Some(owner.to_string())),
            AccessStatus::Declined(owner) => ("declined", Some(owner.to_string())),
        };
        Self {
            request: hex::encode(access.request),
            user: key.user.to_string(),
            role: key.role,
            requested_ms: access.requested_ms,
            status: status.to_owned(),
            decided_by,
        }
    }
}

/// Which part of the requests for access.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AccessPageQuery {
    /// `next` of the part before.
    after: Option<String>,
    /// Items at most; 100 if absent, never more than 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// The requests for access to a dataset: the latest of each user for each role, whatever became of it.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/datasets/{dataset}/access-requests", tag = "datasets",
    operation_id = "list_access_requests", params(AccessPageQuery), responses((status = 200, body = Page<AccessView>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, dataset)): Path<(String, Identifier)>,
    Asked(query): Asked<AccessPageQuery>,
) -> Result<Json<Page<AccessView>>, Problem> {
    let name = DatasetName { tenant, dataset };
    let after = match &query.after {
        Some(cursor) => Some(key_of(&name, cursor)?),
        None => None,
    };
    let page = api.platform.record().with_state(|state| {
        state.dataset(&name)?;
        let requests = state.access(&name, after.as_ref());
        let views = requests.map(|(key, access)| AccessView::of(key, access));
        let cursor = |view: &AccessView| format!("{}/{}", view.user, view.role.name());
        Some(part(views, limit(query.limit), cursor))
    });
    page.map(Json).ok_or_else(Problem::not_found)
}

/// `TENANT/USER/ROLE`, as in `next`.
fn key_of(dataset: &DatasetName, cursor: &str) -> Result<AccessKey, Problem> {
    let key = cursor.rsplit_once('/').and_then(|(user, role)| {
        Some(AccessKey {
            dataset: dataset.clone(),
            user: user.parse().ok()?,
            role: Role::ALL.into_iter().find(|it| it.name() == role)?,
        })
    });
    key.ok_or_else(|| Problem::bad_request("`after` is the `next` of the part before"))
}

/// What is asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "role": "reader" }))]
pub(super) struct AccessBody {
    /// The role.
    pub(super) role: Role,
}

/// Prepares a request for access: the author asks for itself.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/datasets/{dataset}/access-requests", tag = "datasets",
    operation_id = "prepare_access_request", params(AuthorQuery), request_body = AccessBody,
    responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn ask(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, dataset)): Path<(String, Identifier)>,
    Asked(query): Asked<AuthorQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let AccessBody { role } = json(request.into_body(), MAX_JSON).await?;
    let transaction = Transaction::AccessRequest(AccessRequest {
        tenant: tenant.clone(),
        dataset,
        role,
    });
    prepared(&api, &caller, &tenant, query.author, transaction).await
}

/// Prepares that a request for access is granted; an owner signs.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/datasets/{dataset}/access-requests/{request}/grant", tag = "datasets",
    operation_id = "prepare_access_grant", params(AuthorQuery), responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn grant(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, dataset, request)): Path<(String, Identifier, String)>,
    Asked(query): Asked<AuthorQuery>,
) -> Result<Response, Problem> {
    let decision = decision(&api, &tenant, dataset, &request)?;
    prepared(
        &api,
        &caller,
        &tenant,
        query.author,
        Transaction::AccessGrant(decision),
    )
    .await
}

/// Prepares that a request for access is declined; an owner signs.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/datasets/{dataset}/access-requests/{request}/decline", tag = "datasets",
    operation_id = "prepare_access_refusal", params(AuthorQuery), responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn decline(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, dataset, request)): Path<(String, Identifier, String)>,
    Asked(query): Asked<AuthorQuery>,
) -> Result<Response, Problem> {
    let decision = decision(&api, &tenant, dataset, &request)?;
    prepared(
        &api,
        &caller,
        &tenant,
        query.author,
        Transaction::AccessDecline(decision),
    )
    .await
}

/// A decision about the open request with this id.
fn decision(
    api: &Api,
    tenant: &Identifier,
    dataset: Identifier,
    request: &str,
) -> Result<AccessDecision, Problem> {
    let mut id = [0; 32];
    hex::decode_to_slice(request, &mut id)
        .map_err(|_| Problem::bad_request("a request's id has 64 hexadecimal digits"))?;
    let name = DatasetName {
        tenant: tenant.clone(),
        dataset,
    };
    let found = api.platform.record().with_state(|state| {
        let mut requests = state.access(&name, None);
        let found = requests.find(|(_, access)| access.request == id);
        found.map(|(key, _)| key.clone())
    });
    let key = found.ok_or_else(Problem::not_found)?;
    Ok(AccessDecision {
        tenant: name.tenant,
        dataset: name.dataset,
        role: key.role,
        user: key.user,
        request: id,
    })
}
