//! The platform as its users have it: the real program in a process of its own, with a real record and real disks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod answers;
mod audits;
mod authentication;
mod bound_keys;
mod certificates;
mod client_calls;
mod cluster;
mod command_line;
mod damage;
mod documents;
mod end_to_end;
mod lying_platform;
mod managed;
mod master_key;
mod parts;
mod profiles;
mod proofs;
mod ranges;
mod rewrap;
mod sharing;
mod site;
mod stalled;
mod streaming;
mod threshold;
mod uploads;
