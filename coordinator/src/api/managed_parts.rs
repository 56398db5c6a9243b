//! Uploads in parts of users whose keys this platform keeps: begun and sent as everybody's, then completed and on the record in one request.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use uuid::Uuid;

use super::auth::Caller;
use super::changes::{Settled, signing};
use super::conditional::{IfSeenOrNew, Tag, next_version, with_tag};
use super::managed::{WrittenView, managed};
use super::parts::{WholeBody, own};
use super::{Api, Problem, Tenant, json};
use crate::platform::{Whole, WrittenParts};
use crate::record::UnsignedTransaction;

const MAX_JSON: usize = 4 * 1024;

impl From<WrittenParts> for WrittenView {
    fn from(it: WrittenParts) -> Self {
        Self {
            version: it.version,
            length: it.length,
            checksum: hex::encode(it.checksum),
            receipt: it.receipt.into(),
        }
    }
}

/// Completes an upload of a user whose key the platform keeps, and puts it onto the record.
///
/// Done again, it gives the same answer, after a restart and without an `Idempotency-Key` too, as long as an upload is kept. Users with keys of
/// their own take `complete`.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/parts/{id}/content", tag = "documents", operation_id = "complete_content",
    params(IfSeenOrNew), request_body = WholeBody, responses((status = 201, body = WrittenView,
        headers(("ETag" = String, description = "The body's, as `content` has it.")))))]
pub(super) async fn complete(
    State(api): State<Arc<Api>>,
    Extension(Tenant(tenant)): Extension<Tenant>,
    Extension(caller): Extension<Caller>,
    Path((_, id)): Path<(String, Uuid)>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let whole = Whole::from(json::<WholeBody>(request.into_body(), MAX_JSON).await?);
    let platform = &api.platform;
    let (document, author) = own(&api, &tenant, &caller, id).await?;
    managed(&api, &caller, &tenant, Some(author.user))?;
    // The state that a first attempt found is not that which a repetition finds.
    let next = match platform.parts_written(&tenant, id, whole).await? {
        Some(_) => None,
        None => next_version(&headers, platform.record(), &document)?,
    };
    let signing = move |unsigned: &UnsignedTransaction| signing(&caller, unsigned);
    let written = platform.write_parts(&tenant, id, whole, next, signing);
    let written = written.await?;
    let view = WrittenView::from(written);
    let tag = Tag::of_body(view.version, &view.checksum);
    let answer = (StatusCode::CREATED, Extension(Settled), Json(view));
    Ok(with_tag(Some(&tag), answer))
}
