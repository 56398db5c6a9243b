//! The platform over HTTP (RFC 9110), version 1.
//!
//! Every route but `/healthz`, the description and the types of problems needs an API key ([`auth`]); the key's tenant must be the tenant in the path, and another tenant's
//! objects do not exist. Operators' routes need an operator's key, and every route a scope that the key must have. What changes the record is a transaction that
//! its author signed: the API key opens the door, the signature decides.
//!
//! Bodies stream in and out and are never held whole. Errors are problem details ([`problem`]); every answer carries
//! `x-request-id`, which the logs carry too.
//!
//! All routes stand in one table, from which both the router and the description of the API ([`openapi`]) are made: what a test walks
//! there is what is served.

mod access;
pub mod auth;
mod bodies;
mod changes;
mod conditional;
mod documents;
pub(crate) mod end_to_end;
mod keys;
mod links;
mod managed;
mod managed_parts;
mod master;
mod once;
pub mod openapi;
mod owned;
mod page;
mod parts;
mod pki;
mod problem;
pub mod problem_types;
mod proofs;
mod rate;
mod record;
mod rewraps;
mod schema;
mod serve;
mod shared;
mod users;
mod views;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawPathParams, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use bytes::BytesMut;
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use tracing::Instrument as _;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub use self::access::AccessView;
pub use self::changes::ChangeView;
pub use self::end_to_end::{ClusterKeyView, ClusterMemberView, HexBytes, SharesView, StandingView};
pub use self::links::{EndView, LinkView};
pub use self::managed::WrittenView;
use self::once::Lifetimes;
pub use self::once::{Answers, AnswersError};
pub use self::owned::{ErasedView, ErasureView, ErasuresView, NotErased, OwnedDocument, OwnedView};
pub use self::parts::PartsView;
pub use self::problem::Problem;
pub use self::proofs::{ConsistencyView, ProofView};
pub use self::record::HealthView;
pub use self::rewraps::{PendingRewrapView, RewrapStepView, RewrapView};
pub use self::serve::{CallerKey, TAKEN_WITHIN, serve, serve_tls};
pub use self::views::{
    AuthorityView, CertificateView, ClientView, ClientsView, ClusterView, DatasetView,
    DocumentView, IssuedKeyView, Page, PeerView, PermissionsView, PreparedView, ReceiptView,
    RevocationsView, StatusView, UserView, VersionView,
};
use crate::config::Limits;
use crate::platform::{Platform, PlatformError, now_ms};
use crate::record::{Identifier, RecordError};
use auth::{ApiKeys, AuthError, Caller, Scope};
use problem_types::ProblemType;
use rate::Rates;

/// What stands in the place of the tenant in an operator's API key. No tenant has such a name.
pub const OPERATOR: &str = "~operator";
/// How long the rest of a refused body is taken and thrown away, so that its sender gets to see the answer.
const DRAIN: Duration = Duration::from_secs(2);
/// How long the body of a request that is no document may take to arrive.
const SMALL_BODY_WITHIN: Duration = Duration::from_secs(30);
const REQUEST_ID: &str = "x-request-id";
/// Longest sentence of the framework's that is passed on, in bytes.
const MAX_SAID: usize = 1024;

/// What the handlers work with.
pub struct Api {
    platform: Arc<Platform>,
    keys: Arc<ApiKeys>,
    rates: Rates,
    answers: Arc<Answers>,
    prepared_ms: u64,
    remembered_ms: u64,
}

impl Api {
    /// Asks the list of keys, which lies on a disk, on a thread that may wait.
    async fn list_of_keys<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&ApiKeys) -> Result<T, AuthError> + Send + 'static,
    ) -> Result<T, Problem> {
        let keys = self.keys.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&keys)).await;
        Ok(asked.map_err(PlatformError::from)??)
    }
}

