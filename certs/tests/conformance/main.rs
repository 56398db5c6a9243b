//! What the crate promises, against certificates made by OpenSSL, by hand, and by people who mean harm.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod attacks;
mod chains;
mod checkpoints;
mod cosignatures;
mod forge;
mod issuing;
mod malformed;
mod merkle_trees;
mod openssl;
mod policies;
mod profile;
