//! What the node shows of itself: `/healthz`, `/readyz` and `/metrics` over HTTP, for those who look after it.
//!
//! - `/healthz`: whether the process should go on as it is. It says no if only a restart helps: the audit log is closed after a
//!   failed write. 200 or 503.
//! - `/readyz`: whether the node gives shares now, and every reason why not. 200 or 503.
//! - `/metrics`: OpenMetrics text.
//!
//! The page is there from the first moment, also while the node is sealed. Nobody is asked who they are, so it belongs on
//! loopback, and it says nothing secret: no document, no client, no reader.

mod http;

pub(crate) use http::Page;

use serde::{Deserialize, Serialize};

/// A reason why a node does not do all that it is there for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// A stable code, such as `no-key`.
    pub code: String,
    /// A sentence that says what to do.
    pub message: String,
}

impl Condition {
    /// A reason.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

/// What the page shows; the node implements it.
pub(crate) trait Subject: Send + Sync + 'static {
    /// The node's name.
    fn name(&self) -> String;
    /// `starting`, `sealed`, `serving` or `stopping`.
    fn stage(&self) -> &'static str;
    /// Why only a restart helps.
    fn unhealthy(&self) -> Vec<Condition>;
    /// Why it gives no shares.
    fn not_ready(&self) -> Vec<Condition>;
    /// The metrics, OpenMetrics text.
    fn metrics(&self) -> String;
}
