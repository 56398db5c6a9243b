//! What is measured across crates.
//!
//! Three things: whole requests in memory, with real wrapped keys, ephemeral keys and approvals ([`Cluster`], for criterion),
//! whole clusters of real processes under load ([`latency`], the program of that name), and key generations ([`ceremony`], too).

pub mod ceremony;
pub mod latency;
mod request;

pub use request::{Cluster, PreparedRequest};