/// The scopes of which a key must have one to use a route.
type Needs = &'static [Scope];
const ANY: Needs = &Scope::ALL;
const READ: Needs = &[Scope::Read];
const WRITE: Needs = &[Scope::Write];
const MANAGE: Needs = &[Scope::Manage];
const AUDIT: Needs = &[Scope::Audit];
const KEYS: Needs = &[Scope::Keys];
/// Which of them it is, the transaction decides.
const SUBMIT: Needs = &[Scope::Read, Scope::Write, Scope::Manage];

/// What stands before a route.
#[derive(Clone, Copy)]
struct Door {
    /// The scopes of which the key must have one.
    needs: Needs,
    /// Whether an `Idempotency-Key` keeps it from happening twice.
    once: Once,
}

/// How long the answer to a request with an `Idempotency-Key` is remembered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Once {
    /// The route takes none.
    No,
    /// As long as what was prepared waits for its signature.
    WhilePrepared,
    /// As long as the settings say.
    Remembered,
}

const fn for_scopes(needs: Needs) -> Door {
    Door {
        needs,
        once: Once::No,
    }
}

/// What makes something.
const fn once_for(needs: Needs) -> Door {
    Door {
        needs,
        once: Once::Remembered,
    }
}

/// What prepares something that is to be signed.
const fn prepares(needs: Needs) -> Door {
    Door {
        needs,
        once: Once::WhilePrepared,
    }
}

type Described = UtoipaMethodRouter<Arc<Api>>;

/// Every route that needs an API key.
fn door_table() -> Vec<(Door, Described)> {
    vec![
        (for_scopes(AUDIT), routes!(record::export)),
        (for_scopes(AUDIT), routes!(record::audit_all)),
        (for_scopes(MANAGE), routes!(master::show)),
        (once_for(MANAGE), routes!(master::rotate)),
        (for_scopes(ANY), routes!(record::status)),
        (once_for(SUBMIT), routes!(record::submit)),
        (once_for(SUBMIT), routes!(managed::submit)),
        (for_scopes(READ), routes!(users::list)),
        (for_scopes(READ), routes!(users::get)),
        (for_scopes(READ), routes!(pki::authorities)),
        (prepares(MANAGE), routes!(pki::set_authorities)),
        (prepares(MANAGE), routes!(pki::publish_revocations)),
        (prepares(MANAGE), routes!(pki::bind)),
        (prepares(MANAGE), routes!(pki::unbind)),
        (for_scopes(READ), routes!(pki::clients)),
        (prepares(MANAGE), routes!(pki::bind_client)),
        (prepares(MANAGE), routes!(pki::unbind_client)),
        (for_scopes(READ), routes!(record::datasets)),
        (for_scopes(READ), routes!(record::dataset)),
        (prepares(MANAGE), routes!(changes::create_dataset)),
        (prepares(MANAGE), routes!(changes::configure_dataset)),
        (for_scopes(READ), routes!(access::permissions)),
        (prepares(MANAGE), routes!(changes::set_role)),
        (prepares(MANAGE), routes!(changes::add_to_role)),
        (prepares(MANAGE), routes!(changes::remove_from_role)),
        (for_scopes(READ), routes!(access::list)),
        (prepares(READ), routes!(access::ask)),
        (prepares(MANAGE), routes!(access::grant)),
        (prepares(MANAGE), routes!(access::decline)),
        (prepares(MANAGE), routes!(users::register)),
        (prepares(MANAGE), routes!(users::rotate)),
        (prepares(MANAGE), routes!(users::suspend)),
        (prepares(MANAGE), routes!(users::resume)),
        (prepares(MANAGE), routes!(users::expire)),
        (prepares(MANAGE), routes!(users::remove)),
        (for_scopes(READ), routes!(links::list)),
        (for_scopes(READ), routes!(links::get)),
        (prepares(WRITE), routes!(links::put)),
        (for_scopes(READ), routes!(links::prove)),
        (prepares(WRITE), routes!(changes::erase)),
        (for_scopes(READ), routes!(owned::list)),
        (prepares(WRITE), routes!(owned::erase)),
        (for_scopes(AUDIT), routes!(record::checkpoint)),
        (for_scopes(AUDIT), routes!(record::audit)),
        (for_scopes(AUDIT), routes!(proofs::inclusion)),
        (for_scopes(AUDIT), routes!(proofs::consistency)),
        (for_scopes(READ), routes!(documents::list)),
        (for_scopes(READ), routes!(documents::versions)),
        (prepares(WRITE), routes!(documents::prepare_write)),
        (once_for(WRITE), routes!(documents::commit_write)),
        (for_scopes(WRITE), routes!(documents::discard_write)),
        (once_for(WRITE), routes!(managed::write)),
        (for_scopes(READ), routes!(managed::read)),
        (for_scopes(READ), routes!(managed::read_shared)),
        (once_for(WRITE), routes!(parts::begin)),
        (for_scopes(WRITE), routes!(parts::list)),
        (for_scopes(WRITE), routes!(parts::status)),
        (for_scopes(WRITE), routes!(parts::send)),
        (for_scopes(WRITE), routes!(parts::complete)),
        (once_for(WRITE), routes!(managed_parts::complete)),
        (for_scopes(WRITE), routes!(parts::discard)),
        (prepares(READ), routes!(documents::prepare_read)),
        (for_scopes(READ), routes!(documents::commit_read)),
        (for_scopes(READ), routes!(documents::report)),
        (for_scopes(READ), routes!(end_to_end::prove)),
        (once_for(READ), routes!(end_to_end::shares)),
        (for_scopes(READ), routes!(end_to_end::body)),
        (for_scopes(READ), routes!(shared::documents)),
        (for_scopes(READ), routes!(shared::versions)),
        (prepares(READ), routes!(shared::prepare_read)),
        (for_scopes(READ), routes!(shared::prove)),
        (for_scopes(READ), routes!(shared::asked)),
        (prepares(READ), routes!(shared::ask)),
        (for_scopes(READ), routes!(rewraps::list)),
        (prepares(MANAGE), routes!(rewraps::prepare)),
        (prepares(MANAGE), routes!(rewraps::commit)),
        (for_scopes(KEYS), routes!(keys::list)),
        (once_for(KEYS), routes!(keys::create)),
        (once_for(KEYS), routes!(keys::rotate)),
        (for_scopes(KEYS), routes!(keys::revoke)),
    ]
}

