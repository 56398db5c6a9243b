//! The platform: organisations exchange protected documents, and no single one of them can open what it was not
//! allowed to read.
//!
//! | module | what it does |
//! |---|---|
//! | [`record`] | the golden record: one deterministic state machine that several organisations' peers execute |
//! | [`envelope`] | how a document's body and keys are encrypted, byte for byte (`docs/protocol/envelope.md`) |
//! | [`body_store`] | where encrypted bodies lie that are too large for the record |
//! | [`master_key`] | the platform's own key, sealed under a passphrase |
//! | [`platform`] | the write flow and the read flow over the four above and the cluster of crypto nodes |
//! | [`api`], [`client`] | the same over HTTP: server and client |
//! | [`setup`], [`organisations`] | a new folder; the keys of the organisations whose peers run in this process |
//! | [`peer`] | an organisation's peer as a process of its own, for the engine `simplex` |
//! | [`folder`], [`config`], [`daemon`], [`cli`] | the process: its folder, its settings, its life, its command line |
//!
//! Who is trusted with what: the record's peers check permissions themselves and believe no platform; the crypto nodes
//! believe only the approvals of enough organisations; the platform sees a plaintext for the length of one approved
//! read, and none at all in a read that its reader opens; the client signs nothing that it has not checked to be what its user asked for.

// Keys and nonces leave no copy in a generator of the process (`cryptonode::randomness`).
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod api;
pub mod body_store;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod envelope;
pub mod folder;
pub mod master_key;
pub mod organisations;
pub mod peer;
pub mod platform;
pub mod record;
pub mod setup;
