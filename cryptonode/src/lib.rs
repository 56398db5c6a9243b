//! The crypto node: one member of a threshold re-encryption cluster.
//!
//! A cluster holds a private key x that exists in no one place: node i keeps the share x_i, and any t of n nodes
//! re-encrypt a wrapped key to a reader's ephemeral key, each only for a request that carries the approvals which the
//! key's policy asks for. This crate has both ends of that conversation:
//!
//! - feature `client`: `wire`, `tls` and `client`, by which a platform calls a cluster over QUIC, the part of [`audit`]
//!   that reads what nodes exported, [`randomness`], and with `telemetry` what platforms and nodes export of a read's trace. No server and no key generation behind it.
//! - feature `node` (default): the daemon `cryptonode` and its operator's command line. A node's life on disk is one
//!   folder: [`config`] is what its operator writes, [`store`] what only the node may read (sealed under a passphrase),
//!   [`audit`] what it promised to remember of every share that it gave.
//!
//! Whom the node trusts: its operator's configuration, and mathematics. Not the platform, not the leader of a
//! ceremony, not its own clock beyond the policy's tolerance.

// Keys and nonces leave no copy in a generator of the process (`cryptonode::randomness`).
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod audit;
pub mod client;
pub mod randomness;
pub mod telemetry;
pub mod tls;
pub mod wire;

#[cfg(feature = "node")]
pub mod admin;
#[cfg(feature = "node")]
pub mod ceremony;
#[cfg(feature = "node")]
pub mod cli;
#[cfg(feature = "node")]
pub mod config;
#[cfg(feature = "node")]
pub mod daemon;
#[cfg(feature = "node")]
pub mod disk;
#[cfg(feature = "node")]
pub mod doctor;
#[cfg(feature = "node")]
pub mod health;
#[cfg(feature = "node")]
pub mod keyring;
#[cfg(feature = "node")]
mod log_level;
#[cfg(feature = "node")]
mod metrics;
#[cfg(feature = "node")]
pub mod node_files;
#[cfg(feature = "node")]
pub mod policy_words;
#[cfg(feature = "node")]
mod probe;
#[cfg(feature = "node")]
pub mod process;
#[cfg(feature = "node")]
pub mod reload;
#[cfg(feature = "node")]
pub mod revocation;
#[cfg(feature = "node")]
pub mod server;
#[cfg(feature = "node")]
mod service_manager;
#[cfg(feature = "node")]
pub mod set_back;
#[cfg(feature = "node")]
pub mod store;
#[cfg(feature = "node")]
pub mod suspension;
#[cfg(feature = "node")]
pub mod witness;
