//! The node's side of the wire (protocol section 9): connections, requests, and the path that a share takes out.
//!
//! ```text
//! datagrams → accept: address validation, limits, handshake ─→ connection ─→ stream: size, deadline, decode
//!     → known key → number of approvals → points → approvals (section 7) → proofs (5) → share
//!     → audit record durable → only now the share is sent
//! ```
//!
//! **Cheap checks come first**, so that what costs a node its time is paid for by whoever has valid approvals. Each step
//! can refuse, and every refusal has a stable code and a sentence ([`Refusal`]).
//!
//! **Nothing a peer sends is waited for without a deadline or kept without a bound** ([`Limits`]): handshakes, requests
//! in the making, answers nobody reads, the bytes of all of them together, connections; and of each the part that one address
//! or one member may take. Beyond the bounds a node says `busy` and when to try again; it does not queue for ever.
//!
//! **Arithmetic runs on the runtime's own threads**, behind a fair semaphore of as many permits as there are processors, and
//! not on a pool of its own: a whole request is about 165 µs, and handing it to another thread and back was measured to cost
//! 40 µs more of latency and a third of the throughput (`docs/protocol/wire.md`, section 5).
//!
//! **A stop is graceful**: [`serve`] takes no more requests, finishes those that it took, and returns.

mod accept;
mod admission;
mod clients;
mod counters;
pub mod decision;
mod endpoint;
mod gate;
mod limits;
mod measures;
mod phases;
mod reencryption;
mod refusal;
mod request;
mod serving;

pub use self::accept::serve;
pub use self::clients::{ClientLimits, ClientRules, Clients};
pub use self::counters::{Counters, Snapshot};
pub(crate) use self::endpoint::Presenter;
pub use self::endpoint::{BindError, bind};
pub use self::gate::{Gate, Suspended};
pub use self::limits::{Limits, LiveLimits};
pub use self::phases::{Durations, Histogram, Phase, PhaseDurations, Phases};
pub use self::refusal::Refusal;
pub use self::serving::{AuditSink, CeremonyHandler, SOFTWARE, Serving, Witnessing, descriptor};
