//! The record on the engine `simplex`: every organisation's peer is a process of its own, with keys, a store and an address of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod chain;
mod early;
mod elsewhere;
mod epochs;
mod federation;
mod leftovers;
mod liar;
mod order;
mod platform;
mod seven;
mod twins;
