//! What is measured across crates.
//!
//! Whole requests in memory, with real wrapped keys, ephemeral keys and approvals ([`Cluster`], for criterion); whole clusters of
//! real processes under load ([`latency`], the program of that name); key generations ([`ceremony`], likewise); whole reads through
//! the platform ([`mod@read`]); what the golden record makes final ([`record`], likewise); and experiments over all these, with what came of them ([`sweep`], likewise).

mod build;
pub mod ceremony;
pub mod latency;
pub mod read;
pub mod record;
mod request;
mod steal;
pub mod sweep;

pub use request::{Cluster, PreparedRequest};
