//! What is measured across crates.
//!
//! Whole requests in memory, with real wrapped keys, ephemeral keys and approvals ([`Cluster`], for criterion); whole clusters of
//! real processes under load ([`latency`], the program of that name); whole reads through the platform ([`mod@read`]); and experiments
//! over these, with what came of them ([`sweep`], the program of that name).

pub mod latency;
pub mod read;
mod request;
pub mod sweep;

pub use request::{Cluster, PreparedRequest};
