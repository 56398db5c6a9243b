//! The record: transactions go in, rows and proofs come out.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio_util::io::ReaderStream;
use utoipa::ToSchema;

use super::auth::{AuthError, Caller, Scope};
use super::changes::settled;
use super::conditional::{Tag, tagged};
use super::page::{Asked, PageQuery, limit, part};
use super::views::{ClusterView, DatasetView, Page, PeerView, ReceiptView, StatusView};
use super::{Api, Problem, Tenant, bounded};
use crate::platform::PlatformError;
use crate::record::audit::{AuditQuery, AuditView, Query, Subject};
use crate::record::{
    DatasetName, Identifier, MAX_TRANSACTION, RecordError, SignedTransaction, Transaction,
};

/// Longest signed transaction on the wire, in bytes.
pub(super) const MAX_BODY: usize = MAX_TRANSACTION;

/// Whether the record takes transactions: for whoever looks after the process. Needs no API key.
#[utoipa::path(get, path = "/healthz", tag = "platform", operation_id = "health", responses(
    (status = 200, body = HealthView), (status = 503, description = "The record has stopped.", body = HealthView)))]
pub(super) async fn health(State(api): State<Arc<Api>>) -> Response {
    let peers = api.platform.record().peers();
    let working = peers.iter().filter(|peer| peer.fault.is_none()).count();
    let well = working >= crate::record::quorum(peers.len());
    let status = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let word = if well { "ok" } else { "record-halted" };
    let view = HealthView {
        status: word.to_owned(),
        peers: peers.len(),
        peers_working: working,
    };
    (status, Json(view)).into_response()
}

/// How the record is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "status": "ok", "peers": 3, "peers_working": 3 }))]
pub struct HealthView {
    /// `ok` or `record-halted`.
    pub status: String,
    /// The organisations' peers.
    pub peers: usize,
    /// Those that take part.
    pub peers_working: usize,
}

/// How the platform, its record and its clusters are.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/status", tag = "platform", operation_id = "status",
    responses((status = 200, body = StatusView)))]
pub(super) async fn status(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
) -> Result<Json<StatusView>, Problem> {
    let record = api.platform.record();
    let peers = record.peers().into_iter();
    let clusters = api.platform.clusters().list()?.into_iter();
    let client = Sha256::digest(api.platform.clusters().spki());
    Ok(Json(StatusView {
        tenant: tenant.to_string(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        ledger: hex::encode(record.ledger()),
        client: hex::encode(client),
        peers: peers
            .map(|peer| PeerView {
                organisation: peer.organisation,
                height: peer.height,
                fault: peer.fault,
            })
            .collect(),
        clusters: clusters
            .map(|cluster| ClusterView {
                public_key: hex::encode(cluster.public_key),
                epoch: cluster.epoch,
                threshold: cluster.threshold,
                nodes: cluster
                    .members
                    .into_iter()
                    .map(|member| member.name)
                    .collect(),
            })
            .collect(),
    }))
}

/// Puts a signed transaction onto the record: everything but writes and reads, which have ways of their own.
///
/// The scope that the key needs depends on the transaction: `read` for a request for access, `write` for links and erasures, `manage`
/// for the rest.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/transactions", tag = "record", operation_id = "submit_transaction",
    request_body(content_type = "application/octet-stream", description = "The signed transaction, canonical CBOR."),
    responses((status = 201, body = ReceiptView, headers(("ETag" = String, description = "The new state of the dataset, the permissions or \
        the link, if the transaction was about one.")))))]
pub(super) async fn submit(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let signed = signed(&caller, request.into_body()).await?;
    let needed = Scope::of(signed.transaction());
    if !caller.scopes.contains(needed) {
        return Err(AuthError::Scope(needed).into());
    }
    // A key of one tenant is no way in for another one's users. An organisation answers for itself.
    if signed
        .author()
        .user()
        .is_some_and(|author| author.tenant != tenant)
        || elsewhere(signed.transaction(), &tenant)
    {
        return Err(Problem::not_found());
    }
    Ok(settled(&api, api.platform.submit(signed).await?))
}

/// Whether a user's transaction is about another tenant's things.
pub(super) fn elsewhere(transaction: &Transaction, tenant: &Identifier) -> bool {
    let about = match transaction {
        Transaction::UserRegister(it) => &it.tenant,
        Transaction::UserSuspend(it) | Transaction::UserResume(it) => &it.tenant,
        Transaction::UserExpire(it) => &it.tenant,
        Transaction::TenantAuthorities(it) => &it.tenant,
        Transaction::UserCertify(it) => &it.tenant,
        Transaction::ClientCertify(it) => &it.tenant,
        Transaction::RevocationsPublish(it) => &it.tenant,
        Transaction::DatasetCreate(it) => &it.tenant,
        Transaction::DatasetConfigure(it) => &it.tenant,
        Transaction::PermissionSet(it) => &it.tenant,
        Transaction::PermissionAdd(it) | Transaction::PermissionRemove(it) => &it.tenant,
        Transaction::AccessGrant(it) | Transaction::AccessDecline(it) => &it.tenant,
        Transaction::Write(it) => &it.tenant,
        Transaction::Link(it) => &it.tenant,
        Transaction::Read(it) => &it.tenant,
        Transaction::Erase(it) => &it.tenant,
        Transaction::Rewrap(it) => &it.tenant,
        // Anybody may ask anybody.
        Transaction::UserRotateKey(_) | Transaction::AccessRequest(_) => return false,
        // An organisation registers a tenant that does not exist yet.
        Transaction::OrganisationEndorse(_)
        | Transaction::OrganisationWithdraw(_)
        | Transaction::TenantRegister(_) => return false,
    };
    about != tenant
}

