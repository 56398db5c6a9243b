//! What is measured across crates.
//!
//! Two things: whole requests in memory, with real wrapped keys, ephemeral keys and approvals ([`Cluster`], for criterion),
//! and whole clusters of real processes under load ([`latency`], the program of that name).

pub mod latency;
mod request;

pub use request::{Cluster, PreparedRequest};
