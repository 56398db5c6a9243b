//! The machines of a key generation, as a driver sees them: whole ceremonies, restarts, hostile schedules, attacks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod absence;
mod attempts;
mod bad_deals;
mod ceremony;
mod cluster;
mod dealer;
mod encryption_keys;
mod false_leader;
mod false_words;
mod invariants;
mod long_evidence;
mod misled;
mod overtaken;
mod refusals;
mod reshare;
mod reshare_attacks;
mod reshare_histories;
mod reshare_succession;
mod restart;
mod schedule;
mod signing;
mod simulation;
mod standing_still;
mod succession;
mod sums;
mod unsigned_deals;
mod wire;
mod withheld;
mod world;
