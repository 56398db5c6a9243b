//! Changes of the record, from JSON: whoever has no canonical CBOR at hand gets the transaction that says what he asked for,
//! checks it, signs it, and sends it to `transactions`.
//!
//! Nothing has happened when such an answer comes (202): the record decides when the signed transaction arrives. For a user whose key
//! this platform keeps there is nobody else who could sign, so the platform does, and answers when it is on the record (201).
//!
//! `If-Match` is held against the state now; configurations, whole roles and links carry their version in the transaction too, so for them
//! nobody comes between.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::Caller;
use super::conditional::{IfSeen, Tag, may_change, with_tag};
use super::page::Asked;
use super::views::ReceiptView;
use super::{Api, Problem, Tenant, json};
use crate::record::{
    Author, DatasetConfigure, DatasetCreate, DatasetName, Encryption, Erase, Identifier,
    PermissionEntry, PermissionSet, Receipt, Role, Storage, Transaction, UnsignedTransaction,
    UserName,
};

const MAX_JSON: usize = 64 * 1024;

/// A transaction to check, to sign, and to send to `transactions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "transaction": "a566617574686f72…", "transaction_id": "5a0b…64 hexadecimal digits", "expires_ms": 1_795_000_120_000_u64
}))]
pub struct ChangeView {
    /// The canonical bytes of the unsigned transaction, hexadecimal.
    #[serde(with = "hex")]
    #[schema(value_type = String)]
    pub transaction: Vec<u8>,
    /// The id that it will have, hexadecimal.
    pub transaction_id: String,
    /// Until when it must be on the record, milliseconds since the Unix epoch.
    pub expires_ms: u64,
}

impl ChangeView {
    pub(super) fn of(unsigned: &UnsignedTransaction) -> Self {
        Self {
            transaction: unsigned.to_bytes(),
            transaction_id: hex::encode(unsigned.id()),
            expires_ms: unsigned.expires_ms,
        }
    }
}

/// Who acts.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuthorQuery {
    /// The user who acts: who will sign, or for whom the platform signs. If absent, the one that the API key is bound to.
    #[param(value_type = Option<String>, example = "alice")]
    pub(super) author: Option<Identifier>,
}

/// Marks an answer that says what happened and not what waits: it is remembered as long as what happened stays true.
#[derive(Clone)]
pub(super) struct Settled;

/// The transaction for its author to sign; for a user whose key this platform keeps, what became of it.
pub(super) async fn prepared(
    api: &Api,
    caller: &Caller,
    tenant: &Identifier,
    author: Option<Identifier>,
    transaction: Transaction,
) -> Result<Response, Problem> {
    let author = UserName {
        tenant: tenant.clone(),
        user: caller.acting(author)?,
    };
    let unsigned = api.platform.prepare_change(author, transaction);
    if matches!(unsigned.author, Author::Managed(_)) {
        signing(caller, &unsigned);
        return Ok(settled(api, api.platform.submit_managed(unsigned).await?));
    }
    let view = ChangeView::of(&unsigned);
    Ok((StatusCode::ACCEPTED, Json(view)).into_response())
}

/// What became of a transaction, with the tag of what it changed.
pub(super) fn settled(api: &Api, receipt: Receipt) -> Response {
    let record = api.platform.record();
    let tag = record.with_state(|state| Tag::of_receipt(state, &receipt));
    let view = Json(ReceiptView::from(receipt));
    with_tag(
        tag.as_ref(),
        (StatusCode::CREATED, Extension(Settled), view),
    )
}

/// The record shows that the platform signed; at whose request is in its log alone.
pub(super) fn signing(caller: &Caller, unsigned: &UnsignedTransaction) {
    tracing::info!(
        api_key = caller.key_id,
        author = %unsigned.author,
        kind = unsigned.transaction.kind(),
        transaction = hex::encode(unsigned.id()),
        "signing for a managed user"
    );
}

/// How a dataset's documents are protected and stored.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "encryption": "platform", "storage": "off-chain" }))]
pub(super) struct Configuration {
    /// Who can open what is written.
    encryption: Level,
    /// With threshold encryption, the cluster's public key, 64 hexadecimal digits.
    cluster: Option<String>,
    /// Where bodies are stored.
    storage: Storage,
}

