//! A tenant's API keys. A key is shown once, when it is made; afterwards only what is known of it.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::{
    ApiKeys, AuthError, Caller, DEFAULT_GRACE_S, IssuedKey, KeyRecord, KeyTerms, Scopes,
};
use super::page::{Asked, IdPageQuery, limit, part};
use super::views::{IssuedKeyView, Page};
use super::{Api, Problem, bounded, json, malformed};
use crate::client::profile::ApiKey;
use crate::platform::now_ms;
use crate::record::Identifier;

const MAX_JSON: usize = 4 * 1024;

/// The tenant's API keys, those that ended within the last 90 days included (the last 1000 of them), the oldest first; without the keys themselves.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/keys", tag = "keys", operation_id = "list_keys", params(IdPageQuery),
    responses((status = 200, body = Page<KeyRecord>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<IdPageQuery>,
) -> Result<Json<Page<KeyRecord>>, Problem> {
    let limit = limit(query.limit);
    // One more than are shown says whether there are more.
    let list = move |keys: &ApiKeys| keys.list(&caller.tenant, query.after.as_deref(), limit + 1);
    let keys = api.list_of_keys(list).await?;
    Ok(Json(part(keys, limit, |key| key.id.clone())))
}

/// What a new key is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "reports", "scopes": ["read"], "expires_in_s": 2_592_000 }))]
pub(super) struct NewKey {
    /// What people call it: 1 to 64 bytes.
    name: String,
    /// What it may be used for.
    scopes: Scopes,
    /// Seconds for which it opens anything; as long as the key that makes it, if absent.
    expires_in_s: Option<u64>,
    /// The one user who may act through it; if absent the one of the key that makes it, and any of the tenant's if that has none.
    user: Option<Identifier>,
}

/// Makes an API key, at most with the scopes and the life of the one that is used, and for its user alone if it has one. The answer is the only time that it is shown.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/keys", tag = "keys", operation_id = "create_key", request_body = NewKey,
    responses((status = 201, body = IssuedKeyView)))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: NewKey = json(request.into_body(), MAX_JSON).await?;
    within(&caller, asked.scopes)?;
    let now_ms = now_ms();
    let lifetime = |seconds: u64| now_ms.saturating_add(seconds.saturating_mul(1000));
    // Nor does it last longer than the key that makes it.
    let asked_ms = asked.expires_in_s.map(lifetime);
    let expires_ms = [asked_ms, caller.expires_ms].into_iter().flatten().min();
    let user = match (asked.user, &caller.user) {
        (None, bound) => bound.clone(),
        (Some(user), _) => Some(caller.acting(Some(user))?),
    };
    let terms = KeyTerms {
        tenant: caller.tenant,
        name: asked.name,
        scopes: asked.scopes,
        user,
        expires_ms,
    };
    let issue = move |keys: &ApiKeys| keys.issue(terms, now_ms);
    Ok(shown(api.list_of_keys(issue).await?))
}

/// How a key is replaced.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "grace_s": 3600 }))]
pub(super) struct Rotation {
    /// Seconds for which the old key goes on; an hour if absent.
    grace_s: Option<u64>,
}

/// Makes a key of the same name and scopes; the old one goes on for a while. The new one lives as long as the old one was to live, and
/// not longer than the key that makes it.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/keys/{key}/rotate", tag = "keys", operation_id = "rotate_key",
    request_body = Option<Rotation>, responses((status = 201, body = IssuedKeyView)))]
pub(super) async fn rotate(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let bytes = bounded(request.into_body(), MAX_JSON).await?;
    let asked: Rotation = match bytes.is_empty() {
        true => Rotation { grace_s: None },
        false => serde_json::from_slice(&bytes).map_err(malformed)?,
    };
    let grace_s = asked.grace_s.unwrap_or(DEFAULT_GRACE_S);
    let rotate = move |keys: &ApiKeys| {
        let old = keys.get(&caller.tenant, &id)?;
        within(&caller, old.scopes)?;
        of_its_user(&caller, &old)?;
        keys.rotate(&caller.tenant, &id, grace_s, caller.expires_ms, now_ms())
    };
    Ok(shown(api.list_of_keys(rotate).await?))
}

/// Revokes a key: from the next request on it opens nothing.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/keys/{key}", tag = "keys", operation_id = "revoke_key",
    responses((status = 200, body = KeyRecord)))]
pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<KeyRecord>, Problem> {
    let revoke = move |keys: &ApiKeys| {
        of_its_user(&caller, &keys.get(&caller.tenant, &id)?)?;
        keys.revoke(&caller.tenant, &id, now_ms())
    };
    Ok(Json(api.list_of_keys(revoke).await?))
}

/// A key gives nobody more than it has itself.
fn within(caller: &Caller, scopes: Scopes) -> Result<(), AuthError> {
    match scopes.iter().find(|scope| !caller.scopes.contains(*scope)) {
        Some(scope) => Err(AuthError::Scope(scope)),
        None => Ok(()),
    }
}

/// A key that is bound to a user has no power over the keys of others.
fn of_its_user(caller: &Caller, key: &KeyRecord) -> Result<(), AuthError> {
    match &caller.user {
        Some(bound) if key.user != caller.user => Err(AuthError::User(bound.clone())),
        _ => Ok(()),
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
