//! The platform over HTTP (RFC 9110), version 1.
//!
//! Every route but `/healthz` needs an API key ([`auth`]); the key's tenant must be the tenant in the path, and another tenant's
//! objects do not exist. Operators' routes need an operator's key, and every route a scope that the key must have. What changes the record is a transaction that
//! its author signed: the API key opens the door, the signature decides.
//!
//! Bodies stream in and out and are never held whole. Errors are problem details ([`problem`]); every answer carries
//! `x-request-id`, which the logs carry too.
//!
//! All routes stand in one table ([`route_table`]), from which the router is made, so that a test can walk them.

pub mod auth;
mod documents;
mod keys;
mod problem;
mod record;
mod serve;
mod views;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use futures_util::StreamExt as _;
use tracing::Instrument as _;
use uuid::Uuid;

pub use self::problem::Problem;
pub use self::serve::serve;
pub use self::views::{
    AuthorityView, CertificateView, ClusterView, DatasetView, DocumentView, IssuedKeyView, Page,
    PeerView, PermissionsView, PreparedView, ReceiptView, RevocationsView, StatusView, UserView,
    VersionView,
};
use crate::platform::{Platform, PlatformError, now_ms};
use crate::record::Identifier;
use auth::{ApiKeys, AuthError, Caller, Scope};

/// What stands in the place of the tenant in an operator's API key. No tenant has such a name.
pub const OPERATOR: &str = "~operator";
/// How long the rest of a refused body is taken and thrown away, so that its sender gets to see the answer.
const DRAIN: Duration = Duration::from_secs(2);
/// How long the body of a request that is no document may take to arrive.
const SMALL_BODY_WITHIN: Duration = Duration::from_secs(30);
const REQUEST_ID: &str = "x-request-id";

/// What the handlers work with.
pub struct Api {
    platform: Arc<Platform>,
    keys: ApiKeys,
}

type Handlers = MethodRouter<Arc<Api>>;

/// The scopes of which a key must have one to use a route.
type Needs = &'static [Scope];
const ANY: Needs = &Scope::ALL;
const READ: Needs = &[Scope::Read];
const WRITE: Needs = &[Scope::Write];
const AUDIT: Needs = &[Scope::Audit];
const KEYS: Needs = &[Scope::Keys];
/// Which of them it is, the transaction decides.
const SUBMIT: Needs = &[Scope::Read, Scope::Write, Scope::Manage];

fn routes() -> Vec<(Method, &'static str, Needs, Handlers)> {
    vec![
        (
            Method::GET,
            "/v1/operator/audit/export",
            AUDIT,
            get(record::export),
        ),
        (
            Method::GET,
            "/v1/tenants/{tenant}/status",
            ANY,
            get(record::status),
        ),
        (
            Method::POST,
            "/v1/tenants/{tenant}/transactions",
            SUBMIT,
            post(record::submit),
        ),
        (
            Method::GET,
            "/v1/tenants/{tenant}/users",
            READ,
            get(record::users),
        ),
        (
            Method::GET,
            "/v1/tenants/{tenant}/authorities",
            READ,
            get(record::authorities),
        ),
        (
            Method::GET,
            "/v1/tenants/{tenant}/datasets",
            READ,
            get(record::datasets),
        ),
        (
            Method::GET,
            "/v1/tenants/{tenant}/datasets/{dataset}",
            READ,
            get(record::dataset),
        ),
        (
            Method::GET,
            "/v1/tenants/{tenant}/audit/checkpoint",
            AUDIT,
            get(record::checkpoint),
        ),
        (
            Method::GET,
            "/v1/tenants/{tenant}/audit/rows",
            AUDIT,
            get(record::audit),
        ),
        (
            Method::GET,
            "/v1/tenants/{tenant}/datasets/{dataset}/documents",
            READ,
            get(documents::list),
        ),
        (
            Method::GET,
            "/v1/tenants/{tenant}/datasets/{dataset}/documents/{document}",
            READ,
            get(documents::versions),
        ),
        (
            Method::POST,
            "/v1/tenants/{tenant}/datasets/{dataset}/documents/{document}/uploads",
            WRITE,
            post(documents::prepare_write),
        ),
        (
            Method::POST,
            "/v1/tenants/{tenant}/uploads/{id}",
            WRITE,
            post(documents::commit_write),
        ),
        (
            Method::DELETE,
            "/v1/tenants/{tenant}/uploads/{id}",
            WRITE,
            delete(documents::discard_write),
        ),
        (
            Method::POST,
            "/v1/tenants/{tenant}/datasets/{dataset}/documents/{document}/reads",
            READ,
            post(documents::prepare_read),
        ),
        (
            Method::POST,
            "/v1/tenants/{tenant}/reads/{id}",
            READ,
            post(documents::commit_read),
        ),
        (
            Method::GET,
            "/v1/tenants/{tenant}/reads/{id}",
            READ,
            get(documents::report),
        ),
        (
            Method::GET,
            "/v1/tenants/{tenant}/keys",
            KEYS,
            get(keys::list),
        ),
        (
            Method::POST,
            "/v1/tenants/{tenant}/keys",
            KEYS,
            post(keys::create),
        ),
        (
            Method::POST,
            "/v1/tenants/{tenant}/keys/{key}/rotate",
            KEYS,
            post(keys::rotate),
        ),
        (
            Method::DELETE,
            "/v1/tenants/{tenant}/keys/{key}",
            KEYS,
            delete(keys::revoke),
        ),
    ]
}

