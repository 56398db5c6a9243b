//! The attacks that the protocol names (its sections 2, 7, 8 and 10), on real nodes over QUIC.
//!
//! Two sites of real processes are made once and shared: one with nodes, platform and record, on which requests,
//! approvals and documents are attacked, and for each attacked ceremony a small one, in which the test itself holds
//! the seat of a member: it has that member's identity and speaks the ceremony's messages by hand. The organisations that
//! approve are the test's own, so an attack fails for the reason that is named and not because nobody approved it.
//!
//! Each attack has an honest twin: the same steps without the one thing that is wrong, which must succeed. And after each
//! attack the nodes' audit logs are held against what was asked: no share has left.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod approvals;
mod asking;
mod ceremonies;
mod cluster;
mod coalitions;
mod conspiracies;
#[path = "../../dkg/tests/machines/dealer.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of it is used")]
mod dealer;
#[path = "../../fuzz/src/der.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod der;
mod documents;
#[path = "../simulation/false_complaint.rs"]
#[allow(unreachable_pub, reason = "the simulation's file")]
mod false_complaint;
mod forging;
mod impostor;
mod leaders;
mod members;
mod profile;
mod reconciliation;
mod requests;
mod shares;
mod vocabulary;
