//! Members are witnesses of one another's audit logs (C2SP tlog-witness and tlog-cosignature, over `cryptonode/1`).
//!
//! A node's checkpoints alone convict it only before somebody who kept an old one and asks. So each node shows its new
//! checkpoints to the other members of its keys, with a proof that they continue what that member saw before:
//!
//! ```text
//!  log (collector)                                            witness (watched)
//!  checkpoint of 20 records, proof from 12  ── witness ─────▶  continues the head of 12 that it has?
//!                                                              keeps the head of 20, durably
//!                        cosignature, time  ◀─ cosigned ────   and only then cosigns it
//!
//!  checkpoint of 20 records, proof from 8   ── witness ─────▶  it has another head:
//!  proof from 12, or: I did not write that  ◀─ seen ────────   shows the one of 12, as the log signed it
//! ```
//!
//! - **As a log** ([`Collector`]): a round at the start, every `witness.every_s` seconds, after `witness.after_records` records, and at once when the
//!   operator has said something or a reshare was confirmed. What comes in is
//!   verified and put beside the checkpoint; the cosigned checkpoint is durable, and then served to anyone. Nobody waits for
//!   a round: shares are given whether or not witnesses are there. But a witness that shows a head which this node has
//!   signed and does not continue has found that the log was set back: then nothing more is written, and so no
//!   share is given, as if the start had found it ([`crate::audit::AuditLog::hold_against`]). A node that was restored from its phrase is known
//!   to have lost its log: it goes on, without cosignatures, until a reshare gives it a new identity.
//! - **As a witness** ([`Watch`]): one head for each member, the newest. It only ever moves to one that was proved to continue it.
//!   What does not is not cosigned; two heads that cannot both be true are kept as evidence, with the log's signatures
//!   on them, shown to the operator and given to whoever asks.
//!
//! **Bounds.** Only members' offers are read. One head and at most [`MAX_FINDINGS`] findings are kept for each, a few kilobytes; a
//! member's offers have a rate; a round asks each witness at most [`MAX_STEPS`] times.
//!
//! Both are machines without I/O; `driver` gives them a clock, the network and the disk.

mod collector;
mod driver;
mod view;
mod watched;

pub use collector::{Collector, Effect, Heard, History, MAX_STEPS};
pub(crate) use driver::{Surroundings, Witnesses};
pub use view::{FindingView, OwnLogView, WatchedView, WitnessView, WitnessingView};
pub use watched::{
    Finding, FindingKind, MAX_FINDINGS, MAX_LOGS, NotWeighed, Reply, Watch, Watched, Weighed,
};

/// A node's Ed25519 identity.
pub type Identity = [u8; 32];