/// Who can open what is written: anybody with the body, the platform, or a threshold of crypto nodes after the organisations' approval.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Level {
    None,
    Platform,
    Threshold,
}

impl Level {
    /// The same with the key of its cluster, where there is one.
    fn under(&self, cluster: Option<&str>) -> Result<Encryption, Problem> {
        let wrong = || {
            Problem::bad_request(
                "`cluster` is the cluster's public key, 64 hexadecimal digits, with threshold encryption alone",
            )
        };
        match (self, cluster) {
            (Self::None, None) => Ok(Encryption::None),
            (Self::Platform, None) => Ok(Encryption::Platform),
            (Self::Threshold, Some(cluster)) => {
                let mut public_key = [0; 32];
                hex::decode_to_slice(cluster, &mut public_key).map_err(|_| wrong())?;
                Ok(Encryption::Threshold { public_key })
            }
            _ => Err(wrong()),
        }
    }
}

/// A new dataset.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "dataset": "designs", "encryption": "platform", "storage": "off-chain" }))]
pub(super) struct NewDataset {
    /// Its name, unique in the tenant for ever.
    dataset: Identifier,
    /// Who can open what is written.
    encryption: Level,
    /// With threshold encryption, the cluster's public key, 64 hexadecimal digits.
    cluster: Option<String>,
    /// Where bodies are stored.
    storage: Storage,
}

/// Prepares a dataset; whoever signs owns it.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/datasets", tag = "datasets", operation_id = "prepare_dataset",
    params(AuthorQuery), request_body = NewDataset, responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn create_dataset(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<AuthorQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: NewDataset = json(request.into_body(), MAX_JSON).await?;
    let transaction = Transaction::DatasetCreate(DatasetCreate {
        tenant: tenant.clone(),
        dataset: asked.dataset,
        encryption: asked.encryption.under(asked.cluster.as_deref())?,
        storage: asked.storage,
    });
    prepared(&api, &caller, &tenant, query.author, transaction).await
}

/// Prepares a dataset's configuration for later writes. What is written stays as it is.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/datasets/{dataset}/configuration", tag = "datasets",
    operation_id = "prepare_configuration", params(AuthorQuery, IfSeen),
    request_body = Configuration, responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn configure_dataset(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, dataset)): Path<(String, Identifier)>,
    Asked(query): Asked<AuthorQuery>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let asked: Configuration = json(request.into_body(), MAX_JSON).await?;
    let name = DatasetName {
        tenant: tenant.clone(),
        dataset,
    };
    let present = api.platform.record().with_state(|state| {
        let dataset = state.dataset(&name)?;
        Some((
            Tag::of_dataset(dataset, state.permissions(&name)),
            dataset.version,
        ))
    });
    let (tag, version) = present.ok_or_else(Problem::not_found)?;
    may_change(&headers, || Some(tag))?;
    let transaction = Transaction::DatasetConfigure(DatasetConfigure {
        tenant: tenant.clone(),
        dataset: name.dataset,
        version: version.saturating_add(1),
        encryption: asked.encryption.under(asked.cluster.as_deref())?,
        storage: asked.storage,
    });
    prepared(&api, &caller, &tenant, query.author, transaction).await
}

/// The users of a role.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "users": ["acme/alice", "umbra/bob"] }))]
pub(super) struct RoleUsers {
    /// All of them, as `TENANT/USER`, in any order.
    users: Vec<String>,
}

/// Prepares the users of a role, as a whole.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/datasets/{dataset}/permissions/{role}", tag = "datasets",
    operation_id = "prepare_role", params(AuthorQuery, IfSeen),
    request_body = RoleUsers, responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn set_role(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, dataset, role)): Path<(String, Identifier, Role)>,
    Asked(query): Asked<AuthorQuery>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let asked: RoleUsers = json(request.into_body(), MAX_JSON).await?;
    let mut users = asked
        .users
        .iter()
        .map(|it| user_name(it))
        .collect::<Result<Vec<_>, _>>()?;
    users.sort_unstable();
    let name = DatasetName {
        tenant: tenant.clone(),
        dataset,
    };
    let version = permissions_to_change(&api, &name, &headers)?;
    let transaction = Transaction::PermissionSet(PermissionSet {
        tenant: tenant.clone(),
        dataset: name.dataset,
        version: version.saturating_add(1),
        role,
        users,
    });
    prepared(&api, &caller, &tenant, query.author, transaction).await
}

