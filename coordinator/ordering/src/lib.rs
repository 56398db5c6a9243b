//! One order of opaque byte strings among organisations that do not trust each other.
//!
//! Each organisation runs one *member*, a process of its own with a key and an address. Whatever is submitted at any member comes out
//! of all of them in the same order, in *batches*, each with a height and a time. What the strings mean is the caller's matter.
//!
//! # What is promised
//!
//! With n = 3f + 1 members of which at most f do as they please, and the network as slow as it likes:
//!
//! - *Safety, always*: no two honest members deliver different batches at one height, and no member delivers a height twice to a caller
//!   that says where it stands ([`Settings::delivered`]).
//! - *Liveness, when messages arrive*: what an honest member took comes out at all honest members.
//! - *Time* never runs backwards, and at no time is it ahead of f + 1 honest members' clocks by more than [`Timing::ahead`].
//!
//! # How
//!
//! Nothing of consensus is written here. It is simplex of the commonware library: in each *view* one member leads, builds a batch on
//! the last certified one, and sends it to all; 2f + 1 votes notarise it, 2f + 1 more finalise it. `marshal` of the same library keeps the finalised
//! batches, fetches from others those that a member lacks (away, cut off, lost its disk), and delivers them in order. Votes are in a journal, on
//! the disk, before they leave.
//!
//! | file | what is in it |
//! |---|---|
//! | `batch` | a batch, and its one encoding |
//! | `pool` | what waits, with bounds for each member that sent it |
//! | `application` | building a batch, and judging one |
//! | `gossip` | what was submitted here, told to the others |
//! | `network`, `engine` | the library's parts, put together, in a thread with a runtime of its own |
//! | `epochs`, `conductor` | who orders when; one instance of consensus after another |
//! | `delivery` | what comes out |
//! | `votes` | whether this member knows all that it voted |
//! | `faults` | proof of who voted for two things at once |
//! | `time` | a clock that is set back |
//!
//! # Members come and go
//!
//! Heights are cut into *epochs* of a fixed length, and each epoch has an instance of consensus of its own, with its own members and its own journal of votes. Who
//! the members of the next epoch are is decided by what was ordered: the caller says so after it made use of an epoch's last batch, which all do alike
//! ([`Delivery::done`]). Only then does a member enter the next epoch. A member that is behind hears votes of a later epoch, and fetches the end of its own from whoever
//! cast them. Who is not a member of an epoch follows it without a vote.
//!
//! # What a restart and a lost disk mean
//!
//! After a restart with its folder a member goes on as if nothing had happened. A member that lost the folder does not know how it voted in the views
//! that are under way: until those are over it follows without a vote, and counts as one of the f (`votes`).

mod application;
mod batch;
mod conductor;
mod delivery;
mod engine;
mod epochs;
mod faults;
mod gossip;
#[doc(hidden)]
pub mod hostile;
mod network;
mod pool;
mod time;
mod votes;

pub use batch::{MAX_BATCH_BYTES, MAX_BATCH_ITEMS, MAX_ITEM};
pub use delivery::Delivery;
pub use engine::{Ordering, Part, StartError, start};
pub use faults::Fault;
pub use pool::Full;

use std::{
    collections::BTreeMap, net::SocketAddr, num::NonZeroU64, path::PathBuf, sync::Arc,
    time::Duration,
};

/// Members at most.
pub const MAX_MEMBERS: usize = 64;

/// Milliseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// One of those who order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its Ed25519 public key.
    pub key: [u8; 32],
    /// Where it listens; none if that is not known here, and it has to call.
    pub address: Option<SocketAddr>,
}

/// How long is waited for what. All members should have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// For a leader's batch, before the view is given up.
    pub leader: Duration,
    /// For the votes on it.
    pub certification: Duration,
    /// By a leader with nothing to propose, before it proposes an empty batch; less than `leader`.
    pub idle: Duration,
    /// How far ahead of this member's clock a batch's time may be. One that is further ahead is voted for when its time has come.
    pub ahead: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            leader: Duration::from_secs(2),
            certification: Duration::from_secs(4),
            idle: Duration::from_millis(1_200),
            ahead: Duration::from_secs(1),
        }
    }
}

/// What a member needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is ordered: in every signature and handshake, so that nothing said about one ledger counts for another. At least 128 bytes, which keeps what is
    /// signed here apart from any text (see `network`).
    pub namespace: Vec<u8>,
    /// Time of the beginning, milliseconds since the Unix epoch. The same for all.
    pub genesis_ms: u64,
    /// Batches in an epoch, at least 2. The same for all, always.
    pub epoch_length: NonZeroU64,
    /// The members, by the first epoch that they order in: from epoch 0 through that of the batch after `delivered`. This member need not be among them: it
    /// follows, and votes from the first epoch on in which it is.
    pub members: BTreeMap<u64, Vec<Member>>,
    /// Who is to order from the next epoch on, as things stand after `delivered`.
    pub coming: Vec<Member>,
    /// Who may help a member that does not vote yet to what it lacks: called and let in until it votes, and believed nothing that is not certified.
    pub helpers: Vec<Member>,
    /// Where this one listens.
    pub listen: SocketAddr,
    /// Its folder: votes and batches.
    pub folder: PathBuf,
    /// The file that is made with a new key: it never voted anywhere. Removed before it first does. A member with neither this file nor its votes in its folder has
    /// lost them.
    pub never_voted: PathBuf,
    /// Height of the last batch that the caller has durably made use of; 0 for none. Delivery goes on after it.
    pub delivered: u64,
    /// How long is waited.
    pub timing: Timing,
}

/// What the caller says about a byte string.
pub trait Judge: Send + Sync + 'static {
    /// Whether it can be anything at all, whatever the state: a batch with one that is not is refused. All members must say the same, always.
    fn well_formed(&self, item: &[u8]) -> bool;
    /// Whether it is worth the others' time, as far as this member can tell now. It may be wrong.
    fn admissible(&self, item: &[u8]) -> bool;
}
