//! A tenant's own public-key infrastructure: its authorities, their revocation lists, and the certificates that users and clients are bound to.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_bytes::ByteBuf;
use utoipa::ToSchema;

use super::auth::Caller;
use super::changes::{AuthorQuery, ChangeView, prepared};
use super::conditional::{IfSeen, Tag, may_change, tagged};
use super::page::{Asked, IdPageQuery, limit};
use super::users::is_seen;
use super::views::{AuthorityView, ClientsView, Page, ReceiptView};
use super::{Api, Problem, Tenant, json};
use crate::platform::now_ms;
use crate::record::{
    Certification, ClientCertify, Identifier, MAX_TRANSACTION, RevocationsPublish,
    TenantAuthorities, Transaction, UserCertify, UserName,
};

/// Certificates and lists in hexadecimal, up to what a transaction can hold.
const MAX_JSON: usize = 3 * MAX_TRANSACTION;

/// The authorities of its own public-key infrastructure that the tenant has registered.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/authorities", tag = "users", operation_id = "list_authorities",
    responses((status = 200, body = Page<AuthorityView>, headers(("ETag" = String, description = "Their state.")))))]
pub(super) async fn authorities(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    headers: HeaderMap,
) -> Response {
    let (tag, items) = api.platform.record().with_state(|state| {
        let tag = Tag::of_authorities(state, &tenant);
        (tag, AuthorityView::all(state, &tenant))
    });
    tagged(&tag, &headers, Json(Page { items, next: None }))
}

fn bytes(what: &str, text: &str) -> Result<Vec<u8>, Problem> {
    let wrong = |_| Problem::bad_request(format!("`{what}` is DER in hexadecimal"));
    hex::decode(text).map_err(wrong)
}

fn all_bytes(what: &str, texts: &[String]) -> Result<Vec<ByteBuf>, Problem> {
    let decoded = texts
        .iter()
        .map(|text| Ok(ByteBuf::from(bytes(what, text)?)));
    decoded.collect()
}

/// All authorities of a tenant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "certificates": ["3082…hexadecimal"] }))]
pub(super) struct AuthoritiesBody {
    /// Their certificates, DER in hexadecimal, in any order; none takes them all back.
    certificates: Vec<String>,
    /// Whether reads of the tenant's users go to bound clients alone.
    #[serde(default)]
    bound_clients: bool,
}

/// Says which authorities the tenant stands by, all of them at once; an administrator acts. Once a user or a client is bound, only the tenant's organisation adds
/// one, or takes `bound_clients` back.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/authorities", tag = "users", operation_id = "prepare_authorities",
    params(AuthorQuery, IfSeen), request_body = AuthoritiesBody,
    responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn set_authorities(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<AuthorQuery>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let asked: AuthoritiesBody = json(request.into_body(), MAX_JSON).await?;
    let record = api.platform.record();
    may_change(&headers, || {
        Some(record.with_state(|state| Tag::of_authorities(state, &tenant)))
    })?;
    let mut authorities = all_bytes("certificates", &asked.certificates)?;
    authorities.sort_unstable();
    let transaction = Transaction::TenantAuthorities(TenantAuthorities {
        tenant: tenant.clone(),
        authorities,
        bound_clients: asked.bound_clients,
    });
    prepared(&api, &caller, &tenant, query.author, transaction).await
}

/// A revocation list.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "list": "3082…hexadecimal", "chain": [] }))]
pub(super) struct RevocationsBody {
    /// The list, DER in hexadecimal.
    list: String,
    /// Certificates of authorities, DER in hexadecimal, that of the list first, up to one that a registered authority issued; none if a registered
    /// authority signed the list.
    #[serde(default)]
    chain: Vec<String>,
}

/// Publishes a revocation list; an administrator acts.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/revocations", tag = "users", operation_id = "prepare_revocation_list",
    params(AuthorQuery), request_body = RevocationsBody,
    responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn publish_revocations(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<AuthorQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: RevocationsBody = json(request.into_body(), MAX_JSON).await?;
    let transaction = Transaction::RevocationsPublish(RevocationsPublish {
        tenant: tenant.clone(),
        chain: all_bytes("chain", &asked.chain)?,
        list: bytes("list", &asked.list)?,
    });
    prepared(&api, &caller, &tenant, query.author, transaction).await
}

