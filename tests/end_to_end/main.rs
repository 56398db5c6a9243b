//! The root binary, end to end: real processes, real QUIC, real certificates, real disks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod core_files;
mod demo;
mod leftovers;
mod memory;
mod refused;
mod reshare;
mod running;
mod secrets;
mod traces;
mod unopened;
mod up;