/// The signed transaction in a request's body. Whoever signed: an API key that is bound to a user sends nobody else's signature.
pub(super) async fn signed(caller: &Caller, body: Body) -> Result<SignedTransaction, Problem> {
    let bytes = bounded(body, MAX_BODY).await?;
    let malformed = |e| PlatformError::Malformed {
        reason: format!("the body is not a signed transaction: {e}"),
    };
    let signed = SignedTransaction::from_bytes(&bytes).map_err(malformed)?;
    match (&caller.user, signed.author().user()) {
        (_, Some(author)) => drop(caller.acting(Some(author.user.clone()))?),
        (Some(bound), None) => return Err(AuthError::User(bound.clone()).into()),
        (None, None) => {}
    }
    Ok(signed)
}

/// The tenant's datasets, by name.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/datasets", tag = "datasets", operation_id = "list_datasets", params(PageQuery),
    responses((status = 200, body = Page<DatasetView>)))]
pub(super) async fn datasets(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Asked(query): Asked<PageQuery>,
) -> Json<Page<DatasetView>> {
    Json(api.platform.record().with_state(|state| {
        let view = |(name, dataset): (&DatasetName, _)| {
            DatasetView::of(name, dataset, state.permissions(name))
        };
        let views = state.datasets(&tenant, query.after.as_ref()).map(view);
        part(views, limit(query.limit), |view| view.dataset.to_string())
    }))
}

/// A dataset's configuration and permissions.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/datasets/{dataset}", tag = "datasets", operation_id = "get_dataset",
    responses((status = 200, body = DatasetView, headers(("ETag" = String, description = "Versions of configuration and permissions.")))))]
pub(super) async fn dataset(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, dataset)): Path<(String, Identifier)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = DatasetName { tenant, dataset };
    let found = api.platform.record().with_state(|state| {
        let (dataset, permissions) = (state.dataset(&name)?, state.permissions(&name));
        let view = DatasetView::of(&name, dataset, permissions);
        Some((Tag::of_dataset(dataset, permissions), view))
    });
    let (tag, view) = found.ok_or_else(Problem::not_found)?;
    Ok(tagged(&tag, &headers, Json(view)))
}

/// The record's head, signed by the organisations' peers: a C2SP tlog-checkpoint.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/audit/checkpoint", tag = "audit", operation_id = "checkpoint",
    responses((status = 200, description = "A signed note.", body = String, content_type = "text/plain")))]
pub(super) async fn checkpoint(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let note = api
        .platform
        .record()
        .checkpoint()
        .await
        .map_err(PlatformError::from)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

/// The whole record with its signed head, for `coordinator audit verify`. Needs an operator's key.
#[utoipa::path(get, path = "/v1/operator/audit/export", tag = "audit", operation_id = "export",
    responses((status = 200, description = "The export.", content_type = "application/octet-stream")))]
pub(super) async fn export(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let internal = |e: std::io::Error| PlatformError::Internal {
        reason: format!("the export failed: {e}"),
    };
    let dir = tempfile::tempdir().map_err(internal)?;
    let path = dir.path().join("export");
    api.platform
        .record()
        .export(&path)
        .await
        .map_err(PlatformError::from)?;
    let file = tokio::fs::File::open(&path).await.map_err(internal)?;
    let length = file.metadata().await.map_err(internal)?.len();
    // The open file stays readable when its name goes.
    drop(dir);
    let body = Body::from_stream(ReaderStream::with_capacity(file, 64 * 1024));
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
    ];
    Ok((headers, body).into_response())
}

/// What the record says about something of the tenant's, or about all of the tenant: each row with its proof.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/audit/rows", tag = "audit", operation_id = "audit_rows", params(AuditQuery),
    responses((status = 200, body = AuditView)))]
pub(super) async fn audit(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Asked(asked): Asked<AuditQuery>,
) -> Result<Json<AuditView>, Problem> {
    let (mut query, size) = asked
        .query()
        .map_err(|e| Problem::bad_request(e.to_string()))?;
    let subject = query
        .subject
        .get_or_insert_with(|| Subject::Tenant(tenant.clone()));
    if subject.tenant() != Some(&tenant) {
        return Err(Problem::not_found());
    }
    rows(&api, query, size).await
}

/// What the record says about anything: organisations belong to no tenant. Needs an operator's key.
#[utoipa::path(get, path = "/v1/operator/audit/rows", tag = "audit", operation_id = "audit_all_rows", params(AuditQuery),
    responses((status = 200, body = AuditView)))]
pub(super) async fn audit_all(
    State(api): State<Arc<Api>>,
    Asked(asked): Asked<AuditQuery>,
) -> Result<Json<AuditView>, Problem> {
    let (query, size) = asked
        .query()
        .map_err(|e| Problem::bad_request(e.to_string()))?;
    rows(&api, query, size).await
}

async fn rows(api: &Api, query: Query, size: Option<u64>) -> Result<Json<AuditView>, Problem> {
    match api.platform.record().audit(query, size).await {
        Ok(answer) => Ok(Json(answer.into())),
        Err(e @ RecordError::BeyondSize { .. }) => Err(Problem::bad_request(e.to_string())),
        Err(e) => Err(PlatformError::from(e).into()),
    }
}