/// A certificate, and that its holder agrees.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "chain": ["3082…hexadecimal"], "proof": "3045…hexadecimal" }))]
pub(super) struct CertificateBody {
    /// Certificates, DER in hexadecimal, the holder's first, up to one that a registered authority issued.
    chain: Vec<String>,
    /// The holder's signature over the binding statement (`docs/protocol/golden-record.md` section 2), hexadecimal.
    proof: String,
}

impl CertificateBody {
    fn read(&self) -> Result<Certification, Problem> {
        Ok(Certification {
            chain: all_bytes("chain", &self.chain)?,
            proof: bytes("proof", &self.proof)?,
        })
    }
}

/// Binds a user to a certificate of its company; the user itself or an administrator acts.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/users/{user}/certificate", tag = "users", operation_id = "prepare_certificate",
    params(AuthorQuery, IfSeen), request_body = CertificateBody,
    responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn bind(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, user)): Path<(String, Identifier)>,
    Asked(query): Asked<AuthorQuery>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let asked: CertificateBody = json(request.into_body(), MAX_JSON).await?;
    let name = UserName {
        tenant: tenant.clone(),
        user,
    };
    is_seen(&api, &headers, &name)?;
    let transaction = Transaction::UserCertify(UserCertify {
        tenant: name.tenant,
        user: name.user,
        certificate: Some(asked.read()?),
    });
    prepared(&api, &caller, &tenant, query.author, transaction).await
}

/// Takes a user's binding to a certificate away; an administrator acts, and for an administrator the tenant's organisation, which signs its transaction itself.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/users/{user}/certificate", tag = "users", operation_id = "prepare_unbinding",
    params(AuthorQuery, IfSeen), responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn unbind(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, user)): Path<(String, Identifier)>,
    Asked(query): Asked<AuthorQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = UserName {
        tenant: tenant.clone(),
        user,
    };
    is_seen(&api, &headers, &name)?;
    let transaction = Transaction::UserCertify(UserCertify {
        tenant: name.tenant,
        user: name.user,
        certificate: None,
    });
    prepared(&api, &caller, &tenant, query.author, transaction).await
}

/// The clients that are bound to certificates of the tenant's company, and whether all must be.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/clients", tag = "users", operation_id = "list_clients",
    params(IdPageQuery), responses((status = 200, body = ClientsView)))]
pub(super) async fn clients(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Asked(query): Asked<IdPageQuery>,
) -> Result<Json<ClientsView>, Problem> {
    let after = query.after.as_deref().map(client).transpose()?;
    let (record, limit) = (api.platform.record(), limit(query.limit));
    let view =
        record.with_state(|state| ClientsView::of(state, &tenant, after.as_ref(), limit, now_ms()));
    Ok(Json(view))
}

fn client(text: &str) -> Result<[u8; 32], Problem> {
    let mut client = [0; 32];
    hex::decode_to_slice(text, &mut client).map_err(|_| {
        Problem::bad_request(
            "a client is the SHA-256 of its TLS key's SubjectPublicKeyInfo, 64 hexadecimal digits",
        )
    })?;
    Ok(client)
}

/// Binds a client, by whose TLS key the tenant's users read, to a certificate of their company; an administrator acts.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/clients/{client}/certificate", tag = "users", operation_id = "prepare_client_certificate",
    params(AuthorQuery), request_body = CertificateBody,
    responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn bind_client(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, name)): Path<(String, String)>,
    Asked(query): Asked<AuthorQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let client = client(&name)?;
    let asked: CertificateBody = json(request.into_body(), MAX_JSON).await?;
    let transaction = Transaction::ClientCertify(ClientCertify {
        tenant: tenant.clone(),
        client,
        certificate: Some(asked.read()?),
    });
    prepared(&api, &caller, &tenant, query.author, transaction).await
}

/// Takes a client's binding to a certificate away; an administrator acts.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/clients/{client}/certificate", tag = "users", operation_id = "prepare_client_unbinding",
    params(AuthorQuery), responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn unbind_client(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, name)): Path<(String, String)>,
    Asked(query): Asked<AuthorQuery>,
) -> Result<Response, Problem> {
    let transaction = Transaction::ClientCertify(ClientCertify {
        tenant: tenant.clone(),
        client: client(&name)?,
        certificate: None,
    });
    prepared(&api, &caller, &tenant, query.author, transaction).await
}
