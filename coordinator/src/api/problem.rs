//! Errors as problem details (RFC 9457), with stable types.
//!
//! `type` is `/problems/CODE`, and `code` the same code alone; codes never change their meaning. `detail` is a sentence for
//! people. `request_id` stands in the answer's `x-request-id` header and in the logs too.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use problem_details::ProblemDetails;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::AuthError;
use crate::master_key::MasterKeyError;
use crate::platform::{ManagedKeyError, PartsError, PlatformError};

/// Seconds after which to try again what may succeed later, if nobody knows better.
const USUAL_WAIT_S: u32 = 1;

/// What an error answer says.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: String,
    detail: String,
    retry_after_s: Option<u32>,
    /// Bytes of the document of which none were asked for.
    length: Option<u64>,
    more: Option<serde_json::Value>,
}

/// An error (RFC 9457).
#[derive(ToSchema)]
#[schema(example = json!({
    "type": "/problems/not-permitted", "title": "Forbidden", "status": 403, "code": "not-permitted",
    "detail": "the record refuses this: acme/bob may not read in acme/designs: an owner must grant it the role of a reader",
    "request_id": "019a0000-0000-7000-8000-000000000001"
}))]
#[allow(dead_code, reason = "it describes what `render` writes")]
pub(super) struct ProblemView {
    /// `/problems/CODE`: which type of problem this is, for ever.
    r#type: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// The type alone, without the path.
    code: String,
    /// A sentence for people, which says what to do next.
    detail: String,
    /// The request's id, as in `x-request-id` and the platform's logs.
    request_id: Option<String>,
    /// What organisations or crypto nodes said.
    more: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct Extensions {
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<serde_json::Value>,
}

impl Problem {
    /// A problem with a stable code and a sentence.
    pub(super) fn new(
        status: StatusCode,
        code: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            detail: detail.into(),
            retry_after_s: None,
            length: None,
            more: None,
        }
    }

    /// Another tenant's objects, and those that do not exist: the two look the same.
    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "there is nothing here that this API key can see: check the path and its names, and that its tenant is the API key's",
        )
    }

    /// A body longer than the route takes.
    pub(super) fn too_long(limit: usize) -> Self {
        let detail =
            format!("the body has more than {limit} bytes, which this route does not take");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-long", detail)
    }

    /// Too many requests of one tenant.
    pub(super) fn rate_limited(wait: Duration) -> Self {
        let seconds = u32::try_from(wait.as_secs())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let detail = "this tenant makes more requests than it may: wait as long as `Retry-After` says, and send fewer at a time";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail).retry_after(seconds)
    }

    /// A request that cannot be understood.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// A path that does not fit its route; `said` is the framework's sentence, none if it was too long.
    pub(super) fn unreadable(status: StatusCode, said: &str) -> Self {
        let said = said.strip_prefix("Invalid URL: ").unwrap_or(said);
        let detail = match said.is_empty() {
            true => "the path cannot be read: names have letters, digits, '.', '_' and '-' only"
                .to_owned(),
            false => format!("the path cannot be read: {said}"),
        };
        Self::new(status, "bad-request", detail)
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "this path does not know this method: `Allow` lists those that it knows",
        )
    }

    pub(super) fn code(&self) -> &str {
        &self.code
    }

    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    fn with_more(mut self, more: serde_json::Value) -> Self {
        self.more = Some(more);
        self
    }

    /// The answer, once the request's identifier is known.
    pub(super) fn render(self, request_id: &str) -> Response {
        let kind = Uri::try_from(format!("/problems/{}", self.code)).unwrap_or_default();
        let body = ProblemDetails::from_status_code(self.status)
            .with_type(kind)
            .with_detail(self.detail)
            .with_extensions(Extensions {
                code: self.code,
                request_id: Some(request_id.to_owned()),
                more: self.more,
            });
        let mut headers = HeaderMap::new();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(length) = self.length
            && let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}"))
        {
            headers.insert(header::CONTENT_RANGE, value);
        }
        let later = matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        let wait = self.retry_after_s.or(later.then_some(USUAL_WAIT_S));
        if let Some(seconds) = wait {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        (headers, body).into_response()
    }
}

