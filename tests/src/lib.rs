//! What tests that cross crates share.
//!
//! [`secrets`] searches files for secrets in whatever form a log could show them; [`processes`] waits for processes to
//! end, by the event and not by sleeping, and finds those that a test left behind; [`ports`] are theirs while they are down; [`relay`] is the network between
//! processes of one machine; [`misbehaviour`] names what a faulty party does, and `faulty_node`, `faulty_client` and whoever
//! takes a node's `seat` (feature of the first name) do it;
//! `collector` (feature of that name) takes the spans of nodes and platform; [`memory`] writes out what another process has in its memory.

#[cfg(feature = "collector")]
pub mod collector;
#[cfg(feature = "faulty-node")]
pub mod falsify;
#[cfg(feature = "faulty-node")]
pub mod faulty_client;
#[cfg(feature = "faulty-node")]
pub mod faulty_node;
pub mod memory;
pub mod misbehaviour;
pub mod ports;
pub mod processes;
pub mod relay;
#[cfg(feature = "faulty-node")]
pub mod seat;
pub mod secrets;
