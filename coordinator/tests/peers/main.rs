//! What an organisation's operator does with a peer that is a process of its own: asks it, copies it, takes a copy back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod approvals;
mod audits;
mod backup;
#[allow(dead_code, reason = "the other tests of peers use all of it")]
#[path = "../simplex/federation.rs"]
mod federation;
mod hospital;
mod revoked;
