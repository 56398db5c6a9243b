//! The client of a cluster: how a platform, or a reader's own program, has wrapped keys opened.
//!
//! ```text
//! cluster.json → ClusterDescriptor → check → Cluster ─┐
//!                      key of its own → ClientIdentity ┴→ Client → open(wrapped key, ephemeral secret, approvals)
//! ```
//!
//! One request goes to the t nodes that were fastest of late, over warm connections ([`Peer`]); a node that refuses or
//! fails is replaced at once, a slow one after a hedging delay, a cheating one when its share is found out. The first t
//! good shares win, and the result says of every node what it did ([`NodeOutcome`]). Fewer than t: the error begins with
//! `2 of 5 nodes answered, 3 are needed` and goes on with each node's reason.
//!
//! When the cluster is reshared, the client follows the key to its new members by their certificate, verified under Y
//! (`follow`): from any old descriptor, in the background, and without a failed read.
//!
//! **Retries.** Within a read the client replaces nodes by itself; one that says when to come back is asked again then, others are not. The
//! whole read may be repeated by its caller as long as the approvals are valid, because a share that is given twice gives nothing more. A
//! read whose future is dropped ends there: nothing more is sent for it, and what still comes is not read.
//!
//! What the client trusts: the descriptor that it was given (it pins Y, the nodes' keys and the public shares), what is signed
//! under Y, and nothing else that a node says. Whatever up to n − t nodes do, alone or together, costs time and never the result, of what an honest writer
//! wrapped (what a dishonest one can do: [`reencrypt::Opening`]).
//!
//! # A platform's read, from its files to the secret
//!
//! `cargo run -p cryptonode --example read`; a test has it read from real nodes.
//!
//! ```no_run
#![doc = include_str!("../../examples/read.rs")]
//! ```

mod call_error;
mod cluster;
mod descriptor;
mod follow;
mod hand;
pub mod handover;
mod load;
mod outcome;
mod peer;
mod race;
mod standing;
mod view;

pub use self::call_error::CallError;
pub use self::cluster::{Client, ClientOptions, Collected, Opened};
pub use self::descriptor::{
    Cluster, ClusterDescriptor, DescriptorError, MAX_MEMBERS, MemberDescriptor,
};
pub use self::hand::{Hand, Heard, Turn};
pub use self::outcome::{ClusterError, NodeOutcome, Outcome};
pub use self::peer::{Dialer, Peer, PeerOptions, Traffic, call};
#[cfg(feature = "node")]
pub(crate) use self::view::{NOWHERE, describe};
pub use crate::tls::TlsIdentity as ClientIdentity;
