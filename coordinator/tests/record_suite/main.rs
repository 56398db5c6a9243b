//! The golden record from outside: rules, properties, peers, engine, audits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod approvals;
mod audits;
mod certificates;
mod clients;
mod encoding;
mod escapes;
mod export;
mod frozen;
mod ledger;
mod membership;
mod organisations;
mod properties;
mod reconcile;
mod rules_datasets;
mod rules_documents;
mod rules_reads;
mod rules_rewraps;
mod rules_users;
mod set_back;
mod solo;
mod stores;
mod succession;
