//! The platform's master keys, for its operators.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::{Api, Problem};
use crate::platform::MasterKeysView;

/// The platform's master keys, without the keys themselves, and how far the rewrapping after the last rotation is.
#[utoipa::path(get, path = "/v1/operator/master-keys", tag = "platform", operation_id = "master_keys",
    responses((status = 200, body = MasterKeysView)))]
pub(super) async fn show(State(api): State<Arc<Api>>) -> Result<Json<MasterKeysView>, Problem> {
    Ok(Json(api.platform.master_keys().await?))
}

/// Makes a new master key. What is under older ones is wrapped anew in the background, and they are destroyed when nothing is left under
/// them; documents are read and written meanwhile.
#[utoipa::path(post, path = "/v1/operator/master-keys", tag = "platform", operation_id = "rotate_master_key",
    responses((status = 201, body = MasterKeysView)))]
pub(super) async fn rotate(
    State(api): State<Arc<Api>>,
) -> Result<(StatusCode, Json<MasterKeysView>), Problem> {
    let keys = api.platform.rotate_master_key().await?;
    Ok((StatusCode::CREATED, Json(keys)))
}