/// Method and path of every route that needs an API key, and the scopes of which the key must have one.
pub fn route_table() -> Vec<(Method, &'static str, &'static [Scope])> {
    routes()
        .into_iter()
        .map(|(method, path, needs, _)| (method, path, needs))
        .collect()
}

/// The whole API.
pub fn router(platform: Arc<Platform>, keys: ApiKeys) -> Router {
    let api = Arc::new(Api { platform, keys });
    let protected =
        routes()
            .into_iter()
            .fold(Router::new(), |router, (_, path, needs, handlers)| {
                let door = from_fn_with_state((api.clone(), needs), authenticate);
                router.route(path, handlers.route_layer(door))
            });
    protected
        .route("/healthz", get(record::health))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(api)
        .layer(from_fn(identify))
}

/// The tenant that a request was let in for.
#[derive(Clone)]
struct Tenant(Identifier);

async fn authenticate(
    State((api, needs)): State<(Arc<Api>, Needs)>,
    params: RawPathParams,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let header = request
        .headers()
        .get(header::AUTHORIZATION)
        .map(HeaderValue::as_bytes);
    let tenant = params
        .iter()
        .find(|(name, _)| *name == "tenant")
        .map(|(_, value)| value);
    match admit(&api.keys, header, tenant, needs) {
        Ok((caller, tenant)) => {
            request.extensions_mut().insert(caller);
            if let Some(tenant) = tenant {
                request.extensions_mut().insert(Tenant(tenant));
            }
            Ok(next.run(request).await)
        }
        Err(refusal) => {
            drain(request.into_body()).await;
            Err(refusal)
        }
    }
}

/// Who asks, if its key opens a route of this tenant, or an operator's if there is no tenant in the path. A key of another tenant is
/// not told what its scopes would be good for.
fn admit(
    keys: &ApiKeys,
    header: Option<&[u8]>,
    tenant: Option<&str>,
    needs: Needs,
) -> Result<(Caller, Option<Identifier>), Problem> {
    let caller = keys.verify(header, now_ms())?;
    let own = match (tenant, Identifier::new(&caller.tenant)) {
        (Some(asked), Ok(own)) if asked == own.as_str() => Some(own),
        (None, _) if caller.tenant == OPERATOR => None,
        _ => return Err(Problem::not_found()),
    };
    if needs.iter().any(|scope| caller.scopes.contains(*scope)) {
        return Ok((caller, own));
    }
    let missing = needs.first().copied().unwrap_or(Scope::Keys);
    Err(AuthError::Scope(missing).into())
}

/// Gives each request an identifier, its caller's own if it is a short plain word, and renders problems.
async fn identify(request: Request, next: Next) -> Response {
    let own = request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| is_plain(id));
    let id = own.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
    let span =
        tracing::info_span!("request", id, method = %request.method(), path = request.uri().path());
    let response = async {
        let mut response = next.run(request).await;
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            tracing::info!(
                status = response.status().as_u16(),
                code = problem.code(),
                "refused"
            );
            response = problem.render(&id);
        } else if response.status().is_client_error() {
            // The framework's own refusals, of a path or a query that cannot be read.
            response = Problem::unreadable(response.status()).render(&id);
        } else {
            tracing::debug!(status = response.status().as_u16(), "answered");
        }
        response
    };
    let mut response = response.instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn is_plain(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Takes the rest of a body for a moment: a sender that is cut off while it sends may never see why.
async fn drain(body: Body) {
    let mut stream = body.into_data_stream();
    let _ = tokio::time::timeout(DRAIN, async {
        while let Some(Ok(_)) = stream.next().await {}
    })
    .await;
}

/// A body of at most `limit` bytes, which must not take for ever.
async fn bounded(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let too_long = |_| {
        Problem::bad_request(format!(
            "the body must arrive whole and have at most {limit} bytes"
        ))
    };
    match tokio::time::timeout(SMALL_BODY_WITHIN, axum::body::to_bytes(body, limit)).await {
        Ok(bytes) => bytes.map_err(too_long),
        Err(_) => Err(Problem::from(PlatformError::Idle)),
    }
}
