//! A tenant's API keys. A key is shown once, when it is made; afterwards only what is known of it.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;

use super::auth::{AuthError, Caller, DEFAULT_GRACE_S, IssuedKey, KeyRecord, KeyTerms, Scopes};
use super::views::{IssuedKeyView, Page};
use super::{Api, Problem, bounded};
use crate::client::profile::ApiKey;
use crate::platform::now_ms;

const MAX_JSON: usize = 4 * 1024;

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Page<KeyRecord>>, Problem> {
    let items = api.keys.list(&caller.tenant)?;
    Ok(Json(Page { items, next: None }))
}

/// What a new key is to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    name: String,
    scopes: Scopes,
    expires_in_s: Option<u64>,
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let bytes = bounded(request.into_body(), MAX_JSON).await?;
    let asked: NewKey =
        serde_json::from_slice(&bytes).map_err(|e| Problem::bad_request(e.to_string()))?;
    within(&caller, asked.scopes)?;
    let now_ms = now_ms();
    let lifetime = |seconds: u64| now_ms.saturating_add(seconds.saturating_mul(1000));
    // Nor does it last longer than the key that makes it.
    let asked_ms = asked.expires_in_s.map(lifetime);
    let expires_ms = [asked_ms, caller.expires_ms].into_iter().flatten().min();
    let terms = KeyTerms {
        tenant: caller.tenant,
        name: asked.name,
        scopes: asked.scopes,
        expires_ms,
    };
    Ok(shown(api.keys.issue(terms, now_ms)?))
}

/// How a key is replaced.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    grace_s: Option<u64>,
}

pub(super) async fn rotate(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let bytes = bounded(request.into_body(), MAX_JSON).await?;
    let asked: Rotation = match bytes.is_empty() {
        true => Rotation { grace_s: None },
        false => serde_json::from_slice(&bytes).map_err(|e| Problem::bad_request(e.to_string()))?,
    };
    within(&caller, api.keys.get(&caller.tenant, &id)?.scopes)?;
    let grace_s = asked.grace_s.unwrap_or(DEFAULT_GRACE_S);
    Ok(shown(api.keys.rotate(
        &caller.tenant,
        &id,
        grace_s,
        now_ms(),
    )?))
}

pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<KeyRecord>, Problem> {
    Ok(Json(api.keys.revoke(&caller.tenant, &id, now_ms())?))
}

/// A key gives nobody more than it has itself.
fn within(caller: &Caller, scopes: Scopes) -> Result<(), AuthError> {
    match scopes.iter().find(|scope| !caller.scopes.contains(*scope)) {
        Some(scope) => Err(AuthError::Scope(scope)),
        None => Ok(()),
    }
}

fn shown(issued: IssuedKey) -> Response {
    let IssuedKey { record, key } = issued;
    let view = IssuedKeyView {
        record,
        api_key: ApiKey::new(key),
    };
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (StatusCode::CREATED, headers, Json(view)).into_response()
}
