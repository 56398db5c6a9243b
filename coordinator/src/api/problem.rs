//! Errors as problem details (RFC 9457), with stable types.
//!
//! `type` is `/problems/CODE`, and `code` the same code alone; codes never change their meaning. `detail` is a sentence for
//! people. `request_id` stands in the answer's `x-request-id` header and in the logs too.

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use problem_details::ProblemDetails;
use serde::Serialize;

use super::auth::AuthError;
use crate::platform::PlatformError;

/// What an error answer says.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: String,
    detail: String,
    retry_after_s: Option<u32>,
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
            more: None,
        }
    }

    /// Another tenant's objects, and those that do not exist: the two look the same.
    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "there is nothing here that this API key can see",
        )
    }

    /// A request that cannot be understood.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// A path or query that does not fit its route.
    pub(super) fn unreadable(status: StatusCode) -> Self {
        let detail = "the path or the query cannot be read: names have letters, digits, '.', '_' and '-' only";
        Self::new(status, "bad-request", detail)
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "this path does not know this method",
        )
    }

    pub(super) fn code(&self) -> &str {
        &self.code
    }

    fn retry_after(mut self, seconds: u32) -> Self {
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
        if let Some(seconds) = self.retry_after_s {
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
            AuthError::Scope(_) => StatusCode::FORBIDDEN,
            AuthError::Unknown => StatusCode::NOT_FOUND,
            AuthError::Terms(_) => StatusCode::UNPROCESSABLE_ENTITY,
            AuthError::Registry(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, e.code(), e.to_string())
    }
}

impl From<PlatformError> for Problem {
    fn from(e: PlatformError) -> Self {
        let problem = Self::new(status(&e), e.code(), e.to_string());
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
            | "certificate-revoked"
            | "certificate-expired"
            | "certificate-unanchored" => StatusCode::FORBIDDEN,
            "version" | "replayed" | "permission-unchanged" | "access-pending" => {
                StatusCode::CONFLICT
            }
            code if code.ends_with("-exists") => StatusCode::CONFLICT,
            code if code.starts_with("unknown-") => StatusCode::NOT_FOUND,
            "erased" => StatusCode::GONE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        },
        PlatformError::OtherTransaction | PlatformError::Malformed { .. } => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        PlatformError::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        PlatformError::Upload { .. } | PlatformError::ReaderGone => StatusCode::BAD_REQUEST,
        PlatformError::Idle => StatusCode::REQUEST_TIMEOUT,
        PlatformError::NotApproved { .. } => StatusCode::FORBIDDEN,
        PlatformError::Busy
        | PlatformError::NoCluster { .. }
        | PlatformError::Cluster { .. }
        | PlatformError::Record { .. } => StatusCode::SERVICE_UNAVAILABLE,
        PlatformError::Envelope(_) | PlatformError::WrappedKey { .. } => StatusCode::BAD_GATEWAY,
        PlatformError::Body(error) if error.is_full() => StatusCode::INSUFFICIENT_STORAGE,
        PlatformError::Body(_) | PlatformError::MasterKey(_) | PlatformError::Internal { .. } => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}
