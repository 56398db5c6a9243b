//! What is measured across crates.
//!
//! Three things: whole requests in memory, with real wrapped keys, ephemeral keys and approvals ([`Cluster`], for criterion),
//! and whole clusters of real processes under load ([`latency`], the program of that name), and experiments over both
//! with what came of them ([`sweep`], likewise).

pub mod latency;
mod request;
pub mod sweep;

pub use request::{Cluster, PreparedRequest};