/// The few that need none.
fn open_table() -> Vec<Described> {
    vec![
        routes!(record::health),
        routes!(description),
        routes!(problem_type),
    ]
}

/// The whole API.
pub fn router(platform: Arc<Platform>, keys: ApiKeys, answers: Answers, limits: &Limits) -> Router {
    let api = Arc::new(Api {
        platform,
        keys: Arc::new(keys),
        rates: Rates::new(limits.tenant_requests_s, limits.tenant_burst),
        answers: Arc::new(answers),
        prepared_ms: limits.prepared_s.saturating_mul(1000),
        remembered_ms: limits.idempotency_s.saturating_mul(1000),
    });
    let mut router = Router::new();
    for (door, (_, paths, handlers)) in door_table() {
        let door = from_fn_with_state((api.clone(), door), enter);
        for path in paths.paths.keys() {
            router = router.route(path, handlers.clone().route_layer(door.clone()));
        }
    }
    for (_, paths, handlers) in open_table() {
        for path in paths.paths.keys() {
            router = router.route(path, handlers.clone());
        }
    }
    router
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(api)
        .layer(from_fn(identify))
}

/// This description of the API.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "platform", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/json")))]
async fn description() -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        openapi::text(),
    )
        .into_response()
}

/// What a type of problem means.
#[utoipa::path(get, path = "/problems/{code}", tag = "platform", operation_id = "problem_type",
    responses((status = 200, body = ProblemType)))]
