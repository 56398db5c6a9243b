//! What benches that cross crates work on: whole requests, with real wrapped keys, ephemeral keys and approvals.

mod request;

pub use request::{Cluster, PreparedRequest};
