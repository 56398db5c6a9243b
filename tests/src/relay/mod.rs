//! The relay: a process of ours between the parties, which delays and loses their datagrams as a network would.
//!
//! Each node has a *front*: an address of the relay's, which is on the node's card, so that everybody who means the node
//! sends there. For every sender at a front the relay opens a socket towards the node, and carries datagrams both ways. They are
//! encrypted; it neither reads nor changes them. What lies between two parties is a [`Network`]; what becomes of each
//! datagram, a machine without sockets ([`Direction`]) decides from a seed.
//!
//! **Who sends** is known from the operating system: the process that holds the source port ([`owner`]). Processes are made
//! known to the relay by party; a sender that is not known is the client.
//!
//! **Precision.** One thread waits for sockets and for the next datagram to be due, in one system call with nanoseconds and a timer slack of
//! one. A datagram is due after its delay, counted from when the relay read it, and on an idle machine sent some tens of
//! microseconds later; on a busy one as late as the scheduler has it. How late they were is in the [`Statistics`]: whoever
//! measures a network of 0.1 ms must look at it.
//!
//! What it is not: a router. There is no congestion but that of the pair's own bandwidth, no ECN, and loss without bursts.

mod carrier;
mod network;
mod owner;
mod process;
mod schedule;

pub use carrier::{Config, Order, Ready, Statistics, serve};
pub use network::{CLIENT, Exception, Network, NetworkError, node};
pub use process::{RelayError, RelayProcess};
pub use schedule::{BURST, Conditions, Direction, Fate};
