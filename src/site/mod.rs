//! A whole site on one machine: crypto nodes, a golden record of several organisations, and the platform.
//!
//! Everything is done by the commands that an operator would type (`cryptonode init`, `cryptonode ceremony propose`,
//! `coordinator init`, …), run as processes of their own on real files below one folder:
//!
//! ```text
//! DIR/nodes/node-1 … node-5   a crypto node each: config.toml, store.redb, audit/, admin.sock
//! DIR/platform/               the coordinator: organisations' keys and stores, bodies, policy.toml
//! DIR/peers/, DIR/exchange/   with the engine `simplex`: a folder for each organisation's peer, and what they agreed on
//! DIR/users/                  the users' own keys
//! DIR/secrets/                passphrases and recovery phrases; a real operator keeps these elsewhere
//! DIR/cluster.json            the cluster's public description: key, members, addresses
//! DIR/logs/                   one log a process
//! ```
//!
//! What goes wrong: a port that somebody took between our choice and the node's start, a folder that another site
//! uses, a full disk. Each ends the site with one sentence that says what to do, and with no process left.

mod build;
mod error;
mod exchange;
mod home;
mod layout;
mod nodes;
mod peers;
mod ports;
mod process;

pub use build::{Site, SitePlan};
pub use error::SiteError;
pub use exchange::{DATASET, Exchange, READER, STRANGER, WRITER};
pub use home::{Home, interruption};
pub use layout::Layout;
pub use nodes::Node;
pub use peers::{OrganisationPeer, RecordEngine};
pub use process::{Machine, Process, Program, Tool};
