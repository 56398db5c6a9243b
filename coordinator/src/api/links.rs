//! Links between versions of documents: that one was made from another is on the record, and proven without opening either.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::Caller;
use super::changes::{AuthorQuery, ChangeView, prepared};
use super::conditional::{IfSeenOrNew, Tag, may_change, tagged};
use super::page::{Asked, PageQuery, limit, part};
use super::views::{Page, ReceiptView};
use super::{Api, Problem, ProofView, Tenant, json};
use crate::record::{
    DatasetName, Identifier, Link, LinkName, LinkVersion, Transaction, VersionName,
};

const MAX_JSON: usize = 4 * 1024;

/// One version of a document, of any tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "tenant": "acme", "dataset": "designs", "document": "bridge", "version": 3 }))]
pub struct EndView {
    /// The tenant; the one in the path if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Identifier>,
    /// The dataset.
    pub dataset: Identifier,
    /// The document.
    pub document: Identifier,
    /// The version.
    pub version: u64,
}

impl EndView {
    pub(crate) fn of(name: &VersionName) -> Self {
        Self {
            tenant: Some(name.tenant.clone()),
            dataset: name.dataset.clone(),
            document: name.document.clone(),
            version: name.version,
        }
    }

    fn into_name(self, own: &Identifier) -> VersionName {
        VersionName {
            tenant: self.tenant.unwrap_or_else(|| own.clone()),
            dataset: self.dataset,
            document: self.document,
            version: self.version,
        }
    }
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "link": "bridge-of-plan", "version": 1, "from": { "tenant": "acme", "dataset": "designs", "document": "bridge", "version": 3 },
    "to": { "tenant": "acme", "dataset": "plans", "document": "valley", "version": 1 }, "relation": "derived-from",
    "author": "acme/alice", "transaction_id": "5a0b…64 hexadecimal digits", "changed_ms": 1_795_000_000_000_u64
}))]
pub struct LinkView {
    /// Its name.
    pub link: Identifier,
    /// 1 when created, one more with each update.
    pub version: u64,
    /// Where it starts.
    pub from: EndView,
    /// Where it leads.
    pub to: EndView,
    /// What it means.
    pub relation: Identifier,
    /// Who made this version, `tenant/user`.
    pub author: String,
    /// The transaction that made it, hexadecimal.
    pub transaction_id: String,
    /// Time of its block, milliseconds since the Unix epoch.
    pub changed_ms: u64,
}

impl LinkView {
    fn of(name: &LinkName, link: &LinkVersion) -> Self {
        Self {
            link: name.link.clone(),
            version: link.version,
            from: EndView::of(&link.from),
            to: EndView::of(&link.to),
            relation: link.relation.clone(),
            author: link.author.to_string(),
            transaction_id: hex::encode(link.transaction),
            changed_ms: link.changed_ms,
        }
    }
}

/// The links of a dataset, by name.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/datasets/{dataset}/links", tag = "links", operation_id = "list_links",
    params(PageQuery), responses((status = 200, body = Page<LinkView>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, dataset)): Path<(String, Identifier)>,
    Asked(query): Asked<PageQuery>,
) -> Result<Json<Page<LinkView>>, Problem> {
    let name = DatasetName { tenant, dataset };
    let page = api.platform.record().with_state(|state| {
        state.dataset(&name)?;
        let links = state.links(&name, query.after.as_ref());
        let views = links.map(|(name, link)| LinkView::of(name, link));
        Some(part(views, limit(query.limit), |view| {
            view.link.to_string()
        }))
    });
    page.map(Json).ok_or_else(Problem::not_found)
}

type LinkPath = Path<(String, Identifier, Identifier)>;

fn named(tenant: Identifier, dataset: Identifier, link: Identifier) -> LinkName {
    LinkName {
        tenant,
        dataset,
        link,
    }
}

/// A link, as it is now.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/datasets/{dataset}/links/{link}", tag = "links", operation_id = "get_link",
    responses((status = 200, body = LinkView, headers(("ETag" = String, description = "The link's version.")))))]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, dataset, link)): LinkPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = named(tenant, dataset, link);
    let record = api.platform.record();
    let found = record.with_state(|state| state.link(&name).cloned());
    let link = found.ok_or_else(Problem::not_found)?;
    let view = LinkView::of(&name, &link);
    Ok(tagged(&Tag::of_link(&link), &headers, Json(view)))
}

/// What a link is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "from": { "dataset": "designs", "document": "bridge", "version": 3 },
    "to": { "dataset": "plans", "document": "valley", "version": 1 }, "relation": "derived-from"
}))]
pub(super) struct LinkBody {
    /// Where it starts.
    from: EndView,
    /// Where it leads.
    to: EndView,
    /// What it means.
    relation: Identifier,
}

/// Prepares a link, or a new version of it.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/datasets/{dataset}/links/{link}", tag = "links", operation_id = "prepare_link",
    params(AuthorQuery, IfSeenOrNew),
    request_body = LinkBody, responses((status = 201, body = ReceiptView), (status = 202, body = ChangeView)))]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, dataset, link)): LinkPath,
    Asked(query): Asked<AuthorQuery>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let asked: LinkBody = json(request.into_body(), MAX_JSON).await?;
    let name = named(tenant.clone(), dataset, link);
    let present = api.platform.record().with_state(|state| {
        let link = state.link(&name)?;
        Some((Tag::of_link(link), link.version))
    });
    let (tag, version) = present.unzip();
    may_change(&headers, || tag)?;
    let transaction = Transaction::Link(Link {
        tenant: name.tenant,
        dataset: name.dataset,
        link: name.link,
        version: version.unwrap_or(0).saturating_add(1),
        from: asked.from.into_name(&tenant),
        to: asked.to.into_name(&tenant),
        relation: asked.relation,
    });
    prepared(&api, &caller, &tenant, query.author, transaction).await
}

/// Proof of a link: the transaction that made its version, its place in the record, and the organisations' signed head.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/datasets/{dataset}/links/{link}/proof", tag = "links", operation_id = "prove_link",
    responses((status = 200, body = ProofView)))]
pub(super) async fn prove(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Path((_, dataset, link)): LinkPath,
) -> Result<Json<ProofView>, Problem> {
    let name = named(tenant, dataset, link);
    let record = api.platform.record();
    let found = record.with_state(|state| state.link(&name).map(|link| link.transaction));
    let id = found.ok_or_else(Problem::not_found)?;
    Ok(Json(ProofView::of(record, &id).await?))
}
