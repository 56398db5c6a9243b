//! What a peer's process answers over HTTP: version 1. To its own organisation's software on loopback, which shows the token in its folder; and at `api_tls` over TLS to software
//! elsewhere whose key is under `[[clients]]` in its settings ([`remote_router`]).
//!
//! | | |
//! |---|---|
//! | `GET /healthz` | whether it takes part; the one question on loopback that needs no token |
//! | `GET /v1/status` | where it stands, and of whose faults it has proof |
//! | `POST /v1/transactions` | a signed transaction: ordered, and what became of it |
//! | `POST /v1/approvals/{read}` | this organisation's approval of a recorded read, DER |
//! | `GET /v1/blocks?from=H` | the blocks from H on with this peer's signed heads; waits for one for `wait_ms` |
//! | `GET /v1/head` | the head that it signed last |
//! | `GET /v1/members` | the organisations on the record, with their peers' keys |
//! | `GET /v1/standing` | over TLS, to anybody: which place the asker's own key has in the order |
//! | `GET /v1/audit?subject=S&from_ms=A&until_ms=B` | what the record says about a subject and a time, each row proven under the head that this peer signed last |
//!
//! Errors are `{"code":…,"message":…}`.

use super::clients::Clients;
use crate::api::CallerKey;
use crate::record::{
    ApprovalRefusal, MAX_TRANSACTION, Member, Organisation, RecordError, SignedTransaction,
    audit::{AuditQuery, AuditView},
    wire::{BlocksView, ChangeView, ErrorView, MemberView, PeerStatusView, Submitted},
};
use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, Query, Request, State, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// How long a question for blocks may wait.
const MAX_HOLD: Duration = Duration::from_secs(30);
/// How long a read may be on its way to this peer when its approval is asked for.
const READ_WITHIN: Duration = Duration::from_secs(1);
const BODY_WITHIN: Duration = Duration::from_secs(10);
const NO_KEY: &str = "who asks here is known by an Ed25519 key: show one";

/// What the handlers work with.
pub struct PeerApi {
    /// The peer.
    pub member: Member,
    /// The ledger's id, hexadecimal.
    pub ledger: String,
    /// What must be shown on loopback.
    pub token: Zeroizing<String>,
    /// Who may ask from elsewhere.
    pub clients: Clients,
}

/// An answer that says why not.
struct Refusal(StatusCode, ErrorView);

impl Refusal {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let (code, message) = (code.to_owned(), message.into());
        Self(status, ErrorView { code, message })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<RecordError> for Refusal {
    fn from(error: RecordError) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            error.code(),
            error.to_string(),
        )
    }
}

/// The routes on loopback.
pub fn router(api: Arc<PeerApi>) -> Router {
    questions()
        .layer(from_fn_with_state(api.clone(), authorised))
        .route("/healthz", get(health))
        .with_state(api)
}

/// The routes over TLS.
pub fn remote_router(api: Arc<PeerApi>) -> Router {
    questions()
        .route("/healthz", get(health))
        .layer(from_fn_with_state(api.clone(), allowed))
        .route("/v1/standing", get(standing))
        .with_state(api)
}

fn questions() -> Router<Arc<PeerApi>> {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/transactions", post(submit))
        .route("/v1/approvals/{read}", post(approve))
        .route("/v1/blocks", get(blocks))
        .route("/v1/head", get(head))
        .route("/v1/audit", get(audit))
        .route("/v1/members", get(members))
}

async fn authorised(State(api): State<Arc<PeerApi>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION);
    let shown = shown.and_then(|it| it.as_bytes().strip_prefix(b"Bearer "));
    if shown.is_some_and(|token| token.ct_eq(api.token.as_bytes()).into()) {
        return next.run(request).await;
    }
    let message = "show the token in this peer's folder: `Authorization: Bearer TOKEN`";
    Refusal::new(StatusCode::UNAUTHORIZED, "peer-token", message).into_response()
}

/// Nobody is sent away without being told why, and nobody who is sent away keeps a connection.
async fn allowed(State(api): State<Arc<PeerApi>>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<CallerKey>();
    let key = caller.and_then(|caller| caller.0);
    if key.is_some_and(|key| api.clients.name_of(&key).is_some()) {
        return next.run(request).await;
    }
    let message = match key.map(hex::encode) {
        Some(key) => format!(
            "the key {key} may not ask here: if its owner may, this peer's operator runs `coordinator peer allow NAME --public-key {key}`, which counts at once"
        ),
        None => NO_KEY.to_owned(),
    };
    let mut refused = Refusal::new(StatusCode::FORBIDDEN, "peer-client", message).into_response();
    let close = HeaderValue::from_static("close");
    refused.headers_mut().insert(header::CONNECTION, close);
    refused
}