impl IntoResponse for Problem {
    /// Leaves the problem in the answer's extensions: the outermost layer renders it, because it knows the request's
    /// identifier.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<AuthError> for Problem {
    fn from(e: AuthError) -> Self {
        let status = match &e {
            AuthError::Missing | AuthError::Invalid | AuthError::Expired | AuthError::Revoked => {
                StatusCode::UNAUTHORIZED
            }
            AuthError::Scope(_) | AuthError::User(_) => StatusCode::FORBIDDEN,
            AuthError::Author => StatusCode::BAD_REQUEST,
            AuthError::Unknown => StatusCode::NOT_FOUND,
            AuthError::Terms(_) => StatusCode::UNPROCESSABLE_ENTITY,
            AuthError::Registry(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, e.code(), e.to_string())
    }
}

impl From<PlatformError> for Problem {
    fn from(e: PlatformError) -> Self {
        let mut problem = Self::new(status(&e), e.code(), e.to_string());
        if let PlatformError::Range { length } = &e {
            problem.length = Some(*length);
        }
        let problem = match e.details() {
            Some(more) => problem.with_more(more),
            None => problem,
        };
        if e.is_transient() {
            problem.retry_after(1)
        } else {
            problem
        }
    }
}

fn status(e: &PlatformError) -> StatusCode {
    match e {
        PlatformError::NotFound { .. } | PlatformError::NotWaiting => StatusCode::NOT_FOUND,
        PlatformError::Rejected { code, .. } => match code.as_str() {
            "not-permitted"
            | "not-administrator"
            | "other-tenant"
            | "user-suspended"
            | "user-expired"
            | "signature"
            | "certificate-missing"
            | "organisation-decides"
            | "certificate-revoked"
            | "certificate-expired"
            | "certificate-unanchored" => StatusCode::FORBIDDEN,
            "version" | "replayed" | "permission-unchanged" | "access-pending" | "key-replaced" => {
                StatusCode::CONFLICT
            }
            code if code.ends_with("-exists") => StatusCode::CONFLICT,
            code if code.starts_with("unknown-") => StatusCode::NOT_FOUND,
            "erased" => StatusCode::GONE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        },
        PlatformError::OtherTransaction
        | PlatformError::Malformed { .. }
        | PlatformError::NotEndToEnd { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        PlatformError::NoPointer => StatusCode::BAD_REQUEST,
        PlatformError::ReadOver => StatusCode::GONE,
        PlatformError::ManagedKey(e) => match e {
            ManagedKeyError::NotManaged(_) | ManagedKeyError::Missing(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            ManagedKeyError::TooMany | ManagedKeyError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
        PlatformError::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
        PlatformError::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        PlatformError::Upload { .. } | PlatformError::ReaderGone => StatusCode::BAD_REQUEST,
        PlatformError::Idle => StatusCode::REQUEST_TIMEOUT,
        PlatformError::NotApproved { .. } => StatusCode::FORBIDDEN,
        PlatformError::Busy
        | PlatformError::NoAnswer { .. }
        | PlatformError::NoCluster { .. }
        | PlatformError::Cluster { .. }
        | PlatformError::Record { .. } => StatusCode::SERVICE_UNAVAILABLE,
        PlatformError::Envelope(_) | PlatformError::WrappedKey { .. } => StatusCode::BAD_GATEWAY,
        PlatformError::MasterKey(MasterKeyError::TooMany) => StatusCode::CONFLICT,
        PlatformError::Body(error) if error.is_full() => StatusCode::INSUFFICIENT_STORAGE,
        PlatformError::Body(error) if error.may_pass() => StatusCode::SERVICE_UNAVAILABLE,
        PlatformError::Parts(e) => match e {
            PartsError::Database(_) | PartsError::Damaged => StatusCode::INTERNAL_SERVER_ERROR,
            PartsError::Tag | PartsError::Differs => StatusCode::UNPROCESSABLE_ENTITY,
            PartsError::TooMany { .. } | PartsError::TooLarge { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            PartsError::Pending => StatusCode::SERVICE_UNAVAILABLE,
            PartsError::Gap { .. } | PartsError::Overtaken | PartsError::Length { .. } => {
                StatusCode::CONFLICT
            }
        },
        PlatformError::Body(_)
        | PlatformError::MasterKey(_)
        | PlatformError::Keys(_)
        | PlatformError::NoVersionKey { .. }
        | PlatformError::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_succeed_later_says_when() {
        let after = |status, said: Option<u32>| {
            let problem = Problem::new(status, "some", "a problem");
            let problem = match said {
                Some(seconds) => problem.retry_after(seconds),
                None => problem,
            };
            let rendered = problem.render("id");
            let header = rendered.headers().get(header::RETRY_AFTER).cloned();
            header.and_then(|it| it.to_str().ok()?.parse::<u32>().ok())
        };
        for status in [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ] {
            assert_eq!(after(status, None), Some(USUAL_WAIT_S));
            assert_eq!(after(status, Some(60)), Some(60));
        }
        assert_eq!(after(StatusCode::CONFLICT, None), None);
        assert_eq!(after(StatusCode::CONFLICT, Some(1)), Some(1));
    }
}