type EntryPath = Path<(String, Identifier, Role, Identifier, Identifier)>;

/// Prepares that a user gets a role.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/datasets/{dataset}/permissions/{role}/{of_tenant}/{user}", tag = "datasets",
    operation_id = "prepare_grant", params(AuthorQuery, IfSeen),
    responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn add_to_role(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    path: EntryPath,
    Asked(query): Asked<AuthorQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let transaction = Transaction::PermissionAdd(entry(&api, &tenant, path, &headers)?);
    prepared(&api, &caller, &tenant, query.author, transaction).await
}

/// Prepares that a user loses a role.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/datasets/{dataset}/permissions/{role}/{of_tenant}/{user}", tag = "datasets",
    operation_id = "prepare_revocation", params(AuthorQuery, IfSeen),
    responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn remove_from_role(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    path: EntryPath,
    Asked(query): Asked<AuthorQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let transaction = Transaction::PermissionRemove(entry(&api, &tenant, path, &headers)?);
    prepared(&api, &caller, &tenant, query.author, transaction).await
}

fn entry(
    api: &Api,
    tenant: &Identifier,
    Path((_, dataset, role, of_tenant, user)): EntryPath,
    headers: &HeaderMap,
) -> Result<PermissionEntry, Problem> {
    let name = DatasetName {
        tenant: tenant.clone(),
        dataset,
    };
    permissions_to_change(api, &name, headers)?;
    Ok(PermissionEntry {
        tenant: name.tenant,
        dataset: name.dataset,
        role,
        user: UserName {
            tenant: of_tenant,
            user,
        },
    })
}

/// The version of the permissions that are to be changed, if they are those that the caller has seen.
fn permissions_to_change(
    api: &Api,
    name: &DatasetName,
    headers: &HeaderMap,
) -> Result<u64, Problem> {
    let present = api.platform.record().with_state(|state| {
        let permissions = state.permissions(name)?;
        Some((Tag::of_permissions(permissions), permissions.version))
    });
    let (tag, version) = present.ok_or_else(Problem::not_found)?;
    may_change(headers, || Some(tag))?;
    Ok(version)
}

/// `TENANT/USER`.
fn user_name(text: &str) -> Result<UserName, Problem> {
    text.parse()
        .map_err(|_| Problem::bad_request(format!("{text:?} is no TENANT/USER")))
}

/// What of a document is erased.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EraseQuery {
    /// The user who acts: an owner of the dataset. If absent, the one that the API key is bound to.
    #[param(value_type = Option<String>, example = "alice")]
    author: Option<Identifier>,
    /// The one version; if absent, all of them, and none can be written any more.
    version: Option<u64>,
}

/// Prepares the erasure of a document, or of one version of it.
///
/// Once it is on the record, wrapped keys and pointers are gone from its state, no organisation approves a read any more, and the platform
/// removes the bodies. What happened stays on the record.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/datasets/{dataset}/documents/{document}", tag = "documents",
    operation_id = "prepare_erasure", params(EraseQuery, IfSeen),
    responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn erase(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, dataset, document)): Path<(String, Identifier, Identifier)>,
    Asked(query): Asked<EraseQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let erase = Erase {
        tenant: tenant.clone(),
        dataset,
        document,
        version: query.version,
    };
    let name = erase.name();
    let record = api.platform.record();
    if record.with_state(|state| state.document(&name).is_none()) {
        return Err(Problem::not_found());
    }
    may_change(&headers, || {
        record.with_state(|state| Tag::of_document(state, &name))
    })?;
    prepared(
        &api,
        &caller,
        &tenant,
        query.author,
        Transaction::Erase(erase),
    )
    .await
}
