//! Users: registered, their keys exchanged, suspended, resumed, ended.
//!
//! A user's key is its own, or *managed*: this platform keeps it sealed and signs for the user, at the request of an API key of the tenant
//! with the scope of the route. The record shows which; whoever has a key of either kind can exchange it for one of the other.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::changes::{AuthorQuery, ChangeView, prepared};
use super::conditional::{IfSeen, Tag, may_change, tagged};
use super::page::{Asked, PageQuery, limit, part};
use super::views::{Page, ReceiptView, UserView};
use super::{Api, Problem, Tenant, json};
use crate::platform::now_ms;
use crate::record::{
    Identifier, Transaction, UserExpire, UserName, UserRegister, UserRole, UserRotateKey,
};

const MAX_JSON: usize = 16 * 1024;

/// The tenant's users, by name.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/users", tag = "users", operation_id = "list_users", params(PageQuery),
    responses((status = 200, body = Page<UserView>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Asked(query): Asked<PageQuery>,
) -> Json<Page<UserView>> {
    Json(api.platform.record().with_state(|state| {
        let users = state.users(&tenant, query.after.as_ref());
        let views = users.map(|(name, user)| UserView::of(state, name, user, now_ms()));
        part(views, limit(query.limit), |view| view.user.to_string())
    }))
}

/// A user.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/users/{user}", tag = "users", operation_id = "get_user",
    responses((status = 200, body = UserView, headers(("ETag" = String, description = "The user's state.")))))]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, user)): Path<(String, Identifier)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (name, now_ms) = (UserName { tenant, user }, now_ms());
    let found = api.platform.record().with_state(|state| {
        let user = UserView::of(state, &name, state.user(&name)?, now_ms);
        Some((Tag::of_user(state, &name, now_ms)?, user))
    });
    let (tag, user) = found.ok_or_else(Problem::not_found)?;
    Ok(tagged(&tag, &headers, Json(user)))
}

/// Whether a user is in a state that the caller has seen, if it names one.
pub(super) fn is_seen(api: &Api, headers: &HeaderMap, name: &UserName) -> Result<(), Problem> {
    let record = api.platform.record();
    may_change(headers, || {
        record.with_state(|state| Tag::of_user(state, name, now_ms()))
    })
}

/// A new user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "user": "carol", "managed": true, "role": "member" }))]
pub(super) struct NewUser {
    /// Its name, unique in the tenant for ever. It is public on the record: a pseudonym where it names a person.
    user: Identifier,
    /// Its Ed25519 public key, 64 hexadecimal digits; none, if `managed`.
    public_key: Option<String>,
    /// Whether this platform makes the key, keeps it and signs for the user.
    #[serde(default)]
    managed: bool,
    /// What it may do in the tenant.
    role: UserRole,
    /// Milliseconds since the Unix epoch from which on it may sign nothing; never, if absent.
    expires_ms: Option<u64>,
}

/// Registers a user; an administrator acts.
///
/// With `managed` the platform makes the user's key and keeps it sealed. It counts when the record has the user.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/users", tag = "users", operation_id = "prepare_user", params(AuthorQuery),
    request_body = NewUser, responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn register(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<AuthorQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: NewUser = json(request.into_body(), MAX_JSON).await?;
    let author = caller.acting(query.author)?;
    let name = UserName {
        tenant: tenant.clone(),
        user: asked.user,
    };
    let public_key = match (asked.public_key, asked.managed) {
        (Some(text), false) => public_key(&text)?,
        // A key is made for somebody who can be registered, and at the request of somebody who may.
        (None, true) => {
            administers(&api, &tenant, &author, &name)?;
            api.platform.make_managed_key(&name).await?.public_key()
        }
        _ => {
            let detail =
                "a user has a `public_key` of its own, or is `managed`: give one of the two";
            return Err(Problem::bad_request(detail));
        }
    };
    let transaction = Transaction::UserRegister(UserRegister {
        tenant: tenant.clone(),
        user: name.user,
        public_key,
        role: asked.role,
        expires_ms: asked.expires_ms,
        managed: asked.managed,
    });
    prepared(&api, &caller, &tenant, Some(author), transaction).await
}

/// What the record would refuse in any case is refused before a key is made for it.
fn administers(
    api: &Api,
    tenant: &Identifier,
    author: &Identifier,
    name: &UserName,
) -> Result<(), Problem> {
    let by = UserName {
        tenant: tenant.clone(),
        user: author.clone(),
    };
    let allowed = api.platform.record().with_state(|state| {
        use crate::record::Rejection;
        if state.user(name).is_some() {
            return Err(Rejection::UserExists(name.clone()));
        }
        match state.user(&by) {
            None => Err(Rejection::UnknownUser(by.clone())),
            Some(user) if user.role == UserRole::Administrator => Ok(()),
            Some(_) => Err(Rejection::NotAdministrator {
                author: by.to_string(),
                tenant: tenant.clone(),
            }),
        }
    });
    let refused = |e| crate::platform::PlatformError::from(crate::record::RecordError::from(e));
    Ok(allowed.map_err(refused)?)
}

