//! The whole system in one world: crypto nodes, ledger peers, readers, under one seeded scheduler (`docs/simulation.md`).
//!
//! `SIMULATE_SEEDS=20000 cargo test --workspace --test simulation` plays so many histories; `SIMULATE_FROM` is the first seed;
//! `SIMULATE_LOG` plays the log of events again that a failure has come down to, `SIMULATE_SEED` the whole history of a seed. `POWER_CUTS=all` has
//! the power fail at every write of every node of a ceremony.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

mod ceremonies;
#[allow(dead_code, reason = "the key generation's own tests use the rest")]
#[path = "../../dkg/tests/machines/dealer.rs"]
mod dealer;
mod disk;
mod false_complaint;
mod histories;
mod invariants;
mod ledger;
mod network;
mod node;
mod plan;
mod plants;
mod power;
mod reader;
#[allow(dead_code, reason = "the record's own tests use the rest")]
#[path = "../../coordinator/tests/record_suite/ledger.rs"]
mod record_ledger;
mod shrink;
mod template;
mod world;