async fn problem_type(Path(code): Path<String>) -> Result<Json<ProblemType>, Problem> {
    let known = problem_types::find(&code).copied();
    known.map(Json).ok_or_else(Problem::not_found)
}

/// The tenant that a request was let in for.
#[derive(Clone)]
struct Tenant(Identifier);

async fn enter(
    State((api, door)): State<(Arc<Api>, Door)>,
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
    let admitted = admit(&api, header, tenant, door.needs).await;
    let admitted = admitted.and_then(|(caller, tenant)| {
        let token = api.rates.take(&caller.tenant, Instant::now());
        token
            .map(|()| (caller, tenant))
            .map_err(Problem::rate_limited)
    });
    // How it stands is answered all the same: that says what is missing.
    let of_the_record = tenant.is_some() && door.needs != ANY;
    let catching_up = of_the_record && api.platform.record().is_catching_up();
    let admitted = admitted.and_then(|admitted| match catching_up {
        true => Err(PlatformError::from(RecordError::CatchingUp).into()),
        false => Ok(admitted),
    });
    match admitted {
        Ok((caller, tenant)) => {
            request.extensions_mut().insert(caller.clone());
            if let Some(tenant) = tenant {
                request.extensions_mut().insert(Tenant(tenant));
            }
            let lifetimes = Lifetimes {
                usual_ms: match door.once {
                    Once::WhilePrepared => api.prepared_ms,
                    Once::Remembered => api.remembered_ms,
                    Once::No => return Ok(next.run(request).await),
                },
                settled_ms: api.remembered_ms,
            };
            if !request.headers().contains_key(once::HEADER) {
                return Ok(next.run(request).await);
            }
            let run = async move {
                let run = |request| next.run(request);
                once::once(&api.answers, &caller, request, lifetimes, run).await
            };
            Ok(tokio::spawn(run.in_current_span())
                .await
                .map_err(PlatformError::from)?)
        }
        Err(refusal) => {
            drain(request.into_body()).await;
            Err(refusal)
        }
    }
}

/// Who asks, if its key opens a route of this tenant, or an operator's if there is no tenant in the path. A key of another tenant is
/// not told what its scopes would be good for.
async fn admit(
    api: &Api,
    header: Option<&[u8]>,
    tenant: Option<&str>,
    needs: Needs,
) -> Result<(Caller, Option<Identifier>), Problem> {
    // Whoever has no key costs no thread.
    let genuine = api.keys.check(header)?;
    let caller = api
        .list_of_keys(move |keys| keys.admit(&genuine, now_ms()))
        .await?;
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
            // The framework's own refusals, of a path that cannot be read; they say why.
            let (status, body) = (response.status(), response.into_body());
            let said = axum::body::to_bytes(body, MAX_SAID).await;
            let said = said.unwrap_or_default();
            response = Problem::unreadable(status, &String::from_utf8_lossy(&said)).render(&id);
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
    let mut stream = body.into_data_stream();
    let whole = async {
        let mut bytes = BytesMut::new();
        while let Some(part) = stream.next().await {
            let reason = |e: axum::Error| e.to_string();
            let part = part.map_err(|e| PlatformError::Upload { reason: reason(e) })?;
            if bytes.len() + part.len() > limit {
                return Err(Problem::too_long(limit));
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes.freeze())
    };
    let result = match tokio::time::timeout(SMALL_BODY_WITHIN, whole).await {
        Ok(result) => result,
        Err(_) => Err(Problem::from(PlatformError::Idle)),
    };
    if result.is_err() {
        drain(Body::from_stream(stream)).await;
    }
    result
}

/// The same, as JSON.
async fn json<T: DeserializeOwned>(body: Body, limit: usize) -> Result<T, Problem> {
    let bytes = bounded(body, limit).await?;
    serde_json::from_slice(&bytes).map_err(malformed)
}

fn malformed(e: serde_json::Error) -> Problem {
    Problem::bad_request(format!(
        "the body is not the JSON that this route takes: {e}"
    ))
}