fn public_key(text: &str) -> Result<[u8; 32], Problem> {
    let mut public_key = [0; 32];
    let wrong =
        |_| Problem::bad_request("`public_key` is an Ed25519 public key, 64 hexadecimal digits");
    hex::decode_to_slice(text, &mut public_key).map_err(wrong)?;
    Ok(public_key)
}

/// A user's next key: one of its own, or one that the platform keeps.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "managed": true }))]
pub(super) struct NextKey {
    /// The new Ed25519 public key, 64 hexadecimal digits; none, if `managed`.
    public_key: Option<String>,
    /// The new key's signature over the rotation statement (`docs/protocol/golden-record.md` section 2), 128 hexadecimal digits.
    proof: Option<String>,
    /// Whether this platform makes the new key, keeps it and signs for the user from then on.
    #[serde(default)]
    managed: bool,
}

/// Exchanges a user's key; the user itself acts, with the key that it has.
///
/// So a managed user takes its key into its own hands, and another one gives it into the platform's. A managed key that is exchanged is destroyed.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/users/{user}/rotate", tag = "users", operation_id = "prepare_key_rotation",
    params(IfSeen), request_body = NextKey, responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn rotate(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, user)): Path<(String, Identifier)>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let asked: NextKey = json(request.into_body(), MAX_JSON).await?;
    let user = caller.acting(Some(user))?;
    let name = UserName {
        tenant: tenant.clone(),
        user: user.clone(),
    };
    let record = api.platform.record();
    let known = record.with_state(|state| state.user(&name).is_some());
    if !known {
        return Err(Problem::not_found());
    }
    is_seen(&api, &headers, &name)?;
    let transaction = match (asked.public_key, asked.proof, asked.managed) {
        (Some(key), Some(proof), false) => {
            let mut bytes = [0; 64];
            let wrong = |_| Problem::bad_request("`proof` is a signature, 128 hexadecimal digits");
            hex::decode_to_slice(&proof, &mut bytes).map_err(wrong)?;
            Transaction::UserRotateKey(UserRotateKey {
                public_key: public_key(&key)?,
                proof: bytes,
                managed: false,
            })
        }
        (None, None, true) => {
            let key = api.platform.make_managed_key(&name).await?;
            key.rotation(&record.ledger(), &name)
        }
        _ => {
            let detail = "the new key is a `public_key` with its `proof`, or is `managed`: give one of the two";
            return Err(Problem::bad_request(detail));
        }
    };
    prepared(&api, &caller, &tenant, Some(user), transaction).await
}

/// Lets a user sign nothing until it is resumed; an administrator acts.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/users/{user}/suspend", tag = "users", operation_id = "prepare_suspension",
    params(AuthorQuery, IfSeen), responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn suspend(
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
    let transaction = Transaction::UserSuspend(name);
    prepared(&api, &caller, &tenant, query.author, transaction).await
}

/// Lets a suspended user sign again; an administrator acts.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/users/{user}/resume", tag = "users", operation_id = "prepare_resumption",
    params(AuthorQuery, IfSeen), responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn resume(
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
    let transaction = Transaction::UserResume(name);
    prepared(&api, &caller, &tenant, query.author, transaction).await
}

/// When a user's time is over.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "expires_ms": 1_826_000_000_000_u64 }))]
pub(super) struct Expiry {
    /// Milliseconds since the Unix epoch from which on the user may sign nothing; never, if absent or `null`.
    expires_ms: Option<u64>,
}

/// Says when a user's time is over; an administrator acts. A managed user's key is destroyed then, and a later time does not bring it back.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/users/{user}/expiry", tag = "users", operation_id = "prepare_expiry",
    params(AuthorQuery, IfSeen), request_body = Expiry, responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn expire(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, user)): Path<(String, Identifier)>,
    Asked(query): Asked<AuthorQuery>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let asked: Expiry = json(request.into_body(), MAX_JSON).await?;
    let name = UserName {
        tenant: tenant.clone(),
        user,
    };
    is_seen(&api, &headers, &name)?;
    let transaction = Transaction::UserExpire(UserExpire {
        tenant: name.tenant,
        user: name.user,
        expires_ms: asked.expires_ms,
    });
    prepared(&api, &caller, &tenant, query.author, transaction).await
}

/// Ends a user: its time is over at once, and its managed key is destroyed; an administrator acts.
///
/// What it did stays on the record, and its name is given to nobody else. What it owns is not erased by this.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/users/{user}", tag = "users", operation_id = "prepare_removal",
    params(AuthorQuery, IfSeen), responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn remove(
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
    // A time that is past for every block that comes.
    let past_ms = api
        .platform
        .record()
        .with_state(crate::record::State::time_ms);
    let transaction = Transaction::UserExpire(UserExpire {
        tenant: name.tenant,
        user: name.user,
        expires_ms: Some(past_ms),
    });
    prepared(&api, &caller, &tenant, query.author, transaction).await
}