async fn health(State(api): State<Arc<PeerApi>>) -> Response {
    let status = api.member.status();
    let (code, word) = match status.fault {
        None => (StatusCode::OK, "ok"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopped"),
    };
    let body = serde_json::json!({ "status": word, "height": status.height });
    (code, Json(body)).into_response()
}

async fn status(State(api): State<Arc<PeerApi>>) -> Json<PeerStatusView> {
    let status = api.member.status();
    let header = api.member.replica().header();
    let (organisations, changes) = api.member.replica().with_state(|state| {
        let names = state.organisations().map(|it| it.name.clone()).collect();
        let pending = state.pending_changes();
        let changes = pending
            .map(|(_, pending)| ChangeView::new(&pending.change, pending.endorsed_by.iter()));
        (names, changes.collect())
    });
    Json(PeerStatusView {
        transactions: header.map_or(0, |header| header.size),
        state_root: header.map(|header| hex::encode(header.state_root)),
        organisation: api.member.organisation().clone(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        ledger: api.ledger.clone(),
        height: status.height,
        ordered: status.ordered,
        epoch: status.epoch,
        votes: status.votes,
        votes_lost: status.votes_lost,
        organisations,
        changes,
        fault: status.fault,
        accused: api.member.accused(),
    })
}

async fn members(State(api): State<Arc<PeerApi>>) -> Json<Vec<MemberView>> {
    let view = |it: &Organisation| MemberView {
        organisation: it.name.clone(),
        key: it.head_key,
    };
    let replica = api.member.replica();
    Json(replica.with_state(|state| state.organisations().map(view).collect()))
}

/// Whoever holds a key may ask about that key.
async fn standing(
    State(api): State<Arc<PeerApi>>,
    caller: Option<Extension<CallerKey>>,
) -> Result<Response, Refusal> {
    let key = caller.and_then(|Extension(caller)| caller.0);
    let nobody = || Refusal::new(StatusCode::FORBIDDEN, "peer-client", NO_KEY);
    let standing = api.member.standing(key.ok_or_else(nobody)?).await;
    let standing = Json(standing.ok_or(RecordError::Closing)?);
    Ok(([(header::CONNECTION, "close")], standing).into_response())
}

async fn submit(State(api): State<Arc<PeerApi>>, body: Body) -> Result<Json<Submitted>, Refusal> {
    let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, "request", message);
    let arriving = tokio::time::timeout(BODY_WITHIN, axum::body::to_bytes(body, MAX_TRANSACTION));
    let bytes = match arriving.await {
        Ok(Ok(bytes)) => bytes,
        _ => {
            return Err(bad(format!(
                "the body must arrive whole and have at most {MAX_TRANSACTION} bytes"
            )));
        }
    };
    let transaction = SignedTransaction::from_bytes(&bytes)
        .map_err(|error| bad(format!("the body is not a signed transaction: {error}")))?;
    if hex::encode(transaction.content().ledger) != api.ledger {
        return Err(bad(format!("this is the ledger {}", api.ledger)));
    }
    Ok(Json(api.member.submit(transaction).await?))
}

async fn approve(
    State(api): State<Arc<PeerApi>>,
    Path(read): Path<String>,
) -> Result<Response, Refusal> {
    let id = hex::decode(&read).ok().and_then(|id| id.try_into().ok());
    let id: [u8; 32] = id.ok_or_else(|| {
        let message = "a read is named by its transaction's id, 64 hexadecimal digits";
        Refusal::new(StatusCode::BAD_REQUEST, "request", message)
    })?;
    let deadline = tokio::time::Instant::now() + READ_WITHIN;
    let decided = loop {
        let height = api.member.status().height;
        let decided = api.member.approve(id).await;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let comes = matches!(decided, Err(ApprovalRefusal::UnknownRead(_)));
        if !comes || left.is_zero() {
            break decided;
        }
        // Others may have the block already by which the read became final.
        let _ = api.member.wait_beyond(height, left).await;
    };
    match decided {
        Ok(certificate) => Ok((
            [(header::CONTENT_TYPE, "application/pkix-cert")],
            certificate,
        )
            .into_response()),
        Err(refusal) => {
            let status = match refusal {
                ApprovalRefusal::UnknownRead(_) => StatusCode::NOT_FOUND,
                ApprovalRefusal::Unavailable(_)
                | ApprovalRefusal::Store(_)
                | ApprovalRefusal::CatchingUp => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::FORBIDDEN,
            };
            Err(Refusal::new(status, refusal.code(), refusal.to_string()))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlocksQuery {
    from: u64,
    #[serde(default)]
    transactions: bool,
    #[serde(default)]
    wait_ms: u64,
}

async fn blocks(
    State(api): State<Arc<PeerApi>>,
    Query(query): Query<BlocksQuery>,
) -> Result<Json<BlocksView>, Refusal> {
    let hold = Duration::from_millis(query.wait_ms).min(MAX_HOLD);
    let blocks = api
        .member
        .blocks(query.from, query.transactions, hold)
        .await;
    let blocks = blocks.map_err(|error| RecordError::from(Arc::new(error)))?;
    Ok(Json(BlocksView { blocks }))
}

async fn head(State(api): State<Arc<PeerApi>>) -> Result<Response, Refusal> {
    let note = api.member.signed_head().await.ok_or(RecordError::Closing)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

async fn audit(
    State(api): State<Arc<PeerApi>>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<AuditView>, Refusal> {
    let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, "request", message);
    let Query(asked) = query.map_err(|error| bad(error.body_text()))?;
    let (query, size) = asked.query().map_err(|error| bad(error.to_string()))?;
    let note = api.member.signed_head().await.ok_or(RecordError::Closing)?;
    let replica = api.member.replica().clone();
    let answering = tokio::task::spawn_blocking(move || replica.audit(&query, size, note));
    match answering.await.map_err(|_| RecordError::Closing)? {
        Ok(answer) => Ok(Json(answer.into())),
        Err(error @ RecordError::BeyondSize { .. }) => Err(bad(error.to_string())),
        Err(error) => Err(error.into()),
    }
}
