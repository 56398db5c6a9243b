//! The record: transactions go in, rows and proofs come out.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio_util::io::ReaderStream;

use super::auth::{AuthError, Caller, Scope};
use super::views::{
    AuthorityView, ClusterView, DatasetView, Page, PeerView, ReceiptView, StatusView, UserView,
};
use super::{Api, Problem, Tenant, bounded};
use crate::platform::{PlatformError, now_ms};
use crate::record::audit::{AuditQuery, AuditView, Subject};
use crate::record::{
    Author, DatasetName, Identifier, MAX_TRANSACTION, RecordError, SignedTransaction, Transaction,
};

/// Longest signed transaction on the wire, in bytes.
pub(super) const MAX_BODY: usize = MAX_TRANSACTION;

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
    (
        status,
        Json(json!({ "status": word, "peers": peers.len(), "peers_working": working })),
    )
        .into_response()
}

pub(super) async fn status(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
) -> Result<Json<StatusView>, Problem> {
    let record = api.platform.record();
    let peers = record.peers().into_iter();
    let clusters = api.platform.clusters().list()?.into_iter();
    Ok(Json(StatusView {
        tenant: tenant.to_string(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        ledger: hex::encode(record.ledger()),
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

pub(super) async fn submit(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(StatusCode, Json<ReceiptView>), Problem> {
    let signed = signed(request.into_body()).await?;
    let needed = Scope::of(signed.transaction());
    if !caller.scopes.contains(needed) {
        return Err(AuthError::Scope(needed).into());
    }
    // A key of one tenant is no way in for another one's users. An organisation answers for itself.
    if matches!(signed.author(), Author::User(author) if author.tenant != tenant)
        || elsewhere(&signed, &tenant)
    {
        return Err(Problem::not_found());
    }
    let receipt = api.platform.submit(signed).await?;
    Ok((StatusCode::CREATED, Json(receipt.into())))
}

/// Whether a user's transaction is about another tenant's things.
fn elsewhere(signed: &SignedTransaction, tenant: &Identifier) -> bool {
    let about = match signed.transaction() {
        Transaction::UserRegister(it) => &it.tenant,
        Transaction::UserSuspend(it) | Transaction::UserResume(it) => &it.tenant,
        Transaction::UserExpire(it) => &it.tenant,
        Transaction::TenantAuthorities(it) => &it.tenant,
        Transaction::UserCertify(it) => &it.tenant,
        Transaction::RevocationsPublish(it) => &it.tenant,
        Transaction::DatasetCreate(it) => &it.tenant,
        Transaction::DatasetConfigure(it) => &it.tenant,
        Transaction::PermissionSet(it) => &it.tenant,
        Transaction::PermissionAdd(it) | Transaction::PermissionRemove(it) => &it.tenant,
        Transaction::AccessRequest(it) => &it.tenant,
        Transaction::AccessGrant(it) | Transaction::AccessDecline(it) => &it.tenant,
        Transaction::Write(it) => &it.tenant,
        Transaction::Link(it) => &it.tenant,
        Transaction::Read(it) => &it.tenant,
        Transaction::Erase(it) => &it.tenant,
        Transaction::UserRotateKey(_) => return false,
        // An organisation registers a tenant that does not exist yet.
        Transaction::OrganisationEndorse(_)
        | Transaction::OrganisationWithdraw(_)
        | Transaction::TenantRegister(_) => return false,
    };
    about != tenant
}

/// The signed transaction in a request's body.
pub(super) async fn signed(body: Body) -> Result<SignedTransaction, Problem> {
    let bytes = bounded(body, MAX_BODY).await?;
    SignedTransaction::from_bytes(&bytes).map_err(|e| {
        PlatformError::Malformed {
            reason: format!("the body is not a signed transaction: {e}"),
        }
        .into()
    })
}

pub(super) async fn users(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
) -> Json<Page<UserView>> {
    let items = api.platform.record().with_state(|state| {
        state
            .users(&tenant)
            .map(|(name, user)| UserView::of(state, name, user, now_ms()))
            .collect()
    });
    Json(Page { items, next: None })
}

pub(super) async fn authorities(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
) -> Json<Page<AuthorityView>> {
    let items = api
        .platform
        .record()
        .with_state(|state| AuthorityView::all(state, &tenant));
    Json(Page { items, next: None })
}

pub(super) async fn datasets(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
) -> Json<Page<DatasetView>> {
    let items = api.platform.record().with_state(|state| {
        let view = |(name, dataset): (&DatasetName, _)| {
            DatasetView::of(name, dataset, state.permissions(name))
        };
        state.datasets(&tenant).map(view).collect()
    });
    Json(Page { items, next: None })
}

pub(super) async fn dataset(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, dataset)): Path<(String, Identifier)>,
) -> Result<Json<DatasetView>, Problem> {
    let name = DatasetName { tenant, dataset };
    let view = api.platform.record().with_state(|state| {
        state
            .dataset(&name)
            .map(|dataset| DatasetView::of(&name, dataset, state.permissions(&name)))
    });
    view.map(Json).ok_or_else(Problem::not_found)
}

pub(super) async fn checkpoint(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let note = api
        .platform
        .record()
        .checkpoint()
        .await
        .map_err(PlatformError::from)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

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
    // The open file stays readable when its name goes.
    drop(dir);
    let body = Body::from_stream(ReaderStream::with_capacity(file, 64 * 1024));
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

/// What the record says about something of the tenant's, or about all of the tenant: each row with its proof.
pub(super) async fn audit(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<AuditView>, Problem> {
    let Query(asked) = query.map_err(|e| Problem::bad_request(e.body_text()))?;
    let (mut query, size) = asked
        .query()
        .map_err(|e| Problem::bad_request(e.to_string()))?;
    let subject = query
        .subject
        .get_or_insert_with(|| Subject::Tenant(tenant.clone()));
    if subject.tenant() != Some(&tenant) {
        return Err(Problem::not_found());
    }
    match api.platform.record().audit(query, size).await {
        Ok(answer) => Ok(Json(answer.into())),
        Err(e @ RecordError::BeyondSize { .. }) => Err(Problem::bad_request(e.to_string())),
        Err(e) => Err(PlatformError::from(e).into()),
    }
}
